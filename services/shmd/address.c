/* SPDX-License-Identifier: Apache-2.0 */
/* address.c - probe, unlink and bind under a lock on the directory. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "address.h"
#include "error.h"
#include "process.h"
#include "socket.h"
#include "util.h"

/* The lock is held for the time of a few system calls; who keeps it longer is no broker. */
#define LOCK_PATIENCE_MS 2000

/* "a/b" -> "a", "b" -> ".", "/b" -> "/". */
static char *directory_of(const char *path)
{
        const char *slash = strrchr(path, '/');

        if (!slash)
                return strdup(".");
        return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

/* Only its last part, and only its own work is given a mode, whatever the umask is. */
static int make_directory(const char *directory, mode_t mode)
{
        if (mkdir(directory, mode) == 0)
                return chmod(directory, mode) < 0 ? error_system(-errno, "%s", directory) : 0;
        return errno == EEXIST ? 0 : error_system(-errno, "making %s", directory);
}

static int lock_directory(const char *directory)
{
        cleanup_fd int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int locked;

        if (fd < 0)
                return error_system(-errno, "%s", directory);
        for (int waited = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; waited += 10) {
                if (errno != EWOULDBLOCK && errno != EINTR)
                        return error_system(-errno, "locking %s", directory);
                if (waited >= LOCK_PATIENCE_MS)
                        return error_set(-EBUSY, "%s is locked by another process", directory);
                poll(NULL, 0, 10);
        }
        locked = fd;
        fd = -1; /* consumed */
        return locked;
}

static int refuse_served(const char *path, int probe)
{
        struct ucred who = {0};
        socklen_t size = sizeof(who);
        char program[PROTOCOL_PROGRAM_SIZE];

        if (getsockopt(probe, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0 || who.pid <= 0)
                return error_set(-EADDRINUSE, "%s: another broker is there", path);
        process_name(who.pid, program);
        return error_set(-EADDRINUSE, "%s: another broker is there: %s, process %d of user %u",
                         path, program, who.pid, who.uid);
}

/* Leaves the path free, or says who or what has it. */
static int make_room(struct address *address, const char *path)
{
        struct stat status;
        cleanup_fd int probe = -1;

        if (lstat(path, &status) < 0)
                return errno == ENOENT ? 0 : error_system(-errno, "%s", path);
        if (!S_ISSOCK(status.st_mode))
                return error_set(-EEXIST, "%s is there, is not a socket, and was left alone", path);
        probe = socket_connect(path);
        if (probe >= 0)
                return refuse_served(path, probe);
        switch (probe) {
        case -ECONNREFUSED:
                address->had_predecessor = true;
                break;
        case -ENOENT:
                return 0;
        case -EAGAIN:
                return error_set(-EADDRINUSE, "%s: another broker is there, and busy", path);
        case -EPROTOTYPE:
                return error_set(-EEXIST, "%s is served by something that isn't a broker", path);
        default:
                return error_system(probe, "%s: connecting to what is there", path);
        }
        if (unlink(path) < 0 && errno != ENOENT)
                return error_system(-errno, "%s: removing what a broker left", path);
        return 0;
}

static int bind_and_listen(struct address *address, const char *path, mode_t mode)
{
        struct sockaddr_un name = {.sun_family = AF_UNIX};
        struct stat status;

        memcpy(name.sun_path, path, strlen(path));
        address->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (address->fd < 0)
                return error_system(-errno, "making a socket");
        /* The file gets the mode of the socket, less the umask, which belongs to the program. */
        if (fchmod(address->fd, mode) < 0)
                return error_system(-errno, "changing the mode of a socket");
        if (bind(address->fd, (struct sockaddr *)&name, sizeof(name)) < 0)
                return error_system(-errno, "%s: binding", path);
        if (lstat(path, &status) < 0)
                return error_system(-errno, "%s", path);
        address->device = status.st_dev;
        address->inode = status.st_ino;
        address->path = strdup(path);
        if (!address->path)
                return error_set(-ENOMEM, "no memory");
        if ((status.st_mode & 07777) != mode && chmod(path, mode) < 0)
                return error_system(-errno, "%s: changing its mode", path);
        if (listen(address->fd, SOMAXCONN) < 0)
                return error_system(-errno, "%s: listening", path);
        return 0;
}

int address_open(struct address *address, const char *path, bool open_to_others)
{
        cleanup_free char *directory = NULL;
        cleanup_fd int lock = -1;
        int code;

        *address = ADDRESS_NONE;
        if (!*path)
                return error_set(-EINVAL, "the path of the socket is empty");
        if (strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
                return error_set(-ENAMETOOLONG, "%.200s: a socket's path has at most %zu bytes",
                                 path, sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
        directory = directory_of(path);
        if (!directory)
                return error_set(-ENOMEM, "no memory");
        code = make_directory(directory, open_to_others ? 0755 : 0700);
        if (code < 0)
                return code;
        lock = lock_directory(directory);
        if (lock < 0)
                return lock;
        code = make_room(address, path);
        if (code == 0)
                code = bind_and_listen(address, path, open_to_others ? 0666 : 0600);
        if (code < 0)
                address_close(address);
        return code;
}

void address_close(struct address *address)
{
        cleanup_free char *directory = NULL;
        cleanup_fd int lock = -1;
        struct stat status;

        if (address->path) {
                directory = directory_of(address->path);
                /* Without the lock a successor might bind between the look and the removal. */
                lock = directory ? lock_directory(directory) : -1;
                if (lock >= 0 && lstat(address->path, &status) == 0 &&
                    status.st_dev == address->device && status.st_ino == address->inode)
                        unlink(address->path);
        }
        fd_close(&address->fd);
        free(address->path);
        *address = ADDRESS_NONE;
}
