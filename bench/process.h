/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process.h - how are the other processes of a measurement started, pinned, and surely ended?
 *
 * The program that was called only coordinates: it sleeps while its children measure. It blocks
 * SIGINT, SIGTERM, SIGHUP and SIGCHLD for good and takes them where it waits, so that nothing can
 * be missed and nothing runs in a handler. Every child is remembered by its pid and killed by it
 * when the coordinator ends, however it ends; and a child dies with its coordinator in any case.
 */
#ifndef BENCH_PROCESS_H
#define BENCH_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/** Not pinned. */
#define CPU_ANY (-1)

/** Once, before anything else here. */
void process_init(void);

/** The signal that asked this program to end, or 0. */
int process_interrupted(void);

/** Runs `run` in a child, which ends with what it returns. @return its pid, or negative errno. */
pid_t process_fork(int cpu, int (*run)(void *argument), void *argument);

/** Runs a program, its output appended to the file `log`. @return as above. */
pid_t process_exec(int cpu, const char *const *argv, const char *log);

/** Sleeps, but not through a signal that ends the program. @return 0, or -EINTR after one. */
int process_sleep(uint64_t ns);

/**
 * Waits until all `pids` have ended well, for at most `timeout_ns`. When one ends badly, or time is
 * over, or a signal came, those left are killed.
 * @return 0; -ECANCELED: one ended badly; -ETIMEDOUT; -EINTR; `killed_by`: the signal that the
 *         one that ended badly died of, or 0.
 */
int process_wait(const pid_t *pids, uint32_t n_pids, uint64_t timeout_ns, int *killed_by);

/** Whether this child is still running. */
bool process_runs(pid_t pid);

/** Ends a child: SIGTERM, a second of patience, SIGKILL. 0 and negative are ignored. */
void process_end(pid_t pid);

/** The same without patience: SIGKILL at once. Returns when it is gone. */
void process_kill(pid_t pid);

/** A directory to be removed, with the files in it, when the program ends, or before. */
void process_remove_at_end(const char *directory);
void process_remove_now(void);

/** The CPUs this program may use, at most `n_cpus` of them. @return how many. */
uint32_t process_cpus(int *cpus, uint32_t n_cpus);

#endif
