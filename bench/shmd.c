/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shmd.c - samples in place: one service for each direction, one publisher and one subscriber
 * on each.
 *
 * As the other transports have their buffers at hand, so has this one: the memory of the next
 * sample is on loan before it is needed, and the sample that is answered is let go of when the
 * answer is on its way.
 *
 * Up to SMALL bytes the publisher has the library's defaults. Above, it keeps one sample and lends
 * one, so that the chunks it goes through stay in the caches if they can, and in memory at all; a
 * few more it is given by way of max_subscribers, if there is memory for them. They matter: a
 * publisher with no chunk to spare has to look at its subscriber's holds with each sample.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <shmd/shmd.h>

#include "clock.h"
#include "payload.h"
#include "pingpong.h"

#define SMALL (256ull << 10)

struct bus_end {
        struct shmd *bus;
        struct shmd_publisher *publisher;
        struct shmd_subscriber *subscriber;
        void *next; /* on loan */
        struct shmd_sample sample;
        bool held; /* `sample` is */
};

/* Of a large sample, what is not for subscribers: kept, announced, on loan. */
enum { CHUNKS_OWN = 3, SUBSCRIBERS_MOST = 8 };

/* A chunk for certain, with its header and what it is rounded up to. */
static uint64_t chunk_size(const struct link *link)
{
        return link->payload + 8192;
}

static uint64_t bus_memory(const struct link *link)
{
        return link->payload > SMALL ? 2 * (CHUNKS_OWN + 1) * chunk_size(link)
                                     : 2 * 64 * chunk_size(link);
}

static uint32_t subscribers_max(const struct link *link)
{
        uint64_t chunks = link->room / 2 / chunk_size(link);

        if (chunks <= CHUNKS_OWN + 1)
                return 1;
        return chunks < CHUNKS_OWN + SUBSCRIBERS_MOST ? (uint32_t)chunks - CHUNKS_OWN
                                                      : SUBSCRIBERS_MOST;
}

static void bus_close(struct end *end)
{
        struct bus_end *bus = end->state;

        if (bus)
                shmd_close(bus->bus);
        free(bus);
        end->state = NULL;
}

static int bus_advertise(struct end *end, struct bus_end *bus, const struct shmd_type *type)
{
        struct shmd_publisher_options options = {.size = sizeof(options)};
        struct shmd_publisher_state status;
        int result;

        if (type->size > SMALL) {
                options.depth = 1;
                options.loans = 1;
                options.max_subscribers = subscribers_max(end->link);
                options.holds = 1;
                options.flags = SHMD_LARGE_SEGMENT;
        }
        result = shmd_advertise(&bus->publisher, bus->bus, end->leads ? "bench/ping" : "bench/pong",
                                type, &options);
        if (result >= 0)
                result = shmd_publisher_status(bus->publisher, &status);
        if (result >= 0)
                end->warmup = 2 * status.chunks;
        return result;
}

static int bus_open(struct end *end)
{
        const struct link *link = end->link;
        struct shmd_connect_options connect = {.size = sizeof(connect), .socket = link->socket};
        struct shmd_subscriber_options subscribe = {.size = sizeof(subscribe), .holds = 1};
        struct shmd_type type = {.name = "bench payload", .size = link->payload, .alignment = 8};
        struct bus_end *bus = calloc(1, sizeof(*bus));
        int result;

        if (!bus)
                return end_failed(end, -ENOMEM, "no memory");
        end->state = bus;
        if (link->wait == WAIT_BLOCK)
                connect.spin_ns = SHMD_SPIN_NEVER;
        result = shmd_connect(&bus->bus, &connect);
        if (result >= 0)
                result = bus_advertise(end, bus, &type);
        if (result >= 0)
                result =
                        shmd_subscribe(&bus->subscriber, bus->bus,
                                       end->leads ? "bench/pong" : "bench/ping", &type, &subscribe);
        if (result >= 0)
                result = shmd_loan(bus->publisher, &bus->next);
        return result < 0 ? end_failed(end, result, "%s", shmd_error()) : 0;
}

static inline int bus_send(struct end *end, uint64_t n)
{
        struct bus_end *bus = end->state;
        int result;

        payload_write(end, bus->next, n);
        result = shmd_publish(bus->publisher, bus->next);
        if (result >= 0 && bus->held)
                result = shmd_release(bus->subscriber, &bus->sample);
        bus->held = false;
        if (result >= 0)
                result = shmd_loan(bus->publisher, &bus->next);
        return result < 0 ? end_failed(end, result, "%s", shmd_error()) : 0;
}

static inline int bus_receive_polling(struct end *end, uint64_t n)
{
        struct bus_end *bus = end->state;
        int result;

        while ((result = shmd_take(bus->subscriber, &bus->sample)) == 0)
                clock_pause();
        if (result < 0)
                return end_failed(end, result, "%s", shmd_error());
        bus->held = true;
        return payload_read(end, bus->sample.data, n);
}

static inline int bus_receive_blocking(struct end *end, uint64_t n)
{
        struct bus_end *bus = end->state;
        int result;

        do {
                result = shmd_take(bus->subscriber, &bus->sample);
                if (result == 1) {
                        bus->held = true;
                        return payload_read(end, bus->sample.data, n);
                }
                if (result == 0)
                        result = shmd_wait(bus->bus, SHMD_FOREVER);
        } while (result >= 0);
        return end_failed(end, result, "%s", shmd_error());
}

static int ping(struct end *end, uint64_t first, uint64_t count)
{
        if (end->link->wait == WAIT_POLL)
                return pingpong_lead(end, first, count, bus_send, bus_receive_polling);
        return pingpong_lead(end, first, count, bus_send, bus_receive_blocking);
}

static int pong(struct end *end, uint64_t first, uint64_t count)
{
        if (end->link->wait == WAIT_POLL)
                return pingpong_follow(end, first, count, bus_send, bus_receive_polling);
        return pingpong_follow(end, first, count, bus_send, bus_receive_blocking);
}

const struct transport transport_shmd = {
        .name = "shmd",
        .about = "samples in place, in memory that readers can't write to; block: shmd_wait() that "
                 "never spins; adaptive: shmd_wait() as it is by default",
        .waits = WAIT_POLL | WAIT_BLOCK | WAIT_ADAPTIVE,
        .memory = bus_memory,
        .open = bus_open,
        .close = bus_close,
        .ping = ping,
        .pong = pong,
};
