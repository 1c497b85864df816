/* SPDX-License-Identifier: Apache-2.0 */
/* channel.c - the pipe or one socket pair for each user. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "channel.h"
#include "closer.h"
#include "registry.h"
#include "server.h"
#include "session.h"
#include "socket.h"
#include "util.h"

static struct wake_channel *channel_new(struct session *subscriber, uid_t uid)
{
        struct wake_channel *channel = calloc(1, sizeof(*channel));
        int fds[2];

        if (!channel)
                return NULL;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0) {
                free(channel);
                return NULL;
        }
        channel->read_fd = fds[0];
        channel->write_fd = fds[1];
        /* Frames go one way. Descriptors sent along with them could stop the reader when it closes
         * them; where the kernel can't refuse them, the reader takes care (src/ears.c). And a byte
         * that is sent out of band comes in its turn, so that looking at what comes next tells the
         * truth. */
        socket_refuse_fds(channel->read_fd);
        setsockopt(channel->read_fd, SOL_SOCKET, SO_OOBINLINE, &(int){1}, sizeof(int));
        shutdown(channel->read_fd, SHUT_WR);
        channel->uid = uid;
        channel->number = registry_number(&subscriber->server->registry);
        list_append(&subscriber->channels, &channel->link);
        return channel;
}

static struct wake_channel *find(struct session *subscriber, uid_t uid)
{
        list_for_each (&subscriber->channels, link) {
                struct wake_channel *channel = list_entry(link, struct wake_channel, link);

                if (channel->uid == uid)
                        return channel;
        }
        return channel_new(subscriber, uid);
}

int wake_channel_find(struct wake_channel_ends *ends, struct session *subscriber,
                      const struct session *publisher)
{
        struct wake_channel *channel;

        if (subscriber->uid == publisher->uid && !(publisher->hello_flags & HELLO_NO_PROC)) {
                *ends = (struct wake_channel_ends){.number = subscriber->pipe_number,
                                                   .kind = CHANNEL_PIPE,
                                                   .write_fd = subscriber->pipe_fd,
                                                   .read_fd = -1};
                return 0;
        }
        errno = ENOMEM;
        channel = find(subscriber, publisher->uid);
        if (!channel)
                return -errno;
        *ends = (struct wake_channel_ends){.number = channel->number,
                                           .kind = CHANNEL_SOCKET,
                                           .write_fd = channel->write_fd,
                                           .read_fd = channel->read_fd};
        return 0;
}

void wake_channels_close(struct session *subscriber)
{
        list_for_each_safe (&subscriber->channels, link) {
                struct wake_channel *channel = list_entry(link, struct wake_channel, link);

                list_remove(link);
                /* Only frames were ever sent here, unless the kernel lets descriptors pass: then
                 * they are the publishers', and no fault of who listens. */
                closer_give(subscriber->server->closer, channel->uid, &channel->read_fd);
                closer_give(subscriber->server->closer, channel->uid, &channel->write_fd);
                free(channel);
        }
}
