/* SPDX-License-Identifier: Apache-2.0 */
/* snapshot.c - what a process has, as /proc says. */
#include <ctype.h>
#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"

static void add_line(struct snapshot *snapshot, const char *line)
{
        size_t used = strlen(snapshot->text);

        snprintf(snapshot->text + used, sizeof(snapshot->text) - used, "    %s\n", line);
}

static void count_fds(struct snapshot *snapshot, const char *process)
{
        char path[64], target[256], line[300];
        struct dirent *entry;
        DIR *directory;

        snprintf(path, sizeof(path), "/proc/%s/fd", process);
        directory = opendir(path);
        must(directory);
        while ((entry = readdir(directory))) {
                ssize_t n;

                if (!isdigit((unsigned char)entry->d_name[0]))
                        continue;
                if (!strcmp(process, "self") && atoi(entry->d_name) == dirfd(directory))
                        continue;
                n = readlinkat(dirfd(directory), entry->d_name, target, sizeof(target) - 1);
                if (n < 0)
                        continue;
                target[n] = '\0';
                snapshot->n_fds++;
                snapshot->n_memfds += !strncmp(target, "/memfd:shmd", 11);
                snprintf(line, sizeof(line), "%.8s -> %s", entry->d_name, target);
                add_line(snapshot, line);
        }
        closedir(directory);
}

static void count_mappings(struct snapshot *snapshot, const char *process)
{
        char path[64], line[512];
        FILE *maps;

        snprintf(path, sizeof(path), "/proc/%s/maps", process);
        maps = fopen(path, "re");
        must(maps);
        while (fgets(line, sizeof(line), maps)) {
                char *name = strstr(line, "/memfd:shmd");

                if (!name)
                        continue;
                name[strcspn(name, "\n")] = '\0';
                snapshot->n_mappings++;
                add_line(snapshot, name);
        }
        fclose(maps);
}

void snapshot_take(struct snapshot *snapshot, pid_t pid)
{
        char process[16] = "self";

        if (pid)
                snprintf(process, sizeof(process), "%d", pid);
        memset(snapshot, 0, sizeof(*snapshot));
        count_fds(snapshot, process);
        count_mappings(snapshot, process);
}

bool snapshot_equal(const struct snapshot *one, const struct snapshot *other)
{
        return one->n_fds == other->n_fds && one->n_memfds == other->n_memfds &&
               one->n_mappings == other->n_mappings;
}

void snapshot_explain(const char *what, const struct snapshot *was, const struct snapshot *is)
{
        fprintf(stderr,
                "%s: %u descriptors, %u memfds, %u mappings before:\n%s  and now %u, %u, %u:\n%s",
                what, was->n_fds, was->n_memfds, was->n_mappings, was->text, is->n_fds,
                is->n_memfds, is->n_mappings, is->text);
}

bool process_is_asleep(pid_t pid)
{
        char path[40], line[512], *after;
        FILE *stat;
        bool asleep;

        snprintf(path, sizeof(path), "/proc/%d/stat", pid);
        stat = fopen(path, "re");
        if (!stat)
                return false;
        after = fgets(line, sizeof(line), stat) ? strrchr(line, ')') : NULL;
        asleep = after && after[1] == ' ' && after[2] == 'S';
        fclose(stat);
        return asleep;
}

uint64_t process_resident(pid_t pid)
{
        char path[40], line[256];
        unsigned long long kilobytes = 0;
        FILE *file;

        /* Exact, other than the counters in /proc/PID/status. */
        snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
        file = fopen(path, "re");
        must(file);
        while (fgets(line, sizeof(line), file))
                if (sscanf(line, "Rss: %llu kB", &kilobytes) == 1)
                        break;
        fclose(file);
        must(kilobytes);
        return kilobytes * 1024;
}

unsigned n_cpus(void)
{
        cpu_set_t set;

        must_equal(sched_getaffinity(0, sizeof(set), &set), 0);
        return (unsigned)CPU_COUNT(&set);
}
