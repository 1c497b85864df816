/* SPDX-License-Identifier: Apache-2.0 */
/*
 * subscriber.c - one reader of a service: its row of holds, taking and releasing. attachments.c has
 * the publishers that it reads.
 *
 * Publishers are read in turn, so that none starves the others. A publisher that has gone is read
 * to the end; its segment stays mapped until its last sample is released.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "atomic.h"
#include "connection.h"
#include "error.h"
#include "ring-take.h"
#include "type.h"
#include "util.h"
#include "wire.h"

#define DEFAULT_HOLDS 2

/* A subscriber that only polls looks for news from the broker once in so many empty takes. */
#define EMPTY_TAKES_A_LOOK 64

/* ---- subscribe -------------------------------------------------------------------------- */

/* Only what is zero may be used again, by whomever. */
static void let_go(struct shmd_subscriber *subscriber)
{
        if (!subscriber->holds || connection_is_inherited(subscriber->bus))
                return;
        for (uint32_t i = 0; i < subscriber->n_holds; i++)
                ring_release(&subscriber->holds[i]);
}

static void free_subscriber(struct shmd_subscriber *subscriber)
{
        struct shmd *bus = subscriber->bus;

        call_dismiss(&subscriber->handle);
        let_go(subscriber);
        while (subscriber->n_attachments)
                subscriber_detach(subscriber, 0);
        list_for_each_safe (&bus->missing, link) {
                struct missing *missing = list_entry(link, struct missing, link);

                if (missing->which == REINTRODUCE_PUBLISHER &&
                    missing->subscription == subscriber->id)
                        connection_found(bus, missing->which, missing->publisher,
                                         missing->subscription);
        }
        connection_forget_events(bus, subscriber);
        if (bus->abandoned.serial && bus->abandoned.id == subscriber->id) {
                /* The broker may look at it for a while. */
                bus->abandoned.block = subscriber->block;
                bus->abandoned.row_offset = subscriber->row_offset;
                bus->abandoned.n_holds = subscriber->n_holds;
        } else {
                row_return(subscriber->block, subscriber->row_offset, subscriber->n_holds);
        }
        free(subscriber->opening.message);
        list_remove(&subscriber->link);
        free(subscriber->attachments);
        free(subscriber->refused);
        free(subscriber->held);
        free(subscriber->free_holds);
        free(subscriber);
}

static int make_holds(struct shmd_subscriber *subscriber, uint32_t n_holds)
{
        int code;

        subscriber->n_holds = n_holds;
        subscriber->held = calloc(n_holds, sizeof(*subscriber->held));
        subscriber->free_holds = calloc(n_holds, sizeof(*subscriber->free_holds));
        if (!subscriber->held || !subscriber->free_holds)
                return error_system(-ENOMEM, "%u holds", n_holds);
        for (uint32_t i = 0; i < n_holds; i++)
                subscriber->free_holds[subscriber->n_free_holds++] = n_holds - 1 - i;
        code = ear_make_pipe(subscriber->bus);
        return code < 0 ? code : row_claim(subscriber);
}

/* Asks the broker, which introduces the publishers that are there. */
static int subscribe(struct shmd_subscriber *subscriber, struct message_subscribe *message,
                     const struct shmd_subscriber_options *options)
{
        struct shmd *bus = subscriber->bus;
        int code;

        if (!subscriber->block) /* row_claim() has found it: said again, for who reads only this */
                return error_set(-EINVAL, "a subscription without a row");
        message->flags = options->holds ? SUBSCRIBE_HOLDS_SET : 0;
        message->subscription = subscriber->id;
        message->holds = subscriber->n_holds;
        message->min_depth = options->min_depth;
        message->history = options->history;
        message->block = subscriber->block->index;
        message->row_offset = subscriber->row_offset;
        memcpy(message->service, subscriber->service, sizeof(message->service));
        code = opening_keep(&subscriber->opening, &message->header);
        if (code < 0)
                return code;
        list_append(&bus->subscribers, &subscriber->link);
        code = connection_request(bus, &message->header, NULL, 0, NULL, NULL);
        /* What came with a subscription that failed may not have arrived: it is sent again. */
        if (code == 0) {
                subscriber->block->is_passed = true;
                bus->pipe_is_passed = true;
        }
        subscriber->opening.is_open = subscriber->opening.is_told = code == 0;
        return code;
}

static int open_subscriber(struct shmd_subscriber **out, struct shmd *bus, const char *service,
                           struct message_subscribe *message,
                           const struct shmd_subscriber_options *options)
{
        struct shmd_subscriber *subscriber = calloc(1, sizeof(*subscriber));
        int code;

        if (!subscriber)
                return error_system(-ENOMEM, "service %s", service);
        subscriber->bus = bus;
        call_admit(&subscriber->handle, subscriber, bus);
        list_init(&subscriber->link);
        memcpy(subscriber->service, service, strlen(service) + 1);
        subscriber->id = random_id();
        subscriber->history = options->history;
        subscriber->min_size = message->type.size;
        subscriber->on_sample = options->on_sample;
        subscriber->on_publisher = options->on_publisher;
        subscriber->user = options->user;
        code = make_holds(subscriber, options->holds ? options->holds : DEFAULT_HOLDS);
        if (code == 0)
                code = subscribe(subscriber, message, options);
        if (code < 0)
                free_subscriber(subscriber);
        else
                *out = subscriber;
        return code;
}

int shmd_subscribe(struct shmd_subscriber **subscriber, struct shmd *bus, const char *service,
                   const struct shmd_type *type, const struct shmd_subscriber_options *options)
{
        struct shmd_subscriber_options settled = {.size = sizeof(settled)};
        cleanup_free struct message_subscribe *message = NULL;
        CALL(call);
        int code;

        if (!subscriber)
                return call_lacks("shmd_subscribe", "place for the subscriber");
        *subscriber = NULL;
        if (!bus || !service || !type)
                return call_lacks("shmd_subscribe", !bus       ? "connection"
                                                    : !service ? "service"
                                                               : "type");
        code = call_on_connection(&call, bus, bus);
        if (code < 0)
                return code;
        code = wire_check_service(service);
        if (code == 0 && options)
                code = options_copy(&settled, sizeof(settled), options, options->size,
                                    "shmd_subscriber_options");
        if (code < 0)
                return code;
        if (settled.holds > HOLDS_MAX)
                return error_set(-EINVAL, "service %s: holds is %u, must be from 1 to %u", service,
                                 settled.holds, HOLDS_MAX);
        message = calloc(1, PROTOCOL_MESSAGE_MAX);
        if (!message)
                return error_system(-ENOMEM, "service %s", service);
        code = type_pack(&message->type, message->fields, type);
        if (code < 0)
                return error_prefix(code, "service %s", service);
        wire_begin(message, MESSAGE_SUBSCRIBE,
                   sizeof(*message) + type->n_fields * sizeof(message->fields[0]), 0);
        return open_subscriber(subscriber, bus, service, message, &settled);
}

void shmd_subscriber_close(struct shmd_subscriber *subscriber)
{
        CALL(call);
        int code;

        if (!subscriber)
                return;
        code = call_on_subscriber(&call, subscriber, subscriber);
        if (code < 0 && code != -ECHILD)
                return;
        /* First let go, then leave: the broker finds the row at zero. */
        let_go(subscriber);
        connection_leave(subscriber->bus, &subscriber->opening, MESSAGE_UNSUBSCRIBE,
                         subscriber->id);
        free_subscriber(subscriber);
}

/* ---- take and release ------------------------------------------------------------------- */

bool subscriber_ready(struct shmd_subscriber *subscriber)
{
        if (!subscriber->n_free_holds)
                return false;
        for (uint32_t i = 0; i < subscriber->n_attachments; i++) {
                struct attachment *attachment = subscriber->attachments[i];
                uint64_t seen = ring_look(&attachment->ring);

                if (attachment->n_held >= attachment->holds ||
                    ring_is_quiet(&attachment->ring, seen))
                        continue;
                if (ring_is_there(&attachment->ring, seen) || ring_ready(&attachment->ring))
                        return true;
        }
        return false;
}

bool subscriber_wants_membarrier(const struct shmd_subscriber *subscriber)
{
        for (uint32_t i = 0; i < subscriber->n_attachments; i++) {
                const struct segment_header *header = subscriber->attachments[i]->memory.base;

                /* ACQUIRE: with FENCE come all commits that were made without one. Partner:
                 * set_mode(). */
                if (load_acquire(&header->fence_mode) != FENCE_MODE_FENCE)
                        return true;
        }
        return false;
}

/* Looks after what polling alone would never see. */
static __attribute__((noinline)) int look_after(struct shmd_subscriber *subscriber)
{
        struct shmd *bus = subscriber->bus;

        if (subscriber->n_gone)
                subscriber_detach_gone(subscriber);
        /* ACQUIRE: as in connection_intake(), which reads the messages. */
        if (load_acquire(bus->word) != bus->seen_word || !list_empty(&bus->missing) ||
            connection_needs_care(bus)) {
                connection_intake(bus);
                connection_care(bus);
        }
        return 0;
}

static inline int nothing_there(struct shmd_subscriber *subscriber)
{
        if (++subscriber->empty_takes % EMPTY_TAKES_A_LOOK && !subscriber->n_gone)
                return 0;
        return look_after(subscriber);
}

/* Notes what was taken from a publisher into hold `index`. */
static inline void note_taken(struct shmd_subscriber *subscriber, struct attachment *attachment,
                              uint32_t index, const struct ring_sample *found,
                              struct shmd_sample *sample)
{
        struct held *held = &subscriber->held[index];

        sample->data = found->data;
        sample->size = found->size;
        sample->sequence = found->sequence;
        sample->lost = found->lost;
        sample->publisher = attachment->peer.id;
        sample->hold = subscriber->id << 32 | (index + 1);
        held->attachment = attachment;
        held->sequence = found->sequence;
        attachment->n_held++;
        subscriber->n_free_holds--;
        subscriber->taken++;
        subscriber->lost += found->lost;
}

static inline struct attachment *next_in_turn(struct shmd_subscriber *subscriber)
{
        if (++subscriber->turn >= subscriber->n_attachments)
                subscriber->turn = 0;
        return subscriber->attachments[subscriber->turn];
}

/* Whatever the first look could not decide: finds and takes a sample, if there is one. */
static __attribute__((noinline)) int take_thoroughly(struct shmd_subscriber *subscriber,
                                                     struct shmd_sample *sample)
{
        uint32_t index = subscriber->free_holds[subscriber->n_free_holds - 1];
        struct ring_sample found;

        for (uint32_t i = 0; i < subscriber->n_attachments; i++) {
                struct attachment *attachment = next_in_turn(subscriber);

                if (attachment->n_held >= attachment->holds)
                        continue;
                if (!ring_take(&attachment->ring, &subscriber->holds[index], &found)) {
                        /* Where nobody writes any more, or should, nothing will be, either. */
                        if (attachment->is_gone)
                                ring_reader_stop(&attachment->ring);
                        continue;
                }
                note_taken(subscriber, attachment, index, &found, sample);
                return 1;
        }
        return nothing_there(subscriber);
}

static __attribute__((noinline, cold)) int no_hold(const struct shmd_subscriber *subscriber)
{
        return error_set(-ENOBUFS,
                         "service %s: %u samples are held, as many as were asked for (holds)",
                         subscriber->service, subscriber->n_holds);
}

/*
 * What stands between a commit and the reader's own work, and what a poll in vain costs, is this
 * function alone: it calls nothing, so that it has no registers to save.
 */
int shmd_take(struct shmd_subscriber *subscriber, struct shmd_sample *sample)
{
        CALL(call);
        int code = call_on_subscriber(&call, subscriber, sample);

        if (code < 0)
                return code;
        if (!subscriber->n_free_holds)
                return no_hold(subscriber);
        for (uint32_t i = 0; i < subscriber->n_attachments; i++) {
                struct attachment *attachment = next_in_turn(subscriber);
                uint64_t seen = ring_look(&attachment->ring);

                if (attachment->n_held >= attachment->holds)
                        continue;
                if (ring_is_there(&attachment->ring, seen)) {
                        uint32_t index = subscriber->free_holds[subscriber->n_free_holds - 1];
                        struct ring_sample found;

                        if (!ring_hold(&attachment->ring, &subscriber->holds[index], &found))
                                return take_thoroughly(subscriber, sample);
                        note_taken(subscriber, attachment, index, &found, sample);
                        return 1;
                }
                if (!ring_is_quiet(&attachment->ring, seen))
                        return take_thoroughly(subscriber, sample);
        }
        return nothing_there(subscriber);
}

int shmd_release(struct shmd_subscriber *subscriber, struct shmd_sample *sample)
{
        uint64_t index;
        struct held *held;
        CALL(call);
        int code = call_on_subscriber(&call, subscriber, sample);

        if (code < 0)
                return code;
        /* Two subscribers may hold the same sample: each lets go of its own. */
        index = (sample->hold ^ (subscriber->id << 32)) - 1;
        held = index < subscriber->n_holds ? &subscriber->held[index] : NULL;
        if (!held || !held->attachment || held->sequence != sample->sequence ||
            held->attachment->peer.id != sample->publisher)
                return error_set(-EINVAL,
                                 "service %s: the sample is not held by this subscriber (released "
                                 "before?)",
                                 subscriber->service);
        ring_release(&subscriber->holds[index]);
        held->attachment->n_held--;
        /* Who could take nothing more was not rung for what is there. */
        if (!subscriber->n_free_holds || held->attachment->n_held + 1 == held->attachment->holds)
                subscriber->bus->must_look = true;
        held->attachment = NULL;
        subscriber->free_holds[subscriber->n_free_holds++] = (uint32_t)index;
        sample->data = NULL;
        sample->hold = 0;
        if (subscriber->n_gone)
                subscriber_detach_gone(subscriber);
        return 0;
}

int shmd_subscriber_status(struct shmd_subscriber *subscriber, struct shmd_subscriber_state *status)
{
        CALL(call);
        int code;
        uint64_t lost;

        if (!subscriber || !status)
                return call_lacks("shmd_subscriber_status",
                                  subscriber ? "place for the status" : "subscriber");
        code = call_on_subscriber(&call, subscriber, status);
        if (code < 0)
                return code;
        /* ACQUIRE: as in connection_intake(), which reads the messages. */
        if (load_acquire(subscriber->bus->word) != subscriber->bus->seen_word ||
            !list_empty(&subscriber->bus->missing))
                connection_intake(subscriber->bus);
        if (connection_needs_care(subscriber->bus))
                connection_care(subscriber->bus);
        if (subscriber->n_gone)
                subscriber_detach_gone(subscriber);
        lost = subscriber->lost;
        for (uint32_t i = 0; i < subscriber->n_attachments; i++)
                lost += subscriber->attachments[i]->ring.lost;
        *status = (struct shmd_subscriber_state){
                .id = subscriber->id,
                .taken = subscriber->taken,
                .lost = lost,
                .publishers = subscriber->n_attachments - subscriber->n_gone,
                .refused = subscriber->n_refused,
                .held = subscriber->n_holds - subscriber->n_free_holds,
        };
        return 0;
}
