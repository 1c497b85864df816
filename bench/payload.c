/* SPDX-License-Identifier: Apache-2.0 */
/*
 * payload.c - samples in which a byte that is lost, moved or old is found.
 */
#include "payload.h"

/* The eight bytes at place i of sample n: no two alike, near enough. */
static uint64_t mark(uint64_t n, uint64_t i)
{
        uint64_t x = n * 0x9e3779b97f4a7c15ull + i * 0xd1b54a32d192ed03ull;

        x = (x ^ x >> 29) * 0xbf58476d1ce4e5b9ull;
        return x ^ x >> 32;
}

void payload_mark(void *data, uint64_t size, uint64_t n)
{
        unsigned char *bytes = data;

        for (uint64_t at = 0; at < size; at += 8) {
                uint64_t word = mark(n, at / 8);

                memcpy(bytes + at, &word, size - at < 8 ? size - at : 8);
        }
}

int payload_compare(struct end *end, const void *data, uint64_t n)
{
        const unsigned char *bytes = data;
        uint64_t size = end->link->payload;

        for (uint64_t at = 0; at < size; at += 8) {
                uint64_t word = mark(n, at / 8);

                if (memcmp(bytes + at, &word, size - at < 8 ? size - at : 8) != 0)
                        return end_failed(end, -EBADMSG,
                                          "sample %llu is wrong behind byte %llu of %llu",
                                          (unsigned long long)n, (unsigned long long)at,
                                          (unsigned long long)size);
        }
        return 0;
}
