/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.h - what was asked for on the command line?
 *
 * All subcommands share one parser; each says which options it has, and what they are by default.
 */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "report.h"
#include "transport.h"

enum {
        LIST_MAX = 32,
        CPUS_MAX = 1024,
        RUNS_MAX = 99,
        SUBSCRIBERS_MAX = 1024,
};

/** As `allowed`. --cpus and --help always are. */
enum {
        OPTION_TRANSPORT = 1 << 0,
        OPTION_PAYLOAD = 1 << 1,
        OPTION_TOUCH = 1 << 2,
        OPTION_WAIT = 1 << 3,
        OPTION_SECONDS = 1 << 4,
        OPTION_SUBSCRIBERS = 1 << 5,
        OPTION_READERS = 1 << 6,
        OPTION_COUNT = 1 << 7,
        OPTION_QUICK = 1 << 8,
        OPTION_RUNS = 1 << 9,
        OPTION_OUTPUTS =
                1 << 10, /* --csv, --plot, --states; --broker, since all that measures has it */
        OPTION_JSON = 1 << 11,
        OPTION_FILES = OPTION_OUTPUTS | OPTION_JSON,
        OPTION_GAP = 1 << 12,
        OPTION_RATE = 1 << 13,
};

enum readers {
        READERS_IDLE = 1, /* each takes once per millisecond and never arms */
        READERS_POLL = 2, /* they spin */
};

struct options {
        const struct transport *transports[LIST_MAX];
        uint64_t payloads[LIST_MAX];
        uint64_t subscribers[LIST_MAX];
        uint32_t n_transports, n_payloads, n_subscribers;
        unsigned touches; /* enum touch, enum wait, enum readers: any of them */
        unsigned waits;
        unsigned readers;
        int cpus[2];
        double seconds; /* for each row of each run */
        uint32_t runs;
        uint32_t count;  /* of samples, times or windows */
        uint32_t rate;   /* samples a second */
        uint64_t gap_ns; /* of work between two publishes */
        bool quick;
        struct outputs outputs;
        const char *broker;
};

enum {
        OPTIONS_GO = 0,
        OPTIONS_HELP = 1, /* --help was answered */
};

/** What is measured when none is named: all transports. */
void options_all_transports(struct options *options);

/**
 * Fills in what was given; the rest of *options is left as it is, but `cpus`, whose default are
 * the first two that may be used. `usage` answers --help.
 * @return OPTIONS_GO, OPTIONS_HELP; negative errno after saying on standard error what is wrong.
 */
int options_parse(struct options *options, unsigned allowed, const char *usage, int argc,
                  char **argv);

#endif
