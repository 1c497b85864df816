/* SPDX-License-Identifier: Apache-2.0 */
/*
 * flow.c - samples from publishers to subscribers: whole, in order, none of them unaccounted for.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "harness.h"
#include "stamped.h"

#define SERVICE "flow/samples"

static struct shmd_publisher_state publisher_status(struct shmd_publisher *publisher)
{
        struct shmd_publisher_state status;

        must_equal(shmd_publisher_status(publisher, &status), 0);
        return status;
}

static struct shmd_subscriber_state subscriber_status(struct shmd_subscriber *subscriber)
{
        struct shmd_subscriber_state status;

        must_equal(shmd_subscriber_status(subscriber, &status), 0);
        return status;
}

static void publish_some(struct shmd_publisher *publisher, uint64_t first, uint64_t last)
{
        while (first <= last)
                stamped_publish(publisher, first++);
}

/* ---- between processes ------------------------------------------------------------------- */

#define N_PUBLISHERS  2
#define N_SUBSCRIBERS 3
#define N_SAMPLES     20000

static uint64_t *ids; /* of the publishers; shared */

static void publish_many(void *argument)
{
        unsigned index = (unsigned)(uintptr_t)argument;
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher =
                stamped_advertise(bus, SERVICE, (struct shmd_publisher_options){0});

        ids[index] = publisher_status(publisher).id;
        say('r');
        hear('g');
        for (uint64_t n = 1; n <= N_SAMPLES; n++) {
                stamped_publish(publisher, n);
                /* So that subscribers have a chance on one CPU too. */
                if (n % 16 == index)
                        sched_yield();
        }
        hear('e');
        must_equal(publisher_status(publisher).published, N_SAMPLES);
        shmd_close(bus);
}

static bool has_newest(const struct tally *tally)
{
        for (unsigned i = 0; i < N_PUBLISHERS; i++)
                if (tally_last(tally, ids[i]) != N_SAMPLES)
                        return false;
        return true;
}

static void take_many(void *argument)
{
        struct shmd *bus = broker_connect();
        struct shmd_subscriber *subscriber =
                stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});
        struct shmd_subscriber_state status;
        struct tally tally = {0};

        say('r');
        hear('p');
        until(subscriber_status(subscriber).publishers == N_PUBLISHERS);
        say('k');
        while (!has_newest(&tally)) {
                must(shmd_wait(bus, (int64_t)PATIENCE_NS) == 1);
                tally_take_all(&tally, subscriber);
        }
        must_equal(tally.n_publishers, N_PUBLISHERS);
        must_equal(tally.taken + tally.lost, N_PUBLISHERS * N_SAMPLES);
        status = subscriber_status(subscriber);
        must_equal(status.taken, tally.taken);
        must_equal(status.lost, tally.lost);
        must_equal(status.held, 0);
        must(tally.taken >= N_PUBLISHERS);
        shmd_close(bus);
}

static void two_publishers_and_three_subscribers_lose_nothing_uncounted(void **state)
{
        struct role *publishers[N_PUBLISHERS], *subscribers[N_SUBSCRIBERS];

        ids = shared_memory(N_PUBLISHERS * sizeof(*ids));
        for (unsigned i = 0; i < N_SUBSCRIBERS; i++) {
                subscribers[i] = role_start("subscriber", take_many, NULL);
                role_await(subscribers[i], 'r');
        }
        for (uintptr_t i = 0; i < N_PUBLISHERS; i++) {
                publishers[i] = role_start("publisher", publish_many, (void *)i);
                role_await(publishers[i], 'r');
        }
        for (unsigned i = 0; i < N_SUBSCRIBERS; i++)
                role_tell(subscribers[i], 'p');
        for (unsigned i = 0; i < N_SUBSCRIBERS; i++)
                role_await(subscribers[i], 'k');
        for (unsigned i = 0; i < N_PUBLISHERS; i++)
                role_tell(publishers[i], 'g');
        for (unsigned i = 0; i < N_SUBSCRIBERS; i++)
                role_finish(subscribers[i]);
        for (unsigned i = 0; i < N_PUBLISHERS; i++) {
                role_tell(publishers[i], 'e');
                role_finish(publishers[i]);
        }
}

static void lap_on_demand(void *argument)
{
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher =
                stamped_advertise(bus, SERVICE, (struct shmd_publisher_options){.depth = 4});

        publish_some(publisher, 1, 4);
        say('r');
        hear('g');
        publish_some(publisher, 5, 50000);
        say('d');
        hear('e');
        shmd_close(bus);
}

static void sample_that_is_held_outlives_its_depth(void **state)
{
        struct role *publisher = role_start("publisher", lap_on_demand, NULL);
        struct shmd_sample samples[2], more;
        struct shmd_subscriber *subscriber;
        struct shmd *bus;

        role_await(publisher, 'r');
        bus = broker_connect();
        subscriber =
                stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){.history = 4});
        must_equal(shmd_take(subscriber, &samples[0]), 1);
        must_equal(samples[0].sequence, 1);
        must_equal(shmd_take(subscriber, &samples[1]), 1);
        must_equal(samples[1].sequence, 2);
        must_equal(shmd_take(subscriber, &more), -ENOBUFS);
        must_say(shmd_error(), SERVICE, "2 samples are held", "holds");
        role_tell(publisher, 'g');
        role_await(publisher, 'd');
        for (unsigned i = 0; i < 2; i++) {
                const struct stamped *stamped = samples[i].data;

                must(stamped_is_whole(stamped));
                must_equal(stamped->number, i + 1);
        }
        must_equal(shmd_release(subscriber, &samples[0]), 0);
        must_equal(shmd_take(subscriber, &more), 1);
        must_equal(more.lost, 49997 - 3);
        must_equal(more.sequence, 49997);
        must(stamped_is_whole(samples[1].data));
        must_equal(subscriber_status(subscriber).held, 2);
        role_tell(publisher, 'e');
        role_finish(publisher);
        /* The publisher has gone; what is held stays. */
        until(subscriber_status(subscriber).publishers == 0);
        must(stamped_is_whole(samples[1].data));
        must(stamped_is_whole(more.data));
        shmd_close(bus);
}

/* ---- counts ------------------------------------------------------------------------------ */

static void depth_of_one_keeps_the_newest(void **state)
{
        struct shmd *one = broker_connect(), *other = broker_connect();
        struct shmd_publisher *publisher =
                stamped_advertise(one, SERVICE, (struct shmd_publisher_options){.depth = 1});
        struct shmd_subscriber *subscriber =
                stamped_subscribe(other, SERVICE, (struct shmd_subscriber_options){0});
        struct shmd_sample sample;

        publish_some(publisher, 1, 10);
        must_equal(shmd_take(subscriber, &sample), 1);
        must_equal(sample.sequence, 10);
        must_equal(sample.lost, 9);
        must_equal(shmd_take(subscriber, &sample), 0);
        must_equal(subscriber_status(subscriber).held, 1);
        shmd_close(one);
        shmd_close(other);
}

static void taken_and_lost_are_all_that_was_published(void **state)
{
        struct shmd *one = broker_connect(), *other = broker_connect();
        struct shmd_publisher *publisher =
                stamped_advertise(one, SERVICE, (struct shmd_publisher_options){.depth = 5});
        struct shmd_subscriber *subscriber =
                stamped_subscribe(other, SERVICE, (struct shmd_subscriber_options){0});
        struct tally tally = {0};
        uint64_t published = 0;
        uint32_t random = 12345;

        for (unsigned round = 0; round < 2000; round++) {
                uint64_t n = (random = random * 1664525 + 1013904223) >> 28;

                publish_some(publisher, published + 1, published + n);
                published += n;
                /* At least as many as the depth are kept. */
                must(tally_take_all(&tally, subscriber) >= (n < 5 ? n : 5));
                must_equal(tally.taken + tally.lost, published);
        }
        must_equal(publisher_status(publisher).published, published);
        must_equal(subscriber_status(subscriber).lost, tally.lost);
        must(tally.lost);
        shmd_close(one);
        shmd_close(other);
}

static void statuses_say_what_was_asked_for_and_done(void **state)
{
        struct shmd *one = broker_connect(), *other = broker_connect();
        struct shmd_publisher *publisher = stamped_advertise(
                one, SERVICE,
                (struct shmd_publisher_options){.depth = 3, .loans = 4, .chunks = 11});
        struct shmd_subscriber *subscriber =
                stamped_subscribe(other, SERVICE, (struct shmd_subscriber_options){0});
        struct shmd_publisher_state status = publisher_status(publisher);
        struct shmd_sample sample;
        void *data[2];

        must(status.id);
        must_equal(status.published, 0);
        must(status.segment_size >= 11 * sizeof(struct stamped));
        must_equal(status.max_size, sizeof(struct stamped));
        must_equal(status.chunks, 11);
        must_equal(status.depth, 3);
        must_equal(status.subscribers, 1);
        must_equal(shmd_loan(publisher, &data[0]), 0);
        must_equal(shmd_loan(publisher, &data[1]), 0);
        must_equal(publisher_status(publisher).loaned, 2);
        must_equal(shmd_discard(publisher, data[0]), 0);
        must_equal(shmd_publish(publisher, data[1]), 0);
        must_equal(publisher_status(publisher).loaned, 0);
        must_equal(publisher_status(publisher).published, 1);
        must_equal(shmd_take(subscriber, &sample), 1);
        must_equal(sample.publisher, status.id);
        must_equal(subscriber_status(subscriber).taken, 1);
        must_equal(subscriber_status(subscriber).lost, 0);
        must_equal(subscriber_status(subscriber).publishers, 1);
        must_equal(subscriber_status(subscriber).refused, 0);
        must(subscriber_status(subscriber).id != status.id);
        must(subscriber_status(subscriber).id);
        shmd_subscriber_close(subscriber);
        until(publisher_status(publisher).subscribers == 0);
        shmd_close(one);
        shmd_close(other);
}

/* ---- loans ------------------------------------------------------------------------------- */

static void loans_go_back_in_any_order(void **state)
{
        static const int order[] = {2, 0, 3};
        struct shmd *one = broker_connect(), *other = broker_connect();
        struct shmd_publisher *publisher =
                stamped_advertise(one, SERVICE, (struct shmd_publisher_options){.loans = 4});
        struct shmd_subscriber *subscriber =
                stamped_subscribe(other, SERVICE, (struct shmd_subscriber_options){0});
        struct shmd_sample sample;
        uint64_t id = publisher_status(publisher).id;
        void *loans[4], *fifth;

        for (unsigned i = 0; i < 4; i++) {
                must_equal(shmd_loan(publisher, &loans[i]), 0);
                must_equal((uintptr_t)loans[i] % stamped_type->alignment, 0);
                for (unsigned j = 0; j < i; j++)
                        must(loans[j] != loans[i]);
        }
        must_equal(shmd_loan(publisher, &fifth), -ENOBUFS);
        must_say(shmd_error(), SERVICE, "4 samples are on loan", "loans");
        must_equal(shmd_discard(publisher, loans[1]), 0);
        must_equal(shmd_discard(publisher, loans[1]), -EINVAL);
        for (unsigned i = 0; i < N_ELEMENTS(order); i++) {
                stamped_fill(loans[order[i]], id, i + 1);
                must_equal(shmd_publish(publisher, loans[order[i]]), 0);
        }
        for (unsigned i = 0; i < N_ELEMENTS(order); i++) {
                must_equal(shmd_take(subscriber, &sample), 1);
                must_equal(sample.sequence, i + 1);
                must_equal(((const struct stamped *)sample.data)->number, i + 1);
                must(stamped_is_whole(sample.data));
                must_equal(shmd_release(subscriber, &sample), 0);
        }
        must_equal(shmd_take(subscriber, &sample), 0);
        must_equal(shmd_loan(publisher, &fifth), 0);
        shmd_close(one);
        shmd_close(other);
}

static void what_is_not_on_loan_or_held_is_refused(void **state)
{
        struct shmd *one = broker_connect(), *other = broker_connect();
        struct shmd_publisher *publisher =
                stamped_advertise(one, SERVICE, (struct shmd_publisher_options){0});
        struct shmd_publisher *second =
                stamped_advertise(one, SERVICE, (struct shmd_publisher_options){0});
        struct shmd_subscriber *subscriber =
                stamped_subscribe(other, SERVICE, (struct shmd_subscriber_options){0});
        struct shmd_subscriber *another =
                stamped_subscribe(other, SERVICE, (struct shmd_subscriber_options){0});
        struct shmd_sample sample, copy;
        struct stamped own;
        void *data;

        must_equal(shmd_publish(publisher, &own), -EINVAL);
        must_say(shmd_error(), SERVICE, "not on loan");
        must_equal(shmd_publish(publisher, NULL), -EINVAL);
        must_equal(shmd_discard(publisher, &own), -EINVAL);
        must_equal(shmd_loan(publisher, &data), 0);
        must_equal(shmd_publish(second, data), -EINVAL);
        must_equal(shmd_discard(second, data), -EINVAL);
        must_equal(shmd_publish(publisher, (char *)data + 8), -EINVAL);
        must_equal(shmd_publish_sized(publisher, data, sizeof(own) - 1), -EINVAL);
        must_say(shmd_error(), SERVICE, "255 bytes", "from 256 to 256");
        must_equal(shmd_publish_sized(publisher, data, sizeof(own) + 1), -EINVAL);
        must_equal(publisher_status(publisher).loaned, 1);
        must_equal(shmd_publish(publisher, data), 0);
        must_equal(shmd_publish(publisher, data), -EINVAL);
        must_equal(shmd_discard(publisher, data), -EINVAL);
        must_equal(publisher_status(publisher).published, 1);
        must_equal(publisher_status(second).published, 0);

        must_equal(shmd_take(subscriber, &sample), 1);
        copy = sample;
        must_equal(shmd_release(another, &copy), -EINVAL);
        must_say(shmd_error(), SERVICE, "not held");
        must_equal(shmd_release(subscriber, &sample), 0);
        must(!sample.data);
        must_equal(shmd_release(subscriber, &sample), -EINVAL);
        must_equal(shmd_release(subscriber, &copy), -EINVAL);
        memset(&copy, 0xff, sizeof(copy));
        must_equal(shmd_release(subscriber, &copy), -EINVAL);
        must_equal(subscriber_status(subscriber).held, 0);
        shmd_close(one);
        shmd_close(other);
}

static void too_few_chunks_make_loans_fail_until_samples_are_released(void **state)
{
        struct shmd *one = broker_connect(), *other = broker_connect();
        struct shmd_publisher *publisher = stamped_advertise(
                one, SERVICE, (struct shmd_publisher_options){.depth = 1, .loans = 1, .chunks = 3});
        struct shmd_subscriber *subscriber =
                stamped_subscribe(other, SERVICE, (struct shmd_subscriber_options){0});
        struct shmd_sample samples[2];
        void *data;

        for (unsigned i = 0; i < 2; i++) {
                stamped_publish(publisher, i + 1);
                must_equal(shmd_take(subscriber, &samples[i]), 1);
        }
        while (shmd_loan(publisher, &data) == 0)
                must_equal(shmd_publish(publisher, data), 0);
        must_say(shmd_error(), SERVICE, "3 chunks", "held by subscribers");
        must(stamped_is_whole(samples[0].data) && stamped_is_whole(samples[1].data));
        must_equal(shmd_release(subscriber, &samples[0]), 0);
        must_equal(shmd_loan(publisher, &data), 0);
        must(stamped_is_whole(samples[1].data));
        shmd_close(one);
        shmd_close(other);
}

/* ---- variable length --------------------------------------------------------------------- */

static void samples_of_any_length_arrive_as_long_as_they_were(void **state)
{
        struct shmd_publisher_options options = {.size = sizeof(options), .max_size = 10000};
        struct shmd *one = broker_connect(), *other = broker_connect();
        struct shmd_publisher *publisher;
        struct shmd_subscriber *subscriber;
        struct shmd_sample sample;
        void *data;

        must_equal(shmd_advertise(&publisher, one, "flow/bytes", &shmd_bytes, &options), 0);
        must_equal(shmd_subscribe(&subscriber, other, "flow/bytes", &shmd_bytes, NULL), 0);
        for (uint64_t size = 0; size <= 10000; size += size < 64 ? 1 : 621) {
                must_equal(shmd_loan(publisher, &data), 0);
                memset(data, (int)(size & 0xff), size);
                must_equal(shmd_publish_sized(publisher, data, size), 0);
                must_equal(shmd_take(subscriber, &sample), 1);
                must_equal(sample.size, size);
                for (uint64_t i = 0; i < size; i++)
                        must_equal(((const unsigned char *)sample.data)[i], size & 0xff);
                must_equal(shmd_release(subscriber, &sample), 0);
        }
        must_equal(shmd_loan(publisher, &data), 0);
        must_equal(shmd_publish_sized(publisher, data, 10001), -EINVAL);
        must_say(shmd_error(), "10001 bytes", "from 0 to 10000");
        must_equal(shmd_publish(publisher, data), 0);
        must_equal(shmd_take(subscriber, &sample), 1);
        must_equal(sample.size, 10000);
        shmd_close(one);
        shmd_close(other);
}

/* ---- threads ----------------------------------------------------------------------------- */

#define N_THREADS 4
#define N_ROUNDS  500

static void name_hop(char *name, unsigned index)
{
        memcpy(name, "flow/hop-0", 11);
        name[9] = (char)('0' + index);
}

/* Publishes each number that comes from the one before; the first begins. */
static void *pass_on(void *argument)
{
        unsigned index = (unsigned)(uintptr_t)argument;
        char from[16], to[16];
        /* The first number may be there before its reader. */
        struct shmd_subscriber_options options = {.size = sizeof(options), .history = 1};
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher;
        struct shmd_subscriber *subscriber;
        struct shmd_publisher_state status;
        struct shmd_sample sample;

        name_hop(from, index);
        name_hop(to, (index + 1) % N_THREADS);
        must_equal(shmd_advertise(&publisher, bus, to, stamped_type, NULL), 0);
        must_equal(shmd_subscribe(&subscriber, bus, from, stamped_type, &options), 0);
        for (uint64_t n = 1; n <= N_ROUNDS; n++) {
                void *data;

                must_equal(shmd_loan(publisher, &data), 0);
                must_equal(shmd_publisher_status(publisher, &status), 0);
                if (index == 0) {
                        stamped_fill(data, status.id, n);
                        must_equal(shmd_publish(publisher, data), 0);
                }
                while (shmd_take(subscriber, &sample) == 0)
                        must_equal(shmd_wait(bus, (int64_t)PATIENCE_NS), 1);
                must_equal(sample.sequence, n);
                must(stamped_is_whole(sample.data));
                must_equal(shmd_release(subscriber, &sample), 0);
                if (index != 0) {
                        stamped_fill(data, status.id, n);
                        must_equal(shmd_publish(publisher, data), 0);
                }
        }
        return bus;
}

static void each_thread_has_its_own_connection(void **state)
{
        pthread_t threads[N_THREADS];
        void *buses[N_THREADS];

        for (uintptr_t i = 0; i < N_THREADS; i++)
                must_equal(pthread_create(&threads[i], NULL, pass_on, (void *)i), 0);
        for (unsigned i = 0; i < N_THREADS; i++)
                must_equal(pthread_join(threads[i], &buses[i]), 0);
        /* Handed over with all that they opened. */
        for (unsigned i = 0; i < N_THREADS; i++) {
                broker_settle(buses[i]);
                shmd_close(buses[i]);
        }
}

struct handed_over {
        struct shmd *bus;
        struct shmd_publisher *publisher;
        struct shmd_subscriber *subscriber;
        uint64_t n;
        struct tally tally;
};

static void *use_handed_over(void *argument)
{
        struct handed_over *all = argument;

        stamped_publish(all->publisher, ++all->n);
        must_equal(shmd_wait(all->bus, (int64_t)PATIENCE_NS), 1);
        must_equal(tally_take_all(&all->tally, all->subscriber), 1);
        must_equal(shmd_wait(all->bus, 1), 0);
        return NULL;
}

static void connection_is_handed_from_thread_to_thread(void **state)
{
        struct handed_over all = {.bus = broker_connect()};

        all.publisher = stamped_advertise(all.bus, SERVICE, (struct shmd_publisher_options){0});
        all.subscriber = stamped_subscribe(all.bus, SERVICE, (struct shmd_subscriber_options){0});
        must_equal(shmd_wait(all.bus, 0), 1); /* the two have met */
        for (unsigned i = 0; i < 8; i++) {
                pthread_t thread;

                must_equal(pthread_create(&thread, NULL, use_handed_over, &all), 0);
                must_equal(pthread_join(thread, NULL), 0);
                use_handed_over(&all);
        }
        must_equal(all.tally.taken, 16);
        shmd_close(all.bus);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(two_publishers_and_three_subscribers_lose_nothing_uncounted),
                system_test(sample_that_is_held_outlives_its_depth),
                system_test(depth_of_one_keeps_the_newest),
                system_test(taken_and_lost_are_all_that_was_published),
                system_test(statuses_say_what_was_asked_for_and_done),
                system_test(loans_go_back_in_any_order),
                system_test(what_is_not_on_loan_or_held_is_refused),
                system_test(too_few_chunks_make_loans_fail_until_samples_are_released),
                system_test(samples_of_any_length_arrive_as_long_as_they_were),
                system_test(each_thread_has_its_own_connection),
                system_test(connection_is_handed_from_thread_to_thread),
        };

        harness_init(argc, argv);
        return cmocka_run_group_tests_name("system-flow", tests, NULL, NULL);
}
