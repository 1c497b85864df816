/* SPDX-License-Identifier: Apache-2.0 */
/*
 * broker.c - find the broker, start it, know when it is there.
 */
#include "broker.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "process.h"

#define START_NS (10 * NS_PER_S)
#define LOOK_NS  (2 * NS_PER_MS)

/* Where the build leaves it, seen from this program. */
static const char beside[] = "../services/shmd/shmd";

static bool in_path(const char *program)
{
        const char *path = getenv("PATH");
        char file[PATH_MAX];

        while (path && *path) {
                size_t length = strcspn(path, ":");

                snprintf(file, sizeof(file), "%.*s/%s", (int)length, path, program);
                if (access(file, X_OK) == 0)
                        return true;
                path += length + (path[length] == ':');
        }
        return false;
}

static int broker_find(char *file, size_t size, const char *path)
{
        char self[PATH_MAX];
        ssize_t length;
        char *slash;

        if (path) {
                snprintf(file, size, "%s", path);
                if (access(file, X_OK) == 0)
                        return 0;
                fprintf(stderr, "shmd-bench: --broker %s: %s\n", path, strerror(errno));
                return -ENOENT;
        }
        length = readlink("/proc/self/exe", self, sizeof(self) - 1);
        self[length > 0 ? length : 0] = '\0';
        slash = strrchr(self, '/');
        if (slash) {
                *slash = '\0';
                snprintf(file, size, "%s/%s", self, beside);
                if (access(file, X_OK) == 0)
                        return 0;
        }
        if (in_path("shmd")) {
                snprintf(file, size, "shmd");
                return 0;
        }
        fprintf(stderr,
                "shmd-bench: no broker: neither %s/%s nor a shmd in $PATH can be run; build it, "
                "or name one with --broker PATH\n",
                self, beside);
        return -ENOENT;
}

static bool accepts(const char *path)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        bool accepted;

        memcpy(address.sun_path, path, strlen(path) + 1);
        accepted = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
        close(fd);
        return accepted;
}

static void log_show(const char *path)
{
        FILE *file = fopen(path, "r");
        char line[512];

        while (file && fgets(line, sizeof(line), file))
                fprintf(stderr, "shmd-bench:   %s", line);
        if (file)
                fclose(file);
}

static void log_path(const struct broker *broker, char *path, size_t size)
{
        snprintf(path, size, "%s/log", broker->directory);
}

int broker_start_again(struct broker *broker)
{
        const char *argv[] = {broker->file, "--socket", broker->socket, NULL};
        char log[sizeof(broker->directory) + 8];
        pid_t pid;

        log_path(broker, log, sizeof(log));
        pid = process_exec(broker->cpu, argv, log);
        if (pid < 0) {
                fprintf(stderr, "shmd-bench: fork: %s\n", strerror(-pid));
                return pid;
        }
        broker->pid = pid;
        return 0;
}

static int broker_run(struct broker *broker)
{
        char log[sizeof(broker->directory) + 8];
        uint64_t end = clock_ns() + START_NS;
        int result = broker_start_again(broker);

        if (result < 0)
                return result;
        while (!accepts(broker->socket)) {
                if (process_sleep(LOOK_NS) < 0)
                        return -EINTR;
                if (process_runs(broker->pid) && clock_ns() < end)
                        continue;
                fprintf(stderr, "shmd-bench: the broker %s does not come up. It says:\n",
                        broker->file);
                log_path(broker, log, sizeof(log));
                log_show(log);
                return -ECONNREFUSED;
        }
        return 0;
}

/* In the directory that it has. */
static int broker_start_there(struct broker *broker)
{
        int result = broker_run(broker);

        if (result < 0)
                broker_stop(broker);
        return result;
}

int broker_start(struct broker *broker, const char *path, int cpu)
{
        int result;

        *broker = (struct broker){.cpu = cpu};
        result = broker_find(broker->file, sizeof(broker->file), path);
        if (result < 0)
                return result;
        snprintf(broker->directory, sizeof(broker->directory), "/tmp/shmd-bench-XXXXXX");
        if (!mkdtemp(broker->directory)) {
                result = -errno;
                fprintf(stderr, "shmd-bench: %s: %s\n", broker->directory, strerror(errno));
                broker->directory[0] = '\0';
                return result;
        }
        process_remove_at_end(broker->directory);
        snprintf(broker->socket, sizeof(broker->socket), "%s/control", broker->directory);
        return broker_start_there(broker);
}

void broker_address_beside(const char *directory, char *address, size_t size)
{
        snprintf(address, size, "%s/guest", directory);
}

int broker_start_beside(struct broker *broker, const char *directory, const char *path, int cpu)
{
        int result;

        *broker = (struct broker){.cpu = cpu, .is_guest = true};
        result = broker_find(broker->file, sizeof(broker->file), path);
        if (result < 0)
                return result;
        snprintf(broker->directory, sizeof(broker->directory), "%s", directory);
        broker_address_beside(directory, broker->socket, sizeof(broker->socket));
        return broker_start_there(broker);
}

void broker_kill(struct broker *broker)
{
        process_kill(broker->pid);
        broker->pid = 0;
}

void broker_stop(struct broker *broker)
{
        process_end(broker->pid);
        if (broker->directory[0] && !broker->is_guest)
                process_remove_now();
        *broker = (struct broker){0};
}
