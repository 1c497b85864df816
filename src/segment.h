/* SPDX-License-Identifier: Apache-2.0 */
/*
 * segment.h - shared memory that can't hurt its readers: made, sealed, mapped, and checked before
 * anyone reads it.
 *
 * Memory is an anonymous file (memfd): it has no name that could be left behind and ends with its
 * last descriptor and mapping. It is allocated before it is passed on, so that no touch of it can
 * fail, and sealed against shrinking, growing and, once its writer has mapped it, against every
 * further way of writing: a read-only descriptor alone protects nothing, since it can be opened
 * again through /proc.
 */
#ifndef SHMD_SEGMENT_H
#define SHMD_SEGMENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "layout.h"

/* A mapping, perhaps with the descriptor behind it. All zero with fd -1: none. */
struct segment {
        void *base;
        uint64_t size;
        int fd;
};

#define SEGMENT_NONE ((struct segment){.fd = -1})

/* `owner` for segment_check(): any user. */
#define SEGMENT_ANY_OWNER ((uid_t)-1)

/*
 * Makes memory of `size` bytes, all zero, maps it for writing here and nowhere else ever. It is
 * left out of core files and of forked children. `label` shows in /proc/PID/maps.
 * 0; -ENOMEM: not enough free memory, said before any is taken; or a system's error; with a text.
 */
int segment_create(struct segment *segment, const char *label, uint64_t size);

/*
 * Whether the descriptor is memory that may be mapped: sealed as segment_create() does, readable,
 * of exactly `size` bytes, all of them allocated, and made by `owner`. Looks at the seals before
 * anything else: nothing but a memfd gets further. 0, or -EPROTO with a text.
 */
int segment_check(int fd, uint64_t size, uid_t owner);

/*
 * Whether the first bytes of checked memory say that it is of the kind that `magic` names, and in a
 * layout that this version reads. 0, or -EPROTO with a text that names both versions.
 */
int segment_check_layout(const struct layout_identity *identity, uint64_t magic);

/* The same, of memory that isn't mapped. */
int segment_look_at_layout(int fd, uint64_t magic);

/* Maps checked memory for reading. Forked children keep it. 0 or a negative errno, with a text. The
 * descriptor stays the caller's. */
int segment_map(struct segment *segment, int fd, uint64_t size);

/* Makes an arming board: *write_fd for subscribers, *read_fd for publishers. Only the holder of
 * *write_fd can write, even of the same user (but root). 0 or a negative errno, with a text. */
int segment_create_board(int *write_fd, int *read_fd);

/* Maps a board. 0 or a negative errno, with a text; -EPROTO: it isn't one. */
int segment_map_board(struct segment *segment, int fd, bool writable);

/* What tells one memory from another for as long as the machine runs; 0 if it can't be said. */
uint64_t segment_inode(int fd);

/* Unmaps, closes, and forgets. */
void segment_close(struct segment *segment);

/* The same in a forked child, for memory that its parent writes: that isn't mapped there, and
 * something else may be in its place. */
void segment_close_inherited(struct segment *segment);

#endif
