/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wait.c - a subscriber without an event loop: one thread that has nothing else to wait for.
 *
 *     wait [SERVICE [SAMPLES]]      default: house/kitchen, until Ctrl-C
 *
 * shmd_wait() serves all subscribers of the connection at once. It looks, spins for a moment if
 * samples have been coming quickly, then sleeps; what woke it is found by taking.
 */
#include <shmd/shmd.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "sensor.h"

/* Told by shmd_wait() when somebody starts or stops to publish. */
static void on_publisher(void *user, const struct shmd_peer *peer, int present)
{
        (void)user;
        printf("%s (process %d) has %s\n", peer->program, peer->pid, present ? "come" : "gone");
}

/* Takes all that is there, in place. Returns how many samples that were. */
static uint64_t take_all(struct shmd_subscriber *subscriber, uint64_t at_most)
{
        struct shmd_sample sample;
        uint64_t taken = 0;

        while (taken < at_most && shmd_take(subscriber, &sample) > 0) {
                const struct sensor *sensor = sample.data;

                if (sample.lost > 0)
                        printf("%ju samples were overwritten before they were taken\n",
                               (uintmax_t)sample.lost);
                printf("sample %ju: %.1f C\n", (uintmax_t)sensor->count, sensor->celsius);
                shmd_release(subscriber, &sample);
                taken++;
        }
        return taken;
}

int main(int argc, char **argv)
{
        const char *service = argc > 1 ? argv[1] : "house/kitchen";
        uint64_t left = argc > 2 ? strtoull(argv[2], NULL, 10) : UINT64_MAX;
        struct shmd_subscriber_options options = {
                .size = sizeof(options),
                .history = 1, /* the newest temperature at once, even if the next is an hour away */
                .on_publisher = on_publisher,
        };
        struct shmd *bus;
        struct shmd_subscriber *subscriber;
        int result;

        if (shmd_connect(&bus, NULL) < 0 ||
            shmd_subscribe(&subscriber, bus, service, &sensor_type, &options) < 0) {
                fprintf(stderr, "wait: %s\n", shmd_error());
                return 1;
        }

        while (left > 0) {
                result = shmd_wait(bus, 5 * INT64_C(1000000000));
                if (result == 0)
                        printf("nothing for five seconds\n");
                else if (result == -ENOTCONN) /* said once; samples go on without a broker */
                        printf("the broker has gone; listening to the publishers that are left\n");
                else if (result < 0 && result != -EINTR) {
                        fprintf(stderr, "wait: %s\n", shmd_error());
                        return 1;
                }
                left -= take_all(subscriber, left);
                fflush(stdout);
        }

        shmd_close(bus); /* closes the subscriber too */
        return 0;
}
