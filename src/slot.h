/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slot.h - what a slot's word says, for the ring's writer and its readers.
 */
#ifndef SHMD_SLOT_H
#define SHMD_SLOT_H

#include <stdint.h>

#include "layout.h"
#include "ring.h"

static inline uint64_t lap_of(uint64_t n, uint32_t capacity)
{
        uint64_t lap = n >> __builtin_ctz(capacity);

        return (lap < SLOT_LAPS ? lap : lap % SLOT_LAPS) + 1;
}

/* The lap that slot n % capacity has before n is announced. */
static inline uint64_t lap_before(uint64_t n, uint32_t capacity)
{
        uint64_t lap = lap_of(n, capacity);

        if (lap > 1)
                return lap - 1;
        return n < capacity ? 0 : SLOT_LAPS;
}

static inline uint64_t slot_word(uint64_t n, uint32_t capacity, uint32_t chunk)
{
        return lap_of(n, capacity) << SLOT_LAP_SHIFT | chunk;
}

static inline uint64_t slot_lap(uint64_t word)
{
        return word >> SLOT_LAP_SHIFT;
}

/* The chunk that a word names, bounded; RING_NONE for another extent or one that isn't there. */
static inline uint32_t slot_chunk(uint64_t word, uint32_t n_chunks)
{
        uint32_t where = (uint32_t)word;

        return where < n_chunks ? where : RING_NONE;
}

#endif
