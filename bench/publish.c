/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publish.c - `shmd-bench publish`: with how many subscribers, and what do they do?
 */
#include "commands.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "process.h"
#include "publishing.h"
#include "trial.h"

/* Both kinds of readers, each with all payloads and numbers of subscribers. */
enum { ROWS_MAX = 2 * LIST_MAX * LIST_MAX };

static const char usage[] =
        "Usage: shmd-bench publish [OPTIONS]\n"
        "\n"
        "What loan, a write of 8 bytes and publish cost the publisher, together.\n"
        "\n"
        "  --subscribers LIST  how many there are, all in one process (default: 1,64)\n"
        "  --readers LIST      idle: each takes once per millisecond and never arms; poll: they\n"
        "                      spin (default: idle)\n"
        "  --payload LIST      bytes of a sample (default: 64)\n"
        "  --cpus A,B          the publisher's and the subscribers' (default: the first two)\n"
        "  --seconds N         for each row of each run (default: 2)\n"
        "  --runs N            of which the one in the middle is shown (default: 3)\n"
        "  --json FILE         the figures for programs as well; - is standard output\n"
        "  --broker PATH       the shmd to start (default: the one built beside, or in $PATH)\n";

static int measure(const struct trials *trials, const struct trial *trial, struct figures *figures,
                   char *reason, uint32_t reason_size)
{
        const struct publishing plan = {
                .socket = trials->socket,
                .payload = trial->rows[0].payload,
                .n_subscribers = trial->rows[0].subscribers,
                .readers = trial->readers,
                .seconds = trials->options->seconds,
        };

        return publishing_measure(&plan, trials->options->cpus, figures, reason, reason_size);
}

static void add(struct trials *trials, enum readers readers, uint32_t subscribers, uint64_t payload)
{
        struct trial *trial = trials_add(trials);
        struct row *row = &trial->rows[0];

        trial->readers = readers;
        trial->seconds = trials->options->seconds;
        row->bench = "publish";
        row->transport = "shmd";
        row->touch = "first";
        row->wait = readers == READERS_IDLE ? "idle" : "poll";
        row->payload = payload;
        row->subscribers = subscribers;
}

static void add_all(struct trials *trials, enum readers readers)
{
        const struct options *options = trials->options;

        for (uint32_t p = 0; p < options->n_payloads; p++) {
                for (uint32_t s = 0; s < options->n_subscribers; s++)
                        add(trials, readers, (uint32_t)options->subscribers[s],
                            options->payloads[p]);
        }
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
        struct trials trials = {
                .name = "publish",
                .options = &options,
                .with_broker = true,
                .broker_cpu = CPU_ANY,
                .measure = measure,
        };
        int result = options_parse(
                &options, OPTION_SUBSCRIBERS | OPTION_READERS | OPTION_PAYLOAD | OPTION_SECONDS,
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
        trials.list = calloc(ROWS_MAX, sizeof(*trials.list));
        if (!trials.list)
                return 1;
        if (options.readers & READERS_IDLE)
                add_all(&trials, READERS_IDLE);
        if (options.readers & READERS_POLL)
                add_all(&trials, READERS_POLL);
        result = trials_run(&trials);
        free(trials.list);
        return result;
}
