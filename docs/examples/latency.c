/* SPDX-License-Identifier: Apache-2.0 */
/* latency.c - a histogram whose buckets grow with the durations in them. */
#include "latency.h"

/* Bits of a duration that tell buckets of one power of two apart. */
#define PRECISION 5

static unsigned bucket_of(uint64_t duration_ns)
{
        unsigned shift;

        if (duration_ns < 1u << PRECISION)
                return (unsigned)duration_ns;
        shift = 63 - (unsigned)__builtin_clzll(duration_ns) - PRECISION;
        return (shift << PRECISION) + (unsigned)(duration_ns >> shift);
}

/* The longest duration that the bucket counts. */
static uint64_t end_of(unsigned bucket)
{
        unsigned shift;

        if (bucket < 2u << PRECISION)
                return bucket;
        shift = (bucket >> PRECISION) - 1;
        return (((uint64_t)bucket - ((uint64_t)shift << PRECISION) + 1) << shift) - 1;
}

void latency_add(struct latency *latency, uint64_t duration_ns)
{
        latency->buckets[bucket_of(duration_ns)]++;
        latency->n_added++;
}

uint64_t latency_percentile(const struct latency *latency, double percent)
{
        uint64_t counted = 0;

        for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
                counted += latency->buckets[i];
                if (counted > 0 && (double)counted >= (double)latency->n_added * percent / 100)
                        return end_of(i);
        }
        return 0;
}
