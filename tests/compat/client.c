/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.c - a publisher or a subscriber that does as it is told, a line at a time.
 *
 * It is built against the header and the library of each version, so that it knows nothing but what
 * all of them have. Each line on standard input is a command with its arguments; for each there is
 * one line on standard output: "ok" and what was found, or what went wrong. It ends with its input.
 */
#include <dlfcn.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <shmd/shmd.h>
#include <shmd/type.h>

#define WORDS 31

/* Each word follows from the number. */
struct sample {
        uint64_t number;
        uint64_t words[WORDS];
};
SHMD_TYPE(sample_type, struct sample, SHMD_FIELD(struct sample, number),
          SHMD_ARRAY(struct sample, words));

static struct shmd *bus;
static struct shmd_publisher *publisher;
static struct shmd_subscriber *subscriber;
static struct shmd_sample held;
static uint64_t published; /* the number of the last */
static uint64_t last;      /* taken, */
static uint64_t reading;   /* of this publisher */

__attribute__((format(printf, 1, 2))) static void answer(const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        vprintf(format, arguments);
        va_end(arguments);
        putchar('\n');
        fflush(stdout);
}

/* What went wrong, or "ok". */
static void answer_code(int code)
{
        if (code < 0)
                answer("%d %s", code, shmd_error());
        else
                answer("ok");
}

/* ---- connection ------------------------------------------------------------------------- */

static void do_connect(const char *socket)
{
        struct shmd_connect_options options = {
                .size = sizeof(options), .socket = socket, .spin_ns = SHMD_SPIN_NEVER};

        answer_code(shmd_connect(&bus, &options));
}

static void do_close(const char *arguments)
{
        (void)arguments;
        shmd_close(bus);
        bus = NULL;
        publisher = NULL;
        subscriber = NULL;
        answer("ok");
}

static void count_services(void *user, const struct shmd_listing *listing)
{
        *(unsigned *)user += listing->what == SHMD_LISTED_SERVICE;
}

/* A round trip. */
static void do_list(const char *arguments)
{
        unsigned n = 0;
        int code = shmd_list(bus, count_services, &n);

        (void)arguments;
        if (code < 0)
                answer_code(code);
        else
                answer("ok %u", n);
}

/* Whether there is a broker, how many publishers or subscribers are known, and refused. */
static void do_state(const char *arguments)
{
        struct shmd_publisher_state p = {.subscribers = 0};
        struct shmd_subscriber_state s = {.publishers = 0};
        int code = publisher ? shmd_publisher_status(publisher, &p) : 0;

        (void)arguments;
        if (code == 0 && subscriber)
                code = shmd_subscriber_status(subscriber, &s);
        if (code < 0)
                answer_code(code);
        else
                answer("ok %d %u %u", shmd_connected(bus), p.subscribers + s.publishers, s.refused);
}

/* As in a container that forbids it. */
static void do_forbid_membarrier(const char *arguments)
{
        struct sock_filter filter[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};

        (void)arguments;
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
            prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
                answer("%d no filters here", -errno);
        else
                answer("ok");
}

/* ---- publishing ------------------------------------------------------------------------- */

/* MAX_SUBSCRIBERS SERVICE */
static void do_advertise(const char *arguments)
{
        struct shmd_publisher_options options = {.size = sizeof(options), .depth = 2048};
        char *service;

        options.max_subscribers = (uint32_t)strtoul(arguments, &service, 10);
        published = 0;
        answer_code(shmd_advertise(&publisher, bus, service + 1, &sample_type, &options));
}

static int publish_one(void)
{
        struct sample *sample;
        void *loan;
        int code = shmd_loan(publisher, &loan);

        if (code < 0)
                return code;
        sample = loan;
        sample->number = ++published;
        for (uint64_t i = 0; i < WORDS; i++)
                sample->words[i] = published * (i + 3);
        return shmd_publish(publisher, loan);
}

/* COUNT */
static void do_publish(const char *arguments)
{
        int code = 0;

        for (unsigned long n = strtoul(arguments, NULL, 10); n && code == 0; n--)
                code = publish_one();
        if (code < 0)
                answer_code(code);
        else
                answer("ok %llu", (unsigned long long)published);
}

/* ---- subscribing ------------------------------------------------------------------------ */

/* HISTORY SERVICE */
static void do_subscribe(const char *arguments)
{
        struct shmd_subscriber_options options = {.size = sizeof(options)};
        char *service;

        options.history = (uint32_t)strtoul(arguments, &service, 10);
        reading = 0;
        answer_code(shmd_subscribe(&subscriber, bus, service + 1, &sample_type, &options));
}

/* SERVICE, of samples of any length. */
static void do_subscribe_bytes(const char *service)
{
        answer_code(shmd_subscribe(&subscriber, bus, service, &shmd_bytes, NULL));
}

static int is_whole(const struct shmd_sample *sample)
{
        const struct sample *data = sample->data;

        if (sample->size != sizeof(*data) || data->number != sample->sequence)
                return 0;
        for (uint64_t i = 0; i < WORDS; i++)
                if (data->words[i] != data->number * (i + 3))
                        return 0;
        return 1;
}

/* Takes one: 1, 0, or a negative errno. */
static int take_one(struct shmd_sample *sample)
{
        int code = shmd_take(subscriber, sample);

        if (code <= 0)
                return code;
        if (sample->publisher != reading)
                last = 0;
        reading = sample->publisher;
        if (!is_whole(sample) || (last && sample->sequence != last + sample->lost + 1))
                return -EBADMSG;
        last = sample->sequence;
        return 1;
}

/* Takes all that is there, and answers with how many, how many were lost, and the last. */
static void answer_with_all(void)
{
        unsigned long long taken = 0, lost = 0;
        struct shmd_sample sample;
        int code;

        while ((code = take_one(&sample)) > 0) {
                taken++;
                lost += sample.lost;
                shmd_release(subscriber, &sample);
        }
        if (code < 0)
                answer("%d after %llu: %s", code, (unsigned long long)last, shmd_error());
        else
                answer("ok %llu %llu %llu", taken, lost, (unsigned long long)last);
}

static void do_take(const char *arguments)
{
        (void)arguments;
        answer_with_all();
}

/* Takes what is there, and tries on for a while. */
static void do_poll(const char *arguments)
{
        struct shmd_sample sample;
        int code = 0;

        (void)arguments;
        for (unsigned i = 0; i < 1000 && code >= 0; i++) {
                code = take_one(&sample);
                if (code > 0)
                        shmd_release(subscriber, &sample);
        }
        answer_code(code);
}

static void do_hold(const char *arguments)
{
        int code = take_one(&held);

        (void)arguments;
        if (code <= 0)
                answer("%d nothing to hold: %s", code, shmd_error());
        else
                answer("ok %llu", (unsigned long long)held.sequence);
}

static void do_look(const char *arguments)
{
        (void)arguments;
        if (held.data && is_whole(&held))
                answer("ok %llu", (unsigned long long)held.sequence);
        else
                answer("-1 what is held has changed");
}

static void do_release(const char *arguments)
{
        (void)arguments;
        answer_code(shmd_release(subscriber, &held));
        held.data = NULL;
}

/* Says that it goes to sleep, and answers again when there is something to take. That the broker
 * goes or comes is no reason. */
static void do_sleep(const char *arguments)
{
        struct shmd_subscriber_state state;
        uint64_t before;
        int code;

        (void)arguments;
        shmd_subscriber_status(subscriber, &state);
        before = state.taken;
        answer("ok");
        while (state.taken == before) {
                struct shmd_sample sample;

                code = shmd_wait(bus, SHMD_FOREVER);
                if (code < 0 && code != -ENOTCONN && code != -EINTR) {
                        answer_code(code);
                        return;
                }
                code = take_one(&sample);
                if (code < 0) {
                        answer_code(code);
                        return;
                }
                if (code > 0)
                        shmd_release(subscriber, &sample);
                shmd_subscriber_status(subscriber, &state);
        }
        answer("ok %llu", (unsigned long long)last);
}

/* ---- what is built in ------------------------------------------------------------------- */

/* The library that it runs with. */
static void do_library(const char *arguments)
{
        Dl_info where;

        (void)arguments;
        if (dladdr((void *)(uintptr_t)shmd_connect, &where))
                answer("ok %s", where.dli_fname);
        else
                answer("-1 unknown");
}

#define PLACE(type, field)                                                    \
        printf(" %s.%s:%zu+%zu", #type, #field, offsetof(struct type, field), \
               sizeof(((struct type *)NULL)->field))
#define SIZE(type) printf(" %s:%zu", #type, sizeof(struct type))

/* Where the public structs have their fields; and how large those are that the library fills in,
 * since they don't say their size. */
static void do_layout(const char *arguments)
{
        (void)arguments;
        printf("ok");
        PLACE(shmd_connect_options, size);
        PLACE(shmd_connect_options, spin_ns);
        PLACE(shmd_connect_options, socket);
        /* NOLINTNEXTLINE(bugprone-sizeof-expression): a pointer's size is meant */
        PLACE(shmd_connect_options, loop);
        SIZE(shmd_peer);
        PLACE(shmd_peer, id);
        PLACE(shmd_peer, pid);
        PLACE(shmd_peer, uid);
        PLACE(shmd_peer, program);
        PLACE(shmd_publisher_options, size);
        PLACE(shmd_publisher_options, flags);
        PLACE(shmd_publisher_options, depth);
        PLACE(shmd_publisher_options, loans);
        PLACE(shmd_publisher_options, max_subscribers);
        PLACE(shmd_publisher_options, holds);
        PLACE(shmd_publisher_options, max_size);
        PLACE(shmd_publisher_options, chunks);
        PLACE(shmd_publisher_options, on_subscriber);
        PLACE(shmd_publisher_options, user);
        SIZE(shmd_publisher_state);
        PLACE(shmd_publisher_state, id);
        PLACE(shmd_publisher_state, published);
        PLACE(shmd_publisher_state, segment_size);
        PLACE(shmd_publisher_state, max_size);
        PLACE(shmd_publisher_state, chunks);
        PLACE(shmd_publisher_state, depth);
        PLACE(shmd_publisher_state, subscribers);
        PLACE(shmd_publisher_state, loaned);
        PLACE(shmd_subscriber_options, size);
        PLACE(shmd_subscriber_options, history);
        PLACE(shmd_subscriber_options, holds);
        PLACE(shmd_subscriber_options, min_depth);
        PLACE(shmd_subscriber_options, on_sample);
        PLACE(shmd_subscriber_options, on_publisher);
        PLACE(shmd_subscriber_options, user);
        SIZE(shmd_sample);
        PLACE(shmd_sample, data);
        PLACE(shmd_sample, size);
        PLACE(shmd_sample, sequence);
        PLACE(shmd_sample, lost);
        PLACE(shmd_sample, publisher);
        PLACE(shmd_sample, hold);
        SIZE(shmd_subscriber_state);
        PLACE(shmd_subscriber_state, id);
        PLACE(shmd_subscriber_state, taken);
        PLACE(shmd_subscriber_state, lost);
        PLACE(shmd_subscriber_state, publishers);
        PLACE(shmd_subscriber_state, refused);
        PLACE(shmd_subscriber_state, held);
        SIZE(shmd_listing);
        PLACE(shmd_listing, what);
        PLACE(shmd_listing, publishers);
        PLACE(shmd_listing, subscribers);
        PLACE(shmd_listing, depth);
        PLACE(shmd_listing, service);
        PLACE(shmd_listing, type);
        PLACE(shmd_listing, type_hash);
        PLACE(shmd_listing, type_size);
        PLACE(shmd_listing, max_size);
        PLACE(shmd_listing, segment_size);
        PLACE(shmd_listing, sequence);
        PLACE(shmd_listing, peer);
        PLACE(shmd_listing, type_flags);
        PLACE(shmd_listing, holds);
        SIZE(shmd_type);
        PLACE(shmd_type, name);
        PLACE(shmd_type, size);
        PLACE(shmd_type, alignment);
        /* NOLINTNEXTLINE(bugprone-sizeof-expression): a pointer's size is meant */
        PLACE(shmd_type, fields);
        PLACE(shmd_type, n_fields);
        PLACE(shmd_type, flags);
        SIZE(shmd_field);
        putchar('\n');
        fflush(stdout);
}

static const struct {
        const char *name;
        void (*run)(const char *arguments);
} commands[] = {
        {"connect", do_connect},
        {"close", do_close},
        {"list", do_list},
        {"state", do_state},
        {"forbid-membarrier", do_forbid_membarrier},
        {"advertise", do_advertise},
        {"publish", do_publish},
        {"subscribe", do_subscribe},
        {"subscribe-bytes", do_subscribe_bytes},
        {"take", do_take},
        {"poll", do_poll},
        {"hold", do_hold},
        {"look", do_look},
        {"release", do_release},
        {"sleep", do_sleep},
        {"library", do_library},
        {"layout", do_layout},
};

static void obey(char *line)
{
        char *arguments = strchr(line, ' ');

        if (arguments)
                *arguments++ = '\0';
        for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
                if (strcmp(line, commands[i].name) != 0)
                        continue;
                commands[i].run(arguments ? arguments : "");
                return;
        }
        answer("-1 unknown command %s", line);
}

int main(void)
{
        char line[512];

        while (fgets(line, sizeof(line), stdin)) {
                line[strcspn(line, "\n")] = '\0';
                obey(line);
        }
        shmd_close(bus);
        return 0;
}
