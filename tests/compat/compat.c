/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compat.c - an older shmd, built from the history, and this one: each broker with each client, and
 * one broker in the other's place while samples flow.
 *
 * Clients are processes of their own that run client.c. What each combination is promised is in
 * docs/compatibility.md.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "driver.h"
#include "raw.h"

static unsigned n_replaced;

/* ---- brokers ----------------------------------------------------------------------------- */

static int setup_old(void **state)
{
        broker_program = old_broker;
        return harness_setup(state);
}

static int setup_new(void **state)
{
        broker_program = SHMD_PROGRAM;
        return harness_setup(state);
}

static int teardown(void **state)
{
        int code = harness_teardown(state);

        broker_program = SHMD_PROGRAM;
        return code;
}

/* The broker dies, or is stopped in good order. */
static void end_broker(bool has_died)
{
        if (has_died)
                broker_kill();
        else
                broker_terminate(SIGTERM);
}

static void start_broker(const char *program)
{
        broker_program = program;
        broker_spawn(NULL);
        n_replaced++;
}

/* At the end of a test that has replaced it: it has to end well, with nothing left open. What it
 * had when it was idle is not known. */
static void end_replaced_broker(void)
{
        broker_rest();
        broker_terminate(SIGTERM);
}

/* ---- together ---------------------------------------------------------------------------- */

static void late_joiner_gets_history(struct client *publisher, enum kind kind)
{
        struct client *late = client_start(kind);
        unsigned long number = publish(publisher, 5);

        ask(late, "subscribe 3 " SERVICE);
        must_take(late, 3, number);
        client_finish(late);
}

static void two_exchange(enum kind publisher_kind, enum kind subscriber_kind)
{
        struct client *publisher = publisher_start(publisher_kind);
        struct client *subscriber = subscriber_start(subscriber_kind);
        unsigned long number;

        until(n_peers(publisher) == 1);
        must_equal(n_peers(subscriber), 1);
        must_exchange(publisher, subscriber);
        number = hold(publisher, subscriber);
        must_still_hold(publisher, subscriber, number);
        ask(subscriber, "release");
        must(publisher_kind == OLD || leaves_fences_out(publisher));
        late_joiner_gets_history(publisher, subscriber_kind);
        until(n_peers(publisher) == 1);
        must_equal(strtoul(ask(subscriber, "list"), NULL, 10), 1);
        /* Both ways to go are noticed. */
        ask(subscriber, "take");
        client_kill(subscriber);
        until(n_peers(publisher) == 0);
        subscriber = subscriber_start(subscriber_kind);
        client_kill(publisher);
        until(n_peers(subscriber) == 0);
        client_finish(subscriber);
}

static void each_exchanges_with_each(void)
{
        for (enum kind publisher = OLD; publisher < KINDS; publisher++)
                for (enum kind subscriber = OLD; subscriber < KINDS; subscriber++) {
                        if (HAVE_ASAN && (publisher == OLD_PROGRAM_NEW_LIBRARY ||
                                          subscriber == OLD_PROGRAM_NEW_LIBRARY))
                                continue; /* its program would have to be built with it, too */
                        print_message("publisher %s, subscriber %s\n", kind_names[publisher],
                                      kind_names[subscriber]);
                        two_exchange(publisher, subscriber);
                }
}

static void old_broker_serves_old_and_new_clients(void **state)
{
        each_exchanges_with_each();
}

static void new_broker_serves_old_and_new_clients(void **state)
{
        each_exchanges_with_each();
}

/* ---- the broker is exchanged ------------------------------------------------------------- */

/* Whoever only polls or publishes may find out later. */
static void must_miss_broker(struct client *client)
{
        must_equal(strtol(ask_in_vain(client, "list"), NULL, 10), -ENOTCONN);
        must_equal(state_of(client).connected, 0);
}

static bool can_resume(const struct client *client)
{
        return client->kind != OLD;
}

static void connect_anew(struct client *client, const char *command)
{
        /* Not by itself. */
        ask_in_vain(client, "list");
        ask(client, "close");
        client_connect(client);
        ask(client, command);
}

/* Newcomers find who has resumed, and others once they have connected anew. */
static void must_be_found(struct client *publisher, struct client *subscriber)
{
        struct client *newcomer = subscriber_start(NEW);

        must_equal(n_peers(newcomer), can_resume(publisher));
        if (!can_resume(publisher))
                connect_anew(publisher, "advertise 8 " SERVICE);
        until(n_peers(newcomer) == 1);
        must_exchange(publisher, newcomer);
        client_finish(newcomer);
        /* It may have been told of it, too. */
        ask_either_way(subscriber, "list");
        ask(subscriber, "take");
        newcomer = publisher_start(NEW);
        must_equal(n_peers(newcomer), can_resume(subscriber));
        if (!can_resume(subscriber))
                connect_anew(subscriber, "subscribe 0 " SERVICE);
        until(n_peers(newcomer) == 1);
        ask(subscriber, "list"); /* the subscriber has heard of it, too */
        must_exchange(newcomer, subscriber);
        client_finish(newcomer);
}

/* Two that know each other go on without a broker and with the next: samples, what is held, and
 * sleepers. Those that can resume come back by themselves. */
static void two_survive_an_upgrade(enum kind publisher_kind, enum kind subscriber_kind,
                                   bool has_died)
{
        struct client *publisher = publisher_start(publisher_kind);
        struct client *subscriber = subscriber_start(subscriber_kind);
        unsigned long number;

        print_message("publisher %s, subscriber %s, the old broker %s\n",
                      kind_names[publisher_kind], kind_names[subscriber_kind],
                      has_died ? "has died" : "was stopped");
        until(n_peers(publisher) == 1);
        must_exchange(publisher, subscriber);
        number = hold(publisher, subscriber);
        end_broker(has_died);
        must_exchange(publisher, subscriber);
        must_miss_broker(publisher);
        must_miss_broker(subscriber);
        ask(subscriber, "sleep");
        until(process_is_asleep(subscriber->pid));
        start_broker(SHMD_PROGRAM);
        until(state_of(publisher).connected == can_resume(publisher));
        until(process_is_asleep(subscriber->pid));
        publish(publisher, 1);
        hear_from(subscriber, false);
        until(state_of(subscriber).connected == can_resume(subscriber));
        must_exchange(publisher, subscriber);
        must_still_hold(publisher, subscriber, number);
        must(publisher_kind == OLD || leaves_fences_out(publisher));
        ask(subscriber, "release");
        must_equal(n_peers(publisher), 1);
        must_equal(n_peers(subscriber), 1);
        must_be_found(publisher, subscriber);
        client_finish(publisher);
        client_finish(subscriber);
        end_replaced_broker();
}

static void clients_go_on_when_a_new_broker_takes_an_old_ones_place(void **state)
{
        for (unsigned i = 0; i < 8; i++) {
                if (i) {
                        broker_program = old_broker;
                        broker_spawn(NULL);
                }
                two_survive_an_upgrade(i & 1 ? NEW : OLD, i & 2 ? NEW : OLD, i & 4);
        }
}

/* The old broker's introductions had no pidfd; the new one's have. */
static void who_was_introduced_by_the_old_broker_is_missed_after_the_next_restart(void **state)
{
        struct client *publisher = publisher_start(NEW), *other = publisher_start(NEW);
        struct client *subscriber = subscriber_start(NEW), *reader = subscriber_start(NEW);

        until(n_peers(publisher) == 2 && n_peers(other) == 2);
        end_broker(true);
        must_miss_broker(publisher);
        must_miss_broker(other);
        must_miss_broker(subscriber);
        must_miss_broker(reader);
        start_broker(SHMD_PROGRAM);
        until(state_of(publisher).connected && state_of(other).connected);
        until(state_of(subscriber).connected && state_of(reader).connected);
        end_broker(true);
        must_miss_broker(publisher);
        must_miss_broker(reader);
        client_kill(subscriber);
        until(n_peers(publisher) == 1);
        client_kill(other);
        until(n_peers(reader) == 1);
        must_exchange(publisher, reader);
        client_finish(publisher);
        client_finish(reader);
        n_replaced++;
}

/* The old broker has no page that says that it lives. */
static void who_only_polls_finds_out_that_the_old_broker_is_gone(void **state)
{
        struct client *subscriber = subscriber_start(NEW), *publisher;

        end_broker(true);
        start_broker(SHMD_PROGRAM);
        publisher = publisher_start(NEW);
        until((ask(subscriber, "poll"), n_peers(publisher) == 1));
        ask(subscriber, "list"); /* the subscriber has heard of it, too */
        must_exchange(publisher, subscriber);
        client_finish(publisher);
        client_finish(subscriber);
        end_replaced_broker();
}

/* A sleeper that can't call membarrier(2) can't say so to the next broker. */
static void publisher_remembers_who_forbade_it_to_leave_fences_out(void **state)
{
        struct client *publisher = publisher_start(NEW);
        struct client *subscriber = client_start(OLD);

        ask(subscriber, "close");
        ask(subscriber, "forbid-membarrier");
        client_connect(subscriber);
        ask(subscriber, "subscribe 0 " SERVICE);
        until(n_peers(publisher) == 1);
        must_take(subscriber, N_QUIET, publish(publisher, N_QUIET));
        must(!leaves_fences_out(publisher));
        end_broker(true);
        must_miss_broker(publisher);
        start_broker(SHMD_PROGRAM);
        until(state_of(publisher).connected);
        must_take(subscriber, N_QUIET, publish(publisher, N_QUIET));
        must(!leaves_fences_out(publisher));
        must_exchange(publisher, subscriber);
        client_finish(publisher);
        client_finish(subscriber);
        end_replaced_broker();
}

/* Programs of the old version come back by connecting anew: the seats of their old connections must
 * not be lost to them. */
static void old_clients_that_connect_anew_find_seats(void **state)
{
        struct client *publisher = client_start(NEW), *subscriber;

        ask(publisher, "advertise 1 " SERVICE);
        subscriber = subscriber_start(OLD);
        for (unsigned i = 0; i < 3; i++) {
                until(n_peers(publisher) == 1);
                must_exchange(publisher, subscriber);
                end_broker(true);
                must_miss_broker(publisher);
                start_broker(SHMD_PROGRAM);
                until(state_of(publisher).connected);
                connect_anew(subscriber, "subscribe 0 " SERVICE);
        }
        client_finish(publisher);
        client_finish(subscriber);
        end_replaced_broker();
}

/* ---- and back ---------------------------------------------------------------------------- */

/* Nobody resumes at a broker that can't: those who know each other go on, and say why. */
static void clients_of_a_downgraded_broker_go_on_and_say_why_they_do_not_come_back(void **state)
{
        struct client *publisher = publisher_start(NEW), *subscriber = subscriber_start(NEW);
        unsigned long number;
        const char *text;

        until(n_peers(publisher) == 1);
        number = hold(publisher, subscriber);
        end_broker(true);
        start_broker(old_broker);
        must_exchange(publisher, subscriber);
        must_still_hold(publisher, subscriber, number);
        text = ask_in_vain(publisher, "list");
        must_equal(strtol(text, NULL, 10), -ENOTCONN);
        must_say(text, "versions 1 to 1", "2 to 2");
        must_say(broker_log(), "versions 1 to 1", "2 to 2");
        must_miss_broker(publisher);
        must_exchange(publisher, subscriber);
        /* Who connects anew is served, as far as the old one can. */
        ask(subscriber, "take");
        connect_anew(subscriber, "subscribe 0 " SERVICE);
        must_equal(n_peers(subscriber), 0);
        connect_anew(publisher, "advertise 8 " SERVICE);
        until(n_peers(subscriber) == 1);
        must_exchange(publisher, subscriber);
        client_finish(publisher);
        client_finish(subscriber);
        end_replaced_broker();
}

static void clients_come_back_when_a_downgrade_is_undone(void **state)
{
        struct client *publisher = publisher_start(NEW), *subscriber = subscriber_start(NEW);

        until(n_peers(publisher) == 1);
        end_broker(true);
        start_broker(old_broker);
        must_miss_broker(publisher);
        must_miss_broker(subscriber);
        end_broker(false);
        start_broker(SHMD_PROGRAM);
        until(state_of(publisher).connected && state_of(subscriber).connected);
        must_exchange(publisher, subscriber);
        client_finish(publisher);
        client_finish(subscriber);
        end_replaced_broker();
}

/* ---- too much of a difference ------------------------------------------------------------- */

/* The old broker does not look; the subscriber does. */
static void segment_of_another_layout_is_not_read(void **state)
{
        struct client *subscriber = client_start(NEW);
        struct raw_publisher publisher;
        struct message_hello hello;
        struct packet packet;
        int fd = raw_connect();

        raw_fill_hello(&hello, 1, 1);
        raw_send(fd, &hello, sizeof(hello), NULL, 0);
        must(raw_receive(fd, &packet));
        packet_close(&packet);
        raw_publisher_open(&publisher, "compat/bytes");
        ((struct segment_header *)publisher.memory)->identity.version++;
        raw_send(fd, &publisher.message, sizeof(publisher.message), &publisher.fd, 1);
        must(raw_receive(fd, &packet));
        must_equal(packet.header.type, MESSAGE_REPLY);
        ask(subscriber, "subscribe-bytes compat/bytes");
        until(state_of(subscriber).refused == 1);
        must_equal(n_peers(subscriber), 0);
        close(fd);
        until(state_of(subscriber).refused == 0);
        raw_publisher_close(&publisher);
        client_finish(subscriber);
}

/* ---- the library in an old program -------------------------------------------------------- */

/* Each word of `some` stands in `all`. */
static void must_have_all(const char *all, const char *some)
{
        char *copy = strdup(some), *rest = copy, *word;

        must(copy);
        must(*some);
        while ((word = strsep(&rest, " \n"))) {
                const char *found = all;
                size_t size = strlen(word);

                while ((found = strstr(found, word)) && found[size] && !strchr(" \n", found[size]))
                        found++;
                if (!found)
                        fprintf(stderr, "this version has no %s\n", word);
                must(found);
        }
        free(copy);
}

static void public_structs_are_where_old_programs_have_them(void **state)
{
        struct client *old = client_start(OLD), *new = client_start(NEW);

        must_have_all(ask(new, "layout"), ask(old, "layout"));
        client_finish(old);
        client_finish(new);
}

static void list_symbols(char *output, size_t size, const char *directory)
{
        char command[1024];

        snprintf(command, sizeof(command),
                 "nm --dynamic --defined-only %s/libshmd.so.0 | sed 's/.* //'", directory);
        must_equal(program_run(output, size, (const char *const[]){"/bin/sh", "-c", command, NULL}),
                   0);
}

static void library_has_all_symbols_that_the_old_one_has(void **state)
{
        static char old[16384], new[16384];

        if (program_run(old, sizeof(old),
                        (const char *const[]){"/bin/sh", "-c", "command -v nm", NULL}))
                skip_because("no nm");
        list_symbols(old, sizeof(old), old_library);
        list_symbols(new, sizeof(new), LIBRARY_DIRECTORY);
        must_say(old, "shmd_connect@@SHMD_0.1");
        must_have_all(new, old);
}

static uint32_t version_of_broker(void)
{
        struct message_hello hello;
        struct packet packet;
        uint32_t version;
        int fd = raw_connect();

        raw_fill_hello(&hello, 99, 1);
        raw_send(fd, &hello, sizeof(hello), NULL, 0);
        must(raw_receive(fd, &packet));
        must_equal(packet.header.type, MESSAGE_WELCOME);
        version = ((const struct message_welcome *)&packet.header)->version;
        packet_close(&packet);
        close(fd);
        return version;
}

static void each_broker_is_the_one_that_it_should_be(void **state)
{
        must_equal(version_of_broker(), PROTOCOL_MIN_VERSION);
        end_broker(false);
        start_broker(SHMD_PROGRAM);
        must_equal(version_of_broker(), PROTOCOL_VERSION);
        end_replaced_broker();
}

static void each_client_runs_with_the_library_that_it_should(void **state)
{
        for (enum kind kind = OLD; kind < (HAVE_ASAN ? OLD_PROGRAM_NEW_LIBRARY : KINDS); kind++) {
                struct client *client = client_start(kind);

                must_say(ask(client, "library"), kind == OLD ? old_library : LIBRARY_DIRECTORY);
                client_finish(client);
        }
}

/* ------------------------------------------------------------------------------------------ */

#define test_with_old(function) cmocka_unit_test_setup_teardown(function, setup_old, teardown)
#define test_with_new(function) cmocka_unit_test_setup_teardown(function, setup_new, teardown)

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                test_with_old(each_broker_is_the_one_that_it_should_be),
                test_with_new(each_client_runs_with_the_library_that_it_should),
                test_with_new(public_structs_are_where_old_programs_have_them),
                test_with_new(library_has_all_symbols_that_the_old_one_has),
                test_with_old(old_broker_serves_old_and_new_clients),
                test_with_new(new_broker_serves_old_and_new_clients),
                test_with_old(clients_go_on_when_a_new_broker_takes_an_old_ones_place),
                test_with_old(
                        who_was_introduced_by_the_old_broker_is_missed_after_the_next_restart),
                test_with_old(who_only_polls_finds_out_that_the_old_broker_is_gone),
                test_with_old(publisher_remembers_who_forbade_it_to_leave_fences_out),
                test_with_new(old_clients_that_connect_anew_find_seats),
                test_with_new(
                        clients_of_a_downgraded_broker_go_on_and_say_why_they_do_not_come_back),
                test_with_old(segment_of_another_layout_is_not_read),
                test_with_new(clients_come_back_when_a_downgrade_is_undone),
        };
        int failed;

        if (argc < 3 || strcmp(argv[1], "--old") != 0) {
                fprintf(stderr, "with-old.sh runs this\n");
                return 2;
        }
        driver_init(argv[2]);
        harness_init(argc - 2, argv + 2);
        failed = cmocka_run_group_tests_name("compat", tests, NULL, NULL);
        printf("injections: %u: pairs of clients that exchange samples\n", n_exchanges);
        printf("injections: %u: brokers replaced by one of another version\n", n_replaced);
        return failed;
}
