/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resume-mortal.c - the broker dies right before and right after each message that it sends while
 * clients join, and while they resume. Whatever it had done by then: with the next broker everybody
 * has everybody once, and a publish wakes who sleeps.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "comeback.h"

#define SERVICE "resume/samples"

/* More messages than any of this takes. */
#define N_MESSAGES 100

static const char *const moments[] = {"SHMD_DIES_BEFORE", "SHMD_DIES_AFTER"};

/* What the sleeper says of itself, whenever it is awake. */
struct sleeper {
        volatile uint32_t connected, publishers;
        volatile uint64_t taken, lost;
};

static struct sleeper *sleeper;
static pid_t mortal; /* 0: none runs */

/* ---- brokers ----------------------------------------------------------------------------- */

static void start_mortal(const char *moment, unsigned n)
{
        char number[16];

        snprintf(number, sizeof(number), "%u", n);
        mortal = child_fork();
        if (mortal == 0) {
                int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

                dup2(null, STDERR_FILENO);
                setenv(moment, number, 1);
                execl(MORTAL_PROGRAM, MORTAL_PROGRAM, "--socket", broker.socket, NULL);
                _exit(127);
        }
}

/* Once the mortal broker is dead, there is another. */
static bool look_after_brokers(void)
{
        if (mortal && waitpid(mortal, NULL, WNOHANG) == mortal) {
                mortal = 0;
                broker_spawn(NULL);
        }
        return true;
}

/* Whether it has outlived all that it was there for; then another takes its place, too. */
static bool has_survived(void)
{
        bool survived;

        look_after_brokers();
        survived = mortal;
        if (survived)
                must_equal(kill(mortal, SIGKILL), 0);
        until(look_after_brokers() && !mortal);
        return survived;
}

/* ---- the sleeper ------------------------------------------------------------------------- */

static void sleep_and_take(void *argument)
{
        struct shmd_connect_options options = {
                .size = sizeof(options), .spin_ns = SHMD_SPIN_NEVER, .socket = broker.socket};
        struct shmd_subscriber_options wanted = {.size = sizeof(wanted)};
        struct shmd *bus;
        struct shmd_subscriber *subscriber;
        struct shmd_sample sample;

        until(shmd_connect(&bus, &options) == 0);
        until(shmd_subscribe(&subscriber, bus, SERVICE, stamped_type, &wanted) == 0);
        for (;;) {
                int code = shmd_wait(bus, SHMD_FOREVER);

                must(code == 1 || code == -ENOTCONN);
                while (shmd_take(subscriber, &sample) == 1) {
                        must(stamped_is_whole(sample.data));
                        sleeper->lost += sample.lost;
                        must_equal(shmd_release(subscriber, &sample), 0);
                        sleeper->taken++;
                }
                sleeper->publishers = status_of(subscriber).publishers;
                sleeper->connected = state_of(bus).connected;
        }
}

static void publish_to_sleeper(struct shmd_publisher *publisher, struct role *role)
{
        struct shmd_publisher_state status;
        uint64_t taken = sleeper->taken;

        must_equal(shmd_publisher_status(publisher, &status), 0);
        until(process_is_asleep(role->pid));
        stamped_publish(publisher, status.published + 1);
        until(sleeper->taken == taken + 1);
}

/* ---- joining ----------------------------------------------------------------------------- */

static struct shmd *connect_somehow(void)
{
        struct shmd_connect_options options = {.size = sizeof(options), .socket = broker.socket};
        struct shmd *bus;

        until(look_after_brokers() && shmd_connect(&bus, &options) == 0);
        return bus;
}

static struct shmd_publisher *advertise_somehow(struct shmd *bus)
{
        struct shmd_publisher *publisher;

        until(look_after_brokers() &&
              shmd_advertise(&publisher, bus, SERVICE, stamped_type, NULL) == 0);
        return publisher;
}

/* Whether all are connected. Looking makes them come back. */
static bool are_connected(struct shmd *const *buses)
{
        bool one = state_of(buses[0]).connected, other = state_of(buses[1]).connected;

        look_after_brokers();
        return one && other && sleeper->connected;
}

/* All know each other once, and are heard asleep. */
static void check(struct shmd *const *buses, struct shmd_publisher *const *publishers,
                  struct role *role)
{
        until(are_connected(buses) && sleeper->publishers == 2);
        for (unsigned i = 0; i < 2; i++)
                must_equal(n_subscribers(publishers[i]), 1);
        for (unsigned i = 0; i < 4; i++)
                publish_to_sleeper(publishers[i % 2], role);
        must_equal(sleeper->lost, 0);
}

static void broker_may_die_at_any_message_while_clients_join(void **state)
{
        unsigned n_deaths = 0;

        sleeper = shared_memory(sizeof(*sleeper));
        broker_kill();
        for (unsigned i = 0; i < 2 * N_MESSAGES; i++) {
                struct shmd_publisher *publishers[2];
                struct shmd *buses[2];
                struct role *role;
                bool survived;

                *sleeper = (struct sleeper){.taken = 0};
                start_mortal(moments[i % 2], i / 2 + 1);
                role = role_start("sleeper", sleep_and_take, NULL);
                for (unsigned k = 0; k < 2; k++) {
                        buses[k] = connect_somehow();
                        publishers[k] = advertise_somehow(buses[k]);
                }
                until(are_connected(buses) && sleeper->publishers == 2);
                survived = has_survived();
                check(buses, publishers, role);
                role_kill(role);
                shmd_close(buses[0]);
                shmd_close(buses[1]);
                broker_kill();
                if (survived && i % 2)
                        break;
                n_deaths += !survived;
                must(i < 2 * N_MESSAGES - 1);
        }
        print_message("injections: %u\n", n_deaths);
        must(n_deaths > 10);
}

/* ---- resuming ---------------------------------------------------------------------------- */

static void broker_may_die_at_any_message_while_clients_resume(void **state)
{
        struct shmd *buses[2] = {broker_connect(), NULL};
        struct shmd_publisher *publishers[2] = {
                stamped_advertise(buses[0], SERVICE, (struct shmd_publisher_options){0})};
        unsigned n_deaths = 0;
        struct role *role;

        sleeper = shared_memory(sizeof(*sleeper));
        role = role_start("sleeper", sleep_and_take, NULL);
        until(n_subscribers(publishers[0]) == 1);
        for (unsigned i = 0; i < 2 * N_MESSAGES; i++) {
                bool survived;

                publish_to_sleeper(publishers[0], role);
                broker_kill();
                until(!sleeper->connected && !state_of(buses[0]).connected);
                start_mortal(moments[i % 2], i / 2 + 1);
                /* One who is new joins those who resume. */
                buses[1] = connect_somehow();
                publishers[1] = advertise_somehow(buses[1]);
                until(are_connected(buses) && sleeper->publishers == 2);
                survived = has_survived();
                check(buses, publishers, role);
                must_equal(state_of(buses[0]).stranded + state_of(buses[1]).stranded, 0);
                shmd_close(buses[1]);
                until(sleeper->publishers == 1);
                if (survived && i % 2)
                        break;
                n_deaths += !survived;
                must(i < 2 * N_MESSAGES - 1);
        }
        print_message("injections: %u\n", n_deaths);
        must(n_deaths > 10);
        role_kill(role);
        shmd_close(buses[0]);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(broker_may_die_at_any_message_while_clients_join),
                system_test(broker_may_die_at_any_message_while_clients_resume),
        };

        harness_init(argc, argv);
        return cmocka_run_group_tests_name("system-resume-mortal", tests, NULL, NULL);
}
