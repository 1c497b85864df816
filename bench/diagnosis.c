/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diagnosis.c - the list of findings, and what is not in files.
 */
#include "diagnosis.h"

#include <assert.h>
#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif
#include <errno.h>
#include <linux/membarrier.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "process.h"

struct finding *finding_add(struct diagnosis *diagnosis, const char *name, enum verdict verdict,
                            const char *why)
{
        struct finding *finding = &diagnosis->findings[diagnosis->n_findings];

        assert(diagnosis->n_findings < FINDINGS_MAX);
        diagnosis->n_findings++;
        *finding = (struct finding){.name = name, .verdict = verdict, .why = why};
        return finding;
}

void finding_say(char text[320], const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(text, sizeof(((struct finding *)0)->now), format, arguments);
        va_end(arguments);
}

/* Leaf 0x40000000 is for hypervisors, which sign there. */
static void hypervisor_name(char name[16])
{
#if defined(__x86_64__) || defined(__i386__)
        uint32_t features, leaf, words[3] = {0};

        __cpuid(1, leaf, words[0], features, words[1]);
        if (!(features >> 31))
                return;
        __cpuid(0x40000000, leaf, words[0], words[1], words[2]);
        memcpy(name, words, sizeof(words));
#endif
        name[12] = '\0';
}

void patient_init(struct patient *patient, const int cpus[2])
{
        int usable[1024];

        *patient = (struct patient){.root = "", .cpus = {cpus[0], cpus[1]}};
        patient->n_cpus = process_cpus(usable, 1024);
        patient->membarrier = (int)syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
        if (patient->membarrier < 0)
                patient->membarrier = -errno;
        hypervisor_name(patient->hypervisor);
}

void diagnose(struct diagnosis *diagnosis, const struct patient *patient)
{
        *diagnosis = (struct diagnosis){0};
        diagnose_cpus(diagnosis, patient);
        diagnose_system(diagnosis, patient);
}
