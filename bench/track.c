/* SPDX-License-Identifier: Apache-2.0 */
/*
 * track.c - shared memory that fills up with the floor over time.
 */
#include "track.h"

#include <math.h>
#include <sys/mman.h>

#include "clock.h"

struct track *track_new(void)
{
        /* Zeros, and no page of it before something is written there. */
        void *memory = mmap(NULL, sizeof(struct track), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        struct track *track = memory == MAP_FAILED ? NULL : memory;

        if (track)
                track->start_ns = clock_ns();
        return track;
}

void track_free(struct track *track)
{
        if (track)
                munmap(track, sizeof(*track));
}

void track_add(struct track *track, uint64_t at_ns, double floor_ns, bool kept)
{
        if (!track || track->n_points == TRACK_MAX || isnan(floor_ns))
                return;
        track->points[track->n_points++] = (struct track_point){at_ns, floor_ns, kept};
}
