/* SPDX-License-Identifier: Apache-2.0 */
/*
 * track.h - in which states was the machine while all this was measured?
 *
 * Every floor beside a slice is noted with its time, whether its slice was kept or not. The notes
 * lie in memory that the coordinator shares with the processes it starts: whoever leads a
 * measurement appends, one after the other, and the coordinator reads in the end.
 */
#ifndef BENCH_TRACK_H
#define BENCH_TRACK_H

#include <stdbool.h>
#include <stdint.h>

/** Some hours of slices. What comes after that is not noted. */
enum { TRACK_MAX = 1 << 18 };

struct track {
        uint64_t start_ns; /* on clock_ns() */
        uint32_t n_points;
        struct track_point {
                uint64_t at_ns; /* on clock_ns() */
                double floor_ns;
                bool kept; /* the slice beside it was */
        } points[TRACK_MAX];
};

/** Empty, beginning now; NULL without memory. Ended by track_free(). */
struct track *track_new(void);
void track_free(struct track *track);

/** `track` may be NULL: then nobody wants to know. */
void track_add(struct track *track, uint64_t at_ns, double floor_ns, bool kept);

#endif
