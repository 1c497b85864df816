/* SPDX-License-Identifier: Apache-2.0 */
/*
 * figures.c - nothing is known yet.
 */
#include "figures.h"

#include <math.h>

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
