/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sysv-mq.c - each sample one message through two System V message queues.
 *
 * A queue has a number and no descriptor: no event loop can wait for one. So to block is
 * msgrcv(2) itself, and there is no row `bare` beside it. It also outlives its processes, so it is
 * removed by the coordinator.
 */
#include <sys/ipc.h>
#include <sys/msg.h>

#include "carrier.h"
#include "pingpong.h"

/* The type of a message lies before its text; of all buffers the page before belongs to them. */
struct message {
        long type;
        unsigned char text[];
};

/* The largest message, and the most bytes in a queue that an ordinary program may ask for. */
static int limits_check(struct link *link)
{
        struct msginfo info = {0};

        if (msgctl(0, IPC_INFO, (struct msqid_ds *)(void *)&info) < 0)
                return link_failed(link, -errno, "msgctl: %s", strerror(errno));
        if (link->payload <= (uint64_t)info.msgmax && link->payload <= (uint64_t)info.msgmnb)
                return 0;
        return link_failed(link, -EMSGSIZE,
                           "not in one message: kernel.msgmax is %d bytes, kernel.msgmnb %d",
                           info.msgmax, info.msgmnb);
}

static void queues_destroy(struct link *link)
{
        for (int i = 0; i < 2; i++) {
                if (link->in[i] >= 0)
                        msgctl(link->in[i], IPC_RMID, NULL);
                link->in[i] = link->out[!i] = -1;
        }
}

static int queues_create(struct link *link)
{
        int result = limits_check(link);

        for (int i = 0; i < 2 && result >= 0; i++) {
                link->in[i] = link->out[!i] = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
                if (link->in[i] < 0)
                        result = link_failed(link, -errno, "msgget: %s", strerror(errno));
        }
        return result;
}

static int queues_open(struct end *end)
{
        int flags = end->link->wait == WAIT_POLL ? IPC_NOWAIT : 0;
        struct carrier *carrier = carrier_new(end, end->link->payload, flags, flags);

        if (!carrier)
                return -ENOMEM;
        carrier->whole = true;
        carrier->readiness = false;
        return 0;
}

static struct message *message_of(void *text)
{
        return (struct message *)(void *)((unsigned char *)text - sizeof(struct message));
}

static inline ssize_t call_out(const struct carrier *carrier, void *data, size_t size)
{
        message_of(data)->type = 1;
        return msgsnd(carrier->out, message_of(data), size, carrier->flags) < 0 ? -1
                                                                                : (ssize_t)size;
}

static inline ssize_t call_in(const struct carrier *carrier, void *data, size_t size)
{
        ssize_t got = msgrcv(carrier->in, message_of(data), size, 0, carrier->flags);

        if (got < 0 && errno == ENOMSG)
                errno = EAGAIN;
        return got;
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

const struct transport transport_sysv_mq = {
        .name = "sysv-mq",
        .about = "two System V message queues, a sample a message; block: a msgrcv(2) that waits, "
                 "as "
                 "there is nothing to poll(2)",
        .waits = WAIT_POLL | WAIT_BLOCK,
        .memory = carrier_memory,
        .create = queues_create,
        .destroy = queues_destroy,
        .open = queues_open,
        .close = carrier_close,
        .ping = ping,
        .pong = pong,
};
