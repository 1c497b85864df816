/* SPDX-License-Identifier: Apache-2.0 */
/* registry.c - services by name, publications and subscriptions by id. */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "closer.h"
#include "error.h"
#include "registry.h"
#include "ring.h"
#include "segment.h"
#include "session.h"
#include "spares.h"
#include "type.h"
#include "util.h"

void registry_init(struct registry *registry, struct closer *closer, struct spares *spares)
{
        memset(registry, 0, sizeof(*registry));
        registry->closer = closer;
        registry->spares = spares;
        /* Clients keep boards and channels of brokers that are no more. */
        registry->last_number = random_id();
        for (unsigned i = 0; i < REGISTRY_BUCKETS; i++) {
                list_init(&registry->publications[i]);
                list_init(&registry->subscriptions[i]);
        }
}

void registry_deinit(struct registry *registry)
{
        assert(registry->n_services == 0);
        for (unsigned i = 0; i < REGISTRY_BUCKETS; i++)
                assert(list_empty(&registry->publications[i]) &&
                       list_empty(&registry->subscriptions[i]));
        free(registry->services);
        registry->services = NULL;
}

uint64_t registry_number(struct registry *registry)
{
        /* 0 means none. */
        return ++registry->last_number ? registry->last_number : ++registry->last_number;
}

/* Ids are random, so their high half spreads them. */
static unsigned bucket_of(uint64_t id)
{
        return (unsigned)(id >> 32) % REGISTRY_BUCKETS;
}

size_t registry_position(const struct registry *registry, const char *name)
{
        size_t first = 0, end = registry->n_services;

        while (first < end) {
                size_t middle = first + (end - first) / 2;

                if (strcmp(registry->services[middle]->name, name) < 0)
                        first = middle + 1;
                else
                        end = middle;
        }
        return first;
}

struct service *registry_find(const struct registry *registry, const char *name)
{
        size_t position = registry_position(registry, name);

        if (position == registry->n_services ||
            strcmp(registry->services[position]->name, name) != 0)
                return NULL;
        return registry->services[position];
}

struct publication *registry_find_publication(const struct registry *registry,
                                              const struct session *session, uint64_t id)
{
        const struct list *bucket = &registry->publications[bucket_of(id)];

        list_for_each (bucket, link) {
                struct publication *publication = list_entry(link, struct publication, id_link);

                if (publication->id == id && (!session || publication->session == session))
                        return publication;
        }
        return NULL;
}

struct subscription *registry_find_subscription(const struct registry *registry,
                                                const struct session *session, uint64_t id)
{
        const struct list *bucket = &registry->subscriptions[bucket_of(id)];

        list_for_each (bucket, link) {
                struct subscription *subscription = list_entry(link, struct subscription, id_link);

                if (subscription->id == id && (!session || subscription->session == session))
                        return subscription;
        }
        return NULL;
}

bool publication_has_twin(const struct publication *publication, const struct registry *registry)
{
        const struct list *bucket = &registry->publications[bucket_of(publication->id)];

        list_for_each (bucket, link) {
                const struct publication *other = list_entry(link, struct publication, id_link);

                if (other != publication && other->id == publication->id)
                        return true;
        }
        return false;
}

bool subscription_has_twin(const struct subscription *subscription, const struct registry *registry)
{
        const struct list *bucket = &registry->subscriptions[bucket_of(subscription->id)];

        list_for_each (bucket, link) {
                const struct subscription *other = list_entry(link, struct subscription, id_link);

                if (other != subscription && other->id == subscription->id)
                        return true;
        }
        return false;
}

static struct service *service_new(const char *name, const struct message_type_head *type,
                                   const struct message_field *fields)
{
        size_t fields_size = type->n_fields * sizeof(*fields);
        struct service *service = calloc(1, sizeof(*service) + fields_size);

        if (!service)
                return NULL;
        list_init(&service->publications);
        list_init(&service->subscriptions);
        list_init(&service->boards);
        list_init(&service->users);
        memcpy(service->name, name, strlen(name) + 1);
        service->type = *type;
        memcpy(service->fields, fields, fields_size);
        return service;
}

static int insert(struct registry *registry, struct service *service)
{
        size_t position = registry_position(registry, service->name);

        if (registry->n_services == registry->room) {
                size_t room = registry->room ? 2 * registry->room : 16;
                void *services = realloc(registry->services, room * sizeof(struct service *));

                if (!services)
                        return -ENOMEM;
                registry->services = services;
                registry->room = room;
        }
        memmove(registry->services + position + 1, registry->services + position,
                (registry->n_services - position) * sizeof(struct service *));
        registry->services[position] = service;
        registry->n_services++;
        return 0;
}

int registry_open(struct registry *registry, struct service **service, const char *name,
                  const struct message_type_head *type, const struct message_field *fields)
{
        char text[PROTOCOL_TEXT_SIZE];
        cleanup_free struct service *made = NULL;

        *service = registry_find(registry, name);
        if (*service) {
                if (type_differs(text, sizeof(text), &(*service)->type, (*service)->fields, type,
                                 fields))
                        return error_set(-EPROTOTYPE, "service %s: %s", name, text);
                return 0;
        }
        made = service_new(name, type, fields);
        if (!made || insert(registry, made) < 0)
                return error_set(-ENOMEM, "service %s: the broker has no memory", name);
        *service = made;
        made = NULL; /* consumed */
        return 0;
}

void registry_drop_if_empty(struct registry *registry, struct service *service)
{
        size_t position;

        if (!list_empty(&service->publications) || !list_empty(&service->subscriptions))
                return;
        position = registry_position(registry, service->name);
        assert(position < registry->n_services && registry->services[position] == service);
        assert(list_empty(&service->boards) && list_empty(&service->users));
        registry->n_services--;
        memmove(registry->services + position, registry->services + position + 1,
                (registry->n_services - position) * sizeof(struct service *));
        free(service);
}

/* ---- publications ----------------------------------------------------------------------- */

/* NULL, and *code with a text: -EDQUOT, -ENOMEM. */
static struct service_user *service_user_ref(struct service *service, struct session *session,
                                             int *code)
{
        struct service_user *user;

        list_for_each (&service->users, link) {
                user = list_entry(link, struct service_user, link);
                if (user->charge.account == session->account) {
                        user->n++;
                        return user;
                }
        }
        user = calloc(1, sizeof(*user));
        if (!user) {
                *code = error_set(-ENOMEM, "the broker has no memory");
                return NULL;
        }
        *code = charge_init(&user->charge, session->account, QUOTA_SERVICES, 1);
        if (*code < 0) {
                free(user);
                return NULL;
        }
        user->n = 1;
        list_append(&service->users, &user->link);
        return user;
}

static void service_user_unref(struct service_user *user)
{
        if (!user || --user->n)
                return;
        list_remove(&user->link);
        charge_deinit(&user->charge);
        free(user);
}

static int check_publisher_id(const struct registry *registry, const struct session *session,
                              const struct service *service, const struct message_advertise *wanted)
{
        bool resumes = wanted->flags & ADVERTISE_RESUME;
        uint64_t id = wanted->publisher;

        if (registry_find_publication(registry, resumes ? session : NULL, id))
                return error_set(-EEXIST, "publisher %016" PRIx64 " is there already", id);
        if (resumes)
                return 0;
        list_for_each (&service->publications, link) {
                const struct publication *other =
                        list_entry(link, struct publication, service_link);

                if ((uint32_t)other->id == (uint32_t)id)
                        return error_set(-EEXIST, "service %s: tag %08x is taken", service->name,
                                         (uint32_t)id);
        }
        return 0;
}

/* publication_uncharge() in any case. */
static int publication_charge(struct publication *publication, struct session *session,
                              struct service *service, uint64_t size)
{
        int code = charge_init(&publication->segment, session->account, QUOTA_SEGMENTS, 1);

        if (code == 0)
                code = charge_init(&publication->bytes, session->account, QUOTA_BYTES, size);
        if (code < 0)
                return code;
        publication->service_user = service_user_ref(service, session, &code);
        return code;
}

static void publication_uncharge(struct publication *publication)
{
        charge_deinit(&publication->segment);
        charge_deinit(&publication->bytes);
        service_user_unref(publication->service_user);
}

int publication_new(struct publication **publication, struct registry *registry,
                    struct session *session, struct service *service,
                    const struct message_advertise *advertise, int *segment_fd)
{
        int code = check_publisher_id(registry, session, service, advertise);
        struct publication *made;

        if (code < 0)
                return code;
        made = calloc(1, sizeof(*made));
        if (!made)
                return error_set(-ENOMEM, "service %s: the broker has no memory", service->name);
        code = publication_charge(made, session, service, advertise->geometry.size);
        if (code < 0) {
                publication_uncharge(made);
                free(made);
                return error_prefix(code, "service %s", service->name);
        }
        list_init(&made->pairs);
        list_init(&made->shares);
        made->service = service;
        made->session = session;
        made->id = advertise->publisher;
        made->geometry = advertise->geometry;
        made->max_subscribers = advertise->max_subscribers;
        made->holds = advertise->holds;
        made->is_resumed = advertise->flags & ADVERTISE_RESUME;
        made->segment_fd = *segment_fd;
        *segment_fd = -1; /* consumed */
        list_append(&registry->publications[bucket_of(made->id)], &made->id_link);
        list_append(&service->publications, &made->service_link);
        list_append(&session->publications, &made->session_link);
        service->n_publications++;
        session->n_publications++;
        *publication = made;
        return 0;
}

void publication_free(struct publication *publication, struct registry *registry)
{
        assert(list_empty(&publication->pairs) && publication->n_seats == publication->known.n &&
               !publication->n_seats_wanted);
        list_remove(&publication->id_link);
        list_remove(&publication->service_link);
        list_remove(&publication->session_link);
        publication->service->n_publications--;
        publication->session->n_publications--;
        assert(list_empty(&publication->shares));
        publication_uncharge(publication);
        closer_give(registry->closer, publication->session->uid, &publication->segment_fd);
        known_deinit(&publication->known);
        free(publication);
}

/* ---- subscriptions ---------------------------------------------------------------------- */

static struct arming_board *board_ref(struct registry *registry, struct service *service, uid_t uid)
{
        struct arming_board *board;

        list_for_each (&service->boards, link) {
                board = list_entry(link, struct arming_board, link);
                if (board->uid == uid) {
                        board->n_subscriptions++;
                        return board;
                }
        }
        board = calloc(1, sizeof(*board));
        if (!board) {
                error_set(-ENOMEM, "service %s: the broker has no memory", service->name);
                return NULL;
        }
        if (spares_take_board(registry->spares, &board->write_fd, &board->read_fd) < 0) {
                free(board);
                return NULL;
        }
        board->uid = uid;
        board->number = registry_number(registry);
        board->n_subscriptions = 1;
        list_append(&service->boards, &board->link);
        return board;
}

static void board_unref(struct arming_board *board)
{
        if (--board->n_subscriptions)
                return;
        list_remove(&board->link);
        fd_close(&board->write_fd);
        fd_close(&board->read_fd);
        free(board);
}

int subscription_new(struct subscription **subscription, struct registry *registry,
                     struct session *session, struct service *service,
                     const struct message_subscribe *subscribe)
{
        bool resumes = subscribe->flags & SUBSCRIBE_RESUME;
        struct subscription *made;
        int code;

        if (registry_find_subscription(registry, resumes ? session : NULL, subscribe->subscription))
                return error_set(-EEXIST, "subscription %016" PRIx64 " is there already",
                                 subscribe->subscription);
        made = calloc(1, sizeof(*made));
        if (!made)
                return error_set(-ENOMEM, "service %s: the broker has no memory", service->name);
        code = charge_init(&made->charge, session->account, QUOTA_SUBSCRIPTIONS, 1);
        if (code == 0)
                made->service_user = service_user_ref(service, session, &code);
        if (code == 0) {
                made->board = board_ref(registry, service, session->uid);
                code = made->board ? 0 : -ENOMEM;
        }
        if (code < 0) {
                service_user_unref(made->service_user);
                charge_deinit(&made->charge);
                free(made);
                return error_prefix(code, "service %s", service->name);
        }
        list_init(&made->pairs);
        made->service = service;
        made->session = session;
        made->id = subscribe->subscription;
        made->holds = subscribe->holds;
        made->holds_set = subscribe->flags & SUBSCRIBE_HOLDS_SET;
        made->is_resumed = resumes;
        made->min_depth = subscribe->min_depth;
        made->history = subscribe->history;
        made->block = subscribe->block;
        made->row_offset = subscribe->row_offset;
        list_append(&registry->subscriptions[bucket_of(made->id)], &made->id_link);
        list_append(&service->subscriptions, &made->service_link);
        list_append(&session->subscriptions, &made->session_link);
        service->n_subscriptions++;
        session->n_subscriptions++;
        session->blocks[made->block].n_subscriptions++;
        *subscription = made;
        return 0;
}

void subscription_make_ghost(struct subscription *subscription)
{
        assert(!subscription->is_ghost);
        subscription->is_ghost = true;
        list_remove(&subscription->service_link);
        subscription->service->n_subscriptions--;
        board_unref(subscription->board);
        subscription->board = NULL;
        service_user_unref(subscription->service_user);
        subscription->service_user = NULL;
        list_remove(&subscription->session_link);
        list_append(&subscription->session->ghosts, &subscription->session_link);
}

void subscription_free(struct subscription *subscription, struct registry *registry)
{
        struct session *session = subscription->session;

        assert(list_empty(&subscription->pairs));
        if (!subscription->is_ghost)
                subscription_make_ghost(subscription);
        list_remove(&subscription->session_link);
        list_remove(&subscription->id_link);
        session->n_subscriptions--;
        session->blocks[subscription->block].n_subscriptions--;
        charge_deinit(&subscription->charge);
        known_deinit(&subscription->known);
        free(subscription);
}

uint64_t publication_newest(const struct publication *publication)
{
        struct segment segment = SEGMENT_NONE;
        struct ring_reader reader;
        uint64_t newest;

        if (segment_map(&segment, publication->segment_fd, publication->geometry.size) < 0)
                return 0;
        ring_reader_init(&reader, &publication->geometry, segment.base, (uint32_t)publication->id,
                         1);
        newest = ring_newest(&reader);
        segment_close(&segment);
        return newest;
}
