/* SPDX-License-Identifier: Apache-2.0 */
/* faults.c - the plan, and allocations that follow it. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <uv.h>

#include "strikes.h"

static struct faults own;
struct faults *faults = &own;
static int64_t n_blocks;

/* ---- the plan --------------------------------------------------------------------------- */

static int code_of(const struct ways *ways, uint32_t kind)
{
        switch (kind) {
        case FAULT_MEMORY:
                return ways->memory;
        case FAULT_DESCRIPTORS:
                return ways->descriptors;
        case FAULT_TABLE:
                return ways->table;
        case FAULT_INTERRUPTION:
                return ways->interruption;
        case FAULT_BUSY:
                return ways->busy;
        default:
                return 0;
        }
}

bool fault_strikes(const char *where, const struct ways *ways)
{
        uint32_t kind = __atomic_load_n(&faults->kind, __ATOMIC_ACQUIRE);
        int code = kind ? code_of(ways, kind) : 0;
        uint64_t n;

        if (!code)
                return false;
        n = __atomic_add_fetch(&faults->seen, 1, __ATOMIC_RELAXED);
        if (n < faults->at || n - faults->at >= faults->n)
                return false;
        __atomic_add_fetch(&faults->injected, 1, __ATOMIC_RELAXED);
        strncpy(faults->where, where, sizeof(faults->where) - 1);
        errno = code;
        return true;
}

bool fault_lacks(enum lacking what)
{
        if (!(__atomic_load_n(&faults->lacking, __ATOMIC_RELAXED) & what))
                return false;
        __atomic_or_fetch(&faults->seen_lacking, what, __ATOMIC_RELAXED);
        return true;
}

void faults_arm(struct faults *plan, enum fault_kind kind, uint64_t at, uint64_t n)
{
        plan->at = at;
        plan->n = n;
        plan->seen = plan->injected = 0;
        plan->last_epoll = -1;
        memset(plan->where, 0, sizeof(plan->where));
        __atomic_store_n(&plan->kind, kind, __ATOMIC_RELEASE);
}

uint64_t faults_disarm(struct faults *plan)
{
        __atomic_store_n(&plan->kind, FAULT_NONE, __ATOMIC_RELEASE);
        return __atomic_load_n(&plan->injected, __ATOMIC_RELAXED);
}

struct faults *faults_share(void)
{
        int fd = memfd_create("faults", 0);
        char path[64];
        void *plan;

        if (fd < 0 || ftruncate(fd, sizeof(struct faults)) < 0)
                abort();
        plan = mmap(NULL, sizeof(struct faults), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (plan == MAP_FAILED)
                abort();
        /* Kept open: it is the name. */
        snprintf(path, sizeof(path), "/proc/%d/fd/%d", getpid(), fd);
        setenv("SHMD_FAULTS", path, 1);
        return plan;
}

void faults_close_leaked_epoll(void)
{
        char path[32], target[64];
        ssize_t n;

        if (faults->last_epoll < 0)
                return;
        snprintf(path, sizeof(path), "/proc/self/fd/%d", faults->last_epoll);
        n = readlink(path, target, sizeof(target) - 1);
        if (n < 0)
                return;
        target[n] = '\0';
        if (strcmp(target, "anon_inode:[eventpoll]") == 0)
                close(faults->last_epoll);
}

const char *fault_kind_name(enum fault_kind kind)
{
        static const char *const names[N_FAULT_KINDS] = {
                "none", "memory", "descriptors", "file table", "interruption", "busy"};

        return names[kind];
}

void faults_report(const char *promise, uint64_t injections)
{
        printf("injections: %llu: %s\n", (unsigned long long)injections, promise);
        fflush(stdout);
}

/* ---- memory ----------------------------------------------------------------------------- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *block, size_t size);
void __real_free(void *block);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *block, size_t size);
void __wrap_free(void *block);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t size);

static void *count(void *block)
{
        if (block)
                __atomic_add_fetch(&n_blocks, 1, __ATOMIC_RELAXED);
        return block;
}

void *__wrap_malloc(size_t size)
{
        return STRIKES(.memory = ENOMEM) ? NULL : count(__real_malloc(size));
}

void *__wrap_calloc(size_t n, size_t size)
{
        return STRIKES(.memory = ENOMEM) ? NULL : count(__real_calloc(n, size));
}

void *__wrap_realloc(void *block, size_t size)
{
        if (STRIKES(.memory = ENOMEM))
                return NULL;
        return block ? __real_realloc(block, size) : count(__real_realloc(block, size));
}

char *__wrap_strdup(const char *text)
{
        return STRIKES(.memory = ENOMEM) ? NULL : count(__real_strdup(text));
}

char *__wrap_strndup(const char *text, size_t size)
{
        return STRIKES(.memory = ENOMEM) ? NULL : count(__real_strndup(text, size));
}

void __wrap_free(void *block)
{
        if (block)
                __atomic_sub_fetch(&n_blocks, 1, __ATOMIC_RELAXED);
        __real_free(block);
}

int64_t faults_blocks(void)
{
        return __atomic_load_n(&n_blocks, __ATOMIC_RELAXED);
}

static void *uv_malloc_or_fail(size_t size)
{
        return STRIKES(.memory = ENOMEM) ? NULL : __real_malloc(size);
}

static void *uv_calloc_or_fail(size_t n, size_t size)
{
        return STRIKES(.memory = ENOMEM) ? NULL : __real_calloc(n, size);
}

static void do_nothing(int signal)
{
}

__attribute__((constructor)) static void begin(void)
{
        struct sigaction interruption = {.sa_handler = do_nothing};
        const char *path = getenv("SHMD_FAULTS");
        void *plan;
        int fd;

        uv_replace_allocator(uv_malloc_or_fail, __real_realloc, uv_calloc_or_fail, __real_free);
        if (!path)
                return;
        fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0)
                abort();
        plan = mmap(NULL, sizeof(struct faults), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
        if (plan == MAP_FAILED)
                abort();
        faults = plan;
        /* Signals of the test interrupt, and do nothing else. */
        sigaction(SIGUSR1, &interruption, NULL);
}
