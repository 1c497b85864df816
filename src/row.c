/* SPDX-License-Identifier: Apache-2.0 */
/*
 * row.c - where a connection's subscriptions keep their holds: rows of lines in control blocks.
 *
 * A block has a fixed size and is never given back; when none has room for a row, another is made,
 * and passed to the broker with the subscription that needs it. A row is used again only after its
 * holds were let go of: publishers that still look at it find other holds than they knew, which
 * name other publishers or really are held.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "atomic.h"
#include "connection.h"
#include "error.h"

static uint32_t row_lines(uint32_t n_holds)
{
        return (n_holds * 8 + BLOCK_ROW_LINE - 1) / BLOCK_ROW_LINE;
}

/* The first of `lines` free lines in a row, or BLOCK_LINES. */
static uint32_t find_lines(const struct own_block *block, uint32_t lines)
{
        uint32_t found = 0;

        for (uint32_t i = 0; i < BLOCK_LINES; i++) {
                found = block->used[i] ? 0 : found + 1;
                if (found == lines)
                        return i + 1 - lines;
        }
        return BLOCK_LINES;
}

static struct own_block *new_block(struct shmd *bus, uint32_t index)
{
        struct own_block *block = calloc(1, sizeof(*block));
        struct block_header *header;

        if (!block) {
                error_system(-ENOMEM, "a control block");
                return NULL;
        }
        if (segment_create(&block->memory, "shmd:control", BLOCK_SIZE) < 0) {
                free(block);
                return NULL;
        }
        block->index = index;
        header = block->memory.base;
        header->identity = (struct layout_identity){.magic = LAYOUT_MAGIC_BLOCK,
                                                    .version = LAYOUT_VERSION,
                                                    .header_size = sizeof(*header),
                                                    .size = BLOCK_SIZE,
                                                    .owner = bus->id};
        /* Nobody has it yet. If the connection is armed now, attaching will make it arm anew. */
        store_relaxed(&header->armed, bus->armed);
        list_append(&bus->own_blocks, &block->link);
        return block;
}

/* Finds room for a row, in a new block if need be. 0 or a negative errno. */
int row_claim(struct shmd_subscriber *subscriber)
{
        uint32_t lines = row_lines(subscriber->n_holds), n_blocks = 0, line;
        struct own_block *block = NULL;

        list_for_each (&subscriber->bus->own_blocks, link) {
                block = list_entry(link, struct own_block, link);
                line = find_lines(block, lines);
                if (line < BLOCK_LINES)
                        goto found;
                n_blocks++;
        }
        block = new_block(subscriber->bus, n_blocks);
        if (!block)
                return -ENOMEM;
        line = 0;
found:
        memset(block->used + line, 1, lines);
        subscriber->block = block;
        subscriber->row_offset = (uint32_t)sizeof(struct block_header) + line * BLOCK_ROW_LINE;
        subscriber->holds =
                (uint64_t *)(void *)((char *)block->memory.base + subscriber->row_offset);
        return 0;
}

void row_return(struct own_block *block, uint32_t row_offset, uint32_t n_holds)
{
        uint32_t line = (row_offset - (uint32_t)sizeof(struct block_header)) / BLOCK_ROW_LINE;

        if (block)
                memset(block->used + line, 0, row_lines(n_holds));
}
