/* SPDX-License-Identifier: Apache-2.0 */
/* guest-sanitized.c - a program that may be built with sanitizers, which the library is not. */
#include <stdio.h>
#include <stdlib.h>

#include <shmd/broker.h>
#include <shmd/shmd.h>

#include "guest-life.h"

#include <pthread.h>

static void *serve(void *broker)
{
        shmd_broker_run(broker);
        return NULL;
}

int main(int argc, char **argv)
{
        struct shmd_broker_options options = {.size = sizeof(options)};
        struct shmd_broker *broker;
        pthread_t thread;
        bool is_well;

        if (argc != 2)
                return 2;
        options.socket = argv[1];
        if (shmd_broker_open(&broker, &options) < 0) {
                fprintf(stderr, "%s\n", shmd_broker_error());
                return 1;
        }
        if (pthread_create(&thread, NULL, serve, broker))
                return 1;
        is_well = guest_live(argv[1], NULL);
        shmd_broker_stop(broker);
        pthread_join(thread, NULL);
        shmd_broker_close(broker);
        return !is_well;
}
