/* SPDX-License-Identifier: Apache-2.0 */
/* where.c - looks addresses up in /proc/self/maps. */
#include "where.h"

#include <inttypes.h>
#include <stdio.h>

static int contains(const struct where_mapping *mapping, uintptr_t address)
{
        return address >= mapping->start && address < mapping->end;
}

/* The mapping of an address, as the kernel tells it now. Returns 0 or -1. */
static int ask(uintptr_t address, struct where_mapping *mapping)
{
        struct where *where = &mapping->where;
        char line[512];
        int found = 0, whole = 1;
        FILE *maps;

        maps = fopen("/proc/self/maps", "re");
        if (maps == NULL)
                return -1;
        while (!found && fgets(line, sizeof(line), maps) != NULL) {
                /* A line that is longer than the buffer goes on: that is part of a path. */
                found = whole &&
                        sscanf(line,
                               "%" SCNxPTR "-%" SCNxPTR " %*s %" SCNx64 " %" SCNx32 ":%" SCNx32
                               " %" SCNu64,
                               &mapping->start, &mapping->end, &where->offset, &where->major,
                               &where->minor, &where->inode) == 6 &&
                        contains(mapping, address);
                whole = 0;
                for (const char *c = line; *c != '\0'; c++)
                        whole = *c == '\n';
        }
        fclose(maps);
        return found ? 0 : -1;
}

static int look_up(struct where_cache *cache, uintptr_t address, struct where *where)
{
        const unsigned most = sizeof(cache->mappings) / sizeof(cache->mappings[0]);
        struct where_mapping *mapping = NULL;

        for (unsigned i = 0; i < cache->n_mappings && mapping == NULL; i++)
                if (contains(&cache->mappings[i], address))
                        mapping = &cache->mappings[i];
        if (mapping == NULL) {
                if (cache->n_mappings == most)
                        cache->n_mappings = 0;
                mapping = &cache->mappings[cache->n_mappings];
                if (ask(address, mapping) < 0)
                        return -1;
                cache->n_mappings++;
        }
        *where = mapping->where;
        where->offset += address - mapping->start;
        return 0;
}

int where_is(struct where_cache *cache, const void *data, size_t size, struct where *where)
{
        uintptr_t first = (uintptr_t)data, last = first + (size > 0 ? size - 1 : 0);
        struct where end;

        if (look_up(cache, first, where) < 0 || look_up(cache, last, &end) < 0)
                return -1;
        return where->inode != 0 && where->inode == end.inode && where->major == end.major &&
                               where->minor == end.minor &&
                               end.offset - where->offset == last - first
                       ? 0
                       : -1;
}
