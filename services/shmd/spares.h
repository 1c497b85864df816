/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spares.h - memory made before it is asked for: one session page and one arming board.
 *
 * To make, allocate, map and seal a memfd takes some ten system calls, and a client that connects
 * or subscribes would wait for them. So one of each is kept and made anew when all that could be
 * sent has been sent. A spare that isn't there is made on the spot.
 */
#ifndef SHMD_BROKER_SPARES_H
#define SHMD_BROKER_SPARES_H

#include "segment.h"

struct spares {
        struct segment page;
        int board_write_fd;
        int board_read_fd;
};

#define SPARES_NONE \
        ((struct spares){.page = SEGMENT_NONE, .board_write_fd = -1, .board_read_fd = -1})

/* As segment_create() for a page, and segment_create_board(). */
int spares_take_page(struct spares *spares, struct segment *page);
int spares_take_board(struct spares *spares, int *write_fd, int *read_fd);

/* Makes what is missing, if that is possible. */
void spares_refill(struct spares *spares);

void spares_close(struct spares *spares);

#endif
