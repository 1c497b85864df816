/* SPDX-License-Identifier: Apache-2.0 */
/* bell-rig.h - one publisher's doorbell and one subscriber that arms, in one process. */
#ifndef SHMD_TESTS_BELL_RIG_H
#define SHMD_TESTS_BELL_RIG_H

#include "doorbell.h"

#define BELL_TAG   9u
#define BELL_BOARD 77u

struct bell {
        struct doorbell doorbell;
        uint64_t fence_mode; /* as in a segment's header */
        int write_fd, read_fd;
        struct list bumped; /* the subscriber's boards */
        struct bumped_board bump;
        uint64_t armed; /* as in a block */
        struct member member;
        struct channel channel;
        int reading; /* the end that the subscriber sleeps on, or -1 */
};

/* A board, a channel (a pipe, or a socket), and a member that is not attached yet. */
void bell_open(struct bell *bell, bool is_socket);
void bell_close(struct bell *bell);

/* Attaches the member: as if the broker had introduced it. */
void bell_attach(struct bell *bell);

/* A1 and A2: the subscriber arms. */
void bell_arm(struct bell *bell);

/* A commit of message `sequence`, in the chunk at byte `offset`. */
void bell_commit(struct bell *bell, uint64_t offset, uint64_t sequence);

/* Reads one frame; false: there is none. */
bool bell_frame(struct bell *bell, struct offset_frame *frame);

/* How many frames there are; reads them all. */
unsigned bell_drain(struct bell *bell);

#endif
