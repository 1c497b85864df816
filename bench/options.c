/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.c - the command line, taken apart with a clear text for everything that is wrong with it.
 */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "process.h"

#define PAYLOAD_MIN 8ull
#define PAYLOAD_MAX (1ull << 40)
#define SECONDS_MAX 3600.0
#define COUNT_MAX   1000000ull
#define RATE_MIN    100ull   /* or a publisher might not notice that the broker was gone */
#define RATE_MAX    10000ull /* or its samples would not fit in a second of anybody's time */
#define GAP_MAX     10000ull /* in a longer one a publish is lost among interrupts */

struct parser {
        struct options *options;
        const char *name; /* of the option */
        bool seconds_given;
        bool cpus_given;
};

/* One element of a list. @return 0 or negative. */
typedef int (*take_item)(const struct parser *parser, const char *item);

struct option_kind {
        const char *name;
        unsigned bit; /* 0: always allowed */
        int (*take)(struct parser *parser, char *value);
};

static int complain(const struct parser *parser, const char *format, ...)
        __attribute__((format(printf, 2, 3)));

static int complain(const struct parser *parser, const char *format, ...)
{
        va_list arguments;

        fprintf(stderr, "shmd-bench: --%s: ", parser->name);
        va_start(arguments, format);
        vfprintf(stderr, format, arguments);
        va_end(arguments);
        fputc('\n', stderr);
        return -EINVAL;
}

static int each_item(const struct parser *parser, char *list, take_item take)
{
        char *position = NULL;
        int result = 0;

        if (!*list)
                return complain(parser, "an empty list");
        for (char *item = strtok_r(list, ",", &position); item && result >= 0;
             item = strtok_r(NULL, ",", &position))
                result = take(parser, item);
        return result;
}

/* A whole number, with K, M or G (or KiB, MiB, GiB) for powers of 1024 if `units`. */
static int number_take(const struct parser *parser, const char *text, bool units, uint64_t min,
                       uint64_t max, uint64_t *number)
{
        const char *unit;
        unsigned shift = 0;
        char *rest;

        errno = 0;
        *number = strtoull(text, &rest, 10);
        if (rest == text || errno || text[0] == '-' || text[0] == '+')
                return complain(parser, "\"%s\" is not a number", text);
        unit = units && *rest ? strchr("KMG", *rest) : NULL;
        if (unit) {
                shift = 10 * (unsigned)(strchr("KMG", *unit) - "KMG" + 1);
                rest += strncmp(rest + 1, "iB", 2) == 0 ? 3 : 1;
        }
        if (*rest)
                return complain(parser, "\"%s\" has something after the number%s", text,
                                units ? " that is not K, M or G" : "");
        if (*number > max >> shift || *number << shift < min)
                return complain(parser, "%s is not from %llu to %llu", text,
                                (unsigned long long)min, (unsigned long long)max);
        *number <<= shift;
        return 0;
}

/* One of `words`, which NULL ends; the first is bit 0. */
static int choice_take(const struct parser *parser, const char *item, const char *const *words,
                       unsigned *bits)
{
        char all[96] = "";

        for (unsigned i = 0; words[i]; i++) {
                if (strcmp(item, words[i]) == 0) {
                        *bits |= 1u << i;
                        return 0;
                }
                snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", i ? ", " : "",
                         words[i]);
        }
        return complain(parser, "\"%s\" is none of %s", item, all);
}

static int transport_item(const struct parser *parser, const char *item)
{
        struct options *options = parser->options;
        const struct transport *transport = transport_find(item);

        if (transport && options->n_transports < LIST_MAX) {
                options->transports[options->n_transports++] = transport;
                return 0;
        }
        if (transport)
                return complain(parser, "more than %d", LIST_MAX);
        complain(parser, "there is no \"%s\"; there are:", item);
        for (uint32_t i = 0; transports[i]; i++)
                fprintf(stderr, "shmd-bench:   %-12s %s\n", transports[i]->name,
                        transports[i]->about);
        return -EINVAL;
}

static int payload_item(const struct parser *parser, const char *item)
{
        struct options *options = parser->options;

        if (options->n_payloads == LIST_MAX)
                return complain(parser, "more than %d", LIST_MAX);
        return number_take(parser, item, true, PAYLOAD_MIN, PAYLOAD_MAX,
                           &options->payloads[options->n_payloads++]);
}

static int subscribers_item(const struct parser *parser, const char *item)
{
        struct options *options = parser->options;

        if (options->n_subscribers == LIST_MAX)
                return complain(parser, "more than %d", LIST_MAX);
        return number_take(parser, item, false, 1, SUBSCRIBERS_MAX,
                           &options->subscribers[options->n_subscribers++]);
}

static int touch_item(const struct parser *parser, const char *item)
{
        static const char *const words[] = {"first", "all", NULL};

        return choice_take(parser, item, words, &parser->options->touches);
}

static int wait_item(const struct parser *parser, const char *item)
{
        return choice_take(parser, item, wait_names, &parser->options->waits);
}

static int readers_item(const struct parser *parser, const char *item)
{
        static const char *const words[] = {"idle", "poll", NULL};

        return choice_take(parser, item, words, &parser->options->readers);
}

static int transport_take(struct parser *parser, char *value)
{
        parser->options->n_transports = 0;
        return each_item(parser, value, transport_item);
}

static int payload_take(struct parser *parser, char *value)
{
        parser->options->n_payloads = 0;
        return each_item(parser, value, payload_item);
}

static int subscribers_take(struct parser *parser, char *value)
{
        parser->options->n_subscribers = 0;
        return each_item(parser, value, subscribers_item);
}

static int touch_take(struct parser *parser, char *value)
{
        parser->options->touches = 0;
        return each_item(parser, value, touch_item);
}

static int wait_take(struct parser *parser, char *value)
{
        parser->options->waits = 0;
        return each_item(parser, value, wait_item);
}

static int readers_take(struct parser *parser, char *value)
{
        parser->options->readers = 0;
        return each_item(parser, value, readers_item);
}

static int cpus_take(struct parser *parser, char *value)
{
        char *second = strchr(value, ',');
        uint64_t numbers[2];

        if (!second)
                return complain(parser, "two CPUs are wanted, as in 0,1");
        *second++ = '\0';
        if (number_take(parser, value, false, 0, CPUS_MAX - 1, &numbers[0]) < 0 ||
            number_take(parser, second, false, 0, CPUS_MAX - 1, &numbers[1]) < 0)
                return -EINVAL;
        parser->options->cpus[0] = (int)numbers[0];
        parser->options->cpus[1] = (int)numbers[1];
        parser->cpus_given = true;
        return 0;
}

static int seconds_take(struct parser *parser, char *value)
{
        char *rest;
        double seconds = strtod(value, &rest);

        if (rest == value || *rest || !(seconds > 0 && seconds <= SECONDS_MAX))
                return complain(parser, "\"%s\" is not a number above 0 and up to %.0f", value,
                                SECONDS_MAX);
        parser->options->seconds = seconds;
        return 0;
}

static int runs_take(struct parser *parser, char *value)
{
        uint64_t number;
        int result = number_take(parser, value, false, 1, RUNS_MAX, &number);

        if (result >= 0)
                parser->options->runs = (uint32_t)number;
        return result;
}

static int count_take(struct parser *parser, char *value)
{
        uint64_t number;
        int result = number_take(parser, value, false, 1, COUNT_MAX, &number);

        if (result >= 0)
                parser->options->count = (uint32_t)number;
        return result;
}

static int gap_take(struct parser *parser, char *value)
{
        return number_take(parser, value, false, 0, GAP_MAX, &parser->options->gap_ns);
}

static int rate_take(struct parser *parser, char *value)
{
        uint64_t number;
        int result = number_take(parser, value, false, RATE_MIN, RATE_MAX, &number);

        if (result >= 0)
                parser->options->rate = (uint32_t)number;
        return result;
}

static int json_take(struct parser *parser, char *value)
{
        parser->options->outputs.json = value;
        return 0;
}

static int csv_take(struct parser *parser, char *value)
{
        parser->options->outputs.csv = value;
        return 0;
}

static int plot_take(struct parser *parser, char *value)
{
        parser->options->outputs.plot = value;
        return 0;
}

static int states_take(struct parser *parser, char *value)
{
        parser->options->outputs.states = value;
        return 0;
}

static int quick_take(struct parser *parser, char *value)
{
        parser->options->quick = true;
        return 0;
}

static int broker_take(struct parser *parser, char *value)
{
        parser->options->broker = value;
        return 0;
}

static const struct option_kind kinds[] = {
        {"cpus", 0, cpus_take},
        {"runs", OPTION_RUNS, runs_take},
        {"json", OPTION_JSON, json_take},
        {"csv", OPTION_OUTPUTS, csv_take},
        {"plot", OPTION_OUTPUTS, plot_take},
        {"states", OPTION_OUTPUTS, states_take},
        {"broker", OPTION_OUTPUTS, broker_take},
        {"transport", OPTION_TRANSPORT, transport_take},
        {"payload", OPTION_PAYLOAD, payload_take},
        {"touch", OPTION_TOUCH, touch_take},
        {"wait", OPTION_WAIT, wait_take},
        {"seconds", OPTION_SECONDS, seconds_take},
        {"subscribers", OPTION_SUBSCRIBERS, subscribers_take},
        {"readers", OPTION_READERS, readers_take},
        {"count", OPTION_COUNT, count_take},
        {"gap", OPTION_GAP, gap_take},
        {"rate", OPTION_RATE, rate_take},
        {"quick", OPTION_QUICK, quick_take},
};

enum { N_KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static int cpus_check(const struct parser *parser)
{
        struct options *options = parser->options;
        int usable[CPUS_MAX];
        uint32_t n = process_cpus(usable, CPUS_MAX);

        if (!parser->cpus_given) {
                options->cpus[0] = n > 0 ? usable[0] : 0;
                options->cpus[1] = n > 1 ? usable[1] : options->cpus[0];
                return 0;
        }
        for (int i = 0; i < 2; i++) {
                uint32_t j = 0;

                while (j < n && usable[j] != options->cpus[i])
                        j++;
                if (j == n) {
                        fprintf(stderr,
                                "shmd-bench: --cpus: CPU %d is not there, or this process may "
                                "not use it\n",
                                options->cpus[i]);
                        return -EINVAL;
                }
        }
        return 0;
}

void options_all_transports(struct options *options)
{
        for (uint32_t i = 0; transports[i] && i < LIST_MAX; i++)
                options->transports[options->n_transports++] = transports[i];
}

static void options_list(struct option *list, unsigned allowed)
{
        uint32_t n = 0;

        for (int i = 0; i < N_KINDS; i++) {
                if (!kinds[i].bit || kinds[i].bit & allowed)
                        list[n++] = (struct option){
                                kinds[i].name,
                                kinds[i].bit == OPTION_QUICK ? no_argument : required_argument,
                                NULL, i};
        }
        list[n++] = (struct option){"help", no_argument, NULL, N_KINDS};
        list[n] = (struct option){0};
}

int options_parse(struct options *options, unsigned allowed, const char *usage, int argc,
                  char **argv)
{
        struct parser parser = {.options = options};
        struct option list[N_KINDS + 2];
        char program[64];
        int kind, result;

        snprintf(program, sizeof(program), "shmd-bench %s", argv[0]);
        argv[0] = program; /* for getopt's own texts */
        options_list(list, allowed);
        while ((kind = getopt_long(argc, argv, "h", list, NULL)) != -1) {
                if (kind == N_KINDS || kind == 'h') {
                        fputs(usage, stdout);
                        return OPTIONS_HELP;
                }
                if (kind == '?') {
                        fprintf(stderr, "%s --help lists the options\n", argv[0]);
                        return -EINVAL;
                }
                parser.name = kinds[kind].name;
                result = kinds[kind].take(&parser, optarg);
                if (result < 0)
                        return result;
        }
        if (optind < argc) {
                fprintf(stderr, "shmd-bench: \"%s\" is not an option\n", argv[optind]);
                return -EINVAL;
        }
        return cpus_check(&parser);
}
