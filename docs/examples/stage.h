/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stage.h - the processes of a demonstration, from the first to the last: a private broker in a
 * directory of its own, then players that use it.
 *
 *     stage_open -> stage_start, once a player -> stage_turn until stage_empty -> stage_close
 *
 * Whoever fails is reported with its error text, and ends the play. Ctrl-C asks the first player
 * (the publisher) to end; the others are to end when it has gone. Who doesn't gets SIGTERM after a
 * while, then SIGKILL; a second Ctrl-C kills at once. Only processes started here are signalled, by
 * their ids. Nothing is left behind, not even after exit() in the middle.
 */
#ifndef STAGE_H
#define STAGE_H

#include <limits.h>
#include <stdint.h>

#include "child.h"

enum { STAGE_BROKER = 0, STAGE_FIRST = 1, STAGE_PLAYERS = 3, STAGE_CHILDREN = 4 };

struct stage {
        struct child children[STAGE_CHILDREN]; /* the broker, then the players */
        int interrupted;                       /* by a signal */
        int failed;                            /* a process has */

        /* A line of a player's report. */
        void (*on_line)(void *user, int player, const char *line);
        void *user;

        /* stage.c's own. */
        char directory[PATH_MAX / 2]; /* "" while there is none */
        char socket[PATH_MAX / 2 + 16];
        char programs[PATH_MAX]; /* where this one is */
        int signals;
        int complained[STAGE_CHILDREN];
        uint64_t hurry_ns; /* who is still there at this time is told to end; 0: nobody has to */
        int told;          /* the signal that they were told with */
};

/* Starts the broker and waits until it answers. Ends the program with a text if that fails. */
void stage_open(struct stage *stage);

/* Writes to `path` where the program is that was built `relative` to this one. Returns whether it
 * is there. */
int stage_find(const struct stage *stage, const char *relative, char path[2 * PATH_MAX]);

/* Starts a player: a program beside this one, or on PATH. `arguments` begin with its name. */
void stage_start(struct stage *stage, int player, const char *const *arguments, int in_fd);

/* Sleeps until something happens, for at most so long, and sees to it. */
void stage_turn(struct stage *stage, int timeout_ms);

/* Tells the first player to end, as Ctrl-C does. */
void stage_finish(struct stage *stage);

/* All players have ended, and all that they reported was heard. */
int stage_empty(const struct stage *stage);

/* Ends the broker, removes its directory, gives signals back their meaning. */
void stage_close(struct stage *stage);

#endif
