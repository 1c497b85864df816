/* SPDX-License-Identifier: Apache-2.0 */
/* lies.c - numbers from a seed, and what is made of them. */
#include <stdlib.h>

#include "harness.h"
#include "lies.h"

#define SECONDS      6
#define LONG_SECONDS 120

static uint64_t seed, state;

void lies_seed(void)
{
        const char *given = getenv("SHMD_SEED");

        seed = given ? strtoull(given, NULL, 0) : harness_now();
        print_message("seed: %llu\n", (unsigned long long)seed);
}

void lies_begin(unsigned role)
{
        state = (seed ^ (role + 1) * UINT64_C(0x9e3779b97f4a7c15)) | 1;
        for (int i = 0; i < 8; i++)
                lies_next();
}

uint64_t lies_next(void)
{
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        return state * UINT64_C(0x2545f4914f6cdd1d);
}

uint64_t lies_below(uint64_t bound)
{
        return (lies_next() >> 8) % bound;
}

static uint64_t nasty(void)
{
        uint64_t power = UINT64_C(1) << lies_below(64);

        switch (lies_below(5)) {
        case 0:
                return power + lies_below(3) - 1;
        case 1:
                return UINT64_MAX - lies_below(300);
        case 2:
                return (UINT64_C(1) << 63) + lies_below(300);
        case 3:
                return lies_below(300);
        default:
                return lies_next();
        }
}

uint64_t lies_for(uint64_t is, const uint64_t *others, uint64_t n)
{
        switch (lies_below(6)) {
        case 0:
                return is ^ UINT64_C(1) << lies_below(64);
        case 1:
                return is + lies_below(9) - 4;
        case 2:
                return others[lies_below(n)];
        case 3: /* one half of each */
                return (is & ~(uint64_t)UINT32_MAX) | (uint32_t)nasty();
        case 4:
                return nasty() << 32 | (uint32_t)is;
        default:
                return nasty();
        }
}

bool lies_are_over(uint64_t begin)
{
        return harness_now() - begin >= (harness_is_long ? LONG_SECONDS : SECONDS) * 1000 * MS;
}
