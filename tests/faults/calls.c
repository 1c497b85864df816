/* SPDX-License-Identifier: Apache-2.0 */
/*
 * calls.c - in every public function the n-th allocation or system call fails, for n = 1, 2, 3...
 * until the function gets through; once, and from the n-th on.
 *
 * Each time the call must either say so, with a text, or do what it was asked for. Then nothing is
 * armed any more, and the call must work when it is repeated, samples must flow, and closing must
 * leave the process as it was.
 */
#include "scenes.h"

static void go_through(const char *who, enum fault_kind kind, uint64_t n)
{
        scenes_play(who, &(struct manner){faults, kind, n});
}

static void calls_survive_one_lack_of_memory(void **state)
{
        go_through("calls of the library", FAULT_MEMORY, 1);
}

static void calls_survive_a_lasting_lack_of_memory(void **state)
{
        go_through("calls of the library", FAULT_MEMORY, FAULTS_ALL);
}

static void calls_survive_one_lack_of_descriptors(void **state)
{
        go_through("calls of the library", FAULT_DESCRIPTORS, 1);
}

static void calls_survive_a_lasting_lack_of_descriptors(void **state)
{
        go_through("calls of the library", FAULT_DESCRIPTORS, FAULTS_ALL);
}

static void calls_survive_a_full_file_table(void **state)
{
        go_through("calls of the library", FAULT_TABLE, 1);
        go_through("calls of the library", FAULT_TABLE, FAULTS_ALL);
}

static void calls_survive_an_interruption(void **state)
{
        go_through("calls of the library", FAULT_INTERRUPTION, 1);
}

static void calls_survive_a_busy_kernel(void **state)
{
        go_through("calls of the library", FAULT_BUSY, 1);
}

/* Publishers then wake by sockets, not by pipes. */
static void calls_survive_without_proc(void **state)
{
        faults->lacking = LACKS_PROC;
        go_through("calls of the library, no /proc", FAULT_MEMORY, 1);
        go_through("calls of the library, no /proc", FAULT_DESCRIPTORS, 1);
        go_through("calls of the library, no /proc", FAULT_INTERRUPTION, 1);
        must(faults->seen_lacking & LACKS_PROC);
        faults->lacking = 0;
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
                faults_test(calls_survive_without_proc),
        };

        harness_init(argc, argv);
        return cmocka_run_group_tests_name("faults-calls", tests, NULL, NULL);
}
