/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resume-mortal.c - the broker dies after any of its messages, or of its stores into a session's
 * page, while clients join, and while they come back from an earlier death: in both orders, with
 * one of them stopped for all of its life, with one that can't call membarrier(2). Whatever it had
 * done by then: who knew each other goes on, with the next broker everybody has everybody once, and
 * a publish wakes who sleeps.
 *
 * Publishers are the test's own: no thread acts for them, so one that makes no call is one that is
 * stopped. The subscriber is a process, and sleeps. Between the death and the look at who woke,
 * publishers make no call but loan and publish, which find out by the page alone that there is
 * something to read.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "connection.h"
#include "victim.h"

#define SERVICE "resume/samples"

/* More points than any of this has. */
#define N_POINTS 200
/* In the short form every fourth is tried, from another one on in each order. */
#define STEP 4

/* As many as make a publisher leave fences out, if it may; they are all in reach. */
#define N_QUIET 32
#define DEPTH   64

enum order {
        TOGETHER,
        PUBLISHER_FIRST,
        SUBSCRIBER_FIRST,
        PUBLISHER_STOPPED, /* until the mortal broker is dead */
        SUBSCRIBER_STOPPED,
};

struct scene {
        bool have_met; /* the first publisher and the subscriber, at an earlier broker */
        enum order order;
        bool without_membarrier; /* the subscriber */
};

/* What the sleeper says of itself, whenever it is awake. */
struct sleeper {
        volatile uint32_t connected, publishers;
        volatile uint64_t lost, taken;
};

struct clients {
        const struct scene *scene;
        struct shmd *buses[2];
        struct shmd_publisher *publishers[2];
        uint64_t ids[2], numbers[2]; /* of the publishers; and what they have published */
        bool come_back[2];           /* at once, when there is another broker */
        struct role *role;           /* the sleeper */
        bool is_stopped;
};

static struct sleeper *sleeper;
static pid_t mortal; /* 0: none runs */

/* ---- the sleeper ------------------------------------------------------------------------- */

static void sleep_and_take(void *argument)
{
        const struct scene *scene = argument;
        struct shmd_connect_options options = {
                .size = sizeof(options), .spin_ns = SHMD_SPIN_NEVER, .socket = broker.socket};
        struct shmd_subscriber *subscriber;
        struct tally tally = {0};
        struct shmd *bus;

        if (scene->without_membarrier)
                forbid_membarrier();
        until(shmd_connect(&bus, &options) == 0);
        until(shmd_subscribe(&subscriber, bus, SERVICE, stamped_type, NULL) == 0);
        for (;;) {
                int code;

                tally_take_all(&tally, subscriber);
                sleeper->connected = state_of(bus).connected;
                sleeper->publishers = status_of(subscriber).publishers;
                sleeper->lost = tally.lost;
                sleeper->taken = tally.taken;
                code = shmd_wait(bus, SHMD_FOREVER);
                must(code == 1 || code == -ENOTCONN || code == -EINTR);
        }
}

static void start_sleeper(struct clients *clients)
{
        memset(sleeper, 0, sizeof(*sleeper));
        clients->role = role_start("sleeper", sleep_and_take, (void *)(uintptr_t)clients->scene);
}

static void stop_sleeper(struct clients *clients)
{
        role_stop(clients->role);
        clients->is_stopped = true;
}

static void continue_sleeper(struct clients *clients)
{
        if (clients->is_stopped)
                role_continue(clients->role);
        clients->is_stopped = false;
}

static uint64_t n_published(const struct clients *clients)
{
        return clients->numbers[0] + clients->numbers[1];
}

static void publish(struct clients *clients, unsigned i)
{
        void *data;

        must_equal(shmd_loan(clients->publishers[i], &data), 0);
        stamped_fill(data, clients->ids[i], ++clients->numbers[i]);
        must_equal(shmd_publish(clients->publishers[i], data), 0);
}

/* Nothing is lost; that nothing comes twice is said by the tally. */
static void until_taken(const struct clients *clients)
{
        until(sleeper->taken == n_published(clients));
        must_equal(sleeper->lost, 0);
}

static void wake_sleeper(struct clients *clients, unsigned i)
{
        until(process_is_asleep(clients->role->pid));
        publish(clients, i);
        until_taken(clients);
}

/* ---- brokers ----------------------------------------------------------------------------- */

static void start_mortal(uint64_t n)
{
        plan_set(broker_plan, DEATH_SEND | DEATH_STORE, SIGKILL, n);
        mortal = child_fork();
        if (mortal == 0) {
                int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

                dup2(null, STDERR_FILENO);
                execl(SHMD_PROGRAM, SHMD_PROGRAM, "--socket", broker.socket, NULL);
                _exit(127);
        }
}

/* Who know each other do without a broker: the one that dies after it has told the subscriber of
 * both publishers has told both of these before. */
static void publish_alone(struct clients *clients)
{
        unsigned n = clients->scene->have_met;

        if (clients->publishers[1] && sleeper->publishers == 2)
                n = 2;
        for (unsigned i = 0; i < n; i++) {
                if (clients->is_stopped)
                        publish(clients, i);
                else
                        wake_sleeper(clients, i);
        }
}

/* Looking makes it come back. */
static bool is_back(struct clients *clients, unsigned i)
{
        return state_of(clients->buses[i]).connected;
}

/* Once the mortal broker is dead, there is another. */
static bool look_after_brokers(struct clients *clients)
{
        if (!mortal || waitpid(mortal, NULL, WNOHANG) != mortal)
                return true;
        mortal = 0;
        plan_set(broker_plan, 0, 0, 0);
        publish_alone(clients);
        broker_spawn(NULL);
        for (unsigned i = 0; i < 2; i++)
                until(!clients->come_back[i] || is_back(clients, i));
        return true;
}

/* Whether it has done all that there was to do; then it dies of something else. */
static bool has_survived(struct clients *clients)
{
        bool survived;

        until(look_after_brokers(clients) && (!mortal || process_is_asleep(mortal)));
        survived = mortal;
        if (survived)
                must_equal(kill(mortal, SIGKILL), 0);
        until(look_after_brokers(clients) && !mortal);
        return survived;
}

/* ---- coming ------------------------------------------------------------------------------ */

static void join(struct clients *clients, unsigned i)
{
        struct shmd_connect_options options = {.size = sizeof(options), .socket = broker.socket};
        struct shmd_publisher_options wanted = {.size = sizeof(wanted), .depth = DEPTH};
        struct shmd_publisher_state status;
        struct shmd **bus = &clients->buses[i];
        struct shmd_publisher **publisher = &clients->publishers[i];

        until(look_after_brokers(clients) && shmd_connect(bus, &options) == 0);
        until(look_after_brokers(clients) &&
              shmd_advertise(publisher, *bus, SERVICE, stamped_type, &wanted) == 0);
        must_equal(shmd_publisher_status(*publisher, &status), 0);
        clients->ids[i] = status.id;
        clients->come_back[i] = true;
}

static bool sleeper_has(struct clients *clients, unsigned n)
{
        look_after_brokers(clients);
        return sleeper->connected && sleeper->publishers == n;
}

/* The publisher that has met the sleeper, or will, and another one. */
static void publishers_come(struct clients *clients)
{
        if (clients->scene->have_met)
                until(look_after_brokers(clients) && is_back(clients, 0));
        else
                join(clients, 0);
        clients->come_back[0] = true;
        join(clients, 1);
}

static void sleeper_comes(struct clients *clients)
{
        if (clients->scene->have_met)
                continue_sleeper(clients);
        else
                start_sleeper(clients);
}

/* Whoever doesn't miss the mortal broker's life comes to it, or to the next one. */
static void come(struct clients *clients)
{
        enum order order = clients->scene->order;

        if (order != PUBLISHER_FIRST && order != SUBSCRIBER_STOPPED)
                sleeper_comes(clients);
        if (order == SUBSCRIBER_FIRST)
                until(sleeper_has(clients, clients->scene->have_met));
        if (order == PUBLISHER_STOPPED)
                join(clients, 1);
        else
                publishers_come(clients);
        if (order == PUBLISHER_FIRST)
                sleeper_comes(clients);
        if (order != SUBSCRIBER_STOPPED)
                until(sleeper_has(clients, 2));
}

/* ---- what has to be so ------------------------------------------------------------------- */

/* By the broker's word each of `n` publishers has the sleeper, and it has each of them. */
static bool are_paired(unsigned n)
{
        struct census census = take_census(broker.bus);

        return census.n_publishers == n && census.n_subscribers == 1 && census.n_read == n &&
               census.n_reading == n;
}

/* Leaves the publishers in the mode without fences, if that is allowed. */
static void publish_unheard(struct clients *clients, unsigned n)
{
        stop_sleeper(clients);
        for (unsigned i = 0; i < n; i++) {
                const struct shmd_publisher *publisher = clients->publishers[i];

                for (unsigned k = 0; k < N_QUIET; k++)
                        publish(clients, i);
                must_equal(publisher->doorbell.is_asym,
                           publisher->wants_asym && !clients->scene->without_membarrier);
        }
        continue_sleeper(clients);
        until_taken(clients);
}

static void check(struct clients *clients)
{
        until(is_back(clients, 0) && is_back(clients, 1));
        continue_sleeper(clients);
        until(are_paired(2) && sleeper_has(clients, 2));
        for (unsigned i = 0; i < 4; i++)
                wake_sleeper(clients, i % 2);
        publish_unheard(clients, 2);
        for (unsigned i = 0; i < 2; i++) {
                must_equal(n_subscribers(clients->publishers[i]), 1);
                must_equal(state_of(clients->buses[i]).stranded, 0);
        }
        must_equal(sleeper->publishers, 2);
        must(are_paired(2));
}

/* ---- the broker dies --------------------------------------------------------------------- */

static void meet(struct clients *clients)
{
        join(clients, 0);
        start_sleeper(clients);
        until(are_paired(1) && sleeper_has(clients, 1));
        wake_sleeper(clients, 0);
        publish_unheard(clients, 1);
}

static void lose_broker(struct clients *clients)
{
        enum order order = clients->scene->order;
        bool have_met = clients->scene->have_met;

        if (have_met && (order == PUBLISHER_FIRST || order == SUBSCRIBER_STOPPED))
                stop_sleeper(clients);
        clients->come_back[0] = false;
        broker_kill();
        if (have_met)
                until(clients->is_stopped || !sleeper->connected);
        else /* or the next one would wait for those who come back */
                must_equal(unlink(broker.socket), 0);
}

static void leave(struct clients *clients)
{
        role_kill(clients->role);
        shmd_close(clients->buses[0]);
        shmd_close(clients->buses[1]);
        /* One that follows nobody waits for nobody. */
        broker_terminate(SIGTERM);
        broker_spawn(NULL);
}

static void die_at_each_point(const struct scene *scene)
{
        uint64_t step = harness_is_long ? 1 : STEP;
        bool survived = false;

        for (uint64_t n = 1 + scene->order % step; !survived; n += step) {
                struct clients clients = {.scene = scene};

                must(n < N_POINTS);
                if (scene->have_met)
                        meet(&clients);
                lose_broker(&clients);
                start_mortal(n);
                come(&clients);
                survived = has_survived(&clients);
                check(&clients);
                leave(&clients);
                injected(!survived);
        }
}

static void die_in_scenes(const struct scene *scenes, size_t n)
{
        sleeper = shared_memory(sizeof(*sleeper));
        for (size_t i = 0; i < n; i++)
                die_at_each_point(&scenes[i]);
        injections_print();
}

static void broker_may_die_at_any_point_while_clients_join(void **state)
{
        static const struct scene scenes[] = {{.order = PUBLISHER_FIRST},
                                              {.order = SUBSCRIBER_FIRST}};

        die_in_scenes(scenes, N_ELEMENTS(scenes));
}

static void broker_may_die_at_any_point_while_clients_resume(void **state)
{
        die_in_scenes(&(struct scene){.have_met = true, .order = TOGETHER}, 1);
}

static void broker_may_die_at_any_point_while_the_publisher_resumes_first(void **state)
{
        die_in_scenes(&(struct scene){.have_met = true, .order = PUBLISHER_FIRST}, 1);
}

static void broker_may_die_at_any_point_while_the_subscriber_resumes_first(void **state)
{
        die_in_scenes(&(struct scene){.have_met = true, .order = SUBSCRIBER_FIRST}, 1);
}

static void broker_may_die_at_any_point_while_the_publisher_is_stopped(void **state)
{
        die_in_scenes(&(struct scene){.have_met = true, .order = PUBLISHER_STOPPED}, 1);
}

static void broker_may_die_at_any_point_while_the_subscriber_is_stopped(void **state)
{
        die_in_scenes(&(struct scene){.have_met = true, .order = SUBSCRIBER_STOPPED}, 1);
}

static void broker_may_die_at_any_point_while_one_without_membarrier_comes(void **state)
{
        static const struct scene scenes[] = {
                {.order = PUBLISHER_FIRST, .without_membarrier = true},
                {.order = SUBSCRIBER_FIRST, .without_membarrier = true},
                {.have_met = true, .order = PUBLISHER_FIRST, .without_membarrier = true},
                {.have_met = true, .order = SUBSCRIBER_FIRST, .without_membarrier = true},
        };

        die_in_scenes(scenes, N_ELEMENTS(scenes));
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(broker_may_die_at_any_point_while_clients_join),
                system_test(broker_may_die_at_any_point_while_clients_resume),
                system_test(broker_may_die_at_any_point_while_the_publisher_resumes_first),
                system_test(broker_may_die_at_any_point_while_the_subscriber_resumes_first),
                system_test(broker_may_die_at_any_point_while_the_publisher_is_stopped),
                system_test(broker_may_die_at_any_point_while_the_subscriber_is_stopped),
                system_test(broker_may_die_at_any_point_while_one_without_membarrier_comes),
        };

        victims_init(argc, argv);
        return cmocka_run_group_tests_name("system-resume-mortal", tests, NULL, NULL);
}
