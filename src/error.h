/* SPDX-License-Identifier: Apache-2.0 */
/*
 * error.h - the text that goes with a negative errno value.
 *
 * One text a thread: the last failure's. Whoever fails sets it, whoever passes a failure on may
 * put words in front.
 */
#ifndef SHMD_ERROR_H
#define SHMD_ERROR_H

/* Sets the text and returns `code`, so that failing is one statement. */
int error_set(int code, const char *format, ...) __attribute__((format(printf, 2, 3), cold));

/* The same, with ": " and what the errno value -code means at the end. */
int error_system(int code, const char *format, ...) __attribute__((format(printf, 2, 3), cold));

/* Puts words and ": " in front of the text there is; returns `code`. */
int error_prefix(int code, const char *format, ...) __attribute__((format(printf, 2, 3), cold));

/* The text of the last failure on this thread; "" if there was none. */
const char *error_text(void);

#endif
