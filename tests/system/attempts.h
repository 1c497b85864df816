/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attempts.h - what a confined broker may try: each attempt by itself, in the process that makes
 * it, and what is to come of it.
 */
#ifndef SHMD_TESTS_ATTEMPTS_H
#define SHMD_TESTS_ATTEMPTS_H

#include <signal.h>
#include <stddef.h>
#include <sys/types.h>

enum outcome {
        REFUSED = 100, /* ENOSYS, EPERM or EACCES */
        FAILED,        /* something else */
        POSSIBLE = 0,
        DEADLY = -SIGSYS,
        ABORTED = -SIGABRT,
};

enum layer {
        FILES = 1, /* Landlock */
        CALLS = 2, /* seccomp */
        EITHER = FILES | CALLS,
        NEITHER = 0,
};

struct attempt {
        const char *name;
        long (*try)(void);
        int confined;
        enum layer refused_by;
        int otherwise; /* outcome of a process that is not confined; FAILED: any */
};

extern const struct attempt attempts[];
extern const size_t n_attempts;

/* Which process attempts are made on: the test's. Before the first one. */
void attempts_init(pid_t process);

/* Files that attempts are made on, next to the broker's directory and in it; as they expect them,
 * whatever the one before has done. Removes them. */
void attempts_make_files(void);
void attempts_remove_files(void);

#endif
