/* SPDX-License-Identifier: Apache-2.0 */
/*
 * broker.h - how does a measurement get a broker of its own?
 *
 * The program `shmd` runs as a third process, on a socket in a directory that only this user can
 * enter and that goes away with the measurement.
 */
#ifndef BENCH_BROKER_H
#define BENCH_BROKER_H

#include <sys/types.h>

struct broker {
        pid_t pid;          /* 0: none */
        char directory[64]; /* private; also for other files of a measurement */
        char socket[96];
};

/**
 * Starts `path`, or if that is NULL the `shmd` that was built with this program, or the one in
 * $PATH, and waits until it accepts.
 * @return 0; negative errno after saying on standard error what is missing.
 */
int broker_start(struct broker *broker, const char *path, int cpu);

/** Ends it and removes its directory; also one that was never started. */
void broker_stop(struct broker *broker);

#endif
