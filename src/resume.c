/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resume.c - how a connection comes back after its broker's death: it looks for the next one, says
 * what it has open and whom it knows, and goes on.
 *
 * Nothing of this waits, since it happens inside calls that don't: each step is made when a message
 * has come, the socket takes more, or it is time. Who looks for a broker does so at once, then
 * after waits that grow; each is somewhat random, so that many clients don't all come at the same
 * moment. Whoever sleeps is woken when something appears in the directory of the broker's socket.
 *
 * A request to a broker that is being told things is made afterwards; that does wait, for as long
 * as any reply may take.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "atomic.h"
#include "connection.h"
#include "error.h"
#include "util.h"
#include "wire.h"

/* Between two looks for a broker: at first, and at last. */
#define DELAY_FIRST_NS UINT64_C(2000000)
#define DELAY_LAST_NS  UINT64_C(160000000)
/* After a broker that is there said no. */
#define DELAY_REFUSED_NS UINT64_C(2000000000)

/* ---- looking for a broker --------------------------------------------------------------- */

/* Sets when to look next: after half to one and a half of the delay. */
static void schedule(struct shmd *bus)
{
        bus->retry_ns = now_ns() + bus->delay_ns / 2 + random_id() % bus->delay_ns;
        watching_set_vigil(bus, bus->retry_ns);
}

static void forget_broker(struct opening *opening)
{
        opening->serial = 0;
        opening->n_listed = 0;
        opening->is_told = opening->is_stranded = false;
}

void resume_begin(struct shmd *bus)
{
        bool was_settled = bus->stage == STAGE_SETTLED;

        if (bus->stage == STAGE_NEW)
                return;
        bus->stage = STAGE_AWAY;
        if (bus->is_closing)
                return;
        bus->owed = 0;
        abandoned_end(bus);
        bus->resumed_serial = 0;
        bus->pipe_is_passed = false;
        list_for_each (&bus->own_blocks, link)
                list_entry(link, struct own_block, link)->is_passed = false;
        list_for_each (&bus->publishers, link)
                forget_broker(&list_entry(link, struct shmd_publisher, link)->opening);
        list_for_each (&bus->subscribers, link)
                forget_broker(&list_entry(link, struct shmd_subscriber, link)->opening);
        /* Publishers that were not attached are not listed, and so introduced again. */
        list_for_each_safe (&bus->missing, link) {
                struct missing *missing = list_entry(link, struct missing, link);

                if (missing->which == REINTRODUCE_PUBLISHER)
                        connection_found(bus, missing->which, missing->publisher,
                                         missing->subscription);
        }
        orphans_make(bus);
        watching_begin_vigil(bus);
        if (was_settled) {
                bus->n_losses++;
                bus->is_loss_told = false;
                bus->delay_ns = DELAY_FIRST_NS;
                connection_broker_event(bus, 0);
        } else if (bus->delay_ns < DELAY_LAST_NS) {
                bus->delay_ns *= 2;
        }
        schedule(bus);
}

void resume_refused(struct shmd *bus)
{
        if (bus->stage != STAGE_AWAY)
                return;
        bus->delay_ns = DELAY_REFUSED_NS;
        schedule(bus);
}

static int greet(struct shmd *bus)
{
        struct message_hello hello = {.magic = PROTOCOL_MAGIC,
                                      .version = PROTOCOL_VERSION,
                                      .min_version = PROTOCOL_RESUME_SINCE,
                                      .flags = bus->hello_flags | HELLO_RESUME,
                                      .connection = bus->id};

        wire_begin(&hello, MESSAGE_HELLO, sizeof(hello), bus->next_serial++);
        return socket_send(bus->socket, &hello, sizeof(hello), NULL, 0);
}

/* Where no descriptor is free, one of the reserve does, or those of the vigil. */
static int connect_again(struct shmd *bus)
{
        int fd = socket_connect(bus->address);

        if (fd != -EMFILE)
                return fd;
        if (bus->n_reserve)
                reserve_release(bus, 1);
        else
                watching_end_vigil(bus);
        fd = socket_connect(bus->address);
        if (fd < 0)
                reserve_refill(bus);
        return fd;
}

void resume_attempt(struct shmd *bus, bool at_once)
{
        int fd;

        if (bus->stage != STAGE_AWAY || bus->is_closing || (!at_once && now_ns() < bus->retry_ns))
                return;
        /* Who has died meanwhile need not be listed. */
        orphans_look(bus, true);
        fd = connect_again(bus);
        if (fd < 0) {
                if (!at_once && bus->delay_ns < DELAY_LAST_NS)
                        bus->delay_ns *= 2;
                schedule(bus);
                error_system(fd, "%s", bus->address);
                return;
        }
        bus->socket = fd;
        bus->is_connected = true;
        bus->stage = STAGE_GREETING;
        if (watching_socket(bus) < 0 || greet(bus) < 0)
                connection_lose(bus, "it can't be greeted");
}

void resume_hurry(struct shmd *bus)
{
        if (bus->stage != STAGE_AWAY)
                return;
        bus->delay_ns = DELAY_FIRST_NS;
        resume_attempt(bus, true);
}

/* ---- telling it ------------------------------------------------------------------------- */

int opening_keep(struct opening *opening, const struct message *message)
{
        opening->message = malloc(message->size);
        if (!opening->message)
                return error_system(-ENOMEM, "what is opened");
        memcpy(opening->message, message, message->size);
        return 0;
}

/* The `index`th peer that the publisher knows: a member, or one whose introduction was lost. False:
 * there are not so many. */
static bool known_subscriber(const struct shmd_publisher *publisher, uint32_t index,
                             struct message_known_peer *known)
{
        const struct doorbell *doorbell = &publisher->doorbell;

        if (index < doorbell->n_members) {
                const struct member *member = doorbell->members[index];

                *known = (struct message_known_peer){.id = member->peer.id,
                                                     .connection = member->block->connection,
                                                     .inode = member->block->inode,
                                                     .board = member->board->id,
                                                     .start = member->start,
                                                     .pid = member->peer.pid};
                return true;
        }
        index -= doorbell->n_members;
        list_for_each (&publisher->bus->missing, link) {
                const struct missing *missing = list_entry(link, struct missing, link);

                if (missing->which != REINTRODUCE_SUBSCRIBER ||
                    missing->publisher != publisher->id || index--)
                        continue;
                *known = (struct message_known_peer){.id = missing->subscription,
                                                     .connection = missing->connection,
                                                     .start = missing->start,
                                                     .pid = missing->pid};
                return true;
        }
        return false;
}

static bool known_publisher(const struct shmd_subscriber *subscriber, uint32_t index,
                            struct message_known_peer *known)
{
        for (uint32_t i = 0; i < subscriber->n_attachments; i++) {
                const struct attachment *attachment = subscriber->attachments[i];

                if (attachment->is_gone || index--)
                        continue;
                *known = (struct message_known_peer){
                        .id = attachment->peer.id,
                        .connection = attachment->process ? attachment->process->connection : 0,
                        .inode = attachment->inode,
                        .board = attachment->board->id,
                        .pid = attachment->peer.pid};
                return true;
        }
        return false;
}

static int send_list(struct shmd *bus, uint64_t owner, const struct shmd_publisher *publisher,
                     const struct shmd_subscriber *subscriber, struct opening *opening)
{
        /* No packet is being looked at now. */
        struct message_known *list = (void *)bus->packet->bytes;
        uint32_t n = 0;
        int code;

        for (;;) {
                while (n < PROTOCOL_KNOWN_RECORDS &&
                       (publisher ? known_subscriber(publisher, opening->n_listed + n,
                                                     &list->peers[n])
                                  : known_publisher(subscriber, opening->n_listed + n,
                                                    &list->peers[n])))
                        n++;
                if (!n)
                        return 0;
                wire_begin(list, MESSAGE_KNOWN, sizeof(*list) + n * sizeof(list->peers[0]), 0);
                list->owner = owner;
                list->count = n;
                list->unused = 0;
                code = socket_send(bus->socket, list, list->header.size, NULL, 0);
                if (code < 0)
                        return code;
                opening->n_listed += n;
                n = 0;
        }
}

/* Asks to take it over. Once the socket has that, it is told. */
static int send_opening(struct shmd *bus, struct opening *opening, const int *fds, unsigned n_fds)
{
        int code;

        opening->message->serial = bus->next_serial;
        code = socket_send(bus->socket, opening->message, opening->message->size, fds, n_fds);
        if (code < 0)
                return code;
        opening->serial = bus->next_serial++;
        opening->is_told = true;
        return 0;
}

static int tell_publisher(struct shmd *bus, struct shmd_publisher *publisher)
{
        struct message_advertise *message = (void *)publisher->opening.message;
        int code = send_list(bus, publisher->id, publisher, NULL, &publisher->opening);

        message->flags |= ADVERTISE_RESUME;
        return code < 0 ? code : send_opening(bus, &publisher->opening, &publisher->memory.fd, 1);
}

unsigned resume_pass(struct shmd *bus, struct message_subscribe *message, int fds[static 2])
{
        unsigned n_fds = 0;

        message->flags &= ~(SUBSCRIBE_BLOCK | SUBSCRIBE_CHANNEL);
        list_for_each (&bus->own_blocks, link) {
                struct own_block *block = list_entry(link, struct own_block, link);

                if (block->index != message->block || block->is_passed)
                        continue;
                message->flags |= SUBSCRIBE_BLOCK;
                fds[n_fds++] = block->memory.fd;
        }
        if (!bus->pipe_is_passed) {
                message->flags |= SUBSCRIBE_CHANNEL;
                fds[n_fds++] = bus->pipe_write;
        }
        return n_fds;
}

static int tell_subscriber(struct shmd *bus, struct shmd_subscriber *subscriber)
{
        struct message_subscribe *message = (void *)subscriber->opening.message;
        int code = send_list(bus, subscriber->id, NULL, subscriber, &subscriber->opening), fds[2];
        unsigned n_fds;

        if (code < 0)
                return code;
        message->flags = (message->flags & SUBSCRIBE_HOLDS_SET) | SUBSCRIBE_RESUME;
        n_fds = resume_pass(bus, message, fds);
        code = send_opening(bus, &subscriber->opening, fds, n_fds);
        if (code == 0)
                subscriber->block->is_passed = bus->pipe_is_passed = true;
        return code;
}

/* Says that this was all, when all of it was answered. */
static int finish(struct shmd *bus)
{
        struct message_resumed resumed;
        int code;

        if (bus->resumed_serial)
                return 0;
        list_for_each (&bus->publishers, link)
                if (list_entry(link, struct shmd_publisher, link)->opening.serial)
                        return 0;
        list_for_each (&bus->subscribers, link)
                if (list_entry(link, struct shmd_subscriber, link)->opening.serial)
                        return 0;
        wire_begin(&resumed, MESSAGE_RESUMED, sizeof(resumed), bus->next_serial);
        code = socket_send(bus->socket, &resumed, sizeof(resumed), NULL, 0);
        if (code == 0)
                bus->resumed_serial = bus->next_serial++;
        return code;
}

static int tell_all(struct shmd *bus)
{
        int code = 0;

        list_for_each (&bus->publishers, link) {
                struct shmd_publisher *publisher = list_entry(link, struct shmd_publisher, link);

                if (publisher->opening.is_open && !publisher->opening.is_told)
                        code = tell_publisher(bus, publisher);
                if (code < 0)
                        return code;
        }
        list_for_each (&bus->subscribers, link) {
                struct shmd_subscriber *subscriber = list_entry(link, struct shmd_subscriber, link);

                if (subscriber->opening.is_open && !subscriber->opening.is_told)
                        code = tell_subscriber(bus, subscriber);
                if (code < 0)
                        return code;
        }
        return finish(bus);
}

int resume_push(struct shmd *bus)
{
        int code;

        if (bus->stage != STAGE_RESUMING)
                return 0;
        code = tell_all(bus);
        watching_for_room(bus, code == -EAGAIN);
        if (code == 0 || code == -EAGAIN)
                return 0;
        if (code == -ETOOMANYREFS || code == -ENOMEM || code == -ENOBUFS) {
                /* Nothing will say when there are fewer in flight: it comes again from the start.
                 */
                return connection_lose(bus, strerrordesc_np(-code));
        }
        /* The socket's end, behind what is still to be read from it. */
        return 0;
}

/* ---- hearing it ------------------------------------------------------------------------- */

static struct opening *find_opening(struct shmd *bus, uint64_t serial)
{
        list_for_each (&bus->publishers, link) {
                struct opening *opening = &list_entry(link, struct shmd_publisher, link)->opening;

                if (opening->serial == serial)
                        return opening;
        }
        list_for_each (&bus->subscribers, link) {
                struct opening *opening = &list_entry(link, struct shmd_subscriber, link)->opening;

                if (opening->serial == serial)
                        return opening;
        }
        return NULL;
}

static void settle(struct shmd *bus)
{
        bus->stage = STAGE_SETTLED;
        bus->n_returns++;
        watching_dismiss_vigil(bus);
        /* Somebody may have armed, published or left in between. */
        bus->must_look = true;
        connection_broker_event(bus, 1);
}

int resume_answer(struct shmd *bus)
{
        const struct message *message = &bus->packet->header;
        struct opening *opening;

        if (bus->stage == STAGE_GREETING) {
                int code = connection_welcomed(bus);

                if (code < 0) {
                        connection_lose(bus, error_text());
                        resume_refused(bus);
                        return -ENOTCONN;
                }
                bus->stage = STAGE_RESUMING;
                return 0;
        }
        if (message->type != MESSAGE_REPLY)
                return connection_lose(bus, "it answered what was not asked");
        if (message->serial == bus->resumed_serial) {
                settle(bus);
                return 0;
        }
        opening = find_opening(bus, message->serial);
        if (opening) { /* else it was closed meanwhile */
                opening->serial = 0;
                opening->is_stranded = ((const struct message_reply *)message)->code < 0;
        }
        return 0;
}

int resume_wait(struct shmd *bus, uint64_t deadline)
{
        resume_attempt(bus, true);
        while (bus->stage != STAGE_SETTLED) {
                int code;

                if (bus->stage == STAGE_AWAY)
                        return error_prefix(-ENOTCONN,
                                            "the broker is gone, and no other is there yet");
                code = connection_await(bus, bus->wants_room ? POLLIN | POLLOUT : POLLIN, deadline);
                if (code < 0)
                        return code;
                connection_intake(bus);
        }
        return 0;
}
