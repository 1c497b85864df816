/* SPDX-License-Identifier: Apache-2.0 */
/* accept.c - accept4(), access and the reserve. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "accept.h"
#include "closer.h"
#include "error.h"
#include "process.h"
#include "quota.h"
#include "server.h"
#include "session.h"
#include "socket.h"
#include "util.h"
#include "wire.h"

/* Newcomers before others have their turn. */
#define ACCEPT_BURST 32
/* How long accepting pauses when there is nothing to accept with. */
#define ACCEPT_PAUSE_MS 50
/* Gigabytes take a moment to be freed: who had several such segments may come back meanwhile. */
#define STUCK_SECONDS 2
/* That nobody can be let in is said once in this time. */
#define ACCEPT_SILENCE_MS 10000

static void on_newcomer(uv_poll_t *poll, int status, int events);

/*
 * Has the newcomer's socket closed. While nothing more of his user's is closed it would stay in the
 * table, and so would the next one, and each after that. So what has nothing in its queue that
 * could stop a thread is nobody's in particular. What has, he pays for: the kernel counts it as on
 * its way, and limits that.
 */
static void let_go(struct server *server, uid_t uid, int *fd)
{
        if (closer_is_stuck(server->closer, uid, 0) && socket_drain(*fd))
                uid = (uid_t)-1;
        closer_give(server->closer, uid, fd);
}

/* Says why to the newcomer and, with his name, to the log. */
static void turn_away(struct server *server, int *fd, int code, const char *text)
{
        struct message_goodbye goodbye = {.code = code};
        struct ucred who = {.uid = (uid_t)-1};
        socklen_t size = sizeof(who);
        char program[PROTOCOL_PROGRAM_SIZE];

        getsockopt(*fd, SOL_SOCKET, SO_PEERCRED, &who, &size);
        process_name(who.pid, program);
        log_about(&server->log, who.uid, "turned away %s (pid %d, user %u): %s", program, who.pid,
                  who.uid, text);
        strncpy(goodbye.text, text, sizeof(goodbye.text) - 1);
        wire_begin(&goodbye, MESSAGE_GOODBYE, sizeof(goodbye), 0);
        socket_send(*fd, &goodbye, sizeof(goodbye), NULL, 0);
        let_go(server, who.uid, fd);
}

static void turn_away_for_want(struct server *server, int *fd, int code)
{
        char text[PROTOCOL_TEXT_SIZE];
        struct rlimit limit = {.rlim_cur = 0};

        getrlimit(RLIMIT_NOFILE, &limit);
        if (code == -EMFILE)
                snprintf(text, sizeof(text),
                         "the broker has no descriptors left, of %llu (ulimit -n, RLIMIT_NOFILE)",
                         (unsigned long long)limit.rlim_cur);
        else
                snprintf(text, sizeof(text), "the broker has no descriptors or memory left: %s",
                         strerrordesc_np(-code));
        turn_away(server, fd, code, text);
}

/* Not even to say so is possible: it is said once in a while. */
static void say_shedding(struct server *server, int code)
{
        uint64_t now = uv_now(server->loop);

        if (server->shed_time && now - server->shed_time < ACCEPT_SILENCE_MS)
                return;
        server->shed_time = now;
        log_line(&server->log, SHMD_LOG_WARNING, "newcomers have to wait: %s",
                 strerrordesc_np(-code));
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

        if (server->reserve_fd >= 0) {
                fd_close(&server->reserve_fd);
                fd = accept4(server->address.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        }
        if (fd >= 0)
                turn_away_for_want(server, &fd, code);
        else
                say_shedding(server, code);
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
                turn_away(server, fd, -EACCES, error_text());
                return;
        }
        if (closer_is_stuck(server->closer, who.uid, STUCK_SECONDS)) {
                turn_away(server, fd, -EBUSY,
                          "descriptors that processes of this user have passed can't be closed");
                return;
        }
        code = quota_connect(quota_find(&server->quota, who.uid));
        if (code == 0)
                code = session_new(server, &who, fd);
        switch (code) {
        case 0:
                return;
        case -EDQUOT:
                turn_away(server, fd, code, error_text());
                return;
        case -EMFILE:
        case -ENFILE:
        case -ENOMEM:
                turn_away_for_want(server, fd, code);
                return;
        case -ESRCH:
                /* It has ended already, or is where nobody would see it end. */
                turn_away(server, fd, -EACCES,
                          "the broker can't see the process (another pid namespace?)");
                return;
        default:
                turn_away(server, fd, code, "the broker can't serve this process");
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
