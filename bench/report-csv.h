/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report-csv.h - the results for spreadsheets: one row each, the keys of the JSON as header.
 */
#ifndef BENCH_REPORT_CSV_H
#define BENCH_REPORT_CSV_H

#include "report.h"

/** What is null in JSON is empty. @return 0 or -EIO. */
int report_csv(FILE *file, const struct row *rows, uint32_t n_rows);

#endif
