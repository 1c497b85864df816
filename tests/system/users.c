/* SPDX-License-Identifier: Apache-2.0 */
/*
 * users.c - several users on one broker: who is let in, and how they wake each other. Needs root,
 * who can be two users.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "connection.h"
#include "harness.h"
#include "somebody.h"
#include "stamped.h"

#define SERVICE "users/samples"
#define N_PINGS 200

static void try_to_connect(void *argument)
{
        const struct {
                int code;
                const char *says;
        } *expected = argument;
        struct shmd_connect_options options = {.size = sizeof(options), .socket = broker.socket};
        struct shmd *bus;

        become_somebody();
        must_equal(shmd_connect(&bus, &options), expected->code);
        if (expected->says)
                must_say(shmd_error(), expected->says);
        shmd_close(bus);
}

static void expect_somebody_to_get(int code, const char *says)
{
        struct {
                int code;
                const char *says;
        } expected = {code, says};

        role_finish(role_start("somebody", try_to_connect, &expected));
}

static void others_are_not_let_in_unless_allowed(void **state)
{
        open_directory();
        /* First the socket's mode, then the broker itself. */
        expect_somebody_to_get(-EACCES, "Permission denied");
        must_equal(chmod(broker.socket, 0666), 0);
        expect_somebody_to_get(-EACCES, "user 54321 may not connect");
        expect_somebody_to_get(-EACCES, "--allow-uid");
        broker_settle(broker.bus);
        let_somebody_in(NULL);
        expect_somebody_to_get(0, NULL);
}

/* ---- samples between users --------------------------------------------------------------- */

struct pings {
        uint64_t taken;
        bool is_somebody; /* the publisher; else the subscriber */
};
static struct pings *pings;

static unsigned n_ears(const struct shmd *bus)
{
        unsigned n = 0;

        list_for_each (&bus->ears, link)
                n++;
        return n;
}

static void publish_to_sleeper(void *argument)
{
        struct shmd_publisher_options options = {.size = sizeof(options), .depth = 4};
        struct shmd_publisher *publisher;
        struct shmd_publisher_state status;
        struct shmd *bus;

        if (pings->is_somebody)
                become_somebody();
        bus = broker_connect();
        must_equal(shmd_advertise(&publisher, bus, SERVICE, stamped_type, &options), 0);
        until(shmd_publisher_status(publisher, &status) == 0 && status.subscribers == 1);
        say('r');
        hear('g');
        for (uint64_t n = 1; n <= N_PINGS; n++) {
                until(__atomic_load_n(&pings->taken, __ATOMIC_ACQUIRE) == n - 1);
                stamped_publish(publisher, n);
        }
        hear('k');
        /* Its reader has been killed. */
        for (uint64_t n = N_PINGS + 1; n <= N_PINGS + 1000; n++)
                stamped_publish(publisher, n);
        until(shmd_publisher_status(publisher, &status) == 0 && status.subscribers == 0);
        shmd_close(bus);
}

static void take_asleep(void *argument)
{
        struct shmd_subscriber *subscriber;
        struct tally tally = {0};
        struct shmd *bus;

        if (!pings->is_somebody)
                become_somebody();
        bus = broker_connect_with(SHMD_SPIN_NEVER, NULL);
        must_equal(shmd_subscribe(&subscriber, bus, SERVICE, stamped_type, NULL), 0);
        say('r');
        while (tally.taken < N_PINGS) {
                uint64_t begin = harness_now();

                must_equal(shmd_wait(bus, (int64_t)PATIENCE_NS), 1);
                must(harness_now() - begin < PATIENCE_NS / 2);
                tally_take_all(&tally, subscriber);
                __atomic_store_n(&pings->taken, tally.taken, __ATOMIC_RELEASE);
        }
        must_equal(tally.lost, 0);
        /* Its own pipe, and a socket for that user's publishers. */
        must_equal(n_ears(bus), 2);
        say('d');
        for (;;)
                must_equal(shmd_wait(bus, SHMD_FOREVER), 1);
}

static void exchange(bool publisher_is_somebody)
{
        struct role *publisher, *subscriber;

        let_somebody_in(NULL);
        pings = shared_memory(sizeof(*pings));
        pings->is_somebody = publisher_is_somebody;
        subscriber = role_start("subscriber", take_asleep, NULL);
        role_await(subscriber, 'r');
        publisher = role_start("publisher", publish_to_sleeper, NULL);
        role_await(publisher, 'r');
        role_tell(publisher, 'g');
        role_await(subscriber, 'd');
        until(process_is_asleep(subscriber->pid));
        role_kill(subscriber);
        role_tell(publisher, 'k');
        role_finish(publisher);
}

static void sleeper_of_root_is_woken_by_somebody(void **state)
{
        exchange(true);
}

static void sleeper_of_somebody_is_woken_by_root(void **state)
{
        exchange(false);
}

static void somebody_can_not_read_what_is_roots(void *argument)
{
        char path[64];

        become_somebody();
        for (int fd = 0; fd < 64; fd++) {
                snprintf(path, sizeof(path), "/proc/%d/fd/%d", *(pid_t *)argument, fd);
                must_equal(access(path, R_OK), -1);
        }
}

static void descriptors_of_the_broker_are_its_own(void **state)
{
        let_somebody_in(NULL);
        role_finish(role_start("somebody", somebody_can_not_read_what_is_roots, &broker.pid));
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(others_are_not_let_in_unless_allowed),
                system_test(sleeper_of_root_is_woken_by_somebody),
                system_test(sleeper_of_somebody_is_woken_by_root),
                system_test(descriptors_of_the_broker_are_its_own),
        };

        harness_init(argc, argv);
        if (!can_be_somebody()) {
                puts("skipped: only root can be two users");
                return 77;
        }
        return cmocka_run_group_tests_name("system-users", tests, NULL, NULL);
}
