/* SPDX-License-Identifier: Apache-2.0 */
/*
 * where.h - which memory an address is, asked of the kernel: the file that is mapped there, and the
 * offset in it.
 *
 * Two processes that name the same file and offset look at the same memory, wherever each of them
 * has mapped it. Nothing here comes from the library whose claim is to be checked.
 */
#ifndef WHERE_H
#define WHERE_H

#include <stddef.h>
#include <stdint.h>

struct where {
        uint32_t major, minor; /* of the file system */
        uint64_t inode;        /* 0: memory that no file is behind */
        uint64_t offset;       /* bytes into the file */
};

/* One line of /proc/self/maps. */
struct where_mapping {
        uintptr_t start, end; /* the first byte, and the one after the last */
        struct where where;   /* of the first byte */
};

/* Mappings that were asked about before; zero at first. To be emptied when a peer has gone: then
 * another mapping may have taken the addresses of its memory. */
struct where_cache {
        struct where_mapping mappings[16];
        unsigned n_mappings;
};

/* Where [data, data + size) is. Returns 0 and *where, of its first byte; -1 if it isn't one piece
 * of one file. */
int where_is(struct where_cache *cache, const void *data, size_t size, struct where *where);

#endif
