/* SPDX-License-Identifier: Apache-2.0 */
/*
 * publishing.c - one process publishes, another reads, and only the first is timed.
 *
 * One publish is loan, a write of 8 bytes, publish. It is too short for the clock, so
 * CALLS of them are timed as one; there are no figures of single ones. All subscribers live in one
 * process on the other CPU: *idle* ones take once per millisecond and never arm, *polling*
 * ones spin. The floor stands beside it in slices, as for round trips.
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
        CALLS = 1000,
        WARM_UP_CALLS = 100000,
        SLICES_MIN = 3,
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

/* ---- the publisher ----------------------------------------------------------------------- */

struct lead {
        struct ends *ends;
        struct baseline baseline;
        struct shmd *bus;
        struct shmd_publisher *publisher;
        uint64_t next;     /* sequence of the next sample, which it also carries */
        uint64_t batch_ns; /* estimate */
        struct histogram *batches, *kept;
};

static int failed(char *reason, int result, const char *text)
{
        snprintf(reason, sizeof(((struct ends *)0)->reasons[0]), "%s", text);
        return result;
}

static inline int publish_some(struct lead *lead, uint32_t count)
{
        for (uint32_t i = 0; i < count; i++) {
                void *data;
                int result = shmd_loan(lead->publisher, &data);

                if (result >= 0) {
                        memcpy(data, &lead->next, sizeof(lead->next));
                        lead->next++;
                        result = shmd_publish(lead->publisher, data);
                }
                if (result < 0)
                        return failed(lead->ends->reasons[0], result, shmd_error());
        }
        return 0;
}

static int slice_measure(void *user)
{
        struct lead *lead = user;
        uint64_t start, began, n_batches = 0;
        int result;

        ends_order(lead->ends, ORDER_READ, 0, 0);
        began = clock_ns();
        result = publish_some(lead, WARM_UP_CALLS);
        for (start = clock_ns(); result >= 0 && start - began < SLICE_NS; n_batches++) {
                uint64_t before = start;

                result = publish_some(lead, CALLS);
                start = clock_ns();
                histogram_add(lead->batches, start - before);
        }
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
        double p50_ns = histogram_middle(lead->batches) / CALLS;

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

static void figures_fill(struct lead *lead, const struct slice_count *count)
{
        struct figures *figures = &lead->ends->figures;

        figures->p50_ns = histogram_quantile(lead->kept, QUANTILE_50) / CALLS;
        figures->mean_ns = histogram_mean(lead->kept) / CALLS;
        figures->floor_p50_ns = baseline_p50(&lead->baseline);
        figures->ratio_to_floor = baseline_ratio(&lead->baseline);
        figures->samples = lead->kept->count * CALLS;
        figures->slices_kept = count->kept;
        figures->slices_discarded = count->discarded;
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
                figures_fill(lead, &count);
        return result;
}

static int lead_run(struct ends *ends, const void *user)
{
        const struct publishing *plan = user;
        struct lead lead = {.ends = ends, .next = 1};
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
