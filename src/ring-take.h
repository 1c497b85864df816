/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring-take.h - the few steps of a reader that stand between a commit and the sample in the user's
 * hands, to be inlined there. ring-reader.c has all others.
 *
 * docs/memory-model.md numbers the guarantees (G1...) that the comments cite.
 */
#ifndef SHMD_RING_TAKE_H
#define SHMD_RING_TAKE_H

#include "atomic.h"
#include "ring.h"
#include "slot.h"

/* What the watched chunk says; ring_is_quiet() and ring_is_there() read it. */
static inline uint64_t ring_look(const struct ring_reader *reader)
{
        /* ACQUIRE: partner and promise at the commit in ring_commit(). */
        return load_acquire_awaited(&reader->watch->sequence);
}

/* Whether message `next` is complete in the watched chunk. */
static inline bool ring_is_there(const struct ring_reader *reader, uint64_t seen)
{
        return seen == reader->next;
}

/* Whether certainly nothing has become of message `next`. Neither there nor quiet: ring_take()
 * finds out. */
static inline bool ring_is_quiet(const struct ring_reader *reader, uint64_t seen)
{
        return seen << 1 < reader->next << 1; /* without SEQUENCE_GONE */
}

static inline const struct chunk_header *reader_chunk(const struct ring_reader *reader,
                                                      uint32_t chunk)
{
        return (const struct chunk_header *)(const void *)(reader->chunks +
                                                           reader->geometry.stride * chunk);
}

/* What is watched while it is not known where the next message will be: it is past every one. */
extern const struct chunk_header ring_nowhere;

static inline void ring_watch(struct ring_reader *reader, uint32_t chunk)
{
        reader->watched = chunk;
        reader->watch = chunk == RING_NONE ? &ring_nowhere : reader_chunk(reader, chunk);
}

/* Holds the watched chunk, in which message `next` is there. False: it was reclaimed meanwhile. */
static inline bool ring_hold(struct ring_reader *reader, uint64_t *hold, struct ring_sample *sample)
{
        const struct chunk_header *header = reader->watch;
        uint64_t size;

        /*
         * FENCE: the hold comes before the second look at the sequence. Partner: the fence in
         * ring_reclaim_begin() (G2).
         */
        store_then_fence(hold, (uint64_t)reader->tag << 32 | reader->watched);
        /* ACQUIRE: as in ring_look(); the sample is read after this look. */
        if (__builtin_expect(load_acquire(&header->sequence) != reader->next, 0)) {
                store_relaxed(hold, 0); /* nothing was read: nothing to order */
                return false;
        }
        size = load_relaxed(&header->size); /* ordered by the look above */
        sample->data = (const unsigned char *)header + reader->geometry.payload_offset;
        /* One comparison for both bounds: the memory may say anything. */
        if (__builtin_expect(size - reader->payload_min > reader->payload_room, 0))
                size = size < reader->payload_min ? reader->payload_min
                                                  : reader->geometry.payload_max;
        sample->size = size;
        sample->sequence = reader->next++;
        sample->lost = reader->lost;
        reader->lost = 0;
        /* Where the writer meant the next message to go when it committed this one. Fetched now,
         * the line is here when the caller comes back for it. */
        ring_watch(reader, slot_chunk(load_relaxed(&header->next), reader->geometry.n_chunks));
        prefetch_awaited(reader->watch);
        return true;
}

#endif
