/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quota.h - what each user has of the broker, and how much it may have.
 *
 *     quota --< account, one for each user that may connect
 *                  ^
 *                  |  so much of this kind
 *               charge, embedded in what it pays for
 *
 * An *account* counts what one user has, by kind. A *charge* is a value, part of the thing that it
 * pays for: the session has the charge for itself, a subscription that for itself, and so on. It is
 * made when the thing is made and unmade when the thing's memory is freed, not when its client
 * goes: a ghost (introduce.h), which keeps seats of others and samples that may be held, stays
 * charged to its user until nothing of it is left. So nobody gets more by coming again and again.
 *
 * What is charged, and to whom:
 *
 *     sessions       to who has connected, HELLO or not
 *     services       names, to each user that publishes or reads it, once
 *     segments       memory passed to the broker, publishers' segments and control blocks: each
 *                    costs it a descriptor
 *     bytes          that memory's size, as the kernel says it
 *     subscriptions  to who reads
 *     pairs          a publisher and a subscriber that were brought together: to who came second
 *     listed peers   of another broker's time (resume.h): to who lists them. A pair may be listed
 * by both its sides before it is one, and by one that others paid for: so there may be
 * QUOTA_LISTED_TIMES as many as pairs, or who had all his pairs could not resume introductions sent
 * and unread: to who doesn't read them. Beside that a session's unread introductions to one other
 * user are bounded: session_has_credit() connects       per second. Nothing is charged; see
 * quota_connect() seats          of one publisher, in percent, that one other user may take:
 * seats.h
 *
 * Root and the broker's own user are counted, but not limited. Both can stop the broker anyway, and
 * whoever runs a broker for himself alone need not know that there are limits. A broker for several
 * users should run as a user of its own, so that it has an equal eye on all of them.
 *
 * Accounts are there for as long as the broker is, since what a user may connect has to be
 * remembered; at the end each must be zero.
 */
#ifndef SHMD_BROKER_QUOTA_H
#define SHMD_BROKER_QUOTA_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct access;
struct shmd_quota;

enum quota_kind {
        QUOTA_SESSIONS,
        QUOTA_SERVICES,
        QUOTA_SEGMENTS,
        QUOTA_BYTES,
        QUOTA_SUBSCRIPTIONS,
        QUOTA_PAIRS,
        QUOTA_LISTED, /* has no option of its own */
        QUOTA_INTRODUCTIONS,
        QUOTA_CONNECTS,
        QUOTA_SEATS,
        QUOTA_KINDS,
};

#define QUOTA_LISTED_TIMES 4u

/* Up to here the kinds are counted. */
#define QUOTA_COUNTED QUOTA_CONNECTS

struct quota;

struct quota_account {
        const struct quota *quota;
        uid_t uid;
        bool is_exempt;
        char name[32];                /* of the user; "" if it has none */
        uint64_t used[QUOTA_COUNTED]; /* the sum of its charges */
        uint64_t connect_ns;          /* when the last of its connects was due: quota_connect() */
};

struct quota {
        uint64_t max[QUOTA_KINDS];
        struct quota_account *accounts; /* [n_accounts], of all that may connect */
        uint32_t n_accounts;
};

/* All zero: nothing is charged. May be moved. */
struct charge {
        struct quota_account *account;
        uint64_t amount;
        enum quota_kind kind;
};

/* An account for each user that `access` lets in. `in_flight_max`: introductions that all users
 * together may leave unread. 0; -ENOMEM with a text. */
int quota_init(struct quota *quota, const struct shmd_quota *limits, const struct access *access,
               uint32_t in_flight_max);
/* Every account is zero. */
void quota_deinit(struct quota *quota);

/* The account of a user that access_check() lets in. */
struct quota_account *quota_find(const struct quota *quota, uid_t uid);

/* The limit; UINT64_MAX: none. */
uint64_t quota_max(const struct quota_account *account, enum quota_kind kind);

/* "user nobody (65534)", in memory that the next call uses again. */
const char *quota_name(const struct quota_account *account);

/*
 * Whether one more connect may be served now: as many at once as the user may have sessions, so
 * that all come back at once to a broker that has just started, then so many a second. 0, or
 * -EDQUOT with a text.
 */
int quota_connect(struct quota_account *account);

/* A line for each account that isn't zero, in `text`; false: `index` is beyond the last account.
 * "" for one that is zero. */
bool quota_describe(const struct quota *quota, uint32_t index, char *text, size_t size);

/* Charges so much. 0; -EDQUOT with a text that says whose, how many, of how many, and which option
 * of the broker it is; then nothing is charged. */
int charge_init(struct charge *charge, struct quota_account *account, enum quota_kind kind,
                uint64_t amount);
/* Changes the amount of a charge that was made. Less is always allowed; else as charge_init(). */
int charge_resize(struct charge *charge, uint64_t amount);
/* Gives it back; allowed for one that was not made. */
void charge_deinit(struct charge *charge);

/* Whether `amount` more of it could be charged. */
bool quota_has_room(const struct quota_account *account, enum quota_kind kind, uint64_t amount);

#endif
