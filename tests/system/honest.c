/* SPDX-License-Identifier: Apache-2.0 */
/* honest.c - who keeps to the protocol, and what becomes of who doesn't. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"
#include "honest.h"
#include "raw.h"

struct honest honest;

void honest_open(void)
{
        memset(&honest, 0, sizeof(honest));
        honest.one = broker_connect();
        honest.other = broker_connect();
        must_equal(shmd_advertise(&honest.publisher, honest.one, "honest", stamped_type, NULL), 0);
        must_equal(shmd_subscribe(&honest.subscriber, honest.other, "honest", stamped_type, NULL),
                   0);
        must_equal(shmd_wait(honest.other, 0), 1);
        honest.log_size = strlen(broker_log());
}

void honest_check(unsigned n_dropped)
{
        const char *log;
        unsigned n = 0;

        stamped_publish(honest.publisher, ++honest.n);
        must_equal(tally_take_all(&honest.tally, honest.subscriber), 1);
        broker_settle(honest.one);
        broker_settle(honest.other);
        for (log = broker_log() + honest.log_size; (log = strstr(log, "dropped")); log++)
                n++;
        must_equal(n, n_dropped);
        honest.log_size = strlen(broker_log());
}

void honest_close(void)
{
        shmd_close(honest.one);
        shmd_close(honest.other);
}

void expect_drop_of(int fd, const void *message, size_t size, const int *fds, unsigned n_fds,
                    const char *reason)
{
        char who[64];
        const char *text;

        snprintf(who, sizeof(who),
                 "dropped %.15s (pid %d, user %u): ", program_invocation_short_name, getpid(),
                 getuid());
        raw_send(fd, message, size, fds, n_fds);
        text = raw_await_end(fd);
        must_say(text, reason);
        must_say(broker_log() + honest.log_size, who, reason);
        honest_check(1);
        close(fd);
}

void expect_drop(const void *message, size_t size, const int *fds, unsigned n_fds,
                 const char *reason)
{
        expect_drop_of(raw_session(NULL), message, size, fds, n_fds, reason);
}
