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
 *   event loop has to, by waiting for readiness.
 * - payload_write() and payload_read() touch the payload, once each per sample.
 */
#ifndef BENCH_TRANSPORT_H
#define BENCH_TRANSPORT_H

#include <stdbool.h>
#include <stdint.h>

enum touch {
        TOUCH_FIRST = 1, /* bytes 0 to 7 are written and read; the rest was written once before */
        TOUCH_ALL = 2,   /* every byte is */
};

enum wait {
        WAIT_POLL = 1,
        WAIT_BLOCK = 2,
};

/** A pair of ends: what is decided before there are any. */
struct link {
        const struct transport *transport;
        uint64_t payload; /* bytes, at least 8 */
        enum touch touch;
        enum wait wait;
        const char *socket; /* the broker's */
        uint64_t room;      /* bytes of memory that both ends together may take */
        int fds[2];         /* from create(); each end's own descriptor, or -1 */
        void *memory;       /* from create(); what both ends share, or NULL */
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
        int (*create)(struct link *);            /* before the fork; or NULL */
        void (*destroy)(struct link *);          /* in the coordinator; or NULL */
        int (*open)(struct end *);               /* in the end's own process */
        void (*close)(struct end *);
        int (*ping)(struct end *, uint64_t first, uint64_t count);
        int (*pong)(struct end *, uint64_t first, uint64_t count);
};

extern const struct transport transport_floor, transport_floor_readonly, transport_shmd,
        transport_unix_stream;

/** All there are, ended by NULL, in the order in which they are measured. */
extern const struct transport *const transports[];

/** NULL if there is none of that name. */
const struct transport *transport_find(const char *name);

/** Notes why, for the row. @return `result`, which is negative. */
int end_failed(struct end *end, int result, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

#endif
