/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine.h - on what were the figures taken?
 */
#ifndef BENCH_MACHINE_H
#define BENCH_MACHINE_H

#include <stdint.h>

#include "clock.h"

struct machine {
        char cpu[128];    /* the model's name; "" if the kernel doesn't say */
        char kernel[128]; /* release */
        char system[128]; /* the distribution's name */
        char architecture[32];
        char clock_source[32];
        char governor[32]; /* of the first CPU used; "" if there is none to see */
        uint32_t cpus_online;
        uint32_t cpus_usable; /* by this process */
        int hypervisor;       /* 1, 0, or -1: not known */
        uint64_t memory;      /* bytes */
        struct clock_facts clock;
};

void machine_look(struct machine *machine, int cpu);

/** Bytes that could be used now without pushing anything out; UINT64_MAX: not known. */
uint64_t machine_memory_available(void);

#endif
