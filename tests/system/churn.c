/* SPDX-License-Identifier: Apache-2.0 */
/*
 * churn.c - publishers, subscribers and brokers are killed and started again, on and on: whoever
 * lives through it has in the end what it had in the beginning, and not a page more.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "crowd.h"

/* How much more resident memory is no growth, over any number of kills: an allocator's mood. */
#define TOLERANCE (512 * UINT64_C(1024))

/* ---- who lives through it ---------------------------------------------------------------- */

static volatile bool *is_over; /* shared */

/* A command from the test: it waits until only the other survivor is there, and says so; then it
 * goes on, or ends. */
static bool goes_on(struct shmd *bus, bool (*is_quiet)(void *object), void *object)
{
        if (!has_heard('q'))
                return true;
        until(shmd_wait(bus, (int64_t)MS) >= 0 && is_quiet(object));
        say('q');
        hear('g');
        return !*is_over;
}

static bool has_one_subscriber(void *publisher)
{
        return n_subscribers(publisher) == 1;
}

static bool has_one_publisher(void *subscriber)
{
        struct shmd_sample sample;

        while (shmd_take(subscriber, &sample) == 1)
                must_equal(shmd_release(subscriber, &sample), 0);
        return n_publishers(subscriber) == 1;
}

/* Publishes to whoever is there. False: it has been told to end; true: the broker is gone. */
static bool publish_through(struct shmd *bus, struct shmd_publisher *publisher)
{
        for (uint64_t n = 1; shmd_connected(bus); n++) {
                stamped_publish(publisher, n);
                crowd_worked(shmd_wait(bus, (int64_t)(MS / 5)));
                if (n % 32 == 0 && !goes_on(bus, has_one_subscriber, publisher))
                        return false;
        }
        return true;
}

static void outlive_as_publisher(void *argument)
{
        bool goes_on = true;

        alarm(0);
        while (goes_on) {
                struct shmd *bus = crowd_connect();
                struct shmd_publisher_options options = {.size = sizeof(options),
                                                         .max_subscribers = 16};
                struct shmd_publisher *publisher;

                if (crowd_worked(
                            shmd_advertise(&publisher, bus, crowd_service, stamped_type, &options)))
                        goes_on = publish_through(bus, publisher);
                shmd_close(bus);
        }
}

/* Each sample is whole, and where it should be. */
static void take_all(struct shmd_subscriber *subscriber)
{
        struct shmd_sample sample;

        while (shmd_take(subscriber, &sample) == 1) {
                const struct stamped *stamped = sample.data;

                must(stamped_is_whole(stamped));
                must_equal(stamped->publisher, sample.publisher);
                must_equal(stamped->number, sample.sequence);
                must_equal(shmd_release(subscriber, &sample), 0);
        }
}

static void outlive_as_subscriber(void *argument)
{
        bool is_told = false;

        alarm(0);
        while (!is_told) {
                struct shmd *bus = crowd_connect();
                struct shmd_subscriber *subscriber;

                if (crowd_worked(
                            shmd_subscribe(&subscriber, bus, crowd_service, stamped_type, NULL)))
                        while (!is_told && shmd_connected(bus)) {
                                crowd_worked(shmd_wait(bus, (int64_t)MS));
                                take_all(subscriber);
                                is_told = !goes_on(bus, has_one_publisher, subscriber);
                        }
                shmd_close(bus);
        }
}

/* ---- what it has ------------------------------------------------------------------------- */

struct survivor {
        const char *name;
        pid_t pid;
        bool is_known;
        struct snapshot least; /* that it has had */
        uint64_t resident;     /* when that was looked at first */
};

static bool has_more(const struct snapshot *is, const struct snapshot *was)
{
        return is->n_fds > was->n_fds || is->n_memfds > was->n_memfds ||
               is->n_mappings > was->n_mappings;
}

/* Waits until it has no more than it ever had: what the dead have left is on its way out. */
static void await_least(struct survivor *survivor)
{
        uint64_t deadline = harness_now() + PATIENCE_NS;
        struct snapshot is;

        for (;;) {
                snapshot_take(&is, survivor->pid);
                if (!survivor->is_known || !has_more(&is, &survivor->least))
                        break;
                if (harness_now() >= deadline) {
                        snapshot_explain(survivor->name, &survivor->least, &is);
                        must(!"no number of descriptors or mappings grows");
                }
                poll(NULL, 0, 1);
        }
        survivor->least = is;
}

static void examine(struct survivor *survivor)
{
        uint64_t resident;

        await_least(survivor);
        resident = process_resident(survivor->pid);
        if (!survivor->is_known)
                survivor->resident = resident;
        survivor->is_known = true;
        if (harness_is_long)
                fprintf(stderr, "%s: %u descriptors, %u mappings, %llu KiB resident\n",
                        survivor->name, survivor->least.n_fds, survivor->least.n_mappings,
                        (unsigned long long)resident / 1024);
        /* What a sanitizer keeps is its own affair. */
        if (HAVE_ASAN || resident <= survivor->resident + TOLERANCE)
                return;
        fprintf(stderr, "%s: %llu bytes resident, at first %llu\n", survivor->name,
                (unsigned long long)resident, (unsigned long long)survivor->resident);
        must(!"no memory grows");
}

/* ---- the test ---------------------------------------------------------------------------- */

static struct role *publisher, *subscriber;

static void quiet(void)
{
        for (unsigned i = 0; i < CROWD_SIZE; i++)
                crowd_kill(i);
        role_tell(publisher, 'q');
        role_tell(subscriber, 'q');
        role_await(publisher, 'q');
        role_await(subscriber, 'q');
        broker_rest();
}

static void go_on(void)
{
        for (unsigned i = 0; i < CROWD_SIZE; i++)
                crowd_start(i);
        role_tell(publisher, 'g');
        role_tell(subscriber, 'g');
}

static void start_survivors(void)
{
        is_over = shared_memory(sizeof(*is_over));
        publisher = role_start("surviving publisher", outlive_as_publisher, NULL);
        subscriber = role_start("surviving subscriber", outlive_as_subscriber, NULL);
        for (unsigned i = 0; i < CROWD_SIZE; i++)
                crowd_start(i);
}

static void end_survivors(void)
{
        *is_over = true;
        role_tell(publisher, 'g');
        role_tell(subscriber, 'g');
        role_finish(publisher);
        role_finish(subscriber);
}

static void kill_one(void)
{
        unsigned i = (unsigned)random_below(CROWD_SIZE);

        crowd_kill(i);
        crowd_start(i);
        usleep((useconds_t)random_below(3000)); /* any moment: nothing is waited for */
}

#define LOOKS 9 /* at what the survivors have */

static void whoever_outlives_random_kills_does_not_grow(void **state)
{
        struct survivor survivors[3];

        crowd_open();
        start_survivors();
        survivors[0] = (struct survivor){.name = "broker", .pid = broker.pid};
        survivors[1] = (struct survivor){.name = publisher->name, .pid = publisher->pid};
        survivors[2] = (struct survivor){.name = subscriber->name, .pid = subscriber->pid};
        for (unsigned look = 1; look <= LOOKS; look++) {
                /* 10,000 in the end, if there is time. */
                for (unsigned i = 0; i < (harness_is_long ? 1110 : 20); i++)
                        kill_one();
                quiet();
                for (unsigned i = 0; i < N_ELEMENTS(survivors); i++)
                        examine(&survivors[i]);
                if (look < LOOKS)
                        go_on();
        }
        end_survivors();
        crowd_close();
        injections_print();
}

/* The clients take it as they find it; those that live connect anew. The new broker may last for
 * some messages only, after which there is none until the next time. */
static void replace_broker(uint64_t n_messages)
{
        plan_set(broker_plan, 0, 0, 0);
        broker_kill();
        usleep((useconds_t)random_below(3000));
        broker_spawn(NULL);
        plan_set(broker_plan, DEATH_STORE | DEATH_SEND, SIGKILL, n_messages);
        injected(1);
}

static void whoever_outlives_brokers_does_not_grow(void **state)
{
        struct survivor survivors[2];

        crowd_open();
        start_survivors();
        survivors[0] = (struct survivor){.name = publisher->name, .pid = publisher->pid};
        survivors[1] = (struct survivor){.name = subscriber->name, .pid = subscriber->pid};
        for (unsigned look = 1; look <= LOOKS; look++) {
                for (unsigned i = 0; i < (harness_is_long ? 80 : 20); i++) {
                        if (i % 5 == 0)
                                replace_broker(random_below(2) * (1 + random_below(200)));
                        kill_one();
                }
                replace_broker(0);
                quiet();
                for (unsigned i = 0; i < N_ELEMENTS(survivors); i++)
                        examine(&survivors[i]);
                if (look < LOOKS)
                        go_on();
        }
        end_survivors();
        crowd_close();
        /* The last broker began in the middle of it all; what an idle one has is another's. */
        replace_broker(0);
        injections_print();
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(whoever_outlives_random_kills_does_not_grow),
                system_test(whoever_outlives_brokers_does_not_grow),
        };

        victims_init(argc, argv);
        return cmocka_run_group_tests_name("system-churn", tests, NULL, NULL);
}
