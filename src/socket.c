/* SPDX-License-Identifier: Apache-2.0 */
/* socket.c - the only place that knows control messages. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "socket.h"
#include "util.h"

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* since Linux 6.16 */
#endif

int socket_send(int fd, const void *message, size_t size, const int *fds, unsigned n_fds)
{
        union {
                struct cmsghdr header;
                char bytes[CMSG_SPACE(PROTOCOL_FDS_MAX * sizeof(int))];
        } control;
        struct iovec vector = {.iov_base = (void *)message, .iov_len = size};
        struct msghdr header = {.msg_iov = &vector, .msg_iovlen = 1};
        ssize_t sent;

        if (n_fds > PROTOCOL_FDS_MAX)
                return -EINVAL;
        if (n_fds) {
                memset(&control, 0, sizeof(control));
                header.msg_control = &control;
                header.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
                control.header.cmsg_level = SOL_SOCKET;
                control.header.cmsg_type = SCM_RIGHTS;
                control.header.cmsg_len = CMSG_LEN(n_fds * sizeof(int));
                memcpy(CMSG_DATA(&control.header), fds, n_fds * sizeof(int));
        }
        do {
                sent = sendmsg(fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
        } while (sent < 0 && errno == EINTR);
        /* SEQPACKET sends whole messages or nothing. */
        return sent < 0 ? -errno : 0;
}

/* What can't be moved away from where it must not be is as good as lost. */
static int take_fd(struct packet *packet, const unsigned char *from)
{
        int fd;

        memcpy(&fd, from, sizeof(fd));
        fd = fd_above_standard(fd);
        if (fd < 0)
                packet->fds_truncated = true;
        return fd;
}

/* Moves the descriptors that came with the message into the packet. */
static void collect_fds(struct packet *packet, struct msghdr *header)
{
        for (struct cmsghdr *control = CMSG_FIRSTHDR(header); control;
             control = CMSG_NXTHDR(header, control)) {
                size_t n;

                if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS)
                        continue;
                n = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                for (size_t i = 0; i < n && packet->n_fds < PACKET_FDS_MAX; i++)
                        packet->fds[packet->n_fds++] =
                                take_fd(packet, CMSG_DATA(control) + i * sizeof(int));
        }
}

/* With room for so many descriptors. */
static int receive(int fd, struct packet *packet, unsigned n_fds, int flags)
{
        union {
                struct cmsghdr header;
                char bytes[CMSG_SPACE(PACKET_FDS_MAX * sizeof(int))];
        } control;
        struct iovec vector = {.iov_base = packet->bytes, .iov_len = sizeof(packet->bytes)};
        struct msghdr header = {.msg_iov = &vector,
                                .msg_iovlen = 1,
                                .msg_control = &control,
                                .msg_controllen = CMSG_LEN(n_fds * sizeof(int))};
        ssize_t received;

        packet->n_fds = 0;
        do {
                received = recvmsg(fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC | flags);
        } while (received < 0 && errno == EINTR);
        if (received < 0)
                return -errno;
        packet->fds_truncated = header.msg_flags & MSG_CTRUNC;
        collect_fds(packet, &header);
        packet->size = (size_t)received;
        /* What a message of an older peer lacks at its end reads as zero. */
        if (packet->size + PACKET_GROWTH <= sizeof(packet->bytes))
                memset(packet->bytes + packet->size, 0, PACKET_GROWTH);
        packet->truncated = header.msg_flags & MSG_TRUNC;
        /* An empty packet can't be told from the end; no honest peer sends one. */
        return received > 0;
}

int socket_receive(int fd, struct packet *packet)
{
        return receive(fd, packet, PACKET_FDS_MAX, 0);
}

int socket_peek(int fd, struct packet *packet)
{
        return receive(fd, packet, PROTOCOL_FDS_MAX + 1, MSG_PEEK);
}

void socket_drop(int fd)
{
        char byte;
        struct iovec vector = {.iov_base = &byte, .iov_len = sizeof(byte)};
        struct msghdr header = {.msg_iov = &vector, .msg_iovlen = 1};
        ssize_t received;

        do {
                received = recvmsg(fd, &header, MSG_DONTWAIT);
        } while (received < 0 && errno == EINTR);
}

/* Peeks at one packet. 1: it carries no descriptors; 0: that was the last one; else negative. */
static int look_for_fds(int fd)
{
        union {
                struct cmsghdr header;
                char bytes[CMSG_SPACE(sizeof(struct ucred))];
        } control;
        char byte;
        struct iovec vector = {.iov_base = &byte, .iov_len = sizeof(byte)};
        struct msghdr header = {.msg_iov = &vector,
                                .msg_iovlen = 1,
                                .msg_control = &control,
                                .msg_controllen = sizeof(control)};
        ssize_t received;

        do {
                received = recvmsg(fd, &header, MSG_PEEK | MSG_DONTWAIT);
                /* Said once, of a peer that went without reading everything. */
        } while (received < 0 && (errno == EINTR || errno == ECONNRESET));
        if (received < 0)
                return -errno;
        return header.msg_flags & MSG_CTRUNC ? -EBUSY : header.msg_controllen > 0;
}

bool socket_drain(int fd)
{
        int more, yes = 1;

        /* Each packet then says who has sent it, which tells an empty one from the end. */
        if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &yes, sizeof(yes)) < 0 ||
            shutdown(fd, SHUT_RD) < 0)
                return false;
        while ((more = look_for_fds(fd)) > 0)
                socket_drop(fd);
        return more == 0;
}

void packet_close(struct packet *packet)
{
        for (unsigned i = 0; i < packet->n_fds; i++)
                fd_close(&packet->fds[i]);
        packet->n_fds = 0;
}

int packet_take_fd(struct packet *packet, unsigned index)
{
        int fd;

        if (index >= packet->n_fds)
                return -1;
        fd = packet->fds[index];
        packet->fds[index] = -1; /* consumed */
        return fd;
}

bool socket_refuse_fds(int fd)
{
        int no = 0;

        return setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &no, sizeof(no)) == 0;
}

bool socket_refuses_fds(int fd)
{
        socklen_t size = sizeof(int);
        int passes = 1;

        return getsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &passes, &size) == 0 && !passes;
}

ssize_t socket_peek_bytes(int fd, void *bytes, size_t size, bool *has_fds)
{
        struct iovec vector = {.iov_base = bytes, .iov_len = size};
        struct msghdr header = {.msg_iov = &vector, .msg_iovlen = 1};
        ssize_t n = recvmsg(fd, &header, MSG_PEEK | MSG_DONTWAIT);

        /* There is no room for them in the header, and the kernel says that it would take some. */
        *has_fds = n > 0 && (header.msg_flags & MSG_CTRUNC);
        return n;
}

int socket_connect(const char *path)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        cleanup_fd int fd = -1;
        int connected;

        if (!*path)
                return -ENOENT;
        if (strlen(path) >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        memcpy(address.sun_path, path, strlen(path));
        fd = fd_above_standard(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        if (fd < 0)
                return -errno;
        connected = connect(fd, (struct sockaddr *)&address, sizeof(address));
        if (connected < 0)
                return -errno;
        connected = fd;
        fd = -1; /* consumed */
        return connected;
}
