/* SPDX-License-Identifier: Apache-2.0 */
/* test-socket.c - packets arrive whole, with their descriptors, and nothing leaks. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "unit.h"
#include "socket.h"
#include "util.h"

static struct packet packet; /* big: not on the stack */

static unsigned count_fds(void)
{
        DIR *directory = opendir("/proc/self/fd");
        unsigned n = 0;

        assert_non_null(directory);
        while (readdir(directory))
                n++;
        closedir(directory);
        return n;
}

static void make_pair(int ends[2])
{
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
}

static void close_pair(int ends[2])
{
        fd_close(&ends[0]);
        fd_close(&ends[1]);
}

static bool is_same_file(int one, int other)
{
        struct stat a, b;

        assert_int_equal(fstat(one, &a), 0);
        assert_int_equal(fstat(other, &b), 0);
        return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static void message_arrives_with_its_descriptors(void **unused)
{
        unsigned before = count_fds();
        int ends[2], pipe_ends[2], taken;

        make_pair(ends);
        assert_int_equal(pipe2(pipe_ends, O_CLOEXEC), 0);
        assert_int_equal(socket_send(ends[0], "message", 8, pipe_ends, 2), 0);
        assert_int_equal(socket_send(ends[0], "more", 5, NULL, 0), 0);
        assert_int_equal(socket_receive(ends[1], &packet), 1);
        assert_int_equal(packet.size, 8);
        assert_memory_equal(packet.bytes, "message", 8);
        assert_false(packet.truncated || packet.fds_truncated);
        assert_int_equal(packet.n_fds, 2);
        assert_true(fcntl(packet.fds[0], F_GETFD) & FD_CLOEXEC);
        taken = packet_take_fd(&packet, 1);
        assert_true(is_same_file(taken, pipe_ends[1]));
        assert_int_equal(packet_take_fd(&packet, 1), -1); /* taken already */
        assert_int_equal(packet_take_fd(&packet, 2), -1);
        packet_close(&packet);
        packet_close(&packet);
        assert_int_equal(fcntl(taken, F_GETFD), FD_CLOEXEC); /* is ours now */
        close(taken);
        assert_int_equal(socket_receive(ends[1], &packet), 1);
        assert_int_equal(packet.size, 5);
        assert_int_equal(packet.n_fds, 0);
        close_pair(pipe_ends);
        close_pair(ends);
        assert_int_equal(count_fds(), before);
}

static void nothing_there_and_the_end_are_told_apart(void **unused)
{
        int ends[2];

        make_pair(ends);
        packet.n_fds = 3; /* of another packet, taken out long ago */
        assert_int_equal(socket_receive(ends[1], &packet), -EAGAIN); /* and does not block */
        assert_int_equal(packet.n_fds, 0);
        assert_int_equal(socket_send(ends[0], "last", 4, NULL, 0), 0);
        fd_close(&ends[0]);
        assert_int_equal(socket_receive(ends[1], &packet), 1);
        assert_int_equal(socket_receive(ends[1], &packet), 0);
        assert_int_equal(socket_receive(-1, &packet), -EBADF);
        close_pair(ends);
}

static void peer_that_has_gone_is_an_error_and_no_signal(void **unused)
{
        int ends[2];

        make_pair(ends);
        fd_close(&ends[1]);
        assert_int_equal(socket_send(ends[0], "message", 8, NULL, 0), -EPIPE);
        close_pair(ends);
}

static void full_queue_does_not_block(void **unused)
{
        char message[4096] = {0};
        int ends[2], code, n = 0;

        make_pair(ends);
        do {
                code = socket_send(ends[0], message, sizeof(message), NULL, 0);
        } while (code == 0 && ++n < 100000);
        assert_int_equal(code, -EAGAIN);
        while (n--)
                assert_int_equal(socket_receive(ends[1], &packet), 1);
        assert_int_equal(socket_receive(ends[1], &packet), -EAGAIN);
        close_pair(ends);
}

static void longest_message_fits_and_a_longer_one_says_so(void **unused)
{
        static unsigned char message[PROTOCOL_MESSAGE_MAX + 1];
        int ends[2];

        make_pair(ends);
        assert_int_equal(socket_send(ends[0], message, PROTOCOL_MESSAGE_MAX, NULL, 0), 0);
        assert_int_equal(socket_send(ends[0], message, PROTOCOL_MESSAGE_MAX + 1, NULL, 0), 0);
        assert_int_equal(socket_receive(ends[1], &packet), 1);
        assert_int_equal(packet.size, PROTOCOL_MESSAGE_MAX);
        assert_false(packet.truncated);
        assert_int_equal(socket_receive(ends[1], &packet), 1);
        assert_true(packet.truncated);
        close_pair(ends);
}

/* Sends with more descriptors than socket_send() would. */
static void send_many(int fd, unsigned n)
{
        union {
                struct cmsghdr header;
                char bytes[CMSG_SPACE(PACKET_FDS_MAX * sizeof(int))];
        } control;
        char byte = 0;
        struct iovec vector = {.iov_base = &byte, .iov_len = 1};
        struct msghdr header = {.msg_iov = &vector,
                                .msg_iovlen = 1,
                                .msg_control = &control,
                                .msg_controllen = CMSG_SPACE(n * sizeof(int))};

        memset(&control, 0, sizeof(control));
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(n * sizeof(int));
        for (unsigned i = 0; i < n; i++)
                memcpy(CMSG_DATA(&control.header) + i * sizeof(int), &fd, sizeof(int));
        assert_int_equal(sendmsg(fd, &header, 0), 1);
}

static void descriptors_without_number_are_all_closed_again(void **unused)
{
        unsigned before = count_fds();
        int ends[2];

        make_pair(ends);
        assert_int_equal(socket_send(ends[0], "m", 1, ends, PROTOCOL_FDS_MAX + 1), -EINVAL);
        send_many(ends[0], PACKET_FDS_MAX);
        assert_int_equal(socket_receive(ends[1], &packet), 1);
        assert_int_equal(packet.n_fds, PACKET_FDS_MAX);
        packet_close(&packet);
        close_pair(ends);
        assert_int_equal(count_fds(), before);
}

static void descriptors_that_find_no_room_are_reported_as_lost(void **unused)
{
        struct rlimit limit, small;
        unsigned before;
        int ends[2], fds[3];

        make_pair(ends);
        before = count_fds();
        fds[0] = fds[1] = fds[2] = ends[0];
        assert_int_equal(socket_send(ends[0], "m", 1, fds, 3), 0);
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
        small = limit;
        small.rlim_cur = (rlim_t)ends[1] + 2; /* room for one, if all below are taken */
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &small), 0);
        assert_int_equal(fcntl(ends[0], F_DUPFD, (int)small.rlim_cur), -1);
        if (errno != EINVAL) {
                print_message("the kernel has not been told of the limit (valgrind)\n");
                assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
                close_pair(ends);
                skip();
        }
        assert_int_equal(socket_receive(ends[1], &packet), 1);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        assert_true(packet.fds_truncated);
        assert_true(packet.n_fds < 3);
        packet_close(&packet);
        assert_int_equal(count_fds(), before);
        close_pair(ends);
}

/* And of more than there should be not all are taken. */
static void peeked_message_stays_until_it_is_dropped(void **unused)
{
        unsigned before = count_fds();
        int ends[2];

        make_pair(ends);
        send_many(ends[0], PACKET_FDS_MAX);
        assert_int_equal(socket_send(ends[0], "two", 3, ends, 2), 0);
        for (unsigned i = 0; i < 2; i++) {
                assert_int_equal(socket_peek(ends[1], &packet), 1);
                assert_int_equal(packet.size, 1);
                assert_int_equal(packet.n_fds, PROTOCOL_FDS_MAX + 1);
                assert_true(packet.fds_truncated);
                packet_close(&packet);
        }
        socket_drop(ends[1]);
        assert_int_equal(socket_peek(ends[1], &packet), 1);
        assert_memory_equal(packet.bytes, "two", 3);
        assert_int_equal(packet.n_fds, 2);
        assert_false(packet.fds_truncated);
        socket_drop(ends[1]);
        /* They live on without the packet. */
        assert_true(is_same_file(packet.fds[1], ends[1]));
        packet_close(&packet);
        assert_int_equal(socket_peek(ends[1], &packet), -EAGAIN);
        close_pair(ends);
        assert_int_equal(count_fds(), before);
}

static void drained_socket_has_nothing_left_but_descriptors(void **unused)
{
        int ends[2];

        for (unsigned with_fds = 0; with_fds < 4; with_fds++) {
                make_pair(ends);
                assert_int_equal(socket_send(ends[0], "one", 3, NULL, 0), 0);
                assert_int_equal(socket_send(ends[0], "", 0, NULL, 0), 0);
                if (with_fds & 1)
                        assert_int_equal(socket_send(ends[0], "", with_fds >> 1, ends, 1), 0);
                assert_int_equal(socket_drain(ends[1]), !(with_fds & 1));
                assert_int_equal(socket_send(ends[0], "more", 4, NULL, 0), -EPIPE);
                /* What was found is there still. */
                packet.n_fds = 0;
                if (with_fds & 1)
                        assert_in_range(socket_receive(ends[1], &packet), 0, 1);
                assert_int_equal(packet.n_fds, with_fds & 1);
                packet_close(&packet);
                /* A peer that has gone, which is an error once, is no other. */
                assert_int_equal(socket_send(ends[1], "unread", 6, NULL, 0), 0);
                fd_close(&ends[0]);
                assert_int_equal(socket_drain(ends[1]), true);
                close(ends[1]);
        }
}

static void connecting_says_why_it_fails(void **unused)
{
        char directory[] = "/tmp/shmd-test-XXXXXX", path[64], longest[200];
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), connected;

        assert_non_null(mkdtemp(directory));
        snprintf(path, sizeof(path), "%s/control", directory);
        snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        memset(longest, 'x', sizeof(longest));
        longest[sizeof(longest) - 1] = '\0';
        assert_int_equal(socket_connect(""), -ENOENT);
        assert_int_equal(socket_connect(path), -ENOENT);
        assert_int_equal(socket_connect(longest), -ENAMETOOLONG);
        longest[sizeof(address.sun_path)] = '\0';
        assert_int_equal(socket_connect(longest), -ENAMETOOLONG); /* no room for the NUL */
        assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
        assert_int_equal(socket_connect(path), -ECONNREFUSED);
        assert_int_equal(listen(listener, 0), 0);
        connected = socket_connect(path);
        assert_true(connected >= 0);
        assert_true(fcntl(connected, F_GETFL) & O_NONBLOCK);
        assert_true(fcntl(connected, F_GETFD) & FD_CLOEXEC);
        close(connected);
        close(listener);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(rmdir(directory), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(message_arrives_with_its_descriptors),
                cmocka_unit_test(nothing_there_and_the_end_are_told_apart),
                cmocka_unit_test(peer_that_has_gone_is_an_error_and_no_signal),
                cmocka_unit_test(full_queue_does_not_block),
                cmocka_unit_test(longest_message_fits_and_a_longer_one_says_so),
                cmocka_unit_test(descriptors_without_number_are_all_closed_again),
                cmocka_unit_test(descriptors_that_find_no_room_are_reported_as_lost),
                cmocka_unit_test(peeked_message_stays_until_it_is_dropped),
                cmocka_unit_test(drained_socket_has_nothing_left_but_descriptors),
                cmocka_unit_test(connecting_says_why_it_fails),
        };

        return cmocka_run_group_tests_name("socket", tests, NULL, NULL);
}
