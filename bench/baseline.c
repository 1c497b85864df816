/* SPDX-License-Identifier: Apache-2.0 */
/*
 * baseline.c - the floor, twice around every slice.
 */
#include "baseline.h"

#include <errno.h>
#include <stdlib.h>

#include "clock.h"

/* For each of the two loops; four of these stand beside one slice. */
#define LOOP_NS (10 * NS_PER_MS)

int baseline_init(struct baseline *baseline, struct ends *ends)
{
        *baseline = (struct baseline){.ends = ends, .next = 1, .round_trip_ns = 200};
        baseline->batches[0] = histogram_new();
        baseline->batches[1] = histogram_new();
        baseline->slice = histogram_new();
        baseline->kept = histogram_new();
        if (baseline->batches[0] && baseline->batches[1] && baseline->slice && baseline->kept)
                return 0;
        baseline_deinit(baseline);
        return -ENOMEM;
}

void baseline_deinit(struct baseline *baseline)
{
        free(baseline->batches[0]);
        free(baseline->batches[1]);
        free(baseline->slice);
        free(baseline->kept);
        *baseline = (struct baseline){0};
}

double batches_one_way(const struct histogram *batches)
{
        return histogram_quantile(batches, QUANTILE_50) / (2 * BATCH);
}

static double loop_measure(struct baseline *baseline, bool pause)
{
        struct histogram *batches = baseline->batches[pause];
        struct ends *ends = baseline->ends;
        uint64_t n_batches = LOOP_NS / (BATCH * baseline->round_trip_ns) + 1;
        double p50;

        if (n_batches < quantile_needs(QUANTILE_50))
                n_batches = quantile_needs(QUANTILE_50);
        ends->pause = pause;
        ends_order(ends, ORDER_FLOOR, baseline->next, 1 + n_batches * BATCH);
        floor_ping(&ends->floor, baseline->next++, 1, pause); /* until the follower is there */
        histogram_clear(batches);
        for (uint64_t i = 0; i < n_batches; i++) {
                uint64_t start = clock_ns();

                floor_ping(&ends->floor, baseline->next, BATCH, pause);
                histogram_add(batches, clock_ns() - start);
                baseline->next += BATCH;
        }
        p50 = batches_one_way(batches);
        baseline->round_trip_ns = (uint64_t)(2 * p50) + 1;
        return p50;
}

double baseline_measure(struct baseline *baseline)
{
        double without = loop_measure(baseline, false);
        double with = loop_measure(baseline, true);

        baseline->pause = with < without;
        histogram_merge(baseline->slice, baseline->batches[baseline->pause]);
        return baseline->pause ? with : without;
}

void baseline_settle(struct baseline *baseline, bool keep)
{
        if (keep)
                histogram_merge(baseline->kept, baseline->slice);
        histogram_clear(baseline->slice);
}

double baseline_p50(const struct baseline *baseline)
{
        return batches_one_way(baseline->kept);
}
