/* SPDX-License-Identifier: Apache-2.0 */
/* alive.c - a robust lock in a page of shared memory. */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "alive.h"
#include "error.h"
#include "layout.h"

_Static_assert(sizeof(pthread_mutex_t) <= sizeof(((struct alive_page *)0)->lock),
               "the C library's lock has room");

static pthread_mutex_t *lock_of(const struct alive *alive)
{
        return (void *)((struct alive_page *)alive->page.base)->lock;
}

static int init_lock(pthread_mutex_t *lock)
{
        pthread_mutexattr_t attributes;
        int code = pthread_mutexattr_init(&attributes);

        if (code)
                return -code;
        code = pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
        if (!code)
                code = pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
        if (!code)
                code = pthread_mutex_init(lock, &attributes);
        pthread_mutexattr_destroy(&attributes);
        return -code;
}

int alive_open(struct alive *alive)
{
        struct alive_page *page;
        int code = segment_create(&alive->page, "shmd-alive", PAGE_SIZE_ALIVE);

        if (code < 0)
                return code;
        page = alive->page.base;
        page->identity = (struct layout_identity){.magic = LAYOUT_MAGIC_ALIVE,
                                                  .version = LAYOUT_VERSION,
                                                  .header_size = sizeof(*page),
                                                  .size = PAGE_SIZE_ALIVE};
        code = init_lock(lock_of(alive));
        return code < 0 ? error_system(code, "a lock that other processes see") : 0;
}

/* The word that names the lock's owner is the kernel's business and so the same everywhere; where
 * it stands is the C library's. */
static uint64_t find_word(const struct alive *alive)
{
        const char *lock = (const void *)lock_of(alive);
        uint32_t word;

        for (size_t i = 0; i + sizeof(word) <= sizeof(pthread_mutex_t); i += sizeof(word)) {
                memcpy(&word, lock + i, sizeof(word));
                if ((word & LAYOUT_ALIVE_OWNER) == (uint32_t)alive->owner)
                        return offsetof(struct alive_page, lock) + i;
        }
        return 0;
}

void alive_hold(struct alive *alive)
{
        pid_t self = (pid_t)syscall(SYS_gettid);
        int code;

        if (alive->owner == self)
                return;
        code = pthread_mutex_trylock(lock_of(alive));
        if (code == EOWNERDEAD)
                code = pthread_mutex_consistent(lock_of(alive));
        /* Another thread that still runs has it: as good a sign of life. */
        if (code)
                return;
        alive->owner = self;
        alive->word_offset = find_word(alive);
}

void alive_close(struct alive *alive)
{
        /* The C library has it in a list of this thread's. */
        if (alive->owner == (pid_t)syscall(SYS_gettid))
                pthread_mutex_unlock(lock_of(alive));
        segment_close(&alive->page);
        *alive = ALIVE_NONE;
}
