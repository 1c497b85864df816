/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats.c - the histogram: which bucket, and back.
 *
 * A value v >= 2^(BITS + 1) with its highest bit at e lies in row e - BITS, column: the BITS bits
 * below the highest. Smaller values are their own bucket, which the same formula gives.
 */
#include "stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS (1ull << HISTOGRAM_BITS)
#define PARTS   1000000ull

struct histogram *histogram_new(void)
{
        struct histogram *histogram = malloc(sizeof(*histogram));

        if (histogram)
                histogram_clear(histogram);
        return histogram;
}

void histogram_clear(struct histogram *histogram)
{
        memset(histogram, 0, sizeof(*histogram));
        histogram->min = UINT64_MAX;
}

static uint32_t bucket_of(uint64_t value)
{
        uint32_t shift;

        if (value < 2 * COLUMNS)
                return (uint32_t)value;
        if (value >> HISTOGRAM_TOP)
                value = (1ull << HISTOGRAM_TOP) - 1;
        shift = 63 - (uint32_t)__builtin_clzll(value) - HISTOGRAM_BITS;
        return (uint32_t)((shift << HISTOGRAM_BITS) + (value >> shift));
}

/* The middle of what a bucket covers. */
static double value_of(uint32_t bucket)
{
        uint32_t shift;
        uint64_t low;

        if (bucket < 2 * COLUMNS)
                return bucket;
        shift = (bucket >> HISTOGRAM_BITS) - 1;
        low = ((uint64_t)bucket - ((uint64_t)shift << HISTOGRAM_BITS)) << shift;
        return (double)low + (double)((1ull << shift) - 1) / 2;
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
        histogram->buckets[bucket_of(value)]++;
        histogram->count++;
        histogram->sum += value;
        if (value < histogram->min)
                histogram->min = value;
        if (value > histogram->max)
                histogram->max = value;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
        for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
                into->buckets[i] += from->buckets[i];
        into->count += from->count;
        into->sum += from->sum;
        if (from->min < into->min)
                into->min = from->min;
        if (from->max > into->max)
                into->max = from->max;
}

uint64_t quantile_needs(enum quantile quantile)
{
        return (10 * PARTS + PARTS - quantile - 1) / (PARTS - quantile);
}

static double value_at(const struct histogram *histogram, enum quantile quantile)
{
        uint64_t rank, seen = 0;
        double value = NAN;

        /* The smallest value that at least this share of all values does not exceed. */
        rank = (uint64_t)(((unsigned __int128)histogram->count * quantile + PARTS - 1) / PARTS);
        for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
                seen += histogram->buckets[i];
                if (seen >= rank) {
                        value = value_of(i);
                        break;
                }
        }
        return fmin(fmax(value, (double)histogram->min), (double)histogram->max);
}

double histogram_quantile(const struct histogram *histogram, enum quantile quantile)
{
        return histogram->count < quantile_needs(quantile) ? NAN : value_at(histogram, quantile);
}

double histogram_middle(const struct histogram *histogram)
{
        return histogram->count ? value_at(histogram, QUANTILE_50) : NAN;
}

static int compare_doubles(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;

        return x < y ? -1 : x > y;
}

double middle_of(double *values, uint32_t n_values)
{
        if (!n_values)
                return NAN;
        qsort(values, n_values, sizeof(*values), compare_doubles);
        return values[(n_values - 1) / 2];
}

uint64_t difference_between(uint64_t before_ns, uint64_t whole_ns, uint64_t after_ns)
{
        uint64_t parts = before_ns + after_ns;

        return 2 * whole_ns > parts ? (2 * whole_ns - parts) / 2 : 0;
}

double histogram_mean(const struct histogram *histogram)
{
        return histogram->count ? (double)histogram->sum / (double)histogram->count : NAN;
}

double histogram_max(const struct histogram *histogram)
{
        return histogram->count ? (double)histogram->max : NAN;
}
