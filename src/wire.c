/* SPDX-License-Identifier: Apache-2.0 */
/* wire.c - checks every field of every message. */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "error.h"
#include "ring.h"
#include "type.h"
#include "util.h"
#include "wire.h"

#define FIELD sizeof(struct message_field)
#define PEER  sizeof(struct message_known_peer)

/* What a type of message looks like from outside. */
static const struct {
        const char *name;
        enum wire_side from;
        uint32_t size; /* without the elements of its tail */
        uint32_t tail; /* bytes of each of these; 0: none */
        bool has_serial;
} shapes[MESSAGE_TYPES_END] = {
        [MESSAGE_HELLO] = {"HELLO", WIRE_FROM_CLIENT, sizeof(struct message_hello), 0, true},
        [MESSAGE_WELCOME] = {"WELCOME", WIRE_FROM_BROKER, sizeof(struct message_welcome), 0, true},
        [MESSAGE_REPLY] = {"REPLY", WIRE_FROM_BROKER, sizeof(struct message_reply), 0, true},
        [MESSAGE_ADVERTISE] = {"ADVERTISE", WIRE_FROM_CLIENT, sizeof(struct message_advertise),
                               FIELD, true},
        [MESSAGE_SUBSCRIBE] = {"SUBSCRIBE", WIRE_FROM_CLIENT, sizeof(struct message_subscribe),
                               FIELD, true},
        [MESSAGE_UNADVERTISE] = {"UNADVERTISE", WIRE_FROM_CLIENT, sizeof(struct message_leave), 0,
                                 false},
        [MESSAGE_UNSUBSCRIBE] = {"UNSUBSCRIBE", WIRE_FROM_CLIENT, sizeof(struct message_leave), 0,
                                 false},
        [MESSAGE_SUBSCRIBER_ADDED] = {"SUBSCRIBER_ADDED", WIRE_FROM_BROKER,
                                      sizeof(struct message_subscriber_added), 0, false},
        [MESSAGE_SUBSCRIBER_REMOVED] = {"SUBSCRIBER_REMOVED", WIRE_FROM_BROKER,
                                        sizeof(struct message_subscriber_removed), 0, false},
        [MESSAGE_PUBLISHER_ADDED] = {"PUBLISHER_ADDED", WIRE_FROM_BROKER,
                                     sizeof(struct message_publisher_added), 0, false},
        [MESSAGE_PUBLISHER_REMOVED] = {"PUBLISHER_REMOVED", WIRE_FROM_BROKER,
                                       sizeof(struct message_publisher_gone), 0, false},
        [MESSAGE_PUBLISHER_REFUSED] = {"PUBLISHER_REFUSED", WIRE_FROM_BROKER,
                                       sizeof(struct message_publisher_gone), 0, false},
        [MESSAGE_ACKNOWLEDGE] = {"ACKNOWLEDGE", WIRE_FROM_CLIENT,
                                 sizeof(struct message_acknowledge), 0, false},
        [MESSAGE_REINTRODUCE] = {"REINTRODUCE", WIRE_FROM_CLIENT,
                                 sizeof(struct message_reintroduce), 0, false},
        [MESSAGE_LIST] = {"LIST", WIRE_FROM_CLIENT, sizeof(struct message_list), 0, true},
        [MESSAGE_LISTING] = {"LISTING", WIRE_FROM_BROKER, sizeof(struct message_listing), 0, true},
        [MESSAGE_GOODBYE] = {"GOODBYE", WIRE_FROM_BROKER, sizeof(struct message_goodbye), 0, false},
        [MESSAGE_KNOWN] = {"KNOWN", WIRE_FROM_CLIENT, sizeof(struct message_known), PEER, false},
        [MESSAGE_RESUMED] = {"RESUMED", WIRE_FROM_CLIENT, sizeof(struct message_resumed), 0, true},
        [MESSAGE_PEER_BACK] = {"PEER_BACK", WIRE_FROM_BROKER, sizeof(struct message_pair), 0,
                               false},
        [MESSAGE_FORGOTTEN] = {"FORGOTTEN", WIRE_FROM_CLIENT, sizeof(struct message_pair), 0,
                               false},
};

const char *wire_name(uint32_t type)
{
        return type < MESSAGE_TYPES_END && shapes[type].name ? shapes[type].name : "unknown";
}

void wire_begin(void *message, enum message_type type, size_t size, uint64_t serial)
{
        struct message *header = message;

        header->type = type;
        header->size = (uint32_t)size;
        header->serial = serial;
}

static bool is_name_character(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '_' || c == '-' || c == '.';
}

int wire_check_service(const char *name)
{
        size_t length = strnlen(name, PROTOCOL_SERVICE_SIZE), start = 0;

        if (length == 0 || length == PROTOCOL_SERVICE_SIZE)
                return error_set(-EINVAL, "a service's name has 1 to %u bytes, this has %s",
                                 PROTOCOL_SERVICE_SIZE - 1, length ? "more" : "none");
        for (size_t i = 0; i <= length; i++) {
                if (i < length && name[i] != '/') {
                        if (!is_name_character(name[i]))
                                return error_set(-EINVAL,
                                                 "service '%s': byte %zu (0x%02x) is none of "
                                                 "a-z A-Z 0-9 _ - . /",
                                                 name, i + 1, (unsigned char)name[i]);
                        continue;
                }
                if (i == start)
                        return error_set(-EINVAL,
                                         "service '%s': empty part at byte %zu (parts are "
                                         "separated by single slashes, none at the ends)",
                                         name, i + 1);
                if (name[start] == '.' &&
                    (i - start == 1 || (i - start == 2 && name[start + 1] == '.')))
                        return error_set(-EINVAL, "service '%s': no part may be '.' or '..'", name);
                start = i + 1;
        }
        return 0;
}

static int check_service_field(const char *service)
{
        size_t length = strnlen(service, PROTOCOL_SERVICE_SIZE);

        for (size_t i = length; i < PROTOCOL_SERVICE_SIZE; i++)
                if (service[i])
                        return error_set(-EPROTO, "bytes after the end of the service's name");
        return wire_check_service(service) < 0 ? -EPROTO : 0;
}

static int check_type_field(const struct message_type_head *head,
                            const struct message_field *fields)
{
        return type_check(head, fields) < 0 ? -EPROTO : 0;
}

static int check_advertise(const struct message_advertise *advertise)
{
        const struct ring_geometry *geometry = &advertise->geometry;
        int code = check_service_field(advertise->service);

        if (code == 0)
                code = check_type_field(&advertise->type, advertise->fields);
        if (code < 0)
                return code;
        if (!(uint32_t)advertise->publisher)
                return error_set(-EPROTO, "the publisher's id is zero in its low half");
        if (ring_geometry_check(geometry) < 0)
                return -EPROTO;
        if (geometry->depth > PROTOCOL_DEPTH_MAX)
                return error_set(-EPROTO, "depth %u out of range", geometry->depth);
        if (advertise->flags & ~ADVERTISE_RESUME)
                return error_set(-EPROTO, "unknown flags 0x%x", advertise->flags);
        if (geometry->payload_max < advertise->type.size ||
            (!(advertise->type.flags & 1u) && geometry->payload_max != advertise->type.size) ||
            geometry->payload_offset % advertise->type.alignment ||
            geometry->chunks_offset % advertise->type.alignment ||
            geometry->stride % advertise->type.alignment)
                return error_set(-EPROTO, "the geometry does not fit the type");
        if (!advertise->loans || advertise->loans > PROTOCOL_LOANS_MAX || !advertise->holds ||
            advertise->holds > HOLDS_MAX || !advertise->max_subscribers ||
            advertise->max_subscribers > PROTOCOL_SUBSCRIBERS_MAX)
                return error_set(-EPROTO, "loans %u, holds %u or max_subscribers %u out of range",
                                 advertise->loans, advertise->holds, advertise->max_subscribers);
        return 0;
}

static int check_row(uint32_t block, uint32_t row_offset, uint32_t n_holds)
{
        if (!n_holds || n_holds > HOLDS_MAX || row_offset % BLOCK_ROW_LINE ||
            row_offset < sizeof(struct block_header) || row_offset > BLOCK_SIZE ||
            n_holds * 8 > BLOCK_SIZE - row_offset)
                return error_set(-EPROTO, "a row of %u holds at byte %u of block %u", n_holds,
                                 row_offset, block);
        return 0;
}

static int check_subscribe(const struct message_subscribe *subscribe)
{
        int code = check_service_field(subscribe->service);

        if (code == 0)
                code = check_type_field(&subscribe->type, subscribe->fields);
        if (code == 0)
                code = check_row(subscribe->block, subscribe->row_offset, subscribe->holds);
        if (code < 0)
                return code;
        if (!(uint32_t)subscribe->subscription)
                return error_set(-EPROTO, "the subscription's id is zero in its low half");
        if (subscribe->flags &
            ~(SUBSCRIBE_BLOCK | SUBSCRIBE_CHANNEL | SUBSCRIBE_HOLDS_SET | SUBSCRIBE_RESUME))
                return error_set(-EPROTO, "unknown flags 0x%x", subscribe->flags);
        return 0;
}

static int check_text(int32_t code, const char *text)
{
        if (code > 0 || code < -4095)
                return error_set(-EPROTO, "code %d is not a negative errno value", code);
        if (strnlen(text, PROTOCOL_TEXT_SIZE) == PROTOCOL_TEXT_SIZE)
                return error_set(-EPROTO, "a text without end");
        return 0;
}

static int check_peer(const struct message_peer *peer)
{
        if (!(uint32_t)peer->id)
                return error_set(-EPROTO, "a peer without an id");
        if (strnlen(peer->program, sizeof(peer->program)) == sizeof(peer->program))
                return error_set(-EPROTO, "a program's name without end");
        return 0;
}

static int check_subscriber_added(const struct message_subscriber_added *added)
{
        int code = check_peer(&added->peer);

        if (code == 0)
                code = check_row(added->block, added->row_offset, added->n_holds);
        if (code < 0)
                return code;
        if (added->channel_kind != CHANNEL_PIPE && added->channel_kind != CHANNEL_SOCKET)
                return error_set(-EPROTO, "unknown kind of channel %u", added->channel_kind);
        if (added->header.size > MESSAGE_SUBSCRIBER_ADDED_SIZE_1 && added->start > INT64_MAX)
                return error_set(-EPROTO, "start %" PRIu64, added->start);
        return 0;
}

static int check_publisher_added(const struct message_publisher_added *added)
{
        int code = check_peer(&added->peer);

        if (code < 0)
                return code;
        if (ring_geometry_check(&added->geometry) < 0)
                return -EPROTO;
        if (!added->holds || added->holds > HOLDS_MAX || (added->flags & ~PUBLISHER_CHANNEL) ||
            added->start > INT64_MAX)
                return error_set(-EPROTO, "holds %u, flags 0x%x or start %" PRIu64, added->holds,
                                 added->flags, added->start);
        return 0;
}

static int check_listing(const struct message_listing *listing)
{
        if (listing->what < 1 || listing->what > 3)
                return error_set(-EPROTO, "unknown record %u", listing->what);
        if (strnlen(listing->type, PROTOCOL_TYPE_SIZE) == PROTOCOL_TYPE_SIZE ||
            strnlen(listing->peer.program, PROTOCOL_PROGRAM_SIZE) == PROTOCOL_PROGRAM_SIZE)
                return error_set(-EPROTO, "a name without end");
        return check_service_field(listing->service);
}

static int check_known(const struct message_known *known)
{
        if (!known->count || known->count > PROTOCOL_KNOWN_RECORDS)
                return error_set(-EPROTO, "a list of %u", known->count);
        for (uint32_t i = 0; i < known->count; i++)
                if (!(uint32_t)known->peers[i].id || known->peers[i].start > INT64_MAX)
                        return error_set(-EPROTO, "record %u has id %016" PRIx64 ", start %" PRIu64,
                                         i, known->peers[i].id, known->peers[i].start);
        return 0;
}

static int check_small(const struct message *message)
{
        switch (message->type) {
        case MESSAGE_HELLO: {
                const struct message_hello *hello = (const void *)message;

                if (hello->magic != PROTOCOL_MAGIC || !hello->connection ||
                    hello->min_version > hello->version)
                        return error_set(-EPROTO, "not shmd's protocol");
                return 0;
        }
        case MESSAGE_ACKNOWLEDGE:
                if (!((const struct message_acknowledge *)(const void *)message)->count)
                        return error_set(-EPROTO, "it acknowledges nothing");
                return 0;
        case MESSAGE_REINTRODUCE: {
                const struct message_reintroduce *again = (const void *)message;

                if (again->which != REINTRODUCE_SUBSCRIBER && again->which != REINTRODUCE_PUBLISHER)
                        return error_set(-EPROTO, "can't reintroduce %u", again->which);
                return 0;
        }
        case MESSAGE_PEER_BACK: {
                const struct message_pair *pair = (const void *)message;

                if (pair->which != REINTRODUCE_SUBSCRIBER && pair->which != REINTRODUCE_PUBLISHER)
                        return error_set(-EPROTO, "%u can't be back", pair->which);
                return 0;
        }
        case MESSAGE_PUBLISHER_REFUSED: {
                const struct message_publisher_gone *gone = (const void *)message;

                if (gone->reason != REFUSED_SEATS && gone->reason != REFUSED_LIMIT)
                        return error_set(-EPROTO, "unknown reason %u", gone->reason);
                return 0;
        }
        case MESSAGE_LIST: {
                const struct message_list *list = (const void *)message;

                return list->service[0] ? check_service_field(list->service) : 0;
        }
        default:
                return 0;
        }
}

static int check_content(const struct message *message)
{
        switch (message->type) {
        case MESSAGE_ADVERTISE:
                return check_advertise((const void *)message);
        case MESSAGE_SUBSCRIBE:
                return check_subscribe((const void *)message);
        case MESSAGE_REPLY: {
                const struct message_reply *reply = (const void *)message;

                return check_text(reply->code, reply->text);
        }
        case MESSAGE_GOODBYE: {
                const struct message_goodbye *goodbye = (const void *)message;

                return check_text(goodbye->code, goodbye->text);
        }
        case MESSAGE_SUBSCRIBER_ADDED:
                return check_subscriber_added((const void *)message);
        case MESSAGE_PUBLISHER_ADDED:
                return check_publisher_added((const void *)message);
        case MESSAGE_LISTING:
                return check_listing((const void *)message);
        case MESSAGE_KNOWN:
                return check_known((const void *)message);
        default:
                return check_small(message);
        }
}

/* How long the message was in version 1, without its tail. */
static uint32_t size_in_version_1(uint32_t type)
{
        switch (type) {
        case MESSAGE_WELCOME:
                return MESSAGE_WELCOME_SIZE_1;
        case MESSAGE_SUBSCRIBER_ADDED:
                return MESSAGE_SUBSCRIBER_ADDED_SIZE_1;
        case MESSAGE_PUBLISHER_ADDED:
                return MESSAGE_PUBLISHER_ADDED_SIZE_1;
        default:
                return shapes[type].size;
        }
}

/* How many elements the message says that its tail has. */
static uint32_t tail_length(const struct message *message)
{
        switch (message->type) {
        case MESSAGE_ADVERTISE:
                return ((const struct message_advertise *)message)->type.n_fields;
        case MESSAGE_SUBSCRIBE:
                return ((const struct message_subscribe *)message)->type.n_fields;
        default:
                return ((const struct message_known *)message)->count;
        }
}

static int check_tail(const struct message *message, size_t size)
{
        size_t rest = size - shapes[message->type].size;

        /* No tail has more elements than a message has bytes, so that this can't overflow. */
        if (tail_length(message) > PROTOCOL_MESSAGE_MAX ||
            rest != (size_t)tail_length(message) * shapes[message->type].tail)
                return error_set(-EPROTO, "its %s do not fill its %zu bytes",
                                 message->type == MESSAGE_KNOWN ? "records" : "fields", size);
        return 0;
}

static int check_shape(const struct message *message, size_t size, enum wire_side from)
{
        uint32_t whole = shapes[message->type].size;

        if (!shapes[message->type].name || shapes[message->type].from != from)
                return error_set(-EPROTO, "not a message for this side");
        if (message->size != size ||
            (!shapes[message->type].tail && size != whole &&
             size != size_in_version_1(message->type)) ||
            (shapes[message->type].tail && size < whole))
                return error_set(-EPROTO, "%zu bytes, should be %u", size, whole);
        if (shapes[message->type].has_serial != (message->serial != 0))
                return error_set(-EPROTO, "serial %llu", (unsigned long long)message->serial);
        return shapes[message->type].tail ? check_tail(message, size) : 0;
}

int wire_check(const void *bytes, size_t size, enum wire_side from)
{
        const struct message *message = bytes;
        int code;

        if (size < sizeof(*message))
                return error_set(-EPROTO, "a message of %zu bytes", size);
        if (message->type >= MESSAGE_TYPES_END)
                return error_set(-EPROTO, "unknown message %u", message->type);
        code = check_shape(message, size, from);
        if (code == 0)
                code = check_content(message);
        return code < 0 ? error_prefix(-EPROTO, "%s", wire_name(message->type)) : 0;
}

unsigned wire_n_fds(const struct message *message)
{
        switch (message->type) {
        case MESSAGE_ADVERTISE:
                return 1;
        case MESSAGE_WELCOME:
                return 1 + (message->size > MESSAGE_WELCOME_SIZE_1);
        case MESSAGE_SUBSCRIBE: {
                uint32_t flags = ((const struct message_subscribe *)message)->flags;

                return !!(flags & SUBSCRIBE_BLOCK) + !!(flags & SUBSCRIBE_CHANNEL);
        }
        case MESSAGE_SUBSCRIBER_ADDED:
                return 3 + (message->size > MESSAGE_SUBSCRIBER_ADDED_SIZE_1);
        case MESSAGE_PUBLISHER_ADDED: {
                uint32_t flags = ((const struct message_publisher_added *)message)->flags;

                return 2 + !!(flags & PUBLISHER_CHANNEL) +
                       (message->size > MESSAGE_PUBLISHER_ADDED_SIZE_1);
        }
        default:
                return 0;
        }
}
