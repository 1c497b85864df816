/* SPDX-License-Identifier: Apache-2.0 */
/*
 * socket.c - send(2) and recv(2).
 */
#include "socket.h"

#include <limits.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "carrier.h"
#include "pingpong.h"

int socket_pair(struct link *link, int type)
{
        int fds[2];

        if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds) < 0)
                return link_failed(link, -errno, "socketpair: %s", strerror(errno));
        carrier_join(link, fds);
        return 0;
}

void socket_grow(int fd)
{
        int most = INT_MAX / 2; /* the kernel makes it net.core.wmem_max */

        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &most, sizeof(most));
}

static int send_once(struct link *link, void *data)
{
        socklen_t length = sizeof(int);
        int room = 0;

        if (send(link->out[0], data, link->payload, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
                return recv(link->in[1], data, link->payload, MSG_DONTWAIT) < 0 ? -errno : 0;
        getsockopt(link->out[0], SOL_SOCKET, SO_SNDBUF, &room, &length);
        return link_failed(link, -EMSGSIZE,
                           "not in one message: %s; SO_SNDBUF is %d bytes, all that "
                           "net.core.wmem_max allows",
                           strerror(errno), room);
}

int socket_probe(struct link *link)
{
        void *data = mmap(NULL, link->payload, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                          -1, 0);
        int result;

        if (data == MAP_FAILED)
                return link_failed(link, -ENOMEM, "mmap: %s", strerror(errno));
        result = send_once(link, data);
        munmap(data, link->payload);
        return result;
}

int socket_open_stream(struct end *end)
{
        return carrier_new(end, end->link->payload, MSG_WAITALL, MSG_DONTWAIT) ? 0 : -ENOMEM;
}

int socket_open_messages(struct end *end)
{
        struct carrier *carrier = carrier_new(end, end->link->payload, 0, MSG_DONTWAIT);

        if (carrier)
                carrier->whole = true;
        return carrier ? 0 : -ENOMEM;
}

static inline ssize_t call_out(const struct carrier *carrier, void *data, size_t size)
{
        return send(carrier->out, data, size, MSG_NOSIGNAL | carrier->flags);
}

static inline ssize_t call_in(const struct carrier *carrier, void *data, size_t size)
{
        return recv(carrier->in, data, size, carrier->flags);
}

static inline int send_sample(struct end *end, uint64_t n)
{
        return carrier_send(end, n, call_out);
}

static inline int receive_sample(struct end *end, uint64_t n)
{
        return carrier_receive(end, n, call_in);
}

int socket_ping(struct end *end, uint64_t first, uint64_t count)
{
        return pingpong_lead(end, first, count, send_sample, receive_sample);
}

int socket_pong(struct end *end, uint64_t first, uint64_t count)
{
        return pingpong_follow(end, first, count, send_sample, receive_sample);
}
