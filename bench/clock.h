/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock.h - what time is it, and how does a spinning loop pass it?
 */
#ifndef BENCH_CLOCK_H
#define BENCH_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S  1000000000ull

static inline uint64_t clock_ns(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/** Between two looks of every loop that spins, whatever the transport. */
static inline void clock_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("isb" ::: "memory");
#else
        __asm__ volatile("" ::: "memory");
#endif
}

/** What one clock_ns() costs, and the smallest difference that two of them show. */
struct clock_facts {
        double cost_ns;
        double step_ns;
};

void clock_measure(struct clock_facts *facts);

#endif
