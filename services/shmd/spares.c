/* SPDX-License-Identifier: Apache-2.0 */
/* spares.c - keeps one page and one board in store. */
#include "layout.h"
#include "spares.h"
#include "util.h"

static int make_page(struct segment *page)
{
        return segment_create(page, "shmd-page", PAGE_SIZE_SESSION);
}

int spares_take_page(struct spares *spares, struct segment *page)
{
        if (!spares->page.base)
                return make_page(page);
        *page = spares->page;
        spares->page = SEGMENT_NONE; /* consumed */
        return 0;
}

int spares_take_board(struct spares *spares, int *write_fd, int *read_fd)
{
        if (spares->board_write_fd < 0)
                return segment_create_board(write_fd, read_fd);
        *write_fd = spares->board_write_fd;
        *read_fd = spares->board_read_fd;
        spares->board_write_fd = spares->board_read_fd = -1; /* consumed */
        return 0;
}

void spares_refill(struct spares *spares)
{
        if (!spares->page.base && make_page(&spares->page) < 0)
                spares->page = SEGMENT_NONE;
        if (spares->board_write_fd < 0 &&
            segment_create_board(&spares->board_write_fd, &spares->board_read_fd) < 0)
                spares->board_write_fd = spares->board_read_fd = -1;
}

void spares_close(struct spares *spares)
{
        segment_close(&spares->page);
        fd_close(&spares->board_write_fd);
        fd_close(&spares->board_read_fd);
}
