/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-ring-hostile.c - a writer that puts anything into its segment, and readers that put anything
 * into their holds. The segment has exactly its size, so that AddressSanitizer sees a look outside.
 */
#include <string.h>

#include "unit.h"
#include "atomic.h"
#include "ring-rig.h"

/* ---- a writer that lies ----------------------------------------------------------------- */

static uint64_t *slot(struct rig *rig, uint64_t index)
{
        return (uint64_t *)(void *)(rig->segment + rig->geometry.slots_offset) + index;
}

static struct chunk_header *chunk(struct rig *rig, uint32_t index)
{
        return (struct chunk_header *)(void *)(rig->segment + rig->geometry.chunks_offset +
                                               rig->geometry.stride * index);
}

/* A word that looks like a slot's, or isn't one at all. */
static uint64_t lying_slot(struct rig *rig, uint64_t *state, uint64_t around)
{
        uint64_t lap = around / rig->geometry.capacity + random_below(state, 4);
        uint64_t where = random_below(state, rig->geometry.n_chunks + 2);

        switch (random_below(state, 4)) {
        case 0:
                return random_nasty(state);
        case 1:
                return lap << SLOT_LAP_SHIFT | (uint32_t)random_nasty(state);
        case 2:
                return random_nasty(state) << SLOT_LAP_SHIFT | where;
        default:
                return lap << SLOT_LAP_SHIFT | where;
        }
}

/* Something that a reader which looks for message `around` may well believe. */
static void lie_well(struct rig *rig, uint64_t *state, uint64_t around)
{
        uint64_t n = around + random_below(state, 3), lap = n / rig->geometry.capacity % SLOT_LAPS;
        uint32_t which = random_below(state, rig->geometry.n_chunks);

        *slot(rig, n % rig->geometry.capacity) = (lap + 1) << SLOT_LAP_SHIFT | which;
        chunk(rig, which)->sequence = random_below(state, 4) ? n : 0;
}

static void lie(struct rig *rig, uint64_t *state, uint64_t around)
{
        uint32_t which = random_below(state, rig->geometry.n_chunks);

        switch (random_below(state, 5)) {
        case 0:
        case 1:
                *slot(rig, random_below(state, rig->geometry.capacity)) =
                        lying_slot(rig, state, around);
                break;
        case 2:
                chunk(rig, which)->sequence = random_below(state, 3)
                                                      ? around + random_below(state, 9) - 4
                                                      : random_nasty(state);
                break;
        case 3:
                chunk(rig, which)->size = random_nasty(state);
                chunk(rig, which)->next = random_below(state, 2) ? which : random_nasty(state);
                break;
        default:
                lie_well(rig, state, around);
        }
}

/* Reads the sample from end to end. */
static uint64_t sum(const struct ring_sample *sample)
{
        const unsigned char *bytes = sample->data;
        uint64_t total = 0;

        for (uint64_t i = 0; i < sample->size; i++)
                total += bytes[i];
        return total;
}

static void check_bounds(struct rig *rig, const struct ring_sample *sample)
{
        uint64_t offset = (uintptr_t)sample->data - (uintptr_t)chunk(rig, 0);

        assert_true(sample->size <= rig->geometry.payload_max);
        assert_int_equal(offset % rig->geometry.stride, rig->geometry.payload_offset);
        assert_true(offset / rig->geometry.stride < rig->geometry.n_chunks);
        assert_true(sum(sample) <= sample->size * 255);
}

static void reader_of_a_lying_writer_stays_inside_and_always_returns(void **unused)
{
        uint64_t state = 5, taken = 0;

        for (uint32_t shape = 0; shape < 24; shape++) {
                struct rig_plan plan = {
                        .depth = 1 + shape % 6, .loans = 1, .rows = 1, .holds = 1 + shape / 6};
                struct rig rig;

                rig_open(&rig, &plan);
                for (int round = 0; round < 60; round++) {
                        uint64_t next = random_below(&state, 2)
                                                ? 1 + random_below(&state, 40)
                                                : (random_nasty(&state) & INT64_MAX) | 1;
                        struct ring_reader reader;
                        struct ring_sample sample;

                        if (random_below(&state, 2))
                                ring_reader_init(&reader, &rig.geometry, rig.segment, RIG_TAG,
                                                 next);
                        else
                                rig_join(&rig, &reader, random_nasty(&state));
                        for (int step = 0; step < 200; step++) {
                                uint64_t *hold = &rig.holds[0][step % plan.holds];

                                lie(&rig, &state, reader.next);
                                ring_ready(&reader);
                                ring_newest(&reader);
                                ring_release(hold);
                                if (!ring_take(&reader, hold, &sample)) {
                                        assert_int_equal(*hold, 0);
                                        continue;
                                }
                                check_bounds(&rig, &sample);
                                taken++;
                        }
                }
                rig_close(&rig);
        }
        assert_true(taken > 1000); /* or the lies were too clumsy to test anything */
}

/* Each take is either a message later than the last, or none: the writer can't turn time back. */
static void reader_of_a_lying_writer_never_goes_back(void **unused)
{
        uint64_t state = 6;
        struct rig rig;

        rig_open(&rig, &(struct rig_plan){.depth = 4, .loans = 1, .rows = 1, .holds = 1});
        for (int round = 0; round < 500; round++) {
                struct ring_reader reader;
                struct ring_sample sample;
                uint64_t last = 0;

                ring_reader_init(&reader, &rig.geometry, rig.segment, RIG_TAG, 1);
                for (int step = 0; step < 200; step++) {
                        lie(&rig, &state, reader.next);
                        if (!ring_take(&reader, &rig.holds[0][0], &sample))
                                continue;
                        assert_int_equal(sample.sequence, last + 1 + sample.lost);
                        assert_true(sample.sequence > last);
                        last = sample.sequence;
                        ring_release(&rig.holds[0][0]);
                }
        }
        rig_close(&rig);
}

static void size_beyond_the_maximum_is_cut(void **unused)
{
        struct ring_reader reader;
        struct ring_sample sample;
        struct rig rig;

        rig_open(&rig, &(struct rig_plan){.depth = 2, .loans = 1, .rows = 1, .holds = 1});
        ring_reader_init(&reader, &rig.geometry, rig.segment, RIG_TAG, 1);
        for (int i = 0; i < 64; i++) {
                uint32_t lent = rig_loan(&rig);

                ring_commit(&rig.writer, lent, UINT64_C(1) << i);
                ring_announce(&rig.writer);
                assert_true(ring_take(&reader, &rig.holds[0][0], &sample));
                assert_int_equal(sample.size, i < 6 ? UINT64_C(1) << i : rig.geometry.payload_max);
                ring_release(&rig.holds[0][0]);
        }
        rig_close(&rig);
}

static void size_below_the_minimum_is_raised(void **unused)
{
        static const uint64_t sizes[] = {0, 1, 39, 40, 41, 64, 65, UINT64_MAX};
        struct ring_reader reader;
        struct ring_sample sample;
        struct rig rig;

        rig_open(&rig, &(struct rig_plan){.depth = 2, .loans = 1, .rows = 1, .holds = 1});
        assert_int_equal(rig.geometry.payload_max, 64);
        for (uint64_t least = 0; least <= 64; least += 8) {
                ring_reader_init(&reader, &rig.geometry, rig.segment, RIG_TAG, rig.writer.next);
                ring_reader_bound(&reader, least);
                for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                        uint64_t size = sizes[i] < least ? least : sizes[i];

                        ring_commit(&rig.writer, rig_loan(&rig), sizes[i]);
                        ring_announce(&rig.writer);
                        assert_true(ring_take(&reader, &rig.holds[0][0], &sample));
                        assert_int_equal(sample.size, size > 64 ? 64 : size);
                        ring_release(&rig.holds[0][0]);
                }
        }
        rig_close(&rig);
}

/* It has left, and yet goes on; or says that it has got very far. */
static void writer_that_has_gone_is_read_to_its_end_and_no_further(void **unused)
{
        struct ring_sample sample;
        struct ring_reader reader;
        struct rig rig;

        rig_open(&rig, &(struct rig_plan){.depth = 4, .loans = 1, .rows = 1, .holds = 1});
        ring_reader_init(&reader, &rig.geometry, rig.segment, RIG_TAG, 1);
        for (int i = 0; i < 3; i++)
                rig_send(&rig);
        ring_reader_end(&reader);
        for (uint64_t n = 1; n <= 3; n++) {
                assert_false(ring_reader_is_over(&reader));
                assert_true(ring_take(&reader, &rig.holds[0][0], &sample));
                assert_int_equal(sample.sequence, n);
                ring_release(&rig.holds[0][0]);
                rig_send(&rig);
        }
        assert_true(ring_reader_is_over(&reader));
        ring_reader_stop(&reader);
        assert_false(ring_ready(&reader));
        assert_false(ring_take(&reader, &rig.holds[0][0], &sample));
        ring_reader_go_on(&reader);
        assert_true(ring_take(&reader, &rig.holds[0][0], &sample));
        assert_int_equal(sample.sequence, 4);
        ring_release(&rig.holds[0][0]);
        rig_close(&rig);
}

static void writer_that_says_it_has_got_far_is_not_followed_one_by_one(void **unused)
{
        static const uint64_t far[] = {INT64_MAX, INT64_MAX - 1, UINT64_C(1) << 40};

        for (size_t i = 0; i < sizeof(far) / sizeof(far[0]); i++) {
                struct ring_reader reader;
                struct ring_sample sample;
                struct rig rig;

                rig_open(&rig, &(struct rig_plan){.depth = 4, .loans = 1, .rows = 1, .holds = 1});
                ring_reader_init(&reader, &rig.geometry, rig.segment, RIG_TAG, 1);
                for (int j = 0; j < 8; j++)
                        *slot(&rig, j) = UINT64_C(1) << SLOT_LAP_SHIFT;
                chunk(&rig, 0)->sequence = far[i];
                ring_reader_end(&reader);
                assert_int_equal(reader.end, far[i]);
                assert_true(reader.end - reader.next < rig.geometry.n_chunks);
                assert_int_equal(reader.lost, reader.next - 1);
                ring_reader_init(&reader, &rig.geometry, rig.segment, RIG_TAG, far[i] + 1);
                ring_reader_stop(&reader);
                for (int j = 0; j < 100; j++) {
                        chunk(&rig, 0)->sequence = reader.next + j;
                        assert_false(ring_ready(&reader));
                        assert_false(ring_take(&reader, &rig.holds[0][0], &sample));
                }
                rig_close(&rig);
        }
}

static void slot_that_names_no_chunk_or_another_extent_is_empty(void **unused)
{
        struct ring_sample sample;
        struct rig rig;

        rig_open(&rig, &(struct rig_plan){.depth = 2, .loans = 1, .rows = 1, .holds = 1});
        for (uint32_t where = 0; where < 33; where++) {
                uint64_t name = where < 32 ? UINT64_C(1) << where : SLOT_NO_CHUNK;
                struct ring_reader reader;

                if (name < rig.geometry.n_chunks)
                        continue;
                ring_reader_init(&reader, &rig.geometry, rig.segment, RIG_TAG, 1);
                *slot(&rig, 1) = UINT64_C(1) << SLOT_LAP_SHIFT | name;
                assert_false(ring_ready(&reader));
                assert_false(ring_take(&reader, &rig.holds[0][0], &sample));
        }
        rig_close(&rig);
}

/* ---- readers that lie ------------------------------------------------------------------- */

static uint64_t lying_hold(struct rig *rig, uint64_t *state)
{
        uint64_t where = random_below(state, rig->geometry.n_chunks);

        switch (random_below(state, 8)) {
        case 0:
                return random_nasty(state);
        case 1:
                return (uint64_t)RIG_TAG << 32 | (uint32_t)random_nasty(state);
        case 2:
                return (uint64_t)RIG_TAG << 32 | 1u << SLOT_CHUNK_BITS | where;
        case 3:
                return random_nasty(state) << 32 | where;
        default:
                return (uint64_t)RIG_TAG << 32 | where;
        }
}

static void lying_reader_pins_its_budget_at_most(void **unused)
{
        uint64_t state = 7;

        for (uint32_t shape = 0; shape < 12; shape++) {
                struct rig_plan plan = {
                        .depth = 1 + shape % 4, .loans = 2, .rows = 3, .holds = 1 + shape / 4};
                struct rig_follower honest;
                struct ring_sample sample;
                struct rig rig;

                rig_open(&rig, &plan);
                /* Rows that have more words than they may use, and use them all. */
                for (int i = 1; i < 3; i++)
                        rig.rows[i].n_holds = RIG_HOLDS_MAX;
                rig_follow_from(&rig, &honest, 1);
                for (int step = 0; step < 4000; step++) {
                        uint32_t first = rig_loan(&rig), second = rig_loan(&rig);

                        assert_int_not_equal(first, RING_NONE);
                        assert_int_not_equal(second, RING_NONE);
                        for (int i = 0; i < 20; i++)
                                rig.holds[1 + i % 2][random_below(&state, RIG_HOLDS_MAX)] =
                                        lying_hold(&rig, &state);
                        rig_publish(&rig, second);
                        rig_publish(&rig, first);
                        assert_int_not_equal(rig.writer.announced, RING_NONE);
                        if (random_below(&state, 3))
                                continue;
                        /* Nor does it harm who is honest. */
                        if (rig.holds[0][0])
                                rig_check(&rig, &sample);
                        ring_release(&rig.holds[0][0]);
                        rig_take(&rig, &honest, &rig.holds[0][0], &sample);
                }
                ring_release(&rig.holds[0][0]);
                rig_drain(&rig, &honest);
                assert_int_equal(honest.taken + honest.lost, rig_newest(&rig));
                rig_close(&rig);
        }
}

static void all_chunks_named_by_one_liar_leave_the_writer_enough(void **unused)
{
        struct rig rig;

        rig_open(&rig, &(struct rig_plan){.depth = 4, .loans = 1, .rows = 1, .holds = 2});
        rig.rows[0].n_holds = RIG_HOLDS_MAX;
        for (uint32_t i = 0; i < RIG_HOLDS_MAX; i++)
                rig.holds[0][i] = (uint64_t)RIG_TAG << 32 | i % rig.geometry.n_chunks;
        for (int i = 0; i < 1000; i++)
                rig_send(&rig);
        rig_reclaim(&rig);
        assert_true(rig.writer.n_kept >= 2);
        rig_close(&rig);
}

static void hold_of_another_publisher_or_extent_pins_nothing(void **unused)
{
        struct rig rig;
        struct rig_plan plan = {.depth = 2, .loans = 1, .rows = 1, .holds = 6};

        rig_open(&rig, &plan);
        for (uint32_t i = 0; i < 6; i++)
                rig.holds[0][i] = (uint64_t)(RIG_TAG + 1) << 32 | i;
        for (int i = 0; i < 100; i++)
                rig_send(&rig);
        rig_reclaim(&rig);
        assert_int_equal(rig.writer.n_kept, 0);
        for (uint32_t i = 0; i < 6; i++)
                rig.holds[0][i] = (uint64_t)RIG_TAG << 32 | 1u << SLOT_CHUNK_BITS | i;
        for (int i = 0; i < 100; i++)
                rig_send(&rig);
        rig_reclaim(&rig);
        assert_int_equal(rig.writer.n_kept, 0);
        rig_close(&rig);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(reader_of_a_lying_writer_stays_inside_and_always_returns),
                cmocka_unit_test(reader_of_a_lying_writer_never_goes_back),
                cmocka_unit_test(size_beyond_the_maximum_is_cut),
                cmocka_unit_test(size_below_the_minimum_is_raised),
                cmocka_unit_test(writer_that_has_gone_is_read_to_its_end_and_no_further),
                cmocka_unit_test(writer_that_says_it_has_got_far_is_not_followed_one_by_one),
                cmocka_unit_test(slot_that_names_no_chunk_or_another_extent_is_empty),
                cmocka_unit_test(lying_reader_pins_its_budget_at_most),
                cmocka_unit_test(all_chunks_named_by_one_liar_leave_the_writer_enough),
                cmocka_unit_test(hold_of_another_publisher_or_extent_pins_nothing),
        };

        return cmocka_run_group_tests_name("ring-hostile", tests, NULL, NULL);
}
