/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unix-stream.c - samples as bytes through a Unix stream socket pair.
 *
 * The kernel copies the whole payload in and out, whatever part of it is touched. The receiver
 * knows the length, so that a sample is as few calls as the kernel lets it be: nothing is framed.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "payload.h"
#include "pingpong.h"

struct stream {
        int fd;
        unsigned char *out;
        unsigned char *in;
};

static uint64_t stream_memory(const struct link *link)
{
        return 4 * link->payload;
}

static int stream_create(struct link *link)
{
        return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, link->fds) < 0 ? -errno : 0;
}

static void stream_destroy(struct link *link)
{
        for (int i = 0; i < 2; i++) {
                if (link->fds[i] >= 0)
                        close(link->fds[i]);
                link->fds[i] = -1;
        }
}

static unsigned char *buffer_new(uint64_t size)
{
        void *buffer = NULL;

        if (posix_memalign(&buffer, 4096, size) != 0)
                return NULL;
        memset(buffer, 0, size); /* the pages are there before the clock runs */
        return buffer;
}

static void stream_close(struct end *end)
{
        struct stream *stream = end->state;

        if (!stream)
                return;
        free(stream->out);
        free(stream->in);
        free(stream);
        end->state = NULL;
}

static int stream_open(struct end *end)
{
        const struct link *link = end->link;
        struct stream *stream = calloc(1, sizeof(*stream));

        end->state = stream;
        end->warmup = 2;
        if (stream) {
                stream->fd = link->fds[end->leads ? 0 : 1];
                stream->out = buffer_new(link->payload);
                stream->in = buffer_new(link->payload);
        }
        if (!stream || !stream->out || !stream->in)
                return end_failed(end, -ENOMEM, "no memory for two buffers");
        return 0;
}

/* There is nothing to read, or no room to write. */
static inline int stream_wait(struct end *end, const struct stream *stream, short events)
{
        struct pollfd ready = {.fd = stream->fd, .events = events};

        if (end->link->wait == WAIT_POLL) {
                clock_pause();
                return 0;
        }
        if (poll(&ready, 1, -1) < 0 && errno != EINTR)
                return end_failed(end, -errno, "poll: %s", strerror(errno));
        return 0;
}

static inline int stream_send(struct end *end, uint64_t n)
{
        const struct stream *stream = end->state;
        uint64_t done = 0, size = end->link->payload;

        payload_write(end, stream->out, n);
        while (done < size) {
                ssize_t sent = send(stream->fd, stream->out + done, size - done,
                                    MSG_DONTWAIT | MSG_NOSIGNAL);
                int result = 0;

                if (sent >= 0)
                        done += (uint64_t)sent;
                else if (errno == EAGAIN)
                        result = stream_wait(end, stream, POLLOUT);
                else if (errno != EINTR)
                        result = end_failed(end, -errno, "send: %s", strerror(errno));
                if (result < 0)
                        return result;
        }
        return 0;
}

static inline int stream_receive(struct end *end, uint64_t n)
{
        const struct stream *stream = end->state;
        uint64_t done = 0, size = end->link->payload;

        if (end->link->wait == WAIT_BLOCK && stream_wait(end, stream, POLLIN) < 0)
                return -errno;
        while (done < size) {
                ssize_t got = recv(stream->fd, stream->in + done, size - done, MSG_DONTWAIT);
                int result = 0;

                if (got > 0)
                        done += (uint64_t)got;
                else if (got == 0)
                        result = end_failed(end, -EPIPE, "the other end has gone");
                else if (errno == EAGAIN)
                        result = stream_wait(end, stream, POLLIN);
                else if (errno != EINTR)
                        result = end_failed(end, -errno, "recv: %s", strerror(errno));
                if (result < 0)
                        return result;
        }
        return payload_read(end, stream->in, n);
}

static int ping(struct end *end, uint64_t first, uint64_t count)
{
        return pingpong_lead(end, first, count, stream_send, stream_receive);
}

static int pong(struct end *end, uint64_t first, uint64_t count)
{
        return pingpong_follow(end, first, count, stream_send, stream_receive);
}

const struct transport transport_unix_stream = {
        .name = "unix-stream",
        .about = "a Unix stream socket; block: poll(2), then recv(2)",
        .waits = WAIT_POLL | WAIT_BLOCK,
        .memory = stream_memory,
        .create = stream_create,
        .destroy = stream_destroy,
        .open = stream_open,
        .close = stream_close,
        .ping = ping,
        .pong = pong,
};
