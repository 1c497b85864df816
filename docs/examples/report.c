/* SPDX-License-Identifier: Apache-2.0 */
/* report.c - lines of text for whoever started a video program. */
#include "report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "program.h"

/* How long a line may be kept back. */
#define FLUSH_NS 50000000u

void report_open(struct report *report, int fd)
{
        *report = (struct report){0};
        if (fd < 0)
                return;
        report->file = fdopen(fd, "w");
        if (report->file == NULL)
                program_fail("--report %d: %s", fd, strerror(errno));
}

void report_line(struct report *report, const char *format, ...)
{
        va_list arguments;
        uint64_t now_ns;

        if (report->file == NULL)
                return;
        va_start(arguments, format);
        vfprintf(report->file, format, arguments);
        va_end(arguments);
        fputc('\n', report->file);
        now_ns = program_now_ns();
        if (now_ns - report->flushed_ns >= FLUSH_NS) {
                fflush(report->file);
                report->flushed_ns = now_ns;
        }
}

void report_frame(struct report *report, uint64_t number, const void *data, size_t size)
{
        struct where where;

        if (report->file == NULL)
                return;
        if (where_is(&report->mappings, data, size, &where) < 0)
                where = (struct where){0};
        report_line(report, "frame %" PRIu64 " %" PRIu32 " %" PRIu32 " %" PRIu64 " %" PRIu64,
                    number, where.major, where.minor, where.inode, where.offset);
}

void report_close(struct report *report)
{
        if (report->file != NULL)
                fclose(report->file);
        report->file = NULL;
}
