/* SPDX-License-Identifier: Apache-2.0 */
/* ring.c - where slots and chunks lie in a segment; ring-writer.c and ring-reader.c use them. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "error.h"
#include "ring.h"
#include "util.h"

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
