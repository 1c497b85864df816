/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pipe.c - samples as bytes through two pipes.
 *
 * No vmsplice(2): it would save one of the two copies, but what a pipe promises is that the sender
 * may write on in its buffer at once.
 */
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include "carrier.h"
#include "pingpong.h"

/* A sample fits if it may; a pipe that is larger than that would only use more of the caches. */
static void grow(const struct link *link, int fd)
{
        uint64_t most = carrier_limit("/proc/sys/fs/pipe-max-size");
        uint64_t size = link->payload < most ? link->payload : most;
        int now = fcntl(fd, F_GETPIPE_SZ);

        if (size <= INT_MAX && (int)size > now)
                fcntl(fd, F_SETPIPE_SZ, (int)size);
}

static int pipes_create(struct link *link)
{
        int flags = O_CLOEXEC | (link->wait == WAIT_BARE ? 0 : O_NONBLOCK);

        for (int i = 0; i < 2; i++) {
                int fds[2];

                if (pipe2(fds, flags) < 0)
                        return link_failed(link, -errno, "pipe2: %s", strerror(errno));
                link->in[i] = fds[0];
                link->out[!i] = fds[1];
                grow(link, fds[1]);
        }
        return 0;
}

static inline ssize_t call_out(const struct carrier *carrier, void *data, size_t size)
{
        return write(carrier->out, data, size);
}

static inline ssize_t call_in(const struct carrier *carrier, void *data, size_t size)
{
        return read(carrier->in, data, size);
}

static inline int send_sample(struct end *end, uint64_t n)
{
        return carrier_send(end, n, call_out);
}

static inline int receive_sample(struct end *end, uint64_t n)
{
        return carrier_receive(end, n, call_in);
}

static int ping(struct end *end, uint64_t first, uint64_t count)
{
        return pingpong_lead(end, first, count, send_sample, receive_sample);
}

static int pong(struct end *end, uint64_t first, uint64_t count)
{
        return pingpong_follow(end, first, count, send_sample, receive_sample);
}

const struct transport transport_pipe = {
        .name = "pipe",
        .about = "two pipes, write(2) and read(2), made as large as a sample, if that is allowed",
        .waits = WAIT_POLL | WAIT_BLOCK | WAIT_BARE,
        .memory = carrier_memory,
        .create = pipes_create,
        .destroy = carrier_destroy,
        .open = carrier_open,
        .close = carrier_close,
        .ping = ping,
        .pong = pong,
};
