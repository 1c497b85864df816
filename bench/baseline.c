/* SPDX-License-Identifier: Apache-2.0 */
/*
 * baseline.c - the floor, twice around every slice.
 */
#include "baseline.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "clock.h"

/* For each of the two loops; four of these stand beside one slice. */
#define LOOP_NS (10 * NS_PER_MS)

int baseline_init(struct baseline *baseline, struct ends *ends, struct track *track)
{
        *baseline = (struct baseline){.ends = ends, .track = track, .next = 1};
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
        free(baseline->ratios);
        *baseline = (struct baseline){0};
}

double batches_one_way(const struct histogram *batches)
{
        return histogram_quantile(batches, QUANTILE_50) / (2 * BATCH);
}

static void batches_measure(struct baseline *baseline, bool pause, uint64_t n_batches)
{
        struct histogram *batches = baseline->batches[pause];
        struct ends *ends = baseline->ends;

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
}

/* A few batches tell how many fill the time now, whatever it was in the slice before. */
static double loop_measure(struct baseline *baseline, bool pause)
{
        const struct histogram *batches = baseline->batches[pause];
        uint64_t few = quantile_needs(QUANTILE_50), n_batches;

        batches_measure(baseline, pause, few);
        n_batches = (uint64_t)(LOOP_NS / fmax(histogram_middle(batches), 1));
        batches_measure(baseline, pause, n_batches > few ? n_batches : few);
        return batches_one_way(batches);
}

double baseline_measure(struct baseline *baseline)
{
        double without = loop_measure(baseline, false);
        double with = loop_measure(baseline, true);
        double floor_ns;

        baseline->pause = with < without;
        floor_ns = baseline->pause ? with : without;
        histogram_merge(baseline->slice, baseline->batches[baseline->pause]);
        if (baseline->n_floors < 2) {
                baseline->floor_at[baseline->n_floors] = clock_ns();
                baseline->floor_ns[baseline->n_floors++] = floor_ns;
        }
        return floor_ns;
}

static void ratio_add(struct baseline *baseline, double ratio)
{
        if (baseline->n_ratios == baseline->room) {
                uint32_t room = baseline->room ? 2 * baseline->room : 64;
                double *ratios = realloc(baseline->ratios, room * sizeof(*ratios));

                if (!ratios)
                        return; /* then the middle is that of fewer */
                baseline->ratios = ratios;
                baseline->room = room;
        }
        baseline->ratios[baseline->n_ratios++] = ratio;
}

void baseline_settle(struct baseline *baseline, bool keep, double slice_ns)
{
        double ratio = slice_ns / batches_one_way(baseline->slice);

        for (uint32_t i = 0; i < baseline->n_floors; i++)
                track_add(baseline->track, baseline->floor_at[i], baseline->floor_ns[i], keep);
        baseline->n_floors = 0;
        if (keep)
                histogram_merge(baseline->kept, baseline->slice);
        if (keep && !isnan(ratio))
                ratio_add(baseline, ratio);
        histogram_clear(baseline->slice);
}

double baseline_ratio(struct baseline *baseline)
{
        return middle_of(baseline->ratios, baseline->n_ratios);
}

double baseline_p50(const struct baseline *baseline)
{
        return batches_one_way(baseline->kept);
}
