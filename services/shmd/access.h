/* SPDX-License-Identifier: Apache-2.0 */
/*
 * access.h - who may connect: root, the broker's own user, and those that it was told.
 *
 * Users are judged by what the kernel says about the connection (SO_PEERCRED). Inside a user
 * namespace the kernel shows every user that the namespace doesn't know as one and the same, the
 * overflow user (65534, "nobody"). Such a user is unknown, hence denied, even if it is on the list:
 * nobody can tell which one it is. Where all users are known (the mapping in /proc/self/uid_map is
 * the whole of it, as it is outside of containers) "nobody" is a user like any other.
 */
#ifndef SHMD_BROKER_ACCESS_H
#define SHMD_BROKER_ACCESS_H

#include <stdint.h>
#include <stdbool.h>
#include <sys/types.h>

struct access {
        uid_t own;
        uid_t unknown; /* the overflow user in a user namespace, else (uid_t)-1 */
        uint32_t n_uids;
        uint32_t *uids;
};

/* 0; -EACCES: others are to be let in by one who can't tell who they are; -ENOMEM; with a text. */
int access_init(struct access *access, const uint32_t *uids, uint32_t n_uids);
void access_deinit(struct access *access);

/* 0, or -EACCES with a text that says whose user it is. */
int access_check(const struct access *access, uid_t uid);

#endif
