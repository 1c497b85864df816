/* SPDX-License-Identifier: Apache-2.0 */
/*
 * liars.c - single lies that have once done harm, or would if nothing were done about them: memory
 * that passes as shared memory and can't be mapped, a board with a hole, a segment that is none, a
 * publisher that has gone and goes on, a size that is too small. liars-publish.c and
 * liars-subscribe.c have those that lie at random.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "connection.h"
#include "harness.h"
#include "raw.h"
#include "ring-publish.h"
#include "segment.h"
#include "somebody.h"
#include "stamped.h"
#include "util.h"
#include "wire.h"

#define SERVICE "liars"

/* Nobody keeps the publisher from using its memory again and again. */
static void publish_many(struct shmd_publisher *publisher)
{
        struct shmd_publisher_state status;
        void *data;

        must_equal(shmd_publisher_status(publisher, &status), 0);
        for (uint32_t i = 0; i < 10 * status.chunks; i++) {
                must_equal(shmd_loan(publisher, &data), 0);
                must_equal(shmd_publish(publisher, data), 0);
        }
}

static struct shmd_publisher *advertise(struct shmd *bus)
{
        struct shmd_publisher *publisher;

        must_equal(shmd_advertise(&publisher, bus, SERVICE, &shmd_bytes, NULL), 0);
        return publisher;
}

static struct shmd_subscriber *subscribe(struct shmd *bus)
{
        struct shmd_subscriber *subscriber;

        must_equal(shmd_subscribe(&subscriber, bus, SERVICE, &shmd_bytes, NULL), 0);
        return subscriber;
}

/* ---- memory that can't be mapped ----------------------------------------------------------- */

/* The same memory, in a description for writing only. Sealed, allocated, the sender's own: but who
 * is introduced to it can't map it. */
static int for_writing_only(int fd)
{
        char path[40];
        int again;

        must_equal(fchmod(fd, 0600), 0);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        again = open(path, O_WRONLY | O_CLOEXEC);
        must(again >= 0);
        close(fd);
        return again;
}

static void block_that_nobody_can_map_is_refused(void **state)
{
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher = advertise(bus);
        struct message_subscribe message;
        uint64_t connection;
        int fd = raw_session(&connection), block, channel[2];

        block = for_writing_only(raw_block(connection));
        must_equal(pipe2(channel, O_CLOEXEC), 0);
        raw_fill_subscribe(&message, SERVICE);
        raw_send(fd, &message, sizeof(message), (int[]){block, channel[1]}, 2);
        must_say(raw_await_end(fd), "for writing only");
        publish_many(publisher);
        must_equal(bus->n_spare_missing > 0, 1);
        must(list_empty(&bus->missing));
        close(fd);
        close(block);
        close(channel[0]);
        close(channel[1]);
        shmd_close(bus);
}

static void segment_that_nobody_can_map_is_refused(void **state)
{
        struct shmd *bus = broker_connect();
        struct shmd_subscriber *subscriber = subscribe(bus);
        struct shmd_subscriber_state status;
        struct raw_publisher liar;
        int fd = raw_session(NULL);

        raw_publisher_open(&liar, SERVICE);
        liar.fd = for_writing_only(liar.fd);
        raw_send(fd, &liar.message, sizeof(liar.message), &liar.fd, 1);
        must_say(raw_await_end(fd), "for writing only");
        must_equal(shmd_subscriber_status(subscriber, &status), 0);
        must_equal(status.publishers, 0);
        must(list_empty(&bus->missing));
        close(fd);
        raw_publisher_close(&liar);
        shmd_close(bus);
}

/* ---- a board with a hole ------------------------------------------------------------------- */

static void punch_a_hole(void *argument)
{
        struct shmd *bus;
        struct bumped_board *board;

        if (argument)
                become_somebody();
        bus = broker_connect();
        subscribe(bus);
        /* A board is there as soon as somebody is introduced. */
        must(!list_empty(&bus->bumped));
        board = list_entry(bus->bumped.next, struct bumped_board, link);
        must_equal(madvise(board->memory.base, BOARD_SIZE, MADV_REMOVE), 0);
        say('h');
        hear('x');
        shmd_close(bus);
}

static void join_and_be_woken(void *argument)
{
        struct shmd *bus;
        struct shmd_subscriber *subscriber;
        struct shmd_sample sample;

        if (argument)
                become_somebody();
        bus = broker_connect_with(SHMD_SPIN_NEVER, NULL);
        subscriber = subscribe(bus);
        must(shmd_wait(bus, 0) >= 0);
        say('r');
        while (shmd_take(subscriber, &sample) == 0)
                must(shmd_wait(bus, (int64_t)PATIENCE_NS) == 1);
        must(list_empty(&bus->missing));
        shmd_close(bus);
}

/* Not its other subscribers out, nor a publisher that it would keep from ever using memory again.
 */
static void hole_in_a_board_keeps_nobody_out(void **state)
{
        static char yes;
        void *is_other = can_be_somebody() ? &yes : NULL;
        struct shmd *bus, *other;
        struct shmd_publisher *publisher, *late;
        struct shmd_publisher_state status;
        struct role *liar, *honest;

        if (is_other)
                let_somebody_in(NULL);
        bus = broker_connect();
        other = broker_connect();
        publisher = advertise(bus);
        liar = role_start("liar", punch_a_hole, is_other);
        role_await(liar, 'h');
        late = advertise(other);
        until(shmd_publisher_status(late, &status) == 0 && status.subscribers == 1);
        publish_many(late);
        honest = role_start("honest", join_and_be_woken, is_other);
        role_await(honest, 'r');
        until(process_is_asleep(honest->pid));
        publish_many(publisher);
        publish_many(late);
        role_finish(honest);
        role_tell(liar, 'x');
        role_finish(liar);
        shmd_close(bus);
        shmd_close(other);
}

/* ---- a pipe with a name --------------------------------------------------------------------- */

/* Whether it can be opened again, and when, is for its reader to say, or for its file system: who
 * is introduced must not depend on it. Only to publishers of the same user pipes are passed. */
static void named_pipe_keeps_nobody_waiting(void **state)
{
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher = advertise(bus);
        struct message_subscribe message;
        char path[80];
        uint64_t connection;
        int session = raw_session(&connection), block = raw_block(connection), reader, writer;

        snprintf(path, sizeof(path), "%s/pipe", broker.directory);
        must_equal(mkfifo(path, 0600), 0);
        reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        writer = open(path, O_WRONLY | O_CLOEXEC);
        must(reader >= 0 && writer >= 0);
        must_equal(unlink(path), 0);
        raw_fill_subscribe(&message, SERVICE);
        raw_send(session, &message, sizeof(message), (int[]){block, writer}, 2);
        broker_settle(broker.bus);
        close(reader);
        publish_many(publisher);
        must(list_empty(&bus->missing));
        close(session);
        close(block);
        close(writer);
        shmd_close(bus);
}

static void publish_to_a_pipe_without_a_mode(void *argument)
{
        struct message_subscribe message;
        struct shmd_publisher *publisher;
        struct shmd *bus;
        uint64_t connection;
        int session, block, ends[2];

        if (argument)
                become_somebody();
        bus = broker_connect();
        publisher = advertise(bus);
        session = raw_session(&connection);
        block = raw_block(connection);
        must_equal(pipe2(ends, O_CLOEXEC), 0);
        must_equal(fchmod(ends[1], 0), 0);
        raw_fill_subscribe(&message, SERVICE);
        must_equal(raw_request(session, &message, (int[]){block, ends[1]}, 2, NULL), 0);
        publish_many(publisher);
        must(list_empty(&bus->missing));
        close(session);
        close(block);
        close(ends[0]);
        close(ends[1]);
        shmd_close(bus);
}

/* Nor one that its maker has closed to all but root. */
static void pipe_without_a_mode_keeps_nobody_waiting(void **state)
{
        static char yes;
        bool is_other = can_be_somebody();

        if (is_other)
                let_somebody_in(NULL);
        role_finish(
                role_start("publisher", publish_to_a_pipe_without_a_mode, is_other ? &yes : NULL));
}

/* ---- a publisher by hand ------------------------------------------------------------------- */

/* What it publishes is right, until it isn't; by this process, with whatever it has passed. */
struct liar {
        struct ring_writer ring;
        void *scratch;
        int session;
        struct raw_publisher raw; /* at its end: its message ends with an array */
};

static void liar_open(struct liar *liar)
{
        const struct ring_geometry *geometry = &liar->raw.message.geometry;
        struct packet packet;

        raw_publisher_open(&liar->raw, SERVICE);
        liar->scratch = calloc(1, ring_scratch_size(geometry));
        must(liar->scratch);
        ring_writer_init(&liar->ring, geometry, liar->raw.memory, liar->scratch,
                         (uint32_t)liar->raw.message.publisher, 1);
        liar->session = raw_session(NULL);
        raw_send(liar->session, &liar->raw.message, sizeof(liar->raw.message), &liar->raw.fd, 1);
        do {
                must(raw_receive(liar->session, &packet));
                packet_close(&packet);
        } while (packet.header.type != MESSAGE_REPLY);
        must_equal(((const struct message_reply *)(const void *)packet.bytes)->code, 0);
}

static void liar_publish(struct liar *liar)
{
        uint32_t chunk = ring_loan(&liar->ring);

        if (chunk == RING_NONE) {
                ring_reclaim_begin(&liar->ring);
                ring_reclaim_end(&liar->ring);
                chunk = ring_loan(&liar->ring);
        }
        must(chunk != RING_NONE);
        ring_commit(&liar->ring, chunk, 64);
        ring_announce(&liar->ring);
}

/* Leaves the broker, and keeps its memory. */
static void liar_leave(struct liar *liar)
{
        close(liar->session);
        liar->session = -1;
}

static void liar_close(struct liar *liar)
{
        if (liar->session >= 0)
                liar_leave(liar);
        free(liar->scratch);
        raw_publisher_close(&liar->raw);
}

static void segment_that_is_none_is_refused(void **state)
{
        struct shmd *bus = broker_connect_with(SHMD_SPIN_NEVER, NULL), *other = broker_connect();
        struct shmd_publisher *honest = advertise(other);
        struct shmd_subscriber *subscriber;
        struct shmd_subscriber_state status;
        struct shmd_sample sample;
        struct liar liar;

        liar_open(&liar);
        /* The broker has looked at it. */
        ((struct segment_header *)liar.raw.memory)->identity.magic ^= 1;
        subscriber = subscribe(bus);
        must_equal(shmd_subscriber_status(subscriber, &status), 0);
        must_equal(status.publishers, 1);
        must_equal(status.refused, 1);
        /* Nobody asks for it again and again. */
        must(list_empty(&bus->missing));
        must(!waiting_has_to_look(bus));
        for (int i = 0; i < 100; i++) {
                void *data;

                liar_publish(&liar);
                must_equal(shmd_loan(honest, &data), 0);
                must_equal(shmd_publish(honest, data), 0);
                must_equal(shmd_wait(bus, (int64_t)PATIENCE_NS), 1);
                must_equal(shmd_take(subscriber, &sample), 1);
                must_equal(sample.sequence, i + 1);
                must(sample.publisher != liar.raw.message.publisher);
                must_equal(shmd_release(subscriber, &sample), 0);
                must_equal(shmd_take(subscriber, &sample), 0);
        }
        liar_leave(&liar);
        until(shmd_subscriber_status(subscriber, &status) == 0 && !status.refused);
        must_equal(subscriber->n_attachments, 1);
        liar_close(&liar);
        shmd_close(bus);
        shmd_close(other);
}

/* Also if it was asked for once more, since there was no descriptor for it at first. */
static void segment_that_is_none_is_not_asked_for_for_ever(void **state)
{
        struct shmd *bus = broker_connect();
        struct shmd_subscriber *subscriber = subscribe(bus);
        struct shmd_subscriber_state status;
        struct rlimit limit, low;
        struct liar liar;

        liar_open(&liar);
        ((struct segment_header *)liar.raw.memory)->identity.magic ^= 1;
        must_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
        low = (struct rlimit){.rlim_cur = 3, .rlim_max = limit.rlim_max};
        must_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
        until(shmd_subscriber_status(subscriber, &status) == 0 && waiting_has_to_look(bus));
        must_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        until(shmd_subscriber_status(subscriber, &status) == 0 && status.refused == 1);
        must(!waiting_has_to_look(bus));
        liar_close(&liar);
        shmd_close(bus);
}

/* ---- one who has gone, and goes on ---------------------------------------------------------- */

static void await_parting(struct shmd_subscriber *subscriber)
{
        struct shmd_subscriber_state status;

        until(shmd_subscriber_status(subscriber, &status) == 0 && status.publishers == 0);
}

/* One that comes and goes again and again would fill its readers' address space. */
static void publisher_that_has_gone_is_not_read_for_ever(void **state)
{
        struct shmd *bus = broker_connect();
        struct shmd_subscriber *subscriber = subscribe(bus);
        struct shmd_subscriber_state status;
        struct shmd_sample sample;
        struct liar liar;

        for (int i = 0; i < 20; i++) {
                unsigned n_taken = 0;

                liar_open(&liar);
                until(shmd_subscriber_status(subscriber, &status) == 0 && status.publishers == 1);
                for (int j = 0; j < i; j++)
                        liar_publish(&liar);
                liar_leave(&liar);
                await_parting(subscriber);
                while (subscriber->n_attachments) {
                        liar_publish(&liar);
                        if (shmd_take(subscriber, &sample) > 0) {
                                must_equal(shmd_release(subscriber, &sample), 0);
                                n_taken++;
                        }
                        must(n_taken <= liar.ring.geometry.n_chunks);
                }
                liar_close(&liar);
        }
        shmd_close(bus);
}

/* Who always holds one could be kept with it, too. */
static void publisher_that_has_gone_ends_for_who_holds_a_sample(void **state)
{
        struct shmd *bus = broker_connect();
        struct shmd_subscriber *subscriber = subscribe(bus);
        struct shmd_subscriber_state status;
        struct shmd_sample samples[2];
        unsigned n_taken = 1;
        struct liar liar;

        liar_open(&liar);
        until(shmd_subscriber_status(subscriber, &status) == 0 && status.publishers == 1);
        liar_publish(&liar);
        liar_publish(&liar);
        must_equal(shmd_take(subscriber, &samples[0]), 1);
        liar_leave(&liar);
        await_parting(subscriber);
        for (int i = 0; i < 1000; i++) {
                liar_publish(&liar);
                if (shmd_take(subscriber, &samples[n_taken % 2]) <= 0)
                        continue;
                n_taken++;
                must_equal(shmd_release(subscriber, &samples[n_taken % 2]), 0);
        }
        must(n_taken <= liar.ring.geometry.n_chunks);
        must_equal(shmd_release(subscriber, &samples[(n_taken + 1) % 2]), 0);
        must_equal(subscriber->n_attachments, 0);
        liar_close(&liar);
        shmd_close(bus);
}

/* ---- sizes ---------------------------------------------------------------------------------- */

struct framed {
        uint64_t header[2];
        unsigned char rest[];
};

SHMD_TYPE_OF_ANY_LENGTH(framed_type, struct framed, SHMD_ARRAY(struct framed, header));

/* Of a type, a sample has at least its size and at most the publisher's maximum: a reader that
 * takes the header's size from it gets no less than nothing. */
static void size_of_a_sample_is_within_the_contract(void **state)
{
        static const uint64_t sizes[] = {0, 1, 15, 16, 17, 64, 65, 1 << 20, UINT64_MAX};
        struct shmd_publisher_options options = {.size = sizeof(options), .max_size = 64};
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher;
        struct shmd_subscriber *subscriber;
        struct shmd_sample sample;
        void *data;

        must_equal(shmd_advertise(&publisher, bus, SERVICE, &framed_type, &options), 0);
        must_equal(shmd_subscribe(&subscriber, bus, SERVICE, &framed_type, NULL), 0);
        for (size_t i = 0; i < N_ELEMENTS(sizes); i++) {
                uint64_t size = sizes[i] < 16 ? 16 : sizes[i];

                must_equal(shmd_loan(publisher, &data), 0);
                must_equal(shmd_publish(publisher, data), 0);
                writer_chunk(&publisher->ring, publisher->last_chunk)->size = sizes[i];
                must_equal(shmd_take(subscriber, &sample), 1);
                must_equal(sample.size, size > 64 ? 64 : size);
                must_equal(shmd_release(subscriber, &sample), 0);
        }
        shmd_close(bus);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(block_that_nobody_can_map_is_refused),
                system_test(segment_that_nobody_can_map_is_refused),
                system_test(hole_in_a_board_keeps_nobody_out),
                system_test(named_pipe_keeps_nobody_waiting),
                system_test(pipe_without_a_mode_keeps_nobody_waiting),
                system_test(segment_that_is_none_is_refused),
                system_test(segment_that_is_none_is_not_asked_for_for_ever),
                system_test(publisher_that_has_gone_is_not_read_for_ever),
                system_test(publisher_that_has_gone_ends_for_who_holds_a_sample),
                system_test(size_of_a_sample_is_within_the_contract),
        };

        harness_init(argc, argv);
        return cmocka_run_group_tests_name("hostile-liars", tests, NULL, NULL);
}
