/* SPDX-License-Identifier: Apache-2.0 */
/*
 * carrier.c - buffers and descriptors of those that go through the kernel.
 */
#include "carrier.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096 };

uint64_t carrier_memory(const struct link *link)
{
        return 4 * (link->payload + PAGE);
}

/* Huge pages where there are any: the kernel's copies are the faster for it. */
static unsigned char *buffer_new(uint64_t size)
{
        void *buffer =
                mmap(NULL, PAGE + size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (buffer == MAP_FAILED)
                return NULL;
        madvise(buffer, PAGE + size, MADV_HUGEPAGE);
        memset(buffer, 0, PAGE + size); /* the pages are there before the clock runs */
        return (unsigned char *)buffer + PAGE;
}

static void buffer_free(unsigned char *buffer, uint64_t size)
{
        if (buffer)
                munmap(buffer - PAGE, PAGE + size);
}

struct carrier *carrier_new(struct end *end, uint64_t size, int waits, int waits_not)
{
        const struct link *link = end->link;
        struct carrier *carrier = calloc(1, sizeof(*carrier));

        end->state = carrier;
        end->warmup = 2;
        if (carrier) {
                carrier->in = link->in[!end->leads];
                carrier->out = link->out[!end->leads];
                carrier->flags = link->wait == WAIT_BARE ? waits : waits_not;
                carrier->readiness = link->wait == WAIT_BLOCK;
                carrier->outgoing = size ? buffer_new(size) : NULL;
                carrier->incoming = size ? buffer_new(size) : NULL;
        }
        if (carrier && (!size || (carrier->outgoing && carrier->incoming)))
                return carrier;
        end_failed(end, -ENOMEM, "no memory for two buffers");
        return NULL;
}

int carrier_open(struct end *end)
{
        return carrier_new(end, end->link->payload, 0, 0) ? 0 : -ENOMEM;
}

void carrier_close(struct end *end)
{
        struct carrier *carrier = end->state;

        if (!carrier)
                return;
        buffer_free(carrier->outgoing, end->link->payload);
        buffer_free(carrier->incoming, end->link->payload);
        free(carrier);
        end->state = NULL;
}

void carrier_join(struct link *link, const int *fds)
{
        for (int i = 0; i < 2; i++)
                link->in[i] = link->out[i] = fds[i];
}

void carrier_destroy(struct link *link)
{
        int fds[] = {link->in[0], link->in[1], link->out[0], link->out[1]};

        for (int i = 0; i < 4; i++) {
                bool closed = fds[i] < 0;

                for (int j = 0; j < i; j++)
                        closed |= fds[j] == fds[i];
                if (!closed)
                        close(fds[i]);
        }
        link->in[0] = link->in[1] = link->out[0] = link->out[1] = -1;
}

uint64_t carrier_limit(const char *path)
{
        FILE *file = fopen(path, "r");
        unsigned long long limit = 0;

        if (!file)
                return 0;
        if (fscanf(file, "%llu", &limit) != 1)
                limit = 0;
        fclose(file);
        return limit;
}
