/* SPDX-License-Identifier: Apache-2.0 */
/* publish-hello.c - the smallest publisher: a temperature, ten times a second. */
#include <shmd/shmd.h>
#include <err.h>
#include <unistd.h>
#include "sensor.h"

int main(void)
{
        struct shmd *bus;
        struct shmd_publisher *publisher;
        void *loan;

        if (shmd_connect(&bus, NULL) < 0 ||
            shmd_advertise(&publisher, bus, "house/kitchen", &sensor_type, NULL) < 0)
                errx(1, "%s", shmd_error());
        for (uint64_t i = 1; shmd_loan(publisher, &loan) == 0; i++) {
                *(struct sensor *)loan = (struct sensor){.count = i, .celsius = 20 + i % 50 / 10.0};
                shmd_publish(publisher, loan);
                usleep(100000);
        }
        errx(1, "%s", shmd_error());
}
