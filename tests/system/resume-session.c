/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resume-session.c - resuming, seen from the inside: with a broker that has ended the session
 * itself, in both orders, without membarrier(2), by the rules, against them, and by the first
 * version.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "comeback.h"
#include "connection.h"
#include "raw.h"
#include "util.h"
#include "wire.h"

#define SERVICE "resume/samples"

/* ---- a broker that ends the session ------------------------------------------------------ */

/* Says what no honest library says. */
static void be_dropped(struct shmd *bus)
{
        static const char garbage[] = "garbage, garbage";

        must_equal(socket_send(bus->socket, garbage, sizeof(garbage), NULL, 0), 0);
        until(!state_of(bus).connected);
}

static void publisher_that_was_dropped_comes_back_to_the_same_broker(void **state)
{
        struct shmd *one = broker_connect(), *other = broker_connect();
        struct shmd_publisher *publisher =
                stamped_advertise(one, SERVICE, (struct shmd_publisher_options){0});
        struct shmd_subscriber *subscriber =
                stamped_subscribe(other, SERVICE, (struct shmd_subscriber_options){0});
        struct shmd_sample held;
        struct tally tally = {0};

        stamped_publish(publisher, 1);
        must_equal(shmd_take(subscriber, &held), 1);
        tally_add(&tally, &held);
        be_dropped(one);
        stamped_publish(publisher, 2);
        until(status_of(subscriber).publishers == 0);
        /* It is read to the end, and something of it is held: so its place is not forgotten. */
        must_equal(tally_take_all(&tally, subscriber), 1);
        stamped_publish(publisher, 3);
        until_settled(one, other);
        until(status_of(subscriber).publishers == 1);
        stamped_publish(publisher, 4);
        must_equal(tally_take_all(&tally, subscriber), 2);
        must_equal(tally.lost, 0);
        must(stamped_is_whole(held.data));
        must_equal(shmd_release(subscriber, &held), 0);
        must_equal(n_subscribers(publisher), 1);
        shmd_close(one);
        shmd_close(other);
}

static void subscriber_that_was_dropped_finds_its_seat(void **state)
{
        struct shmd *one = broker_connect(), *other = broker_connect();
        struct shmd_publisher *publisher = stamped_advertise(
                one, SERVICE,
                (struct shmd_publisher_options){
                        .depth = 2, .loans = 1, .chunks = 5, .max_subscribers = 1});
        struct shmd_subscriber *subscriber =
                stamped_subscribe(other, SERVICE, (struct shmd_subscriber_options){0});
        struct shmd_subscriber *thief;
        struct shmd_sample held;
        struct tally tally = {0};

        stamped_publish(publisher, 1);
        must_equal(shmd_take(subscriber, &held), 1);
        tally_add(&tally, &held);
        be_dropped(other);
        must_equal(shmd_subscribe(&thief, one, SERVICE, stamped_type, NULL), -ERANGE);
        for (uint64_t n = 2; n <= 200; n++) {
                stamped_publish(publisher, n);
                must_equal(tally_take_all(&tally, subscriber), 1);
        }
        until_settled(one, other);
        must_equal(state_of(other).stranded, 0);
        must_equal(status_of(subscriber).publishers, 1);
        must_equal(n_subscribers(publisher), 1);
        stamped_publish(publisher, 201);
        must_equal(tally_take_all(&tally, subscriber), 1);
        must_equal(tally.lost, 0);
        must_equal(((const struct stamped *)held.data)->number, 1);
        must_equal(shmd_release(subscriber, &held), 0);
        must_equal(shmd_subscribe(&thief, one, SERVICE, stamped_type, NULL), -ERANGE);
        shmd_close(one);
        shmd_close(other);
}

/* ---- both orders ------------------------------------------------------------------------- */

static volatile uint64_t *n_returns; /* of the sleeper; shared */

/* `argument`: not NULL: without membarrier. */
static void sleep_and_count(void *argument)
{
        struct shmd_subscriber *subscriber;
        struct tally tally = {0};
        struct shmd *bus;

        if (argument)
                forbid_membarrier();
        bus = broker_connect_with(SHMD_SPIN_NEVER, NULL);
        subscriber = stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});
        say('r');
        for (;;) {
                int code = shmd_wait(bus, SHMD_FOREVER);

                must(code == 1 || code == -ENOTCONN || code == -EINTR);
                *n_returns = state_of(bus).returns;
                for (unsigned n = tally_take_all(&tally, subscriber); n; n--)
                        say('s');
                must_equal(tally.lost, 0);
        }
}

static void ignore_listing(void *user, const struct shmd_listing *listing)
{
}

/* How many publishes without a sleeper it takes to leave fences out. */
#define N_QUIET 1200

static void come_back_in_order(bool publisher_first, bool without_membarrier)
{
        static char yes;
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher = stamped_advertise(
                bus, SERVICE, (struct shmd_publisher_options){.depth = 4 * N_QUIET});
        struct role *role =
                role_start("sleeper", sleep_and_count, without_membarrier ? &yes : NULL);
        uint64_t n = 0;

        *n_returns = 0;
        role_await(role, 'r');
        until(n_subscribers(publisher) == 1);
        for (unsigned round = 0; round < 3; round++) {
                if (publisher_first) {
                        role_stop(role);
                        restart_broker();
                        until_settled(bus, NULL);
                        for (unsigned i = 0; i < N_QUIET; i++)
                                stamped_publish(publisher, ++n);
                        /* The new broker does not know yet that somebody forbids it. */
                        must(!without_membarrier || !publisher->doorbell.is_asym);
                        role_continue(role);
                        for (unsigned i = 0; i < N_QUIET; i++)
                                role_await(role, 's');
                } else {
                        restart_broker();
                        until(*n_returns == round + 1);
                        until_settled(bus, NULL);
                }
                for (unsigned i = 0; i < 10; i++) {
                        until(process_is_asleep(role->pid));
                        stamped_publish(publisher, ++n);
                        role_await(role, 's');
                }
                must(!without_membarrier || !publisher->doorbell.is_asym);
        }
        role_kill(role);
        shmd_close(bus);
}

static void sleeper_is_woken_in_whatever_order_both_come_back(void **state)
{
        n_returns = shared_memory(sizeof(*n_returns));
        come_back_in_order(true, false);
        come_back_in_order(false, false);
}

static void sleeper_without_membarrier_is_woken_too(void **state)
{
        n_returns = shared_memory(sizeof(*n_returns));
        come_back_in_order(true, true);
        come_back_in_order(false, true);
}

/* The introduction is read while an answer is awaited that never comes, and after that there is no
 * page on which the broker could say that fences are needed. */
static void introduction_without_membarrier_counts_when_the_broker_is_dead(void **state)
{
        static char yes;
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher = stamped_advertise(
                bus, SERVICE, (struct shmd_publisher_options){.depth = 4 * N_QUIET});
        struct role *role;
        uint64_t n = 0;
        pid_t killer, waiting = getpid();

        n_returns = shared_memory(sizeof(*n_returns));
        while (n < N_QUIET)
                stamped_publish(publisher, ++n);
        if (!publisher->doorbell.is_asym) {
                shmd_close(bus);
                skip_because("membarrier(2) is not to be had here");
        }
        role = role_start("sleeper", sleep_and_count, &yes);
        role_await(role, 'r');
        must_equal(kill(broker.pid, SIGSTOP), 0);
        killer = child_fork();
        if (killer == 0) {
                until(process_is_asleep(waiting));
                kill(broker.pid, SIGKILL);
                _exit(0);
        }
        must_equal(shmd_list(bus, ignore_listing, NULL), -ENOTCONN);
        must_equal(child_finish(killer), 0);
        broker_kill();
        must_equal(n_subscribers(publisher), 1);
        for (unsigned i = 0; i < N_QUIET; i++) {
                must(!publisher->doorbell.is_asym);
                stamped_publish(publisher, ++n);
                role_await(role, 's');
        }
        broker_spawn(NULL);
        until_settled(bus, NULL);
        role_kill(role);
        shmd_close(bus);
}

static void publish_and_wait(void *argument)
{
        struct shmd *bus = broker_connect();

        (void)argument;
        stamped_publish(stamped_advertise(bus, SERVICE, (struct shmd_publisher_options){0}), 1);
        say('r');
        hear('x');
}

/* A broker that doesn't compare them introduces memory by the id of a publisher that is known from
 * another's time: nobody has vouched for that one, so it is still the kernel that is asked. */
static void publisher_whose_id_another_has_still_ends_with_its_process(void **state)
{
        struct message_publisher_added added = {.geometry.size = 0};
        struct role *role = role_start("publisher", publish_and_wait, NULL);
        struct shmd *bus = broker_connect();
        struct shmd_subscriber *subscriber;
        struct shmd_sample held;
        struct raw_publisher impostor;
        struct packet packet = {.n_fds = 2};

        role_await(role, 'r');
        subscriber =
                stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){.history = 1});
        must_equal(shmd_take(subscriber, &held), 1);
        must_equal(status_of(subscriber).publishers, 1);
        broker_kill();
        until(!state_of(bus).connected);
        raw_publisher_open(&impostor, SERVICE);
        added.subscription = subscriber->id;
        added.peer = (struct message_peer){.id = subscriber->attachments[0]->peer.id};
        packet.fds[0] = packet.fds[1] = impostor.fd;
        subscriber_added(bus, &added, &packet);
        must_equal(status_of(subscriber).publishers, 1);
        must_equal(status_of(subscriber).refused, 0);
        role_kill(role);
        until(status_of(subscriber).publishers == 0);
        /* Nor does it bring back who has gone, of whom a sample is held. */
        subscriber_added(bus, &added, &packet);
        must_equal(status_of(subscriber).publishers, 0);
        must(stamped_is_whole(held.data));
        raw_publisher_close(&impostor);
        broker_spawn(NULL);
        shmd_close(bus);
}

/* The same on the other side, of a subscriber that has left and may hold something. */
static void subscriber_that_leaves_is_not_brought_back_by_another(void **state)
{
        struct shmd *one = broker_connect(), *other = broker_connect();
        struct shmd_publisher *publisher =
                stamped_advertise(one, SERVICE, (struct shmd_publisher_options){0});
        struct shmd_subscriber *subscriber =
                stamped_subscribe(other, SERVICE, (struct shmd_subscriber_options){0});
        struct message_subscriber_removed removed = {.publisher = publisher->id,
                                                     .subscription = subscriber->id};
        struct message_subscriber_added added = {.publisher = publisher->id,
                                                 .peer.id = subscriber->id};
        struct raw_publisher impostor;
        struct packet packet = {.n_fds = 1};

        until(n_subscribers(publisher) == 1);
        publisher_removed(one, &removed);
        must_equal(n_subscribers(publisher), 0);
        raw_publisher_open(&impostor, SERVICE);
        packet.fds[0] = impostor.fd;
        publisher_added(one, &added, &packet);
        must_equal(n_subscribers(publisher), 0);
        raw_publisher_close(&impostor);
        shmd_close(other);
        until((n_subscribers(publisher), publisher->doorbell.n_members == 0));
        shmd_close(one);
}

/* ---- by the rules and against them ------------------------------------------------------- */

/* Of peers whose process is this one. */
static struct message_known *make_list(uint64_t owner, uint32_t n)
{
        size_t size = sizeof(struct message_known) + n * sizeof(struct message_known_peer);
        struct message_known *list = calloc(1, size);

        must(list);
        list->owner = owner;
        list->count = n;
        for (uint32_t i = 0; i < n; i++)
                list->peers[i] = (struct message_known_peer){.id = i + 1, .pid = getpid()};
        wire_begin(list, MESSAGE_KNOWN, size, 0);
        return list;
}

static void list_of_peers_has_a_limit(void **state)
{
        uint64_t deadline = harness_now() + PATIENCE_NS;
        int fd = raw_resume(random_id()), code = 0;
        struct message_known *list = make_list(7, PROTOCOL_KNOWN_RECORDS);

        for (unsigned i = 0; i <= PROTOCOL_KNOWN_MAX / PROTOCOL_KNOWN_RECORDS; i++)
                do {
                        must(harness_now() < deadline);
                        code = socket_send(fd, list, list->header.size, NULL, 0);
                } while (code == -EAGAIN);
        must_say(raw_await_end(fd), "more than 65536 peers");
        close(fd);
        free(list);
}

static void who_does_not_say_that_it_resumes_may_not(void **state)
{
        struct message_resumed resumed;
        struct raw_publisher publisher;
        int fd = raw_session(NULL);

        wire_begin(&resumed, MESSAGE_RESUMED, sizeof(resumed), 5);
        raw_send(fd, &resumed, sizeof(resumed), NULL, 0);
        must_say(raw_await_end(fd), "resumes without having said so");
        close(fd);
        fd = raw_session(NULL);
        raw_publisher_open(&publisher, "resume/bytes");
        publisher.message.flags = ADVERTISE_RESUME;
        raw_send(fd, &publisher.message, sizeof(publisher.message), &publisher.fd, 1);
        must_say(raw_await_end(fd), "resumes without having said so");
        close(fd);
        raw_publisher_close(&publisher);
}

/* More peers than there are seats: a list is believed, but nothing overflows. */
static void publisher_that_lists_more_than_it_has_seats_hurts_nobody(void **state)
{
        struct message_known *list;
        struct shmd *bus = broker_connect();
        struct raw_publisher publisher;
        struct shmd_subscriber *subscriber;
        struct message_pair forgotten = {.which = 0};
        struct packet packet;
        int fd = raw_resume(random_id());

        raw_publisher_open(&publisher, "resume/bytes");
        list = make_list(publisher.message.publisher, 20);
        raw_send(fd, list, list->header.size, NULL, 0);
        publisher.message.flags = ADVERTISE_RESUME;
        raw_send(fd, &publisher.message, sizeof(publisher.message), &publisher.fd, 1);
        must(raw_receive(fd, &packet));
        must_equal(packet.header.type, MESSAGE_REPLY);
        must_equal(shmd_subscribe(&subscriber, bus, "resume/bytes", &shmd_bytes, NULL), -ERANGE);
        /* All but one of the two seats' worth of them are given up. */
        for (unsigned i = 0; i < 19; i++) {
                forgotten.publisher = publisher.message.publisher;
                forgotten.subscription = i + 1;
                wire_begin(&forgotten, MESSAGE_FORGOTTEN, sizeof(forgotten), 0);
                raw_send(fd, &forgotten, sizeof(forgotten), NULL, 0);
        }
        until(shmd_subscribe(&subscriber, bus, "resume/bytes", &shmd_bytes, NULL) == 0);
        must_equal(shmd_subscribe(&subscriber, bus, "resume/bytes", &shmd_bytes, NULL), -ERANGE);
        close(fd);
        free(list);
        raw_publisher_close(&publisher);
        shmd_close(bus);
}

/* ---- the first version ------------------------------------------------------------------- */

static void client_of_the_first_version_is_served_as_it_was(void **state)
{
        struct shmd *bus = broker_connect();
        struct shmd_subscriber *subscriber;
        struct raw_publisher publisher;
        struct message_hello hello;
        struct packet packet;
        int fd = raw_connect();

        must_equal(shmd_subscribe(&subscriber, bus, "resume/bytes", &shmd_bytes, NULL), 0);
        raw_fill_hello(&hello, 1, 1);
        raw_send(fd, &hello, sizeof(hello), NULL, 0);
        must(raw_receive(fd, &packet));
        must_equal(packet.header.type, MESSAGE_WELCOME);
        must_equal(packet.size, MESSAGE_WELCOME_SIZE_1);
        must_equal(packet.n_fds, 1);
        must_equal(((struct message_welcome *)&packet.header)->version, 1);
        packet_close(&packet);
        raw_publisher_open(&publisher, "resume/bytes");
        raw_send(fd, &publisher.message, sizeof(publisher.message), &publisher.fd, 1);
        must(raw_receive(fd, &packet));
        must_equal(packet.header.type, MESSAGE_SUBSCRIBER_ADDED);
        must_equal(packet.size, MESSAGE_SUBSCRIBER_ADDED_SIZE_1);
        must_equal(packet.n_fds, 3);
        packet_close(&packet);
        must(raw_receive(fd, &packet));
        must_equal(packet.header.type, MESSAGE_REPLY);
        until(status_of(subscriber).publishers == 1);
        close(fd);
        until(status_of(subscriber).publishers == 0);
        raw_publisher_close(&publisher);
        shmd_close(bus);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(publisher_that_was_dropped_comes_back_to_the_same_broker),
                system_test(subscriber_that_was_dropped_finds_its_seat),
                system_test(sleeper_is_woken_in_whatever_order_both_come_back),
                system_test(sleeper_without_membarrier_is_woken_too),
                system_test(introduction_without_membarrier_counts_when_the_broker_is_dead),
                system_test(publisher_whose_id_another_has_still_ends_with_its_process),
                system_test(subscriber_that_leaves_is_not_brought_back_by_another),
                system_test(list_of_peers_has_a_limit),
                system_test(who_does_not_say_that_it_resumes_may_not),
                system_test(publisher_that_lists_more_than_it_has_seats_hurts_nobody),
                system_test(client_of_the_first_version_is_served_as_it_was),
        };

        harness_init(argc, argv);
        return cmocka_run_group_tests_name("system-resume-session", tests, NULL, NULL);
}
