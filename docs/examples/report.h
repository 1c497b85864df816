/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.h - what a video program tells whoever started it with --report FD: lines of text on an
 * inherited descriptor.
 *
 *     ready                                       a subscriber has subscribed: it will miss
 *                                                 nothing of a publisher that comes from now on
 *     stream WIDTH HEIGHT RATE_NUM RATE_DEN       the publisher, before its first frame;
 *                                                 0 1: as fast as possible
 *     frame NUMBER MAJOR MINOR INODE OFFSET       for each frame: the memory it was written to, or
 *                                                 read from, as the kernel names it; all 0 if it
 *                                                 is no file's
 *     bar TEXT                                    the histogram, some times a second
 *     end SENT                                    the publisher
 *     end TAKEN LOST P50_NS P99_NS                a subscriber; one-way latency
 *
 * Lines are kept back for up to 50 ms: a report must not cost a system call a frame.
 */
#ifndef REPORT_H
#define REPORT_H

#include <stdint.h>
#include <stdio.h>

#include "where.h"

struct report {
        FILE *file; /* NULL: nobody asked */
        uint64_t flushed_ns;
        struct where_cache mappings;
};

/* Reports on `fd`, or nowhere if it is -1. Ends the program if there is no such descriptor. */
void report_open(struct report *report, int fd);

/* One line, without its newline. */
__attribute__((format(printf, 2, 3))) void report_line(struct report *report, const char *format,
                                                       ...);

/* The line of a frame in [data, data + size) of this process. */
void report_frame(struct report *report, uint64_t number, const void *data, size_t size);

/* Sends what is kept back, and closes. */
void report_close(struct report *report);

#endif
