/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seats.h - who has how many of a publisher's seats.
 *
 * Its max_subscribers are one budget for all who read it. Users other than the publisher's own may
 * take a *share* of it, in percent (`--quota seats`), and at least one seat; so that no single one
 * can take them all, be it by reading, or by coming again and again while what it held before
 * counts. Root, the broker's own user and the publisher's may take any.
 *
 * Seats that are kept for who is listed by a publisher that resumes are in no user's share until
 * he has come: nobody knows whose they are.
 */
#ifndef SHMD_BROKER_SEATS_H
#define SHMD_BROKER_SEATS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "list.h"

struct publication;
struct session;

/* What one user's subscriptions have of one publication; there as long as the two make pairs. */
struct seat_share {
        struct list link; /* publication.shares */
        uid_t uid;
        uint32_t n_pairs;
        uint32_t n_seats;
};

/* The share of that user, one pair more; NULL: no memory, with a text. */
struct seat_share *seat_share_ref(struct publication *publication, uid_t uid);
void seat_share_unref(struct seat_share *share);

/* How many of the publication's seats the session's user may have. */
uint32_t seats_max(const struct publication *publication, const struct session *session);

/* Whether it has as many, and they are fewer than there are. */
bool seats_are_used_up(const struct publication *publication, const struct session *session);

/* Whether there is a seat for one more of the session's. */
bool seats_are_free(const struct publication *publication, const struct session *session);

#endif
