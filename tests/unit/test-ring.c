/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-ring.c - the ring between one writer and readers that take turns, where each state can be
 * set up by hand. What happens when they run at once is stress-ring.c's.
 */
#include <string.h>

#include "unit.h"
#include "atomic.h"
#include "ring-rig.h"

#define OPEN(...)       \
        struct rig rig; \
        rig_open(&rig, &(struct rig_plan){__VA_ARGS__})

/* ---- one sample ------------------------------------------------------------------------- */

static void nothing_is_taken_from_a_ring_that_was_never_published_to(void **unused)
{
        OPEN(.depth = 4, .loans = 1, .rows = 1, .holds = 1);
        struct rig_follower follower;
        struct ring_sample sample;

        rig_follow_from(&rig, &follower, 1);
        assert_false(ring_ready(&follower.reader));
        assert_false(rig_take(&rig, &follower, &rig.holds[0][0], &sample));
        assert_int_equal(ring_newest(&follower.reader), 0);
        /* Lent is not published. */
        assert_int_not_equal(rig_loan(&rig), RING_NONE);
        assert_false(ring_ready(&follower.reader));
        assert_false(rig_take(&rig, &follower, &rig.holds[0][0], &sample));
        rig_close(&rig);
}

static void sample_is_taken_where_it_was_written(void **unused)
{
        OPEN(.depth = 4, .loans = 1, .rows = 1, .holds = 1);
        struct rig_follower follower;
        struct ring_sample sample;
        uint32_t chunk;
        void *data;

        rig_follow_from(&rig, &follower, 1);
        chunk = rig_loan(&rig);
        data = ring_payload(&rig.writer, chunk);
        memset(data, 'x', 5);
        ring_commit(&rig.writer, chunk, 5);
        assert_true(ring_ready(&follower.reader)); /* before it is announced further */
        ring_announce(&rig.writer);
        assert_true(ring_ready(&follower.reader));
        assert_true(ring_take(&follower.reader, &rig.holds[0][0], &sample));
        assert_ptr_equal(sample.data, data);
        assert_int_equal(sample.size, 5);
        assert_int_equal(sample.sequence, 1);
        assert_int_equal(sample.lost, 0);
        assert_int_equal(rig.holds[0][0], (uint64_t)RIG_TAG << 32 | chunk);
        ring_release(&rig.holds[0][0]);
        assert_int_equal(rig.holds[0][0], 0);
        assert_false(ring_ready(&follower.reader));
        rig_close(&rig);
}

static void chunk_is_found_by_its_payload_only_while_on_loan(void **unused)
{
        OPEN(.depth = 2, .loans = 2, .rows = 1, .holds = 1, .payload = 200);
        uint32_t a = rig_loan(&rig), b = rig_loan(&rig);
        unsigned char *pa = ring_payload(&rig.writer, a), *pb = ring_payload(&rig.writer, b);

        assert_int_equal(ring_chunk_of(&rig.writer, pa), a);
        assert_int_equal(ring_chunk_of(&rig.writer, pb), b);
        assert_int_equal(ring_chunk_of(&rig.writer, pa + 1), RING_NONE);
        assert_int_equal(ring_chunk_of(&rig.writer, NULL), RING_NONE);
        assert_int_equal(ring_chunk_of(&rig.writer, &rig), RING_NONE);
        assert_int_equal(ring_chunk_of(&rig.writer, rig.segment), RING_NONE);
        assert_int_equal(ring_chunk_of(&rig.writer, rig.segment + rig.geometry.size), RING_NONE);
        for (uint32_t chunk = 0; chunk < rig.geometry.n_chunks; chunk++)
                assert_int_equal(ring_chunk_of(&rig.writer, ring_payload(&rig.writer, chunk)),
                                 chunk == a || chunk == b ? chunk : RING_NONE);
        rig_publish(&rig, b);
        assert_int_equal(ring_chunk_of(&rig.writer, pb), RING_NONE);
        ring_discard(&rig.writer, a);
        assert_int_equal(ring_chunk_of(&rig.writer, pa), RING_NONE);
        rig_close(&rig);
}

/* ---- several loans ---------------------------------------------------------------------- */

/* Lends four, then publishes or discards them in the order and choice that `how` encodes. */
static void settle_loans(struct rig *rig, uint32_t order, uint32_t discards)
{
        uint32_t chunks[4];

        for (int i = 0; i < 4; i++) {
                chunks[i] = rig_loan(rig);
                assert_int_not_equal(chunks[i], RING_NONE);
                for (int j = 0; j < i; j++)
                        assert_int_not_equal(chunks[i], chunks[j]);
        }
        for (uint32_t left = 4; left; left--) {
                uint32_t at = order % left;

                order /= left;
                if (discards >> left & 1)
                        ring_discard(&rig->writer, chunks[at]);
                else
                        rig_publish(rig, chunks[at]);
                chunks[at] = chunks[left - 1];
        }
}

static void loans_are_published_or_discarded_in_any_order(void **unused)
{
        for (uint32_t start = 0; start < 6; start++) {
                OPEN(.depth = 4, .loans = 4, .rows = 1, .holds = 1);
                struct rig_follower follower;

                rig_follow_from(&rig, &follower, 1);
                for (uint32_t i = 0; i < start; i++)
                        rig_send(&rig);
                rig_drain(&rig, &follower);
                for (uint32_t order = 0; order < 24; order++)
                        for (uint32_t discards = 0; discards < 16; discards++) {
                                settle_loans(&rig, order, discards << 1);
                                rig_drain(&rig, &follower);
                        }
                assert_int_equal(follower.lost, 0);
                rig_close(&rig);
        }
}

/* A reader that has looked at the announced chunk must find the one that was published instead. */
static void reader_that_watches_a_chunk_notices_that_another_was_published(void **unused)
{
        OPEN(.depth = 2, .loans = 3, .rows = 1, .holds = 1);
        struct rig_follower follower;
        struct ring_sample sample;
        uint32_t first = rig_loan(&rig), second = rig_loan(&rig), third = rig_loan(&rig);

        rig_follow_from(&rig, &follower, 1);
        assert_false(ring_ready(&follower.reader));
        assert_int_equal(follower.reader.watched, first);
        rig_publish(&rig, third);
        assert_true(rig_take(&rig, &follower, &rig.holds[0][0], &sample));
        ring_release(&rig.holds[0][0]);
        assert_false(ring_ready(&follower.reader));
        assert_int_equal(follower.reader.watched, first); /* announced again */
        rig_publish(&rig, second);
        rig_publish(&rig, first);
        rig_drain(&rig, &follower);
        assert_int_equal(follower.taken, 3);
        assert_int_equal(follower.lost, 0);
        rig_close(&rig);
}

static void discarded_announcement_is_lent_again(void **unused)
{
        OPEN(.depth = 2, .loans = 2, .rows = 1, .holds = 1);
        uint32_t first = rig_loan(&rig), second = rig_loan(&rig);

        assert_int_not_equal(first, second);
        ring_discard(&rig.writer, first);
        assert_int_equal(rig_loan(&rig), first);
        ring_discard(&rig.writer, second);
        assert_int_not_equal(rig_loan(&rig), first);
        rig_close(&rig);
}

/* ---- overruns --------------------------------------------------------------------------- */

static void subscriber_lapped_learns_how_many_it_missed(void **unused)
{
        OPEN(.depth = 8, .loans = 1, .rows = 1, .holds = 1);
        struct rig_follower follower;
        struct ring_sample sample;

        rig_follow_from(&rig, &follower, 1);
        for (int i = 0; i < 1000; i++)
                rig_send(&rig);
        assert_true(rig_take(&rig, &follower, &rig.holds[0][0], &sample));
        assert_int_equal(sample.sequence, 993); /* the oldest that is kept */
        assert_int_equal(sample.lost, 992);
        ring_release(&rig.holds[0][0]);
        rig_drain(&rig, &follower);
        assert_int_equal(follower.taken, 8);
        rig_close(&rig);
}

static void subscriber_lapped_again_and_again_keeps_a_growing_margin(void **unused)
{
        static const uint64_t margins[] = {0, 1, 2, 4, 8, 8, 8};
        OPEN(.depth = 16, .loans = 1, .rows = 1, .holds = 1);
        struct rig_follower follower;
        struct ring_sample sample;

        rig_follow_from(&rig, &follower, 1);
        for (int round = 0; round < 2; round++) {
                for (int i = 0; i < 7; i++) {
                        for (int j = 0; j < 100; j++)
                                rig_send(&rig);
                        assert_true(rig_take(&rig, &follower, &rig.holds[0][0], &sample));
                        ring_release(&rig.holds[0][0]);
                        assert_int_equal(sample.sequence, rig_newest(&rig) - 15 + margins[i]);
                }
                /* Who keeps up for a whole depth is trusted again. */
                for (int i = 0; i < 16; i++) {
                        rig_drain(&rig, &follower);
                        rig_send(&rig);
                }
                rig_drain(&rig, &follower);
        }
        rig_close(&rig);
}

static void everything_committed_is_taken_or_counted_as_lost(void **unused)
{
        uint64_t state = 3;

        for (uint32_t depth = 1; depth <= 9; depth++) {
                OPEN(.depth = depth, .loans = 1, .rows = 3, .holds = 2);
                struct rig_follower followers[3];
                struct ring_sample sample;

                for (int i = 0; i < 3; i++)
                        rig_follow_from(&rig, &followers[i], 1);
                for (int i = 0; i < 3000; i++) {
                        uint32_t who = random_below(&state, 3);
                        uint64_t *hold = &rig.holds[who][0];

                        for (uint32_t n = random_below(&state, depth * (1 + who)); n--;)
                                rig_send(&rig);
                        for (uint32_t n = random_below(&state, depth * 2); n--;)
                                if (rig_take(&rig, &followers[who], hold, &sample))
                                        ring_release(hold);
                }
                for (int i = 0; i < 3; i++) {
                        rig_drain(&rig, &followers[i]);
                        assert_int_equal(followers[i].taken + followers[i].lost, rig_newest(&rig));
                        assert_true(followers[i].lost > 0 && followers[i].taken > 0);
                }
                rig_close(&rig);
        }
}

static void depth_of_one_keeps_one(void **unused)
{
        OPEN(.depth = 1, .loans = 1, .rows = 1, .holds = 1);
        struct rig_follower follower;
        struct ring_sample sample;

        for (int round = 1; round < 50; round++) {
                rig_follow_late(&rig, &follower, 0);
                for (int i = 0; i < round; i++)
                        rig_send(&rig);
                assert_true(rig_take(&rig, &follower, &rig.holds[0][0], &sample));
                /* What is overrun may still lie there, until its memory is needed. */
                assert_true(sample.sequence + 2 >= rig_newest(&rig));
                ring_release(&rig.holds[0][0]);
                rig_drain(&rig, &follower);
                rig_send(&rig);
                rig_send(&rig);
                rig_reclaim(&rig);
                assert_true(rig_take(&rig, &follower, &rig.holds[0][0], &sample));
                assert_int_equal(sample.sequence, rig_newest(&rig));
                assert_int_equal(sample.lost, 1);
                ring_release(&rig.holds[0][0]);
        }
        rig_close(&rig);
}

/* ---- holds and chunks ------------------------------------------------------------------- */

static void sample_that_is_held_outlives_the_depth(void **unused)
{
        OPEN(.depth = 2, .loans = 1, .rows = 2, .holds = 3);
        struct rig_follower followers[2];
        struct ring_sample samples[2][3];

        for (int i = 0; i < 2; i++) {
                rig_follow_from(&rig, &followers[i], 1);
                for (int j = 0; j < 3; j++) {
                        rig_send(&rig);
                        assert_true(
                                rig_take(&rig, &followers[i], &rig.holds[i][j], &samples[i][j]));
                }
        }
        for (int round = 0; round < 1000; round++) {
                rig_send(&rig);
                for (int i = 0; i < 6; i++)
                        rig_check(&rig, &samples[i / 3][i % 3]);
        }
        for (int j = 0; j < 3; j++)
                ring_release(&rig.holds[0][j]);
        rig_drain(&rig, &followers[0]);
        rig_close(&rig);
}

/* Marked ahead of time and held. */
static void loan_reclaims_what_was_not_marked_when_all_that_was_is_held(void **unused)
{
        OPEN(.depth = 1, .loans = 1, .rows = 1, .holds = 6);
        struct rig_follower follower;
        struct ring_sample sample;
        uint32_t n_held = 0;

        rig_follow_from(&rig, &follower, 1);
        for (; rig.writer.n_free; n_held += n_held < MARKS_AT_ONCE) {
                rig_send(&rig);
                if (n_held < MARKS_AT_ONCE)
                        assert_true(rig_take(&rig, &follower, &rig.holds[0][n_held], &sample));
        }
        assert_int_equal(rig.writer.n_marked, MARKS_AT_ONCE);
        assert_true(rig.writer.n_retired > MARKS_AT_ONCE);
        assert_int_not_equal(rig_loan(&rig), RING_NONE); /* the announced one */
        rig_reclaim(&rig);
        assert_int_equal(rig.writer.n_kept, MARKS_AT_ONCE);
        assert_true(rig.writer.n_free > 0);
        rig_close(&rig);
}

/* All holds and all loans taken, in any order: there is still a chunk to lend and to announce. */
static void writer_with_exactly_the_budget_never_runs_out(void **unused)
{
        uint64_t state = 4;

        for (uint32_t shape = 0; shape < 36; shape++) {
                uint32_t depth = 1 + shape % 3 * 3, loans = 1 + shape / 3 % 3,
                         holds = 1 + shape / 9;
                OPEN(.depth = depth, .loans = loans, .rows = 3, .holds = holds);
                struct rig_follower followers[3];
                struct ring_sample samples[3][4];
                uint32_t lent[3], n_lent = 0;

                for (int i = 0; i < 3; i++)
                        rig_follow_from(&rig, &followers[i], 1);
                for (int step = 0; step < 4000; step++) {
                        uint32_t who = random_below(&state, 3), at = random_below(&state, holds);
                        uint64_t *hold = &rig.holds[who][at];

                        if (*hold) {
                                rig_check(&rig, &samples[who][at]);
                                if (random_below(&state, 4) == 0)
                                        ring_release(hold);
                        } else {
                                rig_take(&rig, &followers[who], hold, &samples[who][at]);
                        }
                        if (n_lent < loans) {
                                lent[n_lent] = rig_loan(&rig);
                                assert_int_not_equal(lent[n_lent++], RING_NONE);
                        } else {
                                at = random_below(&state, loans);
                                if (random_below(&state, 8))
                                        rig_publish(&rig, lent[at]);
                                else
                                        ring_discard(&rig.writer, lent[at]);
                                assert_int_not_equal(rig.writer.announced, RING_NONE);
                                lent[at] = lent[--n_lent];
                        }
                }
                for (int i = 0; i < 3; i++) {
                        for (uint32_t j = 0; j < holds; j++)
                                ring_release(&rig.holds[i][j]);
                        rig_drain(&rig, &followers[i]);
                        assert_int_equal(followers[i].taken + followers[i].lost, rig_newest(&rig));
                }
                rig_close(&rig);
        }
}

static void writer_with_fewer_chunks_gets_one_as_soon_as_one_is_let_go(void **unused)
{
        OPEN(.depth = 2, .loans = 1, .rows = 1, .holds = 8, .n_chunks = 6);
        struct rig_follower follower;
        struct ring_sample sample;
        int n = 0;

        rig_follow_from(&rig, &follower, 1);
        for (;;) {
                uint32_t chunk = rig_loan(&rig);

                if (chunk == RING_NONE)
                        break;
                rig_publish(&rig, chunk);
                assert_true(rig_take(&rig, &follower, &rig.holds[0][n++], &sample));
        }
        assert_int_equal(n, 6);
        assert_int_equal(rig_loan(&rig), RING_NONE);
        assert_int_equal(rig.writer.announced, RING_NONE);
        assert_false(ring_ready(&follower.reader)); /* nothing announced, and that is no overrun */
        ring_release(&rig.holds[0][2]);
        rig_send(&rig);
        assert_int_equal(rig_loan(&rig), RING_NONE);
        for (int i = 0; i < 6; i++)
                ring_release(&rig.holds[0][i]);
        rig_send(&rig);
        rig_drain(&rig, &follower);
        assert_int_equal(follower.taken, 8);
        rig_close(&rig);
}

/* The chunk that was freed last is the one whose lines readers still have. */
static void chunks_are_used_in_a_steady_order(void **unused)
{
        OPEN(.depth = 3, .loans = 1, .rows = 1, .holds = 4);
        uint32_t order[9];

        for (int i = 0; i < 90; i++) {
                uint32_t chunk = rig_loan(&rig);

                if (i >= 9)
                        assert_int_equal(chunk, order[i % 9]);
                order[i % 9] = chunk;
                rig_publish(&rig, chunk);
        }
        rig_close(&rig);
}

/* ---- joining late ----------------------------------------------------------------------- */

static void late_joiner_gets_the_history_it_asked_for(void **unused)
{
        for (uint32_t depth = 1; depth <= 9; depth++) {
                OPEN(.depth = depth, .loans = 1, .rows = 1, .holds = 1);

                for (uint64_t sent = 0; sent < 50; sent++) {
                        for (uint64_t history = 0; history < depth + 3; history++) {
                                uint64_t expected = history < depth ? history : depth;
                                struct rig_follower follower;

                                expected = expected < sent ? expected : sent;
                                rig_follow_late(&rig, &follower, history);
                                assert_int_equal(ring_newest(&follower.reader), sent);
                                assert_int_equal(follower.reader.next, sent + 1 - expected);
                                assert_int_equal(ring_ready(&follower.reader), expected > 0);
                                rig_drain(&rig, &follower);
                                assert_int_equal(follower.taken, expected);
                                assert_int_equal(follower.lost, 0);
                        }
                        rig_send(&rig);
                }
                rig_close(&rig);
        }
}

static void late_joiner_misses_nothing_from_then_on(void **unused)
{
        OPEN(.depth = 5, .loans = 2, .rows = 1, .holds = 1);

        for (uint64_t sent = 0; sent < 40; sent++) {
                struct rig_follower follower;
                uint32_t odd;

                rig_follow_late(&rig, &follower, 0);
                rig_drain(&rig, &follower);
                odd = rig_loan(&rig);
                rig_send(&rig); /* out of order */
                rig_publish(&rig, odd);
                rig_drain(&rig, &follower);
                assert_int_equal(follower.taken, 2);
                assert_int_equal(follower.lost, 0);
        }
        rig_close(&rig);
}

/* ---- a writer that stops for ever ------------------------------------------------------- */

/* How far the writer gets with its next message before it is no more. */
enum stop {
        STOP_BEFORE_LOAN,
        STOP_LOANED,
        STOP_COMMITTED,
        STOP_ANNOUNCED,
        STOP_ZEROED,
        STOP_RECLAIMED,
        STOP_END,
};

static void stop_at(struct rig *rig, enum stop stop)
{
        uint32_t chunk = RING_NONE;

        if (stop > STOP_BEFORE_LOAN)
                chunk = rig_loan(rig);
        if (stop > STOP_LOANED) {
                rig_fill(ring_payload(&rig->writer, chunk), rig->geometry.payload_max,
                         rig->writer.next);
                ring_commit(&rig->writer, chunk, rig->geometry.payload_max);
        }
        if (stop == STOP_ANNOUNCED)
                ring_announce(&rig->writer);
        if (stop == STOP_ZEROED)
                ring_reclaim_begin(&rig->writer);
        if (stop == STOP_RECLAIMED)
                rig_reclaim(rig);
}

static void reader_is_not_stuck_when_the_writer_stops_anywhere(void **unused)
{
        for (uint32_t shape = 0; shape < 5 * 4; shape++)
                for (enum stop stop = 0; stop < STOP_END; stop++)
                        for (uint64_t sent = 0; sent < 30; sent++) {
                                /* n_chunks from the least that works to some more */
                                OPEN(.depth = 1 + shape % 5, .loans = 1, .rows = 0,
                                     .n_chunks = 1 + shape % 5 + 2 + shape / 5);
                                struct rig_follower follower;

                                for (uint64_t i = 0; i < sent; i++)
                                        rig_send(&rig);
                                stop_at(&rig, stop);
                                for (uint64_t next = 1; next <= rig.writer.next; next++) {
                                        rig_follow_from(&rig, &follower, next);
                                        rig_drain(&rig, &follower);
                                }
                                rig_follow_late(&rig, &follower, 100);
                                assert_int_equal(ring_newest(&follower.reader), rig_newest(&rig));
                                rig_drain(&rig, &follower);
                                rig_close(&rig);
                        }
}

/* The reclaim that zeroed what a reader was about to take: it lets go, counts, goes on. */
static void reader_that_finds_its_message_zeroed_goes_on_behind_it(void **unused)
{
        OPEN(.depth = 2, .loans = 1, .rows = 1, .holds = 1, .n_chunks = 5);
        struct rig_follower follower;
        struct ring_sample sample;

        rig_follow_from(&rig, &follower, 1);
        for (int i = 0; i < 3; i++)
                rig_send(&rig);
        assert_true(ring_ready(&follower.reader)); /* watches message 1 */
        ring_reclaim_begin(&rig.writer);
        assert_true(rig_take(&rig, &follower, &rig.holds[0][0], &sample));
        assert_int_equal(sample.sequence, 2);
        assert_int_equal(sample.lost, 1);
        rig_close(&rig);
}

/* ---- near the wrap of a lap ------------------------------------------------------------- */

static void laps_wrap_without_anybody_noticing(void **unused)
{
        for (uint32_t depth = 1; depth <= 8; depth++) {
                struct rig_plan plan = {.depth = depth, .loans = 2, .rows = 1, .holds = 1};
                struct rig_follower keeps_up, lags, late;
                struct ring_sample sample;
                struct rig rig;
                uint64_t wrap;

                rig_open(&rig, &plan);
                wrap = SLOT_LAPS * rig.geometry.capacity;
                rig_close(&rig);
                plan.first = wrap - 3 * rig.geometry.capacity;
                rig_open(&rig, &plan);
                rig_follow_from(&rig, &keeps_up, plan.first);
                rig_follow_from(&rig, &lags, plan.first);
                for (uint32_t i = 0; i < 6 * rig.geometry.capacity; i++) {
                        rig_follow_late(&rig, &late, i < depth ? i : depth);
                        assert_int_equal(ring_newest(&late.reader), i ? rig_newest(&rig) : 0);
                        if (i)
                                rig_drain(&rig, &late);
                        rig_send(&rig);
                        rig_drain(&rig, &keeps_up);
                        if (i % (depth + 1) == 0 &&
                            rig_take(&rig, &lags, &rig.holds[0][0], &sample))
                                ring_release(&rig.holds[0][0]);
                }
                assert_true(rig_newest(&rig) > wrap + rig.geometry.capacity);
                rig_drain(&rig, &lags);
                assert_int_equal(keeps_up.lost, 0);
                rig_close(&rig);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(nothing_is_taken_from_a_ring_that_was_never_published_to),
                cmocka_unit_test(sample_is_taken_where_it_was_written),
                cmocka_unit_test(chunk_is_found_by_its_payload_only_while_on_loan),
                cmocka_unit_test(loans_are_published_or_discarded_in_any_order),
                cmocka_unit_test(reader_that_watches_a_chunk_notices_that_another_was_published),
                cmocka_unit_test(discarded_announcement_is_lent_again),
                cmocka_unit_test(subscriber_lapped_learns_how_many_it_missed),
                cmocka_unit_test(subscriber_lapped_again_and_again_keeps_a_growing_margin),
                cmocka_unit_test(everything_committed_is_taken_or_counted_as_lost),
                cmocka_unit_test(depth_of_one_keeps_one),
                cmocka_unit_test(sample_that_is_held_outlives_the_depth),
                cmocka_unit_test(loan_reclaims_what_was_not_marked_when_all_that_was_is_held),
                cmocka_unit_test(writer_with_exactly_the_budget_never_runs_out),
                cmocka_unit_test(writer_with_fewer_chunks_gets_one_as_soon_as_one_is_let_go),
                cmocka_unit_test(chunks_are_used_in_a_steady_order),
                cmocka_unit_test(late_joiner_gets_the_history_it_asked_for),
                cmocka_unit_test(late_joiner_misses_nothing_from_then_on),
                cmocka_unit_test(reader_is_not_stuck_when_the_writer_stops_anywhere),
                cmocka_unit_test(reader_that_finds_its_message_zeroed_goes_on_behind_it),
                cmocka_unit_test(laps_wrap_without_anybody_noticing),
        };

        return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
