/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring-rig.h - a ring on malloc'd memory, with one writer and rows of holds.
 *
 * The rig does what a publisher does around the ring: it reclaims when no chunk is free, and
 * announces after each commit. Samples are filled with a pattern that depends on their sequence,
 * so that each word says whether it belongs there.
 */
#ifndef SHMD_TESTS_RING_RIG_H
#define SHMD_TESTS_RING_RIG_H

#include "ring-publish.h"

#define RIG_TAG       7u
#define RIG_ROWS_MAX  4u
#define RIG_HOLDS_MAX 64u

struct rig {
        struct ring_geometry geometry;
        struct ring_writer writer;
        unsigned char *segment; /* of exactly geometry.size bytes */
        void *scratch;
        uint64_t holds[RIG_ROWS_MAX][RIG_HOLDS_MAX];
        struct ring_row rows[RIG_ROWS_MAX];
        uint32_t n_rows;
};

/* What a ring is made of; n_chunks 0: exactly the budget. */
struct rig_plan {
        uint64_t payload; /* bytes; 0: 64 */
        uint64_t first;   /* the first message; 0: 1 */
        uint32_t depth, loans, rows, holds, n_chunks;
};

/* depth + 1 + loans + rows * holds */
uint32_t rig_budget(const struct rig_plan *plan);

void rig_open(struct rig *rig, const struct rig_plan *plan);
void rig_close(struct rig *rig);

/* All three steps. */
void rig_reclaim(struct rig *rig);

/* Lends a chunk, reclaiming if need be; RING_NONE: all are in use. */
uint32_t rig_loan(struct rig *rig);

/* Fills the chunk with the pattern of the next message, commits, announces. */
void rig_publish(struct rig *rig, uint32_t chunk);

/* Loan and publish; asserts that there is a chunk. */
void rig_send(struct rig *rig);

/* The newest message committed. */
uint64_t rig_newest(const struct rig *rig);

/* Fills `size` bytes (a multiple of 8) with the pattern, and whether they still hold it. */
void rig_fill(void *data, uint64_t size, uint64_t sequence);
bool rig_is_filled(const void *data, uint64_t size, uint64_t sequence);

/* Asserts that the sample is what rig_publish() has written. */
void rig_check(const struct rig *rig, const struct ring_sample *sample);

/* A reader and what it has seen. */
struct rig_follower {
        struct ring_reader reader;
        uint64_t last; /* the message before the next that can be taken or lost */
        uint64_t taken, lost;
};

/* Follows from `next` on. */
void rig_follow_from(const struct rig *rig, struct rig_follower *follower, uint64_t next);

/* A reader that begins after the newest message there is, or `history` messages before. */
void rig_join(const struct rig *rig, struct ring_reader *reader, uint64_t history);

/* Joins late, `history` messages back. */
void rig_follow_late(const struct rig *rig, struct rig_follower *follower, uint64_t history);

/* ring_take(), and asserts that the sample is intact, that exactly those messages are missing
 * before it that are counted as lost, and that the first of them is more than depth old. */
bool rig_take(const struct rig *rig, struct rig_follower *follower, uint64_t *hold,
              struct ring_sample *sample);

/* Takes and releases all there is, and asserts that everything committed was taken or lost. */
void rig_drain(const struct rig *rig, struct rig_follower *follower);

#endif
