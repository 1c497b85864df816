/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attack.h - the ways to write to memory that others write, to resize it, or to take it away.
 *
 * An attack *gets through* if it could have changed a byte or the size.
 */
#ifndef SHMD_TESTS_ATTACK_H
#define SHMD_TESTS_ATTACK_H

#include <stdbool.h>
#include <stddef.h>

struct target {
        const char *name;
        int fd;
        size_t size;
        int peer_pid;         /* whose it is; 0: the broker's */
        int pid_fd;           /* of that process; -1 */
        bool is_own_to_write; /* a board in the hands of those who arm: only its size is fixed */
        bool is_of_mode; /* a board in the hands of those who look: only its mode keeps them out,
                            and that holds for other users than the broker's */
};

/* What a board may be treated to by those who write to it, or by the broker's user. */
#define ATTACK_WRITES  1u
#define ATTACK_BY_MODE 2u

struct attack {
        const char *name;
        bool (*gets_through)(const struct target *target);
        unsigned kind;
        bool is_hopeless; /* whatever the memory is */
};

#define N_ATTACKS 17
extern const struct attack attacks[N_ATTACKS];

/* The attacker's user is not the owner's: more must fail. */
extern bool attacks_are_foreign;

/* Whether this machine has what the attack needs. */
bool attack_is_possible(const struct attack *attack);

/* Whether it got through, or has changed anything; says so on standard error. */
bool attack_succeeds(const struct attack *attack, const struct target *target);

#endif
