/* SPDX-License-Identifier: Apache-2.0 */
/*
 * carrier.h - what do all transports have in common that hand samples to the kernel?
 *
 * An end's *carrier* is its way out and its way in, descriptors mostly, with a buffer of its own
 * for each: the kernel copies the payload out of the one and into the other, whatever part of it is
 * touched. How it waits is the same for all:
 *
 *     poll   calls that don't wait, in a loop, clock_pause() after each in vain
 *     block  poll(2), then such a call; again when there is nothing more, or no more room
 *     bare   calls that wait
 *
 * A transport adds its two calls, which are inlined. The receiver knows the length, so that a
 * sample is as few calls as the kernel lets it be: nothing is framed.
 */
#ifndef BENCH_CARRIER_H
#define BENCH_CARRIER_H

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/types.h>

#include "clock.h"
#include "payload.h"
#include "transport.h"

struct carrier {
        int in, out;
        int flags;      /* of each call, if it takes any: what makes it wait, or not */
        bool whole;     /* a sample is one message; in parts it is none */
        bool readiness; /* poll(2) comes before a call that receives */
        unsigned char *outgoing, *incoming;
};

/** One call. @return bytes, 0 at the end of all, or -1 with errno: EAGAIN is "not now". */
typedef ssize_t (*carrier_call)(const struct carrier *carrier, void *data, size_t size);

/**
 * The end's carrier, with buffers for `size` bytes if that is not 0, zeroed and so in memory. The
 * page before each is theirs too. `waits` and `waits_not` are flags for calls that do, or don't.
 * @return NULL with end->reason set.
 */
struct carrier *carrier_new(struct end *end, uint64_t size, int waits, int waits_not);

/** A transport's functions, for those with nothing of their own to add. */
uint64_t carrier_memory(const struct link *link);
int carrier_open(struct end *end);
void carrier_close(struct end *end);
void carrier_destroy(struct link *link);

/** Both ends of two descriptors that each carry both ways. */
void carrier_join(struct link *link, const int *fds);

/** A number of bytes that /proc says, or 0. */
uint64_t carrier_limit(const char *path);

/** Nothing is there, or no room. */
static inline int carrier_wait(struct end *end, int fd, short events)
{
        struct pollfd ready = {.fd = fd, .events = events};

        if (end->link->wait == WAIT_POLL)
                clock_pause();
        else if (poll(&ready, 1, -1) < 0 && errno != EINTR)
                return end_failed(end, -errno, "poll: %s", strerror(errno));
        return 0;
}

static inline __attribute__((always_inline)) int carrier_put(struct end *end, void *data,
                                                             uint64_t size, carrier_call call)
{
        const struct carrier *carrier = end->state;
        uint64_t done = 0;

        while (done < size) {
                ssize_t put = call(carrier, (unsigned char *)data + done, size - done);
                int result = 0;

                if (put >= 0)
                        done += (uint64_t)put;
                else if (errno == EAGAIN)
                        result = carrier_wait(end, carrier->out, POLLOUT);
                else if (errno != EINTR)
                        result = end_failed(end, -errno, "sending: %s", strerror(errno));
                if (result < 0)
                        return result;
        }
        return 0;
}

static inline __attribute__((always_inline)) int carrier_get(struct end *end, void *data,
                                                             uint64_t size, carrier_call call)
{
        const struct carrier *carrier = end->state;
        uint64_t done = 0;
        int result = carrier->readiness ? carrier_wait(end, carrier->in, POLLIN) : 0;

        while (done < size && result >= 0) {
                ssize_t got = call(carrier, (unsigned char *)data + done, size - done);

                if (got > 0 && carrier->whole && (uint64_t)got != size)
                        result = end_failed(end, -EBADMSG, "%zd bytes of %llu came", got,
                                            (unsigned long long)size);
                else if (got > 0)
                        done += (uint64_t)got;
                else if (got == 0)
                        result = end_failed(end, -EPIPE, "the other end has gone");
                else if (errno == EAGAIN)
                        result = carrier_wait(end, carrier->in, POLLIN);
                else if (errno != EINTR)
                        result = end_failed(end, -errno, "receiving: %s", strerror(errno));
        }
        return result;
}

/** Sample n out of the one buffer, and into the other. */
static inline __attribute__((always_inline)) int carrier_send(struct end *end, uint64_t n,
                                                              carrier_call call)
{
        const struct carrier *carrier = end->state;

        payload_write(end, carrier->outgoing, n);
        return carrier_put(end, carrier->outgoing, end->link->payload, call);
}

static inline __attribute__((always_inline)) int carrier_receive(struct end *end, uint64_t n,
                                                                 carrier_call call)
{
        const struct carrier *carrier = end->state;
        int result = carrier_get(end, carrier->incoming, end->link->payload, call);

        return result < 0 ? result : payload_read(end, carrier->incoming, n);
}

#endif
