/* SPDX-License-Identifier: Apache-2.0 */
/* confine-calls.h - which system calls are left to the program shmd once it serves. */
#ifndef SHMD_BROKER_CONFINE_CALLS_H
#define SHMD_BROKER_CONFINE_CALLS_H

/* No io_uring from here on. 0, also where that can't be had; a negative errno value. */
int calls_begin(void);

/* The rest, for all threads. 0, and *lack is NULL or says why it can't be had; a negative errno
 * value. */
int calls_confine(const char **lack);

#endif
