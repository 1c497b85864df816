/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trial.c - runs, the middle one of them, and the line that says how far they are.
 */
#include "trial.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker.h"
#include "clock.h"
#include "process.h"

struct result {
        struct figures figures[2];
        bool good;
};

struct trial *trials_add(struct trials *trials)
{
        struct trial *trial = &trials->list[trials->n_list++];

        *trial = (struct trial){.n_rows = 1};
        figures_init(&trial->rows[0].figures);
        figures_init(&trial->rows[1].figures);
        memcpy(trial->rows[0].cpus, trials->options->cpus, sizeof(trial->rows[0].cpus));
        memcpy(trial->rows[1].cpus, trials->options->cpus, sizeof(trial->rows[1].cpus));
        return trial;
}

/* The line, on a terminal only. */
static void progress(const struct trials *trials, uint32_t run, uint32_t index)
{
        const struct row *row = trials->list[index].rows;
        char bytes[24] = "";
        double left = 0;

        if (!isatty(STDERR_FILENO))
                return;
        for (uint32_t i = 0; i < trials->n_list; i++)
                left += trials->list[i].seconds * (trials->options->runs - run - (i < index));
        if (row->payload)
                report_bytes(bytes, row->payload);
        fprintf(stderr, "\r\033[K%s: run %u of %u, row %u of %u: %s %s %s %s, %.0f s left",
                trials->name, run + 1, trials->options->runs, index + 1, trials->n_list,
                row->transport, bytes, row->touch ? row->touch : "", row->wait ? row->wait : "",
                left);
        fflush(stderr);
}

static void progress_end(void)
{
        if (isatty(STDERR_FILENO))
                fprintf(stderr, "\r\033[K");
}

/* What a run is judged by. */
static double merit(const struct trial *trial, const struct result *result)
{
        if (trial->n_rows == 2)
                return result->figures[0].p50_ns / result->figures[1].p50_ns;
        if (!isnan(result->figures[0].ratio_to_floor))
                return result->figures[0].ratio_to_floor;
        return result->figures[0].p50_ns;
}

/* The run with as many better as worse ones; of two in the middle the better one. */
static const struct result *middle(const struct trial *trial, const struct result *results,
                                   uint32_t n_results)
{
        const struct result *good[RUNS_MAX];
        uint32_t n = 0;

        for (uint32_t i = 0; i < n_results; i++) {
                uint32_t place = n;

                if (!results[i].good || isnan(merit(trial, &results[i])))
                        continue;
                for (; place > 0 && merit(trial, good[place - 1]) > merit(trial, &results[i]);
                     place--)
                        good[place] = good[place - 1];
                good[place] = &results[i];
                n++;
        }
        return n ? good[(n - 1) / 2] : NULL;
}

static void settle(struct trial *trial, const struct result *results, uint32_t n_results)
{
        const struct result *chosen = middle(trial, results, n_results);

        for (uint32_t i = 0; i < trial->n_rows; i++) {
                struct row *row = &trial->rows[i];

                if (chosen)
                        row->figures = chosen->figures[i];
                else if (!row->reason[0])
                        snprintf(row->reason, sizeof(row->reason),
                                 results[0].figures[i].slices_kept
                                         ? "too few round trips to say anything"
                                         : "the floor never held still long enough to measure");
                if (chosen)
                        row->reason[0] = '\0';
        }
}

/* Said at once; in the table it stands only if no run went well. */
static void run_failed(struct trial *trial, uint32_t run, const char *reason)
{
        progress_end();
        fprintf(stderr, "shmd-bench: %s %s, run %u: %s\n", trial->rows[0].bench,
                trial->rows[0].transport, run + 1, reason);
        for (uint32_t r = 0; r < trial->n_rows; r++)
                snprintf(trial->rows[r].reason, sizeof(trial->rows[r].reason), "%s", reason);
}

/* @return 0, or -EINTR. */
static int run_all(struct trials *trials, struct result *results)
{
        uint32_t runs = trials->options->runs;

        for (uint32_t run = 0; run < runs; run++) {
                for (uint32_t i = 0; i < trials->n_list; i++) {
                        struct result *result = &results[i * runs + run];
                        struct trial *trial = &trials->list[i];
                        char reason[sizeof(trial->rows[0].reason)] = "";
                        int error;

                        progress(trials, run, i);
                        error = trials->measure(trials, trial, result->figures, reason,
                                                sizeof(reason));
                        result->good = error >= 0;
                        if (process_interrupted())
                                return -EINTR;
                        if (error < 0)
                                run_failed(trial, run, reason);
                }
        }
        for (uint32_t i = 0; i < trials->n_list; i++)
                settle(&trials->list[i], &results[i * runs], runs);
        return 0;
}

static int report_all(struct trials *trials, struct report *report)
{
        struct row *rows = calloc(2 * (size_t)trials->n_list, sizeof(*rows));
        uint32_t n_rows = 0, n_failed = 0;
        int result;

        if (!rows)
                return -ENOMEM;
        for (uint32_t i = 0; i < trials->n_list; i++) {
                const struct trial *trial = &trials->list[i];

                for (uint32_t r = 0; r < trial->n_rows; r++) {
                        n_failed += trial->rows[r].reason[0] != '\0';
                        rows[n_rows++] = trial->rows[r];
                }
        }
        report_table(report, rows, n_rows);
        if (trials->conclude)
                trials->conclude(trials, report->table);
        result = report_close(report, rows, n_rows);
        free(rows);
        return result < 0 ? result : n_failed ? -ENODATA : 0;
}

static int measure_all(struct trials *trials)
{
        size_t n_results = (size_t)trials->n_list * trials->options->runs;
        struct result *results = calloc(n_results, sizeof(*results));
        struct broker broker = {0};
        int result = results ? 0 : -ENOMEM;

        if (result >= 0 && trials->with_broker)
                result = broker_start(&broker, trials->options->broker, trials->broker_cpu);
        if (result >= 0) {
                trials->directory = broker.directory;
                trials->socket = broker.socket;
                result = run_all(trials, results);
                progress_end();
        }
        broker_stop(&broker);
        free(results);
        return result;
}

int trials_run(struct trials *trials)
{
        struct report report;
        int result;

        if (trials->n_list == 0) {
                fprintf(stderr, "shmd-bench: nothing of this can be measured\n");
                return 2;
        }
        if (report_open(&report, trials->options->json, trials->options->cpus[0]) < 0)
                return 1;
        result = measure_all(trials);
        if (result >= 0)
                result = report_all(trials, &report);
        if (process_interrupted()) {
                fprintf(stderr, "shmd-bench: interrupted\n");
                return 128 + process_interrupted();
        }
        return result < 0 ? 1 : 0;
}
