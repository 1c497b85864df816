/* SPDX-License-Identifier: Apache-2.0 */
/* harness.c - the broker, the roles, and the fixture that looks at what is left. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "harness.h"

#define ROLES_MAX       16
#define PROGRAM_SECONDS 240 /* no test program takes longer, whatever happens */
#define ROLE_SECONDS    120

struct broker broker;
const char *broker_program = SHMD_PROGRAM;
bool harness_is_long;

static struct role roles[ROLES_MAX];
static const char *role_name; /* of this process; NULL: it is the test's */
static int role_in = -1, role_out = -1;
static struct snapshot before; /* of the test's process */
static struct rlimit descriptors;
static bool has_failed;
static void *shared;
static size_t shared_size;

/* ---- claims ------------------------------------------------------------------------------ */

static void fail_here(const char *file, int line)
{
        if (role_name) {
                fflush(NULL);
                _exit(1);
        }
        /* cmocka's jump out of a test is for the thread that runs it. */
        if (syscall(SYS_gettid) != getpid())
                abort();
        has_failed = true;
        _fail(file, line);
}

static const char *who(void)
{
        return role_name ? role_name : "test";
}

void harness_must(bool is_so, const char *claim, const char *file, int line)
{
        if (is_so)
                return;
        fprintf(stderr, "%s:%d: %s: not so: %s (last error: %s)\n", file, line, who(), claim,
                shmd_error());
        fail_here(file, line);
}

void harness_must_equal(int64_t is, int64_t should_be, const char *claim, const char *file,
                        int line)
{
        if (is == should_be)
                return;
        fprintf(stderr, "%s:%d: %s: not so: %s: %lld, not %lld (last error: %s)\n", file, line,
                who(), claim, (long long)is, (long long)should_be, shmd_error());
        fail_here(file, line);
}

void harness_must_say(const char *text, const char *const *parts, size_t n_parts, const char *file,
                      int line)
{
        for (size_t i = 0; i < n_parts; i++) {
                if (strstr(text, parts[i]))
                        continue;
                fprintf(stderr, "%s:%d: %s: '%s' does not say '%s'\n", file, line, who(), text,
                        parts[i]);
                fail_here(file, line);
        }
}

uint64_t harness_now(void)
{
        struct timespec time;

        /* A test may make the others jump. */
        clock_gettime(CLOCK_BOOTTIME, &time);
        return (uint64_t)time.tv_sec * 1000 * MS + (uint64_t)time.tv_nsec;
}

void harness_look_again(uint64_t deadline, const char *condition, const char *file, int line)
{
        if (harness_now() < deadline) {
                poll(NULL, 0, 1);
                return;
        }
        fprintf(stderr, "%s:%d: %s: never so: %s (last error: %s)\n", file, line, who(), condition,
                shmd_error());
        fail_here(file, line);
}

/* ---- children ---------------------------------------------------------------------------- */

static void become_child(const char *name)
{
        static const int signals[] = {SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGSYS, SIGABRT};

        role_name = name;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(harness_is_long ? 20 * ROLE_SECONDS : ROLE_SECONDS);
        /* cmocka's handlers would jump back into the runner, in two processes then. */
        for (size_t i = 0; i < N_ELEMENTS(signals); i++)
                signal(signals[i], SIG_DFL);
}

pid_t child_fork(void)
{
        pid_t pid;

        fflush(NULL);
        pid = fork();
        must(pid >= 0);
        if (pid == 0)
                become_child("child");
        return pid;
}

/* Waits for the child to change its state, as `flags` of waitpid() say. */
static int wait_for(pid_t pid, int flags)
{
        int status = 0;
        pid_t reaped = 0;

        until((reaped = waitpid(pid, &status, flags | WNOHANG)) != 0);
        must_equal(reaped, pid);
        return status;
}

static int exit_status(int status)
{
        return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

int child_finish(pid_t pid)
{
        return exit_status(wait_for(pid, 0));
}

/* Runs a program whose standard output and error go to `output`. */
static pid_t spawn(const char *const *arguments, int output)
{
        pid_t pid = child_fork();

        if (pid)
                return pid;
        alarm(0);
        dup2(output, STDOUT_FILENO);
        dup2(output, STDERR_FILENO);
        execv(arguments[0], (char *const *)(uintptr_t)arguments);
        _exit(127);
}

int program_run(char *output, size_t size, const char *const *arguments)
{
        int fd = memfd_create("output", MFD_CLOEXEC), status;
        ssize_t n;
        pid_t pid;

        must(fd >= 0);
        pid = spawn(arguments, fd);
        status = wait_for(pid, 0);
        n = pread(fd, output, size - 1, 0);
        close(fd);
        must(n >= 0);
        output[n] = '\0';
        return exit_status(status);
}

/* ---- the broker -------------------------------------------------------------------------- */

struct shmd *broker_connect_with(uint32_t spin_ns, struct uv_loop_s *loop)
{
        struct shmd_connect_options options = {
                .size = sizeof(options), .spin_ns = spin_ns, .socket = broker.socket, .loop = loop};
        struct shmd *bus;

        must_equal(shmd_connect(&bus, &options), 0);
        return bus;
}

struct shmd *broker_connect(void)
{
        return broker_connect_with(0, NULL);
}

static void ignore_listing(void *user, const struct shmd_listing *listing)
{
        (void)user;
        (void)listing;
}

void broker_settle(struct shmd *bus)
{
        must_equal(shmd_list(bus, ignore_listing, NULL), 0);
}

void broker_rest(void)
{
        broker_settle(broker.bus);
        until(process_is_asleep(broker.pid));
}

const char *broker_log(void)
{
        static char text[65536];
        FILE *log = fopen(broker.log, "re");
        size_t n;

        if (!log)
                return "";
        n = fread(text, 1, sizeof(text) - 1, log);
        text[n] = '\0';
        fclose(log);
        return text;
}

static bool is_served(void)
{
        struct shmd_connect_options options = {.size = sizeof(options), .socket = broker.socket};

        if (waitpid(broker.pid, NULL, WNOHANG) != 0) {
                broker.pid = 0;
                fprintf(stderr, "the broker ended: %s", broker_log());
                must(!"the broker runs");
        }
        return shmd_connect(&broker.bus, &options) == 0;
}

void broker_spawn(const char *const *arguments)
{
        const char *all[16] = {broker_program, "--socket", broker.socket, "--log-level", "debug"};
        int log = open(broker.log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

        must(log >= 0);
        must_equal(broker.pid, 0);
        for (size_t n = 5; arguments && *arguments && n < N_ELEMENTS(all) - 1; n++)
                all[n] = *arguments++;
        broker.pid = spawn(all, log);
        close(log);
        until(is_served());
        broker_rest();
        /* Of a later one, clients may have come back to it by now. */
        if (!broker.idle.n_fds)
                snapshot_take(&broker.idle, broker.pid);
}

static void drop_bus(void)
{
        shmd_close(broker.bus);
        broker.bus = NULL;
}

void broker_terminate(int signal)
{
        pid_t pid = broker.pid;
        int status;

        must(pid);
        drop_bus();
        must_equal(kill(pid, signal), 0);
        status = wait_for(pid, 0);
        broker.pid = 0;
        if (status)
                fprintf(stderr, "the broker's log:\n%s", broker_log());
        must_equal(exit_status(status), 0);
}

void broker_kill(void)
{
        must(broker.pid);
        kill(broker.pid, SIGKILL);
        wait_for(broker.pid, 0);
        broker.pid = 0;
        drop_bus();
}

/* ---- roles ------------------------------------------------------------------------------- */

/* Closes what was inherited, so that connections of the test end when the test ends them. Pipes
 * stay: some are libuv's own, which it goes on to use; other roles' are closed by number. */
static void drop_inherited(void)
{
        char path[40], target[64];

        for (size_t i = 0; i < ROLES_MAX; i++) {
                if (roles[i].pid <= 0)
                        continue;
                close(roles[i].to);
                close(roles[i].from);
        }
        for (int fd = 3; fd < 1024; fd++) {
                ssize_t n;

                snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
                n = readlink(path, target, sizeof(target) - 1);
                if (n < 0)
                        continue;
                target[n] = '\0';
                if (strncmp(target, "pipe:", 5) != 0)
                        close(fd);
        }
}

static void play(const char *name, void (*run)(void *argument), void *argument, int in, int out)
{
        struct snapshot at_begin, at_end;

        become_child(name);
        drop_inherited();
        role_in = in;
        role_out = out;
        snapshot_take(&at_begin, 0);
        run(argument);
        snapshot_take(&at_end, 0);
        if (!snapshot_equal(&at_begin, &at_end)) {
                /* Memory that was shared with the test may be gone, but not grown. */
                snapshot_explain(name, &at_begin, &at_end);
                must(!"the role has left nothing behind");
        }
        fflush(NULL);
        _exit(0);
}

struct role *role_start(const char *name, void (*run)(void *argument), void *argument)
{
        struct role *role = roles;
        int to[2], from[2];
        pid_t pid;

        while (role < roles + ROLES_MAX && role->pid)
                role++;
        must(role < roles + ROLES_MAX);
        must_equal(pipe2(to, O_CLOEXEC), 0);
        must_equal(pipe2(from, O_CLOEXEC), 0);
        pid = child_fork();
        if (pid == 0) {
                close(to[1]);
                close(from[0]);
                play(name, run, argument, to[0], from[1]);
        }
        close(to[0]);
        close(from[1]);
        *role = (struct role){.pid = pid, .to = to[1], .from = from[0], .name = name};
        return role;
}

static void forget_role(struct role *role)
{
        close(role->to);
        close(role->from);
        role->pid = 0;
}

/* Reads one character; '\0' at the end of the stream, or when patience is over. */
static char read_character(int fd, uint64_t patience)
{
        struct pollfd entry = {.fd = fd, .events = POLLIN};
        char what = '\0';

        if (poll(&entry, 1, (int)(patience / MS)) <= 0 || read(fd, &what, 1) != 1)
                return '\0';
        return what;
}

void role_tell(struct role *role, char what)
{
        must_equal(write(role->to, &what, 1), 1);
}

void role_await(struct role *role, char what)
{
        char said = read_character(role->from, PATIENCE_NS);

        if (said == what)
                return;
        if (said == '\0')
                fprintf(stderr, "the role %s has ended, or is silent\n", role->name);
        must_equal(said, what);
}

void role_finish(struct role *role)
{
        int status = wait_for(role->pid, 0);

        if (status)
                fprintf(stderr, "the role %s ended badly\n", role->name);
        forget_role(role);
        must_equal(exit_status(status), 0);
}

void role_kill(struct role *role)
{
        kill(role->pid, SIGKILL);
        wait_for(role->pid, 0);
        forget_role(role);
}

void role_stop(struct role *role)
{
        must_equal(kill(role->pid, SIGSTOP), 0);
        must(WIFSTOPPED(wait_for(role->pid, WUNTRACED)));
}

void role_continue(struct role *role)
{
        must_equal(kill(role->pid, SIGCONT), 0);
}

void say(char what)
{
        must_equal(write(role_out, &what, 1), 1);
}

void hear(char what)
{
        must_equal(read_character(role_in, ROLE_SECONDS * 1000 * MS), what);
}

bool has_heard(char what)
{
        char heard = read_character(role_in, 0);

        if (!heard)
                return false;
        must_equal(heard, what);
        return true;
}

void *shared_memory(size_t size)
{
        must(!shared);
        shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        shared_size = size;
        must(shared != MAP_FAILED);
        return shared;
}

/* ---- the fixture ------------------------------------------------------------------------- */

int harness_setup(void **state)
{
        const char *temporary = getenv("TMPDIR");

        (void)state;
        has_failed = false;
        must_equal(getrlimit(RLIMIT_NOFILE, &descriptors), 0);
        snapshot_take(&before, 0);
        memset(&broker, 0, sizeof(broker));
        /* A socket's path has at most 107 bytes. */
        if (!temporary || strlen(temporary) > 40)
                temporary = "/tmp";
        snprintf(broker.directory, sizeof(broker.directory), "%s/shmd-XXXXXX", temporary);
        must(mkdtemp(broker.directory));
        snprintf(broker.socket, sizeof(broker.socket), "%s/shmd/control", broker.directory);
        snprintf(broker.log, sizeof(broker.log), "%s/log", broker.directory);
        broker_spawn(NULL);
        return 0;
}

static void end_roles(void)
{
        for (size_t i = 0; i < ROLES_MAX; i++)
                if (roles[i].pid)
                        role_kill(&roles[i]);
        /* Children of roles that were killed have become ours. */
        while (waitpid(-1, NULL, WNOHANG) > 0)
                ;
}

static bool is_idle(struct snapshot *now)
{
        snapshot_take(now, broker.pid);
        return snapshot_equal(now, &broker.idle);
}

static bool broker_is_clean(void)
{
        uint64_t deadline = harness_now() + PATIENCE_NS / 4;
        struct snapshot now;

        if (!broker.pid)
                return true;
        while (!is_idle(&now)) {
                if (harness_now() >= deadline) {
                        snapshot_explain("the broker", &broker.idle, &now);
                        return false;
                }
                poll(NULL, 0, 1);
        }
        return true;
}

/* Removes what the broker and the test have left; false if that was more than allowed. */
static bool remove_directory(bool may_leave_socket)
{
        char path[128];
        bool is_clean = true;
        struct dirent *entry;
        DIR *directory;

        snprintf(path, sizeof(path), "%s/shmd", broker.directory);
        directory = opendir(path);
        while (directory && (entry = readdir(directory))) {
                if (entry->d_name[0] == '.')
                        continue;
                if (!may_leave_socket) {
                        fprintf(stderr, "%s/%s was left behind\n", path, entry->d_name);
                        is_clean = false;
                }
                unlinkat(dirfd(directory), entry->d_name, 0);
        }
        if (directory)
                closedir(directory);
        rmdir(path);
        unlink(broker.log);
        if (rmdir(broker.directory) == 0)
                return is_clean;
        fprintf(stderr, "%s has more in it than the broker's\n", broker.directory);
        return false;
}

static off_t log_size(void)
{
        struct stat status;

        return stat(broker.log, &status) < 0 ? 0 : status.st_size;
}

int harness_teardown(void **state)
{
        off_t log_start = log_size();
        bool was_killed = !broker.pid, is_clean;
        struct snapshot now;

        (void)state;
        setrlimit(RLIMIT_NOFILE, &descriptors);
        end_roles();
        /* A test that has failed leaves all sorts of things, which say nothing. */
        is_clean = has_failed || broker_is_clean();
        if (has_failed || !is_clean)
                fprintf(stderr, "the broker's log:\n%s", broker_log());
        if (broker.pid) {
                broker_terminate(SIGTERM);
                is_clean = (has_failed || accounts_were_zero(broker.log, log_start)) && is_clean;
        }
        if (!remove_directory(was_killed))
                is_clean = false;
        if (shared)
                munmap(shared, shared_size);
        shared = NULL;
        snapshot_take(&now, 0);
        if (!has_failed && !snapshot_equal(&before, &now)) {
                snapshot_explain("the test", &before, &now);
                is_clean = false;
        }
        must(is_clean);
        return 0;
}

void harness_init(int argc, char **argv)
{
        uv_loop_t loop;

        for (int i = 1; i < argc; i++) {
                if (!strcmp(argv[i], "--long"))
                        harness_is_long = true;
                else
                        cmocka_set_test_filter(argv[i]);
        }
        alarm(harness_is_long ? 20 * PROGRAM_SECONDS : PROGRAM_SECONDS);
        /* Whoever runs the tests may have set these. */
        unsetenv("SHMD_SOCKET");
        /* With its first loop libuv makes a pipe that it keeps. */
        must_equal(uv_loop_init(&loop), 0);
        must_equal(uv_loop_close(&loop), 0);
        /* What killed roles leave running is adopted, and so can be waited for. */
        prctl(PR_SET_CHILD_SUBREAPER, 1);
}
