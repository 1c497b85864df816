/* SPDX-License-Identifier: Apache-2.0 */
/*
 * confine.c - the broker gives up what it no longer needs: each thing is tried from inside, by a
 * process that has confined itself as the program does, and before that by one that has not, since
 * what can't be done anyway shows nothing. That the confined broker serves, all other tests show.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "attempts.h"
#include "confine.h"
#include "harness.h"
#include "somebody.h"

static char output[16384];

/* ---- from inside ------------------------------------------------------------------------- */

static void confine_child(bool serves_others, char text[static CONFINE_TEXT_SIZE])
{
        must_equal(confine_begin(), 0);
        if (confine(broker.socket, serves_others, text) < 0) {
                fprintf(stderr, "confine: %s\n", text);
                _exit(FAILED);
        }
}

static int outcome_of(const struct attempt *attempt, bool is_confined)
{
        pid_t pid = child_fork();
        char text[CONFINE_TEXT_SIZE];

        if (pid)
                return child_finish(pid);
        alarm(10);
        if (is_confined)
                confine_child(false, text);
        if (attempt->try() >= 0)
                _exit(POSSIBLE);
        _exit(errno == ENOSYS || errno == EPERM || errno == EACCES ? REFUSED : FAILED);
}

/* What confine() says is missing here: layers. */
static int missing_layers(void)
{
        char *text = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        int missing = 0;
        pid_t pid;

        must(text != MAP_FAILED);
        pid = child_fork();
        if (pid == 0) {
                confine_child(false, text);
                _exit(0);
        }
        must_equal(child_finish(pid), 0);
        if (*text)
                print_message("missing here: %s\n", text);
        if (strstr(text, "files:"))
                missing |= FILES;
        if (strstr(text, "system calls:"))
                missing |= CALLS;
        munmap(text, 4096);
        return missing;
}

static void what_a_broker_does_not_need_is_refused(void **state)
{
        int missing = missing_layers();
        unsigned n_wrong = 0, n_tried = 0;

        attempts_init(getpid());
        for (size_t i = 0; i < n_attempts; i++) {
                const struct attempt *attempt = &attempts[i];
                int otherwise, confined;

                if (attempt->refused_by && (attempt->refused_by & ~missing) == 0)
                        continue;
                attempts_make_files();
                otherwise = outcome_of(attempt, false);
                attempts_make_files();
                confined = outcome_of(attempt, true);
                n_tried++;
                if ((attempt->otherwise == FAILED || otherwise == attempt->otherwise) &&
                    confined == attempt->confined)
                        continue;
                fprintf(stderr, "%s: %d, expected %d; without confinement %d, expected %d\n",
                        attempt->name, confined, attempt->confined, otherwise, attempt->otherwise);
                n_wrong++;
        }
        attempts_remove_files();
        print_message("%u attempts\n", n_tried);
        must_equal(n_wrong, 0);
}

/* ---- looking inside ---------------------------------------------------------------------- */

struct inside {
        pid_t pid;
        bool serves_others;
};

static void be_confined(void *argument)
{
        struct inside *inside = argument;
        char text[CONFINE_TEXT_SIZE];

        become_somebody();
        confine_child(inside->serves_others, text);
        say('c');
        hear('e');
        /* What it has left behind it could not look up. */
        _exit(0);
}

static void look_inside(void *argument)
{
        struct inside *inside = argument;
        char path[32];
        int fd;

        become_somebody();
        snprintf(path, sizeof(path), "/proc/%d/mem", inside->pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        must_equal(fd >= 0, !inside->serves_others);
        close(fd);
}

static void own_user_looks_inside_only_where_nobody_else_is_served(void **state)
{
        struct inside inside = {0};
        struct role *confined;

        if (geteuid() != 0)
                skip_because("only root can be another user");
        must_equal(chmod(broker.directory, 0711), 0);
        for (int others = 0; others < 2; others++) {
                inside.serves_others = others;
                confined = role_start("confined", be_confined, &inside);
                role_await(confined, 'c');
                inside.pid = confined->pid;
                role_finish(role_start("curious", look_inside, &inside));
                role_tell(confined, 'e');
                role_finish(confined);
        }
}

/* ---- the program ------------------------------------------------------------------------- */

/* The number, or its hexadecimal digits, behind `key` in the status of a process's thread. */
static unsigned long long status_of(pid_t pid, pid_t thread, const char *key)
{
        char path[64], line[256];
        unsigned long long value = 0;
        bool is_found = false;
        FILE *file;

        snprintf(path, sizeof(path), "/proc/%d/task/%d/status", pid, thread);
        file = fopen(path, "re");
        must(file);
        while (!is_found && fgets(line, sizeof(line), file))
                if (!strncmp(line, key, strlen(key)) && line[strlen(key)] == ':') {
                        value = strtoull(line + strlen(key) + 1, NULL, 16);
                        is_found = true;
                }
        fclose(file);
        must(is_found);
        return value;
}

static void must_be_confined(pid_t thread, int missing)
{
        const unsigned long long may_keep = 1ULL << CAP_SYS_RESOURCE;

        must_equal(status_of(broker.pid, thread, "NoNewPrivs"), 1);
        must_equal(status_of(broker.pid, thread, "CapPrm") & ~may_keep, 0);
        must_equal(status_of(broker.pid, thread, "CapEff") & ~may_keep, 0);
        must_equal(status_of(broker.pid, thread, "CapInh"), 0);
        if (!(missing & CALLS))
                must_equal(status_of(broker.pid, thread, "Seccomp"), SECCOMP_MODE_FILTER);
}

static void all_threads_of_the_broker_are_confined(void **state)
{
        int missing = missing_layers();
        pid_t thread;

        /* Clients' sockets are closed in a thread of their own. */
        shmd_close(broker_connect());
        broker_rest();
        until(status_of(broker.pid, broker.pid, "Threads") > 1);
        must_be_confined(broker.pid, missing);
        /* Its number is one of the next. */
        for (thread = broker.pid + 1; syscall(SYS_tgkill, broker.pid, thread, 0) < 0;)
                thread++;
        must_be_confined(thread, missing);
        must_say(broker_log(), missing ? "not wholly confined" : "shmd: confined");
}

static void broker_is_not_confined_when_told_so(void **state)
{
        broker_terminate(SIGTERM);
        must_equal(unlink(broker.log), 0);
        broker_spawn((const char *const[]){"--confine", "off", NULL});
        must_equal(status_of(broker.pid, broker.pid, "NoNewPrivs"),
                   status_of(getpid(), getpid(), "NoNewPrivs"));
        must_equal(status_of(broker.pid, broker.pid, "CapEff"),
                   status_of(getpid(), getpid(), "CapEff"));
        must_equal(status_of(broker.pid, broker.pid, "Seccomp"),
                   status_of(getpid(), getpid(), "Seccomp"));
        must(!strstr(broker_log(), "confined"));
        broker_terminate(SIGTERM);
        must_equal(program_run(output, sizeof(output),
                               (const char *const[]){SHMD_PROGRAM, "--confine", "maybe", NULL}),
                   2);
        must_say(output, "'maybe'", "auto, require or off");
        broker_spawn(NULL);
}

/* As a kernel without Landlock; programs that are started inherit it. */
static void forbid_landlock(void)
{
        struct sock_filter filter[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 444 /* landlock_create_ruleset */, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = {.len = N_ELEMENTS(filter), .filter = filter};

        must_equal(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        must_equal(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static void start_without_landlock(void *argument)
{
        forbid_landlock();
        must_equal(program_run(output, sizeof(output),
                               (const char *const[]){SHMD_PROGRAM, "--socket", broker.socket,
                                                     "--confine", "require", NULL}),
                   1);
        must_say(output, "can't confine itself", "files: no Landlock", "--confine");
        must_equal(access(broker.socket, F_OK), -1);
}

static void serve_without_landlock(void *argument)
{
        int log = open(broker.log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        must_equal(dup2(log, STDERR_FILENO), STDERR_FILENO);
        forbid_landlock();
        execl(SHMD_PROGRAM, SHMD_PROGRAM, "--socket", broker.socket, NULL);
        _exit(127);
}

static void what_a_kernel_does_not_have_is_named_and_only_required_if_told_so(void **state)
{
        struct shmd_connect_options options = {.size = sizeof(options), .socket = broker.socket};
        struct role *unconfined;
        struct shmd *bus;

        if (missing_layers() & CALLS)
                skip_because("no filters here, which make the kernel look older");
        broker_terminate(SIGTERM);
        role_finish(role_start("broker", start_without_landlock, NULL));
        unconfined = role_start("broker", serve_without_landlock, NULL);
        until(shmd_connect(&bus, &options) == 0);
        broker_settle(bus);
        shmd_close(bus);
        must_say(broker_log(), "not wholly confined: files: no Landlock (Linux 5.13)");
        must_equal(kill(unconfined->pid, SIGTERM), 0);
        role_finish(unconfined);
        broker_spawn(NULL);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(what_a_broker_does_not_need_is_refused),
                system_test(own_user_looks_inside_only_where_nobody_else_is_served),
                system_test(all_threads_of_the_broker_are_confined),
                system_test(broker_is_not_confined_when_told_so),
                system_test(what_a_kernel_does_not_have_is_named_and_only_required_if_told_so),
        };

#ifdef CONFINE_INSTRUMENTED
        puts("skipped: what a sanitizer needs is not confined");
        return 77;
#endif
        harness_init(argc, argv);
        return cmocka_run_group_tests_name("system-confine", tests, NULL, NULL);
}
