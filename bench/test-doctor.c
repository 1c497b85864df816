/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-doctor.c - does the doctor see what is wrong with machines that are made up?
 *
 * Each is a tree of files like /proc and /sys, in a directory of its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <ftw.h>
#include <linux/membarrier.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cgroup.h"
#include "diagnosis.h"
#include "sysfile.h"

struct machine {
        char root[64];
        struct patient patient;
        struct diagnosis diagnosis;
};

static void put(const struct machine *machine, const char *path, const char *text)
{
        char name[512];
        FILE *file;

        snprintf(name, sizeof(name), "%s%s", machine->root, path);
        for (char *slash = strchr(name + strlen(machine->root) + 1, '/'); slash;
             slash = strchr(slash + 1, '/')) {
                *slash = '\0';
                assert_true(mkdir(name, 0700) == 0 || errno == EEXIST);
                *slash = '/';
        }
        file = fopen(name, "w");
        assert_non_null(file);
        assert_true(fprintf(file, "%s\n", text) > 0);
        assert_int_equal(fclose(file), 0);
}

static int setup(void **state)
{
        struct machine *machine = calloc(1, sizeof(*machine));

        assert_non_null(machine);
        snprintf(machine->root, sizeof(machine->root), "/tmp/test-doctor-XXXXXX");
        assert_non_null(mkdtemp(machine->root));
        machine->patient = (struct patient){.root = machine->root, .cpus = {0, 1}, .n_cpus = 2};
        *state = machine;
        return 0;
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
        return remove(path);
}

static int teardown(void **state)
{
        struct machine *machine = *state;

        assert_int_equal(nftw(machine->root, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
        free(machine);
        return 0;
}

static const struct finding *find(struct machine *machine, const char *name)
{
        diagnose(&machine->diagnosis, &machine->patient);
        for (uint32_t i = 0; i < machine->diagnosis.n_findings; i++) {
                if (strcmp(machine->diagnosis.findings[i].name, name) == 0)
                        return &machine->diagnosis.findings[i];
        }
        fail_msg("nothing is found about %s", name);
        return NULL;
}

/* Looks again; a finding that costs or can't be seen has to say what would be better. */
static void expect(struct machine *machine, const char *name, enum verdict verdict, const char *now)
{
        const struct finding *finding = find(machine, name);

        if (finding->verdict != verdict || !strstr(finding->now, now))
                fail_msg("%s: verdict %d, now: %s", name, finding->verdict, finding->now);
        assert_true(finding->why[0] != '\0');
        assert_int_equal(finding->better[0] != '\0', verdict != VERDICT_GOOD);
}

static void of_an_empty_machine_is_said_that_nothing_can_be_seen(void **state)
{
        struct machine *machine = *state;

        machine->patient.membarrier = -EPERM;
        diagnose(&machine->diagnosis, &machine->patient);
        assert_true(machine->diagnosis.n_findings >= 18);
        for (uint32_t i = 0; i < machine->diagnosis.n_findings; i++) {
                const struct finding *finding = &machine->diagnosis.findings[i];
                enum verdict verdict = VERDICT_UNKNOWN;

                if (strcmp(finding->name, "CPUs") == 0)
                        verdict = VERDICT_GOOD; /* two may be used, says the patient */
                if (strcmp(finding->name, "membarrier") == 0)
                        verdict = VERDICT_COSTS; /* refused */
                if (finding->verdict != verdict || !finding->now[0])
                        fail_msg("%s: verdict %d, now: %s", finding->name, finding->verdict,
                                 finding->now);
        }
}

static void a_governor_that_saves_power_costs(void **state)
{
        struct machine *machine = *state;

        put(machine, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave");
        put(machine, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_driver", "intel_pstate");
        expect(machine, "frequency", VERDICT_COSTS, "powersave");
        put(machine, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "800000");
        put(machine, "/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "4200000");
        expect(machine, "frequency", VERDICT_COSTS, "at 800 of 4200 MHz");
        put(machine, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance");
        expect(machine, "frequency", VERDICT_GOOD, "performance");
}

static void idle_states_cost_by_their_depth_unless_disabled(void **state)
{
        struct machine *machine = *state;

        put(machine, "/sys/devices/system/cpu/cpuidle/current_driver", "intel_idle");
        put(machine, "/sys/devices/system/cpu/cpu0/cpuidle/state0/name", "POLL");
        put(machine, "/sys/devices/system/cpu/cpu0/cpuidle/state0/latency", "0");
        put(machine, "/sys/devices/system/cpu/cpu0/cpuidle/state1/name", "C1");
        put(machine, "/sys/devices/system/cpu/cpu0/cpuidle/state1/latency", "2");
        expect(machine, "idle states", VERDICT_GOOD, "intel_idle: POLL (0 us), C1 (2 us)");
        put(machine, "/sys/devices/system/cpu/cpu0/cpuidle/state2/name", "C6");
        put(machine, "/sys/devices/system/cpu/cpu0/cpuidle/state2/latency", "133");
        expect(machine, "idle states", VERDICT_COSTS, "C6 (133 us)");
        put(machine, "/sys/devices/system/cpu/cpu0/cpuidle/state2/disable", "1");
        expect(machine, "idle states", VERDICT_GOOD, "C1 (2 us)");
}

static void a_virtual_machine_costs_and_is_told_to_poll_before_it_halts(void **state)
{
        struct machine *machine = *state;

        put(machine, "/proc/cpuinfo", "model name\t: CPU\nflags\t\t: fpu tsc hypervisor lahf_lm");
        expect(machine, "hypervisor", VERDICT_COSTS, "doesn't say which");
        put(machine, "/sys/class/dmi/id/sys_vendor", "QEMU");
        expect(machine, "hypervisor", VERDICT_COSTS, "QEMU");
        expect(machine, "halt polling", VERDICT_UNKNOWN, "no haltpoll");
        put(machine, "/sys/module/haltpoll/parameters/guest_halt_poll_ns", "0");
        expect(machine, "halt polling", VERDICT_COSTS, "not at all");
        put(machine, "/sys/module/haltpoll/parameters/guest_halt_poll_ns", "200000");
        expect(machine, "halt polling", VERDICT_GOOD, "200000 ns");
        put(machine, "/proc/cpuinfo", "flags\t\t: fpu tsc lahf_lm");
        expect(machine, "hypervisor", VERDICT_GOOD, "real");
        expect(machine, "halt polling", VERDICT_GOOD, "not needed");
}

static void two_threads_of_one_core_are_seen(void **state)
{
        struct machine *machine = *state;

        put(machine, "/sys/devices/system/cpu/cpu0/topology/thread_siblings_list", "0-1");
        expect(machine, "hyperthreads", VERDICT_COSTS, "two threads of one core");
        put(machine, "/sys/devices/system/cpu/cpu0/topology/thread_siblings_list", "0,4");
        expect(machine, "hyperthreads", VERDICT_COSTS, "others of 0,4");
        put(machine, "/sys/devices/system/cpu/cpu0/topology/thread_siblings_list", "0");
        expect(machine, "hyperthreads", VERDICT_GOOD, "for itself");
}

static void the_way_from_one_cpu_to_the_other_is_seen(void **state)
{
        struct machine *machine = *state;

        put(machine, "/sys/devices/system/cpu/cpu0/topology/physical_package_id", "0");
        put(machine, "/sys/devices/system/cpu/cpu1/topology/physical_package_id", "1");
        put(machine, "/sys/devices/system/node/online", "0-1");
        expect(machine, "distance", VERDICT_COSTS, "CPU 1 in socket 1; NUMA nodes: 0-1");
        put(machine, "/sys/devices/system/cpu/cpu1/topology/physical_package_id", "0");
        expect(machine, "distance", VERDICT_COSTS, "no cache");
        put(machine, "/sys/devices/system/cpu/cpu0/cache/index0/level", "1");
        put(machine, "/sys/devices/system/cpu/cpu0/cache/index0/shared_cpu_list", "0");
        put(machine, "/sys/devices/system/cpu/cpu0/cache/index3/level", "3");
        put(machine, "/sys/devices/system/cpu/cpu0/cache/index3/shared_cpu_list", "0-7");
        expect(machine, "distance", VERDICT_GOOD, "level 3");
        machine->patient.cpus[1] = 0;
        machine->patient.n_cpus = 1;
        expect(machine, "distance", VERDICT_COSTS, "one CPU only");
        expect(machine, "CPUs", VERDICT_COSTS, "1 may be used");
}

static void isolation_needs_both_cpus(void **state)
{
        struct machine *machine = *state;

        machine->patient.cpus[0] = 2;
        machine->patient.cpus[1] = 3;
        put(machine, "/sys/devices/system/cpu/isolated", "3-5");
        expect(machine, "isolation", VERDICT_COSTS, "not isolated");
        put(machine, "/sys/devices/system/cpu/isolated", "2-5");
        expect(machine, "isolation", VERDICT_COSTS, "are isolated from the scheduler, not without");
        put(machine, "/sys/devices/system/cpu/nohz_full", "2-5");
        put(machine, "/proc/cmdline", "quiet isolcpus=2-5 rcu_nocbs=2-5");
        expect(machine, "isolation", VERDICT_GOOD, "rcu_nocbs is given");
        put(machine, "/sys/devices/system/cpu/isolated", "");
        expect(machine, "isolation", VERDICT_COSTS, "not isolated");
}

static void mitigations_are_listed(void **state)
{
        struct machine *machine = *state;

        put(machine, "/sys/devices/system/cpu/vulnerabilities/mds", "Not affected");
        expect(machine, "mitigations", VERDICT_GOOD, "none");
        put(machine, "/sys/devices/system/cpu/vulnerabilities/meltdown", "Mitigation: PTI");
        put(machine, "/sys/devices/system/cpu/vulnerabilities/spectre_v2", "Vulnerable");
        expect(machine, "mitigations", VERDICT_COSTS, "against: meltdown");
        assert_null(strstr(find(machine, "mitigations")->now, "spectre_v2"));
}

static void a_clock_that_is_a_system_call_costs(void **state)
{
        struct machine *machine = *state;
        const char *const path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";

        put(machine, path, "hpet");
        expect(machine, "clock", VERDICT_COSTS, "hpet");
        put(machine, path, "tsc");
        expect(machine, "clock", VERDICT_GOOD, "tsc");
}

static void the_tightest_limit_of_all_groups_above_counts(void **state)
{
        struct machine *machine = *state;
        struct cgroup_limits limits;

        put(machine, "/proc/self/cgroup", "0::/work.slice/job.service");
        put(machine, "/sys/fs/cgroup/work.slice/job.service/cpu.max", "max 100000");
        put(machine, "/sys/fs/cgroup/work.slice/job.service/memory.max", "max");
        expect(machine, "cgroup CPU", VERDICT_GOOD, "no limit");
        expect(machine, "cgroup memory", VERDICT_GOOD, "no limit");
        put(machine, "/sys/fs/cgroup/work.slice/cpu.max", "150000 100000");
        put(machine, "/sys/fs/cgroup/work.slice/cpu.stat", "usage_usec 5\nnr_throttled 42");
        put(machine, "/sys/fs/cgroup/work.slice/memory.max", "1073741824");
        put(machine, "/sys/fs/cgroup/work.slice/memory.current", "805306368");
        put(machine, "/sys/fs/cgroup/cpu.max", "400000 100000");
        expect(machine, "cgroup CPU", VERDICT_COSTS,
               "1.50 CPUs' worth of time, of which it was "
               "stopped 42 times");
        expect(machine, "cgroup memory", VERDICT_COSTS, "1024 MiB, of which 256 are free");
        cgroup_look(&limits, machine->root);
        assert_int_equal(limits.memory_room, 256 << 20);
}

static void limits_of_the_first_version_are_read_too(void **state)
{
        struct machine *machine = *state;

        put(machine, "/proc/self/cgroup",
            "12:memory:/a/b\n4:cpu,cpuacct:/a\n1:name=systemd:/\n0::/");
        put(machine, "/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "536870912");
        put(machine, "/sys/fs/cgroup/memory/a/memory.usage_in_bytes", "1048576");
        put(machine, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712");
        put(machine, "/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "-1");
        put(machine, "/sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000");
        expect(machine, "cgroup memory", VERDICT_COSTS, "512 MiB, of which 511 are free");
        expect(machine, "cgroup CPU", VERDICT_GOOD, "no limit");
        put(machine, "/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "50000");
        expect(machine, "cgroup CPU", VERDICT_COSTS, "0.50 CPUs");
}

static void limits_of_the_process_are_read(void **state)
{
        struct machine *machine = *state;

        put(machine, "/proc/self/limits",
            "Limit                     Soft Limit           Hard Limit           Units     \n"
            "Max locked memory         8388608              8388608              bytes     \n"
            "Max nice priority         0                    0                    \n"
            "Max realtime priority     0                    0                    ");
        expect(machine, "limits", VERDICT_COSTS,
               "real-time priority up to 0, nice up to 0, locked memory 8388608 bytes");
        put(machine, "/proc/self/limits",
            "Max locked memory         unlimited            unlimited            bytes     \n"
            "Max nice priority         40                   40                   \n"
            "Max realtime priority     99                   99                   ");
        expect(machine, "limits", VERDICT_GOOD,
               "real-time priority up to 99, nice up to 40, locked memory unlimited");
}

static void the_kernel_and_its_membarrier_are_judged(void **state)
{
        struct machine *machine = *state;

        machine->patient.membarrier = -ENOSYS;
        expect(machine, "membarrier", VERDICT_COSTS, strerror(ENOSYS));
        machine->patient.membarrier = MEMBARRIER_CMD_GLOBAL;
        expect(machine, "membarrier", VERDICT_COSTS, "without GLOBAL_EXPEDITED");
        machine->patient.membarrier |= MEMBARRIER_CMD_GLOBAL_EXPEDITED;
        expect(machine, "membarrier", VERDICT_GOOD, "has GLOBAL_EXPEDITED");
        put(machine, "/proc/sys/kernel/osrelease", "5.2.21-generic");
        expect(machine, "kernel", VERDICT_COSTS, "doesn't run");
        put(machine, "/proc/sys/kernel/osrelease", "6.1.0-44-amd64");
        expect(machine, "kernel", VERDICT_GOOD, "without what came with 6.3");
        put(machine, "/proc/sys/kernel/osrelease", "6.18.1");
        expect(machine, "kernel", VERDICT_GOOD, "6.18.1");
}

static void memory_that_is_small_paged_or_swapped_is_seen(void **state)
{
        struct machine *machine = *state;
        const char *const huge = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";

        put(machine, huge, "always within_size advise [never] deny force");
        expect(machine, "huge pages", VERDICT_COSTS, "never");
        put(machine, huge, "always [within_size] advise never deny force");
        expect(machine, "huge pages", VERDICT_GOOD, "within_size");
        put(machine, "/proc/meminfo", "MemTotal: 9 kB\nSwapTotal: 4096 kB\nSwapFree: 1024 kB");
        expect(machine, "swap", VERDICT_COSTS, "3 of 4 MiB");
        put(machine, "/proc/meminfo", "SwapTotal: 0 kB\nSwapFree: 0 kB");
        expect(machine, "swap", VERDICT_GOOD, "none");
}

static void who_else_is_busy_is_seen(void **state)
{
        struct machine *machine = *state;

        put(machine, "/proc/loadavg", "0.07 0.20 0.30 1/105 9605");
        expect(machine, "load", VERDICT_GOOD, "0 just now");
        put(machine, "/proc/loadavg", "3.19 1.24 1.88 5/106 9605");
        put(machine, "/proc/pressure/cpu", "some avg10=8.01 avg60=22.49 avg300=16.88 total=1");
        expect(machine, "load", VERDICT_COSTS, "4 just now beside this one; pressure: some avg10");
}

static void lists_of_cpus_are_understood(void **state)
{
        assert_true(sysfile_list_has("0-3,8", 0));
        assert_true(sysfile_list_has("0-3,8", 3));
        assert_true(sysfile_list_has("0-3,8", 8));
        assert_false(sysfile_list_has("0-3,8", 4));
        assert_false(sysfile_list_has("0-3,8", 80));
        assert_false(sysfile_list_has("", 0));
        assert_false(sysfile_list_has("\n", 0));
}

#define MACHINE_TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                MACHINE_TEST(of_an_empty_machine_is_said_that_nothing_can_be_seen),
                MACHINE_TEST(a_governor_that_saves_power_costs),
                MACHINE_TEST(idle_states_cost_by_their_depth_unless_disabled),
                MACHINE_TEST(a_virtual_machine_costs_and_is_told_to_poll_before_it_halts),
                MACHINE_TEST(two_threads_of_one_core_are_seen),
                MACHINE_TEST(the_way_from_one_cpu_to_the_other_is_seen),
                MACHINE_TEST(isolation_needs_both_cpus),
                MACHINE_TEST(mitigations_are_listed),
                MACHINE_TEST(a_clock_that_is_a_system_call_costs),
                MACHINE_TEST(the_tightest_limit_of_all_groups_above_counts),
                MACHINE_TEST(limits_of_the_first_version_are_read_too),
                MACHINE_TEST(limits_of_the_process_are_read),
                MACHINE_TEST(the_kernel_and_its_membarrier_are_judged),
                MACHINE_TEST(memory_that_is_small_paged_or_swapped_is_seen),
                MACHINE_TEST(who_else_is_busy_is_seen),
                cmocka_unit_test(lists_of_cpus_are_understood),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
