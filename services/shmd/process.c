/* SPDX-License-Identifier: Apache-2.0 */
/* process.c - pidfds and names of peers. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "process.h"
#include "util.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

void process_name(pid_t pid, char name[static PROTOCOL_PROGRAM_SIZE])
{
        char path[40];
        cleanup_fd int fd = -1;
        ssize_t n = -1;

        memset(name, 0, PROTOCOL_PROGRAM_SIZE);
        snprintf(path, sizeof(path), "/proc/%d/comm", pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0)
                n = read(fd, name, PROTOCOL_PROGRAM_SIZE - 1);
        if (n < 0)
                n = 0;
        if (n > 0 && name[n - 1] == '\n')
                name[--n] = 0;
        for (ssize_t i = 0; i < n; i++)
                if (name[i] < 0x20 || name[i] > 0x7e)
                        name[i] = '?';
        if (!*name)
                name[0] = '?';
}

bool process_is_absent(pid_t pid)
{
        cleanup_fd int fd = -1;

        if (pid <= 0)
                return false;
        fd = (int)syscall(SYS_pidfd_open, pid, 0);
        /* One that has ended and was not waited for has a number still. */
        return fd < 0 ? errno == ESRCH : process_has_ended(fd);
}

bool process_has_ended(int pid_fd)
{
        struct pollfd look = {.fd = pid_fd, .events = POLLIN};

        return poll(&look, 1, 0) > 0;
}

int process_open(int socket_fd, const struct ucred *who)
{
        struct pollfd look = {.fd = socket_fd, .events = POLLRDHUP};
        cleanup_fd int fd = -1;
        socklen_t size = sizeof(fd);
        int opened;

        /* It could be told from no other by what peers know of it (resume.h). */
        if (who->pid <= 0)
                return -ESRCH;
        if (getsockopt(socket_fd, SOL_SOCKET, SO_PEERPIDFD, &fd, &size) == 0) {
                opened = fd;
                fd = -1; /* consumed */
                return opened;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ESRCH)
                return -errno;
        /*
         * Before Linux 6.5 there is only the number, which may belong to somebody else when its
         * process has ended. While the connection is open it has most likely not (a forked child
         * could keep it open, and the numbers would have to go round once).
         */
        fd = (int)syscall(SYS_pidfd_open, who->pid, 0);
        if (fd < 0)
                return -errno;
        if (poll(&look, 1, 0) < 0 || (look.revents & (POLLRDHUP | POLLHUP | POLLERR)))
                return -ESRCH;
        opened = fd;
        fd = -1; /* consumed */
        return opened;
}
