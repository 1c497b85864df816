/* SPDX-License-Identifier: Apache-2.0 */
/* test-ring-geometry.c - nothing is laid out, or let through, that reaches outside the segment. */
#include <errno.h>
#include <string.h>

#include "unit.h"
#include "error.h"
#include "ring.h"
#include "util.h"

#define ROUNDS 300000

/* The whole of the geometry, in arithmetic that can't overflow. */
static bool lies_inside(const struct ring_geometry *g)
{
        typedef unsigned __int128 wide;
        wide slots_end = (wide)g->slots_offset + (wide)g->capacity * 8;
        wide chunks_end = (wide)g->chunks_offset + (wide)g->stride * g->n_chunks;

        return g->slots_offset >= sizeof(struct segment_header) && slots_end <= g->chunks_offset &&
               chunks_end <= g->size && (wide)g->payload_offset + g->payload_max <= g->stride &&
               g->payload_offset >= sizeof(struct chunk_header);
}

static bool is_aligned(const struct ring_geometry *g)
{
        return g->slots_offset % 8 == 0 && g->chunks_offset % 8 == 0 && g->stride % 8 == 0 &&
               g->size % 4096 == 0;
}

static void random_wish(uint64_t *state, struct ring_wish *wish)
{
        wish->alignment = UINT64_C(1) << random_below(state, 13);
        wish->depth = 1 + random_below(state, 1 << random_below(state, 21));
        wish->payload_max = random_next(state) >> (26 + random_below(state, 38));
        wish->n_chunks = wish->depth + 2 + random_below(state, 1 << random_below(state, 20));
}

static void geometry_that_was_laid_out_passes_the_check(void **unused)
{
        uint64_t state = 1;

        for (int i = 0; i < ROUNDS; i++) {
                struct ring_geometry geometry;
                struct ring_wish wish;

                random_wish(&state, &wish);
                assert_int_equal(ring_geometry_init(&geometry, &wish), 0);
                assert_int_equal(ring_geometry_check(&geometry), 0);
                assert_true(lies_inside(&geometry) && is_aligned(&geometry));
                assert_int_equal(geometry.payload_max, wish.payload_max);
                assert_int_equal(geometry.depth, wish.depth);
                assert_int_equal(geometry.n_chunks, wish.n_chunks);
                assert_true(geometry.capacity > wish.depth && is_power_of_two(geometry.capacity));
                assert_int_equal(
                        (geometry.chunks_offset + geometry.payload_offset) % wish.alignment, 0);
                assert_int_equal(geometry.stride % wish.alignment, 0);
        }
}

/* Changes one to three fields. */
static void spoil(uint64_t *state, struct ring_geometry *geometry)
{
        uint64_t *longs[] = {&geometry->size, &geometry->slots_offset, &geometry->chunks_offset,
                             &geometry->stride, &geometry->payload_max};
        uint32_t *words[] = {&geometry->capacity, &geometry->depth, &geometry->n_chunks,
                             &geometry->payload_offset};
        uint32_t n = 1 + random_below(state, 3);

        while (n--) {
                uint32_t field = random_below(state, 9);
                bool is_near = random_below(state, 2);
                uint64_t nasty = random_nasty(state);
                uint64_t near = (uint64_t)random_below(state, 9) * 64 - 256;

                if (field < 5)
                        *longs[field] = is_near ? *longs[field] + near : nasty;
                else
                        words[field - 5][0] =
                                (uint32_t)(is_near ? words[field - 5][0] + near / 64 : nasty);
        }
}

static void geometry_check_lets_nothing_through_that_reaches_outside(void **unused)
{
        uint64_t state = 2, accepted = 0;

        for (int i = 0; i < ROUNDS; i++) {
                struct ring_geometry geometry;
                struct ring_wish wish;

                random_wish(&state, &wish);
                assert_int_equal(ring_geometry_init(&geometry, &wish), 0);
                spoil(&state, &geometry);
                if (ring_geometry_check(&geometry) < 0)
                        continue;
                accepted++;
                assert_true(lies_inside(&geometry) && is_aligned(&geometry));
                assert_true(is_power_of_two(geometry.capacity));
                assert_in_range(geometry.depth, 1, geometry.capacity - 1);
                assert_true(geometry.n_chunks >= geometry.depth + 2);
        }
        assert_true(accepted > ROUNDS / 100 && accepted < ROUNDS / 2);
}

static void each_field_that_is_off_by_one_is_refused(void **unused)
{
        struct ring_wish wish = {.payload_max = LAYOUT_LINE - sizeof(struct chunk_header),
                                 .alignment = 8,
                                 .depth = 7,
                                 .n_chunks = 16};
        struct ring_geometry good, bad;

        assert_int_equal(ring_geometry_init(&good, &wish), 0);
        assert_int_equal(ring_geometry_check(&good), 0);
        assert_int_equal(good.capacity, 8);
        /* A sample fills its chunk to the last byte, slots end where chunks begin, and at the end
         * less than one chunk is left. */
        assert_int_equal(good.stride, LAYOUT_LINE);
        good.chunks_offset = good.slots_offset + LAYOUT_LINE;
        good.capacity = 16;
        good.n_chunks = (uint32_t)((good.size - good.chunks_offset) / good.stride);
        assert_int_equal(ring_geometry_check(&good), 0);

#define REFUSES(change, words)                                        \
        do {                                                          \
                bad = good;                                           \
                bad.change;                                           \
                assert_int_equal(ring_geometry_check(&bad), -EINVAL); \
                assert_non_null(strstr(error_text(), words));         \
        } while (0)
        REFUSES(payload_max++, "does not fit its chunk");
        REFUSES(payload_offset++, "does not fit its chunk");
        REFUSES(payload_offset = sizeof(struct chunk_header) - 1, "does not fit its chunk");
        REFUSES(stride--, "does not fit its chunk");
        REFUSES(stride = 0, "does not fit its chunk");
        REFUSES(payload_max = UINT64_MAX - 15, "does not fit its chunk");
        REFUSES(stride += 128, "the chunks are not inside");
        REFUSES(n_chunks++, "the chunks are not inside");
        REFUSES(stride = UINT64_C(1) << 62, "the chunks are not inside");
        REFUSES(slots_offset -= 128, "the slots are not inside");
        REFUSES(slots_offset++, "the slots are not inside");
        REFUSES(slots_offset = good.size + 128, "the slots are not inside");
        REFUSES(chunks_offset = good.size + 128, "the slots are not inside");
        REFUSES(chunks_offset -= 128, "the slots are not inside");
        REFUSES(chunks_offset++, "the slots are not inside");
        REFUSES(capacity = 32, "the slots are not inside");
        REFUSES(capacity = 12, "geometry: 12 slots");
        REFUSES(capacity = 0, "geometry: 0 slots");
        REFUSES(capacity = 1, "geometry: 1 slots");
        REFUSES(depth = 0, "depth 0");
        REFUSES(depth = 16, "depth 16");
        REFUSES(n_chunks = 8, "8 chunks");
        REFUSES(n_chunks = SLOT_NO_CHUNK, "16777215 chunks");
        REFUSES(size++, "geometry:");
        REFUSES(size = UINT64_C(1) << 63, "geometry:");
#undef REFUSES
}

static void wish_that_is_too_big_gets_a_text(void **unused)
{
        struct ring_wish wish = {.payload_max = 64, .alignment = 8, .depth = 8, .n_chunks = 16};
        struct ring_geometry geometry;

        wish.n_chunks = SLOT_NO_CHUNK;
        assert_int_equal(ring_geometry_init(&geometry, &wish), -EINVAL);
        assert_string_equal(error_text(),
                            "16777215 chunks of 64 bytes are more than 16777214 or 2^61");
        wish.n_chunks--;
        assert_int_equal(ring_geometry_init(&geometry, &wish), 0);
        wish.payload_max = INT64_MAX / 4;
        assert_int_equal(ring_geometry_init(&geometry, &wish), -EINVAL);
        assert_non_null(strstr(error_text(), "are too much memory"));
        wish.n_chunks = 10;
        assert_int_equal(ring_geometry_init(&geometry, &wish), -EINVAL);
        wish.payload_max++;
        assert_int_equal(ring_geometry_init(&geometry, &wish), -EINVAL);
        assert_non_null(strstr(error_text(), "2^61"));
}

static void small_sample_shares_the_line_of_its_sequence(void **unused)
{
        struct ring_wish wish = {.payload_max = 8, .alignment = 8, .depth = 8, .n_chunks = 16};
        struct ring_geometry geometry;

        assert_int_equal(ring_geometry_init(&geometry, &wish), 0);
        assert_true(geometry.payload_offset + 8 <= 64);
        assert_int_equal(geometry.stride, LAYOUT_LINE);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(geometry_that_was_laid_out_passes_the_check),
                cmocka_unit_test(geometry_check_lets_nothing_through_that_reaches_outside),
                cmocka_unit_test(each_field_that_is_off_by_one_is_refused),
                cmocka_unit_test(wish_that_is_too_big_gets_a_text),
                cmocka_unit_test(small_sample_shares_the_line_of_its_sequence),
        };

        return cmocka_run_group_tests_name("ring-geometry", tests, NULL, NULL);
}
