/* SPDX-License-Identifier: Apache-2.0 */
/*
 * join.c - `shmd-bench join`: how long does it take from nothing to the first sample?
 *
 * shmd: connect, advertise, subscribe, loan, write, publish, take; a type of 64 bytes, depth 8.
 * unix-stream: socket, connect, read the byte that the server sends to whom it accepts. Client on
 * one CPU, broker or server on the other, taking turns; a pause between two so that what a
 * closed connection leaves to be done is over when the next begins.
 */
#include "commands.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <shmd/shmd.h>

#include "clock.h"
#include "ends.h"
#include "process.h"
#include "stats.h"
#include "trial.h"

#define PAUSE_NS NS_PER_MS
#define FIRST_NS (5 * NS_PER_S) /* the sample has to be there by then */
#define GRACE_NS (60 * NS_PER_S)

enum { WARM_UP = 20, BACKLOG = 16 };

static const char usage[] =
        "Usage: shmd-bench join [OPTIONS]\n"
        "\n"
        "How long it takes from nothing to the first sample: connect, advertise, subscribe,\n"
        "publish, take; beside connect and the first byte over a Unix stream socket.\n"
        "\n"
        "  --count N           joins of each kind in each run (default: 300)\n"
        "  --cpus A,B          the client's, the broker's and server's (default: the first two)\n"
        "  --runs N            of which the one in the middle is shown (default: "
        "3)\n" OUTPUTS_USAGE;

/* 64 bytes, so that a join is that of an ordinary small type. */
struct greeting {
        uint64_t number;
        double values[7];
};

SHMD_TYPE(greeting_type, struct greeting, SHMD_FIELD(struct greeting, number),
          SHMD_ARRAY(struct greeting, values));

struct plan {
        const char *broker; /* socket */
        struct sockaddr_un server;
        uint32_t count;
};

static int failed(char *reason, int result, const char *what, const char *text)
{
        snprintf(reason, sizeof(((struct ends *)0)->reasons[0]), "%s: %s", what, text);
        return result;
}

/* ---- the Unix socket --------------------------------------------------------------------- */

static int server_run(struct ends *ends, const void *user)
{
        const struct plan *plan = user;
        const struct work none = {0};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd < 0 || bind(fd, (const struct sockaddr *)&plan->server, sizeof(plan->server)) < 0 ||
            listen(fd, BACKLOG) < 0)
                return failed(ends->reasons[1], -errno, "server", strerror(errno));
        ends_meet(ends);
        while (!ends_ordered(ends, &none)) {
                int client = accept(fd, NULL, NULL);

                if (client < 0 || send(client, "", 1, MSG_NOSIGNAL) < 0)
                        return failed(ends->reasons[1], -errno, "server", strerror(errno));
                close(client);
        }
        close(fd);
        unlink(plan->server.sun_path);
        return 0;
}

static int join_server(struct ends *ends, const struct plan *plan, uint64_t *took)
{
        uint64_t start = clock_ns();
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        char byte;

        if (fd < 0 ||
            connect(fd, (const struct sockaddr *)&plan->server, sizeof(plan->server)) < 0 ||
            read(fd, &byte, 1) != 1)
                return failed(ends->reasons[0], -EPIPE, "unix-stream", strerror(errno));
        *took = clock_ns() - start;
        close(fd);
        return 0;
}

/* ---- shmd -------------------------------------------------------------------------------- */

/* All that a program does before it has its first sample, its own. */
static int join_steps(struct shmd **bus, const struct plan *plan)
{
        struct shmd_connect_options connect = {.size = sizeof(connect), .socket = plan->broker};
        struct shmd_publisher *publisher;
        struct shmd_subscriber *subscriber;
        struct shmd_sample sample;
        uint64_t limit;
        void *data;
        int result = shmd_connect(bus, &connect);

        if (result >= 0)
                result = shmd_advertise(&publisher, *bus, "bench/join", &greeting_type, NULL);
        if (result >= 0)
                result = shmd_subscribe(&subscriber, *bus, "bench/join", &greeting_type, NULL);
        if (result >= 0)
                result = shmd_loan(publisher, &data);
        if (result < 0)
                return result;
        ((struct greeting *)data)->number = 1;
        result = shmd_publish(publisher, data);
        for (limit = clock_ns() + FIRST_NS; result >= 0 && clock_ns() < limit;) {
                result = shmd_take(subscriber, &sample);
                if (result == 1)
                        return ((const struct greeting *)sample.data)->number == 1 ? 0 : -EBADMSG;
        }
        return result < 0 ? result : -ETIMEDOUT;
}

static int join_broker(struct ends *ends, const struct plan *plan, uint64_t *took)
{
        struct shmd *bus = NULL;
        uint64_t start = clock_ns();
        int result = join_steps(&bus, plan);

        *took = clock_ns() - start;
        if (result < 0)
                failed(ends->reasons[0], result, strerror(-result), shmd_error());
        shmd_close(bus);
        return result;
}

/* ---- both -------------------------------------------------------------------------------- */

static int take_turns(struct ends *ends, const struct plan *plan, struct histogram *shmd,
                      struct histogram *stream)
{
        const struct timespec pause = {.tv_nsec = PAUSE_NS};

        for (uint32_t i = 0; i < WARM_UP + plan->count; i++) {
                uint64_t took[2];
                int result = join_broker(ends, plan, &took[0]);

                nanosleep(&pause, NULL);
                if (result >= 0)
                        result = join_server(ends, plan, &took[1]);
                nanosleep(&pause, NULL);
                if (result < 0)
                        return result;
                if (i >= WARM_UP) {
                        histogram_add(shmd, took[0]);
                        histogram_add(stream, took[1]);
                }
        }
        return 0;
}

static int client_run(struct ends *ends, const void *user)
{
        const struct plan *plan = user;
        struct histogram *shmd = histogram_new();
        struct histogram *stream = histogram_new();
        uint64_t last;
        int result = -ENOMEM;

        ends_meet(ends);
        if (shmd && stream)
                result = take_turns(ends, plan, shmd, stream);
        if (result >= 0) {
                figures_of_times(&ends->figures, shmd);
                figures_of_times(&ends->more, stream);
                ends_order(ends, ORDER_QUIT, 0, 0);
                result = join_server(ends, plan, &last); /* so that it wakes and sees that */
        }
        free(shmd);
        free(stream);
        return result;
}

static int measure(const struct trials *trials, const struct trial *trial, struct figures *figures,
                   char *reason, uint32_t reason_size)
{
        struct plan plan = {
                .broker = trials->socket,
                .server = {.sun_family = AF_UNIX},
                .count = trial->count,
        };
        struct ends_job job = {
                .lead = client_run,
                .follow = server_run,
                .user = &plan,
                .cpus = {trial->rows[0].cpus[0], trial->rows[0].cpus[1]},
                .timeout_ns = GRACE_NS + plan.count * NS_PER_S / 10,
        };

        snprintf(plan.server.sun_path, sizeof(plan.server.sun_path), "%s/byte", trials->directory);
        return ends_run(&job, &figures[0], &figures[1], reason, reason_size);
}

static void conclude(const struct trial *trial, FILE *file)
{
        if (trial->rows[0].reason[0])
                return;
        fprintf(file, "\njoin: %.2f times connect and first byte over a Unix socket, by p50\n",
                trial->rows[0].figures.p50_ns / trial->rows[1].figures.p50_ns);
}

void join_add(struct trials *trials, const struct options *options)
{
        struct trial *trial = trials_add(trials, options);

        trials->with_broker = true;
        trial->measure = measure;
        trial->conclude = conclude;
        trial->count = options->count;
        trial->n_rows = 2;
        trial->seconds = 2.0 * (options->count + WARM_UP) * 1.2e-3;
        for (uint32_t r = 0; r < 2; r++) {
                trial->rows[r].bench = "join";
                trial->rows[r].wait = "block";
                trial->rows[r].transport = r == 0 ? "shmd" : "unix-stream";
                trial->rows[r].payload = r == 0 ? sizeof(struct greeting) : 1;
        }
}

int join_main(int argc, char **argv)
{
        struct options options = {.runs = 3, .count = 300};
        struct trials trials = {.name = "join", .options = &options};
        int result = options_parse(&options, OPTION_COUNT | OPTION_RUNS | OPTION_FILES, usage, argc,
                                   argv);

        if (result == OPTIONS_HELP)
                return 0;
        if (result < 0)
                return 2;
        trials.broker_cpu = options.cpus[1];
        return trials_run(&trials, join_add);
}
