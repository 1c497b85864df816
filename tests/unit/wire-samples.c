/* SPDX-License-Identifier: Apache-2.0 */
/* wire-samples.c - a valid message of each type. */
#include <string.h>

#include "ring.h"
#include "type.h"
#include "util.h"
#include "wire-samples.h"

enum wire_side wire_sample_side(enum message_type type)
{
        switch (type) {
        case MESSAGE_HELLO:
        case MESSAGE_ADVERTISE:
        case MESSAGE_SUBSCRIBE:
        case MESSAGE_UNADVERTISE:
        case MESSAGE_UNSUBSCRIBE:
        case MESSAGE_ACKNOWLEDGE:
        case MESSAGE_REINTRODUCE:
        case MESSAGE_LIST:
        case MESSAGE_KNOWN:
        case MESSAGE_RESUMED:
        case MESSAGE_FORGOTTEN:
                return WIRE_FROM_CLIENT;
        default:
                return WIRE_FROM_BROKER;
        }
}

static void set_type(struct message_type_head *head, struct message_field *fields)
{
        strcpy(head->name, "imu");
        head->size = 32;
        head->alignment = 8;
        head->n_fields = 2;
        strcpy(fields[0].name, "time_ns");
        fields[0].kind = 4;
        fields[0].count = 1;
        strcpy(fields[1].name, "acceleration");
        fields[1].kind = 10;
        fields[1].offset = 8;
        fields[1].count = 3;
        head->hash = type_hash(head, fields);
}

static void set_geometry(struct ring_geometry *geometry)
{
        struct ring_wish wish = {.payload_max = 32, .alignment = 8, .depth = 8, .n_chunks = 32};

        ring_geometry_init(geometry, &wish);
}

static void set_peer(struct message_peer *peer)
{
        peer->id = 0x123456789;
        peer->pid = 4711;
        strcpy(peer->program, "camera");
}

static size_t set_fields(union wire_sample *sample, enum message_type type)
{
        switch (type) {
        case MESSAGE_HELLO:
                sample->hello.magic = PROTOCOL_MAGIC;
                sample->hello.version = PROTOCOL_VERSION;
                sample->hello.min_version = PROTOCOL_MIN_VERSION;
                sample->hello.connection = 77;
                return sizeof(sample->hello);
        case MESSAGE_WELCOME:
                sample->welcome.version = PROTOCOL_VERSION;
                sample->welcome.session = 5;
                return sizeof(sample->welcome);
        case MESSAGE_REPLY:
                sample->reply.code = -22;
                strcpy(sample->reply.text, "no");
                return sizeof(sample->reply);
        case MESSAGE_GOODBYE:
                sample->goodbye.code = -71;
                strcpy(sample->goodbye.text, "no");
                return sizeof(sample->goodbye);
        case MESSAGE_ADVERTISE:
                sample->advertise.publisher = 0x123456789;
                sample->advertise.loans = 2;
                sample->advertise.max_subscribers = 8;
                sample->advertise.holds = 2;
                set_geometry(&sample->advertise.geometry);
                strcpy(sample->advertise.service, "camera/front");
                set_type(&sample->advertise.type, sample->advertise.fields);
                return sizeof(sample->advertise) + 2 * sizeof(struct message_field);
        case MESSAGE_SUBSCRIBE:
                sample->subscribe.subscription = 0x123456789;
                sample->subscribe.flags = SUBSCRIBE_BLOCK | SUBSCRIBE_CHANNEL;
                sample->subscribe.holds = 2;
                sample->subscribe.row_offset = sizeof(struct block_header);
                strcpy(sample->subscribe.service, "camera/front");
                set_type(&sample->subscribe.type, sample->subscribe.fields);
                return sizeof(sample->subscribe) + 2 * sizeof(struct message_field);
        case MESSAGE_UNADVERTISE:
        case MESSAGE_UNSUBSCRIBE:
                sample->leave.id = 9;
                return sizeof(sample->leave);
        case MESSAGE_SUBSCRIBER_ADDED:
                sample->subscriber_added.publisher = 9;
                sample->subscriber_added.connection = 10;
                sample->subscriber_added.channel_kind = CHANNEL_PIPE;
                sample->subscriber_added.n_holds = 2;
                sample->subscriber_added.row_offset = sizeof(struct block_header);
                set_peer(&sample->subscriber_added.peer);
                return sizeof(sample->subscriber_added);
        case MESSAGE_SUBSCRIBER_REMOVED:
                return sizeof(sample->subscriber_removed);
        case MESSAGE_PUBLISHER_ADDED:
                sample->publisher_added.subscription = 9;
                sample->publisher_added.flags = PUBLISHER_CHANNEL;
                sample->publisher_added.holds = 2;
                set_geometry(&sample->publisher_added.geometry);
                set_peer(&sample->publisher_added.peer);
                return sizeof(sample->publisher_added);
        case MESSAGE_PUBLISHER_REMOVED:
                return sizeof(sample->publisher_gone);
        case MESSAGE_PUBLISHER_REFUSED:
                sample->publisher_gone.reason = REFUSED_SEATS;
                return sizeof(sample->publisher_gone);
        case MESSAGE_ACKNOWLEDGE:
                sample->acknowledge.count = 1;
                return sizeof(sample->acknowledge);
        case MESSAGE_REINTRODUCE:
                sample->reintroduce.which = REINTRODUCE_PUBLISHER;
                return sizeof(sample->reintroduce);
        case MESSAGE_LIST:
                strcpy(sample->list.service, "camera/front");
                return sizeof(sample->list);
        case MESSAGE_LISTING:
                sample->listing.what = 1;
                strcpy(sample->listing.service, "camera/front");
                strcpy(sample->listing.type, "imu");
                return sizeof(sample->listing);
        case MESSAGE_KNOWN:
                sample->known.owner = 0x123456789;
                sample->known.count = 2;
                sample->known.peers[0].id = 9;
                sample->known.peers[1].id = 10;
                return sizeof(sample->known) + 2 * sizeof(struct message_known_peer);
        case MESSAGE_RESUMED:
                return sizeof(sample->resumed);
        case MESSAGE_PEER_BACK:
                sample->pair.which = REINTRODUCE_SUBSCRIBER;
                return sizeof(sample->pair);
        case MESSAGE_FORGOTTEN:
                return sizeof(sample->pair);
        default:
                return 0;
        }
}

static bool has_serial(enum message_type type)
{
        return type == MESSAGE_HELLO || type == MESSAGE_WELCOME || type == MESSAGE_REPLY ||
               type == MESSAGE_ADVERTISE || type == MESSAGE_SUBSCRIBE || type == MESSAGE_LIST ||
               type == MESSAGE_RESUMED || type == MESSAGE_LISTING;
}

size_t wire_sample(union wire_sample *sample, enum message_type type)
{
        size_t size;

        memset(sample, 0, sizeof(*sample));
        size = set_fields(sample, type);
        wire_begin(sample, type, size, has_serial(type));
        return size;
}
