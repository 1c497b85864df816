/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report-json.c - rows to JSON: all keys always, null for what does not apply.
 */
#include "report-json.h"

#include <errno.h>

#ifdef SHMD_BENCH_JSON

#include <jansson.h>
#include <math.h>

#include <shmd/shmd.h>

bool report_json_built(void)
{
        return true;
}

/* Nanoseconds and ratios to three decimals: more would be noise. */
static json_t *number(double value)
{
        return isnan(value) || isinf(value) ? json_null() : json_real(round(value * 1e3) / 1e3);
}

static json_t *text(const char *value)
{
        return value && value[0] ? json_string(value) : json_null();
}

static json_t *count(uint64_t value)
{
        return value ? json_integer((json_int_t)value) : json_null();
}

static json_t *machine_json(const struct machine *m)
{
        json_t *virtual = m->hypervisor < 0 ? json_null() : json_boolean(m->hypervisor);

        return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:i, s:o, s:I, s:o, s:o, s:s}", "cpu",
                         text(m->cpu), "architecture", text(m->architecture), "system",
                         text(m->system), "kernel", text(m->kernel), "governor", text(m->governor),
                         "clock_source", text(m->clock_source), "cpus_online", (int)m->cpus_online,
                         "cpus_usable", (int)m->cpus_usable, "virtual", virtual, "memory_bytes",
                         (json_int_t)m->memory, "clock_cost_ns", number(m->clock.cost_ns),
                         "clock_step_ns", number(m->clock.step_ns), "shmd_version", shmd_version());
}

static json_t *row_json(const struct row *row)
{
        const struct figures *f = &row->figures;
        bool sliced = f->slices_kept + f->slices_discarded > 0;

        return json_pack(
                "{s:s, s:s, s:o, s:o, s:o, s:[i, i], s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o,"
                " s:o, s:o}",
                "bench", row->bench, "transport", row->transport, "payload", count(row->payload),
                "touch", text(row->touch), "wait", text(row->wait), "cpus", row->cpus[0],
                row->cpus[1], "subscribers", count(row->subscribers), "samples", count(f->samples),
                "p50_ns", number(f->p50_ns), "p90_ns", number(f->p90_ns), "p99_ns",
                number(f->p99_ns), "p999_ns", number(f->p999_ns), "max_ns", number(f->max_ns),
                "mean_ns", number(f->mean_ns), "floor_p50_ns", number(f->floor_p50_ns),
                "ratio_to_floor", number(f->ratio_to_floor), "slices_discarded",
                sliced ? json_integer(f->slices_discarded) : json_null());
}

int report_json(FILE *file, const struct machine *machine, const struct row *rows, uint32_t n_rows)
{
        json_t *results = json_array();
        json_t *root;
        int result = 0;

        for (uint32_t i = 0; i < n_rows && result == 0; i++)
                result = json_array_append_new(results, row_json(&rows[i]));
        root = json_pack("{s:o, s:o}", "machine", machine_json(machine), "results", results);
        if (result != 0 || !root) {
                json_decref(root);
                return -ENOMEM;
        }
        result = json_dumpf(root, file, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
        json_decref(root);
        if (result != 0 || fputc('\n', file) == EOF || fflush(file) != 0)
                return -EIO;
        return 0;
}

#else

bool report_json_built(void)
{
        return false;
}

int report_json(FILE *file, const struct machine *machine, const struct row *rows, uint32_t n_rows)
{
        return -ENOTSUP;
}

#endif
