/* SPDX-License-Identifier: Apache-2.0 */
/* stage.c - opens, uses and closes the two sides. */
#include <stdio.h>
#include <string.h>

#include "stage.h"

/* Enough for every chunk to be reclaimed, twice. */
#define N_SAMPLES 100

static void note(void *user, const struct shmd_peer *peer, int present)
{
        struct news *news = user;

        if (present)
                news->come++;
        else
                news->gone++;
}

/* `user` is one for both callbacks of a subscriber. */
static void note_publisher(void *user, const struct shmd_peer *peer, int present)
{
        note(&((struct side *)user)->publishers, peer, present);
}

static void note_subscriber(void *user, const struct shmd_peer *peer, int present)
{
        note(&((struct side *)user)->subscribers, peer, present);
}

static void take_some(void *user, struct shmd_subscriber *subscriber)
{
        struct side *side = user;

        if (side->subscriber == subscriber)
                tally_take_all(&side->tally, subscriber);
}

int side_connect(struct side *side, uv_loop_t *loop)
{
        struct shmd_connect_options options = {
                .size = sizeof(options), .socket = broker.socket, .loop = loop};

        return side->bus ? 0 : shmd_connect(&side->bus, &options);
}

int side_advertise(struct side *side)
{
        struct shmd_publisher_options options = {
                .size = sizeof(options), .on_subscriber = note_subscriber, .user = side};

        if (side->publisher)
                return 0;
        side->n_published = 0;
        memset(&side->subscribers, 0, sizeof(side->subscribers));
        return shmd_advertise(&side->publisher, side->bus, STAGE_SERVICE, stamped_type, &options);
}

int side_subscribe(struct side *side)
{
        struct shmd_subscriber_options options = {.size = sizeof(options),
                                                  .history = 1,
                                                  .on_sample = take_some,
                                                  .on_publisher = note_publisher,
                                                  .user = side};

        if (side->subscriber)
                return 0;
        memset(&side->tally, 0, sizeof(side->tally));
        memset(&side->publishers, 0, sizeof(side->publishers));
        return shmd_subscribe(&side->subscriber, side->bus, STAGE_SERVICE, stamped_type, &options);
}

int side_publish(struct side *side)
{
        struct shmd_publisher_state status;
        void *data = NULL;
        int code = shmd_publisher_status(side->publisher, &status);

        if (code == 0)
                code = shmd_loan(side->publisher, &data);
        if (code < 0)
                return code;
        stamped_fill(data, status.id, status.published + 1);
        code = shmd_publish(side->publisher, data);
        if (code == 0)
                side->n_published = status.published + 1;
        return code;
}

int side_take(struct side *side, unsigned n)
{
        struct shmd_sample sample;
        int code = 0;

        for (unsigned i = 0; i < n || code > 0; i++) {
                code = shmd_take(side->subscriber, &sample);
                if (code < 0)
                        return code;
                if (code == 0)
                        continue;
                tally_add(&side->tally, &sample);
                code = shmd_release(side->subscriber, &sample);
                if (code < 0)
                        return code;
                code = 1;
        }
        return 0;
}

void stage_open(struct stage *stage, bool uses_loop)
{
        memset(stage, 0, sizeof(*stage));
        stage->blocks_before = faults_blocks();
        snapshot_take(&stage->before, 0);
        stage->uses_loop = uses_loop;
        if (uses_loop)
                must_equal(uv_loop_init(&stage->loop), 0);
        must_equal(side_connect(&stage->me, uses_loop ? &stage->loop : NULL), 0);
        must_equal(side_connect(&stage->peer, NULL), 0);
}

void stage_turn(struct stage *stage)
{
        if (stage->uses_loop)
                uv_run(&stage->loop, UV_RUN_NOWAIT);
        else if (stage->me.bus)
                must(shmd_wait(stage->me.bus, 0) >= 0);
        must(shmd_wait(stage->peer.bus, 0) >= 0);
}

static bool is_two(const struct stage *stage, unsigned n)
{
        return n >= 2 && n <= 2 + stage->n_unheard;
}

static bool all_have_met(struct stage *stage)
{
        struct side *sides[] = {&stage->me, &stage->peer};

        stage_turn(stage);
        for (unsigned i = 0; i < 2; i++) {
                struct shmd_publisher_state publisher;
                struct shmd_subscriber_state subscriber;

                must_equal(shmd_publisher_status(sides[i]->publisher, &publisher), 0);
                must_equal(shmd_subscriber_status(sides[i]->subscriber, &subscriber), 0);
                must_equal(subscriber.refused, 0);
                if (!is_two(stage, publisher.subscribers) || subscriber.publishers != 2)
                        return false;
        }
        return true;
}

/* What came and did not go. */
static bool all_were_told(struct stage *stage, const struct side *side)
{
        stage_turn(stage);
        return side->publishers.come - side->publishers.gone == 2 &&
               is_two(stage, side->subscribers.come - side->subscribers.gone);
}

static bool has_everything(struct stage *stage, struct side *side)
{
        struct side *sides[] = {&stage->me, &stage->peer};

        stage_turn(stage);
        must_equal(side_take(side, 1), 0);
        for (unsigned i = 0; i < 2; i++) {
                struct shmd_publisher_state publisher;

                must_equal(shmd_publisher_status(sides[i]->publisher, &publisher), 0);
                if (tally_last(&side->tally, publisher.id) != sides[i]->n_published)
                        return false;
        }
        return true;
}

void stage_check(struct stage *stage)
{
        struct side *sides[] = {&stage->me, &stage->peer};

        must_equal(side_connect(&stage->me, stage->uses_loop ? &stage->loop : NULL), 0);
        must(shmd_connected(stage->me.bus));
        must(shmd_connected(stage->peer.bus));
        for (unsigned i = 0; i < 2; i++) {
                must_equal(side_advertise(sides[i]), 0);
                must_equal(side_subscribe(sides[i]), 0);
        }
        until(all_have_met(stage));
        for (unsigned i = 0; i < 2; i++)
                until(all_were_told(stage, sides[i]));
        for (unsigned n = 0; n < N_SAMPLES; n++)
                for (unsigned i = 0; i < 2; i++) {
                        must_equal(side_publish(sides[i]), 0);
                        must_equal(side_take(sides[1 - i], 1), 0);
                }
        for (unsigned i = 0; i < 2; i++)
                until(has_everything(stage, sides[i]));
}

void stage_close(struct stage *stage)
{
        struct snapshot now;

        shmd_close(stage->extra);
        shmd_close(stage->me.bus);
        shmd_close(stage->peer.bus);
        if (stage->uses_loop) {
                must_equal(uv_run(&stage->loop, UV_RUN_DEFAULT), 0);
                must_equal(uv_loop_close(&stage->loop), 0);
        }
        snapshot_take(&now, 0);
        if (!snapshot_equal(&now, &stage->before))
                snapshot_explain("the test", &stage->before, &now);
        must(snapshot_equal(&now, &stage->before));
        must_equal(faults_blocks(), stage->blocks_before);
}
