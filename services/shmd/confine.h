/* SPDX-License-Identifier: Apache-2.0 */
/*
 * confine.h - what the program shmd may still do once it serves.
 *
 * Every client's bytes go through the broker, and it has descriptors of everybody's memory. Should
 * one of its faults ever let a client run code in it, that code finds a process without
 * capabilities, files, network, programs or other processes: with what is open, and little more. A
 * broker inside a program of one's own (libshmd-broker) is not confined: what that program needs,
 * only it knows.
 *
 * Confinement is for good, and holds for all threads that are started later.
 */
#ifndef SHMD_BROKER_CONFINE_H
#define SHMD_BROKER_CONFINE_H

#include <stdbool.h>

#define CONFINE_TEXT_SIZE 256

/*
 * First of all, before there is a loop: no privileges are gained from here on, and there is no
 * io_uring, whose operations no filter of system calls sees. 0 or a negative errno value.
 */
int confine_begin(void);

/*
 * When the broker listens at `socket`, in the only thread: gives up everything that it won't need
 * any more. With `serves_others`, not even processes of its own user may look inside.
 *
 * @return 0, and `text` says what this kernel or this build doesn't have, or is ""; a negative
 *         errno value, and `text` says what went wrong. Then part of it is done, and stays.
 */
int confine(const char *socket, bool serves_others, char text[static CONFINE_TEXT_SIZE]);

#endif
