/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor.c - `shmd-bench doctor`: what on this machine costs latency, in plain words?
 */
#include "commands.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "diagnosis.h"
#include "options.h"
#include "report-json.h"

static const char usage[] =
        "Usage: shmd-bench doctor [OPTIONS]\n"
        "\n"
        "Looks at this machine, changes nothing, measures nothing, and says what costs latency,\n"
        "why, and what would be better. It needs no rights; what it can't see it says.\n"
        "\n"
        "  --cpus A,B          the CPUs that will be used (default: the first two)\n"
        "  --json FILE         the findings for programs instead; - is standard output\n";

enum { WIDTH = 80, INDENT = 10 };

static const char *const verdicts[] = {
        [VERDICT_GOOD] = "good",
        [VERDICT_COSTS] = "costs",
        [VERDICT_UNKNOWN] = "unknown",
};

/* In lines of at most WIDTH columns, all but the first indented. */
static void paragraph(FILE *file, const char *head, const char *text)
{
        int column = fprintf(file, "%-*s", INDENT, head);

        while (*text) {
                int length = (int)strcspn(text, " ");

                if (column + length > WIDTH && column > INDENT)
                        column = fprintf(file, "\n%*s", INDENT, "") - 1;
                column += fprintf(file, "%.*s%s", length, text, text[length] ? " " : "");
                text += length + (text[length] != '\0');
        }
        fputc('\n', file);
}

static void print(FILE *file, const struct diagnosis *diagnosis)
{
        uint32_t n[3] = {0};

        for (uint32_t i = 0; i < diagnosis->n_findings; i++) {
                const struct finding *finding = &diagnosis->findings[i];

                n[finding->verdict]++;
                fprintf(file, "%s: %s\n", finding->name, verdicts[finding->verdict]);
                paragraph(file, "  now", finding->now);
                if (finding->verdict != VERDICT_GOOD)
                        paragraph(file, "  why", finding->why);
                if (finding->better[0])
                        paragraph(file, "  better", finding->better);
        }
        fprintf(file, "\n%u good, %u cost latency or may, %u can't be seen from here\n",
                n[VERDICT_GOOD], n[VERDICT_COSTS], n[VERDICT_UNKNOWN]);
}

static int write_json(const char *path, const struct diagnosis *diagnosis)
{
        bool to_file = strcmp(path, "-") != 0;
        FILE *file = to_file ? fopen(path, "w") : stdout;
        int result = file ? 0 : -errno;

        if (file)
                result = diagnosis_json(file, diagnosis, verdicts);
        if (file && to_file && fclose(file) != 0 && result >= 0)
                result = -errno;
        if (result < 0)
                fprintf(stderr, "shmd-bench: --json %s: %s\n", path,
                        result == -ENOTSUP ? "this program was built without jansson; install it "
                                             "and configure anew"
                                           : strerror(-result));
        return result < 0 ? 1 : 0;
}

int doctor_main(int argc, char **argv)
{
        struct options options = {0};
        struct diagnosis diagnosis;
        struct patient patient;
        int result = options_parse(&options, OPTION_JSON, usage, argc, argv);

        if (result == OPTIONS_HELP)
                return 0;
        if (result < 0)
                return 2;
        patient_init(&patient, options.cpus);
        diagnose(&diagnosis, &patient);
        if (options.outputs.json)
                return write_json(options.outputs.json, &diagnosis);
        print(stdout, &diagnosis);
        return 0;
}
