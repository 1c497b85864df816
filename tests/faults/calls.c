/* SPDX-License-Identifier: Apache-2.0 */
/*
 * calls.c - in every public function the n-th allocation or system call fails, for n = 1, 2, 3...
 * until the function gets through; once, and from the n-th on.
 *
 * Each time the call must either say so, with a text, or do what it was asked for. Then nothing is
 * armed any more, and the call must work when it is repeated, samples must flow, and closing must
 * leave the process as it was.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "stage.h"

#define TAKES_WITH_A_LOOK 130 /* two looks for news from the broker among them */

struct scene {
        const char *name;
        void (*prepare)(struct stage *stage);
        int (*act)(struct stage *stage); /* may be repeated when it has failed */
        bool uses_loop;
        bool may_lose; /* the connection, when the failure lasts */
};

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

/* libuv 1.44 keeps the epoll descriptor of a loop that it could not make. */
static void close_what_libuv_has_left(void)
{
        char path[32], target[64];
        ssize_t n;

        if (faults->last_epoll < 0)
                return;
        snprintf(path, sizeof(path), "/proc/self/fd/%d", faults->last_epoll);
        n = readlink(path, target, sizeof(target) - 1);
        if (n < 0)
                return;
        target[n] = '\0';
        if (strcmp(target, "anon_inode:[eventpoll]") == 0)
                close(faults->last_epoll);
}

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

/* How many faults were injected. */
static uint64_t play(const struct scene *scene, enum fault_kind kind, uint64_t at, bool lasting)
{
        struct stage stage;
        uint64_t injected;
        char text[256];
        int code;

        stage_open(&stage, scene->uses_loop);
        scene->prepare(&stage);
        faults_arm(faults, kind, at, lasting);
        code = scene->act(&stage);
        injected = faults_disarm(faults);
        snprintf(text, sizeof(text), "%s", shmd_error());
        if (code < 0) {
                must(injected);
                must(*text);
                if (strstr(text, "event loop"))
                        close_what_libuv_has_left();
                repeat(scene, &stage);
        }
        if (stage.me.bus && !shmd_connected(stage.me.bus)) {
                must(scene->may_lose && lasting);
                close_side(&stage.me);
                stage.n_unheard++;
        }
        if (code >= 0 && scene->act == wake)
                sleeper_is_awake(&stage);
        stage_check(&stage);
        stage_close(&stage);
        return injected;
}

struct manner {
        enum fault_kind kind;
        bool lasting;
};
static uint64_t n_injections;

static void play_all(const struct scene *scene, const struct manner *manner)
{
        uint64_t injected = 1;

        for (uint64_t at = 1; injected; at++) {
                must(at < 2000);
                snprintf(faults->doing, sizeof(faults->doing), "%s, %s%s, %llu", scene->name,
                         fault_kind_name(manner->kind), manner->lasting ? ", lasting" : "",
                         (unsigned long long)at);
                injected = play(scene, manner->kind, at, manner->lasting);
                n_injections += injected;
        }
}

static int say_what_was_done(void **state)
{
        faults_disarm(faults);
        if (*faults->doing)
                fprintf(stderr, "that was: %s; %s\n", faults->doing, faults->where);
        *faults->doing = '\0';
        return harness_teardown(state);
}

#define faults_test(function) \
        cmocka_unit_test_setup_teardown(function, harness_setup, say_what_was_done)

static void calls_survive(const struct manner *manner)
{
        char promise[96];

        n_injections = 0;
        for (size_t i = 0; i < N_ELEMENTS(scenes); i++)
                play_all(&scenes[i], manner);
        must(n_injections);
        *faults->doing = '\0';
        snprintf(promise, sizeof(promise), "calls of the library: %s%s",
                 fault_kind_name(manner->kind), manner->lasting ? ", lasting" : "");
        faults_report(promise, n_injections);
}

static void calls_survive_one_lack_of_memory(void **state)
{
        calls_survive(&(struct manner){FAULT_MEMORY, false});
}

static void calls_survive_a_lasting_lack_of_memory(void **state)
{
        calls_survive(&(struct manner){FAULT_MEMORY, true});
}

static void calls_survive_one_lack_of_descriptors(void **state)
{
        calls_survive(&(struct manner){FAULT_DESCRIPTORS, false});
}

static void calls_survive_a_lasting_lack_of_descriptors(void **state)
{
        calls_survive(&(struct manner){FAULT_DESCRIPTORS, true});
}

static void calls_survive_a_full_file_table(void **state)
{
        calls_survive(&(struct manner){FAULT_TABLE, false});
        calls_survive(&(struct manner){FAULT_TABLE, true});
}

static void calls_survive_an_interruption(void **state)
{
        calls_survive(&(struct manner){FAULT_INTERRUPTION, false});
}

static void calls_survive_a_busy_kernel(void **state)
{
        calls_survive(&(struct manner){FAULT_BUSY, false});
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                faults_test(calls_survive_one_lack_of_memory),
                faults_test(calls_survive_a_lasting_lack_of_memory),
                faults_test(calls_survive_one_lack_of_descriptors),
                faults_test(calls_survive_a_lasting_lack_of_descriptors),
                faults_test(calls_survive_a_full_file_table),
                faults_test(calls_survive_an_interruption),
                faults_test(calls_survive_a_busy_kernel),
        };

        harness_init(argc, argv);
        return cmocka_run_group_tests_name("faults-calls", tests, NULL, NULL);
}
