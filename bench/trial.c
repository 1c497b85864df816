/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trial.c - runs, the middle one of them, and the line that says how far they are.
 */
#include "trial.h"

#include <assert.h>
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

/* More than all rows that the longest lists of options give. */
enum { TRIALS_MAX = 16384 };

struct trial *trials_add(struct trials *trials, const struct options *options)
{
        struct trial *trial = &trials->list[trials->n_list];

        assert(trials->n_list < TRIALS_MAX);
        trials->n_list++;
        *trial = (struct trial){.n_rows = 1};
        for (int i = 0; i < 2; i++) {
                figures_init(&trial->rows[i].figures);
                memcpy(trial->rows[i].cpus, options->cpus, sizeof(trial->rows[i].cpus));
        }
        return trial;
}

static bool rows_alike(const struct row *a, const struct row *b)
{
        const char *const texts[][2] = {
                {a->bench, b->bench},
                {a->transport, b->transport},
                {a->touch, b->touch},
                {a->wait, b->wait},
        };

        for (uint32_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
                if (strcmp(texts[i][0] ? texts[i][0] : "", texts[i][1] ? texts[i][1] : "") != 0)
                        return false;
        }
        return a->payload == b->payload && a->subscribers == b->subscribers &&
               memcmp(a->cpus, b->cpus, sizeof(a->cpus)) == 0;
}

bool trials_alike(const struct trial *a, const struct trial *b)
{
        return rows_alike(&a->rows[0], &b->rows[0]);
}

/*
 * Seconds until all is done. A trial that was measured before takes as long as it then did; of the
 * others is known what was asked for, and by how much more those took that are over.
 */
static double time_left(const struct trials *trials, uint32_t run, uint32_t index)
{
        double asked = 0, took = 0, left = 0, factor;

        for (uint32_t i = 0; i < trials->n_list; i++) {
                asked += trials->list[i].took > 0 ? trials->list[i].seconds : 0;
                took += trials->list[i].took;
        }
        factor = asked > 0 ? took / asked : 1.5;
        for (uint32_t i = 0; i < trials->n_list; i++) {
                const struct trial *trial = &trials->list[i];
                double each = trial->took > 0 ? trial->took : factor * trial->seconds;

                left += each * (trials->options->runs - run - (i < index));
        }
        return left;
}

/* The line, on a terminal only. */
static void progress(const struct trials *trials, uint32_t run, uint32_t index)
{
        const struct row *row = trials->list[index].rows;
        uint32_t left = (uint32_t)time_left(trials, run, index);
        char bytes[24] = "";

        if (!isatty(STDERR_FILENO))
                return;
        if (row->payload)
                report_bytes(bytes, row->payload);
        fprintf(stderr, "\r\033[K%s: %u:%02u left; run %u of %u, row %u of %u: %s %s %s %s %s",
                trials->name, left / 60, left % 60, run + 1, trials->options->runs, index + 1,
                trials->n_list, row->bench, row->transport, bytes, row->touch ? row->touch : "",
                row->wait ? row->wait : "");
        fflush(stderr);
}

static void progress_end(void)
{
        if (isatty(STDERR_FILENO))
                fprintf(stderr, "\r\033[K");
}

/* Above, it is not cache lines that take the time, and the floor says nothing about it. */
#define RATIO_MAX 50.0

/* What a run is judged by. */
static double merit(const struct trial *trial, const struct result *result)
{
        const struct figures *figures = result->figures;

        if (trial->by_tail)
                return figures[0].p999_ns / figures[1].p999_ns;
        if (trial->n_rows == 2)
                return figures[0].p50_ns / figures[1].p50_ns;
        return trial->by_ratio ? figures[0].ratio_to_floor : figures[0].p50_ns;
}

/* Whether the floor tells the runs of a trial apart. */
static bool is_by_ratio(const struct result *results, uint32_t n_results)
{
        for (uint32_t i = 0; i < n_results; i++) {
                if (results[i].good && !(results[i].figures[0].ratio_to_floor < RATIO_MAX))
                        return false;
        }
        return true;
}

/* The run with as many better as worse ones; of two in the middle the better one. */
static const struct result *middle(const struct trial *trial, const struct result *results,
                                   uint32_t n_results)
{
        const struct result *good[RUNS_MAX];
        uint32_t n = 0;

        for (uint32_t i = 0; i < n_results; i++) {
                uint32_t place = n;

                if (!results[i].good || isnan(results[i].figures[0].p50_ns) ||
                    isnan(merit(trial, &results[i])))
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
        const struct result *chosen;

        trial->by_ratio = is_by_ratio(results, n_results);
        chosen = middle(trial, results, n_results);

        for (uint32_t i = 0; i < trial->n_rows; i++) {
                struct row *row = &trial->rows[i];

                if (chosen)
                        row->figures = chosen->figures[i];
                else if (!row->reason[0])
                        snprintf(row->reason, sizeof(row->reason),
                                 trial->n_rows == 2 ? "too few samples to say anything"
                                 : results[0].figures[i].slices_kept
                                         ? "too few round trips to say anything"
                                         : "the floor never held still long enough to measure");
                if (chosen)
                        row->reason[0] = '\0';
        }
}

static void reason_note(struct trial *trial, const char *reason)
{
        for (uint32_t r = 0; r < trial->n_rows; r++)
                snprintf(trial->rows[r].reason, sizeof(trial->rows[r].reason), "%s", reason);
}

/* Said at once; in the table it stands only if no run went well. */
static void run_failed(struct trial *trial, uint32_t run, const char *reason)
{
        progress_end();
        fprintf(stderr, "shmd-bench: %s %s, run %u: %s\n", trial->rows[0].bench,
                trial->rows[0].transport, run + 1, reason);
        reason_note(trial, reason);
}

static void run_one(struct trials *trials, struct trial *trial, uint32_t run, struct result *result)
{
        char reason[sizeof(trial->rows[0].reason)] = "";
        uint64_t start = clock_ns();
        int error = trial->measure(trials, trial, result->figures, reason, sizeof(reason));

        trial->took = (double)(clock_ns() - start) / NS_PER_S;
        trial->refused = error == -EMSGSIZE || error == -ENOMEM;
        trial->broken |= error == -EBADMSG;
        result->good = error >= 0;
        if (trial->refused)
                reason_note(trial, reason);
        else if (error < 0 && !process_interrupted())
                run_failed(trial, run, reason);
}

/* @return 0, or -EINTR. */
static int run_all(struct trials *trials, struct result *results)
{
        uint32_t runs = trials->options->runs;

        for (uint32_t run = 0; run < runs; run++) {
                for (uint32_t i = 0; i < trials->n_list; i++) {
                        if (trials->list[i].refused)
                                continue;
                        progress(trials, run, i);
                        run_one(trials, &trials->list[i], run, &results[i * runs + run]);
                        if (process_interrupted())
                                return -EINTR;
                }
        }
        for (uint32_t i = 0; i < trials->n_list; i++)
                settle(&trials->list[i], &results[i * runs], runs);
        return 0;
}

static int report_all(struct trials *trials)
{
        struct row *rows = calloc(2 * (size_t)trials->n_list, sizeof(*rows));
        uint32_t n_rows = 0, n_failed = 0;
        int result;

        if (!rows)
                return -ENOMEM;
        for (uint32_t i = 0; i < trials->n_list; i++) {
                const struct trial *trial = &trials->list[i];

                for (uint32_t r = 0; r < trial->n_rows; r++) {
                        n_failed += trial->broken ||
                                    (trial->rows[r].reason[0] != '\0' && !trial->refused);
                        rows[n_rows++] = trial->rows[r];
                }
        }
        report_table(&trials->report, rows, n_rows);
        for (uint32_t i = 0; i < trials->n_list; i++) {
                if (trials->list[i].conclude)
                        trials->list[i].conclude(&trials->list[i], trials->report.table);
        }
        result = report_write(&trials->report, rows, n_rows);
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

static int run_listed(struct trials *trials)
{
        const struct options *options = trials->options;
        int result;

        if (trials->n_list == 0) {
                fprintf(stderr, "shmd-bench: nothing of this can be measured\n");
                return 2;
        }
        result = report_open(&trials->report, &options->outputs, options->cpus[0], options->runs);
        if (result >= 0)
                result = measure_all(trials);
        if (result >= 0)
                result = report_all(trials);
        report_close(&trials->report);
        if (process_interrupted()) {
                fprintf(stderr, "shmd-bench: interrupted\n");
                return 128 + process_interrupted();
        }
        return result < 0 ? 1 : 0;
}

int trials_run(struct trials *trials, void (*add)(struct trials *, const struct options *))
{
        int status;

        trials->list = calloc(TRIALS_MAX, sizeof(*trials->list));
        if (!trials->list) {
                fprintf(stderr, "shmd-bench: no memory\n");
                return 1;
        }
        add(trials, trials->options);
        status = run_listed(trials);
        free(trials->list);
        return status;
}
