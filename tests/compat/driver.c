/* SPDX-License-Identifier: Apache-2.0 */
/* driver.c - starts clients, tells them what to do, and hears what they say. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "driver.h"
#include "layout.h"

const char *const kind_names[KINDS] = {"old", "new", "old with the new library"};

char old_broker[512], old_library[512];
static char old_client[512];

unsigned n_exchanges;

void driver_init(const char *old)
{
        snprintf(old_broker, sizeof(old_broker), "%s/build/services/shmd/shmd", old);
        snprintf(old_library, sizeof(old_library), "%s/build/src", old);
        snprintf(old_client, sizeof(old_client), "%s/client", old);
        /* meson's is for this program; each of the others has its own. */
        unsetenv("LD_LIBRARY_PATH");
}

/* ---- clients ----------------------------------------------------------------------------- */

static void run_client(enum kind kind, int in, int out)
{
        const char *path = kind == NEW ? CLIENT_PROGRAM : old_client;

        dup2(in, STDIN_FILENO);
        dup2(out, STDOUT_FILENO);
        setenv("LD_LIBRARY_PATH", kind == OLD ? old_library : LIBRARY_DIRECTORY, 1);
        setenv("LD_BIND_NOW", "1", 1); /* what is not there is missed now */
        execl(path, path, (char *)NULL);
        _exit(127);
}

const char *hear_from(struct client *client, bool may_fail)
{
        struct pollfd entry = {.fd = client->from, .events = POLLIN};
        size_t n = 0;

        do {
                if (n == sizeof(client->answer) - 1 ||
                    poll(&entry, 1, (int)(PATIENCE_NS / MS)) <= 0 ||
                    read(client->from, client->answer + n, 1) != 1)
                        must(!"the client answers");
        } while (client->answer[n++] != '\n');
        client->answer[n - 1] = '\0';
        if (!may_fail && strncmp(client->answer, "ok", 2) != 0) {
                fprintf(stderr, "the client (%s) says: %s\n", kind_names[client->kind],
                        client->answer);
                must(!"the client can do it");
        }
        return client->answer + (strncmp(client->answer, "ok ", 3) == 0 ? 3 : 0);
}

static void tell(struct client *client, const char *command)
{
        char line[256];
        int size = snprintf(line, sizeof(line), "%s\n", command);

        must_equal(write(client->to, line, (size_t)size), size);
}

const char *ask(struct client *client, const char *command)
{
        tell(client, command);
        return hear_from(client, false);
}

void ask_either_way(struct client *client, const char *command)
{
        tell(client, command);
        hear_from(client, true);
}

const char *ask_in_vain(struct client *client, const char *command)
{
        const char *answer;

        tell(client, command);
        answer = hear_from(client, true);
        must_equal(answer[0], '-');
        return answer;
}

void client_connect(struct client *client)
{
        char command[128];

        snprintf(command, sizeof(command), "connect %s", broker.socket);
        ask(client, command);
}

struct client *client_start(enum kind kind)
{
        struct client *client = calloc(1, sizeof(*client));
        int to[2], from[2];

        must(client);
        must_equal(pipe2(to, O_CLOEXEC), 0);
        must_equal(pipe2(from, O_CLOEXEC), 0);
        client->kind = kind;
        client->pid = child_fork();
        if (client->pid == 0)
                run_client(kind, to[0], from[1]);
        close(to[0]);
        close(from[1]);
        client->to = to[1];
        client->from = from[0];
        client_connect(client);
        return client;
}

static void client_forget(struct client *client)
{
        close(client->from);
        free(client);
}

void client_finish(struct client *client)
{
        close(client->to);
        must_equal(child_finish(client->pid), 0);
        client_forget(client);
}

void client_kill(struct client *client)
{
        kill(client->pid, SIGKILL);
        must_equal(child_finish(client->pid), -SIGKILL);
        close(client->to);
        client_forget(client);
}

struct client *publisher_start(enum kind kind)
{
        struct client *client = client_start(kind);

        ask(client, "advertise 8 " SERVICE);
        return client;
}

struct client *subscriber_start(enum kind kind)
{
        struct client *client = client_start(kind);

        ask(client, "subscribe 0 " SERVICE);
        return client;
}

struct state state_of(struct client *client)
{
        struct state state;

        must_equal(sscanf(ask(client, "state"), "%d %u %u", &state.connected, &state.peers,
                          &state.refused),
                   3);
        return state;
}

unsigned n_peers(struct client *client)
{
        return state_of(client).peers;
}

unsigned long publish(struct client *publisher, unsigned count)
{
        char command[32];

        snprintf(command, sizeof(command), "publish %u", count);
        return strtoul(ask(publisher, command), NULL, 10);
}

void must_take(struct client *subscriber, unsigned count, unsigned long last)
{
        unsigned taken, lost;
        unsigned long newest;

        must_equal(sscanf(ask(subscriber, "take"), "%u %u %lu", &taken, &lost, &newest), 3);
        must_equal(taken, count);
        must_equal(lost, 0);
        must_equal(newest, last);
}

/* The subscriber sleeps; a sample wakes it. */
static void wake(struct client *publisher, struct client *subscriber)
{
        unsigned long number;

        ask(subscriber, "sleep");
        until(process_is_asleep(subscriber->pid));
        number = publish(publisher, 1);
        must_equal(strtoul(hear_from(subscriber, false), NULL, 10), number);
}

void must_exchange(struct client *publisher, struct client *subscriber)
{
        unsigned long number = publish(publisher, 3);

        must_take(subscriber, 3, number);
        for (unsigned i = 0; i < 5; i++)
                wake(publisher, subscriber);
        number = publish(publisher, N_QUIET);
        must_take(subscriber, N_QUIET, number);
        for (unsigned i = 0; i < 5; i++)
                wake(publisher, subscriber);
        n_exchanges++;
}

unsigned long hold(struct client *publisher, struct client *subscriber)
{
        unsigned long number = publish(publisher, 1);

        must_equal(strtoul(ask(subscriber, "hold"), NULL, 10), number);
        return number;
}

void must_still_hold(struct client *publisher, struct client *subscriber, unsigned long number)
{
        for (unsigned i = 0; i < 5; i++)
                must_take(subscriber, N_QUIET, publish(publisher, N_QUIET));
        must_equal(strtoul(ask(subscriber, "look"), NULL, 10), number);
}

bool leaves_fences_out(const struct client *publisher)
{
        char path[64], target[64];
        uint64_t mode;
        ssize_t n;

        for (int number = 0; number < 256; number++) {
                int fd;

                snprintf(path, sizeof(path), "/proc/%d/fd/%d", publisher->pid, number);
                n = readlink(path, target, sizeof(target) - 1);
                if (n < 0 || (target[n] = '\0', !strstr(target, "memfd:shmd:" SERVICE)))
                        continue;
                fd = open(path, O_RDONLY | O_CLOEXEC);
                must(fd >= 0);
                n = pread(fd, &mode, sizeof(mode), offsetof(struct segment_header, fence_mode));
                close(fd);
                must_equal(n, sizeof(mode));
                return mode == FENCE_MODE_ASYM;
        }
        must(!"the publisher has a segment");
        return false;
}
