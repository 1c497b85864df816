/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quota.c - what one user may have: up to the limit, no further, told why, and all of it again when
 * it has been given back. The user is somebody without rights; root is not limited.
 *
 * That accounts are zero when everything is closed, the harness looks at after each test.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "comeback.h"
#include "connection.h"
#include "raw.h"
#include "somebody.h"
#include "wire.h"

#define LIMIT 3

static char name[64]; /* of a service */

static const char *service(const char *prefix, unsigned n)
{
        snprintf(name, sizeof(name), "%s/%u", prefix, n);
        return name;
}

static void let_somebody_have(const char *quota)
{
        let_somebody_in((const char *const[]){"--quota", quota, NULL});
}

/* Runs `run` as somebody, who must find nothing wrong. */
static void play(void (*run)(void *argument), void *argument)
{
        role_finish(role_start("somebody", run, argument));
}

static int try_connect(struct shmd **bus)
{
        struct shmd_connect_options options = {.size = sizeof(options), .socket = broker.socket};

        return shmd_connect(bus, &options);
}

/* ---- one kind after the other ------------------------------------------------------------ */

static void connect_too_often(void *argument)
{
        struct shmd *buses[LIMIT], *more;

        become_somebody();
        for (unsigned i = 0; i < LIMIT; i++)
                must_equal(try_connect(&buses[i]), 0);
        must_equal(try_connect(&more), -EDQUOT);
        must_say(shmd_error(), "user " SOMEBODY_TEXT " has 3 of 3 sessions", "(--quota sessions)");
        broker_settle(buses[0]);
        shmd_close(buses[0]);
        until(try_connect(&buses[0]) == 0);
        must_equal(try_connect(&more), -EDQUOT);
        say('f');
        hear('e');
        for (unsigned i = 0; i < LIMIT; i++)
                shmd_close(buses[i]);
}

static void sessions_have_a_limit_for_each_user_but_root(void **state)
{
        struct shmd *buses[LIMIT + 2];
        struct role *role;

        let_somebody_have("sessions=3");
        role = role_start("somebody", connect_too_often, NULL);
        role_await(role, 'f');
        must_say(broker_log(), "turned away system-quota (pid ",
                 "user 54321): user 54321 has 3 of 3");
        for (unsigned i = 0; i < N_ELEMENTS(buses); i++)
                buses[i] = broker_connect();
        for (unsigned i = 0; i < N_ELEMENTS(buses); i++)
                shmd_close(buses[i]);
        role_tell(role, 'e');
        role_finish(role);
}

static int try_advertise(struct shmd_publisher **publisher, struct shmd *bus, const char *of)
{
        struct shmd_publisher_options options = {.size = sizeof(options), .max_subscribers = 1};

        return shmd_advertise(publisher, bus, of, stamped_type, &options);
}

static int try_subscribe(struct shmd_subscriber **subscriber, struct shmd *bus, const char *of)
{
        return shmd_subscribe(subscriber, bus, of, stamped_type, NULL);
}

static void open_too_many_services(void *argument)
{
        struct shmd_publisher *publishers[LIMIT], *another;
        struct shmd_subscriber *subscriber, *refused;
        struct shmd *bus;

        become_somebody();
        bus = broker_connect();
        for (unsigned i = 0; i < LIMIT; i++)
                must_equal(try_advertise(&publishers[i], bus, service("s", i)), 0);
        must_equal(try_advertise(&another, bus, "s/more"), -EDQUOT);
        must_say(shmd_error(), "service s/more: user 54321 has 3 of 3 services");
        must_equal(try_subscribe(&refused, bus, "s/more"), -EDQUOT);
        /* What it has a part in counts once. */
        must_equal(try_advertise(&another, bus, "s/0"), 0);
        must_equal(try_subscribe(&subscriber, bus, "s/0"), 0);
        shmd_publisher_close(publishers[0]);
        shmd_publisher_close(another);
        must_equal(try_advertise(&another, bus, "s/more"), -EDQUOT);
        shmd_subscriber_close(subscriber);
        must_equal(try_advertise(&another, bus, "s/more"), 0);
        shmd_close(bus);
}

static void services_have_a_limit(void **state)
{
        let_somebody_have("services=3");
        play(open_too_many_services, NULL);
}

static void pass_too_many_segments(void *argument)
{
        struct shmd_publisher *publishers[LIMIT], *another;
        struct shmd_subscriber *subscriber;
        struct shmd *bus;

        become_somebody();
        bus = broker_connect();
        for (unsigned i = 0; i < LIMIT; i++)
                must_equal(try_advertise(&publishers[i], bus, "segments"), 0);
        must_equal(try_advertise(&another, bus, "segments"), -EDQUOT);
        must_say(shmd_error(), "user 54321 has 3 of 3 segments", "(--quota segments)");
        /* Its control block would be one, too. */
        must_equal(try_subscribe(&subscriber, bus, "other"), -EDQUOT);
        must_say(shmd_error(), "segments");
        shmd_publisher_close(publishers[1]);
        must_equal(try_subscribe(&subscriber, bus, "other"), 0);
        must_equal(try_advertise(&another, bus, "segments"), -EDQUOT);
        shmd_close(bus);
}

static void segments_have_a_limit(void **state)
{
        let_somebody_have("segments=3");
        play(pass_too_many_segments, NULL);
}

static void pass_too_many_bytes(void *argument)
{
        struct shmd_publisher_options options = {.size = sizeof(options), .max_size = 100000};
        struct shmd_publisher *publishers[64];
        struct shmd_publisher_state status;
        uint64_t size = 0;
        struct shmd *bus;
        unsigned n = 0;
        int code;

        become_somebody();
        bus = broker_connect();
        while ((code = shmd_advertise(&publishers[n], bus, "bytes", &shmd_bytes, &options)) == 0) {
                must_equal(shmd_publisher_status(publishers[n++], &status), 0);
                size += publishers[0]->memory.size;
                must(n < N_ELEMENTS(publishers));
        }
        must_equal(code, -EDQUOT);
        must_say(shmd_error(), "of 10485760 bytes, and would need", "(--quota bytes)");
        must(n >= 2);
        must(size <= 10 << 20 && size + publishers[0]->memory.size > 10 << 20);
        shmd_publisher_close(publishers[0]);
        must_equal(shmd_advertise(&publishers[0], bus, "bytes", &shmd_bytes, &options), 0);
        shmd_close(bus);
}

static void bytes_have_a_limit(void **state)
{
        let_somebody_have("bytes=10M");
        play(pass_too_many_bytes, NULL);
}

static void subscribe_too_often(void *argument)
{
        struct shmd_subscriber *subscribers[LIMIT], *another;
        struct shmd *bus;

        become_somebody();
        bus = broker_connect();
        for (unsigned i = 0; i < LIMIT; i++)
                must_equal(try_subscribe(&subscribers[i], bus, "subscriptions"), 0);
        must_equal(try_subscribe(&another, bus, "subscriptions"), -EDQUOT);
        must_say(shmd_error(), "service subscriptions: user 54321 has 3 of 3 subscriptions");
        shmd_subscriber_close(subscribers[2]);
        must_equal(try_subscribe(&another, bus, "subscriptions"), 0);
        shmd_close(bus);
}

static void subscriptions_have_a_limit(void **state)
{
        let_somebody_have("subscriptions=3");
        play(subscribe_too_often, NULL);
}

static void make_too_many_pairs(void *argument)
{
        struct shmd_publisher *publishers[3];
        struct shmd_subscriber *subscribers[2];
        struct shmd *bus;

        become_somebody();
        bus = broker_connect();
        must_equal(try_subscribe(&subscribers[0], bus, "pairs"), 0);
        must_equal(try_subscribe(&subscribers[1], bus, "pairs"), 0);
        must_equal(shmd_advertise(&publishers[0], bus, "pairs", stamped_type, NULL), 0);
        must_equal(shmd_advertise(&publishers[1], bus, "pairs", stamped_type, NULL), -EDQUOT);
        must_say(shmd_error(), "service pairs: user 54321 has 3 of 3 pairs", "(--quota pairs)");
        must_equal(n_subscribers(publishers[0]), 2);
        shmd_subscriber_close(subscribers[1]);
        must_equal(shmd_advertise(&publishers[1], bus, "pairs", stamped_type, NULL), 0);
        must_equal(n_subscribers(publishers[1]), 1);
        shmd_close(bus);
}

static void pairs_have_a_limit(void **state)
{
        let_somebody_have("pairs=3");
        play(make_too_many_pairs, NULL);
}

/* Of whom it knows from another broker's time it may list four times as many as it has pairs. */
static void list_too_many(void *argument)
{
        static _Alignas(8) unsigned char bytes[PROTOCOL_MESSAGE_MAX];
        struct message_known *list = (void *)bytes;
        uint32_t size = sizeof(*list) + 200 * sizeof(list->peers[0]);
        int fd;

        become_somebody();
        for (unsigned i = 0; i < 200; i++)
                list->peers[i] = (struct message_known_peer){.id = i + 1, .pid = getpid()};
        wire_begin(list, MESSAGE_KNOWN, size, 0);
        list->owner = 7;
        list->count = 200;
        fd = raw_resume(1);
        for (unsigned i = 0; i < 5; i++)
                raw_send(fd, list, size, NULL, 0);
        /* The first list is for one that is not to be had any more. */
        list->owner = 8;
        for (unsigned i = 0; i < 6; i++)
                raw_send(fd, list, size, NULL, 0);
        must_say(raw_await_end(fd),
                 "a list of 1200 peers: user 54321 has 1000 of 1000 listed peers");
        close(fd);
}

static void lists_of_peers_are_charged(void **state)
{
        let_somebody_have("pairs=250");
        play(list_too_many, NULL);
}

/* ---- connects ---------------------------------------------------------------------------- */

static void come_again_and_again(void *argument)
{
        unsigned n_connects = 0;
        struct shmd *bus;
        int code;

        become_somebody();
        /* However slow: it is the broker's clock that goes by a second for each. */
        while ((code = try_connect(&bus)) == 0) {
                n_connects++;
                shmd_close(bus);
        }
        must_equal(code, -EDQUOT);
        must_say(shmd_error(), "user 54321 has connected 4 times at once", "more than 1 a second",
                 "(--quota connects)");
        must(n_connects >= 4);
        say('r');
        hear('g');
        until(try_connect(&bus) == 0);
        shmd_close(bus);
}

static void who_connects_too_often_has_to_wait(void **state)
{
        struct role *role;
        struct shmd *bus;

        let_somebody_have("connects=1,sessions=4");
        role = role_start("somebody", come_again_and_again, NULL);
        role_await(role, 'r');
        must_say(broker_log(), "turned away system-quota (pid ", "more than 1 a second");
        for (unsigned i = 0; i < 20; i++) {
                bus = broker_connect();
                shmd_close(bus);
        }
        role_tell(role, 'g');
        role_finish(role);
}

/* ---- introductions ----------------------------------------------------------------------- */

static void not_read(void *argument)
{
        struct raw_reader readers[2];

        become_somebody();
        for (unsigned i = 0; i < 2; i++)
                must_equal(raw_reader_open(&readers[i], "introductions", NULL), 0);
        say('r');
        hear('c');
        raw_reader_close(&readers[0]);
        say('c');
        hear('e');
        raw_reader_close(&readers[1]);
}

static uint32_t n_readers(struct shmd_publisher *const *publishers, unsigned n)
{
        uint32_t sum = 0;

        for (unsigned i = 0; i < n; i++)
                sum += n_subscribers(publishers[i]);
        return sum;
}

static void count_introduced(void *user, const struct shmd_listing *listing)
{
        unsigned *n = user;

        if (listing->what == SHMD_LISTED_SUBSCRIBER && listing->peer.uid == SOMEBODY)
                *n += listing->publishers;
}

/* How many publishers somebody's subscriptions have been introduced to. */
static unsigned n_introduced(void)
{
        unsigned n = 0;

        must_equal(shmd_list(broker.bus, count_introduced, &n), 0);
        return n;
}

static void what_one_user_leaves_unread_is_limited_in_sum(void **state)
{
        struct shmd_publisher_options options = {.size = sizeof(options), .max_subscribers = 4};
        struct shmd_publisher *publishers[6];
        struct shmd_subscriber *subscriber;
        struct role *role;
        struct shmd *bus;

        let_somebody_have("introductions=7");
        role = role_start("somebody", not_read, NULL);
        role_await(role, 'r');
        bus = broker_connect();
        for (unsigned i = 0; i < 6; i++)
                must_equal(
                        shmd_advertise(&publishers[i], bus, "introductions", &shmd_bytes, &options),
                        0);
        /* All publishers know both, who have had seven of twelve. */
        must_equal(n_readers(publishers, 6), 12);
        must_equal(n_introduced(), 7);
        must_equal(shmd_subscribe(&subscriber, bus, "introductions", &shmd_bytes, NULL), 0);
        must_equal(status_of(subscriber).publishers, 6);
        /* What one had not read is free for the other. */
        role_tell(role, 'c');
        role_await(role, 'c');
        until(n_introduced() == 6);
        role_tell(role, 'e');
        role_finish(role);
        shmd_close(bus);
}

/* ---- what is kept ------------------------------------------------------------------------ */

static void hold_and_come_again(void *argument)
{
        struct raw_reader readers[LIMIT], more;
        const char *text;

        become_somebody();
        for (unsigned i = 0; i < LIMIT; i++) {
                must_equal(raw_reader_open(&readers[i], "kept", NULL), 0);
                /* Without a word: it may go on to take. */
                raw_reader_close(&readers[i]);
        }
        must_equal(raw_reader_open(&more, "kept", &text), -EDQUOT);
        must_say(text, "user 54321 has 3 of 3 subscriptions");
        raw_reader_close(&more);
}

static void what_may_be_held_stays_charged_until_the_process_ends(void **state)
{
        struct shmd_publisher *publisher;
        struct shmd *bus;

        let_somebody_have("subscriptions=3");
        bus = broker_connect();
        must_equal(shmd_advertise(&publisher, bus, "kept", &shmd_bytes, NULL), 0);
        play(hold_and_come_again, NULL);
        /* And again, by another process. */
        play(hold_and_come_again, NULL);
        until(n_subscribers(publisher) == 0);
        shmd_close(bus);
}

/* ---- another broker ---------------------------------------------------------------------- */

static void have_some_of_everything(void *argument)
{
        struct shmd_publisher *publishers[2];
        struct shmd_subscriber *subscribers[3];
        struct shmd *bus;

        become_somebody();
        bus = broker_connect();
        must_equal(shmd_advertise(&publishers[0], bus, "again", stamped_type, NULL), 0);
        must_equal(shmd_advertise(&publishers[1], bus, "again/two", stamped_type, NULL), 0);
        for (unsigned i = 0; i < 3; i++)
                must_equal(try_subscribe(&subscribers[i], bus, "again"), 0);
        say('r');
        hear('s');
        until_settled(bus, NULL);
        must_equal(state_of(bus).stranded, 0);
        must_equal(n_subscribers(publishers[0]), 3);
        say('s');
        hear('l');
        /* There is room for one: two go on with what they have. */
        until_settled(bus, NULL);
        must_equal(state_of(bus).stranded, 2);
        for (unsigned i = 0; i < 3; i++)
                must_equal(status_of(subscribers[i]).publishers, 1);
        stamped_publish(publishers[0], 1);
        for (unsigned i = 0; i < 3; i++) {
                struct tally tally = {0};

                must_equal(tally_take_all(&tally, subscribers[i]), 1);
        }
        say('l');
        hear('e');
        shmd_close(bus);
}

/* What the broker says of somebody when it ends, in `text`. */
static void end_and_read_account(char *text, size_t size)
{
        const char *line, *last = NULL;

        broker_settle(broker.bus);
        broker_terminate(SIGTERM);
        for (line = broker_log(); (line = strstr(line, "still charged to user 54321")); line++)
                last = line;
        must(last);
        snprintf(text, size, "%.*s", (int)strcspn(last, "\n"), last);
}

static void spawn_again(const char *quota)
{
        broker_spawn((const char *const[]){"--allow-uid", SOMEBODY_TEXT, "--quota", quota, NULL});
}

static void accounts_are_made_anew_by_those_who_resume(void **state)
{
        char before[256], after[256];
        struct role *role;

        /* Each of the three pairs is listed by both of its sides. */
        let_somebody_have("subscriptions=3,pairs=3");
        role = role_start("somebody", have_some_of_everything, NULL);
        role_await(role, 'r');
        end_and_read_account(before, sizeof(before));
        must_say(before, "sessions=1", "services=2", "segments=3", "subscriptions=3", "pairs=3");
        spawn_again("subscriptions=3,pairs=3");
        role_tell(role, 's');
        role_await(role, 's');
        end_and_read_account(after, sizeof(after));
        must(strcmp(before, after) == 0);
        /* Resuming outranks no quota. */
        spawn_again("subscriptions=1");
        role_tell(role, 'l');
        role_await(role, 'l');
        role_tell(role, 'e');
        role_finish(role);
}

/* ---- the option -------------------------------------------------------------------------- */

static void quotas_that_are_none_are_refused(void **state)
{
        static const char *const wrong[] = {
                "session=3",   "sessions",    "sessions=", "sessions=0",
                "sessions=-1", "sessions=3K", "bytes=1X",  "bytes=99999999999999T",
                "seats=101",   "=3",          "",          "sessions=3,",
        };
        char text[1024];

        for (unsigned i = 0; i < N_ELEMENTS(wrong); i++) {
                must_equal(
                        program_run(text, sizeof(text),
                                    (const char *const[]){SHMD_PROGRAM, "--quota", wrong[i], NULL}),
                        2);
                must_say(text, "shmd: --quota: '");
        }
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(sessions_have_a_limit_for_each_user_but_root),
                system_test(services_have_a_limit),
                system_test(segments_have_a_limit),
                system_test(bytes_have_a_limit),
                system_test(subscriptions_have_a_limit),
                system_test(pairs_have_a_limit),
                system_test(lists_of_peers_are_charged),
                system_test(who_connects_too_often_has_to_wait),
                system_test(what_one_user_leaves_unread_is_limited_in_sum),
                system_test(what_may_be_held_stays_charged_until_the_process_ends),
                system_test(accounts_are_made_anew_by_those_who_resume),
                system_test(quotas_that_are_none_are_refused),
        };

        harness_init(argc, argv);
        if (!can_be_somebody()) {
                puts("skipped: only root can be two users");
                return 77;
        }
        return cmocka_run_group_tests_name("system-quota", tests, NULL, NULL);
}
