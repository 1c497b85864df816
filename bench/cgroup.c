/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup.c - the groups of a process, from its own up to the top.
 */
#include "cgroup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sysfile.h"

enum { PATH_SIZE = 256 };

/* Version 1 says "no limit" with a number that no machine has. */
#define MEMORY_ENDLESS (1ll << 60)

/* The group of a controller in version 1, or with "" in version 2. */
static bool group_of(char *path, size_t size, const char *root, const char *controller)
{
        for (int id = 0; id < 64; id++) {
                char key[16], line[PATH_SIZE + 64], names[80];
                char *colon;

                snprintf(key, sizeof(key), "%d:", id);
                if (!sysfile_look_up(line, sizeof(line), root, "/proc/self/cgroup", key, ':'))
                        continue;
                colon = strchr(line, ':');
                if (!colon)
                        continue;
                snprintf(names, sizeof(names), ",%.*s,", (int)(colon - line), line);
                if ((!*controller && colon == line) || (*controller && strstr(names, controller))) {
                        snprintf(path, size, "%s", colon + 1);
                        return true;
                }
        }
        return false;
}

/* Cuts off the last part. @return false: that was the top. */
static bool up(char *path)
{
        char *slash = strrchr(path, '/');

        if (!*path)
                return false;
        *(slash ? slash : path) = '\0';
        return true;
}

static void cpus_lower(struct cgroup_limits *limits, double cpus, int64_t throttled)
{
        limits->known = true;
        if (cpus > 0 && (limits->cpus == 0 || cpus < limits->cpus)) {
                limits->cpus = cpus;
                limits->throttled = throttled;
        }
}

static void memory_lower(struct cgroup_limits *limits, int64_t limit, int64_t used)
{
        limits->known = true;
        if (limit >= MEMORY_ENDLESS)
                return;
        if (limits->memory == 0 || limit - used < limits->memory_room) {
                limits->memory = limit;
                limits->memory_room = limit > used ? limit - used : 0;
        }
}

static int64_t throttled_of(const char *root, const char *directory)
{
        char path[PATH_SIZE + 64], text[32];

        snprintf(path, sizeof(path), "%s/cpu.stat", directory);
        return sysfile_look_up(text, sizeof(text), root, path, "nr_throttled", ' ')
                       ? strtoll(text, NULL, 10)
                       : -1;
}

/* "max 100000" or "50000 100000" */
static void look_unified(struct cgroup_limits *limits, const char *root, const char *directory)
{
        char text[64], *rest;
        int64_t limit, used = 0;

        if (sysfile_line(text, sizeof(text), root, "%s/cpu.max", directory)) {
                double quota = strtod(text, &rest), period = strtod(rest, NULL);

                cpus_lower(limits, rest != text && period > 0 ? quota / period : 0,
                           throttled_of(root, directory));
        }
        if (sysfile_line(text, sizeof(text), root, "%s/memory.max", directory))
                limits->known = true;
        if (sysfile_number(&limit, root, "%s/memory.max", directory)) {
                sysfile_number(&used, root, "%s/memory.current", directory);
                memory_lower(limits, limit, used);
        }
}

static void look_cpu(struct cgroup_limits *limits, const char *root, const char *directory)
{
        int64_t quota, period;

        if (sysfile_number(&quota, root, "%s/cpu.cfs_quota_us", directory) &&
            sysfile_number(&period, root, "%s/cpu.cfs_period_us", directory))
                cpus_lower(limits, period > 0 ? (double)quota / (double)period : 0,
                           throttled_of(root, directory));
}

static void look_memory(struct cgroup_limits *limits, const char *root, const char *directory)
{
        int64_t limit, used = 0;

        if (sysfile_number(&limit, root, "%s/memory.limit_in_bytes", directory)) {
                sysfile_number(&used, root, "%s/memory.usage_in_bytes", directory);
                memory_lower(limits, limit, used);
        }
}

static void climb(struct cgroup_limits *limits, const char *root, const char *mount, char *path,
                  void (*look)(struct cgroup_limits *, const char *, const char *))
{
        do {
                char directory[PATH_SIZE + 32];

                snprintf(directory, sizeof(directory), "%s%s", mount,
                         strcmp(path, "/") == 0 ? "" : path);
                look(limits, root, directory);
        } while (up(path));
}

void cgroup_look(struct cgroup_limits *limits, const char *root)
{
        char path[PATH_SIZE];

        *limits = (struct cgroup_limits){.throttled = -1};
        if (group_of(path, sizeof(path), root, ""))
                climb(limits, root, "/sys/fs/cgroup", path, look_unified);
        if (group_of(path, sizeof(path), root, ",cpu,"))
                climb(limits, root, "/sys/fs/cgroup/cpu", path, look_cpu);
        if (group_of(path, sizeof(path), root, ",memory,"))
                climb(limits, root, "/sys/fs/cgroup/memory", path, look_memory);
}
