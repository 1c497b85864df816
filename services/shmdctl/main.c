/* SPDX-License-Identifier: Apache-2.0 */
/* main.c - the shmdctl program: finds the verb. */
#include <stdio.h>
#include <string.h>

#include <shmd/shmd.h>

#include "verb.h"

static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
} verbs[] = {
        {"list", verb_list},
};

static void show_help(FILE *to)
{
        fprintf(to,
                "Usage: shmdctl VERB [OPTION...]\n"
                "Looks at a running shmd.\n"
                "\n"
                "Verbs:\n"
                "  list           services, their types, publishers, subscribers, sizes and "
                "sequences\n"
                "    --json       the same as JSON, sizes in bytes\n"
                "\n"
                "Options of every verb:\n"
                "  --socket PATH  the broker's socket (default: $SHMD_SOCKET, or the first that\n"
                "                 answers of $XDG_RUNTIME_DIR/shmd/control and /run/shmd/control)\n"
                "\n"
                "  --help         show this\n"
                "  --version      show the version\n"
                "\n"
                "Status: 0, 1 after an error, 2 when used wrongly.\n");
}

int main(int argc, char **argv)
{
        if (argc < 2) {
                show_help(stderr);
                return STATUS_USAGE;
        }
        if (strcmp(argv[1], "--help") == 0) {
                show_help(stdout);
                return 0;
        }
        if (strcmp(argv[1], "--version") == 0) {
                printf("shmdctl %s\n", shmd_version());
                return 0;
        }
        for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
                if (strcmp(argv[1], verbs[i].name) == 0) {
                        /* getopt_long() complains in the name of argv[0]. */
                        argv[1] = argv[0];
                        return verbs[i].run(argc - 1, argv + 1);
                }
        fprintf(stderr, "shmdctl: '%s' is not a verb; see shmdctl --help\n", argv[1]);
        return STATUS_USAGE;
}
