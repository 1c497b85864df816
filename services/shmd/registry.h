/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry.h - what there is: services, who publishes them, who subscribes to them, and which of
 * them belong together.
 *
 *     service --< publication --< pair >-- subscription >-- service
 *                     |                        |
 *                  session                  session
 *
 * A *service* is there from its first publication or subscription, which fixes its type, to its
 * last. A *publication* is one publisher with its segment; a *subscription* one reader with its
 * row in one of its connection's blocks. Each two of one service make a *pair* (introduce.h),
 * which says how far the two have been introduced to each other.
 *
 * A subscription whose client has left while samples may still be held is a *ghost*: it is in its
 * session's list of ghosts and no longer in the service; it keeps its id, its pairs and with them
 * the publishers' seats. It ends with its last pair.
 *
 * Here is only the bookkeeping: no message is sent, nobody is told.
 *
 * Ids are random, and their owners' for life. A new one may not be that of another, nor may two
 * publications of one service that are new have the same low half, since holds name publishers by
 * it. But who resumes may: peers know an id, and one of them could claim it before its owner has
 * come back. Then both are here, and which of them a peer means is for the two to say: introduce.c.
 * So ids that a client names are looked up among what is its own.
 */
#ifndef SHMD_BROKER_REGISTRY_H
#define SHMD_BROKER_REGISTRY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "layout.h"
#include "list.h"
#include "protocol.h"
#include "quota.h"
#include "resume.h"

struct closer;
struct session;
struct spares;

#define REGISTRY_BUCKETS 512u

struct registry {
        struct list publications[REGISTRY_BUCKETS];  /* publication.id_link */
        struct list subscriptions[REGISTRY_BUCKETS]; /* subscription.id_link */
        struct service **services;                   /* in the order of their names */
        size_t n_services, room;
        uint64_t last_number; /* the last id given to a board or channel; begins at random */
        struct closer *closer;
        struct spares *spares;
};

struct service {
        struct list publications;  /* publication.service_link */
        struct list subscriptions; /* subscription.service_link */
        struct list boards;        /* arming_board.link */
        struct list users;         /* service_user.link */
        uint32_t n_publications;
        uint32_t n_subscriptions; /* ghosts are not counted */
        char name[PROTOCOL_SERVICE_SIZE];
        struct message_type_head type;
        struct message_field fields[]; /* type.n_fields */
};

/* Where subscribers of one user say that they go to sleep; one for each user of a service. */
struct arming_board {
        struct list link; /* service.boards */
        uint64_t number;
        uid_t uid;
        uint32_t n_subscriptions;
        int write_fd; /* for subscribers */
        int read_fd;  /* for publishers */
};

/* One user's part in a service. */
struct service_user {
        struct list link; /* service.users */
        uint32_t n;       /* its publications and subscriptions in it; ghosts are not counted */
        struct charge charge;
};

struct publication {
        struct list id_link;      /* registry.publications */
        struct list service_link; /* service.publications */
        struct list session_link; /* session.publications */
        struct list pairs;        /* pair.publication_link */
        struct service *service;
        struct session *session;
        uint64_t id;
        struct ring_geometry geometry;
        uint32_t max_subscribers;
        uint32_t holds;          /* for each subscriber, at most */
        uint32_t n_seats;        /* taken, or kept for who is known */
        uint32_t n_seats_wanted; /* pairs refused for want of one */
        bool is_resumed;         /* it was published before this broker was there */
        struct known_list known; /* each has a seat */
        struct list shares;      /* seat_share.link */
        struct service_user *service_user;
        struct charge segment, bytes;
        int segment_fd;
        uint64_t sequence; /* the newest, as of sequence_time; for lists */
        uint64_t sequence_time;
};

struct subscription {
        struct list id_link;      /* registry.subscriptions */
        struct list service_link; /* service.subscriptions; a ghost's: none */
        struct list session_link; /* session.subscriptions or session.ghosts */
        struct list pairs;        /* pair.subscription_link */
        struct service *service;  /* valid as long as it is no ghost or has pairs */
        struct session *session;
        struct arming_board *board; /* NULL: a ghost */
        uint64_t id;
        uint32_t holds;
        bool holds_set; /* holds were asked for: to be compared with the publisher's */
        bool is_ghost;
        bool may_take_on; /* a ghost that has not unsubscribed: only its process's end counts */
        uint32_t min_depth;
        uint32_t history;
        uint32_t block;
        uint32_t row_offset;
        bool is_resumed; /* it was subscribed before this broker was there */
        struct known_list known;
        struct service_user *service_user; /* NULL: a ghost */
        struct charge charge;
};

/* Its newest message, read from its ring; 0: none, or its segment can't be mapped. */
uint64_t publication_newest(const struct publication *publication);

void registry_init(struct registry *registry, struct closer *closer, struct spares *spares);
/* Everything has left before. */
void registry_deinit(struct registry *registry);

/* A number that boards and channels are told apart by, never given twice, nor by another broker. */
uint64_t registry_number(struct registry *registry);

/* The service, or NULL. */
struct service *registry_find(const struct registry *registry, const char *name);

/* The index of the first service whose name is not before `name`; perhaps n_services. */
size_t registry_position(const struct registry *registry, const char *name);

/* The session's own of that id, or NULL; `session` NULL: anybody's. */
struct publication *registry_find_publication(const struct registry *registry,
                                              const struct session *session, uint64_t id);
struct subscription *registry_find_subscription(const struct registry *registry,
                                                const struct session *session, uint64_t id);

/* Whether another one has the same id. */
bool publication_has_twin(const struct publication *publication, const struct registry *registry);
bool subscription_has_twin(const struct subscription *subscription,
                           const struct registry *registry);

/* The service of that name, made if it isn't there, in *service. -EPROTOTYPE: it has another
 * type; -ENOMEM; with a text. Who then makes nothing of it calls registry_drop_if_empty(). */
int registry_open(struct registry *registry, struct service **service, const char *name,
                  const struct message_type_head *type, const struct message_field *fields);
void registry_drop_if_empty(struct registry *registry, struct service *service);

/* Makes the publication and takes over *segment_fd. 0; -EEXIST: the id or tag is taken; -EDQUOT,
 * -ENOMEM; with a text. */
int publication_new(struct publication **publication, struct registry *registry,
                    struct session *session, struct service *service,
                    const struct message_advertise *advertise, int *segment_fd);
/* It has no pairs left. */
void publication_free(struct publication *publication, struct registry *registry);

/* Makes the subscription and its user's board. 0; -EEXIST, -EDQUOT, -ENOMEM, -EMFILE...; with a
 * text. */
int subscription_new(struct subscription **subscription, struct registry *registry,
                     struct session *session, struct service *service,
                     const struct message_subscribe *subscribe);
/* Takes it out of its service, which stays (registry_drop_if_empty()). */
void subscription_make_ghost(struct subscription *subscription);
/* It has no pairs left. */
void subscription_free(struct subscription *subscription, struct registry *registry);

#endif
