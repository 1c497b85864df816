/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring-publish.h - what a writer does for each sample: loan, commit, announce; to be inlined into
 * the public calls. ring-writer.c has all else.
 *
 * docs/memory-model.md numbers the guarantees (G1...) that the comments cite; tests/model checks
 * them.
 */
#ifndef SHMD_RING_PUBLISH_H
#define SHMD_RING_PUBLISH_H

#include "atomic.h"
#include "ring.h"
#include "slot.h"

enum ring_state {
        CHUNK_QUIET = 0, /* free, announced, published, or retired and not marked yet */
        CHUNK_LOANED,    /* lent, announced or not */
        CHUNK_MARKED,    /* retired, and its sequence says that the message is gone */
        CHUNK_HELD,      /* likewise, and named by a hold in the reclaim that is under way */
};

static inline struct chunk_header *writer_chunk(const struct ring_writer *writer, uint32_t chunk)
{
        return (struct chunk_header *)(void *)(writer->chunks + writer->geometry.stride * chunk);
}

/*
 * First in, first out: chunks are used in a steady order, which the prefetcher follows; the chunk
 * that was freed last would be the one whose lines are still in the readers' caches.
 */
static inline uint32_t free_pop(struct ring_writer *writer)
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

static inline uint64_t *slot_of(const struct ring_writer *writer, uint64_t n)
{
        return &writer->slots[n & (writer->geometry.capacity - 1)];
}

/* Names the chunk as message `next`. */
static inline void name_next(struct ring_writer *writer, uint32_t chunk)
{
        /*
         * RELEASE: whoever sees this word sees the commit of every earlier message, and that the
         * chunk's own is gone (G3). Partner: the ACQUIRE of the slot in look(). Says nothing about
         * the sample, which is not there yet.
         */
        store_release(slot_of(writer, writer->next),
                      slot_word(writer->next, writer->geometry.capacity, chunk));
}

/*
 * So many are marked at once, while there are more retired messages that are not marked than free
 * chunks. A mark fetches a line that readers have; several fetches overlap, and by the time that
 * ring_reclaim_begin() fences they are done, where marking everything there would wait for all.
 * Half of the chunks that are overtaken stay readable, for who is late.
 */
#define MARKS_AT_ONCE 4

/* Marks the oldest retired message that is not yet marked as gone. */
static inline void mark_oldest(struct ring_writer *writer)
{
        uint32_t chunk = writer->retired[writer->n_marked++];

        store_relaxed(&writer_chunk(writer, chunk)->sequence,
                      SEQUENCE_GONE | writer->message[chunk]);
        writer->state[chunk] = CHUNK_MARKED;
}

/* Announces the next message's chunk, if one is free. */
static inline void ring_announce(struct ring_writer *writer)
{
        if (writer->announced == RING_NONE) {
                uint32_t chunk = free_pop(writer);

                if (chunk == RING_NONE)
                        return;
                writer->announced = chunk;
                writer->announced_is_loaned = false;
        }
        name_next(writer, writer->announced);
        if (writer->n_retired - writer->n_marked >= writer->n_free + MARKS_AT_ONCE)
                for (int i = 0; i < MARKS_AT_ONCE; i++)
                        mark_oldest(writer);
}

/* Lends a chunk, or RING_NONE: none is free, call ring_reclaim_*() first. */
static inline uint32_t ring_loan(struct ring_writer *writer)
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

/* Where its sample goes. */
static inline void *ring_payload(const struct ring_writer *writer, uint32_t chunk)
{
        return (unsigned char *)writer_chunk(writer, chunk) + writer->geometry.payload_offset;
}

/* Publishes a loaned chunk as the next message, and chooses the one after it, if one is free;
 * ring_announce() must follow. */
static inline void ring_commit(struct ring_writer *writer, uint32_t chunk, uint64_t size)
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
        writer->state[chunk] = CHUNK_QUIET;
        /* Its place is another message's before it could be asked for again. */
        overtaken = writer->published[(n - writer->geometry.depth) & mask];
        if (overtaken != RING_NONE)
                writer->retired[writer->n_retired++] = overtaken;
        writer->published[n & mask] = chunk;
        writer->message[chunk] = n;
        writer->next = n + 1;
}

#endif
