/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crew.h - how do many processes take a measurement's steps together?
 *
 *     coordinator                          each member, a process of its own
 *     crew_start() forks them              member_await() sleeps
 *     crew_order() begins a step   -->     returns it: does its part
 *     crew_await() sleeps until all have   member_done(), with the time
 *
 * Unlike the two of ends.h, members sleep for their orders: there are more of them than CPUs.
 */
#ifndef BENCH_CREW_H
#define BENCH_CREW_H

#include <stdint.h>

struct crew;

struct member {
        struct crew *crew;
        uint32_t index;
};

/** A member's life. @return 0; negative after member_failed(). */
typedef int (*crew_run)(const struct member *member, void *user);

enum {
        CREW_MAX = 128,
        CREW_QUIT = 0, /* the step after which a member ends; others are the measurement's own */
};

/**
 * Forks `n_members`, even ones to be run on cpus[0], odd ones on cpus[1].
 * @return 0 and *crew, to be ended by crew_end(); negative errno.
 */
int crew_start(struct crew **crew, uint32_t n_members, const int *cpus, crew_run run, void *user);

/** Begins a step. @return when, on clock_ns(). */
uint64_t crew_order(struct crew *crew, uint32_t step);

/**
 * Sleeps until all have done the step; at most `timeout_ns`.
 * @param last_ns when the last of them had; may be NULL.
 * @return 0; -ETIMEDOUT; -EINTR; negative errno of a member that failed, or -ECANCELED of one that
 *         died: with a text.
 */
int crew_await(struct crew *crew, uint64_t timeout_ns, uint64_t *last_ns, char *reason,
               uint32_t reason_size);

/** Has failed members or dead ones? As crew_await(), but only looks. */
int crew_look(struct crew *crew, char *reason, uint32_t reason_size);

/** Ends all of them, whatever they do. NULL is allowed. */
void crew_end(struct crew *crew);

/** Sleeps until there is a step for it. @return which. */
uint32_t member_await(const struct member *member);

/** Its part of the step is done, now. */
void member_done(const struct member *member);

/** It can't go on. @return `result`. */
int member_failed(const struct member *member, int result, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

#endif
