/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resume-load.c - many restarts of the broker, with many clients, while samples flow: none is lost,
 * doubled or out of order, everybody notices, and nobody grows. --long makes a thousand restarts of
 * it, SHMD_RESTARTS as many as it says.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "comeback.h"

#define SERVICE "resume/samples"

/* ---- many -------------------------------------------------------------------------------- */

#define N_CLIENTS 100

static void hundred_clients_come_back(void **state)
{
        static struct shmd *buses[N_CLIENTS];
        static struct shmd_subscriber *subscribers[N_CLIENTS];
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher = stamped_advertise(
                bus, SERVICE, (struct shmd_publisher_options){.max_subscribers = N_CLIENTS});

        for (unsigned i = 0; i < N_CLIENTS; i++) {
                buses[i] = broker_connect();
                subscribers[i] =
                        stamped_subscribe(buses[i], SERVICE, (struct shmd_subscriber_options){0});
        }
        for (uint64_t round = 1; round <= 3; round++) {
                unsigned n_settled;

                restart_broker();
                do {
                        n_settled = state_of(bus).connected;
                        for (unsigned i = 0; i < N_CLIENTS; i++)
                                n_settled += state_of(buses[i]).returns == round;
                } while (n_settled < N_CLIENTS + 1);
                /* Many introductions wait until the publisher has read earlier ones. */
                until(n_subscribers(publisher) == N_CLIENTS);
                for (unsigned i = 0; i < N_CLIENTS; i++)
                        until(status_of(subscribers[i]).publishers == 1);
                stamped_publish(publisher, round);
                for (unsigned i = 0; i < N_CLIENTS; i++) {
                        struct shmd_sample sample;

                        must_equal(shmd_take(subscribers[i], &sample), 1);
                        must_equal(sample.sequence, round);
                        must_equal(sample.lost, 0);
                        must_equal(shmd_release(subscribers[i], &sample), 0);
                        must_equal(status_of(subscribers[i]).publishers, 1);
                }
        }
        for (unsigned i = 0; i < N_CLIENTS; i++)
                shmd_close(buses[i]);
        shmd_close(bus);
}

/* ---- under load -------------------------------------------------------------------------- */

#define N_SIDE 4   /* publishers, and subscribers */
#define DEPTH  256 /* publishers are never further ahead than half of that */

/* What the roles say of themselves. */
struct load {
        volatile uint64_t published[N_SIDE];
        volatile uint64_t taken[N_SIDE][N_SIDE]; /* [subscriber][publisher] */
        volatile uint64_t publisher_ids[N_SIDE];
        volatile uint64_t connected[2 * N_SIDE];
        volatile uint64_t is_over;
};

static struct load *load;

static uint64_t least_taken(unsigned publisher)
{
        uint64_t least = UINT64_MAX;

        for (unsigned i = 0; i < N_SIDE; i++)
                if (load->taken[i][publisher] < least)
                        least = load->taken[i][publisher];
        return least;
}

static void publish_under_load(void *argument)
{
        unsigned self = (unsigned)(uintptr_t)argument;
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher =
                stamped_advertise(bus, SERVICE, (struct shmd_publisher_options){.depth = DEPTH});
        struct shmd_publisher_state status;
        struct snapshot before;
        uint64_t n = 0;

        must_equal(shmd_publisher_status(publisher, &status), 0);
        load->publisher_ids[self] = status.id;
        say('r');
        hear('g');
        until(n_subscribers(publisher) == N_SIDE);
        snapshot_take(&before, 0);
        while (!load->is_over) {
                if (n - least_taken(self) < DEPTH / 2) {
                        stamped_publish(publisher, ++n);
                        load->published[self] = n;
                } else {
                        poll(NULL, 0, 0);
                }
                load->connected[self] = (uint64_t)shmd_connected(bus);
        }
        /* For those who sleep, and don't know that it is over. */
        stamped_publish(publisher, ++n);
        load->published[self] = n;
        say('o');
        hear('e');
        until(state_of(bus).connected);
        must_equal(n_subscribers(publisher), N_SIDE);
        must_equal(state_of(bus).stranded, 0);
        until_same(bus, &before, "publisher");
        say('c');
        hear('x');
        shmd_close(bus);
}

static void note_taken(unsigned self, const struct tally *tally)
{
        for (unsigned i = 0; i < N_SIDE; i++)
                load->taken[self][i] = tally_last(tally, load->publisher_ids[i]);
}

/* Even ones sleep, odd ones poll. */
static void take_under_load(void *argument)
{
        unsigned self = (unsigned)(uintptr_t)argument;
        bool sleeps = self % 2 == 0;
        struct shmd *bus = broker_connect_with(SHMD_SPIN_NEVER, NULL);
        struct shmd_subscriber *subscriber =
                stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});
        struct snapshot before;
        struct tally tally = {0};

        must_equal(status_of(subscriber).publishers, N_SIDE);
        say('r');
        hear('g');
        snapshot_take(&before, 0);
        while (!load->is_over || tally_take_all(&tally, subscriber)) {
                if (sleeps && !load->is_over) {
                        int code = shmd_wait(bus, (int64_t)PATIENCE_NS);

                        must(code == 1 || code == -ENOTCONN);
                }
                tally_take_all(&tally, subscriber);
                note_taken(self, &tally);
                load->connected[N_SIDE + self] = (uint64_t)shmd_connected(bus);
        }
        must_equal(tally.lost, 0);
        say('o');
        hear('e');
        until(state_of(bus).connected);
        must_equal(status_of(subscriber).publishers, N_SIDE);
        must_equal(state_of(bus).stranded, 0);
        tally_take_all(&tally, subscriber);
        note_taken(self, &tally);
        until_same(bus, &before, "subscriber");
        say('c');
        hear('x');
        shmd_close(bus);
}

static bool all_are(uint64_t connected)
{
        for (unsigned i = 0; i < 2 * N_SIDE; i++)
                if (load->connected[i] != connected)
                        return false;
        return true;
}

static unsigned n_rounds(void)
{
        const char *set = getenv("SHMD_RESTARTS");

        return set ? (unsigned)atoi(set) : harness_is_long ? 1000 : 30;
}

static void nothing_is_lost_in_any_number_of_restarts(void **state)
{
        struct role *roles[2 * N_SIDE];
        uint64_t total = 0;

        load = shared_memory(sizeof(*load));
        for (unsigned i = 0; i < 2 * N_SIDE; i++) {
                roles[i] = i < N_SIDE ? role_start("publisher", publish_under_load,
                                                   (void *)(uintptr_t)i)
                                      : role_start("subscriber", take_under_load,
                                                   (void *)(uintptr_t)(i - N_SIDE));
                role_await(roles[i], 'r');
        }
        for (unsigned i = 0; i < 2 * N_SIDE; i++)
                role_tell(roles[i], 'g');
        for (unsigned round = 0; round < n_rounds(); round++) {
                uint64_t published[N_SIDE];

                until(all_are(1));
                broker_kill();
                for (unsigned i = 0; i < N_SIDE; i++)
                        published[i] = load->published[i];
                /* Everybody notices, whether it sleeps or not, and goes on meanwhile. */
                until(all_are(0));
                for (unsigned i = 0; i < N_SIDE; i++)
                        until(least_taken(i) > published[i] + DEPTH);
                broker_spawn(NULL);
        }
        until(all_are(1));
        load->is_over = 1;
        for (unsigned i = 0; i < 2 * N_SIDE; i++)
                role_await(roles[i], 'o');
        for (unsigned i = 0; i < 2 * N_SIDE; i++) {
                role_tell(roles[i], 'e');
                role_await(roles[i], 'c');
        }
        for (unsigned i = 0; i < 2 * N_SIDE; i++) {
                role_tell(roles[i], 'x');
                role_finish(roles[i]);
        }
        for (unsigned i = 0; i < N_SIDE; i++) {
                must_equal(least_taken(i), load->published[i]);
                total += load->published[i];
        }
        print_message("%llu samples\ninjections: %u\n", (unsigned long long)total, n_rounds());
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(hundred_clients_come_back),
                system_test(nothing_is_lost_in_any_number_of_restarts),
        };

        harness_init(argc, argv);
        return cmocka_run_group_tests_name("system-resume-load", tests, NULL, NULL);
}
