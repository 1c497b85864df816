/* SPDX-License-Identifier: Apache-2.0 */
/*
 * util.h - what every module may need: owned descriptors, arithmetic, time, random ids.
 */
#ifndef SHMD_UTIL_H
#define SHMD_UTIL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

/* Closes the descriptor, if it is one, and forgets it; errno is kept. */
void fd_close(int *fd);

/*
 * Keeps a descriptor out of the numbers of standard input, output and error, which the program may
 * have closed and still write to: moves it. The descriptor (which is consumed), or -1 with errno;
 * -1 is passed through.
 */
int fd_above_standard(int fd);

/* Holds those of the three numbers that are free, while libuv makes descriptors, which asserts that
 * its own are others; lets go of them. */
void standard_fds_hold(int held[static 3]);
void standard_fds_release(int held[static 3]);

/* A local that owns: `cleanup_fd int fd = -1;`, given away by `fd = -1; // consumed`. */
#define cleanup_fd __attribute__((cleanup(fd_close)))

static inline void free_pointer(void *pointer)
{
        free(*(void **)pointer);
}
#define cleanup_free __attribute__((cleanup(free_pointer)))

/* `alignment` is a power of two; the caller has bounded `value`. */
static inline uint64_t align_up(uint64_t value, uint64_t alignment)
{
        return (value + alignment - 1) & ~(alignment - 1);
}

static inline bool is_power_of_two(uint64_t value)
{
        return value && !(value & (value - 1));
}

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t now_ns(void);

/* A random id: not 0, and neither is its low half. */
uint64_t random_id(void);

/*
 * Copies the options that a caller gave, of `from_size` bytes by its own word, into the `size`
 * bytes that this library knows; what is missing is zero. 0; -EINVAL: no size; -E2BIG: it sets what
 * this library does not know; with a text.
 */
int options_copy(void *to, size_t size, const void *from, size_t from_size, const char *name);

#endif
