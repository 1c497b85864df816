/* SPDX-License-Identifier: Apache-2.0 */
/* ring-rig.c - a ring on malloc'd memory. */
#include <stdlib.h>
#include <string.h>

#include "unit.h"
#include "ring-rig.h"

uint32_t rig_budget(const struct rig_plan *plan)
{
        return plan->depth + 1 + plan->loans + plan->rows * plan->holds;
}

void rig_open(struct rig *rig, const struct rig_plan *plan)
{
        struct ring_wish wish = {.payload_max = plan->payload ? plan->payload : 64,
                                 .alignment = 8,
                                 .depth = plan->depth,
                                 .n_chunks = plan->n_chunks ? plan->n_chunks : rig_budget(plan)};

        memset(rig, 0, sizeof(*rig));
        assert_int_equal(ring_geometry_init(&rig->geometry, &wish), 0);
        assert_int_equal(ring_geometry_check(&rig->geometry), 0);
        rig->segment = aligned_alloc(4096, rig->geometry.size);
        rig->scratch = calloc(1, ring_scratch_size(&rig->geometry));
        assert_non_null(rig->segment);
        assert_non_null(rig->scratch);
        memset(rig->segment, 0, rig->geometry.size);
        assert_true(plan->rows <= RIG_ROWS_MAX && plan->holds <= RIG_HOLDS_MAX);
        rig->n_rows = plan->rows;
        for (uint32_t i = 0; i < rig->n_rows; i++)
                rig->rows[i] = (struct ring_row){
                        .holds = rig->holds[i], .n_holds = plan->holds, .budget = plan->holds};
        ring_writer_init(&rig->writer, &rig->geometry, rig->segment, rig->scratch, RIG_TAG,
                         plan->first ? plan->first : 1);
}

void rig_close(struct rig *rig)
{
        free(rig->segment);
        free(rig->scratch);
}

void rig_reclaim(struct rig *rig)
{
        do {
                ring_reclaim_begin(&rig->writer);
                for (uint32_t i = 0; i < rig->n_rows; i++)
                        ring_reclaim_mark(&rig->writer, &rig->rows[i]);
        } while (ring_reclaim_end(&rig->writer));
}

uint32_t rig_loan(struct rig *rig)
{
        uint32_t chunk = ring_loan(&rig->writer);

        if (chunk != RING_NONE)
                return chunk;
        rig_reclaim(rig);
        return ring_loan(&rig->writer);
}

void rig_publish(struct rig *rig, uint32_t chunk)
{
        uint64_t size = rig->geometry.payload_max;

        rig_fill(ring_payload(&rig->writer, chunk), size, rig->writer.next);
        ring_commit(&rig->writer, chunk, size);
        ring_announce(&rig->writer);
        if (rig->writer.announced != RING_NONE)
                return;
        rig_reclaim(rig);
        ring_announce(&rig->writer);
}

void rig_send(struct rig *rig)
{
        uint32_t chunk = rig_loan(rig);

        assert_int_not_equal(chunk, RING_NONE);
        rig_publish(rig, chunk);
}

uint64_t rig_newest(const struct rig *rig)
{
        return rig->writer.next - 1;
}

static uint64_t pattern(uint64_t sequence, uint64_t index)
{
        return (sequence + 1) * UINT64_C(0x9e3779b97f4a7c15) + index;
}

void rig_fill(void *data, uint64_t size, uint64_t sequence)
{
        uint64_t *words = data;

        for (uint64_t i = 0; i < size / 8; i++)
                words[i] = pattern(sequence, i);
}

bool rig_is_filled(const void *data, uint64_t size, uint64_t sequence)
{
        const uint64_t *words = data;

        for (uint64_t i = 0; i < size / 8; i++)
                if (words[i] != pattern(sequence, i))
                        return false;
        return true;
}

void rig_check(const struct rig *rig, const struct ring_sample *sample)
{
        assert_int_equal(sample->size, rig->geometry.payload_max);
        assert_true(rig_is_filled(sample->data, sample->size, sample->sequence));
}

void rig_follow_from(const struct rig *rig, struct rig_follower *follower, uint64_t next)
{
        memset(follower, 0, sizeof(*follower));
        ring_reader_init(&follower->reader, &rig->geometry, rig->segment, RIG_TAG, next);
        follower->last = next - 1;
}

void rig_join(const struct rig *rig, struct ring_reader *reader, uint64_t history)
{
        ring_reader_init(reader, &rig->geometry, rig->segment, RIG_TAG, 1);
        ring_reader_join(reader, &rig->geometry, rig->segment, RIG_TAG, ring_newest(reader),
                         history);
}

void rig_follow_late(const struct rig *rig, struct rig_follower *follower, uint64_t history)
{
        memset(follower, 0, sizeof(*follower));
        rig_join(rig, &follower->reader, history);
        follower->last = follower->reader.next - 1;
}

bool rig_take(const struct rig *rig, struct rig_follower *follower, uint64_t *hold,
              struct ring_sample *sample)
{
        assert_int_equal(*hold, 0);
        if (!ring_take(&follower->reader, hold, sample)) {
                assert_int_equal(*hold, 0);
                return false;
        }
        assert_int_not_equal(*hold, 0);
        rig_check(rig, sample);
        assert_int_equal(sample->sequence, follower->last + 1 + sample->lost);
        if (sample->lost)
                assert_true(follower->last + 1 + rig->geometry.depth <= rig_newest(rig));
        follower->last = sample->sequence;
        follower->taken++;
        follower->lost += sample->lost;
        return true;
}

void rig_drain(const struct rig *rig, struct rig_follower *follower)
{
        uint64_t from = follower->last, hold = 0, taken = follower->taken, lost = follower->lost;
        struct ring_sample sample;

        while (rig_take(rig, follower, &hold, &sample))
                ring_release(&hold);
        assert_int_equal(follower->last, rig_newest(rig));
        assert_int_equal(follower->taken - taken + follower->lost - lost, rig_newest(rig) - from);
        assert_false(ring_ready(&follower->reader));
}
