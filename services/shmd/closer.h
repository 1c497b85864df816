/* SPDX-License-Identifier: Apache-2.0 */
/*
 * closer.h - where descriptors that came from clients are closed: in a thread that may be stopped
 * by it.
 *
 * close() of somebody else's descriptor can last as long as that somebody likes: a TCP socket that
 * lingers, a file of a FUSE server that doesn't answer, gigabytes of memory whose last reference
 * this is. The same holds for a client's own socket, whose unread messages may carry such
 * descriptors. So none of them is closed by the thread that serves everybody.
 *
 * Nor does one that lasts keep the others waiting. One thread works, a second one watches: when
 * there is more to do and a close() has not come back for CLOSER_PATIENCE_MS, the thread that is in
 * it is left there, the watcher takes its place, and a new watcher starts. As many as
 * CLOSER_STUCK_MAX threads are left behind for one user; what else came from that user then waits
 * until one of them comes back (closer_is_stuck()).
 *
 * The threads start with the first descriptor, take no signals, allocate nothing, and know nothing
 * of the broker. While there is nothing to do they sleep without a timer. closer_free() waits for
 * them, but not for ever: then they are left behind, and so is the struct's memory, which is why it
 * is allocated by closer_new().
 */
#ifndef SHMD_BROKER_CLOSER_H
#define SHMD_BROKER_CLOSER_H

#include <stdbool.h>
#include <sys/types.h>

#define CLOSER_STUCK_MAX   4u
#define CLOSER_PATIENCE_MS 50

struct closer;

/* NULL: no memory. */
struct closer *closer_new(void);

/* Closes what was given, for at most two seconds, and ends the threads. NULL is allowed. */
void closer_free(struct closer *closer);

/* Takes the descriptor (-1: none), which came from this user, and sets *fd to -1. */
void closer_give(struct closer *closer, uid_t uid, int *fd);

/* Whether nothing more of what comes from this user can be closed for now, and has not been for so
 * many seconds. */
bool closer_is_stuck(struct closer *closer, uid_t uid, unsigned seconds);

#endif
