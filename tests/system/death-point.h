/* SPDX-License-Identifier: Apache-2.0 */
/*
 * death-point.h - the places at which a process can be made to die, or to stop: after each store to
 * shared memory and each load from it, and after each message that the kernel has accepted. (Who
 * dies after a load leaves what it had left before; who stops there acts on it much later.)
 *
 * The library and the broker are compiled once more for the tests that need it, with this header in
 * front of every file (-include): the functions of src/atomic.h that load and store, and
 * sendmsg(2), then pass a point when they are done. Their sources know nothing of it.
 *
 * What happens at which point stands in a plan, which the test and the process share: so the test
 * may change it while the process runs, and reads how far it came when it is dead.
 */
#ifndef SHMD_TESTS_DEATH_POINT_H
#define SHMD_TESTS_DEATH_POINT_H

#include <stdint.h>
#include <sys/socket.h>

#include "atomic.h"

#define DEATH_STORE 1u /* as `kinds`: after stores to shared memory */
#define DEATH_LOAD  2u /* after loads */
#define DEATH_SEND  4u /* after messages */

struct death_plan {
        uint64_t passed; /* points of these kinds, so far */
        uint64_t at;     /* where it happens; 0: nowhere */
        uint32_t kinds;
        int32_t signal; /* SIGKILL or SIGSTOP */
};

/* This process's; NULL: it has none. A program that is started with the number of a descriptor in
 * SHMD_DEATH_PLAN has the one in that memory from the beginning. */
extern volatile struct death_plan *death_plan;

void death_point(uint32_t kind);
ssize_t death_sendmsg(int fd, const struct msghdr *message, int flags);

static inline uint64_t death_after_load(uint64_t value)
{
        death_point(DEATH_LOAD);
        return value;
}

#define load_relaxed(word)            death_after_load(load_relaxed(word))
#define load_acquire(word)            death_after_load(load_acquire(word))
#define store_relaxed(word, value)    (store_relaxed(word, value), death_point(DEATH_STORE))
#define store_release(word, value)    (store_release(word, value), death_point(DEATH_STORE))
#define store_then_fence(word, value) (store_then_fence(word, value), death_point(DEATH_STORE))
#define increment_seq_cst(word)       ((void)increment_seq_cst(word), death_point(DEATH_STORE))
#define sendmsg(fd, message, flags)   death_sendmsg(fd, message, flags)

#endif
