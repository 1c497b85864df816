/* SPDX-License-Identifier: Apache-2.0 */
/*
 * posix-mq.c - each sample one message through two POSIX message queues.
 *
 * On Linux a queue is a descriptor, and poll(2) works on it. A queue is as long as it must be: one
 * message, since the two take turns; what is counted against RLIMIT_MSGQUEUE is length x size.
 */
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "carrier.h"
#include "pingpong.h"

static int refuse(struct link *link)
{
        struct rlimit limit = {0};
        int error = errno;

        getrlimit(RLIMIT_MSGQUEUE, &limit);
        return link_failed(link, error == ENOSYS || error == EACCES ? -error : -EMSGSIZE,
                           "mq_open: %s; fs.mqueue.msgsize_max is %llu, RLIMIT_MSGQUEUE %llu",
                           strerror(error),
                           (unsigned long long)carrier_limit("/proc/sys/fs/mqueue/msgsize_max"),
                           (unsigned long long)limit.rlim_cur);
}

/* Has a name for a moment only. */
static int queue_open(const struct link *link, int number)
{
        struct mq_attr attributes = {.mq_maxmsg = 1, .mq_msgsize = (long)link->payload};
        int flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC;
        char name[64];
        mqd_t queue;

        if (link->wait != WAIT_BARE)
                flags |= O_NONBLOCK;
        snprintf(name, sizeof(name), "/shmd-bench-%d-%d", (int)getpid(), number);
        queue = mq_open(name, flags, 0600, &attributes);
        if (queue >= 0)
                mq_unlink(name);
        return queue;
}

static int queues_create(struct link *link)
{
        struct rlimit limit;

        if (getrlimit(RLIMIT_MSGQUEUE, &limit) == 0) {
                limit.rlim_cur = limit.rlim_max;
                setrlimit(RLIMIT_MSGQUEUE, &limit);
        }
        for (int i = 0; i < 2; i++) {
                link->in[i] = link->out[!i] = queue_open(link, i);
                if (link->in[i] < 0)
                        return refuse(link);
        }
        return 0;
}

static int queues_open(struct end *end)
{
        struct carrier *carrier = carrier_new(end, end->link->payload, 0, 0);

        if (carrier)
                carrier->whole = true;
        return carrier ? 0 : -ENOMEM;
}

static inline ssize_t call_out(const struct carrier *carrier, void *data, size_t size)
{
        return mq_send(carrier->out, data, size, 0) < 0 ? -1 : (ssize_t)size;
}

static inline ssize_t call_in(const struct carrier *carrier, void *data, size_t size)
{
        return mq_receive(carrier->in, data, size, NULL);
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

const struct transport transport_posix_mq = {
        .name = "posix-mq",
        .about = "two POSIX message queues, a sample a message, RLIMIT_MSGQUEUE as high as allowed",
        .waits = WAIT_POLL | WAIT_BLOCK | WAIT_BARE,
        .memory = carrier_memory,
        .create = queues_create,
        .destroy = carrier_destroy,
        .open = queues_open,
        .close = carrier_close,
        .ping = ping,
        .pong = pong,
};
