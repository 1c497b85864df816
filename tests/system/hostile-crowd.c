/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hostile-crowd.c - very many, all at once, and without end: sessions, descriptors in flight, and
 * what joining costs others meanwhile. In its long form the last test says how much longer a join
 * takes among attackers than just before.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "connection.h"
#include "harness.h"
#include "honest.h"
#include "passing.h"
#include "raw.h"
#include "somebody.h"
#include "wire.h"

/* ---- sessions ------------------------------------------------------------------------------ */

#define SESSIONS_MAX 5000u

/* As many as this process and the broker have descriptors for. */
static unsigned n_sessions_possible(void)
{
        struct rlimit own, others;
        rlim_t least;

        must_equal(getrlimit(RLIMIT_NOFILE, &own), 0);
        must_equal(prlimit(broker.pid, RLIMIT_NOFILE, NULL, &others), 0);
        own.rlim_cur = own.rlim_max;
        must_equal(setrlimit(RLIMIT_NOFILE, &own), 0);
        least = own.rlim_cur < others.rlim_cur / 2 ? own.rlim_cur : others.rlim_cur / 2;
        least -= 100;
        return least < SESSIONS_MAX ? (unsigned)least : SESSIONS_MAX;
}

static unsigned n_fds_of_broker(void)
{
        static struct snapshot snapshot;

        snapshot_take(&snapshot, broker.pid);
        return snapshot.n_fds;
}

static void thousands_of_sessions_cost_two_descriptors_each(void **state)
{
        static int fds[SESSIONS_MAX];
        unsigned n = n_sessions_possible(), before;

        honest_open();
        broker_rest();
        before = n_fds_of_broker();
        for (unsigned i = 0; i < n; i++) {
                fds[i] = raw_session(NULL);
                if (i % 500 == 0)
                        honest_check(0);
        }
        print_message("sessions: %u\n", n);
        must_equal(n_fds_of_broker(), before + 2 * n);
        shmd_close(broker_connect());
        honest_check(0);
        /* All at once, so that they end in one go. */
        must_equal(kill(broker.pid, SIGSTOP), 0);
        for (unsigned i = 0; i < n; i++)
                close(fds[i]);
        must_equal(kill(broker.pid, SIGCONT), 0);
        shmd_close(broker_connect());
        honest_check(0);
        until(n_fds_of_broker() == before);
        honest_close();
}

/* ---- descriptors in flight ----------------------------------------------------------------- */

/* Fills the broker's user's account of descriptors in flight: ends[1] holds them, unread. */
static void fill_account(int ends[2])
{
        int fds[PACKET_FDS_MAX];

        must_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
        for (unsigned i = 0; i < PACKET_FDS_MAX; i++)
                fds[i] = STDIN_FILENO;
        must_equal(pass(ends[0], "x", 1, fds, PACKET_FDS_MAX), 0);
}

/* Whose WELCOME the kernel refuses to take. */
static void expect_no_welcome(void)
{
        struct message_hello hello;
        int fd = raw_connect();

        raw_fill_hello(&hello, PROTOCOL_VERSION, PROTOCOL_MIN_VERSION);
        expect_drop_of(fd, &hello, sizeof(hello), NULL, 0,
                       "can't be sent its page: Too many references");
}

static bool has_message(int fd)
{
        struct pollfd entry = {.fd = fd, .events = POLLIN};

        return poll(&entry, 1, 0) == 1;
}

static void await_message(int fd, enum message_type type)
{
        static struct packet packet;

        must(raw_receive(fd, &packet));
        must_equal(packet.header.type, type);
        packet_close(&packet);
}

/* In a process of somebody's, with a broker of his own: root's is exempt. */
static void do_without_descriptors_in_flight(void)
{
        struct rlimit few = {.rlim_cur = 200, .rlim_max = 200};
        struct message_subscribe subscribe;
        struct shmd_publisher *publisher;
        int ends[2], pipe_ends[2], fd, fds[2];
        uint64_t connection;

        broker_spawn(NULL);
        must_equal(prlimit(broker.pid, RLIMIT_NOFILE, &few, NULL), 0);
        honest_open();
        must_equal(shmd_advertise(&publisher, honest.one, "crowd", &shmd_bytes, NULL), 0);
        fd = raw_session(&connection);
        must_equal(pipe(pipe_ends), 0);
        fill_account(ends);
        expect_no_welcome();
        /* Who is there has to wait for his introduction; it is tried again and again. */
        raw_fill_subscribe(&subscribe, "crowd");
        fds[0] = raw_block(connection);
        fds[1] = pipe_ends[1];
        raw_send(fd, &subscribe, sizeof(subscribe), fds, 2);
        await_message(fd, MESSAGE_REPLY);
        for (unsigned i = 0; i < 20; i++) {
                broker_settle(honest.other);
                must(!has_message(fd));
        }
        close(ends[0]);
        close(ends[1]);
        await_message(fd, MESSAGE_PUBLISHER_ADDED);
        honest_check(0);
        close(fds[0]);
        close(pipe_ends[0]);
        close(pipe_ends[1]);
        close(fd);
        honest_close();
        broker_terminate(SIGTERM);
}

static void descriptors_in_flight_come_back(void **state)
{
        char inner[sizeof(broker.socket) - 8];
        pid_t pid;

        if (!can_be_somebody())
                skip_because("only root can be two users");
        snprintf(inner, sizeof(inner), "%.60s/s", broker.directory);
        must_equal(mkdir(inner, 0700), 0);
        must_equal(chown(inner, SOMEBODY, SOMEBODY), 0);
        must_equal(chmod(broker.directory, 0711), 0);
        pid = child_fork();
        if (pid == 0) {
                become_somebody();
                broker.pid = 0;
                snprintf(broker.socket, sizeof(broker.socket), "%s/control", inner);
                snprintf(broker.log, sizeof(broker.log), "%s/log", inner);
                do_without_descriptors_in_flight();
                unlink(broker.log);
                _exit(0);
        }
        must_equal(child_finish(pid), 0);
        must_equal(rmdir(inner), 0);
}

/* ---- joining among attackers --------------------------------------------------------------- */

/* Each does what it does until it is told to stop. */

static void garble(void)
{
        static const char nonsense[16];
        int fd = socket_connect(broker.socket);

        if (fd < 0)
                return;
        pass(fd, nonsense, sizeof(nonsense), NULL, 0);
        close(fd);
}

static void overload(void)
{
        struct message_list list = {.skip = 0};
        int fds[PACKET_FDS_MAX], fd = socket_connect(broker.socket);

        if (fd < 0)
                return;
        for (unsigned i = 0; i < PACKET_FDS_MAX; i++)
                fds[i] = STDIN_FILENO;
        wire_begin(&list, MESSAGE_LIST, sizeof(list), 1);
        pass(fd, &list, sizeof(list), fds, PACKET_FDS_MAX);
        close(fd);
}

/* Asks without reading, until it is dropped for it. */
static void ask_on(void)
{
        struct message_list list = {.skip = 0};
        struct message_hello hello;
        int fd = socket_connect(broker.socket), code = 0;

        if (fd < 0)
                return;
        raw_fill_hello(&hello, PROTOCOL_VERSION, PROTOCOL_MIN_VERSION);
        pass(fd, &hello, sizeof(hello), NULL, 0);
        for (unsigned i = 0; i < 5000 && (code == 0 || code == -EAGAIN); i++) {
                wire_begin(&list, MESSAGE_LIST, sizeof(list), i + 1);
                code = pass(fd, &list, sizeof(list), NULL, 0);
        }
        close(fd);
}

static void attack(void *argument)
{
        static void (*const attacks[])(void) = {garble, overload, ask_on};

        (void)argument;
        say('b');
        for (unsigned i = 0; !has_heard('e'); i++)
                attacks[i % N_ELEMENTS(attacks)]();
}

static int compare_times(const void *one, const void *other)
{
        uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;

        return a < b ? -1 : a > b;
}

struct times {
        uint64_t p50, p99;
};

/* Connects, subscribes to what honest.one publishes, has a sample, and leaves. */
static struct times join(unsigned n)
{
        static uint64_t times[5000];

        must(n <= N_ELEMENTS(times));
        for (unsigned i = 0; i < n; i++) {
                uint64_t begin = harness_now();
                struct shmd_subscriber_options options = {.size = sizeof(options), .history = 1};
                struct shmd_subscriber *subscriber;
                struct shmd_sample sample;
                struct shmd *bus = broker_connect();

                must_equal(shmd_subscribe(&subscriber, bus, "honest", stamped_type, &options), 0);
                must_equal(shmd_take(subscriber, &sample), 1);
                times[i] = harness_now() - begin;
                shmd_close(bus);
                /* Who never reads is introduced to 32, and then to none. */
                stamped_publish(honest.publisher, ++honest.n);
                broker_settle(honest.one);
        }
        qsort(times, n, sizeof(times[0]), compare_times);
        return (struct times){.p50 = times[n / 2], .p99 = times[n * 99 / 100]};
}

static void joins_go_on_among_attackers(void **state)
{
        unsigned n = harness_is_long ? 5000 : 100, n_drops = 0;
        struct times before, meanwhile;
        struct role *role;

        /* No lines but what is bounded. */
        broker_terminate(SIGTERM);
        broker_spawn((const char *const[]){"--log-level", "warning", NULL});
        honest_open();
        stamped_publish(honest.publisher, ++honest.n);
        before = join(n);
        role = role_start("attacker", attack, NULL);
        role_await(role, 'b');
        meanwhile = join(n);
        role_tell(role, 'e');
        role_finish(role);
        for (const char *log = broker_log(); (log = strstr(log, "dropped ")); log++)
                n_drops++;
        must(n_drops >= 1);
        print_message("injections: %u\n", n);
        print_message("a join among attackers, of one just before: p50 %.1f, p99 %.1f times\n",
                      (double)meanwhile.p50 / (double)before.p50,
                      (double)meanwhile.p99 / (double)before.p99);
        honest_close();
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(thousands_of_sessions_cost_two_descriptors_each),
                system_test(descriptors_in_flight_come_back),
                system_test(joins_go_on_among_attackers),
        };

        harness_init(argc, argv);
        return cmocka_run_group_tests_name("hostile-crowd", tests, NULL, NULL);
}
