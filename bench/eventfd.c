/* SPDX-License-Identifier: Apache-2.0 */
/*
 * eventfd.c - samples in plain shared memory, an eventfd for each direction to say so.
 *
 * write(2) and read(2) on the eventfd are a release and an acquire: both hold its lock.
 */
#include <sys/eventfd.h>
#include <unistd.h>

#include "carrier.h"
#include "mailbox.h"
#include "pingpong.h"

static int signals_create(struct link *link)
{
        int flags = EFD_CLOEXEC | (link->wait == WAIT_BARE ? 0 : EFD_NONBLOCK);

        for (int i = 0; i < 2; i++) {
                link->in[i] = link->out[!i] = eventfd(0, flags);
                if (link->in[i] < 0)
                        return link_failed(link, -errno, "eventfd: %s", strerror(errno));
        }
        return mailbox_create(link);
}

static void signals_destroy(struct link *link)
{
        carrier_destroy(link);
        mailbox_destroy(link);
}

static int signals_open(struct end *end)
{
        return carrier_new(end, 0, 0, 0) ? 0 : -ENOMEM;
}

static inline ssize_t call_out(const struct carrier *carrier, void *data, size_t size)
{
        return write(carrier->out, data, size);
}

static inline ssize_t call_in(const struct carrier *carrier, void *data, size_t size)
{
        return read(carrier->in, data, size);
}

static inline int send_sample(struct end *end, uint64_t n)
{
        uint64_t one = 1;

        payload_write(end, mailbox_of(end->link, end->leads)->payload, n);
        return carrier_put(end, &one, sizeof(one), call_out);
}

static inline int receive_sample(struct end *end, uint64_t n)
{
        uint64_t signals;
        int result = carrier_get(end, &signals, sizeof(signals), call_in);

        return result < 0 ? result
                          : payload_read(end, mailbox_of(end->link, !end->leads)->payload, n);
}

static int ping(struct end *end, uint64_t first, uint64_t count)
{
        return pingpong_lead(end, first, count, send_sample, receive_sample);
}

static int pong(struct end *end, uint64_t first, uint64_t count)
{
        return pingpong_follow(end, first, count, send_sample, receive_sample);
}

const struct transport transport_eventfd = {
        .name = "eventfd",
        .about = "plain shared memory without any protection, two eventfds to signal, write(2) and "
                 "read(2)",
        .waits = WAIT_POLL | WAIT_BLOCK | WAIT_BARE,
        .memory = mailbox_memory,
        .create = signals_create,
        .destroy = signals_destroy,
        .open = signals_open,
        .close = carrier_close,
        .ping = ping,
        .pong = pong,
};
