/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resume.c - the broker may die and come back: whoever knew each other goes on, whoever is new is
 * found, and nobody loses its name, its place or its seat.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "comeback.h"

#define SERVICE "resume/samples"

/* ---- two of one process ------------------------------------------------------------------ */

static void those_who_know_each_other_go_on(void **state)
{
        struct shmd *one = broker_connect(), *other = broker_connect();
        struct shmd_publisher *publisher =
                stamped_advertise(one, SERVICE, (struct shmd_publisher_options){0});
        struct shmd_subscriber *subscriber =
                stamped_subscribe(other, SERVICE, (struct shmd_subscriber_options){0});
        uint64_t id = status_of(subscriber).id, connection = state_of(one).id, n = 0;
        struct snapshot before, after;
        struct tally tally = {0};

        for (unsigned round = 1; round <= 10; round++) {
                stamped_publish(publisher, ++n);
                broker_kill();
                stamped_publish(publisher, ++n);
                must_equal(tally_take_all(&tally, subscriber), 2);
                broker_spawn(NULL);
                until_settled(one, other);
                must_equal(state_of(one).losses, round);
                must_equal(state_of(one).returns, round);
                must_equal(state_of(other).stranded, 0);
                must_equal(status_of(subscriber).publishers, 1);
                must_equal(n_subscribers(publisher), 1);
                stamped_publish(publisher, ++n);
                must_equal(tally_take_all(&tally, subscriber), 1);
                if (round == 2)
                        snapshot_take(&before, 0);
        }
        must_equal(tally.taken, n);
        must_equal(tally.lost, 0);
        must(status_of(subscriber).id == id);
        must(state_of(one).id == connection);
        snapshot_take(&after, 0);
        must(snapshot_equal(&before, &after));
        shmd_close(one);
        shmd_close(other);
}

static void broker_that_ended_well_is_followed_as_well(void **state)
{
        struct shmd *one = broker_connect(), *other = broker_connect();
        struct shmd_publisher *publisher =
                stamped_advertise(one, SERVICE, (struct shmd_publisher_options){0});
        struct shmd_subscriber *subscriber =
                stamped_subscribe(other, SERVICE, (struct shmd_subscriber_options){0});
        struct tally tally = {0};

        stamped_publish(publisher, 1);
        broker_terminate(SIGTERM);
        stamped_publish(publisher, 2);
        until(!state_of(one).connected && !state_of(other).connected);
        stamped_publish(publisher, 3);
        broker_spawn(NULL);
        until_settled(one, other);
        stamped_publish(publisher, 4);
        must_equal(tally_take_all(&tally, subscriber), 4);
        must_equal(tally.lost, 0);
        shmd_close(one);
        shmd_close(other);
}

/* The inotify instances of this process, and what they watch. */
static void count_watches(unsigned *n_instances, unsigned *n_watches)
{
        *n_instances = *n_watches = 0;
        for (int fd = 0; fd < 1024; fd++) {
                char path[40], target[40] = "", line[256];
                FILE *info;

                snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
                if (readlink(path, target, sizeof(target) - 1) < 0 || !strstr(target, "inotify"))
                        continue;
                ++*n_instances;
                snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
                info = fopen(path, "re");
                must(info);
                while (fgets(line, sizeof(line), info))
                        *n_watches += !strncmp(line, "inotify wd:", 11);
                fclose(info);
        }
}

/* To close an instance that still watches something takes many milliseconds, in which samples would
 * wait. So when another broker is there the watch goes, and the instance later. */
static void coming_back_does_not_wait_for_the_kernel_to_cease_watching(void **state)
{
        struct shmd *bus = broker_connect();
        unsigned n_instances, n_watches;
        struct snapshot before;

        snapshot_take(&before, 0);
        for (unsigned round = 1; round <= 3; round++) {
                broker_kill();
                until(!state_of(bus).connected);
                count_watches(&n_instances, &n_watches);
                must_equal(n_instances, 1);
                must_equal(n_watches, 1);
                broker_spawn(NULL);
                /* No other call comes between that in which it settles and the count. */
                until(state_of(bus).connected);
                count_watches(&n_instances, &n_watches);
                must_equal(n_instances, 1);
                must_equal(n_watches, 0);
        }
        until_same(bus, &before, "the test");
        shmd_close(bus);
}

static void newcomers_find_those_who_were_there_before(void **state)
{
        struct shmd *one = broker_connect(), *other = broker_connect(), *new;
        struct shmd_publisher *publisher =
                stamped_advertise(one, SERVICE, (struct shmd_publisher_options){0});
        struct shmd_subscriber *subscriber =
                stamped_subscribe(other, SERVICE, (struct shmd_subscriber_options){0});
        struct shmd_subscriber *new_subscriber;
        struct shmd_publisher *new_publisher;
        struct tally tally = {0}, new_tally = {0};

        for (unsigned i = 1; i <= 5; i++)
                stamped_publish(publisher, i);
        restart_broker();
        until_settled(one, other);
        new = broker_connect();
        new_subscriber =
                stamped_subscribe(new, SERVICE, (struct shmd_subscriber_options){.history = 3});
        must_equal(status_of(new_subscriber).publishers, 1);
        must_equal(tally_take_all(&new_tally, new_subscriber), 3);
        new_publisher = stamped_advertise(new, SERVICE, (struct shmd_publisher_options){0});
        must_equal(n_subscribers(new_publisher), 2);
        stamped_publish(new_publisher, 1);
        stamped_publish(publisher, 6);
        until(status_of(subscriber).publishers == 2);
        must_equal(tally_take_all(&tally, subscriber), 7);
        must_equal(tally_take_all(&new_tally, new_subscriber), 2);
        must_equal(tally.lost + new_tally.lost, 0);
        /* And once more, where both boards are known. */
        restart_broker();
        until_settled(one, other);
        until_settled(new, NULL);
        must_equal(n_subscribers(publisher), 2);
        must_equal(n_subscribers(new_publisher), 2);
        stamped_publish(new_publisher, 2);
        stamped_publish(publisher, 7);
        must_equal(tally_take_all(&tally, subscriber), 2);
        must_equal(tally_take_all(&new_tally, new_subscriber), 2);
        shmd_close(one);
        shmd_close(other);
        shmd_close(new);
}

/* ---- what can't be had meanwhile --------------------------------------------------------- */

static void who_asks_the_dead_broker_is_told_so(void **state)
{
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher;
        struct shmd_subscriber *subscriber;

        broker_kill();
        must_equal(shmd_advertise(&publisher, bus, SERVICE, stamped_type, NULL), -ENOTCONN);
        must_say(shmd_error(), "the broker is gone", broker.socket);
        must_equal(shmd_subscribe(&subscriber, bus, SERVICE, stamped_type, NULL), -ENOTCONN);
        must_say(shmd_error(), "the broker is gone", broker.socket);
        must_equal(shmd_connected(bus), 0);
        broker_spawn(NULL);
        /* The request itself brings the connection back. */
        must_equal(shmd_advertise(&publisher, bus, SERVICE, stamped_type, NULL), 0);
        must_equal(shmd_connected(bus), 1);
        must_equal(shmd_subscribe(&subscriber, bus, SERVICE, stamped_type, NULL), 0);
        must_equal(status_of(subscriber).publishers, 1);
        shmd_close(bus);
}

static void count_publishers(void *user, const struct shmd_listing *listing)
{
        *(unsigned *)user += listing->what != SHMD_LISTED_SERVICE;
}

static void broker_that_is_stopped_is_not_taken_for_dead(void **state)
{
        struct shmd *one = broker_connect(), *other = broker_connect();
        struct shmd_publisher *publisher =
                stamped_advertise(one, SERVICE, (struct shmd_publisher_options){0});
        struct shmd_subscriber *subscriber =
                stamped_subscribe(other, SERVICE, (struct shmd_subscriber_options){0});
        struct shmd_publisher *second;
        struct shmd_subscriber *third;
        struct tally tally = {0};
        unsigned n = 0;

        must_equal(kill(broker.pid, SIGSTOP), 0);
        must_equal(shmd_advertise(&second, one, SERVICE, stamped_type, NULL), -ETIMEDOUT);
        must_equal(shmd_subscribe(&third, other, SERVICE, stamped_type, NULL), -ETIMEDOUT);
        must_say(shmd_error(), "does not answer");
        stamped_publish(publisher, 1);
        must_equal(tally_take_all(&tally, subscriber), 1);
        must_equal(kill(broker.pid, SIGCONT), 0);
        /* Both were granted, and are undone. */
        until(state_of(one).connected && state_of(other).connected &&
              (n = 0, shmd_list(one, count_publishers, &n)) == 0 && n == 2);
        must_equal(state_of(one).losses + state_of(other).losses, 0);
        must_equal(status_of(subscriber).publishers, 1);
        must_equal(n_subscribers(publisher), 1);
        second = stamped_advertise(one, SERVICE, (struct shmd_publisher_options){0});
        third = stamped_subscribe(other, SERVICE, (struct shmd_subscriber_options){0});
        must_equal(n_subscribers(second), 2);
        must_equal(status_of(third).publishers, 2);
        stamped_publish(publisher, 2);
        must_equal(tally_take_all(&tally, subscriber), 1);
        must_equal(tally.lost, 0);
        shmd_close(one);
        shmd_close(other);
}

/* ---- seats, names and types -------------------------------------------------------------- */

static void seat_is_kept_for_who_had_it(void **state)
{
        struct shmd *one = broker_connect(), *other = broker_connect(), *thief;
        struct shmd_publisher *publisher = stamped_advertise(
                one, SERVICE, (struct shmd_publisher_options){.max_subscribers = 1});
        struct shmd_subscriber *subscriber =
                stamped_subscribe(other, SERVICE, (struct shmd_subscriber_options){0});
        struct shmd_subscriber *stolen;
        struct tally tally = {0};

        stamped_publish(publisher, 1);
        restart_broker();
        /* Nobody else is there yet: it waits for those who may come back, and then is let in. */
        thief = broker_connect();
        must_equal(shmd_subscribe(&stolen, thief, SERVICE, stamped_type, NULL), 0);
        must_equal(status_of(stolen).publishers, 0);
        until_settled(one, NULL);
        until(status_of(stolen).refused == 1);
        must_equal(n_subscribers(publisher), 1);
        /* The publisher is there, the subscriber not yet. */
        shmd_subscriber_close(stolen);
        must_equal(shmd_subscribe(&stolen, thief, SERVICE, stamped_type, NULL), -ERANGE);
        must_say(shmd_error(), "max_subscribers 1");
        until_settled(other, NULL);
        must_equal(status_of(subscriber).publishers, 1);
        stamped_publish(publisher, 2);
        must_equal(tally_take_all(&tally, subscriber), 2);
        must_equal(tally.lost, 0);
        must_equal(shmd_subscribe(&stolen, thief, SERVICE, stamped_type, NULL), -ERANGE);
        /* It is free when it is given up. */
        shmd_subscriber_close(subscriber);
        until(shmd_subscribe(&stolen, thief, SERVICE, stamped_type, NULL) == 0);
        stamped_publish(publisher, 3);
        must_equal(tally_take_all(&tally, stolen), 1);
        shmd_close(one);
        shmd_close(other);
        shmd_close(thief);
}

static void wait_for_the_end(struct shmd *bus)
{
        while (!has_heard('e'))
                shmd_wait(bus, (int64_t)(10 * MS));
}

static void publish_one_and_wait(void *argument)
{
        struct shmd *bus = broker_connect_with(SHMD_SPIN_NEVER, NULL);
        struct shmd_publisher *publisher =
                stamped_advertise(bus, SERVICE, (struct shmd_publisher_options){0});

        stamped_publish(publisher, 1);
        say('r');
        wait_for_the_end(bus);
        shmd_close(bus);
}

static void type_of_a_service_is_kept_for_who_had_it(void **state)
{
        struct role *role = role_start("publisher", publish_one_and_wait, NULL);
        struct shmd *thief;
        struct shmd_publisher *stolen;
        unsigned n_refused = 0;

        role_await(role, 'r');
        for (unsigned i = 0; i < 5; i++) {
                uint64_t begin = harness_now();
                int code;

                restart_broker();
                thief = broker_connect();
                code = shmd_advertise(&stolen, thief, SERVICE, &shmd_bytes, NULL);
                n_refused += code == -EPROTOTYPE;
                /* On a machine that is too busy it may have waited in vain, but not less. */
                must(code == -EPROTOTYPE || (code == 0 && harness_now() - begin >= 1000 * MS));
                shmd_close(thief);
        }
        must(n_refused);
        role_tell(role, 'e');
        role_finish(role);
}

static void who_comes_back_too_late_goes_on_with_whom_it_knows(void **state)
{
        struct shmd *one = broker_connect(), *other = broker_connect(), *thief;
        struct shmd_publisher *publisher =
                stamped_advertise(one, SERVICE, (struct shmd_publisher_options){0});
        struct shmd_subscriber *subscriber =
                stamped_subscribe(other, SERVICE, (struct shmd_subscriber_options){0});
        struct shmd_publisher *stolen;
        struct tally tally = {0};

        restart_broker();
        thief = broker_connect();
        must_equal(shmd_advertise(&stolen, thief, SERVICE, &shmd_bytes, NULL), 0);
        until_settled(one, other);
        must_equal(state_of(one).stranded, 1);
        must_equal(state_of(other).stranded, 1);
        for (unsigned i = 1; i <= 100; i++) {
                stamped_publish(publisher, i);
                must_equal(tally_take_all(&tally, subscriber), 1);
        }
        must_equal(status_of(subscriber).publishers, 1);
        must_equal(n_subscribers(publisher), 1);
        /* The next broker is asked again. */
        shmd_close(thief);
        restart_broker();
        until_settled(one, other);
        must_equal(state_of(one).stranded + state_of(other).stranded, 0);
        must_equal(tally.lost, 0);
        shmd_close(one);
        shmd_close(other);
}

/* ---- loops ------------------------------------------------------------------------------- */

struct told {
        int n_gone, n_back, n_samples;
        struct tally tally;
        uv_loop_t *loop;
};

static void note_broker(void *user, int present)
{
        struct told *told = user;

        told->n_gone += !present;
        told->n_back += present;
        must_equal(told->n_gone, told->n_back + !present);
}

static void note_samples(void *user, struct shmd_subscriber *subscriber)
{
        struct told *told = user;

        told->n_samples += (int)tally_take_all(&told->tally, subscriber);
}

static void own_loop_hears_that_the_broker_goes_and_comes(void **state)
{
        struct told told = {0};
        uv_loop_t loop;
        struct shmd_connect_options options = {.size = sizeof(options),
                                               .socket = broker.socket,
                                               .loop = &loop,
                                               .on_broker = note_broker,
                                               .user = &told};
        struct shmd *bus, *other = broker_connect();
        struct shmd_publisher *publisher =
                stamped_advertise(other, SERVICE, (struct shmd_publisher_options){0});
        uint64_t n = 0;

        must_equal(uv_loop_init(&loop), 0);
        must_equal(shmd_connect(&bus, &options), 0);
        stamped_subscribe(
                bus, SERVICE,
                (struct shmd_subscriber_options){.on_sample = note_samples, .user = &told});
        for (int round = 1; round <= 3; round++) {
                broker_kill();
                while (told.n_gone < round)
                        uv_run(&loop, UV_RUN_ONCE);
                stamped_publish(publisher, ++n);
                while (told.n_samples < (int)n)
                        uv_run(&loop, UV_RUN_ONCE);
                broker_spawn(NULL);
                while (told.n_back < round)
                        uv_run(&loop, UV_RUN_ONCE);
                stamped_publish(publisher, ++n);
                while (told.n_samples < (int)n)
                        uv_run(&loop, UV_RUN_ONCE);
        }
        must_equal(told.tally.lost, 0);
        shmd_close(bus);
        while (uv_run(&loop, UV_RUN_DEFAULT))
                ;
        must_equal(uv_loop_close(&loop), 0);
        shmd_close(other);
}

static void descriptor_for_other_loops_becomes_readable(void **state)
{
        struct told told = {0};
        struct shmd_connect_options options = {.size = sizeof(options),
                                               .socket = broker.socket,
                                               .on_broker = note_broker,
                                               .user = &told};
        struct shmd *bus;
        int n_lost = 0;

        must_equal(shmd_connect(&bus, &options), 0);
        stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});
        for (int round = 1; round <= 3; round++) {
                broker_kill();
                for (int is_up = 0; told.n_back < round;) {
                        struct pollfd entry = {.fd = shmd_fd(bus), .events = POLLIN};
                        int code = shmd_prepare(bus);

                        must(code >= 0);
                        if (!code)
                                must_equal(poll(&entry, 1, (int)(PATIENCE_NS / MS)), 1);
                        n_lost += shmd_dispatch(bus) == -ENOTCONN;
                        if (!is_up && told.n_gone == round) {
                                broker_spawn(NULL);
                                is_up = 1;
                        }
                }
        }
        must_equal(n_lost, 3);
        shmd_close(bus);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(those_who_know_each_other_go_on),
                system_test(broker_that_ended_well_is_followed_as_well),
                system_test(coming_back_does_not_wait_for_the_kernel_to_cease_watching),
                system_test(newcomers_find_those_who_were_there_before),
                system_test(who_asks_the_dead_broker_is_told_so),
                system_test(broker_that_is_stopped_is_not_taken_for_dead),
                system_test(seat_is_kept_for_who_had_it),
                system_test(type_of_a_service_is_kept_for_who_had_it),
                system_test(who_comes_back_too_late_goes_on_with_whom_it_knows),
                system_test(own_loop_hears_that_the_broker_goes_and_comes),
                system_test(descriptor_for_other_loops_becomes_readable),
        };

        harness_init(argc, argv);
        return cmocka_run_group_tests_name("system-resume", tests, NULL, NULL);
}
