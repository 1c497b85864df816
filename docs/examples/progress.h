/* SPDX-License-Identifier: Apache-2.0 */
/*
 * progress.h - how far a demonstration is: one line, drawn over and over on a terminal; elsewhere a
 * plain line a second.
 */
#ifndef PROGRESS_H
#define PROGRESS_H

#include <stdint.h>

struct progress {
        int terminal;
        uint64_t started_ns;
        uint64_t drawn_ns;
        uint64_t n_drawn; /* the frames shown last */
};

void progress_start(struct progress *progress, uint64_t now_ns);

/* Shows `n_frames`, of `n_total` (0: not known) or, if that isn't known, of `seconds` (likewise);
 * and `bars`, some text to the right of it. Draws only as often as it makes sense. */
void progress_draw(struct progress *progress, uint64_t now_ns, uint64_t n_frames, uint64_t n_total,
                   uint64_t seconds, const char *bars);

/* Draws a last time, and leaves the line. */
void progress_end(struct progress *progress, uint64_t now_ns, uint64_t n_frames, uint64_t n_total,
                  uint64_t seconds, const char *bars);

#endif
