/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fork.c - what a forked child can do with a connection of its parent's: nothing but close it. And
 * what that does to the parent: nothing.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "harness.h"
#include "stamped.h"

#define SERVICE "fork/samples"

/* All that the parent has. */
struct family {
        uv_loop_t loop;
        struct shmd *bus;
        struct shmd_publisher *publisher;
        struct shmd_subscriber *subscriber;
        struct shmd_sample sample; /* held */
        void *loan;
        struct tally tally;
        unsigned come;
};

static struct snapshot childless; /* before there was a connection */

static void count(void *user, const struct shmd_peer *peer, int present)
{
        *(unsigned *)user += (unsigned)present;
}

static void open_family(struct family *family, const char *service, struct uv_loop_s *loop)
{
        memset(&family->tally, 0, sizeof(family->tally));
        family->come = 0;
        snapshot_take(&childless, 0);
        family->bus = broker_connect_with(0, loop);
        family->publisher =
                stamped_advertise(family->bus, service, (struct shmd_publisher_options){0});
        family->subscriber = stamped_subscribe(
                family->bus, service,
                (struct shmd_subscriber_options){
                        .holds = 2, .on_publisher = count, .user = &family->come});
        stamped_publish(family->publisher, 1);
        must_equal(shmd_take(family->subscriber, &family->sample), 1);
        must_equal(shmd_loan(family->publisher, &family->loan), 0);
}

/* The parent's goes on as if there were no child. */
static void family_goes_on(struct family *family)
{
        struct shmd_publisher_state status;

        must(stamped_is_whole(family->sample.data));
        must_equal(family->sample.sequence, 1);
        must_equal(shmd_release(family->subscriber, &family->sample), 0);
        must_equal(shmd_publisher_status(family->publisher, &status), 0);
        stamped_fill(family->loan, status.id, 2);
        must_equal(shmd_publish(family->publisher, family->loan), 0);
        for (uint64_t n = 3; n < 100; n++) {
                must_equal(tally_take_all(&family->tally, family->subscriber), 1);
                stamped_publish(family->publisher, n);
        }
        must_equal(family->tally.lost, 0);
        broker_settle(family->bus);
}

static void close_family(struct family *family)
{
        shmd_publisher_close(family->publisher);
        shmd_subscriber_close(family->subscriber);
        shmd_close(family->bus);
}

static unsigned n_children;

/* Runs in a child; what it leaves with is its exit status. */
static void in_child(void (*run)(struct family *family), struct family *family)
{
        pid_t pid = child_fork();

        if (pid == 0) {
                run(family);
                _exit(0);
        }
        must_equal(child_finish(pid), 0);
        n_children++;
}

/* ---- calls ------------------------------------------------------------------------------- */

static void must_be_the_parents(int code)
{
        must_equal(code, -ECHILD);
        must_say(shmd_error(), "parent", "connect in the child");
}

static void ignore(void *user, const struct shmd_listing *listing)
{
}

static void call_everything(struct family *family)
{
        struct shmd_publisher_state publisher_status;
        struct shmd_subscriber_state subscriber_status;
        struct shmd_publisher *publisher;
        struct shmd_subscriber *subscriber;
        struct shmd_sample sample;
        void *data;

        must_equal(shmd_connected(family->bus), 0);
        must_be_the_parents(shmd_advertise(&publisher, family->bus, SERVICE, stamped_type, NULL));
        must_be_the_parents(shmd_subscribe(&subscriber, family->bus, SERVICE, stamped_type, NULL));
        must(!publisher && !subscriber);
        must_be_the_parents(shmd_loan(family->publisher, &data));
        must_be_the_parents(shmd_publish(family->publisher, family->loan));
        must_be_the_parents(shmd_publish_sized(family->publisher, family->loan, 8));
        must_be_the_parents(shmd_discard(family->publisher, family->loan));
        must_be_the_parents(shmd_publisher_status(family->publisher, &publisher_status));
        must_be_the_parents(shmd_take(family->subscriber, &sample));
        must_be_the_parents(shmd_release(family->subscriber, &family->sample));
        must_be_the_parents(shmd_subscriber_status(family->subscriber, &subscriber_status));
        must_be_the_parents(shmd_wait(family->bus, 0));
        must_be_the_parents(shmd_fd(family->bus));
        must_be_the_parents(shmd_prepare(family->bus));
        must_be_the_parents(shmd_dispatch(family->bus));
        must_be_the_parents(shmd_list(family->bus, ignore, NULL));
        must(stamped_is_whole(family->sample.data));
}

static void every_call_on_what_is_inherited_is_refused(void **state)
{
        struct family family;

        open_family(&family, SERVICE, NULL);
        in_child(call_everything, &family);
        family_goes_on(&family);
        close_family(&family);
}

/* ---- closing ----------------------------------------------------------------------------- */

static void must_have_nothing(void)
{
        struct snapshot now;

        snapshot_take(&now, 0);
        if (!snapshot_equal(&now, &childless))
                snapshot_explain("the child", &childless, &now);
        must(snapshot_equal(&now, &childless));
}

static void close_everything(struct family *family)
{
        close_family(family);
        must_have_nothing();
}

static void close_the_connection_only(struct family *family)
{
        shmd_close(family->bus);
        must_have_nothing();
}

/* What the parent writes is not mapped here: something of the child's own may be in its place. */
static void connect_anew_and_close_what_was_inherited(struct family *family)
{
        struct family own;

        memset(&own, 0, sizeof(own));
        open_family(&own, "fork/own", NULL);
        close_family(family);
        family_goes_on(&own);
        close_family(&own);
}

static void child_that_closes_gives_back_all_and_disturbs_nobody(void **state)
{
        struct shmd *guest_bus = broker_connect();
        struct family family;

        open_family(&family, SERVICE, NULL);
        in_child(close_everything, &family);
        in_child(close_the_connection_only, &family);
        in_child(connect_anew_and_close_what_was_inherited, &family);
        /* The broker has noticed nothing: who comes now is introduced to the parent. */
        stamped_advertise(guest_bus, SERVICE, (struct shmd_publisher_options){0});
        until(shmd_wait(family.bus, 0) >= 0 && family.come >= 2);
        family_goes_on(&family);
        close_family(&family);
        shmd_close(guest_bus);
}

static void publish_when_asked(void *argument)
{
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher =
                stamped_advertise(bus, SERVICE, (struct shmd_publisher_options){0});

        say('r');
        hear('p');
        stamped_publish(publisher, 1);
        hear('e');
        shmd_close(bus);
}

/* The child has closed its copies of the parent's pipe, socket and epoll. */
static void parent_sleeps_and_wakes_after_its_child_has_closed(void **state)
{
        struct role *role = role_start("publisher", publish_when_asked, NULL);
        struct shmd *bus = broker_connect_with(SHMD_SPIN_NEVER, NULL);
        struct family family = {.bus = bus};
        uint64_t begin;

        role_await(role, 'r');
        family.subscriber = stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});
        must_equal(shmd_wait(bus, (int64_t)PATIENCE_NS), 1);
        must_equal(shmd_wait(bus, 1), 0); /* armed */
        in_child(close_family, &family);
        role_tell(role, 'p');
        begin = harness_now();
        must_equal(shmd_wait(bus, (int64_t)PATIENCE_NS), 1);
        must(harness_now() - begin < PATIENCE_NS); /* woken, and not found when time was over */
        must_equal(tally_take_all(&family.tally, family.subscriber), 1);
        role_tell(role, 'e');
        role_finish(role);
        shmd_close(bus);
}

/* ---- a loop of the program's ------------------------------------------------------------- */

static void turn_the_loop(struct family *family)
{
        must_equal(uv_loop_fork(&family->loop), 0);
        for (unsigned i = 0; i < 5; i++)
                uv_run(&family->loop, UV_RUN_NOWAIT);
        must_equal(family->come, 1);
}

static void close_and_turn_the_loop(struct family *family)
{
        close_family(family);
        must_equal(uv_loop_fork(&family->loop), 0);
        must_equal(uv_run(&family->loop, UV_RUN_DEFAULT), 0);
        must_equal(uv_loop_close(&family->loop), 0);
        must_equal(family->come, 1);
}

static void loop_in_a_child_reads_nothing_that_is_the_parents(void **state)
{
        struct shmd *guest_bus = broker_connect();
        struct family family;

        memset(&family, 0, sizeof(family));
        must_equal(uv_loop_init(&family.loop), 0);
        open_family(&family, SERVICE, &family.loop);
        until(uv_run(&family.loop, UV_RUN_NOWAIT) && family.come == 1);
        /* Waits in the parent's socket while children turn the loop. */
        stamped_advertise(guest_bus, SERVICE, (struct shmd_publisher_options){0});
        broker_settle(guest_bus);
        in_child(turn_the_loop, &family);
        in_child(close_and_turn_the_loop, &family);
        until(uv_run(&family.loop, UV_RUN_NOWAIT) && family.come == 2);
        family_goes_on(&family);
        close_family(&family);
        must_equal(uv_run(&family.loop, UV_RUN_DEFAULT), 0);
        must_equal(uv_loop_close(&family.loop), 0);
        shmd_close(guest_bus);
}

/* ---- reading on -------------------------------------------------------------------------- */

static void child_reads_on_what_its_parent_holds(void **state)
{
        struct family family;
        pid_t pid;

        open_family(&family, SERVICE, NULL);
        must_equal(shmd_discard(family.publisher, family.loan), 0);
        pid = child_fork();
        if (pid == 0) {
                for (unsigned i = 0; i < 100000; i++)
                        must(stamped_is_whole(family.sample.data) &&
                             ((const struct stamped *)family.sample.data)->number == 1);
                _exit(0);
        }
        /* All chunks but this one are used many times over meanwhile. */
        for (uint64_t n = 2; n < 5000; n++)
                stamped_publish(family.publisher, n);
        must_equal(child_finish(pid), 0);
        must(stamped_is_whole(family.sample.data));
        close_family(&family);
}

/* As daemons do: the child lets go of the standard descriptors, and of what it has inherited. */
static void close_without_standard_descriptors(void *argument)
{
        struct shmd *bus = broker_connect();
        pid_t pid;

        (void)argument;
        stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});
        pid = child_fork();
        if (pid == 0) {
                for (int fd = 0; fd < 3; fd++)
                        close(fd);
                shmd_close(bus);
                _exit(0);
        }
        must_equal(child_finish(pid), 0);
        shmd_close(bus);
}

static void child_without_standard_descriptors_can_close_what_is_its_parents(void **state)
{
        role_finish(role_start("daemon", close_without_standard_descriptors, NULL));
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(every_call_on_what_is_inherited_is_refused),
                system_test(child_that_closes_gives_back_all_and_disturbs_nobody),
                system_test(parent_sleeps_and_wakes_after_its_child_has_closed),
                system_test(loop_in_a_child_reads_nothing_that_is_the_parents),
                system_test(child_reads_on_what_its_parent_holds),
                system_test(child_without_standard_descriptors_can_close_what_is_its_parents),
        };

        int failed;

        harness_init(argc, argv);
        failed = cmocka_run_group_tests_name("system-fork", tests, NULL, NULL);
        printf("injections: %u: children that close, call or run what they inherited\n",
               n_children);
        return failed;
}
