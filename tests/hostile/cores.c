/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cores.c - no sample is in a core file: not its publisher's, not a subscriber's that holds it.
 *
 * Whoever crashes has a pattern in a sample, and another in memory of its own. The first must not
 * be found in what the kernel writes; the second has to be, or the file says nothing.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

#define SERVICE  "cores"
#define SIZE     65536
#define SAMPLE   UINT64_C(0x5ca1ab1e0ddba115)
#define OWN      UINT64_C(0x0b5e55ed1ca7f00d)
#define N_WANTED 8 /* words in a row that are no accident */

/* Word i of a pattern. It is only ever made where it belongs. */
static uint64_t word(uint64_t pattern, uint64_t i)
{
        return (pattern ^ i) * UINT64_C(0x9e3779b97f4a7c15) ^ pattern;
}

static void fill(uint64_t *words, uint64_t pattern)
{
        for (uint64_t i = 0; i < SIZE / 8; i++)
                words[i] = word(pattern, i);
}

/* Whether the bytes have some of the pattern's words, one after the other. */
static bool has(const uint64_t *words, size_t n, uint64_t pattern)
{
        uint64_t i, in_a_row;

        for (size_t at = 0; at + N_WANTED <= n; at++) {
                for (i = 0; i < SIZE / 8 && words[at] != word(pattern, i); i += 64)
                        ;
                if (i >= SIZE / 8)
                        continue;
                for (in_a_row = 0; in_a_row < N_WANTED; in_a_row++)
                        if (words[at + in_a_row] != word(pattern, i + in_a_row))
                                break;
                if (in_a_row == N_WANTED)
                        return true;
        }
        return false;
}

/* ---- who crashes --------------------------------------------------------------------------- */

static void crash(void)
{
        struct rlimit all = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
        uint64_t *own = malloc(SIZE);

        must(own);
        fill(own, OWN);
        /* Somebody may look at it: so it is really written. */
        __asm__ volatile("" : : "r"(own) : "memory");
        setrlimit(RLIMIT_CORE, &all);
        must_equal(prctl(PR_SET_DUMPABLE, 1), 0);
        must_equal(chdir(broker.directory), 0);
        say('r');
        hear('c');
        raise(SIGSEGV);
}

static void crash_as_publisher(void *argument)
{
        struct shmd *bus = broker_connect();
        struct shmd_publisher_options options = {.size = sizeof(options), .max_size = SIZE};
        struct shmd_publisher *publisher;
        void *data;

        must_equal(shmd_advertise(&publisher, bus, SERVICE, &shmd_bytes, &options), 0);
        say('p');
        hear('s');
        must_equal(shmd_loan(publisher, &data), 0);
        fill(data, SAMPLE);
        must_equal(shmd_publish(publisher, data), 0);
        must_equal(shmd_loan(publisher, &data), 0);
        fill(data, SAMPLE);
        crash();
}

static void crash_as_subscriber(void *argument)
{
        struct shmd *bus = broker_connect();
        struct shmd_subscriber *subscriber;
        struct shmd_sample sample;
        const volatile uint64_t *words;

        must_equal(shmd_subscribe(&subscriber, bus, SERVICE, &shmd_bytes, NULL), 0);
        say('s');
        until(shmd_take(subscriber, &sample) == 1);
        words = sample.data;
        for (uint64_t i = 0; i < SIZE / 8; i++)
                must(words[i] == word(SAMPLE, i));
        crash();
}

/* ---- what is left of it -------------------------------------------------------------------- */

static bool kernel_writes_files_here(void)
{
        char pattern[128] = "|";
        FILE *file = fopen("/proc/sys/kernel/core_pattern", "re");

        must(file);
        must(fgets(pattern, sizeof(pattern), file));
        fclose(file);
        return pattern[0] != '|' && !strchr(pattern, '/');
}

/* Looks through the core file that is in the directory, and removes it. False: there is none. */
static bool look_through_core(void)
{
        DIR *directory = opendir(broker.directory);
        const struct dirent *entry;
        struct stat status;
        uint64_t *words;
        bool found = false;
        int fd;

        must(directory);
        while (!found && (entry = readdir(directory))) {
                if (strncmp(entry->d_name, "core", 4) != 0)
                        continue;
                found = true;
                fd = openat(dirfd(directory), entry->d_name, O_RDONLY | O_CLOEXEC);
                must(fd >= 0);
                must_equal(unlinkat(dirfd(directory), entry->d_name, 0), 0);
                must_equal(fstat(fd, &status), 0);
                words = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
                must((void *)words != MAP_FAILED);
                must(has(words, (size_t)status.st_size / 8, OWN));
                must(!has(words, (size_t)status.st_size / 8, SAMPLE));
                must_equal(munmap(words, (size_t)status.st_size), 0);
                close(fd);
        }
        closedir(directory);
        return found;
}

static void reap(struct role *role)
{
        int status = child_finish(role->pid);

        close(role->to);
        close(role->from);
        role->pid = 0;
        must_equal(status, -SIGSEGV);
}

static void core_files_have_no_samples(void **state)
{
        struct role *publisher, *subscriber;
        unsigned n_files = 0;

        if (HAVE_ASAN)
                skip_because("sanitizers write no core files");
        if (!kernel_writes_files_here())
                skip_because("core files of this machine go elsewhere (core_pattern)");
        publisher = role_start("publisher", crash_as_publisher, NULL);
        role_await(publisher, 'p');
        subscriber = role_start("subscriber", crash_as_subscriber, NULL);
        role_await(subscriber, 's');
        role_tell(publisher, 's');
        role_await(publisher, 'r');
        role_await(subscriber, 'r');
        role_tell(subscriber, 'c');
        reap(subscriber);
        n_files += look_through_core();
        role_tell(publisher, 'c');
        reap(publisher);
        n_files += look_through_core();
        if (n_files != 2)
                skip_because("this machine writes no core files");
}

/* ---- every mapping -------------------------------------------------------------------------- */

/* Of shared memory of ours: how many there are in the process; each must be left out. */
static unsigned count_left_out(pid_t pid)
{
        char path[40], line[512];
        bool is_ours = false;
        unsigned n = 0;
        FILE *smaps;

        snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
        smaps = fopen(path, "re");
        must(smaps);
        while (fgets(line, sizeof(line), smaps)) {
                if (strstr(line, "/memfd:shmd"))
                        is_ours = true;
                if (!is_ours || strncmp(line, "VmFlags:", 8) != 0)
                        continue;
                must_say(line, " dd");
                is_ours = false;
                n++;
        }
        fclose(smaps);
        return n;
}

static void every_mapping_is_left_out_of_core_files(void **state)
{
        struct shmd *one = broker_connect(), *other = broker_connect();
        struct shmd_publisher *publisher;
        struct shmd_subscriber *subscriber;
        unsigned n;

        must_equal(shmd_advertise(&publisher, one, SERVICE, &shmd_bytes, NULL), 0);
        must_equal(shmd_subscribe(&subscriber, other, SERVICE, &shmd_bytes, NULL), 0);
        broker_settle(one);
        must_equal(shmd_wait(one, 0), 1);
        /* Three connections with a page each and the alive page, one page for the broker's death;
         * a segment twice, a block and a board twice. */
        n = count_left_out(getpid());
        must(n >= 2 * 3 + 6);
        must(count_left_out(broker.pid) >= 4);
        shmd_close(one);
        shmd_close(other);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(core_files_have_no_samples),
                system_test(every_mapping_is_left_out_of_core_files),
        };

        harness_init(argc, argv);
        return cmocka_run_group_tests_name("hostile-cores", tests, NULL, NULL);
}
