/* SPDX-License-Identifier: Apache-2.0 */
/*
 * identity.c - another user's process says that it is somebody else, or offers what is another's,
 * or takes what many should have: it is refused, or nobody else notices.
 *
 * What it needs to know for that it is told here, as a peer of its victim would know it: ids,
 * inodes, numbers of boards.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "comeback.h"
#include "connection.h"
#include "impostor.h"
#include "raw.h"
#include "somebody.h"

#define SERVICE "identity/samples"

/* ---- what is another's ------------------------------------------------------------------- */

static void offer_what_is_roots(void *argument)
{
        const struct message_publisher_added *added;
        struct message_subscribe subscribe;
        struct ring_geometry geometry;
        struct raw_publisher own;
        static struct packet packet;
        int ends[2], fd, block, segment;
        uint64_t connection;

        become_somebody();
        fd = raw_session(&connection);
        block = raw_block(connection);
        must_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
        raw_fill_subscribe(&subscribe, "offered");
        raw_send(fd, &subscribe, sizeof(subscribe), (int[]){block, ends[1]}, 2);
        must(raw_receive(fd, &packet));
        must_equal(packet.header.type, MESSAGE_PUBLISHER_ADDED);
        added = (const void *)&packet.header;
        segment = packet_take_fd(&packet, 0);
        raw_publisher_open(&own, "offered/again");
        geometry = own.message.geometry;
        own.message.geometry = added->geometry;
        packet_close(&packet);
        raw_send(fd, &own.message, sizeof(own.message), &segment, 1);
        must_say(raw_await_end(fd), "segment: the memory belongs to user 0, not to 54321");
        close(fd);
        /* Nor is it a block. */
        fd = raw_session(NULL);
        raw_send(fd, &subscribe, sizeof(subscribe), (int[]){segment, ends[1]}, 2);
        must_say(raw_await_end(fd), "block 0: the memory belongs to user 0, not to 54321");
        close(fd);
        close(segment);
        close(block);
        close(ends[0]);
        close(ends[1]);
        own.message.geometry = geometry;
        raw_publisher_close(&own);
}

static void memory_of_another_user_is_not_ones_own(void **state)
{
        struct shmd_publisher *publisher;
        struct shmd *bus;

        let_somebody_in(NULL);
        bus = broker_connect();
        must_equal(shmd_advertise(&publisher, bus, "offered", &shmd_bytes, NULL), 0);
        role_finish(role_start("somebody", offer_what_is_roots, NULL));
        must_say(broker_log(), "dropped system-identity (pid ", "user 54321): ADVERTISE: segment");
        shmd_close(bus);
}

/* ---- who somebody is --------------------------------------------------------------------- */

static void publish_as_another(void *argument)
{
        const struct victim *victim = argument;
        struct segment memory;
        int fd;

        become_somebody();
        fd = raw_session(NULL);
        impostor_advertise(fd, SERVICE, victim, &memory, false);
        segment_close(&memory);
        close(fd);
        impostor_resume(SERVICE, victim);
}

static void who_publishes_under_anothers_id_is_read_by_nobody(void **state)
{
        struct shmd *bus, *other;
        struct shmd_subscriber *before, *after;
        struct tally tallies[2] = {{0}};
        struct shmd_publisher *publisher;
        struct victim victim = {0};
        struct role *role;

        let_somebody_in(NULL);
        bus = broker_connect();
        other = broker_connect();
        publisher = stamped_advertise(bus, SERVICE, (struct shmd_publisher_options){0});
        before = stamped_subscribe(other, SERVICE, (struct shmd_subscriber_options){0});
        victim.connection = bus->id;
        victim.id = publisher->id;
        role = role_start("somebody", publish_as_another, &victim);
        role_await(role, 'r');
        after = stamped_subscribe(other, SERVICE, (struct shmd_subscriber_options){0});
        must_equal(n_subscribers(publisher), 2);
        must_equal(status_of(before).publishers, 1);
        must_equal(status_of(after).publishers, 1);
        stamped_publish(publisher, 1);
        role_tell(role, 'e');
        role_finish(role);
        broker_settle(other);
        must_equal(status_of(before).publishers, 1);
        must_equal(status_of(after).publishers, 1);
        stamped_publish(publisher, 2);
        must_equal(tally_take_all(&tallies[0], before), 2);
        must_equal(tally_take_all(&tallies[1], after), 2);
        must_equal(n_subscribers(publisher), 2);
        shmd_close(bus);
        shmd_close(other);
}

/* It comes before its victim, with a block of its own. */
static void subscribe_with_anothers_connection(void *argument)
{
        const struct victim *victim = argument;
        struct raw_reader reader;

        become_somebody();
        reader.fd = raw_resume(victim->connection);
        reader.block = raw_block(victim->connection);
        must_equal(pipe2(reader.ends, O_CLOEXEC | O_NONBLOCK), 0);
        raw_fill_subscribe(&reader.message, "borrowed");
        must_equal(raw_request(reader.fd, &reader.message, (int[]){reader.block, reader.ends[1]}, 2,
                               NULL),
                   0);
        say('r');
        hear('e');
        raw_reader_close(&reader);
}

static void put_number(struct shmd_publisher *publisher, uint64_t number)
{
        uint64_t *data;
        void *loan;

        must_equal(shmd_loan(publisher, &loan), 0);
        data = loan;
        *data = number;
        must_equal(shmd_publish(publisher, loan), 0);
}

static void block_is_its_owners_whoever_says_that_it_is_the_same_connection(void **state)
{
        struct shmd_publisher_options options = {.size = sizeof(options), .depth = 2, .loans = 1};
        struct shmd_subscriber *subscriber;
        struct shmd_publisher *publisher;
        struct victim victim = {0};
        struct shmd *bus, *other;
        struct shmd_sample held;
        struct role *role;

        let_somebody_in(NULL);
        bus = broker_connect();
        other = broker_connect();
        must_equal(shmd_advertise(&publisher, bus, "borrowed", &shmd_bytes, &options), 0);
        victim.connection = other->id;
        role = role_start("somebody", subscribe_with_anothers_connection, &victim);
        role_await(role, 'r');
        must_equal(shmd_subscribe(&subscriber, other, "borrowed", &shmd_bytes, NULL), 0);
        until(n_subscribers(publisher) == 2);
        put_number(publisher, 1);
        must_equal(shmd_take(subscriber, &held), 1);
        for (uint64_t n = 2; n < 1000; n++)
                put_number(publisher, n);
        must_equal(*(const uint64_t *)held.data, 1);
        must_equal(shmd_release(subscriber, &held), 0);
        role_tell(role, 'e');
        role_finish(role);
        until(n_subscribers(publisher) == 1);
        shmd_close(bus);
        shmd_close(other);
}

/* ---- users without a name ---------------------------------------------------------------- */

static void write_file(const char *path, const char *text)
{
        int fd = open(path, O_WRONLY | O_CLOEXEC);

        must(fd >= 0);
        must_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
        close(fd);
}

static bool can_have_namespace(void)
{
        pid_t pid = child_fork();

        if (pid == 0)
                _exit(unshare(CLONE_NEWUSER) < 0);
        return child_finish(pid) == 0;
}

/* A broker that knows root, and nobody else: which is not to say "nobody". */
static void serve_in_namespace(void *argument)
{
        must_equal(unshare(CLONE_NEWUSER), 0);
        write_file("/proc/self/setgroups", "deny");
        write_file("/proc/self/uid_map", "0 0 1");
        write_file("/proc/self/gid_map", "0 0 1");
        execl(SHMD_PROGRAM, SHMD_PROGRAM, "--socket", broker.socket, "--allow-uid", "65534",
              "--allow-uid", SOMEBODY_TEXT, (char *)NULL);
        must(!"the broker runs");
}

static void be_unknown(void *argument)
{
        struct shmd_connect_options options = {.size = sizeof(options), .socket = broker.socket};
        struct shmd *bus;

        become_somebody();
        must_equal(shmd_connect(&bus, &options), -EACCES);
        must_say(shmd_error(), "user 65534 stands for all users",
                 "the broker's user namespace doesn't know");
}

static void users_that_the_broker_can_not_name_are_refused(void **state)
{
        struct shmd_connect_options options = {.size = sizeof(options), .socket = broker.socket};
        struct shmd *bus = NULL;
        struct role *server;

        if (!can_have_namespace())
                skip_because("there are no user namespaces for this process");
        broker_terminate(SIGTERM);
        open_directory();
        server = role_start("broker", serve_in_namespace, NULL);
        until(shmd_connect(&bus, &options) == 0);
        role_finish(role_start("somebody", be_unknown, NULL));
        shmd_close(bus);
        must_equal(kill(server->pid, SIGTERM), 0);
        role_finish(server);
}

static void serve_without_a_name(void *argument)
{
        char text[1024];

        must_equal(unshare(CLONE_NEWUSER), 0);
        must_equal(program_run(text, sizeof(text),
                               (const char *const[]){SHMD_PROGRAM, "--socket", broker.socket,
                                                     "--allow-uid", "1", NULL}),
                   1);
        must_say(text, "user 65534, as which the broker runs, stands for all users",
                 "it can let in no others");
}

static void broker_that_has_no_name_itself_lets_in_nobody(void **state)
{
        if (!can_have_namespace())
                skip_because("there are no user namespaces for this process");
        role_finish(role_start("broker", serve_without_a_name, NULL));
}

static void become_nobody_and_connect(void *argument)
{
        struct shmd *bus;

        must_equal(setgid(65534), 0);
        must_equal(setuid(65534), 0);
        bus = broker_connect();
        shmd_close(bus);
}

/* Where everybody has a number of his own, "nobody" is somebody. */
static void nobody_may_connect_where_all_users_are_known(void **state)
{
        char map[64] = "";
        int fd = open("/proc/self/uid_map", O_RDONLY | O_CLOEXEC);
        unsigned inside, outside, n;

        must(fd >= 0);
        must(read(fd, map, sizeof(map) - 1) > 0);
        close(fd);
        if (sscanf(map, "%u %u %u", &inside, &outside, &n) != 3 || inside || outside ||
            n != UINT32_MAX)
                skip_because("this is a user namespace of which some users are unknown");
        broker_terminate(SIGTERM);
        open_directory();
        broker_spawn((const char *const[]){"--allow-uid", "65534", NULL});
        role_finish(role_start("nobody", become_nobody_and_connect, NULL));
}

/* ---- processes without a number ---------------------------------------------------------- */

static void serve_in_pid_namespace(void *argument)
{
        pid_t pid;

        must_equal(unshare(CLONE_NEWPID), 0);
        pid = child_fork();
        if (pid == 0) {
                execl(SHMD_PROGRAM, SHMD_PROGRAM, "--socket", broker.socket, (char *)NULL);
                must(!"the broker runs");
        }
        hear('e');
        must_equal(kill(pid, SIGTERM), 0);
        must_equal(child_finish(pid), 0);
}

static void processes_that_the_broker_can_not_see_are_refused(void **state)
{
        struct shmd_connect_options options = {.size = sizeof(options), .socket = broker.socket};
        struct role *server;
        struct shmd *bus;
        pid_t pid = child_fork();

        if (pid == 0)
                _exit(unshare(CLONE_NEWPID) < 0);
        if (child_finish(pid) != 0)
                skip_because("there are no pid namespaces for this process");
        broker_terminate(SIGTERM);
        server = role_start("broker", serve_in_pid_namespace, NULL);
        until(shmd_connect(&bus, &options) == -EACCES);
        must_say(shmd_error(), "the broker can't see the process (another pid namespace?)");
        role_tell(server, 'e');
        role_finish(server);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(memory_of_another_user_is_not_ones_own),
                system_test(who_publishes_under_anothers_id_is_read_by_nobody),
                system_test(block_is_its_owners_whoever_says_that_it_is_the_same_connection),
                system_test(users_that_the_broker_can_not_name_are_refused),
                system_test(broker_that_has_no_name_itself_lets_in_nobody),
                system_test(nobody_may_connect_where_all_users_are_known),
                system_test(processes_that_the_broker_can_not_see_are_refused),
        };

        harness_init(argc, argv);
        if (!can_be_somebody()) {
                puts("skipped: only root can be two users");
                return 77;
        }
        return cmocka_run_group_tests_name("system-identity", tests, NULL, NULL);
}
