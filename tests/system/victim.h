/* SPDX-License-Identifier: Apache-2.0 */
/*
 * victim.h - processes that die or stop at a point of their own (death-point.h), and the test that
 * lives through it.
 *
 * A victim plays a role step by step: it asks the test for what the other side has to do, and waits
 * until that is done. So each run is the same up to the point at which it ends, and the test knows
 * by the end of the stream of questions that it has.
 */
#ifndef SHMD_TESTS_VICTIM_H
#define SHMD_TESTS_VICTIM_H

#include "comeback.h"
#include "death-point.h"
#include "harness.h"
#include "stamped.h"

/* Of the role that is to die; of the broker (a build that has points). */
extern volatile struct death_plan *victim_plan, *broker_plan;

/* Makes the plans; first of all in main(). */
void victims_init(int argc, char **argv);

/* Counts from here on points of these kinds, and does what is planned at the n-th. Begins a new
 * record. */
void plan_set(volatile struct death_plan *plan, uint32_t kinds, int signal, uint64_t n);

/* In a role: from here on its points count. */
void victim_begin(void);
/* In a role: lets the test do something, and waits until it is done. */
void victim_step(char what);

/* In the test: what the victim asks for; '\0': it has ended; VICTIM_STOPPED: it has stopped. */
#define VICTIM_STOPPED '.'
char victim_asks(struct role *role);
void victim_answer(struct role *role);
/* Its exit status, or -signal. */
int victim_end(struct role *role);

/* ---- what was published ------------------------------------------------------------------ */

/* What a victim says of its publisher, readable when it is dead. */
struct record {
        uint64_t id;    /* 0: not known yet */
        uint64_t began; /* the number of the last sample that it began to publish */
        uint64_t done;  /* and of the last for which that has returned */
        uint64_t is_leaving;
};
extern volatile struct record *record;

/* In a victim: stamped_publish() with a point in the middle of writing the sample. */
void victim_publish(struct shmd_publisher *publisher, void *loan);
void *victim_loan(struct shmd_publisher *publisher);

/* ---- what is still there ----------------------------------------------------------------- */

uint32_t n_publishers(struct shmd_subscriber *subscriber);

/* Publishers and subscribers of all services, by the broker's word; and the pairs of them, as each
 * side counts them. */
struct census {
        unsigned n_publishers, n_subscribers;
        unsigned n_read, n_reading;
};
struct census take_census(struct shmd *bus);

/* Starts a broker in a dead one's place, then one that has followed nobody. */
void renew_broker(void);

/* Waits until the process (0: the test's) has what it had. */
void await_snapshot(pid_t pid, const struct snapshot *was, const char *whose);

/* ---- figures ----------------------------------------------------------------------------- */

/* Counts deaths, stops and the like; the sum is printed as "injections: N" at the test's end. */
void injected(unsigned n);
void injections_print(void);

/* Numbers that follow from $SHMD_SEED; without it from the time, and the seed is printed. */
void random_start(void);
uint64_t random_below(uint64_t bound);

#endif
