/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conversation.c - what a connection says to the broker and hears from it, once it is connected.
 *
 * Requests are synchronous: the caller's thread waits for the reply and takes in whatever the
 * broker says before it. All other messages are announced by the session page's word, which costs a
 * publisher one load that hits its cache; they are taken in when it has moved, when the socket is
 * readable, or when a request is waiting anyway.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "atomic.h"
#include "connection.h"
#include "error.h"
#include "util.h"
#include "wire.h"

/* How long an answer is waited for at least, whatever the clock says. */
#define GRACE_NS UINT64_C(100000000)
/* So many signals in a row may interrupt that. */
#define LATE_SIGNALS 1000

/* A kernel that has no memory for a message is asked so often, in as many milliseconds. */
#define TELL_TRIES 50

/* ---- loss ------------------------------------------------------------------------------- */

static int take_message(struct shmd *bus, struct packet *packet);

static bool is_about_peers(const struct message *message)
{
        switch (message->type) {
        case MESSAGE_SUBSCRIBER_ADDED:
        case MESSAGE_SUBSCRIBER_REMOVED:
        case MESSAGE_PUBLISHER_ADDED:
        case MESSAGE_PUBLISHER_REMOVED:
        case MESSAGE_PUBLISHER_REFUSED:
                return true;
        default:
                return false;
        }
}

/*
 * Reads on to the end. A subscriber whose introduction is still in the queue may hold samples
 * already (G4): it has to be attached, whatever became of the broker. Nothing new can come, since
 * the socket is shut down.
 */
static void take_the_rest(struct shmd *bus)
{
        struct packet *packet = bus->packet;

        while (socket_receive(bus->socket, packet) > 0) {
                if (!packet->truncated && is_about_peers(&packet->header) &&
                    wire_check(packet->bytes, packet->size, WIRE_FROM_BROKER) == 0)
                        take_message(bus, packet);
                packet_close(packet);
        }
}

int connection_lose(struct shmd *bus, const char *reason)
{
        char copy[PROTOCOL_TEXT_SIZE]; /* it may stand in the packet */

        snprintf(copy, sizeof(copy), "%s", reason);
        if (bus->is_connected) {
                bus->is_connected = false; /* first: nothing is said to it any more */
                shutdown(bus->socket, SHUT_RDWR);
                packet_close(bus->packet);
                reserve_release(bus, bus->n_reserve);
                take_the_rest(bus);
                reserve_refill(bus);
                watching_drop_socket(bus);
                resume_begin(bus);
        }
        return error_set(-ENOTCONN, "the broker is gone: %s", copy);
}

/* ---- messages --------------------------------------------------------------------------- */

void connection_tell(struct shmd *bus, const struct message *message)
{
        int code, tries = 0;

        if (!bus->is_connected)
                return;
        /* Many that leave at once fill the queue faster than it is read. */
        while ((code = connection_send(bus, message, NULL, 0, now_ns() + REPLY_TIMEOUT_NS)) ==
                       -ENOBUFS ||
               code == -ENOMEM) {
                if (++tries == TELL_TRIES)
                        break;
                poll(NULL, 0, 1);
        }
        if (code < 0 && bus->is_connected)
                connection_lose(bus, strerrordesc_np(-code));
}

int connection_store_missing(struct shmd *bus)
{
        while (bus->n_spare_missing < PROTOCOL_CREDIT) {
                struct missing *missing = calloc(1, sizeof(*missing));

                if (!missing)
                        return error_system(-ENOMEM, "a connection");
                list_append(&bus->spare_missing, &missing->link);
                bus->n_spare_missing++;
        }
        return 0;
}

void connection_drop_missing(struct shmd *bus)
{
        struct list *lists[] = {&bus->missing, &bus->spare_missing};

        for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
                list_for_each_safe (lists[i], link) {
                        struct missing *missing = list_entry(link, struct missing, link);

                        list_remove(&missing->link);
                        free(missing);
                }
}

void connection_leave(struct shmd *bus, struct opening *opening, enum message_type type,
                      uint64_t id)
{
        struct message_leave leave = {.id = id};

        if (connection_is_inherited(bus))
                return;
        /* Whether it knows of it is decided by an answer that is on its way. */
        if (opening->serial && resume_wait(bus, now_ns() + REPLY_TIMEOUT_NS) == -ETIMEDOUT &&
            bus->is_closing) /* once, not for each that is open */
                connection_lose(bus, "it does not answer");
        if (!opening->is_told || opening->is_stranded)
                return;
        wire_begin(&leave, type, sizeof(leave), 0);
        connection_tell(bus, &leave.header);
}

/* All but as many as could not be noted if they were lost: the broker sends no more than
 * PROTOCOL_CREDIT ahead. */
static void acknowledge(struct shmd *bus)
{
        struct message_acknowledge message = {.count = bus->owed};
        uint32_t n_lacking;

        if (!bus->owed || !bus->is_connected || bus->stage < STAGE_RESUMING)
                return;
        connection_store_missing(bus);
        n_lacking = PROTOCOL_CREDIT - bus->n_spare_missing;
        if (message.count <= n_lacking)
                return;
        message.count -= n_lacking;
        wire_begin(&message, MESSAGE_ACKNOWLEDGE, sizeof(message), 0);
        if (socket_send(bus->socket, &message, sizeof(message), NULL, 0) == 0)
                bus->owed -= message.count;
}

static void ask_again(struct shmd *bus, const struct missing *missing)
{
        struct message_reintroduce again = {.which = missing->which,
                                            .publisher = missing->publisher,
                                            .subscription = missing->subscription,
                                            .pid = missing->pid};

        wire_begin(&again, MESSAGE_REINTRODUCE, sizeof(again), 0);
        /* What can't be sent now is asked for the next time; that the broker is gone is found by
         * who receives. */
        socket_send(bus->socket, &again, sizeof(again), NULL, 0);
}

static struct missing *find_missing(struct shmd *bus, uint32_t which, uint64_t publisher,
                                    uint64_t subscription)
{
        list_for_each (&bus->missing, link) {
                struct missing *missing = list_entry(link, struct missing, link);

                if (missing->which == which && missing->publisher == publisher &&
                    missing->subscription == subscription)
                        return missing;
        }
        return NULL;
}

bool connection_miss(struct shmd *bus, const struct missing *what)
{
        struct missing *missing =
                find_missing(bus, what->which, what->publisher, what->subscription);

        if (missing)
                return false;
        if (list_empty(&bus->spare_missing)) /* the broker does not wait for acknowledgements */
                return true;                 /* whoever waits for it waits for ever: that is safe */
        missing = list_entry(bus->spare_missing.next, struct missing, link);
        list_remove(&missing->link);
        bus->n_spare_missing--;
        *missing = *what;
        list_append(&bus->missing, &missing->link);
        return true;
}

bool connection_found(struct shmd *bus, uint32_t which, uint64_t publisher, uint64_t subscription)
{
        struct missing *missing = find_missing(bus, which, publisher, subscription);

        if (!missing)
                return false;
        list_remove(&missing->link);
        list_append(&bus->spare_missing, &missing->link);
        bus->n_spare_missing++;
        return true;
}

/* Asks for what is missing, now and then: what is in the way is that no descriptor is free. */
static void ask_for_missing(struct shmd *bus)
{
        uint64_t now;

        if (list_empty(&bus->missing))
                return;
        now = now_ns();
        if (now - bus->asked_ns < ASK_AGAIN_NS)
                return;
        bus->asked_ns = now;
        if (bus->stage != STAGE_SETTLED)
                return;
        list_for_each (&bus->missing, link)
                ask_again(bus, list_entry(link, struct missing, link));
}

/* Acts on a message that is no reply. 0 or -ENOTCONN. */
static int take_message(struct shmd *bus, struct packet *packet)
{
        const struct message *message = &packet->header;
        int code;

        if (message->serial && bus->stage != STAGE_SETTLED)
                return resume_answer(bus);
        if (message->serial)
                return abandoned_answered(bus, message)
                               ? 0
                               : connection_lose(bus, "it answered what was not asked");
        switch (message->type) {
        case MESSAGE_SUBSCRIBER_ADDED:
                bus->owed++;
                publisher_added(bus, (const void *)message, packet);
                return 0;
        case MESSAGE_PUBLISHER_ADDED:
                bus->owed++;
                subscriber_added(bus, (const void *)message, packet);
                return 0;
        case MESSAGE_SUBSCRIBER_REMOVED:
                publisher_removed(bus, (const void *)message);
                return 0;
        case MESSAGE_PUBLISHER_REMOVED:
        case MESSAGE_PUBLISHER_REFUSED:
                subscriber_gone(bus, (const void *)message);
                return 0;
        case MESSAGE_PEER_BACK:
                if (((const struct message_pair *)message)->which == REINTRODUCE_SUBSCRIBER)
                        publisher_peer_back(bus, (const void *)message);
                else
                        subscriber_peer_back(bus, (const void *)message);
                return 0;
        case MESSAGE_GOODBYE:
                code = connection_lose(bus, ((const struct message_goodbye *)message)->text);
                resume_refused(bus);
                return code;
        default:
                return connection_lose(bus, "it sent a message out of turn");
        }
}

/* One packet, as socket_receive(). Taken away only when its descriptors are here: the reserve makes
 * room where there was none. */
static int receive_packet(struct shmd *bus)
{
        int code = socket_peek(bus->socket, bus->packet);

        if (code <= 0)
                return code;
        if (!bus->packet->fds_truncated) {
                socket_drop(bus->socket);
                return code;
        }
        packet_close(bus->packet);
        reserve_release(bus, FDS_IN_PASSING);
        return socket_receive(bus->socket, bus->packet);
}

/* Receives one message and checks it. 1; 0: nothing there; -ENOTCONN. */
int connection_receive(struct shmd *bus)
{
        struct packet *packet = bus->packet;
        int code;

        if (!bus->is_connected)
                return error_set(-ENOTCONN, "the broker is gone");
        code = receive_packet(bus);
        if (code == -EAGAIN)
                return 0;
        /* ECONNRESET may come before messages that are still queued: the broker closed with ours
         * unread. Another read gets them. */
        if (code == -ECONNRESET)
                code = receive_packet(bus);
        if (code <= 0)
                return connection_lose(bus, code < 0 ? strerrordesc_np(-code)
                                                     : "it closed the connection");
        if (packet->truncated || wire_check(packet->bytes, packet->size, WIRE_FROM_BROKER) < 0 ||
            (!packet->fds_truncated && packet->n_fds != wire_n_fds(&packet->header))) {
                packet_close(packet);
                connection_lose(bus, "it sent nonsense");
                return -EPROTO;
        }
        return 1;
}

void connection_care(struct shmd *bus)
{
        if (bus->stage != STAGE_SETTLED || !connection_seems_alive(bus)) {
                connection_intake(bus);
                waiting_tidy(bus);
        }
        orphans_look(bus, false);
        watching_vigil_care(bus);
}

int connection_intake(struct shmd *bus)
{
        int code = 0;

        resume_attempt(bus, false);
        if (!bus->is_connected)
                return -ENOTCONN;
        /*
         * FENCE: commits come before this look at the word, also those of a publisher that does not
         * fence. Who forbids that mode is introduced after the flag was raised, and looks at the
         * rings after that: it sees the commit, or this look sees the flag (G6).
         */
        fence_seq_cst();
        /* ACQUIRE: before the messages, so that one that comes meanwhile moves it again. */
        bus->seen_word = load_acquire(bus->word);
        if (!bus->alive_word)
                bus->looked_ns = now_ns();
        while (code == 0) {
                code = connection_receive(bus);
                if (code <= 0)
                        break;
                code = take_message(bus, bus->packet);
                packet_close(bus->packet);
                reserve_refill(bus);
        }
        acknowledge(bus);
        ask_for_missing(bus);
        if (code == 0)
                code = resume_push(bus);
        list_for_each (&bus->publishers, link)
                publisher_allow_asym(list_entry(link, struct shmd_publisher, link),
                                     !(bus->seen_word & SESSION_NO_ASYM));
        return code < 0 ? -ENOTCONN : 0;
}

/* ---- requests --------------------------------------------------------------------------- */

/* Waits until the socket is ready. 0; -ETIMEDOUT. */
int connection_await(const struct shmd *bus, short events, uint64_t deadline)
{
        struct pollfd entry = {.fd = bus->socket, .events = events};
        unsigned n_late = 0;

        for (;;) {
                uint64_t now = now_ns(), left = now < deadline ? deadline - now : 0;
                int ready;

                /* A clock that jumps, as it may when a virtual machine goes on, must neither end
                 * the conversation nor keep it waiting: the kernel counts, and what is there is
                 * seen, however late. */
                left = left < GRACE_NS ? GRACE_NS : left;
                left = left > REPLY_TIMEOUT_NS ? REPLY_TIMEOUT_NS : left;
                ready = poll(&entry, 1, (int)(left / 1000000));
                if (ready > 0)
                        return 0;
                if (ready == 0)
                        return error_set(-ETIMEDOUT, "the broker does not answer");
                if (errno != EINTR)
                        return error_system(-errno, "poll");
                if (now >= deadline && ++n_late == LATE_SIGNALS)
                        return error_set(-ETIMEDOUT,
                                         "the broker does not answer, and signals come");
        }
}

int connection_send(struct shmd *bus, const struct message *message, const int *fds, unsigned n_fds,
                    uint64_t deadline)
{
        for (;;) {
                int code = socket_send(bus->socket, message, message->size, fds, n_fds);

                if (code == -EAGAIN)
                        code = connection_await(bus, POLLOUT, deadline);
                else if ((code == -EPIPE || code == -ECONNRESET) && !bus->word)
                        return 0; /* refused before HELLO; greet() reads the reason */
                else if (code == -EPIPE || code == -ECONNRESET)
                        return connection_intake(bus) < 0
                                       ? -ENOTCONN
                                       : connection_lose(bus, "it closed the connection");
                else if (code < 0)
                        return error_system(code, "sending to the broker");
                else
                        return 0;
                if (code < 0)
                        return code;
        }
}

static bool take_listing(struct listing_sink *sink, const struct message_listing *listing)
{
        if (sink->n_listings == PROTOCOL_LIST_RECORDS)
                return false;
        if (strcmp(sink->service, listing->service) != 0)
                sink->n_records = 0;
        memcpy(sink->service, listing->service, sizeof(sink->service));
        sink->n_records++;
        sink->listings[sink->n_listings++] = *listing;
        return true;
}

static void tell_listing(const struct message_listing *listing, shmd_list_callback callback,
                         void *user)
{
        struct shmd_listing record = {
                .what = listing->what,
                .publishers = listing->publishers,
                .subscribers = listing->subscribers,
                .depth = listing->depth,
                .service = listing->service,
                .type = listing->type,
                .type_hash = listing->type_hash,
                .type_size = listing->type_size,
                .max_size = listing->max_size,
                .segment_size = listing->segment_size,
                .sequence = listing->sequence,
                .type_flags = listing->type_flags,
                .holds = listing->holds,
        };

        memcpy(&record.peer, &listing->peer, sizeof(record.peer));
        callback(user, &record);
}

/* Handles what comes while a reply is awaited. 1: it was the reply; 0; negative errno. */
static int take_answer(struct shmd *bus, uint64_t serial, struct listing_sink *sink,
                       uint32_t *flags)
{
        const struct message *message = &bus->packet->header;

        if (!message->serial)
                return take_message(bus, bus->packet);
        if (message->serial != serial)
                return connection_lose(bus, "it answered what was not asked");
        if (message->type == MESSAGE_LISTING && sink && take_listing(sink, (const void *)message))
                return 0;
        if (message->type == MESSAGE_REPLY) {
                const struct message_reply *reply = (const void *)message;

                if (flags)
                        *flags = reply->flags;
                return reply->code < 0 ? error_set(reply->code, "%s", reply->text) : 1;
        }
        return connection_lose(bus, "it sent a message out of turn");
}

/* Asks once, and takes in what comes before the reply. */
static int ask(struct shmd *bus, struct message *message, const int *fds, unsigned n_fds,
               struct listing_sink *sink, uint32_t *flags, uint64_t deadline)
{
        int code = resume_wait(bus, deadline), passed[2];

        if (code == 0)
                code = abandoned_await(bus, deadline);
        if (code < 0)
                return code;
        if (message->type == MESSAGE_SUBSCRIBE) { /* only now is it known what the broker has */
                n_fds = resume_pass(bus, (void *)message, passed);
                fds = passed;
        }
        message->serial = bus->next_serial++;
        code = connection_send(bus, message, fds, n_fds, deadline);
        if (code < 0)
                return code;
        /* While the broker is at it. */
        reserve_refill(bus);
        acknowledge(bus);
        code = connection_await(bus, POLLIN, deadline);
        while (code == 0) {
                code = connection_receive(bus);
                if (code == 0) {
                        acknowledge(bus);
                        code = connection_await(bus, POLLIN, deadline);
                } else if (code > 0) {
                        code = take_answer(bus, message->serial, sink, flags);
                        packet_close(bus->packet);
                        reserve_refill(bus);
                }
        }
        acknowledge(bus);
        if (code == -ETIMEDOUT)
                abandoned_begin(bus, message);
        return code;
}

int connection_request(struct shmd *bus, struct message *message, const int *fds, unsigned n_fds,
                       struct listing_sink *sink, uint32_t *flags)
{
        uint64_t deadline = now_ns() + REPLY_TIMEOUT_NS;
        struct listing_sink before = {.n_records = 0};
        int code;

        if (sink)
                before = *sink;
        code = ask(bus, message, fds, n_fds, sink, flags, deadline);
        if (code < 0 && bus->stage == STAGE_AWAY) {
                /* It is found to be gone just now. Perhaps there is another. */
                if (sink)
                        *sink = before;
                code = ask(bus, message, fds, n_fds, sink, flags, deadline);
        }
        if (code < 0 && !bus->is_connected && code != -ETIMEDOUT)
                code = -ENOTCONN;
        return code < 0 ? code : 0;
}

int shmd_list(struct shmd *bus, shmd_list_callback callback, void *user)
{
        cleanup_free struct message_listing *listings = NULL;
        struct listing_sink sink = {.n_records = 0};
        struct message_list message = {.skip = 0};
        uint32_t flags = 0;
        CALL(call);
        int code;

        if (!bus || !callback)
                return call_lacks("shmd_list", bus ? "callback" : "connection");
        code = call_on_connection(&call, bus, bus);
        if (code < 0)
                return code;
        sink.listings = listings = calloc(PROTOCOL_LIST_RECORDS, sizeof(*listings));
        if (!listings)
                return error_system(-ENOMEM, "a list");
        do {
                sink.n_listings = 0;
                wire_begin(&message, MESSAGE_LIST, sizeof(message), 0);
                memcpy(message.service, sink.service, sizeof(message.service));
                message.skip = sink.n_records;
                code = connection_request(bus, &message.header, NULL, 0, &sink, &flags);
                /* Only now: the callback may ask the broker, or take what it says, itself. */
                bus->n_lists++;
                for (uint32_t i = 0; code == 0 && i < sink.n_listings; i++)
                        tell_listing(&listings[i], callback, user);
                bus->n_lists--;
        } while (code == 0 && (flags & REPLY_MORE));
        return code;
}
