/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resume-alone.c - what befalls those who are without a broker for a while: they leave, die, sleep,
 * are stopped, or make no call.
 */
#include <errno.h>
#include <unistd.h>

#include "comeback.h"

#define SERVICE "resume/samples"

/* ---- who leaves or dies while there is no broker ----------------------------------------- */

static void who_leaves_meanwhile_is_let_go_of(void **state)
{
        struct shmd *one = broker_connect(), *other = broker_connect(), *third = broker_connect();
        struct shmd_publisher *publisher = stamped_advertise(
                one, SERVICE, (struct shmd_publisher_options){.max_subscribers = 2});
        struct shmd_publisher *second =
                stamped_advertise(one, SERVICE, (struct shmd_publisher_options){0});
        struct shmd_subscriber *subscriber =
                stamped_subscribe(other, SERVICE, (struct shmd_subscriber_options){0});
        struct shmd_subscriber *leaver =
                stamped_subscribe(third, SERVICE, (struct shmd_subscriber_options){0});
        struct shmd_subscriber *same_bus;

        must_equal(n_subscribers(publisher), 2);
        broker_kill();
        until(!state_of(one).connected && !state_of(other).connected);
        /* One with its connection, one without. */
        shmd_close(third);
        (void)leaver;
        shmd_publisher_close(second);
        until(n_subscribers(publisher) == 1);
        until(status_of(subscriber).publishers == 1);
        broker_spawn(NULL);
        until_settled(one, other);
        until(n_subscribers(publisher) == 1);
        must_equal(status_of(subscriber).publishers, 1);
        same_bus = stamped_subscribe(other, SERVICE, (struct shmd_subscriber_options){0});
        must_equal(n_subscribers(publisher), 2);
        broker_kill();
        until(!state_of(one).connected && !state_of(other).connected);
        shmd_subscriber_close(same_bus);
        /* Its connection has not said so to anybody yet. */
        must_equal(n_subscribers(publisher), 2);
        broker_spawn(NULL);
        until_settled(one, other);
        until(n_subscribers(publisher) == 1);
        /* Both seats can be had. */
        same_bus = stamped_subscribe(other, SERVICE, (struct shmd_subscriber_options){0});
        shmd_close(one);
        shmd_close(other);
}

static void take_one_and_pause(void *argument)
{
        struct shmd *bus = broker_connect_with(SHMD_SPIN_NEVER, NULL);
        struct shmd_subscriber *subscriber =
                stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){.history = 1});
        struct shmd_sample sample;

        must_equal(shmd_take(subscriber, &sample), 1);
        say('t');
        /* It calls nothing, and is killed. */
        for (;;)
                pause();
}

static void memory_of_who_dies_without_a_broker_comes_back(void **state)
{
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher = stamped_advertise(
                bus, SERVICE,
                (struct shmd_publisher_options){
                        .depth = 1, .loans = 1, .chunks = 3, .max_subscribers = 2});
        struct role *role, *other;
        void *data;

        stamped_publish(publisher, 1);
        role = role_start("holder", take_one_and_pause, NULL);
        role_await(role, 't');
        stamped_publish(publisher, 2);
        other = role_start("other", take_one_and_pause, NULL);
        role_await(other, 't');
        broker_kill();
        stamped_publish(publisher, 3);
        /* Two are held, one is kept. */
        must_equal(shmd_loan(publisher, &data), -ENOBUFS);
        role_kill(role);
        until(shmd_loan(publisher, &data) == 0);
        must_equal(shmd_discard(publisher, data), 0);
        must_equal(n_subscribers(publisher), 1);
        role_kill(other);
        until(n_subscribers(publisher) == 0);
        /* And the seats. */
        broker_spawn(NULL);
        until_settled(bus, NULL);
        role = role_start("holder", take_one_and_pause, NULL);
        role_await(role, 't');
        must_equal(n_subscribers(publisher), 1);
        /* The same when the broker is there again before it dies. */
        restart_broker();
        until_settled(bus, NULL);
        must_equal(n_subscribers(publisher), 1);
        role_kill(role);
        until(n_subscribers(publisher) == 0);
        role = role_start("holder", take_one_and_pause, NULL);
        role_await(role, 't');
        role_kill(role);
        until(n_subscribers(publisher) == 0);
        shmd_close(bus);
}

static void seat_of_who_died_is_given_away_though_the_publisher_says_nothing(void **state)
{
        struct shmd *bus = broker_connect(), *other;
        struct shmd_publisher *publisher = stamped_advertise(
                bus, SERVICE, (struct shmd_publisher_options){.max_subscribers = 1});
        struct shmd_subscriber *subscriber;
        struct role *role;

        stamped_publish(publisher, 1);
        role = role_start("holder", take_one_and_pause, NULL);
        role_await(role, 't');
        restart_broker();
        until_settled(bus, NULL);
        other = broker_connect();
        must_equal(shmd_subscribe(&subscriber, other, SERVICE, stamped_type, NULL), -ERANGE);
        role_kill(role);
        /* The publisher makes no call. */
        until(shmd_subscribe(&subscriber, other, SERVICE, stamped_type, NULL) == 0);
        must_equal(status_of(subscriber).publishers, 1);
        must_equal(n_subscribers(publisher), 1);
        shmd_close(bus);
        shmd_close(other);
}

static void count_peers(void *user, const struct shmd_peer *peer, int present)
{
        int *n = user;

        *n += present ? 1 : -1;
}

static void publish_one_and_pause(void *argument)
{
        struct shmd *bus = broker_connect();

        stamped_publish(stamped_advertise(bus, SERVICE, (struct shmd_publisher_options){0}), 1);
        say('p');
        for (;;)
                pause();
}

static void sleeper_is_told_of_a_publisher_that_dies_without_a_broker(void **state)
{
        struct shmd *bus = broker_connect_with(SHMD_SPIN_NEVER, NULL);
        int n = 0;
        struct shmd_subscriber *subscriber = stamped_subscribe(
                bus, SERVICE,
                (struct shmd_subscriber_options){.on_publisher = count_peers, .user = &n});
        struct role *role = role_start("publisher", publish_one_and_pause, NULL);
        struct tally tally = {0};

        role_await(role, 'p');
        while (n == 0)
                must_equal(shmd_wait(bus, (int64_t)PATIENCE_NS), 1);
        must_equal(tally_take_all(&tally, subscriber), 1);
        broker_kill();
        must_equal(shmd_wait(bus, (int64_t)PATIENCE_NS), -ENOTCONN);
        must_equal(n, 1);
        role_kill(role);
        while (n == 1)
                must_equal(shmd_wait(bus, (int64_t)PATIENCE_NS), 1);
        must_equal(status_of(subscriber).publishers, 0);
        shmd_close(bus);
}

/* ---- stopped, idle, or not asked --------------------------------------------------------- */

/* Takes one, holds it, and goes on when it is told to; meanwhile it may be stopped. */
static void hold_throughout(void *argument)
{
        struct shmd *bus = broker_connect_with(SHMD_SPIN_NEVER, NULL);
        struct shmd_subscriber *subscriber =
                stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){.history = 1});
        struct shmd_sample sample;
        struct tally tally = {0};

        must_equal(shmd_take(subscriber, &sample), 1);
        tally_add(&tally, &sample);
        say('t');
        hear('g');
        must(stamped_is_whole(sample.data));
        must_equal(((const struct stamped *)sample.data)->number, sample.sequence);
        tally_take_all(&tally, subscriber);
        must(stamped_is_whole(sample.data));
        must_equal(shmd_release(subscriber, &sample), 0);
        while (!state_of(bus).returns)
                shmd_wait(bus, (int64_t)(10 * MS));
        must_equal(status_of(subscriber).publishers, 1);
        say('b');
        while (shmd_wait(bus, (int64_t)PATIENCE_NS) < 1 || !tally_take_all(&tally, subscriber))
                ;
        must_equal(tally.of[0].last, 1000);
        say('l');
        hear('e');
        shmd_close(bus);
}

static void hold_while_the_broker_is_exchanged(bool is_stopped)
{
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher = stamped_advertise(
                bus, SERVICE,
                (struct shmd_publisher_options){
                        .depth = 2, .loans = 1, .chunks = 5, .max_subscribers = 1});
        struct shmd_subscriber *thief;
        struct role *role;
        uint64_t n = 1;

        stamped_publish(publisher, n);
        role = role_start("holder", hold_throughout, NULL);
        role_await(role, 't');
        if (is_stopped)
                role_stop(role);
        while (n < 500)
                stamped_publish(publisher, ++n);
        broker_kill();
        while (n < 700)
                stamped_publish(publisher, ++n);
        broker_spawn(NULL);
        until_settled(bus, NULL);
        while (n < 999)
                stamped_publish(publisher, ++n);
        must_equal(shmd_subscribe(&thief, bus, SERVICE, stamped_type, NULL), -ERANGE);
        if (is_stopped)
                role_continue(role);
        role_tell(role, 'g');
        role_await(role, 'b');
        until(process_is_asleep(role->pid));
        stamped_publish(publisher, ++n);
        role_await(role, 'l');
        role_tell(role, 'e');
        role_finish(role);
        shmd_close(bus);
}

static void what_a_stopped_subscriber_holds_is_there_when_it_goes_on(void **state)
{
        hold_while_the_broker_is_exchanged(true);
}

static void who_makes_no_call_comes_back_when_it_does(void **state)
{
        hold_while_the_broker_is_exchanged(false);
}

/* A publisher that is stopped while somebody joins, and the broker dies. */
static void publish_when_told(void *argument)
{
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher = stamped_advertise(
                bus, SERVICE, (struct shmd_publisher_options){.depth = 2, .loans = 1, .chunks = 6});

        stamped_publish(publisher, 1);
        stamped_publish(publisher, 2);
        say('r');
        hear('g');
        for (uint64_t n = 3; n <= 200; n++)
                stamped_publish(publisher, n);
        must_equal(n_subscribers(publisher), 1);
        say('p');
        until(state_of(bus).returns == 1);
        must_equal(n_subscribers(publisher), 1);
        hear('e');
        shmd_close(bus);
}

static void introduction_that_the_dead_broker_had_queued_counts(void **state)
{
        struct role *role = role_start("publisher", publish_when_told, NULL);
        struct shmd *bus = broker_connect();
        struct shmd_subscriber *subscriber;
        struct shmd_sample held[2];
        struct tally tally = {0};

        role_await(role, 'r');
        role_stop(role);
        subscriber =
                stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){.history = 2});
        for (unsigned i = 0; i < 2; i++) {
                must_equal(shmd_take(subscriber, &held[i]), 1);
                tally_add(&tally, &held[i]);
        }
        broker_kill();
        role_continue(role);
        role_tell(role, 'g');
        role_await(role, 'p');
        for (unsigned i = 0; i < 2; i++) {
                must(stamped_is_whole(held[i].data));
                must_equal(((const struct stamped *)held[i].data)->number, i + 1);
                must_equal(shmd_release(subscriber, &held[i]), 0);
        }
        tally_take_all(&tally, subscriber);
        must_equal(tally.taken + tally.lost, 200);
        broker_spawn(NULL);
        until_settled(bus, NULL);
        must_equal(status_of(subscriber).publishers, 1);
        role_tell(role, 'e');
        role_finish(role);
        shmd_close(bus);
}

/* ---- asleep ------------------------------------------------------------------------------ */

/* Sleeps, and says each sample. */
static void sleep_for_samples(void *argument)
{
        struct shmd *bus = broker_connect_with(SHMD_SPIN_NEVER, NULL);
        struct shmd_subscriber *subscriber =
                stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});
        struct tally tally = {0};

        say('r');
        while (!has_heard('e')) {
                int code = shmd_wait(bus, SHMD_FOREVER);

                must(code == 1 || code == -ENOTCONN);
                for (unsigned n = tally_take_all(&tally, subscriber); n; n--)
                        say('s');
        }
        must_equal(tally.lost, 0);
        shmd_close(bus);
}

static void publish_to_a_sleeper(struct shmd_publisher *publisher, uint64_t n, struct role *role)
{
        until(process_is_asleep(role->pid));
        stamped_publish(publisher, n);
        role_await(role, 's');
}

static void sleeper_is_woken_by_publishers_on_old_boards_and_new(void **state)
{
        struct role *role = NULL;
        struct shmd *bus = broker_connect(), *new;
        struct shmd_publisher *old =
                stamped_advertise(bus, SERVICE, (struct shmd_publisher_options){0});
        struct shmd_publisher *other[3];
        uint64_t n = 0;

        role = role_start("sleeper", sleep_for_samples, NULL);
        role_await(role, 'r');
        publish_to_a_sleeper(old, ++n, role);
        for (unsigned i = 0; i < N_ELEMENTS(other); i++) {
                broker_kill();
                publish_to_a_sleeper(old, ++n, role);
                broker_spawn(NULL);
                publish_to_a_sleeper(old, ++n, role);
                until_settled(bus, NULL);
                new = broker_connect();
                other[i] = stamped_advertise(new, SERVICE, (struct shmd_publisher_options){0});
                until(n_subscribers(other[i]) == 1);
                for (unsigned k = 1; k <= 3; k++) {
                        publish_to_a_sleeper(other[i], k, role);
                        publish_to_a_sleeper(old, ++n, role);
                }
                shmd_close(new);
        }
        role_tell(role, 'e');
        /* It may have been awake, to hear of who has left. */
        stamped_publish(old, ++n);
        role_finish(role);
        shmd_close(bus);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(who_leaves_meanwhile_is_let_go_of),
                system_test(memory_of_who_dies_without_a_broker_comes_back),
                system_test(seat_of_who_died_is_given_away_though_the_publisher_says_nothing),
                system_test(sleeper_is_told_of_a_publisher_that_dies_without_a_broker),
                system_test(what_a_stopped_subscriber_holds_is_there_when_it_goes_on),
                system_test(who_makes_no_call_comes_back_when_it_does),
                system_test(introduction_that_the_dead_broker_had_queued_counts),
                system_test(sleeper_is_woken_by_publishers_on_old_boards_and_new),
        };

        harness_init(argc, argv);
        return cmocka_run_group_tests_name("system-resume-alone", tests, NULL, NULL);
}
