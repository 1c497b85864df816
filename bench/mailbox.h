/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mailbox.h - where does the payload lie when the primitive only signals?
 *
 * In plain shared memory: one place for each direction, which both processes may write to, and
 * which is overwritten without asking anybody. That is right for two that take turns, and nothing
 * else. The word that can be watched shares its line with the first bytes of the payload.
 */
#ifndef BENCH_MAILBOX_H
#define BENCH_MAILBOX_H

#include <stdatomic.h>

#include "transport.h"

struct mailbox {
        _Atomic uint32_t number; /* of the sample, its lower half: written by the sender */
        _Atomic uint32_t sleeps; /* whoever receives does, or is about to */
        uint64_t unused;         /* the payload is aligned to 16 bytes */
        unsigned char payload[];
};

/** A transport's functions. */
uint64_t mailbox_memory(const struct link *link);
int mailbox_create(struct link *link);
void mailbox_destroy(struct link *link);

/** Into which the lead, or the follower, puts its samples. */
struct mailbox *mailbox_of(const struct link *link, bool lead);

#endif
