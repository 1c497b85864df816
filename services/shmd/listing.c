/* SPDX-License-Identifier: Apache-2.0 */
/* listing.c - walks the registry and makes records. */
#include <string.h>

#include "introduce.h"
#include "listing.h"
#include "registry.h"
#include "server.h"
#include "session.h"
#include "wire.h"

/* A page in the making. */
struct page {
        struct session *session;
        uint64_t serial;
        uint32_t skip;   /* records of the first service that the client has */
        uint32_t n_sent; /* records */
};

/* The publisher's newest sample. One look serves a whole turn of the loop. */
static uint64_t sequence_of(struct publication *publication, struct server *server)
{
        uint64_t now = uv_now(server->loop) + 1;

        if (publication->sequence_time != now) {
                publication->sequence = publication_newest(publication);
                publication->sequence_time = now;
        }
        return publication->sequence;
}

/* Sends the record, or skips it. False: the page is full. */
static bool emit(struct page *page, const struct service *service, struct message_listing *record)
{
        if (page->skip) {
                page->skip--;
                return true;
        }
        if (page->n_sent == PROTOCOL_LIST_RECORDS)
                return false;
        memcpy(record->service, service->name, sizeof(record->service));
        memcpy(record->type, service->type.name, sizeof(record->type));
        record->type_flags = service->type.flags;
        record->type_hash = service->type.hash;
        record->type_size = service->type.size;
        wire_begin(record, MESSAGE_LISTING, sizeof(*record), page->serial);
        session_send(page->session, record);
        page->n_sent++;
        return true;
}

static bool emit_service(struct page *page, struct service *service)
{
        struct message_listing record = {.what = 1,
                                         .publishers = service->n_publications,
                                         .subscribers = service->n_subscriptions};

        if (page->skip || page->n_sent == PROTOCOL_LIST_RECORDS)
                return emit(page, service, &record);
        list_for_each (&service->publications, link) {
                struct publication *publication =
                        list_entry(link, struct publication, service_link);

                if (publication->geometry.payload_max > record.max_size)
                        record.max_size = publication->geometry.payload_max;
                record.segment_size += publication->geometry.size;
                record.sequence += sequence_of(publication, page->session->server);
        }
        return emit(page, service, &record);
}

static void fill_peer(struct message_listing *record, uint64_t id, const struct session *session)
{
        record->peer.id = id;
        record->peer.pid = session->pid;
        record->peer.uid = session->uid;
        memcpy(record->peer.program, session->program, sizeof(record->peer.program));
}

static bool emit_publisher(struct page *page, struct publication *publication)
{
        struct message_listing record = {.what = 2,
                                         .depth = publication->geometry.depth,
                                         .holds = publication->holds,
                                         .max_size = publication->geometry.payload_max,
                                         .segment_size = publication->geometry.size};

        if (!page->skip && page->n_sent < PROTOCOL_LIST_RECORDS) {
                record.subscribers = publication_count_readers(publication);
                record.sequence = sequence_of(publication, page->session->server);
        }
        fill_peer(&record, publication->id, publication->session);
        return emit(page, publication->service, &record);
}

static bool emit_subscriber(struct page *page, struct subscription *subscription)
{
        /* What it asks for: samples from before its time, and holds. */
        struct message_listing record = {
                .what = 3, .depth = subscription->history, .holds = subscription->holds};

        if (!page->skip)
                record.publishers = subscription_count_publishers(subscription);
        fill_peer(&record, subscription->id, subscription->session);
        return emit(page, subscription->service, &record);
}

static bool emit_all_of(struct page *page, struct service *service)
{
        if (!emit_service(page, service))
                return false;
        list_for_each (&service->publications, link)
                if (!emit_publisher(page, list_entry(link, struct publication, service_link)))
                        return false;
        list_for_each (&service->subscriptions, link)
                if (!emit_subscriber(page, list_entry(link, struct subscription, service_link)))
                        return false;
        return true;
}

void listing_send(struct session *session, const struct message_list *list)
{
        struct registry *registry = &session->server->registry;
        struct page page = {.session = session, .serial = list->header.serial};
        bool is_complete = true;

        for (size_t i = registry_position(registry, list->service);
             i < registry->n_services && is_complete; i++) {
                struct service *service = registry->services[i];

                page.skip = strcmp(service->name, list->service) == 0 ? list->skip : 0;
                is_complete = emit_all_of(&page, service);
        }
        session_reply(session, list->header.serial, 0, is_complete ? 0 : REPLY_MORE);
}
