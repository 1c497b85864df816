/* SPDX-License-Identifier: Apache-2.0 */
/* subscribe-hello.c - the smallest subscriber: reads each temperature where it was written. */
#include <shmd/shmd.h>
#include <err.h>
#include <stdio.h>
#include "sensor.h"

int main(void)
{
        struct shmd *bus;
        struct shmd_subscriber *subscriber;
        struct shmd_sample sample;

        if (shmd_connect(&bus, NULL) < 0 ||
            shmd_subscribe(&subscriber, bus, "house/kitchen", &sensor_type, NULL) < 0)
                errx(1, "%s", shmd_error());
        while (shmd_wait(bus, SHMD_FOREVER) >= 0)
                while (shmd_take(subscriber, &sample) > 0) {
                        const struct sensor *sensor = sample.data;
                        printf("%.1f C, %ju lost\n", sensor->celsius, (uintmax_t)sample.lost);
                        shmd_release(subscriber, &sample);
                }
        errx(1, "%s", shmd_error());
}
