/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publisher.c - one writer of a service: its segment, its loans, the subscribers it knows.
 *
 * A publish is: commit, ring for sleepers, announce the next chunk. When no chunk is free, reclaim:
 * mark what is retired, fence, take in every subscriber that the broker has introduced meanwhile,
 * read all holds, free what nobody holds. The middle step is what makes it safe that subscribers
 * read before the publisher knows them.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atomic.h"
#include "connection.h"
#include "error.h"
#include "ring-publish.h"
#include "type.h"
#include "util.h"
#include "wire.h"

#define DEFAULT_DEPTH       8
#define DEFAULT_LOANS       2
#define DEFAULT_SUBSCRIBERS 8
#define DEFAULT_HOLDS       2
#define DEFAULT_MAX_SIZE    4096

#define SEGMENT_LIMIT (UINT64_C(1) << 30) /* unless SHMD_LARGE_SEGMENT */

/* Chunks up to this size get spare ones, so that reclaim runs seldom even while much is held. */
#define SPARE_CHUNK_SIZE 4096

/* ---- advertise -------------------------------------------------------------------------- */

static int check_range(const char *service, const char *option, uint64_t is, uint64_t least,
                       uint64_t most)
{
        if (is >= least && is <= most)
                return 0;
        return error_set(-EINVAL,
                         "service %s: %s is %" PRIu64 ", must be from %" PRIu64 " to %" PRIu64,
                         service, option, is, least, most);
}

/* Puts in the defaults and checks what was asked for. */
static int settle_options(struct shmd_publisher_options *options, const char *service,
                          const struct message_type_head *type)
{
        bool is_variable = type->flags & SHMD_TYPE_VARIABLE;
        uint64_t least;
        int code;

        if (options->flags & ~(SHMD_LARGE_SEGMENT | SHMD_NO_MEMBARRIER))
                return error_set(-EINVAL, "service %s: unknown flags 0x%x", service,
                                 options->flags);
        options->depth = options->depth ? options->depth : DEFAULT_DEPTH;
        options->loans = options->loans ? options->loans : DEFAULT_LOANS;
        options->holds = options->holds ? options->holds : DEFAULT_HOLDS;
        if (!options->max_subscribers)
                options->max_subscribers = DEFAULT_SUBSCRIBERS;
        if (!options->max_size)
                options->max_size =
                        type->size || !is_variable ? type->size : (uint64_t)DEFAULT_MAX_SIZE;
        code = check_range(service, "depth", options->depth, 1, PROTOCOL_DEPTH_MAX);
        if (code == 0)
                code = check_range(service, "loans", options->loans, 1, PROTOCOL_LOANS_MAX);
        if (code == 0)
                code = check_range(service, "holds", options->holds, 1, HOLDS_MAX);
        if (code == 0)
                code = check_range(service, "max_subscribers", options->max_subscribers, 1,
                                   PROTOCOL_SUBSCRIBERS_MAX);
        if (code == 0)
                code = check_range(service, "max_size", options->max_size, type->size,
                                   is_variable ? INT64_MAX / 4 : type->size);
        if (code < 0)
                return code;
        least = (uint64_t)options->depth + 1 + options->loans;
        if (options->chunks)
                return check_range(service, "chunks", options->chunks, least, SLOT_NO_CHUNK - 1);
        return 0;
}

/* So many chunks that a loan never fails, and that reclaim is seldom needed for small ones. */
static int settle_chunks(struct shmd_publisher_options *options, const char *service)
{
        uint64_t held = (uint64_t)options->max_subscribers * options->holds;
        uint64_t chunks = (uint64_t)options->depth + 1 + options->loans + held;

        if (options->chunks)
                return 0;
        if (options->max_size <= SPARE_CHUNK_SIZE)
                chunks += held;
        if (chunks >= SLOT_NO_CHUNK)
                return error_set(-EINVAL,
                                 "service %s: %u subscribers with %u holds need %" PRIu64
                                 " chunks, at most %u are possible: set chunks",
                                 service, options->max_subscribers, options->holds, chunks,
                                 SLOT_NO_CHUNK - 1);
        options->chunks = (uint32_t)chunks;
        return 0;
}

static int make_segment(struct shmd_publisher *publisher, const struct ring_geometry *geometry,
                        const struct shmd_publisher_options *options)
{
        struct segment_header *header;
        char label[64];
        int code;

        if (geometry->size > SEGMENT_LIMIT && !(options->flags & SHMD_LARGE_SEGMENT))
                return error_set(-EFBIG,
                                 "service %s: %u chunks of %" PRIu64
                                 " bytes make a segment of %" PRIu64
                                 " MiB; more than 1 GiB needs SHMD_LARGE_SEGMENT, or set fewer "
                                 "chunks, depth, max_subscribers or holds",
                                 publisher->service, geometry->n_chunks, geometry->payload_max,
                                 geometry->size >> 20);
        publisher->scratch = calloc(1, ring_scratch_size(geometry));
        if (!publisher->scratch)
                return error_system(-ENOMEM, "service %s: %u chunks", publisher->service,
                                    geometry->n_chunks);
        snprintf(label, sizeof(label), "shmd:%.40s", publisher->service);
        code = segment_create(&publisher->memory, label, geometry->size);
        if (code < 0)
                return error_prefix(code, "service %s", publisher->service);
        header = publisher->memory.base;
        header->identity = (struct layout_identity){.magic = LAYOUT_MAGIC_SEGMENT,
                                                    .version = LAYOUT_VERSION,
                                                    .header_size = sizeof(*header),
                                                    .size = geometry->size,
                                                    .owner = publisher->id};
        ring_writer_init(&publisher->ring, geometry, header, publisher->scratch,
                         (uint32_t)publisher->id, 1);
        doorbell_init(&publisher->doorbell, (uint32_t)publisher->id, &header->fence_mode);
        return 0;
}

/* Descriptors that the subscribers of one publisher may need: each a wake channel and a pidfd. */
static uint32_t n_descriptors(uint32_t max_subscribers)
{
        return 2 * max_subscribers;
}

/* What the publisher with the most seats may need. */
static uint32_t most_descriptors(const struct shmd *bus)
{
        uint32_t most = 0;

        list_for_each (&bus->publishers, link) {
                uint32_t seats = list_entry(link, struct shmd_publisher, link)->max_subscribers;

                most = seats > most ? seats : most;
        }
        return n_descriptors(most);
}

static void free_publisher(struct shmd_publisher *publisher)
{
        struct doorbell *doorbell = &publisher->doorbell;

        call_dismiss(&publisher->handle);
        while (doorbell->n_members) {
                struct member *member = doorbell->members[0];

                doorbell_detach(doorbell, member);
                publisher_member_free(publisher, member);
        }
        list_for_each_safe (&publisher->bus->missing, link) {
                struct missing *missing = list_entry(link, struct missing, link);

                if (missing->which == REINTRODUCE_SUBSCRIBER && missing->publisher == publisher->id)
                        connection_found(publisher->bus, missing->which, missing->publisher,
                                         missing->subscription);
        }
        connection_forget_events(publisher->bus, publisher);
        list_remove(&publisher->link);
        reserve_shrink(publisher->bus, most_descriptors(publisher->bus));
        connection_close_memory(publisher->bus, &publisher->memory);
        free(publisher->opening.message);
        free(publisher->scratch);
        free(publisher);
}

/* Offers the segment to the broker, which introduces the subscribers that are there. */
static int advertise(struct shmd_publisher *publisher, struct message_advertise *message,
                     const struct shmd_publisher_options *options)
{
        struct shmd *bus = publisher->bus;
        int code = reserve_grow(bus, n_descriptors(options->max_subscribers));

        if (code < 0)
                return error_prefix(code, "service %s", publisher->service);
        publisher->wants_asym = !(options->flags & SHMD_NO_MEMBARRIER) && doorbell_register();
        publisher_allow_asym(publisher, !(bus->seen_word & SESSION_NO_ASYM));
        message->publisher = publisher->id;
        message->geometry = publisher->ring.geometry;
        message->loans = options->loans;
        message->max_subscribers = options->max_subscribers;
        message->holds = options->holds;
        memcpy(message->service, publisher->service, sizeof(message->service));
        code = opening_keep(&publisher->opening, &message->header);
        if (code < 0)
                return code;
        /* Listed before it asks: the answer begins with introductions. */
        list_append(&bus->publishers, &publisher->link);
        code = connection_request(bus, &message->header, &publisher->memory.fd, 1, NULL, NULL);
        publisher->opening.is_open = publisher->opening.is_told = code == 0;
        if (code < 0)
                return code;
        code = reserve_check(bus);
        if (code < 0) {
                error_prefix(code, "service %s", publisher->service);
                connection_leave(bus, &publisher->opening, MESSAGE_UNADVERTISE, publisher->id);
        }
        return code;
}

static int open_publisher(struct shmd_publisher **out, struct shmd *bus, const char *service,
                          struct message_advertise *message,
                          const struct shmd_publisher_options *options)
{
        struct ring_wish wish = {.payload_max = options->max_size,
                                 .alignment = message->type.alignment,
                                 .depth = options->depth,
                                 .n_chunks = options->chunks};
        struct shmd_publisher *publisher = calloc(1, sizeof(*publisher));
        struct ring_geometry geometry;
        int code;

        if (!publisher)
                return error_system(-ENOMEM, "service %s", service);
        publisher->bus = bus;
        call_admit(&publisher->handle, publisher, bus);
        publisher->memory = SEGMENT_NONE;
        list_init(&publisher->link);
        list_init(&publisher->doorbell.boards);
        memcpy(publisher->service, service, strlen(service) + 1);
        publisher->id = random_id();
        publisher->is_variable = message->type.flags & SHMD_TYPE_VARIABLE;
        publisher->min_size = message->type.size;
        publisher->loans_max = options->loans;
        publisher->holds = options->holds;
        publisher->max_subscribers = options->max_subscribers;
        publisher->on_subscriber = options->on_subscriber;
        publisher->user = options->user;
        code = ring_geometry_init(&geometry, &wish);
        if (code < 0)
                code = error_prefix(code, "service %s", service);
        else
                code = make_segment(publisher, &geometry, options);
        if (code == 0)
                code = advertise(publisher, message, options);
        if (code < 0)
                free_publisher(publisher);
        else
                *out = publisher;
        return code;
}

int shmd_advertise(struct shmd_publisher **publisher, struct shmd *bus, const char *service,
                   const struct shmd_type *type, const struct shmd_publisher_options *options)
{
        struct shmd_publisher_options settled = {.size = sizeof(settled)};
        cleanup_free struct message_advertise *message = NULL;
        CALL(call);
        int code, tries = 0;

        if (!publisher)
                return call_lacks("shmd_advertise", "place for the publisher");
        *publisher = NULL;
        if (!bus || !service || !type)
                return call_lacks("shmd_advertise", !bus       ? "connection"
                                                    : !service ? "service"
                                                               : "type");
        code = call_on_connection(&call, bus, bus);
        if (code < 0)
                return code;
        code = wire_check_service(service);
        if (code == 0 && options)
                code = options_copy(&settled, sizeof(settled), options, options->size,
                                    "shmd_publisher_options");
        if (code < 0)
                return code;
        message = calloc(1, PROTOCOL_MESSAGE_MAX);
        if (!message)
                return error_system(-ENOMEM, "service %s", service);
        code = type_pack(&message->type, message->fields, type);
        if (code == 0)
                code = settle_options(&settled, service, &message->type);
        if (code == 0)
                code = settle_chunks(&settled, service);
        if (code < 0)
                return error_prefix(code, "service %s", service);
        wire_begin(message, MESSAGE_ADVERTISE,
                   sizeof(*message) + type->n_fields * sizeof(message->fields[0]), 0);
        do { /* two random ids may share their low halves */
                code = open_publisher(publisher, bus, service, message, &settled);
        } while (code == -EEXIST && ++tries < 4);
        return code;
}

void shmd_publisher_close(struct shmd_publisher *publisher)
{
        struct segment_header *header;
        CALL(call);
        int code;

        if (!publisher)
                return;
        code = call_on_publisher(&call, publisher, publisher);
        if (code < 0 && code != -ECHILD)
                return;
        if (!connection_is_inherited(publisher->bus)) {
                header = publisher->memory.base;
                /* RELEASE: for subscribers to whom no broker says it; what was committed is found
                 * by then. Partner: attachment_has_ended(). */
                store_release(&header->ended, 1);
                connection_leave(publisher->bus, &publisher->opening, MESSAGE_UNADVERTISE,
                                 publisher->id);
        }
        free_publisher(publisher);
}

/* ---- loan and publish ------------------------------------------------------------------- */

/* Takes in what the broker has said, if it has said anything. */
static inline void hear_broker(struct shmd *bus)
{
        /* ACQUIRE: the messages that it counts are in the socket. Partner: the broker's release. */
        if (__builtin_expect(load_acquire(bus->word) != bus->seen_word, 0))
                connection_intake(bus);
}

/* True: once more. */
static bool reclaim_some(struct shmd_publisher *publisher)
{
        struct ring_writer *ring = &publisher->ring;
        const struct doorbell *doorbell = &publisher->doorbell;

        /* Before the marks: this may take a while, if the broker is gone. */
        if (__builtin_expect(connection_needs_care(publisher->bus), 0))
                connection_care(publisher->bus);
        ring_reclaim_begin(ring);
        /* Not optional: a subscriber may hold before it is known here (G4). */
        hear_broker(publisher->bus);
        if (publisher->n_missing) {
                connection_intake(publisher->bus); /* asks again */
                if (publisher->n_missing)
                        return false;
        }
        for (uint32_t i = 0; i < doorbell->n_members; i++)
                ring_reclaim_mark(ring, &doorbell->members[i]->row);
        return ring_reclaim_end(ring);
}

/* Not part of what is inlined for each sample. */
static __attribute__((noinline)) void reclaim(struct shmd_publisher *publisher)
{
        while (publisher->ring.n_retired && reclaim_some(publisher))
                ;
}

static int no_loan(struct shmd_publisher *publisher)
{
        if (publisher->n_loaned == publisher->loans_max)
                return error_set(-ENOBUFS,
                                 "service %s: %u samples are on loan, as many as were asked for "
                                 "(loans)",
                                 publisher->service, publisher->n_loaned);
        if (publisher->n_missing)
                return error_set(-ENOBUFS,
                                 "service %s: %u subscribers can't be attached for want of "
                                 "descriptors; nothing is recycled until they are",
                                 publisher->service, publisher->n_missing);
        return error_set(-ENOBUFS,
                         "service %s: all %u chunks are kept, on loan, or held by subscribers",
                         publisher->service, publisher->ring.geometry.n_chunks);
}

int shmd_loan(struct shmd_publisher *publisher, void **data)
{
        uint32_t chunk = RING_NONE;
        CALL(call);
        int code = call_on_publisher(&call, publisher, data);

        if (code < 0)
                return code;
        if (publisher->n_loaned < publisher->loans_max) {
                chunk = ring_loan(&publisher->ring);
                if (chunk == RING_NONE) {
                        reclaim(publisher);
                        chunk = ring_loan(&publisher->ring);
                }
        }
        if (chunk == RING_NONE)
                return no_loan(publisher);
        publisher->n_loaned++;
        publisher->last_chunk = chunk;
        publisher->last_loan = ring_payload(&publisher->ring, chunk);
        *data = publisher->last_loan;
        return 0;
}

/* The chunk of a sample that is on loan; -EINVAL with a text. */
static int find_loan(struct shmd_publisher *publisher, const void *data, uint32_t *chunk)
{
        if (data && data == publisher->last_loan)
                *chunk = publisher->last_chunk;
        else
                *chunk = ring_chunk_of(&publisher->ring, data);
        if (*chunk == RING_NONE)
                return error_set(-EINVAL, "service %s: %p is not on loan from this publisher",
                                 publisher->service, data);
        return 0;
}

static void end_loan(struct shmd_publisher *publisher, const void *data)
{
        publisher->n_loaned--;
        if (data == publisher->last_loan)
                publisher->last_loan = NULL;
}

static inline int publish(struct shmd_publisher *publisher, void *data, uint64_t size)
{
        struct ring_writer *ring = &publisher->ring;
        uint32_t chunk;
        bool has_rung = false;
        int code = find_loan(publisher, data, &chunk);

        if (code < 0)
                return code;
        if (size < publisher->min_size || size > ring->geometry.payload_max)
                return error_set(-EINVAL,
                                 "service %s: a sample of %" PRIu64 " bytes, must be from %" PRIu64
                                 " to %" PRIu64,
                                 publisher->service, size, publisher->min_size,
                                 ring->geometry.payload_max);
        end_loan(publisher, data);
        ring_commit(ring, chunk, size);
        if (!doorbell_is_quiet(&publisher->doorbell))
                has_rung = doorbell_after_commit(&publisher->doorbell,
                                                 ring->geometry.chunks_offset +
                                                         ring->geometry.stride * chunk,
                                                 ring->next - 1);
        hear_broker(publisher->bus);
        ring_announce(ring);
        if (__builtin_expect(ring->announced == RING_NONE, 0)) {
                reclaim(publisher);
                ring_announce(ring); /* none: left to the next loan or publish */
        }
        /* Who publishes seldom reclaims seldom, but mostly to sleepers. */
        if (__builtin_expect(has_rung, 0) && connection_needs_care(publisher->bus))
                connection_care(publisher->bus);
        return 0;
}

int shmd_publish(struct shmd_publisher *publisher, void *data)
{
        CALL(call);
        int code = call_on_publisher(&call, publisher, publisher);

        return code < 0 ? code : publish(publisher, data, publisher->ring.geometry.payload_max);
}

int shmd_publish_sized(struct shmd_publisher *publisher, void *data, uint64_t size)
{
        CALL(call);
        int code = call_on_publisher(&call, publisher, publisher);

        return code < 0 ? code : publish(publisher, data, size);
}

int shmd_discard(struct shmd_publisher *publisher, void *data)
{
        uint32_t chunk = RING_NONE;
        CALL(call);
        int code = call_on_publisher(&call, publisher, publisher);

        if (code == 0)
                code = find_loan(publisher, data, &chunk);
        if (code < 0)
                return code;
        end_loan(publisher, data);
        ring_discard(&publisher->ring, chunk);
        return 0;
}

int shmd_publisher_status(struct shmd_publisher *publisher, struct shmd_publisher_state *status)
{
        CALL(call);
        int code;

        if (!publisher || !status)
                return call_lacks("shmd_publisher_status",
                                  publisher ? "place for the status" : "publisher");
        code = call_on_publisher(&call, publisher, status);
        if (code < 0)
                return code;
        if (publisher->n_missing)
                connection_intake(publisher->bus); /* asks again */
        hear_broker(publisher->bus);
        if (connection_needs_care(publisher->bus))
                connection_care(publisher->bus);
        *status = (struct shmd_publisher_state){
                .id = publisher->id,
                .published = publisher->ring.next - 1,
                .segment_size = publisher->memory.size,
                .max_size = publisher->ring.geometry.payload_max,
                .chunks = publisher->ring.geometry.n_chunks,
                .depth = publisher->ring.geometry.depth,
                .subscribers = publisher->n_subscribers,
                .loaned = publisher->n_loaned,
        };
        return 0;
}
