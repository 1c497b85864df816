/* SPDX-License-Identifier: Apache-2.0 */
/* unit.h - what every unit test includes: cmocka with its preconditions, random numbers, CPUs. */
#ifndef SHMD_TESTS_UNIT_H
#define SHMD_TESTS_UNIT_H

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* xorshift64*: repeatable, so that what fails fails again. The state is not 0. */
static inline uint64_t random_next(uint64_t *state)
{
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        return *state * UINT64_C(0x2545f4914f6cdd1d);
}

/* From 0 to below - 1. */
static inline uint32_t random_below(uint64_t *state, uint32_t below)
{
        return (uint32_t)((random_next(state) >> 32) * below >> 32);
}

/* Words that bounds are missed by: powers of two and their neighbours, all ones, small, any. */
static inline uint64_t random_nasty(uint64_t *state)
{
        uint64_t power = UINT64_C(1) << random_below(state, 64);

        switch (random_below(state, 6)) {
        case 0:
                return power;
        case 1:
                return power - 1;
        case 2:
                return power + 1;
        case 3:
                return UINT64_MAX - random_below(state, 300);
        case 4:
                return random_below(state, 300);
        default:
                return random_next(state);
        }
}

/*
 * Puts the calling thread on the n-th of the CPUs that it may use, counted round. Who is woken
 * through a pipe is otherwise moved to the waker's CPU, and then the two never run at once.
 */
static inline void run_on_cpu(unsigned n)
{
        cpu_set_t allowed, one;

        if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0 || !CPU_COUNT(&allowed))
                return;
        n %= (unsigned)CPU_COUNT(&allowed);
        for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
                if (!CPU_ISSET(cpu, &allowed) || n--)
                        continue;
                CPU_ZERO(&one);
                CPU_SET(cpu, &one);
                sched_setaffinity(0, sizeof(one), &one); /* refused: then it runs anywhere */
                return;
        }
}

#endif
