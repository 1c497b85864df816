/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unix-stream.c - samples as bytes through a Unix stream socket pair.
 *
 * Its buffers are what they are by default: larger ones have been tried, and are slower when both
 * ends spin, since more of the caches is used.
 */
#include <sys/socket.h>

#include "carrier.h"
#include "socket.h"

static int stream_create(struct link *link)
{
        return socket_pair(link, SOCK_STREAM);
}

const struct transport transport_unix_stream = {
        .name = "unix-stream",
        .about = "a pair of Unix stream sockets, send(2) and recv(2); bare: with MSG_WAITALL",
        .waits = WAIT_POLL | WAIT_BLOCK | WAIT_BARE,
        .memory = carrier_memory,
        .create = stream_create,
        .destroy = carrier_destroy,
        .open = socket_open_stream,
        .close = carrier_close,
        .ping = socket_ping,
        .pong = socket_pong,
};
