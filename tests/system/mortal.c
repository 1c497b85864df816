/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mortal.c - makes the shmd program one that kills itself right before, or right after, the message
 * that SHMD_DIES_BEFORE or SHMD_DIES_AFTER counts to. Linked before socket_send() by --wrap.
 */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "socket.h"

int __real_socket_send(int fd, const void *message, size_t size, const int *fds, unsigned n_fds);
int __wrap_socket_send(int fd, const void *message, size_t size, const int *fds, unsigned n_fds);

static void die_if_due(const char *variable, unsigned n)
{
        const char *due = getenv(variable);

        if (due && (unsigned)atoi(due) == n)
                kill(getpid(), SIGKILL);
}

int __wrap_socket_send(int fd, const void *message, size_t size, const int *fds, unsigned n_fds)
{
        static unsigned n;
        int code;

        die_if_due("SHMD_DIES_BEFORE", ++n);
        code = __real_socket_send(fd, message, size, fds, n_fds);
        die_if_due("SHMD_DIES_AFTER", n);
        return code;
}
