/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doorbell.h - how a subscriber that sleeps is woken, and a publisher that has nobody to wake pays
 * nothing for it.
 *
 * An eventcount in shared memory. A connection that is about to sleep makes its armed word odd and
 * new, adds one to each arming board that its publishers watch, and looks at the rings once more.
 * A publisher looks at its boards after each commit; where one has moved it scans that user's
 * members and writes one offset frame for each arming that it has not answered yet.
 *
 *   subscriber                                    publisher
 *   A1 armed = odd                                P1 commit
 *   A2 board + 1           (full fence)           P2 fence (or none, see below)
 *   A3 membarrier, if a publisher needs it        P3 board moved? remember it, then
 *   A4 look at the rings: nothing -> sleep        P4 armed odd and new? -> frame
 *
 * Of commit (P1) and board (A2), one side sees the other's: the fences at A2 and P2 order each
 * side's store before its look. So either A4 finds the sample or P3 finds the board moved (G5).
 *
 *                          a look finds something, or a frame was drained
 *            +--------------------------------------------------------------+
 *            v                                                              |
 *         awake (even) ---- arm: A1 A2 A3 ----> armed (odd) ---- A4 ----> asleep
 *
 * After waking: drain the frames, disarm, look at the rings, in that order. A frame only wakes:
 * where to look is never taken from it.
 *
 * Fences. A full fence after each commit costs a publisher a cache-line transfer when a subscriber
 * spins on the line. So a publisher whose boards have not moved for a while says ASYM in its
 * segment's header, fences and looks once more, and then leaves P2 out; who arms and finds ASYM
 * makes up for it with membarrier(2) at A3, which runs a fence on every CPU that runs a registered
 * process. A board that moves switches back.
 */
#ifndef SHMD_DOORBELL_H
#define SHMD_DOORBELL_H

#include <stdbool.h>
#include <stdint.h>

#include <shmd/shmd.h>

#include "atomic.h"
#include "layout.h"
#include "list.h"
#include "ring.h"
#include "segment.h"

/* ---- the publisher's side --------------------------------------------------------------- */

/* A subscriber connection's way to be woken; shared by a connection's publishers. */
struct channel {
        struct list link; /* shmd.channels */
        uint64_t id;
        unsigned references;
        int fd; /* negative: broken, nobody is there */
        bool is_socket;
};

/* A board that a publisher watches. */
struct watched_board {
        struct list link; /* doorbell.boards */
        uint64_t id;
        unsigned n_members;
        struct segment memory;
        const uint64_t *counter; /* in the memory */
        uint64_t seen;           /* what it was when members were last scanned */
};

/* A subscription that a publisher knows. */
struct member {
        struct shmd_peer peer; /* id: the subscription */
        struct ring_row row;
        const uint64_t *armed;
        uint64_t answered; /* the armed value that the last frame was for */
        struct watched_board *board;
        struct channel *channel;
        struct block *block;       /* where row and armed word are */
        struct event *come, *gone; /* to be told */
        struct peer_process *process;
        uint64_t start;     /* as its introduction said */
        bool is_leaving;    /* removed, but may still hold */
        bool is_orphan;     /* known from a broker that is no more; the next has not named it yet */
        bool no_membarrier; /* it goes to sleep without a fence in this process */
};

struct doorbell {
        struct list boards;      /* struct watched_board */
        struct member **members; /* n_members of them, in room for n_room */
        uint32_t n_members, n_room;
        uint32_t tag;         /* the publisher's */
        uint64_t *fence_mode; /* in the segment's header */
        bool is_asym;         /* what stands there */
        bool may_asym;        /* registered for membarrier, and nobody forbids it */
        uint32_t quiet;       /* commits since a board last moved */
};

void doorbell_init(struct doorbell *doorbell, uint32_t tag, uint64_t *fence_mode);

/* Watches the board `id`; takes over the descriptor's mapping only if it is new. NULL with a text
 * if that fails. */
struct watched_board *doorbell_watch(struct doorbell *doorbell, uint64_t id, int fd);
void doorbell_unwatch(struct watched_board *board);

/* Adds a member whose fields are filled in, and wakes it if it had armed before it was known. 0 or
 * -ENOMEM. `next` is the message to be committed next. */
int doorbell_attach(struct doorbell *doorbell, struct member *member, uint64_t next);
void doorbell_detach(struct doorbell *doorbell, struct member *member);

/* Moves a member to another board, which is watched already, and from where it may have armed
 * before. The old one is let go of. */
void doorbell_move(struct doorbell *doorbell, struct member *member, struct watched_board *board,
                   uint64_t next);

/* Whether any board has moved since its members were last scanned. */
static inline bool doorbell_has_moved(const struct doorbell *doorbell)
{
        list_for_each (&doorbell->boards, link) {
                const struct watched_board *board = list_entry(link, struct watched_board, link);

                /* ACQUIRE: who has bumped it has armed before. Partner: doorbell_bump(). */
                if (load_acquire(board->counter) != board->seen)
                        return true;
        }
        return false;
}

/* Whether doorbell_after_commit() has nothing to do: to be asked first, since it nearly always has
 * not. */
static inline bool doorbell_is_quiet(const struct doorbell *doorbell)
{
        /* P2 is done by who arms, with membarrier (A3). */
        fence_compiler();
        return doorbell->is_asym && !doorbell_has_moved(doorbell);
}

/* After a commit: rings for whoever sleeps. `chunk_offset` and `sequence` go into the frames.
 * Whether somebody has gone to sleep since the last one. */
bool doorbell_after_commit(struct doorbell *doorbell, uint64_t chunk_offset, uint64_t sequence);

/* Allows or forbids the asymmetric mode. Forbidding fences and looks once more. */
void doorbell_allow_asym(struct doorbell *doorbell, bool allowed, uint64_t sequence);

/* Registers the process for membarrier. False: the kernel or a filter refuses. */
bool doorbell_register(void);

/* A descriptor to ring with, made from the one that was received, which is consumed. -1: none can
 * be had; CHANNEL_REFUSED: nobody honest passes what this is, and it isn't rung. */
#define CHANNEL_REFUSED (-2)
int channel_open(int fd, bool is_socket);

/* For tests: behave as on a kernel without RWF_NOSIGNAL. */
extern bool doorbell_without_nosignal;

/* ---- the subscriber's side -------------------------------------------------------------- */

/* A board that a connection bumps when it arms. */
struct bumped_board {
        struct list link; /* shmd.bumped */
        uint64_t id;
        unsigned references;
        struct segment memory;
};

/* Whether membarrier(2) can be used to arm. */
bool doorbell_can_membarrier(void);

/* A2: adds one to each of the list's boards, a full fence even if there are none. */
void doorbell_bump(struct list *boards);

/* A3: makes up for the fence that publishers in asymmetric mode leave out. */
void doorbell_membarrier(void);

#endif
