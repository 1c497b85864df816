/* SPDX-License-Identifier: Apache-2.0 */
/* somebody.h - a second user, for tests that run as root, who can be two. */
#ifndef SHMD_TESTS_SOMEBODY_H
#define SHMD_TESTS_SOMEBODY_H

#include <stdbool.h>

/* Who owns nothing. Not 65534, which in a container may stand for everybody unknown. */
#define SOMEBODY 54321

bool can_be_somebody(void);
/* In a role, for good. */
void become_somebody(void);

/* Others get as far as to the broker's socket. */
void open_directory(void);
/* Another broker in place of the one that runs, which allows him. */
void let_somebody_in(void);

#endif
