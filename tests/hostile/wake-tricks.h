/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wake-tricks.h - what a publisher can do with the descriptor on which it rings, instead of
 * ringing.
 */
#ifndef SHMD_TESTS_WAKE_TRICKS_H
#define SHMD_TESTS_WAKE_TRICKS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What a trick is played with. */
struct wake_trick_props {
        int channel;     /* the writing end */
        bool is_socket;  /* that of another user; else a pipe */
        bool refuses;    /* descriptors: the kernel can, and was asked to */
        pid_t victim;    /* who listens */
        int victims_end; /* its number for its own writing end of its pipe */
        int fault_fd;    /* a userfaultfd, or -1 */
        int peer;        /* whatever has to be closed at the end, or -1 */
};

#define TRICK_PIPE   1u /* can be played on a pipe */
#define TRICK_SOCKET 2u
#define TRICK_FAULTS 4u /* needs a userfaultfd */
#define TRICK_STOPS  8u /* and is stopped after that */

struct wake_trick {
        const char *name;
        unsigned flags;
        void (*begin)(struct wake_trick_props *props);
        void (*go_on)(struct wake_trick_props *props); /* again and again; may be NULL */
        void (*end)(struct wake_trick_props *props);   /* may be NULL */
};

extern const struct wake_trick wake_tricks[];
extern const unsigned n_wake_tricks;

/* A userfaultfd that also stops the kernel's own accesses, for who may have one; -1. */
int wake_fault_fd(void);

/* Fills the channel until it takes no more. */
void wake_fill(int channel);

#endif
