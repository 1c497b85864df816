/* SPDX-License-Identifier: Apache-2.0 */
/*
 * members.c - the subscribers that a publisher knows: how they are attached when the broker
 * introduces them, and let go when it says that they have let go.
 *
 *    SUBSCRIBER_ADDED                 REMOVED                     REMOVED, final
 *   ----------------> member --------------------> leaving -------------------------> forgotten
 *          |            |                                                                 ^
 *          |            +-----------------------------------------------------------------+
 *          +-- no descriptor, no memory: missing, asked for again
 *
 * A member that is leaving is not rung for any more, but what it holds counts until the end.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "connection.h"
#include "error.h"
#include "util.h"

static struct channel *use_channel(struct shmd *bus, uint64_t id, uint32_t kind, int fd)
{
        struct channel *channel;

        list_for_each (&bus->channels, link) {
                channel = list_entry(link, struct channel, link);
                if (channel->id != id)
                        continue;
                fd_close(&fd);
                channel->references++;
                return channel;
        }
        channel = calloc(1, sizeof(*channel));
        if (!channel) {
                fd_close(&fd);
                return NULL;
        }
        channel->id = id;
        channel->references = 1;
        channel->is_socket = kind == CHANNEL_SOCKET;
        channel->fd = channel_open(fd, channel->is_socket);
        if (channel->fd < 0) { /* who can't be rung for must not count as attached */
                free(channel);
                return NULL;
        }
        list_append(&bus->channels, &channel->link);
        return channel;
}

static void drop_channel(struct channel *channel)
{
        if (!channel || --channel->references)
                return;
        list_remove(&channel->link);
        fd_close(&channel->fd);
        free(channel);
}

static struct block *use_block(struct shmd *bus, uint64_t connection, uint32_t index, int fd)
{
        struct block *block;

        list_for_each (&bus->blocks, link) {
                block = list_entry(link, struct block, link);
                if (block->connection != connection || block->index != index)
                        continue;
                block->references++;
                return block;
        }
        block = calloc(1, sizeof(*block));
        if (!block)
                return NULL;
        if (segment_check(fd, BLOCK_SIZE, SEGMENT_ANY_OWNER) < 0 ||
            segment_map(&block->memory, fd, BLOCK_SIZE) < 0) {
                free(block);
                return NULL;
        }
        block->connection = connection;
        block->index = index;
        block->references = 1;
        list_append(&bus->blocks, &block->link);
        return block;
}

static void drop_block(struct block *block)
{
        if (!block || --block->references)
                return;
        list_remove(&block->link);
        segment_close(&block->memory);
        free(block);
}

/* Whether the memory is what it should be. Its owner may write there what it likes. */
static bool is_in_order(const struct block *block)
{
        const struct layout_identity *identity = block->memory.base;

        return identity->magic == LAYOUT_MAGIC_BLOCK && identity->version == LAYOUT_VERSION &&
               !identity->incompatible && identity->owner == block->connection;
}

/* What is looked at in place of a block that is not in order: nothing is held, nobody sleeps. */
static const uint64_t nothing;

void member_free(struct member *member)
{
        free(member->come);
        free(member->gone);
        doorbell_unwatch(member->board);
        drop_channel(member->channel);
        drop_block(member->block);
        free(member);
}

static struct shmd_publisher *find_publisher(struct shmd *bus, uint64_t id)
{
        list_for_each (&bus->publishers, link) {
                struct shmd_publisher *publisher = list_entry(link, struct shmd_publisher, link);

                if (publisher->id == id)
                        return publisher;
        }
        return NULL;
}

static struct member *find_member(const struct shmd_publisher *publisher, uint64_t subscription)
{
        for (uint32_t i = 0; i < publisher->doorbell.n_members; i++)
                if (publisher->doorbell.members[i]->peer.id == subscription)
                        return publisher->doorbell.members[i];
        return NULL;
}

/* Maps and attaches what an introduction brought. False: not enough memory or descriptors. */
static bool attach(struct shmd_publisher *publisher, const struct message_subscriber_added *added,
                   struct packet *packet)
{
        struct shmd *bus = publisher->bus;
        struct member *member = calloc(1, sizeof(*member));

        if (!member)
                return false;
        memcpy(&member->peer, &added->peer, sizeof(member->peer));
        /* The board before the armed word: see doorbell_attach(). */
        member->board = doorbell_watch(&publisher->doorbell, added->board, packet->fds[1]);
        member->block = use_block(bus, added->connection, added->block, packet->fds[0]);
        member->channel =
                use_channel(bus, added->channel, added->channel_kind, packet_take_fd(packet, 2));
        if (!member->board || !member->block || !member->channel ||
            !connection_event_new(&member->come, publisher, publisher->on_subscriber,
                                  publisher->user) ||
            !connection_event_new(&member->gone, publisher, publisher->on_subscriber,
                                  publisher->user)) {
                member_free(member);
                return false;
        }
        member->row.holds =
                (const uint64_t *)(const void *)((const char *)member->block->memory.base +
                                                 added->row_offset);
        member->row.n_holds = added->n_holds;
        member->row.budget = added->n_holds < publisher->holds ? added->n_holds : publisher->holds;
        member->armed = &((const struct block_header *)member->block->memory.base)->armed;
        if (!is_in_order(member->block)) {
                /* Asking again would not help, and would keep everybody else waiting. */
                member->row.n_holds = 0;
                member->armed = &nothing;
        }
        if (doorbell_attach(&publisher->doorbell, member, publisher->ring.next) < 0) {
                member_free(member);
                return false;
        }
        return true;
}

void publisher_added(struct shmd *bus, const struct message_subscriber_added *added,
                     struct packet *packet)
{
        struct shmd_publisher *publisher = find_publisher(bus, added->publisher);
        uint64_t id = added->peer.id;
        struct member *member;

        if (!publisher || find_member(publisher, id)) /* closed meanwhile, or known */
                return;
        if (packet->fds_truncated || !attach(publisher, added, packet)) {
                if (connection_miss(bus, REINTRODUCE_SUBSCRIBER, publisher->id, id))
                        publisher->n_missing++;
                return;
        }
        if (connection_found(bus, REINTRODUCE_SUBSCRIBER, publisher->id, id))
                publisher->n_missing--;
        publisher->n_subscribers++;
        member = find_member(publisher, id);
        connection_event(bus, &member->come, &member->peer, 1);
}

void publisher_removed(struct shmd *bus, const struct message_subscriber_removed *removed)
{
        struct shmd_publisher *publisher = find_publisher(bus, removed->publisher);
        struct member *member;

        if (!publisher)
                return;
        if (removed->final &&
            connection_found(bus, REINTRODUCE_SUBSCRIBER, publisher->id, removed->subscription))
                publisher->n_missing--;
        member = find_member(publisher, removed->subscription);
        if (!member)
                return;
        if (!member->is_leaving) {
                member->is_leaving = true;
                publisher->n_subscribers--;
                connection_event(bus, &member->gone, &member->peer, 0);
        }
        if (!removed->final)
                return;
        doorbell_detach(&publisher->doorbell, member);
        member_free(member);
}

void publisher_allow_asym(struct shmd_publisher *publisher, bool allowed)
{
        doorbell_allow_asym(&publisher->doorbell, allowed && publisher->wants_asym,
                            publisher->ring.next - 1);
}
