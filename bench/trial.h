/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trial.h - how do several runs of the same become one row?
 *
 * A *trial* is what is measured as one; it gives one row, or two of things measured side by side.
 * A *run* goes through all trials once, so that rows of one run stand close together in time; then
 * comes the next. Of the runs of a trial the one in the middle is shown, whole: never a mix of
 * the figures of several. The middle is by the ratio to the floor, where there is one, or of the
 * two rows, since that is what the machine's moods leave alone; otherwise by p50.
 */
#ifndef BENCH_TRIAL_H
#define BENCH_TRIAL_H

#include "options.h"
#include "report.h"

struct trial {
        struct row rows[2];
        uint32_t n_rows;
        double seconds; /* it takes, about */
        union {
                struct link link;     /* what to measure: of `latency` */
                enum readers readers; /* of `publish`, with rows[0].subscribers and .payload */
        };
};

/** What a subcommand gives. */
struct trials {
        const char *name;
        struct trial *list;
        uint32_t n_list;
        const struct options *options;
        const char *directory; /* private, for files of the measurement */
        const char *socket;    /* the broker's */
        bool with_broker;
        int broker_cpu;
        /** One run of one trial: figures of each row. @return 0; negative with a `reason`. */
        int (*measure)(const struct trials *trials, const struct trial *trial,
                       struct figures *figures, char *reason, uint32_t reason_size);
        /** More to be said under the table; or NULL. */
        void (*conclude)(const struct trials *trials, FILE *file);
};

/**
 * Does it all: broker, runs, progress on a terminal, table, JSON.
 * @return the program's exit status.
 */
int trials_run(struct trials *trials);

/** Fits `trial` into the list, which has to be big enough. */
struct trial *trials_add(struct trials *trials);

#endif
