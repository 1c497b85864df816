/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - shmd-bench: which subcommand?
 */
#include <stdio.h>
#include <string.h>

#include <shmd/shmd.h>

#include "commands.h"
#include "process.h"

static const char usage[] =
        "Usage: shmd-bench COMMAND [OPTIONS]\n"
        "\n"
        "Measures shmd on this machine, each time beside the least that is possible there: the\n"
        "floor, two atomics in shared memory.\n"
        "\n"
        "  all       all that follows, in one go\n"
        "  latency   how long a sample takes to another process, by shmd and by others\n"
        "  publish   what publishing costs the publisher, with few and many subscribers\n"
        "  join      how long it takes from nothing to the first sample\n"
        "  restart   how long a sample takes while the broker dies and comes back\n"
        "  resume    how long it takes until many clients are back at the next broker\n"
        "  doctor    what on this machine costs latency\n"
        "\n"
        "shmd-bench COMMAND --help lists the options of each; --version says which library\n"
        "is measured. A broker of its own is started for the time of the measurement.\n";

static const struct command {
        const char *name;
        int (*run)(int argc, char **argv);
} commands[] = {
        {"all", all_main},       {"latency", latency_main}, {"publish", publish_main},
        {"join", join_main},     {"restart", restart_main}, {"resume", resume_main},
        {"doctor", doctor_main},
};

int main(int argc, char **argv)
{
        const char *name = argc > 1 ? argv[1] : "";

        if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
                fputs(usage, stdout);
                return 0;
        }
        if (strcmp(name, "--version") == 0) {
                printf("shmd-bench %s\n", shmd_version());
                return 0;
        }
        for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
                if (strcmp(name, commands[i].name) == 0) {
                        process_init();
                        return commands[i].run(argc - 1, argv + 1);
                }
        }
        if (name[0])
                fprintf(stderr, "shmd-bench: there is no command \"%s\"\n\n", name);
        fputs(usage, stderr);
        return 2;
}
