/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring-writer.c - the writer's side of the protocol of ring.h: announce, commit, reclaim.
 *
 * docs/memory-model.md numbers the guarantees (G1...) that the comments cite; tests/model checks
 * them.
 */
#include <string.h>

#include "atomic.h"
#include "ring.h"
#include "slot.h"

enum ring_state {
        CHUNK_FREE = 0, /* its sequence is of a message that is gone; in `free` */
        CHUNK_PREPARED, /* announced, not lent */
        CHUNK_LOANED,   /* lent, announced or not */
        CHUNK_PUBLISHED,
        CHUNK_RETIRED, /* more than `depth` messages old; in `retired` */
        CHUNK_MARKED,  /* likewise, and its sequence says that the message is gone */
        CHUNK_HELD,    /* likewise, and named by a hold in the reclaim that is under way */
};

uint64_t ring_scratch_size(const struct ring_geometry *geometry)
{
        return geometry->capacity * UINT64_C(4) + geometry->n_chunks * UINT64_C(17);
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
        uint32_t *words;

        memset(writer, 0, sizeof(*writer));
        writer->geometry = *geometry;
        writer->segment = segment;
        writer->slots = (uint64_t *)(void *)(writer->segment + geometry->slots_offset);
        writer->next = first;
        writer->tag = tag;
        writer->announced = RING_NONE;
        writer->message = scratch;
        words = (uint32_t *)(writer->message + geometry->n_chunks);
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
         * RELEASE: whoever sees this word sees the commit of every earlier message, and that the
         * chunk's own is gone (G3). Partner: the ACQUIRE of the slot in look(). Says nothing about
         * the sample, which is not there yet.
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
                 * chunk before the commit, always. */
                name_next(writer, chunk);
                /*
                 * RELEASE: whoever waits there for n is sent back to the slot, which is new already
                 * (G3). Partner: the ACQUIRE of the sequence in look() and ring_take().
                 */
                if (upcoming != RING_NONE)
                        store_release(&writer_chunk(writer, upcoming)->sequence, SEQUENCE_GONE | n);
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
        writer->message[chunk] = n;
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
        for (uint32_t i = 0; i < writer->n_retired; i++) {
                uint32_t chunk = writer->retired[i];

                if (writer->state[chunk] == CHUNK_MARKED)
                        continue; /* held since an earlier time */
                store_relaxed(&writer_chunk(writer, chunk)->sequence,
                              SEQUENCE_GONE | writer->message[chunk]);
                writer->state[chunk] = CHUNK_MARKED;
        }
        /*
         * FENCE: the marks come before the reads of holds that follow. Partner: the fence between
         * hold and second look in ring_take(). Of a mark here and a hold there, one side sees the
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
                    writer->state[chunk] < CHUNK_MARKED)
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
                        writer->state[chunk] = CHUNK_MARKED;
                        writer->retired[kept++] = chunk;
                } else {
                        free_push(writer, chunk);
                }
        }
        writer->n_retired = kept;
}
