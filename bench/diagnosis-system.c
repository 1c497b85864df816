/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diagnosis-system.c - the rest of the machine: limits, memory, the kernel, and who else is busy.
 */
#include "diagnosis.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cgroup.h"
#include "sysfile.h"

enum { MIB_SHIFT = 20 };

static void check_cpu_limit(struct diagnosis *diagnosis, const struct patient *patient,
                            const struct cgroup_limits *limits)
{
        static const char why[] = "When a group has used up its share of a period of usually "
                                  "100 ms it is stopped until the next one: a hole of up to that "
                                  "long. What spins uses it up first.";
        struct finding *finding = finding_add(diagnosis, "cgroup CPU", VERDICT_UNKNOWN, why);

        if (!limits->known) {
                finding_say(finding->now, "no limits of a control group can be read");
                finding_say(finding->better, "look at cpu.max of the group, from outside of the "
                                             "container if there is one");
        } else if (limits->cpus == 0) {
                finding->verdict = VERDICT_GOOD;
                finding_say(finding->now, "no limit; %u CPUs may be used", patient->n_cpus);
        } else {
                finding->verdict = VERDICT_COSTS;
                finding_say(finding->now,
                            "limited to %.2f CPUs' worth of time, %u CPUs may be used",
                            limits->cpus, patient->n_cpus);
                if (limits->throttled >= 0)
                        finding_say(finding->now,
                                    "limited to %.2f CPUs' worth of time, of which it was stopped "
                                    "%lld times; %u CPUs may be used",
                                    limits->cpus, (long long)limits->throttled, patient->n_cpus);
                finding_say(finding->better, "no limit (cpu.max \"max\"), or as many CPUs as there "
                                             "are threads that spin, and a cpuset instead");
        }
}

static void check_memory_limit(struct diagnosis *diagnosis, const struct cgroup_limits *limits)
{
        static const char why[] = "A publisher's samples are allocated and charged to its group "
                                  "when it advertises, all at once; what a group reaches its limit "
                                  "with is killed or swapped out.";
        struct finding *finding = finding_add(diagnosis, "cgroup memory", VERDICT_UNKNOWN, why);

        if (!limits->known) {
                finding_say(finding->now, "no limits of a control group can be read");
                finding_say(finding->better, "look at memory.max of the group");
        } else if (limits->memory == 0) {
                finding->verdict = VERDICT_GOOD;
                finding_say(finding->now, "no limit");
        } else {
                finding->verdict = VERDICT_COSTS;
                finding_say(finding->now, "limited to %lld MiB, of which %lld are free",
                            (long long)limits->memory >> MIB_SHIFT,
                            (long long)limits->memory_room >> MIB_SHIFT);
                finding_say(finding->better, "room for all publishers of the group: depth + 1 + "
                                             "loans + max_subscribers x holds samples each");
        }
}

/* The soft limit in /proc/self/limits. @return false: not there. */
static bool limit_of(const struct patient *patient, const char *name, char *text, size_t size)
{
        char line[256];
        const char *value;

        /* "Max locked memory   8388608   8388608   bytes": what follows the first space. */
        if (!sysfile_look_up(line, sizeof(line), patient->root, "/proc/self/limits", name, ' '))
                return false;
        value = line + strlen(name) - strlen("Max ");
        value += strspn(value, " ");
        snprintf(text, size, "%.*s", (int)strcspn(value, " "), value);
        return true;
}

static void check_limits(struct diagnosis *diagnosis, const struct patient *patient)
{
        static const char why[] =
                "With a real-time priority a program is not put aside for others; with locked "
                "memory it never waits for a page. shmd needs neither, the tail of its latency may "
                "gain.";
        struct finding *finding = finding_add(diagnosis, "limits", VERDICT_UNKNOWN, why);
        char memory[64], nice[64], priority[64];

        if (!limit_of(patient, "Max locked memory", memory, sizeof(memory)) ||
            !limit_of(patient, "Max nice priority", nice, sizeof(nice)) ||
            !limit_of(patient, "Max realtime priority", priority, sizeof(priority))) {
                finding_say(finding->now, "/proc/self/limits can't be read");
                finding_say(finding->better, "ulimit -a may know more");
                return;
        }
        finding->verdict = strcmp(priority, "0") ? VERDICT_GOOD : VERDICT_COSTS;
        finding_say(finding->now, "real-time priority up to %s, nice up to %s, locked memory %s%s",
                    priority, nice, memory, strcmp(memory, "unlimited") ? " bytes" : "");
        if (finding->verdict == VERDICT_COSTS)
                finding_say(finding->better, "rtprio, nice and memlock in /etc/security/limits.d, "
                                             "or LimitRTPRIO= and LimitMEMLOCK= of the unit, then "
                                             "chrt -f 1 PROGRAM (never where it spins on the only "
                                             "CPU)");
}

static void check_membarrier(struct diagnosis *diagnosis, const struct patient *patient)
{
        static const char why[] = "With it, publishers whose subscribers spin go without a fence "
                                  "for each sample, some nanoseconds less.";
        struct finding *finding = finding_add(diagnosis, "membarrier", VERDICT_COSTS, why);

        if (patient->membarrier >= 0 && patient->membarrier & MEMBARRIER_CMD_GLOBAL_EXPEDITED) {
                finding->verdict = VERDICT_GOOD;
                finding_say(finding->now, "membarrier(2) has GLOBAL_EXPEDITED");
                return;
        }
        if (patient->membarrier >= 0)
                finding_say(finding->now, "membarrier(2) is there, without GLOBAL_EXPEDITED");
        else
                finding_say(finding->now, "membarrier(2): %s", strerror(-patient->membarrier));
        finding_say(finding->better, patient->membarrier == -ENOSYS
                                             ? "a kernel with CONFIG_MEMBARRIER"
                                             : "Linux 4.16 or newer, and a seccomp filter that "
                                               "lets it through (of the container, of the unit)");
}

static void check_kernel(struct diagnosis *diagnosis, const struct patient *patient)
{
        static const char why[] = "shmd needs Linux 5.3 (pidfds, seals against new writers), and "
                                  "uses more where it is: memfds that can't be executed from 6.3.";
        struct finding *finding = finding_add(diagnosis, "kernel", VERDICT_UNKNOWN, why);
        char release[64], *rest;
        long major, minor;

        if (!sysfile_line(release, sizeof(release), patient->root, "/proc/sys/kernel/osrelease")) {
                finding_say(finding->now, "/proc/sys/kernel/osrelease can't be read");
                finding_say(finding->better, "uname -r knows");
                return;
        }
        major = strtol(release, &rest, 10);
        minor = *rest == '.' ? strtol(rest + 1, NULL, 10) : 0;
        if (major < 5 || (major == 5 && minor < 3)) {
                finding->verdict = VERDICT_COSTS;
                finding_say(finding->now, "Linux %s, on which shmd doesn't run", release);
                finding_say(finding->better, "Linux 5.3 or newer");
                return;
        }
        finding->verdict = VERDICT_GOOD;
        finding_say(finding->now, "Linux %s%s", release,
                    major > 6 || (major == 6 && minor >= 3) ? "" : ", without what came with 6.3");
}

/* The word in brackets. */
static bool chosen_of(const struct patient *patient, const char *path, char *word, size_t size)
{
        char line[256], *open, *end;

        if (!sysfile_line(line, sizeof(line), patient->root, "%s", path))
                return false;
        open = strchr(line, '[');
        end = open ? strchr(open, ']') : NULL;
        if (!end)
                return false;
        *end = '\0';
        snprintf(word, size, "%s", open + 1);
        return true;
}

static void check_huge_pages(struct diagnosis *diagnosis, const struct patient *patient)
{
        static const char why[] =
                "Samples of many MiB that are read as a whole cost a translation for every page of "
                "4 KiB, or one for 2 MiB where shared memory gets huge pages. A few bytes of each "
                "sample gain nothing.";
        struct finding *finding = finding_add(diagnosis, "huge pages", VERDICT_UNKNOWN, why);
        char shared[32];

        if (!chosen_of(patient, "/sys/kernel/mm/transparent_hugepage/shmem_enabled", shared,
                       sizeof(shared))) {
                finding_say(finding->now, "whether shared memory gets them can't be read");
                finding_say(finding->better, "a kernel with CONFIG_TRANSPARENT_HUGEPAGE");
                return;
        }
        finding->verdict = strcmp(shared, "always") == 0 || strcmp(shared, "within_size") == 0 ||
                                           strcmp(shared, "force") == 0
                                   ? VERDICT_GOOD
                                   : VERDICT_COSTS;
        finding_say(finding->now, "for shared memory: %s", shared);
        if (finding->verdict == VERDICT_COSTS)
                finding_say(finding->better, "for large samples: echo within_size > "
                                             "/sys/kernel/mm/transparent_hugepage/shmem_enabled");
}

static int64_t kib_of(const struct patient *patient, const char *key)
{
        char text[64];

        if (!sysfile_look_up(text, sizeof(text), patient->root, "/proc/meminfo", key, ':'))
                return -1;
        return strtoll(text, NULL, 10);
}

static void check_swap(struct diagnosis *diagnosis, const struct patient *patient)
{
        static const char why[] = "A sample that was swapped out takes milliseconds to come back.";
        int64_t total = kib_of(patient, "SwapTotal"), unused = kib_of(patient, "SwapFree");
        struct finding *finding = finding_add(diagnosis, "swap", VERDICT_UNKNOWN, why);

        if (total < 0 || unused < 0) {
                finding_say(finding->now, "/proc/meminfo can't be read");
                finding_say(finding->better, "swapon --show knows");
                return;
        }
        finding->verdict = total == unused ? VERDICT_GOOD : VERDICT_COSTS;
        if (total == 0)
                finding_say(finding->now, "there is none");
        else
                finding_say(finding->now, "%lld of %lld MiB are in use",
                            (long long)(total - unused) >> 10, (long long)total >> 10);
        if (total != unused)
                finding_say(finding->better, "more memory or fewer programs, then swapoff -a; or "
                                             "memory.swap.max 0 for the group");
}

static void check_load(struct diagnosis *diagnosis, const struct patient *patient)
{
        static const char why[] = "Whoever shares a CPU with an end that spins takes it away for "
                                  "milliseconds at a time.";
        struct finding *finding = finding_add(diagnosis, "load", VERDICT_UNKNOWN, why);
        char load[64], pressure[128];
        double busy;
        long running;

        if (!sysfile_line(load, sizeof(load), patient->root, "/proc/loadavg") ||
            sscanf(load, "%lf %*f %*f %ld/", &busy, &running) != 2) {
                finding_say(finding->now, "/proc/loadavg can't be read");
                finding_say(finding->better, "top knows");
                return;
        }
        /* Who looks is running as well. */
        finding->verdict = running > 1 || busy >= 0.5 ? VERDICT_COSTS : VERDICT_GOOD;
        sysfile_line(pressure, sizeof(pressure), patient->root, "/proc/pressure/cpu");
        if (strstr(pressure, " total="))
                *strstr(pressure, " total=") = '\0';
        finding_say(finding->now,
                    "%.2f were running or waiting in the last minute, %ld just now beside this "
                    "one%s%.60s",
                    busy, running > 0 ? running - 1 : 0, pressure[0] ? "; pressure: " : "",
                    pressure);
        if (finding->verdict == VERDICT_COSTS)
                finding_say(finding->better, "stop what is running (top shows it), or keep it off "
                                             "these CPUs: taskset, or a cpuset");
}

static void check_cpus(struct diagnosis *diagnosis, const struct patient *patient)
{
        static const char why[] = "Publisher and subscriber that spin need a CPU each; with less "
                                  "they take turns, by the scheduler's time slices.";
        struct finding *finding = finding_add(diagnosis, "CPUs", VERDICT_GOOD, why);
        char online[128];

        if (!sysfile_line(online, sizeof(online), patient->root, "/sys/devices/system/cpu/online"))
                snprintf(online, sizeof(online), "unknown");
        finding_say(finding->now, "%u may be used here; online: %s", patient->n_cpus, online);
        if (patient->n_cpus < 2) {
                finding->verdict = VERDICT_COSTS;
                finding_say(finding->better, "two or more (cpuset, taskset, or the machine), or "
                                             "programs that sleep");
        }
}

void diagnose_system(struct diagnosis *diagnosis, const struct patient *patient)
{
        struct cgroup_limits limits;

        cgroup_look(&limits, patient->root);
        check_cpus(diagnosis, patient);
        check_cpu_limit(diagnosis, patient, &limits);
        check_memory_limit(diagnosis, &limits);
        check_limits(diagnosis, patient);
        check_huge_pages(diagnosis, patient);
        check_swap(diagnosis, patient);
        check_membarrier(diagnosis, patient);
        check_kernel(diagnosis, patient);
        check_load(diagnosis, patient);
}
