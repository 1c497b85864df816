/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hostile-descriptors.c - what a client may pass to the broker: things that are not what they
 * should be, too many, none, and such as stop whoever closes them. Each costs the one who passed it
 * his session, with one line of log; nobody else notices, and nothing stays open.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "closer.h"
#include "connection.h"
#include "harness.h"
#include "honest.h"
#include "passing.h"
#include "raw.h"
#include "somebody.h"
#include "wire.h"

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* since Linux 6.16 */
#endif

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)

static unsigned n_fds_of_broker(void)
{
        static struct snapshot snapshot;

        snapshot_take(&snapshot, broker.pid);
        return snapshot.n_fds;
}

/* ---- not what it should be ---------------------------------------------------------------- */

/* Passed as a segment, as a block and as a channel. */
static void expect_refusal_everywhere(int fd, const char *segment, const char *block,
                                      const char *channel)
{
        struct message_subscribe subscribe;
        struct raw_publisher publisher;
        int fds[2], ends[2];

        raw_publisher_open(&publisher, "hostile");
        expect_drop(&publisher.message, sizeof(publisher.message), &fd, 1, segment);
        raw_publisher_close(&publisher);
        must_equal(pipe2(ends, O_CLOEXEC), 0);
        raw_fill_subscribe(&subscribe, "hostile");
        fds[0] = fd;
        fds[1] = ends[1];
        expect_drop(&subscribe, sizeof(subscribe), fds, 2, block);
        fds[0] = raw_block(1);
        fds[1] = fd;
        expect_drop(&subscribe, sizeof(subscribe), fds, 2, channel);
        close(fds[0]);
        close(ends[0]);
        close(ends[1]);
}

static void what_is_no_memory_is_refused(void **state)
{
        int things[8], ends[2], socks[2];
        unsigned n = 0;

        must_equal(pipe2(ends, O_CLOEXEC), 0);
        must_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socks), 0);
        things[n++] = open("/dev/null", O_RDWR | O_CLOEXEC);
        things[n++] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        things[n++] = open("/", O_PATH | O_CLOEXEC);
        things[n++] = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
        things[n++] = eventfd(0, EFD_CLOEXEC);
        things[n++] = socks[0];
        things[n++] = raw_connect();
        honest_open();
        for (unsigned i = 0; i < n; i++) {
                must(things[i] >= 0);
                expect_refusal_everywhere(things[i], "no shared memory", "no shared memory",
                                          "not a pipe");
        }
        /* The end that publishers can't ring on. */
        expect_refusal_everywhere(ends[0], "no shared memory", "no shared memory", "writing end");
        honest_close();
        while (n)
                close(things[--n]);
        close(socks[1]);
        close(ends[0]);
        close(ends[1]);
}

static int memory(size_t allocated, size_t size, int seals)
{
        int fd = memfd_create("shmd:hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        must(fd >= 0);
        must_equal(ftruncate(fd, (off_t)size), 0);
        if (allocated)
                must_equal(posix_fallocate(fd, 0, (off_t)allocated), 0);
        must_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
        return fd;
}

static void memory_that_could_hurt_is_refused(void **state)
{
        static const struct {
                int seals;
                bool is_small, is_sparse;
                const char *says;
        } bad[] = {
                {0, false, false, "seals"},
                {F_SEAL_SEAL, false, false, "seals"},
                {SEALS & ~F_SEAL_SHRINK, false, false, "seals"},
                {SEALS & ~F_SEAL_GROW, false, false, "seals"},
                {SEALS & ~F_SEAL_FUTURE_WRITE, false, false, "seals"},
                {SEALS & ~F_SEAL_SEAL, false, false, "seals"},
                {SEALS, true, false, "bytes, not"},
                {SEALS, false, true, "are allocated"},
        };
        struct message_subscribe subscribe;
        struct raw_publisher publisher;
        int fds[2], ends[2];

        honest_open();
        raw_publisher_open(&publisher, "hostile");
        raw_fill_subscribe(&subscribe, "hostile");
        must_equal(pipe2(ends, O_CLOEXEC), 0);
        fds[1] = ends[1];
        for (unsigned i = 0; i < N_ELEMENTS(bad); i++) {
                size_t sizes[] = {publisher.message.geometry.size, BLOCK_SIZE};

                for (unsigned which = 0; which < 2; which++) {
                        size_t size = sizes[which] - (bad[i].is_small ? 64 : 0);

                        fds[0] = memory(bad[i].is_sparse ? 0 : size, size, bad[i].seals);
                        if (which)
                                expect_drop(&subscribe, sizeof(subscribe), fds, 2, bad[i].says);
                        else
                                expect_drop(&publisher.message, sizeof(publisher.message), fds, 1,
                                            bad[i].says);
                        close(fds[0]);
                }
        }
        raw_publisher_close(&publisher);
        close(ends[0]);
        close(ends[1]);
        honest_close();
}

static void memory_of_another_user_is_refused(void **state)
{
        struct message_subscribe subscribe;
        struct raw_publisher publisher;
        int fds[2], ends[2];

        if (geteuid() != 0)
                skip_because("only root can make memory of another user's");
        honest_open();
        raw_publisher_open(&publisher, "hostile");
        must_equal(fchown(publisher.fd, 54321, (gid_t)-1), 0);
        expect_drop(&publisher.message, sizeof(publisher.message), &publisher.fd, 1,
                    "belongs to user 54321, not to 0");
        raw_publisher_close(&publisher);
        raw_fill_subscribe(&subscribe, "hostile");
        must_equal(pipe2(ends, O_CLOEXEC), 0);
        fds[0] = raw_block(1);
        fds[1] = ends[1];
        must_equal(fchown(fds[0], 54321, (gid_t)-1), 0);
        expect_drop(&subscribe, sizeof(subscribe), fds, 2, "belongs to user 54321, not to 0");
        close(fds[0]);
        close(ends[0]);
        close(ends[1]);
        honest_close();
}

/* ---- too many, or where none should be ---------------------------------------------------- */

static void as_many_as_the_kernel_passes_leave_none_behind(void **state)
{
        struct message_list list = {.skip = 0};
        int fds[PACKET_FDS_MAX], fd;
        unsigned before;

        honest_open();
        broker_rest();
        before = n_fds_of_broker();
        for (unsigned i = 0; i < PACKET_FDS_MAX; i++)
                fds[i] = STDERR_FILENO;
        wire_begin(&list, MESSAGE_LIST, sizeof(list), 1);
        for (unsigned n = PACKET_FDS_MAX; n; n /= 6) {
                fd = raw_session(NULL);
                must_equal(pass(fd, &list, sizeof(list), fds, n), 0);
                must_say(raw_await_end(fd), n > PROTOCOL_FDS_MAX ? "more than 4 descriptors"
                                                                 : "descriptors, should be 0");
                close(fd);
                honest_check(1);
        }
        /* No bytes at all, which else is the end. */
        fd = raw_session(NULL);
        must_equal(pass(fd, &list, 0, fds, PACKET_FDS_MAX), 0);
        must_say(raw_await_end(fd), "an empty message with descriptors");
        close(fd);
        honest_check(1);
        /* With more bytes than a message has. */
        fd = raw_session(NULL);
        must_equal(pass(fd, (char[PROTOCOL_MESSAGE_MAX + 1]){0}, PROTOCOL_MESSAGE_MAX + 1, fds, 2),
                   0);
        must_say(raw_await_end(fd), "20480 bytes");
        close(fd);
        honest_check(1);
        until(n_fds_of_broker() == before);
        honest_close();
}

/* A socket whose queue holds itself lives on without anybody, until the kernel looks for such. */
static void own_socket_inside_ends_with_the_session(void **state)
{
        struct message_list list = {.skip = 0};
        unsigned before;

        honest_open();
        broker_rest();
        before = n_fds_of_broker();
        wire_begin(&list, MESSAGE_LIST, sizeof(list), 1);
        for (unsigned i = 0; i < 20; i++) {
                int fd = raw_session(NULL);

                must_equal(kill(broker.pid, SIGSTOP), 0);
                /* The second one is never read. */
                must_equal(pass(fd, &list, sizeof(list), &fd, 1), 0);
                must_equal(pass(fd, &list, sizeof(list), &fd, 1), 0);
                must_equal(kill(broker.pid, SIGCONT), 0);
                must_say(raw_await_end(fd), "1 descriptors, should be 0");
                close(fd);
                honest_check(1);
        }
        until(n_fds_of_broker() == before);
        honest_close();
}

/* ---- such as stop whoever closes them ------------------------------------------------------ */

/* A TCP socket that has more to send than anybody takes: its close() waits for two minutes. *sink
 * is the other end; the wait is over when that is closed. */
static int lingering_socket(int *sink)
{
        struct sockaddr_in name = {.sin_family = AF_INET};
        struct linger linger = {.l_onoff = 1, .l_linger = 120};
        socklen_t size = sizeof(name);
        int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        static const char bytes[65536];

        name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        must(listener >= 0 && fd >= 0);
        must_equal(bind(listener, (struct sockaddr *)&name, sizeof(name)), 0);
        must_equal(getsockname(listener, (struct sockaddr *)&name, &size), 0);
        must_equal(listen(listener, 1), 0);
        must_equal(connect(fd, (struct sockaddr *)&name, sizeof(name)), 0);
        *sink = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        must(*sink >= 0);
        close(listener);
        must_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
        while (send(fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
                ;
        must_equal(errno, EAGAIN);
        return fd;
}

static void pass_lingering_socket(int fd, int *sink, const void *message, size_t size)
{
        int lingering = lingering_socket(sink);

        must_equal(pass(fd, message, size, &lingering, 1), 0);
        close(lingering);
}

/* One that the broker takes, and one that it leaves in the socket's queue, as it is stopped. */
static void pass_two_lingering(int fd, int sinks[2])
{
        static const char nonsense[16];

        pass_lingering_socket(fd, &sinks[0], nonsense, sizeof(nonsense));
        pass_lingering_socket(fd, &sinks[1], nonsense, sizeof(nonsense));
}

static void lingering_sockets_stop_nobody(void **state)
{
        enum { N = CLOSER_STUCK_MAX - 1 };
        int fds[N], sinks[N][2];
        unsigned before;

        honest_open();
        broker_rest();
        before = n_fds_of_broker();
        for (unsigned i = 0; i < N; i++)
                fds[i] = raw_session(NULL);
        must_equal(kill(broker.pid, SIGSTOP), 0);
        for (unsigned i = 0; i < N; i++)
                pass_two_lingering(fds[i], sinks[i]);
        must_equal(kill(broker.pid, SIGCONT), 0);
        for (unsigned i = 0; i < N; i++) {
                raw_await_end(fds[i]);
                close(fds[i]);
        }
        honest_check(N);
        /* Others come and go, and theirs are closed. */
        for (unsigned i = 0; i < 20; i++) {
                shmd_close(broker_connect());
                honest_check(0);
        }
        until(n_fds_of_broker() == before);
        for (unsigned i = 0; i < N; i++) {
                close(sinks[i][0]);
                close(sinks[i][1]);
        }
        honest_close();
}

static int try_to_connect(void)
{
        struct shmd_connect_options options = {.size = sizeof(options), .socket = broker.socket};
        struct shmd *bus;
        int code = shmd_connect(&bus, &options);

        if (code == 0)
                shmd_close(bus);
        return code;
}

#define N_KNOCKS 100
#define N_ASKED  60

/* Comes, says something or says nothing, in several ways, and goes. */
static void knock(unsigned i)
{
        struct message_hello hello;
        int fd = raw_connect();

        raw_fill_hello(&hello, PROTOCOL_VERSION, PROTOCOL_MIN_VERSION);
        for (unsigned n = i % 4; n; n--)
                pass(fd, &hello, i % 8 < 4 ? sizeof(hello) : 0, NULL, 0);
        must_say(raw_await_end(fd), "can't be closed");
        close(fd);
}

/* The same publisher again and again; each brings a descriptor. */
static void ask_with_descriptors(int fd)
{
        struct raw_publisher publisher;

        raw_publisher_open(&publisher, "asking");
        for (unsigned i = 0; i < N_ASKED; i++)
                raw_send(fd, &publisher.message, sizeof(publisher.message), &publisher.fd, 1);
        raw_publisher_close(&publisher);
}

static void await_answers(int fd)
{
        struct packet packet;

        for (unsigned i = 0; i < N_ASKED; i++) {
                must(raw_receive(fd, &packet));
                must_equal(packet.header.type, MESSAGE_REPLY);
                must_equal(((struct message_reply *)&packet.header)->code, i ? -EEXIST : 0);
        }
        close(fd);
}

static void linger_on(void *argument)
{
        enum { N = CLOSER_STUCK_MAX + 2 };
        int fds[N], sinks[N][2], asking;

        (void)argument;
        become_somebody();
        asking = raw_session(NULL);
        for (unsigned i = 0; i < N; i++)
                fds[i] = raw_session(NULL);
        say('c');
        hear('p');
        for (unsigned i = 0; i < N; i++)
                pass_two_lingering(fds[i], sinks[i]);
        say('p');
        for (unsigned i = 0; i < N; i++) {
                raw_await_end(fds[i]);
                close(fds[i]);
        }
        until(try_to_connect() == -EBUSY);
        must_say(shmd_error(), "can't be closed");
        say('s');
        hear('n');
        for (unsigned i = 0; i < N_KNOCKS; i++)
                knock(i);
        say('n');
        ask_with_descriptors(asking);
        say('a');
        hear('e');
        for (unsigned i = 0; i < N; i++) {
                close(sinks[i][0]);
                close(sinks[i][1]);
        }
        until(try_to_connect() == 0);
        await_answers(asking);
}

static void who_can_not_be_closed_is_let_in_no_more(void **state)
{
        struct role *role;
        unsigned before;

        if (!can_be_somebody())
                skip_because("only root can be two users");
        let_somebody_in(NULL);
        honest_open();
        role = role_start("lingering", linger_on, NULL);
        role_await(role, 'c');
        must_equal(kill(broker.pid, SIGSTOP), 0);
        role_tell(role, 'p');
        role_await(role, 'p');
        must_equal(kill(broker.pid, SIGCONT), 0);
        role_await(role, 's');
        /* It is nobody else's matter. */
        for (unsigned i = 0; i < 20; i++)
                shmd_close(broker_connect());
        broker_settle(honest.one);
        before = n_fds_of_broker();
        role_tell(role, 'n');
        role_await(role, 'n');
        until(n_fds_of_broker() <= before + N_KNOCKS / 10);
        role_await(role, 'a');
        broker_settle(honest.one);
        until(n_fds_of_broker() <= before + N_KNOCKS / 10);
        role_tell(role, 'e');
        role_finish(role);
        honest_close();
}

/* Into the wake channels of others that it is given to ring on. */
static void ring_with_descriptors(void *argument)
{
        static struct packet packet;
        struct raw_publisher publisher;
        int fd, sinks[CLOSER_STUCK_MAX];

        become_somebody();
        raw_publisher_open(&publisher, "channels");
        publisher.message.max_subscribers = CLOSER_STUCK_MAX;
        fd = raw_session(NULL);
        must_equal(raw_request(fd, &publisher.message, &publisher.fd, 1, NULL), 0);
        say('p');
        hear('r');
        for (unsigned n = 0; n < CLOSER_STUCK_MAX;) {
                must(raw_receive(fd, &packet));
                if (packet.header.type == MESSAGE_SUBSCRIBER_ADDED)
                        pass_lingering_socket(packet.fds[2], &sinks[n++], "", 1);
                packet_close(&packet);
        }
        say('f');
        until(try_to_connect() == -EBUSY);
        say('s');
        hear('e');
        for (unsigned i = 0; i < CLOSER_STUCK_MAX; i++)
                close(sinks[i]);
        raw_publisher_close(&publisher);
        close(fd);
}

/* Subscribes, and lets descriptors into its channel as kernels before 6.16 do. */
static void open_reader_with_channel(struct raw_reader *reader)
{
        static struct packet packet;

        reader->fd = raw_session(&reader->connection);
        reader->block = raw_block(reader->connection);
        must_equal(pipe2(reader->ends, O_CLOEXEC | O_NONBLOCK), 0);
        raw_fill_subscribe(&reader->message, "channels");
        raw_send(reader->fd, &reader->message, sizeof(reader->message),
                 (int[]){reader->block, reader->ends[1]}, 2);
        must(raw_receive(reader->fd, &packet));
        must_equal(packet.header.type, MESSAGE_PUBLISHER_ADDED);
        setsockopt(packet.fds[2], SOL_SOCKET, SO_PASSRIGHTS, &(int){1}, sizeof(int));
        packet_close(&packet);
}

static void what_is_put_into_a_channel_is_not_its_readers(void **state)
{
        struct raw_reader readers[CLOSER_STUCK_MAX];
        struct role *role;

        if (!can_be_somebody())
                skip_because("only root can be two users");
        let_somebody_in(NULL);
        honest_open();
        role = role_start("ringing", ring_with_descriptors, NULL);
        role_await(role, 'p');
        for (unsigned i = 0; i < CLOSER_STUCK_MAX; i++)
                open_reader_with_channel(&readers[i]);
        role_tell(role, 'r');
        role_await(role, 'f');
        for (unsigned i = 0; i < CLOSER_STUCK_MAX; i++)
                raw_reader_close(&readers[i]);
        role_await(role, 's');
        shmd_close(broker_connect());
        role_tell(role, 'e');
        role_finish(role);
        honest_close();
}

/* ---- when the broker's table is full ------------------------------------------------------ */

/* From now on it gets no descriptor; returns the limit that it had. */
static struct rlimit fill_table(void)
{
        struct rlimit limit, none;

        broker_rest();
        must_equal(prlimit(broker.pid, RLIMIT_NOFILE, NULL, &limit), 0);
        none = (struct rlimit){.rlim_cur = 3, .rlim_max = limit.rlim_max};
        must_equal(prlimit(broker.pid, RLIMIT_NOFILE, &none, NULL), 0);
        return limit;
}

static void request_is_answered_though_its_descriptors_do_not_fit(void **state)
{
        struct raw_publisher publisher;
        struct packet packet;
        struct rlimit limit;
        int fd;

        honest_open();
        fd = raw_session(NULL);
        raw_publisher_open(&publisher, "hostile");
        limit = fill_table();
        for (unsigned i = 0; i < 2; i++) {
                raw_send(fd, &publisher.message, sizeof(publisher.message), &publisher.fd, 1);
                must(raw_receive(fd, &packet));
                must_equal(packet.header.type, MESSAGE_REPLY);
                must_equal(((struct message_reply *)&packet.header)->code, i ? 0 : -EMFILE);
                honest_check(0);
                must_equal(prlimit(broker.pid, RLIMIT_NOFILE, &limit, NULL), 0);
        }
        close(fd);
        raw_publisher_close(&publisher);
        honest_close();
}

/* What the kernel can't deliver it closes, in the thread that wanted to read it. */
static void lingering_sockets_that_do_not_fit_stop_nobody(void **state)
{
        struct message_list list = {.skip = 0};
        struct message_hello hello;
        struct rlimit limit;
        int fds[3], sinks[3];

        honest_open();
        for (unsigned i = 0; i < N_ELEMENTS(fds); i++)
                fds[i] = raw_session(NULL);
        limit = fill_table();
        wire_begin(&list, MESSAGE_LIST, sizeof(list), 1);
        raw_fill_hello(&hello, PROTOCOL_VERSION, PROTOCOL_MIN_VERSION);
        /* Their last owner shall be what the broker reads, not this process. */
        must_equal(kill(broker.pid, SIGSTOP), 0);
        pass_lingering_socket(fds[0], &sinks[0], &list, sizeof(list));
        pass_lingering_socket(fds[1], &sinks[1], &list, 0);
        pass_lingering_socket(fds[2], &sinks[2], &hello, sizeof(hello));
        must_equal(kill(broker.pid, SIGCONT), 0);
        honest_check(2);
        must_equal(prlimit(broker.pid, RLIMIT_NOFILE, &limit, NULL), 0);
        for (unsigned i = 0; i < N_ELEMENTS(fds); i++) {
                close(fds[i]);
                close(sinks[i]);
        }
        honest_close();
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(what_is_no_memory_is_refused),
                system_test(memory_that_could_hurt_is_refused),
                system_test(memory_of_another_user_is_refused),
                system_test(as_many_as_the_kernel_passes_leave_none_behind),
                system_test(own_socket_inside_ends_with_the_session),
                system_test(lingering_sockets_stop_nobody),
                system_test(who_can_not_be_closed_is_let_in_no_more),
                system_test(what_is_put_into_a_channel_is_not_its_readers),
                system_test(request_is_answered_though_its_descriptors_do_not_fit),
                system_test(lingering_sockets_that_do_not_fit_stop_nobody),
        };

        harness_init(argc, argv);
        return cmocka_run_group_tests_name("hostile-descriptors", tests, NULL, NULL);
}
