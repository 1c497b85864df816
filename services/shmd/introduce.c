/* SPDX-License-Identifier: Apache-2.0 */
/* introduce.c - pairs come and go; introduction.c has the messages. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "atomic.h"
#include "error.h"
#include "introduce.h"
#include "registry.h"
#include "resume.h"
#include "seats.h"
#include "segment.h"
#include "server.h"
#include "session.h"
#include "wire.h"

/* Ghosts whose rows are looked at for one newcomer. */
#define GHOST_LOOKS 64

/* ---- pairs ------------------------------------------------------------------------------ */

/* There is one, or it was kept for the subscription. */
static void sit_down(struct pair *pair)
{
        struct publication *publication = pair->publication;

        publication->n_seats++;
        pair->share->n_seats++;
        publication->n_seats_wanted -= pair->reason == REFUSED_SEATS;
        pair->state = PAIR_SEATED;
        pair->reason = 0;
        pair->subscriber_told = false;
        introduction_stop(&pair->to_subscriber);
        if (pair->subscription->session->hello_flags & HELLO_NO_MEMBARRIER) {
                pair->forbids_asym = true;
                session_forbid_asym(publication->session);
        }
}

static void take_seat(struct pair *pair)
{
        sit_down(pair);
        introduction_wait(pair->publication->session, &pair->to_publisher);
}

/* They know each other from another broker's time, on the same board. */
static void go_on(struct pair *pair)
{
        sit_down(pair);
        pair->publisher_told = pair->subscriber_told = true;
        introduce_back(pair);
}

/* NULL, and *code with a text: -ENOMEM, -EDQUOT. */
static struct pair *pair_new(struct publication *publication, struct subscription *subscription,
                             struct quota_account *joiner, int *code)
{
        struct pair *pair = calloc(1, sizeof(*pair));

        if (!pair) {
                *code = error_set(-ENOMEM, "service %s: the broker has no memory",
                                  publication->service->name);
                return NULL;
        }
        *code = charge_init(&pair->charge, joiner, QUOTA_PAIRS, 1);
        if (*code == 0) {
                pair->share = seat_share_ref(publication, subscription->session->uid);
                *code = pair->share ? 0 : -ENOMEM;
        }
        if (*code < 0) {
                error_prefix(*code, "service %s", publication->service->name);
                charge_deinit(&pair->charge);
                free(pair);
                return NULL;
        }
        pair->publication = publication;
        pair->subscription = subscription;
        list_init(&pair->to_publisher.link);
        list_init(&pair->to_subscriber.link);
        pair->to_publisher.pair = pair->to_subscriber.pair = pair;
        pair->to_publisher.to_publisher = true;
        list_append(&publication->pairs, &pair->publication_link);
        list_append(&subscription->pairs, &pair->subscription_link);
        return pair;
}

/* The seat, if it had one, is free then; whoever frees for a reason other than the publication's
 * own end calls publication_seat_others(). */
static void pair_free(struct pair *pair)
{
        struct publication *publication = pair->publication;

        introduction_stop(&pair->to_publisher);
        introduction_stop(&pair->to_subscriber);
        list_remove(&pair->publication_link);
        list_remove(&pair->subscription_link);
        publication->n_seats -= pair->state != PAIR_REFUSED;
        pair->share->n_seats -= pair->state != PAIR_REFUSED;
        seat_share_unref(pair->share);
        charge_deinit(&pair->charge);
        publication->n_seats_wanted -= pair->reason == REFUSED_SEATS;
        if (pair->forbids_asym)
                session_allow_asym(publication->session);
        /* A deferred reply may have waited for one of the two. */
        session_mark(publication->session);
        session_mark(pair->subscription->session);
        free(pair);
}

/*
 * Whether one of the two knows somebody else by the other's id: it has listed another process under
 * it, or reads it, or is read by it. Peers have one place for each id; whom they have there they
 * keep, since what he holds, or what is held of him, would be forgotten with him.
 */
static bool is_mistaken(const struct pair *pair)
{
        const struct publication *publication = pair->publication;
        const struct subscription *subscription = pair->subscription;
        const struct registry *registry = &publication->session->server->registry;

        if (known_is_another(publication, subscription))
                return true;
        if (publication_has_twin(publication, registry))
                list_for_each (&subscription->pairs, link) {
                        const struct pair *other = list_entry(link, struct pair, subscription_link);

                        if (other != pair && other->publication->id == publication->id &&
                            other->state != PAIR_REFUSED)
                                return true;
                }
        if (subscription_has_twin(subscription, registry))
                list_for_each (&publication->pairs, link) {
                        const struct pair *other = list_entry(link, struct pair, publication_link);

                        if (other != pair && other->subscription->id == subscription->id &&
                            other->state != PAIR_REFUSED)
                                return true;
                }
        return false;
}

void publication_seat_others(struct publication *publication)
{
        list_for_each (&publication->pairs, link) {
                struct pair *pair = list_entry(link, struct pair, publication_link);

                if (!publication->n_seats_wanted ||
                    publication->n_seats >= publication->max_subscribers)
                        return;
                if (pair->state == PAIR_REFUSED && pair->reason == REFUSED_SEATS &&
                    seats_are_free(publication, pair->subscription->session) && !is_mistaken(pair))
                        take_seat(pair);
        }
}

static void tell_publisher(const struct pair *pair, bool final)
{
        struct message_subscriber_removed removed = {.publisher = pair->publication->id,
                                                     .subscription = pair->subscription->id,
                                                     .final = final};

        if (!pair->publisher_told)
                return;
        wire_begin(&removed, MESSAGE_SUBSCRIBER_REMOVED, sizeof(removed), 0);
        session_send(pair->publication->session, &removed);
}

static void tell_subscriber(const struct pair *pair)
{
        struct message_publisher_gone gone = {.subscription = pair->subscription->id,
                                              .publisher = pair->publication->id};

        if (!pair->subscriber_told || pair->subscription->is_ghost)
                return;
        wire_begin(&gone, MESSAGE_PUBLISHER_REMOVED, sizeof(gone), 0);
        session_send(pair->subscription->session, &gone);
}

/* ---- ghosts ----------------------------------------------------------------------------- */

/* Whether the row says that nothing is held. When it can't be seen, something is. */
static bool row_is_clear(const struct subscription *subscription)
{
        struct segment block = SEGMENT_NONE;
        const uint64_t *row;
        bool is_clear = true;

        if (segment_map(&block, subscription->session->blocks[subscription->block].fd, BLOCK_SIZE) <
            0)
                return false;
        row = (const void *)((const char *)block.base + subscription->row_offset);
        for (uint32_t i = 0; i < subscription->holds && is_clear; i++)
                is_clear = load_acquire(&row[i]) == 0;
        segment_close(&block);
        return is_clear;
}

/* Ends a pair whose subscriber holds nothing. */
static void part_finally(struct pair *pair)
{
        struct publication *publication = pair->publication;

        tell_publisher(pair, true);
        pair_free(pair);
        publication_seat_others(publication);
}

static void free_ghost(struct subscription *ghost)
{
        struct session *session = ghost->session;

        subscription_free(ghost, &session->server->registry);
        session_ghost_gone(session);
}

static void end_ghost(struct subscription *ghost)
{
        while (!list_empty(&ghost->pairs))
                part_finally(list_entry(ghost->pairs.next, struct pair, subscription_link));
        free_ghost(ghost);
}

void ghost_end_silently(struct subscription *ghost)
{
        while (!list_empty(&ghost->pairs))
                pair_free(list_entry(ghost->pairs.next, struct pair, subscription_link));
        free_ghost(ghost);
}

static bool may_end(const struct subscription *ghost)
{
        return !ghost->may_take_on;
}

bool pair_ghosts_may_end(const struct session *session)
{
        list_for_each (&session->ghosts, link)
                if (may_end(list_entry(link, struct subscription, session_link)))
                        return true;
        return false;
}

void pair_exorcise(struct session *session, bool process_ended)
{
        struct list *ghosts = &session->ghosts, *link = ghosts->next, *next;
        bool is_last = link == ghosts;

        if (is_last)
                session_ghost_gone(session);
        /* The last one takes the session with it. */
        for (; !is_last; link = next) {
                struct subscription *ghost = list_entry(link, struct subscription, session_link);

                next = link->next;
                is_last = next == ghosts;
                if (process_ended || (may_end(ghost) && row_is_clear(ghost)))
                        end_ghost(ghost);
        }
}

/* A seat is wanted: perhaps a ghost has let go, or one is kept for a process that is gone. Whose
 * user has its share is helped by its own ghosts only. Not all ghosts are looked at if they are
 * many: the timer comes to them. */
static void look_for_seat(struct publication *publication, const struct session *session)
{
        bool is_used_up = seats_are_used_up(publication, session);
        unsigned n_looks = 0;

        /* More may be kept than there are: of who has left one broker's time holding something. */
        while (!is_used_up && publication->n_seats >= publication->max_subscribers)
                if (!resume_free_seat(publication))
                        break;
        if (seats_are_free(publication, session))
                return;
        list_for_each (&publication->pairs, link) {
                struct pair *pair = list_entry(link, struct pair, publication_link);
                struct subscription *ghost = pair->subscription;

                if (pair->state != PAIR_GHOST || !may_end(ghost) ||
                    (is_used_up && ghost->session->uid != session->uid))
                        continue;
                if (n_looks++ == GHOST_LOOKS)
                        return;
                if (!row_is_clear(ghost))
                        continue;
                end_ghost(ghost);
                return;
        }
}

/* ---- joining ---------------------------------------------------------------------------- */

/* 0, REFUSED_SEATS or REFUSED_LIMIT. */
static uint32_t judge(struct publication *publication, const struct subscription *subscription)
{
        if (subscription->min_depth > publication->geometry.depth ||
            (subscription->holds_set && subscription->holds > publication->holds))
                return REFUSED_LIMIT;
        if (!seats_are_free(publication, subscription->session))
                look_for_seat(publication, subscription->session);
        return seats_are_free(publication, subscription->session) ? 0 : REFUSED_SEATS;
}

static int refuse_subscription(const struct publication *publication,
                               const struct subscription *subscription, uint32_t reason)
{
        const struct session *session = publication->session;
        const char *service = publication->service->name;

        if (reason == REFUSED_SEATS && publication->n_seats < publication->max_subscribers) {
                return error_set(-EDQUOT,
                                 "service %s: %s has all of the %u seats that one other user may "
                                 "take of publisher %s (pid %d), which has max_subscribers %u "
                                 "(--quota seats)",
                                 service, quota_name(subscription->session->account),
                                 seats_max(publication, subscription->session), session->program,
                                 session->pid, publication->max_subscribers);
        }
        if (reason == REFUSED_SEATS)
                return error_set(-ERANGE,
                                 "service %s: publisher %s (pid %d) has max_subscribers %u, and "
                                 "that many are there",
                                 service, session->program, session->pid,
                                 publication->max_subscribers);
        if (subscription->min_depth > publication->geometry.depth)
                return error_set(-ERANGE,
                                 "service %s: publisher %s (pid %d) has depth %u, asked for "
                                 "min_depth %u",
                                 service, session->program, session->pid,
                                 publication->geometry.depth, subscription->min_depth);
        return error_set(
                -ERANGE, "service %s: publisher %s (pid %d) allows holds %u, asked for holds %u",
                service, session->program, session->pid, publication->holds, subscription->holds);
}

/* Pairs the two, one of which is the joiner's. `start`: of the publisher's samples, where the
 * subscriber begins if neither knows the other. 0; -ENOMEM, -EDQUOT, with a text. */
static int join(struct publication *publication, struct subscription *subscription,
                struct quota_account *joiner, uint64_t start)
{
        enum known_by known;
        bool is_silent;
        int code;
        struct pair *pair = pair_new(publication, subscription, joiner, &code);

        if (!pair)
                return code;
        pair->start = start;
        known = known_meet(publication, subscription, &pair->start);
        if (known == KNOWN_BY_BOTH) {
                go_on(pair);
                return 0;
        }
        /* Who was told of the publisher by another broker may have to catch up with what came since
         * the publisher counts it; by this one, and it has had what came before. */
        if (!subscription->is_resumed)
                pair->start = start;
        if (!(known & KNOWN_BY_PUBLISHER))
                pair->reason = judge(publication, subscription);
        is_silent = is_mistaken(pair);
        if (is_silent && !pair->reason)
                pair->reason = REFUSED_SEATS;
        publication->n_seats_wanted += pair->reason == REFUSED_SEATS;
        /* By the id that it would be told of, it knows the other one. */
        if (is_silent)
                return 0;
        if (pair->reason)
                introduction_wait(subscription->session, &pair->to_subscriber);
        else
                take_seat(pair);
        return 0;
}

/* Whether each publisher takes a newcomer: 0, or -ERANGE, -EDQUOT with a text. */
static int check_welcome(const struct subscription *subscription)
{
        list_for_each (&subscription->service->publications, link) {
                struct publication *publication =
                        list_entry(link, struct publication, service_link);
                uint32_t reason = judge(publication, subscription);

                if (reason)
                        return refuse_subscription(publication, subscription, reason);
        }
        return 0;
}

int subscription_join(struct subscription *subscription)
{
        int code = subscription->is_resumed ? 0 : check_welcome(subscription);

        if (code < 0)
                return code;
        list_for_each (&subscription->service->publications, link) {
                struct publication *publication =
                        list_entry(link, struct publication, service_link);

                /* The newest before the publisher counts it: what comes after is missed or taken.
                 */
                code = join(publication, subscription, subscription->session->account,
                            publication_newest(publication));
                if (code < 0)
                        return code;
        }
        return 0;
}

int publication_join(struct publication *publication)
{
        /* Nobody who is there has missed anything of a new one. */
        uint64_t start = publication->is_resumed ? publication_newest(publication) : 0;

        list_for_each (&publication->service->subscriptions, link) {
                int code = join(publication, list_entry(link, struct subscription, service_link),
                                publication->session->account, start);

                if (code < 0)
                        return code;
        }
        return 0;
}

/* ---- leaving ---------------------------------------------------------------------------- */

void publication_leave(struct publication *publication)
{
        struct registry *registry = &publication->session->server->registry;
        struct service *service = publication->service;
        uint64_t id = publication->id;

        while (!list_empty(&publication->pairs)) {
                struct pair *pair =
                        list_entry(publication->pairs.next, struct pair, publication_link);
                struct subscription *subscription = pair->subscription;

                tell_subscriber(pair);
                pair_free(pair);
                if (subscription->is_ghost && list_empty(&subscription->pairs))
                        free_ghost(subscription);
        }
        publication_free(publication, registry);
        /* Who couldn't be read because of it. */
        list_for_each (&service->publications, link) {
                struct publication *other = list_entry(link, struct publication, service_link);

                if (other->id == id)
                        publication_seat_others(other);
        }
        registry_drop_if_empty(registry, service);
}

/* Whether samples may still be held, now that the client has left. */
static bool may_hold(struct subscription *subscription)
{
        const struct session *session = subscription->session;

        if (session->state != SESSION_ENDING)
                return !row_is_clear(subscription);
        if (session->ended_by == SESSION_ENDED_BY_PROCESS)
                return false;
        /* It has not unsubscribed: either the broker has ended the session, or the client has given
         * the broker up (its socket ends then, too) and goes on with the peers it knows. */
        subscription->may_take_on = true;
        return true;
}

static void make_ghost(struct pair *pair)
{
        /* Who may go on to take may also go to sleep: it is rung for until its process ends. */
        if (!pair->subscription->may_take_on)
                tell_publisher(pair, false);
        pair->state = PAIR_GHOST;
        introduction_stop(&pair->to_publisher);
        introduction_stop(&pair->to_subscriber);
}

void subscription_leave(struct subscription *subscription)
{
        struct server *server = subscription->session->server;
        struct service *service = subscription->service;
        bool held = may_hold(subscription);

        list_for_each_safe (&subscription->pairs, link) {
                struct pair *pair = list_entry(link, struct pair, subscription_link);

                /* Who has not got the segment can't hold anything of it. */
                if (held && pair->state == PAIR_SEATED && pair->subscriber_told)
                        make_ghost(pair);
                else
                        part_finally(pair);
        }
        if (list_empty(&subscription->pairs)) {
                subscription_free(subscription, &server->registry);
                registry_drop_if_empty(&server->registry, service);
                return;
        }
        subscription_make_ghost(subscription);
        if (may_end(subscription))
                server_watch_ghosts(server);
}
