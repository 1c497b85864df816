/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pingpong.h - the two loops of every transport, with its own send and receive inlined.
 */
#ifndef BENCH_PINGPONG_H
#define BENCH_PINGPONG_H

#include "transport.h"

/** Sends or receives sample n. @return 0, or negative with end->reason set. */
typedef int (*end_step)(struct end *end, uint64_t n);

static inline __attribute__((always_inline)) int
pingpong_lead(struct end *end, uint64_t first, uint64_t count, end_step send, end_step receive)
{
        for (uint64_t n = first; n < first + count; n++) {
                int result = send(end, n);

                if (result >= 0)
                        result = receive(end, n);
                if (__builtin_expect(result < 0, 0))
                        return result;
        }
        return 0;
}

static inline __attribute__((always_inline)) int
pingpong_follow(struct end *end, uint64_t first, uint64_t count, end_step send, end_step receive)
{
        for (uint64_t n = first; n < first + count; n++) {
                int result = receive(end, n);

                if (result >= 0)
                        result = send(end, n);
                if (__builtin_expect(result < 0, 0))
                        return result;
        }
        return 0;
}

#endif
