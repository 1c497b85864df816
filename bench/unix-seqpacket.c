/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unix-seqpacket.c - each sample one message through a Unix seqpacket socket pair.
 *
 * Without room for a whole message there is no message: SO_SNDBUF is made as large as
 * net.core.wmem_max lets an ordinary program have it.
 */
#include <sys/socket.h>

#include "carrier.h"
#include "socket.h"

static int seqpacket_create(struct link *link)
{
        int result = socket_pair(link, SOCK_SEQPACKET);

        for (int i = 0; i < 2 && result >= 0; i++)
                socket_grow(link->out[i]);
        return result < 0 ? result : socket_probe(link);
}

const struct transport transport_unix_seqpacket = {
        .name = "unix-seqpacket",
        .about = "a pair of Unix seqpacket sockets, a sample a message, SO_SNDBUF as large as "
                 "allowed",
        .waits = WAIT_POLL | WAIT_BLOCK | WAIT_BARE,
        .memory = carrier_memory,
        .create = seqpacket_create,
        .destroy = carrier_destroy,
        .open = socket_open_messages,
        .close = carrier_close,
        .ping = socket_ping,
        .pong = socket_pong,
};
