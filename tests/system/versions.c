/* SPDX-License-Identifier: Apache-2.0 */
/*
 * versions.c - clients and memory of versions that the broker does not know are refused, and
 * whoever looks is told both versions. system-connect has the same of brokers.
 */
#include <fcntl.h>
#include <unistd.h>

#include "harness.h"
#include "raw.h"
#include "segment.h"
#include "util.h"
#include "wire.h"

static void expect_refusal(int fd, const char *one, const char *other)
{
        must_say(raw_await_end(fd), one, other);
        must_say(broker_log(), "dropped system-versions", one, other);
        close(fd);
}

static void client_without_a_common_version_is_refused_with_both(void **state)
{
        static const struct {
                uint32_t version, min_version;
                const char *text;
        } clients[] = {
                {0, 0, "the client 0 to 0"},
                {9, 7, "the client 7 to 9"},
                {99, 99, "the client 99 to 99"},
                {UINT32_MAX, PROTOCOL_VERSION + 1, "the client 3 to 4294967295"},
        };
        struct message_hello hello;

        for (size_t i = 0; i < N_ELEMENTS(clients); i++) {
                int fd = raw_connect();

                raw_fill_hello(&hello, clients[i].version, clients[i].min_version);
                raw_send(fd, &hello, sizeof(hello), NULL, 0);
                expect_refusal(fd, "the broker speaks versions 1 to 2 of the protocol",
                               clients[i].text);
        }
}

static void client_that_knows_newer_and_older_versions_is_served(void **state)
{
        struct message_hello hello;
        struct packet packet;

        for (uint32_t min_version = 0; min_version <= PROTOCOL_VERSION; min_version++) {
                int fd = raw_connect();

                raw_fill_hello(&hello, 99, min_version);
                hello.flags = 1u << 31; /* of a later version */
                raw_send(fd, &hello, sizeof(hello), NULL, 0);
                must(raw_receive(fd, &packet));
                must_equal(packet.header.type, MESSAGE_WELCOME);
                must_equal(((struct message_welcome *)&packet.header)->version, PROTOCOL_VERSION);
                packet_close(&packet);
                close(fd);
        }
}

/* Advertises with what the segment says of itself. */
static int advertise(uint32_t version, uint32_t compatible, uint32_t incompatible)
{
        struct layout_identity *identity;
        struct raw_publisher publisher;
        int fd = raw_session(NULL);

        raw_publisher_open(&publisher, "raw");
        identity = &((struct segment_header *)publisher.memory)->identity;
        identity->version = version;
        identity->compatible = compatible;
        identity->incompatible = incompatible;
        raw_send(fd, &publisher.message, sizeof(publisher.message), &publisher.fd, 1);
        raw_publisher_close(&publisher);
        return fd;
}

static int subscribe(uint32_t version, uint32_t compatible, uint32_t incompatible)
{
        struct message_subscribe message;
        struct segment block = SEGMENT_NONE;
        struct layout_identity identity = {.magic = LAYOUT_MAGIC_BLOCK,
                                           .version = version,
                                           .header_size = sizeof(struct block_header),
                                           .compatible = compatible,
                                           .incompatible = incompatible,
                                           .size = BLOCK_SIZE};
        int fd = raw_session(&identity.owner), ends[2];

        must_equal(segment_create(&block, "shmd-block", BLOCK_SIZE), 0);
        *(struct layout_identity *)block.base = identity;
        must_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
        raw_fill_subscribe(&message, "raw");
        raw_send(fd, &message, sizeof(message), (int[]){block.fd, ends[1]}, 2);
        segment_close(&block);
        close(ends[0]);
        close(ends[1]);
        return fd;
}

static void expect_success(int fd)
{
        struct packet packet;

        must(raw_receive(fd, &packet));
        must_equal(packet.header.type, MESSAGE_REPLY);
        must_equal(((struct message_reply *)&packet.header)->code, 0);
        packet_close(&packet);
        close(fd);
}

static void memory_of_another_layout_is_refused_with_both(void **state)
{
        int (*const open[])(uint32_t version, uint32_t compatible,
                            uint32_t incompatible) = {advertise, subscribe};

        for (size_t i = 0; i < N_ELEMENTS(open); i++) {
                expect_refusal(open[i](LAYOUT_VERSION + 1, 0, 0), "layout version 2",
                               "known here is 1");
                expect_refusal(open[i](0, 0, 0), "layout version 0", "known here is 1");
                expect_refusal(open[i](LAYOUT_VERSION, 0, 4), "layout version 1 with flags 0x4",
                               "here 1 is known without any");
                /* What is said to concern no reader. */
                expect_success(open[i](LAYOUT_VERSION, UINT32_MAX, 0));
        }
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(client_without_a_common_version_is_refused_with_both),
                system_test(client_that_knows_newer_and_older_versions_is_served),
                system_test(memory_of_another_layout_is_refused_with_both),
        };

        harness_init(argc, argv);
        return cmocka_run_group_tests_name("system-versions", tests, NULL, NULL);
}
