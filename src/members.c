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
 * A member that is leaving is not rung for any more, but what it holds counts until the end. When
 * the broker has died, members are orphans (peers.c) until the next one names them: by PEER_BACK if
 * the member knows this publisher too, else by SUBSCRIBER_ADDED, which moves it to a new board.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "atomic.h"
#include "connection.h"
#include "error.h"
#include "util.h"
#include "wire.h"

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
        /* Who can't be rung for must not count as attached; but a liar must not keep us waiting. */
        if (channel->fd < 0 && channel->fd != CHANNEL_REFUSED) {
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
        uint64_t inode = segment_inode(fd);
        struct block *block;

        list_for_each (&bus->blocks, link) {
                block = list_entry(link, struct block, link);
                /* Ids of connections are no secret: another process may say that it has this one.
                 */
                if (block->connection != connection || block->index != index ||
                    block->inode != inode)
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
        block->inode = inode;
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

        return segment_check_layout(identity, LAYOUT_MAGIC_BLOCK) == 0 &&
               identity->owner == block->connection;
}

/* Whether the subscriber goes to sleep without membarrier(2). A broker of version 1 does not say
 * which one does, and the next broker won't hear it from a client of version 1: all count whom it
 * introduces while it forbids to leave fences out (it says that first). */
static bool lacks_membarrier(const struct shmd *bus, const struct message_subscriber_added *added)
{
        if (added->header.size == MESSAGE_SUBSCRIBER_ADDED_SIZE_1)
                /* ACQUIRE: as in connection_intake(); the kernel's socket has ordered it already.
                 */
                return load_acquire(bus->word) & SESSION_NO_ASYM;
        return added->flags & SUBSCRIBER_NO_MEMBARRIER;
}

/* What is looked at in place of a block that is not in order: nothing is held, nobody sleeps. */
static const uint64_t nothing;

static void member_free(struct member *member)
{
        free(member->come);
        free(member->gone);
        doorbell_unwatch(member->board);
        drop_channel(member->channel);
        drop_block(member->block);
        process_drop(member->process);
        free(member);
}

void publisher_member_free(struct shmd_publisher *publisher, struct member *member)
{
        orphan_member_named(publisher->bus, member);
        publisher->n_no_membarrier -= member->no_membarrier;
        member_free(member);
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
        member->process =
                process_use(bus, added->connection, added->peer.pid, packet_take_fd(packet, 3));
        member->start = added->start;
        member->no_membarrier = lacks_membarrier(bus, added);
        if (!member->board || !member->block || !member->channel ||
            !connection_events_new(&member->come, &member->gone, publisher,
                                   publisher->on_subscriber, publisher->user)) {
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
        publisher->n_no_membarrier += member->no_membarrier;
        /* At once: if the broker has died since, nobody looks at its page again (G6, G9). */
        if (member->no_membarrier)
                publisher_allow_asym(publisher, false);
        return true;
}

/* Another's memory with its id: whoever that is, it isn't known, and not looked after. */
static bool is_another(const struct member *member, const struct packet *packet)
{
        return segment_inode(packet->fds[0]) != member->block->inode;
}

/* A broker introduces one who is known from another's time: it is rung for by the new board and
 * channel from now on. Its row is where it was. False: not enough memory or descriptors. */
static bool move(struct shmd_publisher *publisher, struct member *member,
                 const struct message_subscriber_added *added, struct packet *packet)
{
        struct watched_board *board;
        struct channel *channel;

        if (is_another(member, packet))
                return true;
        /* The board before the armed word: see doorbell_attach(). */
        board = doorbell_watch(&publisher->doorbell, added->board, packet->fds[1]);
        channel = use_channel(publisher->bus, added->channel, added->channel_kind,
                              packet_take_fd(packet, 2));
        if (!board || !channel ||
            !connection_events_new(&member->come, &member->gone, publisher,
                                   publisher->on_subscriber, publisher->user)) {
                doorbell_unwatch(board);
                drop_channel(channel);
                return false;
        }
        drop_channel(member->channel);
        member->channel = channel;
        publisher->n_no_membarrier -= member->no_membarrier;
        member->no_membarrier = lacks_membarrier(publisher->bus, added);
        publisher->n_no_membarrier += member->no_membarrier;
        orphan_member_named(publisher->bus, member);
        if (!member->process) /* a broker of version 1 had introduced it */
                member->process = process_use(publisher->bus, added->connection, added->peer.pid,
                                              packet_take_fd(packet, 3));
        doorbell_move(&publisher->doorbell, member, board, publisher->ring.next);
        return true;
}

void publisher_added(struct shmd *bus, const struct message_subscriber_added *added,
                     struct packet *packet)
{
        struct shmd_publisher *publisher = find_publisher(bus, added->publisher);
        uint64_t id = added->peer.id;
        struct member *member;

        if (!publisher) /* closed meanwhile */
                return;
        member = find_member(publisher, id);
        if (packet->fds_truncated || (member ? !move(publisher, member, added, packet)
                                             : !attach(publisher, added, packet))) {
                if (connection_miss(bus, &(struct missing){.which = REINTRODUCE_SUBSCRIBER,
                                                           .publisher = publisher->id,
                                                           .subscription = id,
                                                           .connection = added->connection,
                                                           .start = added->start,
                                                           .pid = added->peer.pid}))
                        publisher->n_missing++;
                return;
        }
        if (connection_found(bus, REINTRODUCE_SUBSCRIBER, publisher->id, id))
                publisher->n_missing--;
        if (member && (!member->is_leaving || is_another(member, packet)))
                return;
        publisher->n_subscribers++;
        member = find_member(publisher, id);
        member->is_leaving = false;
        orphan_member_named(bus, member);
        connection_event(bus, &member->come, &member->peer, 1);
}

static void note_leaving(struct shmd_publisher *publisher, struct member *member)
{
        if (member->is_leaving)
                return;
        member->is_leaving = true;
        publisher->n_subscribers--;
        connection_event(publisher->bus, &member->gone, &member->peer, 0);
}

static void let_go(struct shmd_publisher *publisher, struct member *member)
{
        doorbell_detach(&publisher->doorbell, member);
        publisher_member_free(publisher, member);
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
        note_leaving(publisher, member);
        if (removed->final)
                let_go(publisher, member);
}

void publisher_peer_back(struct shmd *bus, const struct message_pair *back)
{
        struct shmd_publisher *publisher = find_publisher(bus, back->publisher);
        struct member *member = publisher ? find_member(publisher, back->subscription) : NULL;

        if (member)
                orphan_member_named(bus, member);
}

void publisher_forget(struct shmd_publisher *publisher, struct member *member)
{
        struct message_pair forgotten = {.publisher = publisher->id,
                                         .subscription = member->peer.id};

        note_leaving(publisher, member);
        let_go(publisher, member);
        if (!publisher->opening.is_told)
                return;
        wire_begin(&forgotten, MESSAGE_FORGOTTEN, sizeof(forgotten), 0);
        /* What the socket doesn't take now keeps a seat until somebody wants it. */
        socket_send(publisher->bus->socket, &forgotten, sizeof(forgotten), NULL, 0);
}

void publisher_allow_asym(struct shmd_publisher *publisher, bool allowed)
{
        doorbell_allow_asym(&publisher->doorbell,
                            allowed && publisher->wants_asym && !publisher->n_no_membarrier,
                            publisher->ring.next - 1);
}
