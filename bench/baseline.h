/* SPDX-License-Identifier: Apache-2.0 */
/*
 * baseline.h - what is the floor right now, between these two processes on these two CPUs?
 *
 * The lead's side of measuring the floor beside something else. Both loops are tried each
 * time, with and without a pause while spinning, since which is faster depends on the
 * machine and its mood; the better one counts.
 *
 * The ratio to the floor is formed slice by slice, and the middle one is reported. Of a machine
 * that was in one state for some slices and in another for the rest, the p50 of all slices and the
 * p50 of all floors may come from different states; two figures of one slice never do.
 */
#ifndef BENCH_BASELINE_H
#define BENCH_BASELINE_H

#include "ends.h"
#include "stats.h"
#include "track.h"

/** Round trips timed as one, of the floor and of all that spins: the clock is too coarse for one.
 */
enum { BATCH = 50 };

struct baseline {
        struct ends *ends;
        struct track *track;  /* where the states of the machine are noted, or NULL */
        uint64_t floor_at[2]; /* of the slice that is being taken: when, and what */
        double floor_ns[2];
        uint32_t n_floors;
        uint64_t next;                /* number of the next round trip */
        bool pause;                   /* what was better the last time */
        struct histogram *batches[2]; /* scratch: without and with a pause */
        struct histogram *slice;      /* batches around the slice that is being taken */
        struct histogram *kept;       /* batches around all slices kept */
        double *ratios;               /* of each slice kept to its own floors; n_ratios, in room */
        uint32_t n_ratios, room;      /* for so many */
};

/** `track` may be NULL. @return 0 or -ENOMEM. */
int baseline_init(struct baseline *baseline, struct ends *ends, struct track *track);
void baseline_deinit(struct baseline *baseline);

/** Measures for a slice's share of time. @return the one-way p50. */
double baseline_measure(struct baseline *baseline);

/** The slice counts, or is forgotten. `slice_ns` is its own p50; NAN if it has none. */
void baseline_settle(struct baseline *baseline, bool keep, double slice_ns);

/** The one-way p50 of all that was kept; NAN without any. */
double baseline_p50(const struct baseline *baseline);

/** The middle ratio of those slices; NAN without any. */
double baseline_ratio(struct baseline *baseline);

/** The middle of what batches took, as one way of one round trip of theirs. */
double batches_one_way(const struct histogram *batches);

#endif
