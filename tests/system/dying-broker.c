/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dying-broker.c - the broker dies after any of its messages and any of its stores to shared
 * memory, or stops for a moment: whoever knows each other goes on as if nothing had happened, and
 * the next broker starts in the same place without anybody's help.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "victim.h"

#define SERVICE "dying/broker"
#define DEPTH   4
#define HOLDS   2

/* ---- the clients ------------------------------------------------------------------------- */

/* One publisher of the service and two subscribers, each on a connection of its own; a second
 * publisher, and a second subscription, which make them grow. */
struct clients {
        struct shmd *buses[3];
        struct shmd_publisher *publisher, *other;
        struct shmd_subscriber *subscribers[2];
        struct tally tallies[2];
        uint64_t id, number, other_number; /* of `publisher`; and what was published */
        struct shmd_sample held[2];        /* one of each subscriber's */
        struct stamped copies[2];
};

static bool has_ended(void)
{
        siginfo_t info = {.si_pid = 0};

        /* It is reaped by broker_kill(). */
        must_equal(waitid(P_PID, (id_t)broker.pid, &info, WEXITED | WNOHANG | WNOWAIT), 0);
        return info.si_pid == broker.pid;
}

/* Whether a call has worked. If not, it has to say that the broker is gone, and be right. */
static bool has_worked(int code)
{
        if (code >= 0)
                return true;
        must(code == -ENOTCONN || code == -ECONNREFUSED);
        until(has_ended());
        return false;
}

static bool connect_client(struct clients *clients, unsigned i)
{
        struct shmd_connect_options options = {
                .size = sizeof(options), .socket = broker.socket, .spin_ns = SHMD_SPIN_NEVER};

        return has_worked(shmd_connect(&clients->buses[i], &options));
}

static bool advertise(struct clients *clients, struct shmd_publisher **publisher)
{
        struct shmd_publisher_options options = {.size = sizeof(options),
                                                 .depth = DEPTH,
                                                 .loans = 1,
                                                 .max_subscribers = 2,
                                                 .holds = HOLDS,
                                                 .chunks = DEPTH + 2 + 2 * HOLDS};

        return has_worked(
                shmd_advertise(publisher, clients->buses[0], SERVICE, stamped_type, &options));
}

static void publish(struct clients *clients)
{
        stamped_publish(clients->publisher, ++clients->number);
}

static void take_all(struct clients *clients)
{
        for (unsigned i = 0; i < 2; i++) {
                if (clients->subscribers[i])
                        tally_take_all(&clients->tallies[i], clients->subscribers[i]);
                must_equal(clients->tallies[i].lost, 0);
        }
}

/* Holds a sample, which the publisher has to respect though it may not have read that there is
 * somebody. */
static void hold(struct clients *clients, unsigned i)
{
        must_equal(shmd_take(clients->subscribers[i], &clients->held[i]), 1);
        tally_add(&clients->tallies[i], &clients->held[i]);
        memcpy(&clients->copies[i], clients->held[i].data, sizeof(struct stamped));
}

static void check_held(const struct clients *clients, unsigned i)
{
        if (!clients->held[i].data)
                return;
        must(stamped_is_whole(&clients->copies[i]));
        must_equal(memcmp(clients->held[i].data, &clients->copies[i], sizeof(struct stamped)), 0);
}

static void leave(struct clients *clients, unsigned i)
{
        check_held(clients, i);
        clients->held[i].data = NULL;
        shmd_subscriber_close(clients->subscribers[i]);
        clients->subscribers[i] = NULL;
        memset(&clients->tallies[i], 0, sizeof(clients->tallies[i]));
}

static bool subscribe(struct clients *clients, unsigned i)
{
        struct shmd_subscriber_options options = {
                .size = sizeof(options), .history = 2, .holds = HOLDS};

        if (!has_worked(shmd_subscribe(&clients->subscribers[i], clients->buses[i + 1], SERVICE,
                                       stamped_type, &options)))
                return false;
        hold(clients, i);
        return true;
}

static void look(void *user, const struct shmd_listing *listing)
{
        (void)user;
        must(listing->what);
}

/* Everything that makes the broker say something. False: it is gone. */
static bool do_everything(struct clients *clients)
{
        struct shmd_publisher_state status;
        struct shmd_subscriber *more;

        if (!connect_client(clients, 0) || !advertise(clients, &clients->publisher))
                return false;
        must_equal(shmd_publisher_status(clients->publisher, &status), 0);
        clients->id = status.id;
        for (unsigned i = 0; i < 3; i++)
                publish(clients);
        if (!connect_client(clients, 1) || !subscribe(clients, 0))
                return false;
        take_all(clients);
        if (!connect_client(clients, 2) || !subscribe(clients, 1))
                return false;
        publish(clients);
        take_all(clients);
        if (!has_worked(shmd_list(clients->buses[1], look, NULL)) ||
            !has_worked(shmd_subscribe(&more, clients->buses[2], "dying/more", stamped_type, NULL)))
                return false;
        shmd_subscriber_close(more);
        if (!advertise(clients, &clients->other))
                return false;
        stamped_publish(clients->other, ++clients->other_number);
        publish(clients);
        take_all(clients);
        leave(clients, 1);
        if (!subscribe(clients, 1))
                return false;
        publish(clients);
        take_all(clients);
        shmd_publisher_close(clients->other);
        clients->other = NULL;
        return has_worked(shmd_list(clients->buses[0], look, NULL));
}

/* Sleeps until the next sample is there; a broker that goes meanwhile is told once. */
static void sleep_for_sample(struct clients *clients, unsigned i)
{
        struct shmd *bus = clients->buses[i + 1];
        uint64_t taken;

        while (shmd_prepare(bus)) {
                has_worked(shmd_dispatch(bus));
                take_all(clients);
        }
        taken = clients->tallies[i].taken;
        publish(clients);
        while (clients->tallies[i].taken == taken) {
                int code = shmd_wait(bus, (int64_t)PATIENCE_NS);

                must(code);
                has_worked(code);
                take_all(clients);
        }
}

/* Whoever has found each other exchanges every sample, holds, and is woken. */
static void go_on(struct clients *clients)
{
        if (!clients->publisher)
                return;
        for (unsigned i = 0; i < 10 * DEPTH; i++) {
                publish(clients);
                take_all(clients);
                for (unsigned k = 0; k < 2; k++)
                        if (clients->subscribers[k])
                                must_equal(tally_last(&clients->tallies[k], clients->id),
                                           clients->number);
        }
        for (unsigned i = 0; i < 2; i++) {
                if (!clients->subscribers[i])
                        continue;
                sleep_for_sample(clients, i);
                check_held(clients, i);
                must_equal(shmd_release(clients->subscribers[i], &clients->held[i]), 0);
        }
}

static void close_clients(struct clients *clients)
{
        for (unsigned i = 0; i < 3; i++)
                shmd_close(clients->buses[i]);
}

/* ---- the broker -------------------------------------------------------------------------- */

/* Whether it has got through all that, what it does after the answers included. */
static bool has_lived(void)
{
        must(has_worked(shmd_list(broker.bus, look, NULL)) || has_ended());
        until(process_is_asleep(broker.pid) || has_ended());
        return !has_ended();
}

/* A broker in the place of the dead one serves whoever comes in full; and dies in its turn. */
static void follow(void)
{
        struct clients clients = {.number = 0};

        broker_spawn(NULL);
        must(do_everything(&clients));
        go_on(&clients);
        close_clients(&clients);
        broker_kill();
}

static void broker_that_dies_after_any_message_or_store_stops_nobody(void **state)
{
        struct snapshot mine;

        snapshot_take(&mine, 0);
        for (uint64_t n = 1;; n++) {
                struct clients clients = {.number = 0};

                plan_set(broker_plan, DEATH_SEND | DEATH_STORE, SIGKILL, n);
                do_everything(&clients);
                go_on(&clients);
                close_clients(&clients);
                if (has_lived())
                        break;
                must(broker_plan->passed == n);
                injected(1);
                broker_kill();
                plan_set(broker_plan, 0, 0, 0);
                if (harness_is_long || n % 8 == 1)
                        follow();
                renew_broker();
                await_snapshot(0, &mine, "clients of a dead broker");
        }
        plan_set(broker_plan, 0, 0, 0);
        injections_print();
}

/* Lets the broker go on a moment after it has stopped. */
static void wake_broker(void *argument)
{
        char path[40], line[512];

        snprintf(path, sizeof(path), "/proc/%d/stat", broker.pid);
        for (;;) {
                FILE *stat = fopen(path, "re");
                char *after = stat && fgets(line, sizeof(line), stat) ? strrchr(line, ')') : NULL;
                bool has_stopped = after && after[2] == 'T';

                if (stat)
                        fclose(stat);
                poll(NULL, 0, 1);
                if (has_stopped)
                        must_equal(kill(broker.pid, SIGCONT), 0);
        }
}

static void broker_that_stops_after_any_message_or_store_is_waited_for(void **state)
{
        struct role *waker = role_start("waker", wake_broker, NULL);
        struct snapshot mine;

        snapshot_take(&mine, 0);
        for (uint64_t n = 1;; n++) {
                struct clients clients = {.number = 0};

                plan_set(broker_plan, DEATH_SEND | DEATH_STORE, SIGSTOP, n);
                must(do_everything(&clients));
                go_on(&clients);
                close_clients(&clients);
                broker_rest();
                await_snapshot(0, &mine, "clients of a stopped broker");
                await_snapshot(broker.pid, &broker.idle, "a broker that had stopped");
                if (broker_plan->passed < n)
                        break;
                injected(1);
        }
        plan_set(broker_plan, 0, 0, 0);
        role_kill(waker);
        injections_print();
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(broker_that_dies_after_any_message_or_store_stops_nobody),
                system_test(broker_that_stops_after_any_message_or_store_is_waited_for),
        };

        victims_init(argc, argv);
        return cmocka_run_group_tests_name("system-dying-broker", tests, NULL, NULL);
}
