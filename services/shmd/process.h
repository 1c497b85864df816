/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process.h - the process at the other end of a connection: who it is, and when it is gone.
 *
 * Its number and name are labels for people. What counts is the pidfd: the kernel makes it readable
 * when the process has ended, whatever descriptors its children still keep open.
 */
#ifndef SHMD_BROKER_PROCESS_H
#define SHMD_BROKER_PROCESS_H

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "protocol.h"

/* The process's name, NUL-terminated, "?" if there is none; printable. */
void process_name(pid_t pid, char name[static PROTOCOL_PROGRAM_SIZE]);

/* A pidfd of the process that connected, whose credentials are *who; or a negative errno:
 * -ESRCH: it is gone already, or can't be seen from the broker's pid namespace. */
int process_open(int socket_fd, const struct ucred *who);

/* Whether there is no process of this number, as far as it can be seen from here. */
bool process_is_absent(pid_t pid);

/* Whether the process has ended. */
bool process_has_ended(int pid_fd);

#endif
