/* SPDX-License-Identifier: Apache-2.0 */
/*
 * protocol.c - clients that don't keep to the protocol: each is dropped with one line of log, and
 * nobody else notices.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "connection.h"
#include "harness.h"
#include "honest.h"
#include "raw.h"
#include "segment.h"
#include "stamped.h"
#include "util.h"
#include "wire.h"

/* ---- bytes ------------------------------------------------------------------------------- */

static void garbage_and_halves_end_a_session(void **state)
{
        static unsigned char bytes[PROTOCOL_MESSAGE_MAX + 1];
        struct message_list list = {.skip = 0};

        honest_open();
        memset(bytes, 0xee, sizeof(bytes));
        expect_drop(bytes, 100, NULL, 0, "unknown message");
        expect_drop(bytes, sizeof(bytes), NULL, 0, "20480 bytes");
        wire_begin(&list, MESSAGE_LIST, sizeof(list), 1);
        expect_drop(&list, 8, NULL, 0, "8 bytes");
        expect_drop(&list, sizeof(list) / 2, NULL, 0, "LIST");
        list.header.serial = 0;
        expect_drop(&list, sizeof(list), NULL, 0, "serial 0");
        list.header.serial = 1;
        list.header.size--;
        expect_drop(&list, sizeof(list), NULL, 0, "LIST");
        wire_begin(&list, MESSAGE_TYPES_END, sizeof(list), 1);
        expect_drop(&list, sizeof(list), NULL, 0, "unknown message");
        wire_begin(&list, MESSAGE_LIST, sizeof(list), 1);
        memset(list.service, 'a', sizeof(list.service));
        expect_drop(&list, sizeof(list), NULL, 0, "LIST");
        honest_close();
}

static void whoever_does_not_begin_with_hello_is_dropped(void **state)
{
        struct message_hello hello;
        struct message_list list = {.skip = 0};
        int fd;

        honest_open();
        wire_begin(&list, MESSAGE_LIST, sizeof(list), 1);
        expect_drop_of(raw_connect(), &list, sizeof(list), NULL, 0, "before HELLO");
        raw_fill_hello(&hello, 1, 1);
        hello.magic++;
        expect_drop_of(raw_connect(), &hello, sizeof(hello), NULL, 0, "not shmd's protocol");
        raw_fill_hello(&hello, 1, 1);
        hello.connection = 0;
        expect_drop_of(raw_connect(), &hello, sizeof(hello), NULL, 0, "not shmd's protocol");
        raw_fill_hello(&hello, 1, 1);
        expect_drop(&hello, sizeof(hello), NULL, 0, "HELLO twice");
        /* Who says nothing and goes is no news. */
        fd = raw_connect();
        broker_settle(honest.one);
        close(fd);
        honest_check(0);
        honest_close();
}

/* ---- messages out of place --------------------------------------------------------------- */

static void every_message_of_the_broker_is_wrong_from_a_client(void **state)
{
        static const struct {
                enum message_type type;
                size_t size;
        } answers[] = {
                {MESSAGE_WELCOME, sizeof(struct message_welcome)},
                {MESSAGE_REPLY, sizeof(struct message_reply)},
                {MESSAGE_SUBSCRIBER_ADDED, sizeof(struct message_subscriber_added)},
                {MESSAGE_SUBSCRIBER_REMOVED, sizeof(struct message_subscriber_removed)},
                {MESSAGE_PUBLISHER_ADDED, sizeof(struct message_publisher_added)},
                {MESSAGE_PUBLISHER_REMOVED, sizeof(struct message_publisher_gone)},
                {MESSAGE_PUBLISHER_REFUSED, sizeof(struct message_publisher_gone)},
                {MESSAGE_LISTING, sizeof(struct message_listing)},
                {MESSAGE_GOODBYE, sizeof(struct message_goodbye)},
        };
        _Alignas(8) unsigned char bytes[1024];

        honest_open();
        for (unsigned i = 0; i < N_ELEMENTS(answers); i++) {
                memset(bytes, 0, sizeof(bytes));
                wire_begin(bytes, answers[i].type, answers[i].size, 0);
                expect_drop(bytes, answers[i].size, NULL, 0, wire_name(answers[i].type));
        }
        honest_close();
}

static void what_is_anothers_can_not_be_ended_or_asked_for(void **state)
{
        struct message_leave leave = {.id = 0};
        struct message_reintroduce again = {.which = REINTRODUCE_SUBSCRIBER};
        struct message_acknowledge acknowledge = {.count = 1};
        struct shmd_publisher_state publisher;
        struct shmd_subscriber_state subscriber;
        int fd;

        honest_open();
        must_equal(shmd_publisher_status(honest.publisher, &publisher), 0);
        must_equal(shmd_subscriber_status(honest.subscriber, &subscriber), 0);
        leave.id = publisher.id;
        wire_begin(&leave, MESSAGE_UNADVERTISE, sizeof(leave), 0);
        expect_drop(&leave, sizeof(leave), NULL, 0, "UNADVERTISE");
        leave.id = subscriber.id;
        expect_drop(&leave, sizeof(leave), NULL, 0, "UNADVERTISE");
        wire_begin(&leave, MESSAGE_UNSUBSCRIBE, sizeof(leave), 0);
        expect_drop(&leave, sizeof(leave), NULL, 0, "UNSUBSCRIBE");
        leave.id = 1;
        expect_drop(&leave, sizeof(leave), NULL, 0, "UNSUBSCRIBE");
        again.publisher = publisher.id;
        again.subscription = subscriber.id;
        wire_begin(&again, MESSAGE_REINTRODUCE, sizeof(again), 0);
        expect_drop(&again, sizeof(again), NULL, 0, "REINTRODUCE");
        again.which = 7;
        expect_drop(&again, sizeof(again), NULL, 0, "reintroduce 7");
        wire_begin(&acknowledge, MESSAGE_ACKNOWLEDGE, sizeof(acknowledge), 0);
        expect_drop(&acknowledge, sizeof(acknowledge), NULL, 0, "ACKNOWLEDGE of 1");
        /* Of what has just gone: that may happen to anybody. */
        fd = raw_session(NULL);
        again.which = REINTRODUCE_PUBLISHER;
        again.publisher = 77;
        wire_begin(&again, MESSAGE_REINTRODUCE, sizeof(again), 0);
        raw_send(fd, &again, sizeof(again), NULL, 0);
        honest_check(0);
        close(fd);
        honest_close();
}

/* ---- descriptors ------------------------------------------------------------------------- */

static int sealed_memory(size_t size, int seals)
{
        int fd = memfd_create("shmd:raw", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        must(fd >= 0);
        must_equal(posix_fallocate(fd, 0, (off_t)size), 0);
        must_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
        return fd;
}

static void segments_that_could_hurt_are_refused(void **state)
{
        struct raw_publisher good;
        int fds[4] = {-1, -1, -1, -1}, fd;
        struct packet packet;

        honest_open();
        raw_publisher_open(&good, "raw");
        /* None, or more than there should be. */
        expect_drop(&good.message, sizeof(good.message), NULL, 0, "ADVERTISE");
        fds[0] = fds[1] = good.fd;
        expect_drop(&good.message, sizeof(good.message), fds, 2, "ADVERTISE");
        /* No memory at all; memory that may shrink; memory that others may write; too little. */
        fd = open("/dev/zero", O_RDWR | O_CLOEXEC);
        expect_drop(&good.message, sizeof(good.message), &fd, 1, "segment");
        close(fd);
        fd = sealed_memory(good.message.geometry.size, F_SEAL_GROW);
        expect_drop(&good.message, sizeof(good.message), &fd, 1, "segment");
        close(fd);
        fd = sealed_memory(good.message.geometry.size, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
        expect_drop(&good.message, sizeof(good.message), &fd, 1, "segment");
        close(fd);
        good.message.geometry.n_chunks += 1000;
        expect_drop(&good.message, sizeof(good.message), &good.fd, 1, "ADVERTISE");
        good.message.geometry.n_chunks -= 1000;
        good.message.geometry.slots_offset = 8;
        expect_drop(&good.message, sizeof(good.message), &good.fd, 1, "ADVERTISE");
        good.message.geometry.slots_offset = 256;
        good.message.type.hash ^= 1;
        expect_drop(&good.message, sizeof(good.message), &good.fd, 1, "hash");
        good.message.type.hash ^= 1;
        good.message.max_subscribers = 0;
        expect_drop(&good.message, sizeof(good.message), &good.fd, 1, "max_subscribers 0");
        good.message.max_subscribers = 2;
        /* And as it should be. */
        fd = raw_session(NULL);
        raw_send(fd, &good.message, sizeof(good.message), &good.fd, 1);
        must(raw_receive(fd, &packet));
        must_equal(packet.header.type, MESSAGE_REPLY);
        must_equal(((struct message_reply *)&packet.header)->code, 0);
        honest_check(0);
        close(fd);
        raw_publisher_close(&good);
        honest_close();
}

static void blocks_and_channels_that_are_none_are_refused(void **state)
{
        struct message_subscribe subscribe;
        int ends[2], socks[2], fds[2], fd;
        struct packet packet;

        honest_open();
        raw_fill_subscribe(&subscribe, "raw");
        must_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
        must_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socks), 0);
        fds[0] = raw_block(1);
        fds[1] = socks[0];
        expect_drop(&subscribe, sizeof(subscribe), fds, 2, "not a pipe");
        fds[1] = ends[0];
        expect_drop(&subscribe, sizeof(subscribe), fds, 2, "writing end");
        fd = fds[0];
        fds[0] = ends[1];
        fds[1] = ends[1];
        expect_drop(&subscribe, sizeof(subscribe), fds, 2, "block 0");
        fds[0] = fd;
        expect_drop(&subscribe, sizeof(subscribe), fds, 1, "SUBSCRIBE");
        subscribe.flags = 0;
        expect_drop(&subscribe, sizeof(subscribe), NULL, 0, "no block 0");
        subscribe.flags = 64;
        expect_drop(&subscribe, sizeof(subscribe), NULL, 0, "flags 0x40");
        subscribe.flags = SUBSCRIBE_BLOCK | SUBSCRIBE_CHANNEL;
        subscribe.block = 3;
        expect_drop(&subscribe, sizeof(subscribe), fds, 2, "block 3");
        subscribe.block = 0;
        subscribe.row_offset = BLOCK_SIZE - 8;
        expect_drop(&subscribe, sizeof(subscribe), fds, 2, "SUBSCRIBE");
        subscribe.row_offset = sizeof(struct block_header);
        subscribe.holds = HOLDS_MAX + 1;
        expect_drop(&subscribe, sizeof(subscribe), fds, 2, "SUBSCRIBE");
        subscribe.holds = 2;
        subscribe.service[0] = '/';
        expect_drop(&subscribe, sizeof(subscribe), fds, 2, "SUBSCRIBE");
        subscribe.service[0] = 'r';
        /* And as it should be; twice the same is an answer, not a fault. */
        fd = raw_session(NULL);
        for (unsigned i = 0; i < 2; i++) {
                raw_send(fd, &subscribe, sizeof(subscribe), fds, i ? 0 : 2);
                must(raw_receive(fd, &packet));
                must_equal(packet.header.type, MESSAGE_REPLY);
                must_equal(((struct message_reply *)&packet.header)->code, i ? -EEXIST : 0);
                subscribe.flags = 0;
        }
        honest_check(0);
        close(fd);
        close(fds[0]);
        for (unsigned i = 0; i < 2; i++) {
                close(ends[i]);
                close(socks[i]);
        }
        honest_close();
}

/* ---- taking without giving --------------------------------------------------------------- */

static void who_asks_on_without_reading_is_dropped(void **state)
{
        struct message_list list = {.skip = 0};
        uint64_t n = 0, deadline = harness_now() + PATIENCE_NS;
        int fd, code = 0;

        honest_open();
        fd = raw_session(NULL);
        wire_begin(&list, MESSAGE_LIST, sizeof(list), 1);
        while (code == 0 || code == -EAGAIN) {
                must(harness_now() < deadline);
                code = socket_send(fd, &list, sizeof(list), NULL, 0);
                n += code == 0;
                list.header.serial = n + 1;
        }
        must(code == -EPIPE || code == -ECONNRESET);
        must(n >= 100);
        close(fd);
        honest_check(1);
        honest_close();
}

/* A subscriber, made by hand, that never reads what it is sent. */
struct mute {
        int fd, block, ends[2];
};

static void mute_open(struct mute *mute, const char *service, bool is_in_order)
{
        struct message_subscribe subscribe;
        struct packet packet;
        uint64_t connection;

        mute->fd = raw_session(&connection);
        mute->block = raw_block(is_in_order ? connection : connection + 1);
        must_equal(pipe2(mute->ends, O_CLOEXEC | O_NONBLOCK), 0);
        raw_fill_subscribe(&subscribe, service);
        raw_send(mute->fd, &subscribe, sizeof(subscribe), (int[]){mute->block, mute->ends[1]}, 2);
        must(raw_receive(mute->fd, &packet));
        must_equal(packet.header.type, MESSAGE_REPLY);
        must_equal(((struct message_reply *)&packet.header)->code, 0);
}

static void mute_close(const struct mute *mute)
{
        close(mute->fd);
        close(mute->block);
        close(mute->ends[0]);
        close(mute->ends[1]);
}

static void publish_bytes(struct shmd_publisher *publisher, unsigned n)
{
        void *data;

        for (unsigned i = 0; i < n; i++) {
                must_equal(shmd_loan(publisher, &data), 0);
                must_equal(shmd_publish(publisher, data), 0);
        }
}

/* Introductions unread: their descriptors are in flight, and those have a limit. */
static void who_does_not_read_introductions_holds_nobody_up(void **state)
{
        struct shmd_publisher_options options = {
                .size = sizeof(options), .depth = 1, .max_subscribers = 1, .max_size = 8};
        struct shmd *bus;
        struct mute mute;

        honest_open();
        mute_open(&mute, "crowd", true);
        bus = broker_connect();
        for (unsigned i = 0; i < 100; i++) {
                struct shmd_publisher_state status;
                struct shmd_publisher *publisher;

                must_equal(shmd_advertise(&publisher, bus, "crowd", &shmd_bytes, &options), 0);
                must_equal(shmd_publisher_status(publisher, &status), 0);
                must_equal(status.subscribers, 1);
                publish_bytes(publisher, 10);
        }
        honest_check(0);
        shmd_close(bus);
        honest_check(0);
        mute_close(&mute);
        honest_close();
}

/* Its block has the seals that it should have, and in it what it likes. */
static void who_has_nonsense_in_its_block_stops_no_publisher(void **state)
{
        struct shmd_publisher *publisher;
        struct mute mute;
        struct shmd *bus;

        honest_open();
        mute_open(&mute, "nonsense", false);
        bus = broker_connect();
        must_equal(shmd_advertise(&publisher, bus, "nonsense", &shmd_bytes, NULL), 0);
        publish_bytes(publisher, 1000);
        mute_close(&mute);
        shmd_close(bus);
        honest_close();
}

/* ---- dropped, but alive ------------------------------------------------------------------ */

static void be_dropped(void *argument)
{
        struct shmd_subscriber_options options = {.size = sizeof(options), .history = 1};
        struct shmd *bus = broker_connect();
        struct shmd_subscriber *subscriber;
        struct shmd_sample old, new;
        int code;

        must_equal(shmd_subscribe(&subscriber, bus, "honest", stamped_type, &options), 0);
        must_equal(shmd_take(subscriber, &old), 1);
        say('h');
        hear('d');
        raw_send(bus->socket, "nonsense", 8, NULL, 0);
        while ((code = shmd_wait(bus, (int64_t)PATIENCE_NS)) == 1)
                ;
        must_equal(code, -ENOTCONN);
        /* It has the segment, and goes on to take. */
        must_equal(shmd_take(subscriber, &new), 1);
        must_equal(shmd_release(subscriber, &old), 0);
        say('d');
        hear('l');
        must(stamped_is_whole(new.data));
        must_equal(((const struct stamped *)new.data)->number, new.sequence);
        say('l');
        hear('k');
}

static void who_was_dropped_keeps_what_it_holds_until_it_dies(void **state)
{
        struct shmd_publisher_options options = {
                .size = sizeof(options), .depth = 2, .max_subscribers = 1};
        struct shmd *bus = broker_connect(), *other = broker_connect();
        struct shmd_subscriber *next;
        struct shmd_publisher *publisher;
        struct role *role;
        uint64_t n = 0;

        must_equal(shmd_advertise(&publisher, bus, "honest", stamped_type, &options), 0);
        while (n < 10)
                stamped_publish(publisher, ++n);
        role = role_start("dropped", be_dropped, NULL);
        role_await(role, 'h');
        stamped_publish(publisher, ++n);
        role_tell(role, 'd');
        role_await(role, 'd');
        broker_settle(bus);
        while (n < 10000)
                stamped_publish(publisher, ++n);
        role_tell(role, 'l');
        role_await(role, 'l');
        must_equal(shmd_subscribe(&next, other, "honest", stamped_type, NULL), -ERANGE);
        must_say(shmd_error(), "max_subscribers 1");
        role_kill(role);
        until(shmd_subscribe(&next, other, "honest", stamped_type, NULL) == 0);
        stamped_publish(publisher, ++n);
        shmd_close(bus);
        shmd_close(other);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(garbage_and_halves_end_a_session),
                system_test(whoever_does_not_begin_with_hello_is_dropped),
                system_test(every_message_of_the_broker_is_wrong_from_a_client),
                system_test(what_is_anothers_can_not_be_ended_or_asked_for),
                system_test(segments_that_could_hurt_are_refused),
                system_test(blocks_and_channels_that_are_none_are_refused),
                system_test(who_asks_on_without_reading_is_dropped),
                system_test(who_does_not_read_introductions_holds_nobody_up),
                system_test(who_was_dropped_keeps_what_it_holds_until_it_dies),
                system_test(who_has_nonsense_in_its_block_stops_no_publisher),
        };

        harness_init(argc, argv);
        return cmocka_run_group_tests_name("system-protocol", tests, NULL, NULL);
}
