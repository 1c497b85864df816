/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diagnosis-cpu.c - the two CPUs: how fast they run, how deep they sleep, who else has them.
 */
#include "diagnosis.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sysfile.h"

#define CPU "/sys/devices/system/cpu"

enum { TEXT_SIZE = 320, LINE_SIZE = 4096, STATES_MAX = 16 };

/* Waking from a state that takes longer than this shows in a figure of microseconds. */
enum { EXIT_US_MAX = 2 };

static void check_hypervisor(struct diagnosis *diagnosis, const struct patient *patient)
{
        static const char why[] =
                "A hypervisor may give the CPU to others at any time, and a CPU that goes idle "
                "leaves to it: sleeping and waking cost microseconds more, and even what spins "
                "changes speed when the virtual CPUs are moved.";
        struct finding *finding = finding_add(diagnosis, "hypervisor", VERDICT_UNKNOWN, why);
        char flags[LINE_SIZE], vendor[TEXT_SIZE / 2];

        if (!sysfile_look_up(flags, sizeof(flags), patient->root, "/proc/cpuinfo", "flags", ':')) {
                finding_say(finding->now, "/proc/cpuinfo has no flags that would say");
                finding_say(finding->better, "ask who runs the machine");
                return;
        }
        if (!strstr(flags, " hypervisor")) {
                finding->verdict = VERDICT_GOOD;
                finding_say(finding->now, "none is seen: the machine seems to be real");
                return;
        }
        if (patient->hypervisor[0])
                snprintf(vendor, sizeof(vendor), "%s", patient->hypervisor);
        else if (!sysfile_line(vendor, sizeof(vendor), patient->root, "/sys/hypervisor/type") &&
                 !sysfile_line(vendor, sizeof(vendor), patient->root,
                               "/sys/class/dmi/id/sys_vendor"))
                snprintf(vendor, sizeof(vendor), "it doesn't say which");
        finding->verdict = VERDICT_COSTS;
        finding_say(finding->now, "this is a virtual machine (%s)", vendor);
        finding_say(finding->better, "a real machine, or virtual CPUs that are pinned to CPUs of "
                                     "the host which nobody else uses; until then compare ratios "
                                     "to the floor, and not nanoseconds");
}

static void check_governor(struct diagnosis *diagnosis, const struct patient *patient)
{
        static const char why[] = "A governor that lowers the frequency makes everything slower "
                                  "until the CPU has been busy for a while.";
        struct finding *finding = finding_add(diagnosis, "frequency", VERDICT_UNKNOWN, why);
        char governor[64], driver[64];
        int64_t now_khz, most_khz;
        int cpu = patient->cpus[0];

        sysfile_line(driver, sizeof(driver), patient->root, CPU "/cpu%d/cpufreq/scaling_driver",
                     cpu);
        if (!sysfile_line(governor, sizeof(governor), patient->root,
                          CPU "/cpu%d/cpufreq/scaling_governor", cpu)) {
                finding_say(finding->now, "there is no cpufreq here: whoever is below (firmware, "
                                          "hypervisor) decides, and doesn't say how");
                finding_say(finding->better, "look at the host, or in the firmware's settings");
                return;
        }
        finding_say(finding->now, "governor %s, driver %s", governor, driver[0] ? driver : "?");
        if (sysfile_number(&now_khz, patient->root, CPU "/cpu%d/cpufreq/scaling_cur_freq", cpu) &&
            sysfile_number(&most_khz, patient->root, CPU "/cpu%d/cpufreq/cpuinfo_max_freq", cpu))
                finding_say(finding->now, "governor %s, driver %s, at %lld of %lld MHz", governor,
                            driver[0] ? driver : "?", (long long)now_khz / 1000,
                            (long long)most_khz / 1000);
        finding->verdict = strcmp(governor, "performance") == 0 ? VERDICT_GOOD : VERDICT_COSTS;
        if (finding->verdict == VERDICT_COSTS)
                finding_say(finding->better, "governor performance: cpupower frequency-set -g "
                                             "performance");
}

/* Names of the states that are in use, and how long the deepest takes to leave. @return how many */
static int states_list(const struct patient *patient, char *text, size_t size, int64_t *exit_us)
{
        int n = 0;

        text[0] = '\0';
        *exit_us = 0;
        for (int i = 0; i < STATES_MAX; i++) {
                int64_t us = 0, disabled = 0;
                char name[32];

                if (!sysfile_line(name, sizeof(name), patient->root,
                                  CPU "/cpu%d/cpuidle/state%d/name", patient->cpus[0], i))
                        break;
                sysfile_number(&us, patient->root, CPU "/cpu%d/cpuidle/state%d/latency",
                               patient->cpus[0], i);
                sysfile_number(&disabled, patient->root, CPU "/cpu%d/cpuidle/state%d/disable",
                               patient->cpus[0], i);
                if (disabled)
                        continue;
                if (us > *exit_us)
                        *exit_us = us;
                snprintf(text + strlen(text), size - strlen(text), "%s%s (%lld us)", n ? ", " : "",
                         name, (long long)us);
                n++;
        }
        return n;
}

static void check_idle(struct diagnosis *diagnosis, const struct patient *patient)
{
        static const char why[] = "A CPU that has nothing to do goes to sleep, the deeper the "
                                  "longer; who waits in the kernel is woken later by the time "
                                  "that leaving the state takes. It doesn't touch what spins.";
        struct finding *finding = finding_add(diagnosis, "idle states", VERDICT_UNKNOWN, why);
        char driver[64], states[TEXT_SIZE / 2];
        int64_t exit_us;

        sysfile_line(driver, sizeof(driver), patient->root, CPU "/cpuidle/current_driver");
        if (states_list(patient, states, sizeof(states), &exit_us) == 0) {
                finding_say(finding->now,
                            "there are no states to see (driver %s): whoever is "
                            "below decides how an idle CPU sleeps",
                            driver[0] ? driver : "none");
                finding_say(finding->better, "look at the host; idle=poll on the kernel's command "
                                             "line keeps CPUs awake, at the price of their power");
                return;
        }
        finding_say(finding->now, "driver %s: %s", driver[0] ? driver : "?", states);
        finding->verdict = exit_us > EXIT_US_MAX ? VERDICT_COSTS : VERDICT_GOOD;
        if (finding->verdict == VERDICT_COSTS)
                finding_say(finding->better,
                            "keep the CPUs out of states that take more than %d us: cpupower "
                            "idle-set -D %d, or a program that holds /dev/cpu_dma_latency open "
                            "with 0 in it",
                            EXIT_US_MAX, EXIT_US_MAX);
}

static void check_haltpoll(struct diagnosis *diagnosis, const struct patient *patient)
{
        static const char why[] =
                "On a virtual machine, a CPU that goes idle leaves to the hypervisor, and waking "
                "it takes several microseconds. Polling a little before spares that when the next "
                "sample comes soon.";
        struct finding *finding = finding_add(diagnosis, "halt polling", VERDICT_UNKNOWN, why);
        char flags[LINE_SIZE];
        int64_t ns;

        if (sysfile_look_up(flags, sizeof(flags), patient->root, "/proc/cpuinfo", "flags", ':') &&
            !strstr(flags, " hypervisor")) {
                finding->verdict = VERDICT_GOOD;
                finding_say(finding->now, "not needed: there is no hypervisor");
                return;
        }
        if (!sysfile_number(&ns, patient->root,
                            "/sys/module/haltpoll/parameters/guest_halt_poll_ns")) {
                finding_say(finding->now, "the guest doesn't poll (no haltpoll); whether the host "
                                          "does can't be seen from here");
                finding_say(finding->better, "cpuidle_haltpoll.force=1 on the guest's command "
                                             "line, or halt_poll_ns of kvm on the host");
                return;
        }
        finding->verdict = ns > 0 ? VERDICT_GOOD : VERDICT_COSTS;
        finding_say(finding->now,
                    "the guest polls for up to %lld ns before it halts%s; the host's "
                    "own polling can't be seen from here",
                    (long long)ns, ns > 0 ? "" : ", which is not at all");
        if (ns <= 0)
                finding_say(finding->better,
                            "echo 200000 > /sys/module/haltpoll/parameters/guest_halt_poll_ns");
}

static void check_siblings(struct diagnosis *diagnosis, const struct patient *patient)
{
        static const char why[] =
                "Two threads of one core share its caches, so that a line never leaves it, and its "
                "units, so that one that spins slows the other down. Two cores are the usual case.";
        struct finding *finding = finding_add(diagnosis, "hyperthreads", VERDICT_UNKNOWN, why);
        char siblings[128];

        if (!sysfile_line(siblings, sizeof(siblings), patient->root,
                          CPU "/cpu%d/topology/thread_siblings_list", patient->cpus[0])) {
                finding_say(finding->now, "the topology can't be read");
                finding_say(finding->better, "lscpu -e may know more");
        } else if (patient->cpus[0] != patient->cpus[1] &&
                   sysfile_list_has(siblings, patient->cpus[1])) {
                finding->verdict = VERDICT_COSTS;
                finding_say(finding->now, "CPU %d and CPU %d are two threads of one core",
                            patient->cpus[0], patient->cpus[1]);
                finding_say(finding->better, "name two cores with --cpus A,B");
        } else if (strpbrk(siblings, ",-")) {
                finding->verdict = VERDICT_COSTS;
                finding_say(finding->now, "CPU %d shares its core with others of %s",
                            patient->cpus[0], siblings);
                finding_say(finding->better,
                            "leave the siblings idle, or echo off > " CPU "/smt/control");
        } else {
                finding->verdict = VERDICT_GOOD;
                finding_say(finding->now, "CPU %d has its core for itself%s", patient->cpus[0],
                            patient->n_cpus > 1 ? ", as far as can be seen from here" : "");
        }
}

/* Whether both CPUs are in the list of that file. */
static int both_in(const struct patient *patient, const char *path)
{
        char list[256];

        if (!sysfile_line(list, sizeof(list), patient->root, "%s", path))
                return -1;
        return sysfile_list_has(list, patient->cpus[0]) && sysfile_list_has(list, patient->cpus[1]);
}

static void check_isolation(struct diagnosis *diagnosis, const struct patient *patient)
{
        static const char why[] =
                "On a CPU that isn't isolated other programs run too, and the kernel interrupts "
                "up to a thousand times a second: rare, but that is what p99.9 and max are made "
                "of.";
        int isolated = both_in(patient, CPU "/isolated");
        int tickless = both_in(patient, CPU "/nohz_full");
        struct finding *finding = finding_add(diagnosis, "isolation", VERDICT_UNKNOWN, why);
        char command[LINE_SIZE];
        const char *rcu;

        if (isolated < 0) {
                finding_say(finding->now, CPU "/isolated can't be read");
                finding_say(finding->better, "see isolcpus= in /proc/cmdline");
                return;
        }
        sysfile_line(command, sizeof(command), patient->root, "/proc/cmdline");
        rcu = strstr(command, "rcu_nocbs=") ? "given" : "not given";
        finding_say(finding->now,
                    "CPUs %d and %d are %sisolated from the scheduler, %swithout a tick "
                    "(nohz_full); rcu_nocbs is %s",
                    patient->cpus[0], patient->cpus[1], isolated ? "" : "not ",
                    tickless > 0 ? "" : "not ", rcu);
        finding->verdict = isolated && tickless > 0 ? VERDICT_GOOD : VERDICT_COSTS;
        if (finding->verdict == VERDICT_COSTS)
                finding_say(finding->better,
                            "on the kernel's command line isolcpus=%d,%d nohz_full=%d,%d "
                            "rcu_nocbs=%d,%d, if the machine has CPUs to spare",
                            patient->cpus[0], patient->cpus[1], patient->cpus[0], patient->cpus[1],
                            patient->cpus[0], patient->cpus[1]);
}

static void check_mitigations(struct diagnosis *diagnosis, const struct patient *patient)
{
        static const char *const names[] = {"meltdown",
                                            "spectre_v1",
                                            "spectre_v2",
                                            "spec_store_bypass",
                                            "spec_rstack_overflow",
                                            "retbleed",
                                            "l1tf",
                                            "mds",
                                            "srbds",
                                            "mmio_stale_data",
                                            "tsx_async_abort",
                                            "gather_data_sampling",
                                            "reg_file_data_sampling",
                                            "vmscape",
                                            "tsa"};
        static const char why[] = "Each makes entering the kernel slower. Sleeping, waking and "
                                  "everything that goes through the kernel pays that; samples that "
                                  "are polled for in shared memory don't.";
        struct finding *finding = finding_add(diagnosis, "mitigations", VERDICT_UNKNOWN, why);
        char active[TEXT_SIZE - 40] = "", text[256];
        int n_read = 0, n_active = 0;

        for (uint32_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                if (!sysfile_line(text, sizeof(text), patient->root, CPU "/vulnerabilities/%s",
                                  names[i]))
                        continue;
                n_read++;
                if (strncmp(text, "Mitigation", 10) != 0)
                        continue;
                snprintf(active + strlen(active), sizeof(active) - strlen(active), "%s%s",
                         n_active++ ? ", " : "", names[i]);
        }
        if (n_read == 0) {
                finding_say(finding->now, CPU "/vulnerabilities can't be read");
                finding_say(finding->better, "lscpu may know more");
                return;
        }
        finding->verdict = n_active ? VERDICT_COSTS : VERDICT_GOOD;
        finding_say(finding->now, n_active ? "active against: %s" : "none is active%s", active);
        if (n_active)
                finding_say(finding->better, "to leave them as they are, unless nobody else's code "
                                             "ever runs here: then mitigations=off on the kernel's "
                                             "command line");
}

static void check_clock(struct diagnosis *diagnosis, const struct patient *patient)
{
        static const char why[] = "Programs that take the time of each sample, and every figure "
                                  "here, read this clock: in user space that takes some 20 ns, by "
                                  "a system call a microsecond.";
        struct finding *finding = finding_add(diagnosis, "clock", VERDICT_UNKNOWN, why);
        char source[64], others[128];
        bool is_user;

        sysfile_line(others, sizeof(others), patient->root,
                     "/sys/devices/system/clocksource/clocksource0/available_clocksource");
        if (!sysfile_line(source, sizeof(source), patient->root,
                          "/sys/devices/system/clocksource/clocksource0/current_clocksource")) {
                finding_say(finding->now, "the clock source can't be read");
                finding_say(finding->better, "the table of each command says what the clock costs");
                return;
        }
        is_user = strcmp(source, "tsc") == 0 || strcmp(source, "kvm-clock") == 0 ||
                  strcmp(source, "arch_sys_counter") == 0 ||
                  strcmp(source, "hyperv_clocksource_tsc_page") == 0;
        finding->verdict = is_user ? VERDICT_GOOD : VERDICT_COSTS;
        finding_say(finding->now, "%s, of %s", source, others[0] ? others : "unknown others");
        if (!is_user)
                finding_say(finding->better, "tsc, if the kernel trusts it: clocksource=tsc "
                                             "tsc=reliable on its command line");
}

/* The last level of cache that both share, or 0. */
static int shared_cache(const struct patient *patient)
{
        int64_t shared = 0, level;

        for (int i = 0; i < 8; i++) {
                char list[256];

                if (sysfile_number(&level, patient->root, CPU "/cpu%d/cache/index%d/level",
                                   patient->cpus[0], i) &&
                    sysfile_line(list, sizeof(list), patient->root,
                                 CPU "/cpu%d/cache/index%d/shared_cpu_list", patient->cpus[0], i) &&
                    sysfile_list_has(list, patient->cpus[1]) && level > shared)
                        shared = level;
        }
        return (int)shared;
}

static void check_distance(struct diagnosis *diagnosis, const struct patient *patient)
{
        static const char why[] = "Each sample is a few cache lines that go from one CPU to the "
                                  "other: through a cache that both share in some 50 ns, between "
                                  "dies or sockets in several times that.";
        struct finding *finding = finding_add(diagnosis, "distance", VERDICT_UNKNOWN, why);
        int64_t packages[2] = {-1, -1};
        char nodes[64];
        int cache = shared_cache(patient);

        for (int i = 0; i < 2; i++)
                sysfile_number(&packages[i], patient->root,
                               CPU "/cpu%d/topology/physical_package_id", patient->cpus[i]);
        if (!sysfile_line(nodes, sizeof(nodes), patient->root, "/sys/devices/system/node/online"))
                snprintf(nodes, sizeof(nodes), "unknown");
        if (patient->cpus[0] == patient->cpus[1]) {
                finding_say(finding->now, "there is one CPU only to be used, %d", patient->cpus[0]);
                finding_say(finding->better, "two of them");
                finding->verdict = VERDICT_COSTS;
                return;
        }
        if (packages[0] < 0 || packages[1] < 0) {
                finding_say(finding->now,
                            "where CPU %d and CPU %d are can't be read; NUMA nodes: "
                            "%s",
                            patient->cpus[0], patient->cpus[1], nodes);
                finding_say(finding->better, "lscpu -e may know more");
                return;
        }
        finding->verdict = packages[0] == packages[1] && cache ? VERDICT_GOOD : VERDICT_COSTS;
        if (packages[0] != packages[1])
                finding_say(finding->now,
                            "CPU %d is in socket %lld, CPU %d in socket %lld; NUMA "
                            "nodes: %s",
                            patient->cpus[0], (long long)packages[0], patient->cpus[1],
                            (long long)packages[1], nodes);
        else if (cache)
                finding_say(finding->now,
                            "CPU %d and CPU %d are in one socket and share the cache of level %d; "
                            "NUMA nodes: %s",
                            patient->cpus[0], patient->cpus[1], cache, nodes);
        else
                finding_say(finding->now,
                            "CPU %d and CPU %d are in one socket and share no cache "
                            "that the kernel knows; NUMA nodes: %s",
                            patient->cpus[0], patient->cpus[1], nodes);
        if (finding->verdict == VERDICT_COSTS)
                finding_say(finding->better, "two CPUs that share a cache, by --cpus A,B here and "
                                             "by taskset for your programs");
}

void diagnose_cpus(struct diagnosis *diagnosis, const struct patient *patient)
{
        check_hypervisor(diagnosis, patient);
        check_governor(diagnosis, patient);
        check_idle(diagnosis, patient);
        check_haltpoll(diagnosis, patient);
        check_siblings(diagnosis, patient);
        check_distance(diagnosis, patient);
        check_isolation(diagnosis, patient);
        check_mitigations(diagnosis, patient);
        check_clock(diagnosis, patient);
}
