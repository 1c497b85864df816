/* SPDX-License-Identifier: Apache-2.0 */
/*
 * strikes.h - what stands in front of libc asks here whether to fail.
 */
#ifndef SHMD_TESTS_STRIKES_H
#define SHMD_TESTS_STRIKES_H

#include <dlfcn.h>

#include "faults.h"

/* How a function fails in each of the ways; 0: not in that one. */
struct ways {
        int memory, descriptors, table, interruption, busy;
};

/* Whether this call is to fail: then errno is set. */
bool fault_strikes(const char *where, const struct ways *ways);
#define STRIKES(...) fault_strikes(__func__, &(const struct ways){__VA_ARGS__})

/* Whether the plan says that the kernel doesn't have this. */
bool fault_lacks(enum lacking what);

/* What a function of libc would be without the one in front of it. */
#define REAL(function)                                                             \
        ({                                                                         \
                static __typeof__(&function) real;                                 \
                if (!real)                                                         \
                        real = (__typeof__(&function))dlsym(RTLD_NEXT, #function); \
                real;                                                              \
        })

#endif
