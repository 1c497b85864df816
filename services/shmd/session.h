/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.h - one client: its socket, its process, its page, and what it is owed.
 *
 *                 HELLO                bad message, too much unread
 *    NEW ---------------------> OPEN ---------------------------------+
 *     |                           |                                   |
 *     +------ bad message --------|-----------------------------------+
 *     |                           | end of file, process ended        |
 *     +------ end of file --------+                                   v
 *                                 +--------------------------->  ENDING
 *                                                                     | session_end(): publications
 *                   process ended, or no row is held any more         | and subscriptions leave,
 *       freed <---------------------------------------------- GHOST <-+ the socket is closed
 *
 * A session costs two descriptors while it is idle, its socket and its pidfd, one page of shared
 * memory, and no buffers: messages are read into the server's one packet and written straight
 * from where they are made. What the kernel does not take is copied into a queue.
 *
 * The order of what a client is sent. Replies, listings and notices (REMOVED) keep their order: as
 * long as the queue is not empty all of them go to its end. Introductions carry descriptors, are
 * never queued as messages and wait in `waiting` until the queue is empty, the kernel takes them
 * and the client has credit. So an introduction never overtakes the notice that ended the one
 * before it, and a notice is only ever queued for what the kernel has taken.
 *
 * Notices are bounded by the client's introductions, which it acknowledged but for PROTOCOL_CREDIT.
 * Replies and listings are bounded by SESSION_REPLIES_MAX: who asks on and on without reading is
 * dropped.
 */
#ifndef SHMD_BROKER_SESSION_H
#define SHMD_BROKER_SESSION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "list.h"
#include "protocol.h"
#include "quota.h"
#include "resume.h"
#include "segment.h"

/* Limits for each connection, beside the number of descriptors that the broker may have. */
#define SESSION_REPLIES_MAX       1024u
#define SESSION_PUBLICATIONS_MAX  4096u
#define SESSION_SUBSCRIPTIONS_MAX 4096u
#define SESSION_BLOCKS_MAX        256u
/* Introductions that may be unread when the broker's descriptors in flight are scarce, and of those
 * to which any one user other than the client's has led by joining. */
#define SESSION_CREDIT_SCARCE 4u
#define SESSION_CREDIT_OTHER  8u
/* Messages handled before others have their turn. */
#define SESSION_BURST 32u

struct held_request;
struct server;

enum session_state {
        SESSION_NEW,
        SESSION_OPEN,
        SESSION_ENDING,
        SESSION_GHOST,
};

/* Who ended it, in the order of what may be concluded from it. */
enum session_end {
        SESSION_ENDED_BY_BROKER,  /* the client may go on to take and hold */
        SESSION_ENDED_BY_CLIENT,  /* its socket has ended: likewise, unless it has unsubscribed */
        SESSION_ENDED_BY_PROCESS, /* the process is gone, and with it all that it held */
};

/* Memory of the client's in which its subscriptions have rows. */
struct session_block {
        int fd;
        struct charge segment, bytes;
        uint32_t n_subscriptions; /* ghosts too */
};

struct session {
        uv_poll_t poll;     /* its socket */
        uv_poll_t pid_poll; /* its process */
        unsigned n_handles; /* of these two, that are open or being closed */
        int poll_events;    /* that `poll` watches now */
        struct server *server;
        struct list link;             /* server.sessions */
        struct list dirty_link;       /* server.dirty */
        struct list ending_link;      /* server.ending */
        struct list retry_link;       /* server.retrying */
        struct list publications;     /* publication.session_link */
        struct list subscriptions;    /* subscription.session_link */
        struct list ghosts;           /* subscription.session_link; each of these stays charged */
        struct list channels;         /* wake_channel.link */
        struct list waiting;          /* introduction.link */
        struct list queue;            /* outgoing.link */
        struct list replies;          /* outgoing.link: held back until `waiting` is empty */
        struct session_block *blocks; /* [n_blocks]; fd -1: not passed yet */
        uint32_t n_blocks;
        enum session_state state;
        enum session_end ended_by;
        bool is_full;    /* the kernel takes no more until the socket is writable */
        bool is_broken;  /* it never will */
        bool is_starved; /* nothing is read until descriptors may be had for it, or closed */
        bool skips_one;  /* what comes next was answered without its descriptors */
        int fd;
        int pid_fd;
        int pipe_fd; /* the writing end on which publishers of the same user ring */
        uint64_t pipe_number;
        struct segment page;
        uint64_t page_word; /* what stands in the page */
        uint64_t number;    /* of the session */
        uint64_t connection;
        uint32_t version; /* of the protocol */
        uint32_t hello_flags;
        uint32_t n_unacknowledged;     /* introductions */
        uid_t unread[PROTOCOL_CREDIT]; /* by whose joining they came, from n_acknowledged on */
        uint32_t n_acknowledged;       /* runs free; an index modulo PROTOCOL_CREDIT */
        uint32_t n_replies;            /* in `queue` and `replies` */
        uint32_t n_publications;
        uint32_t n_subscriptions;      /* ghosts too */
        uint32_t n_no_asym;            /* pairs because of which SESSION_NO_ASYM is set */
        bool is_resuming;              /* it said so, and RESUMED has not come yet */
        bool has_resumed;              /* RESUMED has come */
        bool has_stranded;             /* something of it could not be taken over */
        struct known_list known;       /* of the request that comes next */
        struct held_request *held;     /* until the grace is over; nothing is read meanwhile */
        struct quota_account *account; /* its user's */
        struct charge charge;          /* for the session */
        struct charge unread_charge;   /* for n_unacknowledged */
        uid_t uid;
        pid_t pid;
        char program[PROTOCOL_PROGRAM_SIZE];
};

/* Finds out what the process is called: only when somebody has to be told, since it takes the time
 * of a few system calls. */
void session_name(struct session *session);

/* Starts a session on an accepted socket, whose peer is `who`, takes it over, and handles what has
 * arrived. 0 or a negative errno. */
int session_new(struct server *server, const struct ucred *who, int *socket_fd);

/* Drops a client for what it did: says so in one line of log and in a GOODBYE; session_end() comes
 * with server_settle(). */
void session_fail(struct session *session, int code, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* Ends what session_fail(), an end of file or a death has left. Frees the session unless a ghost
 * stays. */
void session_end(struct session *session);

/* Ends it at once, out of turn: a session of the same connection follows it. It must not be in
 * anybody's hands. */
void session_end_now(struct session *session);

/* Handles the request that was held, and what came after it. */
void session_go_on(struct session *session);

/* A ghost has lost its last pair. */
void session_ghost_gone(struct session *session);

/* Lets everything go, without telling the client, for the end of the broker. */
void session_abandon(struct session *session);

/* Opens it: the version is settled. Makes the page and sends WELCOME. */
void session_welcome(struct session *session, const struct message_hello *hello, uint32_t version);

/* Sends a reply, listing or notice now or in its turn. Never blocks, never fails: a client that
 * can't be served ends. */
void session_send(struct session *session, const void *message);

/* The same for the reply to a request that may have led to introductions to the requester: after
 * those. An empty text stands for error_text(), if code is not 0. */
void session_reply(struct session *session, uint64_t serial, int code, uint32_t flags);

/* Sends an introduction with its descriptors, to which `joiner` has led. 0: the kernel has it, and
 * the page's counter has been raised; -EAGAIN: not now, session_flush() will come again. */
int session_introduce(struct session *session, uid_t joiner, const void *message, const int *fds,
                      unsigned n_fds);

/* An introduction could not even be made, for want of descriptors or memory. -EAGAIN. */
int session_retry(struct session *session);

/* Notes that there may be something to send. */
void session_mark(struct session *session);

/* Sends what can be sent; called by server_settle(). */
void session_flush(struct session *session);

/* Keeps messages in store, so that those who are owed one get it when there is no memory for a
 * while; frees them. */
void outbox_refill(struct server *server);
void outbox_deinit(struct server *server);

/* Drops what has not been sent. */
void session_discard(struct session *session);

/* The client has read so many introductions; at most n_unacknowledged. */
void session_acknowledge(struct session *session, uint32_t count);

/* Whether one more introduction may be sent at all, and one to which `joiner` has led: who is
 * asleep for good reason, as a publisher with nothing to publish is, keeps credit for others when
 * one user comes again and again. If not, acknowledging gives more. */
bool session_has_credit(const struct session *session);
bool session_has_credit_for(struct session *session, uid_t joiner);

/* Makes a client that polls look at its socket. */
void session_raise(struct session *session);

/* Watches for what the session waits for. */
void session_watch(struct session *session);

/* Raises or clears SESSION_NO_ASYM as pairs come and go. */
void session_forbid_asym(struct session *session);
void session_allow_asym(struct session *session);

/* Whether messages can still be exchanged. */
bool session_is_served(const struct session *session);

#endif
