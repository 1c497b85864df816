/* SPDX-License-Identifier: Apache-2.0 */
/* wire-samples.h - a valid message of each type, for tests that spoil it. */
#ifndef SHMD_TESTS_WIRE_SAMPLES_H
#define SHMD_TESTS_WIRE_SAMPLES_H

#include "protocol.h"
#include "wire.h"

union wire_sample {
        struct message header;
        struct message_hello hello;
        struct message_welcome welcome;
        struct message_reply reply;
        struct message_goodbye goodbye;
        struct message_advertise advertise;
        struct message_subscribe subscribe;
        struct message_leave leave;
        struct message_subscriber_added subscriber_added;
        struct message_subscriber_removed subscriber_removed;
        struct message_publisher_added publisher_added;
        struct message_publisher_gone publisher_gone;
        struct message_acknowledge acknowledge;
        struct message_reintroduce reintroduce;
        struct message_list list;
        struct message_listing listing;
        struct message_known known;
        struct message_resumed resumed;
        struct message_pair pair;
        _Alignas(8) unsigned char bytes[PROTOCOL_MESSAGE_MAX];
};

/* Fills in the sample, the rest of the union is zero; its size. */
size_t wire_sample(union wire_sample *sample, enum message_type type);

/* The side that sends this type. */
enum wire_side wire_sample_side(enum message_type type);

#endif
