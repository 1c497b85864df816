/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shmd.h - publish and subscribe between the processes of one machine, in place.
 *
 * A *publisher* writes samples into its own sealed memory segment; every *subscriber* of the same
 * *service* maps that segment read-only and reads them where they are. A *connection* (`struct
 * shmd`) joins the two through a broker, which is needed to join and to leave but never for a
 * sample.
 *
 * Threads. A connection and all that was opened on it belong to one thread at a time. Open as
 * many connections as there are threads; a connection may be handed to another thread together
 * with all it opened, if the hand-over itself is synchronised. The library starts no threads,
 * installs no signal handlers and prints nothing.
 *
 * A guest. Signal mask, umask, locale, limits and standard descriptors stay the program's; all
 * descriptors close on exec() and none of them takes the number of a standard one that is closed.
 * SIGPIPE is never raised. errno may have changed after any call, and says nothing.
 *
 * fork(). A forked child may read on in samples that its parent holds, for as long as the parent
 * does, and may connect anew. What it has inherited it can only close: every other call says
 * -ECHILD. That gives back what the child has of it, and neither the parent nor the broker notices.
 * A child whose parent brought its own loop calls uv_loop_fork() before that loop turns, as libuv
 * demands; then nothing is read there that is the parent's.
 *
 * Errors. Functions return 0 (or a count) on success and a negative errno value on failure;
 * shmd_error() then has a text that names the service, what was wrong and what was expected.
 * Where a list says "any call", the code may come from every function of a connection:
 *   -ECHILD    any call: the connection belongs to the parent of this forked process
 *   -EINVAL    any call: an argument is out of range; the text names it
 *   -ENOMEM    any call that opens something: no memory, or no room for a segment
 *   -ENOTCONN  any call that asks the broker: it is gone, and no other is there yet. What was
 *              opened goes on exchanging samples with the peers it had; see "When the broker dies"
 *   -ETIMEDOUT any call that asks the broker: it did not answer within 5 seconds. The connection
 *              stays; what was asked for is undone if the broker grants it later
 *
 * When the broker dies, samples go on between those who know each other, also to and from those who
 * sleep. A connection looks for the next broker by itself, at the address where it found the first,
 * inside the calls that the program makes anyway: in shmd_wait(), shmd_dispatch() and the caller's
 * loop as soon as there is one; in shmd_take() when it finds nothing; in shmd_loan() and
 * shmd_publish() when memory is reclaimed or a sleeper was woken. It then tells the new broker what
 * it has open and whom it knows; ids, positions, samples held and seats stay. A program that makes
 * no such call comes back when it next does: until then newcomers do not find it.
 *
 * Misuse. What a program must not do, and what it is told:
 *   - a loan published or discarded twice, or that is none; a sample released twice, or by another
 *     subscriber than took it: -EINVAL, and nothing has changed
 *   - options of a wrong size, a NULL where something has to be given: -EINVAL
 *   - waiting, shmd_fd(), shmd_prepare() or shmd_dispatch() in a callback: -EINVAL; shmd_close()
 *     there: nothing is closed, shmd_error() says why
 *   - a handle that was closed: -EBADF; a call while another thread is in one on the same
 *     connection: -EBUSY; NULL to a function that is called for each sample: -EINVAL. To find these
 *     out costs too much for every build: a library built with meson's -Dchecks=true does (debug
 *     builds have that); with others the behaviour is undefined
 *   - a sample written to: a segmentation fault. A loan written to after it was published: not
 *     found out; subscribers see what was written
 *
 * Options structs start with `size`, which the caller sets to sizeof the struct; a field that is
 * zero means the default. Structs passed as NULL mean all defaults. Unknown bytes of a longer
 * struct (a newer program on an older library) must be zero, or the call gives -E2BIG.
 *
 * Times are nanoseconds, sizes bytes, sequences start at 1 and never wrap.
 */
#ifndef SHMD_H
#define SHMD_H

#include <stdint.h>

#include <shmd/type.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define SHMD_EXPORT __attribute__((visibility("default")))
#else
#define SHMD_EXPORT
#endif

#define SHMD_VERSION_MAJOR 0
#define SHMD_VERSION_MINOR 1
#define SHMD_VERSION_PATCH 0

/** For shmd_wait(): no time-out. */
#define SHMD_FOREVER (-1)

/** The longest name of a service, in bytes without the NUL. */
#define SHMD_SERVICE_NAME_MAX 255

struct uv_loop_s; /* libuv's uv_loop_t; only needed by who brings a loop */

struct shmd;            /**< a connection to the broker */
struct shmd_publisher;  /**< one writer of a service */
struct shmd_subscriber; /**< one reader of a service: of all its publishers */

/** The library's version, "0.1.0". Static; never NULL. */
SHMD_EXPORT const char *shmd_version(void);

/**
 * The text of the last call that failed on this thread: one line, no newline. Empty if none did.
 * Thread-local, valid until the next failing call on this thread.
 */
SHMD_EXPORT const char *shmd_error(void);

/** shmd_kind_size_inline() as a function, for bindings. */
SHMD_EXPORT uint32_t shmd_kind_size(uint32_t kind);

/** Samples of any length and no declared structure. */
SHMD_EXPORT extern const struct shmd_type shmd_bytes;

/**
 * The layout hash of a type: 64 bits, equal for equal name, size, alignment, flags and fields on
 * every machine (FNV-1a over the fields' canonical bytes, docs/protocol.md). 0 if the type is not
 * valid, with a text.
 */
SHMD_EXPORT uint64_t shmd_type_hash(const struct shmd_type *type);

/* ---- connection ------------------------------------------------------------------------- */

/** `present` is 0 when the broker has gone, 1 when another has taken over what was opened. Runs
 *  where shmd_peer_callback does, under the same rules. */
typedef void (*shmd_broker_callback)(void *user, int present);

struct shmd_connect_options {
        uint32_t size;
        /** 1 to SHMD_SPIN_NEVER: see `spin_ns` of shmd_wait(). Default 0: adaptive. */
        uint32_t spin_ns;
        /** The broker's socket. Default NULL: $SHMD_SOCKET alone if that is set; otherwise the
         *  first that accepts of $XDG_RUNTIME_DIR/shmd/control and /run/shmd/control. */
        const char *socket;
        /** The caller's own loop, which then wakes the connection; it has to outlive it. Default
         *  NULL: a private one inside shmd_wait() and shmd_dispatch(). */
        struct uv_loop_s *loop;
        shmd_broker_callback on_broker; /**< may be NULL */
        void *user;                     /**< passed to it */
};

/** As `spin_ns`: shmd_wait() sleeps at once. */
#define SHMD_SPIN_NEVER UINT32_MAX

/**
 * Connects to the broker: one round trip, blocking, for at most 5 seconds.
 * @return 0 and *bus, owned by the caller and ended by shmd_close(); -ENOENT or -ECONNREFUSED: no
 *         broker (the text lists each path tried, its reason, and how to start one); -EACCES: not
 *         allowed; -EDQUOT: the user has as many connections as it may, or comes too often;
 *         -EPROTO: the broker speaks another version, or nonsense; -ETIMEDOUT: it does not answer;
 *         -EMFILE, -ENFILE.
 */
SHMD_EXPORT int shmd_connect(struct shmd **bus, const struct shmd_connect_options *options);

/**
 * Ends the connection and all that was opened on it, samples held included. NULL is allowed. With
 * the caller's own loop the handles are closed by the loop's next turn, which must still come.
 * From inside a callback of the same connection it does nothing.
 */
SHMD_EXPORT void shmd_close(struct shmd *bus);

/** 1 while the broker is there, 0 after it has gone and until another has taken over (as far as the
 *  last call saw), and in a forked child. */
SHMD_EXPORT int shmd_connected(const struct shmd *bus);

/** What a connection has been through. */
struct shmd_connection_state {
        uint64_t id;        /**< the connection's own, random, for life */
        uint64_t losses;    /**< how often its broker has gone */
        uint64_t returns;   /**< how often another has taken over */
        uint32_t connected; /**< as shmd_connected() */
        /** Publishers and subscribers that the broker did not take over, say because another type
         *  has their service now. They go on with the peers they know; newcomers don't find them.
         *  The next broker is asked again. */
        uint32_t stranded;
};

/** Fills in *status; takes in what the broker has said meanwhile. @return 0. */
SHMD_EXPORT int shmd_connection_status(struct shmd *bus, struct shmd_connection_state *status);

/** A peer, for callbacks and lists. `pid` and `program` are labels, not identities. */
struct shmd_peer {
        uint64_t id;      /**< the publisher's or the subscription's own, random, for life */
        int32_t pid;      /**< as the broker sees it */
        uint32_t uid;     /**< likewise */
        char program[16]; /**< the process's name, NUL-terminated */
};

/** `present` is 1 when the peer has come (those that were there at first included), 0 when it has
 *  gone; of a publisher that has gone there may be samples left to take. Runs inside shmd_wait(),
 *  shmd_dispatch() or the caller's loop; may call everything but these two, shmd_fd(),
 *  shmd_prepare() and shmd_close(). */
typedef void (*shmd_peer_callback)(void *user, const struct shmd_peer *peer, int present);

/* ---- publisher -------------------------------------------------------------------------- */

/** As `flags`: the segment may be larger than 1 GiB. */
#define SHMD_LARGE_SEGMENT 1u
/** As `flags`: do not register this process for membarrier(2), which takes milliseconds in a
 *  process with several threads; each publish then costs a full fence. */
#define SHMD_NO_MEMBARRIER 2u

struct shmd_publisher_options {
        uint32_t size;
        uint32_t flags;           /**< SHMD_LARGE_SEGMENT, SHMD_NO_MEMBARRIER */
        uint32_t depth;           /**< samples kept for readers; default 8 */
        uint32_t loans;           /**< loaned at once, at most; default 2 */
        uint32_t max_subscribers; /**< default 8 */
        uint32_t holds;           /**< held at once by each subscriber, at most; default 2 */
        uint64_t max_size;        /**< of a sample of variable length; default: the type's size,
                                       4096 for shmd_bytes */
        /** Chunks of the segment. Default 0: as many as the limits above can ever need, so that
         *  shmd_loan() always succeeds. Fewer: it fails while all are held. At least depth + 1 +
         *  loans. */
        uint32_t chunks;
        uint32_t reserved;
        shmd_peer_callback on_subscriber; /**< may be NULL */
        void *user;                       /**< passed to the callback */
};

/**
 * Opens `service` for publishing. The name has 1 to 255 bytes of a-z A-Z 0-9 _ - . in parts
 * separated by single slashes ("camera/front"); no part is empty, "." or "..". Subscribers that
 * exist are attached when the call returns; those that come later attach by themselves.
 * `type` is copied.
 * @return 0 and *publisher, owned by the caller until shmd_publisher_close() or shmd_close();
 *         -EINVAL: bad name, type or limit; -EPROTOTYPE: the service has another type (the text
 *         names the field); -EFBIG: the segment would exceed 1 GiB without SHMD_LARGE_SEGMENT, or
 *         the process's limit for files (RLIMIT_FSIZE);
 *         -ENOMEM: no room for it; -EMFILE: not descriptors enough for max_subscribers;
 *         -EDQUOT: the user has what the broker grants to one (the text says what, and how much);
 *         -ENOSPC: a limit of the broker for a connection.
 */
SHMD_EXPORT int shmd_advertise(struct shmd_publisher **publisher, struct shmd *bus,
                               const char *service, const struct shmd_type *type,
                               const struct shmd_publisher_options *options);

/** Withdraws. Loans are void; what subscribers have or can still reach stays readable by them. */
SHMD_EXPORT void shmd_publisher_close(struct shmd_publisher *publisher);

/**
 * Lends memory for the next sample: room for the type's size, or for `max_size`, aligned as the
 * type says, uninitialised (old samples may shine through). Pass the address of a void pointer: a
 * cast of another pointer's address breaks the aliasing rules. Returned by shmd_publish() or
 * shmd_discard(), in any order.
 * @return 0; -ENOBUFS: as many are loaned as the publisher asked for, or (with `chunks` set) all
 *         others are held by subscribers.
 */
SHMD_EXPORT int shmd_loan(struct shmd_publisher *publisher, void **data);

/**
 * Publishes a loaned sample. O(1) whatever the payload and however many subscribers there are,
 * never waits, and makes no system call unless somebody has joined, left or sleeps. The memory
 * must not be written afterwards. A sample of variable length has `max_size` bytes, unless
 * shmd_publish_sized() says how many.
 * @return 0; -EINVAL: not on loan from this publisher, or `size` too small or large (then it stays
 *         on loan).
 */
SHMD_EXPORT int shmd_publish(struct shmd_publisher *publisher, void *data);
SHMD_EXPORT int shmd_publish_sized(struct shmd_publisher *publisher, void *data, uint64_t size);

/** Gives a loan back unpublished. @return 0; -EINVAL: not on loan from this publisher. */
SHMD_EXPORT int shmd_discard(struct shmd_publisher *publisher, void *data);

/** What a publisher is and has done. */
struct shmd_publisher_state {
        uint64_t id;           /**< the same that a sample names */
        uint64_t published;    /**< samples, which is the last sequence */
        uint64_t segment_size; /**< bytes of shared memory */
        uint64_t max_size;     /**< bytes of a sample */
        uint32_t chunks;
        uint32_t depth;
        uint32_t subscribers; /**< attached now */
        uint32_t loaned;      /**< on loan now */
};

/** Fills in *status; takes in what the broker has said meanwhile. @return 0. */
SHMD_EXPORT int shmd_publisher_status(struct shmd_publisher *publisher,
                                      struct shmd_publisher_state *status);

/* ---- subscriber ------------------------------------------------------------------------- */

/** There may be something to take. Runs inside shmd_wait(), shmd_dispatch() or the caller's loop,
 *  and again as long as something is left; under the same rules as shmd_peer_callback. */
typedef void (*shmd_sample_callback)(void *user, struct shmd_subscriber *subscriber);

struct shmd_subscriber_options {
        uint32_t size;
        uint32_t history; /**< samples wanted from before the join, of each publisher; default 0 */
        uint32_t holds;   /**< held at once; default 2; at most the publisher's `holds` */
        uint32_t min_depth;              /**< refuse publishers that keep fewer; default 0: any */
        shmd_sample_callback on_sample;  /**< may be NULL; then the caller's loop is not woken */
        shmd_peer_callback on_publisher; /**< may be NULL */
        void *user;                      /**< passed to both */
};

/**
 * Subscribes to `service`, whether or not somebody publishes it yet. Whatever existing publishers
 * publish from then on will be taken or counted as lost, and so will all that is published once a
 * publisher counts this subscriber. Publishers that exist are attached when the call returns, but
 * for one that has not run for so long that 32 introductions to it wait; it is attached when it
 * runs again. Of a publisher that comes later nothing is missed: the count starts with its first
 * sample.
 * @return 0 and *subscriber, owned by the caller until shmd_subscriber_close() or shmd_close();
 *         -EINVAL; -EPROTOTYPE: the service has another type (the text names the field);
 *         -ERANGE: a publisher's limits are below the minima asked for, or its seats are taken
 *         (the text says which); -EDQUOT: the user has what the broker grants to one, or of one
 *         publisher's seats; -EMFILE, -ENOSPC.
 */
SHMD_EXPORT int shmd_subscribe(struct shmd_subscriber **subscriber, struct shmd *bus,
                               const char *service, const struct shmd_type *type,
                               const struct shmd_subscriber_options *options);

/** Leaves, and lets go of all samples held. */
SHMD_EXPORT void shmd_subscriber_close(struct shmd_subscriber *subscriber);

/** A sample in place. Read-only memory: writing to it is a segmentation fault. */
struct shmd_sample {
        const void *data;
        uint64_t size;     /**< from the type's size to the publisher's max_size, even if it lies */
        uint64_t sequence; /**< of its publisher; starts at 1, without gaps but for `lost` */
        uint64_t lost;     /**< samples of the same publisher lost just before this one */
        uint64_t publisher; /**< its id */
        uint64_t hold;      /**< the library's own */
};

/**
 * Takes the next sample, of the publishers in turn, if there is one. Never blocks, makes no system
 * call unless a publisher has joined or left. The sample stays valid and unchanged by an honest
 * publisher until shmd_release(), however long that is.
 * @return 1: *sample is filled in; 0: nothing there, or as many are held as its publisher allows;
 *         -ENOBUFS: as many are held as were asked for.
 */
SHMD_EXPORT int shmd_take(struct shmd_subscriber *subscriber, struct shmd_sample *sample);

/** Lets go of a sample; in any order. @return 0; -EINVAL: not held by this subscriber. */
SHMD_EXPORT int shmd_release(struct shmd_subscriber *subscriber, struct shmd_sample *sample);

/** What a subscriber has done. */
struct shmd_subscriber_state {
        uint64_t id;
        uint64_t taken;      /**< samples, of all publishers, those that have gone included */
        uint64_t lost;       /**< likewise */
        uint32_t publishers; /**< attached now */
        uint32_t refused;    /**< publishers there now that are not read: all their seats are
                                  taken, they keep or grant less than was asked for, or their
                                  memory is in no layout that this version reads */
        uint32_t held;       /**< samples held now */
        uint32_t reserved;
};

/** Fills in *status; takes in what the broker has said meanwhile. @return 0. */
SHMD_EXPORT int shmd_subscriber_status(struct shmd_subscriber *subscriber,
                                       struct shmd_subscriber_state *status);

/* ---- waiting ---------------------------------------------------------------------------- */

/**
 * Waits until one of the connection's subscribers has something to take, a peer has come or gone,
 * or the time is over; for a connection with a private loop. Looks first, then spins for as long
 * as the recent gaps between samples justify (`spin_ns` of the connect options sets another bound),
 * then sleeps. Runs the callbacks, on_sample included.
 * @param timeout_ns SHMD_FOREVER, or how long; 0 only looks.
 * @return 1: something happened; 0: time is over; -EINTR: a signal handler ran;
 *         -ENOTCONN: the broker has gone, told once each time; later waits serve the peers that
 *         are left and return 1 when another broker has taken over.
 */
SHMD_EXPORT int shmd_wait(struct shmd *bus, int64_t timeout_ns);

/**
 * For any other event loop: a descriptor that becomes readable when shmd_dispatch() has something
 * to do. Owned by the connection; only ever poll it. Before each sleep call shmd_prepare(), after
 * readiness shmd_dispatch().
 * @return the descriptor; -EINVAL: the connection uses the caller's own uv_loop_t.
 */
SHMD_EXPORT int shmd_fd(struct shmd *bus);

/**
 * Asks publishers to ring, and looks once more. Cheap while nothing has happened since. As long as
 * a peer can't be attached for want of descriptors or memory, it takes up to 10 ms and returns 1.
 * @return 0: the caller may sleep on shmd_fd(); 1: something is there, call shmd_dispatch() and
 *         take instead; -EINVAL: the connection uses the caller's own uv_loop_t, or called from a
 *         callback.
 */
SHMD_EXPORT int shmd_prepare(struct shmd *bus);

/**
 * Takes in what has arrived and runs the callbacks. Never blocks.
 * @return 1: a subscriber has something to take, or a peer has come or gone; 0: neither;
 *         -ENOTCONN as shmd_wait().
 */
SHMD_EXPORT int shmd_dispatch(struct shmd *bus);

/* ---- looking around --------------------------------------------------------------------- */

/** What a record of shmd_list() is about. */
enum shmd_listed {
        SHMD_LISTED_SERVICE = 1,
        SHMD_LISTED_PUBLISHER = 2,
        SHMD_LISTED_SUBSCRIBER = 3,
};

/** One record: a service, or (after it) one of its publishers or subscribers. */
struct shmd_listing {
        uint32_t what;        /**< enum shmd_listed; other fields as they apply, else 0 */
        uint32_t publishers;  /**< of the service; of the subscriber: those it reads */
        uint32_t subscribers; /**< of the service; of the publisher: those that read it */
        uint32_t depth;
        const char *service;   /**< valid during the callback, like `type` */
        const char *type;      /**< its name */
        uint64_t type_hash;    /**< shmd_type_hash() */
        uint64_t type_size;    /**< bytes; of a sample, or the least of one */
        uint64_t max_size;     /**< bytes of the publisher's largest sample */
        uint64_t segment_size; /**< bytes of the publisher's segment; of the service: their sum */
        uint64_t sequence;     /**< the publisher's newest; of the service: their sum */
        struct shmd_peer peer; /**< of a publisher or subscriber */
        uint32_t type_flags;   /**< SHMD_TYPE_VARIABLE */
        uint32_t holds;
};

typedef void (*shmd_list_callback)(void *user, const struct shmd_listing *listing);

/** Asks the broker what there is; the callback runs before the call returns, and may call
 * everything but shmd_close(). @return 0. */
SHMD_EXPORT int shmd_list(struct shmd *bus, shmd_list_callback callback, void *user);

#ifdef __cplusplus
}
#endif

#endif
