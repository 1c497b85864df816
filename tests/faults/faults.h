/* SPDX-License-Identifier: Apache-2.0 */
/*
 * faults.h - system calls and allocations that fail when they are told to.
 *
 * A program that is linked with faults.c has its own open(), sendmsg(), epoll_create1()... in front
 * of libc's, for the library, the broker and libuv alike; malloc() and its kin are wrapped by the
 * linker for our own code, and replaced in libuv by its own means. All of them pass through until a
 * plan is armed: then the calls that could fail in that way are counted, and the `at`-th fails, or
 * that and all after it. The loop of a test is: at = 1, 2, 3... until nothing was injected.
 *
 * A call fails only as the kernel could fail it: each has its own errors (the table in faults.c).
 * What libuv 1.44 answers with abort() is left out: its table of watchers that can't grow, and
 * epoll_ctl() inside uv_run().
 *
 * A program's plan is in its own memory; or, if $SHMD_FAULTS names a file, there: so a test tells a
 * broker in another process when to fail.
 */
#ifndef SHMD_TESTS_FAULTS_H
#define SHMD_TESTS_FAULTS_H

#include <stdbool.h>
#include <stdint.h>

enum fault_kind {
        FAULT_NONE,
        FAULT_MEMORY,       /* ENOMEM, ENOBUFS, EAGAIN from pthread_create() */
        FAULT_DESCRIPTORS,  /* EMFILE, ETOOMANYREFS, descriptors that don't arrive */
        FAULT_TABLE,        /* ENFILE */
        FAULT_INTERRUPTION, /* EINTR */
        FAULT_BUSY,         /* EAGAIN */
        N_FAULT_KINDS,
};

/* What older kernels, and filters in containers, don't have. */
enum lacking {
        LACKS_PEERPIDFD = 1u << 0,   /* SO_PEERPIDFD, Linux 6.5 */
        LACKS_NOEXEC_SEAL = 1u << 1, /* MFD_NOEXEC_SEAL, 6.3 */
        LACKS_NOSIGNAL = 1u << 2,    /* RWF_NOSIGNAL, 6.18 */
        LACKS_PWAIT2 = 1u << 3,      /* epoll_pwait2(), 5.11 */
        LACKS_PASSRIGHTS = 1u << 4,  /* SO_PASSRIGHTS, 6.16 */
        LACKS_MEMBARRIER = 1u << 6,  /* membarrier(), refused by filters */
        LACKS_GETRANDOM = 1u << 7,   /* getrandom(), likewise */
        LACKS_PROC = 1u << 5,        /* /proc/self/fd */
        LACKS_ALL = (1u << 8) - 1,
};

struct faults {
        uint32_t kind;           /* enum fault_kind */
        uint32_t lacking;        /* enum lacking */
        uint32_t seen_lacking;   /* those that were asked for and refused */
        uint64_t at;             /* the first that fails */
        uint64_t n;              /* how many in a row */
        uint64_t seen;           /* calls that could have failed */
        uint64_t injected;       /* calls that did */
        int64_t clock_offset[2]; /* added to CLOCK_REALTIME and CLOCK_MONOTONIC, ns */
        int64_t clock_step;      /* added to both offsets at each look at a clock, ns */
        int32_t last_epoll;      /* what epoll_create1() made since faults_arm(), or -1 */
        char root[96];           /* in front of the paths of control groups, unless empty */
        char where[32];          /* the last that did */
        char doing[96];          /* what the test does, to be said when it goes wrong */
};

extern struct faults *faults; /* of this program */

/* Makes the file for $SHMD_FAULTS, and sets that; what programs that are started afterwards go by.
 * The caller unmaps it. */
struct faults *faults_share(void);

#define FAULTS_ALL UINT64_MAX
/* The at-th call fails, and those after it: `n` in all. */
void faults_arm(struct faults *plan, enum fault_kind kind, uint64_t at, uint64_t n);
/* How many were injected since faults_arm(). */
uint64_t faults_disarm(struct faults *plan);

/* libuv 1.44 keeps the epoll descriptor of a loop that it could not make. Closes that which was
 * made since faults_arm(). */
void faults_close_leaked_epoll(void);

/* Blocks of memory that our own code has allocated and not freed. */
int64_t faults_blocks(void);

const char *fault_kind_name(enum fault_kind kind);

/* For the table in docs/robustness.md: what was done how often. */
void faults_report(const char *promise, uint64_t injections);

#endif
