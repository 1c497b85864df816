/* SPDX-License-Identifier: Apache-2.0 */
/*
 * atomic.h - the few operations on shared words that shmd uses, with the order in their name.
 *
 * Shared words are plain fixed-width integers in the layout; only these functions touch them, so
 * that the order of each access can be read where it is made. On every platform that shmd supports
 * 64-bit accesses are lock-free, and memory shared between processes needs exactly that.
 */
#ifndef SHMD_ATOMIC_H
#define SHMD_ATOMIC_H

#include <stdint.h>

_Static_assert(__atomic_always_lock_free(sizeof(uint64_t), 0), "64-bit words must be lock-free");

static inline uint64_t load_relaxed(const uint64_t *word)
{
        return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static inline uint64_t load_acquire(const uint64_t *word)
{
        return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/*
 * Fetches a line that another process will store to next, ahead of looking at it. On x86 not into
 * the L1 cache but the one below: see load_acquire_awaited().
 */
static inline void prefetch_awaited(const void *line)
{
#if defined(__x86_64__)
        __builtin_prefetch(line, 0, 1); /* prefetcht2 */
#else
        __builtin_prefetch(line);
#endif
}

/*
 * load_acquire() of a word that another process is about to store to, for who looks again and
 * again. How the line comes here decides how soon that store is done. A load through a read-only
 * page fetches it as shared, and the writer has to call every copy in; a prefetch into the second
 * cache takes it over from the writer as a whole, as a load through a writable page does, and to
 * fetch that back takes less (on AMD's Zen 4 the difference is a quarter of the way from store to
 * load; where there is none, the prefetch finds the line in the first cache and is nothing). It
 * works only if the prefetch is on its way before the load, hence the addition of nothing: one
 * cycle. A fence there, or a longer wait, and the load is first again.
 */
static inline uint64_t load_acquire_awaited(const uint64_t *word)
{
#if defined(__x86_64__)
        prefetch_awaited(word);
        __asm__ volatile("add $0, %0" : "+r"(word)::"cc");
#endif
        return load_acquire(word);
}

/* For the one word that is the kernel's. */
static inline uint32_t load_relaxed_32(const uint32_t *word)
{
        return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static inline void store_relaxed(uint64_t *word, uint64_t value)
{
        __atomic_store_n(word, value, __ATOMIC_RELAXED);
}

static inline void store_release(uint64_t *word, uint64_t value)
{
        __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

/* Adds one. Not a fence for other accesses on every platform: add fence_seq_cst() for that. */
static inline uint64_t increment_seq_cst(uint64_t *word)
{
        return __atomic_add_fetch(word, 1, __ATOMIC_SEQ_CST);
}

/*
 * Orders every access before it against every access after it. ThreadSanitizer does not know
 * stand-alone fences; under it an atomic exchange on a private word gives the hardware order, and
 * the races that it would report are on words that are atomic anyway.
 */
static inline void fence_seq_cst(void)
{
#if defined(__SANITIZE_THREAD__)
        static uint64_t word;
        (void)__atomic_exchange_n(&word, 1, __ATOMIC_SEQ_CST);
#elif defined(__x86_64__)
        /* A locked addition to the stack is the same fence as mfence and takes half the time. */
        __asm__ volatile("lock; addl $0, -4(%%rsp)" ::: "memory", "cc");
#else
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/* Stores, and orders the store before every access after it. One locked instruction on x86. */
static inline void store_then_fence(uint64_t *word, uint64_t value)
{
#if defined(__x86_64__) || defined(__SANITIZE_THREAD__)
        (void)__atomic_exchange_n(word, value, __ATOMIC_SEQ_CST);
#else
        __atomic_store_n(word, value, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/*
 * Keeps the compiler from moving accesses across; the CPU may. Enough between two accesses of one
 * thread where another makes up for it with membarrier(2).
 */
static inline void fence_compiler(void)
{
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/*
 * Orders non-temporal stores, which x86 lets pass later ordinary ones, before what follows. Users
 * fill frames with them. Elsewhere the release store that follows is enough.
 */
static inline void fence_streaming_stores(void)
{
#if defined(__x86_64__)
        __asm__ volatile("sfence" ::: "memory");
#endif
}

/* Tells the CPU that this is a spinning loop. */
static inline void spin_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("isb" ::: "memory");
#else
        __asm__ volatile("" ::: "memory");
#endif
}

#endif
