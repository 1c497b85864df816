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
        char path[256];

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
        /* What is in use by files that were read is there for whoever needs it. */
        pretend_groups(faults->root, (const char *[]){none[1], none[1]},
                       (const char *[]){used[0], used[1]});
        must_equal(advertise(bus, 33 * MIB), -ENOMEM);
        for (unsigned i = 0; i < 2; i++) {
                snprintf(path, sizeof(path), "%s/sys/fs/cgroup/outer%s/memory.stat", faults->root,
                         i ? "/inner" : "");
                write_file(path, "anon 0\ninactive_file 1048576\nactive_file 2097152\n");
        }
        must_equal(advertise(bus, 33 * MIB), 0);
        must_equal(advertise(bus, 36 * MIB), -ENOMEM);
        must_say(shmd_error(), "35 left", "36 MiB");
        remove_tree(faults->root);
        *faults->root = '\0';
        shmd_close(bus);
        faults_report("limits of control groups", 3);
}

/* ---- a real control group ------------------------------------------------------------------ */

#define GROUP_LIMIT (96 * MIB)

/* Of version 2 or 1, at the top of what is mounted here. */
static struct {
        char directory[128];
        bool is_first_version;
} group;

static void write_group(const char *file, uint64_t value)
{
        char path[256], text[32];

        snprintf(path, sizeof(path), "%s/%s", group.directory, file);
        snprintf(text, sizeof(text), "%llu\n", (unsigned long long)value);
        write_file(path, text);
}

static void limit_group(uint64_t most)
{
        write_group(group.is_first_version ? "memory.limit_in_bytes" : "memory.max", most);
}

/* False: there is none to be had. */
static bool make_group(void)
{
        static const char *const roots[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/memory"};
        static const char *const limits[] = {"memory.max", "memory.limit_in_bytes"};

        for (unsigned i = 0; i < 2; i++) {
                char path[256];

                snprintf(group.directory, sizeof(group.directory), "%s/shmd-test-%d", roots[i],
                         (int)getpid());
                if (mkdir(group.directory, 0755) < 0)
                        continue;
                group.is_first_version = i;
                snprintf(path, sizeof(path), "%s/%s", group.directory, limits[i]);
                if (access(path, W_OK) == 0)
                        return true;
                rmdir(group.directory);
        }
        return false;
}

/* How many processes the kernel has killed in it. */
static unsigned n_killed(void)
{
        char path[256], line[128];
        unsigned n = 0;
        FILE *file;

        snprintf(path, sizeof(path), "%s/%s", group.directory,
                 group.is_first_version ? "memory.oom_control" : "memory.events");
        file = fopen(path, "re");
        must(file);
        while (fgets(line, sizeof(line), file))
                sscanf(line, "oom_kill %u", &n);
        fclose(file);
        return n;
}

/* Files that were read take all that the group has left, until somebody needs it. */
static int fill_with_files(void)
{
        static char block[1 << 16];
        char path[] = "/var/tmp/shmd-limits-XXXXXX";
        int fd = mkstemp(path);

        must(fd >= 0);
        unlink(path);
        for (uint64_t written = 0; written < 2 * GROUP_LIMIT; written += sizeof(block))
                must_equal(write(fd, block, sizeof(block)), sizeof(block));
        must_equal(fsync(fd), 0);
        for (uint64_t at = 0; at < 2 * GROUP_LIMIT; at += sizeof(block))
                must_equal(pread(fd, block, sizeof(block), (off_t)at), sizeof(block));
        return fd; /* when it is closed, they are gone */
}

static void advertise_in_the_group(void *argument)
{
        struct shmd *bus;
        int files;

        write_group("cgroup.procs", (uint64_t)getpid());
        bus = broker_connect();
        must_equal(advertise(bus, 3 * GROUP_LIMIT / 2), -ENOMEM);
        must_say(shmd_error(), "limits/large", "control group", "left");
        must_equal(advertise(bus, GROUP_LIMIT / 4), 0);
        files = fill_with_files();
        must_equal(advertise(bus, 3 * GROUP_LIMIT / 2), -ENOMEM);
        must_equal(advertise(bus, GROUP_LIMIT / 4), 0);
        close(files);
        say('f');
        hear('m');
        must_equal(advertise(bus, 3 * GROUP_LIMIT / 2), 0);
        shmd_close(bus);
}

static void real_control_group_refuses_and_kills_nobody(void **state)
{
        struct role *role;

        if (geteuid() != 0)
                skip_because("only root can make a control group");
        if (!make_group())
                skip_because("no control group with a limit for memory can be made here");
        limit_group(GROUP_LIMIT);
        role = role_start("poor", advertise_in_the_group, NULL);
        role_await(role, 'f');
        must_equal(n_killed(), 0);
        limit_group(3 * GROUP_LIMIT);
        role_tell(role, 'm');
        role_finish(role);
        must_equal(n_killed(), 0);
        until(rmdir(group.directory) == 0);
        faults_report("limits of a real control group", 2);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(limit_for_files_is_an_error),
                system_test(limit_for_address_space_is_an_error),
                system_test(more_than_the_machine_has_is_an_error),
                system_test(limit_of_a_control_group_is_an_error),
                system_test(real_control_group_refuses_and_kills_nobody),
        };

        harness_init(argc, argv);
        return cmocka_run_group_tests_name("faults-limits", tests, NULL, NULL);
}
