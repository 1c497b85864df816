/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crew.c - many processes that take steps together: start, order, await, end.
 */
#include "crew.h"

#include <errno.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "clock.h"
#include "process.h"

#define LOOK_NS NS_PER_MS

/* Looks between two at the processes themselves: who fails says so, who is killed doesn't. */
enum { LOOKS = 100 };

/* Shared with the processes. What a member writes is read when n_done or `failed` says so. */
struct crew {
        uint32_t n_members;
        uint32_t n_looks;
        uint32_t step; /* written before `go` is posted */
        pid_t pids[CREW_MAX];
        _Alignas(64) _Atomic uint32_t n_done; /* of this step */
        _Atomic int failed;                   /* the first one's result */
        char reason[192];                     /* the first one's */
        struct {
                _Alignas(64) sem_t go;
                _Atomic uint64_t done_ns; /* this step; 0: not yet */
        } members[CREW_MAX];
};

struct life {
        struct member member;
        crew_run run;
        void *user;
};

/* ---- the members' side ------------------------------------------------------------------ */

uint32_t member_await(const struct member *member)
{
        while (sem_wait(&member->crew->members[member->index].go) < 0 && errno == EINTR)
                ;
        return member->crew->step;
}

void member_done(const struct member *member)
{
        atomic_store(&member->crew->members[member->index].done_ns, clock_ns());
        atomic_fetch_add(&member->crew->n_done, 1);
}

int member_failed(const struct member *member, int result, const char *format, ...)
{
        struct crew *crew = member->crew;
        char text[sizeof(crew->reason)];
        int none = 0;
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        /* Only the first says why: 1 keeps others away until its text is there. */
        if (atomic_compare_exchange_strong(&crew->failed, &none, 1)) {
                memcpy(crew->reason, text, sizeof(text));
                atomic_store(&crew->failed, result);
        }
        return result;
}

static int live(void *argument)
{
        const struct life *life = argument;

        return life->run(&life->member, life->user) < 0 ? 1 : 0;
}

/* ---- the coordinator's ------------------------------------------------------------------- */

int crew_start(struct crew **made, uint32_t n_members, const int *cpus, crew_run run, void *user)
{
        struct crew *crew = mmap(NULL, sizeof(*crew), PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        if (crew == MAP_FAILED)
                return -ENOMEM;
        for (uint32_t i = 0; i < n_members; i++) {
                struct life life = {{crew, i}, run, user};

                sem_init(&crew->members[i].go, 1, 0);
                crew->pids[i] = process_fork(cpus[i % 2], live, &life);
                if (crew->pids[i] < 0) {
                        int error = crew->pids[i];

                        crew_end(crew);
                        return error;
                }
                crew->n_members++;
        }
        *made = crew;
        return 0;
}

uint64_t crew_order(struct crew *crew, uint32_t step)
{
        uint64_t now;

        crew->step = step;
        atomic_store(&crew->n_done, 0);
        now = clock_ns();
        for (uint32_t i = 0; i < crew->n_members; i++) {
                atomic_store(&crew->members[i].done_ns, 0);
                sem_post(&crew->members[i].go);
        }
        return now;
}

int crew_look(struct crew *crew, char *reason, uint32_t reason_size)
{
        int failed = atomic_load(&crew->failed);

        if (failed < 0) {
                snprintf(reason, reason_size, "%s", crew->reason);
                return failed;
        }
        if (++crew->n_looks % LOOKS)
                return 0;
        for (uint32_t i = 0; i < crew->n_members; i++) {
                /* Who has done the last step may end. */
                if (process_runs(crew->pids[i]) || atomic_load(&crew->members[i].done_ns) ||
                    atomic_load(&crew->failed))
                        continue;
                snprintf(reason, reason_size, "one of the %u processes died", crew->n_members);
                return -ECANCELED;
        }
        return 0;
}

int crew_await(struct crew *crew, uint64_t timeout_ns, uint64_t *last_ns, char *reason,
               uint32_t reason_size)
{
        uint64_t end = clock_ns() + timeout_ns, last = 0;
        uint32_t n_done;

        while ((n_done = atomic_load(&crew->n_done)) < crew->n_members) {
                int result = crew_look(crew, reason, reason_size);

                if (result >= 0 && clock_ns() >= end) {
                        snprintf(reason, reason_size,
                                 "%u of %u processes are not done after %.0f s",
                                 crew->n_members - n_done, crew->n_members,
                                 (double)timeout_ns / NS_PER_S);
                        result = -ETIMEDOUT;
                }
                if (result >= 0)
                        result = process_sleep(LOOK_NS);
                if (result < 0)
                        return result;
        }
        for (uint32_t i = 0; i < crew->n_members; i++) {
                uint64_t done_ns = atomic_load(&crew->members[i].done_ns);

                last = done_ns > last ? done_ns : last;
        }
        if (last_ns)
                *last_ns = last;
        return 0;
}

void crew_end(struct crew *crew)
{
        if (!crew)
                return;
        for (uint32_t i = 0; i < crew->n_members; i++)
                process_kill(crew->pids[i]);
        munmap(crew, sizeof(*crew));
}
