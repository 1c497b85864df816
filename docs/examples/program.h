/* SPDX-License-Identifier: Apache-2.0 */
/*
 * program.h - what every command-line program here needs: messages, numbers, a clock, and an end
 * on Ctrl-C.
 */
#ifndef PROGRAM_H
#define PROGRAM_H

#include <signal.h>
#include <stdint.h>

/* Set by SIGINT and SIGTERM after program_stop_on_signals(). */
extern volatile sig_atomic_t program_stopped;

/* Lets SIGINT and SIGTERM set program_stopped; a second signal ends the process at once. */
void program_stop_on_signals(void);

/* Prints "program: text" to standard error and ends the process with status 1. */
__attribute__((noreturn, format(printf, 1, 2))) void program_fail(const char *format, ...);

/* The decimal number `text`, given for `option`: least to most, or the program ends with a text. */
uint64_t program_number(const char *option, const char *text, uint64_t least, uint64_t most);

/* Takes one to seven digits off the front of *text. Returns how many there were: 0 if there are
 * none, or more. */
int program_digits(const char **text, uint32_t *number);

/* "1920x1080" for --size, each from 1 to 16384. */
void program_size(const char *text, uint32_t *width, uint32_t *height);

/* CLOCK_MONOTONIC in nanoseconds: the same for all processes of the machine. */
uint64_t program_now_ns(void);

#endif
