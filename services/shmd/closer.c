/* SPDX-License-Identifier: Apache-2.0 */
/* closer.c - a queue of descriptors and the threads that empty it. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "closer.h"
#include "list.h"
#include "util.h"

/* How long closer_free() waits for what does not return. */
#define CLOSER_FAREWELL_SECONDS 2
#define CLOSER_STACK_SIZE       ((size_t)256 * 1024)

struct item {
        int fd;
        uid_t uid;
};

/* A thread in a close(), on its stack. */
struct work {
        struct list link; /* closer.stuck, once it was left there */
        uid_t uid;
        struct timespec late; /* when it is */
        bool is_stuck;
};

struct closer {
        pthread_mutex_t mutex; /* guards what follows */
        pthread_cond_t changed;
        pthread_cond_t ended;
        struct item *items;
        size_t n_items, room;
        struct work *work; /* what is being closed, unless that is stuck */
        struct list stuck; /* work.link */
        unsigned n_threads;
        bool ending;
        bool is_abandoned; /* the last thread frees it */
};

struct closer *closer_new(void)
{
        struct closer *closer = calloc(1, sizeof(*closer));
        pthread_condattr_t attributes;

        if (!closer)
                return NULL;
        list_init(&closer->stuck);
        pthread_mutex_init(&closer->mutex, NULL);
        pthread_condattr_init(&attributes);
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        pthread_cond_init(&closer->changed, &attributes);
        pthread_cond_init(&closer->ended, &attributes);
        pthread_condattr_destroy(&attributes);
        return closer;
}

static void destroy(struct closer *closer)
{
        pthread_mutex_destroy(&closer->mutex);
        pthread_cond_destroy(&closer->changed);
        pthread_cond_destroy(&closer->ended);
        free(closer->items);
        free(closer);
}

static struct timespec in_milliseconds(long milliseconds)
{
        struct timespec time;

        clock_gettime(CLOCK_MONOTONIC, &time);
        time.tv_sec += milliseconds / 1000;
        time.tv_nsec += milliseconds % 1000 * 1000000;
        if (time.tv_nsec >= 1000000000) {
                time.tv_sec++;
                time.tv_nsec -= 1000000000;
        }
        return time;
}

static bool is_over(const struct timespec *late)
{
        struct timespec now = in_milliseconds(0);

        return now.tv_sec > late->tv_sec ||
               (now.tv_sec == late->tv_sec && now.tv_nsec >= late->tv_nsec);
}

/* ---- with the mutex ---------------------------------------------------------------------- */

static bool is_stuck(const struct closer *closer, uid_t uid, unsigned seconds)
{
        unsigned n = 0;

        list_for_each (&closer->stuck, link) {
                const struct work *work = list_entry(link, struct work, link);
                struct timespec since = work->late;

                since.tv_sec += seconds;
                n += work->uid == uid && is_over(&since);
        }
        return n >= CLOSER_STUCK_MAX;
}

/* One that may be closed, the last first; -1: none. */
static ssize_t find_item(const struct closer *closer)
{
        ssize_t i = (ssize_t)closer->n_items - 1;

        while (i >= 0 && is_stuck(closer, closer->items[i].uid, 0))
                i--;
        return i;
}

static void *closer_main(void *argument);

static void start_thread(struct closer *closer)
{
        sigset_t all, before;
        pthread_attr_t attributes;
        pthread_t thread;

        sigfillset(&all);
        pthread_attr_init(&attributes);
        pthread_attr_setstacksize(&attributes, CLOSER_STACK_SIZE);
        pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        /* The program's signal handlers are not for this thread. */
        pthread_sigmask(SIG_SETMASK, &all, &before);
        closer->n_threads += pthread_create(&thread, &attributes, closer_main, closer) == 0;
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attributes);
}

/* One works, one watches. Where no thread can be had descriptors stay in the queue, and the next
 * one tries again. */
static void start_threads(struct closer *closer)
{
        unsigned n_stuck = 0;

        list_for_each (&closer->stuck, link)
                n_stuck++;
        while (closer->n_threads < n_stuck + 2) {
                unsigned before = closer->n_threads;

                start_thread(closer);
                if (closer->n_threads == before)
                        return;
        }
}

static void take_over(struct closer *closer)
{
        closer->work->is_stuck = true;
        list_append(&closer->stuck, &closer->work->link);
        closer->work = NULL;
}

/* ---- the threads ------------------------------------------------------------------------- */

/* Closes items[i]. False: somebody has taken this thread's place meanwhile. */
static bool close_item(struct closer *closer, ssize_t i)
{
        struct item item = closer->items[i];
        struct work work = {.uid = item.uid, .late = in_milliseconds(CLOSER_PATIENCE_MS)};
        static const struct linger off = {.l_onoff = 0};

        list_init(&work.link);
        closer->items[i] = closer->items[--closer->n_items];
        closer->work = &work;
        /* Who watches has to know from when on. */
        if (closer->n_items)
                pthread_cond_signal(&closer->changed);
        pthread_mutex_unlock(&closer->mutex);
        /* A socket is not waited for; whatever else it may be, close() deals with it. */
        setsockopt(item.fd, SOL_SOCKET, SO_LINGER, &off, sizeof(off));
        close(item.fd);
        pthread_mutex_lock(&closer->mutex);
        if (!work.is_stuck) {
                closer->work = NULL;
                return true;
        }
        list_remove(&work.link);
        /* What had to wait for this one may be closed. */
        pthread_cond_signal(&closer->changed);
        return false;
}

static void *closer_main(void *argument)
{
        struct closer *closer = argument;
        bool goes_on = true, is_last;

        pthread_mutex_lock(&closer->mutex);
        while (goes_on) {
                ssize_t i = find_item(closer);

                if (i < 0) {
                        /* What waits for a stuck thread is not left to closer_free(). */
                        if (closer->ending && !closer->n_items)
                                break;
                        pthread_cond_wait(&closer->changed, &closer->mutex);
                } else if (!closer->work) {
                        goes_on = close_item(closer, i);
                } else if (!is_over(&closer->work->late)) {
                        struct timespec late = closer->work->late;

                        pthread_cond_timedwait(&closer->changed, &closer->mutex, &late);
                } else {
                        take_over(closer);
                        start_threads(closer);
                }
        }
        /* Who waits for the last one frees it. */
        is_last = --closer->n_threads == 0 && closer->is_abandoned;
        pthread_cond_broadcast(&closer->ended);
        pthread_mutex_unlock(&closer->mutex);
        if (is_last)
                destroy(closer);
        return NULL;
}

/* ---- outside ----------------------------------------------------------------------------- */

static bool make_room(struct closer *closer)
{
        size_t room = closer->room ? 2 * closer->room : 16;
        struct item *items;

        if (closer->n_items < closer->room)
                return true;
        items = realloc(closer->items, room * sizeof(*items));
        if (!items)
                return false;
        closer->items = items;
        closer->room = room;
        return true;
}

void closer_give(struct closer *closer, uid_t uid, int *fd)
{
        int given = *fd;

        *fd = -1; /* consumed */
        if (given < 0)
                return;
        pthread_mutex_lock(&closer->mutex);
        if (make_room(closer)) {
                closer->items[closer->n_items++] = (struct item){.fd = given, .uid = uid};
                given = -1; /* consumed */
        }
        start_threads(closer);
        pthread_cond_signal(&closer->changed);
        pthread_mutex_unlock(&closer->mutex);
        /* No memory for eight bytes: a close that may last is better than a leak that does. */
        fd_close(&given);
}

bool closer_is_stuck(struct closer *closer, uid_t uid, unsigned seconds)
{
        bool is;

        pthread_mutex_lock(&closer->mutex);
        is = is_stuck(closer, uid, seconds);
        pthread_mutex_unlock(&closer->mutex);
        return is;
}

void closer_free(struct closer *closer)
{
        struct timespec until = in_milliseconds(CLOSER_FAREWELL_SECONDS * 1000);
        bool is_abandoned;
        int code = 0;

        if (!closer)
                return;
        pthread_mutex_lock(&closer->mutex);
        closer->ending = true;
        pthread_cond_broadcast(&closer->changed);
        while (closer->n_threads && code == 0)
                code = pthread_cond_timedwait(&closer->ended, &closer->mutex, &until);
        is_abandoned = closer->is_abandoned = closer->n_threads;
        pthread_mutex_unlock(&closer->mutex);
        if (is_abandoned)
                return;
        /* No thread could be had. */
        while (closer->n_items)
                close(closer->items[--closer->n_items].fd);
        destroy(closer);
}
