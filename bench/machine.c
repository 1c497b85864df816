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

#include "process.h"

static void first_line(const char *path, char *text, size_t size)
{
        FILE *file = fopen(path, "r");

        if (file && fgets(text, (int)size, file))
                text[strcspn(text, "\n")] = '\0';
        if (file)
                fclose(file);
}

/* The value behind `key` and a separator in the first line that starts with it. */
static int look_up(const char *path, const char *key, char separator, char *text, size_t size)
{
        FILE *file = fopen(path, "r");
        char line[4096];
        int found = 0;

        while (file && !found && fgets(line, sizeof(line), file)) {
                char *value = strchr(line, separator);

                if (strncmp(line, key, strlen(key)) != 0 || !value)
                        continue;
                value += 1 + strspn(value + 1, " \t\"");
                value[strcspn(value, "\"\n")] = '\0';
                snprintf(text, size, "%.*s", (int)size - 1, value);
                found = 1;
        }
        if (file)
                fclose(file);
        return found;
}

void machine_look(struct machine *machine, int cpu)
{
        struct utsname names;
        char text[4096], path[96];
        int cpus[1024];

        *machine = (struct machine){.hypervisor = -1};
        if (uname(&names) == 0) {
                snprintf(machine->kernel, sizeof(machine->kernel), "%s", names.release);
                snprintf(machine->architecture, sizeof(machine->architecture), "%.31s",
                         names.machine);
        }
        look_up("/proc/cpuinfo", "model name", ':', machine->cpu, sizeof(machine->cpu));
        look_up("/etc/os-release", "PRETTY_NAME", '=', machine->system, sizeof(machine->system));
        if (look_up("/proc/cpuinfo", "flags", ':', text, sizeof(text)))
                machine->hypervisor = strstr(text, " hypervisor") != NULL;
        first_line("/sys/devices/system/clocksource/clocksource0/current_clocksource",
                   machine->clock_source, sizeof(machine->clock_source));
        snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_governor", cpu);
        first_line(path, machine->governor, sizeof(machine->governor));
        machine->cpus_online = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
        machine->cpus_usable = process_cpus(cpus, 1024);
        machine->memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
        clock_measure(&machine->clock);
}

uint64_t machine_memory_available(void)
{
        char text[64];

        if (!look_up("/proc/meminfo", "MemAvailable", ':', text, sizeof(text)))
                return UINT64_MAX;
        return strtoull(text, NULL, 10) << 10;
}
