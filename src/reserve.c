/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reserve.c - descriptors that a connection keeps free, so that introductions can be taken in
 * though the program has used up all others.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "connection.h"
#include "error.h"
#include "util.h"

void reserve_release(struct shmd *bus, uint32_t n)
{
        for (; n && bus->n_reserve; n--)
                fd_close(&bus->reserve[--bus->n_reserve]);
}

void reserve_refill(struct shmd *bus)
{
        while (bus->n_reserve < bus->reserve_target) {
                int fd = fcntl(bus->page.fd, F_DUPFD_CLOEXEC, 3);

                if (fd < 0)
                        return; /* an introduction that needs it will be asked for again */
                bus->reserve[bus->n_reserve++] = fd;
        }
}

void reserve_shrink(struct shmd *bus, uint32_t n)
{
        uint32_t target = n ? n + FDS_IN_PASSING : 0;

        if (target < bus->reserve_target)
                bus->reserve_target = target;
        if (bus->n_reserve > bus->reserve_target)
                reserve_release(bus, bus->n_reserve - bus->reserve_target);
        if (n)
                return;
        free(bus->reserve);
        bus->reserve = NULL;
}

int reserve_grow(struct shmd *bus, uint32_t n)
{
        int *grown;

        n += FDS_IN_PASSING;
        if (n <= bus->reserve_target)
                return 0;
        grown = realloc(bus->reserve, n * sizeof(int));
        if (!grown)
                return error_system(-ENOMEM, "descriptors for %u subscribers", n);
        bus->reserve = grown;
        bus->reserve_target = n;
        return 0;
}

int reserve_check(struct shmd *bus)
{
        reserve_refill(bus);
        if (bus->n_reserve >= bus->reserve_target)
                return 0;
        return error_set(-EMFILE,
                         "%u descriptors are needed for subscribers that may come, %u are free: "
                         "raise the limit (ulimit -n) or lower max_subscribers",
                         bus->reserve_target, bus->n_reserve);
}

void reserve_renew(struct shmd *bus)
{
        reserve_release(bus, bus->n_reserve);
        reserve_refill(bus);
}
