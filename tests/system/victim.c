/* SPDX-License-Identifier: Apache-2.0 */
/* victim.c - plans, steps, records and figures for tests in which somebody dies. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "victim.h"

volatile struct death_plan *victim_plan, *broker_plan;
volatile struct record *record;

static unsigned n_injections;
static uint64_t random_state;

/* ---- plans ------------------------------------------------------------------------------- */

static void *map_shared(int fd, size_t size)
{
        void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                            fd < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED, fd, 0);

        must(memory != MAP_FAILED);
        return memory;
}

void victims_init(int argc, char **argv)
{
        /* Passed on to the broker's program, so it stays open over exec. */
        int fd = memfd_create("death-plan", 0);
        char number[16];

        harness_init(argc, argv);
        must(fd >= 0);
        must_equal(ftruncate(fd, sizeof(*broker_plan)), 0);
        broker_plan = map_shared(fd, sizeof(*broker_plan));
        snprintf(number, sizeof(number), "%d", fd);
        must_equal(setenv("SHMD_DEATH_PLAN", number, 1), 0);
        victim_plan = map_shared(-1, sizeof(*victim_plan));
        record = map_shared(-1, sizeof(*record));
}

void plan_set(volatile struct death_plan *plan, uint32_t kinds, int signal, uint64_t n)
{
        record->id = record->began = record->done = record->is_leaving = 0;
        plan->kinds = 0;
        plan->passed = 0;
        plan->at = n;
        plan->signal = signal;
        plan->kinds = kinds;
}

/* ---- steps ------------------------------------------------------------------------------- */

void victim_begin(void)
{
        death_plan = victim_plan;
}

void victim_step(char what)
{
        say(what);
        hear('k');
}

static bool has_stopped(pid_t pid)
{
        siginfo_t info = {.si_pid = 0};

        /* Its end is left for victim_end(). */
        return waitid(P_PID, (id_t)pid, &info, WSTOPPED | WNOHANG) == 0 && info.si_pid == pid;
}

char victim_asks(struct role *role)
{
        struct pollfd entry = {.fd = role->from, .events = POLLIN};
        uint64_t deadline = harness_now() + PATIENCE_NS;

        while (harness_now() < deadline) {
                char what = '\0';

                if (poll(&entry, 1, 1) > 0)
                        return read(role->from, &what, 1) == 1 ? what : '\0';
                if (has_stopped(role->pid))
                        return VICTIM_STOPPED;
        }
        must(!"the victim has asked, ended or stopped");
        return '\0';
}

void victim_answer(struct role *role)
{
        role_tell(role, 'k');
}

int victim_end(struct role *role)
{
        int status = child_finish(role->pid);

        close(role->to);
        close(role->from);
        role->pid = 0;
        return status;
}

/* ---- what was published ------------------------------------------------------------------ */

void *victim_loan(struct shmd_publisher *publisher)
{
        struct shmd_publisher_state status;
        void *data;

        if (!record->id) {
                must_equal(shmd_publisher_status(publisher, &status), 0);
                record->id = status.id;
        }
        must_equal(shmd_loan(publisher, &data), 0);
        return data;
}

void victim_publish(struct shmd_publisher *publisher, void *loan)
{
        uint64_t number = record->done + 1;

        record->began = number;
        memset(loan, 0xd0, sizeof(struct stamped) / 2);
        death_point(DEATH_STORE);
        stamped_fill(loan, record->id, number);
        must_equal(shmd_publish(publisher, loan), 0);
        record->done = number;
}

/* ---- what is still there ----------------------------------------------------------------- */

uint32_t n_publishers(struct shmd_subscriber *subscriber)
{
        return status_of(subscriber).publishers;
}

static void count_listing(void *user, const struct shmd_listing *listing)
{
        struct census *census = user;

        census->n_publishers += listing->what == SHMD_LISTED_PUBLISHER;
        census->n_subscribers += listing->what == SHMD_LISTED_SUBSCRIBER;
        if (listing->what == SHMD_LISTED_PUBLISHER)
                census->n_read += listing->subscribers;
        if (listing->what == SHMD_LISTED_SUBSCRIBER)
                census->n_reading += listing->publishers;
}

struct census take_census(struct shmd *bus)
{
        struct census census = {0};

        must_equal(shmd_list(bus, count_listing, &census), 0);
        return census;
}

void renew_broker(void)
{
        broker_spawn(NULL);
        broker_terminate(SIGTERM);
        broker_spawn(NULL);
}

void await_snapshot(pid_t pid, const struct snapshot *was, const char *whose)
{
        uint64_t deadline = harness_now() + PATIENCE_NS;
        struct snapshot is;

        for (;;) {
                snapshot_take(&is, pid);
                if (snapshot_equal(was, &is))
                        return;
                if (harness_now() >= deadline)
                        break;
                poll(NULL, 0, 1);
        }
        snapshot_explain(whose, was, &is);
        must(!"nothing was left behind");
}

/* ---- figures ----------------------------------------------------------------------------- */

void injected(unsigned n)
{
        static uint64_t told;

        n_injections += n;
        if (!harness_is_long || harness_now() - told < 1000 * MS)
                return;
        told = harness_now();
        fprintf(stderr, "injections so far: %u\n", n_injections);
}

void injections_print(void)
{
        print_message("injections: %u\n", n_injections);
        must(n_injections);
        n_injections = 0;
}

void random_start(void)
{
        const char *given = getenv("SHMD_SEED");

        random_state = given ? strtoull(given, NULL, 0) : harness_now();
        print_message("seed: %llu (repeat with SHMD_SEED)\n", (unsigned long long)random_state);
}

uint64_t random_below(uint64_t bound)
{
        /* splitmix64, by S. Vigna. */
        uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);

        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        return (z ^ z >> 31) % bound;
}
