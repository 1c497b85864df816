/* SPDX-License-Identifier: Apache-2.0 */
/* comeback.c - looks at connections, and restarts brokers. */
#include "comeback.h"

struct shmd_connection_state state_of(struct shmd *bus)
{
        struct shmd_connection_state state;

        must_equal(shmd_connection_status(bus, &state), 0);
        return state;
}

struct shmd_subscriber_state status_of(struct shmd_subscriber *subscriber)
{
        struct shmd_subscriber_state status;

        must_equal(shmd_subscriber_status(subscriber, &status), 0);
        return status;
}

uint32_t n_subscribers(struct shmd_publisher *publisher)
{
        struct shmd_publisher_state status;

        must_equal(shmd_publisher_status(publisher, &status), 0);
        return status.subscribers;
}

void until_same(struct shmd *bus, const struct snapshot *before, const char *who)
{
        struct snapshot is;
        bool are_same = false;

        for (unsigned i = 0; i < 100 && !are_same; i++) {
                must(shmd_wait(bus, 20 * (int64_t)MS) >= 0);
                snapshot_take(&is, 0);
                are_same = snapshot_equal(before, &is);
        }
        if (!are_same)
                snapshot_explain(who, before, &is);
        must_equal(is.n_fds, before->n_fds);
        must_equal(is.n_mappings, before->n_mappings);
}

void restart_broker(void)
{
        broker_kill();
        broker_spawn(NULL);
}

void until_settled(struct shmd *one, struct shmd *other)
{
        until(state_of(one).connected && (!other || state_of(other).connected));
}
