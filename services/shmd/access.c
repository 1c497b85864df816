/* SPDX-License-Identifier: Apache-2.0 */
/* access.c - a list of users and the one that stands for all unknown ones. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "access.h"
#include "error.h"

static bool in_user_namespace(void)
{
        unsigned inside, outside, n;
        FILE *map = fopen("/proc/self/uid_map", "re");
        bool all;

        /* Without /proc nothing can be known; then every user counts as what it seems to be. */
        if (!map)
                return false;
        all = fscanf(map, "%u %u %u", &inside, &outside, &n) == 3 && inside == 0 && outside == 0 &&
              n == UINT32_MAX;
        fclose(map);
        return !all;
}

static uid_t overflow_user(void)
{
        unsigned uid = 65534;
        FILE *file = fopen("/proc/sys/kernel/overflowuid", "re");

        if (file) {
                if (fscanf(file, "%u", &uid) != 1)
                        uid = 65534;
                fclose(file);
        }
        return uid;
}

int access_init(struct access *access, const uint32_t *uids, uint32_t n_uids)
{
        memset(access, 0, sizeof(*access));
        access->own = geteuid();
        access->unknown = in_user_namespace() ? overflow_user() : (uid_t)-1;
        if (access->unknown == access->own) {
                /* It can't tell its own from the unknown. The socket's mode can, as long as it lets
                 * in nobody else. */
                if (n_uids)
                        return error_set(-EACCES,
                                         "user %u, as which the broker runs, stands for all users "
                                         "that its user namespace doesn't know: it can let in no "
                                         "others",
                                         access->own);
                access->unknown = (uid_t)-1;
        }
        if (!n_uids)
                return 0;
        access->uids = calloc(n_uids, sizeof(*uids));
        if (!access->uids)
                return error_set(-ENOMEM, "no memory for a list of %u users", n_uids);
        memcpy(access->uids, uids, n_uids * sizeof(*uids));
        access->n_uids = n_uids;
        return 0;
}

void access_deinit(struct access *access)
{
        free(access->uids);
        access->uids = NULL;
        access->n_uids = 0;
}

int access_check(const struct access *access, uid_t uid)
{
        if (uid == access->unknown)
                return error_set(-EACCES,
                                 "user %u stands for all users that the broker's user namespace "
                                 "doesn't know; they may not connect",
                                 uid);
        if (uid == 0 || uid == access->own)
                return 0;
        for (uint32_t i = 0; i < access->n_uids; i++)
                if (access->uids[i] == uid)
                        return 0;
        return error_set(-EACCES,
                         "user %u may not connect to this broker, which serves user %u and root "
                         "(see shmd --allow-uid)",
                         uid, access->own);
}
