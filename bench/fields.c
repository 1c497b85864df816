/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fields.c - a row, taken apart by name.
 */
#include "fields.h"

#include <assert.h>
#include <math.h>

static struct field text(const char *name, const char *value)
{
        return (struct field){
                .name = name,
                .kind = value && value[0] ? FIELD_TEXT : FIELD_NONE,
                .text = value,
        };
}

static struct field count(const char *name, uint64_t value)
{
        return (struct field){
                .name = name,
                .kind = value ? FIELD_COUNT : FIELD_NONE,
                .count = value,
        };
}

/* Nanoseconds and ratios to three decimals: more would be noise. */
static struct field number(const char *name, double value)
{
        return (struct field){
                .name = name,
                .kind = isfinite(value) ? FIELD_NUMBER : FIELD_NONE,
                .number = round(value * 1e3) / 1e3,
        };
}

void fields_of(const struct row *row, struct field fields[N_FIELDS])
{
        const struct figures *f = &row->figures;
        bool sliced = f->slices_kept + f->slices_discarded > 0;
        uint32_t n = 0;

        fields[n++] = text("bench", row->bench);
        fields[n++] = text("transport", row->transport);
        fields[n++] = count("payload", row->payload);
        fields[n++] = text("touch", row->touch);
        fields[n++] = text("wait", row->wait);
        fields[n++] = (struct field){.name = "cpus", .kind = FIELD_PAIR, .pair = row->cpus};
        fields[n++] = count("subscribers", row->subscribers);
        fields[n++] = count("samples", f->samples);
        fields[n++] = number("p50_ns", f->p50_ns);
        fields[n++] = number("p90_ns", f->p90_ns);
        fields[n++] = number("p99_ns", f->p99_ns);
        fields[n++] = number("p999_ns", f->p999_ns);
        fields[n++] = number("max_ns", f->max_ns);
        fields[n++] = number("mean_ns", f->mean_ns);
        fields[n++] = number("floor_p50_ns", f->floor_p50_ns);
        fields[n++] = number("ratio_to_floor", f->ratio_to_floor);
        fields[n++] = (struct field){
                .name = "slices_discarded",
                .kind = sliced ? FIELD_COUNT : FIELD_NONE, /* zero of some is a count */
                .count = f->slices_discarded,
        };
        assert(n == N_FIELDS);
}
