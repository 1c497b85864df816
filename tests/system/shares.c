/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shares.c - what of a publisher is there for many, its seats and the introductions that it has not
 * read yet, no other user can take for itself.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "comeback.h"
#include "connection.h"
#include "raw.h"
#include "somebody.h"

static void come_again_beside_oneself(void *argument)
{
        struct raw_reader reader;
        const char *text;

        become_somebody();
        for (unsigned i = 0; i < 3; i++) {
                must_equal(raw_reader_open(&reader, "seats", NULL), 0);
                raw_reader_close(&reader);
        }
        for (unsigned i = 0; i < 20; i++) {
                must_equal(raw_reader_open(&reader, "seats", &text), -EDQUOT);
                must_say(text, "service seats: user 54321 has all of the 3 seats",
                         "max_subscribers 4", "(--quota seats)");
                raw_reader_close(&reader);
        }
        say('r');
        hear('e');
}

static void who_comes_again_and_again_takes_no_more_than_its_share_of_seats(void **state)
{
        struct shmd_publisher_options options = {.size = sizeof(options), .max_subscribers = 4};
        struct shmd_subscriber *subscriber, *one_more;
        struct shmd_publisher *publisher;
        struct shmd *bus, *other;
        struct role *role;

        let_somebody_in(NULL);
        bus = broker_connect();
        other = broker_connect();
        must_equal(shmd_advertise(&publisher, bus, "seats", &shmd_bytes, &options), 0);
        role = role_start("somebody", come_again_beside_oneself, NULL);
        role_await(role, 'r');
        must_say(broker_log(), "refused system-shares (pid ", "has all of the 3 seats");
        must_equal(shmd_subscribe(&subscriber, other, "seats", &shmd_bytes, NULL), 0);
        must_equal(shmd_subscribe(&one_more, other, "seats", &shmd_bytes, NULL), -ERANGE);
        role_tell(role, 'e');
        role_finish(role);
        until(shmd_subscribe(&one_more, other, "seats", &shmd_bytes, NULL) == 0);
        shmd_close(bus);
        shmd_close(other);
}

/* They are there before the publisher is. */
static void be_there_before(void *argument)
{
        struct shmd_subscriber *subscribers[4];
        unsigned n_attached = 0;
        struct shmd *bus;

        become_somebody();
        bus = broker_connect();
        for (unsigned i = 0; i < 4; i++)
                must_equal(shmd_subscribe(&subscribers[i], bus, "early", &shmd_bytes, NULL), 0);
        say('r');
        hear('p');
        broker_settle(bus);
        for (unsigned i = 0; i < 4; i++)
                n_attached += status_of(subscribers[i]).publishers;
        must_equal(n_attached, 3);
        /* One that goes makes room for the one that was refused. */
        must_equal(status_of(subscribers[3]).publishers, 0);
        shmd_subscriber_close(subscribers[0]);
        until(status_of(subscribers[3]).publishers == 1);
        say('e');
        hear('e');
        shmd_close(bus);
}

static void share_of_seats_is_the_same_for_who_comes_first(void **state)
{
        struct shmd_publisher_options options = {.size = sizeof(options), .max_subscribers = 4};
        struct shmd_subscriber *subscriber;
        struct shmd_publisher *publisher;
        struct role *role;
        struct shmd *bus;

        let_somebody_in(NULL);
        bus = broker_connect();
        role = role_start("somebody", be_there_before, NULL);
        role_await(role, 'r');
        must_equal(shmd_advertise(&publisher, bus, "early", &shmd_bytes, &options), 0);
        must_equal(n_subscribers(publisher), 3);
        must_equal(shmd_subscribe(&subscriber, bus, "early", &shmd_bytes, NULL), 0);
        must_equal(status_of(subscriber).publishers, 1);
        role_tell(role, 'p');
        role_await(role, 'e');
        until(n_subscribers(publisher) == 4);
        role_tell(role, 'e');
        role_finish(role);
        shmd_close(bus);
}

static void come_and_go(void *argument)
{
        struct shmd_subscriber *subscriber;
        struct shmd *bus;

        become_somebody();
        bus = broker_connect();
        for (unsigned i = 0; i < 2 * PROTOCOL_CREDIT; i++) {
                must_equal(shmd_subscribe(&subscriber, bus, "asleep", &shmd_bytes, NULL), 0);
                shmd_subscriber_close(subscriber);
        }
        shmd_close(bus);
}

/* A publisher that has nothing to publish reads nothing. */
static void who_comes_and_goes_uses_up_no_credit_of_others(void **state)
{
        unsigned n_of_somebody = 0, n_of_root = 0;
        struct shmd_subscriber *subscriber;
        struct raw_publisher publisher;
        static struct packet packet;
        struct shmd *bus;
        int fd;

        let_somebody_in(NULL);
        fd = raw_session(NULL);
        raw_publisher_open(&publisher, "asleep");
        must_equal(raw_request(fd, &publisher.message, &publisher.fd, 1, NULL), 0);
        role_finish(role_start("somebody", come_and_go, NULL));
        bus = broker_connect();
        must_equal(shmd_subscribe(&subscriber, bus, "asleep", &shmd_bytes, NULL), 0);
        must_equal(status_of(subscriber).publishers, 1);
        while (socket_receive(fd, &packet) > 0) {
                const struct message_subscriber_added *added = (const void *)&packet.header;

                if (packet.header.type == MESSAGE_SUBSCRIBER_ADDED) {
                        n_of_somebody += added->peer.uid == SOMEBODY;
                        n_of_root += added->peer.uid == 0;
                }
                packet_close(&packet);
        }
        must_equal(n_of_somebody, 8);
        must_equal(n_of_root, 1);
        close(fd);
        raw_publisher_close(&publisher);
        shmd_close(bus);
}

/* ---- descriptors of a publisher ----------------------------------------------------------- */

/* With just as many descriptors as it takes to advertise. */
static void publish_with_few_descriptors(void *argument)
{
        struct shmd_publisher_options options = {.size = sizeof(options), .max_subscribers = 4};
        struct shmd_publisher *publisher;
        struct rlimit before, limit;
        struct shmd *bus;
        void *loan;
        int code;

        bus = broker_connect();
        must_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
        limit = (struct rlimit){.rlim_cur = 8, .rlim_max = before.rlim_max};
        do {
                limit.rlim_cur++;
                must_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
                code = shmd_advertise(&publisher, bus, "few", &shmd_bytes, &options);
                must(code == 0 || code == -EMFILE);
        } while (code < 0);
        say('r');
        hear('p');
        until(n_subscribers(publisher) == 4);
        for (unsigned i = 0; i < 100; i++) {
                must_equal(shmd_loan(publisher, &loan), 0);
                must_equal(shmd_publish(publisher, loan), 0);
        }
        say('p');
        hear('e');
        shmd_close(bus);
        must_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static void subscribe_by_many_connections(void *argument)
{
        struct raw_reader readers[3], more;

        become_somebody();
        for (unsigned i = 0; i < 3; i++)
                must_equal(raw_reader_open(&readers[i], "few", NULL), 0);
        must_equal(raw_reader_open(&more, "few", NULL), -EDQUOT);
        raw_reader_close(&more);
        say('r');
        hear('e');
        for (unsigned i = 0; i < 3; i++)
                raw_reader_close(&readers[i]);
}

static void who_has_its_share_of_seats_uses_up_no_descriptors_of_the_publisher(void **state)
{
        struct shmd_subscriber *subscriber;
        struct role *publisher, *role;
        struct shmd_sample sample;
        struct shmd *bus;

        let_somebody_in(NULL);
        publisher = role_start("publisher", publish_with_few_descriptors, NULL);
        role_await(publisher, 'r');
        role = role_start("somebody", subscribe_by_many_connections, NULL);
        role_await(role, 'r');
        bus = broker_connect();
        must_equal(shmd_subscribe(&subscriber, bus, "few", &shmd_bytes, NULL), 0);
        role_tell(publisher, 'p');
        role_await(publisher, 'p');
        must_equal(shmd_take(subscriber, &sample), 1);
        must_equal(shmd_release(subscriber, &sample), 0);
        role_tell(role, 'e');
        role_finish(role);
        role_tell(publisher, 'e');
        role_finish(publisher);
        shmd_close(bus);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(who_comes_again_and_again_takes_no_more_than_its_share_of_seats),
                system_test(share_of_seats_is_the_same_for_who_comes_first),
                system_test(who_comes_and_goes_uses_up_no_credit_of_others),
                system_test(who_has_its_share_of_seats_uses_up_no_descriptors_of_the_publisher),
        };

        harness_init(argc, argv);
        if (!can_be_somebody()) {
                puts("skipped: only root can be two users");
                return 77;
        }
        return cmocka_run_group_tests_name("system-shares", tests, NULL, NULL);
}
