/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hostile-talk.c - what a client may say at the wrong time, in the wrong version, about others, or
 * with names as long as they may be, and longer; and what of it stands in the log.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "connection.h"
#include "harness.h"
#include "honest.h"
#include "raw.h"
#include "type.h"
#include "util.h"
#include "wire-samples.h"
#include "wire.h"

/* ---- at the wrong time --------------------------------------------------------------------- */

enum moment { BEFORE_HELLO, OPEN, RESUMING, RESUMED, N_MOMENTS };

static void await_answer(int fd, enum message_type type)
{
        static struct packet packet;

        must(raw_receive(fd, &packet));
        must_equal(packet.header.type, type);
        packet_close(&packet);
}

static int session_at(enum moment moment)
{
        struct message_hello hello;
        struct message_resumed resumed;
        int fd = raw_connect();

        if (moment == BEFORE_HELLO)
                return fd;
        raw_fill_hello(&hello, PROTOCOL_VERSION, PROTOCOL_MIN_VERSION);
        hello.flags = moment == OPEN ? 0 : HELLO_RESUME;
        raw_send(fd, &hello, sizeof(hello), NULL, 0);
        await_answer(fd, MESSAGE_WELCOME);
        if (moment == RESUMED) {
                wire_begin(&resumed, MESSAGE_RESUMED, sizeof(resumed), 2);
                raw_send(fd, &resumed, sizeof(resumed), NULL, 0);
                await_answer(fd, MESSAGE_REPLY);
        }
        return fd;
}

/* Why the session ends; NULL: it goes on. */
static const char *fate_of(enum message_type type, enum moment moment)
{
        bool resumes = moment == RESUMING;

        if (moment == BEFORE_HELLO)
                return type == MESSAGE_HELLO ? NULL : "before HELLO";
        switch ((unsigned)type) {
        case MESSAGE_HELLO:
                return "HELLO twice";
        case MESSAGE_ADVERTISE:
                return resumes ? "no shared memory" : "without having said so";
        case MESSAGE_SUBSCRIBE:
                return resumes ? "no shared memory" : "without having said so";
        case MESSAGE_UNADVERTISE:
                return "UNADVERTISE of a publisher that it doesn't have";
        case MESSAGE_UNSUBSCRIBE:
                return "UNSUBSCRIBE of a subscription that it doesn't have";
        case MESSAGE_ACKNOWLEDGE:
                return "introductions, 0 were sent";
        case MESSAGE_KNOWN:
        case MESSAGE_RESUMED:
                return resumes ? NULL : "without having said so";
        default:
                return NULL;
        }
}

static void say_each_at(enum moment moment)
{
        int nulls[PROTOCOL_FDS_MAX], fd;
        static union wire_sample sample;

        for (unsigned i = 0; i < PROTOCOL_FDS_MAX; i++)
                nulls[i] = STDIN_FILENO;
        honest_open();
        for (enum message_type type = MESSAGE_HELLO; type < MESSAGE_TYPES_END; type++) {
                size_t size = wire_sample(&sample, type);
                const char *fate = fate_of(type, moment);

                if (wire_sample_side(type) != WIRE_FROM_CLIENT)
                        fate = "not a message for this side";
                if (type == MESSAGE_ADVERTISE)
                        sample.advertise.flags = ADVERTISE_RESUME;
                if (type == MESSAGE_SUBSCRIBE)
                        sample.subscribe.flags |= SUBSCRIBE_RESUME;
                fd = session_at(moment);
                if (fate) {
                        expect_drop_of(fd, &sample, size, nulls, wire_n_fds(&sample.header), fate);
                        continue;
                }
                raw_send(fd, &sample, size, NULL, 0);
                honest_check(0);
                close(fd);
        }
        honest_close();
}

static void each_message_before_hello(void **state)
{
        say_each_at(BEFORE_HELLO);
}

static void each_message_of_who_does_not_resume(void **state)
{
        say_each_at(OPEN);
}

static void each_message_of_who_resumes(void **state)
{
        say_each_at(RESUMING);
}

static void each_message_of_who_has_resumed(void **state)
{
        say_each_at(RESUMED);
}

static void versions_that_none_speaks_are_refused(void **state)
{
        static const uint32_t wrong[][2] = {{0, 0}, {1, 2}, {9, 8}, {UINT32_MAX, 3}};
        struct message_hello hello;

        honest_open();
        for (unsigned i = 0; i < N_ELEMENTS(wrong); i++) {
                raw_fill_hello(&hello, wrong[i][0], wrong[i][1]);
                expect_drop_of(raw_connect(), &hello, sizeof(hello), NULL, 0,
                               wrong[i][1] > wrong[i][0] ? "not shmd's protocol"
                                                         : "versions 1 to 2");
        }
        honest_close();
}

/* ---- names --------------------------------------------------------------------------------- */

static void fill_fields(struct shmd_field *fields, char (*names)[PROTOCOL_FIELD_SIZE], unsigned n)
{
        for (unsigned i = 0; i < n; i++) {
                memset(names[i], 'f', PROTOCOL_FIELD_SIZE - 1);
                snprintf(names[i], 8, "%07u", i);
                names[i][7] = 'f';
                names[i][PROTOCOL_FIELD_SIZE - 1] = '\0';
                fields[i] = (struct shmd_field){.name = names[i], .kind = SHMD_KIND_U8, .count = 1};
        }
}

static void longest_names_are_let_through(void **state)
{
        static char names[PROTOCOL_FIELDS_MAX][PROTOCOL_FIELD_SIZE];
        static struct shmd_field fields[PROTOCOL_FIELDS_MAX];
        char service[PROTOCOL_SERVICE_SIZE] = "", type[PROTOCOL_TYPE_SIZE] = "";
        struct shmd_type longest = {.name = type,
                                    .size = 8,
                                    .alignment = 8,
                                    .fields = fields,
                                    .n_fields = PROTOCOL_FIELDS_MAX};
        struct shmd_publisher *publisher;
        struct shmd_subscriber *subscriber;
        struct shmd *bus;

        fill_fields(fields, names, PROTOCOL_FIELDS_MAX);
        memset(service, 's', sizeof(service) - 1);
        memset(type, 't', sizeof(type) - 1);
        honest_open();
        bus = broker_connect();
        must_equal(shmd_advertise(&publisher, bus, service, &longest, NULL), 0);
        must_equal(shmd_subscribe(&subscriber, bus, service, &longest, NULL), 0);
        broker_settle(bus);
        /* The last of so many fields counts. */
        fields[PROTOCOL_FIELDS_MAX - 1].kind = SHMD_KIND_I8;
        must_equal(shmd_subscribe(&subscriber, bus, service, &longest, NULL), -EPROTOTYPE);
        honest_check(0);
        shmd_close(bus);
        honest_close();
}

static void longer_names_end_the_session(void **state)
{
        static uint64_t bytes[(sizeof(struct message_advertise) +
                               (PROTOCOL_FIELDS_MAX + 1) * sizeof(struct message_field)) /
                              sizeof(uint64_t)];
        struct message_advertise *advertise = (void *)bytes;
        struct message_field *field = advertise->fields;
        struct raw_publisher publisher;
        size_t size = sizeof(*advertise) + sizeof(*field);

        honest_open();
        raw_publisher_open(&publisher, "hostile");
        *advertise = publisher.message;
        *field = (struct message_field){.name = "f", .kind = 1, .count = 1};
        advertise->type.n_fields = 1;
        advertise->type.hash = type_hash(&advertise->type, field);
        wire_begin(advertise, MESSAGE_ADVERTISE, size, 1);
        memset(advertise->service, 's', sizeof(advertise->service));
        expect_drop(advertise, size, &publisher.fd, 1, "255 bytes");
        memset(advertise->service, 0, sizeof(advertise->service));
        expect_drop(advertise, size, &publisher.fd, 1, "this has none");
        advertise->service[0] = 's';
        advertise->service[2] = 's';
        expect_drop(advertise, size, &publisher.fd, 1, "bytes after the end");
        advertise->service[2] = '\0';
        memset(advertise->type.name, 't', sizeof(advertise->type.name));
        expect_drop(advertise, size, &publisher.fd, 1, "name");
        advertise->type.name[PROTOCOL_TYPE_SIZE - 1] = '\0';
        memset(field->name, 'f', sizeof(field->name));
        expect_drop(advertise, size, &publisher.fd, 1, "name");
        /* One field more than there may be, and as many as a number can say. */
        advertise->type.n_fields = PROTOCOL_FIELDS_MAX + 1;
        wire_begin(advertise, MESSAGE_ADVERTISE, sizeof(bytes), 1);
        expect_drop(advertise, sizeof(bytes), &publisher.fd, 1, "ADVERTISE");
        advertise->type.n_fields = UINT32_MAX / sizeof(*field) + 2;
        wire_begin(advertise, MESSAGE_ADVERTISE, size, 1);
        expect_drop(advertise, size, &publisher.fd, 1, "ADVERTISE");
        raw_publisher_close(&publisher);
        honest_close();
}

/* ---- the log ------------------------------------------------------------------------------- */

/* A name that is refused is quoted. */
static void log_can_not_be_forged(void **state)
{
        struct message_list list = {.service = "a\nshmd: dropped nobody (pid 1, user 0): forged"};
        const char *line;
        int fd;

        honest_open();
        wire_begin(&list, MESSAGE_LIST, sizeof(list), 1);
        fd = raw_session(NULL);
        raw_send(fd, &list, sizeof(list), NULL, 0);
        raw_await_end(fd);
        close(fd);
        line = strstr(broker_log() + honest.log_size, "forged");
        must(line);
        must(strstr(line - 60, "a?shmd: dropped nobody"));
        honest_close();
}

/* Lines about drops, and the sum of what was left out. */
static void count_lines(unsigned *n_lines, unsigned *n_left_out)
{
        const char *log = broker_log() + honest.log_size;

        *n_lines = *n_left_out = 0;
        for (const char *at = log; (at = strstr(at, "shmd: dropped ")); at++)
                ++*n_lines;
        for (const char *at = log; (at = strstr(at, "left out ")); at++)
                *n_left_out += (unsigned)strtoul(at + 9, NULL, 10);
}

static void be_dropped(void)
{
        static const char nonsense[16];
        int fd = raw_connect();

        raw_send(fd, nonsense, sizeof(nonsense), NULL, 0);
        raw_await_end(fd);
        close(fd);
}

static void who_comes_back_again_and_again_does_not_fill_the_log(void **state)
{
        unsigned n = 0, n_lines, n_left_out;
        time_t begin, end;

        broker_terminate(SIGTERM);
        broker_spawn((const char *const[]){"--log-level", "warning", NULL});
        honest_open();
        begin = time(NULL);
        for (; n < 300; n++)
                be_dropped();
        end = time(NULL);
        count_lines(&n_lines, &n_left_out);
        must(n_lines >= 50);
        must(n_lines <= 50 + (unsigned)(end - begin) + 2);
        /* What was left out is told when there is room for a line again, to the last one. */
        until((be_dropped(), n++, count_lines(&n_lines, &n_left_out), n_left_out > 0));
        must_equal(n_lines + n_left_out, n);
        honest_close();
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(each_message_before_hello),
                system_test(each_message_of_who_does_not_resume),
                system_test(each_message_of_who_resumes),
                system_test(each_message_of_who_has_resumed),
                system_test(versions_that_none_speaks_are_refused),
                system_test(longest_names_are_let_through),
                system_test(longer_names_end_the_session),
                system_test(log_can_not_be_forged),
                system_test(who_comes_back_again_and_again_does_not_fill_the_log),
        };

        harness_init(argc, argv);
        return cmocka_run_group_tests_name("hostile-talk", tests, NULL, NULL);
}
