/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring-reader.c - a reader's side of the protocol of ring.h: look, hold, skip.
 *
 * docs/memory-model.md numbers the guarantees (G1...) that the comments cite; tests/model checks
 * them.
 */
#include <string.h>

#include "atomic.h"
#include "ring.h"
#include "slot.h"

void ring_reader_init(struct ring_reader *reader, const struct ring_geometry *geometry,
                      const void *segment, uint32_t tag, uint64_t next)
{
        memset(reader, 0, sizeof(*reader));
        reader->geometry = *geometry;
        reader->segment = segment;
        reader->slots = (const uint64_t *)(const void *)(reader->segment + geometry->slots_offset);
        reader->tag = tag;
        reader->next = next;
        reader->watched = RING_NONE;
        reader->good = geometry->depth;
}

static const struct chunk_header *reader_chunk(const struct ring_reader *reader, uint32_t chunk)
{
        return (const struct chunk_header *)(const void *)(reader->segment +
                                                           reader->geometry.chunks_offset +
                                                           reader->geometry.stride * chunk);
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

                reader->watched = RING_NONE;
                if (!is_announced && slot_lap(word) != lap_before(n, reader->geometry.capacity))
                        return LOOK_OVERRUN;
                if (chunk == RING_NONE)
                        return is_announced ? LOOK_OVERRUN : LOOK_EMPTY;
                sequence = reader_sequence(reader, chunk);
                if (is_announced || sequence == n)
                        reader->watched = chunk;
                if (sequence == n)
                        return LOOK_READY;
                if (!is_past(sequence, n))
                        return LOOK_EMPTY;
                if (reader_slot(reader, n) == word)
                        return LOOK_OVERRUN;
        }
        reader->watched = RING_NONE;
        return LOOK_EMPTY; /* the writer is faster than our looks: the next call finds out */
}

/*
 * The same, where it is known already at which chunk n is expected: nothing can become of n that
 * does not change that chunk's sequence, so nothing else is looked at. The slots, which the writer
 * changes with each message, would cost a cache-line transfer more.
 */
static enum ring_look look_again(struct ring_reader *reader)
{
        uint64_t sequence;

        if (reader->watched == RING_NONE)
                return look(reader);
        sequence = reader_sequence(reader, reader->watched);
        if (sequence == reader->next)
                return LOOK_READY;
        return is_past(sequence, reader->next) ? look(reader) : LOOK_EMPTY;
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
        if (reader->good >= depth)
                reader->margin = 0;
        else
                reader->margin = reader->margin ? reader->margin * 2 : 1;
        if (reader->margin > depth / 2)
                reader->margin = depth / 2;
        reader->good = 0;
        target = (newest >= depth ? newest - depth + 1 : 1) + reader->margin;
        if (target <= reader->next)
                target = reader->next + 1;
        reader->lost += target - reader->next;
        reader->next = target;
        reader->watched = RING_NONE;
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

/* Holds the watched chunk, which had sequence `next`. False: it was reclaimed meanwhile. */
static bool hold_watched(struct ring_reader *reader, uint64_t *hold, struct ring_sample *sample)
{
        const struct chunk_header *header = reader_chunk(reader, reader->watched);

        /*
         * FENCE: the hold comes before the second look at the sequence. Partner: the fence in
         * ring_reclaim_begin() (G2).
         */
        store_then_fence(hold, (uint64_t)reader->tag << 32 | reader->watched);
        /* ACQUIRE: as in look(); the sample is read after this look. */
        if (load_acquire(&header->sequence) != reader->next) {
                store_relaxed(hold, 0); /* nothing was read: nothing to order */
                return false;
        }
        sample->data = (const unsigned char *)header + reader->geometry.payload_offset;
        sample->size = load_relaxed(&header->size); /* ordered by the look above */
        if (sample->size > reader->geometry.payload_max)
                sample->size = reader->geometry.payload_max;
        sample->sequence = reader->next;
        sample->lost = reader->lost;
        reader->next++;
        reader->lost = 0;
        reader->good++;
        /* Where the writer meant the next message to go when it committed this one. Fetched now,
         * the line is here when the caller comes back for it. */
        reader->watched = slot_chunk(load_relaxed(&header->next), reader->geometry.n_chunks);
        if (reader->watched != RING_NONE)
                __builtin_prefetch(reader_chunk(reader, reader->watched));
        return true;
}

bool ring_take(struct ring_reader *reader, uint64_t *hold, struct ring_sample *sample)
{
        for (int i = 0; i < OVERRUNS_A_CALL; i++) {
                enum ring_look found = look_again(reader);

                if (found == LOOK_EMPTY || (found == LOOK_OVERRUN && !skip(reader)))
                        return false;
                if (found == LOOK_READY && hold_watched(reader, hold, sample))
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
