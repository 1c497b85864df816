/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fields.h - what is a result called, outside of this program?
 *
 * The keys of the results in JSON, which are the columns of the CSV, in this order. Others parse
 * them: they stay, and new ones come last.
 */
#ifndef BENCH_FIELDS_H
#define BENCH_FIELDS_H

#include <stdint.h>

#include "report.h"

enum field_kind {
        FIELD_NONE, /* does not apply, or is not known */
        FIELD_TEXT,
        FIELD_COUNT,
        FIELD_NUMBER,
        FIELD_PAIR,
};

struct field {
        const char *name;
        enum field_kind kind;
        union {
                const char *text;
                uint64_t count;
                double number; /* to three decimals */
                const int *pair;
        };
};

enum { N_FIELDS = 17 };

/** The fields point into `row`. */
void fields_of(const struct row *row, struct field fields[N_FIELDS]);

#endif
