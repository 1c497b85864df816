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
 * The thread starts with the first descriptor, takes no signals, allocates nothing, and knows
 * nothing of the broker. closer_free() waits for it, but not for ever: then the thread is left
 * behind, and so is the struct's memory, which is why it is allocated by closer_new().
 */
#ifndef SHMD_BROKER_CLOSER_H
#define SHMD_BROKER_CLOSER_H

struct closer;

/* NULL: no memory. */
struct closer *closer_new(void);

/* Closes what was given, for at most two seconds, and ends the thread. NULL is allowed. */
void closer_free(struct closer *closer);

/* Takes the descriptor (-1: none) and sets *fd to -1. */
void closer_give(struct closer *closer, int *fd);

#endif
