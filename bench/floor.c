/* SPDX-License-Identifier: Apache-2.0 */
/*
 * floor.c - two atomics, and nothing else.
 */
#include "floor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "clock.h"
#include "transport.h"

static inline __attribute__((always_inline)) void lead(struct floor_words *words, uint64_t first,
                                                       uint64_t count, bool pause)
{
        for (uint64_t n = first; n < first + count; n++) {
                atomic_store_explicit(&words->ping, n, memory_order_release);
                while (atomic_load_explicit(&words->pong, memory_order_acquire) != n) {
                        if (pause)
                                clock_pause();
                }
        }
}

static inline __attribute__((always_inline)) void follow(struct floor_words *words, uint64_t first,
                                                         uint64_t count, bool pause)
{
        for (uint64_t n = first; n < first + count; n++) {
                while (atomic_load_explicit(&words->ping, memory_order_acquire) != n) {
                        if (pause)
                                clock_pause();
                }
                atomic_store_explicit(&words->pong, n, memory_order_release);
        }
}

/* Both variants as loops of their own: no test of `pause` in either. */

void floor_ping(struct floor_words *words, uint64_t first, uint64_t count, bool pause)
{
        if (pause)
                lead(words, first, count, true);
        else
                lead(words, first, count, false);
}

void floor_pong(struct floor_words *words, uint64_t first, uint64_t count, bool pause)
{
        if (pause)
                follow(words, first, count, true);
        else
                follow(words, first, count, false);
}

/* ---- the same as a row of its own -------------------------------------------------------- */

static int floor_create(struct link *link)
{
        void *memory = mmap(NULL, sizeof(struct floor_words), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        if (memory == MAP_FAILED)
                return link_failed(link, -errno, "mmap: %s", strerror(errno));
        link->memory = memory;
        return 0;
}

static void floor_destroy(struct link *link)
{
        if (link->memory)
                munmap(link->memory, sizeof(struct floor_words));
        link->memory = NULL;
}

static int floor_open(struct end *end)
{
        end->state = end->link->memory;
        end->warmup = 1;
        return 0;
}

static void floor_close(struct end *end)
{
        end->state = NULL;
}

static int ping(struct end *end, uint64_t first, uint64_t count)
{
        floor_ping(end->state, first, count, end->pause);
        return 0;
}

static int pong(struct end *end, uint64_t first, uint64_t count)
{
        floor_pong(end->state, first, count, end->pause);
        return 0;
}

const struct transport transport_floor = {
        .name = "floor",
        .about = "two atomics in shared memory, no payload: the least there can be",
        .waits = WAIT_POLL,
        .is_bare = true,
        .create = floor_create,
        .destroy = floor_destroy,
        .open = floor_open,
        .close = floor_close,
        .ping = ping,
        .pong = pong,
};
