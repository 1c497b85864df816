/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wait.c - the ways to wait: shmd_wait(), a descriptor for any loop, callbacks in a uv_loop_t.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "harness.h"
#include "stamped.h"

#define SERVICE "wait/samples"
#define N_PINGS 500

/* Publishes sample n when n - 1 was taken, and when its reader has gone to sleep: each needs a
 * wake-up. */
struct pings {
        uint64_t taken; /* by the reader */
};

static void publish_to_sleeper(void *argument)
{
        const struct pings *pings = argument;
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher =
                stamped_advertise(bus, SERVICE, (struct shmd_publisher_options){0});
        pid_t reader = getppid();

        hear('g');
        for (uint64_t n = 1; n <= N_PINGS; n++) {
                while (__atomic_load_n(&pings->taken, __ATOMIC_ACQUIRE) != n - 1)
                        sched_yield();
                while (n % 10 == 0 && !process_is_asleep(reader))
                        sched_yield();
                stamped_publish(publisher, n);
        }
        hear('e');
        shmd_close(bus);
}

static void note_taken(struct pings *pings, const struct tally *tally)
{
        __atomic_store_n(&pings->taken, tally->taken, __ATOMIC_RELEASE);
}

static void await_publisher(struct shmd_subscriber *subscriber)
{
        struct shmd_subscriber_state status;

        until(shmd_subscriber_status(subscriber, &status) == 0 && status.publishers == 1);
}

/* A wait that ends only because time is over finds what it was not woken for. */
static void wait_for_news(struct shmd *bus)
{
        uint64_t begin = harness_now();

        must_equal(shmd_wait(bus, (int64_t)PATIENCE_NS), 1);
        must(harness_now() - begin < PATIENCE_NS / 2);
}

/* ---- shmd_wait() ------------------------------------------------------------------------- */

static void check_time_out(struct shmd *bus, uint64_t timeout_ns)
{
        uint64_t begin = harness_now(), took;

        must_equal(shmd_wait(bus, (int64_t)timeout_ns), 0);
        took = harness_now() - begin;
        must(took >= timeout_ns);
        must(took < timeout_ns + 1000 * MS);
}

static void wait_ends_when_time_is_over_and_not_before(void **state)
{
        static const uint32_t spins[] = {0, SHMD_SPIN_NEVER, 3 * MS};
        static const uint64_t times[] = {1, 1000, 20000, 1500000, 30 * MS, 100 * MS};

        for (unsigned i = 0; i < N_ELEMENTS(spins); i++) {
                struct shmd *bus = broker_connect_with(spins[i], NULL);

                must_equal(shmd_wait(bus, 0), 0);
                for (unsigned j = 0; j < N_ELEMENTS(times); j++)
                        check_time_out(bus, times[j]);
                stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});
                for (unsigned j = 0; j < N_ELEMENTS(times); j++)
                        check_time_out(bus, times[j]);
                stamped_advertise(bus, SERVICE, (struct shmd_publisher_options){0});
                must_equal(shmd_wait(bus, 0), 1); /* they have met */
                for (unsigned j = 0; j < N_ELEMENTS(times); j++)
                        check_time_out(bus, times[j]);
                must_equal(shmd_wait(bus, -2), -EINVAL);
                must_say(shmd_error(), "-2 ns");
                shmd_close(bus);
        }
}

static void wait_sees_what_is_there_already(void **state)
{
        struct shmd *bus = broker_connect_with(SHMD_SPIN_NEVER, NULL);
        struct shmd_subscriber *subscriber =
                stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});
        struct shmd_publisher *publisher =
                stamped_advertise(bus, SERVICE, (struct shmd_publisher_options){0});
        struct tally tally = {0};

        must_equal(shmd_wait(bus, SHMD_FOREVER), 1);
        stamped_publish(publisher, 1);
        for (unsigned i = 0; i < 3; i++) {
                must_equal(shmd_wait(bus, 0), 1);
                must_equal(shmd_wait(bus, SHMD_FOREVER), 1);
        }
        must_equal(tally_take_all(&tally, subscriber), 1);
        must_equal(shmd_wait(bus, 0), 0);
        shmd_close(bus);
}

static void full_hands_are_not_woken_until_they_let_go(void **state)
{
        struct shmd *bus = broker_connect_with(SHMD_SPIN_NEVER, NULL), *other = broker_connect();
        struct shmd_subscriber *subscriber =
                stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});
        struct shmd_publisher *publisher =
                stamped_advertise(other, SERVICE, (struct shmd_publisher_options){0});
        struct shmd_sample samples[2];

        await_publisher(subscriber);
        must_equal(shmd_wait(bus, 0), 1);
        for (unsigned i = 0; i < 2; i++) {
                stamped_publish(publisher, i + 1);
                must_equal(shmd_take(subscriber, &samples[i]), 1);
        }
        must_equal(shmd_wait(bus, 5 * MS), 0);
        stamped_publish(publisher, 3);
        must_equal(shmd_wait(bus, 5 * MS), 0);
        must_equal(shmd_release(subscriber, &samples[0]), 0);
        must_equal(shmd_wait(bus, SHMD_FOREVER), 1);
        must_equal(shmd_take(subscriber, &samples[0]), 1);
        must_equal(samples[0].sequence, 3);
        shmd_close(bus);
        shmd_close(other);
}

static void read_with_wait(uint32_t spin_ns)
{
        struct pings *pings = shared_memory(sizeof(*pings));
        struct role *role = role_start("publisher", publish_to_sleeper, pings);
        struct shmd *bus = broker_connect_with(spin_ns, NULL);
        struct shmd_subscriber *subscriber =
                stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});
        struct tally tally = {0};

        await_publisher(subscriber);
        role_tell(role, 'g');
        while (tally.taken < N_PINGS) {
                wait_for_news(bus);
                tally_take_all(&tally, subscriber);
                note_taken(pings, &tally);
        }
        must_equal(tally.lost, 0);
        must_equal(shmd_wait(bus, 0), 0);
        role_tell(role, 'e');
        role_finish(role);
        shmd_close(bus);
}

static void wait_is_woken_by_another_process(void **state)
{
        read_with_wait(SHMD_SPIN_NEVER);
}

static void wait_that_spins_first_is_woken_as_well(void **state)
{
        read_with_wait(0);
}

static void on_signal(int number)
{
        (void)number;
}

static void signal_handler_ends_a_wait(void **state)
{
        struct sigaction action = {.sa_handler = on_signal}, before;
        struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
        /* Again and again: the first may come before the wait. */
        struct itimerspec time = {.it_value = {.tv_nsec = 5000000},
                                  .it_interval = {.tv_nsec = 5000000}};
        struct shmd *bus = broker_connect();
        struct shmd_subscriber *subscriber =
                stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});
        struct shmd_publisher *publisher;
        struct tally tally = {0};
        timer_t timer;

        must_equal(sigaction(SIGUSR1, &action, &before), 0);
        must_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
        must_equal(timer_settime(timer, 0, &time, NULL), 0);
        for (unsigned i = 0; i < 3; i++) {
                must_equal(shmd_wait(bus, SHMD_FOREVER), -EINTR);
                must_say(shmd_error(), "signal");
        }
        must_equal(timer_delete(timer), 0);
        must_equal(sigaction(SIGUSR1, &before, NULL), 0);
        /* And nothing was lost by it. */
        publisher = stamped_advertise(bus, SERVICE, (struct shmd_publisher_options){0});
        stamped_publish(publisher, 1);
        must_equal(shmd_wait(bus, (int64_t)PATIENCE_NS), 1);
        must_equal(tally_take_all(&tally, subscriber), 1);
        shmd_close(bus);
}

/* ---- a descriptor ------------------------------------------------------------------------ */

static void descriptor_works_in_a_loop_of_ones_own(void **state)
{
        struct pings *pings = shared_memory(sizeof(*pings));
        struct role *role = role_start("publisher", publish_to_sleeper, pings);
        struct shmd *bus = broker_connect();
        struct shmd_subscriber *subscriber =
                stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});
        struct epoll_event event = {.events = EPOLLIN};
        struct tally tally = {0};
        int epoll = epoll_create1(EPOLL_CLOEXEC), fd = shmd_fd(bus);
        unsigned n_sleeps = 0;

        must(fd >= 0);
        must_equal(shmd_fd(bus), fd);
        must_equal(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), 0);
        await_publisher(subscriber);
        role_tell(role, 'g');
        while (tally.taken < N_PINGS) {
                if (shmd_prepare(bus) == 0) {
                        n_sleeps++;
                        must_equal(epoll_wait(epoll, &event, 1, (int)(PATIENCE_NS / MS)), 1);
                }
                must(shmd_dispatch(bus) >= 0);
                tally_take_all(&tally, subscriber);
                note_taken(pings, &tally);
        }
        must_equal(tally.lost, 0);
        must(n_sleeps >= N_PINGS / 10);
        must_equal(shmd_dispatch(bus), 0);
        /* Nothing more comes, and so the descriptor is silent. */
        until(shmd_dispatch(bus) == 0 && shmd_prepare(bus) == 0 &&
              epoll_wait(epoll, &event, 1, 0) == 0);
        must_equal(shmd_prepare(bus), 0);
        role_tell(role, 'e');
        role_finish(role);
        /* That the publisher has gone is news too. */
        must_equal(epoll_wait(epoll, &event, 1, (int)(PATIENCE_NS / MS)), 1);
        must_equal(shmd_dispatch(bus), 1);
        close(epoll);
        shmd_close(bus);
}

static void dispatch_says_what_is_left(void **state)
{
        struct shmd *bus = broker_connect();
        struct shmd_subscriber *subscriber =
                stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});
        struct shmd_publisher *publisher =
                stamped_advertise(bus, SERVICE, (struct shmd_publisher_options){0});
        struct tally tally = {0};

        must_equal(shmd_prepare(bus), 1); /* they have met */
        must_equal(shmd_dispatch(bus), 1);
        must_equal(shmd_dispatch(bus), 0);
        must_equal(shmd_prepare(bus), 0);
        stamped_publish(publisher, 1);
        for (unsigned i = 0; i < 3; i++)
                must_equal(shmd_dispatch(bus), 1);
        tally_take_all(&tally, subscriber);
        must_equal(shmd_dispatch(bus), 0);
        shmd_close(bus);
}

/* ---- callbacks --------------------------------------------------------------------------- */

struct room {
        uv_loop_t loop;
        struct shmd *bus, *other;
        struct shmd_subscriber *subscriber;
        struct shmd_publisher *publisher;
        struct pings *pings;
        struct tally tally;
        unsigned n_calls;
        int n_publishers, n_subscribers;
};

static void on_peer_of_subscriber(void *user, const struct shmd_peer *peer, int present)
{
        struct room *room = user;

        must(peer->id);
        room->n_publishers += present ? 1 : -1;
        if (!room->n_publishers)
                uv_stop(&room->loop);
}

static void on_peer_of_publisher(void *user, const struct shmd_peer *peer, int present)
{
        struct room *room = user;

        must(peer->id);
        room->n_subscribers += present ? 1 : -1;
}

/* Takes one only: it has to be called again as long as there are more. */
static void on_sample(void *user, struct shmd_subscriber *subscriber)
{
        struct room *room = user;
        struct shmd_sample sample;

        room->n_calls++;
        must_equal(shmd_take(subscriber, &sample), 1);
        tally_add(&room->tally, &sample);
        must_equal(shmd_release(subscriber, &sample), 0);
        if (room->pings) {
                note_taken(room->pings, &room->tally);
                if (room->tally.taken == N_PINGS)
                        uv_stop(&room->loop);
        }
}

static void room_open(struct room *room)
{
        struct shmd_subscriber_options options = {
                .on_sample = on_sample, .on_publisher = on_peer_of_subscriber, .user = room};

        must_equal(uv_loop_init(&room->loop), 0);
        room->bus = broker_connect_with(0, &room->loop);
        room->subscriber = stamped_subscribe(room->bus, SERVICE, options);
}

static void room_close(struct room *room)
{
        shmd_close(room->bus);
        shmd_close(room->other);
        must_equal(uv_run(&room->loop, UV_RUN_DEFAULT), 0);
        must_equal(uv_loop_close(&room->loop), 0);
}

static void loop_of_the_user_runs_the_callbacks(void **state)
{
        struct room room = {.pings = shared_memory(sizeof(struct pings))};
        struct role *role = role_start("publisher", publish_to_sleeper, room.pings);

        room_open(&room);
        must_equal(shmd_wait(room.bus, 0), -EINVAL);
        must_say(shmd_error(), "shmd_wait", "uv_loop_t");
        must_equal(shmd_fd(room.bus), -EINVAL);
        must_equal(shmd_prepare(room.bus), -EINVAL);
        must_equal(shmd_dispatch(room.bus), -EINVAL);
        while (!room.n_publishers)
                uv_run(&room.loop, UV_RUN_ONCE);
        role_tell(role, 'g');
        uv_run(&room.loop, UV_RUN_DEFAULT);
        must_equal(room.tally.taken, N_PINGS);
        must_equal(room.tally.lost, 0);
        must_equal(room.n_calls, N_PINGS);
        role_tell(role, 'e');
        /* Until it has gone. */
        uv_run(&room.loop, UV_RUN_DEFAULT);
        must_equal(room.n_publishers, 0);
        role_finish(role);
        room_close(&room);
}

static void on_turn(uv_timer_t *timer)
{
        struct room *room = timer->data;

        for (unsigned i = 0; i < 3; i++)
                stamped_publish(room->publisher, room->tally.taken + 1 + i);
}

static void two_connections_share_a_loop(void **state)
{
        struct room room = {0};
        uv_timer_t timer;

        room_open(&room);
        room.other = broker_connect_with(0, &room.loop);
        room.publisher =
                stamped_advertise(room.other, SERVICE,
                                  (struct shmd_publisher_options){
                                          .on_subscriber = on_peer_of_publisher, .user = &room});
        while (room.n_publishers != 1 || room.n_subscribers != 1)
                uv_run(&room.loop, UV_RUN_ONCE);
        must_equal(uv_timer_init(&room.loop, &timer), 0);
        timer.data = &room;
        for (unsigned round = 1; round <= 20; round++) {
                must_equal(uv_timer_start(&timer, on_turn, 1, 0), 0);
                while (room.tally.taken < 3 * round)
                        uv_run(&room.loop, UV_RUN_ONCE);
                must_equal(room.n_calls, 3 * round);
        }
        shmd_subscriber_close(room.subscriber);
        while (room.n_subscribers)
                uv_run(&room.loop, UV_RUN_ONCE);
        uv_close((uv_handle_t *)&timer, NULL);
        room_close(&room);
}

/* What a callback may do, it does: open, close others, and close nothing twice. */
static void open_and_close(void *user, struct shmd_subscriber *subscriber)
{
        struct room *room = user;
        struct shmd_subscriber_options options = {
                .history = 1, .on_sample = on_sample, .user = room};
        struct shmd_sample sample;

        must_equal(shmd_take(subscriber, &sample), 1);
        must_equal(shmd_release(subscriber, &sample), 0);
        shmd_subscriber_close(room->subscriber);
        room->subscriber = stamped_subscribe(room->bus, SERVICE, options);
        must_equal(shmd_wait(room->bus, 0), -EINVAL);
        must_say(shmd_error(), "from a callback");
        must_equal(shmd_dispatch(room->bus), -EINVAL);
}

static void callbacks_may_open_and_close_others(void **state)
{
        struct room room = {.bus = broker_connect()};
        struct shmd_publisher *publisher =
                stamped_advertise(room.bus, SERVICE, (struct shmd_publisher_options){0});
        struct shmd_subscriber_options options = {.on_sample = open_and_close, .user = &room};

        stamped_subscribe(room.bus, SERVICE, options);
        options.on_sample = on_sample;
        room.subscriber = stamped_subscribe(room.bus, SERVICE, options);
        for (uint64_t n = 1; n <= 20; n++) {
                stamped_publish(publisher, n);
                must_equal(shmd_wait(room.bus, (int64_t)PATIENCE_NS), 1);
                until(shmd_dispatch(room.bus) == 0);
        }
        must(room.tally.taken >= 20);
        shmd_close(room.bus);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(wait_ends_when_time_is_over_and_not_before),
                system_test(wait_sees_what_is_there_already),
                system_test(full_hands_are_not_woken_until_they_let_go),
                system_test(wait_is_woken_by_another_process),
                system_test(wait_that_spins_first_is_woken_as_well),
                system_test(signal_handler_ends_a_wait),
                system_test(descriptor_works_in_a_loop_of_ones_own),
                system_test(dispatch_says_what_is_left),
                system_test(loop_of_the_user_runs_the_callbacks),
                system_test(two_connections_share_a_loop),
                system_test(callbacks_may_open_and_close_others),
        };

        harness_init(argc, argv);
        return cmocka_run_group_tests_name("system-wait", tests, NULL, NULL);
}
