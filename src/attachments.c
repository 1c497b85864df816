/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attachments.c - the publishers that a subscriber reads: how they are attached when a broker
 * introduces them, move to another broker's board, and are let go of when they have gone.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "connection.h"
#include "util.h"

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
        process_drop(attachment->process);
        segment_close(&attachment->memory);
        free(attachment->come);
        free(attachment->gone);
        free(attachment);
}

void subscriber_detach(struct shmd_subscriber *subscriber, uint32_t index)
{
        struct attachment *attachment = subscriber->attachments[index];

        orphan_attachment_named(subscriber->bus, attachment);
        if (attachment->is_gone)
                subscriber->n_gone--;
        subscriber->lost += attachment->ring.lost;
        subscriber->attachments[index] = subscriber->attachments[--subscriber->n_attachments];
        free_attachment(subscriber->bus, attachment);
}

static void note_parted(struct shmd_subscriber *subscriber, const struct attachment *attachment)
{
        subscriber->parted[subscriber->n_parted++ % PARTED_MAX] =
                (struct parted){.publisher = attachment->peer.id, .next = attachment->ring.next};
}

/* Goes on with a publisher that has come back where it was read to; false: it is another one. */
static bool go_on_after_parting(const struct shmd_subscriber *subscriber,
                                struct attachment *attachment,
                                const struct message_publisher_added *added)
{
        for (uint32_t i = 1; i <= PARTED_MAX; i++) { /* the last parting counts */
                const struct parted *parted =
                        &subscriber->parted[(subscriber->n_parted - i) % PARTED_MAX];

                if (parted->publisher != added->peer.id)
                        continue;
                ring_reader_init(&attachment->ring, &added->geometry, attachment->memory.base,
                                 (uint32_t)added->peer.id, parted->next);
                return true;
        }
        return false;
}

void subscriber_detach_gone(struct shmd_subscriber *subscriber)
{
        for (uint32_t i = subscriber->n_attachments; i-- && subscriber->n_gone;) {
                struct attachment *attachment = subscriber->attachments[i];

                if (!attachment->is_gone)
                        continue;
                /* Somebody may still write there: that is not what it has published. */
                if (ring_reader_is_over(&attachment->ring))
                        ring_reader_stop(&attachment->ring);
                if (!attachment->n_held && !ring_ready(&attachment->ring)) {
                        note_parted(subscriber, attachment);
                        subscriber_detach(subscriber, i);
                }
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
                if (subscriber->attachments[i]->peer.id == id)
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

/* Whether the segment is of this publisher, and in a layout that is known here. A broker of version
 * 1 doesn't look, and the owner may write there what it likes. */
static bool is_segment_of(const struct segment *memory, uint64_t publisher)
{
        const struct segment_header *header = memory->base;

        return segment_check_layout(&header->identity, LAYOUT_MAGIC_SEGMENT) == 0 &&
               header->identity.owner == publisher;
}

/* The last descriptor, if the broker passes one; -1. */
static int take_pidfd(struct packet *packet)
{
        return packet->header.size > MESSAGE_PUBLISHER_ADDED_SIZE_1
                       ? packet_take_fd(packet, packet->n_fds - 1)
                       : -1;
}

enum attached {
        ATTACHED,
        ATTACH_AGAIN, /* not enough memory or descriptors: it is asked for again */
        ATTACH_NEVER, /* to ask again would not help, and would never end */
};

static enum attached attach(struct shmd_subscriber *subscriber,
                            const struct message_publisher_added *added, struct packet *packet)
{
        struct shmd *bus = subscriber->bus;
        struct attachment *attachment = calloc(1, sizeof(*attachment));
        uint32_t tag = (uint32_t)added->peer.id;
        bool is_mapped;

        if (!attachment)
                return ATTACH_AGAIN;
        memcpy(&attachment->peer, &added->peer, sizeof(attachment->peer));
        attachment->memory = SEGMENT_NONE;
        attachment->holds = added->holds;
        is_mapped = segment_check(packet->fds[0], added->geometry.size, SEGMENT_ANY_OWNER) == 0 &&
                    segment_map(&attachment->memory, packet->fds[0], added->geometry.size) == 0;
        if (is_mapped && !is_segment_of(&attachment->memory, added->peer.id)) {
                free_attachment(bus, attachment);
                return ATTACH_NEVER;
        }
        attachment->board = use_board(bus, added->board, packet->fds[1]);
        if (!is_mapped || !attachment->board ||
            !connection_events_new(&attachment->come, &attachment->gone, subscriber,
                                   subscriber->on_publisher, subscriber->user) ||
            ((added->flags & PUBLISHER_CHANNEL) &&
             ear_listen(bus, added->channel, packet_take_fd(packet, 2)) < 0) ||
            !add_attachment(subscriber, attachment)) {
                free_attachment(bus, attachment);
                return ATTACH_AGAIN;
        }
        attachment->inode = segment_inode(packet->fds[0]);
        attachment->process =
                process_use(bus, added->connection, added->peer.pid, take_pidfd(packet));
        if (!go_on_after_parting(subscriber, attachment, added))
                ring_reader_join(&attachment->ring, &added->geometry, attachment->memory.base, tag,
                                 added->start, subscriber->history);
        if (subscriber->min_size <= added->geometry.payload_max)
                ring_reader_bound(&attachment->ring, subscriber->min_size);
        return ATTACHED;
}

/* A broker introduces one who is known from another's time: this connection says at the new board
 * that it goes to sleep. What was read of it stays read. */
static enum attached move(struct shmd_subscriber *subscriber, struct attachment *attachment,
                          const struct message_publisher_added *added, struct packet *packet)
{
        struct shmd *bus = subscriber->bus;
        struct bumped_board *board;

        /* Another's memory with its id: whoever that is, it isn't read. */
        if (segment_inode(packet->fds[0]) != attachment->inode)
                return ATTACH_NEVER;
        if ((added->flags & PUBLISHER_CHANNEL) &&
            ear_listen(bus, added->channel, packet_take_fd(packet, 2)) < 0)
                return ATTACH_AGAIN;
        board = use_board(bus, added->board, packet->fds[1]);
        if (!board)
                return ATTACH_AGAIN;
        drop_board(bus, attachment->board);
        attachment->board = board;
        orphan_attachment_named(bus, attachment);
        if (!attachment->process) /* a broker of version 1 had introduced it */
                attachment->process =
                        process_use(bus, added->connection, added->peer.pid, take_pidfd(packet));
        return ATTACHED;
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
        enum attached result;
        bool is_known;

        if (!subscriber) /* closed meanwhile */
                return;
        attachment = find_attachment(subscriber, id);
        is_known = attachment && !attachment->is_gone;
        if (packet->fds_truncated)
                result = ATTACH_AGAIN;
        else if (attachment)
                result = move(subscriber, attachment, added, packet);
        else
                result = attach(subscriber, added, packet);
        if (result == ATTACH_AGAIN) {
                connection_miss(bus, &(struct missing){.which = REINTRODUCE_PUBLISHER,
                                                       .publisher = id,
                                                       .subscription = subscriber->id});
                return;
        }
        connection_found(bus, REINTRODUCE_PUBLISHER, id, subscriber->id);
        forget_refusal(subscriber, id);
        if (result == ATTACH_NEVER) {
                if (!is_known)
                        note_refusal(subscriber, id);
                return;
        }
        /* It does not know of an arming that came before it. */
        bus->must_look = true;
        if (is_known)
                return;
        attachment = find_attachment(subscriber, id);
        if (attachment->is_gone) { /* it was gone for this broker only */
                attachment->is_gone = false;
                subscriber->n_gone--;
                ring_reader_go_on(&attachment->ring);
        }
        connection_events_new(&attachment->come, &attachment->gone, subscriber,
                              subscriber->on_publisher,
                              subscriber->user); /* without memory, the status still counts it */
        connection_event(bus, &attachment->come, &attachment->peer, 1);
}

void subscriber_part(struct shmd_subscriber *subscriber, struct attachment *attachment)
{
        orphan_attachment_named(subscriber->bus, attachment);
        if (attachment->is_gone)
                return;
        attachment->is_gone = true;
        subscriber->n_gone++;
        ring_reader_end(&attachment->ring);
        connection_event(subscriber->bus, &attachment->gone, &attachment->peer, 0);
}

void subscriber_peer_back(struct shmd *bus, const struct message_pair *back)
{
        struct shmd_subscriber *subscriber = find_subscriber(bus, back->subscription);
        struct attachment *attachment =
                subscriber ? find_attachment(subscriber, back->publisher) : NULL;

        if (attachment)
                orphan_attachment_named(bus, attachment);
}

void subscriber_gone(struct shmd *bus, const struct message_publisher_gone *gone)
{
        struct shmd_subscriber *subscriber = find_subscriber(bus, gone->subscription);
        struct attachment *attachment;

        if (!subscriber)
                return;
        connection_found(bus, REINTRODUCE_PUBLISHER, gone->publisher, subscriber->id);
        forget_refusal(subscriber, gone->publisher);
        if (gone->header.type == MESSAGE_PUBLISHER_REFUSED)
                note_refusal(subscriber, gone->publisher);
        attachment = find_attachment(subscriber, gone->publisher);
        if (attachment)
                subscriber_part(subscriber, attachment);
}
