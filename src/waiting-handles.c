/* SPDX-License-Identifier: Apache-2.0 */
/*
 * waiting-handles.c - the libuv handles of a connection: what its loop watches, and the callbacks
 * that run when the loop is the user's.
 *
 * The memory of a connection ends with the last of its handles.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "connection.h"
#include "error.h"
#include "util.h"

void waiting_handle_closed(struct shmd *bus)
{
        if (--bus->n_handles == 0 && bus->is_closing && !bus->owns_loop)
                free(bus);
}

static void on_handle_closed(uv_handle_t *handle)
{
        waiting_handle_closed(handle->data);
}

static void on_ear_closed(uv_handle_t *handle)
{
        struct ear *ear = handle->data;
        struct shmd *bus = ear->bus;

        free(ear);
        waiting_handle_closed(bus);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
        struct ear *ear = handle->data;

        (void)suggested;
        /* Nobody looks at frames, and no packet is being received now. */
        buffer->base = (char *)ear->bus->packet->bytes;
        buffer->len = sizeof(ear->bus->packet->bytes);
}

static void on_frames(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
        struct ear *ear = stream->data;

        (void)buffer;
        if (size > 0)
                ear->bus->is_rung = true;
        if (size >= 0)
                return;
        /* All who could ring here are gone, the broker that made it too. */
        uv_read_stop(stream);
        if (ear->id == 0)
                return;
        list_remove(&ear->link);
        uv_close((uv_handle_t *)&ear->handle, on_ear_closed);
}

/* In a forked child, before its loop polls for the first time: what would be read there is the
 * parent's. */
static void leave_to_parent(struct shmd *bus)
{
        if (bus->is_closing) {
                bus->is_turning = true;
                bus->may_close = waiting_may_close(bus);
                waiting_close(bus);
                return;
        }
        watching_pause(bus);
        list_for_each (&bus->ears, link)
                uv_read_stop((uv_stream_t *)&list_entry(link, struct ear, link)->handle);
}

/* Is there only so that the loop does not sleep. */
static void on_idle(uv_idle_t *handle)
{
        (void)handle;
}

static void on_again(uv_timer_t *handle)
{
        struct shmd *bus = handle->data;

        if (!connection_is_inherited(bus))
                connection_intake(bus);
}

static void on_prepare(uv_prepare_t *handle)
{
        struct shmd *bus = handle->data;

        if (connection_is_inherited(bus)) {
                leave_to_parent(bus);
                return;
        }
        if (waiting_has_to_look(bus) && !uv_is_active((uv_handle_t *)&bus->again))
                uv_timer_start(&bus->again, on_again, ASK_AGAIN_NS / 1000000, 0);
        if (waiting_arm_and_look(bus) || !list_empty(&bus->events))
                uv_idle_start(&bus->idle, on_idle);
}

static void on_check(uv_check_t *handle)
{
        struct shmd *bus = handle->data;

        uv_idle_stop(&bus->idle);
        if (connection_is_inherited(bus))
                return;
        if (bus->is_rung)
                waiting_disarm(bus);
        waiting_deliver(bus);
}

int waiting_init(struct shmd *bus, uv_loop_t *loop)
{
        int code;

        bus->owns_loop = !loop;
        bus->loop = loop;
        if (!loop) {
                code = uv_loop_init(&bus->own_loop);
                if (code < 0)
                        return error_system(code, "an event loop");
                bus->loop = &bus->own_loop;
                return 0;
        }
        uv_prepare_init(loop, &bus->prepare);
        uv_check_init(loop, &bus->check);
        uv_idle_init(loop, &bus->idle);
        uv_timer_init(loop, &bus->again);
        bus->prepare.data = bus->check.data = bus->idle.data = bus->again.data = bus;
        bus->n_handles = 4;
        return 0;
}

void waiting_begin(struct shmd *bus)
{
        if (bus->owns_loop)
                return;
        uv_prepare_start(&bus->prepare, on_prepare);
        uv_check_start(&bus->check, on_check);
        /* The socket's handle alone keeps the loop alive. */
        uv_unref((uv_handle_t *)&bus->prepare);
        uv_unref((uv_handle_t *)&bus->check);
        uv_unref((uv_handle_t *)&bus->idle);
        uv_unref((uv_handle_t *)&bus->again);
        bus->must_look = true;
}

static int add_ear(struct shmd *bus, uint64_t id, int fd)
{
        struct ear *ear = calloc(1, sizeof(*ear));
        int code;

        if (!ear) {
                fd_close(&fd);
                return error_system(-ENOMEM, "a wake channel");
        }
        uv_pipe_init(bus->loop, &ear->handle, 0);
        ear->bus = bus;
        ear->id = id;
        ear->fd = fd;
        ear->handle.data = ear;
        list_append(&bus->ears, &ear->link);
        bus->n_handles++;
        bus->needs_turn = true;
        code = uv_pipe_open(&ear->handle, fd);
        if (code < 0)
                fd_close(&fd);
        else
                code = uv_read_start((uv_stream_t *)&ear->handle, on_alloc, on_frames);
        if (code < 0) {
                list_remove(&ear->link);
                uv_close((uv_handle_t *)&ear->handle, on_ear_closed);
                return error_system(code, "a wake channel");
        }
        return 0;
}

int waiting_make_pipe(struct shmd *bus)
{
        int ends[2], code;

        if (bus->pipe_write >= 0)
                return 0;
        if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
                return error_system(-errno, "a pipe");
        bus->pipe_write = ends[1];
        code = add_ear(bus, 0, ends[0]);
        if (code < 0)
                fd_close(&bus->pipe_write);
        return code;
}

int waiting_listen(struct shmd *bus, uint64_t id, int fd)
{
        list_for_each (&bus->ears, link) {
                if (list_entry(link, struct ear, link)->id != id)
                        continue;
                fd_close(&fd);
                return 0;
        }
        return add_ear(bus, id, fd);
}

/* A forked child's loop shares its epoll descriptor with the parent's until it has one of its own:
 * to stop watching something would stop the parent too. */
bool waiting_may_close(struct shmd *bus)
{
        if (!connection_is_inherited(bus))
                return true;
        /* Without a descriptor for that, the loop stays as it is until the child ends. */
        if (bus->owns_loop)
                return uv_loop_fork(bus->loop) == 0;
        /* The caller's: when it turns in this process, it is its own; see leave_to_parent(). */
        return bus->is_turning;
}

void waiting_close(struct shmd *bus)
{
        if (!bus->may_close)
                return;
        watching_drop_socket(bus);
        watching_end_vigil(bus);
        watching_close_all(bus);
        list_for_each_safe (&bus->ears, link) {
                struct ear *ear = list_entry(link, struct ear, link);

                list_remove(&ear->link);
                uv_close((uv_handle_t *)&ear->handle, on_ear_closed);
        }
        if (!bus->owns_loop) {
                uv_close((uv_handle_t *)&bus->prepare, on_handle_closed);
                uv_close((uv_handle_t *)&bus->check, on_handle_closed);
                uv_close((uv_handle_t *)&bus->idle, on_handle_closed);
                uv_close((uv_handle_t *)&bus->again, on_handle_closed);
                return;
        }
        if (bus->loop) {
                uv_run(bus->loop, UV_RUN_DEFAULT); /* the close callbacks */
                uv_loop_close(bus->loop);
        }
        free(bus);
}
