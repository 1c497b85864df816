/* SPDX-License-Identifier: Apache-2.0 */
/* type-described.h - a struct with a member of every kind, described the same way in C and C++. */
#ifndef SHMD_TESTS_TYPE_DESCRIBED_H
#define SHMD_TESTS_TYPE_DESCRIBED_H

#include <stdbool.h>
#include <stdint.h>

#include <shmd/shmd.h>

enum described_enum { DESCRIBED_A, DESCRIBED_B };
enum described_signed { DESCRIBED_MINUS = -1, DESCRIBED_PLUS = 1 };

struct described_inner {
        double x, y[2];
};

struct described {
        uint8_t u8;
        uint16_t u16;
        uint32_t u32;
        uint64_t u64;
        int8_t i8;
        int16_t i16;
        int32_t i32;
        int64_t i64;
        float f32;
        double f64;
        bool truth;
        char letter;
        char text[21];
        float matrix[3][4];
        unsigned long longs[3];
        long long long_longs[2];
        bool truths[4];
        enum described_enum choice;
        enum described_signed choices[2];
        struct described_inner inner, inners[2];
        const void *pointer;
        long double big;
        const int32_t constant;
        uint8_t bytes[7];
};

SHMD_TYPE(described_type, struct described, SHMD_FIELD(struct described, u8),
          SHMD_FIELD(struct described, u16), SHMD_FIELD(struct described, u32),
          SHMD_FIELD(struct described, u64), SHMD_FIELD(struct described, i8),
          SHMD_FIELD(struct described, i16), SHMD_FIELD(struct described, i32),
          SHMD_FIELD(struct described, i64), SHMD_FIELD(struct described, f32),
          SHMD_FIELD(struct described, f64), SHMD_FIELD(struct described, truth),
          SHMD_FIELD(struct described, letter), SHMD_ARRAY(struct described, text),
          SHMD_ARRAY(struct described, matrix), SHMD_ARRAY(struct described, longs),
          SHMD_ARRAY(struct described, long_longs), SHMD_ARRAY(struct described, truths),
          SHMD_FIELD(struct described, choice), SHMD_ARRAY(struct described, choices),
          SHMD_FIELD(struct described, inner), SHMD_FIELD(struct described, inner.x),
          SHMD_ARRAY(struct described, inner.y), SHMD_ARRAY(struct described, inners),
          SHMD_FIELD(struct described, inners[1].x), SHMD_FIELD(struct described, pointer),
          SHMD_FIELD(struct described, big), SHMD_FIELD(struct described, constant),
          SHMD_ARRAY(struct described, bytes));

#ifdef __cplusplus
extern "C"
#endif
        const struct shmd_type *
        described_in_cpp(void);

#endif
