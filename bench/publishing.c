/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publishing.c - one process publishes, another reads, and only the first is timed.
 *
 * One publish is loan, a write of 8 bytes, publish. It is too short for the clock, so a batch of
 * them is timed as one; there are no figures of single ones. All subscribers live in one
 * process on the other CPU: *idle* ones take once per millisecond and never arm, *polling*
 * ones spin. The floor stands beside it in slices, as for round trips.
 *
 * *Back to back*, a publisher that outruns the lines which a spinning reader has just read waits
 * for them, publish after publish: what is measured is how fast two CPUs hand lines to each other.
 * *Paced*, it works between two publishes, and its stores go out meanwhile: what is measured is by
 * how much publishing makes that work longer. Batches with publishes and batches of the same work
 * alone take turns,
 *
 *     work  work + publish  work  work + publish  work ...
 *           '- its cost: by how much it took longer than the middle of its two neighbours
 *
 * so that a CPU that changes speed changes it for both.
 */
#include "publishing.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <shmd/shmd.h>

#include "baseline.h"
#include "clock.h"
#include "ends.h"
#include "slice.h"

#define SLICE_NS  (50 * NS_PER_MS)
#define ROUND_NS  (90 * NS_PER_MS) /* a slice and its floors */
#define GRACE_NS  (60 * NS_PER_S)
#define ATTACH_NS (10 * NS_PER_S)

enum {
        CALLS = 1000, /* of a batch back to back */
        WARM_UP_CALLS = 100000,
        SLICES_MIN = 3,
};

/*
 * Of a batch with gaps, which takes PACED_NS where it can. That is short beside what comes back
 * every millisecond (interrupts, readers that wake), so that most batches see none of it and the
 * middle of their differences is that of batches without; were it as long, the work alone might
 * meet it each time and the publishes never. And the batch is so long that a publish of several ns
 * makes it longer by many times what the clock steps by and varies by, some ten ns.
 */
#define PACED_NS (100 * NS_PER_US)
enum {
        PACED_CALLS_MIN = 10,
        PACED_CALLS_MAX = 100,
};

static const char service[] = "bench/publish";

static struct shmd_type type_of(const struct publishing *plan)
{
        return (struct shmd_type){
                .name = "bench payload",
                .size = plan->payload,
                .alignment = 8,
        };
}

static uint32_t calls_of(const struct publishing *plan)
{
        if (!plan->gap_ns)
                return CALLS;
        return (uint32_t)fmin(fmax(PACED_NS / plan->gap_ns, PACED_CALLS_MIN), PACED_CALLS_MAX);
}

/* ---- work between two publishes ------------------------------------------------------------ */

enum {
        WORK_ROUNDS = 20,
        WORK_STEPS = 50000, /* a round: long for the clock, mostly short of an interrupt */
};

/*
 * Operations of which each needs the one before, all in registers: it reads no clock, meets no
 * other CPU's memory and does not pause, so that the stores of a publish go out while it runs, as
 * they do under any other work. `state` is anything but 0; the next time it is what this returns.
 * Not inlined: alone and between publishes it must be the same instructions.
 */
__attribute__((noinline)) static uint64_t spend(uint64_t state, uint64_t steps)
{
        for (; steps; steps--) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
        }
        /* It is done, and here, also where nobody needs the result. */
        __asm__ volatile("" : "+r"(state));
        return state;
}

/* How many steps take about as long on this thread's CPU, at least one. */
static uint64_t steps_of(uint64_t gap_ns)
{
        uint64_t best = UINT64_MAX, state = 1, steps;

        for (int round = 0; round < WORK_ROUNDS; round++) {
                uint64_t start = clock_ns(), took;

                state = spend(state, WORK_STEPS);
                took = clock_ns() - start;
                best = took < best ? took : best;
        }
        steps = (gap_ns * WORK_STEPS + best / 2) / (best ? best : 1);
        return steps ? steps : 1;
}

/* ---- the publisher ----------------------------------------------------------------------- */

struct lead {
        struct ends *ends;
        struct baseline baseline;
        struct shmd *bus;
        struct shmd_publisher *publisher;
        uint64_t next;  /* sequence of the next sample, which it also carries */
        uint32_t calls; /* publishes of a batch */
        uint64_t steps; /* of work between two; 0: they are back to back */
        uint64_t state; /* of that work */
        struct histogram *batches, *kept;
};

static int failed(char *reason, int result, const char *text)
{
        snprintf(reason, sizeof(((struct ends *)0)->reasons[0]), "%s", text);
        return result;
}

static inline int publish_one(struct lead *lead)
{
        void *data;
        int result = shmd_loan(lead->publisher, &data);

        if (result >= 0) {
                memcpy(data, &lead->next, sizeof(lead->next));
                lead->next++;
                result = shmd_publish(lead->publisher, data);
        }
        return result < 0 ? failed(lead->ends->reasons[0], result, shmd_error()) : 0;
}

static int publish_some(struct lead *lead, uint32_t count)
{
        int result = 0;

        for (uint32_t i = 0; i < count && result >= 0; i++)
                result = publish_one(lead);
        return result;
}

/* A batch with gaps; without `publish`, of the gaps alone. Both are the same otherwise. */
static int work_some(struct lead *lead, bool publish, uint64_t *took_ns)
{
        uint64_t start = clock_ns();
        int result = 0;

        for (uint32_t i = 0; i < lead->calls && result >= 0; i++) {
                lead->state = spend(lead->state, lead->steps);
                if (publish)
                        result = publish_one(lead);
        }
        *took_ns = clock_ns() - start;
        return result;
}

static int measure_back_to_back(struct lead *lead, uint64_t end)
{
        uint64_t start = clock_ns();
        int result = 0;

        while (result >= 0 && start < end) {
                uint64_t before = start;

                result = publish_some(lead, lead->calls);
                start = clock_ns();
                histogram_add(lead->batches, start - before);
        }
        return result;
}

static int measure_paced(struct lead *lead, uint64_t end)
{
        uint64_t before = 0, batch = 0, after = 0;
        int result = work_some(lead, false, &before);

        while (result >= 0 && clock_ns() < end) {
                result = work_some(lead, true, &batch);
                if (result >= 0)
                        result = work_some(lead, false, &after);
                if (result >= 0)
                        histogram_add(lead->batches, difference_between(before, batch, after));
                before = after;
        }
        return result;
}

static int slice_measure(void *user)
{
        struct lead *lead = user;
        uint64_t end = clock_ns() + SLICE_NS;
        int result;

        ends_order(lead->ends, ORDER_READ, 0, 0);
        result = publish_some(lead, WARM_UP_CALLS);
        if (result >= 0)
                result = lead->steps ? measure_paced(lead, end) : measure_back_to_back(lead, end);
        return result; /* the follower reads until the floor is its next order */
}

static int slice_floor(void *user, bool after, double *p50_ns)
{
        struct lead *lead = user;

        *p50_ns = baseline_measure(&lead->baseline);
        return 0;
}

static void slice_settle(void *user, bool keep)
{
        struct lead *lead = user;
        double p50_ns = histogram_middle(lead->batches) / lead->calls;

        if (keep)
                histogram_merge(lead->kept, lead->batches);
        histogram_clear(lead->batches);
        baseline_settle(&lead->baseline, keep, p50_ns);
}

static int lead_open(struct lead *lead, const struct publishing *plan)
{
        struct shmd_connect_options connect = {.size = sizeof(connect), .socket = plan->socket};
        struct shmd_publisher_options options = {
                .size = sizeof(options),
                .max_subscribers = plan->n_subscribers,
        };
        const struct shmd_type type = type_of(plan);
        int result = shmd_connect(&lead->bus, &connect);

        if (result >= 0)
                result = shmd_advertise(&lead->publisher, lead->bus, service, &type, &options);
        if (result < 0)
                return failed(lead->ends->reasons[0], result, shmd_error());
        return 0;
}

/* All of them, before anything is timed. Many are introduced in groups, as this side reads. */
static int lead_expect(struct lead *lead, uint32_t n_subscribers)
{
        uint64_t limit = clock_ns() + ATTACH_NS;
        struct shmd_publisher_state status = {0};

        for (;;) {
                int result = shmd_publisher_status(lead->publisher, &status);

                if (result < 0)
                        return failed(lead->ends->reasons[0], result, shmd_error());
                if (status.subscribers == n_subscribers)
                        return 0;
                if (clock_ns() > limit)
                        return failed(lead->ends->reasons[0], -ETIMEDOUT,
                                      "the publisher doesn't come to see all its subscribers");
                nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
        }
}

static int figures_fill(struct lead *lead, const struct slice_count *count)
{
        struct figures *figures = &lead->ends->figures;

        figures->p50_ns = histogram_quantile(lead->kept, QUANTILE_50) / lead->calls;
        if (figures->p50_ns <= 0)
                return failed(lead->ends->reasons[0], -ERANGE,
                              "the work takes no longer with publishes in it than without");
        if (!lead->steps) /* a mean of differences is one of interrupts */
                figures->mean_ns = histogram_mean(lead->kept) / lead->calls;
        figures->floor_p50_ns = baseline_p50(&lead->baseline);
        figures->ratio_to_floor = baseline_ratio(&lead->baseline);
        figures->samples = lead->kept->count * lead->calls;
        figures->slices_kept = count->kept;
        figures->slices_discarded = count->discarded;
        return 0;
}

static int lead_measure(struct lead *lead, const struct publishing *plan)
{
        struct slice_source source = {
                .floor = slice_floor,
                .measure = slice_measure,
                .settle = slice_settle,
                .user = lead,
        };
        struct slice_count count;
        double wanted = fmax(plan->seconds * NS_PER_S / ROUND_NS, SLICES_MIN);
        int result = lead_open(lead, plan);

        ends_meet(lead->ends); /* the service is there: they may subscribe */
        if (result >= 0)
                result = lead_expect(lead, plan->n_subscribers);
        ends_meet(lead->ends); /* all are attached, here and there */
        if (result >= 0)
                result = slices_take(&source, (uint32_t)wanted, &count);
        if (result >= 0)
                result = figures_fill(lead, &count);
        return result;
}

static int lead_run(struct ends *ends, const void *user)
{
        const struct publishing *plan = user;
        struct lead lead = {
                .ends = ends,
                .next = 1,
                .calls = calls_of(plan),
                .steps = plan->gap_ns ? steps_of(plan->gap_ns) : 0,
                .state = 1,
        };
        int result = baseline_init(&lead.baseline, ends, plan->track);

        lead.batches = histogram_new();
        lead.kept = histogram_new();
        if (result < 0 || !lead.batches || !lead.kept)
                result = failed(ends->reasons[0], -ENOMEM, "no memory for histograms");
        if (result >= 0)
                result = lead_measure(&lead, plan);
        if (result >= 0)
                ends_order(ends, ORDER_QUIT, 0, 0);
        shmd_close(lead.bus);
        baseline_deinit(&lead.baseline);
        free(lead.batches);
        free(lead.kept);
        return result;
}

/* ---- the subscribers --------------------------------------------------------------------- */

struct follower {
        struct ends *ends;
        const struct publishing *plan;
        struct shmd *bus;
        struct shmd_subscriber *subscribers[SUBSCRIBERS_MAX];
};

static int follower_expect(struct shmd_subscriber *subscriber)
{
        uint64_t limit = clock_ns() + ATTACH_NS;
        struct shmd_subscriber_state status = {0};

        while (clock_ns() < limit) {
                int result = shmd_subscriber_status(subscriber, &status);

                if (result < 0 || status.publishers == 1)
                        return result;
                nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
        }
        return -ETIMEDOUT;
}

static int follower_open(struct follower *follower)
{
        const struct publishing *plan = follower->plan;
        struct shmd_connect_options connect = {.size = sizeof(connect), .socket = plan->socket};
        const struct shmd_type type = type_of(plan);
        int result = shmd_connect(&follower->bus, &connect);

        for (uint32_t i = 0; i < plan->n_subscribers && result >= 0; i++)
                result = shmd_subscribe(&follower->subscribers[i], follower->bus, service, &type,
                                        NULL);
        for (uint32_t i = 0; i < plan->n_subscribers && result >= 0; i++)
                result = follower_expect(follower->subscribers[i]);
        if (result == -ETIMEDOUT)
                return failed(follower->ends->reasons[1], result,
                              "a subscriber doesn't come to see its publisher");
        if (result < 0)
                return failed(follower->ends->reasons[1], result, shmd_error());
        return 0;
}

/* Takes one sample, if there is one, and lets go of it. @return 1, 0, or negative. */
static inline int take_one(struct follower *follower, struct shmd_subscriber *subscriber)
{
        struct shmd_sample sample;
        uint64_t carried;
        int result = shmd_take(subscriber, &sample);

        if (result == 0)
                return 0;
        if (result < 0)
                return failed(follower->ends->reasons[1], result, shmd_error());
        memcpy(&carried, sample.data, sizeof(carried));
        if (carried != sample.sequence)
                return failed(follower->ends->reasons[1], -EBADMSG,
                              "a sample carries another number than its own");
        result = shmd_release(subscriber, &sample);
        if (result < 0)
                return failed(follower->ends->reasons[1], result, shmd_error());
        return 1;
}

/* `idle` is a constant where this is used. */
static inline int read_until_ordered(struct follower *follower, const struct work *work, bool idle)
{
        uint32_t n = follower->plan->n_subscribers;

        while (!ends_ordered(follower->ends, work)) {
                for (uint32_t i = 0; i < n; i++) {
                        int result = take_one(follower, follower->subscribers[i]);

                        if (result < 0)
                                return result;
                        if (result == 0 && !idle)
                                clock_pause();
                }
                if (idle)
                        nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
        }
        return 0;
}

/* Subscribers that take nothing cost nothing: that would not be what was asked for. */
static int follower_has_read(const struct follower *follower)
{
        struct shmd_subscriber_state status = {0};

        for (uint32_t i = 0; i < follower->plan->n_subscribers; i++) {
                int result = shmd_subscriber_status(follower->subscribers[i], &status);

                if (result < 0)
                        return failed(follower->ends->reasons[1], result, shmd_error());
                if (status.taken == 0)
                        return failed(follower->ends->reasons[1], -ENODATA,
                                      "a subscriber that spins has taken nothing");
        }
        return 0;
}

static int follower_run(struct ends *ends, const void *user)
{
        struct follower follower = {.ends = ends, .plan = user};
        struct work work = {0};
        int result;

        ends_meet(ends);
        result = follower_open(&follower);
        if (result >= 0)
                ends_meet(ends);
        while (result >= 0 && ends_obey(ends, &work)) {
                if (follower.plan->readers == READERS_POLL)
                        result = read_until_ordered(&follower, &work, false);
                else
                        result = read_until_ordered(&follower, &work, true);
        }
        if (result >= 0 && follower.plan->readers == READERS_POLL)
                result = follower_has_read(&follower);
        shmd_close(follower.bus);
        return result;
}

/* ---- both -------------------------------------------------------------------------------- */

int publishing_measure(const struct publishing *plan, const int *cpus, struct figures *figures,
                       char *reason, uint32_t reason_size)
{
        struct ends_job job = {
                .lead = lead_run,
                .follow = follower_run,
                .user = plan,
                .cpus = {cpus[0], cpus[1]},
                .timeout_ns = GRACE_NS + (uint64_t)(10 * plan->seconds * NS_PER_S),
        };

        return ends_run(&job, figures, NULL, reason, reason_size);
}
