/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-doorbell.c - who sleeps is rung for once, and no reader, however it behaves, can stop or
 * signal the publisher. That no wake-up is lost when both run at once is stress-doorbell.c's.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "unit.h"
#include "atomic.h"
#include "bell-rig.h"
#include "error.h"
#include "util.h"

#define QUIET 1000u /* commits after which a publisher stops to fence */

/* ---- arming ----------------------------------------------------------------------------- */

static void arming_gets_one_frame(void **unused)
{
        struct offset_frame frame;
        struct bell bell;

        bell_open(&bell, false);
        bell_attach(&bell);
        bell_commit(&bell, 640, 1);
        assert_false(bell_frame(&bell, &frame)); /* nobody sleeps */
        for (uint64_t round = 1; round < 20; round++) {
                bell_arm(&bell);
                assert_false(bell_frame(&bell, &frame));
                bell_commit(&bell, 640 * round, 10 * round);
                bell_commit(&bell, 64, 10 * round + 1);
                assert_true(bell_frame(&bell, &frame));
                assert_int_equal(frame.publisher, BELL_TAG);
                assert_int_equal(frame.offset, 10 * round);
                assert_int_equal(frame.sequence, 10 * round);
                assert_false(bell_frame(&bell, &frame));
        }
        bell_close(&bell);
}

static void offset_beyond_a_frame_is_saturated(void **unused)
{
        struct offset_frame frame;
        struct bell bell;

        bell_open(&bell, false);
        bell_attach(&bell);
        bell_arm(&bell);
        bell_commit(&bell, UINT64_C(64) << 32, 1);
        assert_true(bell_frame(&bell, &frame));
        assert_int_equal(frame.offset, UINT32_MAX);
        bell_arm(&bell);
        bell_commit(&bell, (UINT64_C(64) << 32) - 128, 2);
        assert_true(bell_frame(&bell, &frame));
        assert_int_equal(frame.offset, UINT32_MAX - 1);
        bell_close(&bell);
}

static void subscriber_that_has_disarmed_gets_no_frame(void **unused)
{
        struct bell bell;

        bell_open(&bell, false);
        bell_attach(&bell);
        bell_arm(&bell);
        bell.armed++;
        bell_commit(&bell, 0, 1);
        assert_int_equal(bell_drain(&bell), 0);
        bell_arm(&bell);
        bell_commit(&bell, 0, 2);
        assert_int_equal(bell_drain(&bell), 1);
        bell_close(&bell);
}

static void member_that_armed_before_it_was_known_is_rung_when_it_is_attached(void **unused)
{
        struct offset_frame frame;
        struct bell bell;

        bell_open(&bell, false);
        bell_arm(&bell);
        bell_commit(&bell, 0, 99);
        assert_false(bell_frame(&bell, &frame));
        bell_attach(&bell);
        assert_true(bell_frame(&bell, &frame));
        assert_int_equal(frame.sequence, 99);
        bell_commit(&bell, 0, 100);
        assert_int_equal(bell_drain(&bell), 0); /* that arming has been answered */
        bell_close(&bell);
}

static void each_member_of_a_board_is_rung_if_it_sleeps(void **unused)
{
        struct bell bell;
        struct member awake = {0}, leaving = {0};
        uint64_t awake_armed = 2, leaving_armed = 3;

        bell_open(&bell, false);
        bell_attach(&bell);
        awake = leaving = bell.member;
        awake.armed = &awake_armed;
        leaving.armed = &leaving_armed;
        leaving.is_leaving = true;
        assert_ptr_equal(doorbell_watch(&bell.doorbell, BELL_BOARD, -1), bell.member.board);
        assert_ptr_equal(doorbell_watch(&bell.doorbell, BELL_BOARD, -1), bell.member.board);
        assert_int_equal(doorbell_attach(&bell.doorbell, &awake, 1), 0);
        assert_int_equal(doorbell_attach(&bell.doorbell, &leaving, 1), 0);
        bell_arm(&bell);
        bell_commit(&bell, 0, 1);
        assert_int_equal(bell_drain(&bell), 1);
        bell_arm(&bell);
        store_release(&awake_armed, 5);
        bell_commit(&bell, 0, 2);
        assert_int_equal(bell_drain(&bell), 2);
        /* One arms anew; the other's arming has been answered, though he still sleeps. */
        store_release(&awake_armed, 7);
        doorbell_bump(&bell.bumped);
        bell_commit(&bell, 0, 3);
        assert_int_equal(bell_drain(&bell), 1);
        doorbell_detach(&bell.doorbell, &awake);
        doorbell_detach(&bell.doorbell, &leaving);
        doorbell_unwatch(bell.member.board);
        doorbell_unwatch(bell.member.board);
        bell_close(&bell);
}

static void many_members_come_and_go(void **unused)
{
        struct member members[40];
        struct bell bell;

        bell_open(&bell, false);
        bell_attach(&bell);
        for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
                members[i] = bell.member;
                members[i].answered = 0;
                assert_int_equal(doorbell_attach(&bell.doorbell, &members[i], 1), 0);
        }
        bell_arm(&bell); /* all share the armed word */
        bell_commit(&bell, 0, 1);
        assert_int_equal(bell_drain(&bell), 41);
        for (size_t i = 0; i < ARRAY_SIZE(members); i += 2)
                doorbell_detach(&bell.doorbell, &members[i]);
        bell_arm(&bell);
        bell_commit(&bell, 0, 2);
        assert_int_equal(bell_drain(&bell), 21);
        for (size_t i = 1; i < ARRAY_SIZE(members); i += 2)
                doorbell_detach(&bell.doorbell, &members[i]);
        bell_close(&bell);
}

static void what_is_no_board_is_not_watched(void **unused)
{
        struct bell bell;
        int ends[2];

        bell_open(&bell, false);
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        assert_null(doorbell_watch(&bell.doorbell, 1, ends[0]));
        assert_non_null(strstr(error_text(), "memfd"));
        doorbell_unwatch(NULL);
        close(ends[0]);
        close(ends[1]);
        bell_close(&bell);
}

/* ---- readers that are dead, full, or hostile -------------------------------------------- */

static volatile sig_atomic_t n_signals;

static void count_signal(int number)
{
        n_signals++;
}

/* Rings a pipe that nobody reads any more; with SIGPIPE in each state that it may be in. */
static void ring_the_dead(bool is_socket)
{
        struct sigaction count = {.sa_handler = count_signal}, before;
        sigset_t pipe_signal, old, now;

        n_signals = 0;
        sigemptyset(&pipe_signal);
        sigaddset(&pipe_signal, SIGPIPE);
        assert_int_equal(sigaction(SIGPIPE, &count, &before), 0);
        for (int is_blocked = 0; is_blocked < 2; is_blocked++)
                for (int is_pending = 0; is_pending <= is_blocked; is_pending++) {
                        struct bell bell;

                        bell_open(&bell, is_socket);
                        bell_attach(&bell);
                        fd_close(&bell.reading);
                        pthread_sigmask(is_blocked ? SIG_BLOCK : SIG_UNBLOCK, &pipe_signal, &old);
                        if (is_pending)
                                raise(SIGPIPE);
                        bell_arm(&bell);
                        bell_commit(&bell, 0, 1);
                        assert_int_equal(bell.channel.fd, -1); /* broken, and known to be */
                        bell_arm(&bell);
                        bell_commit(&bell, 0, 2);
                        sigpending(&now);
                        assert_int_equal(sigismember(&now, SIGPIPE), is_pending);
                        pthread_sigmask(SIG_SETMASK, NULL, &now);
                        assert_int_equal(sigismember(&now, SIGPIPE), is_blocked);
                        assert_int_equal(n_signals, 0);
                        pthread_sigmask(SIG_UNBLOCK, &pipe_signal, NULL);
                        assert_int_equal(n_signals, is_pending);
                        n_signals = 0;
                        pthread_sigmask(SIG_SETMASK, &old, NULL);
                        bell_close(&bell);
                }
        sigaction(SIGPIPE, &before, NULL);
}

static void dead_reader_raises_no_signal_and_breaks_its_channel(void **unused)
{
        ring_the_dead(false);
}

static void dead_reader_raises_no_signal_on_an_older_kernel_either(void **unused)
{
        doorbell_without_nosignal = true;
        ring_the_dead(false);
        doorbell_without_nosignal = false;
}

static void dead_reader_of_a_socket_raises_no_signal(void **unused)
{
        ring_the_dead(true);
}

/* Fills the pipe or socket to the brim. */
static void fill(int fd)
{
        static const char bytes[4096];
        int flags = fcntl(fd, F_GETFL);
        size_t size = sizeof(bytes);

        assert_int_equal(fcntl(fd, F_SETFL, flags | O_NONBLOCK), 0);
        while (size)
                if (write(fd, bytes, size) < 0)
                        size /= 2;
        assert_int_equal(fcntl(fd, F_SETFL, flags), 0);
}

/* Rings full channels; SIGALRM's default would end a test that blocks. */
static void ring_the_full(bool is_socket)
{
        struct bell bell;

        bell_open(&bell, is_socket);
        bell_attach(&bell);
        fill(bell.channel.fd);
        alarm(10);
        for (uint64_t i = 1; i < 100; i++) {
                bell_arm(&bell);
                bell_commit(&bell, 0, i);
        }
        alarm(0);
        assert_true(bell.channel.fd >= 0); /* full is not broken */
        bell_drain(&bell);
        bell_arm(&bell);
        bell_commit(&bell, 0, 100);
        assert_int_equal(bell_drain(&bell), 1);
        bell_close(&bell);
}

static void full_channel_does_not_block(void **unused)
{
        ring_the_full(false);
        ring_the_full(true);
        doorbell_without_nosignal = true;
        ring_the_full(false);
        doorbell_without_nosignal = false;
}

static void who_clears_o_nonblock_on_his_own_description_does_not_make_ours_block(void **unused)
{
        for (int mode = 0; mode < 2; mode++) {
                char path[32];
                int ends[2], hostile, received;
                struct bell bell;

                doorbell_without_nosignal = mode;
                bell_open(&bell, false);
                fd_close(&bell.reading);
                fd_close(&bell.channel.fd);
                assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
                bell.reading = ends[0];
                received = fcntl(ends[1], F_DUPFD_CLOEXEC, 0); /* shares the description */
                snprintf(path, sizeof(path), "/proc/self/fd/%d", ends[1]);
                hostile = open(path, O_WRONLY | O_CLOEXEC);
                assert_true(hostile >= 0);
                bell.channel.fd = channel_open(received, false);
                assert_true(bell.channel.fd >= 0);
                assert_true(fcntl(bell.channel.fd, F_GETFD) & FD_CLOEXEC);
                /* What others have, they may make block; and fill it. */
                assert_int_equal(fcntl(ends[1], F_SETFL, 0), 0);
                assert_int_equal(fcntl(hostile, F_SETFL, 0), 0);
                assert_true(fcntl(bell.channel.fd, F_GETFL) & O_NONBLOCK);
                fill(hostile);
                bell_attach(&bell);
                alarm(10);
                for (uint64_t i = 1; i < 10; i++) {
                        bell_arm(&bell);
                        bell_commit(&bell, 0, i);
                }
                alarm(0);
                close(ends[1]);
                close(hostile);
                bell_close(&bell);
        }
        doorbell_without_nosignal = false;
}

static void channel_that_can_not_be_opened_is_none(void **unused)
{
        int null = open("/dev/null", O_RDONLY | O_CLOEXEC), copy = fcntl(null, F_DUPFD_CLOEXEC, 0);
        struct bell bell;

        assert_int_equal(channel_open(-1, false), -1);
        assert_true(copy >= 0);
        close(null);
        /* A publisher goes on without it. */
        bell_open(&bell, false);
        fd_close(&bell.channel.fd);
        bell_attach(&bell);
        bell_arm(&bell);
        bell_commit(&bell, 0, 1);
        bell_close(&bell);
        close(copy);
}

/* ---- fences ----------------------------------------------------------------------------- */

static void commit_quietly(struct bell *bell, unsigned n)
{
        while (n--)
                bell_commit(bell, 0, 1);
}

static void publisher_stops_to_fence_after_quiet_commits_and_starts_again(void **unused)
{
        struct bell bell;

        bell_open(&bell, false);
        bell_attach(&bell);
        doorbell_allow_asym(&bell.doorbell, true, 0);
        for (int round = 0; round < 3; round++) {
                commit_quietly(&bell, QUIET - 1);
                assert_int_equal(bell.fence_mode, FENCE_MODE_FENCE);
                commit_quietly(&bell, 1);
                assert_int_equal(bell.fence_mode, FENCE_MODE_ASYM);
                commit_quietly(&bell, QUIET);
                assert_int_equal(bell.fence_mode, FENCE_MODE_ASYM);
                bell_arm(&bell);
                bell_commit(&bell, 0, 2);
                assert_int_equal(bell.fence_mode, FENCE_MODE_FENCE);
                assert_int_equal(bell_drain(&bell), 1);
        }
        /* A board that moves now and then keeps the fences. */
        for (int round = 0; round < 3; round++) {
                commit_quietly(&bell, QUIET - 1);
                assert_int_equal(bell.fence_mode, FENCE_MODE_FENCE);
                bell_arm(&bell);
                commit_quietly(&bell, 1);
        }
        assert_int_equal(bell.fence_mode, FENCE_MODE_FENCE);
        assert_int_equal(bell_drain(&bell), 3);
        bell_close(&bell);
}

static void publisher_that_may_not_leave_fences_out_does_not(void **unused)
{
        struct bell bell;

        bell_open(&bell, false);
        bell_attach(&bell);
        commit_quietly(&bell, 3 * QUIET);
        assert_int_equal(bell.fence_mode, FENCE_MODE_FENCE);
        doorbell_allow_asym(&bell.doorbell, true, 0);
        commit_quietly(&bell, QUIET);
        assert_int_equal(bell.fence_mode, FENCE_MODE_ASYM);
        /* Who could only arm with a fence of ours may have armed already. */
        bell_arm(&bell);
        doorbell_allow_asym(&bell.doorbell, false, 7);
        assert_int_equal(bell.fence_mode, FENCE_MODE_FENCE);
        assert_int_equal(bell_drain(&bell), 1);
        commit_quietly(&bell, 3 * QUIET);
        assert_int_equal(bell.fence_mode, FENCE_MODE_FENCE);
        bell_close(&bell);
}

static void bumping_without_boards_is_allowed(void **unused)
{
        struct list none;

        list_init(&none);
        doorbell_bump(&none);
        if (doorbell_can_membarrier())
                doorbell_membarrier();
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(arming_gets_one_frame),
                cmocka_unit_test(offset_beyond_a_frame_is_saturated),
                cmocka_unit_test(subscriber_that_has_disarmed_gets_no_frame),
                cmocka_unit_test(member_that_armed_before_it_was_known_is_rung_when_it_is_attached),
                cmocka_unit_test(each_member_of_a_board_is_rung_if_it_sleeps),
                cmocka_unit_test(many_members_come_and_go),
                cmocka_unit_test(what_is_no_board_is_not_watched),
                cmocka_unit_test(dead_reader_raises_no_signal_and_breaks_its_channel),
                cmocka_unit_test(dead_reader_raises_no_signal_on_an_older_kernel_either),
                cmocka_unit_test(dead_reader_of_a_socket_raises_no_signal),
                cmocka_unit_test(full_channel_does_not_block),
                cmocka_unit_test(
                        who_clears_o_nonblock_on_his_own_description_does_not_make_ours_block),
                cmocka_unit_test(channel_that_can_not_be_opened_is_none),
                cmocka_unit_test(publisher_stops_to_fence_after_quiet_commits_and_starts_again),
                cmocka_unit_test(publisher_that_may_not_leave_fences_out_does_not),
                cmocka_unit_test(bumping_without_boards_is_allowed),
        };

        return cmocka_run_group_tests_name("doorbell", tests, NULL, NULL);
}
