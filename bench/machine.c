/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine.c - what the kernel says about the machine.
 */
#include "machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cgroup.h"
#include "process.h"
#include "sysfile.h"

void machine_look(struct machine *machine, int cpu)
{
        struct utsname names;
        char text[4096];
        int cpus[1024];

        *machine = (struct machine){.hypervisor = -1};
        if (uname(&names) == 0) {
                snprintf(machine->kernel, sizeof(machine->kernel), "%s", names.release);
                snprintf(machine->architecture, sizeof(machine->architecture), "%.31s",
                         names.machine);
        }
        sysfile_look_up(machine->cpu, sizeof(machine->cpu), "", "/proc/cpuinfo", "model name", ':');
        sysfile_look_up(machine->system, sizeof(machine->system), "", "/etc/os-release",
                        "PRETTY_NAME", '=');
        if (sysfile_look_up(text, sizeof(text), "", "/proc/cpuinfo", "flags", ':'))
                machine->hypervisor = strstr(text, " hypervisor") != NULL;
        sysfile_line(machine->clock_source, sizeof(machine->clock_source), "",
                     "/sys/devices/system/clocksource/clocksource0/current_clocksource");
        sysfile_line(machine->governor, sizeof(machine->governor), "",
                     "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_governor", cpu);
        machine->cpus_online = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
        machine->cpus_usable = process_cpus(cpus, 1024);
        machine->memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
        clock_measure(&machine->clock);
}

uint64_t machine_memory_available(void)
{
        uint64_t available = UINT64_MAX;
        struct cgroup_limits limits;
        char text[64];

        if (sysfile_look_up(text, sizeof(text), "", "/proc/meminfo", "MemAvailable", ':'))
                available = strtoull(text, NULL, 10) << 10;
        cgroup_look(&limits, "");
        if (limits.memory && (uint64_t)limits.memory_room < available)
                available = (uint64_t)limits.memory_room;
        return available;
}
