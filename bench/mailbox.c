/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mailbox.c - memory that both ends have.
 */
#include "mailbox.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096 };

static uint64_t box_size(const struct link *link)
{
        return (sizeof(struct mailbox) + link->payload + PAGE - 1) / PAGE * PAGE;
}

uint64_t mailbox_memory(const struct link *link)
{
        return 2 * box_size(link);
}

int mailbox_create(struct link *link)
{
        void *memory = mmap(NULL, 2 * box_size(link), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        if (memory == MAP_FAILED)
                return link_failed(link, -errno, "mmap: %s", strerror(errno));
        link->memory = memory;
        return 0;
}

void mailbox_destroy(struct link *link)
{
        if (link->memory)
                munmap(link->memory, 2 * box_size(link));
        link->memory = NULL;
}

struct mailbox *mailbox_of(const struct link *link, bool lead)
{
        unsigned char *memory = link->memory;

        return (struct mailbox *)(void *)(memory + (lead ? 0 : box_size(link)));
}
