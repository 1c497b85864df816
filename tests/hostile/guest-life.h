/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest-life.h - everything that a program does with the library, once, in one thread.
 */
#ifndef SHMD_TESTS_GUEST_LIFE_H
#define SHMD_TESTS_GUEST_LIFE_H

#include <stdbool.h>

struct shmd;

/* Called after each call of the library. */
typedef void (*guest_check)(const char *call);

/* A publisher and a subscriber in two connections to the broker at `socket`: they find each other,
 * exchange samples awake and asleep, make mistakes, and part. False, with a line on standard error:
 * something went wrong. `check` may be NULL. */
bool guest_live(const char *socket, guest_check check);

/* Only one connection: waits until it has a broker, whatever became of the last. */
bool guest_await_broker(struct shmd *bus);

#endif
