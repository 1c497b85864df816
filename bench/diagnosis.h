/* SPDX-License-Identifier: Apache-2.0 */
/*
 * diagnosis.h - what on a machine costs latency, and what could be done about it?
 *
 * Nearly all of it stands in files of the kernel's, which are looked for below a root, so that
 * machines can be made up for tests. Nothing is changed, and nothing is measured.
 */
#ifndef BENCH_DIAGNOSIS_H
#define BENCH_DIAGNOSIS_H

#include <stdint.h>

enum verdict {
        VERDICT_GOOD,    /* nothing to gain here */
        VERDICT_COSTS,   /* costs latency, or makes it uneven, or may */
        VERDICT_UNKNOWN, /* can't be seen from here */
};

struct finding {
        const char *name;
        enum verdict verdict;
        char now[320];    /* how it is */
        const char *why;  /* what it costs, why it matters */
        char better[320]; /* what would be better, and how to get there; "" if it is good */
};

enum { FINDINGS_MAX = 24 };

struct diagnosis {
        struct finding findings[FINDINGS_MAX];
        uint32_t n_findings;
};

/** What is not in a file. */
struct patient {
        const char *root;    /* "": this machine */
        int cpus[2];         /* the two that would be measured */
        uint32_t n_cpus;     /* that this process may use */
        int membarrier;      /* commands of membarrier(2); negative errno */
        char hypervisor[16]; /* what it calls itself to the CPU's cpuid; "": not known */
};

/** This machine. */
void patient_init(struct patient *patient, const int cpus[2]);

/** All checks, those of diagnosis-cpu.c first. */
void diagnose(struct diagnosis *diagnosis, const struct patient *patient);

/** The two halves. */
void diagnose_cpus(struct diagnosis *diagnosis, const struct patient *patient);
void diagnose_system(struct diagnosis *diagnosis, const struct patient *patient);

/** One more; `why` has to last. @return to be filled in: `now`, `better`. */
struct finding *finding_add(struct diagnosis *diagnosis, const char *name, enum verdict verdict,
                            const char *why);

/** Sets `now` or `better`. */
void finding_say(char text[320], const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
