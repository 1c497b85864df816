/* SPDX-License-Identifier: Apache-2.0 */
/* program.c - messages, numbers, a clock and an end on Ctrl-C for command-line programs. */
#include "program.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

volatile sig_atomic_t program_stopped;

static void stop(int signal)
{
        (void)signal;
        program_stopped = 1;
}

void program_stop_on_signals(void)
{
        /* No SA_RESTART: a read(2) that waits for more of a stream has to return. */
        struct sigaction action = {.sa_handler = stop, .sa_flags = (int)SA_RESETHAND};

        sigemptyset(&action.sa_mask);
        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
}

void program_fail(const char *format, ...)
{
        va_list arguments;

        fflush(stdout);
        fprintf(stderr, "%s: ", program_invocation_short_name);
        va_start(arguments, format);
        vfprintf(stderr, format, arguments);
        va_end(arguments);
        fputc('\n', stderr);
        exit(1);
}

uint64_t program_number(const char *option, const char *text, uint64_t least, uint64_t most)
{
        char *end;
        uint64_t number;

        errno = 0;
        number = strtoull(text, &end, 10);
        if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number < least ||
            number > most)
                program_fail("%s takes a number from %ju to %ju, not '%s'", option,
                             (uintmax_t)least, (uintmax_t)most, text);
        return number;
}

int program_digits(const char **text, uint32_t *number)
{
        int n_digits = 0;

        *number = 0;
        for (; **text >= '0' && **text <= '9'; (*text)++)
                if (n_digits++ < 7)
                        *number = *number * 10 + (uint32_t)(**text - '0');
        return n_digits <= 7 ? n_digits : 0;
}

void program_size(const char *text, uint32_t *width, uint32_t *height)
{
        const char *rest = text;

        if (!program_digits(&rest, width) || *rest++ != 'x' || !program_digits(&rest, height) ||
            *rest != '\0' || *width < 1 || *height < 1 || *width > 16384 || *height > 16384)
                program_fail("--size takes WIDTHxHEIGHT, each from 1 to 16384, not '%s'", text);
}

uint64_t program_now_ns(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
