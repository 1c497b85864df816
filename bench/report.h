/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.h - how are figures shown, to people and to programs?
 *
 * People get a table, programs the JSON that docs/benchmarks.md describes:
 *
 *     {"machine": {...},
 *      "results": [{"bench", "transport", "payload", "touch", "wait", "cpus", "subscribers",
 *                   "samples", "p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns", "mean_ns",
 *                   "floor_p50_ns", "ratio_to_floor", "slices_discarded"}, ...]}
 *
 * All keys are always there. What does not apply is null, never zero.
 */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "figures.h"
#include "machine.h"

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

struct report {
        const char *path; /* where the JSON goes; NULL: nowhere; "-": standard output */
        FILE *json;
        FILE *table;
        struct machine machine;
};

/**
 * Looks at the machine, and opens the file at once: an error there should not come after minutes.
 * @return 0; negative errno after saying on standard error why.
 */
int report_open(struct report *report, const char *json_path, int cpu);

/** Prints the machine and the rows. */
void report_table(const struct report *report, const struct row *rows, uint32_t n_rows);

/** Writes the JSON, if it was asked for, and closes. @return 0 or negative errno. */
int report_close(struct report *report, const struct row *rows, uint32_t n_rows);

/** "64", "4 KiB", "1 MiB": `text` has room for 24 bytes. @return text. */
const char *report_bytes(char *text, uint64_t bytes);

#endif
