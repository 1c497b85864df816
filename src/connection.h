/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connection.h - what is inside `struct shmd`, a publisher and a subscriber.
 *
 * connection.c talks to the broker, publisher.c and subscriber.c hold one public object each,
 * waiting.c puts a connection to sleep, in its own loop or the user's. All of a connection belongs
 * to one thread; nothing here is locked.
 *
 *          WELCOME                  end of file...            a broker is there
 *   NEW ------------> SETTLED ----------------------> AWAY <----------------------+
 *                        ^                             | HELLO                    | end of file...
 *                        |                             v                          |
 *                        +-------- RESUMING <----- GREETING ----------------------+
 *                     all is told       |   WELCOME
 *                                       +--------------> AWAY
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

#include "atomic.h"
#include "doorbell.h"
#include "list.h"
#include "ring.h"
#include "segment.h"
#include "socket.h"
#include "util.h"

/* A foreign control block, shared by a connection's publishers. */
struct block {
        struct list link; /* shmd.blocks */
        uint64_t connection;
        uint32_t index;
        unsigned references;
        uint64_t inode; /* what the broker knows it by, too */
        struct segment memory;
};

/* The process that a peer's connection is in: asked of the kernel, where no broker says it. */
struct peer_process {
        struct list link; /* shmd.processes */
        struct shmd *bus;
        uint64_t connection; /* the two together name it */
        int32_t pid;
        unsigned references;
        unsigned n_orphans; /* of these */
        int pid_fd;
        struct watcher *watcher; /* while there are orphans */
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

/* A descriptor on which publishers of one user ring; ears.c. */
struct ear {
        struct list link; /* shmd.ears */
        struct shmd *bus;
        uint64_t id; /* 0: the connection's own pipe */
        int fd;      /* of the own pipe, owned by `pipe` */
        uv_pipe_t pipe;
        struct watcher *watcher; /* of a socket; NULL: it is deaf */
        bool may_bring_fds;
};

/* A descriptor that the loop looks at. The handle's `data` is this. */
struct watcher {
        uv_poll_t handle;
        struct list link; /* shmd.watchers */
        struct shmd *bus;
        void *owner; /* whatever the callback needs */
};

/* Somebody has come or gone, and a callback is still to be told. Made when the peer is attached, so
 * that no want of memory keeps anything from being told later. */
struct event {
        struct list link; /* shmd.events, when it has come about */
        void *owner;      /* the publisher or subscriber; NULL: it is about the broker */
        shmd_peer_callback callback;
        shmd_broker_callback on_broker;
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
        uint64_t connection; /* the peer's, like the rest: for the next broker */
        uint64_t start;
        int32_t pid;
};

/* What a publisher or subscriber is to the broker. */
struct opening {
        struct message *message; /* how it was opened: an ADVERTISE or SUBSCRIBE */
        uint64_t serial;   /* of the request to take it over; 0: it was answered, or not made */
        uint32_t n_listed; /* peers that this broker was told of */
        bool is_open;      /* a broker has granted it */
        bool is_told;      /* this broker has been asked for it */
        bool is_stranded;  /* ... and has refused to take it over */
};

/* A request to which no answer came in time; abandoned.c. */
struct abandoned {
        uint64_t serial;         /* 0: there is none */
        enum message_type undo;  /* what to say if it is granted; 0: nothing */
        uint64_t id;             /* of the publisher or subscription */
        struct own_block *block; /* the row that it asked for, if it did, is kept until then */
        uint32_t row_offset, n_holds;
};

enum stage {
        STAGE_NEW,
        STAGE_AWAY,
        STAGE_GREETING,
        STAGE_RESUMING,
        STAGE_SETTLED,
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
        enum stage stage;
        int socket;
        bool is_connected; /* there is a socket */
        bool is_loss_told; /* shmd_wait() or shmd_dispatch() has said -ENOTCONN */
        char address[PROTOCOL_ADDRESS_SIZE];
        uint64_t id;
        uint32_t hello_flags;
        uint64_t next_serial;
        struct segment page;
        const uint64_t *word;       /* in the page */
        uint64_t seen_word;         /* when messages were last taken in */
        struct segment alive;       /* the broker-alive page */
        const uint32_t *alive_word; /* in it; NULL: none */
        uint32_t owed;              /* _ADDED messages read and not yet acknowledged */
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
        struct list processes; /* struct peer_process */
        uint64_t asked_ns;     /* when the missing ones were last asked for */

        struct abandoned abandoned;

        /* Coming back after a broker's death; resume.c. */
        uint64_t resumed_serial; /* of RESUMED; 0: not said yet */
        uint64_t retry_ns;       /* when a broker is looked for again */
        uint64_t delay_ns;       /* and how long it is until then, more or less */
        uint32_t n_orphans;      /* members and attachments that the broker has not named */
        uint64_t looked_ns;      /* without an alive page: when the socket was last looked at */
        uint64_t orphans_ns;     /* when their processes were last looked at */
        uint64_t n_losses, n_returns;
        int timer_fd, directory_fd; /* while away, and a moment longer */
        int directory_watch;
        uint64_t vigil_end_ns; /* when they are closed; 0: not yet known */
        struct watcher *timer, *directory;
        shmd_broker_callback on_broker;
        void *user;

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
        bool may_close;    /* there: the loop does not share its epoll with the parent's */
        uint64_t armed;
        uint32_t spin_ns;    /* 0: adaptive */
        uint64_t passes;     /* of deliver_samples() */
        uint64_t usual_ns;   /* how long a wait usually takes */
        uint32_t vain_spins; /* waits in a row that had to sleep */
        int pipe_write;      /* our own end of our own pipe: so that it never reads as ended */
        bool pipe_is_passed;
        unsigned n_handles;   /* not closed yet; the last frees the connection */
        struct list ears;     /* struct ear */
        struct list watchers; /* struct watcher, those that are not closed */
        struct watcher *socket_watcher;
        bool wants_room; /* it also looks whether the socket takes more */
        bool in_turn;    /* the private loop is running */
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
        uint32_t n_no_membarrier;
        uint32_t n_loaned, loans_max, holds, max_subscribers;
        void *last_loan; /* the fast way back from a sample to its chunk */
        uint32_t last_chunk;
        uint64_t min_size;
        struct ring_writer ring;
        struct doorbell doorbell;
        struct segment memory; /* with its descriptor: the next broker needs it */
        struct opening opening;
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
        uint64_t inode;
        struct bumped_board *board;
        struct event *come, *gone; /* to be told */
        struct peer_process *process;
        uint32_t holds; /* at once, at most */
        uint32_t n_held;
        bool is_gone;   /* drained, then detached */
        bool is_orphan; /* as of a member */
};

/* A publisher that has gone, and what of it comes next should its connection come back. So many are
 * remembered of those that have gone last. */
#define PARTED_MAX 64
struct parted {
        uint64_t publisher; /* 0: none */
        uint64_t next;
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
        uint64_t min_size;               /* of a sample, by its type */
        struct attachment **attachments; /* n_attachments of them */
        uint32_t n_attachments, n_gone, turn;
        struct parted parted[PARTED_MAX];
        uint32_t n_parted; /* ever; the place of the next, modulo PARTED_MAX */
        uint64_t *refused; /* [n_refused] ids of publishers that it can't read */
        uint32_t n_refused;
        uint32_t empty_takes;
        uint64_t pass; /* the last pass in which it was called back */
        uint64_t taken, lost;
        struct opening opening;
        shmd_sample_callback on_sample;
        shmd_peer_callback on_publisher;
        void *user;
        char service[PROTOCOL_SERVICE_SIZE];
};

/* How long the broker may take to answer. It is only ever late when the machine is. */
#define REPLY_TIMEOUT_NS (UINT64_C(5) * 1000000000)

/* A broker that has no page to show that it lives may have been gone for so long before it is
 * missed. */
#define BLIND_LOOK_NS UINT64_C(100000000)

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

/* Makes what is to be told of a peer's coming and going, as far as it is not made yet; nothing if
 * there is no callback. False: no memory. */
bool connection_events_new(struct event **come, struct event **gone, void *owner,
                           shmd_peer_callback callback, void *user);
/* Notes that a peer has come or gone; takes the event over. */
void connection_event(struct shmd *bus, struct event **event, const struct shmd_peer *peer,
                      int present);
/* Notes that the broker has gone or come back. */
void connection_broker_event(struct shmd *bus, int present);
/* Forgets the events of an object that closes. */
void connection_forget_events(struct shmd *bus, const void *owner);

/* Acts on the answer to HELLO, which is in the packet: maps the pages. 0 or a negative errno, with
 * a text. */
int connection_welcomed(struct shmd *bus);

/* Whether the broker lives, as far as can be seen without entering the kernel. A hint. */
static inline bool connection_seems_alive(const struct shmd *bus)
{
        /* A broker of version 1 has no such page. */
        if (!bus->alive_word)
                return now_ns() - bus->looked_ns < BLIND_LOOK_NS;
        /* Relaxed: whoever sees that it is gone looks at the socket. */
        return load_relaxed_32(bus->alive_word) & LAYOUT_ALIVE_OWNER;
}

/* Whether there is something to do that no message will tell of. */
static inline bool connection_needs_care(const struct shmd *bus)
{
        return bus->stage != STAGE_SETTLED || bus->n_orphans || bus->vigil_end_ns ||
               !connection_seems_alive(bus);
}

/* Does it: finds the end of the broker, looks for the next, asks for orphans' processes, ends what
 * was only for that; each no more often than is good. */
void connection_care(struct shmd *bus);

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

/* Tells the broker that what was opened is closed now, if it knows of it. */
void connection_leave(struct shmd *bus, struct opening *opening, enum message_type type,
                      uint64_t id);

/* Notes that an introduction could not be taken (`what` is copied), and asks for it again; found:
 * it was, or it is no longer needed. False: it was noted before, or wasn't. */
bool connection_miss(struct shmd *bus, const struct missing *what);
bool connection_found(struct shmd *bus, uint32_t which, uint64_t publisher, uint64_t subscription);
/* Stores as many struct missing as may be needed at once; frees them. 0 or -ENOMEM. */
int connection_store_missing(struct shmd *bus);
void connection_drop_missing(struct shmd *bus);

/* Sends, however long the queue; receives one checked message (1; 0: nothing there); waits until
 * the socket is ready for `events`. 0 or a negative errno, with a text. */
int connection_send(struct shmd *bus, const struct message *message, const int *fds, unsigned n_fds,
                    uint64_t deadline);
int connection_receive(struct shmd *bus);
int connection_await(const struct shmd *bus, short events, uint64_t deadline);

/* Notes that the broker is gone; returns -ENOTCONN, with a text. */
int connection_lose(struct shmd *bus, const char *reason);

/* ---- resume.c --------------------------------------------------------------------------- */

/* The broker was lost: begins to look for the next. */
void resume_begin(struct shmd *bus);
/* It was not lost, but wants nothing to do with us: looks again, but not soon. */
void resume_refused(struct shmd *bus);
/* Looks for a broker if it is time to, or `at_once`. */
void resume_attempt(struct shmd *bus, bool at_once);
/* There may be one: does not wait any longer, and begins again with short waits. */
void resume_hurry(struct shmd *bus);
/* Acts on an answer. 0 or -ENOTCONN. */
int resume_answer(struct shmd *bus);
/* Tells the broker what there is, as much as the socket takes. 0 or -ENOTCONN. */
int resume_push(struct shmd *bus);
/* Is there for requests: waits until the connection is settled. 0, -ENOTCONN, -ETIMEDOUT; with a
 * text. At once if there is no broker. */
int resume_wait(struct shmd *bus, uint64_t deadline);
/* Puts what this broker lacks of a subscription's memory with the message; how many descriptors. */
unsigned resume_pass(struct shmd *bus, struct message_subscribe *message, int fds[static 2]);
/* Keeps a copy of the message, for the next broker. 0 or -ENOMEM, with a text. */
int opening_keep(struct opening *opening, const struct message *message);

/* ---- peers.c ---------------------------------------------------------------------------- */

/* The process `pid` of the connection; `fd`, a pidfd of it, is consumed. NULL: none is known. */
struct peer_process *process_use(struct shmd *bus, uint64_t connection, int32_t pid, int fd);
void process_drop(struct peer_process *process);

/* Makes orphans of all peers, or of one no orphan any more. */
void orphans_make(struct shmd *bus);
void orphan_member_named(struct shmd *bus, struct member *member);
void orphan_attachment_named(struct shmd *bus, struct attachment *attachment);
/* Looks whether orphans have ended, and parts from those; not more often than is good, unless
 * `at_once`. */
void orphans_look(struct shmd *bus, bool at_once);

/* ---- abandoned.c ------------------------------------------------------------------------ */

/* Notes that the request was given up. */
void abandoned_begin(struct shmd *bus, const struct message *request);
/* Undoes it, if that is what the answer is for; false: it isn't. */
bool abandoned_answered(struct shmd *bus, const struct message *answer);
/* Waits until there is none. 0, -ENOTCONN, -ETIMEDOUT; with a text. */
int abandoned_await(struct shmd *bus, uint64_t deadline);
/* No answer will come. */
void abandoned_end(struct shmd *bus);

/* ---- reserve.c --------------------------------------------------------------------------- */

/* Descriptors that one introduction needs until it is digested. */
#define FDS_IN_PASSING (PROTOCOL_FDS_MAX + 1)

/* From now on descriptors are kept free for introductions to `n` seats; reserve_refill() takes
 * them, so that it can be done while the broker answers. 0; -ENOMEM, with a text. */
int reserve_grow(struct shmd *bus, uint32_t n);
/* Whether there are as many as there should be. 0; -EMFILE, with a text: reserve_shrink(). */
int reserve_check(struct shmd *bus);
/* No more than that are needed from now on; 0: none. */
void reserve_shrink(struct shmd *bus, uint32_t n);
/* Lets go of `n` of them for a moment; takes back as many as can be had. */
void reserve_release(struct shmd *bus, uint32_t n);
void reserve_refill(struct shmd *bus);
/* Makes those that are kept anew, of the page that is mapped now. */
void reserve_renew(struct shmd *bus);

/* ---- members.c, publisher.c ------------------------------------------------------------- */

void publisher_added(struct shmd *bus, const struct message_subscriber_added *added,
                     struct packet *packet);
void publisher_removed(struct shmd *bus, const struct message_subscriber_removed *removed);
void publisher_peer_back(struct shmd *bus, const struct message_pair *back);
/* It is no more, and nobody else will say so. */
void publisher_forget(struct shmd_publisher *publisher, struct member *member);
/* Frees a member that was detached. */
void publisher_member_free(struct shmd_publisher *publisher, struct member *member);
void publisher_allow_asym(struct shmd_publisher *publisher, bool allowed);

/* ---- row.c ------------------------------------------------------------------------------ */

/* Finds room for the subscriber's n_holds, in a new block if need be; gives such room back, unless
 * `block` is NULL. */
int row_claim(struct shmd_subscriber *subscriber);
void row_return(struct own_block *block, uint32_t row_offset, uint32_t n_holds);

/* ---- attachments.c ----------------------------------------------------------------------- */

void subscriber_added(struct shmd *bus, const struct message_publisher_added *added,
                      struct packet *packet);
void subscriber_gone(struct shmd *bus, const struct message_publisher_gone *gone);
void subscriber_peer_back(struct shmd *bus, const struct message_pair *back);
/* Nothing comes from it any more. */
void subscriber_part(struct shmd_subscriber *subscriber, struct attachment *attachment);
/* Lets go of a publisher; of all that have gone, are read to the end, and have nothing held. */
void subscriber_detach(struct shmd_subscriber *subscriber, uint32_t index);
void subscriber_detach_gone(struct shmd_subscriber *subscriber);

/* ---- subscriber.c ----------------------------------------------------------------------- */

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
/* Lets a private loop that the program doesn't run forget what was closed. */
void waiting_tidy(struct shmd *bus);

/* Whether there is something to do of which no descriptor tells: introductions that were lost, and
 * a broker to look for without a timer. */
static inline bool waiting_has_to_look(const struct shmd *bus)
{
        return (!list_empty(&bus->missing) && bus->is_connected) ||
               (bus->stage == STAGE_AWAY && !bus->timer);
}

/* ---- waiting-handles.c ------------------------------------------------------------------- */

int waiting_init(struct shmd *bus, uv_loop_t *loop);
/* Lets the caller's loop arm and deliver; once the connection is there. */
void waiting_begin(struct shmd *bus);
/* One of the connection's handles has been closed: the last frees it. */
void waiting_handle_closed(struct shmd *bus);
/* Whether handles may be closed now: in a forked child not before the connection is. */
static inline bool waiting_owns_handles(const struct shmd *bus)
{
        return bus->may_close && (bus->is_closing || !connection_is_inherited(bus));
}
/* Before anything is closed: whether its handles may be; always, but in some forked children. */
bool waiting_may_close(struct shmd *bus);
/* Closes all handles; the last one that is closed frees the connection. */
void waiting_close(struct shmd *bus);

/* ---- ears.c ------------------------------------------------------------------------------ */

/* Makes the connection's own pipe, once; -> its writing end in bus->pipe_write. 0, or a negative
 * errno with a text. */
int ear_make_pipe(struct shmd *bus);
/* Reads the frames that are there. */
void ear_drain_pipe(struct ear *ear);
/* Listens on a socket for publishers of another user; consumes the descriptor. 0, or a negative
 * errno with a text. */
int ear_listen(struct shmd *bus, uint64_t id, int fd);
/* Has the loop read nothing from them for now; closes all. */
void ears_pause(struct shmd *bus);
void ears_close(struct shmd *bus);

/* ---- watching.c ------------------------------------------------------------------------- */

/* Watches the socket; called once it is connected. */
int watching_socket(struct shmd *bus);
/* Stops watching it, and closes it. */
void watching_drop_socket(struct shmd *bus);
/* Has the loop look at a descriptor. NULL with a text: it can't. */
struct watcher *watching_open(struct shmd *bus, int fd, int events, uv_poll_cb callback,
                              void *owner);
void watching_close(struct watcher **watcher);
/* Looks at nothing for now; closes all that is left. */
void watching_pause(struct shmd *bus);
void watching_close_all(struct shmd *bus);
/* Also look whether the socket takes more, or don't. */
void watching_for_room(struct shmd *bus, bool wanted);
/* Wakes the loop when a broker may be there, or it is time to look. */
void watching_begin_vigil(struct shmd *bus);
void watching_set_vigil(struct shmd *bus, uint64_t until_ns);
/* Ends that now, which may take some 20 ms; or so that it takes no time: now it looks at nothing
 * any more, and a moment later, once watching_vigil_care() is called then, its descriptors are
 * closed. */
void watching_end_vigil(struct shmd *bus);
void watching_dismiss_vigil(struct shmd *bus);
void watching_vigil_care(struct shmd *bus);
/* Wakes the loop at a process's end. */
void watching_process(struct peer_process *process);

#endif
