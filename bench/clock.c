/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock.c - how good is the clock that everything here is measured with?
 */
#include "clock.h"

enum {
        ROUNDS = 50,
        CALLS = 2000,
        STEP_MAX = 1000, /* ns; no clock worth using is coarser */
};

/* The difference that is there most often: rounding to nanoseconds makes others beside it. */
static double step_find(const uint32_t *differences)
{
        uint32_t step = 1;

        for (uint32_t i = 2; i < STEP_MAX; i++) {
                if (differences[i] > differences[step])
                        step = i;
        }
        return step;
}

void clock_measure(struct clock_facts *facts)
{
        uint32_t differences[STEP_MAX] = {0};
        double best = 1e9;

        for (int round = 0; round < ROUNDS; round++) {
                uint64_t start = clock_ns(), before = start, last = 0;

                for (int i = 0; i < CALLS; i++) {
                        uint64_t t = clock_ns();
                        uint64_t took = t - before;
                        /* A call that costs more than a step never shows a single one; by how
                         * much two calls differ does. */
                        uint64_t other = took > last ? took - last : last - took;

                        if (other < STEP_MAX)
                                differences[other]++;
                        last = took;
                        before = t;
                }
                if ((double)(before - start) / CALLS < best)
                        best = (double)(before - start) / CALLS;
        }
        facts->cost_ns = best;
        facts->step_ns = step_find(differences);
}
