/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publishing.h - what does it cost the publisher to publish?
 */
#ifndef BENCH_PUBLISHING_H
#define BENCH_PUBLISHING_H

#include <stdint.h>

#include "figures.h"
#include "options.h"
#include "track.h"

struct publishing {
        const char *socket; /* the broker's */
        uint64_t payload;   /* bytes of a sample */
        uint32_t n_subscribers;
        enum readers readers;
        uint64_t gap_ns; /* of work between two publishes; 0: back to back */
        double seconds;
        struct track *track; /* where the floor is noted over time; or NULL */
};

/** @return 0; negative errno with a text in `reason`. */
int publishing_measure(const struct publishing *plan, const int *cpus, struct figures *figures,
                       char *reason, uint32_t reason_size);

#endif
