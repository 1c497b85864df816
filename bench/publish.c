/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publish.c - `shmd-bench publish`: with how many subscribers, and what do they do?
 */
#include "commands.h"

#include <errno.h>
#include <stdio.h>

#include "process.h"
#include "publishing.h"
#include "trial.h"

static const char usage[] =
        "Usage: shmd-bench publish [OPTIONS]\n"
        "\n"
        "What loan, a write of 8 bytes and publish cost the publisher, together: back to back, or\n"
        "with other work between one and the next, by which that work becomes longer.\n"
        "\n"
        "  --subscribers LIST  how many there are, all in one process (default: 1,64)\n"
        "  --readers LIST      idle: each takes once per millisecond and never arms; poll: they\n"
        "                      spin (default: idle)\n"
        "  --gap NS            of work between two publishes, up to 10000 (default: 0, back to "
        "back)\n"
        "  --payload LIST      bytes of a sample (default: 64)\n"
        "  --cpus A,B          the publisher's and the subscribers' (default: the first two)\n"
        "  --seconds N         for each row of each run (default: 2)\n"
        "  --runs N            of which the one in the middle is shown (default: "
        "3)\n" OUTPUTS_USAGE;

static int measure(const struct trials *trials, const struct trial *trial, struct figures *figures,
                   char *reason, uint32_t reason_size)
{
        const struct publishing plan = {
                .socket = trials->socket,
                .payload = trial->rows[0].payload,
                .n_subscribers = trial->rows[0].subscribers,
                .readers = trial->publish.readers,
                .gap_ns = trial->publish.gap_ns,
                .seconds = trial->seconds,
                .track = trials->report.track,
        };

        return publishing_measure(&plan, trial->rows[0].cpus, figures, reason, reason_size);
}

static void add(struct trials *trials, const struct options *options, enum readers readers,
                uint32_t subscribers, uint64_t payload)
{
        struct trial *trial = trials_add(trials, options);
        struct row *row = &trial->rows[0];

        trial->measure = measure;
        trial->publish.readers = readers;
        trial->publish.gap_ns = options->gap_ns;
        trial->seconds = options->seconds;
        row->bench = options->gap_ns ? "publish-paced" : "publish";
        row->transport = "shmd";
        row->touch = "first";
        row->wait = readers == READERS_IDLE ? "idle" : "poll";
        row->payload = payload;
        row->subscribers = subscribers;
}

static void add_readers(struct trials *trials, const struct options *options, enum readers readers)
{
        for (uint32_t p = 0; p < options->n_payloads; p++) {
                for (uint32_t s = 0; s < options->n_subscribers; s++)
                        add(trials, options, readers, (uint32_t)options->subscribers[s],
                            options->payloads[p]);
        }
}

void publish_add(struct trials *trials, const struct options *options)
{
        trials->with_broker = true;
        if (options->readers & READERS_IDLE)
                add_readers(trials, options, READERS_IDLE);
        if (options->readers & READERS_POLL)
                add_readers(trials, options, READERS_POLL);
}

int publish_main(int argc, char **argv)
{
        struct options options = {
                .payloads = {64},
                .n_payloads = 1,
                .subscribers = {1, 64},
                .n_subscribers = 2,
                .readers = READERS_IDLE,
                .seconds = 2,
                .runs = 3,
        };
        struct trials trials = {.name = "publish", .options = &options, .broker_cpu = CPU_ANY};
        int result =
                options_parse(&options,
                              OPTION_SUBSCRIBERS | OPTION_READERS | OPTION_GAP | OPTION_PAYLOAD |
                                      OPTION_SECONDS | OPTION_RUNS | OPTION_FILES,
                              usage, argc, argv);

        if (result == OPTIONS_HELP)
                return 0;
        if (result >= 0 && options.cpus[0] == options.cpus[1]) {
                fprintf(stderr, "shmd-bench: publish needs two CPUs: the subscribers have to run "
                                "while the publisher does\n");
                result = -EINVAL;
        }
        if (result < 0)
                return 2;
        return trials_run(&trials, publish_add);
}
