/* SPDX-License-Identifier: Apache-2.0 */
/*
 * leftovers.c - everybody is killed at any moment, the broker too: nothing is left but its socket,
 * which the next broker replaces.
 */
#include <ctype.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crowd.h"

/* What other programs of the machine may do to `Shmem` while this looks. */
#define TOLERANCE (32 * UINT64_C(1048576))

/* Shared memory of the whole machine, in bytes. */
static uint64_t machine_shmem(void)
{
        unsigned long long kilobytes = 0;
        char line[256];
        FILE *file = fopen("/proc/meminfo", "re");

        must(file);
        while (fgets(line, sizeof(line), file))
                if (sscanf(line, "Shmem: %llu kB", &kilobytes) == 1)
                        break;
        fclose(file);
        return kilobytes * 1024;
}

static unsigned count_lines_with(const char *path, const char *text)
{
        char line[512];
        unsigned n = 0;
        FILE *file = fopen(path, "re");

        while (file && fgets(line, sizeof(line), file))
                n += strstr(line, text) != NULL;
        if (file)
                fclose(file);
        return n;
}

static unsigned count_links_with(const char *path, const char *text)
{
        DIR *directory = opendir(path);
        struct dirent *entry;
        char target[256];
        unsigned n = 0;

        while (directory && (entry = readdir(directory))) {
                ssize_t size =
                        readlinkat(dirfd(directory), entry->d_name, target, sizeof(target) - 1);

                if (size < 0)
                        continue;
                target[size] = '\0';
                n += strstr(target, text) != NULL;
        }
        if (directory)
                closedir(directory);
        return n;
}

/* In how many places any process of the machine still has a segment of the crowd's service. */
static unsigned count_segments(void)
{
        DIR *processes = opendir("/proc");
        struct dirent *entry;
        char path[300];
        unsigned n = 0;

        must(processes);
        while ((entry = readdir(processes))) {
                if (!isdigit((unsigned char)entry->d_name[0]))
                        continue;
                snprintf(path, sizeof(path), "/proc/%s/maps", entry->d_name);
                n += count_lines_with(path, crowd_service);
                snprintf(path, sizeof(path), "/proc/%s/fd", entry->d_name);
                n += count_links_with(path, crowd_service);
        }
        closedir(processes);
        return n;
}

/* Of the names in a directory, those that are not `expected` (two of them). */
static unsigned count_others(const char *path, const char *expected, const char *also)
{
        DIR *directory = opendir(path);
        struct dirent *entry;
        unsigned n = 0;

        must(directory);
        while ((entry = readdir(directory)))
                if (entry->d_name[0] != '.' && strcmp(entry->d_name, expected) != 0 &&
                    strcmp(entry->d_name, also) != 0) {
                        fprintf(stderr, "%s/%s\n", path, entry->d_name);
                        n++;
                }
        closedir(directory);
        return n;
}

static void kill_broker(void)
{
        plan_set(broker_plan, 0, 0, 0);
        broker_kill();
        injected(1);
}

/* In any order, the broker among them. */
static void kill_everybody(void)
{
        unsigned order[CROWD_SIZE + 1];

        for (unsigned i = 0; i <= CROWD_SIZE; i++) {
                unsigned k = (unsigned)random_below(i + 1);

                order[i] = order[k];
                order[k] = i;
        }
        for (unsigned i = 0; i <= CROWD_SIZE; i++)
                if (order[i] == CROWD_SIZE)
                        kill_broker();
                else
                        crowd_kill(order[i]);
}

/* The next who come find everything in order. */
static void exchange_a_sample(void)
{
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher =
                stamped_advertise(bus, crowd_service, (struct shmd_publisher_options){0});
        struct shmd_subscriber *subscriber =
                stamped_subscribe(bus, crowd_service, (struct shmd_subscriber_options){0});
        struct census census = take_census(bus);
        struct tally tally = {0};

        must_equal(census.n_publishers, 1);
        must_equal(census.n_subscribers, 1);
        stamped_publish(publisher, 1);
        must_equal(tally_take_all(&tally, subscriber), 1);
        shmd_close(bus);
}

static void nothing_is_left_when_everybody_is_killed_at_any_moment(void **state)
{
        unsigned n_rounds = harness_is_long ? 100 : 20;
        uint64_t shmem = machine_shmem();
        char directory[96];

        crowd_open();
        snprintf(directory, sizeof(directory), "%s/shmd", broker.directory);
        for (unsigned round = 0; round < n_rounds; round++) {
                plan_set(broker_plan, DEATH_STORE | DEATH_SEND, SIGKILL,
                         random_below(2) ? 1 + random_below(100) : 0);
                for (unsigned i = 0; i < CROWD_SIZE; i++)
                        crowd_start(i);
                usleep((useconds_t)random_below(20000)); /* any moment: nothing is waited for */
                kill_everybody();
                must_equal(count_others(broker.directory, "shmd", "log"), 0);
                must_equal(count_others(directory, "control", ""), 0);
                must_equal(count_segments(), 0);
                broker_spawn(NULL);
                exchange_a_sample();
        }
        /* What each round leaves would have added up. */
        until(machine_shmem() <= shmem + TOLERANCE);
        crowd_close();
        injections_print();
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(nothing_is_left_when_everybody_is_killed_at_any_moment),
        };

        victims_init(argc, argv);
        return cmocka_run_group_tests_name("system-leftovers", tests, NULL, NULL);
}
