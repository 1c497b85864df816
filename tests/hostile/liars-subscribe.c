/* SPDX-License-Identifier: Apache-2.0 */
/*
 * liars-subscribe.c - subscribers that write anything into their control blocks and onto their
 * arming board, at full speed, with rows far longer than what they may hold. The publisher has
 * exactly as many chunks as all seats may pin: each loan succeeds, no publish waits. Who is honest
 * misses nothing, is woken, and keeps what it holds.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "connection.h"
#include "harness.h"
#include "lies.h"
#include "raw.h"
#include "segment.h"
#include "somebody.h"
#include "stamped.h"
#include "type.h"
#include "util.h"
#include "wire.h"

#define SERVICE "liars/subscribe"
#define N_LIARS 2
#define DEPTH   4u
#define LOANS   2u
#define HOLDS   2u
#define SEATS   (N_LIARS + 2)

struct scene {
        uint64_t phase;
        uint64_t taken; /* by the honest one that misses nothing */
        uint64_t n_held;
        uint64_t n_lies;
};
static struct scene *scene;
static bool are_others;

enum phase {
        PACED, /* each sample is taken before the next one comes */
        FAST,  /* nobody is waited for */
        OVER,
};

static bool is(enum phase phase)
{
        return __atomic_load_n(&scene->phase, __ATOMIC_ACQUIRE) == phase;
}

static void begin_phase(enum phase phase)
{
        __atomic_store_n(&scene->phase, phase, __ATOMIC_RELEASE);
}

/* ---- who lies ------------------------------------------------------------------------------ */

struct liar {
        struct segment block; /* written as this one likes */
        int session, channel[2];
        struct segment board;
        uint32_t tag, n_chunks; /* of the publisher */
        uint64_t n_lies;
};

static void join(struct liar *liar)
{
        static _Alignas(8) unsigned char request[PROTOCOL_MESSAGE_MAX];
        struct message_subscribe *message = (void *)request;
        struct block_header *header;
        struct packet packet;
        uint64_t connection;
        const struct message_publisher_added *added = (const void *)packet.bytes;

        liar->session = raw_session(&connection);
        must_equal(segment_create(&liar->block, "shmd-block", BLOCK_SIZE), 0);
        header = liar->block.base;
        header->identity = (struct layout_identity){.magic = LAYOUT_MAGIC_BLOCK,
                                                    .version = LAYOUT_VERSION,
                                                    .header_size = sizeof(*header),
                                                    .size = BLOCK_SIZE,
                                                    .owner = connection};
        must_equal(pipe2(liar->channel, O_CLOEXEC | O_NONBLOCK), 0);
        must_equal(type_pack(&message->type, message->fields, stamped_type), 0);
        message->subscription = random_id();
        message->flags = SUBSCRIBE_BLOCK | SUBSCRIBE_CHANNEL;
        /* Not said to be wanted: so it is not compared, and the publisher grants what it grants. */
        message->holds = HOLDS_MAX;
        message->row_offset = sizeof(struct block_header);
        memcpy(message->service, SERVICE, sizeof(SERVICE));
        wire_begin(message, MESSAGE_SUBSCRIBE,
                   sizeof(*message) + message->type.n_fields * sizeof(message->fields[0]), 2);
        raw_send(liar->session, message, message->header.size,
                 (int[]){liar->block.fd, liar->channel[1]}, 2);
        must(raw_receive(liar->session, &packet));
        must_equal(packet.header.type, MESSAGE_PUBLISHER_ADDED);
        must_equal(added->holds, HOLDS);
        liar->tag = (uint32_t)added->peer.id;
        liar->n_chunks = added->geometry.n_chunks;
        must_equal(segment_map_board(&liar->board, packet.fds[1], true), 0);
        packet_close(&packet);
}

static uint64_t some_hold(const struct liar *liar)
{
        uint64_t chunk = lies_below(liar->n_chunks + 2);

        switch (lies_below(8)) {
        case 0:
                return lies_next() << 32 | chunk;
        case 1:
                return (uint64_t)liar->tag << 32 | UINT32_C(1) << SLOT_CHUNK_BITS | chunk;
        case 2:
                return 0;
        default:
                return (uint64_t)liar->tag << 32 | chunk;
        }
}

static void lie(struct liar *liar)
{
        uint64_t *words = liar->block.base;
        uint64_t *row = words + sizeof(struct block_header) / 8;
        uint64_t *word = words + lies_below(BLOCK_SIZE / 8);
        struct block_header *header = liar->block.base;
        struct board *board = liar->board.base;

        switch (lies_below(16)) {
        case 0:
                store_release(word, lies_for(load_relaxed(word), row, HOLDS_MAX));
                break;
        case 1: /* odd and new, or anything */
                store_release(&header->armed, lies_below(4) ? lies_next() | 1 : lies_next());
                break;
        case 2:
                store_release(&header->ended, lies_below(2));
                break;
        case 3:
                /* The user's own: beside honest ones of the same user, they would miss a ring. */
                if (are_others)
                        store_release(&board->counter, lies_for(board->counter, row, HOLDS_MAX));
                break;
        default:
                store_release(&row[lies_below(lies_below(2) ? HOLDS : HOLDS_MAX)], some_hold(liar));
        }
        liar->n_lies++;
}

static void hold_lies(void *argument)
{
        static struct liar liar;

        lies_begin((unsigned)(uintptr_t)argument);
        if (are_others)
                become_somebody();
        join(&liar);
        say('r');
        /* Not before the publisher counts it: whose block is out of order then pins nothing. */
        hear('g');
        while (!is(OVER)) {
                for (uint64_t burst = lies_below(256); burst; burst--)
                        lie(&liar);
                if (lies_below(256) == 0)
                        poll(NULL, 0, (int)lies_below(3));
        }
        __atomic_fetch_add(&scene->n_lies, liar.n_lies, __ATOMIC_RELAXED);
        segment_close(&liar.board);
        segment_close(&liar.block);
        close(liar.channel[0]);
        close(liar.channel[1]);
        close(liar.session);
}

/* ---- who is honest ------------------------------------------------------------------------- */

static void take_each(void *argument)
{
        struct shmd *bus = broker_connect_with(SHMD_SPIN_NEVER, NULL);
        struct shmd_subscriber *subscriber =
                stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){.history = 0});
        struct tally tally = {.taken = 0};

        say('r');
        while (is(PACED)) {
                must_equal(shmd_wait(bus, (int64_t)PATIENCE_NS), 1);
                tally_take_all(&tally, subscriber);
                must_equal(tally.lost, 0);
                __atomic_store_n(&scene->taken, tally.taken, __ATOMIC_RELEASE);
        }
        shmd_close(bus);
}

/* Holds as much as it may for a while, and finds it as it was. */
static void hold_some(void *argument)
{
        struct shmd *bus = broker_connect();
        struct shmd_subscriber *subscriber =
                stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){.holds = HOLDS});
        uint64_t n_held = 0;

        say('r');
        while (!is(OVER)) {
                struct shmd_sample samples[HOLDS];
                uint32_t n = 0;

                while (n < HOLDS && !is(OVER))
                        n += shmd_take(subscriber, &samples[n]) == 1;
                if (n == HOLDS && n_held % 64 == 0)
                        poll(NULL, 0, 1);
                while (n--) {
                        const struct stamped *stamped = samples[n].data;

                        must(stamped_is_whole(stamped));
                        must_equal(stamped->number, samples[n].sequence);
                        must_equal(shmd_release(subscriber, &samples[n]), 0);
                        n_held++;
                }
        }
        scene->n_held = n_held;
        shmd_close(bus);
}

/* Both loans at once, given back in either order. */
static void publish_two(struct shmd_publisher *publisher, uint64_t id, uint64_t *n)
{
        struct stamped *loans[2];
        unsigned first = lies_below(2);

        for (int i = 0; i < 2; i++) {
                void *data;

                must_equal(shmd_loan(publisher, &data), 0);
                loans[i] = data;
        }
        for (unsigned i = 0; i < 2; i++) {
                stamped_fill(loans[first ^ i], id, ++*n);
                must_equal(shmd_publish(publisher, loans[first ^ i]), 0);
        }
}

static void subscriber_that_lies_pins_its_budget_and_harms_nobody_else(void **state)
{
        struct shmd_publisher_options options = {.depth = DEPTH,
                                                 .loans = LOANS,
                                                 .holds = HOLDS,
                                                 .max_subscribers = SEATS,
                                                 .chunks = DEPTH + 1 + LOANS + SEATS * HOLDS};
        struct role *liars[N_LIARS], *each, *some;
        struct shmd_publisher_state status;
        struct shmd_publisher *publisher;
        uint64_t begin = harness_now(), n = 0;
        struct shmd *bus;

        are_others = can_be_somebody();
        if (are_others)
                let_somebody_in(NULL);
        lies_seed();
        lies_begin(N_LIARS);
        scene = shared_memory(sizeof(*scene));
        bus = broker_connect();
        publisher = stamped_advertise(bus, SERVICE, options);
        each = role_start("takes each", take_each, NULL);
        some = role_start("holds some", hold_some, NULL);
        for (uintptr_t i = 0; i < N_LIARS; i++) {
                liars[i] = role_start("liar", hold_lies, (void *)i);
                role_await(liars[i], 'r');
        }
        role_await(each, 'r');
        role_await(some, 'r');
        until(shmd_publisher_status(publisher, &status) == 0 && status.subscribers == SEATS);
        for (int i = 0; i < N_LIARS; i++)
                role_tell(liars[i], 'g');
        while (!lies_are_over(begin)) {
                publish_two(publisher, status.id, &n);
                until(__atomic_load_n(&scene->taken, __ATOMIC_ACQUIRE) == n);
        }
        begin_phase(FAST);
        publish_two(publisher, status.id, &n);
        role_finish(each);
        for (int i = 0; i < 100000; i++)
                publish_two(publisher, status.id, &n);
        begin_phase(OVER);
        for (int i = 0; i < N_LIARS; i++)
                role_finish(liars[i]);
        /* What they have pinned is back. */
        until(shmd_publisher_status(publisher, &status) == 0 && status.subscribers <= 1);
        for (int i = 0; i < 1000; i++)
                publish_two(publisher, status.id, &n);
        role_finish(some);
        print_message("%llu samples, %llu held\ninjections: %llu\n", (unsigned long long)n,
                      (unsigned long long)scene->n_held, (unsigned long long)scene->n_lies);
        must(scene->n_held > 0);
        shmd_close(bus);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(subscriber_that_lies_pins_its_budget_and_harms_nobody_else),
        };

        harness_init(argc, argv);
        return cmocka_run_group_tests_name("hostile-liars-subscribe", tests, NULL, NULL);
}
