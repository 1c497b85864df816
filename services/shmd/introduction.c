/* SPDX-License-Identifier: Apache-2.0 */
/* introduction.c - the two messages of a pair, in their order. */
#include <errno.h>
#include <string.h>

#include "channel.h"
#include "error.h"
#include "introduce.h"
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
                                                 .n_holds = subscription->holds};
        struct wake_channel_ends channel;
        int code = wake_channel_find(&channel, subscriber, publisher);

        if (code < 0)
                return session_retry(publisher);
        added.channel = channel.number;
        added.channel_kind = channel.kind;
        fill_peer(&added.peer, subscription->id, subscriber);
        wire_begin(&added, MESSAGE_SUBSCRIBER_ADDED, sizeof(added), 0);
        return session_introduce(publisher, &added,
                                 (int[]){subscriber->blocks[subscription->block].fd,
                                         subscription->board->read_fd, channel.write_fd},
                                 3);
}

static int send_publisher(struct pair *pair)
{
        const struct subscription *subscription = pair->subscription;
        const struct publication *publication = pair->publication;
        struct session *subscriber = subscription->session;
        struct message_publisher_added added = {.subscription = subscription->id,
                                                .board = subscription->board->number,
                                                .geometry = publication->geometry};
        struct wake_channel_ends channel;
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
        wire_begin(&added, MESSAGE_PUBLISHER_ADDED, sizeof(added), 0);
        return session_introduce(
                subscriber, &added,
                (int[]){publication->segment_fd, subscription->board->write_fd, channel.read_fd},
                channel.kind == CHANNEL_SOCKET ? 3 : 2);
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
        /* Unread introductions hold descriptors in flight, of which each user has a limited number:
         * who doesn't read waits for its own turn only. */
        if (!session_has_credit(session))
                return -EAGAIN;
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
        while (!list_empty(&session->waiting)) {
                struct introduction *first =
                        list_entry(session->waiting.next, struct introduction, link);

                if (send_introduction(session, first) < 0 || !session_is_served(session))
                        return false;
        }
        return true;
}

static struct pair *find_pair(const struct publication *publication, uint64_t subscription)
{
        list_for_each (&publication->pairs, link) {
                struct pair *pair = list_entry(link, struct pair, publication_link);

                if (pair->subscription->id == subscription)
                        return pair;
        }
        return NULL;
}

int introduce_again(struct session *session, const struct message_reintroduce *again)
{
        struct publication *publication =
                registry_find_publication(&session->server->registry, again->publisher);
        struct pair *pair = publication ? find_pair(publication, again->subscription) : NULL;
        bool to_publisher = again->which == REINTRODUCE_SUBSCRIBER;

        /* One of the two has left; the message that says so is on its way. */
        if (!pair || pair->state != PAIR_SEATED)
                return 0;
        if (session != (to_publisher ? pair->publication->session : pair->subscription->session))
                return error_set(-EPROTO, "REINTRODUCE for a pair of others");
        if (to_publisher && pair->publisher_told)
                introduction_wait(session, &pair->to_publisher);
        if (!to_publisher && pair->subscriber_told)
                introduction_wait(session, &pair->to_subscriber);
        return 0;
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
