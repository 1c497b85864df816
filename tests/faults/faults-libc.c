/* SPDX-License-Identifier: Apache-2.0 */
/*
 * faults-libc.c - stands in front of libc.
 *
 * A function that is defined in the program itself is found before libc's by every library that
 * asks for it. The real ones are found with dlsym(RTLD_NEXT).
 */
#undef _FORTIFY_SOURCE /* its inline versions would be in the way of ours */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "strikes.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef RWF_NOSIGNAL
#define RWF_NOSIGNAL 0x00000100
#endif

#define FRAME_SIZE 16 /* what is written to a pipe to wake a sleeper */

/* ---- memory and threads ------------------------------------------------------------------ */

int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict attributes,
                   void *(*run)(void *argument), void *restrict argument)
{
        if (STRIKES(.memory = EAGAIN))
                return EAGAIN;
        return REAL(pthread_create)(thread, attributes, run, argument);
}

void *mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
        if (STRIKES(.memory = ENOMEM))
                return MAP_FAILED;
        return REAL(mmap)(address, size, protection, flags, fd, offset);
}

int madvise(void *address, size_t size, int advice)
{
        if (STRIKES(.memory = ENOMEM))
                return -1;
        return REAL(madvise)(address, size, advice);
}

int fallocate(int fd, int mode, off_t offset, off_t size)
{
        if (STRIKES(.memory = ENOSPC, .interruption = EINTR))
                return -1;
        return REAL(fallocate)(fd, mode, offset, size);
}

/* ---- what makes descriptors ------------------------------------------------------------- */

int memfd_create(const char *name, unsigned flags)
{
        if ((flags & MFD_NOEXEC_SEAL) && fault_lacks(LACKS_NOEXEC_SEAL)) {
                errno = EINVAL;
                return -1;
        }
        if (STRIKES(.memory = ENOMEM, .descriptors = EMFILE, .table = ENFILE))
                return -1;
        return REAL(memfd_create)(name, flags);
}

int open(const char *path, int flags, ...)
{
        char elsewhere[512];
        va_list arguments;
        mode_t mode = 0;

        if (STRIKES(.memory = ENOMEM, .descriptors = EMFILE, .table = ENFILE,
                    .interruption = EINTR))
                return -1;
        if (*faults->root && strstr(path, "/cgroup")) {
                snprintf(elsewhere, sizeof(elsewhere), "%s%s", faults->root, path);
                path = elsewhere;
        }
        if (flags & O_CREAT) {
                va_start(arguments, flags);
                mode = va_arg(arguments, mode_t);
                va_end(arguments);
        }
        return REAL(open)(path, flags, mode);
}

FILE *fopen(const char *path, const char *mode)
{
        if (STRIKES(.memory = ENOMEM, .descriptors = EMFILE, .table = ENFILE))
                return NULL;
        return REAL(fopen)(path, mode);
}

int socket(int domain, int type, int protocol)
{
        if (STRIKES(.memory = ENOMEM, .descriptors = EMFILE, .table = ENFILE))
                return -1;
        return REAL(socket)(domain, type, protocol);
}

int socketpair(int domain, int type, int protocol, int fds[2])
{
        if (STRIKES(.memory = ENOMEM, .descriptors = EMFILE, .table = ENFILE))
                return -1;
        return REAL(socketpair)(domain, type, protocol, fds);
}

int accept4(int fd, struct sockaddr *restrict address, socklen_t *restrict size, int flags)
{
        if (STRIKES(.memory = ENOMEM, .descriptors = EMFILE, .table = ENFILE,
                    .interruption = EINTR))
                return -1;
        return REAL(accept4)(fd, address, size, flags);
}

int pipe2(int fds[2], int flags)
{
        if (STRIKES(.memory = ENOMEM, .descriptors = EMFILE, .table = ENFILE))
                return -1;
        return REAL(pipe2)(fds, flags);
}

int epoll_create1(int flags)
{
        if (STRIKES(.memory = ENOMEM, .descriptors = EMFILE, .table = ENFILE))
                return -1;
        return faults->last_epoll = REAL(epoll_create1)(flags);
}

int eventfd(unsigned value, int flags)
{
        if (STRIKES(.memory = ENOMEM, .descriptors = EMFILE, .table = ENFILE))
                return -1;
        return REAL(eventfd)(value, flags);
}

int fcntl(int fd, int command, ...)
{
        va_list arguments;
        long argument;

        va_start(arguments, command);
        argument = va_arg(arguments, long);
        va_end(arguments);
        if (command == F_DUPFD_CLOEXEC && STRIKES(.memory = ENOMEM, .descriptors = EMFILE))
                return -1;
        return REAL(fcntl)(fd, command, argument);
}

int getsockopt(int fd, int level, int option, void *restrict value, socklen_t *restrict size)
{
        if (level == SOL_SOCKET && option == SO_PEERPIDFD) {
                if (fault_lacks(LACKS_PEERPIDFD)) {
                        errno = ENOPROTOOPT;
                        return -1;
                }
                if (STRIKES(.memory = ENOMEM, .descriptors = EMFILE, .table = ENFILE))
                        return -1;
        }
        if (level == SOL_SOCKET && option == SO_PASSRIGHTS && fault_lacks(LACKS_PASSRIGHTS)) {
                errno = ENOPROTOOPT;
                return -1;
        }
        return REAL(getsockopt)(fd, level, option, value, size);
}

int setsockopt(int fd, int level, int option, const void *value, socklen_t size)
{
        if (level == SOL_SOCKET && option == SO_PASSRIGHTS && fault_lacks(LACKS_PASSRIGHTS)) {
                errno = ENOPROTOOPT;
                return -1;
        }
        return REAL(setsockopt)(fd, level, option, value, size);
}

long syscall(long number, ...)
{
        long argument[6];
        va_list arguments;

        va_start(arguments, number);
        for (int i = 0; i < 6; i++)
                argument[i] = va_arg(arguments, long);
        va_end(arguments);
        if (number == SYS_membarrier && fault_lacks(LACKS_MEMBARRIER)) {
                errno = EPERM;
                return -1;
        }
        if (number == SYS_pidfd_open &&
            STRIKES(.memory = ENOMEM, .descriptors = EMFILE, .table = ENFILE))
                return -1;
        return REAL(syscall)(number, argument[0], argument[1], argument[2], argument[3],
                             argument[4], argument[5]);
}

/* ---- sockets and pipes ------------------------------------------------------------------ */

int connect(int fd, const struct sockaddr *address, socklen_t size)
{
        if (STRIKES(.memory = ENOMEM, .interruption = EINTR, .busy = EAGAIN))
                return -1;
        return REAL(connect)(fd, address, size);
}

int bind(int fd, const struct sockaddr *address, socklen_t size)
{
        if (STRIKES(.memory = ENOMEM))
                return -1;
        return REAL(bind)(fd, address, size);
}

int mkdir(const char *path, mode_t mode)
{
        if (STRIKES(.memory = ENOMEM))
                return -1;
        return REAL(mkdir)(path, mode);
}

int access(const char *path, int mode)
{
        if (strncmp(path, "/proc/", 6) == 0 && fault_lacks(LACKS_PROC)) {
                errno = ENOENT;
                return -1;
        }
        return REAL(access)(path, mode);
}

int flock(int fd, int operation)
{
        if (STRIKES(.memory = ENOLCK, .interruption = EINTR, .busy = EWOULDBLOCK))
                return -1;
        return REAL(flock)(fd, operation);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
        if (STRIKES(.memory = ENOBUFS, .descriptors = message->msg_control ? ETOOMANYREFS : 0,
                    .interruption = EINTR, .busy = EAGAIN))
                return -1;
        return REAL(sendmsg)(fd, message, flags);
}

ssize_t send(int fd, const void *bytes, size_t size, int flags)
{
        if (STRIKES(.memory = ENOBUFS, .interruption = EINTR))
                return -1;
        return REAL(send)(fd, bytes, size, flags);
}

/* Descriptors that a process has no room for are dropped by the kernel. */
static void drop_descriptors(struct msghdr *message)
{
        for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control;
             control = CMSG_NXTHDR(message, control)) {
                const int *fds = (const int *)(const void *)CMSG_DATA(control);
                size_t n = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);

                for (size_t i = 0; i < n; i++)
                        close(fds[i]);
        }
        message->msg_controllen = 0;
        message->msg_flags |= MSG_CTRUNC;
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
        ssize_t received;

        if (STRIKES(.interruption = EINTR))
                return -1;
        received = REAL(recvmsg)(fd, message, flags);
        if (received > 0 && message->msg_controllen && STRIKES(.descriptors = EMFILE))
                drop_descriptors(message);
        return received;
}

ssize_t read(int fd, void *bytes, size_t size)
{
        if (STRIKES(.interruption = EINTR))
                return -1;
        return REAL(read)(fd, bytes, size);
}

ssize_t write(int fd, const void *bytes, size_t size)
{
        if (size == FRAME_SIZE && STRIKES(.memory = ENOMEM, .interruption = EINTR))
                return -1;
        return REAL(write)(fd, bytes, size);
}

ssize_t pwritev2(int fd, const struct iovec *vectors, int n, off_t offset, int flags)
{
        if ((flags & RWF_NOSIGNAL) && fault_lacks(LACKS_NOSIGNAL)) {
                errno = EOPNOTSUPP;
                return -1;
        }
        if (STRIKES(.memory = ENOMEM, .interruption = EINTR))
                return -1;
        return REAL(pwritev2)(fd, vectors, n, offset, flags);
}

/* Interrupted or not, it is closed. */
int close(int fd)
{
        bool interrupted = STRIKES(.interruption = EINTR);
        int code = REAL(close)(fd);

        if (interrupted) {
                errno = EINTR;
                code = -1;
        }
        return code;
}

/* ---- waiting ---------------------------------------------------------------------------- */

int poll(struct pollfd *entries, nfds_t n, int timeout)
{
        if (STRIKES(.interruption = EINTR))
                return -1;
        return REAL(poll)(entries, n, timeout);
}

/* libuv tries with this whether a descriptor can be watched; that is the one it may refuse. */
int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
        if (operation == EPOLL_CTL_ADD && event && event->data.fd == -1 &&
            STRIKES(.memory = ENOMEM))
                return -1;
        return REAL(epoll_ctl)(epoll, operation, fd, event);
}

int epoll_wait(int epoll, struct epoll_event *events, int n, int timeout)
{
        if (STRIKES(.interruption = EINTR))
                return -1;
        return REAL(epoll_wait)(epoll, events, n, timeout);
}

int epoll_pwait(int epoll, struct epoll_event *events, int n, int timeout, const sigset_t *mask)
{
        if (STRIKES(.interruption = EINTR))
                return -1;
        return REAL(epoll_pwait)(epoll, events, n, timeout, mask);
}

int epoll_pwait2(int epoll, struct epoll_event *events, int n, const struct timespec *timeout,
                 const sigset_t *mask)
{
        if (fault_lacks(LACKS_PWAIT2)) {
                errno = ENOSYS;
                return -1;
        }
        if (STRIKES(.interruption = EINTR))
                return -1;
        return REAL(epoll_pwait2)(epoll, events, n, timeout, mask);
}

ssize_t getrandom(void *bytes, size_t size, unsigned flags)
{
        if (fault_lacks(LACKS_GETRANDOM)) {
                errno = ENOSYS;
                return -1;
        }
        if (STRIKES(.interruption = EINTR))
                return -1;
        return REAL(getrandom)(bytes, size, flags);
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
        int code = REAL(clock_gettime)(clock, time);
        int64_t offset, ns;

        if (code < 0 || clock > CLOCK_MONOTONIC)
                return code;
        offset = __atomic_add_fetch(&faults->clock_offset[clock], faults->clock_step,
                                    __ATOMIC_RELAXED);
        ns = time->tv_nsec + offset % 1000000000;
        time->tv_sec += offset / 1000000000;
        if (ns < 0) {
                ns += 1000000000;
                time->tv_sec--;
        } else if (ns >= 1000000000) {
                ns -= 1000000000;
                time->tv_sec++;
        }
        time->tv_nsec = ns;
        return code;
}
