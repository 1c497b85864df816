/* SPDX-License-Identifier: Apache-2.0 */
/*
 * peers.c - the processes of peers, and what becomes of peers that no broker vouches for.
 *
 * While a broker lives it says who is gone. When it has died, everybody whom it has introduced is
 * an *orphan* until the next broker names it: it has resumed as well, or has closed meanwhile. For
 * orphans the kernel is asked, by the pidfd that came with the introduction, and the peer's own
 * memory, where it says that it has closed. Nothing else ends one, and no time does: a peer that is
 * stopped for a day goes on where it was.
 */
#include <poll.h>
#include <stdlib.h>

#include "atomic.h"
#include "connection.h"
#include "util.h"

/* The processes of orphans are not looked at more often than this. */
#define LOOK_NS UINT64_C(10000000)

/* ---- processes -------------------------------------------------------------------------- */

struct peer_process *process_use(struct shmd *bus, uint64_t connection, int32_t pid, int fd)
{
        struct peer_process *process;

        if (fd < 0)
                return NULL;
        list_for_each (&bus->processes, link) {
                process = list_entry(link, struct peer_process, link);
                /* Ids of connections are no secret: another process may say that it has this one.
                 */
                if (process->connection != connection || process->pid != pid)
                        continue;
                fd_close(&fd);
                process->references++;
                return process;
        }
        process = calloc(1, sizeof(*process));
        if (!process) {
                fd_close(&fd);
                return NULL;
        }
        process->bus = bus;
        process->connection = connection;
        process->pid = pid;
        process->references = 1;
        process->pid_fd = fd;
        list_append(&bus->processes, &process->link);
        return process;
}

void process_drop(struct peer_process *process)
{
        if (!process || --process->references)
                return;
        list_remove(&process->link);
        watching_close(&process->watcher);
        fd_close(&process->pid_fd);
        free(process);
}

static bool has_ended(const struct peer_process *process)
{
        struct pollfd look = {.fd = process ? process->pid_fd : -1, .events = POLLIN};

        return process && poll(&look, 1, 0) > 0;
}

/* ---- orphans ---------------------------------------------------------------------------- */

static void make_one(struct shmd *bus, bool *is_orphan, struct peer_process *process)
{
        if (*is_orphan)
                return;
        *is_orphan = true;
        bus->n_orphans++;
        if (process && !process->n_orphans++)
                watching_process(process);
}

static void unmake_one(struct shmd *bus, bool *is_orphan, struct peer_process *process)
{
        if (!*is_orphan)
                return;
        *is_orphan = false;
        bus->n_orphans--;
        if (process && !--process->n_orphans)
                watching_close(&process->watcher);
}

void orphan_member_named(struct shmd *bus, struct member *member)
{
        unmake_one(bus, &member->is_orphan, member->process);
}

void orphan_attachment_named(struct shmd *bus, struct attachment *attachment)
{
        unmake_one(bus, &attachment->is_orphan, attachment->process);
}

void orphans_make(struct shmd *bus)
{
        list_for_each (&bus->publishers, link) {
                struct doorbell *doorbell =
                        &list_entry(link, struct shmd_publisher, link)->doorbell;

                for (uint32_t i = 0; i < doorbell->n_members; i++)
                        make_one(bus, &doorbell->members[i]->is_orphan,
                                 doorbell->members[i]->process);
        }
        list_for_each (&bus->subscribers, link) {
                struct shmd_subscriber *subscriber = list_entry(link, struct shmd_subscriber, link);

                for (uint32_t i = 0; i < subscriber->n_attachments; i++)
                        if (!subscriber->attachments[i]->is_gone)
                                make_one(bus, &subscriber->attachments[i]->is_orphan,
                                         subscriber->attachments[i]->process);
        }
}

static bool member_has_ended(const struct member *member)
{
        const struct block_header *header = member->block->memory.base;

        /* ACQUIRE: whoever has closed has let go of everything before. Partner: shmd_close(). */
        return load_acquire(&header->ended) || has_ended(member->process);
}

static bool attachment_has_ended(const struct attachment *attachment)
{
        const struct segment_header *header = attachment->memory.base;

        /* ACQUIRE: what was committed before is found. Partner: shmd_publisher_close(). */
        return load_acquire(&header->ended) || has_ended(attachment->process);
}

void orphans_look(struct shmd *bus, bool at_once)
{
        uint64_t now = now_ns();

        if (!bus->n_orphans || (!at_once && now - bus->orphans_ns < LOOK_NS))
                return;
        bus->orphans_ns = now;
        list_for_each (&bus->publishers, link) {
                struct shmd_publisher *publisher = list_entry(link, struct shmd_publisher, link);

                if (publisher->opening.n_listed && !publisher->opening.is_told)
                        continue; /* its list is half said: places must not change */
                for (uint32_t i = publisher->doorbell.n_members; i--;) {
                        struct member *member = publisher->doorbell.members[i];

                        if (member->is_orphan && member_has_ended(member))
                                publisher_forget(publisher, member);
                }
        }
        list_for_each (&bus->subscribers, link) {
                struct shmd_subscriber *subscriber = list_entry(link, struct shmd_subscriber, link);

                for (uint32_t i = 0; i < subscriber->n_attachments; i++) {
                        struct attachment *attachment = subscriber->attachments[i];

                        if (attachment->is_orphan && attachment_has_ended(attachment))
                                subscriber_part(subscriber, attachment);
                }
        }
}
