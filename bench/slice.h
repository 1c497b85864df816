/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slice.h - how can two things be compared on a machine that changes speed under them?
 *
 * On virtual machines the time that a cache line takes from one CPU to the other jumps, by factors
 * and for seconds, and everything that spins moves with it. So nothing is measured for long: a
 * *slice* is a short piece of the thing measured with a piece of the floor before it and one after.
 * If the two floors differ by more than SLICE_JUMP, the machine changed in between; the slice
 * is thrown away, counted, and taken again. That is bounded: a machine that never holds still gives
 * fewer slices than wanted, or none, rather than wrong ones.
 */
#ifndef BENCH_SLICE_H
#define BENCH_SLICE_H

#include <stdbool.h>
#include <stdint.h>

/** By how much of the smaller one the two floors of a slice may differ. */
#define SLICE_JUMP 0.15

/** What is sliced. The functions return 0, or negative to end it all. */
struct slice_source {
        int (*floor)(void *user, bool after, double *p50_ns); /* NULL: there is no floor */
        int (*measure)(void *user);                           /* its values are kept aside */
        void (*settle)(void *user, bool keep);                /* they count, or are forgotten */
        void *user;
};

struct slice_count {
        uint32_t kept;
        uint32_t discarded;
};

/** How many may be discarded when `wanted` are to be kept. */
uint32_t slices_discardable(uint32_t wanted);

/** Whether two floors are too far apart to trust what lies between them. */
bool slice_jumped(double before_ns, double after_ns);

/** Takes slices until `wanted` are kept or too many were discarded. @return 0 or the source's. */
int slices_take(const struct slice_source *source, uint32_t wanted, struct slice_count *count);

#endif
