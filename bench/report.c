/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.c - the table.
 */
#include "report.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <shmd/shmd.h>

#include "report-csv.h"
#include "report-json.h"
#include "report-plot.h"

enum { CELL = 24 };

const char *report_bytes(char *text, uint64_t bytes)
{
        static const char *const units[] = {"", " KiB", " MiB", " GiB"};
        uint32_t unit = 0;

        while (unit < 3 && bytes >= 1024 && bytes % 1024 == 0) {
                bytes /= 1024;
                unit++;
        }
        snprintf(text, CELL, "%llu%s", (unsigned long long)bytes, units[unit]);
        return text;
}

/* Three to four figures, and a unit that keeps the column readable. */
static const char *cell_time(char *text, double ns)
{
        if (isnan(ns))
                snprintf(text, CELL, "-");
        else if (ns < 1000)
                snprintf(text, CELL, "%.1f ns", ns);
        else if (ns < 1e6)
                snprintf(text, CELL, "%.*f us", ns < 1e5 ? 2 : 1, ns / 1e3);
        else
                snprintf(text, CELL, "%.*f ms", ns < 1e8 ? 2 : 1, ns / 1e6);
        return text;
}

static const char *cell_ratio(char *text, double ratio)
{
        if (isnan(ratio))
                snprintf(text, CELL, "-");
        else
                snprintf(text, CELL, "%.*f", ratio < 100 ? 2 : 0, ratio);
        return text;
}

static const char *text_or(const char *text, const char *otherwise)
{
        return text && text[0] ? text : otherwise;
}

static void machine_print(const struct report *report)
{
        const struct machine *m = &report->machine;
        char memory[CELL];

        fprintf(report->table, "%s, %u CPUs (%u usable)%s, %s of memory\n",
                text_or(m->cpu, m->architecture), m->cpus_online, m->cpus_usable,
                m->hypervisor == 1 ? ", a virtual machine" : "",
                report_bytes(memory, m->memory >> 20 << 20));
        fprintf(report->table, "%s, Linux %s, governor %s; libshmd %s\n",
                text_or(m->system, "unknown system"), m->kernel, text_or(m->governor, "unknown"),
                shmd_version());
        fprintf(report->table, "clock %s: costs %.1f ns, steps by %.0f ns\n\n",
                text_or(m->clock_source, "unknown"), m->clock.cost_ns, m->clock.step_ns);
}

static void row_print(FILE *table, const struct row *row)
{
        const struct figures *f = &row->figures;
        char bytes[CELL] = "-", subscribers[CELL] = "-", cpus[CELL], cells[7][CELL];

        if (row->payload)
                report_bytes(bytes, row->payload);
        if (row->subscribers)
                snprintf(subscribers, sizeof(subscribers), "%u", row->subscribers);
        snprintf(cpus, sizeof(cpus), "%d,%d", row->cpus[0], row->cpus[1]);
        fprintf(table, "%-13s %-12s %8s %5s %5s %5s %4s ", row->bench, row->transport, bytes,
                text_or(row->touch, "-"), text_or(row->wait, "-"), cpus, subscribers);
        if (row->reason[0]) {
                fprintf(table, " %s\n", row->reason);
                return;
        }
        fprintf(table, "%10s %10s %10s %10s %10s %10s %7s %5u/%u\n", cell_time(cells[0], f->p50_ns),
                cell_time(cells[1], f->p90_ns), cell_time(cells[2], f->p99_ns),
                cell_time(cells[3], f->p999_ns), cell_time(cells[4], f->max_ns),
                cell_time(cells[5], f->floor_p50_ns), cell_ratio(cells[6], f->ratio_to_floor),
                f->slices_discarded, f->slices_kept + f->slices_discarded);
}

void report_table(const struct report *report, const struct row *rows, uint32_t n_rows)
{
        machine_print(report);
        fprintf(report->table,
                "%-13s %-12s %8s %5s %5s %5s %4s %10s %10s %10s %10s %10s %10s %7s %s\n", "bench",
                "transport", "payload", "touch", "wait", "cpus", "subs", "p50", "p90", "p99",
                "p99.9", "max", "floor p50", "x floor", "discarded");
        for (uint32_t i = 0; i < n_rows; i++)
                row_print(report->table, &rows[i]);
        fflush(report->table);
}

/* Not truncated yet: what is there stays until there is something better. */
static int file_open(struct report *report, const char *option, const char *path, FILE **file)
{
        if (!path)
                return 0;
        if (strcmp(path, "-") == 0) {
                *file = stdout;
                report->table = stderr;
                return 0;
        }
        *file = fopen(path, "a");
        if (!*file) {
                int error = errno;

                fprintf(stderr, "shmd-bench: --%s %s: %s\n", option, path, strerror(error));
                return -error;
        }
        return 0;
}

static int outputs_check(const struct outputs *outputs)
{
        if (outputs->json && !report_json_built()) {
                fprintf(stderr, "shmd-bench: --json: this program was built without jansson; "
                                "install it and configure anew\n");
                return -ENOTSUP;
        }
        if (outputs->json && outputs->csv && strcmp(outputs->json, "-") == 0 &&
            strcmp(outputs->csv, "-") == 0) {
                fprintf(stderr, "shmd-bench: --json and --csv can't both be standard output\n");
                return -EINVAL;
        }
        if (outputs->plot && report_plot_check("plot", outputs->plot) < 0)
                return -EINVAL;
        if (outputs->states && report_plot_check("states", outputs->states) < 0)
                return -EINVAL;
        return 0;
}

int report_open(struct report *report, const struct outputs *outputs, int cpu, uint32_t runs)
{
        time_t now = time(NULL);
        struct tm utc;
        int result = outputs_check(outputs);

        *report = (struct report){.outputs = outputs, .table = stdout, .runs = runs};
        if (result >= 0)
                result = file_open(report, "json", outputs->json, &report->json);
        if (result >= 0)
                result = file_open(report, "csv", outputs->csv, &report->csv);
        if (result < 0)
                return result;
        if (gmtime_r(&now, &utc))
                strftime(report->began, sizeof(report->began), "%Y-%m-%dT%H:%M:%SZ", &utc);
        machine_look(&report->machine, cpu);
        report->track = track_new();
        if (!report->track) {
                fprintf(stderr, "shmd-bench: no memory to note the floor in\n");
                return -ENOMEM;
        }
        return 0;
}

void report_close(struct report *report)
{
        if (report->json && report->json != stdout)
                fclose(report->json);
        if (report->csv && report->csv != stdout)
                fclose(report->csv);
        report->json = report->csv = NULL;
        track_free(report->track);
        report->track = NULL;
}

/* What was in the file before goes; a pipe or a terminal keeps what it has. */
static void start_anew(FILE *file)
{
        if (file != stdout && ftruncate(fileno(file), 0) < 0 && errno != EINVAL)
                fprintf(stderr, "shmd-bench: ftruncate: %s\n", strerror(errno));
}

static int written(const char *option, const char *path, int result)
{
        if (result < 0)
                fprintf(stderr, "shmd-bench: --%s %s: %s\n", option, path, strerror(-result));
        return result;
}

int report_write(struct report *report, const struct row *rows, uint32_t n_rows)
{
        const struct outputs *outputs = report->outputs;
        int result = 0, worst = 0;

        if (report->json) {
                start_anew(report->json);
                result = written("json", outputs->json, report_json(report, rows, n_rows));
                worst = result < worst ? result : worst;
        }
        if (report->csv) {
                start_anew(report->csv);
                result = written("csv", outputs->csv, report_csv(report->csv, rows, n_rows));
                worst = result < worst ? result : worst;
        }
        if (outputs->plot) {
                result = report_plot(report, rows, n_rows);
                worst = result < worst ? result : worst;
        }
        if (outputs->states) {
                result = report_plot_states(report);
                worst = result < worst ? result : worst;
        }
        return worst;
}
