/* SPDX-License-Identifier: Apache-2.0 */
/*
 * raw.h - the protocol spoken by hand, for what no honest library would say, and for brokers that
 * are none.
 */
#ifndef SHMD_TESTS_RAW_H
#define SHMD_TESTS_RAW_H

#include "protocol.h"
#include "socket.h"

/* A socket to the test's broker, and one that has said HELLO and been welcomed; *connection is the
 * id that it gave, unless that is NULL. */
int raw_connect(void);
int raw_session(uint64_t *connection);

/* Sends; must succeed. */
void raw_send(int fd, const void *message, size_t size, const int *fds, unsigned n_fds);
/* Waits for one message. False: the end of the stream. */
bool raw_receive(int fd, struct packet *packet);
/* Waits for the end of the stream, whatever comes before; the text of a GOODBYE, or "". */
const char *raw_await_end(int fd);

void raw_fill_hello(struct message_hello *hello, uint32_t version, uint32_t min_version);

/* What a subscriber passes: its block, with a row for as many holds as there is room for. */
int raw_block(uint64_t connection);

/* An ADVERTISE of shmd_bytes that is right, and its segment, mapped and without its descriptor
 * closed; of the kind that raw_send() sends with one descriptor. */
struct raw_publisher {
        void *memory;
        int fd;
        struct message_advertise message;
};
void raw_publisher_open(struct raw_publisher *publisher, const char *service);
void raw_publisher_close(struct raw_publisher *publisher);

/* A SUBSCRIBE to shmd_bytes that is right, with block 0 and channel. */
void raw_fill_subscribe(struct message_subscribe *subscribe, const char *service);

/* Sends a request and waits for its REPLY, whatever comes before it; its code. *text, unless that
 * is NULL: what it says, until the next call. */
int raw_request(int fd, const void *message, const int *fds, unsigned n_fds, const char **text);

/* A session that resumes as the connection. */
int raw_resume(uint64_t connection);

/* A session with one subscription to shmd_bytes, that reads what it is sent only while it is
 * opened; the code of the REPLY. */
struct raw_reader {
        int fd, block, ends[2];
        uint64_t connection;
        struct message_subscribe message;
};
int raw_reader_open(struct raw_reader *reader, const char *service, const char **text);
void raw_reader_close(const struct raw_reader *reader);

/* A socket that listens at `path` as a broker would; a connection to it. */
int raw_listen(const char *path);
int raw_accept(int listener);

#endif
