/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tally.h - which memory each frame was in, as the publisher says and as a subscriber says, and for
 * how many frames they don't agree.
 *
 * The publisher's loans are few places, used again and again; frames are many. So each place gets a
 * number, and two bytes are kept a frame.
 */
#ifndef TALLY_H
#define TALLY_H

#include <stdint.h>

#include "where.h"

/* More places than any publisher of the demonstration has. */
#define TALLY_PLACES 1024

/* All places that anybody named. */
struct tally_places {
        struct where places[TALLY_PLACES];
        unsigned n_places;
};

/* One process's frames. */
struct tally {
        uint16_t *frames;  /* by number - 1: 0, or 1 + the number of its place */
        uint64_t n_frames; /* the highest number */
        uint64_t capacity;
};

/* Notes that the process had frame `number` there. Memory that is no file's is no place of the
 * publisher's, whatever the publisher says. Returns 0, or -1: out of memory, or of places. */
int tally_add(struct tally *tally, struct tally_places *places, uint64_t number,
              const struct where *where);

/* The place of a frame, or NULL if nothing was noted. */
const struct where *tally_get(const struct tally *tally, const struct tally_places *places,
                              uint64_t number);

/* How many of the subscriber's frames were not where the publisher's loan was. */
uint64_t tally_foreign(const struct tally *subscriber, const struct tally *publisher,
                       const struct tally_places *places);

void tally_deinit(struct tally *tally);

#endif
