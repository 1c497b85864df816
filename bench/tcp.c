/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tcp.c - samples as bytes through a TCP connection on the loopback interface.
 *
 * With TCP_NODELAY, as nothing else would be fair. Buffers are left to the kernel: to set their
 * sizes turns off its own tuning, which goes higher.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "carrier.h"
#include "socket.h"

static int refuse(struct link *link, const char *what)
{
        return link_failed(link, -errno, "%s: %s", what, strerror(errno));
}

/* Waits for the one connection that is made to itself. */
static int connect_both(struct link *link, int listener)
{
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t length = sizeof(address);
        int fds[2], one = 1;

        if (bind(listener, (struct sockaddr *)&address, length) < 0 || listen(listener, 1) < 0 ||
            getsockname(listener, (struct sockaddr *)&address, &length) < 0)
                return refuse(link, "a listening socket on 127.0.0.1");
        fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fds[0] < 0)
                return refuse(link, "socket");
        link->in[0] = link->out[0] = fds[0];
        if (connect(fds[0], (struct sockaddr *)&address, length) < 0)
                return refuse(link, "connecting to 127.0.0.1");
        fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fds[1] < 0)
                return refuse(link, "accept4");
        carrier_join(link, fds);
        for (int i = 0; i < 2; i++) {
                if (setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0)
                        return refuse(link, "TCP_NODELAY");
        }
        return 0;
}

static int tcp_create(struct link *link)
{
        int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int result;

        if (listener < 0)
                return refuse(link, "socket");
        result = connect_both(link, listener);
        close(listener);
        return result;
}

const struct transport transport_tcp = {
        .name = "tcp",
        .about = "a TCP connection on the loopback interface, with TCP_NODELAY, send(2) and "
                 "recv(2); bare: with MSG_WAITALL",
        .waits = WAIT_POLL | WAIT_BLOCK | WAIT_BARE,
        .memory = carrier_memory,
        .create = tcp_create,
        .destroy = carrier_destroy,
        .open = socket_open_stream,
        .close = carrier_close,
        .ping = socket_ping,
        .pong = socket_pong,
};
