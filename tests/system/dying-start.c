/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dying-start.c - the broker dies after any system call of its start, and of its end: what it
 * leaves in the file system is at most its socket, and is in nobody's way.
 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/ptrace.h>

#include "victim.h"

/* ---- a broker that stops at each of its system calls -------------------------------------- */

/* False: this process may not trace. */
static bool start_traced(pid_t *pid)
{
        int status;

        *pid = child_fork();
        if (*pid == 0) {
                int null = open("/dev/null", O_RDWR);

                dup2(null, STDOUT_FILENO);
                dup2(null, STDERR_FILENO);
                if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
                        _exit(1);
                execl(SHMD_PROGRAM, SHMD_PROGRAM, "--socket", broker.socket, NULL);
                _exit(127);
        }
        must_equal(waitpid(*pid, &status, 0), *pid);
        if (!WIFSTOPPED(status))
                return false;
        must_equal(ptrace(PTRACE_SETOPTIONS, *pid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL),
                   0);
        return true;
}

/* Lets it go on to the next entry into a system call, or return from one. The call's number; -1: a
 * return; -2: it has ended. */
static long next_call(pid_t pid)
{
        struct ptrace_syscall_info info;
        int status, signal = 0;

        for (;;) {
                must_equal(ptrace(PTRACE_SYSCALL, pid, NULL, (void *)(intptr_t)signal), 0);
                must_equal(waitpid(pid, &status, 0), pid);
                if (!WIFSTOPPED(status))
                        return -2;
                if (WSTOPSIG(status) == (SIGTRAP | 0x80))
                        break;
                signal = WSTOPSIG(status); /* for it */
        }
        must(ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *)sizeof(info), &info) > 0);
        return info.op == PTRACE_SYSCALL_INFO_ENTRY ? (long)info.entry.nr : -1;
}

static bool makes_directory(long call)
{
#ifdef SYS_mkdir
        if (call == SYS_mkdir)
                return true;
#endif
        return call == SYS_mkdirat;
}

static bool waits_for_clients(long call)
{
#ifdef SYS_epoll_wait
        if (call == SYS_epoll_wait)
                return true;
#endif
        return call == SYS_epoll_pwait;
}

static void kill_traced(pid_t pid)
{
        kill(pid, SIGKILL);
        must_equal(child_finish(pid), -SIGKILL);
}

/* Lets it return from n system calls. False: it has ended before that, or (if it is not on its way
 * to the end) waits for clients. */
static bool let_return(pid_t pid, unsigned n, bool is_ending)
{
        while (n) {
                long call = next_call(pid);

                if (call == -2 || (!is_ending && waits_for_clients(call)))
                        return false;
                n -= call == -1;
        }
        return true;
}

/* Up to the first thing that it does in the file system. */
static void let_begin(pid_t pid)
{
        long call;

        do
                call = next_call(pid);
        while (!makes_directory(call) && call != -2);
        must(call != -2);
}

/* ---- what is left ------------------------------------------------------------------------ */

/* Nothing but a socket with the right name, if that; and a new broker serves there. */
static void start_after_it(void)
{
        char path[96];
        struct dirent *entry;
        DIR *directory;

        snprintf(path, sizeof(path), "%s/shmd", broker.directory);
        directory = opendir(path);
        while (directory && (entry = readdir(directory)))
                must(entry->d_name[0] == '.' || !strcmp(entry->d_name, "control"));
        if (directory)
                closedir(directory);
        broker_spawn(NULL);
}

/* Ends the broker, and its directory with it, or leaves both as a dead broker does. */
static void end_broker(bool well)
{
        char path[96];

        if (!well) {
                broker_kill();
                return;
        }
        broker_terminate(SIGTERM);
        snprintf(path, sizeof(path), "%s/shmd", broker.directory);
        must_equal(rmdir(path), 0);
}

static void broker_that_dies_while_it_starts_is_in_nobodys_way(void **state)
{
        for (unsigned clean = 0; clean < 2; clean++) {
                bool is_there = true;

                for (unsigned n = 1; is_there; n++) {
                        pid_t pid;

                        end_broker(clean);
                        if (!start_traced(&pid))
                                skip_because("this process may not trace others");
                        let_begin(pid);
                        is_there = let_return(pid, n, false);
                        kill_traced(pid);
                        start_after_it();
                        injected(1);
                }
        }
        injections_print();
}

static void broker_that_dies_while_it_ends_is_in_nobodys_way(void **state)
{
        bool is_there = true;

        for (unsigned n = 1; is_there; n++) {
                pid_t pid;

                broker_kill();
                if (!start_traced(&pid))
                        skip_because("this process may not trace others");
                let_begin(pid);
                must(!let_return(pid, UINT_MAX, false));
                /* It is about to wait: the signal comes first. */
                kill(pid, SIGTERM);
                is_there = let_return(pid, n, true);
                if (is_there)
                        kill_traced(pid);
                start_after_it();
                injected(1);
        }
        injections_print();
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(broker_that_dies_while_it_starts_is_in_nobodys_way),
                system_test(broker_that_dies_while_it_ends_is_in_nobodys_way),
        };

        victims_init(argc, argv);
        return cmocka_run_group_tests_name("system-dying-start", tests, NULL, NULL);
}
