/* SPDX-License-Identifier: Apache-2.0 */
/*
 * waiting-handles.c - the libuv handles of a connection: what its loop watches, and the callbacks
 * that run when the loop is the user's.
 *
 * The memory of a connection ends with the last of its handles.
 */
#include <stdlib.h>

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
        ears_pause(bus);
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
                int held[3];

                standard_fds_hold(held);
                code = uv_loop_init(&bus->own_loop);
                standard_fds_release(held);
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

/* A forked child's loop shares its epoll descriptor with the parent's until it has one of its own:
 * to stop watching something would stop the parent too. */
bool waiting_may_close(struct shmd *bus)
{
        int held[3], code;

        if (!connection_is_inherited(bus))
                return true;
        /* The caller's: when it turns in this process, it is its own; see leave_to_parent(). */
        if (!bus->owns_loop)
                return bus->is_turning;
        standard_fds_hold(held);
        code = uv_loop_fork(bus->loop);
        standard_fds_release(held);
        /* Without a descriptor for that, the loop stays as it is until the child ends. */
        return code == 0;
}

void waiting_close(struct shmd *bus)
{
        if (!bus->may_close)
                return;
        ears_close(bus); /* while there is a session: see close_socket() there */
        watching_drop_socket(bus);
        watching_end_vigil(bus);
        watching_close_all(bus);
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
