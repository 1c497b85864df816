/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scenes.h - every public function of a connection in a situation of its own, to be played while
 * something fails.
 */
#ifndef SHMD_TESTS_SCENES_H
#define SHMD_TESTS_SCENES_H

#include "stage.h"

struct scene {
        const char *name;
        void (*prepare)(struct stage *stage);
        int (*act)(struct stage *stage); /* may be repeated when it has failed */
        bool uses_loop;
        bool may_lose; /* the connection, when all calls fail */
};

struct manner {
        struct faults *plan; /* of the test's process, or the broker's */
        enum fault_kind kind;
        uint64_t n; /* in a row */
};

/* Plays all scenes, with the n-th call failing, for n = 1, 2, 3... until nothing was injected; for
 * the table, `who` failed. */
void scenes_play(const char *who, const struct manner *manner);

/* The fixture of a test that plays: says what was being played when it failed. */
int scenes_teardown(void **state);
#define faults_test(function) \
        cmocka_unit_test_setup_teardown(function, harness_setup, scenes_teardown)

#endif
