/* SPDX-License-Identifier: Apache-2.0 */
/*
 * watching.c - what a connection's loop looks at beside its own pipe: the broker's socket; while
 * there is no broker, and a moment longer, the time and the directory in which the next one's
 * socket will appear; the processes of peers for whom no broker vouches; and ears.c's sockets.
 *
 * Each is a watcher: a libuv handle whose memory ends with its close callback. The descriptor stays
 * the caller's, who closes it after the watcher.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "connection.h"
#include "error.h"
#include "util.h"

static void on_watcher_closed(uv_handle_t *handle)
{
        struct watcher *watcher = handle->data;
        struct shmd *bus = watcher->bus;

        free(watcher);
        waiting_handle_closed(bus);
}

struct watcher *watching_open(struct shmd *bus, int fd, int events, uv_poll_cb callback,
                              void *owner)
{
        struct watcher *watcher = malloc(sizeof(*watcher));
        int code;

        if (!watcher) {
                error_system(-ENOMEM, "watching a descriptor");
                return NULL;
        }
        code = uv_poll_init(bus->loop, &watcher->handle, fd);
        if (code < 0) {
                free(watcher);
                error_system(code, "watching a descriptor");
                return NULL;
        }
        watcher->handle.data = watcher;
        watcher->bus = bus;
        watcher->owner = owner;
        list_append(&bus->watchers, &watcher->link);
        bus->n_handles++;
        bus->needs_turn = true;
        code = uv_poll_start(&watcher->handle, events, callback);
        if (code < 0) {
                watching_close(&watcher);
                error_system(code, "watching a descriptor");
        }
        return watcher;
}

static void close_watcher(struct watcher *watcher)
{
        watcher->bus->needs_turn = true;
        list_remove(&watcher->link);
        /* Takes it out of the loop's interest at once: the descriptor may be closed. */
        uv_close((uv_handle_t *)&watcher->handle, on_watcher_closed);
}

void watching_close(struct watcher **watcher)
{
        if (*watcher && waiting_owns_handles((*watcher)->bus))
                close_watcher(*watcher);
        *watcher = NULL; /* otherwise it is closed when it may be */
}

void watching_close_all(struct shmd *bus)
{
        list_for_each_safe (&bus->watchers, link)
                close_watcher(list_entry(link, struct watcher, link));
}

void watching_pause(struct shmd *bus)
{
        list_for_each (&bus->watchers, link)
                uv_poll_stop(&list_entry(link, struct watcher, link)->handle);
}

/* ---- the broker's socket ---------------------------------------------------------------- */

static void on_socket(uv_poll_t *handle, int status, int events)
{
        struct watcher *watcher = handle->data;

        (void)status;
        (void)events;
        connection_intake(watcher->bus);
}

int watching_socket(struct shmd *bus)
{
        bus->wants_room = false;
        bus->socket_watcher = watching_open(bus, bus->socket, UV_READABLE, on_socket, NULL);
        if (!bus->socket_watcher)
                return error_prefix(-ENOMEM, "the broker's socket");
        return 0;
}

void watching_for_room(struct shmd *bus, bool wanted)
{
        if (wanted == bus->wants_room || !bus->socket_watcher)
                return;
        bus->wants_room = wanted;
        bus->needs_turn = true;
        uv_poll_start(&bus->socket_watcher->handle, UV_READABLE | (wanted ? UV_WRITABLE : 0),
                      on_socket);
}

void watching_drop_socket(struct shmd *bus)
{
        watching_close(&bus->socket_watcher);
        fd_close(&bus->socket);
}

/* ---- while there is no broker ----------------------------------------------------------- */

/*
 * To close an inotify instance is to wait, some 15 ms, until the kernel has freed all that anybody
 * has ceased to watch just before, and samples would wait as well. So once a broker is there, only
 * the watch goes; the instance does when all others that were awake are back, too.
 */
#define LINGER_NS UINT64_C(300000000)

static void on_time(uv_poll_t *handle, int status, int events)
{
        struct shmd *bus = ((struct watcher *)handle->data)->bus;
        uint64_t n;

        (void)status;
        (void)events;
        if (read(bus->timer_fd, &n, sizeof(n)) != sizeof(n))
                return;
        if (bus->vigil_end_ns)
                watching_vigil_care(bus);
        else
                connection_intake(bus);
}

static void on_directory(uv_poll_t *handle, int status, int events)
{
        struct shmd *bus = ((struct watcher *)handle->data)->bus;
        _Alignas(8) char changes[4096];

        (void)status;
        (void)events;
        while (read(bus->directory_fd, changes, sizeof(changes)) > 0)
                ;
        /* What it was will be seen. */
        resume_hurry(bus);
}

static void watch_directory(struct shmd *bus)
{
        char directory[PROTOCOL_ADDRESS_SIZE];
        char *slash;

        memcpy(directory, bus->address, sizeof(directory));
        slash = strrchr(directory, '/');
        if (slash)
                slash[slash == directory] = '\0';
        if (bus->directory_fd < 0)
                bus->directory_fd = fd_above_standard(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
        if (bus->directory_fd < 0)
                return;
        bus->directory_watch = inotify_add_watch(bus->directory_fd, slash ? directory : ".",
                                                 IN_CREATE | IN_MOVED_TO);
        if (bus->directory_watch >= 0)
                bus->directory =
                        watching_open(bus, bus->directory_fd, UV_READABLE, on_directory, NULL);
        if (!bus->directory)
                fd_close(&bus->directory_fd);
}

void watching_begin_vigil(struct shmd *bus)
{
        bus->vigil_end_ns = 0;
        if (!bus->timer) {
                bus->timer_fd = fd_above_standard(
                        timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
                if (bus->timer_fd >= 0)
                        bus->timer = watching_open(bus, bus->timer_fd, UV_READABLE, on_time, NULL);
                if (!bus->timer)
                        fd_close(&bus->timer_fd);
        }
        /* Instances of inotify are few: without one the timer has to do. */
        if (!bus->directory)
                watch_directory(bus);
}

void watching_set_vigil(struct shmd *bus, uint64_t until_ns)
{
        struct itimerspec time = {.it_value = {.tv_sec = (time_t)(until_ns / 1000000000u),
                                               .tv_nsec = (long)(until_ns % 1000000000u)}};

        if (bus->timer_fd >= 0)
                timerfd_settime(bus->timer_fd, TFD_TIMER_ABSTIME, &time, NULL);
}

void watching_end_vigil(struct shmd *bus)
{
        bus->vigil_end_ns = 0;
        watching_close(&bus->timer);
        watching_close(&bus->directory);
        fd_close(&bus->timer_fd);
        fd_close(&bus->directory_fd);
}

void watching_dismiss_vigil(struct shmd *bus)
{
        if (!bus->directory) {
                watching_end_vigil(bus);
                return;
        }
        /* Not looked at any more: that its watch is gone is an event, too. */
        watching_close(&bus->directory);
        inotify_rm_watch(bus->directory_fd, bus->directory_watch);
        bus->vigil_end_ns = now_ns() + LINGER_NS;
        watching_set_vigil(bus, bus->vigil_end_ns);
}

void watching_vigil_care(struct shmd *bus)
{
        if (bus->vigil_end_ns && now_ns() >= bus->vigil_end_ns)
                watching_end_vigil(bus);
}

static void on_process_end(uv_poll_t *handle, int status, int events)
{
        (void)status;
        (void)events;
        orphans_look(((struct watcher *)handle->data)->bus, true);
}

void watching_process(struct peer_process *process)
{
        /* Without it, its end is found when something else makes this connection look. */
        process->watcher =
                watching_open(process->bus, process->pid_fd, UV_READABLE, on_process_end, process);
}
