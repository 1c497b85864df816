/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest-loaded.c BROKER LIBRARY - a plug-in uses the library: it is loaded, lives, and is unloaded,
 * again and again, in a program that knows neither it nor libuv. Nothing is left of it.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <shmd/shmd.h>

#define N_TIMES  50
#define PATIENCE 20000 /* ms */

/* What of the library a plug-in asks for by name. */
struct library {
        void *handle;
        int (*connect)(struct shmd **bus, const struct shmd_connect_options *options);
        int (*advertise)(struct shmd_publisher **publisher, struct shmd *bus, const char *service,
                         const struct shmd_type *type,
                         const struct shmd_publisher_options *options);
        int (*subscribe)(struct shmd_subscriber **subscriber, struct shmd *bus, const char *service,
                         const struct shmd_type *type,
                         const struct shmd_subscriber_options *options);
        void (*close)(struct shmd *bus);
        const char *(*error)(void);
};

SHMD_TYPE(number_type, uint64_t);

struct remains {
        unsigned n_fds, n_mappings;
};

static struct remains look(void)
{
        struct remains remains = {0};
        DIR *directory = opendir("/proc/self/fd");
        FILE *maps = fopen("/proc/self/maps", "re");
        char line[512];

        while (directory && readdir(directory))
                remains.n_fds++;
        while (maps && fgets(line, sizeof(line), maps))
                remains.n_mappings += strstr(line, "shmd") != NULL;
        if (directory)
                closedir(directory);
        if (maps)
                fclose(maps);
        return remains;
}

static void *find(void *handle, const char *name)
{
        void *found = dlsym(handle, name);

        if (!found)
                printf("%s\n", dlerror());
        return found;
}

static bool load(struct library *library, const char *path)
{
        library->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (!library->handle) {
                printf("%s\n", dlerror());
                return false;
        }
        *(void **)&library->connect = find(library->handle, "shmd_connect");
        *(void **)&library->advertise = find(library->handle, "shmd_advertise");
        *(void **)&library->subscribe = find(library->handle, "shmd_subscribe");
        *(void **)&library->close = find(library->handle, "shmd_close");
        *(void **)&library->error = find(library->handle, "shmd_error");
        return library->connect && library->advertise && library->subscribe && library->close &&
               library->error;
}

static bool live(const struct library *library, const char *socket)
{
        struct shmd_connect_options options = {.size = sizeof(options), .socket = socket};
        struct shmd_publisher *publisher;
        struct shmd_subscriber *subscriber;
        struct shmd *bus;
        int code = -1;

        /* It may just be starting. */
        for (unsigned i = 0; i < PATIENCE && (code = library->connect(&bus, &options)) < 0; i++)
                poll(NULL, 0, 1);
        if (code == 0)
                code = library->advertise(&publisher, bus, "guest/loaded", &number_type, NULL);
        if (code == 0)
                code = library->subscribe(&subscriber, bus, "guest/loaded", &number_type, NULL);
        if (code < 0)
                printf("%s\n", library->error());
        library->close(bus);
        return code == 0;
}

static int use_again_and_again(const char *path, const char *socket)
{
        struct remains after_one = {0}, now = {0};

        for (unsigned i = 0; i < N_TIMES; i++) {
                struct library library;

                if (!load(&library, path) || !live(&library, socket) || dlclose(library.handle))
                        return 1;
                now = look();
                if (i == 0)
                        after_one = now;
        }
        printf("descriptors: %u after one, %u after %u; mappings: %u, %u\n", after_one.n_fds,
               now.n_fds, N_TIMES, after_one.n_mappings, now.n_mappings);
        return now.n_fds > after_one.n_fds || now.n_mappings > after_one.n_mappings;
}

int main(int argc, char **argv)
{
        char directory[] = "/tmp/shmd-XXXXXX", socket[64];
        int status;
        pid_t broker;

        if (argc != 3 || !mkdtemp(directory))
                return 2;
        snprintf(socket, sizeof(socket), "%s/control", directory);
        alarm(100);
        broker = fork();
        if (broker == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                execl(argv[1], argv[1], "--socket", socket, (char *)NULL);
                _exit(127);
        }
        status = use_again_and_again(argv[2], socket);
        kill(broker, SIGTERM);
        waitpid(broker, NULL, 0);
        rmdir(directory);
        return status;
}
