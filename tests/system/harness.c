/* SPDX-License-Identifier: Apache-2.0 */
/*
 * harness.c - the harness notices what it is there to notice: leaks, and roles that fail.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"

static struct snapshot before, after;

static bool differs(void)
{
        snapshot_take(&after, 0);
        return !snapshot_equal(&before, &after);
}

static void leaks_of_the_test_are_noticed(void **state)
{
        int fd, memfd;
        void *page;

        snapshot_take(&before, 0);
        must(!differs());
        fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        must(fd >= 0);
        must(differs());
        close(fd);
        must(!differs());
        memfd = memfd_create("shmd:leak", MFD_CLOEXEC);
        must(memfd >= 0);
        must(differs());
        must_equal(after.n_memfds, before.n_memfds + 1);
        must_equal(ftruncate(memfd, 4096), 0);
        page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, memfd, 0);
        must(page != MAP_FAILED);
        close(memfd);
        must(differs());
        must_equal(after.n_fds, before.n_fds);
        must_equal(after.n_mappings, before.n_mappings + 1);
        munmap(page, 4096);
        must(!differs());
}

static void leaks_of_the_broker_are_noticed(void **state)
{
        struct shmd *bus;

        snapshot_take(&after, broker.pid);
        must(snapshot_equal(&after, &broker.idle));
        bus = broker_connect();
        broker_rest();
        snapshot_take(&after, broker.pid);
        must(after.n_fds > broker.idle.n_fds);
        must(after.n_mappings > broker.idle.n_mappings);
        shmd_close(bus);
}

static void leave_a_descriptor(void *argument)
{
        must(open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0);
}

static void make_a_false_claim(void *argument)
{
        must(argument);
}

static void wait_for_a_word(void *argument)
{
        hear('a');
        say('b');
        hear('c');
}

/* The ways of a role that go wrong are played in a child, whose standard error nobody needs. */
static int outcome_of(void (*run)(void *argument))
{
        pid_t pid = child_fork();

        if (pid == 0) {
                must(freopen("/dev/null", "w", stderr));
                role_finish(role_start("role", run, NULL));
                _exit(0);
        }
        return child_finish(pid);
}

static void role_that_fails_or_leaks_fails_its_test(void **state)
{
        must_equal(outcome_of(make_a_false_claim), 1);
        must_equal(outcome_of(leave_a_descriptor), 1);
}

static void roles_and_test_hear_each_other(void **state)
{
        struct role *role = role_start("listener", wait_for_a_word, NULL);

        role_tell(role, 'a');
        role_await(role, 'b');
        role_stop(role);
        role_tell(role, 'c');
        role_continue(role);
        role_finish(role);
        role = role_start("listener", wait_for_a_word, NULL);
        until(process_is_asleep(role->pid));
        role_kill(role);
        must_equal(role->pid, 0);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(leaks_of_the_test_are_noticed),
                system_test(leaks_of_the_broker_are_noticed),
                system_test(role_that_fails_or_leaks_fails_its_test),
                system_test(roles_and_test_hear_each_other),
        };

        harness_init(argc, argv);
        return cmocka_run_group_tests_name("system-harness", tests, NULL, NULL);
}
