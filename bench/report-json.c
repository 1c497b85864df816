/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report-json.c - rows to JSON: all keys always, null for what does not apply. One result is one
 * line, so that two reports can be compared line by line.
 */
#include "report-json.h"

#include <errno.h>

#ifdef SHMD_BENCH_JSON

#include <jansson.h>
#include <math.h>

#include <shmd/shmd.h>

#include "clock.h"
#include "fields.h"

enum { POINTS_A_LINE = 6 };

bool report_json_built(void)
{
        return true;
}

static json_t *number(double value)
{
        return isfinite(value) ? json_real(round(value * 1e3) / 1e3) : json_null();
}

static json_t *text(const char *value)
{
        return value[0] ? json_string(value) : json_null();
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

static json_t *field_json(const struct field *field)
{
        switch (field->kind) {
        case FIELD_NONE:
                break;
        case FIELD_TEXT:
                return json_string(field->text);
        case FIELD_COUNT:
                return json_integer((json_int_t)field->count);
        case FIELD_NUMBER:
                return json_real(field->number);
        case FIELD_PAIR:
                return json_pack("[i, i]", field->pair[0], field->pair[1]);
        }
        return json_null();
}

static json_t *row_json(const struct row *row)
{
        struct field fields[N_FIELDS];
        json_t *object = json_object();

        fields_of(row, fields);
        for (uint32_t i = 0; i < N_FIELDS; i++)
                json_object_set_new(object, fields[i].name, field_json(&fields[i]));
        return object;
}

static json_t *run_json(const struct report *report)
{
        double took_s = (double)(clock_ns() - report->track->start_ns) / NS_PER_S;

        return json_pack("{s:o, s:o, s:i}", "began", text(report->began), "took_s", number(took_s),
                         "runs", (int)report->runs);
}

/* Consumes `value`. @return 0, or -ENOMEM of a value that could not be made, or -EIO. */
static int put(FILE *file, const char *before, json_t *value)
{
        int result = value ? 0 : -ENOMEM;

        if (result == 0 &&
            (fputs(before, file) == EOF ||
             json_dumpf(value, file, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15))))
                result = -EIO;
        json_decref(value);
        return result;
}

static int put_results(FILE *file, const struct row *rows, uint32_t n_rows)
{
        int result = 0;

        fputs(",\n\"results\":[", file);
        for (uint32_t i = 0; i < n_rows && result == 0; i++)
                result = put(file, i ? ",\n" : "\n", row_json(&rows[i]));
        fputs("\n]", file);
        return result;
}

static int put_reasons(FILE *file, const struct row *rows, uint32_t n_rows)
{
        const char *before = "\n";
        int result = 0;

        fputs(",\n\"reasons\":[", file);
        for (uint32_t i = 0; i < n_rows && result == 0; i++) {
                if (!rows[i].reason[0])
                        continue;
                result = put(file, before,
                             json_pack("{s:i, s:s}", "result", (int)i, "reason", rows[i].reason));
                before = ",\n";
        }
        fputs("\n]", file);
        return result;
}

static int put_floor(FILE *file, const struct track *track)
{
        int result = 0;

        fputs(",\n\"floor\":[", file);
        for (uint32_t i = 0; i < track->n_points && result == 0; i++) {
                const struct track_point *point = &track->points[i];
                double at_s = (double)(point->at_ns - track->start_ns) / NS_PER_S;

                result = put(file,
                             i % POINTS_A_LINE ? ","
                             : i               ? ",\n"
                                               : "\n",
                             json_pack("[o, o, b]", number(at_s), number(point->floor_ns),
                                       (int)point->kept));
        }
        fputs("\n]", file);
        return result;
}

int report_json(const struct report *report, const struct row *rows, uint32_t n_rows)
{
        FILE *file = report->json;
        int result = put(file, "{\"machine\":", machine_json(&report->machine));

        if (result == 0)
                result = put_results(file, rows, n_rows);
        if (result == 0)
                result = put(file, ",\n\"run\":", run_json(report));
        if (result == 0)
                result = put_reasons(file, rows, n_rows);
        if (result == 0)
                result = put_floor(file, report->track);
        fputs("}\n", file);
        if (result == 0 && (fflush(file) != 0 || ferror(file)))
                result = -EIO;
        return result;
}

int diagnosis_json(FILE *file, const struct diagnosis *diagnosis, const char *const *verdicts)
{
        int result = 0;

        fputs("{\"findings\":[", file);
        for (uint32_t i = 0; i < diagnosis->n_findings && result == 0; i++) {
                const struct finding *f = &diagnosis->findings[i];

                result = put(file, i ? ",\n" : "\n",
                             json_pack("{s:s, s:s, s:s, s:s, s:o}", "name", f->name, "verdict",
                                       verdicts[f->verdict], "now", f->now, "why", f->why, "better",
                                       text(f->better)));
        }
        fputs("\n]}\n", file);
        if (result == 0 && (fflush(file) != 0 || ferror(file)))
                result = -EIO;
        return result;
}

#else

bool report_json_built(void)
{
        return false;
}

int report_json(const struct report *report, const struct row *rows, uint32_t n_rows)
{
        return -ENOTSUP;
}

int diagnosis_json(FILE *file, const struct diagnosis *diagnosis, const char *const *verdicts)
{
        return -ENOTSUP;
}

#endif
