/* SPDX-License-Identifier: Apache-2.0 */
/*
 * join.c - who comes when: early and late subscribers, publishers that leave, and what everybody
 * is told of it.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"
#include "stamped.h"

#define SERVICE "join/samples"

static struct shmd_subscriber_state status_of(struct shmd_subscriber *subscriber)
{
        struct shmd_subscriber_state status;

        must_equal(shmd_subscriber_status(subscriber, &status), 0);
        return status;
}

static uint64_t take_one(struct shmd_subscriber *subscriber)
{
        struct shmd_sample sample;
        int code = shmd_take(subscriber, &sample);

        must(code >= 0);
        if (!code)
                return 0;
        must(stamped_is_whole(sample.data));
        must_equal(shmd_release(subscriber, &sample), 0);
        return sample.sequence;
}

/* ---- coming ------------------------------------------------------------------------------ */

static void subscriber_that_was_first_misses_nothing(void **state)
{
        struct shmd *one = broker_connect(), *other = broker_connect();
        struct shmd_subscriber *subscriber =
                stamped_subscribe(other, SERVICE, (struct shmd_subscriber_options){0});
        struct shmd_publisher *publisher;
        struct shmd_sample sample;

        must_equal(shmd_take(subscriber, &sample), 0);
        must_equal(status_of(subscriber).publishers, 0);
        publisher = stamped_advertise(one, SERVICE, (struct shmd_publisher_options){0});
        stamped_publish(publisher, 1);
        stamped_publish(publisher, 2);
        /* Polling alone gets to know the publisher too. */
        until(shmd_take(subscriber, &sample) == 1);
        must_equal(sample.sequence, 1);
        must_equal(sample.lost, 0);
        must_equal(take_one(subscriber), 2);
        shmd_close(one);
        shmd_close(other);
}

static void subscriber_that_was_first_counts_what_it_was_too_late_for(void **state)
{
        struct shmd *one = broker_connect(), *other = broker_connect();
        struct shmd_subscriber *subscriber =
                stamped_subscribe(other, SERVICE, (struct shmd_subscriber_options){0});
        struct shmd_publisher *publisher =
                stamped_advertise(one, SERVICE, (struct shmd_publisher_options){.depth = 2});
        struct tally tally = {0};

        /* It has not yet looked at what the broker said. */
        for (uint64_t n = 1; n <= 1000; n++)
                stamped_publish(publisher, n);
        until(status_of(subscriber).publishers == 1);
        must(tally_take_all(&tally, subscriber) >= 2);
        must_equal(tally.taken + tally.lost, 1000);
        shmd_close(one);
        shmd_close(other);
}

static void publish_history(void *argument)
{
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher =
                stamped_advertise(bus, SERVICE, (struct shmd_publisher_options){0});

        for (uint64_t n = 1; n <= 20; n++)
                stamped_publish(publisher, n);
        say('r');
        hear('m');
        for (uint64_t n = 21; n <= *(const uint64_t *)argument; n++)
                stamped_publish(publisher, n);
        hear('e');
        shmd_close(bus);
}

static void late_joiner_has_history_while_the_publisher_sleeps(void **state)
{
        static const struct {
                uint32_t wanted, first;
        } cases[] = {{5, 16}, {1, 20}, {8, 13}, {9, 13}, {UINT32_MAX, 13}, {0, 0}};
        uint64_t last = 21, sequence;
        struct role *publisher = role_start("publisher", publish_history, &last);
        struct shmd *bus = broker_connect();
        struct shmd_subscriber *subscriber;

        role_await(publisher, 'r');
        role_stop(publisher);
        for (unsigned i = 0; i < N_ELEMENTS(cases); i++) {
                subscriber = stamped_subscribe(
                        bus, SERVICE, (struct shmd_subscriber_options){.history = cases[i].wanted});
                must_equal(status_of(subscriber).publishers, 1);
                must_equal(status_of(subscriber).lost, 0);
                sequence = take_one(subscriber);
                must_equal(sequence, cases[i].first);
                while (sequence && sequence < 20)
                        must_equal(take_one(subscriber), ++sequence);
                must_equal(take_one(subscriber), 0);
                must_equal(status_of(subscriber).lost, 0);
                if (cases[i].wanted)
                        shmd_subscriber_close(subscriber);
        }
        /* What it publishes after the join arrives without a gap. */
        role_continue(publisher);
        role_tell(publisher, 'm');
        while (!(sequence = take_one(subscriber)))
                must_equal(shmd_wait(bus, (int64_t)PATIENCE_NS), 1);
        must_equal(sequence, 21);
        role_tell(publisher, 'e');
        role_finish(publisher);
        shmd_close(bus);
}

static void sample_taken_from_a_sleeping_publisher_is_not_recycled(void **state)
{
        uint64_t last = 5000;
        struct role *publisher = role_start("publisher", publish_history, &last);
        struct shmd *bus = broker_connect(), *other = broker_connect();
        struct shmd_subscriber *subscriber;
        struct shmd_publisher *second;
        struct shmd_sample sample;

        role_await(publisher, 'r');
        role_stop(publisher);
        subscriber =
                stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){.history = 8});
        must_equal(shmd_take(subscriber, &sample), 1);
        must_equal(sample.sequence, 13);
        /* Its connection has not read of the subscriber yet; others go on. */
        second = stamped_advertise(other, SERVICE, (struct shmd_publisher_options){0});
        for (uint64_t n = 1; n <= 100; n++)
                stamped_publish(second, n);
        role_continue(publisher);
        role_tell(publisher, 'm');
        role_tell(publisher, 'e');
        role_finish(publisher);
        must(stamped_is_whole(sample.data));
        must_equal(((const struct stamped *)sample.data)->number, 13);
        shmd_close(bus);
        shmd_close(other);
}

/* ---- leaving ----------------------------------------------------------------------------- */

static void what_a_publisher_leaves_can_still_be_taken(void **state)
{
        struct shmd *one = broker_connect(), *other = broker_connect();
        struct shmd_subscriber *subscriber =
                stamped_subscribe(other, SERVICE, (struct shmd_subscriber_options){0});
        struct shmd_publisher *publisher =
                stamped_advertise(one, SERVICE, (struct shmd_publisher_options){0});
        struct shmd_sample held;

        until(status_of(subscriber).publishers == 1);
        for (uint64_t n = 1; n <= 4; n++)
                stamped_publish(publisher, n);
        must_equal(shmd_take(subscriber, &held), 1);
        shmd_publisher_close(publisher);
        until(status_of(subscriber).publishers == 0);
        for (uint64_t n = 2; n <= 4; n++)
                must_equal(take_one(subscriber), n);
        must_equal(take_one(subscriber), 0);
        must_equal(status_of(subscriber).taken, 4);
        must_equal(status_of(subscriber).lost, 0);
        must(stamped_is_whole(held.data));
        must_equal(shmd_release(subscriber, &held), 0);
        /* The next one is another, whose count begins at 1. */
        publisher = stamped_advertise(one, SERVICE, (struct shmd_publisher_options){0});
        stamped_publish(publisher, 1);
        until(status_of(subscriber).publishers == 1);
        must_equal(take_one(subscriber), 1);
        must_equal(status_of(subscriber).taken, 5);
        shmd_close(one);
        shmd_close(other);
}

static void subscribers_leave_and_their_chunks_come_back(void **state)
{
        struct shmd *one = broker_connect(), *other = broker_connect();
        struct shmd_publisher *publisher = stamped_advertise(
                one, SERVICE,
                (struct shmd_publisher_options){
                        .depth = 1, .loans = 1, .chunks = 3, .max_subscribers = 1});

        for (unsigned round = 0; round < 20; round++) {
                struct shmd_subscriber *subscriber =
                        stamped_subscribe(other, SERVICE, (struct shmd_subscriber_options){0});
                struct shmd_sample sample;
                void *data;

                for (unsigned i = 0; i < 2; i++) {
                        must_equal(shmd_loan(publisher, &data), 0);
                        must_equal(shmd_publish(publisher, data), 0);
                        must_equal(shmd_take(subscriber, &sample), 1);
                }
                while (shmd_loan(publisher, &data) == 0)
                        must_equal(shmd_publish(publisher, data), 0);
                /* With what it holds; its seat is free at once. */
                shmd_subscriber_close(subscriber);
        }
        {
                void *data;

                until(shmd_loan(publisher, &data) == 0);
        }
        shmd_close(one);
        shmd_close(other);
}

/* ---- being told -------------------------------------------------------------------------- */

struct told {
        unsigned n;
        struct shmd_peer peer;
        int present;
};

static void note(void *user, const struct shmd_peer *peer, int present)
{
        struct told *told = user;

        told->n++;
        told->peer = *peer;
        told->present = present;
}

static void be_publisher(void *argument)
{
        struct told told = {0};
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher = stamped_advertise(
                bus, SERVICE,
                (struct shmd_publisher_options){.on_subscriber = note, .user = &told});
        struct shmd_publisher_state status;

        must_equal(shmd_publisher_status(publisher, &status), 0);
        *(uint64_t *)argument = status.id;
        while (told.n < 1)
                must_equal(shmd_wait(bus, (int64_t)PATIENCE_NS), 1);
        must_equal(told.present, 1);
        must_equal(told.peer.pid, getppid());
        must_equal(told.peer.uid, getuid());
        must_equal(strcmp(told.peer.program, "system-join"), 0);
        /* The first, and another for a moment: two come and two go. */
        while (told.n < 4)
                must_equal(shmd_wait(bus, (int64_t)PATIENCE_NS), 1);
        must_equal(told.present, 0);
        must_equal(shmd_publisher_status(publisher, &status), 0);
        must_equal(status.subscribers, 0);
        shmd_close(bus);
}

static void both_are_told_who_comes_and_goes(void **state)
{
        uint64_t *id = shared_memory(sizeof(*id));
        struct told told = {0}, both = {0};
        struct shmd_subscriber_options options = {.on_publisher = note, .user = &told};
        struct role *role = role_start("publisher", be_publisher, id);
        struct shmd *bus = broker_connect();
        struct shmd_subscriber *subscriber = stamped_subscribe(bus, SERVICE, options), *second;
        pid_t pid = role->pid;

        while (told.n < 1)
                must_equal(shmd_wait(bus, (int64_t)PATIENCE_NS), 1);
        must_equal(told.present, 1);
        must_equal(told.peer.pid, pid);
        must_equal(told.peer.uid, getuid());
        until(*(volatile uint64_t *)id == told.peer.id);
        must_equal(strcmp(told.peer.program, "system-join"), 0);
        /* Closing takes its news along. */
        options.user = &both;
        second = stamped_subscribe(bus, SERVICE, options);
        shmd_subscriber_close(second);
        shmd_subscriber_close(subscriber);
        must_equal(both.n, 0);
        role_finish(role);
        must_equal(told.n, 1);
        shmd_close(bus);
}

/* ---- looking around ---------------------------------------------------------------------- */

struct seen {
        unsigned n_services, n_publishers, n_subscribers;
        char first[16], last[16];
        struct shmd_listing publisher, subscriber, service;
};

static void see(void *user, const struct shmd_listing *listing)
{
        struct seen *seen = user;

        switch (listing->what) {
        case SHMD_LISTED_SERVICE:
                if (!seen->n_services++)
                        strncpy(seen->first, listing->service, sizeof(seen->first) - 1);
                strncpy(seen->last, listing->service, sizeof(seen->last) - 1);
                must(strcmp(listing->service, SERVICE) != 0 ||
                     strcmp(listing->type, "stamped") == 0);
                if (!strcmp(listing->service, SERVICE))
                        seen->service = *listing;
                break;
        case SHMD_LISTED_PUBLISHER:
                seen->n_publishers++;
                seen->publisher = *listing;
                must_equal(strcmp(listing->service, SERVICE), 0);
                break;
        case SHMD_LISTED_SUBSCRIBER:
                seen->n_subscribers++;
                if (!strcmp(listing->service, SERVICE))
                        seen->subscriber = *listing;
                break;
        default:
                must(!"a record that is known");
        }
}

static void list_shows_what_there_is(void **state)
{
        struct shmd *one = broker_connect(), *other = broker_connect();
        struct shmd_publisher *publisher =
                stamped_advertise(one, SERVICE, (struct shmd_publisher_options){.depth = 3});
        struct shmd_subscriber *subscriber =
                stamped_subscribe(other, SERVICE, (struct shmd_subscriber_options){0});
        struct shmd_publisher_state status;
        struct seen seen = {0};

        stamped_publish(publisher, 1);
        stamped_publish(publisher, 2);
        must_equal(shmd_publisher_status(publisher, &status), 0);
        must_equal(shmd_list(one, see, &seen), 0);
        must_equal(seen.n_services, 1);
        must_equal(seen.n_publishers, 1);
        must_equal(seen.n_subscribers, 1);
        must_equal(seen.service.publishers, 1);
        must_equal(seen.service.subscribers, 1);
        must_equal(seen.service.segment_size, status.segment_size);
        must_equal(seen.service.sequence, 2);
        must(seen.service.type_hash == shmd_type_hash(stamped_type));
        must_equal(seen.service.type_size, sizeof(struct stamped));
        must_equal(seen.publisher.peer.id, status.id);
        must_equal(seen.publisher.peer.pid, getpid());
        must_equal(seen.publisher.depth, 3);
        must_equal(seen.publisher.holds, 2);
        must_equal(seen.publisher.subscribers, 1);
        must_equal(seen.publisher.max_size, sizeof(struct stamped));
        must_equal(seen.publisher.segment_size, status.segment_size);
        must_equal(seen.publisher.sequence, 2);
        must_equal(seen.subscriber.peer.id, status_of(subscriber).id);
        must_equal(seen.subscriber.publishers, 1);
        must_equal(seen.subscriber.peer.uid, getuid());
        must_equal(shmd_list(one, NULL, NULL), -EINVAL);
        shmd_close(one);
        shmd_close(other);
}

static void long_list_comes_in_order_and_complete(void **state)
{
        struct shmd *bus = broker_connect();
        struct seen seen = {0};
        char name[16];

        for (int i = 299; i >= 0; i--) {
                struct shmd_subscriber *subscriber;

                name[0] = 'n';
                name[1] = (char)('0' + i / 100);
                name[2] = (char)('0' + i / 10 % 10);
                name[3] = (char)('0' + i % 10);
                name[4] = '\0';
                must_equal(shmd_subscribe(&subscriber, bus, name, stamped_type, NULL), 0);
                must_equal(shmd_subscribe(&subscriber, bus, "n150", stamped_type, NULL), 0);
        }
        must_equal(shmd_list(bus, see, &seen), 0);
        must_equal(seen.n_services, 300);
        must_equal(seen.n_subscribers, 600);
        must_equal(strcmp(seen.first, "n000"), 0);
        must_equal(strcmp(seen.last, "n299"), 0);
        shmd_close(bus);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(subscriber_that_was_first_misses_nothing),
                system_test(subscriber_that_was_first_counts_what_it_was_too_late_for),
                system_test(late_joiner_has_history_while_the_publisher_sleeps),
                system_test(sample_taken_from_a_sleeping_publisher_is_not_recycled),
                system_test(what_a_publisher_leaves_can_still_be_taken),
                system_test(subscribers_leave_and_their_chunks_come_back),
                system_test(both_are_told_who_comes_and_goes),
                system_test(list_shows_what_there_is),
                system_test(long_list_comes_in_order_and_complete),
        };

        harness_init(argc, argv);
        return cmocka_run_group_tests_name("system-join", tests, NULL, NULL);
}
