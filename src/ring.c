/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring.c - the protocol of ring.h. docs/memory-model.md numbers the guarantees (G1...) that the
 * comments cite; tests/model checks them.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "atomic.h"
#include "error.h"
#include "ring.h"
#include "util.h"

enum ring_state {
        CHUNK_FREE = 0, /* sequence is 0; in `free` */
        CHUNK_PREPARED, /* announced, not lent */
        CHUNK_LOANED,   /* lent, announced or not */
        CHUNK_PUBLISHED,
        CHUNK_RETIRED, /* more than `depth` messages old; in `retired` */
        CHUNK_HELD,    /* in `retired`; named by a hold in the reclaim that is under way */
};

/* ---- slots ------------------------------------------------------------------------------ */

static uint64_t lap_of(uint64_t n, uint32_t capacity)
{
        uint64_t lap = n >> __builtin_ctz(capacity);

        return (lap < SLOT_LAPS ? lap : lap % SLOT_LAPS) + 1;
}

/* The lap that slot n % capacity has before n is announced. */
static uint64_t lap_before(uint64_t n, uint32_t capacity)
{
        uint64_t lap = lap_of(n, capacity);

        if (lap > 1)
                return lap - 1;
        return n < capacity ? 0 : SLOT_LAPS;
}

static uint64_t slot_word(uint64_t n, uint32_t capacity, uint32_t chunk)
{
        return lap_of(n, capacity) << SLOT_LAP_SHIFT | chunk;
}

static uint64_t slot_lap(uint64_t word)
{
        return word >> SLOT_LAP_SHIFT;
}

/* The chunk that a word names, bounded; RING_NONE for another extent or one that isn't there. */
static uint32_t slot_chunk(uint64_t word, uint32_t n_chunks)
{
        uint32_t where = (uint32_t)word;

        return where < n_chunks ? where : RING_NONE;
}

/* ---- geometry --------------------------------------------------------------------------- */

int ring_geometry_init(struct ring_geometry *geometry, const struct ring_wish *wish)
{
        uint64_t unit = wish->alignment > LAYOUT_LINE ? wish->alignment : LAYOUT_LINE;
        uint64_t chunks_size;

        memset(geometry, 0, sizeof(*geometry));
        if (wish->n_chunks >= SLOT_NO_CHUNK || wish->payload_max > INT64_MAX / 4)
                return error_set(-EINVAL, "%u chunks of %" PRIu64 " bytes are more than %u or 2^61",
                                 wish->n_chunks, wish->payload_max, SLOT_NO_CHUNK - 1);
        geometry->payload_max = wish->payload_max;
        geometry->depth = wish->depth;
        geometry->n_chunks = wish->n_chunks;
        geometry->capacity = 2;
        while (geometry->capacity < wish->depth + 1)
                geometry->capacity *= 2;
        geometry->payload_offset = (uint32_t)align_up(sizeof(struct chunk_header), wish->alignment);
        geometry->stride = align_up(geometry->payload_offset + wish->payload_max, unit);
        /* An odd number of units: or the headers of all big chunks would share a few cache sets. */
        if (geometry->stride >= 4096 && geometry->stride / unit % 2 == 0)
                geometry->stride += unit;
        geometry->slots_offset = sizeof(struct segment_header);
        geometry->chunks_offset =
                align_up(geometry->slots_offset + geometry->capacity * UINT64_C(8), unit);
        if (__builtin_mul_overflow(geometry->stride, geometry->n_chunks, &chunks_size) ||
            chunks_size > INT64_MAX / 2)
                return error_set(-EINVAL, "%u chunks of %" PRIu64 " bytes are too much memory",
                                 wish->n_chunks, wish->payload_max);
        geometry->size = align_up(geometry->chunks_offset + chunks_size, 4096);
        return 0;
}

int ring_geometry_check(const struct ring_geometry *geometry)
{
        const struct ring_geometry *g = geometry;
        uint64_t chunks_size, chunks_end;

        if (g->size > INT64_MAX || g->size % 4096 || !is_power_of_two(g->capacity) ||
            g->capacity < 2 || g->depth < 1 || g->depth >= g->capacity ||
            g->n_chunks >= SLOT_NO_CHUNK || g->n_chunks < g->depth + 2)
                return error_set(-EINVAL, "geometry: %u slots, %u chunks, depth %u", g->capacity,
                                 g->n_chunks, g->depth);
        if (g->slots_offset < sizeof(struct segment_header) || g->slots_offset % LAYOUT_LINE ||
            g->slots_offset > g->size || g->chunks_offset > g->size ||
            g->chunks_offset % LAYOUT_LINE || g->chunks_offset < g->slots_offset ||
            g->capacity * UINT64_C(8) > g->chunks_offset - g->slots_offset)
                return error_set(-EINVAL, "geometry: the slots are not inside the segment");
        if (g->stride % LAYOUT_LINE || g->payload_max > INT64_MAX || g->stride > INT64_MAX ||
            g->payload_offset < sizeof(struct chunk_header) ||
            g->payload_max + g->payload_offset > g->stride)
                return error_set(-EINVAL, "geometry: a sample does not fit its chunk");
        if (__builtin_mul_overflow(g->stride, g->n_chunks, &chunks_size) ||
            __builtin_add_overflow(g->chunks_offset, chunks_size, &chunks_end) ||
            chunks_end > g->size)
                return error_set(-EINVAL, "geometry: the chunks are not inside the segment");
        return 0;
}

/* ---- the writer ------------------------------------------------------------------------- */

uint64_t ring_scratch_size(const struct ring_geometry *geometry)
{
        return geometry->capacity * UINT64_C(4) + geometry->n_chunks * UINT64_C(9);
}

static struct chunk_header *writer_chunk(const struct ring_writer *writer, uint32_t chunk)
{
        return (struct chunk_header *)(void *)(writer->segment + writer->geometry.chunks_offset +
                                               writer->geometry.stride * chunk);
}

static void free_push(struct ring_writer *writer, uint32_t chunk)
{
        uint32_t at = writer->free_first + writer->n_free++;

        writer->free[at < writer->geometry.n_chunks ? at : at - writer->geometry.n_chunks] = chunk;
        writer->state[chunk] = CHUNK_FREE;
}

/*
 * First in, first out: chunks are used in a steady order, which the prefetcher follows; the chunk
 * that was freed last would be the one whose lines are still in the readers' caches.
 */
static uint32_t free_pop(struct ring_writer *writer)
{
        uint32_t chunk;

        if (!writer->n_free)
                return RING_NONE;
        chunk = writer->free[writer->free_first];
        if (++writer->free_first == writer->geometry.n_chunks)
                writer->free_first = 0;
        writer->n_free--;
        return chunk;
}

static uint64_t *slot_of(const struct ring_writer *writer, uint64_t n)
{
        return &writer->slots[n & (writer->geometry.capacity - 1)];
}

/* Slots of messages before `first`, as they would be, naming nothing: readers search by laps. */
static void fill_slots(struct ring_writer *writer, uint64_t first)
{
        for (uint32_t i = 0; i < writer->geometry.capacity && i < first; i++) {
                uint64_t n = first - 1 - i;

                store_relaxed(slot_of(writer, n),
                              slot_word(n, writer->geometry.capacity, SLOT_NO_CHUNK));
        }
}

void ring_writer_init(struct ring_writer *writer, const struct ring_geometry *geometry,
                      void *segment, void *scratch, uint32_t tag, uint64_t first)
{
        uint32_t *words = scratch;

        memset(writer, 0, sizeof(*writer));
        writer->geometry = *geometry;
        writer->segment = segment;
        writer->slots = (uint64_t *)(void *)(writer->segment + geometry->slots_offset);
        writer->next = first;
        writer->tag = tag;
        writer->announced = RING_NONE;
        writer->published = words;
        writer->free = words + geometry->capacity;
        writer->retired = writer->free + geometry->n_chunks;
        writer->state = (unsigned char *)(writer->retired + geometry->n_chunks);
        for (uint32_t i = 0; i < geometry->capacity; i++)
                writer->published[i] = RING_NONE;
        for (uint32_t chunk = 0; chunk < geometry->n_chunks; chunk++)
                free_push(writer, chunk);
        fill_slots(writer, first);
        ring_announce(writer);
}

/* Names the chunk as message `next`. */
static void name_next(struct ring_writer *writer, uint32_t chunk)
{
        /*
         * RELEASE: whoever sees this word sees the commit of every earlier message and that the
         * chunk's sequence is 0 (G3). Partner: the ACQUIRE of the slot in look(). Says nothing
         * about the sample, which is not there yet.
         */
        store_release(slot_of(writer, writer->next),
                      slot_word(writer->next, writer->geometry.capacity, chunk));
}

void ring_announce(struct ring_writer *writer)
{
        if (writer->announced == RING_NONE) {
                uint32_t chunk = free_pop(writer);

                if (chunk == RING_NONE)
                        return;
                writer->announced = chunk;
                writer->announced_is_loaned = false;
                writer->state[chunk] = CHUNK_PREPARED;
        }
        name_next(writer, writer->announced);
}

uint32_t ring_loan(struct ring_writer *writer)
{
        uint32_t chunk;

        if (writer->announced == RING_NONE)
                ring_announce(writer);
        if (writer->announced != RING_NONE && !writer->announced_is_loaned) {
                chunk = writer->announced;
                writer->announced_is_loaned = true;
        } else {
                chunk = free_pop(writer);
        }
        if (chunk != RING_NONE)
                writer->state[chunk] = CHUNK_LOANED;
        return chunk;
}

void *ring_payload(const struct ring_writer *writer, uint32_t chunk)
{
        return (unsigned char *)writer_chunk(writer, chunk) + writer->geometry.payload_offset;
}

uint32_t ring_chunk_of(const struct ring_writer *writer, const void *payload)
{
        uint64_t offset = (uintptr_t)payload - (uintptr_t)ring_payload(writer, 0);
        uint64_t chunk = offset / writer->geometry.stride;

        if (chunk >= writer->geometry.n_chunks || offset % writer->geometry.stride ||
            writer->state[chunk] != CHUNK_LOANED)
                return RING_NONE;
        return (uint32_t)chunk;
}

void ring_commit(struct ring_writer *writer, uint32_t chunk, uint64_t size)
{
        struct chunk_header *header = writer_chunk(writer, chunk);
        uint32_t mask = writer->geometry.capacity - 1, overtaken, upcoming = writer->announced;
        uint64_t n = writer->next;

        if (chunk == writer->announced) {
                upcoming = free_pop(writer);
                writer->announced_is_loaned = false;
        } else {
                /* Out of order: the chunk that was announced moves on to n + 1. The slot names the
                 * chunk before the commit, always: a reader that finds the slot of n + 1 announced
                 * relies on it. */
                name_next(writer, chunk);
        }
        /* Both made visible by the commit. Stored without a look at what is there: to read the line
         * first would cost a transfer more. */
        store_relaxed(&header->size, size);
        store_relaxed(&header->next, upcoming == RING_NONE ? SLOT_NO_CHUNK : upcoming);
        fence_streaming_stores();
        /*
         * RELEASE: the sample is complete for whoever sees this sequence (G1). Partner: the
         * ACQUIRE of the sequence in look() and ring_take(). Says nothing about the slot of n + 1.
         */
        store_release(&header->sequence, n);
        writer->announced = upcoming;
        if (upcoming != RING_NONE && !writer->announced_is_loaned)
                writer->state[upcoming] = CHUNK_PREPARED;
        writer->state[chunk] = CHUNK_PUBLISHED;
        overtaken = writer->published[(n - writer->geometry.depth) & mask];
        if (overtaken != RING_NONE) {
                writer->retired[writer->n_retired++] = overtaken;
                writer->state[overtaken] = CHUNK_RETIRED;
                writer->published[(n - writer->geometry.depth) & mask] = RING_NONE;
        }
        writer->published[n & mask] = chunk;
        writer->next = n + 1;
}

void ring_discard(struct ring_writer *writer, uint32_t chunk)
{
        if (chunk == writer->announced) {
                writer->announced_is_loaned = false;
                writer->state[chunk] = CHUNK_PREPARED;
        } else {
                free_push(writer, chunk);
        }
}

void ring_reclaim_begin(struct ring_writer *writer)
{
        for (uint32_t i = 0; i < writer->n_retired; i++)
                store_relaxed(&writer_chunk(writer, writer->retired[i])->sequence, 0);
        /*
         * FENCE: the zeros come before the reads of holds that follow. Partner: the fence between
         * hold and second look in ring_take(). Of a zero here and a hold there, one side sees the
         * other's (G2).
         */
        fence_seq_cst();
}

void ring_reclaim_mark(struct ring_writer *writer, const struct ring_row *row)
{
        uint32_t pinned = 0;

        for (uint32_t i = 0; i < row->n_holds; i++) {
                /*
                 * ACQUIRE: a hold that was let go of was read to the end before (G2). Partner: the
                 * RELEASE in ring_release(). Once only: the next look could find another word.
                 */
                uint64_t hold = load_acquire(&row->holds[i]);
                uint32_t chunk = slot_chunk(hold, writer->geometry.n_chunks);

                if (hold >> 32 != writer->tag || chunk == RING_NONE ||
                    writer->state[chunk] < CHUNK_RETIRED)
                        continue;
                writer->state[chunk] = CHUNK_HELD;
                /* An honest subscriber never holds more; a liar's further holds don't count. */
                if (++pinned == row->budget)
                        return;
        }
}

void ring_reclaim_end(struct ring_writer *writer)
{
        uint32_t kept = 0;

        for (uint32_t i = 0; i < writer->n_retired; i++) {
                uint32_t chunk = writer->retired[i];

                if (writer->state[chunk] == CHUNK_HELD) {
                        writer->state[chunk] = CHUNK_RETIRED;
                        writer->retired[kept++] = chunk;
                } else {
                        free_push(writer, chunk);
                }
        }
        writer->n_retired = kept;
}

bool ring_row_holds(const struct ring_writer *writer, const struct ring_row *row)
{
        for (uint32_t i = 0; i < row->n_holds; i++)
                /* ACQUIRE: as in ring_reclaim_mark(). */
                if (load_acquire(&row->holds[i]) >> 32 == writer->tag)
                        return true;
        return false;
}

/* ---- a reader --------------------------------------------------------------------------- */

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

/* The sequence in a chunk; 0, not committed, for no chunk. */
static uint64_t reader_sequence(const struct ring_reader *reader, uint32_t chunk)
{
        /* ACQUIRE: partner and promise at the commit in ring_commit(). */
        return chunk == RING_NONE ? 0 : load_acquire(&reader_chunk(reader, chunk)->sequence);
}

static uint64_t sequence_by_slot(const struct ring_reader *reader, uint64_t n)
{
        return reader_sequence(reader,
                               slot_chunk(reader_slot(reader, n), reader->geometry.n_chunks));
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
        newest = sequence_by_slot(reader, low);
        if (!newest) /* announced, not committed: the one before it */
                newest = sequence_by_slot(reader, (uint64_t)low + reader->geometry.capacity - 1);
        /* Who lies about sequences must not make ours overflow. */
        if (newest > INT64_MAX)
                return 0;
        for (uint32_t i = 0; newest && i < STEPS_FROM_SEARCH; i++) {
                if (sequence_by_slot(reader, newest + 1) != newest + 1)
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
                      const void *segment, uint32_t tag, uint64_t history)
{
        uint64_t newest;

        ring_reader_init(reader, geometry, segment, tag, 1);
        newest = ring_newest(reader);
        if (history > geometry->depth)
                history = geometry->depth;
        reader->next = newest + 1 - (history < newest ? history : newest);
}

enum ring_look { LOOK_EMPTY, LOOK_READY, LOOK_OVERRUN };

/* Whether message n must have been committed: the slot of n + 1 is no longer as it was before. */
static bool is_past(const struct ring_reader *reader, uint64_t n)
{
        return slot_lap(reader_slot(reader, n + 1)) != lap_before(n + 1, reader->geometry.capacity);
}

/*
 * Looks for message `next`; the table in ring.h. What looks like an overrun gets a second look at
 * the slot, since the writer may have re-announced n, or announced it, between the first look at
 * the slot and that at the chunk. Sets `watched` for the next time.
 */
static enum ring_look look(struct ring_reader *reader)
{
        uint64_t n = reader->next, lap = lap_of(n, reader->geometry.capacity);

        for (int i = 0; i < 4; i++) {
                uint64_t word = reader_slot(reader, n), sequence;
                uint32_t chunk = slot_chunk(word, reader->geometry.n_chunks);

                if (slot_lap(word) != lap &&
                    slot_lap(word) != lap_before(n, reader->geometry.capacity))
                        return LOOK_OVERRUN;
                sequence = reader_sequence(reader, chunk);
                reader->watched = chunk;
                if (sequence == n)
                        return LOOK_READY;
                if (sequence < n && (slot_lap(word) != lap || !is_past(reader, n)))
                        return LOOK_EMPTY;
                if (reader_slot(reader, n) == word)
                        return reader_sequence(reader, chunk) == n ? LOOK_READY : LOOK_OVERRUN;
        }
        return LOOK_EMPTY; /* the writer is faster than our looks: the next call finds out */
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
                enum ring_look found = look(reader);

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
        /* A hint: what is there says for itself which message it is. Fetched now, the line is here
         * when the caller comes back for it. */
        reader->watched = slot_chunk(load_relaxed(&header->next), reader->geometry.n_chunks);
        if (reader->watched != RING_NONE)
                __builtin_prefetch(reader_chunk(reader, reader->watched));
        return true;
}

bool ring_take(struct ring_reader *reader, uint64_t *hold, struct ring_sample *sample)
{
        for (int i = 0; i < OVERRUNS_A_CALL; i++) {
                enum ring_look found = reader_sequence(reader, reader->watched) == reader->next
                                               ? LOOK_READY
                                               : look(reader);

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
