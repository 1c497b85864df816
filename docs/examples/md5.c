/* SPDX-License-Identifier: Apache-2.0 */
/*
 * md5.c - MD5, by libcrypto where it was found (HAVE_LIBCRYPTO), or as RFC 1321 tells it.
 */
#include "md5.h"

#include <string.h>

#ifdef HAVE_LIBCRYPTO
#include <openssl/evp.h>

static int by_libcrypto(const void *data, size_t size, uint8_t digest[16])
{
        return EVP_Digest(data, size, digest, NULL, EVP_md5(), NULL);
}
#else
static int by_libcrypto(const void *data, size_t size, uint8_t digest[16])
{
        (void)data, (void)size, (void)digest;
        return 0;
}
#endif

/* floor(2^32 * |sin(i + 1)|) */
static const uint32_t sines[64] = {
        0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613,
        0xfd469501, 0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193,
        0xa679438e, 0x49b40821, 0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d,
        0x02441453, 0xd8a1e681, 0xe7d3fbc8, 0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed,
        0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a, 0xfffa3942, 0x8771f681, 0x6d9d6122,
        0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70, 0x289b7ec6, 0xeaa127fa,
        0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665, 0xf4292244,
        0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
        0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb,
        0xeb86d391,
};

static const uint8_t rotations[4][4] = {
        {7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};

static uint32_t rotate_left(uint32_t word, unsigned by)
{
        return word << by | word >> (32 - by);
}

static void transform(uint32_t state[4], const uint8_t block[64])
{
        uint32_t words[16], a = state[0], b = state[1], c = state[2], d = state[3];

        for (int i = 0; i < 16; i++)
                words[i] = (uint32_t)block[4 * i] | (uint32_t)block[4 * i + 1] << 8 |
                           (uint32_t)block[4 * i + 2] << 16 | (uint32_t)block[4 * i + 3] << 24;
        for (unsigned i = 0; i < 64; i++) {
                static const uint8_t steps[4] = {1, 5, 3, 7}, starts[4] = {0, 1, 5, 0};
                unsigned round = i / 16;
                uint32_t mixed = round == 0   ? (b & c) | (~b & d)
                                 : round == 1 ? (d & b) | (~d & c)
                                 : round == 2 ? b ^ c ^ d
                                              : c ^ (b | ~d);
                uint32_t sum =
                        a + mixed + sines[i] + words[(starts[round] + steps[round] * i) % 16];

                a = d;
                d = c;
                c = b;
                b += rotate_left(sum, rotations[round][i % 4]);
        }
        state[0] += a;
        state[1] += b;
        state[2] += c;
        state[3] += d;
}

static void put_le32(uint8_t *to, uint32_t word)
{
        for (int i = 0; i < 4; i++)
                to[i] = (uint8_t)(word >> (8 * i));
}

void md5(const void *data, size_t size, uint8_t digest[16])
{
        uint32_t state[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
        uint8_t tail[128] = {0};
        size_t whole = size / 64 * 64, rest = size - whole;
        size_t tail_size = rest < 56 ? 64 : 128;

        if (by_libcrypto(data, size, digest))
                return;
        for (size_t at = 0; at < whole; at += 64)
                transform(state, (const uint8_t *)data + at);
        memcpy(tail, (const uint8_t *)data + whole, rest);
        tail[rest] = 0x80;
        put_le32(tail + tail_size - 8, (uint32_t)((uint64_t)size << 3));
        put_le32(tail + tail_size - 4, (uint32_t)((uint64_t)size >> 29));
        for (size_t at = 0; at < tail_size; at += 64)
                transform(state, tail + at);
        for (int i = 0; i < 4; i++)
                put_le32(digest + 4 * i, state[i]);
}
