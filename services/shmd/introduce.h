/* SPDX-License-Identifier: Apache-2.0 */
/*
 * introduce.h - how a publisher and a subscriber get to know each other, and part.
 *
 * Each publication and subscription of one service make a pair. What a pair has gone through:
 *
 *                     no seat, or limits
 *     (new) ------------------------------------> REFUSED: PUBLISHER_REFUSED to the subscriber
 *       |                                            | a seat becomes free
 *       v                                            |
 *     SEATED <---------------------------------------+
 *       | 1. the kernel takes SUBSCRIBER_ADDED for the publisher's socket
 *       | 2. the counter in the publisher's page is raised
 *       v
 *     publisher_told
 *       | 3. the kernel takes PUBLISHER_ADDED for the subscriber's socket
 *       v
 *     subscriber_told
 *       | the subscriber leaves, but its row isn't empty: SUBSCRIBER_REMOVED, not final; or its
 *       | session ends and it may go on to take: nothing is said until its process ends
 *       v
 *     GHOST ---------> (gone): the row reads zero or the process has ended:
 *                              SUBSCRIBER_REMOVED, final
 *
 * The order 1, 2, 3 is what lets a subscriber take at once, without a handshake: it can't hold a
 * sample before the publisher's page says that somebody has come, and a publisher looks at its
 * page before it reads holds.
 *
 * A seat is one of a publisher's max_subscribers, for which its budget of chunks is made. It is
 * taken from SEATED on, and by a ghost as well: what a living process may still hold counts. A row
 * that reads zero is believed only if the client has said that it is done, by UNSUBSCRIBE or by
 * closing its socket. Whom the broker has dropped may go on to take for as long as it lives.
 *
 * Two that have resumed and list each other (resume.h) are SEATED and told at once, without
 * descriptors, by PEER_BACK.
 *
 * Each of the two messages waits, as an `introduction`, in the list of the session that is to get
 * it; so nobody waits for anybody but the one that doesn't read.
 */
#ifndef SHMD_BROKER_INTRODUCE_H
#define SHMD_BROKER_INTRODUCE_H

#include <stdbool.h>
#include <stdint.h>

#include "list.h"
#include "protocol.h"
#include "quota.h"

struct publication;
struct session;
struct subscription;

enum pair_state {
        PAIR_REFUSED,
        PAIR_SEATED,
        PAIR_GHOST,
};

/* One message to be sent to one of the two. */
struct introduction {
        struct list link; /* session.waiting */
        struct pair *pair;
        bool to_publisher;
};

struct pair {
        struct list publication_link;  /* publication.pairs */
        struct list subscription_link; /* subscription.pairs */
        struct publication *publication;
        struct subscription *subscription;
        struct introduction to_publisher;
        struct introduction to_subscriber;
        enum pair_state state;
        uint32_t reason; /* of REFUSED: REFUSED_SEATS or REFUSED_LIMIT */
        bool publisher_told;
        bool subscriber_told; /* of the state that it is in: ADDED or REFUSED */
        uint64_t start;       /* the publisher's newest message when the subscriber came */
        bool forbids_asym;
        struct charge charge;     /* for the pair, to the user of the one that came second */
        struct seat_share *share; /* of the subscriber's user */
};

/* Pairs a new publication with the subscriptions that there are. 0; -ENOMEM, -EDQUOT: then
 * publication_leave() undoes it. */
int publication_join(struct publication *publication);

/* Pairs a new subscription with the publications that there are, or with none: -ERANGE: one of
 * them has no seat or too little of something (the text says which; one that resumes is REFUSED by
 * that one only); -EDQUOT: its user has too many of them, or of pairs; -ENOMEM. Then
 * subscription_leave() undoes it. */
int subscription_join(struct subscription *subscription);

/* Ends a publication or subscription, tells those concerned, drops the service if it was the last.
 * A subscription stays as a ghost if samples may still be held. */
void publication_leave(struct publication *publication);
void subscription_leave(struct subscription *subscription);

/* Gives free seats to those that were refused for want of one. */
void publication_seat_others(struct publication *publication);

/* Ends a ghost whose subscription comes back: no publisher is told. */
void ghost_end_silently(struct subscription *ghost);

/* Looks which ghosts of the session hold nothing any more and ends them; `process_ended`: all of
 * them. Frees the session if it was one too and the last is gone. */
void pair_exorcise(struct session *session, bool process_ended);

/* Whether looking at rows once more could end a ghost of the session. */
bool pair_ghosts_may_end(const struct session *session);

/* Puts a message in, or out of, the list of those that wait for this session. */
void introduction_wait(struct session *session, struct introduction *introduction);
void introduction_stop(struct introduction *introduction);

/* Tells both sides of a pair that the other is back. */
void introduce_back(struct pair *pair);

/* Sends what waits for this session and has credit. Whether nothing is left, but what other users
 * have led to and have no credit for: replies don't wait for that. */
bool introduce_waiting(struct session *session);

/* Sends an introduction once more. 0; -EPROTO with a text: it isn't the session's to ask for. */
int introduce_again(struct session *session, const struct message_reintroduce *again);

/* The pairs that are introduced, for lists. */
uint32_t publication_count_readers(const struct publication *publication);
uint32_t subscription_count_publishers(const struct subscription *subscription);

#endif
