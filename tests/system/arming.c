/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arming.c - no wake-up is lost: a subscriber goes to sleep again and again, while publishers
 * publish at that very moment.
 *
 * Each sample says when it was published. A subscriber that takes one which is older than
 * TOO_OLD_NS has not been woken for it, but has found it when its wait was over.
 */
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include "connection.h"
#include "harness.h"

#define SERVICE    "arming/samples"
#define TOO_OLD_NS (4000 * MS)
#define WAIT_NS    (10000 * MS)

/* Commits without a board that moves, before a publisher stops to fence, are fewer than these. */
#define N_BURST 1100

struct moment {
        uint64_t time_ns;
};
SHMD_TYPE(moment_type, struct moment, SHMD_FIELD(struct moment, time_ns));

#define PUBLISHERS_MAX 2

/* How a race is run, and what came of it; shared. */
struct race {
        uint32_t n_publishers, flags, spin_ns, gap;
        bool has_bursts;
        uint64_t n_wanted;            /* armings */
        uint64_t ids[PUBLISHERS_MAX]; /* of the publishers */
        uint64_t n_armings, n_asym;
        struct {
                _Alignas(128) uint64_t seen; /* the publisher's newest, that was taken */
        } of[PUBLISHERS_MAX];
        _Alignas(128) uint64_t is_over;
};
static struct race *race;

static uint64_t look(const uint64_t *word)
{
        return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static void store(uint64_t *word, uint64_t value)
{
        __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/* From nothing to `most` turns of a loop, mostly few. */
static void pause_randomly(uint32_t *random, uint32_t most)
{
        uint32_t turns;

        *random = *random * 1664525 + 1013904223;
        turns = (*random >> 8) % most;
        if (*random >> 31)
                turns /= 16;
        for (volatile uint32_t i = 0; i < turns; i++)
                ;
}

static void publish_moment(struct shmd_publisher *publisher)
{
        void *data;

        must_equal(shmd_loan(publisher, &data), 0);
        ((struct moment *)data)->time_ns = harness_now();
        must_equal(shmd_publish(publisher, data), 0);
}

static struct shmd_publisher *advertise(struct shmd *bus, uint32_t flags)
{
        struct shmd_publisher_options options = {.size = sizeof(options), .flags = flags};
        struct shmd_publisher *publisher;

        must_equal(shmd_advertise(&publisher, bus, SERVICE, &moment_type, &options), 0);
        return publisher;
}

static struct shmd_subscriber *subscribe(struct shmd *bus, uint32_t history)
{
        struct shmd_subscriber_options options = {.size = sizeof(options), .history = history};
        struct shmd_subscriber *subscriber;

        must_equal(shmd_subscribe(&subscriber, bus, SERVICE, &moment_type, &options), 0);
        return subscriber;
}

/* Takes all; the sequence of the newest, or `newest` if there was none. */
static uint64_t take_all(struct shmd_subscriber *subscriber, uint64_t newest)
{
        struct shmd_sample sample;

        while (shmd_take(subscriber, &sample) == 1) {
                const struct moment *moment = sample.data;

                must(harness_now() - moment->time_ns < TOO_OLD_NS);
                newest = sample.sequence;
                must_equal(shmd_release(subscriber, &sample), 0);
        }
        return newest;
}

/* ---- a subscriber that stays ------------------------------------------------------------- */

static void run_publisher(void *argument)
{
        unsigned index = (unsigned)(uintptr_t)argument;
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher = advertise(bus, race->flags);
        uint32_t random = 77 + index;
        uint64_t n = 0;

        race->ids[index] = publisher->id;
        say('r');
        hear('g');
        while (!look(&race->is_over)) {
                if (look(&race->of[index].seen) != n) {
                        sched_yield();
                        continue;
                }
                pause_randomly(&random, race->gap);
                if (race->has_bursts && n % (N_BURST + 1) == 0) {
                        for (unsigned i = 0; i < N_BURST; i++, n++)
                                publish_moment(publisher);
                } else {
                        publish_moment(publisher);
                        n++;
                }
        }
        hear('e');
        shmd_close(bus);
}

/* Whether there was anything. */
static bool take_and_tell(struct shmd_subscriber *subscriber)
{
        struct shmd_sample sample;
        bool was_any = false;

        while (shmd_take(subscriber, &sample) == 1) {
                const struct moment *moment = sample.data;
                unsigned i = 0;

                must(harness_now() - moment->time_ns < TOO_OLD_NS);
                must_equal(shmd_release(subscriber, &sample), 0);
                while (race->ids[i] != sample.publisher)
                        must(++i < race->n_publishers);
                store(&race->of[i].seen, sample.sequence);
                was_any = true;
        }
        return was_any;
}

static void await_publishers(struct shmd_subscriber *subscriber)
{
        struct shmd_subscriber_state status;

        until(shmd_subscriber_status(subscriber, &status) == 0 &&
              status.publishers == race->n_publishers);
}

static void run_subscriber(void *argument)
{
        struct shmd *bus = broker_connect_with(race->spin_ns, NULL);
        struct shmd_subscriber *subscriber = subscribe(bus, 0);

        await_publishers(subscriber);
        shmd_wait(bus, 0);
        say('r');
        while (bus->armed / 2 < race->n_wanted) {
                uint64_t armed = bus->armed;
                bool is_asym;

                /* Polls through the burst, without arming. */
                while (race->has_bursts && look(&race->of[0].seen) % (N_BURST + 1) != N_BURST)
                        if (!take_and_tell(subscriber))
                                sched_yield();
                is_asym = subscriber_wants_membarrier(subscriber);
                must_equal(shmd_wait(bus, WAIT_NS), 1);
                race->n_asym += is_asym && bus->armed != armed;
                take_and_tell(subscriber);
        }
        race->n_armings = bus->armed / 2;
        store(&race->is_over, 1);
        shmd_close(bus);
}

static void run_race(struct race setting)
{
        struct role *publishers[PUBLISHERS_MAX], *subscriber;

        race = shared_memory(sizeof(*race));
        *race = setting;
        if (harness_is_long)
                race->n_wanted *= 10;
        for (uintptr_t i = 0; i < race->n_publishers; i++) {
                publishers[i] = role_start("publisher", run_publisher, (void *)i);
                role_await(publishers[i], 'r');
        }
        subscriber = role_start("subscriber", run_subscriber, NULL);
        role_await(subscriber, 'r');
        for (unsigned i = 0; i < race->n_publishers; i++)
                role_tell(publishers[i], 'g');
        role_finish(subscriber);
        for (unsigned i = 0; i < race->n_publishers; i++) {
                role_tell(publishers[i], 'e');
                role_finish(publishers[i]);
        }
        print_message("%llu armings, %llu of them with membarrier\n",
                      (unsigned long long)race->n_armings, (unsigned long long)race->n_asym);
        must(race->n_armings >= race->n_wanted);
}

/* With --long, ten times as many. */

static void sleeper_is_woken_by_a_publisher_that_fences(void **state)
{
        run_race((struct race){.n_publishers = 1,
                               .flags = SHMD_NO_MEMBARRIER,
                               .spin_ns = SHMD_SPIN_NEVER,
                               .gap = 2000,
                               .n_wanted = 100000});
        must_equal(race->n_asym, 0);
}

static void sleeper_is_woken_by_a_publisher_that_may_stop_to_fence(void **state)
{
        run_race((struct race){
                .n_publishers = 1, .spin_ns = SHMD_SPIN_NEVER, .gap = 6000, .n_wanted = 20000});
}

static void sleeper_is_woken_by_either_of_two_publishers(void **state)
{
        run_race((struct race){
                .n_publishers = 2, .spin_ns = SHMD_SPIN_NEVER, .gap = 4000, .n_wanted = 20000});
}

static void sleeper_that_spins_first_is_woken(void **state)
{
        run_race((struct race){.n_publishers = 1, .gap = 40000, .n_wanted = 15000});
}

static void sleeper_is_woken_by_a_publisher_that_has_stopped_to_fence(void **state)
{
        run_race((struct race){.n_publishers = 1,
                               .spin_ns = SHMD_SPIN_NEVER,
                               .gap = 8000,
                               .has_bursts = true,
                               .n_wanted = 5000});
        if (!race->n_asym)
                skip_because("membarrier(2) is not to be had here");
        must(race->n_asym > race->n_armings / 2);
}

/* ---- the first sleep --------------------------------------------------------------------- */

#define N_JOINS 500

/* Publishes sample n as soon as `is_over` reads n. */
static void publish_on_request(void *argument)
{
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher = advertise(bus, 0);
        uint32_t random = 99;

        say('r');
        for (uint64_t n = 1; n <= N_JOINS; n++) {
                while (look(&race->is_over) < n)
                        sched_yield();
                pause_randomly(&random, 200000);
                publish_moment(publisher);
        }
        hear('e');
        shmd_close(bus);
}

static void first_sleep_of_a_subscriber_ends_too(void **state)
{
        struct role *role;
        uint32_t random = 1;

        race = shared_memory(sizeof(*race));
        role = role_start("publisher", publish_on_request, NULL);
        role_await(role, 'r');
        for (uint64_t n = 1; n <= N_JOINS; n++) {
                struct shmd *bus = broker_connect_with(SHMD_SPIN_NEVER, NULL);
                struct shmd_subscriber *subscriber;
                uint64_t newest = 0;

                if (n % 2)
                        store(&race->is_over, n);
                subscriber = subscribe(bus, 1);
                pause_randomly(&random, 20000);
                store(&race->is_over, n);
                while ((newest = take_all(subscriber, newest)) != n)
                        must_equal(shmd_wait(bus, WAIT_NS), 1);
                shmd_close(bus);
        }
        role_tell(role, 'e');
        role_finish(role);
}

static void join_and_publish(void *argument)
{
        uint32_t random = 5;

        for (uint64_t n = 1; n <= N_JOINS; n++) {
                struct shmd *bus = broker_connect();
                struct shmd_publisher *publisher = advertise(bus, 0);

                pause_randomly(&random, 20000);
                publish_moment(publisher);
                while (look(&race->of[0].seen) != n)
                        sched_yield();
                shmd_close(bus);
        }
}

static void sleeper_is_woken_by_publishers_that_it_does_not_know_yet(void **state)
{
        struct shmd *bus = broker_connect_with(SHMD_SPIN_NEVER, NULL);
        struct shmd_subscriber *subscriber = subscribe(bus, 0);
        struct role *role;

        race = shared_memory(sizeof(*race));
        role = role_start("publisher", join_and_publish, NULL);
        for (uint64_t n = 1; n <= N_JOINS; n++) {
                while (!take_all(subscriber, 0))
                        must_equal(shmd_wait(bus, WAIT_NS), 1);
                store(&race->of[0].seen, n);
        }
        role_finish(role);
        shmd_close(bus);
}

/* ---- a channel that comes late -------------------------------------------------------------- */

static int late_channel; /* the reading end */

static void listen_late(uv_poll_t *handle, int status, int events)
{
        struct watcher *watcher = handle->data;

        (void)status;
        (void)events;
        must_equal(ear_listen(watcher->bus, 12345, late_channel), 0);
        watching_close(&watcher);
}

/* As it is when a publisher of another user comes back after its reader: nothing is told of that,
 * and the loop turns just then. */
static void channel_that_comes_while_the_loop_turns_is_heard(void **state)
{
        struct shmd *bus = broker_connect();
        struct shmd_subscriber *subscriber;
        struct pollfd entry = {.events = POLLIN};
        int channel[2], ready[2];

        must_equal(shmd_subscribe(&subscriber, bus, SERVICE, &moment_type, NULL), 0);
        must(shmd_prepare(bus) >= 0);
        must_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, channel), 0);
        must_equal(pipe2(ready, O_CLOEXEC), 0);
        must_equal(write(ready[1], "", 1), 1);
        late_channel = channel[0];
        must(watching_open(bus, ready[0], UV_READABLE, listen_late, NULL));
        must_equal(shmd_prepare(bus), 0);
        must_equal(write(channel[1], "", 1), 1);
        entry.fd = shmd_fd(bus);
        must_equal(poll(&entry, 1, (int)(PATIENCE_NS / MS)), 1);
        shmd_close(bus);
        close(ready[0]);
        close(ready[1]);
        close(channel[1]);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(sleeper_is_woken_by_a_publisher_that_fences),
                system_test(sleeper_is_woken_by_a_publisher_that_may_stop_to_fence),
                system_test(sleeper_is_woken_by_either_of_two_publishers),
                system_test(sleeper_that_spins_first_is_woken),
                system_test(sleeper_is_woken_by_a_publisher_that_has_stopped_to_fence),
                system_test(first_sleep_of_a_subscriber_ends_too),
                system_test(sleeper_is_woken_by_publishers_that_it_does_not_know_yet),
                system_test(channel_that_comes_while_the_loop_turns_is_heard),
        };

        harness_init(argc, argv);
        return cmocka_run_group_tests_name("system-arming", tests, NULL, NULL);
}
