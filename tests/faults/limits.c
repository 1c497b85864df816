/* SPDX-License-Identifier: Apache-2.0 */
/*
 * limits.c - too little memory for a segment is an error that says so: never a signal, never the
 * kernel's killer of processes where that can be seen coming.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stage.h"

#define MIB UINT64_C(1048576)

static uint64_t n_refusals;

/* What an advertise of a segment that has about `size` bytes says. */
static int advertise(struct shmd *bus, uint64_t size)
{
        struct shmd_publisher_options options = {.size = sizeof(options),
                                                 .flags = SHMD_LARGE_SEGMENT,
                                                 .depth = 1,
                                                 .loans = 1,
                                                 .chunks = 3,
                                                 .max_size = size / 3};
        struct shmd_publisher *publisher;
        int code = shmd_advertise(&publisher, bus, "limits/large", &shmd_bytes, &options);
        void *data;

        must(!publisher == (code < 0));
        if (code < 0) {
                n_refusals++;
                return code;
        }
        /* Every byte is there. */
        must_equal(shmd_loan(publisher, &data), 0);
        memset(data, 1, options.max_size);
        must_equal(shmd_publish(publisher, data), 0);
        shmd_publisher_close(publisher);
        return 0;
}

static void limit(int resource, rlim_t most)
{
        struct rlimit now;

        must_equal(getrlimit(resource, &now), 0);
        now.rlim_cur = most < now.rlim_max ? most : now.rlim_max;
        must_equal(setrlimit(resource, &now), 0);
}

static uint64_t address_space(void)
{
        unsigned long long pages = 0;
        FILE *file = fopen("/proc/self/statm", "re");

        must(file && fscanf(file, "%llu", &pages) == 1);
        fclose(file);
        return pages * 4096;
}

/* ---- the process's own limits -------------------------------------------------------------- */

static void advertise_beyond_the_limit_for_files(void *argument)
{
        struct shmd *bus = broker_connect();

        limit(RLIMIT_FSIZE, 8 * MIB);
        must_equal(advertise(bus, 9 * MIB), -EFBIG);
        must_say(shmd_error(), "limits/large", "limit for files", "8388608", "RLIMIT_FSIZE");
        must_equal(advertise(bus, 7 * MIB), 0);
        limit(RLIMIT_FSIZE, RLIM_INFINITY);
        must_equal(advertise(bus, 9 * MIB), 0);
        shmd_close(bus);
}

static void limit_for_files_is_an_error(void **state)
{
        role_finish(role_start("files", advertise_beyond_the_limit_for_files, NULL));
        faults_report("RLIMIT_FSIZE", 1);
}

static void advertise_beyond_the_address_space(void *argument)
{
        struct shmd *bus = broker_connect();
        uint64_t *n = argument;

        /* Each allowance up to what it takes: another mapping fails each time. */
        for (uint64_t more = 0;; more += 4096) {
                int code;

                limit(RLIMIT_AS, address_space() + more);
                code = advertise(bus, MIB);
                limit(RLIMIT_AS, RLIM_INFINITY);
                if (code == 0)
                        break;
                must_equal(code, -ENOMEM);
                must_say(shmd_error(), "limits/large", "Cannot allocate memory");
                must(more < 64 * MIB);
                ++*n;
        }
        shmd_close(bus);
}

static void limit_for_address_space_is_an_error(void **state)
{
        uint64_t *n = shared_memory(sizeof(*n));

        if (HAVE_ASAN)
                skip_because("ASan needs an address space without limit");
        role_finish(role_start("space", advertise_beyond_the_address_space, n));
        must(*n);
        faults_report("RLIMIT_AS", *n);
}

/* ---- the machine's, and the control group's ------------------------------------------------ */

static void more_than_the_machine_has_is_an_error(void **state)
{
        struct shmd *bus = broker_connect();

        must_equal(advertise(bus, MIB << 24), -ENOMEM);
        must_say(shmd_error(), "limits/large", "the machine has", "available");
        must_equal(advertise(bus, MIB), 0);
        shmd_close(bus);
        faults_report("more memory than the machine has", 1);
}

static void write_file(const char *path, const char *text)
{
        FILE *file = fopen(path, "we");

        must(file);
        fputs(text, file);
        must_equal(fclose(file), 0);
}

/* A tree of files as the kernel shows them: two groups, one inside the other. */
static void pretend_groups(const char *root, const char *limits[2], const char *used[2])
{
        static const char *const directories[] = {"proc",
                                                  "proc/self",
                                                  "sys",
                                                  "sys/fs",
                                                  "sys/fs/cgroup",
                                                  "sys/fs/cgroup/outer",
                                                  "sys/fs/cgroup/outer/inner"};
        char path[256];

        for (size_t i = 0; i < N_ELEMENTS(directories); i++) {
                snprintf(path, sizeof(path), "%s/%s", root, directories[i]);
                must(mkdir(path, 0700) == 0 || errno == EEXIST);
        }
        snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
        write_file(path, "1:name=systemd:/x\n0::/outer/inner\n");
        for (unsigned i = 0; i < 2; i++) {
                const char *group = directories[5 + i];

                snprintf(path, sizeof(path), "%s/%s/memory.max", root, group);
                write_file(path, limits[i]);
                snprintf(path, sizeof(path), "%s/%s/memory.current", root, group);
                write_file(path, used[i]);
        }
}

static void remove_tree(const char *root)
{
        const char *const remove[] = {"/bin/rm", "-rf", root, NULL};
        char output[64];

        must_equal(program_run(output, sizeof(output), remove), 0);
}

static void limit_of_a_control_group_is_an_error(void **state)
{
        static const char *const none[] = {"max\n", "100663296\n"}; /* 96 MiB */
        static const char *const used[] = {"67108864\n", "67108864\n"};
        struct shmd *bus = broker_connect();

        snprintf(faults->root, sizeof(faults->root), "%s/root", broker.directory);
        must_equal(mkdir(faults->root, 0700), 0);
        pretend_groups(faults->root, (const char *[]){none[0], none[1]},
                       (const char *[]){used[0], used[1]});
        must_equal(advertise(bus, 33 * MIB), -ENOMEM);
        must_say(shmd_error(), "limits/large", "control group", "32 left", "33 MiB");
        must_equal(advertise(bus, 30 * MIB), 0);
        /* The outer one's counts as well. */
        pretend_groups(faults->root, (const char *[]){none[1], none[0]},
                       (const char *[]){used[0], used[1]});
        must_equal(advertise(bus, 33 * MIB), -ENOMEM);
        must_say(shmd_error(), "control group");
        pretend_groups(faults->root, (const char *[]){none[0], none[0]},
                       (const char *[]){used[0], used[1]});
        must_equal(advertise(bus, 33 * MIB), 0);
        remove_tree(faults->root);
        *faults->root = '\0';
        shmd_close(bus);
        faults_report("limits of control groups", 2);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(limit_for_files_is_an_error),
                system_test(limit_for_address_space_is_an_error),
                system_test(more_than_the_machine_has_is_an_error),
                system_test(limit_of_a_control_group_is_an_error),
        };

        harness_init(argc, argv);
        return cmocka_run_group_tests_name("faults-limits", tests, NULL, NULL);
}
