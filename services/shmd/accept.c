/* SPDX-License-Identifier: Apache-2.0 */
/* accept.c - accept4(), access and the reserve. */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "accept.h"
#include "closer.h"
#include "error.h"
#include "process.h"
#include "quota.h"
#include "server.h"
#include "session.h"
#include "util.h"
#include "wire.h"

/* Newcomers before others have their turn. */
#define ACCEPT_BURST 32
/* How long accepting pauses when there is nothing to accept with. */
#define ACCEPT_PAUSE_MS 50
/* That newcomers are shed, or refused, is said once in this time. */
#define ACCEPT_SILENCE_MS 10000

static void on_newcomer(uv_poll_t *poll, int status, int events);

static void say_goodbye(struct server *server, int *fd, int code, const char *text)
{
        struct message_goodbye goodbye = {.code = code};

        strncpy(goodbye.text, text, sizeof(goodbye.text) - 1);
        wire_begin(&goodbye, MESSAGE_GOODBYE, sizeof(goodbye), 0);
        socket_send(*fd, &goodbye, sizeof(goodbye), NULL, 0);
        closer_give(server->closer, fd);
}

/* Whether it is time to say again what `last` was said of: whoever wants to connect can't be kept
 * from trying, but from filling the log. */
static bool may_say(struct server *server, uint64_t *last)
{
        uint64_t now = uv_now(server->loop);

        if (*last && now - *last < ACCEPT_SILENCE_MS)
                return false;
        *last = now;
        return true;
}

static void say_shedding(struct server *server, int code)
{
        if (may_say(server, &server->shed_time))
                broker_log(&server->log, SHMD_LOG_WARNING, "turning newcomers away: %s",
                           strerrordesc_np(-code));
}

static void say_refused(struct server *server, pid_t pid, const char *why)
{
        if (may_say(server, &server->refused_time))
                broker_log(&server->log, SHMD_LOG_WARNING, "refused process %d: %s", pid, why);
}

static void say_over_quota(struct server *server, const struct ucred *who)
{
        char program[PROTOCOL_PROGRAM_SIZE];

        if (!quota_may_say(quota_find(&server->quota, who->uid)))
                return;
        process_name(who->pid, program);
        broker_log(&server->log, SHMD_LOG_WARNING, "refused %s (pid %d, user %u): %s", program,
                   who->pid, who->uid, error_text());
}

bool accept_refill(struct server *server)
{
        /* Of a kind that no path leads to: the program has given up opening files by now. */
        if (server->reserve_fd < 0)
                server->reserve_fd = eventfd(0, EFD_CLOEXEC);
        return server->reserve_fd >= 0;
}

static void on_pause_over(uv_timer_t *timer)
{
        struct server *server = timer->data;

        accept_refill(server);
        uv_poll_start(&server->accept_poll, UV_READABLE, on_newcomer);
}

/* Accepts one with the reserve and turns it away. */
static void shed(struct server *server, int code)
{
        cleanup_fd int fd = -1;

        say_shedding(server, code);
        if (server->reserve_fd >= 0) {
                fd_close(&server->reserve_fd);
                fd = accept4(server->address.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        }
        if (fd >= 0)
                say_goodbye(server, &fd, code, "the broker has no descriptors or memory left");
        /* The descriptor comes back when the closer has closed it. */
        uv_poll_stop(&server->accept_poll);
        uv_timer_start(&server->accept_timer, on_pause_over, ACCEPT_PAUSE_MS, 0);
}

static void greet(struct server *server, int *fd)
{
        struct ucred who = {0};
        socklen_t size = sizeof(who);
        int code;

        if (getsockopt(*fd, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0 ||
            access_check(&server->access, who.uid) < 0) {
                say_refused(server, who.pid, error_text());
                say_goodbye(server, fd, -EACCES, error_text());
                return;
        }
        code = quota_connect(quota_find(&server->quota, who.uid));
        if (code == 0)
                code = session_new(server, fd);
        switch (code) {
        case 0:
                return;
        case -EDQUOT:
                say_over_quota(server, &who);
                say_goodbye(server, fd, code, error_text());
                return;
        case -EMFILE:
        case -ENFILE:
        case -ENOMEM:
                say_shedding(server, code);
                say_goodbye(server, fd, code, "the broker has no descriptors or memory left");
                return;
        case -ESRCH:
                /* It has ended already, or is where nobody would see it end. */
                say_goodbye(server, fd, -EACCES,
                            "the broker can't see the process (another pid namespace?)");
                return;
        default:
                say_refused(server, who.pid, strerrordesc_np(-code));
                say_goodbye(server, fd, code, "the broker can't serve this process");
        }
}

static void on_newcomer(uv_poll_t *poll, int status, int events)
{
        struct server *server = poll->data;

        (void)status;
        (void)events;
        for (int i = 0; i < ACCEPT_BURST; i++) {
                cleanup_fd int fd =
                        accept4(server->address.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
                int code = fd < 0 ? -errno : 0;

                if (code == 0) {
                        greet(server, &fd);
                } else if (code == -EMFILE || code == -ENFILE || code == -ENOMEM ||
                           code == -ENOBUFS) {
                        shed(server, code);
                        break;
                } else if (code != -ECONNABORTED && code != -EINTR) {
                        /* Mostly EAGAIN: that were all. */
                        break;
                }
        }
        server_settle(server);
}

int accept_start(struct server *server)
{
        int code = uv_poll_init(server->loop, &server->accept_poll, server->address.fd);

        if (code < 0)
                return error_system(code, "watching the socket");
        server->accept_poll.data = server;
        server->n_handles++;
        uv_timer_init(server->loop, &server->accept_timer);
        server->accept_timer.data = server;
        server->n_handles++;
        accept_refill(server);
        code = uv_poll_start(&server->accept_poll, UV_READABLE, on_newcomer);
        return code < 0 ? error_system(code, "watching the socket") : 0;
}
