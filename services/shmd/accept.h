/* SPDX-License-Identifier: Apache-2.0 */
/*
 * accept.h - how newcomers become sessions, or don't.
 *
 * Too few descriptors or too little memory is load, not death: the newcomer is told and shed, those
 * that are there go on. To be able to accept somebody just to turn him away, one descriptor is
 * kept in reserve; while that is not to be had either, accepting pauses (the backlog stays full of
 * readable newcomers, and to be woken for them again and again would serve nobody).
 */
#ifndef SHMD_BROKER_ACCEPT_H
#define SHMD_BROKER_ACCEPT_H

#include <stdbool.h>

struct server;

/* 0, or a negative errno with a text. The handles are the server's to close. */
int accept_start(struct server *server);

/* Gets the reserve back if it was given up. Whether there is one. */
bool accept_refill(struct server *server);

#endif
