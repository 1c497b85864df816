/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup.h - what do control groups allow this process?
 *
 * The tightest limit of its own group and of those above it, of version 2 or 1 of the interface.
 * Groups above the mount (the host's, seen from a container) can't be seen.
 */
#ifndef BENCH_CGROUP_H
#define BENCH_CGROUP_H

#include <stdbool.h>
#include <stdint.h>

struct cgroup_limits {
        double cpus;         /* CPUs' worth of time; 0: no limit */
        int64_t throttled;   /* times that this limit stopped the group; -1: not known */
        int64_t memory;      /* bytes; 0: no limit */
        int64_t memory_room; /* of these, still free */
        bool known;          /* whether any of the files could be read */
};

void cgroup_look(struct cgroup_limits *limits, const char *root);

#endif
