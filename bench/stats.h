/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats.h - how do millions of durations become a few honest figures?
 *
 * A histogram keeps whole nanoseconds: exactly below 2048, above that in buckets that are at most
 * 1/1024 of their value wide; a quantile is the middle of its bucket and so at most 0.05 % off.
 * Histograms of the same thing are merged, their quantiles never are. A quantile q of fewer than
 * 10 / (1 - q) values is no figure at all: NAN here, a dash in tables, null in JSON.
 */
#ifndef BENCH_STATS_H
#define BENCH_STATS_H

#include <stdint.h>

/** Quantiles are asked for in parts per million, so that the rule above is exact. */
enum quantile {
        QUANTILE_50 = 500000,
        QUANTILE_90 = 900000,
        QUANTILE_99 = 990000,
        QUANTILE_999 = 999000,
};

enum {
        HISTOGRAM_BITS = 10, /* each power of two is split into 2^10 buckets */
        HISTOGRAM_TOP = 40,  /* values are cut off at 2^40 ns, some 18 minutes */
        HISTOGRAM_BUCKETS = (HISTOGRAM_TOP - HISTOGRAM_BITS + 1) << HISTOGRAM_BITS,
};

struct histogram {
        uint64_t count;
        uint64_t sum;
        uint64_t min; /* exact, like max */
        uint64_t max;
        uint64_t buckets[HISTOGRAM_BUCKETS];
};

/** On the heap, empty; NULL without memory. Ended by free(). */
struct histogram *histogram_new(void);

void histogram_clear(struct histogram *histogram);
void histogram_add(struct histogram *histogram, uint64_t value);
void histogram_merge(struct histogram *into, const struct histogram *from);

/** How many values a quantile needs. */
uint64_t quantile_needs(enum quantile quantile);

/** NAN below quantile_needs(). */
double histogram_quantile(const struct histogram *histogram, enum quantile quantile);

/** The middle value, of however few there are; NAN when empty. For judging, not for reporting. */
double histogram_middle(const struct histogram *histogram);

/** The middle one, or the lower of two, of `n_values`, which are sorted by this; NAN of none. */
double middle_of(double *values, uint32_t n_values);

/**
 * By how much something took longer than a part of it alone, which ran once before it and once
 * after: their middle is what the part took then, also while it becomes slower or faster steadily.
 * Never below 0, which no quantile above 0 notices.
 */
uint64_t difference_between(uint64_t before_ns, uint64_t whole_ns, uint64_t after_ns);

/** NAN when empty. */
double histogram_mean(const struct histogram *histogram);
double histogram_max(const struct histogram *histogram);

#endif
