/* SPDX-License-Identifier: Apache-2.0 */
/* resume.c - lists of peers, how they meet, and requests that wait for those who resume. */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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

/* ---- lists ------------------------------------------------------------------------------ */

void known_deinit(struct known_list *list)
{
        charge_deinit(&list->charge);
        free(list->peers);
        *list = (struct known_list){.n = 0};
}

int known_add(struct known_list *list, struct quota_account *account, uint64_t owner,
              const struct message_known_peer *peers, uint32_t n)
{
        struct message_known_peer *grown;
        uint32_t needed;
        int code;

        if (list->owner != owner)
                known_deinit(list);
        list->owner = owner;
        needed = list->n + n;
        if (needed > PROTOCOL_KNOWN_MAX)
                return error_set(-EPROTO, "a list of more than %u peers", PROTOCOL_KNOWN_MAX);
        if (!list->charge.account)
                charge_init(&list->charge, account, QUOTA_LISTED, list->n);
        code = charge_resize(&list->charge, needed);
        if (code < 0)
                return error_prefix(code, "a list of %u peers", needed);
        if (needed > list->n_room) {
                grown = realloc(list->peers, needed * sizeof(*grown));
                if (!grown)
                        return error_set(-ENOMEM, "no memory for a list of %u peers", needed);
                list->peers = grown;
                list->n_room = needed;
        }
        memcpy(list->peers + list->n, peers, n * sizeof(*peers));
        list->n = needed;
        return 0;
}

void known_take(struct known_list *to, struct known_list *from, uint64_t owner)
{
        if (from->owner == owner) {
                *to = *from;
                *from = (struct known_list){.n = 0};
        } else {
                known_deinit(from);
        }
}

static struct message_known_peer *find(const struct known_list *list, uint64_t id)
{
        for (uint32_t i = 0; i < list->n; i++)
                if (list->peers[i].id == id)
                        return &list->peers[i];
        return NULL;
}

static void drop(struct known_list *list, struct message_known_peer *peer)
{
        *peer = list->peers[--list->n];
        charge_resize(&list->charge, list->n);
        if (!list->n)
                known_deinit(list);
}

/* The seat goes with the record. */
static void drop_seat(struct publication *publication, struct message_known_peer *peer)
{
        assert(publication->n_seats);
        publication->n_seats--;
        drop(&publication->known, peer);
}

/* ---- meeting ---------------------------------------------------------------------------- */

/* What the memory is told apart by, whoever has a descriptor of it; 0: it can't be said. */
static uint64_t inode_of(int fd)
{
        struct stat status;

        return fstat(fd, &status) < 0 ? 0 : status.st_ino;
}

/* Whether the record speaks of the session's connection. */
static bool is_of(const struct message_known_peer *peer, const struct session *session)
{
        /* A list that drop() has emptied has no i below its n: the analyzer misses that. */
        return peer->connection == session->connection && /* NOLINT(clang-analyzer-core*) */
               peer->pid == session->pid;
}

/* A number that is nobody's may be of another namespace. A connection 0 was not told by its
 * broker. */
static bool is_of_another(const struct message_known_peer *peer, const struct session *session)
{
        return peer && peer->connection && !is_of(peer, session) && !process_is_absent(peer->pid);
}

bool known_is_another(const struct publication *publication,
                      const struct subscription *subscription)
{
        return is_of_another(find(&publication->known, subscription->id), subscription->session) ||
               is_of_another(find(&subscription->known, publication->id), publication->session);
}

enum known_by known_meet(struct publication *publication, struct subscription *subscription,
                         uint64_t *start)
{
        struct message_known_peer *by_publisher = find(&publication->known, subscription->id);
        struct message_known_peer *by_subscriber = find(&subscription->known, publication->id);
        const struct session *subscriber = subscription->session;
        uint64_t boards[2] = {0, 0};
        enum known_by known = KNOWN_BY_NONE;

        if (by_publisher && is_of(by_publisher, subscriber) &&
            (!by_publisher->inode ||
             by_publisher->inode == inode_of(subscriber->blocks[subscription->block].fd))) {
                known |= KNOWN_BY_PUBLISHER;
                boards[0] = by_publisher->inode ? by_publisher->board : 0;
                *start = by_publisher->start;
                drop_seat(publication, by_publisher);
        }
        if (by_subscriber && is_of(by_subscriber, publication->session) &&
            by_subscriber->inode == inode_of(publication->segment_fd)) {
                known |= KNOWN_BY_SUBSCRIBER;
                boards[1] = by_subscriber->board;
                drop(&subscription->known, by_subscriber);
        }
        /* Who don't ring and listen at the same board have to be brought together again. */
        if (known == KNOWN_BY_BOTH && (boards[0] != boards[1] || !boards[0]))
                known = KNOWN_BY_PUBLISHER;
        return known;
}

static void tell_publisher(const struct publication *publication, uint64_t subscription, bool final)
{
        struct message_subscriber_removed removed = {
                .publisher = publication->id, .subscription = subscription, .final = final};

        wire_begin(&removed, MESSAGE_SUBSCRIBER_REMOVED, sizeof(removed), 0);
        session_send(publication->session, &removed);
}

static void tell_subscriber(const struct subscription *subscription, uint64_t publisher)
{
        struct message_publisher_gone gone = {.subscription = subscription->id,
                                              .publisher = publisher};

        wire_begin(&gone, MESSAGE_PUBLISHER_REMOVED, sizeof(gone), 0);
        session_send(subscription->session, &gone);
}

/* The connection has closed the subscriptions that the publication's records still have of it. */
static void part_from_publisher(struct publication *publication, const struct session *session)
{
        bool has_freed = false;

        for (uint32_t i = publication->known.n; i--;) {
                struct message_known_peer *peer = &publication->known.peers[i];

                if (!is_of(peer, session))
                        continue;
                tell_publisher(publication, peer->id, true);
                drop_seat(publication, peer);
                has_freed = true;
        }
        if (has_freed)
                publication_seat_others(publication);
}

static void part_from_subscriber(struct subscription *subscription, const struct session *session)
{
        for (uint32_t i = subscription->known.n; i--;) {
                struct message_known_peer *peer = &subscription->known.peers[i];

                if (!is_of(peer, session))
                        continue;
                tell_subscriber(subscription, peer->id);
                drop(&subscription->known, peer);
        }
}

static bool is_complete(const struct session *session)
{
        return session->state == SESSION_OPEN && session->has_resumed && !session->has_stranded;
}

/* What the session lists of connections that have resumed before it, and has not met: closed. */
static void part_from_others(struct session *session)
{
        list_for_each (&session->server->sessions, link) {
                const struct session *other = list_entry(link, struct session, link);

                if (!is_complete(other))
                        continue;
                list_for_each (&session->publications, place)
                        part_from_publisher(list_entry(place, struct publication, session_link),
                                            other);
                list_for_each (&session->subscriptions, place)
                        part_from_subscriber(list_entry(place, struct subscription, session_link),
                                             other);
        }
}

void resume_complete(struct session *session)
{
        struct registry *registry = &session->server->registry;

        session->is_resuming = false;
        session->has_resumed = true;
        known_deinit(&session->known);
        part_from_others(session);
        /* One that could not be taken over may go on to hold, though it isn't here. */
        if (session->has_stranded)
                return;
        for (size_t i = 0; i < registry->n_services; i++) {
                struct service *service = registry->services[i];

                list_for_each (&service->publications, link)
                        part_from_publisher(list_entry(link, struct publication, service_link),
                                            session);
                list_for_each (&service->subscriptions, link)
                        part_from_subscriber(list_entry(link, struct subscription, service_link),
                                             session);
        }
}

void resume_forget(struct session *session, const struct message_pair *pair)
{
        struct publication *publication =
                registry_find_publication(&session->server->registry, session, pair->publisher);
        struct message_known_peer *peer;

        /* The publisher may have closed, or the subscription have come back, at the same moment. */
        if (!publication)
                return;
        peer = find(&publication->known, pair->subscription);
        if (!peer)
                return;
        drop_seat(publication, peer);
        publication_seat_others(publication);
}

/* A client of version 1 does not resume. If its process has connected anew, that has taken the
 * place of the connection which the publisher knows. */
static bool has_connected_anew(const struct server *server, const struct message_known_peer *peer)
{
        list_for_each (&server->sessions, link) {
                const struct session *session = list_entry(link, struct session, link);

                if (session->state == SESSION_OPEN && session->pid == peer->pid &&
                    session->version < PROTOCOL_RESUME_SINCE)
                        return true;
        }
        return false;
}

bool resume_free_seat(struct publication *publication)
{
        const struct server *server = publication->session->server;

        for (uint32_t i = 0; i < publication->known.n; i++) {
                struct message_known_peer *peer = &publication->known.peers[i];

                if (!process_is_absent(peer->pid) && !has_connected_anew(server, peer))
                        continue;
                /* Not final: numbers of processes are labels. What it holds counts until the
                 * publisher hears from the kernel that it is gone. */
                tell_publisher(publication, peer->id, false);
                drop_seat(publication, peer);
                return true;
        }
        return false;
}

/* Whether the two are of one connection. */
static bool is_same_connection(const struct session *one, const struct session *other)
{
        return one->connection == other->connection && one->pid == other->pid &&
               one->uid == other->uid;
}

static struct subscription *find_ghost(const struct session *session, uint64_t id)
{
        struct server *server = session->server;

        /* Mostly there is none. */
        if (!registry_find_subscription(&server->registry, NULL, id))
                return NULL;
        list_for_each (&server->sessions, link) {
                struct session *before = list_entry(link, struct session, link);
                struct subscription *found;

                if (!is_same_connection(before, session))
                        continue;
                found = registry_find_subscription(&server->registry, before, id);
                if (found && found->is_ghost)
                        return found;
        }
        return NULL;
}

void resume_from_ghost(struct session *session, uint64_t id)
{
        struct subscription *ghost = find_ghost(session, id);
        const struct session *before = ghost ? ghost->session : NULL;
        struct message_known_peer peer;

        if (!ghost)
                return;
        peer = (struct message_known_peer){
                .id = id,
                .connection = before->connection,
                .inode = inode_of(before->blocks[ghost->block].fd),
                .pid = before->pid,
        };
        list_for_each (&ghost->pairs, link) {
                const struct pair *pair = list_entry(link, struct pair, subscription_link);
                struct publication *publication = pair->publication;

                peer.start = pair->start;
                /* No memory: then it is introduced as a newcomer, and needs a seat. */
                if (known_add(&publication->known, publication->session->account, publication->id,
                              &peer, 1) == 0)
                        publication->n_seats++;
        }
        ghost_end_silently(ghost);
}

void resume_supersede(const struct session *session)
{
        struct list *sessions = &session->server->sessions;

        list_for_each_safe (sessions, link) {
                struct session *other = list_entry(link, struct session, link);

                if (other != session && is_same_connection(other, session) &&
                    other->state != SESSION_GHOST) {
                        session_end_now(other);
                        return;
                }
        }
}

/* ---- requests that are held ------------------------------------------------------------- */

struct held_request {
        unsigned n_fds;
        int fds[PROTOCOL_FDS_MAX];
        size_t size;
        _Alignas(8) unsigned char bytes[];
};

static void on_grace_over(uv_timer_t *timer)
{
        struct server *server = timer->data;

        server->is_in_grace = false;
        list_for_each (&server->sessions, link)
                session_go_on(list_entry(link, struct session, link));
        server_settle(server);
}

void resume_begin_grace(struct server *server)
{
        if (server->had_grace || server->is_closing)
                return;
        server->had_grace = server->is_in_grace = true;
        uv_timer_start(&server->grace_timer, on_grace_over, RESUME_GRACE_MS, 0);
}

bool resume_holds(struct session *session, struct packet *packet, const char *service)
{
        struct server *server = session->server;
        struct held_request *held;

        if (!server->is_in_grace || registry_find(&server->registry, service))
                return false;
        held = malloc(sizeof(*held) + packet->size);
        if (!held)
                return false; /* it isn't worth a refusal */
        assert(!session->held && packet->n_fds <= PROTOCOL_FDS_MAX);
        held->size = packet->size;
        memcpy(held->bytes, packet->bytes, packet->size);
        held->n_fds = packet->n_fds;
        for (unsigned i = 0; i < packet->n_fds; i++)
                held->fds[i] = packet_take_fd(packet, i);
        session->held = held;
        session_watch(session);
        return true;
}

bool resume_take_held(struct session *session, struct packet *packet)
{
        struct held_request *held = session->held;

        if (!held)
                return false;
        session->held = NULL;
        memcpy(packet->bytes, held->bytes, held->size);
        packet->size = held->size;
        packet->truncated = packet->fds_truncated = false;
        packet->n_fds = held->n_fds;
        memcpy(packet->fds, held->fds, held->n_fds * sizeof(int));
        free(held);
        return true;
}

void resume_drop_held(struct session *session)
{
        struct held_request *held = session->held;

        if (!held)
                return;
        for (unsigned i = 0; i < held->n_fds; i++)
                closer_give(session->server->closer, session->uid, &held->fds[i]);
        free(held);
        session->held = NULL;
}
