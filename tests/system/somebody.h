/* SPDX-License-Identifier: Apache-2.0 */
/* somebody.h - another user than the test's own. Needs root, who can be anybody. */
#ifndef SHMD_TESTS_SOMEBODY_H
#define SHMD_TESTS_SOMEBODY_H

#include <stdbool.h>

/* Who owns nothing. Not 65534, which in a container may stand for everybody unknown. */
#define SOMEBODY      54321
#define SOMEBODY_TEXT "54321"

/* Whether this process may become another user. */
bool can_be_somebody(void);

/* From now on this process, a role, is. */
void become_somebody(void);

/* Lets everybody reach the socket. */
void open_directory(void);

/* Exchanges the broker for one that lets somebody in; `arguments` (NULL-terminated, or NULL) are
 * more options of it. */
void let_somebody_in(const char *const *arguments);

#endif
