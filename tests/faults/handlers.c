/* SPDX-License-Identifier: Apache-2.0 */
/*
 * handlers.c - while clients go through their scenes, the n-th allocation or system call of the
 * broker fails, for n = 1, 2, 3... until all it does for them has got through; once, and four in a
 * row.
 */
#include <stdlib.h>

#include "scenes.h"

/* What the kernel refuses is tried again every 20 ms; clients lose patience after 5 s. */
#define IN_A_ROW 4

static struct faults *brokers;

static void go_through(const char *who, enum fault_kind kind, uint64_t n)
{
        scenes_play(who, &(struct manner){brokers, kind, n});
}

static void handlers_survive_one_lack_of_memory(void **state)
{
        go_through("handlers of the broker", FAULT_MEMORY, 1);
}

static void handlers_survive_a_lasting_lack_of_memory(void **state)
{
        go_through("handlers of the broker", FAULT_MEMORY, IN_A_ROW);
}

static void handlers_survive_a_lack_of_descriptors(void **state)
{
        go_through("handlers of the broker", FAULT_DESCRIPTORS, 1);
        go_through("handlers of the broker", FAULT_DESCRIPTORS, IN_A_ROW);
}

static void handlers_survive_a_full_file_table(void **state)
{
        go_through("handlers of the broker", FAULT_TABLE, 1);
        go_through("handlers of the broker", FAULT_TABLE, IN_A_ROW);
}

static void handlers_survive_an_interruption(void **state)
{
        go_through("handlers of the broker", FAULT_INTERRUPTION, 1);
}

static void handlers_survive_a_busy_kernel(void **state)
{
        go_through("handlers of the broker", FAULT_BUSY, 1);
}

/* The broker then makes the wake channels. */
static void handlers_survive_for_clients_without_proc(void **state)
{
        faults->lacking = LACKS_PROC;
        go_through("handlers of the broker, clients without /proc", FAULT_MEMORY, 1);
        go_through("handlers of the broker, clients without /proc", FAULT_MEMORY, IN_A_ROW);
        go_through("handlers of the broker, clients without /proc", FAULT_DESCRIPTORS, IN_A_ROW);
        must(faults->seen_lacking & LACKS_PROC);
        faults->lacking = 0;
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                faults_test(handlers_survive_one_lack_of_memory),
                faults_test(handlers_survive_a_lasting_lack_of_memory),
                faults_test(handlers_survive_a_lack_of_descriptors),
                faults_test(handlers_survive_a_full_file_table),
                faults_test(handlers_survive_an_interruption),
                faults_test(handlers_survive_a_busy_kernel),
                faults_test(handlers_survive_for_clients_without_proc),
        };

        harness_init(argc, argv);
        brokers = faults_share();
        return cmocka_run_group_tests_name("faults-handlers", tests, NULL, NULL);
}
