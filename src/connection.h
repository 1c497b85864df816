/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connection.h - what is inside `struct shmd`, a publisher and a subscriber.
 *
 * connection.c talks to the broker, publisher.c and subscriber.c hold one public object each,
 * waiting.c puts a connection to sleep, in its own loop or the user's. All of a connection belongs
 * to one thread; nothing here is locked.
 *
 *   struct shmd ── publishers ── struct shmd_publisher ── doorbell ── members ── block, channel
 *        │  │
 *        │  └───── subscribers ── struct shmd_subscriber ── attachments ── segment, board
 *        └── socket, session page, own blocks and pipe, loop
 */
#ifndef SHMD_CONNECTION_H
#define SHMD_CONNECTION_H

#include <stdbool.h>
#include <uv.h>

#include <shmd/shmd.h>

#include "doorbell.h"
#include "list.h"
#include "ring.h"
#include "segment.h"
#include "socket.h"

/* A foreign control block, shared by a connection's publishers. */
struct block {
        struct list link; /* shmd.blocks */
        uint64_t connection;
        uint32_t index;
        unsigned references;
        struct segment memory;
};

/* A control block of our own. `used` has a byte for each line of rows. */
#define BLOCK_LINES ((BLOCK_SIZE - sizeof(struct block_header)) / BLOCK_ROW_LINE)
struct own_block {
        struct list link; /* shmd.own_blocks */
        uint32_t index;
        bool is_passed; /* the broker has it */
        struct segment memory;
        unsigned char used[BLOCK_LINES];
};

/* A descriptor on which publishers of one user ring; read by libuv, or directly when asleep. */
struct ear {
        struct list link; /* shmd.ears */
        struct shmd *bus;
        uint64_t id; /* 0: the connection's own pipe */
        int fd;      /* owned by `handle` */
        uv_pipe_t handle;
};

/* Somebody has come or gone, and a callback is still to be told. Made when the peer is attached, so
 * that no want of memory keeps anything from being told later. */
struct event {
        struct list link; /* shmd.events, when it has come about */
        void *owner;      /* the publisher or subscriber */
        shmd_peer_callback callback;
        void *user;
        struct shmd_peer peer;
        int present;
};

/* An introduction whose descriptors were lost, or for which there was no memory; it is asked for
 * again from time to time. As many as may be lost at once are in store: without one, introductions
 * are not acknowledged. */
#define ASK_AGAIN_NS UINT64_C(10000000)
struct missing {
        struct list link; /* shmd.missing, or shmd.spare_missing */
        uint32_t which;   /* REINTRODUCE_... */
        uint64_t publisher;
        uint64_t subscription;
};

/* What a caller may give to a call, in a build with checks; call.c. */
struct open_handle {
        struct list link;
        const void *address;
        struct shmd *bus;
};

struct shmd {
#if SHMD_CHECKS
        struct open_handle handle;
        unsigned n_calls; /* of calling_thread, one inside the other */
        const void *calling_thread;
#endif
        /* The broker. */
        int socket;
        bool is_connected;
        bool is_loss_told; /* shmd_wait() or shmd_dispatch() has said -ENOTCONN */
        uint64_t id;
        uint32_t hello_flags;
        uint64_t next_serial;
        struct segment page;
        const uint64_t *word; /* in the page */
        uint64_t seen_word;   /* when messages were last taken in */
        uint32_t owed;        /* _ADDED messages read and not yet acknowledged */
        struct packet *packet;
        int *reserve; /* descriptors kept free for introductions */
        uint32_t n_reserve, reserve_target;

        /* What was opened. */
        struct list publishers;  /* struct shmd_publisher */
        struct list subscribers; /* struct shmd_subscriber */
        struct list channels;    /* struct channel */
        struct list blocks;      /* struct block */
        struct list own_blocks;  /* struct own_block */
        struct list bumped;      /* struct bumped_board */
        struct list events;      /* struct event */
        struct list missing;     /* struct missing */
        struct list spare_missing;
        uint32_t n_spare_missing;
        uint64_t asked_ns; /* when the missing ones were last asked for */

        /* Sleeping; waiting.c. */
        uv_loop_t *loop;
        uv_loop_t own_loop;
        bool owns_loop;
        bool needs_turn;    /* handles have changed since the loop last ran */
        bool is_armed;      /* the armed word is odd */
        bool is_rung;       /* frames were drained since it was armed */
        bool must_look;     /* something may be there that nobody will ring for */
        bool peers_changed; /* since the last shmd_wait() */
        bool is_dispatching;
        unsigned n_lists; /* calls of shmd_list() whose callbacks run */
        bool is_closing;
        bool is_inherited; /* closed in a forked child */
        bool is_turning;   /* there: the caller's loop is the child's own */
        uint64_t armed;
        uint32_t spin_ns;    /* 0: adaptive */
        uint64_t passes;     /* of deliver_samples() */
        uint64_t usual_ns;   /* how long a wait usually takes */
        uint32_t vain_spins; /* waits in a row that had to sleep */
        int pipe_write;      /* our own end of our own pipe: so that it never reads as ended */
        bool pipe_is_passed;
        unsigned n_handles; /* not closed yet; the last frees the connection */
        struct list ears;   /* struct ear */
        uv_poll_t *socket_handle;
        uv_prepare_t prepare;
        uv_check_t check;
        uv_idle_t idle;
        uv_timer_t again; /* asks for what is missing */

        uint64_t *guard; /* reads 0 in a forked child */
};

struct shmd_publisher {
#if SHMD_CHECKS
        struct open_handle handle;
#endif
        struct list link; /* shmd.publishers */
        struct shmd *bus;
        uint64_t id;
        bool is_variable;
        bool wants_asym; /* registered for membarrier */
        /* Subscribers that were introduced but could not be attached: while there are any, nothing
         * is recycled, since their holds can't be seen. */
        uint32_t n_missing;
        uint32_t n_subscribers; /* members that are not leaving */
        uint32_t n_loaned, loans_max, holds, max_subscribers;
        void *last_loan; /* the fast way back from a sample to its chunk */
        uint32_t last_chunk;
        uint64_t min_size;
        struct ring_writer ring;
        struct doorbell doorbell;
        struct segment memory;
        void *scratch;
        shmd_peer_callback on_subscriber;
        void *user;
        char service[PROTOCOL_SERVICE_SIZE];
};

/* A publisher that a subscriber reads. */
struct attachment {
        struct shmd_peer peer;
        struct ring_reader ring;
        struct segment memory;
        struct bumped_board *board;
        struct event *come, *gone; /* to be told */
        uint32_t holds;            /* at once, at most */
        uint32_t n_held;
        bool is_gone; /* drained, then detached */
};

struct held {
        struct attachment *attachment; /* NULL: free */
        uint64_t sequence;
};

struct shmd_subscriber {
#if SHMD_CHECKS
        struct open_handle handle;
#endif
        struct list link; /* shmd.subscribers */
        struct shmd *bus;
        uint64_t id;
        struct own_block *block;
        uint32_t row_offset;
        uint64_t *holds;   /* the row */
        struct held *held; /* [n_holds] */
        uint32_t *free_holds;
        uint32_t n_holds, n_free_holds;
        uint32_t history;
        struct attachment **attachments; /* n_attachments of them */
        uint32_t n_attachments, n_gone, turn;
        uint64_t *refused; /* [n_refused] ids of publishers that it can't read */
        uint32_t n_refused;
        uint32_t empty_takes;
        uint64_t pass; /* the last pass in which it was called back */
        uint64_t taken, lost;
        shmd_sample_callback on_sample;
        shmd_peer_callback on_publisher;
        void *user;
        char service[PROTOCOL_SERVICE_SIZE];
};

/* How long the broker may take to answer. It is only ever late when the machine is. */
#define REPLY_TIMEOUT_NS (UINT64_C(5) * 1000000000)

/* ---- connection.c ----------------------------------------------------------------------- */

/* Sets the text; returns -ECHILD. */
int connection_in_child(void);

/* 0; -ECHILD with a text in a forked child. */
static inline int connection_guard(const struct shmd *bus)
{
        return __builtin_expect(*bus->guard != 0, 1) ? 0 : connection_in_child();
}

/* Whether it is the parent's of this forked process. Then nothing that the two share may be
 * written, read from or shut down: only this process's descriptors and mappings are its own. */
static inline bool connection_is_inherited(const struct shmd *bus)
{
        return bus->is_inherited || (bus->guard && !*bus->guard);
}

/* Closes memory that this connection writes. */
static inline void connection_close_memory(const struct shmd *bus, struct segment *memory)
{
        if (connection_is_inherited(bus))
                segment_close_inherited(memory);
        else
                segment_close(memory);
}

/* Makes an event to come; NULL if there is no callback. False: no memory. */
bool connection_event_new(struct event **event, void *owner, shmd_peer_callback callback,
                          void *user);
/* Notes that a peer has come or gone; takes the event over. */
void connection_event(struct shmd *bus, struct event **event, const struct shmd_peer *peer,
                      int present);
/* Forgets the events of an object that closes. */
void connection_forget_events(struct shmd *bus, const void *owner);

/* ---- call.c ------------------------------------------------------------------------------ */

/*
 * The beginning of every public call on a connection, a publisher or a subscriber.
 *
 * In every build a call of a forked child on what is its parent's is refused. In a build with
 * checks (meson's option `checks`: on in debug builds) a call also finds out
 *
 *   - that its handle is none that is open: NULL, closed before, or something else,
 *   - that a pointer which has to be given is NULL,
 *   - that another thread is in a call on the same connection,
 *
 * at the price of a lock for each call. Without checks all that costs nothing: the functions that
 * are called once for a sample look at nothing but the guard.
 */
#if SHMD_CHECKS

/* A call under way; ended by leaving the block. */
struct call {
        struct shmd *bus;
};
void call_end(struct call *call);
#define CALL(name) __attribute__((cleanup(call_end))) struct call name = {NULL}

/* 0; -EINVAL, -EBADF, -EBUSY, -ECHILD with a text. `argument` must not be NULL either. */
int call_begin(struct call *call, const void *handle, const char *kind, const void *argument,
               const char *function);

/* A handle that is open from now on, and one that is no longer. */
void call_admit(struct open_handle *handle, const void *address, struct shmd *bus);
void call_dismiss(struct open_handle *handle);

#define call_on_connection(call, bus, argument) \
        call_begin(call, bus, "connection", argument, __func__)
#define call_on_publisher(call, publisher, argument) \
        call_begin(call, publisher, "publisher", argument, __func__)
#define call_on_subscriber(call, subscriber, argument) \
        call_begin(call, subscriber, "subscriber", argument, __func__)

/* The connection ends with this call. */
static inline void call_ends_connection(struct call *call)
{
        call->bus = NULL;
}

#else

struct call {
        char nothing;
};
#define CALL(name) struct call name

#define call_on_connection(call, bus, argument) ((void)(call), connection_guard(bus))
#define call_on_publisher(call, publisher, argument) \
        ((void)(call), connection_guard((publisher)->bus))
#define call_on_subscriber(call, subscriber, argument) \
        ((void)(call), connection_guard((subscriber)->bus))
#define call_admit(handle, address, bus) ((void)0)
#define call_dismiss(handle)             ((void)0)
#define call_ends_connection(call)       ((void)(call))

#endif

/* For calls that nobody makes for every sample: NULL is -EINVAL in every build. */
int call_lacks(const char *function, const char *what);

/* ---- conversation.c ---------------------------------------------------------------------- */

/* Takes in all messages that are there. 0, or -ENOTCONN after the connection was lost. */
int connection_intake(struct shmd *bus);

/* Sends a request and waits for its reply, taking in what comes before. 0 or the reply's negative
 * code, with a text; -ENOTCONN, -ETIMEDOUT. `flags`: the reply's, or NULL. */
struct listing_sink {
        struct message_listing *listings; /* [PROTOCOL_LIST_RECORDS], n_listings of this request */
        uint32_t n_listings;
        char service[PROTOCOL_SERVICE_SIZE]; /* of the last record */
        uint32_t n_records;                  /* of that service, so far */
};
int connection_request(struct shmd *bus, struct message *message, const int *fds, unsigned n_fds,
                       struct listing_sink *sink, uint32_t *flags);

/* Sends a message that has no reply, for as long as a reply may take; what can't be sent then is
 * lost with the connection. */
void connection_tell(struct shmd *bus, const struct message *message);

/* Notes that an introduction could not be taken, and asks for it again; found: it was, or it is no
 * longer needed. False: it was noted before, or wasn't. */
bool connection_miss(struct shmd *bus, uint32_t which, uint64_t publisher, uint64_t subscription);
bool connection_found(struct shmd *bus, uint32_t which, uint64_t publisher, uint64_t subscription);
/* Stores as many struct missing as may be needed at once; frees them. 0 or -ENOMEM. */
int connection_store_missing(struct shmd *bus);
void connection_drop_missing(struct shmd *bus);

/* Keeps descriptors free for introductions to `n` seats. 0 or -EMFILE, with a text; then it keeps
 * as many as before. */
int connection_reserve(struct shmd *bus, uint32_t n);
/* No more than that are needed from now on; 0: none. */
void connection_release(struct shmd *bus, uint32_t n);

/* Sends, however long the queue; receives one checked message (1; 0: nothing there); waits until
 * the socket is ready for `events`. 0 or a negative errno, with a text. */
int connection_send(struct shmd *bus, const struct message *message, const int *fds, unsigned n_fds,
                    uint64_t deadline);
int connection_receive(struct shmd *bus);
int connection_await(const struct shmd *bus, short events, uint64_t deadline);

/* Notes that the broker is gone; returns -ENOTCONN, with a text. */
int connection_lose(struct shmd *bus, const char *reason);

/* ---- members.c, publisher.c ------------------------------------------------------------- */

void publisher_added(struct shmd *bus, const struct message_subscriber_added *added,
                     struct packet *packet);
void publisher_removed(struct shmd *bus, const struct message_subscriber_removed *removed);
void member_free(struct member *member);
void publisher_allow_asym(struct shmd_publisher *publisher, bool allowed);

/* ---- row.c ------------------------------------------------------------------------------ */

/* Finds room for the subscriber's n_holds, in a new block if need be; gives it back. */
int row_claim(struct shmd_subscriber *subscriber);
void row_return(struct shmd_subscriber *subscriber);

/* ---- subscriber.c ----------------------------------------------------------------------- */

void subscriber_added(struct shmd *bus, const struct message_publisher_added *added,
                      struct packet *packet);
void subscriber_gone(struct shmd *bus, const struct message_publisher_gone *gone);
/* Whether shmd_take() has something to do. */
bool subscriber_ready(struct shmd_subscriber *subscriber);
/* Whether a publisher that it reads leaves its fences to who arms. */
bool subscriber_wants_membarrier(const struct shmd_subscriber *subscriber);

/* ---- waiting.c -------------------------------------------------------------------------- */

/* Arms, if it isn't, and looks once more. True: something is there, and it is not armed. */
bool waiting_arm_and_look(struct shmd *bus);
void waiting_disarm(struct shmd *bus);
/* Runs the callbacks that are due. */
void waiting_deliver(struct shmd *bus);

/* ---- waiting-handles.c ------------------------------------------------------------------- */

int waiting_init(struct shmd *bus, uv_loop_t *loop);
/* Watches the socket; called once it is connected. */
int waiting_watch_socket(struct shmd *bus);
/* Stops watching it, and closes it. */
void waiting_drop_socket(struct shmd *bus);
/* Makes the connection's own pipe, once; -> its writing end in bus->pipe_write. */
int waiting_make_pipe(struct shmd *bus);
/* Listens on a channel for publishers of another user; consumes the descriptor. */
int waiting_listen(struct shmd *bus, uint64_t id, int fd);
/* Closes all handles; the last one that is closed frees the connection. */
void waiting_close(struct shmd *bus);

#endif
