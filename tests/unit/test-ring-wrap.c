/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-ring-wrap.c - readers that were stopped for any number of messages, up to three whole wraps
 * of a slot's lap. Ring and test are compiled with laps of 3 bits, so that a wrap is 7 laps.
 *
 * A reader behind by a whole number of wraps finds the slots as if nothing had been announced. It
 * can't know better until the writer goes on by at most a lap; it must never take a wrong message.
 */
#include <string.h>

#include "unit.h"
#include "atomic.h"
#include "ring-rig.h"

_Static_assert(SLOT_LAP_BITS == 3, "compiled for short laps");

static bool is_blind(uint64_t behind, uint32_t capacity)
{
        uint64_t wrap = SLOT_LAPS * capacity;

        return behind >= wrap - capacity && (behind + capacity) % wrap <= capacity;
}

/* The reader is to take message `next` where the writer's newest is rig_newest(). */
static void check_distance(struct rig *rig, uint64_t next)
{
        uint32_t capacity = rig->geometry.capacity;
        struct rig_follower follower;
        uint64_t hold = 0;
        struct ring_sample sample;

        rig_follow_from(rig, &follower, next);
        if (is_blind(rig_newest(rig) + 1 - next, capacity)) {
                while (rig_take(rig, &follower, &hold, &sample))
                        ring_release(&hold);
                assert_true(follower.last <= rig_newest(rig));
                for (uint32_t i = 0; i < capacity + 1; i++)
                        rig_send(rig);
        }
        rig_drain(rig, &follower);
        assert_int_equal(follower.taken + follower.lost, rig_newest(rig) - (next - 1));
        assert_true(follower.taken > 0 || next == rig_newest(rig) + 1);
}

static void reader_at_every_distance_finds_out_how_far_behind_it_is(void **unused)
{
        for (uint32_t depth = 1; depth <= 5; depth++)
                for (uint32_t spare = 0; spare < 3; spare++) {
                        struct rig rig;
                        uint64_t wrap;

                        rig_open(&rig, &(struct rig_plan){.depth = depth,
                                                          .loans = 1,
                                                          .n_chunks = depth + 2 + spare * 3});
                        wrap = SLOT_LAPS * rig.geometry.capacity;
                        /* From two phases of the lap: the reader's own may be any. */
                        for (uint64_t i = 0; i < 3 * wrap + depth; i++)
                                rig_send(&rig);
                        for (uint64_t phase = 0; phase < rig.geometry.capacity; phase++) {
                                for (uint64_t back = 0; back <= 3 * wrap; back++)
                                        check_distance(&rig, rig_newest(&rig) + 1 - back);
                                rig_send(&rig);
                        }
                        rig_close(&rig);
                }
}

static void reader_that_keeps_up_loses_nothing_over_many_wraps(void **unused)
{
        for (uint32_t depth = 1; depth <= 5; depth++) {
                struct rig_follower follower, late;
                struct rig rig;

                rig_open(&rig,
                         &(struct rig_plan){.depth = depth, .loans = 2, .rows = 1, .holds = 1});
                rig_follow_from(&rig, &follower, 1);
                for (int i = 0; i < 500; i++) {
                        uint32_t first = rig_loan(&rig);

                        if (i % 3 == 0)
                                rig_send(&rig);
                        rig_drain(&rig, &follower);
                        rig_publish(&rig, first);
                        rig_drain(&rig, &follower);
                        rig_follow_late(&rig, &late, depth);
                        assert_int_equal(ring_newest(&late.reader), rig_newest(&rig));
                        rig_drain(&rig, &late);
                        assert_int_equal(late.lost, 0);
                }
                assert_int_equal(follower.lost, 0);
                rig_close(&rig);
        }
}

/* A ring that no writer has touched, or that its writer has zeroed, is empty, whatever comes next.
 */
static void all_zero_ring_is_empty_for_every_reader(void **unused)
{
        struct rig rig;

        rig_open(&rig, &(struct rig_plan){.depth = 3, .loans = 1, .n_chunks = 6});
        memset(rig.segment, 0, rig.geometry.size);
        for (uint64_t next = 1; next < 3 * SLOT_LAPS * rig.geometry.capacity; next++) {
                struct rig_follower follower;
                struct ring_sample sample;
                uint64_t hold = 0;

                rig_follow_from(&rig, &follower, next);
                assert_int_equal(ring_newest(&follower.reader), 0);
                assert_false(ring_ready(&follower.reader));
                assert_false(rig_take(&rig, &follower, &hold, &sample));
                assert_int_equal(follower.reader.next, next);
                assert_int_equal(follower.reader.lost, 0);
                rig_follow_late(&rig, &follower, next);
                assert_int_equal(follower.reader.next, 1);
        }
        rig_close(&rig);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(reader_at_every_distance_finds_out_how_far_behind_it_is),
                cmocka_unit_test(reader_that_keeps_up_loses_nothing_over_many_wraps),
                cmocka_unit_test(all_zero_ring_is_empty_for_every_reader),
        };

        return cmocka_run_group_tests_name("ring-wrap", tests, NULL, NULL);
}
