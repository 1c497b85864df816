/* SPDX-License-Identifier: Apache-2.0 */
/* impostor.c - messages with the ids of others. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"
#include "impostor.h"
#include "raw.h"
#include "ring.h"
#include "stamped.h"
#include "type.h"
#include "wire.h"

void impostor_fill_type(struct message_type_head *type, struct message_field *fields)
{
        must_equal(type_pack(type, fields, stamped_type), 0);
}

void impostor_advertise(int fd, const char *service, const struct victim *victim,
                        struct segment *memory, bool resumes)
{
        struct ring_wish wish = {.payload_max = stamped_type->size,
                                 .alignment = stamped_type->alignment,
                                 .depth = 2,
                                 .n_chunks = 16};
        static _Alignas(8) unsigned char bytes[PROTOCOL_MESSAGE_MAX];
        struct message_advertise *message = (void *)bytes;
        struct segment_header *header;

        memset(bytes, 0, sizeof(bytes));
        message->publisher = victim->id;
        message->loans = message->max_subscribers = message->holds = 2;
        message->flags = resumes ? ADVERTISE_RESUME : 0;
        memcpy(message->service, service, strlen(service));
        must_equal(ring_geometry_init(&message->geometry, &wish), 0);
        impostor_fill_type(&message->type, message->fields);
        wire_begin(message, MESSAGE_ADVERTISE,
                   sizeof(*message) + message->type.n_fields * sizeof(message->fields[0]), 2);
        must_equal(segment_create(memory, "shmd:raw", message->geometry.size), 0);
        header = memory->base;
        header->identity = (struct layout_identity){.magic = LAYOUT_MAGIC_SEGMENT,
                                                    .version = LAYOUT_VERSION,
                                                    .header_size = sizeof(*header),
                                                    .size = message->geometry.size,
                                                    .owner = victim->id};
        must_equal(raw_request(fd, message, &memory->fd, 1, NULL), resumes ? 0 : -EEXIST);
}

void impostor_say_resumed(int fd)
{
        struct message_resumed resumed;

        wire_begin(&resumed, MESSAGE_RESUMED, sizeof(resumed), 9);
        must_equal(raw_request(fd, &resumed, NULL, 0, NULL), 0);
}

void impostor_has_met_nobody(int fd)
{
        static struct packet packet;

        must_equal(socket_receive(fd, &packet), -EAGAIN);
}

void impostor_resume(const char *service, const struct victim *victim)
{
        struct segment memory;
        int fd = raw_resume(victim->connection);

        impostor_advertise(fd, service, victim, &memory, true);
        impostor_say_resumed(fd);
        impostor_has_met_nobody(fd);
        say('r');
        hear('e');
        impostor_has_met_nobody(fd);
        close(fd);
        segment_close(&memory);
}
