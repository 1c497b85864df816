/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resume.h - who comes from a broker that is no more, and whom they know from its time.
 *
 * A client that resumes names its publishers and subscriptions, and with each the peers that it
 * knows (KNOWN). Such a record is *kept* with the publication or subscription until the other side
 * has come too. Two that list each other, with the same memory and the same board, go on as they
 * are: they are told that the other is back, and get no descriptors. All others are introduced.
 *
 * Ids are known to peers, and no secret. What a record says of a connection is therefore true of
 * the process with the number that the record has too: the kernel says which number a client has,
 * and as long as a process lives no other has the same. Who claims an id of another process can be
 * met by nobody who has listed its owner (known_is_another()), and what it says to have closed is
 * only its own.
 *
 *   publication.known     each record takes a seat: nobody is given the seat of a subscriber that
 *                         the publisher still counts. It ends when
 *                           - the subscription resumes, and takes the seat over;
 *                           - its connection has resumed, all of it, without that subscription;
 *                           - its process is gone, or speaks version 1 and has connected anew,
 *                             which is looked at when a seat is wanted;
 *                           - the publisher says so (FORGOTTEN): it has asked the kernel itself.
 *   subscription.known    nothing hangs on it but that nobody is introduced who is known.
 *
 * Resuming outranks opening. So that nobody takes a service's name or its type in the first
 * moments, requests to open a service that isn't there are *held* for as long as those who resume
 * may take: after a start at an address that a broker had left without removing it, and after the
 * first client that says that it resumes.
 */
#ifndef SHMD_BROKER_RESUME_H
#define SHMD_BROKER_RESUME_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol.h"
#include "quota.h"

struct publication;
struct server;
struct session;
struct packet;
struct subscription;

/* Four times the longest time that a client lets pass before it looks for a broker again. */
#define RESUME_GRACE_MS 1000

/* Peers that were listed. */
struct known_list {
        struct message_known_peer *peers; /* n of them, in room for n_room */
        uint32_t n, n_room;
        uint64_t owner;       /* of the list that a session is sending: whose it will be */
        struct charge charge; /* for n, to who has listed them */
};

void known_deinit(struct known_list *list);

/* Adds `n` peers of the owner's, charged to the account; those of another owner are dropped.
 * -EPROTO: too many; -EDQUOT, -ENOMEM; with a text. */
int known_add(struct known_list *list, struct quota_account *account, uint64_t owner,
              const struct message_known_peer *peers, uint32_t n);

/* Moves the session's list to its owner, if it is the owner's. */
void known_take(struct known_list *to, struct known_list *from, uint64_t owner);

/* Whether the two know each other: takes the records out of both lists. *start: what the
 * publication's said of the subscription. */
enum known_by {
        KNOWN_BY_NONE = 0,
        KNOWN_BY_PUBLISHER = 1,
        KNOWN_BY_SUBSCRIBER = 2,
        KNOWN_BY_BOTH = 3,
};
enum known_by known_meet(struct publication *publication, struct subscription *subscription,
                         uint64_t *start);

/* Whether one of the two has listed another process by the other's id, which is there still. */
bool known_is_another(const struct publication *publication,
                      const struct subscription *subscription);

/* The session has named all that it has: what others know of its connection beside that is gone. */
void resume_complete(struct session *session);

/* A publisher says that a subscription which it listed is no more. */
void resume_forget(struct session *session, const struct message_pair *pair);

/* Whether a seat that is kept for a record can be given away: its process is gone, or can't resume
 * and has connected anew. */
bool resume_free_seat(struct publication *publication);

/* The subscription of that id comes back while its ghost is still here: what the ghost's pairs knew
 * goes into the publications' records. */
void resume_from_ghost(struct session *session, uint64_t id);

/* An older session of the same connection ends before this one names anything. */
void resume_supersede(const struct session *session);

/* ---- requests that are held -------------------------------------------------------------- */

/* Begins to hold; once in a broker's life. */
void resume_begin_grace(struct server *server);

/* Whether the request has to wait; then it was taken over with its descriptors. */
bool resume_holds(struct session *session, struct packet *packet, const char *service);

/* Gives a held request back, to be handled now. */
bool resume_take_held(struct session *session, struct packet *packet);

/* Drops what is held; it is given to the closer. */
void resume_drop_held(struct session *session);

#endif
