/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.h - how are figures shown, to people and to programs?
 *
 * People get a table and pictures, programs JSON, and spreadsheets CSV:
 *
 *     {"machine": {...},
 *      "results": [{"bench", "transport", "payload", "touch", "wait", "cpus", "subscribers",
 *                   "samples", "p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns", "mean_ns",
 *                   "floor_p50_ns", "ratio_to_floor", "slices_discarded"}, ...],
 *      "run": {"began", "took_s", "runs"},
 *      "reasons": [{"result", "reason"}, ...],    of results without figures, by their place
 *      "floor": [[seconds, ns, kept], ...]}       each floor beside a slice
 *
 * All keys are always there. What does not apply is null, never zero. results.schema.json says the
 * same to a machine.
 */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "figures.h"
#include "machine.h"
#include "track.h"

/** One line of the table, one object of the results. */
struct row {
        const char *bench;
        const char *transport;
        const char *touch; /* NULL: does not apply, likewise below */
        const char *wait;
        uint64_t payload; /* bytes; 0: does not apply */
        int cpus[2];
        uint32_t subscribers; /* 0: does not apply */
        struct figures figures;
        char reason[192]; /* why there are no figures; "" if there are */
};

/** Files that are asked for; NULL: not that one; "-": standard output, for JSON and CSV. */
struct outputs {
        const char *json;
        const char *csv;
        const char *plot;   /* SVG: latency over payload, cost over subscribers */
        const char *states; /* SVG: the floor over time */
};

/** How --help says it. */
#define OUTPUTS_USAGE                                                                    \
        "  --json FILE         the figures for programs as well; - is standard output\n" \
        "  --csv FILE          the same for spreadsheets; - is standard output\n"        \
        "  --plot FILE         a picture of them (SVG)\n"                                \
        "  --states FILE       a picture of the floor over time (SVG)\n"                 \
        "  --broker PATH       the shmd to start (default: the one built beside, or in $PATH)\n"

struct report {
        const struct outputs *outputs;
        FILE *json;
        FILE *csv;
        FILE *table;
        char began[32]; /* UTC */
        uint32_t runs;
        struct machine machine;
        struct track *track;
};

/**
 * Looks at the machine, and opens all files at once: an error there should not come after minutes.
 * Needs report_close() also when it failed.
 * @return 0; negative errno after saying on standard error why.
 */
int report_open(struct report *report, const struct outputs *outputs, int cpu, uint32_t runs);
void report_close(struct report *report);

/** Prints the machine and the rows. */
void report_table(const struct report *report, const struct row *rows, uint32_t n_rows);

/** Writes the files that were asked for. @return 0 or negative errno, after saying why. */
int report_write(struct report *report, const struct row *rows, uint32_t n_rows);

/** "64", "4 KiB", "1 MiB": `text` has room for 24 bytes. @return text. */
const char *report_bytes(char *text, uint64_t bytes);

#endif
