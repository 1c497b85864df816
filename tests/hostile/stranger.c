/* SPDX-License-Identifier: Apache-2.0 */
/* stranger.c - another user, and lies. */
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness.h"
#include "stranger.h"

#define SECONDS      6
#define LONG_SECONDS 120

static uint64_t seed, state;

/* ---- who --------------------------------------------------------------------------------- */

bool stranger_can_be(void)
{
        pid_t pid;

        if (geteuid() != 0)
                return false;
        pid = child_fork();
        if (pid == 0)
                _exit(setgid(STRANGER) < 0 || setuid(STRANGER) < 0);
        return child_finish(pid) == 0;
}

void stranger_become(void)
{
        must_equal(setgroups(0, NULL), 0);
        must_equal(setgid(STRANGER), 0);
        must_equal(setuid(STRANGER), 0);
        /* Which forgets these. */
        prctl(PR_SET_DUMPABLE, 1);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
}

void stranger_let_in(void)
{
        char path[80], number[16];

        if (!stranger_can_be())
                return;
        snprintf(number, sizeof(number), "%d", STRANGER);
        snprintf(path, sizeof(path), "%s/shmd", broker.directory);
        broker_terminate(SIGTERM);
        must_equal(chmod(broker.directory, 0711), 0);
        must_equal(chmod(path, 0711), 0);
        broker_spawn((const char *const[]){"--allow-uid", number, NULL});
}

/* ---- what they say ----------------------------------------------------------------------- */

void lies_seed(void)
{
        const char *given = getenv("SHMD_SEED");

        seed = given ? strtoull(given, NULL, 0) : harness_now();
        print_message("seed: %llu\n", (unsigned long long)seed);
}

void lies_begin(unsigned role)
{
        state = (seed ^ (role + 1) * UINT64_C(0x9e3779b97f4a7c15)) | 1;
        for (int i = 0; i < 8; i++)
                lies_next();
}

uint64_t lies_next(void)
{
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        return state * UINT64_C(0x2545f4914f6cdd1d);
}

uint64_t lies_below(uint64_t bound)
{
        return (lies_next() >> 8) % bound;
}

static uint64_t nasty(void)
{
        uint64_t power = UINT64_C(1) << lies_below(64);

        switch (lies_below(5)) {
        case 0:
                return power + lies_below(3) - 1;
        case 1:
                return UINT64_MAX - lies_below(300);
        case 2:
                return (UINT64_C(1) << 63) + lies_below(300);
        case 3:
                return lies_below(300);
        default:
                return lies_next();
        }
}

uint64_t lies_for(uint64_t is, const uint64_t *others, uint64_t n)
{
        switch (lies_below(6)) {
        case 0:
                return is ^ UINT64_C(1) << lies_below(64);
        case 1:
                return is + lies_below(9) - 4;
        case 2:
                return others[lies_below(n)];
        case 3: /* one half of each */
                return (is & ~(uint64_t)UINT32_MAX) | (uint32_t)nasty();
        case 4:
                return nasty() << 32 | (uint32_t)is;
        default:
                return nasty();
        }
}

bool lies_are_over(uint64_t begin)
{
        return harness_now() - begin >= (harness_is_long ? LONG_SECONDS : SECONDS) * 1000 * MS;
}
