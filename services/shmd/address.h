/* SPDX-License-Identifier: Apache-2.0 */
/*
 * address.h - the broker's place in the file system: one living broker for each path.
 *
 * A socket's file stays behind when its broker crashes, and nothing in it says whether anybody
 * listens. Looking, removing and binding are three steps that two starting brokers could mix up:
 * each would remove the other's fresh socket. Therefore both lock the *directory* around the
 * three, and the lock ends with its holder. A lock on a file of its own would be one more thing to
 * be left behind.
 *
 * What isn't a socket is never removed, a socket that somebody serves neither, and on closing only
 * the very inode that was bound.
 */
#ifndef SHMD_BROKER_ADDRESS_H
#define SHMD_BROKER_ADDRESS_H

#include <stdbool.h>
#include <sys/types.h>

struct address {
        char *path;
        int fd; /* listens; -1: closed */
        dev_t device;
        ino_t inode;
        bool had_predecessor; /* a socket was there that nobody served any more */
};

#define ADDRESS_NONE ((struct address){.fd = -1})

/* Makes the directory if it is missing, and listens. `open_to_others`: any user may try (access.h
 * judges), else the mode keeps all but the own user and root away. 0, or a negative errno with a
 * text: -EADDRINUSE (who has it), -EEXIST (something else is there), -ENAMETOOLONG, -EACCES... */
int address_open(struct address *address, const char *path, bool open_to_others);

/* Stops listening, and removes the socket if it is still the own one. Idempotent. */
void address_close(struct address *address);

#endif
