/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crowd.h - publishers and subscribers that do what one does all day, until they are killed: at a
 * random moment from outside, or after a random one of their own loads, stores and messages.
 *
 * They take the broker's death as it comes. Whatever else goes wrong ends them with a status that
 * the test sees.
 */
#ifndef SHMD_TESTS_CROWD_H
#define SHMD_TESTS_CROWD_H

#include "victim.h"

#define CROWD_SIZE 6

/* The service that all of them use; its name is the test's own on this machine. */
extern char crowd_service[64];

/* Makes plans for the roles, and the name. Before all others; once for each test. */
void crowd_open(void);
void crowd_close(void);

/* Starts number i, 0 to CROWD_SIZE - 1, as what its number says; in one case of two it dies by
 * itself, or stops and waits to be killed. */
void crowd_start(unsigned i);
/* Kills it, unless it has done so itself. */
void crowd_kill(unsigned i);

/* What a call to the broker may say that others kill: it has worked; it is gone, or the seats are
 * taken. Anything else fails. */
bool crowd_worked(int code);
/* A connection, as soon as there is a broker. */
struct shmd *crowd_connect(void);

#endif
