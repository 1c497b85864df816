/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outbox.c - what a session is sent: at once if the kernel takes it, else from a queue; and the
 * page that says how much there is to read.
 *
 * The counter in the page is raised after the kernel has accepted a message, never before: a client
 * that sees it finds the message in its socket. It is not raised for replies and listings, which
 * the client waits for in any case.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "atomic.h"
#include "error.h"
#include "introduce.h"
#include "server.h"
#include "session.h"
#include "socket.h"
#include "util.h"
#include "wire.h"

/* In store for when there is no memory. */
#define SPARE_MESSAGES 64u

/* A message that waits for room in the socket, or for introductions that come first. */
struct outgoing {
        struct list link; /* session.queue or session.replies */
        union {
                struct message header;
                _Alignas(8) unsigned char bytes[1];
        };
};

/* ---- the page --------------------------------------------------------------------------- */

static void store_word(struct session *session)
{
        struct session_page *page = session->page.base;

        /* RELEASE: pairs with the client's acquire; what it then finds in its socket, or in the
         * memory of others after their introduction, is ordered by the kernel's own locks. */
        store_release(&page->word, session->page_word);
}

void session_raise(struct session *session)
{
        session->page_word = (session->page_word & SESSION_NO_ASYM) |
                             ((session->page_word + 1) & ~SESSION_NO_ASYM);
        store_word(session);
}

/*
 * A publisher in ASYM mode commits and then loads its page's word with nothing in between that
 * orders the two. Before a subscriber that can't call membarrier gets to see its segment, the bit
 * is set and a barrier runs on every CPU that runs such a publisher: commits before that barrier
 * are visible to the subscriber, and publishers that load the word after it see the bit.
 * GLOBAL_EXPEDITED reaches the processes that have registered for it; only those use ASYM mode.
 * Threads that don't run at this moment pass a full barrier when they are scheduled.
 */
void session_forbid_asym(struct session *session)
{
        if (session->n_no_asym++ || (session->page_word & SESSION_NO_ASYM))
                return;
        session->page_word |= SESSION_NO_ASYM;
        store_word(session);
        syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0);
}

void session_allow_asym(struct session *session)
{
        assert(session->n_no_asym);
        if (--session->n_no_asym || session->server->no_membarrier || !session->page.base)
                return;
        session->page_word &= ~SESSION_NO_ASYM;
        store_word(session);
}

static int make_page(struct session *session)
{
        struct session_page *page;
        int code = spares_take_page(&session->server->spares, &session->page);

        if (code < 0)
                return code;
        page = session->page.base;
        page->identity.magic = LAYOUT_MAGIC_PAGE;
        page->identity.version = LAYOUT_VERSION;
        page->identity.header_size = sizeof(*page);
        page->identity.size = PAGE_SIZE_SESSION;
        page->identity.owner = session->number;
        session->page_word = session->server->no_membarrier ? SESSION_NO_ASYM : 0;
        store_word(session);
        return 0;
}

void session_welcome(struct session *session, const struct message_hello *hello, uint32_t version)
{
        struct message_welcome welcome = {
                .version = version, .broker_pid = getpid(), .session = session->number};
        bool is_old = version < PROTOCOL_RESUME_SINCE;
        int code = make_page(session);

        if (code < 0) {
                session_fail(session, code, "no page for the session: %s", error_text());
                return;
        }
        alive_hold(&session->server->alive);
        welcome.alive_offset = session->server->alive.word_offset;
        wire_begin(&welcome, MESSAGE_WELCOME, is_old ? MESSAGE_WELCOME_SIZE_1 : sizeof(welcome),
                   hello->header.serial);
        code = socket_send(session->fd, &welcome, welcome.header.size,
                           (int[]){session->page.fd, session->server->alive.page.fd},
                           is_old ? 1 : 2);
        fd_close(&session->page.fd);
        if (code == -EPIPE || code == -ECONNRESET) {
                session->is_broken = true;
        } else if (code < 0) {
                session_fail(session, code, "can't be sent its page: %s", strerrordesc_np(-code));
                return;
        }
        session_name(session);
        session->version = version;
        session->connection = hello->connection;
        session->hello_flags = hello->flags;
        session->state = SESSION_OPEN;
}

/* ---- sending ---------------------------------------------------------------------------- */

int session_retry(struct session *session)
{
        list_remove(&session->retry_link);
        list_append(&session->server->retrying, &session->retry_link);
        server_retry_later(session->server);
        return -EAGAIN;
}

/* What a failed send means. -EAGAIN: later; 0: never, the client is going. */
static int take_failure(struct session *session, int code)
{
        switch (code) {
        case -EAGAIN:
                session->is_full = true;
                session_watch(session);
                return -EAGAIN;
        case -ENOMEM:
        case -ENOBUFS:
        case -ETOOMANYREFS:
        case -EMFILE:
        case -ENFILE:
                return session_retry(session);
        case -EPIPE:
        case -ECONNRESET:
        case -ENOTCONN:
                /* The end of file comes next, behind what the client has sent before. */
                session->is_broken = true;
                return 0;
        default:
                session_fail(session, code, "can't be sent a message: %s", strerrordesc_np(-code));
                return 0;
        }
}

static int send_now(struct session *session, const struct message *message)
{
        int code = socket_send(session->fd, message, message->size, NULL, 0);

        if (code < 0)
                return take_failure(session, code);
        if (!message->serial)
                session_raise(session);
        return 0;
}

/* A reply is the longest of the messages that are queued. */
#define SPARE_SIZE sizeof(struct message_reply)
_Static_assert(sizeof(struct message_listing) <= SPARE_SIZE, "fits a spare message");

void outbox_refill(struct server *server)
{
        while (server->n_spare_messages < SPARE_MESSAGES) {
                struct outgoing *spare = malloc(sizeof(struct list) + SPARE_SIZE);

                if (!spare)
                        return;
                list_append(&server->spare_messages, &spare->link);
                server->n_spare_messages++;
        }
}

void outbox_deinit(struct server *server)
{
        list_for_each_safe (&server->spare_messages, link) {
                list_remove(link);
                free(list_entry(link, struct outgoing, link));
        }
}

static struct outgoing *new_outgoing(struct server *server, uint32_t size)
{
        struct outgoing *outgoing = malloc(sizeof(struct list) + size);

        if (outgoing || size > SPARE_SIZE || list_empty(&server->spare_messages))
                return outgoing;
        outgoing = list_entry(server->spare_messages.next, struct outgoing, link);
        list_remove(&outgoing->link);
        server->n_spare_messages--;
        return outgoing;
}

static struct outgoing *copy_message(struct session *session, const struct message *message)
{
        struct outgoing *outgoing;

        if (message->serial && session->n_replies >= SESSION_REPLIES_MAX) {
                session_fail(session, -ENOBUFS, "it asks and doesn't read: %u replies wait",
                             session->n_replies);
                return NULL;
        }
        outgoing = new_outgoing(session->server, message->size);
        if (!outgoing) {
                session_fail(session, -ENOMEM, "no memory for a message");
                return NULL;
        }
        list_init(&outgoing->link);
        memcpy(outgoing->bytes, message, message->size);
        session->n_replies += message->serial != 0;
        return outgoing;
}

static void free_outgoing(struct session *session, struct outgoing *outgoing)
{
        session->n_replies -= outgoing->header.serial != 0;
        list_remove(&outgoing->link);
        free(outgoing);
}

void session_send(struct session *session, const void *message)
{
        struct outgoing *outgoing;

        if (!session_is_served(session))
                return;
        if (list_empty(&session->queue) && send_now(session, message) == 0)
                return;
        outgoing = copy_message(session, message);
        if (outgoing)
                list_append(&session->queue, &outgoing->link);
}

void session_reply(struct session *session, uint64_t serial, int code, uint32_t flags)
{
        struct message_reply reply = {.code = code, .flags = flags};
        struct outgoing *outgoing;

        if (!session_is_served(session))
                return;
        if (code < 0)
                strncpy(reply.text, error_text(), sizeof(reply.text) - 1);
        wire_begin(&reply, MESSAGE_REPLY, sizeof(reply), serial);
        outgoing = copy_message(session, &reply.header);
        if (!outgoing)
                return;
        list_append(&session->replies, &outgoing->link);
        session_mark(session);
}

/* Whose joining has led to the `index`th of the introductions that are unread. */
static uid_t *unread_at(struct session *session, uint32_t index)
{
        return &session->unread[(session->n_acknowledged + index) % PROTOCOL_CREDIT];
}

int session_introduce(struct session *session, uid_t joiner, const void *message, const int *fds,
                      unsigned n_fds)
{
        const struct message *header = message;
        int code;

        assert(list_empty(&session->queue) && session_has_credit(session) &&
               session_has_credit_for(session, joiner));
        code = socket_send(session->fd, message, header->size, fds, n_fds);
        if (code < 0) {
                take_failure(session, code);
                return -EAGAIN;
        }
        session_raise(session);
        *unread_at(session, session->n_unacknowledged) = joiner;
        session->n_unacknowledged++;
        session->server->n_in_flight++;
        /* There was room: session_has_credit(). */
        code = charge_resize(&session->unread_charge, session->n_unacknowledged);
        assert(code == 0);
        return 0;
}

/* The user's other sessions may have waited for its quota. */
static void mark_others(const struct session *session)
{
        list_for_each (&session->server->sessions, link) {
                struct session *other = list_entry(link, struct session, link);

                if (other->account == session->account && !list_empty(&other->waiting))
                        session_mark(other);
        }
}

void session_acknowledge(struct session *session, uint32_t count)
{
        bool was_full = !quota_has_room(session->account, QUOTA_INTRODUCTIONS, 1);

        assert(count <= session->n_unacknowledged);
        session->n_acknowledged += count;
        session->n_unacknowledged -= count;
        session->server->n_in_flight -= count;
        charge_resize(&session->unread_charge, session->n_unacknowledged);
        session_mark(session);
        if (was_full && count)
                mark_others(session);
}

static uint32_t count_unread_of(struct session *session, uid_t joiner)
{
        uint32_t n = 0;

        for (uint32_t i = 0; i < session->n_unacknowledged; i++)
                n += *unread_at(session, i) == joiner;
        return n;
}

/*
 * The kernel limits the descriptors that one user may have in flight, which is the broker's user
 * for all of them. So those who don't read get less once half of that is used, or their user has
 * left too much unread, and those who do go on being served.
 */
bool session_has_credit(const struct session *session)
{
        const struct server *server = session->server;

        if (!quota_has_room(session->account, QUOTA_INTRODUCTIONS, 1))
                return false;
        if (server->n_in_flight >= server->in_flight_max)
                return session->n_unacknowledged < SESSION_CREDIT_SCARCE;
        return session->n_unacknowledged < PROTOCOL_CREDIT;
}

bool session_has_credit_for(struct session *session, uid_t joiner)
{
        return joiner == session->uid || count_unread_of(session, joiner) < SESSION_CREDIT_OTHER;
}

void session_mark(struct session *session)
{
        if (!session_is_served(session))
                return;
        list_remove(&session->dirty_link);
        list_append(&session->server->dirty, &session->dirty_link);
}

/* Sends from the list until the kernel takes no more. Whether it is empty now. */
static bool send_list(struct session *session, struct list *list)
{
        while (!list_empty(list)) {
                struct outgoing *first = list_entry(list->next, struct outgoing, link);

                if (send_now(session, &first->header) < 0)
                        return false;
                if (!session_is_served(session))
                        return false;
                free_outgoing(session, first);
        }
        return true;
}

void session_flush(struct session *session)
{
        list_remove(&session->dirty_link);
        if (session->is_full || !session_is_served(session))
                return;
        if (send_list(session, &session->queue) && introduce_waiting(session))
                send_list(session, &session->replies);
        session_watch(session);
}

void session_discard(struct session *session)
{
        struct list *lists[] = {&session->queue, &session->replies};

        for (unsigned i = 0; i < 2; i++)
                while (!list_empty(lists[i]))
                        free_outgoing(session, list_entry(lists[i]->next, struct outgoing, link));
        list_remove(&session->dirty_link);
        list_remove(&session->retry_link);
}
