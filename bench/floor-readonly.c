/* SPDX-License-Identifier: Apache-2.0 */
/*
 * floor-readonly.c - two atomics again, where nobody can write what the other side writes.
 *
 * Each word has a page of its own, which the side that reads it has mapped read-only. That is what
 * memory that readers can't harm has to be like, and on some CPUs (AMD's Zen 4 among them) it is
 * slower: a line that is loaded through a read-only page is fetched as shared, and its writer has
 * to ask for it back; through a writable page it moves as a whole. This is the plain load; what
 * helps against it is in src/atomic.h, load_acquire_awaited().
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "clock.h"
#include "transport.h"

#include <stdatomic.h>

enum { PAGE = 4096 };

struct word {
        _Alignas(PAGE) _Atomic uint64_t number;
};

static int readonly_create(struct link *link)
{
        void *memory = mmap(NULL, 2 * sizeof(struct word), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        if (memory == MAP_FAILED)
                return link_failed(link, -errno, "mmap: %s", strerror(errno));
        link->memory = memory;
        return 0;
}

static void readonly_destroy(struct link *link)
{
        if (link->memory)
                munmap(link->memory, 2 * sizeof(struct word));
        link->memory = NULL;
}

/* In a process of its own: the protection is this end's. */
static int readonly_open(struct end *end)
{
        struct word *words = end->link->memory;

        if (mprotect(&words[end->leads], sizeof(struct word), PROT_READ) < 0)
                return end_failed(end, -errno, "mprotect");
        end->state = words;
        end->warmup = 1;
        return 0;
}

static void readonly_close(struct end *end)
{
        end->state = NULL;
}

static inline void await(struct word *word, uint64_t number, bool pause)
{
        while (atomic_load_explicit(&word->number, memory_order_acquire) != number) {
                if (pause)
                        clock_pause();
        }
}

static int ping(struct end *end, uint64_t first, uint64_t count)
{
        struct word *words = end->state;

        for (uint64_t n = first; n < first + count; n++) {
                atomic_store_explicit(&words[0].number, n, memory_order_release);
                await(&words[1], n, end->pause);
        }
        return 0;
}

static int pong(struct end *end, uint64_t first, uint64_t count)
{
        struct word *words = end->state;

        for (uint64_t n = first; n < first + count; n++) {
                await(&words[0], n, end->pause);
                atomic_store_explicit(&words[1].number, n, memory_order_release);
        }
        return 0;
}

const struct transport transport_floor_readonly = {
        .name = "floor-readonly",
        .about = "two atomics, each mapped read-only by who reads it, with plain loads: protected "
                 "memory",
        .waits = WAIT_POLL,
        .is_bare = true,
        .create = readonly_create,
        .destroy = readonly_destroy,
        .open = readonly_open,
        .close = readonly_close,
        .ping = ping,
        .pong = pong,
};
