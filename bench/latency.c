/* SPDX-License-Identifier: Apache-2.0 */
/*
 * latency.c - `shmd-bench latency`: which rows, by which transports?
 */
#include "commands.h"

#include <errno.h>
#include <stdio.h>

#include "machine.h"
#include "process.h"
#include "roundtrip.h"
#include "trial.h"

static const char usage[] =
        "Usage: shmd-bench latency [OPTIONS]\n"
        "\n"
        "How long a sample takes from one process to another: ping-pong between two processes,\n"
        "each on a CPU of its own, half of a round trip.\n"
        "\n"
        "  --transport LIST    floor, floor-readonly, shmd, futex, eventfd, pipe, unix-stream,\n"
        "                      unix-dgram, unix-seqpacket, tcp, posix-mq, sysv-mq (default: all)\n"
        "  --payload LIST      bytes, with K, M, G for powers of 1024 (default: 64,4K,64K,1M)\n"
        "  --touch LIST        first: 8 bytes of each sample are written and read; all: every "
        "byte\n"
        "                      (default: first)\n"
        "  --wait LIST         poll: both ends spin; block: both sleep, as in an event loop; bare: "
        "in\n"
        "                      a call that waits; adaptive: shmd_wait() as it is by default, "
        "which\n"
        "                      spins a little first (default: poll)\n"
        "  --cpus A,B          where the two ends run (default: the first two)\n"
        "  --seconds N         for each row of each run (default: 2)\n"
        "  --runs N            of which the one in the middle is shown (default: "
        "3)\n" OUTPUTS_USAGE;

static int measure(const struct trials *trials, const struct trial *trial, struct figures *figures,
                   char *reason, uint32_t reason_size)
{
        struct link link = trial->link;
        uint64_t needed = link.transport->memory ? link.transport->memory(&link) : 0;
        uint64_t there = machine_memory_available();

        link.socket = trials->socket;
        link.track = trials->report.track;
        link.room = there / 10 * 8;
        if (needed > link.room) {
                snprintf(reason, reason_size, "needs %llu MiB of memory, %llu are available",
                         (unsigned long long)needed >> 20, (unsigned long long)there >> 20);
                return -ENOMEM;
        }
        return roundtrip_measure(&link, trial->rows[0].cpus, trial->seconds, figures, reason,
                                 reason_size);
}

static void add(struct trials *trials, const struct options *options, const struct link *link)
{
        struct trial *trial = trials_add(trials, options);
        struct row *row = &trial->rows[0];

        trial->link = *link;
        trial->measure = measure;
        trial->seconds = options->seconds;
        row->bench = "latency";
        row->transport = link->transport->name;
        row->wait = wait_name(link->wait);
        if (link->transport->is_bare)
                return;
        row->payload = link->payload;
        row->touch = link->touch == TOUCH_FIRST ? "first" : "all";
        trials->with_broker |= link->transport == &transport_shmd;
}

/* What has no payload has one row. */
static void add_bare(struct trials *trials, const struct options *options, enum wait wait)
{
        for (uint32_t t = 0; t < options->n_transports; t++) {
                const struct link link = {
                        .transport = options->transports[t],
                        .payload = sizeof(uint64_t),
                        .touch = TOUCH_FIRST,
                        .wait = wait,
                };

                if (link.transport->is_bare && link.transport->waits & wait)
                        add(trials, options, &link);
        }
}

static void add_touch(struct trials *trials, const struct options *options, enum wait wait,
                      enum touch touch)
{
        for (uint32_t p = 0; p < options->n_payloads; p++) {
                for (uint32_t t = 0; t < options->n_transports; t++) {
                        const struct link link = {
                                .transport = options->transports[t],
                                .payload = options->payloads[p],
                                .touch = touch,
                                .wait = wait,
                        };

                        if (!link.transport->is_bare && link.transport->waits & wait)
                                add(trials, options, &link);
                }
        }
}

static void add_wait(struct trials *trials, const struct options *options, enum wait wait)
{
        add_bare(trials, options, wait);
        for (enum touch touch = TOUCH_FIRST; touch <= TOUCH_ALL; touch++) {
                if (options->touches & touch)
                        add_touch(trials, options, wait, touch);
        }
}

void latency_add(struct trials *trials, const struct options *options)
{
        for (uint32_t i = 0; wait_names[i]; i++) {
                if (options->waits & 1u << i)
                        add_wait(trials, options, (enum wait)(1u << i));
        }
}

static int poll_check(const struct options *options)
{
        if (options->cpus[0] != options->cpus[1] || !(options->waits & WAIT_POLL))
                return 0;
        fprintf(stderr,
                "shmd-bench: --wait poll needs two CPUs: on one the two ends would spin against "
                "each other; --wait block can be measured there\n");
        return -EINVAL;
}

int latency_main(int argc, char **argv)
{
        struct options options = {
                .payloads = {64, 4 << 10, 64 << 10, 1 << 20},
                .n_payloads = 4,
                .touches = TOUCH_FIRST,
                .waits = WAIT_POLL,
                .seconds = 2,
                .runs = 3,
        };
        struct trials trials = {.name = "latency", .options = &options, .broker_cpu = CPU_ANY};
        int result;

        options_all_transports(&options);
        result = options_parse(&options,
                               OPTION_TRANSPORT | OPTION_PAYLOAD | OPTION_TOUCH | OPTION_WAIT |
                                       OPTION_SECONDS | OPTION_RUNS | OPTION_FILES,
                               usage, argc, argv);
        if (result == OPTIONS_HELP)
                return 0;
        if (result < 0 || poll_check(&options) < 0)
                return 2;
        return trials_run(&trials, latency_add);
}
