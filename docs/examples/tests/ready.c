/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ready.c - waits until the broker at $SHMD_SOCKET answers, for at most ten seconds: what a script
 * calls after it has started one.
 */
#include <shmd/shmd.h>
#include <stdio.h>
#include <time.h>

int main(void)
{
        const struct timespec pause = {.tv_nsec = 2000000};
        struct shmd *bus;

        for (int i = 0; i < 5000; i++) {
                if (shmd_connect(&bus, NULL) == 0) {
                        shmd_close(bus);
                        return 0;
                }
                nanosleep(&pause, NULL);
        }
        fprintf(stderr, "ready: %s\n", shmd_error());
        return 1;
}
