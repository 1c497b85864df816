/* SPDX-License-Identifier: Apache-2.0 */
/* raw.c - sends and receives packets, and makes messages that are right. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "harness.h"
#include "raw.h"
#include "ring.h"
#include "segment.h"
#include "type.h"
#include "util.h"
#include "wire.h"

static void await_events(int fd, short events)
{
        struct pollfd entry = {.fd = fd, .events = events};

        must_equal(poll(&entry, 1, (int)(PATIENCE_NS / MS)), 1);
}

int raw_connect(void)
{
        int fd = socket_connect(broker.socket);

        must(fd >= 0);
        return fd;
}

void raw_send(int fd, const void *message, size_t size, const int *fds, unsigned n_fds)
{
        must_equal(socket_send(fd, message, size, fds, n_fds), 0);
}

bool raw_receive(int fd, struct packet *packet)
{
        int code;

        await_events(fd, POLLIN);
        code = socket_receive(fd, packet);
        /* The broker closed with something unread; what it sent before comes after this. */
        if (code == -ECONNRESET)
                code = socket_receive(fd, packet);
        must(code >= 0);
        return code > 0;
}

const char *raw_await_end(int fd)
{
        static char text[PROTOCOL_TEXT_SIZE];
        static struct packet packet;

        text[0] = '\0';
        while (raw_receive(fd, &packet)) {
                if (packet.header.type == MESSAGE_GOODBYE)
                        memcpy(text, ((const struct message_goodbye *)&packet.header)->text,
                               sizeof(text));
                packet_close(&packet);
        }
        return text;
}

void raw_fill_hello(struct message_hello *hello, uint32_t version, uint32_t min_version)
{
        *hello = (struct message_hello){.magic = PROTOCOL_MAGIC,
                                        .version = version,
                                        .min_version = min_version,
                                        .connection = random_id()};
        wire_begin(hello, MESSAGE_HELLO, sizeof(*hello), 1);
}

int raw_session(uint64_t *connection)
{
        struct message_hello hello;
        struct packet packet;
        int fd = raw_connect();

        raw_fill_hello(&hello, PROTOCOL_VERSION, PROTOCOL_MIN_VERSION);
        raw_send(fd, &hello, sizeof(hello), NULL, 0);
        must(raw_receive(fd, &packet));
        must_equal(packet.header.type, MESSAGE_WELCOME);
        must_equal(packet.n_fds, 2);
        if (connection)
                *connection = hello.connection;
        packet_close(&packet);
        return fd;
}

int raw_block(uint64_t connection)
{
        struct segment memory = SEGMENT_NONE;
        struct block_header *header;
        int fd;

        must_equal(segment_create(&memory, "shmd-block", BLOCK_SIZE), 0);
        header = memory.base;
        header->identity = (struct layout_identity){.magic = LAYOUT_MAGIC_BLOCK,
                                                    .version = LAYOUT_VERSION,
                                                    .header_size = sizeof(*header),
                                                    .size = BLOCK_SIZE,
                                                    .owner = connection};
        fd = memory.fd;
        memory.fd = -1;
        segment_close(&memory);
        return fd;
}

void raw_publisher_open(struct raw_publisher *publisher, const char *service)
{
        struct message_advertise *message = &publisher->message;
        struct ring_wish wish = {.payload_max = 64, .alignment = 8, .depth = 2, .n_chunks = 16};
        struct segment memory = SEGMENT_NONE;
        struct segment_header *header;

        memset(publisher, 0, sizeof(*publisher));
        must_equal(ring_geometry_init(&message->geometry, &wish), 0);
        must_equal(type_pack(&message->type, message->fields, &shmd_bytes), 0);
        message->publisher = random_id();
        message->loans = message->max_subscribers = message->holds = 2;
        memcpy(message->service, service, strlen(service));
        wire_begin(message, MESSAGE_ADVERTISE, sizeof(*message), 2);
        must_equal(segment_create(&memory, "shmd:raw", message->geometry.size), 0);
        header = memory.base;
        header->identity = (struct layout_identity){.magic = LAYOUT_MAGIC_SEGMENT,
                                                    .version = LAYOUT_VERSION,
                                                    .header_size = sizeof(*header),
                                                    .size = message->geometry.size,
                                                    .owner = message->publisher};
        publisher->memory = memory.base;
        publisher->fd = memory.fd;
}

void raw_publisher_close(struct raw_publisher *publisher)
{
        munmap(publisher->memory, publisher->message.geometry.size);
        close(publisher->fd);
}

void raw_fill_subscribe(struct message_subscribe *subscribe, const char *service)
{
        memset(subscribe, 0, sizeof(*subscribe));
        must_equal(type_pack(&subscribe->type, subscribe->fields, &shmd_bytes), 0);
        subscribe->subscription = random_id();
        subscribe->flags = SUBSCRIBE_BLOCK | SUBSCRIBE_CHANNEL;
        subscribe->holds = 2;
        subscribe->row_offset = sizeof(struct block_header);
        memcpy(subscribe->service, service, strlen(service));
        wire_begin(subscribe, MESSAGE_SUBSCRIBE, sizeof(*subscribe), 2);
}

int raw_request(int fd, const void *message, const int *fds, unsigned n_fds, const char **text)
{
        static char said[PROTOCOL_TEXT_SIZE];
        static struct packet packet;
        const struct message_reply *reply = (const void *)&packet.header;
        const struct message *header = message;
        bool is_answered = false;

        raw_send(fd, message, header->size, fds, n_fds);
        while (!is_answered) {
                must(raw_receive(fd, &packet));
                is_answered = packet.header.type == MESSAGE_REPLY &&
                              packet.header.serial == header->serial;
                packet_close(&packet);
        }
        memcpy(said, reply->text, sizeof(said));
        if (text)
                *text = said;
        return reply->code;
}

int raw_resume(uint64_t connection)
{
        struct message_hello hello;
        struct packet packet;
        int fd = raw_connect();

        raw_fill_hello(&hello, PROTOCOL_VERSION, PROTOCOL_VERSION);
        hello.flags = HELLO_RESUME;
        hello.connection = connection;
        raw_send(fd, &hello, sizeof(hello), NULL, 0);
        must(raw_receive(fd, &packet));
        must_equal(packet.header.type, MESSAGE_WELCOME);
        packet_close(&packet);
        return fd;
}

int raw_reader_open(struct raw_reader *reader, const char *service, const char **text)
{
        reader->fd = raw_session(&reader->connection);
        reader->block = raw_block(reader->connection);
        must_equal(pipe2(reader->ends, O_CLOEXEC | O_NONBLOCK), 0);
        raw_fill_subscribe(&reader->message, service);
        return raw_request(reader->fd, &reader->message, (int[]){reader->block, reader->ends[1]}, 2,
                           text);
}

void raw_reader_close(const struct raw_reader *reader)
{
        close(reader->fd);
        close(reader->block);
        close(reader->ends[0]);
        close(reader->ends[1]);
}

int raw_listen(const char *path)
{
        struct sockaddr_un name = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        must(fd >= 0);
        must(strlen(path) < sizeof(name.sun_path));
        memcpy(name.sun_path, path, strlen(path));
        must_equal(bind(fd, (struct sockaddr *)&name, sizeof(name)), 0);
        must_equal(listen(fd, 8), 0);
        return fd;
}

int raw_accept(int listener)
{
        int fd;

        await_events(listener, POLLIN);
        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        must(fd >= 0);
        return fd;
}
