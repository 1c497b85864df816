/* SPDX-License-Identifier: Apache-2.0 */
/* wake-tricks.c - the tricks, one table for pipes and sockets. */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "harness.h"
#include "layout.h"
#include "wake-tricks.h"

#define HOUR 3600
/* As many descriptors as go with one message. */
#define RIGHTS_MAX 253

/* ---- simple ones --------------------------------------------------------------------------- */

/* All six, since what stands in front of libc here (tests/faults) reads as many. */
static long kernel(long number, long first, long second, long third)
{
        return syscall(number, first, second, third, 0L, 0L, 0L);
}

/* Writes without waiting, whatever the description says. */
static ssize_t put(const struct wake_trick_props *props, const void *bytes, size_t size)
{
        struct pollfd entry = {.fd = props->channel, .events = POLLOUT};

        if (props->is_socket)
                return send(props->channel, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        /* A pipe that says so takes as much as is sure to be written at once. */
        if (poll(&entry, 1, 0) != 1 || !(entry.revents & POLLOUT))
                return -1;
        return write(props->channel, bytes, size < 4096 ? size : 4096);
}

void wake_fill(int channel)
{
        static const char junk[4096] = {1, 2, 3};

        for (size_t size = sizeof(junk); size; size /= 2)
                while (write(channel, junk, size) > 0)
                        ;
}

static void make_blocking(int fd)
{
        int flags = fcntl(fd, F_GETFL);

        must(flags >= 0);
        must_equal(fcntl(fd, F_SETFL, flags & ~O_NONBLOCK), 0);
}

/* Its own description, and on a pipe also the one that everybody else was given. */
static void block(struct wake_trick_props *props)
{
        int pidfd, given;

        wake_fill(props->channel);
        make_blocking(props->channel);
        if (props->is_socket)
                return;
        pidfd = (int)kernel(SYS_pidfd_open, props->victim, 0, 0);
        given = (int)kernel(SYS_pidfd_getfd, pidfd, props->victims_end, 0);
        must(given >= 0);
        make_blocking(given);
        close(given);
        close(pidfd);
}

static void fill(struct wake_trick_props *props)
{
        wake_fill(props->channel);
}

static void nothing(struct wake_trick_props *props)
{
        (void)props;
}

static void shut_down(struct wake_trick_props *props)
{
        must_equal(shutdown(props->channel, SHUT_RDWR), 0);
}

/* Frames that are none: of every size, of nobody, of samples that can't be. */
static void send_junk(struct wake_trick_props *props)
{
        static const struct offset_frame lies[] = {
                {0, UINT32_MAX, UINT64_MAX}, {UINT32_MAX, 0, 0}, {1, 1, 0}, {7, 0x7fffffff, 1}};
        static const unsigned char bytes[64] = {0xff, 0xfe, 0xfd};

        for (size_t i = 0; i < N_ELEMENTS(lies); i++)
                put(props, &lies[i], sizeof(lies[i]));
        for (size_t size = 1; size < sizeof(bytes); size++)
                put(props, bytes, size);
        poll(NULL, 0, 1);
}

static void send_a_byte(struct wake_trick_props *props)
{
        put(props, "x", 1);
}

/* ---- pipes --------------------------------------------------------------------------------- */

static void send_packets(struct wake_trick_props *props)
{
        must_equal(fcntl(props->channel, F_SETFL, O_DIRECT | O_NONBLOCK), 0);
        wake_fill(props->channel);
}

static void resize(struct wake_trick_props *props)
{
        static const int sizes[] = {4096, 1 << 20, 8192, 1 << 16};

        for (size_t i = 0; i < N_ELEMENTS(sizes); i++) {
                fcntl(props->channel, F_SETPIPE_SZ, sizes[i]); /* EBUSY: more is in it */
                put(props, sizes, sizeof(sizes));
        }
}

/* Pages of its own memory, which it goes on to change, and copies of another pipe. */
static void give_pages(struct wake_trick_props *props)
{
        static _Alignas(4096) char page[4096];
        struct iovec vector = {page, sizeof(page)};
        int ends[2];

        must_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
        must_equal(write(ends[1], page, 100), 100);
        if (!props->is_socket) {
                vmsplice(props->channel, &vector, 1, SPLICE_F_NONBLOCK | SPLICE_F_GIFT);
                tee(ends[0], props->channel, 100, SPLICE_F_NONBLOCK);
        }
        splice(ends[0], NULL, props->channel, NULL, 100, SPLICE_F_NONBLOCK);
        memset(page, props->victim & 0xff, sizeof(page));
        close(ends[0]);
        close(ends[1]);
}

/* ---- signals and options -------------------------------------------------------------------- */

/* Would end the victim, which has no handler, if it came. */
static void aim_signals(struct wake_trick_props *props)
{
        must_equal(fcntl(props->channel, F_SETOWN, props->victim), 0);
        must_equal(fcntl(props->channel, F_SETSIG, SIGUSR1), 0);
        must_equal(fcntl(props->channel, F_SETFL, O_ASYNC | O_NONBLOCK), 0);
        wake_fill(props->channel); /* reading makes room, which is told */
}

static void set_options(struct wake_trick_props *props)
{
        static const int options[] = {SO_SNDBUF,  SO_RCVBUF,    SO_RCVLOWAT, SO_PASSCRED,
                                      SO_PASSSEC, SO_OOBINLINE, SO_PEEK_OFF, SO_TIMESTAMP};
        struct linger linger = {1, HOUR};
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int large = 1 << 30;

        for (size_t i = 0; i < N_ELEMENTS(options); i++)
                setsockopt(props->channel, SOL_SOCKET, options[i], &large, sizeof(large));
        setsockopt(props->channel, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
        bind(props->channel, (struct sockaddr *)&address, sizeof(sa_family_t)); /* any name */
        listen(props->channel, 1);
        connect(props->channel, (struct sockaddr *)&address, sizeof(sa_family_t));
        wake_fill(props->channel);
}

static void send_out_of_band(struct wake_trick_props *props)
{
        send(props->channel, "abcdef", 6, MSG_OOB | MSG_DONTWAIT | MSG_NOSIGNAL);
        put(props, "g", 1);
}

/* ---- a fault inside the write --------------------------------------------------------------- */

int wake_fault_fd(void)
{
        struct uffdio_api api = {.api = UFFD_API};
        int fd = (int)kernel(SYS_userfaultfd, O_CLOEXEC, 0, 0);

        if (fd >= 0 && ioctl(fd, UFFDIO_API, &api) < 0) {
                close(fd);
                fd = -1;
        }
        return fd;
}

#define N_STUCK 2
static struct wake_trick_props *stuck_props;
static pthread_t stuck[N_STUCK];
static char *stuck_page;

static void *write_and_be_stuck(void *argument)
{
        (void)argument;
        send(stuck_props->channel, stuck_page, 16, MSG_NOSIGNAL);
        return NULL;
}

/* Nobody gives it the page that it wants to send. */
static void fault_inside_write(struct wake_trick_props *props)
{
        struct uffdio_register where = {.mode = UFFDIO_REGISTER_MODE_MISSING};
        struct pollfd fault = {.fd = props->fault_fd, .events = POLLIN};

        stuck_props = props;
        stuck_page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        must(stuck_page != MAP_FAILED);
        where.range = (struct uffdio_range){(uintptr_t)stuck_page, 4096};
        must_equal(ioctl(props->fault_fd, UFFDIO_REGISTER, &where), 0);
        for (unsigned i = 0; i < N_STUCK; i++)
                must_equal(pthread_create(&stuck[i], NULL, write_and_be_stuck, NULL), 0);
        until(poll(&fault, 1, 0) == 1);
}

static void give_page(struct wake_trick_props *props)
{
        struct uffdio_zeropage zero = {.range = {(uintptr_t)stuck_page, 4096}};

        must_equal(ioctl(props->fault_fd, UFFDIO_ZEROPAGE, &zero), 0);
        for (unsigned i = 0; i < N_STUCK; i++)
                pthread_join(stuck[i], NULL);
        munmap(stuck_page, 4096);
}

/* ---- descriptors ---------------------------------------------------------------------------- */

/* A connected socket, to be closed by whoever has it last: which takes an hour, for there is more
 * in it than the other end, *peer, reads. */
static int make_lingerer(int *peer)
{
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t size = sizeof(address);
        struct linger linger = {1, HOUR};
        int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd;
        static const char much[65536];

        must(listener >= 0);
        must_equal(bind(listener, (struct sockaddr *)&address, size), 0);
        must_equal(listen(listener, 1), 0);
        must_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        must(fd >= 0);
        must_equal(connect(fd, (struct sockaddr *)&address, size), 0);
        *peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        must(*peer >= 0);
        close(listener);
        while (send(fd, much, sizeof(much), MSG_DONTWAIT) > 0)
                ;
        must_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
        return fd;
}

static void send_rights(struct wake_trick_props *props, unsigned n, const void *bytes, size_t size,
                        int flags)
{
        union {
                struct cmsghdr header;
                char bytes[CMSG_SPACE(RIGHTS_MAX * sizeof(int))];
        } control = {0};
        struct iovec vector = {(void *)(uintptr_t)bytes, size};
        struct msghdr message = {.msg_iov = &vector,
                                 .msg_iovlen = 1,
                                 .msg_control = &control,
                                 .msg_controllen = CMSG_SPACE(n * sizeof(int))};
        int fd = make_lingerer(&props->peer);
        ssize_t sent;

        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(n * sizeof(int));
        for (unsigned i = 0; i < n; i++)
                memcpy(CMSG_DATA(&control.header) + i * sizeof(int), &fd, sizeof(int));
        sent = sendmsg(props->channel, &message, MSG_NOSIGNAL | MSG_DONTWAIT | flags);
        if (props->refuses) {
                must_equal(sent, -1);
                must_equal(errno, EPERM);
        } else {
                must_equal(sent, size);
        }
        /* The last descriptor of ours: if it was refused, it must not take an hour here. */
        if (props->refuses)
                setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0},
                           sizeof(struct linger));
        close(fd);
}

static void pass_descriptor(struct wake_trick_props *props)
{
        put(props, "before", 6);
        send_rights(props, 1, "frame of 16 byte", 16, 0);
        put(props, "after", 5);
}

static void pass_many(struct wake_trick_props *props)
{
        send_rights(props, RIGHTS_MAX, "x", 1, 0);
}

static void pass_out_of_band(struct wake_trick_props *props)
{
        send_rights(props, 1, "x", 1, MSG_OOB);
        put(props, "after", 5);
}

/* Reads nothing of what the lingering socket has: that ends the lingering. */
static void drop_peer(struct wake_trick_props *props)
{
        if (props->peer >= 0)
                close(props->peer);
        props->peer = -1;
}

static void send_credentials(struct wake_trick_props *props)
{
        struct ucred mine = {getpid(), getuid(), getgid()};
        union {
                struct cmsghdr header;
                char bytes[CMSG_SPACE(sizeof(mine))];
        } control = {0};
        struct iovec vector = {&mine, sizeof(mine)};
        struct msghdr message = {.msg_iov = &vector,
                                 .msg_iovlen = 1,
                                 .msg_control = &control,
                                 .msg_controllen = sizeof(control)};

        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_CREDENTIALS;
        control.header.cmsg_len = CMSG_LEN(sizeof(mine));
        memcpy(CMSG_DATA(&control.header), &mine, sizeof(mine));
        sendmsg(props->channel, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        poll(NULL, 0, 1);
}

const struct wake_trick wake_tricks[] = {
        {"blocks", TRICK_PIPE | TRICK_SOCKET, block, NULL, NULL},
        {"fills", TRICK_PIPE | TRICK_SOCKET, fill, fill, NULL},
        {"stops", TRICK_PIPE | TRICK_SOCKET | TRICK_STOPS, fill, NULL, NULL},
        {"shuts down", TRICK_SOCKET, shut_down, NULL, NULL},
        {"junk", TRICK_PIPE | TRICK_SOCKET, nothing, send_junk, NULL},
        {"single bytes", TRICK_PIPE | TRICK_SOCKET, nothing, send_a_byte, NULL},
        {"packets", TRICK_PIPE, send_packets, fill, NULL},
        {"sizes", TRICK_PIPE, nothing, resize, NULL},
        {"pages", TRICK_PIPE | TRICK_SOCKET, nothing, give_pages, NULL},
        {"signals", TRICK_SOCKET, aim_signals, fill, NULL},
        {"options", TRICK_SOCKET, set_options, fill, NULL},
        {"out of band", TRICK_SOCKET, nothing, send_out_of_band, NULL},
        {"credentials", TRICK_SOCKET, nothing, send_credentials, NULL},
        {"a fault in a write", TRICK_SOCKET | TRICK_FAULTS, fault_inside_write, NULL, give_page},
        {"a descriptor", TRICK_SOCKET, pass_descriptor, NULL, drop_peer},
        {"many descriptors", TRICK_SOCKET, pass_many, NULL, drop_peer},
        {"a descriptor out of band", TRICK_SOCKET, pass_out_of_band, NULL, drop_peer},
};
const unsigned n_wake_tricks = N_ELEMENTS(wake_tricks);
