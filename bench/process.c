/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process.c - children: forked, pinned, remembered, waited for, ended.
 */
#include "process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"

enum { CHILDREN_MAX = 160 };

struct child {
        pid_t pid; /* 0: a free place */
        int status;
        bool ended;
};

static struct child children[CHILDREN_MAX];
static char doomed_directory[256];
static sigset_t waited_for, mask_before;
static pid_t coordinator;
static int interrupted;

static struct child *child_find(pid_t pid)
{
        for (uint32_t i = 0; i < CHILDREN_MAX; i++) {
                if (children[i].pid == pid)
                        return &children[i];
        }
        return NULL;
}

static void children_reap(void)
{
        for (uint32_t i = 0; i < CHILDREN_MAX; i++) {
                struct child *child = &children[i];

                if (child->pid > 0 && !child->ended)
                        child->ended = waitpid(child->pid, &child->status, WNOHANG) == child->pid;
        }
}

static void child_kill(struct child *child)
{
        if (!child->ended) {
                kill(child->pid, SIGKILL);
                while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR)
                        ;
        }
        child->pid = 0;
}

void process_remove_at_end(const char *directory)
{
        snprintf(doomed_directory, sizeof(doomed_directory), "%s", directory);
}

void process_remove_now(void)
{
        DIR *directory = doomed_directory[0] ? opendir(doomed_directory) : NULL;
        struct dirent *entry;

        if (!directory)
                return;
        while ((entry = readdir(directory)))
                unlinkat(dirfd(directory), entry->d_name, 0); /* "." and ".." refuse */
        closedir(directory);
        rmdir(doomed_directory);
        doomed_directory[0] = '\0';
}

static void at_end(void)
{
        if (getpid() != coordinator)
                return;
        for (uint32_t i = 0; i < CHILDREN_MAX; i++) {
                if (children[i].pid > 0)
                        child_kill(&children[i]);
        }
        process_remove_now();
}

void process_init(void)
{
        coordinator = getpid();
        sigemptyset(&waited_for);
        sigaddset(&waited_for, SIGINT);
        sigaddset(&waited_for, SIGTERM);
        sigaddset(&waited_for, SIGHUP);
        sigaddset(&waited_for, SIGCHLD);
        sigprocmask(SIG_BLOCK, &waited_for, &mask_before);
        atexit(at_end);
}

int process_interrupted(void)
{
        return interrupted;
}

uint32_t process_cpus(int *cpus, uint32_t n_cpus)
{
        cpu_set_t set;
        uint32_t n = 0;

        if (sched_getaffinity(0, sizeof(set), &set) < 0)
                return 0;
        for (int cpu = 0; cpu < CPU_SETSIZE && n < n_cpus; cpu++) {
                if (CPU_ISSET(cpu, &set))
                        cpus[n++] = cpu;
        }
        return n;
}

/* In the child: as if it had been started by itself, but bound to its coordinator's life. */
static int child_prepare(int cpu)
{
        cpu_set_t set;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != coordinator)
                return -ECANCELED; /* it died before the line above */
        sigprocmask(SIG_SETMASK, &mask_before, NULL);
        if (cpu == CPU_ANY)
                return 0;
        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
        return sched_setaffinity(0, sizeof(set), &set) < 0 ? -errno : 0;
}

/* @return in the parent the pid, in the child 0, negative errno. */
static pid_t child_fork(int cpu)
{
        struct child *child = child_find(0);
        pid_t pid;

        if (!child)
                return -EAGAIN;
        fflush(NULL);
        pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0) {
                if (child_prepare(cpu) < 0)
                        _exit(127);
                return 0;
        }
        *child = (struct child){.pid = pid};
        return pid;
}

pid_t process_fork(int cpu, int (*run)(void *argument), void *argument)
{
        pid_t pid = child_fork(cpu);
        int status;

        if (pid != 0)
                return pid;
        status = run(argument);
        fflush(NULL);
        _exit(status);
}

pid_t process_exec(int cpu, const char *const *argv, const char *log)
{
        pid_t pid = child_fork(cpu);
        int fd;

        if (pid != 0)
                return pid;
        fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
        if (fd >= 0) {
                dup2(fd, STDOUT_FILENO);
                dup2(fd, STDERR_FILENO);
                close(fd);
        }
        execvp(argv[0], (char *const *)argv);
        fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
        _exit(127);
}

/* Takes one of the awaited signals, if it comes in time. */
static int signal_take(uint64_t ns)
{
        struct timespec limit = {.tv_sec = (time_t)(ns / NS_PER_S),
                                 .tv_nsec = (long)(ns % NS_PER_S)};
        int signal = sigtimedwait(&waited_for, NULL, &limit);

        if (signal == SIGCHLD)
                children_reap();
        else if (signal > 0)
                interrupted = signal;
        return interrupted ? -EINTR : 0;
}

int process_sleep(uint64_t ns)
{
        uint64_t end = clock_ns() + ns;
        int result = 0;

        for (uint64_t now = clock_ns(); now < end && result == 0; now = clock_ns())
                result = signal_take(end - now);
        return result;
}

static int wait_for_all(const pid_t *pids, uint32_t n_pids, uint64_t end, int *killed_by)
{
        for (;;) {
                uint64_t now = clock_ns();
                uint32_t n_ended = 0;
                int result;

                children_reap();
                for (uint32_t i = 0; i < n_pids; i++) {
                        const struct child *child = child_find(pids[i]);

                        if (child->ended && child->status != 0) {
                                *killed_by =
                                        WIFSIGNALED(child->status) ? WTERMSIG(child->status) : 0;
                                return -ECANCELED;
                        }
                        n_ended += child->ended;
                }
                if (n_ended == n_pids)
                        return 0;
                if (now >= end)
                        return -ETIMEDOUT;
                result = signal_take(end - now);
                if (result < 0)
                        return result;
        }
}

int process_wait(const pid_t *pids, uint32_t n_pids, uint64_t timeout_ns, int *killed_by)
{
        int result;

        *killed_by = 0;
        result = wait_for_all(pids, n_pids, clock_ns() + timeout_ns, killed_by);
        for (uint32_t i = 0; i < n_pids; i++)
                child_kill(child_find(pids[i]));
        return result;
}

bool process_runs(pid_t pid)
{
        const struct child *child;

        children_reap();
        child = pid > 0 ? child_find(pid) : NULL;
        return child && !child->ended;
}

void process_kill(pid_t pid)
{
        struct child *child = pid > 0 ? child_find(pid) : NULL;

        if (child)
                child_kill(child);
}

void process_end(pid_t pid)
{
        struct child *child = pid > 0 ? child_find(pid) : NULL;

        if (!child)
                return;
        kill(pid, SIGTERM);
        for (uint64_t end = clock_ns() + NS_PER_S; process_runs(pid) && clock_ns() < end;)
                nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
        child_kill(child);
}
