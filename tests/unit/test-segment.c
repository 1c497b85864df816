/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-segment.c - whoever holds a segment's descriptor can't write it, whatever he tries; whoever
 * is offered something else is told what it is.
 *
 * memfd_create(2) is wrapped, to play a kernel that does not know MFD_NOEXEC_SEAL.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"
#include "error.h"
#include "layout.h"
#include "segment.h"
#include "util.h"

#define SIZE 8192u
#define ALL_SEALS \
        (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) /* of a segment */

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

static bool is_old_kernel;

int __real_memfd_create(const char *name, unsigned flags);
int __wrap_memfd_create(const char *name, unsigned flags);

int __wrap_memfd_create(const char *name, unsigned flags)
{
        if (is_old_kernel && (flags & MFD_NOEXEC_SEAL)) {
                errno = EINVAL;
                return -1;
        }
        /* A kernel that really is old gets what it knows. */
        int fd = __real_memfd_create(name, flags);

        return fd < 0 && errno == EINVAL ? __real_memfd_create(name, flags & ~MFD_NOEXEC_SEAL) : fd;
}

static int open_again(int fd, int flags)
{
        char path[32];

        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        return open(path, flags | O_CLOEXEC);
}

/* ---- nobody else writes ----------------------------------------------------------------- */

/* Every way to change what a descriptor refers to. */
static void assert_not_writable(int fd)
{
        void *base;

        assert_ptr_equal(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
        assert_int_equal(errno, EPERM);
        assert_ptr_equal(mmap(NULL, SIZE, PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
        base = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
        assert_ptr_not_equal(base, MAP_FAILED);
        assert_int_equal(mprotect(base, SIZE, PROT_READ | PROT_WRITE), -1);
        assert_int_equal(errno, EACCES);
        assert_int_equal(munmap(base, SIZE), 0);
        assert_int_equal(pwrite(fd, "x", 1, 0), -1);
        assert_int_equal(errno, EPERM);
        assert_int_equal(write(fd, "x", 1), -1);
        assert_int_equal(ftruncate(fd, SIZE / 2), -1);
        assert_int_equal(errno, EPERM);
        assert_int_equal(ftruncate(fd, SIZE * 2), -1);
        assert_int_equal(errno, EPERM);
        assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
        assert_int_equal(errno, EPERM);
        assert_int_equal(fallocate(fd, 0, SIZE, 4096), -1);
        assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
        assert_int_equal(errno, EPERM);
}

static void segment_is_written_by_its_maker_alone(void **unused)
{
        struct segment made, mapped;
        int again;

        assert_int_equal(segment_create(&made, "shmd:test", SIZE), 0);
        assert_int_equal(made.size, SIZE);
        for (uint32_t i = 0; i < SIZE; i++)
                assert_int_equal(((unsigned char *)made.base)[i], 0);
        strcpy(made.base, "hello");
        assert_not_writable(made.fd);
        again = open_again(made.fd, O_RDWR);
        assert_true(again >= 0); /* which is why a descriptor for reading would protect nothing */
        assert_not_writable(again);
        close(again);
        assert_int_equal(segment_check(made.fd, SIZE, geteuid()), 0);
        assert_int_equal(segment_map(&mapped, made.fd, SIZE), 0);
        assert_int_equal(mapped.fd, -1);
        assert_int_equal(mprotect(mapped.base, SIZE, PROT_READ | PROT_WRITE), -1);
        strcat(made.base, " world");
        assert_string_equal(mapped.base, "hello world");
        segment_close(&mapped);
        segment_close(&made);
        assert_null(made.base);
        assert_int_equal(made.fd, -1);
        segment_close(&made); /* of nothing */
}

static void descriptor_ends_with_exec_and_memory_is_not_executable(void **unused)
{
        struct segment made;

        assert_int_equal(segment_create(&made, "shmd:test", SIZE), 0);
        assert_true(fcntl(made.fd, F_GETFD) & FD_CLOEXEC);
        assert_int_equal(fcntl(made.fd, F_GET_SEALS) & ALL_SEALS, ALL_SEALS);
        segment_close(&made);
}

static void kernel_without_noexec_seal_will_do(void **unused)
{
        struct segment made;
        int write_fd, read_fd;

        is_old_kernel = true;
        assert_int_equal(segment_create(&made, "shmd:test", SIZE), 0);
        assert_int_equal(segment_check(made.fd, SIZE, geteuid()), 0);
        assert_int_equal(segment_create_board(&write_fd, &read_fd), 0);
        is_old_kernel = false;
        close(write_fd);
        close(read_fd);
        segment_close(&made);
}

/* ---- what is refused -------------------------------------------------------------------- */

#define REFUSES(fd, size, owner, words)                                    \
        do {                                                               \
                assert_int_equal(segment_check(fd, size, owner), -EPROTO); \
                assert_non_null(strstr(error_text(), words));              \
        } while (0)

static void what_is_no_memfd_is_refused(void **unused)
{
        FILE *file = tmpfile();
        int ends[2], zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);

        assert_non_null(file);
        assert_int_equal(ftruncate(fileno(file), SIZE), 0);
        /* A file on tmpfs has seals as well: none that would do. */
        assert_int_equal(segment_check(fileno(file), SIZE, geteuid()), -EPROTO);
        fclose(file);
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        REFUSES(ends[0], SIZE, geteuid(), "no shared memory");
        REFUSES(ends[1], SIZE, geteuid(), "no shared memory");
        close(ends[0]);
        close(ends[1]);
        REFUSES(zero, SIZE, geteuid(), "no shared memory");
        close(zero);
        REFUSES(-1, SIZE, geteuid(), "no shared memory");
}

static int memfd(uint64_t size, uint64_t allocated, int seals)
{
        int fd = __real_memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        assert_true(fd >= 0);
        if (allocated)
                assert_int_equal(fallocate(fd, 0, 0, (off_t)allocated), 0);
        assert_int_equal(ftruncate(fd, (off_t)size), 0);
        assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
        return fd;
}

static void memory_with_a_seal_too_few_is_refused(void **unused)
{
        static const int seals[] = {F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_FUTURE_WRITE, F_SEAL_SEAL};
        int fd = memfd(SIZE, SIZE, ALL_SEALS);

        assert_int_equal(segment_check(fd, SIZE, geteuid()), 0);
        close(fd);
        for (size_t i = 0; i < ARRAY_SIZE(seals); i++) {
                fd = memfd(SIZE, SIZE, ALL_SEALS & ~seals[i]);
                REFUSES(fd, SIZE, geteuid(), "seals");
                close(fd);
        }
        fd = memfd(SIZE, SIZE, 0);
        REFUSES(fd, SIZE, geteuid(), "the memory's seals are 0x0");
        close(fd);
}

static void memory_with_holes_is_refused(void **unused)
{
        static const uint64_t allocated[] = {0, 4096, SIZE - 4096};

        for (size_t i = 0; i < ARRAY_SIZE(allocated); i++) {
                int fd = memfd(SIZE, allocated[i], ALL_SEALS);

                REFUSES(fd, SIZE, geteuid(), "bytes are allocated");
                close(fd);
        }
}

static void memory_of_another_size_or_user_is_refused(void **unused)
{
        int fd = memfd(SIZE, SIZE, ALL_SEALS);

        REFUSES(fd, SIZE - 1, geteuid(), "has 8192 bytes, not 8191");
        REFUSES(fd, SIZE + 4096, geteuid(), "has 8192 bytes, not 12288");
        REFUSES(fd, 0, geteuid(), "has 8192 bytes, not 0");
        REFUSES(fd, SIZE, geteuid() + 1, "belongs to user");
        assert_int_equal(segment_check(fd, SIZE, SEGMENT_ANY_OWNER), 0);
        close(fd);
}

static void memory_that_can_not_be_read_is_refused(void **unused)
{
        int fd = memfd(SIZE, SIZE, ALL_SEALS), again = open_again(fd, O_WRONLY);

        assert_true(again >= 0);
        REFUSES(again, SIZE, geteuid(), "for writing only");
        close(again);
        close(fd);
}

static void memory_has_no_mode_by_which_it_could_be_opened(void **unused)
{
        struct segment made;
        struct stat status;

        assert_int_equal(segment_create(&made, "shmd:test", SIZE), 0);
        assert_int_equal(fstat(made.fd, &status), 0);
        assert_int_equal(status.st_mode & 07777, 0);
        if (geteuid() != 0)
                assert_int_equal(open_again(made.fd, O_RDONLY), -1);
        segment_close(&made);
}

static void what_does_not_fit_into_memory_is_an_error_and_no_death(void **unused)
{
        struct segment made;

        assert_int_equal(segment_create(&made, "shmd:huge", UINT64_C(1) << 50), -ENOMEM);
        assert_non_null(strstr(error_text(), "shmd:huge"));
        assert_non_null(strstr(error_text(), "1073741824 MiB"));
        assert_null(made.base);
        assert_int_equal(made.fd, -1);
}

/* ---- boards ----------------------------------------------------------------------------- */

static void board_is_written_through_one_descriptor_and_read_through_the_other(void **unused)
{
        struct segment writable, readable;
        int write_fd, read_fd;

        assert_int_equal(segment_create_board(&write_fd, &read_fd), 0);
        assert_int_equal(fcntl(read_fd, F_GETFL) & O_ACCMODE, O_RDONLY);
        assert_int_equal(segment_map_board(&writable, write_fd, true), 0);
        assert_int_equal(segment_map_board(&readable, read_fd, false), 0);
        ((struct board *)writable.base)->counter = 42;
        assert_int_equal(((struct board *)readable.base)->counter, 42);
        assert_int_equal(mprotect(readable.base, BOARD_SIZE, PROT_READ | PROT_WRITE), -1);
        segment_close(&writable);
        segment_close(&readable);
        assert_int_equal(segment_map_board(&writable, read_fd, true), -EACCES);
        assert_int_equal(pwrite(read_fd, "x", 1, 0), -1);
        assert_int_equal(ftruncate(write_fd, 0), -1);
        assert_int_equal(ftruncate(write_fd, SIZE), -1);
        assert_int_equal(fcntl(write_fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
        close(write_fd);
        close(read_fd);
}

/* In a child with another user's rights. 0: could not get at it; else which way did. */
static int try_as_nobody(int read_fd)
{
        int again;

        if (setgid(65534) < 0 || setuid(65534) < 0)
                return 9;
        again = open_again(read_fd, O_RDWR);
        if (again >= 0)
                return 1;
        again = open_again(read_fd, O_WRONLY);
        if (again >= 0)
                return 2;
        if (fchmod(read_fd, 0666) == 0)
                return 3;
        if (mmap(NULL, BOARD_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, read_fd, 0) != MAP_FAILED)
                return 4;
        if (mmap(NULL, BOARD_SIZE, PROT_READ, MAP_SHARED, read_fd, 0) == MAP_FAILED)
                return 5; /* what he may */
        return 0;
}

static void reader_of_a_board_can_not_open_it_for_writing(void **unused)
{
        int write_fd, read_fd, status;
        pid_t child;

        if (geteuid() != 0) {
                print_message("not root, so no other user can be played\n");
                skip();
        }
        assert_int_equal(segment_create_board(&write_fd, &read_fd), 0);
        child = fork();
        assert_true(child >= 0);
        if (child == 0)
                _exit(try_as_nobody(read_fd));
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
        close(write_fd);
        close(read_fd);
}

/* Who may write to it may do that, too, and must not keep others out. */
static void board_with_a_hole_is_a_board(void **unused)
{
        struct segment mapped;
        int write_fd, read_fd;

        assert_int_equal(segment_create_board(&write_fd, &read_fd), 0);
        assert_int_equal(
                fallocate(write_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, BOARD_SIZE), 0);
        assert_int_equal(segment_map_board(&mapped, read_fd, false), 0);
        assert_int_equal(((struct board *)mapped.base)->counter, 0);
        segment_close(&mapped);
        assert_int_equal(segment_map_board(&mapped, write_fd, true), 0);
        segment_close(&mapped);
        close(write_fd);
        close(read_fd);
}

static void what_is_no_board_is_refused(void **unused)
{
        struct segment mapped, made;
        int fd = memfd(BOARD_SIZE, BOARD_SIZE, F_SEAL_SHRINK | F_SEAL_GROW);

        assert_int_equal(segment_map_board(&mapped, fd, false), -EPROTO);
        assert_null(mapped.base);
        close(fd);
        assert_int_equal(segment_create(&made, "shmd:test", SIZE), 0);
        assert_int_equal(segment_map_board(&mapped, made.fd, false), -EPROTO);
        segment_close(&made);
}

/* ---- children and core files ------------------------------------------------------------ */

/* Whether /proc/self/smaps shows the two-letter flag for the mapping at `base`. */
static bool has_flag(const void *base, const char *flag)
{
        char line[512], start[32];
        FILE *file = fopen("/proc/self/smaps", "re");
        bool is_it = false, found = false;

        assert_non_null(file);
        snprintf(start, sizeof(start), "%08lx-", (unsigned long)base);
        while (fgets(line, sizeof(line), file)) {
                if (strncmp(line, start, strlen(start)) == 0)
                        is_it = true;
                if (!is_it || strncmp(line, "VmFlags:", 8) != 0)
                        continue;
                found = strstr(line + 8, flag) != NULL;
                break;
        }
        fclose(file);
        assert_true(is_it);
        return found;
}

static void memory_stays_out_of_core_files_and_what_is_written_out_of_children(void **unused)
{
        struct segment made, mapped;

        assert_int_equal(segment_create(&made, "shmd:test", SIZE), 0);
        assert_int_equal(segment_map(&mapped, made.fd, SIZE), 0);
        assert_true(has_flag(made.base, " dd "));
        assert_true(has_flag(made.base, " dc "));
        assert_true(has_flag(mapped.base, " dd "));
        assert_false(has_flag(mapped.base, " dc "));
        segment_close(&mapped);
        segment_close(&made);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(segment_is_written_by_its_maker_alone),
                cmocka_unit_test(descriptor_ends_with_exec_and_memory_is_not_executable),
                cmocka_unit_test(kernel_without_noexec_seal_will_do),
                cmocka_unit_test(what_is_no_memfd_is_refused),
                cmocka_unit_test(memory_with_a_seal_too_few_is_refused),
                cmocka_unit_test(memory_with_holes_is_refused),
                cmocka_unit_test(memory_of_another_size_or_user_is_refused),
                cmocka_unit_test(memory_that_can_not_be_read_is_refused),
                cmocka_unit_test(memory_has_no_mode_by_which_it_could_be_opened),
                cmocka_unit_test(what_does_not_fit_into_memory_is_an_error_and_no_death),
                cmocka_unit_test(
                        board_is_written_through_one_descriptor_and_read_through_the_other),
                cmocka_unit_test(reader_of_a_board_can_not_open_it_for_writing),
                cmocka_unit_test(board_with_a_hole_is_a_board),
                cmocka_unit_test(what_is_no_board_is_refused),
                cmocka_unit_test(
                        memory_stays_out_of_core_files_and_what_is_written_out_of_children),
        };

        return cmocka_run_group_tests_name("segment", tests, NULL, NULL);
}
