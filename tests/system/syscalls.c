/* SPDX-License-Identifier: Apache-2.0 */
/*
 * syscalls.c - between a loan and a take with nobody asleep there is no system call: publisher and
 * subscriber live under a filter that kills whoever makes one, and leave what they have found in
 * shared memory.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "harness.h"
#include "stamped.h"

#define SERVICE   "syscalls/samples"
#define N_SAMPLES UINT64_C(1000000)

#ifndef SECCOMP_RET_KILL_PROCESS
#define SECCOMP_RET_KILL_PROCESS 0x80000000U
#endif

struct table {
        uint64_t id; /* of the publisher */
        uint64_t taken, lost, whole, status_taken, status_lost;
        _Alignas(128) uint64_t seen; /* by the subscriber */
        _Alignas(128) uint64_t is_read;
};
static struct table *table;
static unsigned patience; /* looks */

static uint64_t look(const uint64_t *word)
{
        return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static void store(uint64_t *word, uint64_t value)
{
        __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/* From here on, exit_group() is all that is left. */
static void forbid_system_calls(void)
{
        struct sock_filter filter[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        };
        struct sock_fprog program = {.len = N_ELEMENTS(filter), .filter = filter};

        must_equal(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0)
                return;
        /* No filters in this kernel. */
        syscall(SYS_exit_group, 2);
}

static void publish_without_system_calls(void *argument)
{
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher;
        struct shmd_publisher_state status;
        void *data;

        must_equal(shmd_advertise(&publisher, bus, SERVICE, stamped_type, NULL), 0);
        must_equal(shmd_publisher_status(publisher, &status), 0);
        table->id = status.id;
        say('r');
        hear('g');
        until(shmd_publisher_status(publisher, &status) == 0 && status.subscribers == 1);
        broker_settle(bus);
        /* What the broker has said meanwhile is taken in. */
        must_equal(shmd_publisher_status(publisher, &status), 0);
        forbid_system_calls();
        for (uint64_t n = 1; n <= N_SAMPLES; n++) {
                /* With patience for one that runs, not for one that waits for a CPU. */
                for (unsigned i = 0; i < patience && look(&table->seen) != n - 1; i++)
                        ;
                if (shmd_loan(publisher, &data) < 0)
                        syscall(SYS_exit_group, 1);
                stamped_fill(data, table->id, n);
                if (shmd_publish(publisher, data) < 0)
                        syscall(SYS_exit_group, 1);
        }
        /* Whoever goes first makes the broker tell the other. */
        while (!look(&table->is_read))
                ;
        syscall(SYS_exit_group, 0);
}

static void take_without_system_calls(void *argument)
{
        struct shmd *bus = broker_connect();
        struct shmd_subscriber *subscriber;
        struct shmd_subscriber_state status;
        struct shmd_sample sample;
        uint64_t last = 0;

        must_equal(shmd_subscribe(&subscriber, bus, SERVICE, stamped_type, NULL), 0);
        broker_settle(bus);
        must_equal(shmd_subscriber_status(subscriber, &status), 0);
        say('r');
        hear('g');
        forbid_system_calls();
        while (last != N_SAMPLES) {
                int code = shmd_take(subscriber, &sample);

                if (code < 0)
                        syscall(SYS_exit_group, 1);
                if (!code)
                        continue;
                table->whole += stamped_is_whole(sample.data) &&
                                sample.sequence == last + sample.lost + 1 &&
                                ((const struct stamped *)sample.data)->number == sample.sequence;
                table->taken++;
                table->lost += sample.lost;
                last = sample.sequence;
                if (shmd_release(subscriber, &sample) < 0)
                        syscall(SYS_exit_group, 1);
                store(&table->seen, last);
        }
        if (shmd_subscriber_status(subscriber, &status) < 0)
                syscall(SYS_exit_group, 1);
        table->status_taken = status.taken;
        table->status_lost = status.lost;
        store(&table->is_read, 1);
        syscall(SYS_exit_group, 0);
}

static void makes_a_system_call(void *argument)
{
        forbid_system_calls();
        getppid();
        syscall(SYS_exit_group, 0);
}

static bool filters_work(void)
{
        pid_t pid = child_fork();
        int status;

        if (pid == 0)
                makes_a_system_call(NULL);
        status = child_finish(pid);
        /* The filter kills, or there is none: it can't be that it lets pass. */
        must(status == -SIGSYS || status == 2);
        return status == -SIGSYS;
}

static void exchange(void)
{
        struct role *publisher, *subscriber;

        if (!filters_work())
                skip_because("this kernel has no filters for system calls");
        table = shared_memory(sizeof(*table));
        publisher = role_start("publisher", publish_without_system_calls, NULL);
        role_await(publisher, 'r');
        subscriber = role_start("subscriber", take_without_system_calls, NULL);
        role_await(subscriber, 'r');
        role_tell(subscriber, 'g');
        role_tell(publisher, 'g');
        role_finish(publisher);
        role_finish(subscriber);
        must_equal(table->is_read, 1);
        must_equal(table->taken + table->lost, N_SAMPLES);
        must_equal(table->whole, table->taken);
        must_equal(table->status_taken, table->taken);
        must_equal(table->status_lost, table->lost);
}

static void stream_of_a_million_samples_needs_no_system_call(void **state)
{
        patience = 0;
        exchange();
}

static void million_samples_in_turns_need_no_system_call(void **state)
{
        if (n_cpus() < 2)
                skip_because("one CPU: who waits for the other without a system call, waits long");
        patience = 1000;
        exchange();
        print_message("%llu taken, %llu lost\n", (unsigned long long)table->taken,
                      (unsigned long long)table->lost);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(stream_of_a_million_samples_needs_no_system_call),
                system_test(million_samples_in_turns_need_no_system_call),
        };

        harness_init(argc, argv);
        return cmocka_run_group_tests_name("system-syscalls", tests, NULL, NULL);
}
