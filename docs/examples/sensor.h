/* SPDX-License-Identifier: Apache-2.0 */
/* sensor.h - what a sample is: described once, for all who publish or subscribe to it. */
#ifndef SENSOR_H
#define SENSOR_H
#include <shmd/type.h>

struct sensor {
        uint64_t count;
        double celsius;
};
SHMD_TYPE(sensor_type, struct sensor, SHMD_FIELD(struct sensor, count),
          SHMD_FIELD(struct sensor, celsius));

#endif
