/* SPDX-License-Identifier: Apache-2.0 */
/* server.c - opening, closing, and the work in between that isn't anybody's own. */
#include <assert.h>
#include <errno.h>
#include <linux/membarrier.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <shmd/broker.h>

#include "accept.h"
#include "closer.h"
#include "error.h"
#include "introduce.h"
#include "resume.h"
#include "server.h"
#include "session.h"
#include "util.h"

/* Sends that the kernel refused for want of something are tried again after this time. */
#define RETRY_MS 20
/* Rows of ghosts are looked at as often as this. */
#define GHOST_MS 1000

/* ---- work ------------------------------------------------------------------------------- */

void server_settle(struct server *server)
{
        for (;;) {
                if (!list_empty(&server->ending))
                        session_end(list_entry(server->ending.next, struct session, ending_link));
                else if (!list_empty(&server->dirty))
                        session_flush(list_entry(server->dirty.next, struct session, dirty_link));
                else
                        break;
        }
        /* The reserve comes first: spares only save time. */
        if (server->is_closing)
                return;
        outbox_refill(server);
        if (accept_refill(server))
                spares_refill(&server->spares);
}

static void on_retry(uv_timer_t *timer)
{
        struct server *server = timer->data;

        while (!list_empty(&server->retrying)) {
                struct session *session =
                        list_entry(server->retrying.next, struct session, retry_link);

                list_remove(&session->retry_link);
                session->is_starved = false;
                session_watch(session);
                session_mark(session);
        }
        server_settle(server);
}

void server_retry_later(struct server *server)
{
        if (!server->is_closing && !uv_is_active((uv_handle_t *)&server->retry_timer))
                uv_timer_start(&server->retry_timer, on_retry, RETRY_MS, 0);
}

static void on_ghost_time(uv_timer_t *timer)
{
        struct server *server = timer->data;
        bool some_left = false;

        list_for_each_safe (&server->sessions, link) {
                struct session *session = list_entry(link, struct session, link);

                if (list_empty(&session->ghosts))
                        continue;
                some_left = some_left || pair_ghosts_may_end(session);
                pair_exorcise(session, false);
        }
        if (!some_left)
                uv_timer_stop(timer);
        server_settle(server);
}

void server_watch_ghosts(struct server *server)
{
        if (!server->is_closing && !uv_is_active((uv_handle_t *)&server->ghost_timer))
                uv_timer_start(&server->ghost_timer, on_ghost_time, GHOST_MS, GHOST_MS);
}

/* ---- opening and closing ---------------------------------------------------------------- */

static bool may_membarrier(void)
{
        return syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0) == 0;
}

/* Half of what the kernel lets a user without privileges have in flight, as introductions. */
static uint32_t in_flight_max(void)
{
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur > UINT32_MAX)
                return UINT32_MAX;
        return (uint32_t)limit.rlim_cur / 2 / PROTOCOL_FDS_MAX;
}

static void init_timer(struct server *server, uv_timer_t *timer)
{
        uv_timer_init(server->loop, timer);
        timer->data = server;
        server->n_handles++;
}

int server_open(struct server *server, const struct shmd_broker_options *options)
{
        int code;

        list_init(&server->sessions);
        list_init(&server->dirty);
        list_init(&server->ending);
        list_init(&server->retrying);
        list_init(&server->spare_messages);
        registry_init(&server->registry, NULL, &server->spares);
        server->spares = SPARES_NONE;
        server->address = ADDRESS_NONE;
        server->alive = ALIVE_NONE;
        server->reserve_fd = -1;
        server->log = (struct broker_log){.callback = options->log, .user = options->user};
        server->no_membarrier = !may_membarrier();
        server->in_flight_max = in_flight_max();
        code = access_init(&server->access, options->uids, options->n_uids);
        if (code < 0)
                return code;
        code = quota_init(&server->quota, &options->quota, &server->access, server->in_flight_max);
        if (code < 0)
                return code;
        server->closer = server->registry.closer = closer_new();
        if (!server->closer)
                return error_set(-ENOMEM, "no memory");
        code = address_open(&server->address, options->socket, options->n_uids > 0);
        if (code < 0)
                return code;
        code = alive_open(&server->alive);
        if (code < 0)
                return code;
        init_timer(server, &server->retry_timer);
        init_timer(server, &server->ghost_timer);
        init_timer(server, &server->grace_timer);
        if (server->address.had_predecessor)
                resume_begin_grace(server);
        code = accept_start(server);
        if (code < 0)
                return code;
        outbox_refill(server);
        spares_refill(&server->spares);
        log_line(&server->log, SHMD_LOG_INFO, "listening on %s", options->socket);
        return 0;
}

static void on_handle_closed(uv_handle_t *handle)
{
        server_handle_closed(handle->data);
}

void server_handle_closed(struct server *server)
{
        assert(server->n_handles);
        if (--server->n_handles == 0 && server->is_closing)
                server->on_closed(server);
}

/* A handle that was initialised has its `data`. */
static void close_handle(void *handle)
{
        if (uv_handle_get_data(handle))
                uv_close(handle, on_handle_closed);
}

/* What is charged still: of those who are there at the end. */
static void tell_accounts(const struct server *server)
{
        char text[512];

        for (uint32_t i = 0; quota_describe(&server->quota, i, text, sizeof(text)); i++)
                if (*text)
                        log_line(&server->log, SHMD_LOG_DEBUG, "still charged to %s", text);
}

void server_close(struct server *server, void (*on_closed)(struct server *server))
{
        server->is_closing = true;
        server->on_closed = on_closed;
        close_handle(&server->accept_poll);
        close_handle(&server->accept_timer);
        close_handle(&server->retry_timer);
        close_handle(&server->ghost_timer);
        close_handle(&server->grace_timer);
        address_close(&server->address);
        tell_accounts(server);
        /* All at once, so that none is told of another's end. */
        list_for_each (&server->sessions, link)
                session_abandon(list_entry(link, struct session, link));
        server_settle(server);
        assert(list_empty(&server->sessions));
        log_close(&server->log);
        alive_close(&server->alive);
        if (!server->n_handles)
                on_closed(server);
}

void server_deinit(struct server *server)
{
        assert(!server->n_handles && !server->n_in_flight);
        registry_deinit(&server->registry);
        spares_close(&server->spares);
        outbox_deinit(server);
        closer_free(server->closer);
        quota_deinit(&server->quota);
        access_deinit(&server->access);
        fd_close(&server->reserve_fd);
}
