/* SPDX-License-Identifier: Apache-2.0 */
/*
 * latency.h - percentiles of any number of durations in a fixed amount of memory.
 *
 * Durations are counted in buckets that are at most 1/32 wider than their start, so a percentile
 * is at most 3 % above the true one. Below 32 ns each has its own.
 */
#ifndef LATENCY_H
#define LATENCY_H

#include <stdint.h>

#define LATENCY_BUCKETS (60 * 32)

struct latency {
        uint64_t n_added;
        uint32_t buckets[LATENCY_BUCKETS];
};

void latency_add(struct latency *latency, uint64_t duration_ns);

/* The duration that `percent` of all are no longer than: the end of its bucket. 0 if there are
 * none. */
uint64_t latency_percentile(const struct latency *latency, double percent);

#endif
