/* SPDX-License-Identifier: Apache-2.0 */
/*
 * broker-calls.c - the functions of <shmd/broker.h>, with the n-th allocation or system call that
 * fails, for n = 1, 2, 3... as calls.c does it with those of <shmd/shmd.h>.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include <shmd/broker.h>

#include "faults.h"
#include "harness.h"

struct place {
        char directory[64], socket[80];
        uv_loop_t loop;
        bool uses_loop;
};

static int open_run_close(struct place *place)
{
        static const uint32_t uids[] = {1, 2, 3};
        struct shmd_broker_options options = {.size = sizeof(options),
                                              .socket = place->socket,
                                              .uids = uids,
                                              .n_uids = N_ELEMENTS(uids),
                                              .loop = place->uses_loop ? &place->loop : NULL};
        struct shmd_broker *made;
        int code = shmd_broker_open(&made, &options);

        if (code < 0)
                return code;
        if (place->uses_loop) {
                uv_run(&place->loop, UV_RUN_NOWAIT);
        } else {
                shmd_broker_stop(made);
                code = shmd_broker_run(made);
        }
        shmd_broker_close(made);
        return code;
}

static bool is_left(const struct place *place)
{
        return access(place->socket, F_OK) == 0;
}

/* How many faults were injected. */
static uint64_t play(struct place *place, enum fault_kind kind, uint64_t at, uint64_t n)
{
        struct snapshot was, is;
        int64_t blocks = faults_blocks();
        uint64_t injected;
        char text[256];
        int code;

        snapshot_take(&was, 0);
        faults_arm(faults, kind, at, n);
        code = open_run_close(place);
        injected = faults_disarm(faults);
        snprintf(text, sizeof(text), "%s", shmd_broker_error());
        if (place->uses_loop)
                uv_run(&place->loop, UV_RUN_DEFAULT);
        if (code < 0) {
                must(injected);
                must(*text);
                if (strstr(text, "making a loop"))
                        faults_close_leaked_epoll();
        }
        /* What was left can't keep the next one away. */
        must_equal(open_run_close(place), 0);
        if (place->uses_loop)
                uv_run(&place->loop, UV_RUN_DEFAULT);
        must(!is_left(place));
        snapshot_take(&is, 0);
        if (!snapshot_equal(&was, &is))
                snapshot_explain(faults->where, &was, &is);
        must(snapshot_equal(&was, &is));
        must_equal(faults_blocks(), blocks);
        return injected;
}

static void go_through(struct place *place, enum fault_kind kind, uint64_t n)
{
        uint64_t injected = 1, sum = 0;
        char promise[96];

        for (uint64_t at = 1; injected; at++) {
                must(at < 1000);
                snprintf(faults->doing, sizeof(faults->doing), "%s, call %llu",
                         fault_kind_name(kind), (unsigned long long)at);
                injected = play(place, kind, at, n);
                sum += injected;
        }
        *faults->doing = '\0';
        must(sum);
        snprintf(promise, sizeof(promise), "shmd_broker_open, run, close%s: %s%s",
                 place->uses_loop ? ", loop" : "", fault_kind_name(kind),
                 n == 1 ? "" : " and all after it");
        faults_report(promise, sum);
}

static int make_place(void **state)
{
        struct place *place = calloc(1, sizeof(*place));
        const char *temporary = getenv("TMPDIR");

        must(place);
        if (!temporary || strlen(temporary) > 40)
                temporary = "/tmp";
        snprintf(place->directory, sizeof(place->directory), "%s/shmd-XXXXXX", temporary);
        must(mkdtemp(place->directory));
        snprintf(place->socket, sizeof(place->socket), "%s/control", place->directory);
        must_equal(uv_loop_init(&place->loop), 0);
        *state = place;
        return 0;
}

static int leave_place(void **state)
{
        struct place *place = *state;

        if (*faults->doing)
                fprintf(stderr, "that was: %s; %s\n", faults->doing, faults->where);
        unlink(place->socket);
        must_equal(rmdir(place->directory), 0);
        uv_loop_close(&place->loop);
        free(place);
        return 0;
}

static void go_through_all(struct place *place)
{
        go_through(place, FAULT_MEMORY, 1);
        go_through(place, FAULT_MEMORY, FAULTS_ALL);
        go_through(place, FAULT_DESCRIPTORS, 1);
        go_through(place, FAULT_DESCRIPTORS, FAULTS_ALL);
        go_through(place, FAULT_TABLE, 1);
        go_through(place, FAULT_INTERRUPTION, 1);
}

static void broker_with_its_own_loop_survives(void **state)
{
        go_through_all(*state);
}

static void broker_in_a_loop_survives(void **state)
{
        struct place *place = *state;

        place->uses_loop = true;
        go_through_all(place);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(broker_with_its_own_loop_survives, make_place,
                                                leave_place),
                cmocka_unit_test_setup_teardown(broker_in_a_loop_survives, make_place, leave_place),
        };

        harness_init(argc, argv);
        return cmocka_run_group_tests_name("faults-broker-calls", tests, NULL, NULL);
}
