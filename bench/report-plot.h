/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report-plot.h - the same report as pictures, by the gnuplot that is there at run time.
 */
#ifndef BENCH_REPORT_PLOT_H
#define BENCH_REPORT_PLOT_H

#include "report.h"

/**
 * Whether a picture can be drawn at `path` later.
 * @return 0; negative errno after saying on standard error what is missing.
 */
int report_plot_check(const char *option, const char *path);

/** Results, to outputs->plot. @return 0; negative errno after saying on standard error why. */
int report_plot(const struct report *report, const struct row *rows, uint32_t n_rows);

/** The floor over time, to outputs->states. @return the same. */
int report_plot_states(const struct report *report);

#endif
