/* SPDX-License-Identifier: Apache-2.0 */
/*
 * figures.h - what is known in the end about one thing that was measured?
 *
 * NAN is "does not apply" or "too few samples to say": a dash in tables, null in JSON, never zero.
 */
#ifndef BENCH_FIGURES_H
#define BENCH_FIGURES_H

#include <stdint.h>

struct figures {
        double p50_ns;
        double p90_ns;
        double p99_ns;
        double p999_ns;
        double max_ns;
        double mean_ns;
        double floor_p50_ns;   /* one way, of the same slices */
        double ratio_to_floor; /* the middle of the slices' own ratios */
        uint64_t samples;      /* values timed one by one */
        uint32_t slices_kept;
        uint32_t slices_discarded;
};

struct histogram;

/** All unknown. */
void figures_init(struct figures *figures);

/** What a histogram of single values says; the rest stays. */
void figures_of_times(struct figures *figures, const struct histogram *times);

#endif
