/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resume-setbacks.c - coming back where something else goes wrong as well: a fork, a broker that
 * talks nonsense or falls silent, descriptors that are used up, a close in the middle.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

#include "comeback.h"
#include "connection.h"
#include "layout.h"
#include "raw.h"
#include "segment.h"
#include "util.h"
#include "wire.h"

#define SERVICE "resume/samples"

static void child_that_closes_a_subscription_leaves_its_parent_one(void **state)
{
        struct shmd *bus = broker_connect(), *other = broker_connect();
        struct shmd_publisher *publisher =
                stamped_advertise(other, SERVICE, (struct shmd_publisher_options){0});
        struct shmd_subscriber *subscriber =
                stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});
        pid_t pid;

        until(n_subscribers(publisher) == 1);
        pid = child_fork();
        if (pid == 0) {
                shmd_subscriber_close(subscriber);
                _exit(0);
        }
        must_equal(child_finish(pid), 0);
        broker_settle(bus);
        must_equal(n_subscribers(publisher), 1);
        shmd_close(bus);
        shmd_close(other);
}

static void who_has_closed_all_subscribes_again_after_a_restart(void **state)
{
        struct shmd *bus = broker_connect();
        struct shmd_subscriber *subscriber =
                stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});

        shmd_subscriber_close(subscriber);
        restart_broker();
        must_equal(shmd_subscribe(&subscriber, bus, SERVICE, stamped_type, NULL), 0);
        shmd_close(bus);
}

static void who_subscribes_while_there_is_no_broker_waits_for_the_next(void **state)
{
        struct shmd *bus = broker_connect();
        struct shmd_subscriber *subscriber;

        stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});
        broker_kill();
        until(!state_of(bus).connected);
        broker_spawn(NULL);
        must_equal(shmd_subscribe(&subscriber, bus, SERVICE, stamped_type, NULL), 0);
        shmd_close(bus);
}

/* a broker by hand */
static int accept_hello(int listener, struct message_hello *hello)
{
        int fd = raw_accept(listener);
        struct packet packet;

        must(raw_receive(fd, &packet));
        must_equal(packet.header.type, MESSAGE_HELLO);
        memcpy(hello, packet.bytes, sizeof(*hello));
        packet_close(&packet);
        return fd;
}

/* With a page that says whether the broker lives, or with another one. */
static void welcome(int fd, const struct message_hello *hello, bool good_alive)
{
        struct segment page, alive;
        struct message_welcome message;
        struct session_page *session;
        struct alive_page *page_alive;

        must_equal(segment_create(&page, "page", PAGE_SIZE_SESSION), 0);
        session = page.base;
        session->identity = (struct layout_identity){
                .magic = LAYOUT_MAGIC_PAGE, .version = LAYOUT_VERSION, .size = PAGE_SIZE_SESSION};
        must_equal(segment_create(&alive, "alive", PAGE_SIZE_ALIVE), 0);
        page_alive = alive.base;
        page_alive->identity =
                (struct layout_identity){.magic = good_alive ? LAYOUT_MAGIC_ALIVE : 1,
                                         .version = LAYOUT_VERSION,
                                         .size = PAGE_SIZE_ALIVE};
        memset(&message, 0, sizeof(message));
        wire_begin(&message, MESSAGE_WELCOME, sizeof(message), hello->header.serial);
        message.version = PROTOCOL_VERSION;
        raw_send(fd, &message, sizeof(message), (int[]){page.fd, alive.fd}, 2);
        segment_close(&page);
        segment_close(&alive);
}

static void broker_with_a_bad_page_is_left_again(void **state)
{
        struct shmd *bus = broker_connect();
        struct shmd_subscriber *subscriber =
                stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});
        struct message_hello hello;
        struct shmd_sample sample;
        int listener, fd;

        broker_kill();
        until(!state_of(bus).connected);
        unlink(broker.socket);
        listener = raw_listen(broker.socket);
        while (bus->stage != STAGE_GREETING)
                shmd_wait(bus, 1000000);
        fd = accept_hello(listener, &hello);
        welcome(fd, &hello, false);
        for (int i = 0; i < 200; i++) {
                shmd_wait(bus, 100000);
                shmd_take(subscriber, &sample);
        }
        close(fd);
        close(listener);
        unlink(broker.socket);
        broker_spawn(NULL);
        until_settled(bus, NULL);
        shmd_close(bus);
}

static void close_does_not_wait_for_a_broker_that_has_died(void **state)
{
        struct shmd *bus = broker_connect();
        struct message_hello hello;
        struct packet packet;
        uint64_t begin;
        int listener, fd;

        for (unsigned i = 0; i < 3; i++)
                stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});
        broker_kill();
        until(!state_of(bus).connected);
        unlink(broker.socket);
        listener = raw_listen(broker.socket);
        while (bus->stage != STAGE_GREETING)
                shmd_wait(bus, 1000000);
        fd = accept_hello(listener, &hello);
        welcome(fd, &hello, true);
        while (bus->stage != STAGE_RESUMING)
                shmd_wait(bus, 1000000);
        must(raw_receive(fd, &packet));
        packet_close(&packet);
        close(fd);
        begin = now_ns();
        shmd_close(bus);
        must(now_ns() - begin < REPLY_TIMEOUT_NS);
        close(listener);
        unlink(broker.socket);
        broker_spawn(NULL);
}

static void sleep_in_peer(void *argument)
{
        struct shmd *bus = broker_connect();

        stamped_advertise(bus, SERVICE, (struct shmd_publisher_options){0});
        say('r');
        for (;;)
                pause();
}

/* The peer is one of so many publishers when the broker dies. */
static struct role *start_peer_and_lose_broker(struct shmd *bus, struct shmd_subscriber *subscriber,
                                               uint32_t n_publishers)
{
        struct role *role = role_start("peer", sleep_in_peer, NULL);

        role_await(role, 'r');
        until(status_of(subscriber).publishers == n_publishers);
        broker_kill();
        until(!state_of(bus).connected);
        return role;
}

static void child_that_closes_leaves_its_parent_the_watch_on_peers(void **state)
{
        struct role *role;
        struct pollfd entry = {.events = POLLIN};
        struct shmd *bus = broker_connect_with(SHMD_SPIN_NEVER, NULL);
        struct shmd_subscriber *subscriber =
                stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});
        pid_t pid;

        role = start_peer_and_lose_broker(bus, subscriber, 1);
        while (shmd_wait(bus, 1000000) != 0)
                ;
        pid = child_fork();
        if (pid == 0) {
                shmd_subscriber_close(subscriber);
                _exit(0);
        }
        must_equal(child_finish(pid), 0);
        role_kill(role);
        watching_end_vigil(bus); /* nothing else wakes it */
        entry.fd = uv_backend_fd(bus->loop);
        until(bus->n_orphans == 0 ||
              (poll(&entry, 1, 10) > 0 && uv_run(bus->loop, UV_RUN_NOWAIT) < 0));
        must_equal(bus->n_orphans, 0);
        shmd_close(bus);
        broker_spawn(NULL);
}

/* Missing introduction with a busy user's loop */
static int fill[4096];
static unsigned n_fill;

static void use_up(void)
{
        int fd;

        while ((fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
                fill[n_fill++] = fd;
}

static void give_back(void)
{
        while (n_fill)
                close(fill[--n_fill]);
}

static void tick(uv_timer_t *timer)
{
        ++*(unsigned *)timer->data;
}

static void what_is_missing_is_asked_for_in_a_loop_that_never_rests(void **state)
{
        struct rlimit limit, low;
        uv_loop_t loop;
        uv_timer_t timer;
        unsigned ticks = 0;
        struct shmd *bus, *other = broker_connect();
        struct shmd_subscriber *subscriber;
        struct role *role;

        uv_loop_init(&loop);
        uv_timer_init(&loop, &timer);
        timer.data = &ticks;
        bus = broker_connect_with(0, &loop);
        subscriber = stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});
        role = role_start("peer", sleep_in_peer, NULL);
        getrlimit(RLIMIT_NOFILE, &limit);
        low = limit;
        low.rlim_cur = 256;
        setrlimit(RLIMIT_NOFILE, &low);
        use_up();
        role_await(role, 'r');
        until((uv_run(&loop, UV_RUN_NOWAIT), !list_empty(&bus->missing)));
        give_back();
        setrlimit(RLIMIT_NOFILE, &limit);
        uv_timer_start(&timer, tick, 1, 1);
        while (ticks < 2000)
                uv_run(&loop, UV_RUN_ONCE);
        must_equal(subscriber->n_attachments, 1);
        role_kill(role);
        uv_close((uv_handle_t *)&timer, NULL);
        shmd_close(bus);
        uv_run(&loop, UV_RUN_DEFAULT);
        uv_loop_close(&loop);
        shmd_close(other);
}

/* At the limit of descriptors when the broker dies, with a publisher's reserve */
static void publisher_without_a_free_descriptor_comes_back(void **state)
{
        struct shmd *bus = broker_connect();
        struct rlimit limit, low;

        stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});
        stamped_advertise(bus, SERVICE, (struct shmd_publisher_options){0});
        getrlimit(RLIMIT_NOFILE, &limit);
        broker_kill();
        low = limit;
        low.rlim_cur = 256;
        setrlimit(RLIMIT_NOFILE, &low);
        use_up();
        until(!state_of(bus).connected);
        give_back();
        broker_spawn(NULL);
        use_up();
        until_settled(bus, NULL);
        give_back();
        setrlimit(RLIMIT_NOFILE, &limit);
        shmd_close(bus);
}

/* Fork in a user's loop while away; child closes all, before or after uv_loop_fork */
static void in_users_loop(unsigned order)
{
        uv_loop_t loop;
        struct role *role;
        struct shmd *bus;
        struct shmd_subscriber *subscriber;
        struct shmd_publisher *publisher;
        uint64_t end;
        pid_t pid;

        uv_loop_init(&loop);
        bus = broker_connect_with(0, &loop);
        subscriber = stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});
        publisher = stamped_advertise(bus, SERVICE, (struct shmd_publisher_options){0});
        role = start_peer_and_lose_broker(bus, subscriber, 2);
        for (int i = 0; i < 5; i++)
                uv_run(&loop, UV_RUN_NOWAIT);
        must(bus->n_orphans == 3);
        pid = child_fork();
        if (pid == 0) {
                if (order & 1)
                        must_equal(uv_loop_fork(&loop), 0);
                if (order & 2) {
                        shmd_subscriber_close(subscriber);
                        shmd_publisher_close(publisher);
                }
                shmd_close(bus);
                if (!(order & 1))
                        must_equal(uv_loop_fork(&loop), 0);
                must_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
                must_equal(uv_loop_close(&loop), 0);
                _exit(0);
        }
        must_equal(child_finish(pid), 0);
        role_kill(role);
        for (end = now_ns() + 3000 * MS; now_ns() < end && bus->n_orphans == 3;)
                uv_run(&loop, UV_RUN_NOWAIT);
        must_equal(bus->n_orphans, 2);
        broker_spawn(NULL);
        for (end = now_ns() + 5000 * MS; now_ns() < end && bus->stage != STAGE_SETTLED;)
                uv_run(&loop, UV_RUN_ONCE);
        must_equal(bus->stage, STAGE_SETTLED);
        must_equal(n_subscribers(publisher), 1);
        must_equal(bus->n_orphans, 0);
        broker_kill();
        for (int i = 0; i < 3; i++)
                uv_run(&loop, UV_RUN_NOWAIT);
        shmd_close(bus);
        must_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
        must_equal(uv_loop_close(&loop), 0);
        broker_spawn(NULL);
}

static void child_closes_in_the_callers_loop_while_there_is_no_broker(void **state)
{
        for (unsigned order = 0; order < 4; order++)
                in_users_loop(order);
}

static void child_closes_while_there_is_no_broker(void **state)
{
        for (unsigned order = 0; order < 2; order++) {
                struct role *role;
                struct shmd *bus = broker_connect_with(SHMD_SPIN_NEVER, NULL);
                struct shmd_subscriber *subscriber =
                        stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});
                struct shmd_publisher *publisher =
                        stamped_advertise(bus, SERVICE, (struct shmd_publisher_options){0});
                pid_t pid;

                role = start_peer_and_lose_broker(bus, subscriber, 2);
                pid = child_fork();
                if (pid == 0) {
                        if (order) {
                                shmd_subscriber_close(subscriber);
                                shmd_publisher_close(publisher);
                        }
                        shmd_close(bus);
                        _exit(0);
                }
                must_equal(child_finish(pid), 0);
                must_equal(bus->n_orphans, 3);
                while (shmd_wait(bus, 10000000) != 0)
                        ;
                role_kill(role);
                while (bus->n_orphans == 3)
                        must(shmd_wait(bus, 5000 * (int64_t)MS) >= 0);
                must_equal(bus->n_orphans, 2);
                broker_spawn(NULL);
                while (bus->stage != STAGE_SETTLED)
                        shmd_wait(bus, 5000 * (int64_t)MS);
                must_equal(n_subscribers(publisher), 1);
                shmd_close(bus);
        }
}

/* External loop with descriptor: no timer, no inotify */
static void descriptor_and_prepare_find_the_next_broker_without_a_timer(void **state)
{
        struct shmd *bus = broker_connect();
        uint64_t end;

        stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});
        broker_kill();
        until(!state_of(bus).connected);
        watching_end_vigil(bus); /* as if they could not be had */
        broker_spawn(NULL);
        for (end = now_ns() + 3000 * MS; now_ns() < end && bus->stage != STAGE_SETTLED;) {
                struct pollfd entry = {.fd = shmd_fd(bus), .events = POLLIN};

                if (shmd_prepare(bus) == 0 && poll(&entry, 1, 3000) == 0)
                        break;
                shmd_dispatch(bus);
        }
        must_equal(bus->stage, STAGE_SETTLED);
        shmd_close(bus);
}

/* Broker restarted, then the publisher's session is dropped by that broker */
static void nothing_is_taken_twice_when_a_session_ends_after_a_restart(void **state)
{
        struct shmd *one = broker_connect(), *other = broker_connect();
        struct shmd_publisher *publisher =
                stamped_advertise(one, SERVICE, (struct shmd_publisher_options){0});
        struct shmd_subscriber *subscriber =
                stamped_subscribe(other, SERVICE, (struct shmd_subscriber_options){0});
        static const char garbage[] = "garbage, garbage";
        struct shmd_sample sample;

        restart_broker();
        until_settled(one, other);
        until(n_subscribers(publisher) == 1 && status_of(subscriber).publishers == 1);
        for (uint64_t n = 1; n <= 5; n++) {
                stamped_publish(publisher, n);
                must_equal(shmd_take(subscriber, &sample), 1);
                must_equal(sample.sequence, n);
                shmd_release(subscriber, &sample);
        }
        must_equal(socket_send(one->socket, garbage, sizeof(garbage), NULL, 0), 0);
        until(!state_of(one).connected);
        until(status_of(subscriber).publishers == 0);
        until(subscriber->n_attachments == 0 || shmd_take(subscriber, &sample) != 0);
        until_settled(one, other);
        until(status_of(subscriber).publishers == 1);
        while (shmd_take(subscriber, &sample) == 1) {
                shmd_release(subscriber, &sample);
        }
        stamped_publish(publisher, 6);
        must_equal(shmd_take(subscriber, &sample), 1);
        must_equal(sample.sequence, 6);
        must_equal(status_of(subscriber).taken, 6);
        shmd_close(one);
        shmd_close(other);
}

static void publisher_that_closes_leaves_others_their_descriptors(void **state)
{
        struct shmd *bus = broker_connect();
        struct shmd_publisher *other;
        uint32_t target;

        stamped_advertise(bus, SERVICE, (struct shmd_publisher_options){.max_subscribers = 8});
        target = bus->reserve_target;
        other = stamped_advertise(bus, "resume/other",
                                  (struct shmd_publisher_options){.max_subscribers = 2});
        shmd_publisher_close(other);
        must_equal(bus->reserve_target, target);
        shmd_close(bus);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(child_that_closes_a_subscription_leaves_its_parent_one),
                system_test(who_has_closed_all_subscribes_again_after_a_restart),
                system_test(who_subscribes_while_there_is_no_broker_waits_for_the_next),
                system_test(broker_with_a_bad_page_is_left_again),
                system_test(close_does_not_wait_for_a_broker_that_has_died),
                system_test(child_that_closes_leaves_its_parent_the_watch_on_peers),
                system_test(what_is_missing_is_asked_for_in_a_loop_that_never_rests),
                system_test(publisher_without_a_free_descriptor_comes_back),
                system_test(publisher_that_closes_leaves_others_their_descriptors),
                system_test(nothing_is_taken_twice_when_a_session_ends_after_a_restart),
                system_test(child_closes_in_the_callers_loop_while_there_is_no_broker),
                system_test(child_closes_while_there_is_no_broker),
                system_test(descriptor_and_prepare_find_the_next_broker_without_a_timer),
        };

        harness_init(argc, argv);
        return cmocka_run_group_tests_name("system-resume-setbacks", tests, NULL, NULL);
}
