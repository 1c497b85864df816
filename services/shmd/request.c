/* SPDX-License-Identifier: Apache-2.0 */
/* request.c - one function for each message that a client may send. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "closer.h"
#include "error.h"
#include "introduce.h"
#include "listing.h"
#include "registry.h"
#include "request.h"
#include "resume.h"
#include "segment.h"
#include "server.h"
#include "session.h"
#include "socket.h"
#include "wire.h"

static void hello(struct session *session, const struct message_hello *hello)
{
        uint32_t version = hello->version < PROTOCOL_VERSION ? hello->version : PROTOCOL_VERSION;

        if (session->state != SESSION_NEW) {
                session_fail(session, -EPROTO, "HELLO twice");
                return;
        }
        if (version < hello->min_version || version < PROTOCOL_MIN_VERSION) {
                session_fail(session, -EPROTO,
                             "the broker speaks versions %u to %u of the protocol, the client %u "
                             "to %u",
                             PROTOCOL_MIN_VERSION, PROTOCOL_VERSION, hello->min_version,
                             hello->version);
                return;
        }
        session_welcome(session, hello, version);
        if (session->state != SESSION_OPEN || !(hello->flags & HELLO_RESUME))
                return;
        session->is_resuming = true;
        resume_supersede(session);
        resume_begin_grace(session->server);
}

/* What goes beyond a quota, the log is told of too. */
static void reply(struct session *session, uint64_t serial, int code)
{
        if (code == -EDQUOT)
                log_about(&session->server->log, session->uid, "refused %s (pid %d, user %u): %s",
                          session->program, session->pid, session->uid, error_text());
        session_reply(session, serial, code, 0);
}

/* ---- publishers ------------------------------------------------------------------------- */

static int advertise(struct session *session, const struct message_advertise *advertise,
                     int *segment_fd)
{
        struct registry *registry = &session->server->registry;
        struct publication *publication;
        struct service *service;
        int code;

        if (session->n_publications >= SESSION_PUBLICATIONS_MAX)
                return error_set(-ENOSPC, "service %s: a connection may have %u publishers",
                                 advertise->service, SESSION_PUBLICATIONS_MAX);
        code = registry_open(registry, &service, advertise->service, &advertise->type,
                             advertise->fields);
        if (code < 0)
                return code;
        code = publication_new(&publication, registry, session, service, advertise, segment_fd);
        if (code < 0) {
                registry_drop_if_empty(registry, service);
                return code;
        }
        if (publication->is_resumed) {
                known_take(&publication->known, &session->known, publication->id);
                publication->n_seats = publication->known.n;
        }
        code = publication_join(publication);
        if (code < 0)
                publication_leave(publication);
        return code;
}

/* A reply for a message whose descriptors did not all arrive: this process has none free. */
static int check_fds(const struct packet *packet)
{
        if (packet->n_fds == wire_n_fds(&packet->header))
                return 0;
        return error_set(-EMFILE, "the broker has no descriptors free");
}

/* Only who says in HELLO that it resumes may do so, and only until it has said RESUMED. */
static bool check_resuming(struct session *session, bool resumes)
{
        if (!resumes || session->is_resuming)
                return true;
        session_fail(session, -EPROTO, "it resumes without having said so");
        return false;
}

static void handle_advertise(struct session *session, struct packet *packet)
{
        const struct message_advertise *message = (const void *)packet->bytes;
        bool resumes = message->flags & ADVERTISE_RESUME;
        int code = check_resuming(session, resumes) ? check_fds(packet) : -EPROTO;

        if (code == -EPROTO || (!resumes && resume_holds(session, packet, message->service)))
                return;

        if (code == 0) {
                if (segment_check(packet->fds[0], message->geometry.size, session->uid) < 0 ||
                    segment_look_at_layout(packet->fds[0], LAYOUT_MAGIC_SEGMENT) < 0) {
                        session_fail(session, -EPROTO, "ADVERTISE: segment: %s", error_text());
                        return;
                }
                code = advertise(session, message, &packet->fds[0]);
        }
        session->has_stranded |= resumes && code < 0;
        reply(session, message->header.serial, code);
}

static void handle_unadvertise(struct session *session, const struct message_leave *leave)
{
        struct publication *publication =
                registry_find_publication(&session->server->registry, session, leave->id);

        if (!publication) {
                session_fail(session, -EPROTO, "UNADVERTISE of a publisher that it doesn't have");
                return;
        }
        publication_leave(publication);
}

/* ---- subscribers ------------------------------------------------------------------------ */

/* Unless it is there already: all are of one size. */
static int charge_block(struct session *session, struct session_block *block)
{
        int code;

        if (block->segment.amount)
                return 0;
        code = charge_init(&block->segment, session->account, QUOTA_SEGMENTS, 1);
        if (code == 0)
                code = charge_init(&block->bytes, session->account, QUOTA_BYTES, BLOCK_SIZE);
        if (code < 0)
                charge_deinit(&block->segment);
        return code;
}

/* Takes a new block over, or a pipe: 0, or -EPROTO, -EDQUOT, -ENOSPC, -ENOMEM with a text. A
 * connection whose first request failed may send them again. */
static int take_block(struct session *session, uint32_t index, int *fd)
{
        struct session_block *blocks, *block;
        int code;

        if (segment_check(*fd, BLOCK_SIZE, session->uid) < 0 ||
            segment_look_at_layout(*fd, LAYOUT_MAGIC_BLOCK) < 0)
                return error_prefix(-EPROTO, "SUBSCRIBE: block %u", index);
        /* Of one that resumes, the first ones may not be in use any more. */
        if ((index > session->n_blocks && !session->is_resuming) ||
            (index < session->n_blocks && session->blocks[index].n_subscriptions))
                return error_set(-EPROTO, "SUBSCRIBE: block %u comes when there are %u", index,
                                 session->n_blocks);
        if (index >= SESSION_BLOCKS_MAX)
                return error_set(-ENOSPC, "a connection may have %u blocks", SESSION_BLOCKS_MAX);
        if (index >= session->n_blocks) {
                blocks = realloc(session->blocks, (index + 1) * sizeof(*blocks));
                if (!blocks)
                        return error_set(-ENOMEM, "the broker has no memory");
                session->blocks = blocks;
                while (session->n_blocks <= index)
                        blocks[session->n_blocks++] = (struct session_block){.fd = -1};
        }
        block = &session->blocks[index];
        code = charge_block(session, block);
        if (code < 0)
                return code;
        closer_give(session->server->closer, session->uid, &block->fd);
        block->fd = *fd;
        *fd = -1; /* consumed */
        return 0;
}

static int take_pipe(struct session *session, int *fd)
{
        /* Answered by the kernel's own pipes only, before anything else may look at it. */
        if (fcntl(*fd, F_GETPIPE_SZ) < 0)
                return error_set(-EPROTO, "SUBSCRIBE: the channel is not a pipe");
        if ((fcntl(*fd, F_GETFL) & O_ACCMODE) != O_WRONLY)
                return error_set(-EPROTO, "SUBSCRIBE: the channel is not a pipe's writing end");
        if (session->pipe_fd >= 0 && session->n_subscriptions)
                return error_set(-EPROTO, "SUBSCRIBE: a second channel");
        closer_give(session->server->closer, session->uid, &session->pipe_fd);
        session->pipe_fd = *fd;
        *fd = -1; /* consumed */
        session->pipe_number = registry_number(&session->server->registry);
        return 0;
}

static int take_fds(struct session *session, const struct message_subscribe *subscribe,
                    struct packet *packet)
{
        unsigned i = 0;
        int code = 0;

        if (subscribe->flags & SUBSCRIBE_BLOCK)
                code = take_block(session, subscribe->block, &packet->fds[i++]);
        if (code == 0 && (subscribe->flags & SUBSCRIBE_CHANNEL))
                code = take_pipe(session, &packet->fds[i++]);
        if (code < 0)
                return code;
        if (subscribe->block >= session->n_blocks || session->blocks[subscribe->block].fd < 0 ||
            session->pipe_fd < 0)
                return error_set(-EPROTO, "SUBSCRIBE: no block %u, or no channel",
                                 subscribe->block);
        return 0;
}

static int subscribe(struct session *session, const struct message_subscribe *subscribe)
{
        struct registry *registry = &session->server->registry;
        struct subscription *subscription;
        struct service *service;
        int code;

        if (session->n_subscriptions >= SESSION_SUBSCRIPTIONS_MAX)
                return error_set(-ENOSPC, "service %s: a connection may have %u subscriptions",
                                 subscribe->service, SESSION_SUBSCRIPTIONS_MAX);
        code = registry_open(registry, &service, subscribe->service, &subscribe->type,
                             subscribe->fields);
        if (code < 0)
                return code;
        if (subscribe->flags & SUBSCRIBE_RESUME)
                resume_from_ghost(session, subscribe->subscription);
        code = subscription_new(&subscription, registry, session, service, subscribe);
        if (code < 0) {
                registry_drop_if_empty(registry, service);
                return code;
        }
        if (subscription->is_resumed)
                known_take(&subscription->known, &session->known, subscription->id);
        code = subscription_join(subscription);
        if (code < 0)
                subscription_leave(subscription);
        return code;
}

static void handle_subscribe(struct session *session, struct packet *packet)
{
        const struct message_subscribe *message = (const void *)packet->bytes;
        bool resumes = message->flags & SUBSCRIBE_RESUME;
        int code = check_resuming(session, resumes) ? check_fds(packet) : -EPROTO;

        if (code == -EPROTO || (!resumes && resume_holds(session, packet, message->service)))
                return;
        if (code == 0) {
                code = take_fds(session, message, packet);
                if (code == -EPROTO) {
                        session_fail(session, code, "%s", error_text());
                        return;
                }
        }
        if (code == 0)
                code = subscribe(session, message);
        session->has_stranded |= resumes && code < 0;
        reply(session, message->header.serial, code);
}

static void handle_unsubscribe(struct session *session, const struct message_leave *leave)
{
        struct subscription *subscription =
                registry_find_subscription(&session->server->registry, session, leave->id);

        if (!subscription || subscription->is_ghost) {
                session_fail(session, -EPROTO,
                             "UNSUBSCRIBE of a subscription that it doesn't have");
                return;
        }
        subscription_leave(subscription);
}

/* ---- the rest --------------------------------------------------------------------------- */

static void handle_acknowledge(struct session *session, const struct message_acknowledge *message)
{
        if (message->count > session->n_unacknowledged) {
                session_fail(session, -EPROTO, "ACKNOWLEDGE of %u introductions, %u were sent",
                             message->count, session->n_unacknowledged);
                return;
        }
        session_acknowledge(session, message->count);
}

static void handle_known(struct session *session, const struct message_known *known)
{
        int code;

        if (!check_resuming(session, true))
                return;
        code = known_add(&session->known, session->account, known->owner, known->peers,
                         known->count);
        if (code < 0)
                session_fail(session, code, "%s", error_text());
}

static void handle_resumed(struct session *session, const struct message *message)
{
        if (!check_resuming(session, true))
                return;
        resume_complete(session);
        session_reply(session, message->serial, 0, 0);
}

void request_handle(struct session *session, struct packet *packet)
{
        const void *message = packet->bytes;

        if (packet->header.type != MESSAGE_HELLO && session->state == SESSION_NEW) {
                session_fail(session, -EPROTO, "%s before HELLO", wire_name(packet->header.type));
                return;
        }
        switch (packet->header.type) {
        case MESSAGE_HELLO:
                hello(session, message);
                break;
        case MESSAGE_ADVERTISE:
                handle_advertise(session, packet);
                break;
        case MESSAGE_SUBSCRIBE:
                handle_subscribe(session, packet);
                break;
        case MESSAGE_UNADVERTISE:
                handle_unadvertise(session, message);
                break;
        case MESSAGE_UNSUBSCRIBE:
                handle_unsubscribe(session, message);
                break;
        case MESSAGE_ACKNOWLEDGE:
                handle_acknowledge(session, message);
                break;
        case MESSAGE_REINTRODUCE:
                if (introduce_again(session, message) < 0)
                        session_fail(session, -EPROTO, "%s", error_text());
                break;
        case MESSAGE_KNOWN:
                handle_known(session, message);
                break;
        case MESSAGE_RESUMED:
                handle_resumed(session, &packet->header);
                break;
        case MESSAGE_FORGOTTEN:
                resume_forget(session, message);
                break;
        case MESSAGE_LIST:
                listing_send(session, message);
                break;
        default:
                session_fail(session, -EPROTO, "unexpected %s", wire_name(packet->header.type));
        }
}
