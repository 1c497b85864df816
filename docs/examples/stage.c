/* SPDX-License-Identifier: Apache-2.0 */
/* stage.c - starts, watches and ends the processes of a demonstration. */
#include "stage.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <shmd/shmd.h>

#include "program.h"

#define SECOND_NS UINT64_C(1000000000)
/* How long the broker may take to answer, and each process to end once it should. */
#define PATIENCE_NS (10 * SECOND_NS)
/* How long after Ctrl-C. */
#define INTERRUPTED_NS SECOND_NS
/* How long from SIGTERM to SIGKILL. */
#define GRACE_NS (3 * SECOND_NS)

/* The stage that exit() has to clear. */
static struct stage *open_stage;

/* Ends what still runs, removes what is there. */
static void clear(void)
{
        struct stage *stage = open_stage;

        if (stage == NULL)
                return;
        open_stage = NULL;
        for (int i = STAGE_CHILDREN - 1; i >= 0; i--)
                if (stage->children[i].started)
                        child_deinit(&stage->children[i]);
        unlink(stage->socket); /* gone already, unless the broker was killed */
        if (rmdir(stage->directory) < 0)
                fprintf(stderr, "%s: can't remove %s: %s\n", program_invocation_short_name,
                        stage->directory, strerror(errno));
}

static void make_directory(struct stage *stage)
{
        const char *parent = getenv("TMPDIR");
        int n;

        n = snprintf(stage->directory, sizeof(stage->directory), "%s/shmd-demo-XXXXXX",
                     parent != NULL && parent[0] == '/' ? parent : "/tmp");
        if (n >= (int)sizeof(stage->directory) || mkdtemp(stage->directory) == NULL)
                program_fail("can't make a directory for the broker's socket: %s", strerror(errno));
        snprintf(stage->socket, sizeof(stage->socket), "%s/control", stage->directory);
        open_stage = stage;
        atexit(clear);
}

/* Blocks the signals, which are then heard of by a descriptor, or lets them through again. */
static void mask_signals(int how, sigset_t *set)
{
        sigemptyset(set);
        sigaddset(set, SIGINT);
        sigaddset(set, SIGTERM);
        sigaddset(set, SIGHUP);
        sigaddset(set, SIGPIPE);
        sigaddset(set, SIGCHLD);
        sigprocmask(how, set, NULL);
}

static void hear_signals(struct stage *stage)
{
        sigset_t set;

        mask_signals(SIG_BLOCK, &set);
        stage->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        if (stage->signals < 0)
                program_fail("signalfd: %s", strerror(errno));
}

static void find_programs(struct stage *stage)
{
        ssize_t n = readlink("/proc/self/exe", stage->programs, sizeof(stage->programs) - 1);

        if (n < 0)
                program_fail("/proc/self/exe: %s", strerror(errno));
        stage->programs[n] = '\0';
        *strrchr(stage->programs, '/') = '\0';
}

int stage_find(const struct stage *stage, const char *relative, char path[2 * PATH_MAX])
{
        snprintf(path, 2 * PATH_MAX, "%s/%s", stage->programs, relative);
        return access(path, X_OK) == 0;
}

static void start(struct stage *stage, int which, const char *relative,
                  const char *const *arguments, int in_fd)
{
        char path[2 * PATH_MAX];
        const char *program = stage_find(stage, relative, path) ? path : arguments[0];
        int result;

        result = child_start(&stage->children[which], program, arguments, stage->socket, in_fd);
        if (result < 0)
                program_fail("can't start %s: %s", program, strerror(-result));
}

void stage_start(struct stage *stage, int player, const char *const *arguments, int in_fd)
{
        start(stage, player, arguments[0], arguments, in_fd);
}

static void start_broker(struct stage *stage)
{
        const char *const arguments[] = {"shmd", "--socket", stage->socket, NULL};
        struct shmd_connect_options options = {.size = sizeof(options), .socket = stage->socket};
        uint64_t begun_ns = program_now_ns();
        struct shmd *bus;

        start(stage, STAGE_BROKER, "../../services/shmd/shmd", arguments, -1);
        while (shmd_connect(&bus, &options) < 0) {
                stage_turn(stage, 5);
                if (stage->interrupted || stage->failed)
                        exit(stage->failed ? 1 : 130);
                if (program_now_ns() - begun_ns > PATIENCE_NS)
                        program_fail("the broker does not answer: %s", shmd_error());
        }
        shmd_close(bus);
}

void stage_open(struct stage *stage)
{
        find_programs(stage);
        hear_signals(stage);
        make_directory(stage);
        start_broker(stage);
}

static void tell_all(struct stage *stage, int signal)
{
        for (int i = STAGE_FIRST; i < STAGE_CHILDREN; i++)
                child_signal(&stage->children[i], signal);
        stage->told = signal;
}

void stage_finish(struct stage *stage)
{
        uint64_t now_ns = program_now_ns();
        uint64_t patience_ns = stage->interrupted ? INTERRUPTED_NS : PATIENCE_NS;

        child_signal(&stage->children[STAGE_FIRST], SIGTERM);
        if (stage->hurry_ns == 0) /* nobody waits for the end of what has not begun */
                stage->hurry_ns =
                        stage->children[STAGE_FIRST].started ? now_ns + patience_ns : now_ns;
}

static void on_signals(struct stage *stage)
{
        struct signalfd_siginfo signal;

        while (read(stage->signals, &signal, sizeof(signal)) == sizeof(signal)) {
                if (signal.ssi_signo == SIGCHLD)
                        continue;
                /* Impatience; but of SIGPIPE each further line of output brings another. */
                if (stage->interrupted && signal.ssi_signo != SIGPIPE)
                        tell_all(stage, SIGKILL);
                stage->interrupted = 1;
                stage_finish(stage);
        }
        for (int i = 0; i < STAGE_CHILDREN; i++)
                child_reap(&stage->children[i]);
}

/* Says how a child failed, once the last of what it had to say is there. */
static void complain(struct stage *stage, int which)
{
        struct child *child = &stage->children[which];
        char text[4096];

        if (stage->complained[which])
                return;
        stage->complained[which] = 1;
        stage->failed = 1;
        while (child_ended(child) && child->error_fd >= 0) {
                struct pollfd fd = {.fd = child->error_fd, .events = POLLIN};

                /* Whoever inherited its standard error may keep it open: no longer than this. */
                if (poll(&fd, 1, 100) <= 0)
                        break;
                child_read_error(child);
        }
        child_describe(child, text, sizeof(text));
        fflush(stdout);
        fprintf(stderr, "%s%s: %s\n", isatty(STDERR_FILENO) ? "\r\033[K" : "",
                program_invocation_short_name, text);
}

/* Looks who has ended, how, and who should. */
static void see_to_the_end(struct stage *stage)
{
        uint64_t now_ns = program_now_ns();

        for (int i = 0; i < STAGE_CHILDREN; i++) {
                struct child *child = &stage->children[i];

                /* Before the players end, the broker has no reason to; after SIGTERM they have. */
                if (i == STAGE_BROKER ? child_ended(child) : child_failed(child)) {
                        if (stage->told == 0)
                                complain(stage, i);
                        if (stage->hurry_ns == 0 || stage->hurry_ns > now_ns)
                                stage->hurry_ns = now_ns;
                }
        }
        if (stage->hurry_ns == 0 && child_ended(&stage->children[STAGE_FIRST]))
                stage->hurry_ns = now_ns + PATIENCE_NS;
        if (stage->hurry_ns == 0 || now_ns < stage->hurry_ns || stage_empty(stage))
                return;
        if (stage->told == 0) {
                for (int i = STAGE_FIRST; i < STAGE_CHILDREN; i++)
                        if (stage->children[i].pid > 0 && !stage->failed && !stage->interrupted)
                                complain(stage, i);
                tell_all(stage, SIGTERM);
        } else if (stage->told == SIGTERM && now_ns > stage->hurry_ns + GRACE_NS) {
                tell_all(stage, SIGKILL);
        }
}

struct heard {
        struct stage *stage;
        int player;
};

static void on_line(void *user, const char *line)
{
        struct heard *heard = user;

        if (heard->stage->on_line != NULL)
                heard->stage->on_line(heard->stage->user, heard->player, line);
}

void stage_turn(struct stage *stage, int timeout_ms)
{
        struct pollfd fds[1 + 2 * STAGE_CHILDREN] = {{.fd = stage->signals, .events = POLLIN}};

        for (int i = 0; i < STAGE_CHILDREN; i++) {
                const struct child *child = &stage->children[i];

                fds[1 + 2 * i] = (struct pollfd){.fd = child->started ? child->report_fd : -1,
                                                 .events = POLLIN};
                fds[2 + 2 * i] = (struct pollfd){.fd = child->started ? child->error_fd : -1,
                                                 .events = POLLIN};
        }
        if (poll(fds, 1 + 2 * STAGE_CHILDREN, timeout_ms) > 0) {
                for (int i = 0; i < STAGE_CHILDREN; i++) {
                        struct heard heard = {.stage = stage, .player = i};

                        if (fds[1 + 2 * i].revents != 0)
                                child_read_report(&stage->children[i], on_line, &heard);
                        if (fds[2 + 2 * i].revents != 0)
                                child_read_error(&stage->children[i]);
                }
                if (fds[0].revents != 0)
                        on_signals(stage);
        }
        see_to_the_end(stage);
}

int stage_empty(const struct stage *stage)
{
        for (int i = STAGE_FIRST; i < STAGE_CHILDREN; i++) {
                const struct child *child = &stage->children[i];

                if (child->started && (!child_ended(child) || child->report_fd >= 0))
                        return 0;
        }
        return 1;
}

void stage_close(struct stage *stage)
{
        struct child *broker = &stage->children[STAGE_BROKER];
        uint64_t asked_ns = program_now_ns();
        sigset_t set;

        child_signal(broker, SIGTERM);
        while (!child_ended(broker) && program_now_ns() - asked_ns < GRACE_NS) {
                struct pollfd fd = {.fd = stage->signals, .events = POLLIN};

                poll(&fd, 1, 100);
                child_read_error(broker);
                on_signals(stage);
        }
        if (!child_ended(broker) || child_failed(broker))
                complain(stage, STAGE_BROKER);
        clear();
        close(stage->signals);
        mask_signals(SIG_UNBLOCK, &set);
}
