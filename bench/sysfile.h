/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sysfile.h - what stands in a file of the kernel's?
 *
 * Paths are below a root: "" is this machine, a test has trees of its own.
 */
#ifndef BENCH_SYSFILE_H
#define BENCH_SYSFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** The first line, without its end; "" where there is none. @return whether it could be read. */
bool sysfile_line(char *text, size_t size, const char *root, const char *path, ...)
        __attribute__((format(printf, 4, 5)));

/** The number that the first line begins with. @return whether there is one; else it stays. */
bool sysfile_number(int64_t *number, const char *root, const char *path, ...)
        __attribute__((format(printf, 3, 4)));

/** What follows `separator` in the first line that starts with `key`. @return whether found. */
bool sysfile_look_up(char *text, size_t size, const char *root, const char *path, const char *key,
                     char separator);

/** Whether a list like "0-3,8" has `number`. */
bool sysfile_list_has(const char *list, int number);

#endif
