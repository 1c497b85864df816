/* SPDX-License-Identifier: Apache-2.0 */
/*
 * death.c - whoever dies takes what it had with it, and nobody else is hurt; nor by a neighbour
 * that means harm.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "raw.h"
#include "stamped.h"
#include "wire.h"

#define SERVICE "death/samples"

static uint32_t n_subscribers(struct shmd_publisher *publisher)
{
        struct shmd_publisher_state status;

        must_equal(shmd_publisher_status(publisher, &status), 0);
        return status.subscribers;
}

static uint32_t n_publishers(struct shmd_subscriber *subscriber)
{
        struct shmd_subscriber_state status;

        must_equal(shmd_subscriber_status(subscriber, &status), 0);
        return status.publishers;
}

static bool can_loan(struct shmd_publisher *publisher)
{
        void *data;

        if (shmd_loan(publisher, &data) < 0)
                return false;
        must_equal(shmd_discard(publisher, data), 0);
        return true;
}

static void count_peer(void *user, const struct shmd_peer *peer, int present)
{
        int *n = user;

        *n += present ? 1 : -1;
}

/* ---- subscribers ------------------------------------------------------------------------- */

/* Holds two samples, and falls asleep. */
static void hold_and_sleep(void *argument)
{
        struct shmd *bus = broker_connect_with(SHMD_SPIN_NEVER, NULL);
        struct shmd_subscriber *subscriber =
                stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){.holds = 2});
        struct shmd_sample samples[2];

        say('r');
        for (unsigned i = 0; i < 2; i++) {
                hear('t');
                must_equal(shmd_take(subscriber, &samples[i]), 1);
                say('t');
        }
        /* With full hands nothing wakes it but news of peers. */
        for (;;)
                must_equal(shmd_wait(bus, SHMD_FOREVER), 1);
}

static void subscriber_killed_while_asleep_is_forgotten_with_all_it_held(void **state)
{
        int n = 0;
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher =
                stamped_advertise(bus, SERVICE,
                                  (struct shmd_publisher_options){.depth = 1,
                                                                  .loans = 1,
                                                                  .chunks = 4,
                                                                  .max_subscribers = 1,
                                                                  .on_subscriber = count_peer,
                                                                  .user = &n});

        for (unsigned round = 0; round < 5; round++) {
                struct role *role = role_start("sleeper", hold_and_sleep, NULL);
                uint64_t begin;
                void *data;

                role_await(role, 'r');
                until(n_subscribers(publisher) == 1);
                for (unsigned i = 0; i < 2; i++) {
                        must_equal(shmd_loan(publisher, &data), 0);
                        must_equal(shmd_publish(publisher, data), 0);
                        role_tell(role, 't');
                        role_await(role, 't');
                }
                until(process_is_asleep(role->pid));
                if (round % 2) {
                        /* Rung for while it can't hear. */
                        role_stop(role);
                        must_equal(shmd_loan(publisher, &data), 0);
                        must_equal(shmd_publish(publisher, data), 0);
                }
                role_kill(role);
                /* No SIGPIPE, and nobody waits for it. */
                begin = harness_now();
                for (unsigned i = 0; i < 10000; i++)
                        if (shmd_loan(publisher, &data) == 0)
                                must_equal(shmd_publish(publisher, data), 0);
                must(harness_now() - begin < 5000 * MS);
                until(n_subscribers(publisher) == 0);
                until(can_loan(publisher));
                must(shmd_wait(bus, 0) >= 0);
                must_equal(n, 0);
        }
        shmd_close(bus);
}

static void seat_of_a_dead_subscriber_is_given_to_the_next(void **state)
{
        struct shmd *bus = broker_connect(), *other = broker_connect();
        struct shmd_publisher *publisher = stamped_advertise(
                bus, SERVICE, (struct shmd_publisher_options){.max_subscribers = 1});
        struct role *role = role_start("sleeper", hold_and_sleep, NULL);
        struct shmd_subscriber *subscriber = NULL;
        struct tally tally = {0};

        role_await(role, 'r');
        stamped_publish(publisher, 1);
        role_tell(role, 't');
        role_await(role, 't');
        must_equal(shmd_subscribe(&subscriber, other, SERVICE, stamped_type, NULL), -ERANGE);
        role_kill(role);
        until(shmd_subscribe(&subscriber, other, SERVICE, stamped_type, NULL) == 0);
        stamped_publish(publisher, 2);
        must_equal(tally_take_all(&tally, subscriber), 1);
        shmd_close(bus);
        shmd_close(other);
}

/* ---- publishers -------------------------------------------------------------------------- */

static void publish_for_ever(void *argument)
{
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher =
                stamped_advertise(bus, SERVICE, (struct shmd_publisher_options){0});

        say('r');
        hear('g');
        for (uint64_t n = 1;; n++)
                stamped_publish(publisher, n);
}

static void publisher_killed_in_the_middle_is_read_to_the_end(void **state)
{
        int n = 0;
        struct shmd *bus = broker_connect();
        struct shmd_subscriber_options options = {.on_publisher = count_peer, .user = &n};
        struct shmd_subscriber *subscriber = stamped_subscribe(bus, SERVICE, options);

        for (unsigned round = 0; round < 20; round++) {
                struct role *role = role_start("publisher", publish_for_ever, NULL);
                struct shmd_subscriber_state before, after;
                struct tally tally = {0};
                struct shmd_sample held;

                role_await(role, 'r');
                until(n_publishers(subscriber) == 1);
                must_equal(shmd_wait(bus, 0), 1);
                must_equal(n, 1);
                must_equal(shmd_subscriber_status(subscriber, &before), 0);
                role_tell(role, 'g');
                while (tally.taken < 10 + round) {
                        must_equal(shmd_wait(bus, (int64_t)PATIENCE_NS), 1);
                        tally_take_all(&tally, subscriber);
                }
                until(shmd_take(subscriber, &held) == 1);
                tally_add(&tally, &held);
                role_kill(role);
                while (n == 1)
                        must_equal(shmd_wait(bus, (int64_t)PATIENCE_NS), 1);
                must_equal(n_publishers(subscriber), 0);
                tally_take_all(&tally, subscriber);
                must(stamped_is_whole(held.data));
                must_equal(shmd_release(subscriber, &held), 0);
                must_equal(shmd_subscriber_status(subscriber, &after), 0);
                must_equal(after.taken - before.taken, tally.taken);
                must_equal(tally.taken + tally.lost, tally.of[0].last);
                must_equal(shmd_wait(bus, 1), 0);
        }
        shmd_close(bus);
}

/* ---- a forked child that keeps what its dead parent had ---------------------------------- */

static pid_t *orphan; /* shared */

static void leave_an_orphan(void)
{
        pid_t pid = child_fork();

        if (pid == 0) {
                /* Lives on, with all descriptors and mappings, when its parent is dead. */
                must_equal(prctl(PR_SET_PDEATHSIG, 0), 0);
                *orphan = getpid();
                for (;;)
                        pause();
        }
        until(*(volatile pid_t *)orphan == pid);
        say('o');
        for (;;)
                pause();
}

static void publish_and_leave_an_orphan(void *argument)
{
        struct shmd *bus = broker_connect();

        stamped_publish(stamped_advertise(bus, SERVICE, (struct shmd_publisher_options){0}), 1);
        leave_an_orphan();
}

static void subscribe_and_leave_an_orphan(void *argument)
{
        struct shmd *bus = broker_connect();
        struct shmd_sample sample;
        struct shmd_subscriber *subscriber =
                stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){.history = 1});

        must_equal(shmd_take(subscriber, &sample), 1);
        leave_an_orphan();
}

static void end_orphan(void)
{
        must(*orphan > 0);
        must_equal(waitpid(*orphan, NULL, WNOHANG), 0);
        must_equal(kill(*orphan, SIGKILL), 0);
        must_equal(child_finish(*orphan), -SIGKILL);
}

static void publisher_is_dead_though_its_child_keeps_its_descriptors(void **state)
{
        struct shmd *bus = broker_connect();
        struct shmd_subscriber *subscriber =
                stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});
        struct tally tally = {0};
        struct role *role;

        orphan = shared_memory(sizeof(*orphan));
        role = role_start("parent", publish_and_leave_an_orphan, NULL);
        role_await(role, 'o');
        until(n_publishers(subscriber) == 1);
        role_kill(role);
        until(n_publishers(subscriber) == 0);
        must_equal(tally_take_all(&tally, subscriber), 1);
        broker_settle(bus);
        end_orphan();
        shmd_close(bus);
}

static void subscriber_is_dead_though_its_child_keeps_its_descriptors(void **state)
{
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher = stamped_advertise(
                bus, SERVICE, (struct shmd_publisher_options){.depth = 1, .loans = 1, .chunks = 3});
        struct role *role;

        orphan = shared_memory(sizeof(*orphan));
        stamped_publish(publisher, 1);
        role = role_start("parent", subscribe_and_leave_an_orphan, NULL);
        role_await(role, 'o');
        must_equal(n_subscribers(publisher), 1);
        role_kill(role);
        until(n_subscribers(publisher) == 0);
        for (unsigned i = 0; i < 100; i++) {
                until(can_loan(publisher));
                stamped_publish(publisher, i + 2);
        }
        end_orphan();
        shmd_close(bus);
}

/* ---- the broker -------------------------------------------------------------------------- */

static void publish_after_the_broker(void *argument)
{
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher =
                stamped_advertise(bus, SERVICE, (struct shmd_publisher_options){.depth = 1000});
        struct shmd_publisher *second;
        unsigned n_told = 0;

        say('r');
        hear('k');
        for (uint64_t n = 1; n <= 500; n++) {
                stamped_publish(publisher, n);
                n_told += shmd_wait(bus, 0) == -ENOTCONN;
        }
        must_equal(n_told, 1);
        must_equal(shmd_connected(bus), 0);
        must_equal(shmd_advertise(&second, bus, "other", stamped_type, NULL), -ENOTCONN);
        say('p');
        /* One at a time, to a sleeper. */
        for (uint64_t n = 501; n <= 520; n++) {
                hear('n');
                until(process_is_asleep(getppid()));
                stamped_publish(publisher, n);
        }
        hear('e');
        shmd_close(bus);
}

static void samples_flow_on_when_the_broker_is_killed(void **state)
{
        struct role *role = role_start("publisher", publish_after_the_broker, NULL);
        struct shmd *bus = broker_connect_with(SHMD_SPIN_NEVER, NULL);
        struct shmd_subscriber *subscriber, *second;
        struct tally tally = {0};
        int code;

        role_await(role, 'r');
        subscriber = stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});
        must_equal(shmd_wait(bus, 0), 1);
        /* The harness's own connection is the first to know. */
        broker_kill();
        role_tell(role, 'k');
        role_await(role, 'p');
        /* Samples that are there may be told of first; the loss of the broker once. */
        while ((code = shmd_wait(bus, (int64_t)PATIENCE_NS)) == 1)
                tally_take_all(&tally, subscriber);
        must_equal(code, -ENOTCONN);
        must_say(shmd_error(), "broker is gone");
        must_equal(shmd_connected(bus), 0);
        tally_take_all(&tally, subscriber);
        must_equal(tally.taken, 500);
        for (uint64_t n = 501; n <= 520; n++) {
                role_tell(role, 'n');
                must_equal(shmd_wait(bus, (int64_t)PATIENCE_NS), 1);
                must_equal(tally_take_all(&tally, subscriber), 1);
        }
        must_equal(tally.taken, 520);
        must_equal(shmd_subscribe(&second, bus, "other", stamped_type, NULL), -ENOTCONN);
        must_say(shmd_error(), "broker is gone");
        must_equal(shmd_wait(bus, 1), 0);
        role_tell(role, 'e');
        role_finish(role);
        shmd_close(bus);
}

/* ---- a neighbour that means harm --------------------------------------------------------- */

/* A publisher of the same user that makes the subscriber's pipe block, and fills it. */
static void be_hostile(void *argument)
{
        struct raw_publisher publisher;
        struct packet packet;
        int fd = raw_session(NULL), pipe, own, flags;
        char path[40], junk[PIPE_BUF] = {0};
        bool is_answered = false;

        raw_publisher_open(&publisher, "death/bytes");
        raw_send(fd, &publisher.message, sizeof(publisher.message), &publisher.fd, 1);
        pipe = -1;
        while (!is_answered) {
                must(raw_receive(fd, &packet));
                is_answered = packet.header.type == MESSAGE_REPLY;
                if (packet.header.type == MESSAGE_SUBSCRIBER_ADDED)
                        pipe = packet_take_fd(&packet, 2);
                packet_close(&packet);
        }
        must(pipe >= 0);
        /* O_NONBLOCK is the description's, which came by way of the broker; and its own one. */
        snprintf(path, sizeof(path), "/proc/self/fd/%d", pipe);
        own = open(path, O_WRONLY | O_CLOEXEC);
        must(own >= 0);
        flags = fcntl(pipe, F_GETFL);
        must_equal(fcntl(pipe, F_SETFL, flags & ~O_NONBLOCK), 0);
        must_equal(fcntl(own, F_SETFL, O_NONBLOCK), 0);
        while (write(own, junk, sizeof(junk)) > 0)
                ;
        while (write(own, junk, 1) > 0)
                ;
        must_equal(errno, EAGAIN);
        say('f');
        hear('e');
        close(own);
        close(pipe);
        raw_publisher_close(&publisher);
        close(fd);
}

/* A connection that hears of both services on one pipe, asleep. */
static void sleep_on_one_pipe(void *argument)
{
        struct shmd *bus = broker_connect_with(SHMD_SPIN_NEVER, NULL);
        struct shmd_subscriber *subscriber =
                stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});
        struct shmd_subscriber *bytes;
        struct tally tally = {0};

        must_equal(shmd_subscribe(&bytes, bus, "death/bytes", &shmd_bytes, NULL), 0);
        say('r');
        while (tally_last(&tally, tally.n_publishers ? tally.of[0].publisher : 0) < 20001) {
                uint64_t begin = harness_now();
                int code = shmd_wait(bus, (int64_t)PATIENCE_NS);

                /* EINTR: it was stopped and goes on. */
                must(code == 1 || code == -EINTR);
                must(harness_now() - begin < PATIENCE_NS / 2);
                tally_take_all(&tally, subscriber);
        }
        must_equal(tally.taken + tally.lost, 20001);
        shmd_close(bus);
}

static void publish_to_a_full_pipe(void *argument)
{
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher =
                stamped_advertise(bus, SERVICE, (struct shmd_publisher_options){0});

        must_equal(n_subscribers(publisher), 1);
        say('r');
        hear('g');
        /* Its reader is armed, its pipe full and blocking. */
        for (uint64_t n = 1; n <= 20000; n++)
                stamped_publish(publisher, n);
        say('p');
        hear('g');
        stamped_publish(publisher, 20001);
        hear('e');
        shmd_close(bus);
}

static void full_pipe_blocks_no_publisher_and_wakes_its_reader(void **state)
{
        struct role *sleeper = role_start("sleeper", sleep_on_one_pipe, NULL);
        struct role *publisher, *hostile;

        role_await(sleeper, 'r');
        publisher = role_start("publisher", publish_to_a_full_pipe, NULL);
        role_await(publisher, 'r');
        until(process_is_asleep(sleeper->pid));
        role_stop(sleeper);
        hostile = role_start("hostile", be_hostile, NULL);
        role_await(hostile, 'f');
        role_tell(publisher, 'g');
        role_await(publisher, 'p');
        role_continue(sleeper);
        role_tell(publisher, 'g');
        role_finish(sleeper);
        role_tell(hostile, 'e');
        role_finish(hostile);
        role_tell(publisher, 'e');
        role_finish(publisher);
}

/* ---- fork -------------------------------------------------------------------------------- */

static void expect_in_child(int code)
{
        must_equal(code, -ECHILD);
        must_say(shmd_error(), "parent");
}

static void use_what_belongs_to_the_parent(struct shmd *bus, struct shmd_publisher *publisher,
                                           struct shmd_subscriber *subscriber, void *loan,
                                           struct shmd_sample *sample)
{
        struct shmd_publisher_state publisher_status;
        struct shmd_subscriber_state subscriber_status;
        struct shmd_publisher *new_publisher;
        struct shmd_subscriber *new_subscriber;
        struct shmd_sample another;
        struct shmd *own;
        void *data;

        expect_in_child(shmd_loan(publisher, &data));
        expect_in_child(shmd_publish(publisher, loan));
        expect_in_child(shmd_discard(publisher, loan));
        expect_in_child(shmd_publisher_status(publisher, &publisher_status));
        expect_in_child(shmd_take(subscriber, &another));
        expect_in_child(shmd_release(subscriber, sample));
        expect_in_child(shmd_subscriber_status(subscriber, &subscriber_status));
        expect_in_child(shmd_advertise(&new_publisher, bus, SERVICE, stamped_type, NULL));
        expect_in_child(shmd_subscribe(&new_subscriber, bus, SERVICE, stamped_type, NULL));
        expect_in_child(shmd_wait(bus, 0));
        expect_in_child(shmd_prepare(bus));
        expect_in_child(shmd_dispatch(bus));
        expect_in_child(shmd_fd(bus));
        shmd_publisher_close(publisher);
        shmd_subscriber_close(subscriber);
        shmd_close(bus);
        own = broker_connect();
        subscriber =
                stamped_subscribe(own, SERVICE, (struct shmd_subscriber_options){.history = 1});
        must_equal(n_publishers(subscriber), 1);
        must_equal(shmd_take(subscriber, &another), 1);
        shmd_close(own);
}

static void forked_child_may_not_use_what_its_parent_uses_on(void **state)
{
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher =
                stamped_advertise(bus, SERVICE, (struct shmd_publisher_options){0});
        struct shmd_subscriber *subscriber =
                stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});
        struct shmd_sample sample;
        void *loan;
        pid_t pid;

        stamped_publish(publisher, 1);
        must_equal(shmd_take(subscriber, &sample), 1);
        must_equal(shmd_loan(publisher, &loan), 0);
        pid = child_fork();
        if (pid == 0) {
                use_what_belongs_to_the_parent(bus, publisher, subscriber, loan, &sample);
                _exit(0);
        }
        must_equal(child_finish(pid), 0);
        must(stamped_is_whole(sample.data));
        must_equal(shmd_release(subscriber, &sample), 0);
        stamped_fill(loan, sample.publisher, 2);
        must_equal(shmd_publish(publisher, loan), 0);
        must_equal(shmd_wait(bus, (int64_t)PATIENCE_NS), 1);
        must_equal(shmd_take(subscriber, &sample), 1);
        must_equal(sample.sequence, 2);
        broker_settle(bus);
        shmd_close(bus);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(subscriber_killed_while_asleep_is_forgotten_with_all_it_held),
                system_test(seat_of_a_dead_subscriber_is_given_to_the_next),
                system_test(publisher_killed_in_the_middle_is_read_to_the_end),
                system_test(publisher_is_dead_though_its_child_keeps_its_descriptors),
                system_test(subscriber_is_dead_though_its_child_keeps_its_descriptors),
                system_test(samples_flow_on_when_the_broker_is_killed),
                system_test(full_pipe_blocks_no_publisher_and_wakes_its_reader),
                system_test(forked_child_may_not_use_what_its_parent_uses_on),
        };

        harness_init(argc, argv);
        return cmocka_run_group_tests_name("system-death", tests, NULL, NULL);
}
