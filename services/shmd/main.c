/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - the shmd program: options, signals, lines on standard error, and its confinement. What a
 * broker is and does is in the library beside it.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <uv.h>

#include <shmd/broker.h>
#include <shmd/shmd.h>

#include "confine.h"

#define STATUS_ERROR 1
#define STATUS_USAGE 2

/* In the order of their names. */
enum confinement {
        CONFINE_AUTO,
        CONFINE_REQUIRE,
        CONFINE_OFF,
};

struct program {
        const char *socket;
        char default_socket[512];
        uint32_t *uids;
        uint32_t n_uids;
        struct shmd_quota quota;
        int level; /* lines above it are not shown */
        int has_journal;
        enum confinement confinement;
};

static const char *const level_names[] = {"error", "warning", "info", "debug"};
static const char *const confinement_names[] = {"auto", "require", "off"};

/* A user's own broker, where there is a place for one, else the machine's. */
static void choose_socket(struct program *program)
{
        const char *given = getenv("SHMD_SOCKET");
        const char *runtime = getenv("XDG_RUNTIME_DIR");

        program->socket = program->default_socket;
        if (given && *given)
                program->socket = given;
        else if (runtime && *runtime && geteuid() != 0)
                snprintf(program->default_socket, sizeof(program->default_socket),
                         "%s/shmd/control", runtime);
        else
                snprintf(program->default_socket, sizeof(program->default_socket),
                         "/run/shmd/control");
}

static void show_help(const struct program *program)
{
        printf("Usage: shmd [OPTION...]\n"
               "The broker of shmd: lets the publishers and subscribers of this machine find each\n"
               "other. Samples never pass through it.\n"
               "\n"
               "  --socket PATH      listen here; now: %s\n"
               "                     ($SHMD_SOCKET if that is set; for users other than root\n"
               "                     $XDG_RUNTIME_DIR/shmd/control; else /run/shmd/control)\n"
               "  --allow-uid USER   let this user connect too, a number or a name; may be\n"
               "                     repeated. Root and the broker's own user always may\n"
               "  --quota KIND=N,... what each user may have at a time, root and the broker's own\n"
               "                     user excepted; may be repeated. N is a number or none.\n"
               "                       sessions=256       connections\n"
               "                       services=1024      names published or read\n"
               "                       segments=1024      publishers, and blocks of subscribers\n"
               "                       bytes=SIZE         of these, with K, M, G or T; half of\n"
               "                                          the machine's memory\n"
               "                       subscriptions=1024\n"
               "                       pairs=65536        of a publisher and a subscriber\n"
               "                       introductions=1024 unread\n"
               "                       connects=100       a second, after as many at once as\n"
               "                                          sessions\n"
               "                       seats=75           percent of another user's publisher's\n"
               "                                          max_subscribers\n"
               "                     What has ended counts while samples may still be held\n"
               "  --log-level LEVEL  error, warning, info or debug; default info\n"
               "  --confine HOW      once it serves, the broker gives up what it no longer needs:\n"
               "                     capabilities, files, system calls. auto: as far as this\n"
               "                     machine can, the rest is named in the log; require: wholly,\n"
               "                     or it doesn't start; off: not at all. Default auto\n"
               "  --help             show this\n"
               "  --version          show the version\n"
               "\n"
               "Ends cleanly with SIGTERM and SIGINT. Status: 0, 1 after an error, 2 when used\n"
               "wrongly.\n",
               program->socket);
}

static int set_level(struct program *program, const char *name)
{
        for (int i = 0; i < (int)(sizeof(level_names) / sizeof(level_names[0])); i++)
                if (strcmp(name, level_names[i]) == 0) {
                        program->level = i;
                        return 0;
                }
        fprintf(stderr, "shmd: '%s' is not a log level: error, warning, info or debug\n", name);
        return -EINVAL;
}

static int set_confinement(struct program *program, const char *name)
{
        for (int i = 0; i < (int)(sizeof(confinement_names) / sizeof(confinement_names[0])); i++)
                if (strcmp(name, confinement_names[i]) == 0) {
                        program->confinement = (enum confinement)i;
                        return 0;
                }
        fprintf(stderr, "shmd: '%s' is no way to be confined: auto, require or off\n", name);
        return -EINVAL;
}

static int add_uid(struct program *program, const char *name)
{
        const struct passwd *user = getpwnam(name);
        uint32_t *uids;
        unsigned long number;
        char *end;

        errno = 0;
        number = strtoul(name, &end, 10);
        if (!user && (*name < '0' || *name > '9' || *end || errno || number >= UINT32_MAX)) {
                fprintf(stderr, "shmd: there is no user '%s'\n", name);
                return -EINVAL;
        }
        uids = realloc(program->uids, (program->n_uids + 1) * sizeof(*uids));
        if (!uids) {
                fprintf(stderr, "shmd: no memory\n");
                return -ENOMEM;
        }
        program->uids = uids;
        program->uids[program->n_uids++] = user ? user->pw_uid : (uint32_t)number;
        return 0;
}

/* -1: go on; else the status to end with. */
static int read_options(struct program *program, int argc, char **argv)
{
        static const struct option options[] = {
                {"socket", required_argument, NULL, 's'},
                {"allow-uid", required_argument, NULL, 'u'},
                {"quota", required_argument, NULL, 'q'},
                {"log-level", required_argument, NULL, 'l'},
                {"confine", required_argument, NULL, 'c'},
                {"help", no_argument, NULL, 'h'},
                {"version", no_argument, NULL, 'v'},
                {NULL, 0, NULL, 0},
        };
        int option;

        while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
                switch (option) {
                case 's':
                        program->socket = optarg;
                        break;
                case 'u':
                        if (add_uid(program, optarg) < 0)
                                return STATUS_USAGE;
                        break;
                case 'q':
                        if (shmd_broker_quota_read(&program->quota, optarg) < 0) {
                                fprintf(stderr, "shmd: --quota: %s\n", shmd_broker_error());
                                return STATUS_USAGE;
                        }
                        break;
                case 'l':
                        if (set_level(program, optarg) < 0)
                                return STATUS_USAGE;
                        break;
                case 'c':
                        if (set_confinement(program, optarg) < 0)
                                return STATUS_USAGE;
                        break;
                case 'h':
                        show_help(program);
                        return 0;
                case 'v':
                        printf("shmd %d.%d.%d\n", SHMD_VERSION_MAJOR, SHMD_VERSION_MINOR,
                               SHMD_VERSION_PATCH);
                        return 0;
                default:
                        fprintf(stderr, "shmd: see shmd --help\n");
                        return STATUS_USAGE;
                }
        }
        if (optind < argc) {
                fprintf(stderr, "shmd: unexpected argument '%s'; see shmd --help\n", argv[optind]);
                return STATUS_USAGE;
        }
        return -1;
}

static void write_line(void *user, int level, const char *text)
{
        static const int priorities[] = {3, 4, 6, 7}; /* of syslog */
        const struct program *program = user;

        if (level > program->level)
                return;
        if (program->has_journal)
                fprintf(stderr, "<%d>%s\n", priorities[level], text);
        else
                fprintf(stderr, "shmd: %s\n", text);
}

/* Who starts it may have closed standard input, output or error: nothing of a client's must come to
 * stand where the log is written. */
static void fill_standard_descriptors(void)
{
        int fd;

        do {
                fd = open("/dev/null", O_RDWR);
        } while (fd >= 0 && fd <= STDERR_FILENO);
        if (fd >= 0)
                close(fd);
}

/* Where the log goes may be closed, or full: a line that is lost must not cost everybody his
 * broker, since clients can cause lines. */
static void ignore_lost_lines(void)
{
        signal(SIGPIPE, SIG_IGN);
        signal(SIGXFSZ, SIG_IGN);
}

/* Two descriptors a session: the soft limit of 1024 is for programs that use select(). */
static void raise_limits(void)
{
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
                limit.rlim_cur = limit.rlim_max;
                setrlimit(RLIMIT_NOFILE, &limit);
        }
}

/* 0, or a negative errno value and a line that says why. */
static int begin_confinement(const struct program *program)
{
        int code = program->confinement == CONFINE_OFF ? 0 : confine_begin();

        if (code < 0)
                fprintf(stderr, "shmd: can't confine itself: %s (see --confine)\n",
                        strerrordesc_np(-code));
        return code;
}

/* The same, when it listens. */
static int confine_program(struct program *program)
{
        char text[CONFINE_TEXT_SIZE], line[CONFINE_TEXT_SIZE + 64];
        int code;

        if (program->confinement == CONFINE_OFF)
                return 0;
        code = confine(program->socket, program->n_uids > 0, text);
        if (code == 0 && !*text) {
                write_line(program, SHMD_LOG_INFO, "confined");
                return 0;
        }
        if (code == 0 && program->confinement == CONFINE_REQUIRE)
                code = -ENOTSUP;
        snprintf(line, sizeof(line),
                 code < 0 ? "can't confine itself: %s (see --confine)" : "not wholly confined: %s",
                 text);
        write_line(program, code < 0 ? SHMD_LOG_ERROR : SHMD_LOG_WARNING, line);
        return code;
}

static void on_signal(uv_signal_t *signal, int number)
{
        (void)number;
        uv_stop(signal->loop);
}

static int serve(struct program *program)
{
        struct shmd_broker_options options = {.size = sizeof(options),
                                              .socket = program->socket,
                                              .uids = program->uids,
                                              .n_uids = program->n_uids,
                                              .log = write_line,
                                              .user = program,
                                              .quota = program->quota};
        struct shmd_broker *broker;
        uv_signal_t terminate, interrupt;
        uv_loop_t loop;
        int code = begin_confinement(program);

        if (code < 0)
                return STATUS_ERROR;
        code = uv_loop_init(&loop);
        if (code < 0) {
                fprintf(stderr, "shmd: %s\n", uv_strerror(code));
                return STATUS_ERROR;
        }
        options.loop = &loop;
        uv_signal_init(&loop, &terminate);
        uv_signal_init(&loop, &interrupt);
        code = shmd_broker_open(&broker, &options);
        if (code < 0) {
                write_line(program, SHMD_LOG_ERROR, shmd_broker_error());
        } else {
                uv_signal_start(&terminate, on_signal, SIGTERM);
                uv_signal_start(&interrupt, on_signal, SIGINT);
                code = confine_program(program);
                if (code == 0)
                        uv_run(&loop, UV_RUN_DEFAULT);
                shmd_broker_close(broker);
        }
        uv_close((uv_handle_t *)&terminate, NULL);
        uv_close((uv_handle_t *)&interrupt, NULL);
        uv_run(&loop, UV_RUN_DEFAULT);
        uv_loop_close(&loop);
        return code < 0 ? STATUS_ERROR : 0;
}

int main(int argc, char **argv)
{
        struct program program = {.level = SHMD_LOG_INFO,
                                  .has_journal = getenv("JOURNAL_STREAM") != NULL};
        int status;

        fill_standard_descriptors();
        ignore_lost_lines();
        choose_socket(&program);
        status = read_options(&program, argc, argv);
        if (status < 0) {
                raise_limits();
                status = serve(&program);
        }
        free(program.uids);
        return status;
}
