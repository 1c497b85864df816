/* SPDX-License-Identifier: Apache-2.0 */
/* comeback.c - looks at connections, restarts brokers, and takes membarrier(2) from a process. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "comeback.h"

struct shmd_connection_state state_of(struct shmd *bus)
{
        struct shmd_connection_state state;

        must_equal(shmd_connection_status(bus, &state), 0);
        return state;
}

struct shmd_subscriber_state status_of(struct shmd_subscriber *subscriber)
{
        struct shmd_subscriber_state status;

        must_equal(shmd_subscriber_status(subscriber, &status), 0);
        return status;
}

uint32_t n_subscribers(struct shmd_publisher *publisher)
{
        struct shmd_publisher_state status;

        must_equal(shmd_publisher_status(publisher, &status), 0);
        return status.subscribers;
}

void until_same(struct shmd *bus, const struct snapshot *before, const char *who)
{
        struct snapshot is;
        bool are_same = false;

        for (unsigned i = 0; i < 100 && !are_same; i++) {
                must(shmd_wait(bus, 20 * (int64_t)MS) >= 0);
                snapshot_take(&is, 0);
                are_same = snapshot_equal(before, &is);
        }
        if (!are_same)
                snapshot_explain(who, before, &is);
        must_equal(is.n_fds, before->n_fds);
        must_equal(is.n_mappings, before->n_mappings);
}

void restart_broker(void)
{
        broker_kill();
        broker_spawn(NULL);
}

void until_settled(struct shmd *one, struct shmd *other)
{
        until(state_of(one).connected && (!other || state_of(other).connected));
}

void forbid_membarrier(void)
{
        struct sock_filter filter[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = {.len = N_ELEMENTS(filter), .filter = filter};

        must_equal(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
                print_message("no filters here: with membarrier\n");
}
