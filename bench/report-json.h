/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report-json.h - the same report for programs, where jansson was there to build with.
 */
#ifndef BENCH_REPORT_JSON_H
#define BENCH_REPORT_JSON_H

#include "diagnosis.h"
#include "report.h"

bool report_json_built(void);

/** To report->json. @return 0; -EIO, -ENOMEM; -ENOTSUP without jansson. */
int report_json(const struct report *report, const struct row *rows, uint32_t n_rows);

/** A diagnosis, with words for its verdicts. @return the same. */
int diagnosis_json(FILE *file, const struct diagnosis *diagnosis, const char *const *verdicts);

#endif
