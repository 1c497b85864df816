/* SPDX-License-Identifier: Apache-2.0 */
/* child.c - starts, hears and ends a process. */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { READ = 0, WRITE = 1 };

static void close_pair(int pair[2])
{
        for (int i = 0; i < 2; i++) {
                if (pair[i] >= 0)
                        close(pair[i]);
                pair[i] = -1;
        }
}

/* Puts `fd` at `number`, to be inherited. Both may be the same, and then dup2() would do nothing.
 */
static int inherit(int fd, int number)
{
        if (fd == number)
                return fcntl(fd, F_SETFD, 0);
        return dup2(fd, number) < 0 ? -1 : 0;
}

/* Moves `fd` above all numbers that the child gives a meaning to. */
static int out_of_the_way(int fd)
{
        return fcntl(fd, F_DUPFD_CLOEXEC, 10);
}

/* In the child, until exec. Only what may be called after fork. */
static void become(const char *path, const char *const *arguments, int in_fd, int report_fd,
                   int error_fd, int failed_fd, pid_t parent)
{
        int null_fd, error;
        sigset_t none;

        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != parent)
                _exit(1); /* it died before the line above */
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        report_fd = out_of_the_way(report_fd);
        error_fd = out_of_the_way(error_fd);
        failed_fd = out_of_the_way(failed_fd);
        if (null_fd >= 0 && report_fd >= 0 && error_fd >= 0 && failed_fd >= 0 &&
            inherit(in_fd >= 0 ? in_fd : null_fd, STDIN_FILENO) == 0 &&
            inherit(null_fd, STDOUT_FILENO) == 0 && inherit(error_fd, STDERR_FILENO) == 0 &&
            inherit(report_fd, CHILD_REPORT_FD) == 0)
                execvp(path, (char *const *)arguments);
        error = errno;
        if (write(failed_fd, &error, sizeof(error)) != sizeof(error))
                _exit(126);
        _exit(127);
}

int child_start(struct child *child, const char *path, const char *const *arguments,
                const char *socket, int in_fd)
{
        int report[2] = {-1, -1}, error[2] = {-1, -1}, failed[2] = {-1, -1};
        int result = 0;
        pid_t parent = getpid();

        *child = (struct child){.name = arguments[0], .report_fd = -1, .error_fd = -1};
        setenv("SHMD_SOCKET", socket, 1);
        if (pipe2(report, O_CLOEXEC) < 0 || pipe2(error, O_CLOEXEC) < 0 ||
            pipe2(failed, O_CLOEXEC) < 0 || (child->pid = fork()) < 0) {
                result = -errno;
                child->pid = 0;
                close_pair(report);
                close_pair(error);
                close_pair(failed);
                return result;
        }
        if (child->pid == 0)
                become(path, arguments, in_fd, report[WRITE], error[WRITE], failed[WRITE], parent);

        child->started = 1;
        child->report_fd = report[READ];
        child->error_fd = error[READ];
        fcntl(child->report_fd, F_SETFL, O_NONBLOCK);
        fcntl(child->error_fd, F_SETFL, O_NONBLOCK);
        close(report[WRITE]);
        close(error[WRITE]);
        close(failed[WRITE]);
        failed[WRITE] = -1;
        /* Ends without a byte when the exec succeeds: then the kernel closes the other end. */
        if (read(failed[READ], &result, sizeof(result)) == sizeof(result)) {
                result = -result;
                child_deinit(child);
        }
        close_pair(failed);
        return result;
}

static void close_end(int *fd)
{
        close(*fd);
        *fd = -1;
}

/* Returns how many bytes were read; closes at the end. 0: nothing now, or nothing any more. */
static size_t read_some(int *fd, char *to, size_t size)
{
        ssize_t n;

        if (*fd < 0)
                return 0;
        n = read(*fd, to, size);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
                close_end(fd);
        return n > 0 ? (size_t)n : 0;
}

void child_read_report(struct child *child, void (*on_line)(void *user, const char *line),
                       void *user)
{
        char *begin = child->line, *end;
        size_t n;

        n = read_some(&child->report_fd, child->line + child->n_line,
                      sizeof(child->line) - child->n_line);
        child->n_line += n;
        while ((end = memchr(begin, '\n', child->n_line - (size_t)(begin - child->line))) != NULL) {
                *end = '\0';
                on_line(user, begin);
                begin = end + 1;
        }
        child->n_line -= (size_t)(begin - child->line);
        memmove(child->line, begin, child->n_line);
        if (child->n_line == sizeof(child->line))
                child->n_line = 0; /* no report has lines that long: drop it */
}

void child_read_error(struct child *child)
{
        char text[512];
        size_t most = sizeof(child->error) - 1, n, old;

        n = read_some(&child->error_fd, text, sizeof(text));
        old = child->n_error + n > most ? most - n : child->n_error;
        memmove(child->error, child->error + child->n_error - old, old);
        memcpy(child->error + old, text, n);
        child->n_error = old + n;
        child->error[child->n_error] = '\0';
}

void child_reap(struct child *child)
{
        if (child->pid > 0 && waitpid(child->pid, &child->wait_status, WNOHANG) == child->pid)
                child->pid = 0;
}

void child_signal(const struct child *child, int signal)
{
        if (child->pid > 0)
                kill(child->pid, signal);
}

int child_ended(const struct child *child)
{
        return child->started && child->pid == 0;
}

int child_failed(const struct child *child)
{
        return child_ended(child) &&
               !(WIFEXITED(child->wait_status) && WEXITSTATUS(child->wait_status) == 0);
}

void child_describe(struct child *child, char *text, size_t size)
{
        char how[64];

        while (child->n_error > 0 && child->error[child->n_error - 1] == '\n')
                child->error[--child->n_error] = '\0';
        if (!child_ended(child))
                snprintf(how, sizeof(how), "is still running");
        else if (WIFSIGNALED(child->wait_status))
                snprintf(how, sizeof(how), "was killed by signal %d (%s)",
                         WTERMSIG(child->wait_status), strsignal(WTERMSIG(child->wait_status)));
        else
                snprintf(how, sizeof(how), "ended with status %d", WEXITSTATUS(child->wait_status));
        snprintf(text, size, "%s %s%s%s", child->name, how, child->n_error > 0 ? ":\n    " : "",
                 child->error);
}

void child_deinit(struct child *child)
{
        if (child->pid > 0) {
                kill(child->pid, SIGKILL);
                while (waitpid(child->pid, &child->wait_status, 0) < 0 && errno == EINTR)
                        ;
                child->pid = 0;
        }
        if (child->report_fd >= 0)
                close_end(&child->report_fd);
        if (child->error_fd >= 0)
                close_end(&child->error_fd);
}
