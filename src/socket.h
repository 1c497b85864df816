/* SPDX-License-Identifier: Apache-2.0 */
/*
 * socket.h - one message with its descriptors over a SOCK_SEQPACKET socket.
 *
 * Nothing else in shmd touches control messages. A packet that was received owns its descriptors
 * until packet_close() or until they are taken out (and replaced by -1).
 */
#ifndef SHMD_SOCKET_H
#define SHMD_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "protocol.h"

/* What the kernel passes with one message at most (SCM_MAX_FD). */
#define PACKET_FDS_MAX 253

/* Bytes by which a message may have grown since the first version. */
#define PACKET_GROWTH 64

struct packet {
        union {
                struct message header;
                _Alignas(8) unsigned char bytes[PROTOCOL_MESSAGE_MAX];
        };
        size_t size;
        bool truncated;     /* bytes were more than fit */
        bool fds_truncated; /* descriptors were lost: too many, or none free in this process */
        unsigned n_fds;
        int fds[PACKET_FDS_MAX];
};

/* Sends without blocking and without SIGPIPE. 0; -EAGAIN: the queue is full; -ETOOMANYREFS: too
 * many descriptors in flight; -EPIPE, -ECONNRESET: the peer is gone; or another system's error.
 * The descriptors stay the caller's. */
int socket_send(int fd, const void *message, size_t size, const int *fds, unsigned n_fds);

/* Receives without blocking. 1: *packet is filled in; 0: end of file; -EAGAIN: nothing there; or a
 * system's error. */
int socket_receive(int fd, struct packet *packet);

/*
 * As socket_receive(), but the packet stays in the socket too, and of its descriptors at most one
 * more than any message has are taken: that many, and it has more than it should. `fds_truncated`
 * with fewer: this process has no descriptor free.
 *
 * Descriptors that recvmsg() can't hand over are closed by the thread that calls it, for as long as
 * their last owner likes. As long as the packet is in the socket none of them is the last. A reader
 * who has them all calls socket_drop(); one who hasn't leaves the packet where it is.
 */
int socket_peek(int fd, struct packet *packet);

/* Takes the packet away that socket_peek() has found. */
void socket_drop(int fd);

/* Lets the peer send no more, and takes away what it has sent, up to the first packet that carries
 * descriptors. Whether there was none: then to close the socket closes nothing else. */
bool socket_drain(int fd);

/* Closes what the packet still owns. */
void packet_close(struct packet *packet);

/* Takes descriptor `index` out of the packet: the caller owns it. -1 if it isn't there. */
int packet_take_fd(struct packet *packet, unsigned index);

/* Has a Unix socket refuse descriptors that are sent to it; false: this kernel (before 6.16) can't.
 * Whether it has been refusing them. */
bool socket_refuse_fds(int fd);
bool socket_refuses_fds(int fd);

/* As recv(), without waiting and without taking anything away; *has_fds: descriptors came with the
 * last of these bytes. They stay where they are. */
ssize_t socket_peek_bytes(int fd, void *bytes, size_t size, bool *has_fds);

/* A connected, non-blocking socket, or a negative errno value (-ENAMETOOLONG, -ENOENT,
 * -ECONNREFUSED, -EACCES, -EAGAIN: the listener's backlog is full...). */
int socket_connect(const char *path);

#endif
