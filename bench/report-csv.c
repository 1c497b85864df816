/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report-csv.c - rows with commas between.
 */
#include "report-csv.h"

#include <errno.h>

#include "fields.h"

/* No text of ours has a comma or a quote in it; the two CPUs have, so they are quoted. */
static void field_print(FILE *file, const struct field *field)
{
        switch (field->kind) {
        case FIELD_NONE:
                break;
        case FIELD_TEXT:
                fputs(field->text, file);
                break;
        case FIELD_COUNT:
                fprintf(file, "%llu", (unsigned long long)field->count);
                break;
        case FIELD_NUMBER:
                fprintf(file, "%.15g", field->number);
                break;
        case FIELD_PAIR:
                fprintf(file, "\"%d,%d\"", field->pair[0], field->pair[1]);
                break;
        }
}

int report_csv(FILE *file, const struct row *rows, uint32_t n_rows)
{
        static const struct row none;
        struct field fields[N_FIELDS];

        fields_of(&none, fields);
        for (uint32_t f = 0; f < N_FIELDS; f++)
                fprintf(file, "%s%s", f ? "," : "", fields[f].name);
        fputs("\n", file);
        for (uint32_t r = 0; r < n_rows; r++) {
                fields_of(&rows[r], fields);
                for (uint32_t f = 0; f < N_FIELDS; f++) {
                        if (f)
                                fputc(',', file);
                        field_print(file, &fields[f]);
                }
                fputs("\n", file);
        }
        return fflush(file) != 0 || ferror(file) ? -EIO : 0;
}
