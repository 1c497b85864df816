/* SPDX-License-Identifier: Apache-2.0 */
/* attack.c - each way to harm memory, tried through one descriptor. */
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attack.h"
#include "harness.h"

#ifndef MADV_COLD
#define MADV_COLD    20
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

bool attacks_are_foreign;

/* The memory as anybody may map it. */
static void *map(const struct target *target, int protection, int flags)
{
        return mmap(NULL, target->size, protection, flags, target->fd, 0);
}

static void *map_readable(const struct target *target)
{
        void *base = map(target, PROT_READ, MAP_SHARED);

        must(base != MAP_FAILED);
        return base;
}

/* Runs with a mapping for reading; whether it got through. */
static bool with_mapping(const struct target *target, bool (*attack)(const struct target *, void *))
{
        void *base = map_readable(target);
        bool got_through = attack(target, base);

        must_equal(munmap(base, target->size), 0);
        return got_through;
}

/* ---- through the descriptor --------------------------------------------------------------- */

static bool map_for_writing(const struct target *target)
{
        return map(target, PROT_READ | PROT_WRITE, MAP_SHARED) != MAP_FAILED ||
               map(target, PROT_WRITE, MAP_SHARED) != MAP_FAILED ||
               map(target, PROT_READ | PROT_WRITE, MAP_SHARED_VALIDATE) != MAP_FAILED;
}

static bool write_to_it(const struct target *target)
{
        char xx[] = "xx";
        struct iovec vector = {.iov_base = xx, .iov_len = 2};

        return write(target->fd, "xx", 2) > 0 || pwrite(target->fd, "xx", 2, 64) > 0 ||
               pwritev2(target->fd, &vector, 1, 0, RWF_SYNC) > 0 ||
               pwritev2(target->fd, &vector, 1, 0, RWF_APPEND) > 0;
}

static bool copy_into_it(const struct target *target)
{
        int other = memfd_create("attack", MFD_CLOEXEC), ends[2];
        loff_t from = 0, to = 0;
        bool got_through;

        must(other >= 0);
        must_equal(pwrite(other, "xxxx", 4, 0), 4);
        must_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
        must_equal(write(ends[1], "xxxx", 4), 4);
        lseek(target->fd, 0, SEEK_SET);
        got_through = sendfile(target->fd, other, NULL, 4) > 0 ||
                      copy_file_range(other, &from, target->fd, &to, 4, 0) > 0 ||
                      splice(ends[0], NULL, target->fd, &to, 4, 0) > 0 ||
                      ioctl(target->fd, FICLONE, other) == 0;
        close(other);
        close(ends[0]);
        close(ends[1]);
        return got_through;
}

/* A page of it in a pipe, to which somebody goes on to write. */
static bool write_behind_a_page_in_a_pipe(const struct target *target)
{
        loff_t from = 0;
        int ends[2];

        must_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
        must_equal(splice(target->fd, &from, ends[1], NULL, 1, 0), 1);
        must_equal(write(ends[1], "xxxxxxxx", 8), 8);
        close(ends[0]);
        close(ends[1]);
        return false;
}

static bool resize(const struct target *target)
{
        return ftruncate(target->fd, 0) == 0 ||
               ftruncate(target->fd, (off_t)target->size / 2) == 0 ||
               ftruncate(target->fd, (off_t)target->size * 2) == 0 ||
               fallocate(target->fd, 0, (off_t)target->size, 4096) == 0 ||
               fallocate(target->fd, FALLOC_FL_KEEP_SIZE, (off_t)target->size, 4096) == 0;
}

static bool take_pages_away(const struct target *target)
{
        const off_t all = (off_t)target->size;

        return fallocate(target->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, all) == 0 ||
               fallocate(target->fd, FALLOC_FL_ZERO_RANGE, 0, all) == 0 ||
               fallocate(target->fd, FALLOC_FL_COLLAPSE_RANGE, 0, 4096) == 0 ||
               fallocate(target->fd, FALLOC_FL_INSERT_RANGE, 0, 4096) == 0;
}

static bool seal_it(const struct target *target)
{
        static const int seals[] = {F_SEAL_WRITE, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_FUTURE_WRITE};
        bool got_through = false;

        for (size_t i = 0; i < N_ELEMENTS(seals); i++)
                got_through |= fcntl(target->fd, F_ADD_SEALS, seals[i]) == 0;
        return got_through;
}

/* With a description of one's own, whatever the one that was passed may do. */
static bool open_again(const struct target *target)
{
        static const int flags[] = {O_RDWR, O_WRONLY, O_RDWR | O_TRUNC, O_RDWR | O_APPEND};
        char path[40];
        bool got_through = false;

        snprintf(path, sizeof(path), "/proc/self/fd/%d", target->fd);
        chmod(path, 0666);
        fchmod(target->fd, 0666);
        for (size_t i = 0; i < N_ELEMENTS(flags); i++) {
                struct target again = *target;

                again.fd = open(path, flags[i] | O_CLOEXEC);
                if (again.fd < 0)
                        continue;
                got_through |= map_for_writing(&again) || write_to_it(&again) || resize(&again) ||
                               take_pages_away(&again) || copy_into_it(&again);
                close(again.fd);
        }
        got_through |= truncate(path, 0) == 0;
        return got_through;
}

static bool change_its_mode_or_owner(const struct target *target)
{
        return attacks_are_foreign &&
               (fchmod(target->fd, 0666) == 0 || fchown(target->fd, geteuid(), getegid()) == 0 ||
                futimens(target->fd, NULL) == 0);
}

/* ---- through the mapping ------------------------------------------------------------------ */

static bool protect(const struct target *target, void *base)
{
        return mprotect(base, target->size, PROT_READ | PROT_WRITE) == 0 ||
               mprotect(base, target->size, PROT_WRITE) == 0 ||
               syscall(SYS_pkey_mprotect, base, target->size, PROT_READ | PROT_WRITE, -1) == 0;
}

static bool raise_protection(const struct target *target)
{
        return with_mapping(target, protect);
}

static bool advise(const struct target *target, void *base)
{
        /* What drops or moves pages of this process only is not refused; nor must it do harm. */
        static const int harmless[] = {MADV_DONTNEED, MADV_FREE,     MADV_COLD,
                                       MADV_PAGEOUT,  MADV_WILLNEED, MADV_WIPEONFORK};

        for (size_t i = 0; i < N_ELEMENTS(harmless); i++)
                madvise(base, target->size, harmless[i]);
        return madvise(base, target->size, MADV_REMOVE) == 0 ||
               madvise(base, target->size, MADV_POPULATE_WRITE) == 0;
}

static bool advise_the_kernel(const struct target *target)
{
        return with_mapping(target, advise);
}

static bool let_kernel_write(const struct target *target, void *base)
{
        char xxxx[] = "xxxx";
        struct iovec local = {.iov_base = xxxx, .iov_len = 4};
        struct iovec remote = {.iov_base = base, .iov_len = 4};
        int memory = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
        int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
        bool got_through;

        must(zero >= 0);
        got_through = (memory >= 0 && pwrite(memory, "xxxx", 4, (off_t)(uintptr_t)base) > 0) ||
                      process_vm_writev(getpid(), &local, 1, &remote, 1, 0) > 0 ||
                      read(zero, base, 4) > 0;
        if (memory >= 0)
                close(memory);
        close(zero);
        return got_through;
}

static bool write_through_the_kernel(const struct target *target)
{
        return with_mapping(target, let_kernel_write);
}

static bool poke(const struct target *target, void *base)
{
        bool got_through;
        pid_t child;
        int status;

        (void)target;
        child = child_fork();
        if (child == 0) {
                ptrace(PTRACE_TRACEME, 0, NULL, NULL);
                raise(SIGSTOP);
                _exit(0);
        }
        must_equal(waitpid(child, &status, WUNTRACED), child);
        got_through = ptrace(PTRACE_POKEDATA, child, base, (void *)0x7878787878787878) == 0;
        kill(child, SIGKILL);
        must_equal(waitpid(child, &status, 0), child);
        return got_through;
}

static bool poke_into_a_child(const struct target *target)
{
        return with_mapping(target, poke);
}

static bool take_over_faults(const struct target *target, void *base)
{
        static const uint64_t modes[] = {UFFDIO_REGISTER_MODE_MISSING, UFFDIO_REGISTER_MODE_WP};
        int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
        struct uffdio_api api = {.api = UFFD_API};
        bool got_through = false;

        if (fd < 0) /* refused altogether */
                return false;
        must_equal(ioctl(fd, UFFDIO_API, &api), 0);
        for (size_t i = 0; i < N_ELEMENTS(modes); i++) {
                struct uffdio_register wish = {
                        .range = {.start = (uintptr_t)base, .len = target->size}, .mode = modes[i]};

                got_through |= ioctl(fd, UFFDIO_REGISTER, &wish) == 0;
        }
        close(fd);
        return got_through;
}

static bool handle_its_faults(const struct target *target)
{
        return with_mapping(target, take_over_faults);
}

/* A private copy may be written: it is one's own. */
static bool write_to_a_private_copy(const struct target *target)
{
        volatile char *base = map(target, PROT_READ | PROT_WRITE, MAP_PRIVATE);

        must(base != MAP_FAILED);
        base[0] ^= 0x55;
        must_equal(munmap((void *)(uintptr_t)base, target->size), 0);
        return false;
}

/* ---- io_uring ----------------------------------------------------------------------------- */

struct uring {
        int fd;
        char *rings;
        size_t rings_size;
        struct io_uring_sqe *entries;
        struct io_uring_params parameters;
};

/* False: this kernel, or a filter, has none for us. */
static bool uring_open(struct uring *uring)
{
        struct io_uring_params *p = &uring->parameters;

        memset(uring, 0, sizeof(*uring));
        uring->fd = (int)syscall(SYS_io_uring_setup, 4, p);
        if (uring->fd < 0)
                return false;
        must(p->features & IORING_FEAT_SINGLE_MMAP);
        uring->rings_size = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe);
        if (uring->rings_size < p->sq_off.array + p->sq_entries * sizeof(uint32_t))
                uring->rings_size = p->sq_off.array + p->sq_entries * sizeof(uint32_t);
        uring->rings = mmap(NULL, uring->rings_size, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_POPULATE, uring->fd, IORING_OFF_SQ_RING);
        uring->entries = mmap(NULL, p->sq_entries * sizeof(*uring->entries), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_POPULATE, uring->fd, IORING_OFF_SQES);
        must(uring->rings != MAP_FAILED && (void *)uring->entries != MAP_FAILED);
        return true;
}

static void uring_close(struct uring *uring)
{
        munmap(uring->entries, uring->parameters.sq_entries * sizeof(*uring->entries));
        munmap(uring->rings, uring->rings_size);
        close(uring->fd);
}

/* Its result. */
static int uring_do(struct uring *uring, const struct io_uring_sqe *what)
{
        const struct io_uring_params *p = &uring->parameters;
        uint32_t *tail = (void *)(uring->rings + p->sq_off.tail);
        uint32_t *head = (void *)(uring->rings + p->cq_off.head);
        uint32_t mask = *(uint32_t *)(void *)(uring->rings + p->sq_off.ring_mask);
        uint32_t *array = (void *)(uring->rings + p->sq_off.array);
        const struct io_uring_cqe *done = (void *)(uring->rings + p->cq_off.cqes);
        uint32_t done_mask = *(uint32_t *)(void *)(uring->rings + p->cq_off.ring_mask);
        int result;

        uring->entries[*tail & mask] = *what;
        array[*tail & mask] = *tail & mask;
        __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
        must_equal(syscall(SYS_io_uring_enter, uring->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0),
                   1);
        result = done[*head & done_mask].res;
        __atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
        return result;
}

static bool write_asynchronously(const struct target *target)
{
        void *base = map_readable(target);
        struct iovec buffer = {.iov_base = base, .iov_len = target->size};
        struct io_uring_sqe put = {
                .opcode = IORING_OP_WRITE, .fd = target->fd, .addr = (uintptr_t) "xxxx", .len = 4};
        /* off is where, addr the length, len the mode */
        struct io_uring_sqe punch = {.opcode = IORING_OP_FALLOCATE,
                                     .fd = target->fd,
                                     .addr = target->size,
                                     .len = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE};
        struct uring uring;
        bool got_through = false;

        if (uring_open(&uring)) {
                got_through = uring_do(&uring, &put) > 0 || uring_do(&uring, &punch) == 0 ||
                              syscall(SYS_io_uring_register, uring.fd, IORING_REGISTER_BUFFERS,
                                      &buffer, 1) == 0;
                uring_close(&uring);
        }
        munmap(base, target->size);
        return got_through;
}

/* ---- in the owner's process --------------------------------------------------------------- */

static bool reach_into_its_process(const struct target *target)
{
        int pid = target->peer_pid ? target->peer_pid : broker.pid;
        char x = 0;
        struct iovec local = {.iov_base = &x, .iov_len = 1}, remote = local;
        char path[64];
        bool got_through = false;

        if (!attacks_are_foreign)
                return false;
        snprintf(path, sizeof(path), "/proc/%d/mem", pid);
        got_through |= open(path, O_RDONLY | O_CLOEXEC) >= 0;
        snprintf(path, sizeof(path), "/proc/%d/fd", pid);
        got_through |= open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) >= 0;
        snprintf(path, sizeof(path), "/proc/%d/map_files", pid);
        got_through |= open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) >= 0;
        got_through |= ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0;
        got_through |= process_vm_writev(pid, &local, 1, &remote, 1, 0) > 0 || errno != EPERM;
        got_through |= kill(pid, 0) == 0;
        if (target->pid_fd >= 0) {
                got_through |= syscall(SYS_pidfd_getfd, target->pid_fd, 0, 0) >= 0;
                got_through |= syscall(SYS_pidfd_send_signal, target->pid_fd, 0, NULL, 0) == 0;
        }
        return got_through;
}

/* ---- the table ----------------------------------------------------------------------------- */

const struct attack attacks[N_ATTACKS] = {
        {"mmap for writing", map_for_writing, ATTACK_WRITES, false},
        {"write", write_to_it, ATTACK_WRITES, false},
        {"sendfile, copy_file_range, splice, clone", copy_into_it, ATTACK_WRITES, false},
        {"write to a pipe behind its page", write_behind_a_page_in_a_pipe, 0, true},
        {"ftruncate, fallocate", resize, 0, false},
        {"punch a hole, zero, collapse", take_pages_away, ATTACK_WRITES, false},
        {"add seals", seal_it, 0, false},
        {"open again through /proc", open_again, ATTACK_WRITES | ATTACK_BY_MODE, false},
        {"chmod, chown, touch", change_its_mode_or_owner, 0, true},
        {"mprotect", raise_protection, ATTACK_WRITES, false},
        {"madvise", advise_the_kernel, ATTACK_WRITES, false},
        {"/proc/self/mem, process_vm_writev, read", write_through_the_kernel, ATTACK_WRITES, true},
        {"ptrace of a child", poke_into_a_child, ATTACK_WRITES, true},
        {"userfaultfd", handle_its_faults, ATTACK_WRITES, false},
        {"a private copy", write_to_a_private_copy, 0, true},
        {"io_uring", write_asynchronously, ATTACK_WRITES, false},
        {"/proc/PID, ptrace, pidfd_getfd", reach_into_its_process, 0, true},
};

bool attack_is_possible(const struct attack *attack)
{
        struct uring uring;
        int fd;

        if (attack->gets_through == handle_its_faults) {
                fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
                close(fd);
                return fd >= 0;
        }
        if (attack->gets_through != write_asynchronously)
                return true;
        if (!uring_open(&uring))
                return false;
        uring_close(&uring);
        return true;
}

bool attack_succeeds(const struct attack *attack, const struct target *target)
{
        unsigned char *before = malloc(target->size), *after = malloc(target->size);
        struct stat status;
        bool is_same;

        must(before && after);
        must_equal(pread(target->fd, before, target->size, 0), target->size);
        if (attack->gets_through(target)) {
                fprintf(stderr, "%s: %s gets through\n", target->name, attack->name);
                return true;
        }
        must_equal(fstat(target->fd, &status), 0);
        must_equal(status.st_size, target->size);
        must_equal(pread(target->fd, after, target->size, 0), target->size);
        is_same = memcmp(before, after, target->size) == 0;
        if (!is_same)
                fprintf(stderr, "%s: %s has changed it\n", target->name, attack->name);
        free(before);
        free(after);
        return !is_same;
}
