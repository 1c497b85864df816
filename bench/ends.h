/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ends.h - how do the two processes of a measurement work together?
 *
 *     coordinator            lead (CPU A)                      follower (CPU B)
 *     ends_run() forks both  opens, ends_meet()                opens, ends_meet()
 *     and sleeps             ends_order() a piece of work -->  ends_obey() returns it: does it
 *                            does its own side of it, timed    and comes back
 *                            fills in `figures`
 *                            ends_order(ORDER_QUIT)       -->  ends
 *     reads figures, reason
 *
 * Both ends have the shared memory of `struct ends`. The follower spins for its orders, so that its
 * CPU is awake when a piece of work starts; once in a while it yields, for the case that both
 * ends have only one CPU. The floor is an order like any other, on words that live here: it is
 * measured between the same two processes as everything that is compared with it.
 */
#ifndef BENCH_ENDS_H
#define BENCH_ENDS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "figures.h"
#include "floor.h"

enum order {
        ORDER_QUIT = 1,
        ORDER_FLOOR = 2, /* done inside ends_obey() */
        ORDER_PONG = 3,  /* echo samples */
        ORDER_FILL = 4,  /* the same, writing every byte */
        ORDER_READ = 5,  /* take samples until the next order */
};

struct ends {
        struct floor_words floor;

        /* line - written by the lead, read by the follower; fields before the ticket */
        _Alignas(128) _Atomic uint64_t ticket;
        enum order order;
        bool pause;
        uint64_t first;
        uint64_t count;

        /* line - who has arrived at ends_meet() */
        _Alignas(128) _Atomic uint32_t arrived;

        /* written by the lead, read by the coordinator when both have ended */
        _Alignas(128) struct figures figures;
        struct figures more;  /* of a second thing measured beside the first */
        char reasons[2][192]; /* why the lead, the follower gave up; written by each */
};

struct ends_job {
        int (*lead)(struct ends *ends, const void *user);
        int (*follow)(struct ends *ends, const void *user);
        const void *user;
        int cpus[2];
        uint64_t timeout_ns;
};

/**
 * Runs both in processes of their own, to the end.
 * @return 0; negative errno with a text in `reason`.
 */
int ends_run(const struct ends_job *job, struct figures *figures, struct figures *more,
             char *reason, uint32_t reason_size);

/** Both: waits until the other has arrived as well. */
void ends_meet(struct ends *ends);

/** The lead: the next piece of work. Returns at once. */
void ends_order(struct ends *ends, enum order order, uint64_t first, uint64_t count);

/** What the follower is to do. */
struct work {
        uint64_t ticket; /* the next one is different */
        enum order order;
        uint64_t first;
        uint64_t count;
};

/** The follower: waits for an order other than the floor. @return false: it was ORDER_QUIT. */
bool ends_obey(struct ends *ends, struct work *work);

/** The follower, while it works: whether there is another order. */
static inline bool ends_ordered(struct ends *ends, const struct work *work)
{
        return atomic_load_explicit(&ends->ticket, memory_order_relaxed) != work->ticket;
}

#endif
