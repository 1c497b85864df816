/* SPDX-License-Identifier: Apache-2.0 */
/*
 * server.h - all that one broker has: its address, its sessions, its registry, and the work that
 * is left to do.
 *
 * Nothing is done in the middle of something else. What a message or a death leads to is *noted*:
 * a session with something to send is put on `dirty`, one that has to end on `ending`. Each
 * callback of the loop ends with server_settle(), which works both lists off. So no function ever
 * finds a session or a pair gone that it had in its hands a line before, and no chain of events
 * becomes a recursion.
 *
 * Timers run only while something waits that no descriptor will announce: a send that the kernel
 * refused for want of memory or of room for descriptors in flight, a message whose descriptors
 * don't fit into the broker's table, a ghost whose row is not empty, an accept without a free
 * descriptor, clients of a broker that has died and may resume.
 */
#ifndef SHMD_BROKER_SERVER_H
#define SHMD_BROKER_SERVER_H

#include <uv.h>

#include "access.h"
#include "address.h"
#include "alive.h"
#include "list.h"
#include "log.h"
#include "quota.h"
#include "registry.h"
#include "socket.h"
#include "spares.h"

struct shmd_broker_options;

struct server {
        uv_loop_t *loop;
        struct broker_log log;
        struct access access;
        struct quota quota;
        struct closer *closer;
        struct registry registry;
        struct spares spares;
        struct alive alive;
        struct list sessions;       /* session.link; ghosts of sessions too */
        struct list dirty;          /* session.dirty_link: there is something to send */
        struct list ending;         /* session.ending_link: not served any more */
        struct list retrying;       /* session.retry_link: to be dirty at the next tick */
        struct list spare_messages; /* outgoing.link: for when there is no memory */
        uint32_t n_spare_messages;
        uint64_t last_session;
        uint32_t n_in_flight;   /* introductions that were not acknowledged, of all sessions */
        uint32_t in_flight_max; /* from when on those are scarce */
        bool no_membarrier;     /* this process may not call membarrier(2) */

        struct address address;
        uv_poll_t accept_poll;
        uv_timer_t accept_timer; /* accepting pauses until it fires */
        int reserve_fd;          /* given up to shed a newcomer when there is no other */
        uint64_t shed_time;      /* when it was last said that nobody can be let in */

        uv_timer_t retry_timer;
        uv_timer_t ghost_timer;
        uv_timer_t grace_timer;
        bool is_in_grace; /* opening a service that isn't there waits */
        bool had_grace;
        unsigned n_handles; /* of the server and its sessions; 0: it may be freed */
        bool is_closing;
        void (*on_closed)(struct server *server);

        struct packet packet; /* the message being handled: one for all sessions */
};

/* Starts to serve on server->loop. 0, or a negative errno with a text; server_close() in any
 * case. */
int server_open(struct server *server, const struct shmd_broker_options *options);

/* Ends everything; `on_closed` runs when the last handle has been closed, at once if there was
 * none. Only then server_deinit(). */
void server_close(struct server *server, void (*on_closed)(struct server *server));
void server_deinit(struct server *server);

/* A handle of the server or of a session has been closed. */
void server_handle_closed(struct server *server);

/* Works off what is noted. Every callback of the loop ends with it. */
void server_settle(struct server *server);

/* Starts the timers whose reason has arisen. */
void server_retry_later(struct server *server);
void server_watch_ghosts(struct server *server);

#endif
