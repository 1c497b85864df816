/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resume.c - `shmd-bench resume`: how long does it take until everybody is back?
 *
 * Many clients, each a process; half of them advertise a service of their own, the others subscribe
 * to one each. Two times, taking turns:
 *
 *     fresh    to a broker that runs: from the word go until the last has connected, and has
 *              advertised or subscribed
 *     resume   the broker was killed, and its clients sleep: from when the next one's process is
 *              started until the last client has been taken over
 *
 * The second has the broker's start in it, the first has not. Afterwards each publisher publishes a
 * sample that its subscriber has to take.
 */
#include "commands.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <shmd/shmd.h>

#include "broker.h"
#include "clock.h"
#include "crew.h"
#include "process.h"
#include "stats.h"
#include "trial.h"

#define ASLEEP_NS   (20 * NS_PER_MS) /* until everybody does */
#define AWAY_NS     (50 * NS_PER_MS) /* there is no broker for so long */
#define PATIENCE_NS (30 * NS_PER_S)

enum { CLIENTS = 100 };

enum step { STEP_QUIT = CREW_QUIT, STEP_FRESH, STEP_RESUME, STEP_SAMPLE, STEP_CLOSE };

static const char usage[] =
        "Usage: shmd-bench resume [OPTIONS]\n"
        "\n"
        "How long it takes until 100 clients have been taken over by the next broker after theirs\n"
        "was killed, beside how long 100 fresh ones take to connect and to advertise or "
        "subscribe:\n"
        "50 services, each with a publisher and a subscriber, all of them processes that sleep.\n"
        "\n"
        "  --count N           times of each kind in each run (default: 20)\n"
        "  --cpus A,B          the publishers', the subscribers'; the broker is not pinned\n"
        "                      (default: the first two)\n"
        "  --runs N            of which the one in the middle is shown (default: "
        "3)\n" OUTPUTS_USAGE;

struct token {
        uint64_t number;
        double values[7];
};

SHMD_TYPE(token_type, struct token, SHMD_FIELD(struct token, number),
          SHMD_ARRAY(struct token, values));

/* ---- a client ---------------------------------------------------------------------------- */

struct client {
        const struct member *member;
        const char *socket;
        struct shmd *bus;
        struct shmd_publisher *publisher; /* one of these */
        struct shmd_subscriber *subscriber;
};

static int client_fresh(struct client *client)
{
        struct shmd_connect_options connect = {
                .size = sizeof(connect), .socket = client->socket, .spin_ns = SHMD_SPIN_NEVER};
        char service[32];
        int result = shmd_connect(&client->bus, &connect);

        snprintf(service, sizeof(service), "bench/resume/%u", client->member->index / 2);
        if (result < 0)
                return result;
        return client->member->index % 2 ? shmd_subscribe(&client->subscriber, client->bus, service,
                                                          &token_type, NULL)
                                         : shmd_advertise(&client->publisher, client->bus, service,
                                                          &token_type, NULL);
}

/* Sleeps until its broker has died and another has taken over. */
static int client_resume(struct client *client)
{
        bool was_lost = false;

        while (!was_lost || !shmd_connected(client->bus)) {
                int result = shmd_wait(client->bus, SHMD_FOREVER);

                if (result < 0 && result != -ENOTCONN)
                        return result;
                was_lost |= result == -ENOTCONN;
        }
        return 0;
}

static int client_publish(struct client *client)
{
        void *data;
        int result = shmd_loan(client->publisher, &data);

        if (result < 0)
                return result;
        ((struct token *)data)->number = client->member->index;
        return shmd_publish(client->publisher, data);
}

static int client_take(struct client *client)
{
        struct shmd_sample sample;
        int result;

        while ((result = shmd_take(client->subscriber, &sample)) == 0) {
                result = shmd_wait(client->bus, SHMD_FOREVER);
                if (result < 0)
                        break;
        }
        if (result < 0)
                return result;
        if (((const struct token *)sample.data)->number + 1 != client->member->index)
                return -EBADMSG;
        return shmd_release(client->subscriber, &sample);
}

static int client_do(struct client *client, uint32_t step)
{
        switch (step) {
        case STEP_FRESH:
                return client_fresh(client);
        case STEP_RESUME:
                return client_resume(client);
        case STEP_SAMPLE:
                return client->subscriber ? client_take(client) : client_publish(client);
        case STEP_CLOSE:
                shmd_close(client->bus);
                client->bus = NULL;
        }
        return 0;
}

static int client_live(const struct member *member, void *user)
{
        struct client client = {.member = member, .socket = user};

        for (uint32_t step; (step = member_await(member)) != STEP_QUIT;) {
                int result = client_do(&client, step);

                if (result < 0)
                        return member_failed(member, result, "a %s: %s",
                                             member->index % 2 ? "subscriber" : "publisher",
                                             shmd_error());
                member_done(member);
        }
        return 0;
}

/* ---- the coordinator --------------------------------------------------------------------- */

struct course {
        const struct trials *trials;
        const struct trial *trial;
        struct broker broker;
        struct crew *crew;
        char *reason;
        uint32_t reason_size;
};

static int await(const struct course *course, uint64_t *last_ns)
{
        return crew_await(course->crew, PATIENCE_NS, last_ns, course->reason, course->reason_size);
}

/* An untimed step of all. */
static int take_step(const struct course *course, enum step step)
{
        crew_order(course->crew, step);
        return await(course, NULL);
}

static int fresh(const struct course *course, uint64_t *took_ns)
{
        uint64_t begin = crew_order(course->crew, STEP_FRESH), last;
        int result = await(course, &last);

        if (result >= 0)
                *took_ns = last - begin;
        return result;
}

static int resume(struct course *course, uint64_t *took_ns)
{
        uint64_t begin, last;
        int result;

        crew_order(course->crew, STEP_RESUME);
        result = process_sleep(ASLEEP_NS);
        if (result < 0)
                return result;
        broker_kill(&course->broker);
        result = process_sleep(AWAY_NS);
        begin = clock_ns();
        if (result >= 0)
                result = broker_start_again(&course->broker);
        if (result >= 0)
                result = await(course, &last);
        if (result >= 0)
                *took_ns = last - begin;
        return result;
}

/* With a broker of its own, since one that has followed another keeps newcomers waiting. */
static int both(struct course *course, uint64_t took_ns[2])
{
        int result = broker_start_beside(&course->broker, course->trials->directory,
                                         course->trials->options->broker, CPU_ANY);

        if (result < 0) {
                snprintf(course->reason, course->reason_size, "the broker does not start");
                return result;
        }
        result = fresh(course, &took_ns[1]);
        if (result >= 0)
                result = resume(course, &took_ns[0]);
        if (result >= 0)
                result = take_step(course, STEP_SAMPLE);
        if (result >= 0)
                result = take_step(course, STEP_CLOSE);
        broker_stop(&course->broker);
        return result;
}

/* One time that does not count, then those that do. */
static int take_turns(struct course *course, struct histogram *const *times)
{
        int result = 0;

        for (uint32_t i = 0; i < 1 + course->trial->count && result >= 0; i++) {
                uint64_t took_ns[2];

                result = both(course, took_ns);
                for (uint32_t r = 0; r < 2 && result >= 0 && i > 0; r++)
                        histogram_add(times[r], took_ns[r]);
        }
        return result;
}

static int measure(const struct trials *trials, const struct trial *trial, struct figures *figures,
                   char *reason, uint32_t reason_size)
{
        struct course course = {
                .trials = trials, .trial = trial, .reason = reason, .reason_size = reason_size};
        struct histogram *times[2] = {histogram_new(), histogram_new()};
        char socket[sizeof(course.broker.socket)];
        int result = times[0] && times[1] ? 0 : -ENOMEM;

        broker_address_beside(trials->directory, socket, sizeof(socket));
        if (result >= 0)
                result =
                        crew_start(&course.crew, CLIENTS, trial->rows[0].cpus, client_live, socket);
        if (result < 0)
                snprintf(reason, reason_size, "%u processes can't be started", CLIENTS);
        else
                result = take_turns(&course, times);
        for (uint32_t r = 0; r < 2; r++) {
                figures_init(&figures[r]);
                if (result >= 0)
                        figures_of_times(&figures[r], times[r]);
                free(times[r]);
        }
        crew_end(course.crew);
        return result;
}

static void conclude(const struct trial *trial, FILE *file)
{
        if (trial->rows[0].reason[0])
                return;
        fprintf(file,
                "\nresume: %u clients are back in %.2f times what %u fresh ones take, by p50\n",
                CLIENTS, trial->rows[0].figures.p50_ns / trial->rows[1].figures.p50_ns, CLIENTS);
}

void resume_add(struct trials *trials, const struct options *options)
{
        struct trial *trial = trials_add(trials, options);

        trials->with_broker = true; /* and its directory */
        trial->measure = measure;
        trial->conclude = conclude;
        trial->count = options->count;
        trial->n_rows = 2;
        trial->seconds = 0.3 * (options->count + 1);
        for (uint32_t r = 0; r < 2; r++) {
                trial->rows[r].bench = r == 0 ? "resume" : "resume-fresh";
                trial->rows[r].transport = "shmd";
                trial->rows[r].wait = "block";
                trial->rows[r].payload = sizeof(struct token);
                trial->rows[r].subscribers = CLIENTS / 2;
        }
}

int resume_main(int argc, char **argv)
{
        struct options options = {.runs = 3, .count = 20};
        struct trials trials = {.name = "resume", .options = &options, .broker_cpu = CPU_ANY};
        int result = options_parse(&options, OPTION_COUNT | OPTION_RUNS | OPTION_FILES, usage, argc,
                                   argv);

        if (result == OPTIONS_HELP)
                return 0;
        return result < 0 ? 2 : trials_run(&trials, resume_add);
}
