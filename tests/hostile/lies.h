/* SPDX-License-Identifier: Apache-2.0 */
/* lies.h - numbers to lie with, which follow from a seed. */
#ifndef SHMD_TESTS_LIES_H
#define SHMD_TESTS_LIES_H

#include <stdbool.h>
#include <stdint.h>

/* The seed is $SHMD_SEED, else taken from the clock; it is printed. To be called in the test,
 * before roles are started; each of them begins where `role` says. */
void lies_seed(void);
void lies_begin(unsigned role);
uint64_t lies_next(void);
uint64_t lies_below(uint64_t bound);

/* What to write into a word that says `is`: a bit flipped, a neighbour, one of the `n` words at
 * `others`, a bound or a neighbour of one, anything. */
uint64_t lies_for(uint64_t is, const uint64_t *others, uint64_t n);

/* Whether the time for a test that lies is over, since `begin`: some seconds, or minutes if it is
 * long. */
bool lies_are_over(uint64_t begin);

#endif
