/* SPDX-License-Identifier: Apache-2.0 */
/*
 * comeback.h - what tests of a broker's death have in common: to look at a connection until it has
 * come back, and at what it has.
 */
#ifndef SHMD_TESTS_COMEBACK_H
#define SHMD_TESTS_COMEBACK_H

#include "harness.h"
#include "stamped.h"

struct shmd_connection_state state_of(struct shmd *bus);
struct shmd_subscriber_state status_of(struct shmd_subscriber *subscriber);
uint32_t n_subscribers(struct shmd_publisher *publisher);

/* Waits until descriptors and mappings are what they were: what looks for brokers stays for a
 * moment after one was found. */
void until_same(struct shmd *bus, const struct snapshot *before, const char *who);

/* SIGKILL, and another one. */
void restart_broker(void);
/* Waits until both (the second may be NULL) are taken over. */
void until_settled(struct shmd *one, struct shmd *other);

/* In a role: membarrier(2) is refused from here on, to what is connected afterwards; where the
 * kernel has no filters it isn't, and that is said. */
void forbid_membarrier(void);

#endif
