/* SPDX-License-Identifier: Apache-2.0 */
/* segment.c - makes, seals, checks and maps shared memory. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "error.h"
#include "layout.h"
#include "segment.h"
#include "util.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* since Linux 6.3 */
#endif

#define SEALS_SEGMENT (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)
#define SEALS_BOARD   (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/* Memory is allocated in pieces: before Linux 6.8 a signal undoes the whole of one fallocate(2). */
#define ALLOCATION_PIECE (UINT64_C(16) << 20)

/* Below this, whether there is room is not worth the reading of /proc and /sys. */
#define ROOM_CHECK_FROM (UINT64_C(1) << 20)

/* ---- is there room? --------------------------------------------------------------------- */

/* The number at the start of a file, or behind `key` in it; UINT64_MAX if there is none ("max"). */
static uint64_t number_in_file(const char *path, const char *key)
{
        char text[4096], *at = text, *end;
        uint64_t number;
        cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

        if (size <= 0)
                return UINT64_MAX;
        text[size] = '\0';
        if (key) {
                at = strstr(text, key);
                if (!at)
                        return UINT64_MAX;
                at += strlen(key);
        }
        errno = 0;
        number = strtoull(at, &end, 10);
        return errno || end == at ? UINT64_MAX : number;
}

/* How the versions of control groups name what they say of memory. */
static const struct controller {
        const char *line; /* of /proc/self/cgroup, up to the group */
        const char *root, *limit, *used;
        const char *files[2]; /* in memory.stat: pages that the kernel can take back */
} controllers[] = {
        {"0::/",
         "/sys/fs/cgroup",
         "memory.max",
         "memory.current",
         {"\ninactive_file ", "\nactive_file "}},
        {":memory:/",
         "/sys/fs/cgroup/memory",
         "memory.limit_in_bytes",
         "memory.usage_in_bytes",
         {"\ntotal_inactive_file ", "\ntotal_active_file "}},
};

static uint64_t number_of_group(const struct controller *controller, const char *group,
                                const char *file, const char *key)
{
        char path[4200];

        snprintf(path, sizeof(path), "%s%s/%s", controller->root, group, file);
        return number_in_file(path, key);
}

/* What one group still allows, as far as it matters to who wants so much. */
static uint64_t room_of_group(const struct controller *controller, const char *group,
                              uint64_t wanted)
{
        uint64_t limit = number_of_group(controller, group, controller->limit, NULL);
        uint64_t used = number_of_group(controller, group, controller->used, NULL), room;

        if (limit == UINT64_MAX || used == UINT64_MAX)
                return UINT64_MAX;
        room = used < limit ? limit - used : 0;
        /* Files that were read fill any group up to its limit, and give way. */
        for (size_t i = 0; i < ARRAY_SIZE(controller->files) && room < wanted; i++) {
                uint64_t files =
                        number_of_group(controller, group, "memory.stat", controller->files[i]);

                if (files != UINT64_MAX)
                        room += files < limit - room ? files : limit - room;
        }
        return room;
}

/* What this process's control group and those above it still allow. */
static uint64_t cgroup_room(uint64_t wanted)
{
        uint64_t room = UINT64_MAX;

        for (size_t i = 0; i < ARRAY_SIZE(controllers); i++) {
                const struct controller *controller = &controllers[i];
                char text[4096], *group, *slash;
                cleanup_fd int fd = open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC);
                ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

                text[size < 0 ? 0 : size] = '\0';
                group = strstr(text, controller->line);
                if (!group)
                        continue;
                group += strlen(controller->line) - 1;
                group[strcspn(group, "\n")] = '\0';
                do {
                        uint64_t rest = room_of_group(controller, group, wanted);

                        room = rest < room ? rest : room;
                        slash = strrchr(group, '/');
                        if (slash)
                                *slash = '\0';
                } while (slash);
        }
        return room;
}

/* At a limit allocation ends in the OOM killer, not in an error: so look before. */
static int check_room(const char *label, uint64_t size)
{
        uint64_t kilobytes, room;

        if (size < ROOM_CHECK_FROM)
                return 0;
        kilobytes = number_in_file("/proc/meminfo", "MemAvailable:");
        room = kilobytes == UINT64_MAX ? UINT64_MAX : kilobytes * 1024;
        if (size > room)
                return error_set(-ENOMEM,
                                 "%s needs %" PRIu64 " MiB, the machine has %" PRIu64 " available",
                                 label, size >> 20, room >> 20);
        room = cgroup_room(size);
        if (size > room)
                return error_set(-ENOMEM,
                                 "%s needs %" PRIu64 " MiB, the control group has %" PRIu64 " left",
                                 label, size >> 20, room >> 20);
        return 0;
}

/* ---- making ----------------------------------------------------------------------------- */

static int make_memfd(const char *label)
{
        int fd = memfd_create(label, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

        if (fd < 0 && errno == EINVAL) /* an older kernel */
                fd = memfd_create(label, MFD_CLOEXEC | MFD_ALLOW_SEALING);
        fd = fd_above_standard(fd);
        return fd < 0 ? error_system(-errno, "%s: memfd_create", label) : fd;
}

/* Beyond it the kernel doesn't only refuse, it sends a signal that ends the process. */
static int check_file_limit(const char *label, uint64_t size)
{
        struct rlimit limit;

        if (getrlimit(RLIMIT_FSIZE, &limit) < 0 || size <= limit.rlim_cur)
                return 0;
        return error_set(-EFBIG,
                         "%s needs %" PRIu64 " bytes, the limit for files is %" PRIu64
                         " (ulimit -f, RLIMIT_FSIZE)",
                         label, size, (uint64_t)limit.rlim_cur);
}

static int allocate(int fd, const char *label, uint64_t size)
{
        int code = check_file_limit(label, size);

        if (code < 0)
                return code;
        for (uint64_t done = 0; done < size;) {
                uint64_t piece = size - done < ALLOCATION_PIECE ? size - done : ALLOCATION_PIECE;

                if (fallocate(fd, 0, (off_t)done, (off_t)piece) == 0)
                        done += piece;
                else if (errno != EINTR)
                        return error_system(errno == ENOSPC ? -ENOMEM : -errno,
                                            "%s: no memory for %" PRIu64 " of %" PRIu64 " bytes",
                                            label, size - done, size);
        }
        return 0;
}

static int map(struct segment *segment, int fd, uint64_t size, int protection, int flags)
{
        void *base = mmap(NULL, size, protection, MAP_SHARED | flags, fd, 0);

        if (base == MAP_FAILED)
                return error_system(-errno, "mapping %" PRIu64 " bytes", size);
        /* Or every core file would hold everybody's data. Old kernels may refuse; then it does. */
        madvise(base, size, MADV_DONTDUMP);
        /* A child must not write for its parent. */
        if (protection & PROT_WRITE)
                madvise(base, size, MADV_DONTFORK);
        segment->base = base;
        segment->size = size;
        return 0;
}

int segment_create(struct segment *segment, const char *label, uint64_t size)
{
        int code = check_room(label, size);

        *segment = SEGMENT_NONE;
        if (code == 0)
                code = segment->fd = make_memfd(label);
        if (code >= 0)
                code = allocate(segment->fd, label, size);
        /* The pages are there: to map them all at once takes the faults out of the first lap. */
        if (code >= 0)
                code = map(segment, segment->fd, size, PROT_READ | PROT_WRITE, MAP_POPULATE);
        /* After the mapping: FUTURE_WRITE leaves that one writable and forbids any other. */
        if (code >= 0 && fcntl(segment->fd, F_ADD_SEALS, SEALS_SEGMENT) < 0)
                code = error_system(-errno, "%s: sealing", label);
        /* The seals keep others from writing; without a mode they can't open it again either, nor
         * have its pages swapped out (MADV_PAGEOUT). */
        if (code >= 0 && fchmod(segment->fd, 0) < 0)
                code = error_system(-errno, "%s: fchmod", label);
        if (code < 0)
                segment_close(segment);
        return code < 0 ? code : 0;
}

int segment_create_board(int *write_fd, int *read_fd)
{
        cleanup_fd int writable = make_memfd("shmd-board"), readable = -1;
        char path[32];
        int code;

        if (writable < 0)
                return writable;
        code = allocate(writable, "shmd-board", BOARD_SIZE);
        if (code < 0)
                return code;
        /* A description of its own, for reading; then nobody opens another: the mode is 0. */
        snprintf(path, sizeof(path), "/proc/self/fd/%d", writable);
        readable = open(path, O_RDONLY | O_CLOEXEC);
        if (readable < 0)
                return error_system(-errno, "opening an arming board through %s", path);
        if (fchmod(writable, 0) < 0 || fcntl(writable, F_ADD_SEALS, SEALS_BOARD) < 0)
                return error_system(-errno, "sealing an arming board");
        *write_fd = writable;
        *read_fd = readable;
        writable = readable = -1; /* consumed */
        return 0;
}

/* ---- checking and mapping --------------------------------------------------------------- */

/* Seals, access, size and owner. Fills in *status. */
static int check_memory(int fd, uint64_t size, uid_t owner, int wanted, struct stat *status)
{
        int seals = fcntl(fd, F_GET_SEALS);

        if (seals < 0)
                return error_set(-EPROTO, "the descriptor is no shared memory (memfd)");
        if ((seals & wanted) != wanted)
                return error_set(-EPROTO, "the memory's seals are 0x%x, 0x%x are needed", seals,
                                 wanted);
        /* Opened so, it is passed on like any other, and nobody can map it. */
        if ((fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY)
                return error_set(-EPROTO, "the memory's descriptor is for writing only");
        if (fstat(fd, status) < 0)
                return error_system(-EPROTO, "fstat of shared memory");
        if (owner != SEGMENT_ANY_OWNER && status->st_uid != owner)
                return error_set(-EPROTO, "the memory belongs to user %u, not to %u",
                                 status->st_uid, owner);
        if (status->st_size < 0 || (uint64_t)status->st_size != size)
                return error_set(-EPROTO, "the memory has %lld bytes, not %" PRIu64,
                                 (long long)status->st_size, size);
        return 0;
}

int segment_check(int fd, uint64_t size, uid_t owner)
{
        struct stat status;
        int code = check_memory(fd, size, owner, SEALS_SEGMENT, &status);

        if (code < 0)
                return code;
        /* Holes would be filled, and paid for, by whoever touches them first. */
        if ((uint64_t)status.st_blocks * 512 < size)
                return error_set(-EPROTO,
                                 "only %lld of the memory's %" PRIu64 " bytes are allocated",
                                 (long long)status.st_blocks * 512, size);
        return 0;
}

int segment_check_layout(const struct layout_identity *identity, uint64_t magic)
{
        if (identity->magic != magic)
                return error_set(-EPROTO, "the memory begins with %016" PRIx64 ", not %016" PRIx64,
                                 identity->magic, magic);
        if (identity->version != LAYOUT_VERSION)
                return error_set(-EPROTO, "the memory has layout version %u, known here is %u",
                                 identity->version, LAYOUT_VERSION);
        if (identity->incompatible)
                return error_set(-EPROTO,
                                 "the memory has layout version %u with flags 0x%x that have to be "
                                 "known, here %u is known without any",
                                 identity->version, identity->incompatible, LAYOUT_VERSION);
        return 0;
}

int segment_look_at_layout(int fd, uint64_t magic)
{
        struct layout_identity identity;
        ssize_t size = pread(fd, &identity, sizeof(identity), 0);

        if (size != sizeof(identity))
                return error_system(size < 0 ? -errno : -EIO, "reading shared memory");
        return segment_check_layout(&identity, magic);
}

int segment_map(struct segment *segment, int fd, uint64_t size)
{
        *segment = SEGMENT_NONE;
        return map(segment, fd, size, PROT_READ, 0);
}

int segment_map_board(struct segment *segment, int fd, bool writable)
{
        struct stat status;
        /* Not whether it is allocated: who writes to a board can punch a hole into it, and must not
         * thereby keep others from mapping it. It costs them a page that reads 0. */
        int code = check_memory(fd, BOARD_SIZE, SEGMENT_ANY_OWNER, SEALS_BOARD, &status);

        *segment = SEGMENT_NONE;
        if (code < 0)
                return code;
        return map(segment, fd, BOARD_SIZE, writable ? PROT_READ | PROT_WRITE : PROT_READ, 0);
}

void segment_close_inherited(struct segment *segment)
{
        fd_close(&segment->fd);
        *segment = SEGMENT_NONE;
}

uint64_t segment_inode(int fd)
{
        struct stat status;

        return fstat(fd, &status) < 0 ? 0 : status.st_ino;
}

void segment_close(struct segment *segment)
{
        if (segment->base)
                munmap(segment->base, segment->size);
        segment_close_inherited(segment);
}
