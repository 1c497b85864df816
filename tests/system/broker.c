/* SPDX-License-Identifier: Apache-2.0 */
/*
 * broker.c - the shmd program: its address, its end, its options, what it costs; and shmdctl.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef HAVE_JANSSON
#include <jansson.h>
#endif

#include "harness.h"
#include "raw.h"

static char output[16384];

struct point {
        double x, y;
};
SHMD_TYPE(point_type, struct point, SHMD_FIELD(struct point, x), SHMD_FIELD(struct point, y));

/* ---- address ----------------------------------------------------------------------------- */

static int run_second(const char *path)
{
        return program_run(output, sizeof(output),
                           (const char *const[]){SHMD_PROGRAM, "--socket", path, NULL});
}

static void second_broker_is_told_who_has_the_address(void **state)
{
        char pid[16];

        snprintf(pid, sizeof(pid), "%d", broker.pid);
        must_equal(run_second(broker.socket), 1);
        must_say(output, broker.socket, "another broker is there", "shmd", pid);
        /* Nobody is any the worse for it. */
        broker_settle(broker.bus);
        shmd_close(broker_connect());
}

static void socket_of_a_crashed_broker_is_replaced(void **state)
{
        struct stat crashed, fresh;

        broker_kill();
        must_equal(lstat(broker.socket, &crashed), 0);
        broker_spawn(NULL);
        must_equal(lstat(broker.socket, &fresh), 0);
        must(S_ISSOCK(fresh.st_mode));
        must_equal(fresh.st_mode & 07777, 0600);
        shmd_close(broker_connect());
}

static void what_is_no_socket_is_left_alone(void **state)
{
        char path[128];
        FILE *file;

        snprintf(path, sizeof(path), "%s/precious", broker.directory);
        file = fopen(path, "we");
        must(file);
        fputs("data", file);
        fclose(file);
        must_equal(run_second(path), 1);
        must_say(output, path, "not a socket");
        must_equal(unlink(path), 0);
        memset(path, 'a', sizeof(path));
        path[sizeof(path) - 1] = '\0';
        must_equal(run_second(path), 1);
        must_say(output, "107 bytes");
        snprintf(path, sizeof(path), "%s/no/such/directory", broker.directory);
        must_equal(run_second(path), 1);
        must_say(output, "No such file or directory");
}

/* What a client does leads to a line that nobody takes. */
static void end_of_who_reads_the_log_is_not_the_brokers(void **state)
{
        static const char nonsense[16];
        int reader, fd;

        broker_terminate(SIGTERM);
        must_equal(unlink(broker.log), 0);
        must_equal(mkfifo(broker.log, 0600), 0);
        reader = open(broker.log, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        must(reader >= 0);
        broker_spawn(NULL);
        must_equal(unlink(broker.log), 0);
        close(reader);
        fd = raw_session(NULL);
        raw_send(fd, nonsense, sizeof(nonsense), NULL, 0);
        must_say(raw_await_end(fd), "not a message");
        close(fd);
        shmd_close(broker_connect());
        broker_terminate(SIGTERM);
        broker_spawn(NULL);
}

static void ends_cleanly_when_asked_to(void **state)
{
        static const int signals[] = {SIGTERM, SIGINT};

        for (unsigned i = 0; i < N_ELEMENTS(signals); i++) {
                struct shmd *bus = broker_connect(), *other = broker_connect();
                struct shmd_publisher *publisher;
                struct shmd_subscriber *subscriber;
                struct shmd_sample sample;
                void *data;

                must_equal(shmd_subscribe(&subscriber, other, "a", &point_type, NULL), 0);
                must_equal(shmd_advertise(&publisher, bus, "a", &point_type, NULL), 0);
                broker_settle(other);
                must_equal(shmd_wait(other, 0), 1);
                /* With sessions, and samples that are held. */
                must_equal(shmd_loan(publisher, &data), 0);
                must_equal(shmd_publish(publisher, data), 0);
                must_equal(shmd_take(subscriber, &sample), 1);
                broker_terminate(signals[i]);
                must_equal(access(broker.socket, F_OK), -1);
                must_equal(shmd_wait(bus, (int64_t)PATIENCE_NS), -ENOTCONN);
                must_equal(shmd_wait(other, (int64_t)PATIENCE_NS), -ENOTCONN);
                shmd_close(bus);
                shmd_close(other);
                broker_spawn(NULL);
        }
}

/* ---- options ----------------------------------------------------------------------------- */

static void options_are_explained_and_checked(void **state)
{
        static const char *const wrong[][3] = {
                {"--no-such-option", NULL},
                {"--socket", NULL},
                {"--log-level", "loud", NULL},
                {"--allow-uid", "no such user", NULL},
                {"word", NULL},
        };

        must_equal(program_run(output, sizeof(output),
                               (const char *const[]){SHMD_PROGRAM, "--help", NULL}),
                   0);
        must_say(output, "--socket", "--log-level", "--allow-uid", "--confine", "--help",
                 "--version", "SIGTERM");
        must_equal(program_run(output, sizeof(output),
                               (const char *const[]){SHMD_PROGRAM, "--version", NULL}),
                   0);
        must_say(output, "shmd", shmd_version());
        for (unsigned i = 0; i < N_ELEMENTS(wrong); i++) {
                must_equal(program_run(output, sizeof(output),
                                       (const char *const[]){SHMD_PROGRAM, wrong[i][0], wrong[i][1],
                                                             NULL}),
                           2);
                must_say(output, "shmd", wrong[i][1] ? wrong[i][1] : wrong[i][0]);
        }
}

static void log_says_as_much_as_it_was_asked_to(void **state)
{
        struct message_hello garbage = {.magic = 1};
        int fd;

        must_say(broker_log(), "listening on", broker.socket);
        broker_terminate(SIGTERM);
        must_equal(unlink(broker.log), 0);
        /* The later option counts. */
        broker_spawn((const char *const[]){"--log-level", "error", NULL});
        fd = raw_connect();
        raw_send(fd, &garbage, sizeof(garbage), NULL, 0);
        raw_await_end(fd);
        close(fd);
        must_equal(strlen(broker_log()), 0);
}

/* ---- costs ------------------------------------------------------------------------------- */

static unsigned descriptors_of_broker(void)
{
        struct snapshot snapshot;

        snapshot_take(&snapshot, broker.pid);
        return snapshot.n_fds;
}

static void idle_session_costs_two_descriptors(void **state)
{
        enum { N = 20 };
        struct shmd *buses[N];

        for (unsigned i = 0; i < N; i++) {
                buses[i] = broker_connect();
                broker_rest();
                must_equal(descriptors_of_broker(), broker.idle.n_fds + 2 * (i + 1));
        }
        for (unsigned i = 0; i < N; i++)
                shmd_close(buses[i]);
}

static void idle_sessions_cost_little_memory(void **state)
{
        enum { N = 200, WARM = 8 };
        int sessions[N + WARM];
        uint64_t idle = process_resident(broker.pid), before, after;

        for (unsigned i = 0; i < WARM; i++)
                sessions[i] = raw_session(NULL);
        broker_rest();
        before = process_resident(broker.pid);
        for (unsigned i = WARM; i < WARM + N; i++)
                sessions[i] = raw_session(NULL);
        broker_rest();
        after = process_resident(broker.pid);
        for (unsigned i = 0; i < WARM + N; i++)
                close(sessions[i]);
        print_message("idle: %llu KiB; each session: %llu bytes\n", (unsigned long long)idle / 1024,
                      (unsigned long long)(after - before) / N);
        if (HAVE_ASAN)
                skip_because("sanitizers take memory of their own");
        must(idle <= UINT64_C(6) << 20);
        must(after - before <= N * UINT64_C(16384));
}

static void more_sessions_than_descriptors_are_turned_away(void **state)
{
        enum { N = 60 };
        struct rlimit before, few = {.rlim_cur = 64, .rlim_max = 64};
        struct shmd_connect_options options = {.size = sizeof(options), .socket = broker.socket};
        struct shmd *buses[N], *bus;
        unsigned n = 0;
        int code = 0;

        must_equal(prlimit(broker.pid, RLIMIT_NOFILE, &few, &before), 0);
        while (code == 0 && n < N) {
                /* The limit is also one of what all processes of the user have in flight, the
                 * other tests' too. */
                until((code = shmd_connect(&buses[n], &options)) != -ETOOMANYREFS);
                n += code == 0;
        }
        must(n >= 15 && n < N);
        must_equal(code, -EMFILE);
        must_say(shmd_error(), "the broker");
        must(strstr(shmd_error(), "descriptors") || strstr(shmd_error(), "Too many open files"));
        /* Who is there is served on. */
        broker_settle(broker.bus);
        broker_settle(buses[0]);
        while (n)
                shmd_close(buses[--n]);
        until(shmd_connect(&bus, &options) == 0);
        broker_settle(bus);
        shmd_close(bus);
}

/* ---- shmdctl ----------------------------------------------------------------------------- */

#ifdef SHMDCTL_PROGRAM

static int run_shmdctl(const char *first, const char *second)
{
        int code;

        setenv("SHMD_SOCKET", broker.socket, 1);
        code = program_run(output, sizeof(output),
                           (const char *const[]){SHMDCTL_PROGRAM, first, second, NULL});
        unsetenv("SHMD_SOCKET");
        return code;
}

struct stage {
        struct shmd *bus;
        struct shmd_publisher *publisher;
        struct shmd_subscriber *subscriber;
        struct shmd_publisher_state status;
};

static void stage_open(struct stage *stage)
{
        struct shmd_publisher_options options = {.size = sizeof(options), .depth = 5};
        void *data;

        stage->bus = broker_connect();
        must_equal(shmd_advertise(&stage->publisher, stage->bus, "stage/points", &point_type,
                                  &options),
                   0);
        must_equal(
                shmd_subscribe(&stage->subscriber, stage->bus, "stage/points", &point_type, NULL),
                0);
        for (unsigned i = 0; i < 7; i++) {
                must_equal(shmd_loan(stage->publisher, &data), 0);
                must_equal(shmd_publish(stage->publisher, data), 0);
        }
        must_equal(shmd_publisher_status(stage->publisher, &stage->status), 0);
}

static void shmdctl_shows_a_table(void **state)
{
        char pid[16];
        struct stage stage;

        must_equal(run_shmdctl("list", NULL), 0);
        must_say(output, "no services");
        stage_open(&stage);
        snprintf(pid, sizeof(pid), "%d", getpid());
        must_equal(run_shmdctl("list", NULL), 0);
        must_say(output, "SERVICE", "SEQUENCE", "stage/points", "point", "publisher", "subscriber",
                 "system-broker", pid, "7\n");
        shmd_close(stage.bus);
        must_equal(run_shmdctl("--help", NULL), 0);
        must_say(output, "list", "--json");
        must_equal(run_shmdctl("dance", NULL), 2);
        must_say(output, "dance");
        must_equal(run_shmdctl("list", "--dance"), 2);
        broker_terminate(SIGTERM);
        must_equal(run_shmdctl("list", NULL), 1);
        must_say(output, "no broker", broker.socket);
        broker_spawn(NULL);
}

#ifdef HAVE_JANSSON
static json_int_t number(const json_t *object, const char *name)
{
        must(json_is_integer(json_object_get(object, name)));
        return json_integer_value(json_object_get(object, name));
}

static const char *text(const json_t *object, const char *name)
{
        must(json_is_string(json_object_get(object, name)));
        return json_string_value(json_object_get(object, name));
}

static void shmdctl_writes_json(void **state)
{
        json_t *all, *service, *publisher, *subscriber;
        struct stage stage;

        must_equal(run_shmdctl("list", "--json"), 0);
        all = json_loads(output, 0, NULL);
        must_equal(json_array_size(json_object_get(all, "services")), 0);
        json_decref(all);
        stage_open(&stage);
        must_equal(run_shmdctl("list", "--json"), 0);
        all = json_loads(output, 0, NULL);
        must(all);
        must_equal(json_array_size(json_object_get(all, "services")), 1);
        service = json_array_get(json_object_get(all, "services"), 0);
        must_equal(strcmp(text(service, "service"), "stage/points"), 0);
        must_equal(strcmp(text(json_object_get(service, "type"), "name"), "point"), 0);
        must_equal(number(json_object_get(service, "type"), "size"), sizeof(struct point));
        must_equal(strtoull(text(json_object_get(service, "type"), "hash"), NULL, 16),
                   shmd_type_hash(&point_type));
        must_equal(number(service, "sequence"), 7);
        must_equal(json_array_size(json_object_get(service, "publishers")), 1);
        must_equal(json_array_size(json_object_get(service, "subscribers")), 1);
        publisher = json_array_get(json_object_get(service, "publishers"), 0);
        must_equal(strtoull(text(publisher, "id"), NULL, 16), stage.status.id);
        must_equal(number(publisher, "pid"), getpid());
        must_equal(number(publisher, "uid"), getuid());
        must_equal(strcmp(text(publisher, "program"), "system-broker"), 0);
        must_equal(number(publisher, "depth"), 5);
        must_equal(number(publisher, "subscribers"), 1);
        must_equal(number(publisher, "segment_size"), stage.status.segment_size);
        must_equal(number(publisher, "sequence"), 7);
        subscriber = json_array_get(json_object_get(service, "subscribers"), 0);
        must_equal(number(subscriber, "publishers"), 1);
        must_equal(number(subscriber, "holds"), 2);
        json_decref(all);
        shmd_close(stage.bus);
}
#else
static void shmdctl_writes_json(void **state)
{
        skip_because("built without jansson");
}
#endif

#else
static void shmdctl_shows_a_table(void **state)
{
        skip_because("there is no shmdctl");
}

static void shmdctl_writes_json(void **state)
{
        skip_because("there is no shmdctl");
}
#endif

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(second_broker_is_told_who_has_the_address),
                system_test(socket_of_a_crashed_broker_is_replaced),
                system_test(what_is_no_socket_is_left_alone),
                system_test(end_of_who_reads_the_log_is_not_the_brokers),
                system_test(ends_cleanly_when_asked_to),
                system_test(options_are_explained_and_checked),
                system_test(log_says_as_much_as_it_was_asked_to),
                system_test(idle_session_costs_two_descriptors),
                system_test(idle_sessions_cost_little_memory),
                system_test(more_sessions_than_descriptors_are_turned_away),
                system_test(shmdctl_shows_a_table),
                system_test(shmdctl_writes_json),
        };

        harness_init(argc, argv);
        return cmocka_run_group_tests_name("system-broker", tests, NULL, NULL);
}
