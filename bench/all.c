/* SPDX-License-Identifier: Apache-2.0 */
/*
 * all.c - `shmd-bench all`: everything that docs/benchmarks.md shows, in one go.
 *
 * What others are asked to judge by gets more time than what only has to fill a picture. A
 * transport that copies takes so long for a GiB that a median would cost minutes: there, only those
 * stand that leave a payload where it is.
 */
#include "commands.h"

#include <stdio.h>
#include <string.h>

#include "options.h"
#include "trial.h"

static const char usage[] =
        "Usage: shmd-bench all [OPTIONS]\n"
        "\n"
        "Latency by every transport, spinning and sleeping, on two CPUs and on one; what a "
        "publish\n"
        "costs; what joining costs; what a restart of the broker costs. Some eight minutes.\n"
        "\n"
        "  --quick             fewer rows, less exact, one minute\n"
        "  --cpus A,B          where the two ends run (default: the first two)\n"
        "  --runs N            of which the one in the middle is shown (default: 3; quick: "
        "1)\n" OUTPUTS_USAGE;

enum { NAMES_MAX = 4, SIZES_MAX = 8 };

#define KIB (1ull << 10)
#define MIB (1ull << 20)
#define GIB (1ull << 30)

/* docs/benchmarks.md and tools/benchmarks-doc.py say so. */
#define PACED_GAP_NS 1000
#define RESTART_RATE 1000

/* A piece of `latency`. */
struct part {
        const char *transports[NAMES_MAX]; /* none: all */
        uint64_t payloads[SIZES_MAX];
        unsigned touches;
        unsigned waits;
        bool one_cpu;
        double seconds;
};

static const struct part full[] = {
        {
                .transports = {"floor", "floor-readonly", "shmd"},
                .payloads = {64},
                .touches = TOUCH_FIRST,
                .waits = WAIT_POLL,
                .seconds = 2,
        },
        {
                .transports = {"shmd", "eventfd", "futex"},
                .payloads = {GIB},
                .touches = TOUCH_FIRST,
                .waits = WAIT_POLL,
                .seconds = 0.5,
        },
        {
                .payloads = {8, 64, 4 * KIB, 64 * KIB, MIB},
                .touches = TOUCH_FIRST,
                .waits = WAIT_POLL,
                .seconds = 0.35,
        },
        {
                .payloads = {64 * MIB},
                .touches = TOUCH_FIRST,
                .waits = WAIT_POLL,
                .seconds = 1,
        },
        {
                .payloads = {64, 4 * KIB, 64 * KIB, MIB},
                .touches = TOUCH_ALL,
                .waits = WAIT_POLL,
                .seconds = 0.35,
        },
        {
                .payloads = {8, 64, 4 * KIB, 64 * KIB, MIB},
                .touches = TOUCH_FIRST,
                .waits = WAIT_BLOCK,
                .seconds = 0.35,
        },
        {
                .payloads = {64, 4 * KIB, 64 * KIB, MIB},
                .touches = TOUCH_ALL,
                .waits = WAIT_BLOCK,
                .seconds = 0.35,
        },
        {
                .transports = {"shmd"},
                .payloads = {64},
                .touches = TOUCH_FIRST,
                .waits = WAIT_ADAPTIVE,
                .seconds = 1,
        },
        {
                .payloads = {64, 64 * KIB},
                .touches = TOUCH_FIRST,
                .waits = WAIT_BARE,
                .seconds = 0.35,
        },
        {
                .payloads = {64, 64 * KIB},
                .touches = TOUCH_FIRST,
                .waits = WAIT_BLOCK | WAIT_BARE,
                .one_cpu = true,
                .seconds = 0.35,
        },
};

static const struct part quick[] = {
        {
                .payloads = {64, 4 * KIB, 64 * KIB, MIB},
                .touches = TOUCH_FIRST,
                .waits = WAIT_POLL,
                .seconds = 0.3,
        },
        {
                .transports = {"shmd"},
                .payloads = {64 * MIB},
                .touches = TOUCH_FIRST,
                .waits = WAIT_POLL,
                .seconds = 0.3,
        },
        {
                .transports = {"shmd", "pipe", "unix-stream", "tcp"},
                .payloads = {64 * KIB},
                .touches = TOUCH_ALL,
                .waits = WAIT_POLL,
                .seconds = 0.3,
        },
        {
                .payloads = {64, 64 * KIB},
                .touches = TOUCH_FIRST,
                .waits = WAIT_BLOCK,
                .seconds = 0.3,
        },
        {
                .transports = {"shmd"},
                .payloads = {64},
                .touches = TOUCH_FIRST,
                .waits = WAIT_ADAPTIVE,
                .seconds = 0.3,
        },
        {
                .transports = {"shmd", "pipe", "unix-stream", "futex"},
                .payloads = {64},
                .touches = TOUCH_FIRST,
                .waits = WAIT_BLOCK | WAIT_BARE,
                .one_cpu = true,
                .seconds = 0.3,
        },
};

static void add_part(struct trials *trials, const struct options *options, const struct part *part)
{
        struct options narrowed = *options;

        narrowed.touches = part->touches;
        narrowed.waits = part->waits;
        narrowed.seconds = part->seconds;
        narrowed.n_transports = narrowed.n_payloads = 0;
        if (part->one_cpu)
                narrowed.cpus[1] = narrowed.cpus[0];
        else if (narrowed.cpus[0] == narrowed.cpus[1])
                return; /* of one CPU only those parts can be measured that need no other */
        for (uint32_t i = 0; i < NAMES_MAX && part->transports[i]; i++)
                narrowed.transports[narrowed.n_transports++] = transport_find(part->transports[i]);
        if (!narrowed.n_transports)
                options_all_transports(&narrowed);
        for (uint32_t i = 0; i < SIZES_MAX && part->payloads[i]; i++)
                narrowed.payloads[narrowed.n_payloads++] = part->payloads[i];
        latency_add(trials, &narrowed);
}

static void add_publish(struct trials *trials, const struct options *options)
{
        struct options narrowed = *options;

        narrowed.payloads[0] = 64;
        narrowed.n_payloads = 1;
        narrowed.readers = READERS_IDLE | READERS_POLL;
        memcpy(narrowed.subscribers, (const uint64_t[]){1, 8, 64}, 3 * sizeof(uint64_t));
        narrowed.n_subscribers = 3;
        narrowed.seconds = options->quick ? 0.3 : 0.5;
        if (narrowed.cpus[0] == narrowed.cpus[1])
                return;
        publish_add(trials, &narrowed);
        narrowed.n_subscribers = 1;
        narrowed.gap_ns = PACED_GAP_NS;
        publish_add(trials, &narrowed);
}

/* A part that comes later does not measure again what an earlier one has. */
static void drop_repeated(struct trials *trials)
{
        uint32_t n = 0;

        for (uint32_t i = 0; i < trials->n_list; i++) {
                uint32_t j = 0;

                while (j < n && !trials_alike(&trials->list[j], &trials->list[i]))
                        j++;
                if (j == n)
                        trials->list[n++] = trials->list[i];
        }
        trials->n_list = n;
}

static void all_add(struct trials *trials, const struct options *options)
{
        struct options narrowed = *options;

        for (uint32_t i = 0; i < sizeof(full) / sizeof(full[0]) && !options->quick; i++)
                add_part(trials, options, &full[i]);
        for (uint32_t i = 0; i < sizeof(quick) / sizeof(quick[0]) && options->quick; i++)
                add_part(trials, options, &quick[i]);
        add_publish(trials, options);
        narrowed.count = options->quick ? 50 : 300;
        join_add(trials, &narrowed);
        narrowed.count = options->quick ? 3 : 8;
        narrowed.rate = RESTART_RATE;
        restart_add(trials, &narrowed);
        narrowed.count = 20; /* a median needs so many */
        resume_add(trials, &narrowed);
        drop_repeated(trials);
}

int all_main(int argc, char **argv)
{
        struct options options = {0};
        struct trials trials = {.name = "all", .options = &options};
        int result = options_parse(&options, OPTION_QUICK | OPTION_RUNS | OPTION_FILES, usage, argc,
                                   argv);

        if (result == OPTIONS_HELP)
                return 0;
        if (result < 0)
                return 2;
        if (!options.runs)
                options.runs = options.quick ? 1 : 3;
        trials.broker_cpu = options.cpus[1]; /* it is awake only while somebody joins */
        return trials_run(&trials, all_add);
}
