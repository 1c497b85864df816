/* SPDX-License-Identifier: Apache-2.0 */
/* death-point.c - dies or stops at the point that is planned. */
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "death-point.h"

volatile struct death_plan *death_plan;

__attribute__((constructor)) static void find_plan(void)
{
        const char *fd = getenv("SHMD_DEATH_PLAN");
        void *plan;

        if (!fd)
                return;
        plan = mmap(NULL, sizeof(*death_plan), PROT_READ | PROT_WRITE, MAP_SHARED, atoi(fd), 0);
        if (plan == MAP_FAILED)
                abort();
        death_plan = plan;
}

void death_point(uint32_t kind)
{
        volatile struct death_plan *plan = death_plan;

        if (!plan || !(plan->kinds & kind))
                return;
        if (++plan->passed == plan->at)
                raise(plan->signal);
}

ssize_t death_sendmsg(int fd, const struct msghdr *message, int flags)
{
        ssize_t sent = (sendmsg)(fd, message, flags);

        if (sent >= 0)
                death_point(DEATH_SEND);
        return sent;
}
