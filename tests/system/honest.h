/* SPDX-License-Identifier: Apache-2.0 */
/*
 * honest.h - a publisher and a subscriber who have to notice nothing, while others misbehave.
 */
#ifndef SHMD_TESTS_HONEST_H
#define SHMD_TESTS_HONEST_H

#include "stamped.h"

struct honest {
        struct shmd *one, *other;
        struct shmd_publisher *publisher;
        struct shmd_subscriber *subscriber;
        struct tally tally;
        uint64_t n;
        size_t log_size; /* of the broker's log when honest_check() last looked */
};
extern struct honest honest; /* of the test that runs */

void honest_open(void);
void honest_close(void);

/* Samples flow, the broker answers, and it has said so many times that it dropped somebody. */
void honest_check(unsigned n_dropped);

/* Sends to a session, and expects the session to end, for this reason, with one line of log that
 * names this program, its process and its user. Closes `fd`. */
void expect_drop_of(int fd, const void *message, size_t size, const int *fds, unsigned n_fds,
                    const char *reason);
/* The same with a session of its own. */
void expect_drop(const void *message, size_t size, const int *fds, unsigned n_fds,
                 const char *reason);

#endif
