/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fds.c - processes that have no descriptors left: what is refused, and what comes right by itself
 * when there are some again.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "harness.h"
#include "stamped.h"

#define SERVICE "fds/samples"

static struct rlimit usual;

/* From here on no descriptor can be made in this process; back again. */
static void limit_descriptors(rlim_t most)
{
        struct rlimit limit;

        must_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
        limit = usual;
        limit.rlim_cur = most;
        must_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void restore_descriptors(void)
{
        must_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
}

/* The lowest number that is free. */
static int next_descriptor(void)
{
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

        must(fd >= 0);
        close(fd);
        return fd;
}

static struct shmd_publisher_state status_of(struct shmd_publisher *publisher)
{
        struct shmd_publisher_state status;

        must_equal(shmd_publisher_status(publisher, &status), 0);
        return status;
}

static bool can_loan(struct shmd_publisher *publisher)
{
        void *data;

        if (shmd_loan(publisher, &data) < 0)
                return false;
        must_equal(shmd_discard(publisher, data), 0);
        return true;
}

/* ---- the publisher's ---------------------------------------------------------------------- */

/* Holds the newest sample, and looks after it whenever it is asked to. */
static void hold_on(void *argument)
{
        struct shmd_subscriber_options options = {.size = sizeof(options), .history = 1};
        struct shmd *bus = broker_connect();
        struct shmd_subscriber *subscriber;
        struct shmd_sample sample;

        must_equal(shmd_subscribe(&subscriber, bus, SERVICE, stamped_type, &options), 0);
        must_equal(shmd_take(subscriber, &sample), 1);
        for (unsigned i = 0; i < 3; i++) {
                say('h');
                hear('l');
                must(stamped_is_whole(sample.data));
                must_equal(((const struct stamped *)sample.data)->number, sample.sequence);
        }
        shmd_close(bus);
}

static void lost_introduction_is_asked_for_again(void **state)
{
        struct shmd_publisher_options options = {.size = sizeof(options), .depth = 2};
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher;
        struct role *role;
        uint64_t n = 0;
        void *data;

        must_equal(shmd_advertise(&publisher, bus, SERVICE, stamped_type, &options), 0);
        while (n < 3)
                stamped_publish(publisher, ++n);
        role = role_start("subscriber", hold_on, NULL);
        limit_descriptors(3);
        role_await(role, 'h');
        /* As many as there are unused chunks, and then no more: its hold can't be seen. */
        while (shmd_loan(publisher, &data) == 0) {
                must(n < 1000);
                stamped_fill(data, status_of(publisher).id, ++n);
                must_equal(shmd_publish(publisher, data), 0);
        }
        must_say(shmd_error(), SERVICE, "1 subscribers", "descriptors", "recycled");
        must_equal(status_of(publisher).subscribers, 0);
        role_tell(role, 'l');
        role_await(role, 'h');
        must(!can_loan(publisher));
        restore_descriptors();
        until(can_loan(publisher));
        must_equal(status_of(publisher).subscribers, 1);
        for (unsigned i = 0; i < 10000; i++)
                stamped_publish(publisher, ++n);
        role_tell(role, 'l');
        role_await(role, 'h');
        role_tell(role, 'l');
        role_finish(role);
        shmd_close(bus);
}

static void lost_introduction_of_who_has_left_is_forgotten(void **state)
{
        struct shmd_publisher_options options = {.size = sizeof(options), .depth = 2};
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher;
        struct role *role;

        must_equal(shmd_advertise(&publisher, bus, SERVICE, stamped_type, &options), 0);
        stamped_publish(publisher, 1);
        role = role_start("subscriber", hold_on, NULL);
        limit_descriptors(3);
        role_await(role, 'h');
        while (can_loan(publisher)) {
                struct shmd_publisher_state status = status_of(publisher);

                stamped_publish(publisher, status.published + 1);
        }
        role_kill(role);
        /* Not one descriptor more, but nobody to be missed. */
        until(can_loan(publisher));
        restore_descriptors();
        must_equal(status_of(publisher).subscribers, 0);
        shmd_close(bus);
}

static void advertise_wants_descriptors_for_all_its_subscribers(void **state)
{
        struct shmd_publisher_options options = {.size = sizeof(options), .max_subscribers = 40};
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher;
        int code;

        limit_descriptors((rlim_t)next_descriptor() + 20);
        code = shmd_advertise(&publisher, bus, SERVICE, stamped_type, &options);
        restore_descriptors();
        must_equal(code, -EMFILE);
        must_say(shmd_error(), SERVICE, "descriptors are needed", "ulimit -n", "max_subscribers");
        limit_descriptors(3);
        code = shmd_advertise(&publisher, bus, SERVICE, stamped_type, &options);
        restore_descriptors();
        must_equal(code, -EMFILE);
        must_say(shmd_error(), SERVICE, "Too many open files");
        must_equal(shmd_advertise(&publisher, bus, SERVICE, stamped_type, &options), 0);
        stamped_publish(publisher, 1);
        shmd_close(bus);
}

/* What is kept free is enough for all seats, though nothing else is left. */
static void descriptors_that_were_set_aside_are_enough(void **state)
{
        enum { N = 6 };
        struct shmd_publisher_options options = {.size = sizeof(options), .max_subscribers = N};
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher;
        struct role *roles[N];
        int fillers[16], n_fillers = 0;

        must_equal(shmd_advertise(&publisher, bus, SERVICE, stamped_type, &options), 0);
        stamped_publish(publisher, 1);
        for (unsigned i = 0; i < N; i++)
                roles[i] = role_start("subscriber", hold_on, NULL);
        /* Each number that is free below the limit would be one more than was set aside. */
        while (next_descriptor() < roles[N - 1]->from) {
                must(n_fillers < 16);
                fillers[n_fillers++] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        }
        limit_descriptors((rlim_t)next_descriptor());
        for (unsigned i = 0; i < N; i++)
                role_await(roles[i], 'h');
        until(status_of(publisher).subscribers == N);
        restore_descriptors();
        while (n_fillers)
                close(fillers[--n_fillers]);
        for (uint64_t n = 2; n < 1000; n++)
                stamped_publish(publisher, n);
        for (unsigned i = 0; i < N; i++)
                role_tell(roles[i], 'l');
        for (unsigned i = 0; i < N; i++)
                role_await(roles[i], 'h');
        for (unsigned i = 0; i < N; i++)
                role_kill(roles[i]);
        shmd_close(bus);
}

/* ---- the subscriber's --------------------------------------------------------------------- */

static void connect_and_subscribe_say_what_is_missing(void **state)
{
        struct shmd_connect_options options = {.size = sizeof(options), .socket = broker.socket};
        struct shmd *bus, *none;
        struct shmd_subscriber *subscriber;
        int first = next_descriptor(), code;

        /* However many there are, too few is -EMFILE and leaves nothing behind. */
        for (int more = 0;; more++) {
                limit_descriptors((rlim_t)first + (rlim_t)more);
                code = shmd_connect(&bus, &options);
                restore_descriptors();
                if (code == 0)
                        break;
                must_equal(code, -EMFILE);
                must(more < 20);
                /* A loop that could not be made leaves its first descriptor (libuv 1.44). */
                if (strstr(shmd_error(), "event loop") && next_descriptor() != first)
                        close(first);
                must_equal(next_descriptor(), first);
        }
        broker_settle(bus);
        first = next_descriptor();
        limit_descriptors((rlim_t)first);
        must_equal(shmd_connect(&none, &options), -EMFILE);
        code = shmd_subscribe(&subscriber, bus, SERVICE, stamped_type, NULL);
        restore_descriptors();
        must_equal(code, -EMFILE);
        must_equal(next_descriptor(), first);
        must_equal(shmd_subscribe(&subscriber, bus, SERVICE, stamped_type, NULL), 0);
        shmd_close(bus);
}

static void publish_twice(void *argument)
{
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher;

        must_equal(shmd_advertise(&publisher, bus, SERVICE, stamped_type, NULL), 0);
        stamped_publish(publisher, 1);
        stamped_publish(publisher, 2);
        say('p');
        hear('e');
        shmd_close(bus);
}

static void subscriber_gets_its_publisher_when_it_has_descriptors_again(void **state)
{
        struct shmd *bus = broker_connect();
        struct shmd_subscriber *subscriber;
        struct shmd_subscriber_state status;
        struct tally tally = {0};
        struct role *role;

        must_equal(shmd_subscribe(&subscriber, bus, SERVICE, stamped_type, NULL), 0);
        role = role_start("publisher", publish_twice, NULL);
        limit_descriptors(3);
        role_await(role, 'p');
        for (unsigned i = 0; i < 3; i++)
                must_equal(shmd_wait(bus, 15 * MS), 0);
        must_equal(shmd_subscriber_status(subscriber, &status), 0);
        must_equal(status.publishers, 0);
        restore_descriptors();
        must_equal(shmd_wait(bus, (int64_t)PATIENCE_NS), 1);
        must_equal(shmd_subscriber_status(subscriber, &status), 0);
        must_equal(status.publishers, 1);
        must_equal(tally_take_all(&tally, subscriber), 2);
        role_tell(role, 'e');
        role_finish(role);
        shmd_close(bus);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(lost_introduction_is_asked_for_again),
                system_test(lost_introduction_of_who_has_left_is_forgotten),
                system_test(advertise_wants_descriptors_for_all_its_subscribers),
                system_test(descriptors_that_were_set_aside_are_enough),
                system_test(connect_and_subscribe_say_what_is_missing),
                system_test(subscriber_gets_its_publisher_when_it_has_descriptors_again),
        };

        harness_init(argc, argv);
        return cmocka_run_group_tests_name("system-fds", tests, NULL, NULL);
}
