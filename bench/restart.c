/* SPDX-License-Identifier: Apache-2.0 */
/*
 * restart.c - `shmd-bench restart`: does a sample notice that the broker dies and comes back?
 *
 * Publishers and subscribers of one service, each a process, exchange samples at a steady rate.
 * Time is cut into windows, in every second of which the broker is killed and started anew. A
 * window is over when its time is, and everybody has come back; each sample says in which it was
 * due.
 *
 * A sample's latency counts from when it was due, not from when it was sent: a publisher whom the
 * restart keeps busy is late, and that is latency, too. Publishers sleep outside of the library
 * between two samples, so what they have to do to come back is done inside of the calls that
 * publish; subscribers sleep inside, in shmd_wait() that does not spin. All of that is the worst
 * case.
 *
 * Every subscriber wants every number of every publisher, once, and in order: otherwise there is no
 * figure but a failure.
 */
#include "commands.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>

#include <shmd/shmd.h>

#include "broker.h"
#include "clock.h"
#include "crew.h"
#include "process.h"
#include "stats.h"
#include "trial.h"

#define SERVICE     "bench/restart"
#define WINDOW_NS   (500 * NS_PER_MS)
#define WARM_UP_NS  (300 * NS_PER_MS)
#define KILL_AT_NS  (50 * NS_PER_MS) /* after the window's begin */
#define AWAY_NS     (50 * NS_PER_MS) /* there is no broker for so long */
#define LOOK_NS     NS_PER_MS
#define PATIENCE_NS (10 * NS_PER_S)

enum {
        SIDE = 4, /* publishers, and subscribers */
        CLIENTS = 2 * SIDE,
        BEHIND_S = 4, /* a subscriber may be behind by so many seconds of samples */
};

enum step { STEP_OPEN = 1, STEP_FLOW, STEP_CLOSE };

/* Where a sample belongs. */
enum window { WINDOW_NONE, WINDOW_CALM, WINDOW_RESTART, N_WINDOWS };

static const char usage[] =
        "Usage: shmd-bench restart [OPTIONS]\n"
        "\n"
        "How long a sample takes while the broker is killed and started anew, beside how long it\n"
        "takes otherwise: 4 publishers and 4 subscribers of one service, each a process, at a\n"
        "steady rate, in windows of half a second, with a restart in every second of them.\n"
        "Latency counts from when a sample was due. A sample that is lost, comes twice or out of\n"
        "order is a failure.\n"
        "\n"
        "  --rate N            samples a second of each publisher, 100 to 10000 (default: 1000)\n"
        "  --count N           windows of each kind in each run (default: 8)\n"
        "  --cpus A,B          the publishers', the subscribers'; the broker is not pinned\n"
        "                      (default: the first two)\n"
        "  --runs N            of which the one in the middle is shown (default: "
        "3)\n" OUTPUTS_USAGE;

struct tick {
        uint64_t number;
        uint64_t due_ns; /* on clock_ns() */
        uint32_t window;
        uint32_t is_last;
        uint64_t values[5];
};

SHMD_TYPE(tick_type, struct tick, SHMD_FIELD(struct tick, number), SHMD_FIELD(struct tick, due_ns),
          SHMD_FIELD(struct tick, window), SHMD_FIELD(struct tick, is_last),
          SHMD_ARRAY(struct tick, values));

/* Shared by all. */
struct load {
        const char *socket; /* the broker's */
        uint32_t rate;
        _Atomic uint32_t window, window_before;
        _Atomic uint64_t window_ns; /* when it began, on clock_ns() */
        _Atomic uint32_t is_over;
        struct {
                _Alignas(64) _Atomic uint32_t n_returns; /* from a broker's death */
        } clients[CLIENTS];
        struct histogram latencies[SIDE][N_WINDOWS]; /* of each subscriber */
};

/* A member, with its own view of the broker. */
struct client {
        const struct member *member;
        struct load *load;
        struct shmd *bus;
        bool was_lost;
};

/* ---- both sides -------------------------------------------------------------------------- */

static int client_failed(const struct client *client, int result)
{
        return member_failed(client->member, result, "%s", shmd_error());
}

static int client_open(struct client *client)
{
        struct shmd_connect_options connect = {.size = sizeof(connect),
                                               .socket = client->load->socket,
                                               .spin_ns = SHMD_SPIN_NEVER};
        int result = shmd_connect(&client->bus, &connect);

        return result < 0 ? client_failed(client, result) : 0;
}

/* Notes when the broker has gone and when another has taken over. */
static void client_look(struct client *client)
{
        if (!shmd_connected(client->bus)) {
                client->was_lost = true;
        } else if (client->was_lost) {
                client->was_lost = false;
                atomic_fetch_add(&client->load->clients[client->member->index].n_returns, 1);
        }
}

/* ---- a publisher ------------------------------------------------------------------------- */

/* Also of a sample that is sent when its window is over. */
static uint32_t window_of(const struct load *load, uint64_t due_ns)
{
        return due_ns >= atomic_load(&load->window_ns) ? atomic_load(&load->window)
                                                       : atomic_load(&load->window_before);
}

static int publish_one(struct client *client, struct shmd_publisher *publisher, uint64_t number,
                       uint64_t due_ns, bool is_last)
{
        void *data;
        int result = shmd_loan(publisher, &data);

        if (result < 0)
                return client_failed(client, result);
        *(struct tick *)data = (struct tick){
                .number = number,
                .due_ns = due_ns,
                .window = window_of(client->load, due_ns),
                .is_last = is_last,
        };
        result = shmd_publish(publisher, data);
        return result < 0 ? client_failed(client, result) : 0;
}

static int publish_steadily(struct client *client, struct shmd_publisher *publisher)
{
        const struct load *load = client->load;
        uint64_t gap_ns = NS_PER_S / load->rate, number = 0;
        /* The publishers take turns within a gap. */
        uint64_t due_ns = clock_ns() + gap_ns * (client->member->index / 2) / SIDE;
        bool is_over;
        int result;

        do {
                struct timespec due = {.tv_sec = (time_t)(due_ns / NS_PER_S),
                                       .tv_nsec = (long)(due_ns % NS_PER_S)};

                while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR)
                        ;
                is_over = atomic_load(&client->load->is_over);
                result = publish_one(client, publisher, ++number, due_ns, is_over);
                client_look(client);
                due_ns += gap_ns; /* also if it is late: then the next is sent at once */
        } while (result >= 0 && !is_over);
        return result;
}

static int publisher_live(struct client *client)
{
        const struct member *member = client->member;
        struct shmd_publisher_options options = {
                .size = sizeof(options),
                .depth = BEHIND_S * client->load->rate,
        };
        struct shmd_publisher *publisher;
        int result;

        prctl(PR_SET_TIMERSLACK, 1ul);
        result = shmd_advertise(&publisher, client->bus, SERVICE, &tick_type, &options);
        if (result < 0)
                return client_failed(client, result);
        member_done(member);
        member_await(member);
        return publish_steadily(client, publisher);
}

/* ---- a subscriber ------------------------------------------------------------------------ */

/* What has come of one publisher. */
struct sender {
        uint64_t id; /* 0: a free place */
        uint64_t last;
        bool is_over;
};

static struct sender *sender_find(struct sender *senders, uint64_t id)
{
        for (uint32_t i = 0; i < SIDE; i++) {
                if (!senders[i].id)
                        senders[i].id = id;
                if (senders[i].id == id)
                        return &senders[i];
        }
        return NULL;
}

static int check(struct client *client, struct sender *sender, const struct shmd_sample *sample)
{
        const struct tick *tick = sample->data;

        if (!sender)
                return member_failed(client->member, -EBADMSG,
                                     "there are more publishers than were started");
        if (tick->number != sample->sequence)
                return member_failed(client->member, -EBADMSG, "sample %llu says that it is %llu",
                                     (unsigned long long)sample->sequence,
                                     (unsigned long long)tick->number);
        if (sample->lost || tick->number != sender->last + 1)
                return member_failed(
                        client->member, -EBADMSG, "after sample %llu came %llu: %s, %llu lost",
                        (unsigned long long)sender->last, (unsigned long long)tick->number,
                        tick->number == sender->last  ? "a duplicate"
                        : tick->number < sender->last ? "disorder"
                                                      : "a gap",
                        (unsigned long long)sample->lost);
        sender->last = tick->number;
        sender->is_over = tick->is_last;
        return 0;
}

/* @return how many publishers are over; negative. */
static int take_all(struct client *client, struct shmd_subscriber *subscriber,
                    struct sender *senders)
{
        struct histogram *latencies = client->load->latencies[client->member->index / 2];
        struct shmd_sample sample;
        int result, n_over = 0;

        while ((result = shmd_take(subscriber, &sample)) == 1) {
                const struct tick *tick = sample.data;
                uint64_t now = clock_ns();

                result = check(client, sender_find(senders, sample.publisher), &sample);
                if (result < 0)
                        return result;
                if (tick->window < N_WINDOWS)
                        histogram_add(&latencies[tick->window],
                                      now > tick->due_ns ? now - tick->due_ns : 0);
                shmd_release(subscriber, &sample);
        }
        if (result < 0)
                return client_failed(client, result);
        for (uint32_t i = 0; i < SIDE; i++)
                n_over += senders[i].is_over;
        return n_over;
}

static int take_steadily(struct client *client, struct shmd_subscriber *subscriber)
{
        struct sender senders[SIDE] = {0};
        int result;

        do {
                result = shmd_wait(client->bus, SHMD_FOREVER);
                if (result == -ENOTCONN)
                        client->was_lost = true;
                else if (result < 0)
                        return client_failed(client, result);
                client_look(client);
                result = take_all(client, subscriber, senders);
        } while (result >= 0 && result < SIDE);
        return result;
}

static int subscriber_live(struct client *client)
{
        const struct member *member = client->member;
        struct shmd_subscriber *subscriber;
        int result;

        result = shmd_subscribe(&subscriber, client->bus, SERVICE, &tick_type, NULL);
        if (result < 0)
                return client_failed(client, result);
        member_done(member);
        member_await(member);
        return take_steadily(client, subscriber);
}

static int client_live(const struct member *member, void *user)
{
        struct client client = {.member = member, .load = user};
        int result;

        member_await(member);
        result = client_open(&client);
        if (result == 0)
                result = member->index % 2 ? subscriber_live(&client) : publisher_live(&client);
        if (result < 0)
                return result;
        member_done(member);
        member_await(member);
        shmd_close(client.bus);
        member_done(member);
        return 0;
}

/* ---- the coordinator --------------------------------------------------------------------- */

struct course {
        const struct trial *trial;
        struct broker broker;
        struct crew *crew;
        struct load *load;
        char *reason;
        uint32_t reason_size;
};

static int doze(const struct course *course, uint64_t until_ns)
{
        int result = 0;

        for (uint64_t now; result >= 0 && (now = clock_ns()) < until_ns;) {
                uint64_t left = until_ns - now;

                result = process_sleep(left < 10 * LOOK_NS ? left : 10 * LOOK_NS);
                if (result >= 0)
                        result = crew_look(course->crew, course->reason, course->reason_size);
        }
        return result;
}

static int await_returns(const struct course *course, uint32_t n_restarts)
{
        uint64_t end = clock_ns() + PATIENCE_NS;

        for (uint32_t i = 0; i < CLIENTS;) {
                int result;

                if (atomic_load(&course->load->clients[i].n_returns) >= n_restarts) {
                        i++;
                        continue;
                }
                result = doze(course, clock_ns() + LOOK_NS);
                if (result >= 0 && clock_ns() >= end) {
                        snprintf(course->reason, course->reason_size,
                                 "a %s has not come back to the broker's successor",
                                 i % 2 ? "subscriber" : "publisher");
                        result = -ETIMEDOUT;
                }
                if (result < 0)
                        return result;
        }
        return 0;
}

static void window_begin(struct load *load, enum window window)
{
        atomic_store(&load->window_before, atomic_load(&load->window));
        atomic_store(&load->window_ns, clock_ns());
        atomic_store(&load->window, window);
}

static int window_calm(const struct course *course)
{
        window_begin(course->load, WINDOW_CALM);
        return doze(course, clock_ns() + WINDOW_NS);
}

static int window_restart(struct course *course, uint32_t n_restarts)
{
        uint64_t begin = clock_ns();
        int result;

        window_begin(course->load, WINDOW_RESTART);
        result = doze(course, begin + KILL_AT_NS);
        if (result < 0)
                return result;
        broker_kill(&course->broker);
        result = doze(course, begin + KILL_AT_NS + AWAY_NS);
        if (result >= 0)
                result = broker_start_again(&course->broker);
        if (result >= 0)
                result = doze(course, begin + WINDOW_NS);
        return result < 0 ? result : await_returns(course, n_restarts);
}

static int windows_all(struct course *course)
{
        int result = doze(course, clock_ns() + WARM_UP_NS);

        for (uint32_t i = 0; i < course->trial->restart.count && result >= 0; i++) {
                result = window_calm(course);
                if (result >= 0)
                        result = window_restart(course, i + 1);
        }
        window_begin(course->load, WINDOW_NONE);
        return result;
}

static int run_crew(struct course *course)
{
        int result;

        crew_order(course->crew, STEP_OPEN);
        result = crew_await(course->crew, PATIENCE_NS, NULL, course->reason, course->reason_size);
        if (result < 0)
                return result;
        crew_order(course->crew, STEP_FLOW);
        result = windows_all(course);
        if (result < 0)
                return result;
        atomic_store(&course->load->is_over, 1);
        result = crew_await(course->crew, PATIENCE_NS, NULL, course->reason, course->reason_size);
        if (result < 0)
                return result;
        crew_order(course->crew, STEP_CLOSE);
        return crew_await(course->crew, PATIENCE_NS, NULL, course->reason, course->reason_size);
}

/* rows[0] are the windows with a restart. */
static void fill(const struct load *load, struct figures *figures)
{
        static const enum window of_row[] = {WINDOW_RESTART, WINDOW_CALM};
        static struct histogram all;

        for (uint32_t r = 0; r < 2; r++) {
                histogram_clear(&all);
                for (uint32_t i = 0; i < SIDE; i++)
                        histogram_merge(&all, &load->latencies[i][of_row[r]]);
                figures_of_times(&figures[r], &all);
        }
}

static int measure_load(const struct trials *trials, struct course *course)
{
        int result = broker_start_beside(&course->broker, trials->directory,
                                         trials->options->broker, CPU_ANY);

        if (result < 0) {
                snprintf(course->reason, course->reason_size, "the broker does not start");
                return result;
        }
        course->load->socket = course->broker.socket;
        result = crew_start(&course->crew, CLIENTS, course->trial->rows[0].cpus, client_live,
                            course->load);
        if (result < 0)
                snprintf(course->reason, course->reason_size, "the processes can't be started");
        else
                result = run_crew(course);
        crew_end(course->crew);
        broker_stop(&course->broker);
        return result;
}

static int measure(const struct trials *trials, const struct trial *trial, struct figures *figures,
                   char *reason, uint32_t reason_size)
{
        struct course course = {.trial = trial, .reason = reason, .reason_size = reason_size};
        int result;

        for (uint32_t r = 0; r < 2; r++)
                figures_init(&figures[r]);
        course.load = mmap(NULL, sizeof(*course.load), PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (course.load == MAP_FAILED) {
                snprintf(reason, reason_size, "no memory");
                return -ENOMEM;
        }
        course.load->rate = trial->restart.rate;
        for (uint32_t i = 0; i < SIDE * N_WINDOWS; i++)
                histogram_clear(&course.load->latencies[i / N_WINDOWS][i % N_WINDOWS]);
        result = measure_load(trials, &course);
        if (result >= 0)
                fill(course.load, figures);
        munmap(course.load, sizeof(*course.load));
        return result;
}

static void conclude(const struct trial *trial, FILE *file)
{
        const struct figures *with = &trial->rows[0].figures, *without = &trial->rows[1].figures;

        if (trial->rows[0].reason[0])
                return;
        fprintf(file,
                "\nrestart: no gap, duplicate or disorder in %llu samples taken; p99.9 in windows "
                "with a restart is ",
                (unsigned long long)(with->samples + without->samples));
        if (with->p999_ns > 0 && without->p999_ns > 0)
                fprintf(file, "%.2f times that in windows without\n",
                        with->p999_ns / without->p999_ns);
        else
                fprintf(file, "of too few samples to say\n");
}

void restart_add(struct trials *trials, const struct options *options)
{
        struct trial *trial = trials_add(trials, options);

        trials->with_broker = true; /* and its directory */
        trial->measure = measure;
        trial->conclude = conclude;
        trial->by_tail = true;
        trial->restart.count = options->count;
        trial->restart.rate = options->rate;
        trial->n_rows = 2;
        trial->seconds = 2.0 * options->count * WINDOW_NS / NS_PER_S + 0.6;
        for (uint32_t r = 0; r < 2; r++) {
                trial->rows[r].bench = r == 0 ? "restart" : "restart-calm";
                trial->rows[r].transport = "shmd";
                trial->rows[r].wait = "block";
                trial->rows[r].payload = sizeof(struct tick);
                trial->rows[r].subscribers = SIDE;
        }
}

int restart_main(int argc, char **argv)
{
        struct options options = {.runs = 3, .count = 8, .rate = 1000};
        struct trials trials = {.name = "restart", .options = &options, .broker_cpu = CPU_ANY};
        int result =
                options_parse(&options, OPTION_COUNT | OPTION_RATE | OPTION_RUNS | OPTION_FILES,
                              usage, argc, argv);

        if (result == OPTIONS_HELP)
                return 0;
        return result < 0 ? 2 : trials_run(&trials, restart_add);
}
