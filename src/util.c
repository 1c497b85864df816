/* SPDX-License-Identifier: Apache-2.0 */
/* util.c - owned descriptors, time, random ids. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <time.h>

#include "error.h"
#include "util.h"

void fd_close(int *fd)
{
        int saved = errno;

        if (*fd >= 0)
                close(*fd);
        *fd = -1;
        errno = saved;
}

int fd_above_standard(int fd)
{
        int moved;

        if (fd < 0 || fd > STDERR_FILENO)
                return fd;
        moved = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        fd_close(&fd);
        return moved;
}

void standard_fds_hold(int held[static 3])
{
        for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
                held[fd] = -1;
                if (fcntl(fd, F_GETFD) >= 0)
                        continue;
                /* The lowest number that is free is this one, and this needs no file. */
                held[fd] = epoll_create1(EPOLL_CLOEXEC);
        }
}

void standard_fds_release(int held[static 3])
{
        for (unsigned i = 0; i < 3; i++)
                fd_close(&held[i]);
}

uint64_t now_ns(void)
{
        struct timespec time;

        clock_gettime(CLOCK_MONOTONIC, &time);
        return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

uint64_t random_id(void)
{
        uint64_t id = 0;

        /* Short reads don't happen below 256 bytes; an early-boot EAGAIN or a filter that refuses
         * the call leaves the clock and the address space's own randomness. */
        while (!(uint32_t)id) {
                if (getrandom(&id, sizeof(id), 0) != (ssize_t)sizeof(id))
                        id = (now_ns() + (uintptr_t)&id + ((uint64_t)getpid() << 40)) *
                             UINT64_C(0x9e3779b97f4a7c15);
        }
        return id;
}

int options_copy(void *to, size_t size, const void *from, size_t from_size, const char *name)
{
        memset(to, 0, size);
        if (from_size < sizeof(uint32_t) || from_size > 4096)
                return error_set(-EINVAL, "struct %s: size is %zu, set it to sizeof the struct",
                                 name, from_size);
        for (size_t i = size; i < from_size; i++)
                if (((const unsigned char *)from)[i])
                        return error_set(-E2BIG,
                                         "struct %s: byte %zu is set, which this version of the "
                                         "library (%zu bytes) does not know",
                                         name, i, size);
        memcpy(to, from, from_size < size ? from_size : size);
        return 0;
}
