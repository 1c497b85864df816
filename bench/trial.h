/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trial.h - how do several runs of the same become one row?
 *
 * A *trial* is what is measured as one; it gives one row, or two of things measured side by side.
 * A *run* goes through all trials once, so that rows of one run stand close together in time; then
 * comes the next. Of the runs of a trial the one in the middle is shown, whole: never a mix of
 * the figures of several. The middle is by the ratio to the floor where both ends spin on memory,
 * since that is what the machine's moods leave alone; of two rows by the quotient of their p50, or
 * of their p99.9 where the tail is the question; otherwise by p50.
 */
#ifndef BENCH_TRIAL_H
#define BENCH_TRIAL_H

#include "options.h"
#include "report.h"

struct trials;

struct trial {
        struct row rows[2];
        uint32_t n_rows;
        double seconds; /* it takes, about */
        double took;    /* the last run of it; 0: none yet */
        bool by_ratio;  /* what its runs are judged by, not p50 */
        bool by_tail;   /* likewise: of two rows, p99.9 */
        bool refused;   /* can't be measured here, which is no failure: the rows say why */
        bool broken;    /* a run had wrong samples, which is one, however good others were */
        /**
         * One run of it: figures of each row. @return 0; negative with a `reason`: -EMSGSIZE or
         * -ENOMEM for what this machine can't carry, now or later; -EBADMSG: what came was wrong.
         */
        int (*measure)(const struct trials *trials, const struct trial *trial,
                       struct figures *figures, char *reason, uint32_t reason_size);
        /** More to be said under the table; or NULL. */
        void (*conclude)(const struct trial *trial, FILE *file);
        union {
                struct link link; /* what to measure: of `latency` */
                struct {          /* of `publish`, with rows[0].subscribers and .payload */
                        enum readers readers;
                        uint64_t gap_ns;
                } publish;
                uint32_t count; /* of `join`, `resume` */
                struct {        /* of `restart` */
                        uint32_t count;
                        uint32_t rate;
                } restart;
        };
};

/** What a subcommand gives. */
struct trials {
        const char *name;
        struct trial *list;
        uint32_t n_list;
        const struct options *options; /* runs, outputs, broker */
        const char *directory;         /* private, for files of the measurement */
        const char *socket;            /* the broker's */
        bool with_broker;
        int broker_cpu;
        struct report report;
};

/**
 * Does it all: has `add` fill the list by trials->options, then broker, runs, progress on a
 * terminal, table, files.
 * @return the program's exit status.
 */
int trials_run(struct trials *trials, void (*add)(struct trials *, const struct options *));

/** Whether two would give the same rows. */
bool trials_alike(const struct trial *a, const struct trial *b);

/** One more in the list, to be filled in: one row, nothing known, on the CPUs of `options`. */
struct trial *trials_add(struct trials *trials, const struct options *options);

#endif
