/* SPDX-License-Identifier: Apache-2.0 */
/*
 * abandoned.c - the request to which no answer came in time.
 *
 * A broker that is slow, or stopped, is not gone: it has the request and will answer it. So the
 * connection stays, its peers with it, and what was asked for is undone when it turns out to have
 * been granted. The next request waits for that, as the broker does one after the other anyway:
 * there is one abandoned request at most.
 */
#include <poll.h>

#include "connection.h"
#include "wire.h"

void abandoned_begin(struct shmd *bus, const struct message *request)
{
        struct abandoned *abandoned = &bus->abandoned;

        *abandoned = (struct abandoned){.serial = request->serial};
        if (request->type == MESSAGE_ADVERTISE) {
                abandoned->undo = MESSAGE_UNADVERTISE;
                abandoned->id =
                        ((const struct message_advertise *)(const void *)request)->publisher;
        } else if (request->type == MESSAGE_SUBSCRIBE) {
                abandoned->undo = MESSAGE_UNSUBSCRIBE;
                abandoned->id =
                        ((const struct message_subscribe *)(const void *)request)->subscription;
        }
}

void abandoned_end(struct shmd *bus)
{
        struct abandoned *abandoned = &bus->abandoned;

        row_return(abandoned->block, abandoned->row_offset, abandoned->n_holds);
        *abandoned = (struct abandoned){.serial = 0};
}

bool abandoned_answered(struct shmd *bus, const struct message *answer)
{
        struct abandoned *abandoned = &bus->abandoned;
        struct message_leave leave = {.id = abandoned->id};

        if (!abandoned->serial || answer->serial != abandoned->serial)
                return false;
        if (answer->type != MESSAGE_REPLY)
                return true; /* a listing; there may be more */
        abandoned->serial = 0;
        if (abandoned->undo && ((const struct message_reply *)(const void *)answer)->code == 0) {
                if (abandoned->block)
                        abandoned->block->is_passed = bus->pipe_is_passed = true;
                wire_begin(&leave, abandoned->undo, sizeof(leave), 0);
                connection_tell(bus, &leave.header);
        }
        abandoned_end(bus);
        return true;
}

int abandoned_await(struct shmd *bus, uint64_t deadline)
{
        while (bus->abandoned.serial) {
                int code = connection_await(bus, POLLIN, deadline);

                if (code == 0)
                        code = connection_intake(bus);
                if (code < 0)
                        return code;
        }
        return 0;
}
