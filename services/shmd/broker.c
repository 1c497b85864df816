/* SPDX-License-Identifier: Apache-2.0 */
/*
 * broker.c - <shmd/broker.h>: a server with a loop of its own or the caller's.
 *
 * The memory ends with the last of the server's handles, whose close callback runs in the loop's
 * next turn: with a loop of its own shmd_broker_close() makes that turn, with the caller's it is
 * the caller's.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include <shmd/broker.h>

#include "error.h"
#include "server.h"
#include "util.h"

struct shmd_broker {
        struct server server;
        uv_async_t stop;
        uv_loop_t own_loop;
        bool has_own_loop;
};

static void on_stop(uv_async_t *stop)
{
        struct shmd_broker *broker = stop->data;

        if (broker->has_own_loop)
                uv_stop(&broker->own_loop);
}

static struct shmd_broker *broker_of(struct server *server)
{
        return list_entry(server, struct shmd_broker, server);
}

static void on_closed(struct server *server)
{
        struct shmd_broker *broker = broker_of(server);

        server_deinit(server);
        if (!broker->has_own_loop)
                free(broker);
}

static void on_stop_closed(uv_handle_t *handle)
{
        struct shmd_broker *broker = handle->data;

        server_handle_closed(&broker->server);
}

void shmd_broker_close(struct shmd_broker *broker)
{
        bool has_own_loop = broker && broker->has_own_loop;

        if (!broker)
                return;
        if (broker->stop.data)
                uv_close((uv_handle_t *)&broker->stop, on_stop_closed);
        /* From here on the caller's loop may end it. */
        server_close(&broker->server, on_closed);
        if (!has_own_loop)
                return;
        while (uv_run(&broker->own_loop, UV_RUN_DEFAULT))
                ;
        uv_loop_close(&broker->own_loop);
        free(broker);
}

/* A longer struct of a newer program may hold nothing that this library doesn't know. */
static int read_options(struct shmd_broker_options *known,
                        const struct shmd_broker_options *options)
{
        const unsigned char *bytes = (const void *)options;

        memset(known, 0, sizeof(*known));
        if (!options || options->size < offsetof(struct shmd_broker_options, uids))
                return error_set(-EINVAL, "options: size is not that of the struct");
        for (uint32_t i = sizeof(*known); i < options->size; i++)
                if (bytes[i])
                        return error_set(-E2BIG, "options: byte %u is unknown to this version", i);
        memcpy(known, options, options->size < sizeof(*known) ? options->size : sizeof(*known));
        if (!known->socket)
                return error_set(-EINVAL, "options: the path of the socket is missing");
        if (known->n_uids && !known->uids)
                return error_set(-EINVAL, "options: n_uids is %u, but uids is NULL", known->n_uids);
        return 0;
}

static int choose_loop(struct shmd_broker *broker, struct uv_loop_s *loop)
{
        int held[3], code;

        broker->server.loop = loop;
        if (loop)
                return 0;
        standard_fds_hold(held);
        code = uv_loop_init(&broker->own_loop);
        standard_fds_release(held);
        if (code < 0)
                return error_system(code, "making a loop");
        broker->has_own_loop = true;
        broker->server.loop = &broker->own_loop;
        return 0;
}

static int start(struct shmd_broker *broker, const struct shmd_broker_options *options)
{
        int code = server_open(&broker->server, options);

        if (code < 0)
                return code;
        code = uv_async_init(broker->server.loop, &broker->stop, on_stop);
        if (code < 0)
                return error_system(code, "making a way to stop");
        broker->stop.data = broker;
        broker->server.n_handles++;
        return 0;
}

int shmd_broker_open(struct shmd_broker **broker, const struct shmd_broker_options *options)
{
        struct shmd_broker_options known;
        struct shmd_broker *made;
        char text[512];
        int code = read_options(&known, options);

        if (code < 0)
                return code;
        made = calloc(1, sizeof(*made));
        if (!made)
                return error_set(-ENOMEM, "no memory for a broker");
        code = choose_loop(made, known.loop);
        if (code < 0) {
                free(made);
                return code;
        }
        code = start(made, &known);
        if (code == 0) {
                *broker = made;
                return 0;
        }
        /* Closing may set a text of its own. */
        snprintf(text, sizeof(text), "%s", error_text());
        shmd_broker_close(made);
        return error_set(code, "%s", text);
}

int shmd_broker_run(struct shmd_broker *broker)
{
        if (!broker->has_own_loop)
                return error_set(-EINVAL, "the broker uses the caller's loop");
        uv_run(&broker->own_loop, UV_RUN_DEFAULT);
        return 0;
}

void shmd_broker_stop(struct shmd_broker *broker)
{
        uv_async_send(&broker->stop);
}

const char *shmd_broker_error(void)
{
        return error_text();
}
