/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ends.c - two processes that take turns: fork, meet, order, obey.
 */
#include "ends.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "clock.h"
#include "process.h"

/* Looks at the ticket between two yields of a follower that waits for orders. */
enum { YIELD_AFTER = 1000 };

struct side {
        struct ends *ends;
        int (*run)(struct ends *ends, const void *user);
        const void *user;
};

static int side_run(void *argument)
{
        const struct side *side = argument;

        return side->run(side->ends, side->user) < 0 ? 1 : 0;
}

static void wait_a_little(uint32_t *looks)
{
        clock_pause();
        if (++*looks % YIELD_AFTER == 0)
                sched_yield();
}

void ends_meet(struct ends *ends)
{
        uint32_t looks = 0;

        uint32_t both = (atomic_fetch_add(&ends->arrived, 1) / 2 + 1) * 2;

        while (atomic_load(&ends->arrived) < both)
                wait_a_little(&looks);
}

void ends_order(struct ends *ends, enum order order, uint64_t first, uint64_t count)
{
        ends->order = order;
        ends->first = first;
        ends->count = count;
        atomic_fetch_add(&ends->ticket, 1);
}

bool ends_obey(struct ends *ends, struct work *work)
{
        do {
                uint32_t looks = 0;

                while (atomic_load_explicit(&ends->ticket, memory_order_acquire) == work->ticket)
                        wait_a_little(&looks);
                work->ticket++;
                work->order = ends->order;
                work->first = ends->first;
                work->count = ends->count;
                if (work->order == ORDER_FLOOR)
                        floor_pong(&ends->floor, work->first, work->count, ends->pause);
        } while (work->order == ORDER_FLOOR);
        return work->order != ORDER_QUIT;
}

static void why(const struct ends *ends, int result, int killed_by, char *reason, uint32_t size)
{
        const char *text = ends->reasons[0][0] ? ends->reasons[0] : ends->reasons[1];

        if (result == -ETIMEDOUT)
                text = "timed out";
        else if (result == -EINTR)
                text = "interrupted";
        else if (!text[0])
                text = "one of the two processes died";
        if (killed_by)
                snprintf(reason, size, "one of the two processes died: %s", strsignal(killed_by));
        else
                snprintf(reason, size, "%s", text);
}

int ends_run(const struct ends_job *job, struct figures *figures, struct figures *more,
             char *reason, uint32_t reason_size)
{
        struct ends *ends = mmap(NULL, sizeof(*ends), PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        struct side lead = {ends, job->lead, job->user};
        struct side follow = {ends, job->follow, job->user};
        pid_t pids[2];
        int result, killed_by = 0;

        if (ends == MAP_FAILED) {
                snprintf(reason, reason_size, "mmap: %s", strerror(errno));
                return -ENOMEM;
        }
        figures_init(&ends->figures);
        figures_init(&ends->more);
        pids[0] = process_fork(job->cpus[0], side_run, &lead);
        pids[1] = pids[0] < 0 ? pids[0] : process_fork(job->cpus[1], side_run, &follow);
        result = pids[1];
        if (pids[0] > 0)
                result = process_wait(pids, pids[1] > 0 ? 2 : 1, pids[1] > 0 ? job->timeout_ns : 0,
                                      &killed_by);
        if (result < 0)
                why(ends, result, killed_by, reason, reason_size);
        *figures = ends->figures;
        if (more)
                *more = ends->more;
        munmap(ends, sizeof(*ends));
        return result;
}
