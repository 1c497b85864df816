/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transport.h - what must a way to pass samples be able to do, to be measured?
 *
 * Each transport is one file with one `struct transport`. Its two *ends* live in two processes:
 * the *lead* sends sample n and waits for its echo, the *follower* waits for sample n and echoes
 * it. A transport gives the four operations ping and pong are made of: open, send, receive, close;
 * its ping and pong are pingpong.h's loops with its own send and receive inlined, so that an
 * indirect call is paid per batch and not per sample.
 *
 * What every transport has to respect, or the rows can't be compared:
 * - *poll* never sleeps: non-blocking calls in a loop, with clock_pause() after each in vain.
 * - *block* never spins: it sleeps in the kernel as soon as there is nothing, and does so as an
 *   event loop has to, by poll(2) before a call that would not wait itself. Where the kernel gives
 *   no descriptor to poll (futexes, System V queues) it is the call that waits.
 * - *bare* never spins either: a call that waits, and nothing around it. No event loop can work
 *   like this, but it is the least that the primitive costs.
 * - *adaptive* is shmd's own default: it spins as long as recent gaps justify, then sleeps.
 * - payload_write() and payload_read() touch the payload, once each per sample.
 * - Whatever its manual offers to make it faster for this is used, and `about` says what.
 */
#ifndef BENCH_TRANSPORT_H
#define BENCH_TRANSPORT_H

#include <stdbool.h>
#include <stdint.h>

struct track;

enum touch {
        TOUCH_FIRST = 1, /* bytes 0 to 7 are written and read; the rest was written once before */
        TOUCH_ALL = 2,   /* every byte is */
        TOUCH_CHECK = 4, /* for tests: every byte differs from its neighbours, and is compared */
};

enum wait {
        WAIT_POLL = 1,
        WAIT_BLOCK = 2,
        WAIT_BARE = 4,
        WAIT_ADAPTIVE = 8,
};

/** The words for them, that of the lowest bit first; ended by NULL. */
extern const char *const wait_names[];

const char *wait_name(enum wait wait);

/** A pair of ends: what is decided before there are any. */
struct link {
        const struct transport *transport;
        uint64_t payload; /* bytes, at least 8 */
        enum touch touch;
        enum wait wait;
        const char *socket;  /* the broker's */
        uint64_t room;       /* bytes of memory that both ends together may take */
        struct track *track; /* where the floor is noted over time; or NULL */
        int in[2], out[2];   /* from create(); of lead and follower: descriptors, or -1 */
        void *memory;        /* from create(); what both ends share, or NULL */
        char reason[192];    /* why create() failed */
};

struct end {
        const struct link *link;
        bool leads;
        bool fill;         /* write every byte for now, whatever `touch` says */
        bool pause;        /* for the floor alone: the better of with and without */
        uint32_t warmup;   /* from open(): so many samples reach all memory there is */
        uint64_t checksum; /* of what was read, so that reading can't be optimised away */
        void *state;       /* the transport's own */
        char reason[192];  /* after a failure */
};

struct transport {
        const char *name;
        const char *about;
        unsigned waits;                          /* which enum wait it can do */
        bool is_bare;                            /* carries no payload: one row is all */
        uint64_t (*memory)(const struct link *); /* the least bytes that a link takes; or NULL */
        int (*create)(struct link *);            /* before the fork; -EMSGSIZE: a payload that
                                                    it can't carry; or NULL */
        void (*destroy)(struct link *);          /* in the coordinator; or NULL */
        int (*open)(struct end *);               /* in the end's own process */
        void (*close)(struct end *);
        int (*ping)(struct end *, uint64_t first, uint64_t count);
        int (*pong)(struct end *, uint64_t first, uint64_t count);
};

extern const struct transport transport_eventfd, transport_floor, transport_floor_readonly,
        transport_futex, transport_pipe, transport_posix_mq, transport_shmd, transport_sysv_mq,
        transport_tcp, transport_unix_dgram, transport_unix_seqpacket, transport_unix_stream;

/** All there are, ended by NULL, in the order in which they are measured. */
extern const struct transport *const transports[];

/** NULL if there is none of that name. */
const struct transport *transport_find(const char *name);

/** Notes why, for the row. @return `result`, which is negative. */
int end_failed(struct end *end, int result, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/** The same before there are ends. */
int link_failed(struct link *link, int result, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

#endif
