/* SPDX-License-Identifier: Apache-2.0 */
/*
 * child.h - a process that this one started: what it reports, what it complains of, how it ended.
 *
 *            child_start          child_reap
 *     (none) ----------> running -----------> ended
 *
 * A child leads a process group of its own, so that Ctrl-C on the terminal reaches only the parent,
 * which then ends its children in order; and it is sent SIGTERM should the parent die.
 */
#ifndef CHILD_H
#define CHILD_H

#include <stddef.h>
#include <sys/types.h>

/* In the child, the descriptor that its reports go to (--report 3). */
#define CHILD_REPORT_FD 3

struct child {
        const char *name;
        pid_t pid;       /* 0 before the start and after the end */
        int started;     /* and, if pid is 0, ended */
        int wait_status; /* as of waitpid(2), when ended */
        int report_fd;   /* reading ends; -1 when closed or at the end */
        int error_fd;
        char line[4096]; /* of the report, so far */
        size_t n_line;
        char error[2048]; /* the last of what it wrote to standard error */
        size_t n_error;
};

/*
 * Starts `path` (found along PATH if it has no slash) with its arguments, which begin with its name
 * and end with NULL, and SHMD_SOCKET=socket. Standard input is `in_fd`, or /dev/null for -1;
 * standard output is /dev/null. Returns 0 or -errno: also of the exec.
 */
int child_start(struct child *child, const char *path, const char *const *arguments,
                const char *socket, int in_fd);

/* Reads what has been reported: `on_line` gets each line without its newline. Never blocks. */
void child_read_report(struct child *child, void (*on_line)(void *user, const char *line),
                       void *user);
/* Likewise what was written to standard error, into child->error. */
void child_read_error(struct child *child);

/* Looks whether it has ended. */
void child_reap(struct child *child);

/* Sends a signal, if it is running. */
void child_signal(const struct child *child, int signal);

int child_ended(const struct child *child);
/* Ended, and not by exit(0). */
int child_failed(const struct child *child);

/* How it ended, in words, with what it complained of: "video-publish: ended with status 1: ...". */
void child_describe(struct child *child, char *text, size_t size);

/* Closes the descriptors; kills and awaits it if it is still running. */
void child_deinit(struct child *child);

#endif
