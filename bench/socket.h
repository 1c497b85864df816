/* SPDX-License-Identifier: Apache-2.0 */
/*
 * socket.h - what is the same for samples through any kind of socket?
 *
 * send(2) and recv(2), with MSG_DONTWAIT to poll and after poll(2), with MSG_WAITALL bare. The
 * kinds differ in how two of them are joined, and in whether a sample is one message.
 */
#ifndef BENCH_SOCKET_H
#define BENCH_SOCKET_H

#include "transport.h"

/** Two Unix sockets of this type, joined. As create(). */
int socket_pair(struct link *link, int type);

/** Sends one message of the payload's size to find out whether that can be done. As create(). */
int socket_probe(struct link *link);

/** With as much room on the way as an ordinary program may ask for. */
void socket_grow(int fd);

/** As the transport's: of a stream of bytes, of messages. */
int socket_open_stream(struct end *end);
int socket_open_messages(struct end *end);
int socket_ping(struct end *end, uint64_t first, uint64_t count);
int socket_pong(struct end *end, uint64_t first, uint64_t count);

#endif
