/* SPDX-License-Identifier: Apache-2.0 */
/* closer.c - a queue of descriptors and the thread that empties it. */
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "closer.h"
#include "util.h"

/* How long closer_free() waits for a close() that does not return. */
#define CLOSER_PATIENCE_SECONDS 2
#define CLOSER_STACK_SIZE       ((size_t)256 * 1024)

struct closer {
        pthread_mutex_t mutex; /* guards what follows */
        pthread_cond_t changed;
        int *fds;
        size_t n_fds, room;
        bool ending, ended;
        pthread_t thread;
        bool started; /* only for the giving side */
};

struct closer *closer_new(void)
{
        struct closer *closer = calloc(1, sizeof(*closer));
        pthread_condattr_t attributes;

        if (!closer)
                return NULL;
        pthread_mutex_init(&closer->mutex, NULL);
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(&closer->changed, &attributes);
        pthread_condattr_destroy(&attributes);
        return closer;
}

static void *closer_main(void *argument)
{
        struct closer *closer = argument;
        int fd;

        pthread_mutex_lock(&closer->mutex);
        for (;;) {
                if (closer->n_fds) {
                        fd = closer->fds[--closer->n_fds];
                        pthread_mutex_unlock(&closer->mutex);
                        close(fd);
                        pthread_mutex_lock(&closer->mutex);
                } else if (closer->ending) {
                        break;
                } else {
                        pthread_cond_wait(&closer->changed, &closer->mutex);
                }
        }
        closer->ended = true;
        pthread_cond_signal(&closer->changed);
        pthread_mutex_unlock(&closer->mutex);
        return NULL;
}

/* Without a thread descriptors stay in the queue, and the next one tries again. */
static void closer_start(struct closer *closer)
{
        sigset_t all, before;
        pthread_attr_t attributes;

        sigfillset(&all);
        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, CLOSER_STACK_SIZE);
        /* The program's signal handlers are not for this thread. */
        pthread_sigmask(SIG_SETMASK, &all, &before);
        closer->started = pthread_create(&closer->thread, &attributes, closer_main, closer) == 0;
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attributes);
}

void closer_give(struct closer *closer, int *fd)
{
        int given = *fd;

        *fd = -1; /* consumed */
        if (given < 0)
                return;
        pthread_mutex_lock(&closer->mutex);
        if (closer->n_fds == closer->room) {
                size_t room = closer->room ? 2 * closer->room : 16;
                int *fds = realloc(closer->fds, room * sizeof(*fds));

                if (fds) {
                        closer->fds = fds;
                        closer->room = room;
                }
        }
        if (closer->n_fds < closer->room) {
                closer->fds[closer->n_fds++] = given;
                given = -1; /* consumed */
        }
        pthread_cond_signal(&closer->changed);
        pthread_mutex_unlock(&closer->mutex);
        /* No memory for four bytes: a close that may last is better than a leak that does. */
        fd_close(&given);
        if (!closer->started)
                closer_start(closer);
}

/* Ends the thread. False: it is in a close() that does not return. */
static bool closer_end(struct closer *closer)
{
        struct timespec until;
        int code = 0;
        bool ended;

        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += CLOSER_PATIENCE_SECONDS;
        pthread_mutex_lock(&closer->mutex);
        closer->ending = true;
        pthread_cond_signal(&closer->changed);
        while (!closer->ended && code == 0)
                code = pthread_cond_timedwait(&closer->changed, &closer->mutex, &until);
        ended = closer->ended;
        pthread_mutex_unlock(&closer->mutex);
        if (ended)
                pthread_join(closer->thread, NULL);
        else
                pthread_detach(closer->thread);
        return ended;
}

void closer_free(struct closer *closer)
{
        if (!closer)
                return;
        if (closer->started && !closer_end(closer))
                return; /* it is the thread's, for as long as that lasts */
        while (closer->n_fds)
                close(closer->fds[--closer->n_fds]);
        pthread_mutex_destroy(&closer->mutex);
        pthread_cond_destroy(&closer->changed);
        free(closer->fds);
        free(closer);
}
