/* SPDX-License-Identifier: Apache-2.0 */
/*
 * subscriber.c - one reader of a service: its row of holds, the publishers it reads.
 *
 * Publishers are read in turn, so that none starves the others. A publisher that has gone is read
 * to the end; its segment stays mapped until its last sample is released.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "atomic.h"
#include "connection.h"
#include "error.h"
#include "type.h"
#include "util.h"
#include "wire.h"

#define DEFAULT_HOLDS 2

/* A subscriber that only polls looks for news from the broker once in so many empty takes. */
#define EMPTY_TAKES_A_LOOK 64

/* ---- publishers ------------------------------------------------------------------------- */

static struct bumped_board *use_board(struct shmd *bus, uint64_t id, int fd)
{
        struct bumped_board *board;

        list_for_each (&bus->bumped, link) {
                board = list_entry(link, struct bumped_board, link);
                if (board->id != id)
                        continue;
                board->references++;
                return board;
        }
        board = calloc(1, sizeof(*board));
        if (!board || segment_map_board(&board->memory, fd, true) < 0) {
                free(board);
                return NULL;
        }
        board->id = id;
        board->references = 1;
        list_append(&bus->bumped, &board->link);
        return board;
}

static void drop_board(struct shmd *bus, struct bumped_board *board)
{
        if (!board || --board->references)
                return;
        list_remove(&board->link);
        connection_close_memory(bus, &board->memory);
        free(board);
}

static void free_attachment(struct shmd *bus, struct attachment *attachment)
{
        drop_board(bus, attachment->board);
        segment_close(&attachment->memory);
        free(attachment->come);
        free(attachment->gone);
        free(attachment);
}

static void detach(struct shmd_subscriber *subscriber, uint32_t index)
{
        struct attachment *attachment = subscriber->attachments[index];

        if (attachment->is_gone)
                subscriber->n_gone--;
        subscriber->lost += attachment->ring.lost;
        subscriber->attachments[index] = subscriber->attachments[--subscriber->n_attachments];
        free_attachment(subscriber->bus, attachment);
}

/* Lets go of publishers that have gone, are read to the end, and have nothing held. */
static void detach_gone(struct shmd_subscriber *subscriber)
{
        for (uint32_t i = subscriber->n_attachments; i-- && subscriber->n_gone;) {
                struct attachment *attachment = subscriber->attachments[i];

                if (attachment->is_gone && !attachment->n_held && !ring_ready(&attachment->ring))
                        detach(subscriber, i);
        }
}

static struct shmd_subscriber *find_subscriber(struct shmd *bus, uint64_t id)
{
        list_for_each (&bus->subscribers, link) {
                struct shmd_subscriber *subscriber = list_entry(link, struct shmd_subscriber, link);

                if (subscriber->id == id)
                        return subscriber;
        }
        return NULL;
}

static struct attachment *find_attachment(const struct shmd_subscriber *subscriber, uint64_t id)
{
        for (uint32_t i = 0; i < subscriber->n_attachments; i++)
                if (subscriber->attachments[i]->peer.id == id &&
                    !subscriber->attachments[i]->is_gone)
                        return subscriber->attachments[i];
        return NULL;
}

static bool add_attachment(struct shmd_subscriber *subscriber, struct attachment *attachment)
{
        struct attachment **grown =
                realloc(subscriber->attachments,
                        (subscriber->n_attachments + 1) * sizeof(struct attachment *));

        if (!grown)
                return false;
        subscriber->attachments = grown;
        grown[subscriber->n_attachments++] = attachment;
        return true;
}

/* Whether the segment is what the broker says it is. */
static bool is_segment_of(const struct segment *memory, uint64_t publisher)
{
        const struct segment_header *header = memory->base;

        return header->identity.magic == LAYOUT_MAGIC_SEGMENT &&
               header->identity.version == LAYOUT_VERSION && !header->identity.incompatible &&
               header->identity.owner == publisher;
}

static bool attach(struct shmd_subscriber *subscriber, const struct message_publisher_added *added,
                   struct packet *packet)
{
        struct shmd *bus = subscriber->bus;
        struct attachment *attachment = calloc(1, sizeof(*attachment));
        uint32_t tag = (uint32_t)added->peer.id;
        bool done;

        if (!attachment)
                return false;
        memcpy(&attachment->peer, &added->peer, sizeof(attachment->peer));
        attachment->memory = SEGMENT_NONE;
        attachment->holds = added->holds;
        attachment->board = use_board(bus, added->board, packet->fds[1]);
        done = attachment->board &&
               connection_event_new(&attachment->come, subscriber, subscriber->on_publisher,
                                    subscriber->user) &&
               connection_event_new(&attachment->gone, subscriber, subscriber->on_publisher,
                                    subscriber->user) &&
               segment_check(packet->fds[0], added->geometry.size, SEGMENT_ANY_OWNER) == 0 &&
               segment_map(&attachment->memory, packet->fds[0], added->geometry.size) == 0 &&
               is_segment_of(&attachment->memory, added->peer.id) &&
               (!(added->flags & PUBLISHER_CHANNEL) ||
                waiting_listen(bus, added->channel, packet_take_fd(packet, 2)) == 0) &&
               add_attachment(subscriber, attachment);
        if (!done) {
                free_attachment(bus, attachment);
                return false;
        }
        ring_reader_join(&attachment->ring, &added->geometry, attachment->memory.base, tag,
                         added->start, subscriber->history);
        return true;
}

static void forget_refusal(struct shmd_subscriber *subscriber, uint64_t publisher)
{
        for (uint32_t i = 0; i < subscriber->n_refused; i++) {
                if (subscriber->refused[i] != publisher)
                        continue;
                subscriber->refused[i] = subscriber->refused[--subscriber->n_refused];
                return;
        }
}

static void note_refusal(struct shmd_subscriber *subscriber, uint64_t publisher)
{
        uint64_t *grown = realloc(subscriber->refused,
                                  (subscriber->n_refused + 1) * sizeof(*subscriber->refused));

        if (!grown)
                return;
        subscriber->refused = grown;
        grown[subscriber->n_refused++] = publisher;
}

void subscriber_added(struct shmd *bus, const struct message_publisher_added *added,
                      struct packet *packet)
{
        struct shmd_subscriber *subscriber = find_subscriber(bus, added->subscription);
        struct attachment *attachment;
        uint64_t id = added->peer.id;

        if (!subscriber || find_attachment(subscriber, id)) /* closed meanwhile, or known */
                return;
        if (packet->fds_truncated || !attach(subscriber, added, packet)) {
                connection_miss(bus, REINTRODUCE_PUBLISHER, id, subscriber->id);
                return;
        }
        connection_found(bus, REINTRODUCE_PUBLISHER, id, subscriber->id);
        forget_refusal(subscriber, id);
        /* It does not know of an arming that came before it. */
        bus->must_look = true;
        attachment = subscriber->attachments[subscriber->n_attachments - 1];
        connection_event(bus, &attachment->come, &attachment->peer, 1);
}

void subscriber_gone(struct shmd *bus, const struct message_publisher_gone *gone)
{
        struct shmd_subscriber *subscriber = find_subscriber(bus, gone->subscription);
        struct attachment *attachment;

        if (!subscriber)
                return;
        connection_found(bus, REINTRODUCE_PUBLISHER, gone->publisher, subscriber->id);
        forget_refusal(subscriber, gone->publisher);
        if (gone->header.type == MESSAGE_PUBLISHER_REFUSED) {
                note_refusal(subscriber, gone->publisher);
                return;
        }
        attachment = find_attachment(subscriber, gone->publisher);
        if (!attachment)
                return;
        attachment->is_gone = true;
        subscriber->n_gone++;
        connection_event(bus, &attachment->gone, &attachment->peer, 0);
}

/* ---- subscribe -------------------------------------------------------------------------- */

static void free_subscriber(struct shmd_subscriber *subscriber)
{
        struct shmd *bus = subscriber->bus;

        call_dismiss(&subscriber->handle);
        /* Only what is zero may be used again, by whomever. */
        for (uint32_t i = 0;
             subscriber->holds && !connection_is_inherited(bus) && i < subscriber->n_holds; i++)
                ring_release(&subscriber->holds[i]);
        while (subscriber->n_attachments)
                detach(subscriber, 0);
        list_for_each_safe (&bus->missing, link) {
                struct missing *missing = list_entry(link, struct missing, link);

                if (missing->which == REINTRODUCE_PUBLISHER &&
                    missing->subscription == subscriber->id)
                        connection_found(bus, missing->which, missing->publisher,
                                         missing->subscription);
        }
        connection_forget_events(bus, subscriber);
        row_return(subscriber);
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
        code = waiting_make_pipe(subscriber->bus);
        return code < 0 ? code : row_claim(subscriber);
}

/* Asks the broker, which introduces the publishers that are there. */
static int subscribe(struct shmd_subscriber *subscriber, struct message_subscribe *message,
                     const struct shmd_subscriber_options *options)
{
        struct shmd *bus = subscriber->bus;
        int fds[2], code;
        unsigned n_fds = 0;

        assert(subscriber->block); /* row_claim() has found it */
        message->flags = options->holds ? SUBSCRIBE_HOLDS_SET : 0;
        if (!subscriber->block->is_passed) {
                message->flags |= SUBSCRIBE_BLOCK;
                fds[n_fds++] = subscriber->block->memory.fd;
        }
        if (!bus->pipe_is_passed) {
                message->flags |= SUBSCRIBE_CHANNEL;
                fds[n_fds++] = bus->pipe_write;
        }
        message->subscription = subscriber->id;
        message->holds = subscriber->n_holds;
        message->min_depth = options->min_depth;
        message->history = options->history;
        message->block = subscriber->block->index;
        message->row_offset = subscriber->row_offset;
        memcpy(message->service, subscriber->service, sizeof(message->service));
        list_append(&bus->subscribers, &subscriber->link);
        code = connection_request(bus, &message->header, fds, n_fds, NULL, NULL);
        /* What came with a subscription that failed may not have arrived: it is sent again. */
        if (code == 0) {
                subscriber->block->is_passed = true;
                bus->pipe_is_passed = true;
        }
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
        struct message_leave leave = {.id = 0};
        struct shmd *bus;
        CALL(call);
        int code;

        if (!subscriber)
                return;
        code = call_on_subscriber(&call, subscriber, subscriber);
        if (code < 0 && code != -ECHILD)
                return;
        bus = subscriber->bus;
        leave.id = subscriber->id;
        wire_begin(&leave, MESSAGE_UNSUBSCRIBE, sizeof(leave), 0);
        /* First let go, then leave: the broker finds the row at zero. */
        free_subscriber(subscriber);
        if (!connection_is_inherited(bus))
                connection_tell(bus, &leave.header);
}

/* ---- take and release ------------------------------------------------------------------- */

bool subscriber_ready(struct shmd_subscriber *subscriber)
{
        if (!subscriber->n_free_holds)
                return false;
        for (uint32_t i = 0; i < subscriber->n_attachments; i++) {
                struct attachment *attachment = subscriber->attachments[i];

                if (attachment->n_held < attachment->holds && ring_ready(&attachment->ring))
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

/* Nothing was there. Looks after what polling alone would never see. */
static int nothing_there(struct shmd_subscriber *subscriber)
{
        struct shmd *bus = subscriber->bus;

        if (subscriber->n_gone)
                detach_gone(subscriber);
        if (++subscriber->empty_takes % EMPTY_TAKES_A_LOOK == 0 &&
            /* ACQUIRE: as in connection_intake(), which reads the messages. */
            (load_acquire(bus->word) != bus->seen_word || !list_empty(&bus->missing)))
                connection_intake(bus);
        return 0;
}

int shmd_take(struct shmd_subscriber *subscriber, struct shmd_sample *sample)
{
        uint32_t n, index;
        struct ring_sample found;
        CALL(call);
        int code = call_on_subscriber(&call, subscriber, sample);

        if (code < 0)
                return code;
        n = subscriber->n_attachments;
        if (!subscriber->n_free_holds)
                return error_set(-ENOBUFS,
                                 "service %s: %u samples are held, as many as were asked for "
                                 "(holds)",
                                 subscriber->service, subscriber->n_holds);
        index = subscriber->free_holds[subscriber->n_free_holds - 1];
        for (uint32_t i = 0; i < n; i++) {
                struct attachment *attachment;

                if (++subscriber->turn >= n)
                        subscriber->turn = 0;
                attachment = subscriber->attachments[subscriber->turn];
                if (attachment->n_held >= attachment->holds ||
                    !ring_take(&attachment->ring, &subscriber->holds[index], &found))
                        continue;
                subscriber->n_free_holds--;
                attachment->n_held++;
                subscriber->held[index].attachment = attachment;
                subscriber->held[index].sequence = found.sequence;
                subscriber->taken++;
                subscriber->lost += found.lost;
                sample->data = found.data;
                sample->size = found.size;
                sample->sequence = found.sequence;
                sample->lost = found.lost;
                sample->publisher = attachment->peer.id;
                sample->hold = (subscriber->id << 32) | (index + 1);
                return 1;
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
                detach_gone(subscriber);
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
        if (subscriber->n_gone)
                detach_gone(subscriber);
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
