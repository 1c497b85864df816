/* SPDX-License-Identifier: Apache-2.0 */
/*
 * roundtrip.c - ping and pong, in slices, with the floor around each.
 *
 * Where a round trip is short, half of a slice are batches of BATCH round trips timed as one, which
 * give p50 and mean; a clock that steps by 10 ns and costs 20 can't time a single one of
 * 120 ns well enough for that. The other half are round trips timed singly, for p90 to max. Above
 * BATCHED_NS the clock doesn't matter and all are timed singly. One way is half of a round trip.
 */
#include "roundtrip.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "baseline.h"
#include "clock.h"
#include "ends.h"
#include "slice.h"

#define SLICE_NS     (50 * NS_PER_MS)
#define FLOORS_NS    (40 * NS_PER_MS) /* beside one slice, about */
#define CALIBRATE_NS (4 * NS_PER_MS)
#define BATCHED_NS   (20 * NS_PER_US) /* a clock that steps by 10 ns is 0.05 % off there */
#define GRACE_NS     (180 * NS_PER_S)

/* What spins, and so has round trips too short for the clock. */
enum { SPINNING = WAIT_POLL | WAIT_ADAPTIVE };

enum {
        SLICES_MIN = 3,
        ESTIMATE = 500,
        PATIENCE = 40, /* by how much a row of long round trips may exceed its seconds */
};

struct plan {
        const struct link *link;
        bool with_floor;
        double seconds;
};

struct lead {
        struct ends *ends;
        struct end end;
        struct baseline baseline;
        uint64_t next;          /* number of the next sample */
        uint64_t round_trip_ns; /* estimate */
        bool batched;
        uint32_t rouse; /* untimed at the start of a slice: until the follower is there */
        struct histogram *batches, *singles; /* of the slice that is being taken */
        struct histogram *kept_batches, *kept_singles;
};

static int run(struct lead *lead, enum order order, uint64_t count)
{
        lead->end.fill = order == ORDER_FILL;
        lead->end.pause = lead->ends->pause = lead->baseline.pause;
        ends_order(lead->ends, order, lead->next, count);
        return 0;
}

static int ping(struct lead *lead, uint64_t count)
{
        int result = lead->end.link->transport->ping(&lead->end, lead->next, count);

        lead->next += count;
        return result;
}

/* Reaches all memory that samples can lie in, then finds out how long a round trip takes. */
static int warm_up(struct lead *lead)
{
        uint64_t count = 1, took = 0;
        int result;

        run(lead, ORDER_FILL, lead->end.warmup);
        result = ping(lead, lead->end.warmup);
        for (; result >= 0 && took < CALIBRATE_NS; count *= 2) {
                uint64_t start;

                run(lead, ORDER_PONG, 1 + count);
                result = ping(lead, 1);
                if (result < 0)
                        break;
                start = clock_ns();
                result = ping(lead, count);
                took = clock_ns() - start;
                lead->round_trip_ns = took / count + 1;
        }
        lead->rouse = lead->round_trip_ns < SLICE_NS;
        lead->batched = lead->end.link->wait & SPINNING && lead->round_trip_ns < BATCHED_NS;
        return result;
}

static int measure_times(struct lead *lead, struct histogram *times, uint64_t n_times,
                         uint64_t round_trips)
{
        int result = 0;

        for (uint64_t i = 0; i < n_times && result >= 0; i++) {
                uint64_t start = clock_ns();

                result = ping(lead, round_trips);
                histogram_add(times, clock_ns() - start);
        }
        return result;
}

/* How long a round trip takes now, whatever it took in the slice before: some are done for that. */
static int estimate(struct lead *lead)
{
        uint64_t start;
        int result;

        if (!lead->batched)
                return 0;
        run(lead, ORDER_PONG, lead->rouse + ESTIMATE);
        result = ping(lead, lead->rouse);
        start = clock_ns();
        if (result >= 0)
                result = ping(lead, ESTIMATE);
        lead->round_trip_ns = (clock_ns() - start) / ESTIMATE + 1;
        return result;
}

static int slice_measure(void *user)
{
        struct lead *lead = user;
        uint64_t half, n_batches, n_singles, start;
        int result = estimate(lead);

        if (result < 0)
                return result;
        half = SLICE_NS / 2 / lead->round_trip_ns;
        n_batches = lead->batched ? half / BATCH + 1 : 0;
        n_singles = lead->batched ? half : SLICE_NS / lead->round_trip_ns;
        n_singles += n_singles == 0;
        run(lead, ORDER_PONG, lead->rouse + n_batches * BATCH + n_singles);
        result = ping(lead, lead->rouse);
        start = clock_ns();
        if (result >= 0)
                result = measure_times(lead, lead->batches, n_batches, BATCH);
        if (result >= 0)
                result = measure_times(lead, lead->singles, n_singles, 1);
        lead->round_trip_ns = (clock_ns() - start) / (n_batches * BATCH + n_singles) + 1;
        return result;
}

static int slice_floor(void *user, bool after, double *p50_ns)
{
        struct lead *lead = user;

        *p50_ns = baseline_measure(&lead->baseline);
        return 0;
}

static double slice_p50(const struct lead *lead)
{
        if (lead->batched)
                return histogram_middle(lead->batches) / (2 * BATCH);
        return histogram_middle(lead->singles) / 2;
}

static void slice_settle(void *user, bool keep)
{
        struct lead *lead = user;
        double p50_ns = slice_p50(lead);

        if (keep) {
                histogram_merge(lead->kept_batches, lead->batches);
                histogram_merge(lead->kept_singles, lead->singles);
        }
        histogram_clear(lead->batches);
        histogram_clear(lead->singles);
        baseline_settle(&lead->baseline, keep, p50_ns);
}

static void figures_fill(struct figures *figures, struct lead *lead,
                         const struct slice_count *count)
{
        const struct histogram *singles = lead->kept_singles;

        figures->p50_ns = histogram_quantile(singles, QUANTILE_50) / 2;
        figures->mean_ns = histogram_mean(singles) / 2;
        if (lead->batched) {
                figures->p50_ns = batches_one_way(lead->kept_batches);
                figures->mean_ns = histogram_mean(lead->kept_batches) / (2 * BATCH);
        }
        figures->p90_ns = histogram_quantile(singles, QUANTILE_90) / 2;
        figures->p99_ns = histogram_quantile(singles, QUANTILE_99) / 2;
        figures->p999_ns = histogram_quantile(singles, QUANTILE_999) / 2;
        figures->max_ns = histogram_max(singles) / 2;
        figures->samples = singles->count;
        figures->floor_p50_ns = baseline_p50(&lead->baseline);
        figures->ratio_to_floor = baseline_ratio(&lead->baseline);
        figures->slices_kept = count->kept;
        figures->slices_discarded = count->discarded;
}

/* As many as fill the time, but enough for a p50, unless that takes far too long. */
static uint32_t slices_wanted(const struct lead *lead, const struct plan *plan)
{
        double singles = fmax(floor((double)SLICE_NS / (double)lead->round_trip_ns), 1);
        double least = (double)quantile_needs(QUANTILE_50) / singles;
        double slice_ns = fmax(SLICE_NS, (double)lead->round_trip_ns);

        if (plan->with_floor)
                slice_ns += FLOORS_NS;
        least = fmax(least, SLICES_MIN);
        least = fmin(least, fmax(floor(PATIENCE * plan->seconds * NS_PER_S / slice_ns), 1));
        return (uint32_t)ceil(fmax(plan->seconds * NS_PER_S / slice_ns, least));
}

static int lead_measure(struct lead *lead, const struct plan *plan)
{
        struct slice_source source = {
                .floor = plan->with_floor ? slice_floor : NULL,
                .measure = slice_measure,
                .settle = slice_settle,
                .user = lead,
        };
        struct slice_count count;
        int result = warm_up(lead);

        if (result >= 0)
                result = slices_take(&source, slices_wanted(lead, plan), &count);
        if (result >= 0)
                figures_fill(&lead->ends->figures, lead, &count);
        return result;
}

static int lead_run(struct ends *ends, const void *user)
{
        const struct plan *plan = user;
        struct lead lead = {.ends = ends, .next = 1, .end = {.link = plan->link, .leads = true}};
        int result = baseline_init(&lead.baseline, ends, plan->link->track);

        lead.batches = histogram_new();
        lead.singles = histogram_new();
        lead.kept_batches = histogram_new();
        lead.kept_singles = histogram_new();
        if (result < 0 || !lead.batches || !lead.singles || !lead.kept_batches ||
            !lead.kept_singles)
                result = end_failed(&lead.end, -ENOMEM, "no memory for histograms");
        if (result >= 0)
                result = plan->link->transport->open(&lead.end);
        if (result >= 0) {
                ends_meet(ends);
                result = lead_measure(&lead, plan);
        }
        if (result < 0)
                snprintf(ends->reasons[0], sizeof(ends->reasons[0]), "%s", lead.end.reason);
        else
                ends_order(ends, ORDER_QUIT, 0, 0);
        plan->link->transport->close(&lead.end);
        baseline_deinit(&lead.baseline);
        free(lead.batches);
        free(lead.singles);
        free(lead.kept_batches);
        free(lead.kept_singles);
        return result;
}

static int follower_run(struct ends *ends, const void *user)
{
        const struct plan *plan = user;
        const struct transport *transport = plan->link->transport;
        struct end end = {.link = plan->link};
        int result = transport->open(&end);
        struct work work = {0};

        if (result >= 0)
                ends_meet(ends);
        while (result >= 0 && ends_obey(ends, &work)) {
                end.fill = work.order == ORDER_FILL;
                end.pause = ends->pause;
                result = transport->pong(&end, work.first, work.count);
        }
        if (result < 0)
                snprintf(ends->reasons[1], sizeof(ends->reasons[1]), "%s", end.reason);
        transport->close(&end);
        return result;
}

int roundtrip_measure(struct link *link, const int *cpus, double seconds, struct figures *figures,
                      char *reason, uint32_t reason_size)
{
        struct plan plan = {
                .link = link,
                .with_floor = cpus[0] != cpus[1],
                .seconds = seconds,
        };
        struct ends_job job = {
                .lead = lead_run,
                .follow = follower_run,
                .user = &plan,
                .cpus = {cpus[0], cpus[1]},
                .timeout_ns = GRACE_NS + (uint64_t)(3 * PATIENCE * seconds * NS_PER_S),
        };
        int result = 0;

        link->in[0] = link->in[1] = link->out[0] = link->out[1] = -1;
        link->memory = NULL;
        if (link->transport->create)
                result = link->transport->create(link);
        if (result < 0)
                snprintf(reason, reason_size, "%s", link->reason);
        else
                result = ends_run(&job, figures, NULL, reason, reason_size);
        if (link->transport->destroy)
                link->transport->destroy(link);
        return result;
}
