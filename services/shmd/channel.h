/* SPDX-License-Identifier: Apache-2.0 */
/*
 * channel.h - on what a publisher rings to wake a subscriber.
 *
 * Of the same user it is the pipe that the subscriber's connection has made itself; publishers
 * open it again through /proc/self/fd, so that each has a description (and an O_NONBLOCK) of its
 * own. For another user, or a publisher that has no /proc, it is a socket pair, made here: one for
 * each connection and publishers' user, so that one user can neither fill nor break another's. It
 * lives as long as the connection.
 */
#ifndef SHMD_BROKER_CHANNEL_H
#define SHMD_BROKER_CHANNEL_H

#include <stdint.h>
#include <sys/types.h>

#include "list.h"

struct session;

struct wake_channel {
        struct list link; /* session.channels */
        uint64_t number;
        uid_t uid; /* of the publishers that ring on it */
        int read_fd;
        int write_fd;
};

/* What goes into introductions. The descriptors stay the session's. */
struct wake_channel_ends {
        uint64_t number;
        uint32_t kind; /* CHANNEL_PIPE or CHANNEL_SOCKET */
        int write_fd;
        int read_fd; /* -1: the subscriber has it already */
};

/* 0, or a negative errno: no descriptors, no memory. */
int wake_channel_find(struct wake_channel_ends *ends, struct session *subscriber,
                      const struct session *publisher);

void wake_channels_close(struct session *subscriber);

#endif
