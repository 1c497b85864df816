/* SPDX-License-Identifier: Apache-2.0 */
/*
 * misuse.c - what a program must not do, and what it is told when it does. Built twice: once as the
 * library was configured, and once with a library that has the checks of src/call.c.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "harness.h"
#include "stamped.h"

#define SERVICE "misuse/samples"

static unsigned n_refused;
static struct shmd *bus;
static struct shmd_publisher *publisher;
static struct shmd_subscriber *subscriber;

static void open_all(void)
{
        bus = broker_connect();
        publisher = stamped_advertise(bus, SERVICE, (struct shmd_publisher_options){0});
        subscriber = stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});
}

/* Nothing that was refused has done harm. */
static void close_all(void)
{
        struct tally tally = {0};
        struct shmd_publisher_state status;

        must_equal(shmd_publisher_status(publisher, &status), 0);
        must_equal(status.loaned, 0);
        tally_take_all(&tally, subscriber);
        for (uint64_t n = 1; n <= 100; n++) {
                stamped_publish(publisher, status.published + n);
                must_equal(tally_take_all(&tally, subscriber), 1);
        }
        must_equal(tally.lost, 0);
        shmd_close(bus);
}

/* The call says `code`, and a text with the parts. */
#define must_refuse(call, code, ...)                 \
        do {                                         \
                must_equal(call, code);              \
                n_refused++;                         \
                must_say(shmd_error(), __VA_ARGS__); \
        } while (0)

/* ---- loans and holds --------------------------------------------------------------------- */

static void what_is_not_on_loan_is_not_published_or_discarded(void **state)
{
        struct shmd_publisher *other;
        struct stamped mine;
        void *data, *elses;

        open_all();
        other = stamped_advertise(bus, "misuse/others", (struct shmd_publisher_options){0});
        must_equal(shmd_loan(publisher, &data), 0);
        must_equal(shmd_loan(other, &elses), 0);
        must_refuse(shmd_publish(publisher, elses), -EINVAL, SERVICE, "not on loan");
        must_refuse(shmd_discard(publisher, elses), -EINVAL, SERVICE, "not on loan");
        must_refuse(shmd_publish(publisher, &mine), -EINVAL, SERVICE, "not on loan");
        must_refuse(shmd_publish(publisher, (char *)data + 8), -EINVAL, "not on loan");
        must_refuse(shmd_publish(publisher, NULL), -EINVAL, "not on loan");
        must_refuse(shmd_publish_sized(publisher, data, sizeof(mine) + 1), -EINVAL, "bytes");
        must_refuse(shmd_publish_sized(publisher, data, 0), -EINVAL, "bytes");
        stamped_fill(data, 0, 0);
        must_equal(shmd_discard(publisher, data), 0);
        must_refuse(shmd_discard(publisher, data), -EINVAL, SERVICE, "not on loan");
        must_refuse(shmd_publish(publisher, data), -EINVAL, SERVICE, "not on loan");
        stamped_publish(publisher, 1);
        must_equal(shmd_loan(publisher, &data), 0);
        must_equal(shmd_discard(publisher, data), 0);
        must_equal(shmd_discard(other, elses), 0);
        close_all();
}

static void what_was_published_is_not_published_again(void **state)
{
        struct shmd_publisher_state status;
        void *data;

        open_all();
        must_equal(shmd_publisher_status(publisher, &status), 0);
        must_equal(shmd_loan(publisher, &data), 0);
        stamped_fill(data, status.id, 1);
        must_equal(shmd_publish(publisher, data), 0);
        must_refuse(shmd_publish(publisher, data), -EINVAL, SERVICE, "not on loan");
        must_refuse(shmd_discard(publisher, data), -EINVAL, SERVICE, "not on loan");
        close_all();
}

static void what_is_not_held_is_not_released(void **state)
{
        struct shmd_subscriber *other;
        struct shmd_sample sample, copy, others, none = {0};

        open_all();
        other = stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});
        stamped_publish(publisher, 1);
        must_equal(shmd_take(subscriber, &sample), 1);
        must_equal(shmd_take(other, &others), 1);
        /* The same sample of the same publisher, in the same place. */
        must_equal(sample.sequence, others.sequence);
        must_refuse(shmd_release(subscriber, &others), -EINVAL, SERVICE, "not held");
        must_refuse(shmd_release(other, &sample), -EINVAL, SERVICE, "not held");
        must(sample.data && others.data);
        must_refuse(shmd_release(subscriber, &none), -EINVAL, SERVICE, "not held");
        copy = sample;
        must_equal(shmd_release(subscriber, &sample), 0);
        must(!sample.data);
        must_refuse(shmd_release(subscriber, &sample), -EINVAL, SERVICE, "not held");
        must_refuse(shmd_release(subscriber, &copy), -EINVAL, SERVICE, "not held");
        stamped_publish(publisher, 2);
        must_equal(shmd_take(subscriber, &sample), 1);
        must_refuse(shmd_release(subscriber, &copy), -EINVAL, SERVICE, "not held");
        must_equal(shmd_release(subscriber, &sample), 0);
        must_equal(shmd_release(other, &others), 0);
        close_all();
}

/* ---- arguments --------------------------------------------------------------------------- */

static void ignore(void *user, const struct shmd_listing *listing)
{
}

static void calls_want_their_arguments(void **state)
{
        struct shmd_publisher_state publisher_status;
        struct shmd_subscriber_state subscriber_status;
        struct shmd_publisher *new_publisher = publisher;
        struct shmd_subscriber *new_subscriber = subscriber;

        open_all();
        must_refuse(shmd_connect(NULL, NULL), -EINVAL, "shmd_connect", "place");
        must_refuse(shmd_advertise(NULL, bus, SERVICE, stamped_type, NULL), -EINVAL,
                    "shmd_advertise", "place");
        must_refuse(shmd_advertise(&new_publisher, NULL, SERVICE, stamped_type, NULL), -EINVAL,
                    "shmd_advertise", "connection");
        must_refuse(shmd_advertise(&new_publisher, bus, NULL, stamped_type, NULL), -EINVAL,
                    "shmd_advertise", "service");
        must_refuse(shmd_advertise(&new_publisher, bus, SERVICE, NULL, NULL), -EINVAL,
                    "shmd_advertise", "type");
        must_refuse(shmd_subscribe(NULL, bus, SERVICE, stamped_type, NULL), -EINVAL,
                    "shmd_subscribe", "place");
        must_refuse(shmd_subscribe(&new_subscriber, NULL, SERVICE, stamped_type, NULL), -EINVAL,
                    "shmd_subscribe", "connection");
        must_refuse(shmd_subscribe(&new_subscriber, bus, NULL, stamped_type, NULL), -EINVAL,
                    "shmd_subscribe", "service");
        must_refuse(shmd_subscribe(&new_subscriber, bus, SERVICE, NULL, NULL), -EINVAL,
                    "shmd_subscribe", "type");
        must(!new_publisher && !new_subscriber);
        must_refuse(shmd_publisher_status(NULL, &publisher_status), -EINVAL,
                    "shmd_publisher_status", "publisher");
        must_refuse(shmd_publisher_status(publisher, NULL), -EINVAL, "place");
        must_refuse(shmd_subscriber_status(NULL, &subscriber_status), -EINVAL,
                    "shmd_subscriber_status", "subscriber");
        must_refuse(shmd_subscriber_status(subscriber, NULL), -EINVAL, "place");
        must_refuse(shmd_wait(NULL, 0), -EINVAL, "shmd_wait", "connection");
        must_refuse(shmd_wait(bus, -2), -EINVAL, "shmd_wait", "-2");
        must_refuse(shmd_fd(NULL), -EINVAL, "shmd_fd", "connection");
        must_refuse(shmd_prepare(NULL), -EINVAL, "shmd_prepare", "connection");
        must_refuse(shmd_dispatch(NULL), -EINVAL, "shmd_dispatch", "connection");
        must_refuse(shmd_list(NULL, ignore, NULL), -EINVAL, "shmd_list", "connection");
        must_refuse(shmd_list(bus, NULL, NULL), -EINVAL, "shmd_list", "callback");
        must_equal(shmd_connected(NULL), 0);
        must_equal(shmd_type_hash(NULL), 0);
        must_say(shmd_error(), "type");
        shmd_close(NULL);
        shmd_publisher_close(NULL);
        shmd_subscriber_close(NULL);
        close_all();
}

/* Options whose size is wrong, or that have more in them than this library knows. */
static int connect_with(const void *options)
{
        struct shmd *made;
        int code = shmd_connect(&made, options);

        must(!made == (code < 0));
        shmd_close(made);
        return code;
}

static int advertise_with(const void *options)
{
        struct shmd_publisher *made;
        int code = shmd_advertise(&made, bus, SERVICE, stamped_type, options);

        must(!made == (code < 0));
        shmd_publisher_close(made);
        return code;
}

static int subscribe_with(const void *options)
{
        struct shmd_subscriber *made;
        int code = shmd_subscribe(&made, bus, SERVICE, stamped_type, options);

        must(!made == (code < 0));
        shmd_subscriber_close(made);
        return code;
}

static void options_of_a_wrong_size_are_refused(void **state)
{
        static const struct {
                int (*open_with)(const void *options);
                uint32_t size;
                const char *name;
        } calls[] = {
                {connect_with, sizeof(struct shmd_connect_options), "shmd_connect_options"},
                {advertise_with, sizeof(struct shmd_publisher_options), "shmd_publisher_options"},
                {subscribe_with, sizeof(struct shmd_subscriber_options), "shmd_subscriber_options"},
        };
        union {
                uint32_t size;
                uint64_t align;
                unsigned char bytes[8192];
        } options;

        open_all();
        must_equal(setenv("SHMD_SOCKET", broker.socket, 1), 0);
        for (size_t i = 0; i < N_ELEMENTS(calls); i++) {
                static const uint32_t wrong[] = {0, 1, 3, 4097, UINT32_MAX};

                memset(&options, 0, sizeof(options));
                for (size_t j = 0; j < N_ELEMENTS(wrong); j++) {
                        options.size = wrong[j];
                        must_refuse(calls[i].open_with(&options), -EINVAL, calls[i].name, "size");
                }
                options.size = calls[i].size + 8;
                must_equal(calls[i].open_with(&options), 0);
                options.bytes[calls[i].size + 7] = 1;
                must_refuse(calls[i].open_with(&options), -E2BIG, calls[i].name);
                options.size = 4; /* an older program knew no options yet */
                must_equal(calls[i].open_with(&options), 0);
        }
        unsetenv("SHMD_SOCKET");
        close_all();
}

/* ---- callbacks --------------------------------------------------------------------------- */

static unsigned n_called;

static void do_what_is_not_allowed(void)
{
        must_refuse(shmd_wait(bus, 0), -EINVAL, "shmd_wait", "callback");
        must_refuse(shmd_dispatch(bus), -EINVAL, "shmd_dispatch", "callback");
        must_refuse(shmd_prepare(bus), -EINVAL, "shmd_prepare", "callback");
        must_refuse(shmd_fd(bus), -EINVAL, "shmd_fd", "callback");
        shmd_close(bus);
        must_say(shmd_error(), "shmd_close", "callback", "nothing was closed");
        must_equal(shmd_connected(bus), 1);
        n_called++;
}

static void misbehave_at_a_peer(void *user, const struct shmd_peer *peer, int present)
{
        do_what_is_not_allowed();
}

static void misbehave_at_a_sample(void *user, struct shmd_subscriber *mine)
{
        struct tally tally = {0};

        do_what_is_not_allowed();
        must_equal(tally_take_all(&tally, mine), 1);
}

static void misbehave_at_a_listing(void *user, const struct shmd_listing *listing)
{
        shmd_close(bus);
        must_say(shmd_error(), "shmd_close", "callback", "nothing was closed");
        broker_settle(bus); /* this is allowed */
        n_called++;
}

static void callbacks_can_not_wait_or_close_the_connection(void **state)
{
        n_called = 0;
        open_all();
        stamped_subscribe(bus, SERVICE,
                          (struct shmd_subscriber_options){.on_sample = misbehave_at_a_sample,
                                                           .on_publisher = misbehave_at_a_peer});
        stamped_publish(publisher, 1);
        must_equal(shmd_wait(bus, (int64_t)PATIENCE_NS), 1);
        must_equal(n_called, 2);
        must_equal(shmd_list(bus, misbehave_at_a_listing, NULL), 0);
        must(n_called > 2);
        close_all();
}

static struct shmd_subscriber *doomed;

static void close_at_a_sample(void *user, struct shmd_subscriber *mine)
{
        must(mine == doomed);
        shmd_subscriber_close(mine);
        doomed = NULL;
}

static void close_at_a_peer(void *user, const struct shmd_peer *peer, int present)
{
        shmd_subscriber_close(doomed);
        doomed = NULL;
}

static void callbacks_may_close_what_they_were_called_for(void **state)
{
        open_all();
        doomed = stamped_subscribe(
                bus, SERVICE, (struct shmd_subscriber_options){.on_sample = close_at_a_sample});
        stamped_publish(publisher, 1);
        must_equal(shmd_wait(bus, (int64_t)PATIENCE_NS), 1);
        must(!doomed);
        doomed = stamped_subscribe(
                bus, SERVICE, (struct shmd_subscriber_options){.on_publisher = close_at_a_peer});
        must_equal(shmd_wait(bus, (int64_t)PATIENCE_NS), 1);
        must(!doomed);
        close_all();
}

static void loop_of_the_user_is_run_by_the_user(void **state)
{
        uv_loop_t loop;
        struct shmd *own;

        must_equal(uv_loop_init(&loop), 0);
        own = broker_connect_with(0, &loop);
        must_refuse(shmd_wait(own, 0), -EINVAL, "shmd_wait", "uv_loop_t");
        must_refuse(shmd_fd(own), -EINVAL, "shmd_fd", "uv_loop_t");
        must_refuse(shmd_prepare(own), -EINVAL, "shmd_prepare", "uv_loop_t");
        must_refuse(shmd_dispatch(own), -EINVAL, "shmd_dispatch", "uv_loop_t");
        shmd_close(own);
        shmd_close(NULL);
        must_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
        must_equal(uv_loop_close(&loop), 0);
}

/* ---- what only a library with checks finds out ------------------------------------------- */

#if SHMD_CHECKS

static void frequent_calls_want_their_arguments_too(void **state)
{
        struct shmd_sample sample;
        void *data;

        open_all();
        must_refuse(shmd_loan(NULL, &data), -EINVAL, "shmd_loan", "publisher");
        must_refuse(shmd_loan(publisher, NULL), -EINVAL, "shmd_loan", "place");
        must_refuse(shmd_publish(NULL, &sample), -EINVAL, "shmd_publish", "publisher");
        must_refuse(shmd_publish_sized(NULL, &sample, 1), -EINVAL, "shmd_publish_sized");
        must_refuse(shmd_discard(NULL, &sample), -EINVAL, "shmd_discard", "publisher");
        must_refuse(shmd_take(NULL, &sample), -EINVAL, "shmd_take", "subscriber");
        must_refuse(shmd_take(subscriber, NULL), -EINVAL, "shmd_take", "place");
        must_refuse(shmd_release(NULL, &sample), -EINVAL, "shmd_release", "subscriber");
        must_refuse(shmd_release(subscriber, NULL), -EINVAL, "shmd_release", "place");
        close_all();
}

static void what_was_closed_is_not_used(void **state)
{
        struct shmd_publisher_state publisher_status;
        struct shmd_subscriber_state subscriber_status;
        struct shmd_subscriber *closed_subscriber;
        struct shmd_publisher *closed;
        struct shmd_sample sample;
        void *data;

        open_all();
        closed = stamped_advertise(bus, "misuse/closed", (struct shmd_publisher_options){0});
        closed_subscriber =
                stamped_subscribe(bus, "misuse/closed", (struct shmd_subscriber_options){0});
        shmd_publisher_close(closed);
        shmd_subscriber_close(closed_subscriber);
        must_refuse(shmd_loan(closed, &data), -EBADF, "shmd_loan", "publisher", "closed before");
        must_refuse(shmd_publish(closed, &sample), -EBADF, "closed before");
        must_refuse(shmd_publish_sized(closed, &sample, 1), -EBADF, "closed before");
        must_refuse(shmd_discard(closed, &sample), -EBADF, "closed before");
        must_refuse(shmd_publisher_status(closed, &publisher_status), -EBADF, "closed before");
        must_refuse(shmd_take(closed_subscriber, &sample), -EBADF, "subscriber", "closed before");
        must_refuse(shmd_release(closed_subscriber, &sample), -EBADF, "closed before");
        must_refuse(shmd_subscriber_status(closed_subscriber, &subscriber_status), -EBADF,
                    "closed before");
        shmd_publisher_close(closed);
        must_say(shmd_error(), "shmd_publisher_close", "closed before");
        shmd_subscriber_close(closed_subscriber);
        must_say(shmd_error(), "shmd_subscriber_close", "closed before");
        close_all();
        must_refuse(shmd_wait(bus, 0), -EBADF, "connection", "closed before");
        must_refuse(shmd_list(bus, ignore, NULL), -EBADF, "closed before");
        must_refuse(shmd_advertise(&closed, bus, SERVICE, stamped_type, NULL), -EBADF, "shmd_adv");
        must_refuse(shmd_loan(publisher, &data), -EBADF, "publisher", "closed before");
        shmd_close(bus);
        must_say(shmd_error(), "shmd_close", "closed before");
}

static void *use_while_another_is_in_a_call(void *argument)
{
        void *data;

        /* The other thread sleeps in shmd_wait(). */
        until(shmd_publisher_status(publisher, &(struct shmd_publisher_state){0}) == -EBUSY);
        must_refuse(shmd_loan(publisher, &data), -EBUSY, "shmd_loan", "thread", "one thread");
        must_refuse(shmd_take(subscriber, &(struct shmd_sample){0}), -EBUSY, "one thread");
        must_refuse(shmd_list(bus, ignore, NULL), -EBUSY, "one thread");
        shmd_subscriber_close(subscriber);
        must_say(shmd_error(), "shmd_subscriber_close", "one thread");
        shmd_close(bus);
        must_say(shmd_error(), "shmd_close", "one thread");
        return NULL;
}

static void connection_belongs_to_one_thread_at_a_time(void **state)
{
        pthread_t thread;

        open_all();
        must_equal(shmd_wait(bus, 0), 1);
        must_equal(pthread_create(&thread, NULL, use_while_another_is_in_a_call, NULL), 0);
        must_equal(shmd_wait(bus, 300 * (int64_t)MS), 0);
        pthread_join(thread, NULL);
        close_all();
}

#endif

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(what_is_not_on_loan_is_not_published_or_discarded),
                system_test(what_was_published_is_not_published_again),
                system_test(what_is_not_held_is_not_released),
                system_test(calls_want_their_arguments),
                system_test(options_of_a_wrong_size_are_refused),
                system_test(callbacks_can_not_wait_or_close_the_connection),
                system_test(callbacks_may_close_what_they_were_called_for),
                system_test(loop_of_the_user_is_run_by_the_user),
#if SHMD_CHECKS
                system_test(frequent_calls_want_their_arguments_too),
                system_test(what_was_closed_is_not_used),
                system_test(connection_belongs_to_one_thread_at_a_time),
#endif
        };

        int failed;

        harness_init(argc, argv);
        failed = cmocka_run_group_tests_name("system-misuse", tests, NULL, NULL);
        printf("injections: %u: calls that must be refused\n", n_refused);
        return failed;
}
