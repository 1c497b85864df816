/* SPDX-License-Identifier: Apache-2.0 */
/*
 * broker.h - how does a measurement get a broker of its own?
 *
 * The program `shmd` runs as a third process, on a socket in a directory that only this user can
 * enter and that goes away with the measurement.
 */
#ifndef BENCH_BROKER_H
#define BENCH_BROKER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct broker {
        pid_t pid;          /* 0: none */
        char directory[64]; /* private; also for other files of a measurement */
        char socket[96];
        char file[8192]; /* the program */
        int cpu;
        bool is_guest; /* the directory is another one's */
};

/**
 * Starts `path`, or if that is NULL the `shmd` that was built with this program, or the one in
 * $PATH, and waits until it accepts.
 * @return 0; negative errno after saying on standard error what is missing.
 */
int broker_start(struct broker *broker, const char *path, int cpu);

/**
 * A further one, in the directory of one that runs, at an address of its own where no broker was
 * before. As broker_start().
 */
int broker_start_beside(struct broker *broker, const char *directory, const char *path, int cpu);

/** Where that will be, to be told to others before. `address`: as long as broker.socket. */
void broker_address_beside(const char *directory, char *address, size_t size);

/** SIGKILL: it leaves its socket behind. Returns when it is gone. */
void broker_kill(struct broker *broker);

/**
 * Starts it once more at its address, and does not wait until it accepts.
 * @return 0; negative errno after saying why.
 */
int broker_start_again(struct broker *broker);

/** Ends it and removes its directory; also one that was never started. */
void broker_stop(struct broker *broker);

#endif
