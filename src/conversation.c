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

/* Descriptors that one introduction needs until it is digested. */
#define FDS_IN_PASSING (PROTOCOL_FDS_MAX + 1)

/* ---- descriptors kept free -------------------------------------------------------------- */

static void release_reserve(struct shmd *bus, uint32_t n)
{
        for (; n && bus->n_reserve; n--)
                fd_close(&bus->reserve[--bus->n_reserve]);
}

static void refill_reserve(struct shmd *bus)
{
        while (bus->n_reserve < bus->reserve_target) {
                int fd = fcntl(bus->page.fd, F_DUPFD_CLOEXEC, 0);

                if (fd < 0)
                        return; /* an introduction that needs it will be asked for again */
                bus->reserve[bus->n_reserve++] = fd;
        }
}

void connection_renew_reserve(struct shmd *bus)
{
        release_reserve(bus, bus->n_reserve);
        refill_reserve(bus);
}

int connection_reserve(struct shmd *bus, uint32_t n)
{
        int *grown;

        if (!n) {
                release_reserve(bus, bus->n_reserve);
                free(bus->reserve);
                bus->reserve = NULL;
                bus->reserve_target = 0;
                return 0;
        }
        n += FDS_IN_PASSING;
        if (n <= bus->reserve_target)
                return 0;
        grown = realloc(bus->reserve, n * sizeof(int));
        if (!grown)
                return error_system(-ENOMEM, "descriptors for %u subscribers", n);
        bus->reserve = grown;
        bus->reserve_target = n;
        refill_reserve(bus);
        if (bus->n_reserve < n)
                return error_set(-EMFILE,
                                 "%u descriptors are needed for subscribers that may come, %u are "
                                 "free: raise the limit (ulimit -n) or lower max_subscribers",
                                 n, bus->n_reserve);
        return 0;
}

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
                release_reserve(bus, bus->n_reserve);
                take_the_rest(bus);
                refill_reserve(bus);
                watching_drop_socket(bus);
                resume_begin(bus);
        }
        return error_set(-ENOTCONN, "the broker is gone: %s", copy);
}

/* ---- messages --------------------------------------------------------------------------- */

void connection_tell(struct shmd *bus, const struct message *message)
{
        int code;

        if (!bus->is_connected)
                return;
        /* Many that leave at once fill the queue faster than it is read. */
        code = connection_send(bus, message, NULL, 0, now_ns() + REPLY_TIMEOUT_NS);
        if (code < 0 && bus->is_connected)
                connection_lose(bus, strerrordesc_np(-code));
}

void connection_leave(struct shmd *bus, struct opening *opening, enum message_type type,
                      uint64_t id)
{
        struct message_leave leave = {.id = id};

        /* Whether it knows of it is decided by an answer that is on its way. */
        if (opening->serial)
                resume_wait(bus, now_ns() + REPLY_TIMEOUT_NS);
        if (!opening->is_told || opening->is_stranded)
                return;
        wire_begin(&leave, type, sizeof(leave), 0);
        connection_tell(bus, &leave.header);
}

static void acknowledge(struct shmd *bus)
{
        struct message_acknowledge message = {.count = bus->owed};

        if (!bus->owed || !bus->is_connected || bus->stage < STAGE_RESUMING)
                return;
        wire_begin(&message, MESSAGE_ACKNOWLEDGE, sizeof(message), 0);
        if (socket_send(bus->socket, &message, sizeof(message), NULL, 0) == 0)
                bus->owed = 0;
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
        missing = malloc(sizeof(*missing));
        if (!missing)
                return true; /* whoever waits for it waits for ever: that is safe */
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
        free(missing);
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

/* Receives one message and checks it. 1; 0: nothing there; -ENOTCONN. */
int connection_receive(struct shmd *bus)
{
        struct packet *packet = bus->packet;
        int code;

        if (!bus->is_connected)
                return error_set(-ENOTCONN, "the broker is gone");
        release_reserve(bus, bus->n_reserve ? FDS_IN_PASSING : 0);
        code = socket_receive(bus->socket, packet);
        if (code == -EAGAIN) {
                refill_reserve(bus);
                return 0;
        }
        /* ECONNRESET may come before messages that are still queued: the broker closed with ours
         * unread. Another read gets them. */
        if (code == -ECONNRESET)
                code = socket_receive(bus->socket, packet);
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
        while (code == 0) {
                code = connection_receive(bus);
                if (code <= 0)
                        break;
                code = take_message(bus, bus->packet);
                packet_close(bus->packet);
                refill_reserve(bus);
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

        for (;;) {
                uint64_t now = now_ns();
                int ready;

                if (now >= deadline)
                        return error_set(-ETIMEDOUT, "the broker does not answer");
                ready = poll(&entry, 1, (int)((deadline - now) / 1000000) + 1);
                if (ready > 0)
                        return 0;
                if (ready < 0 && errno != EINTR)
                        return error_system(-errno, "poll");
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
        int code = resume_wait(bus, deadline);

        if (code == 0)
                code = abandoned_await(bus, deadline);
        if (code < 0)
                return code;
        message->serial = bus->next_serial++;
        code = connection_send(bus, message, fds, n_fds, deadline);
        if (code < 0)
                return code;
        while (code == 0) {
                code = connection_receive(bus);
                if (code == 0) {
                        acknowledge(bus);
                        code = connection_await(bus, POLLIN, deadline);
                } else if (code > 0) {
                        code = take_answer(bus, message->serial, sink, flags);
                        packet_close(bus->packet);
                        refill_reserve(bus);
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
        int code = connection_guard(bus);

        if (code < 0)
                return code;
        if (!callback)
                return error_set(-EINVAL, "no callback given");
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
                for (uint32_t i = 0; code == 0 && i < sink.n_listings; i++)
                        tell_listing(&listings[i], callback, user);
        } while (code == 0 && (flags & REPLY_MORE));
        return code;
}
