/* SPDX-License-Identifier: Apache-2.0 */
/*
 * protocol.h - every byte on the control socket. docs/protocol.md is its document; whoever changes
 * one changes the other and PROTOCOL_VERSION in the same commit.
 *
 * The socket is AF_UNIX, SOCK_SEQPACKET: one message is one packet, with its descriptors. Messages
 * are plain structs in the machine's byte order (both ends are on one machine), padded by hand;
 * unused bytes are zero. wire.c checks each before anybody looks at it.
 *
 *   client                                   broker
 *   HELLO                               ->
 *                                       <-   WELCOME (session page)
 *   ADVERTISE (segment)                 ->
 *                                       <-   SUBSCRIBER_ADDED... then REPLY
 *   SUBSCRIBE (block, channel)          ->
 *                                       <-   PUBLISHER_ADDED... then REPLY
 *   UNADVERTISE, UNSUBSCRIBE            ->
 *   LIST                                ->
 *                                       <-   LISTING... then REPLY
 *   ACKNOWLEDGE                         ->
 *                                       <-   SUBSCRIBER_ADDED, SUBSCRIBER_REMOVED,
 *                                            PUBLISHER_ADDED, PUBLISHER_REMOVED,
 *                                            PUBLISHER_REFUSED
 *   REINTRODUCE                         ->
 *                                       <-   GOODBYE, before the broker ends a session
 *
 * After its broker has died, to the next:
 *
 *   HELLO (RESUME)                      ->
 *                                       <-   WELCOME
 *   KNOWN..., ADVERTISE (RESUME)        ->   for each publisher
 *   KNOWN..., SUBSCRIBE (RESUME)        ->   for each subscription
 *                                       <-   PEER_BACK for pairs that both sides listed; else
 *                                            _ADDED, as for newcomers; a REPLY for each
 *   RESUMED                             ->
 *                                       <-   REPLY
 *   FORGOTTEN                           ->   whenever a listed subscriber turns out to be dead
 *
 * The order of an introduction: the kernel has accepted SUBSCRIBER_ADDED for the publisher's
 * socket; then the `pending` counter in that session's page is raised; only then is
 * PUBLISHER_ADDED sent to the subscriber. A publisher that looks at `pending` before it reads
 * holds therefore knows every subscriber that can hold.
 */
#ifndef SHMD_PROTOCOL_H
#define SHMD_PROTOCOL_H

#include <stdint.h>

#include "layout.h"

#define PROTOCOL_VERSION      2u
#define PROTOCOL_MIN_VERSION  1u
#define PROTOCOL_RESUME_SINCE 2u                   /* what is marked with a 2 */
#define PROTOCOL_MAGIC        UINT32_C(0x646d6873) /* "shmd" */

/* Limits. Each is checked by wire.c or the broker, and has a test that hits it. */
#define PROTOCOL_SERVICE_SIZE    256u /* bytes of a service's name, NUL included */
#define PROTOCOL_TYPE_SIZE       64u  /* of a type's name */
#define PROTOCOL_FIELD_SIZE      48u  /* of a field's name */
#define PROTOCOL_FIELDS_MAX      256u
#define PROTOCOL_TEXT_SIZE       480u /* of an error's text */
#define PROTOCOL_PROGRAM_SIZE    16u
#define PROTOCOL_ADDRESS_SIZE    108u   /* of the socket's path, NUL included: the kernel's limit */
#define PROTOCOL_MESSAGE_MAX     20480u /* bytes of the longest message */
#define PROTOCOL_FDS_MAX         4u     /* descriptors with the message that has most */
#define PROTOCOL_DEPTH_MAX       (1u << 20)
#define PROTOCOL_SUBSCRIBERS_MAX (1u << 16)
#define PROTOCOL_LOANS_MAX       (1u << 16)
#define PROTOCOL_ALIGNMENT_MAX   4096u
#define PROTOCOL_LIST_RECORDS    64u    /* LISTINGs before one REPLY */
#define PROTOCOL_CREDIT          32u    /* introductions a client may leave unread */
#define PROTOCOL_KNOWN_RECORDS   400u   /* peers in one KNOWN */
#define PROTOCOL_KNOWN_MAX       65536u /* peers that one publisher or subscription may list */

enum message_type {
        MESSAGE_HELLO = 1,
        MESSAGE_WELCOME = 2,
        MESSAGE_REPLY = 3,
        MESSAGE_ADVERTISE = 4,
        MESSAGE_SUBSCRIBE = 5,
        MESSAGE_UNADVERTISE = 6,
        MESSAGE_UNSUBSCRIBE = 7,
        MESSAGE_SUBSCRIBER_ADDED = 8,
        MESSAGE_SUBSCRIBER_REMOVED = 9,
        MESSAGE_PUBLISHER_ADDED = 10,
        MESSAGE_PUBLISHER_REMOVED = 11,
        MESSAGE_PUBLISHER_REFUSED = 12,
        MESSAGE_ACKNOWLEDGE = 13,
        MESSAGE_REINTRODUCE = 14,
        MESSAGE_LIST = 15,
        MESSAGE_LISTING = 16,
        MESSAGE_GOODBYE = 17,
        MESSAGE_KNOWN = 18,
        MESSAGE_RESUMED = 19,
        MESSAGE_PEER_BACK = 20,
        MESSAGE_FORGOTTEN = 21,
        MESSAGE_TYPES_END = 22,
};

/* Begins every message. */
struct message {
        uint32_t type;
        uint32_t size;   /* of the whole message, this included */
        uint64_t serial; /* of a request and its REPLY, from 1; 0 in all others */
};

/* A peer, as the broker sees it. */
struct message_peer {
        uint64_t id; /* of the publisher or subscription */
        int32_t pid;
        uint32_t uid;
        char program[PROTOCOL_PROGRAM_SIZE];
};

/* client -> broker, first; no descriptor. The version that both have and that is highest is used.
 */
#define HELLO_NO_MEMBARRIER 1u /* membarrier(2) is refused to this process */
#define HELLO_NO_PROC       2u /* it can't re-open descriptors through /proc/self/fd */
#define HELLO_RESUME        4u /* 2: it was with another broker; RESUMED will follow */
struct message_hello {
        struct message header;
        uint32_t magic; /* PROTOCOL_MAGIC */
        uint32_t version;
        uint32_t min_version;
        uint32_t flags;
        uint64_t connection; /* random, not 0, for life */
};

/*
 * broker -> client; descriptors: the session page; 2: the alive page.
 *
 * Some messages have grown since version 1, always at their end, where a peer of version 1 neither
 * sends nor expects anything. What came is told by the message's size.
 */
struct message_welcome {
        struct message header;
        uint32_t version; /* to be spoken from now on */
        int32_t broker_pid;
        uint64_t session;
        uint64_t alive_offset; /* 2: of the lock's 32-bit word in the alive page */
};
#define MESSAGE_WELCOME_SIZE_1 32u

/* broker -> client: the end of a request. */
#define REPLY_MORE 1u /* LIST: there is more after the last record */
struct message_reply {
        struct message header;
        int32_t code; /* 0 or a negative errno */
        uint32_t flags;
        char text[PROTOCOL_TEXT_SIZE]; /* NUL-terminated; empty if code is 0 */
};

/* broker -> client: the session ends after this, and why. */
struct message_goodbye {
        struct message header;
        int32_t code;
        uint32_t unused;
        char text[PROTOCOL_TEXT_SIZE];
};

struct message_field {
        char name[PROTOCOL_FIELD_SIZE];
        uint64_t offset;
        uint32_t kind;
        uint32_t count;
};

/* The head of a type; its fields end the message. */
struct message_type_head {
        char name[PROTOCOL_TYPE_SIZE];
        uint64_t size;
        uint64_t alignment;
        uint64_t hash; /* shmd_type_hash() */
        uint32_t flags;
        uint32_t n_fields;
};

/* client -> broker; descriptor: the segment, mapped by the publisher, allocated and sealed. */
struct message_advertise {
        struct message header;
        uint64_t publisher; /* its id: random for life, low half not 0 */
        struct ring_geometry geometry;
        uint32_t loans;
        uint32_t max_subscribers;
        uint32_t holds; /* of each subscriber */
        uint32_t flags; /* 2: ADVERTISE_RESUME */
        char service[PROTOCOL_SERVICE_SIZE];
        struct message_type_head type;
        struct message_field fields[];
};
#define ADVERTISE_RESUME 1u /* it has been published before, to those in the KNOWNs before this */

/*
 * client -> broker; descriptors: the block if SUBSCRIBE_BLOCK, then the writing end of the
 * connection's pipe if SUBSCRIBE_CHANNEL. Each is passed with the first subscription that needs
 * it: the pipe and block 0 with the connection's first.
 */
#define SUBSCRIBE_BLOCK     1u
#define SUBSCRIBE_CHANNEL   2u
#define SUBSCRIBE_HOLDS_SET 4u /* `holds` was asked for, so that it is compared */
#define SUBSCRIBE_RESUME    8u /* 2: it was subscribed before, to those in the KNOWNs before this */
struct message_subscribe {
        struct message header;
        uint64_t subscription; /* its id: random for life, low half not 0 */
        uint32_t flags;
        uint32_t holds;      /* words of the row */
        uint32_t min_depth;  /* 0: any */
        uint32_t history;    /* for lists only */
        uint32_t block;      /* which of the connection's blocks, from 0 */
        uint32_t row_offset; /* bytes from the block's start; a multiple of BLOCK_ROW_LINE */
        char service[PROTOCOL_SERVICE_SIZE];
        struct message_type_head type;
        struct message_field fields[];
};

/* client -> broker: UNADVERTISE and UNSUBSCRIBE. No reply. Holds were let go of before. */
struct message_leave {
        struct message header;
        uint64_t id; /* of the publisher or subscription */
};

/*
 * broker -> publisher's connection; descriptors: the subscriber's block, the arming board
 * (read-only), the wake channel's writing end; 2: a pidfd of the subscriber's process. All always;
 * who knows an id closes its copy. Who knows the subscription moves it to this board and channel.
 */
#define CHANNEL_PIPE   1u /* to be re-opened through /proc/self/fd before use */
#define CHANNEL_SOCKET 2u /* to be used with send(MSG_NOSIGNAL | MSG_DONTWAIT) */
struct message_subscriber_added {
        struct message header;
        uint64_t publisher;
        uint64_t connection; /* the subscriber's */
        uint64_t board;      /* id; never given twice, by any broker, like `channel` */
        uint64_t channel;
        uint32_t channel_kind;
        uint32_t block;
        uint32_t row_offset;
        uint32_t n_holds;
        struct message_peer peer; /* id: the subscription */
        uint64_t start;           /* 2: as in PUBLISHER_ADDED */
        uint32_t flags;           /* 2: SUBSCRIBER_NO_MEMBARRIER */
        uint32_t unused;
};
#define SUBSCRIBER_NO_MEMBARRIER        1u /* it may not call membarrier(2) when it goes to sleep */
#define MESSAGE_SUBSCRIBER_ADDED_SIZE_1 96u

/*
 * broker -> publisher's connection. `final`: the subscriber has let go of all it held or its
 * process is gone; until then its holds count.
 */
struct message_subscriber_removed {
        struct message header;
        uint64_t publisher;
        uint64_t subscription;
        uint32_t final;
        uint32_t unused;
};

/*
 * broker -> subscriber's connection; descriptors: the segment, the arming board (for writing),
 * if PUBLISHER_CHANNEL the reading end of a socket on which publishers of that user ring; 2: a
 * pidfd of the publisher's process. Who knows the publisher moves it to this board.
 */
#define PUBLISHER_CHANNEL 1u
struct message_publisher_added {
        struct message header;
        uint64_t subscription;
        uint64_t board;
        uint64_t channel; /* id of the socket, or 0 */
        uint32_t flags;
        uint32_t holds; /* the most that this subscription may hold of this publisher */
        uint64_t start; /* the publisher's newest message before it was told of the subscription, or
                         * 0 if it came after it: what follows is taken or counted as lost */
        struct ring_geometry geometry;
        struct message_peer peer; /* id: the publisher */
        uint64_t connection;      /* 2: the publisher's */
};
#define MESSAGE_PUBLISHER_ADDED_SIZE_1 144u

/* broker -> subscriber's connection. REFUSED: the publisher is there but can't be read. */
#define REFUSED_SEATS 1u /* all max_subscribers are taken */
#define REFUSED_LIMIT 2u /* it keeps fewer samples than min_depth, or grants fewer holds */
struct message_publisher_gone {
        struct message header;
        uint64_t subscription;
        uint64_t publisher;
        uint32_t reason; /* REFUSED_..., or 0 in PUBLISHER_REMOVED */
        uint32_t unused;
};

/* client -> broker: so many _ADDED messages were read since the last. */
struct message_acknowledge {
        struct message header;
        uint32_t count;
        uint32_t unused;
};

/* client -> broker: the descriptors of an _ADDED message were lost; send it again. `pid`: the
 * peer's, as that message said; who is unknown to the broker and has no process is REMOVED. */
#define REINTRODUCE_SUBSCRIBER 1u /* to the publisher */
#define REINTRODUCE_PUBLISHER  2u /* to the subscriber */
struct message_reintroduce {
        struct message header;
        uint64_t publisher;
        uint64_t subscription;
        uint32_t which;
        int32_t pid; /* 2 */
};

/* A peer that a publisher or subscription knows from a broker that is no more. */
struct message_known_peer {
        uint64_t id;         /* of the subscription or publisher */
        uint64_t connection; /* its connection's */
        uint64_t inode;      /* of its block or segment; 0: its introduction was lost */
        uint64_t board;      /* by which it is woken, or wakes */
        uint64_t start;      /* of a subscription: as its introduction said */
        int32_t pid;         /* likewise */
        uint32_t unused;
};

/* 2, client -> broker: peers of the publisher or subscription whose resuming request comes next; as
 * many of these as it takes. */
struct message_known {
        struct message header;
        uint64_t owner; /* id of the publisher or subscription */
        uint32_t count;
        uint32_t unused;
        struct message_known_peer peers[];
};

/* 2, client -> broker: every publisher and subscription that the connection has was named, and
 * answered. A REPLY follows. */
struct message_resumed {
        struct message header;
};

/* 2. PEER_BACK, broker -> client: each has listed the other; they go on as before. FORGOTTEN,
 * publisher -> broker: a subscription that it listed is no more. */
struct message_pair {
        struct message header;
        uint64_t publisher;
        uint64_t subscription;
        uint32_t which; /* PEER_BACK: REINTRODUCE_..., the one that is back; FORGOTTEN: 0 */
        uint32_t unused;
};

/* client -> broker: services in the order of their names, from after `service` with its first
 * `skip` records, or from the beginning if it is empty. */
struct message_list {
        struct message header;
        uint32_t skip;
        uint32_t unused;
        char service[PROTOCOL_SERVICE_SIZE];
};

/* broker -> client: one record, as struct shmd_listing. serial: that of the LIST. */
struct message_listing {
        struct message header;
        uint32_t what;
        uint32_t publishers;
        uint32_t subscribers;
        uint32_t depth;
        uint32_t type_flags;
        uint32_t holds;
        uint64_t type_hash;
        uint64_t type_size;
        uint64_t max_size;
        uint64_t segment_size;
        uint64_t sequence;
        struct message_peer peer;
        char service[PROTOCOL_SERVICE_SIZE];
        char type[PROTOCOL_TYPE_SIZE];
};

_Static_assert(sizeof(struct message) == 16, "part of the protocol");
_Static_assert(sizeof(struct message_peer) == 32, "part of the protocol");
_Static_assert(sizeof(struct message_hello) == 40, "part of the protocol");
_Static_assert(sizeof(struct message_welcome) == 40, "part of the protocol");
_Static_assert(sizeof(struct message_reply) == 504, "part of the protocol");
_Static_assert(sizeof(struct message_field) == 64, "part of the protocol");
_Static_assert(sizeof(struct message_type_head) == 96, "part of the protocol");
_Static_assert(sizeof(struct message_advertise) == 448, "part of the protocol");
_Static_assert(sizeof(struct message_subscribe) == 400, "part of the protocol");
_Static_assert(sizeof(struct message_leave) == 24, "part of the protocol");
_Static_assert(sizeof(struct message_subscriber_added) == 112, "part of the protocol");
_Static_assert(sizeof(struct message_subscriber_removed) == 40, "part of the protocol");
_Static_assert(sizeof(struct message_publisher_added) == 152, "part of the protocol");
_Static_assert(sizeof(struct message_publisher_gone) == 40, "part of the protocol");
_Static_assert(sizeof(struct message_acknowledge) == 24, "part of the protocol");
_Static_assert(sizeof(struct message_reintroduce) == 40, "part of the protocol");
_Static_assert(sizeof(struct message_known_peer) == 48, "part of the protocol");
_Static_assert(sizeof(struct message_known) == 32, "part of the protocol");
_Static_assert(sizeof(struct message_pair) == 40, "part of the protocol");
_Static_assert(sizeof(struct message_known) +
                               PROTOCOL_KNOWN_RECORDS * sizeof(struct message_known_peer) <=
                       PROTOCOL_MESSAGE_MAX,
               "a list has a limit");
_Static_assert(sizeof(struct message_list) == 280, "part of the protocol");
_Static_assert(sizeof(struct message_listing) == 432, "part of the protocol");
_Static_assert(sizeof(struct message_advertise) +
                               PROTOCOL_FIELDS_MAX * sizeof(struct message_field) <=
                       PROTOCOL_MESSAGE_MAX,
               "the longest message has a limit");

#endif
