/* SPDX-License-Identifier: Apache-2.0 */
/*
 * list-table.c - the table for people: a row for each service, below it one for each of its
 * publishers and subscribers.
 *
 * Cells are made twice, once to find the columns' widths and once to print them.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "list.h"

enum column {
        NAME,
        WHAT,
        PID,
        PUBLISHERS,
        SUBSCRIBERS,
        DEPTH,
        HOLDS,
        SAMPLE,
        SEGMENT,
        SEQUENCE,
        N
};

/* A service's name has 255 bytes at most. */
struct row {
        char cells[N][260];
};

static const char *const titles[N] = {"SERVICE", "TYPE/PROGRAM", "PID",    "PUBS",    "SUBS",
                                      "DEPTH",   "HOLDS",        "SAMPLE", "SEGMENT", "SEQUENCE"};

static void put_number(struct row *row, enum column column, uint64_t number)
{
        snprintf(row->cells[column], sizeof(row->cells[column]), "%" PRIu64, number);
}

/* "64", "1.5K", "12M": three figures are enough to recognise something. */
static void put_size(struct row *row, enum column column, uint64_t size)
{
        static const char units[] = "KMGTPE";
        char *cell = row->cells[column];
        double value = (double)size;
        int unit = -1;

        while (value >= 1024 && units[unit + 1]) {
                value /= 1024;
                unit++;
        }
        if (unit < 0)
                put_number(row, column, size);
        else
                snprintf(cell, sizeof(row->cells[column]), "%.*f%c", value < 10 ? 1 : 0, value,
                         units[unit]);
}

static void put_peer(struct row *row, const char *what, const struct shmd_peer *peer)
{
        snprintf(row->cells[NAME], sizeof(row->cells[NAME]), "  %s", what);
        snprintf(row->cells[WHAT], sizeof(row->cells[WHAT]), "%.16s", peer->program);
        snprintf(row->cells[PID], sizeof(row->cells[PID]), "%d", peer->pid);
}

static void fill(struct row *row, const struct shmd_listing *record)
{
        memset(row, 0, sizeof(*row));
        switch (record->what) {
        case SHMD_LISTED_SERVICE:
                snprintf(row->cells[NAME], sizeof(row->cells[NAME]), "%s", record->service);
                snprintf(row->cells[WHAT], sizeof(row->cells[WHAT]), "%s", record->type);
                put_number(row, PUBLISHERS, record->publishers);
                put_number(row, SUBSCRIBERS, record->subscribers);
                put_size(row, SAMPLE, record->publishers ? record->max_size : record->type_size);
                put_size(row, SEGMENT, record->segment_size);
                put_number(row, SEQUENCE, record->sequence);
                break;
        case SHMD_LISTED_PUBLISHER:
                put_peer(row, "publisher", &record->peer);
                put_number(row, SUBSCRIBERS, record->subscribers);
                put_number(row, DEPTH, record->depth);
                put_number(row, HOLDS, record->holds);
                put_size(row, SAMPLE, record->max_size);
                put_size(row, SEGMENT, record->segment_size);
                put_number(row, SEQUENCE, record->sequence);
                break;
        case SHMD_LISTED_SUBSCRIBER:
                put_peer(row, "subscriber", &record->peer);
                put_number(row, PUBLISHERS, record->publishers);
                put_number(row, HOLDS, record->holds);
                break;
        default:
                break;
        }
}

static void print(const struct row *row, const int widths[N])
{
        char line[N * 264], *end = line;

        for (int i = 0; i < N; i++) {
                /* Names to the left, numbers to the right. */
                int width = i <= WHAT ? -widths[i] : widths[i];

                end += snprintf(end, (size_t)(line + sizeof(line) - end), "%s%*s", i ? "  " : "",
                                width, row->cells[i]);
        }
        while (end > line && end[-1] == ' ')
                *--end = '\0';
        puts(line);
}

void list_print_table(const struct records *records)
{
        int widths[N];
        struct row row;

        if (!records->n) {
                puts("no services");
                return;
        }
        for (int i = 0; i < N; i++)
                widths[i] = (int)strlen(titles[i]);
        for (size_t i = 0; i < records->n; i++) {
                fill(&row, &records->all[i]);
                for (int j = 0; j < N; j++)
                        if ((int)strlen(row.cells[j]) > widths[j])
                                widths[j] = (int)strlen(row.cells[j]);
        }
        for (int i = 0; i < N; i++)
                snprintf(row.cells[i], sizeof(row.cells[i]), "%s", titles[i]);
        print(&row, widths);
        for (size_t i = 0; i < records->n; i++) {
                fill(&row, &records->all[i]);
                print(&row, widths);
        }
}
