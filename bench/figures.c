/* SPDX-License-Identifier: Apache-2.0 */
/*
 * figures.c - nothing is known yet, or what a histogram knows.
 */
#include "figures.h"

#include <math.h>

#include "stats.h"

void figures_init(struct figures *figures)
{
        *figures = (struct figures){
                .p50_ns = NAN,
                .p90_ns = NAN,
                .p99_ns = NAN,
                .p999_ns = NAN,
                .max_ns = NAN,
                .mean_ns = NAN,
                .floor_p50_ns = NAN,
                .ratio_to_floor = NAN,
        };
}

void figures_of_times(struct figures *figures, const struct histogram *times)
{
        figures->p50_ns = histogram_quantile(times, QUANTILE_50);
        figures->p90_ns = histogram_quantile(times, QUANTILE_90);
        figures->p99_ns = histogram_quantile(times, QUANTILE_99);
        figures->p999_ns = histogram_quantile(times, QUANTILE_999);
        figures->max_ns = histogram_max(times);
        figures->mean_ns = histogram_mean(times);
        figures->samples = times->count;
}
