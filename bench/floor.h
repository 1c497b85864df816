/* SPDX-License-Identifier: Apache-2.0 */
/*
 * floor.h - what is the least that two processes need to tell each other anything?
 *
 * Two words in shared memory, one for each direction, each alone on its own 128-byte-aligned line.
 * No payload, no protocol: nothing that exchanges messages through memory can be faster, and all
 * that spins can be compared with it.
 */
#ifndef BENCH_FLOOR_H
#define BENCH_FLOOR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct floor_words {
        _Alignas(128) _Atomic uint64_t ping; /* written by the lead, read by the follower */
        _Alignas(128) _Atomic uint64_t pong; /* written by the follower, read by the lead */
};

/** `count` round trips from number `first` on; both sides with the same numbers. */
void floor_ping(struct floor_words *words, uint64_t first, uint64_t count, bool pause);
void floor_pong(struct floor_words *words, uint64_t first, uint64_t count, bool pause);

#endif
