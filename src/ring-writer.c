/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring-writer.c - the writer's side of the protocol of ring.h: beginning, discarding, reclaiming.
 * ring-publish.h has what is done for each sample.
 *
 * docs/memory-model.md numbers the guarantees (G1...) that the comments cite; tests/model checks
 * them.
 */
#include <string.h>

#include "ring-publish.h"

uint64_t ring_scratch_size(const struct ring_geometry *geometry)
{
        return geometry->capacity * UINT64_C(4) + geometry->n_chunks * UINT64_C(17);
}

static void free_push(struct ring_writer *writer, uint32_t chunk)
{
        uint32_t at = writer->free_first + writer->n_free++;

        writer->free[at < writer->geometry.n_chunks ? at : at - writer->geometry.n_chunks] = chunk;
        writer->state[chunk] = CHUNK_QUIET;
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
        writer->chunks = (unsigned char *)segment + geometry->chunks_offset;
        writer->slots = (uint64_t *)(void *)((unsigned char *)segment + geometry->slots_offset);
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

uint32_t ring_chunk_of(const struct ring_writer *writer, const void *payload)
{
        uint64_t offset = (uintptr_t)payload - (uintptr_t)ring_payload(writer, 0);
        uint64_t chunk = offset / writer->geometry.stride;

        if (chunk >= writer->geometry.n_chunks || offset % writer->geometry.stride ||
            writer->state[chunk] != CHUNK_LOANED)
                return RING_NONE;
        return (uint32_t)chunk;
}

void ring_discard(struct ring_writer *writer, uint32_t chunk)
{
        if (chunk == writer->announced) {
                writer->announced_is_loaned = false;
                writer->state[chunk] = CHUNK_QUIET;
        } else {
                free_push(writer, chunk);
        }
}

void ring_reclaim_begin(struct ring_writer *writer)
{
        if (writer->n_marked == writer->n_kept)
                while (writer->n_marked < writer->n_retired)
                        mark_oldest(writer);
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

bool ring_reclaim_end(struct ring_writer *writer)
{
        uint32_t kept = 0;

        for (uint32_t i = 0; i < writer->n_marked; i++) {
                uint32_t chunk = writer->retired[i];

                if (writer->state[chunk] == CHUNK_HELD) {
                        writer->state[chunk] = CHUNK_MARKED;
                        writer->retired[kept++] = chunk;
                } else {
                        free_push(writer, chunk);
                }
        }
        writer->n_retired -= writer->n_marked;
        memmove(writer->retired + kept, writer->retired + writer->n_marked,
                writer->n_retired * sizeof(*writer->retired));
        writer->n_retired += kept;
        writer->n_marked = kept;
        writer->n_kept = kept;
        return !writer->n_free && writer->n_marked < writer->n_retired;
}
