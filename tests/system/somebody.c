/* SPDX-License-Identifier: Apache-2.0 */
/* somebody.c - becomes another user, and lets him in. */
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"
#include "somebody.h"

bool can_be_somebody(void)
{
        pid_t pid;

        if (geteuid() != 0)
                return false;
        pid = child_fork();
        if (pid == 0)
                _exit(setgid(SOMEBODY) < 0 || setuid(SOMEBODY) < 0);
        return child_finish(pid) == 0;
}

void become_somebody(void)
{
        setgroups(0, NULL);
        must_equal(setgid(SOMEBODY), 0);
        must_equal(setuid(SOMEBODY), 0);
        /* Which forgets these. */
        prctl(PR_SET_DUMPABLE, 1);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
}

void open_directory(void)
{
        char path[80];

        snprintf(path, sizeof(path), "%s/shmd", broker.directory);
        must_equal(chmod(broker.directory, 0711), 0);
        must_equal(chmod(path, 0711), 0);
}

void let_somebody_in(const char *const *arguments)
{
        const char *all[10] = {"--allow-uid", SOMEBODY_TEXT};
        struct stat status;

        for (size_t n = 2; arguments && *arguments && n < N_ELEMENTS(all) - 1; n++)
                all[n] = *arguments++;
        if (broker.pid)
                broker_terminate(SIGTERM);
        open_directory();
        broker_spawn(all);
        must_equal(stat(broker.socket, &status), 0);
        must_equal(status.st_mode & 07777, 0666);
}
