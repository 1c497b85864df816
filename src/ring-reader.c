/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring-reader.c - a reader's side of the protocol of ring.h: look, hold, skip.
 *
 * docs/memory-model.md numbers the guarantees (G1...) that the comments cite; tests/model checks
 * them.
 */
#include <string.h>

#include "atomic.h"
#include "ring-take.h"

const struct chunk_header ring_nowhere = {.sequence = UINT64_MAX};

void ring_reader_init(struct ring_reader *reader, const struct ring_geometry *geometry,
                      const void *segment, uint32_t tag, uint64_t next)
{
        memset(reader, 0, sizeof(*reader));
        reader->geometry = *geometry;
        reader->chunks = (const unsigned char *)segment + geometry->chunks_offset;
        reader->slots = (const uint64_t *)(const void *)((const unsigned char *)segment +
                                                         geometry->slots_offset);
        reader->tag = tag;
        reader->next = next;
        reader->resumed = next - geometry->depth; /* the first overrun needs no margin */
        reader->end = UINT64_MAX;
        ring_reader_bound(reader, 0);
        ring_watch(reader, RING_NONE);
}

void ring_reader_bound(struct ring_reader *reader, uint64_t payload_min)
{
        reader->payload_min = payload_min;
        reader->payload_room = reader->geometry.payload_max - payload_min;
}

static uint64_t reader_slot(const struct ring_reader *reader, uint64_t n)
{
        /* ACQUIRE: partner and promise at name_next(). */
        return load_acquire(&reader->slots[n & (reader->geometry.capacity - 1)]);
}

/* The sequence in a chunk; 0, nothing, for no chunk. */
static uint64_t reader_sequence(const struct ring_reader *reader, uint32_t chunk)
{
        /* ACQUIRE: partner and promise at the commit in ring_commit(). */
        return chunk == RING_NONE ? 0 : load_acquire(&reader_chunk(reader, chunk)->sequence);
}

/* The message that is complete where the slot of n points to; 0: none. */
static uint64_t message_by_slot(const struct ring_reader *reader, uint64_t n)
{
        uint64_t sequence = reader_sequence(
                reader, slot_chunk(reader_slot(reader, n), reader->geometry.n_chunks));

        return sequence & SEQUENCE_GONE ? 0 : sequence;
}

/* A writer can't be much further than where the search ended; one that lies can't keep us. */
#define STEPS_FROM_SEARCH 1024

/*
 * Finds the last slot of the current lap by halving: slots up to the newest announcement have the
 * lap of slot 0, those behind it another. The writer may move on meanwhile, and then any slot may
 * come out; but what its chunk says has been committed, and from there it is walked forward.
 */
static uint64_t search_newest(const struct ring_reader *reader)
{
        uint64_t lap = slot_lap(reader_slot(reader, 0)), newest;
        uint32_t low = 0, high = reader->geometry.capacity;

        if (lap == 0)
                return 0; /* nothing was ever announced here */
        while (high - low > 1) {
                uint32_t middle = low + (high - low) / 2;

                if (slot_lap(reader_slot(reader, middle)) == lap)
                        low = middle;
                else
                        high = middle;
        }
        newest = message_by_slot(reader, low);
        if (!newest) /* announced, not committed: the one before it */
                newest = message_by_slot(reader, (uint64_t)low + reader->geometry.capacity - 1);
        for (uint32_t i = 0; newest && i < STEPS_FROM_SEARCH; i++) {
                if (message_by_slot(reader, newest + 1) != newest + 1)
                        break;
                newest++;
        }
        return newest;
}

uint64_t ring_newest(const struct ring_reader *reader)
{
        uint64_t newest = 0;

        /* A writer that overtakes the search may leave it with nothing. */
        for (int i = 0; i < 64 && !newest; i++)
                newest = search_newest(reader);
        return newest;
}

void ring_reader_join(struct ring_reader *reader, const struct ring_geometry *geometry,
                      const void *segment, uint32_t tag, uint64_t start, uint64_t history)
{
        if (history > geometry->depth)
                history = geometry->depth;
        ring_reader_init(reader, geometry, segment, tag,
                         start + 1 - (history < start ? history : start));
}

/* What is watched when nothing is to be found any more: before every message. */
static const struct chunk_header never = {.sequence = 0};

void ring_reader_end(struct ring_reader *reader)
{
        uint64_t newest, stored = reader->geometry.n_chunks;

        if (reader->watch == &never) /* it was stopped */
                return;
        newest = reader->end = ring_newest(reader);
        /* A writer that lies may say that it has got anywhere, and that would be read one by one.
         */
        if (newest < reader->next || newest - reader->next < stored)
                return;
        reader->lost += newest - stored + 1 - reader->next;
        reader->next = newest - stored + 1;
        ring_watch(reader, RING_NONE);
}

void ring_reader_stop(struct ring_reader *reader)
{
        /* No sequence is before this one; only a writer that lies brings a reader there. */
        if (reader->next == SEQUENCE_GONE)
                reader->next--;
        reader->watched = RING_NONE;
        reader->watch = &never;
}

void ring_reader_go_on(struct ring_reader *reader)
{
        reader->end = UINT64_MAX;
        ring_watch(reader, RING_NONE);
}

enum ring_look { LOOK_EMPTY, LOOK_READY, LOOK_OVERRUN };

/* Whether a chunk with this sequence was passed by message n, so that it won't come here. */
static bool is_past(uint64_t sequence, uint64_t n)
{
        return (sequence & ~SEQUENCE_GONE) >= n && sequence != n;
}

/*
 * Looks for message `next`; the table in ring.h. What looks like an overrun gets a second look at
 * the slot, since the writer may have re-announced n, or announced it, between the first look at
 * the slot and that at the chunk. Sets `watched` for the next time, if n is announced.
 */
static enum ring_look look(struct ring_reader *reader)
{
        uint64_t n = reader->next, lap = lap_of(n, reader->geometry.capacity);

        for (int i = 0; i < 4; i++) {
                uint64_t word = reader_slot(reader, n), sequence;
                uint32_t chunk = slot_chunk(word, reader->geometry.n_chunks);
                bool is_announced = slot_lap(word) == lap;

                ring_watch(reader, RING_NONE);
                if (!is_announced && slot_lap(word) != lap_before(n, reader->geometry.capacity))
                        return LOOK_OVERRUN;
                if (chunk == RING_NONE)
                        return is_announced ? LOOK_OVERRUN : LOOK_EMPTY;
                sequence = reader_sequence(reader, chunk);
                if (is_announced || sequence == n)
                        ring_watch(reader, chunk);
                if (sequence == n)
                        return LOOK_READY;
                if (!is_past(sequence, n))
                        return LOOK_EMPTY;
                if (reader_slot(reader, n) == word)
                        return LOOK_OVERRUN;
        }
        ring_watch(reader, RING_NONE);
        return LOOK_EMPTY; /* the writer is faster than our looks: the next call finds out */
}

/*
 * The same, where it is known already at which chunk n is expected: nothing can become of n that
 * does not change that chunk's sequence, so nothing else is looked at. The slots, which the writer
 * changes with each message, would cost a cache-line transfer more.
 */
static enum ring_look look_again(struct ring_reader *reader)
{
        uint64_t seen = ring_look(reader);

        if (ring_is_there(reader, seen))
                return LOOK_READY;
        return ring_is_quiet(reader, seen) ? LOOK_EMPTY : look(reader);
}

/*
 * Goes on behind an overrun: at the oldest message that is kept, or, when that is overrun again
 * before a whole depth was taken, with a margin that doubles up to half the depth. Counts what is
 * passed over. False: there is nothing newer.
 */
static bool skip(struct ring_reader *reader)
{
        uint64_t depth = reader->geometry.depth, newest = ring_newest(reader), target;

        if (newest <= reader->next)
                return false;
        if (reader->next - reader->resumed >= depth)
                reader->margin = 0;
        else
                reader->margin = reader->margin ? reader->margin * 2 : 1;
        if (reader->margin > depth / 2)
                reader->margin = depth / 2;
        target = (newest >= depth ? newest - depth + 1 : 1) + reader->margin;
        if (target <= reader->next)
                target = reader->next + 1;
        reader->lost += target - reader->next;
        reader->next = target;
        reader->resumed = target;
        ring_watch(reader, RING_NONE);
        return true;
}

#define OVERRUNS_A_CALL 8 /* then the caller gets its thread back */

bool ring_ready(struct ring_reader *reader)
{
        for (int i = 0; i < OVERRUNS_A_CALL; i++) {
                enum ring_look found = look_again(reader);

                if (found != LOOK_OVERRUN)
                        return found == LOOK_READY;
                if (!skip(reader))
                        return false;
        }
        return true; /* it is being overrun: worth a take */
}

bool ring_take(struct ring_reader *reader, uint64_t *hold, struct ring_sample *sample)
{
        for (int i = 0; i < OVERRUNS_A_CALL; i++) {
                enum ring_look found = look_again(reader);

                if (found == LOOK_EMPTY || (found == LOOK_OVERRUN && !skip(reader)))
                        return false;
                if (found == LOOK_READY && ring_hold(reader, hold, sample))
                        return true;
        }
        return false;
}

void ring_release(uint64_t *hold)
{
        /*
         * RELEASE: all reads of the sample come before (G2). Partner: the ACQUIRE in
         * ring_reclaim_mark().
         */
        store_release(hold, 0);
}
