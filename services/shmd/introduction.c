/* SPDX-License-Identifier: Apache-2.0 */
/* introduction.c - the two messages of a pair, in their order. */
#include <errno.h>
#include <string.h>

#include "channel.h"
#include "error.h"
#include "introduce.h"
#include "process.h"
#include "registry.h"
#include "server.h"
#include "session.h"
#include "wire.h"

void introduction_wait(struct session *session, struct introduction *introduction)
{
        list_remove(&introduction->link);
        list_append(&session->waiting, &introduction->link);
        session_mark(session);
}

void introduction_stop(struct introduction *introduction)
{
        list_remove(&introduction->link);
}

static void fill_peer(struct message_peer *peer, uint64_t id, const struct session *session)
{
        peer->id = id;
        peer->pid = session->pid;
        peer->uid = session->uid;
        memcpy(peer->program, session->program, sizeof(peer->program));
}

static int send_subscriber(struct pair *pair)
{
        const struct subscription *subscription = pair->subscription;
        struct session *subscriber = subscription->session;
        struct session *publisher = pair->publication->session;
        struct message_subscriber_added added = {.publisher = pair->publication->id,
                                                 .connection = subscriber->connection,
                                                 .board = subscription->board->number,
                                                 .block = subscription->block,
                                                 .row_offset = subscription->row_offset,
                                                 .n_holds = subscription->holds,
                                                 .start = pair->start};
        struct wake_channel_ends channel;
        bool is_old = publisher->version < PROTOCOL_RESUME_SINCE;
        int code = wake_channel_find(&channel, subscriber, publisher);

        if (code < 0)
                return session_retry(publisher);
        added.channel = channel.number;
        added.channel_kind = channel.kind;
        if (subscriber->hello_flags & HELLO_NO_MEMBARRIER)
                added.flags = SUBSCRIBER_NO_MEMBARRIER;
        fill_peer(&added.peer, subscription->id, subscriber);
        wire_begin(&added, MESSAGE_SUBSCRIBER_ADDED,
                   is_old ? MESSAGE_SUBSCRIBER_ADDED_SIZE_1 : sizeof(added), 0);
        return session_introduce(publisher, pair->charge.account->uid, &added,
                                 (int[]){subscriber->blocks[subscription->block].fd,
                                         subscription->board->read_fd, channel.write_fd,
                                         subscriber->pid_fd},
                                 is_old ? 3 : 4);
}

static int send_publisher(struct pair *pair)
{
        const struct subscription *subscription = pair->subscription;
        const struct publication *publication = pair->publication;
        struct session *subscriber = subscription->session;
        struct message_publisher_added added = {.subscription = subscription->id,
                                                .board = subscription->board->number,
                                                .geometry = publication->geometry,
                                                .connection = publication->session->connection};
        struct wake_channel_ends channel;
        int fds[PROTOCOL_FDS_MAX];
        unsigned n_fds = 0;
        int code = wake_channel_find(&channel, subscriber, publication->session);

        if (code < 0)
                return session_retry(subscriber);
        added.start = pair->start;
        added.holds =
                subscription->holds < publication->holds ? subscription->holds : publication->holds;
        if (channel.kind == CHANNEL_SOCKET) {
                added.flags |= PUBLISHER_CHANNEL;
                added.channel = channel.number;
        }
        fill_peer(&added.peer, publication->id, publication->session);
        wire_begin(&added, MESSAGE_PUBLISHER_ADDED,
                   subscriber->version < PROTOCOL_RESUME_SINCE ? MESSAGE_PUBLISHER_ADDED_SIZE_1
                                                               : sizeof(added),
                   0);
        fds[n_fds++] = publication->segment_fd;
        fds[n_fds++] = subscription->board->write_fd;
        if (channel.kind == CHANNEL_SOCKET)
                fds[n_fds++] = channel.read_fd;
        if (subscriber->version >= PROTOCOL_RESUME_SINCE)
                fds[n_fds++] = publication->session->pid_fd;
        return session_introduce(subscriber, pair->charge.account->uid, &added, fds, n_fds);
}

void introduce_back(struct pair *pair)
{
        struct message_pair back = {.publisher = pair->publication->id,
                                    .subscription = pair->subscription->id,
                                    .which = REINTRODUCE_SUBSCRIBER};

        wire_begin(&back, MESSAGE_PEER_BACK, sizeof(back), 0);
        session_send(pair->publication->session, &back);
        back.which = REINTRODUCE_PUBLISHER;
        session_send(pair->subscription->session, &back);
}

static void send_refusal(struct pair *pair)
{
        struct message_publisher_gone refused = {.subscription = pair->subscription->id,
                                                 .publisher = pair->publication->id,
                                                 .reason = pair->reason};

        introduction_stop(&pair->to_subscriber);
        pair->subscriber_told = true;
        wire_begin(&refused, MESSAGE_PUBLISHER_REFUSED, sizeof(refused), 0);
        session_send(pair->subscription->session, &refused);
}

static int send_introduction(struct session *session, struct introduction *introduction)
{
        struct pair *pair = introduction->pair;
        int code;

        if (pair->state == PAIR_REFUSED) {
                send_refusal(pair);
                return list_empty(&session->queue) ? 0 : -EAGAIN;
        }
        code = introduction->to_publisher ? send_subscriber(pair) : send_publisher(pair);
        if (code < 0)
                return code;
        introduction_stop(introduction);
        if (!introduction->to_publisher) {
                pair->subscriber_told = true;
        } else if (!pair->publisher_told) {
                /* Accepted and raised: only now may the subscriber get the segment. */
                pair->publisher_told = true;
                introduction_wait(pair->subscription->session, &pair->to_subscriber);
        }
        return 0;
}

bool introduce_waiting(struct session *session)
{
        struct list *link = session->waiting.next;

        while (link != &session->waiting) {
                struct introduction *introduction = list_entry(link, struct introduction, link);
                const struct pair *pair = introduction->pair;
                struct list *previous = link->previous;

                /* Unread introductions hold descriptors in flight, of which there is a limited
                 * number: who doesn't read waits for its own turn only. A refusal carries none. */
                if (pair->state != PAIR_REFUSED) {
                        if (!session_has_credit(session))
                                return false;
                        if (!session_has_credit_for(session, pair->charge.account->uid)) {
                                link = link->next;
                                continue;
                        }
                }
                if (send_introduction(session, introduction) < 0 || !session_is_served(session))
                        return false;
                /* What has come to the end just now is in its turn, too. */
                link = previous->next;
        }
        return true;
}

static struct pair *find_reader(const struct publication *publication, uint64_t subscription)
{
        list_for_each (&publication->pairs, link) {
                struct pair *pair = list_entry(link, struct pair, publication_link);

                if (pair->subscription->id == subscription && pair->state == PAIR_SEATED)
                        return pair;
        }
        return NULL;
}

static struct pair *find_read(const struct subscription *subscription, uint64_t publication)
{
        list_for_each (&subscription->pairs, link) {
                struct pair *pair = list_entry(link, struct pair, subscription_link);

                if (pair->publication->id == publication && pair->state == PAIR_SEATED)
                        return pair;
        }
        return NULL;
}

/* A publisher waits for one that another broker has introduced, and it couldn't take: it will
 * never come if its process is gone. */
static void forget_lost(const struct publication *publication,
                        const struct message_reintroduce *again)
{
        struct message_subscriber_removed removed = {
                .publisher = publication->id, .subscription = again->subscription, .final = true};

        if (!process_is_absent(again->pid))
                return;
        wire_begin(&removed, MESSAGE_SUBSCRIBER_REMOVED, sizeof(removed), 0);
        session_send(publication->session, &removed);
}

static int again_to_publisher(struct session *session, const struct message_reintroduce *again)
{
        struct registry *registry = &session->server->registry;
        struct publication *publication =
                registry_find_publication(registry, session, again->publisher);
        struct pair *pair = publication ? find_reader(publication, again->subscription) : NULL;

        if (pair && pair->publisher_told)
                introduction_wait(session, &pair->to_publisher);
        if (publication && !pair)
                forget_lost(publication, again);
        if (publication)
                return 0;
        publication = registry_find_publication(registry, NULL, again->publisher);
        if (publication && find_reader(publication, again->subscription))
                return error_set(-EPROTO, "REINTRODUCE for a pair of others");
        return 0;
}

static int again_to_subscriber(struct session *session, const struct message_reintroduce *again)
{
        struct registry *registry = &session->server->registry;
        struct subscription *subscription =
                registry_find_subscription(registry, session, again->subscription);
        struct pair *pair = subscription ? find_read(subscription, again->publisher) : NULL;

        if (pair && pair->subscriber_told)
                introduction_wait(session, &pair->to_subscriber);
        if (subscription)
                return 0;
        subscription = registry_find_subscription(registry, NULL, again->subscription);
        if (subscription && find_read(subscription, again->publisher))
                return error_set(-EPROTO, "REINTRODUCE for a pair of others");
        return 0;
}

/* Where there is no such pair, one of the two has left; the message that says so is on its way. */
int introduce_again(struct session *session, const struct message_reintroduce *again)
{
        return again->which == REINTRODUCE_SUBSCRIBER ? again_to_publisher(session, again)
                                                      : again_to_subscriber(session, again);
}

static bool is_introduced(const struct pair *pair)
{
        return pair->state == PAIR_SEATED && pair->publisher_told && pair->subscriber_told;
}

uint32_t publication_count_readers(const struct publication *publication)
{
        uint32_t n = 0;

        list_for_each (&publication->pairs, link)
                n += is_introduced(list_entry(link, struct pair, publication_link));
        return n;
}

uint32_t subscription_count_publishers(const struct subscription *subscription)
{
        uint32_t n = 0;

        list_for_each (&subscription->pairs, link)
                n += is_introduced(list_entry(link, struct pair, subscription_link));
        return n;
}
