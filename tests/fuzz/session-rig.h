/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session-rig.h - a whole broker inside a fuzzer: the real code on a loop that is driven by hand,
 * and clients that connect to its socket.
 *
 * All clients are in this process, so what the kernel would say of them is made up: who they are
 * (SO_PEERCRED) and whether they live (the pidfd is an eventfd, readable once they have "died").
 * Ids that the broker takes at random are counted instead. All else is the kernel's: sockets,
 * descriptors, memory. The same input does the same each time.
 *
 * rig_end() is the judge: when all clients have gone, nothing of them may be left: no session, no
 * service, no introduction in flight, nothing to do, and after the broker's end no descriptor and
 * no mapping. Whatever is wrong aborts.
 */
#ifndef SHMD_TESTS_SESSION_RIG_H
#define SHMD_TESTS_SESSION_RIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "protocol.h"
#include "socket.h"

#define RIG_CLIENTS    6u
#define RIG_SHAPES     3u /* of rings */
#define RIG_COPIES     2u /* of each memory: the same to look at, another inode */
#define RIG_CONNECTION UINT64_C(0x5000)

/* What is not so is a fault of the broker (or of this). */
#define claim(is_so)                                                                        \
        do {                                                                                \
                if (!(is_so)) {                                                             \
                        fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #is_so); \
                        abort();                                                            \
                }                                                                           \
        } while (0)

struct rig_client {
        int fd;       /* -1: not connected */
        int death;    /* the eventfd that is its pidfd; -1: it was never connected */
        char name[8]; /* by which the broker's socket knows it; not a string */
        unsigned user;
        uint32_t n_added;   /* introductions read and not acknowledged */
        uint64_t board;     /* of the last introduction */
        uint64_t publisher; /* of the last introduction, and its subscription */
        uint64_t subscription;
};

/* The users: the broker's own, one that is allowed, one that is not. */
#define RIG_USERS 3u

/* What may be passed instead of what should be. */
enum rig_thing {
        THING_UNSEALED,
        THING_SPARSE,
        THING_SMALL,
        THING_GROWING,
        THING_READ_END,
        THING_WRITE_END,
        THING_EVENTFD,
        THING_SOCKET,
        THING_DIRECTORY,
        THING_NULL,
        THING_OWN_SOCKET, /* the client's, to the broker */
        N_THINGS,
};

extern struct rig_client rig_clients[RIG_CLIENTS];

/* Once for the process; then a broker and no client for each input, and the verdict. */
void rig_init(void);
void rig_begin(void);
void rig_end(void);

void rig_connect(struct rig_client *client, unsigned user);
/* Closes its socket; its process goes on to live. */
void rig_close(struct rig_client *client);
/* Its process ends, and with it its socket. */
void rig_kill(struct rig_client *client);

/* Sends up to PACKET_FDS_MAX descriptors; whether the kernel took it. */
bool rig_send(const struct rig_client *client, const void *message, size_t size, const int *fds,
              unsigned n_fds);
/* Reads all that is there, and checks each message as a client would. */
void rig_read(struct rig_client *client);

/* One turn of the broker's loop, and a look at its books. */
void rig_turn(void);
/* One in which the process's table of descriptors is full. */
void rig_turn_without_descriptors(void);
/* The time of all timers comes. */
void rig_let_time_pass(void);
/* The broker's next `n` sends fail. */
void rig_fail_sends(int code, unsigned n);

/* Memory of a user, as it should be: the descriptor stays the rig's. */
int rig_segment(unsigned user, unsigned shape, unsigned copy);
int rig_block(unsigned user, unsigned copy);
int rig_pipe(void);
int rig_thing(const struct rig_client *client, enum rig_thing thing);
const struct ring_geometry *rig_geometry(unsigned shape);
/* The words of a segment or block, to be written by its owner. */
uint64_t *rig_words(unsigned user, unsigned which, size_t *n_words);

#endif
