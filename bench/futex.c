/* SPDX-License-Identifier: Apache-2.0 */
/*
 * futex.c - samples in plain shared memory, and a word beside each to wait for.
 *
 * As futex(7) means it to be used: the kernel is called by who has to sleep, and by who sees that
 * somebody does. A futex has no descriptor, so to block is futex(2) itself, and there is no row
 * `bare` beside it. To poll is to watch the word, as no call would tell more than the word does:
 * then the kernel has no part in it, and the row shows what memory can do for two that trust each
 * other, with no protocol, no protection, and one sample under way.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"
#include "mailbox.h"
#include "payload.h"
#include "pingpong.h"

/* Not FUTEX_PRIVATE_FLAG: the two are not threads of one process. */
static long futex(_Atomic uint32_t *word, int operation, uint32_t value)
{
        return syscall(SYS_futex, word, operation, value, NULL, NULL, 0);
}

static int word_open(struct end *end)
{
        end->warmup = 2;
        return 0;
}

static void word_close(struct end *end)
{
        end->state = NULL;
}

static inline int send_polled(struct end *end, uint64_t n)
{
        struct mailbox *box = mailbox_of(end->link, end->leads);

        payload_write(end, box->payload, n);
        /* RELEASE: the payload, to who sees the number. Partner: receive_polled(). */
        atomic_store_explicit(&box->number, (uint32_t)n, memory_order_release);
        return 0;
}

static inline int receive_polled(struct end *end, uint64_t n)
{
        struct mailbox *box = mailbox_of(end->link, !end->leads);

        while (atomic_load_explicit(&box->number, memory_order_acquire) != (uint32_t)n)
                clock_pause();
        return payload_read(end, box->payload, n);
}

/* Both sides store, then look, each sequentially consistent: either the sender finds `sleeps`, or
 * the kernel finds the new number when the receiver comes to sleep. */

static inline int send_blocking(struct end *end, uint64_t n)
{
        struct mailbox *box = mailbox_of(end->link, end->leads);

        payload_write(end, box->payload, n);
        atomic_store(&box->number, (uint32_t)n);
        if (atomic_load(&box->sleeps) == 0)
                return 0;
        atomic_store(&box->sleeps, 0);
        if (futex(&box->number, FUTEX_WAKE, 1) < 0)
                return end_failed(end, -errno, "FUTEX_WAKE: %s", strerror(errno));
        return 0;
}

static inline int receive_blocking(struct end *end, uint64_t n)
{
        struct mailbox *box = mailbox_of(end->link, !end->leads);
        uint32_t seen;

        while ((seen = atomic_load(&box->number)) != (uint32_t)n) {
                atomic_store(&box->sleeps, 1);
                if (futex(&box->number, FUTEX_WAIT, seen) < 0 && errno != EAGAIN && errno != EINTR)
                        return end_failed(end, -errno, "FUTEX_WAIT: %s", strerror(errno));
        }
        return payload_read(end, box->payload, n);
}

static int ping(struct end *end, uint64_t first, uint64_t count)
{
        if (end->link->wait == WAIT_POLL)
                return pingpong_lead(end, first, count, send_polled, receive_polled);
        return pingpong_lead(end, first, count, send_blocking, receive_blocking);
}

static int pong(struct end *end, uint64_t first, uint64_t count)
{
        if (end->link->wait == WAIT_POLL)
                return pingpong_follow(end, first, count, send_polled, receive_polled);
        return pingpong_follow(end, first, count, send_blocking, receive_blocking);
}

const struct transport transport_futex = {
        .name = "futex",
        .about = "plain shared memory without any protection, a word beside it; poll: the word is "
                 "watched, without any call; block: FUTEX_WAIT and, if somebody waits, FUTEX_WAKE",
        .waits = WAIT_POLL | WAIT_BLOCK,
        .memory = mailbox_memory,
        .create = mailbox_create,
        .destroy = mailbox_destroy,
        .open = word_open,
        .close = word_close,
        .ping = ping,
        .pong = pong,
};
