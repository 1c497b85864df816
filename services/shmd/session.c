/* SPDX-License-Identifier: Apache-2.0 */
/* session.c - the life of a session, and what comes in; outbox.c has what goes out. */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "channel.h"
#include "closer.h"
#include "error.h"
#include "introduce.h"
#include "process.h"
#include "registry.h"
#include "request.h"
#include "resume.h"
#include "server.h"
#include "session.h"
#include "socket.h"
#include "util.h"
#include "wire.h"

bool session_is_served(const struct session *session)
{
        return session->state < SESSION_ENDING && !session->is_broken;
}

void session_name(struct session *session)
{
        if (*session->program)
                return;
        process_name(session->pid, session->program);
        log_line(&session->server->log, SHMD_LOG_DEBUG, "session %" PRIu64 ": %s (pid %d, user %u)",
                 session->number, session->program, session->pid, session->uid);
}

static void note_end(struct session *session, enum session_end ended_by)
{
        if (session->state >= SESSION_ENDING)
                return;
        session->state = SESSION_ENDING;
        session->ended_by = ended_by;
        list_remove(&session->dirty_link);
        list_remove(&session->retry_link);
        list_append(&session->server->ending, &session->ending_link);
}

void session_fail(struct session *session, int code, const char *format, ...)
{
        struct message_goodbye goodbye = {.code = code};
        va_list arguments;

        if (session->state >= SESSION_ENDING)
                return;
        va_start(arguments, format);
        vsnprintf(goodbye.text, sizeof(goodbye.text), format, arguments);
        va_end(arguments);
        session_name(session);
        log_about(&session->server->log, session->uid, "dropped %s (pid %d, user %u): %s",
                  session->program, session->pid, session->uid, goodbye.text);
        wire_begin(&goodbye, MESSAGE_GOODBYE, sizeof(goodbye), 0);
        /* What is queued before it is lost with the session; so may be the farewell. */
        socket_send(session->fd, &goodbye, sizeof(goodbye), NULL, 0);
        note_end(session, SESSION_ENDED_BY_BROKER);
}

/* ---- what comes in ---------------------------------------------------------------------- */

static void give_packet(struct session *session, struct packet *packet)
{
        for (unsigned i = 0; i < packet->n_fds; i++)
                closer_give(session->server->closer, session->uid, &packet->fds[i]);
        packet->n_fds = 0;
}

static void handle_packet(struct session *session, struct packet *packet)
{
        if (packet->truncated)
                session_fail(session, -EPROTO, "a message of more than %u bytes",
                             PROTOCOL_MESSAGE_MAX);
        else if (wire_check(packet->bytes, packet->size, WIRE_FROM_CLIENT) < 0)
                session_fail(session, -EPROTO, "%s", error_text());
        else if (packet->n_fds > wire_n_fds(&packet->header) ||
                 (packet->n_fds < wire_n_fds(&packet->header) && !packet->fds_truncated))
                session_fail(session, -EPROTO, "%s with %u descriptors, should be %u",
                             wire_name(packet->header.type), packet->n_fds,
                             wire_n_fds(&packet->header));
        else
                request_handle(session, packet);
        give_packet(session, packet);
}

/* It looks again in a while. */
static void pause_reading(struct session *session)
{
        session->is_starved = true;
        session_retry(session);
        session_watch(session);
}

/* While nothing more of the user's is closed, what comes with descriptors stays where it is: each
 * of them would stay in the broker's table. */
static bool has_to_wait(const struct session *session)
{
        bool has_fds;
        char byte;

        if (!closer_is_stuck(session->server->closer, session->uid, 0))
                return false;
        socket_peek_bytes(session->fd, &byte, sizeof(byte), &has_fds);
        return has_fds;
}

/*
 * The message's descriptors don't fit into the broker's table. It is answered without them, and
 * stays in the socket until they do fit: to take it now would close them here.
 */
static void starve(struct session *session, struct packet *packet)
{
        give_packet(session, packet);
        if (!session->skips_one)
                handle_packet(session, packet);
        if (session->state >= SESSION_ENDING)
                return;
        session->skips_one = true;
        pause_reading(session);
}

/* A packet is there, still in the socket too. Whether to go on. */
static bool take_packet(struct session *session, struct packet *packet)
{
        if (packet->n_fds > PROTOCOL_FDS_MAX) {
                session_fail(session, -EPROTO, "a message with more than %u descriptors",
                             PROTOCOL_FDS_MAX);
                give_packet(session, packet);
                return false;
        }
        if (packet->fds_truncated) {
                starve(session, packet);
                return false;
        }
        socket_drop(session->fd);
        if (session->skips_one)
                give_packet(session, packet);
        else
                handle_packet(session, packet);
        session->skips_one = false;
        return true;
}

/* Handles at most `burst` messages. */
static void receive(struct session *session, unsigned burst)
{
        struct packet *packet = &session->server->packet;
        bool was_reset = false;
        int received;

        while (burst-- && session->state < SESSION_ENDING && !session->held) {
                if (has_to_wait(session)) {
                        pause_reading(session);
                        return;
                }
                received = socket_peek(session->fd, packet);
                if (received == -EAGAIN || received == -ENOMEM || received == -ENOBUFS)
                        return;
                /* A client that went without reading everything; what it sent still comes. */
                if (received == -ECONNRESET && !was_reset) {
                        was_reset = true;
                        continue;
                }
                /* An empty packet looks like the end, but for what it carries. */
                if (received == 0 && (packet->n_fds || packet->fds_truncated))
                        session_fail(session, -EPROTO, "an empty message with descriptors");
                if (received <= 0) {
                        give_packet(session, packet);
                        note_end(session, SESSION_ENDED_BY_CLIENT);
                        return;
                }
                if (!take_packet(session, packet))
                        return;
        }
}

static void on_socket(uv_poll_t *poll, int status, int events)
{
        struct session *session = poll->data;
        struct server *server = session->server;

        if (status < 0) {
                /* The socket has an error: the loop has stopped to watch it. */
                receive(session, SESSION_REPLIES_MAX);
                note_end(session, SESSION_ENDED_BY_CLIENT);
        }
        if (events & UV_WRITABLE) {
                session->is_full = false;
                session_mark(session);
        }
        if (events & UV_READABLE)
                receive(session, SESSION_BURST);
        server_settle(server);
}

void session_watch(struct session *session)
{
        int events = (session->held || session->is_starved ? 0 : UV_READABLE) |
                     (session->is_full ? UV_WRITABLE : 0);

        if (session->state >= SESSION_ENDING || events == session->poll_events)
                return;
        session->poll_events = events;
        if (events)
                uv_poll_start(&session->poll, events, on_socket);
        else
                uv_poll_stop(&session->poll);
}

void session_go_on(struct session *session)
{
        struct packet *packet = &session->server->packet;

        if (!resume_take_held(session, packet))
                return;
        if (session->state < SESSION_ENDING)
                request_handle(session, packet);
        give_packet(session, packet);
        session_watch(session);
}

static void on_process(uv_poll_t *poll, int status, int events)
{
        struct session *session = poll->data;
        struct server *server = session->server;

        (void)status;
        (void)events;
        if (session->state == SESSION_GHOST)
                pair_exorcise(session, true);
        else
                note_end(session, SESSION_ENDED_BY_PROCESS);
        server_settle(server);
}

/* ---- beginning and end ------------------------------------------------------------------ */

static void init(struct session *session, struct server *server, const struct ucred *who)
{
        session->server = server;
        list_init(&session->link);
        list_init(&session->dirty_link);
        list_init(&session->ending_link);
        list_init(&session->retry_link);
        list_init(&session->publications);
        list_init(&session->subscriptions);
        list_init(&session->ghosts);
        list_init(&session->channels);
        list_init(&session->waiting);
        list_init(&session->queue);
        list_init(&session->replies);
        session->pipe_fd = -1;
        session->page = SEGMENT_NONE;
        session->number = ++server->last_session;
        session->uid = who->uid;
        session->account = quota_find(&server->quota, who->uid);
        /* Of nothing yet. */
        charge_init(&session->unread_charge, session->account, QUOTA_INTRODUCTIONS, 0);
        session->pid = who->pid;
}

static void on_handle_closed(uv_handle_t *handle)
{
        struct session *session = handle->data;
        struct server *server = session->server;

        if (--session->n_handles == 0)
                free(session);
        server_handle_closed(server);
}

static void close_poll(struct session *session, uv_poll_t *poll)
{
        /* `data` is there from uv_poll_init() on. */
        if (poll->data && !uv_is_closing((uv_handle_t *)poll))
                uv_close((uv_handle_t *)poll, on_handle_closed);
}

static int watch(struct session *session, uv_poll_t *poll, int fd, uv_poll_cb callback)
{
        int code = uv_poll_init(session->server->loop, poll, fd);

        if (code < 0)
                return code;
        poll->data = session;
        session->n_handles++;
        session->server->n_handles++;
        return uv_poll_start(poll, UV_READABLE, callback);
}

static void free_session(struct session *session)
{
        assert(list_empty(&session->publications) && list_empty(&session->subscriptions) &&
               list_empty(&session->ghosts) && list_empty(&session->waiting));
        assert(!session->n_subscriptions && !session->n_publications && !session->n_no_asym);
        list_remove(&session->link);
        for (uint32_t i = 0; i < session->n_blocks; i++) {
                closer_give(session->server->closer, session->uid, &session->blocks[i].fd);
                charge_deinit(&session->blocks[i].segment);
                charge_deinit(&session->blocks[i].bytes);
        }
        free(session->blocks);
        session->blocks = NULL;
        close_poll(session, &session->poll);
        close_poll(session, &session->pid_poll);
        closer_give(session->server->closer, session->uid, &session->fd);
        fd_close(&session->pid_fd);
        charge_deinit(&session->unread_charge);
        charge_deinit(&session->charge);
        if (!session->n_handles)
                free(session);
}

int session_new(struct server *server, const struct ucred *who, int *socket_fd)
{
        struct session *session;
        struct charge charge;
        int pid_fd, code;

        code = charge_init(&charge, quota_find(&server->quota, who->uid), QUOTA_SESSIONS, 1);
        if (code < 0)
                return code;
        pid_fd = process_open(*socket_fd, who);
        session = pid_fd < 0 ? NULL : calloc(1, sizeof(*session));
        if (!session) {
                charge_deinit(&charge);
                code = pid_fd < 0 ? pid_fd : -ENOMEM;
                fd_close(&pid_fd);
                return code;
        }
        init(session, server, who);
        session->charge = charge;
        session->fd = *socket_fd;
        *socket_fd = -1; /* consumed */
        session->pid_fd = pid_fd;
        list_append(&server->sessions, &session->link);
        session->poll_events = UV_READABLE;
        code = watch(session, &session->poll, session->fd, on_socket);
        if (code == 0)
                code = watch(session, &session->pid_poll, session->pid_fd, on_process);
        if (code < 0) {
                *socket_fd = session->fd;
                session->fd = -1; /* given back */
                free_session(session);
                return code;
        }
        /* Most clients have said HELLO by now. Only that: spares are made before the next request.
         */
        receive(session, 1);
        return 0;
}

/* What is only needed as long as messages can be exchanged. */
static void close_socket(struct session *session)
{
        session_discard(session);
        session_acknowledge(session, session->n_unacknowledged);
        resume_drop_held(session);
        known_deinit(&session->known);
        close_poll(session, &session->poll);
        /* The end of file is there before the page tells of it, and before the closer's turn. */
        shutdown(session->fd, SHUT_RDWR);
        closer_give(session->server->closer, session->uid, &session->fd);
        closer_give(session->server->closer, session->uid, &session->pipe_fd);
        wake_channels_close(session);
        if (session->page.base)
                session_raise(session);
        segment_close(&session->page);
}

void session_end(struct session *session)
{
        assert(session->state == SESSION_ENDING);
        list_remove(&session->ending_link);
        /* The process may have ended since: then nothing is held any more. */
        if (process_has_ended(session->pid_fd))
                session->ended_by = SESSION_ENDED_BY_PROCESS;
        log_line(&session->server->log, SHMD_LOG_DEBUG, "session %" PRIu64 " (pid %d) ends",
                 session->number, session->pid);
        while (!list_empty(&session->publications))
                publication_leave(
                        list_entry(session->publications.next, struct publication, session_link));
        while (!list_empty(&session->subscriptions))
                subscription_leave(
                        list_entry(session->subscriptions.next, struct subscription, session_link));
        session->state = SESSION_GHOST;
        close_socket(session);
        /* Those that had left before, with something held. */
        pair_exorcise(session, session->ended_by == SESSION_ENDED_BY_PROCESS);
}

void session_end_now(struct session *session)
{
        note_end(session, SESSION_ENDED_BY_CLIENT);
        session_end(session);
}

void session_ghost_gone(struct session *session)
{
        if (session->state == SESSION_GHOST && list_empty(&session->ghosts))
                free_session(session);
}

void session_abandon(struct session *session)
{
        session->state = SESSION_ENDING;
        session->ended_by = SESSION_ENDED_BY_PROCESS;
        list_remove(&session->ending_link);
        list_append(&session->server->ending, &session->ending_link);
}
