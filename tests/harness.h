/* SPDX-License-Identifier: Apache-2.0 */
/*
 * harness.h - what system tests are made of: a broker of their own, processes that play roles, and
 * an eye on what is left behind.
 *
 * Each test gets a fresh directory with a fresh broker in it (harness_setup()) and has to leave
 * nothing (harness_teardown()): the broker's descriptors and mappings are back to what they were
 * when it was idle, its accounts are zero (services/shmd/quota.h), it ends cleanly on SIGTERM, its
 * directory is empty, and the test's own process has as many descriptors, mappings of shared memory
 * and memfds as before.
 *
 * Nobody sleeps for a while and hopes. Waiting means until(): a condition that is looked at again
 * and again, or a pipe that is polled, and both end the test when patience is over. A process that
 * plays a role dies with the test's process, and at its own alarm.
 *
 * must() works in the test and in roles alike: in the test it fails it, a role ends with status 1,
 * which fails the test that waits for it.
 */
#ifndef SHMD_TESTS_HARNESS_H
#define SHMD_TESTS_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>

#include <shmd/shmd.h>

#define MS UINT64_C(1000000) /* in nanoseconds */

/* How long anything may take that is due, on one slow CPU and with sanitizers too. */
#define PATIENCE_NS (20000 * MS)

#define N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

#if defined(__SANITIZE_ADDRESS__)
#define HAVE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAVE_ASAN 1
#endif
#endif
#ifndef HAVE_ASAN
#define HAVE_ASAN 0
#endif

/* ---- claims ------------------------------------------------------------------------------ */

void harness_must(bool is_so, const char *claim, const char *file, int line);
void harness_must_equal(int64_t is, int64_t should_be, const char *claim, const char *file,
                        int line);
void harness_must_say(const char *text, const char *const *parts, size_t n_parts, const char *file,
                      int line);
/* Fails when `deadline` is over, else gives others a moment. */
void harness_look_again(uint64_t deadline, const char *condition, const char *file, int line);
uint64_t harness_now(void);

#ifdef __clang_analyzer__
/* It does not see that what is not so ends the test. */
#define must(claim)               ((claim) ? (void)0 : __builtin_unreachable())
#define must_equal(is, should_be) ((is) == (should_be) ? (void)0 : __builtin_unreachable())
#else
#define must(claim) harness_must(!!(claim), #claim, __FILE__, __LINE__)
#define must_equal(is, should_be)                                                                \
        harness_must_equal((int64_t)(is), (int64_t)(should_be), #is " == " #should_be, __FILE__, \
                           __LINE__)
#endif
/* `text` contains all the parts. */
#define must_say(text, ...)                                                                     \
        harness_must_say(text, (const char *const[]){__VA_ARGS__},                              \
                         sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *), __FILE__, \
                         __LINE__)
/* Looks at the condition until it is true. */
#define until(condition)                                                   \
        for (uint64_t until_ = harness_now() + PATIENCE_NS; !(condition);) \
        harness_look_again(until_, #condition, __FILE__, __LINE__)

/* Ends the test as skipped. */
#define skip_because(reason)                            \
        do {                                            \
                print_message("skipped: %s\n", reason); \
                skip();                                 \
        } while (0)

/* ---- what a process has ------------------------------------------------------------------ */

struct snapshot {
        unsigned n_fds;
        unsigned n_memfds;   /* of these, shared memory of ours */
        unsigned n_mappings; /* of shared memory of ours */
        char text[16384];    /* a line for each */
};

/* `pid` 0: this process. */
void snapshot_take(struct snapshot *snapshot, pid_t pid);
bool snapshot_equal(const struct snapshot *one, const struct snapshot *other);
/* Says on standard error what was there and what is. */
void snapshot_explain(const char *what, const struct snapshot *was, const struct snapshot *is);

/* Whether nothing but one session, perhaps, was charged to anybody when the broker with this log
 * ended: what it says there from `start` on. If not, says so. */
bool accounts_were_zero(const char *path, off_t start);

/* Whether the process sleeps in the kernel. */
bool process_is_asleep(pid_t pid);
/* Resident memory of a process in bytes. */
uint64_t process_resident(pid_t pid);
/* How many CPUs this process may use. */
unsigned n_cpus(void);

/* ---- the broker -------------------------------------------------------------------------- */

struct broker {
        pid_t pid; /* 0: none runs */
        char directory[64];
        char socket[80]; /* DIRECTORY/shmd/control */
        char log[80];
        struct shmd *bus; /* the harness's own connection, there as long as the broker is */
        struct snapshot idle;
};

extern struct broker broker;       /* of the test that runs */
extern const char *broker_program; /* what broker_spawn() runs */

/* Starts a broker in broker.directory and connects; `arguments` (NULL-terminated, or NULL) come
 * after --socket and --log-level. */
void broker_spawn(const char *const *arguments);
/* SIGTERM or SIGINT: it has to end with 0. */
void broker_terminate(int signal);
/* SIGKILL. */
void broker_kill(void);
/* What it has written so far, until the next call. */
const char *broker_log(void);

/* A connection of the test's own. */
struct shmd *broker_connect(void);
struct shmd *broker_connect_with(uint32_t spin_ns, struct uv_loop_s *loop);
/* A round trip: the broker has acted on all that this connection has told it. */
void broker_settle(struct shmd *bus);
/* It has also done what it does after it has answered. */
void broker_rest(void);

/* Runs a program to its end; its exit status, or -signal. What it writes goes to `output`. */
int program_run(char *output, size_t size, const char *const *arguments);

/* ---- roles ------------------------------------------------------------------------------- */

struct role {
        pid_t pid; /* 0: ended and reaped */
        int to, from;
        const char *name;
};

/* Forks a process that runs `run(argument)` and ends; it has none of this one's sockets. */
struct role *role_start(const char *name, void (*run)(void *argument), void *argument);
/* Sends a character to the role, which hears it; waits for one that the role says. */
void role_tell(struct role *role, char what);
void role_await(struct role *role, char what);
/* Waits until it has ended by itself, well. */
void role_finish(struct role *role);
void role_kill(struct role *role);
/* SIGSTOP, and it has stopped; SIGCONT. */
void role_stop(struct role *role);
void role_continue(struct role *role);

/* In a role: to and from the test. */
void say(char what);
void hear(char what);
bool has_heard(char what); /* without waiting */

/* fork(), with must() made right in the child, which dies with this process. The caller reaps it:
 * with child_finish(), which says its exit status or -signal. */
pid_t child_fork(void);
int child_finish(pid_t pid);

/* Memory shared with roles that are started afterwards: zero at first, gone with the test. */
void *shared_memory(size_t size);

/* ---- the fixture ------------------------------------------------------------------------- */

int harness_setup(void **state);
int harness_teardown(void **state);

#define system_test(function) \
        cmocka_unit_test_setup_teardown(function, harness_setup, harness_teardown)

/* Takes --long and a pattern of test names, and bounds the whole program. */
void harness_init(int argc, char **argv);
extern bool harness_is_long;

#endif
