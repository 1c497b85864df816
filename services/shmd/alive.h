/* SPDX-License-Identifier: Apache-2.0 */
/*
 * alive.h - the page by which clients that never enter the kernel see that the broker is gone.
 *
 * A robust lock that all processes share stands in it, held by the thread that runs the broker's
 * loop. When that thread ends, also by SIGKILL, the kernel marks the lock's word. One page serves
 * all clients: the kernel marks no more than 2048 locks of a thread. What they see is a hint, upon
 * which they look at their sockets.
 *
 * The lock is taken in a callback of the loop, so after any daemonising, and anew when another
 * thread runs the loop.
 */
#ifndef SHMD_BROKER_ALIVE_H
#define SHMD_BROKER_ALIVE_H

#include <stdint.h>
#include <sys/types.h>

#include "segment.h"

struct alive {
        struct segment page;  /* with its descriptor, which clients get */
        uint64_t word_offset; /* of the lock's 32-bit word in the page; 0: it could not be found */
        pid_t owner;          /* the thread that holds the lock; 0: none */
};

#define ALIVE_NONE ((struct alive){.page = SEGMENT_NONE})

/* Makes the page. 0 or a negative errno, with a text. */
int alive_open(struct alive *alive);

/* Takes the lock for this thread, if it hasn't got it. */
void alive_hold(struct alive *alive);

/* Lets go of the lock, unmaps, closes. In the thread that holds it, or when that has ended. */
void alive_close(struct alive *alive);

#endif
