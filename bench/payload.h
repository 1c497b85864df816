/* SPDX-License-Identifier: Apache-2.0 */
/*
 * payload.h - what is in a sample, and who touches how much of it?
 *
 * Sample n starts with the 64-bit word n. With every byte touched all its words are n, and so are
 * its last 8 bytes, which a reader checks beside the first: a torn or stale sample shows. For tests
 * there is a third way, in which each byte depends on its place and on n, and all are compared.
 */
#ifndef BENCH_PAYLOAD_H
#define BENCH_PAYLOAD_H

#include <errno.h>
#include <string.h>

#include "transport.h"

static inline void payload_fill(void *data, uint64_t size, uint64_t n)
{
        unsigned char *bytes = data;
        uint64_t *words = data;

        for (uint64_t i = 0; i < size / 8; i++)
                words[i] = n;
        if (size % 8)
                memcpy(bytes + size - 8, &n, 8);
}

static inline uint64_t payload_sum(const void *data, uint64_t size)
{
        const unsigned char *bytes = data;
        const uint64_t *words = data;
        uint64_t sum = 0;

        for (uint64_t i = 0; i < size / 8; i++)
                sum += words[i];
        for (uint64_t i = size & ~7ull; i < size; i++)
                sum += bytes[i];
        return sum;
}

/** The third way. */
void payload_mark(void *data, uint64_t size, uint64_t n);
int payload_compare(struct end *end, const void *data, uint64_t n);

static inline void payload_write(struct end *end, void *data, uint64_t n)
{
        const struct link *link = end->link;

        if (link->touch == TOUCH_FIRST && !end->fill)
                memcpy(data, &n, 8);
        else if (link->touch == TOUCH_CHECK)
                payload_mark(data, link->payload, n);
        else
                payload_fill(data, link->payload, n);
}

static inline int payload_read(struct end *end, const void *data, uint64_t n)
{
        const struct link *link = end->link;
        uint64_t first, last;

        memcpy(&first, data, 8);
        last = n;
        if (link->touch != TOUCH_FIRST) {
                if (link->touch == TOUCH_CHECK)
                        return payload_compare(end, data, n);
                end->checksum += payload_sum(data, link->payload);
                if (link->payload >= 16)
                        memcpy(&last, (const unsigned char *)data + link->payload - 8, 8);
        }
        if (__builtin_expect(first == n && last == n, 1))
                return 0;
        return end_failed(end, -EBADMSG, "sample %llu starts with %llu and ends with %llu",
                          (unsigned long long)n, (unsigned long long)first,
                          (unsigned long long)last);
}

#endif
