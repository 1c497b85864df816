/* SPDX-License-Identifier: Apache-2.0 */
/* scenes.c - the scenes, and the loop that plays them. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "scenes.h"

#define TAKES_WITH_A_LOOK 130 /* two looks for news from the broker among them */

/* ---- what is prepared ------------------------------------------------------------------- */

static void nothing(struct stage *stage)
{
}

static void peer_is_there(struct stage *stage)
{
        must_equal(side_advertise(&stage->peer), 0);
        must_equal(side_subscribe(&stage->peer), 0);
        must_equal(side_publish(&stage->peer), 0);
}

/* I am there first; who comes is not known yet. */
static void peer_has_come(struct stage *stage)
{
        must_equal(side_advertise(&stage->me), 0);
        must_equal(side_subscribe(&stage->me), 0);
        peer_is_there(stage);
        broker_settle(stage->peer.bus);
}

static void all_is_set(struct stage *stage)
{
        stage_check(stage);
}

static void peer_has_left(struct stage *stage)
{
        stage_check(stage);
        shmd_publisher_close(stage->peer.publisher);
        shmd_subscriber_close(stage->peer.subscriber);
        stage->peer.publisher = NULL;
        stage->peer.subscriber = NULL;
        broker_settle(stage->peer.bus);
}

static void peer_sleeps(struct stage *stage)
{
        stage_check(stage);
        stage->peer_fd = shmd_fd(stage->peer.bus);
        must(stage->peer_fd >= 0);
        while (shmd_prepare(stage->peer.bus) != 0)
                must(shmd_dispatch(stage->peer.bus) >= 0);
}

/* ---- what is done ----------------------------------------------------------------------- */

static int connect_once(struct stage *stage)
{
        struct shmd_connect_options options = {.size = sizeof(options), .socket = broker.socket};

        return shmd_connect(&stage->extra, &options);
}

static int connect_in_a_loop(struct stage *stage)
{
        struct shmd_connect_options options = {
                .size = sizeof(options), .socket = broker.socket, .loop = &stage->loop};

        return shmd_connect(&stage->extra, &options);
}

static int advertise(struct stage *stage)
{
        return side_advertise(&stage->me);
}

static int subscribe(struct stage *stage)
{
        return side_subscribe(&stage->me);
}

static int publish_many(struct stage *stage)
{
        struct shmd_publisher_state status;
        void *data;
        int code = 0;

        for (unsigned i = 0; i < 100 && code == 0; i++) {
                code = side_publish(&stage->me);
                if (code == 0)
                        code = shmd_loan(stage->me.publisher, &data);
                if (code == 0)
                        code = shmd_discard(stage->me.publisher, data);
        }
        return code ? code : shmd_publisher_status(stage->me.publisher, &status);
}

static int take_many(struct stage *stage)
{
        struct shmd_subscriber_state status;
        int code = side_take(&stage->me, TAKES_WITH_A_LOOK);

        return code ? code : shmd_subscriber_status(stage->me.subscriber, &status);
}

static int wait_a_moment(struct stage *stage)
{
        int code = shmd_wait(stage->me.bus, 0);

        if (code >= 0)
                code = shmd_wait(stage->me.bus, MS / 10);
        if (code >= 0)
                code = shmd_wait(stage->me.bus, MS / 10);
        return code < 0 ? code : 0;
}

static int poll_and_dispatch(struct stage *stage)
{
        int code = shmd_fd(stage->me.bus);

        if (code >= 0)
                code = shmd_prepare(stage->me.bus);
        if (code >= 0)
                code = shmd_dispatch(stage->me.bus);
        return code < 0 ? code : 0;
}

static int turn_the_loop(struct stage *stage)
{
        for (unsigned i = 0; i < 3; i++)
                uv_run(&stage->loop, UV_RUN_NOWAIT);
        return 0;
}

static void ignore(void *user, const struct shmd_listing *listing)
{
}

static int list_all(struct stage *stage)
{
        return shmd_list(stage->me.bus, ignore, NULL);
}

static int wake(struct stage *stage)
{
        return side_publish(&stage->me);
}

static int close_publisher(struct stage *stage)
{
        shmd_publisher_close(stage->me.publisher);
        stage->me.publisher = NULL;
        return 0;
}

static int close_subscriber(struct stage *stage)
{
        shmd_subscriber_close(stage->me.subscriber);
        stage->me.subscriber = NULL;
        return 0;
}

static void close_side(struct side *side)
{
        shmd_close(side->bus);
        memset(side, 0, sizeof(*side));
}

static int close_all(struct stage *stage)
{
        /* What it tells the broker may be lost. */
        stage->n_unheard++;
        close_side(&stage->me);
        return 0;
}

static int ask_what_needs_no_help(struct stage *stage)
{
        must(*shmd_version());
        must(shmd_error());
        must_equal(shmd_kind_size(SHMD_KIND_U32), 4);
        must(shmd_type_hash(stamped_type));
        must(shmd_connected(stage->me.bus));
        return 0;
}

static const struct scene scenes[] = {
        {"shmd_connect", nothing, connect_once, false, false},
        {"shmd_connect, loop", nothing, connect_in_a_loop, true, false},
        {"shmd_advertise", nothing, advertise, false, false},
        {"shmd_advertise, peers", peer_is_there, advertise, false, false},
        {"shmd_subscribe", nothing, subscribe, false, false},
        {"shmd_subscribe, peers", peer_is_there, subscribe, false, false},
        {"shmd_loan, publish", peer_has_come, publish_many, false, false},
        {"shmd_loan, publish, left", peer_has_left, publish_many, false, false},
        {"shmd_take, release", peer_has_come, take_many, false, false},
        {"shmd_take, release, left", peer_has_left, take_many, false, false},
        {"shmd_wait", peer_has_come, wait_a_moment, false, false},
        {"shmd_wait, asleep", all_is_set, wait_a_moment, false, false},
        {"shmd_wait, left", peer_has_left, wait_a_moment, false, false},
        {"shmd_fd, dispatch", peer_has_come, poll_and_dispatch, false, false},
        {"loop of the caller", peer_has_come, turn_the_loop, true, false},
        {"shmd_list", peer_has_come, list_all, false, false},
        {"shmd_publish, wakes", peer_sleeps, wake, false, false},
        {"shmd_publisher_close", all_is_set, close_publisher, false, true},
        {"shmd_subscriber_close", all_is_set, close_subscriber, false, true},
        {"shmd_close", all_is_set, close_all, false, true},
        {"shmd_close, loop", all_is_set, close_all, true, true},
        {"shmd_version...", nothing, ask_what_needs_no_help, false, false},
};

/* ---- the loop --------------------------------------------------------------------------- */

/* If its frame could not be written, the next publish writes one. */
static void sleeper_is_awake(struct stage *stage)
{
        struct pollfd bell = {.fd = stage->peer_fd, .events = POLLIN};

        must_equal(side_publish(&stage->me), 0);
        must_equal(poll(&bell, 1, 0), 1);
}

static void repeat(const struct scene *scene, struct stage *stage)
{
        /* What was lost on the way is asked for again, now and then. */
        for (uint64_t deadline = harness_now() + PATIENCE_NS; scene->act(stage) < 0;)
                harness_look_again(deadline, scene->name, __FILE__, __LINE__);
}

/* What the broker does happens when it gets to run. */
static void let_broker_rest(const struct manner *manner)
{
        if (manner->plan != faults)
                until(process_is_asleep(broker.pid));
}

/* How many faults were injected. */
static uint64_t play(const struct scene *scene, const struct manner *manner, uint64_t at)
{
        struct stage stage;
        uint64_t injected;
        char text[256];
        int code;

        stage_open(&stage, scene->uses_loop);
        scene->prepare(&stage);
        let_broker_rest(manner);
        faults_arm(manner->plan, manner->kind, at, manner->n);
        code = scene->act(&stage);
        snprintf(text, sizeof(text), "%s", shmd_error());
        let_broker_rest(manner);
        injected = faults_disarm(manner->plan);
        if (code < 0) {
                must(injected);
                must(*text);
                if (strstr(text, "event loop"))
                        faults_close_leaked_epoll();
                repeat(scene, &stage);
        }
        if (stage.me.bus && !shmd_connected(stage.me.bus)) {
                must(scene->may_lose && manner->n == FAULTS_ALL);
                close_side(&stage.me);
                stage.n_unheard++;
        }
        if (code >= 0 && scene->act == wake)
                sleeper_is_awake(&stage);
        stage_check(&stage);
        stage_close(&stage);
        return injected;
}

static uint64_t n_injections;

static const char *in_a_row(const struct manner *manner)
{
        static char text[32];

        if (manner->n == 1)
                return "";
        if (manner->n == FAULTS_ALL)
                return " and all after it";
        snprintf(text, sizeof(text), ", %llu in a row", (unsigned long long)manner->n);
        return text;
}

static void play_all(const struct scene *scene, const struct manner *manner)
{
        uint64_t injected = 1;

        for (uint64_t at = 1; injected; at++) {
                must(at < 2000);
                snprintf(faults->doing, sizeof(faults->doing), "%s, %s, call %llu%s", scene->name,
                         fault_kind_name(manner->kind), (unsigned long long)at, in_a_row(manner));
                injected = play(scene, manner, at);
                n_injections += injected;
        }
}

int scenes_teardown(void **state)
{
        if (*faults->doing)
                fprintf(stderr, "that was: %s\n", faults->doing);
        *faults->doing = '\0';
        return harness_teardown(state);
}

void scenes_play(const char *who, const struct manner *manner)
{
        char promise[96];

        n_injections = 0;
        for (size_t i = 0; i < N_ELEMENTS(scenes); i++)
                play_all(&scenes[i], manner);
        must(n_injections);
        *faults->doing = '\0';
        snprintf(promise, sizeof(promise), "%s: %s%s", who, fault_kind_name(manner->kind),
                 in_a_row(manner));
        faults_report(promise, n_injections);
}
