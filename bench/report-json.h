/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report-json.h - the same report for programs, where jansson was there to build with.
 */
#ifndef BENCH_REPORT_JSON_H
#define BENCH_REPORT_JSON_H

#include "report.h"

bool report_json_built(void);

/** @return 0; -EIO, -ENOMEM; -ENOTSUP without jansson. */
int report_json(FILE *file, const struct machine *machine, const struct row *rows, uint32_t n_rows);

#endif
