/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connection.c - opens and closes a connection, and keeps the news for its callbacks.
 *
 *                HELLO/WELCOME                   end of file, an error, nonsense
 *   shmd_connect ------------> connected ------------------------------------> away (resume.c)
 *                                 ^                                              |
 *                                 +----------------------------------------------+
 *
 * What is lost is the broker only: publishers and subscribers go on with the peers they have.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "atomic.h"
#include "connection.h"
#include "error.h"
#include "util.h"
#include "wire.h"

#define TEXT_(number) #number
#define TEXT(number)  TEXT_(number)

const char *shmd_version(void)
{
        return TEXT(SHMD_VERSION_MAJOR) "." TEXT(SHMD_VERSION_MINOR) "." TEXT(SHMD_VERSION_PATCH);
}

const char *shmd_error(void)
{
        return error_text();
}

int connection_in_child(void)
{
        return error_set(-ECHILD,
                         "this connection belongs to the parent process: connect in the child");
}

int shmd_connected(const struct shmd *bus)
{
        return bus && bus->stage == STAGE_SETTLED && !connection_is_inherited(bus);
}

int shmd_connection_status(struct shmd *bus, struct shmd_connection_state *status)
{
        CALL(call);
        int code;

        if (!bus)
                return call_lacks("shmd_connection_status", "connection");
        code = call_on_connection(&call, bus, status);
        if (code < 0)
                return code;
        if (!status)
                return call_lacks("shmd_connection_status", "status");
        connection_intake(bus);
        orphans_look(bus, false);
        watching_vigil_care(bus);
        *status = (struct shmd_connection_state){
                .id = bus->id,
                .losses = bus->n_losses,
                .returns = bus->n_returns,
                .connected = bus->stage == STAGE_SETTLED,
        };
        list_for_each (&bus->publishers, link)
                status->stranded +=
                        list_entry(link, struct shmd_publisher, link)->opening.is_stranded;
        list_for_each (&bus->subscribers, link)
                status->stranded +=
                        list_entry(link, struct shmd_subscriber, link)->opening.is_stranded;
        return 0;
}

/* ---- events ----------------------------------------------------------------------------- */

static bool make_event(struct event **event, void *owner, shmd_peer_callback callback, void *user)
{
        struct event *made;

        if (*event || !callback)
                return true;
        made = calloc(1, sizeof(*made));
        if (!made)
                return false;
        made->owner = owner;
        made->callback = callback;
        made->user = user;
        *event = made;
        return true;
}

bool connection_events_new(struct event **come, struct event **gone, void *owner,
                           shmd_peer_callback callback, void *user)
{
        return make_event(come, owner, callback, user) && make_event(gone, owner, callback, user);
}

void connection_event(struct shmd *bus, struct event **event, const struct shmd_peer *peer,
                      int present)
{
        struct event *taken = *event;

        bus->peers_changed = true;
        if (!taken)
                return;
        *event = NULL; /* consumed */
        taken->peer = *peer;
        taken->present = present;
        list_append(&bus->events, &taken->link);
}

void connection_broker_event(struct shmd *bus, int present)
{
        struct event *event;

        /* Its loss is told by shmd_wait() in its own way. */
        bus->peers_changed |= present;
        if (!bus->on_broker)
                return;
        event = calloc(1, sizeof(*event));
        if (!event)
                return; /* the status still counts it */
        event->on_broker = bus->on_broker;
        event->user = bus->user;
        event->present = present;
        list_append(&bus->events, &event->link);
}

void connection_forget_events(struct shmd *bus, const void *owner)
{
        list_for_each_safe (&bus->events, link) {
                struct event *event = list_entry(link, struct event, link);

                if (owner && event->owner != owner)
                        continue;
                list_remove(&event->link);
                free(event);
        }
}

/* ---- connecting ------------------------------------------------------------------------- */

/* Tries one address, for as long as its backlog is full. The socket, or a negative errno. */
static int try_address(const char *path, uint64_t deadline)
{
        for (;;) {
                int fd = socket_connect(path);

                if (fd != -EAGAIN && fd != -EINTR)
                        return fd;
                if (now_ns() >= deadline)
                        return -ETIMEDOUT;
                /* A full backlog can't be polled for. */
                poll(NULL, 0, 1);
        }
}

/* Adds "path (reason)" to the list of what was tried. */
static void note_attempt(char *tried, size_t size, const char *path, int code)
{
        size_t used = strlen(tried);

        snprintf(tried + used, size - used, "%s%s (%s)", used ? ", " : "", path,
                 strerrordesc_np(-code));
}

/* Which failure the caller gets when all addresses fail: the one that says most. */
static int worse_of(int one, int other)
{
        if (one == 0 || one == -ENOENT)
                return other;
        return other == -ENOENT ? one : other;
}

/* Tries one address, and remembers it if somebody is there. */
static int try_and_remember(struct shmd *bus, const char *path, uint64_t deadline)
{
        int fd = try_address(path, deadline);

        if (fd >= 0)
                memcpy(bus->address, path, strlen(path) + 1);
        return fd;
}

static int connect_anywhere(struct shmd *bus, const char *given, uint64_t deadline)
{
        const char *runtime = getenv("XDG_RUNTIME_DIR"), *set = getenv("SHMD_SOCKET");
        char user_path[512] = "", tried[700] = "";
        const char *paths[] = {user_path, "/run/shmd/control"};
        int code = 0;

        if (!given && set && *set)
                given = set;
        if (given) {
                code = try_and_remember(bus, given, deadline);
                if (code >= 0)
                        return code;
                note_attempt(tried, sizeof(tried), given, code);
        } else {
                if (runtime && *runtime)
                        snprintf(user_path, sizeof(user_path), "%s/shmd/control", runtime);
                for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
                        int fd;

                        if (!*paths[i])
                                continue;
                        fd = try_and_remember(bus, paths[i], deadline);
                        if (fd >= 0)
                                return fd;
                        note_attempt(tried, sizeof(tried), paths[i], fd);
                        code = worse_of(code, fd);
                }
        }
        return error_set(code, "no broker at %s; start one with 'shmd%s%s'", tried,
                         given ? " --socket " : "", given ? given : "");
}

static bool can_reopen(void)
{
        return access("/proc/self/fd", X_OK) == 0;
}

/* Maps memory of the broker's, of one page, whose descriptor is consumed; it goes into *page. */
static int map_page(struct segment *page, int fd, uint64_t size, uint64_t magic)
{
        struct segment mapped = SEGMENT_NONE;
        int code = segment_check(fd, size, SEGMENT_ANY_OWNER);

        if (code >= 0)
                code = segment_map(&mapped, fd, size);
        mapped.fd = fd;
        if (code < 0) {
                segment_close(&mapped);
                return code;
        }
        code = segment_check_layout(mapped.base, magic);
        if (code < 0) {
                segment_close(&mapped);
                return error_prefix(code, "the broker's page");
        }
        segment_close(page);
        *page = mapped;
        return 0;
}

static int map_alive(struct shmd *bus, uint64_t offset)
{
        int code = map_page(&bus->alive, packet_take_fd(bus->packet, 1), PAGE_SIZE_ALIVE,
                            LAYOUT_MAGIC_ALIVE);

        if (code < 0)
                return code;
        fd_close(&bus->alive.fd); /* the mapping is enough */
        bus->alive_word = NULL;
        if (offset && offset % sizeof(uint32_t) == 0 && offset < PAGE_SIZE_ALIVE)
                bus->alive_word = (const void *)((const char *)bus->alive.base + offset);
        return 0;
}

int connection_welcomed(struct shmd *bus)
{
        const struct message *answer = &bus->packet->header;
        const struct message_welcome *welcome = (const void *)answer;
        int code;

        if (answer->type == MESSAGE_GOODBYE || answer->type == MESSAGE_REPLY) {
                const struct message_goodbye *no = (const void *)answer;

                return error_set(no->code < 0 ? no->code : -EPROTO, "the broker refuses: %s",
                                 no->text);
        }
        if (answer->type != MESSAGE_WELCOME)
                return error_set(-EPROTO, "the broker answers HELLO with %s",
                                 wire_name(answer->type));
        if (welcome->version < PROTOCOL_MIN_VERSION || welcome->version > PROTOCOL_VERSION)
                return error_set(-EPROTO,
                                 "the broker speaks version %u of the protocol, this library "
                                 "versions %u to %u",
                                 welcome->version, PROTOCOL_MIN_VERSION, PROTOCOL_VERSION);
        if (bus->packet->n_fds != wire_n_fds(answer))
                return error_set(-EMFILE, "no descriptor is free for the session's page");
        /* Its descriptor stays: the reserve duplicates it. */
        code = map_page(&bus->page, packet_take_fd(bus->packet, 0), PAGE_SIZE_SESSION,
                        LAYOUT_MAGIC_PAGE);
        if (code < 0)
                return code;
        bus->word = &((const struct session_page *)bus->page.base)->word;
        bus->seen_word = 0;
        if (bus->packet->n_fds > 1)
                code = map_alive(bus, welcome->alive_offset);
        if (code < 0)
                return code;
        reserve_renew(bus);
        return 0;
}

/* HELLO and WELCOME: the one round trip in which requests are not yet possible. */
static int greet(struct shmd *bus, uint64_t deadline)
{
        struct message_hello hello = {.magic = PROTOCOL_MAGIC,
                                      .version = PROTOCOL_VERSION,
                                      .min_version = PROTOCOL_MIN_VERSION,
                                      .flags = bus->hello_flags,
                                      .connection = bus->id};
        int code;

        wire_begin(&hello, MESSAGE_HELLO, sizeof(hello), bus->next_serial++);
        code = connection_send(bus, &hello.header, NULL, 0, deadline);
        while (code == 0) {
                code = connection_await(bus, POLLIN, deadline);
                if (code == 0)
                        code = connection_receive(bus);
        }
        if (code == -ENOTCONN && bus->packet->size) /* not its end, but something else */
                return error_set(-EPROTO, "the broker sent nonsense");
        if (code <= 0)
                return code < 0 ? code : error_set(-EPROTO, "the broker said nothing");
        return connection_welcomed(bus);
}

/* A word that a forked child reads as 0. */
static int make_guard(struct shmd *bus)
{
        void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (page == MAP_FAILED)
                return error_system(-errno, "a page of memory");
        bus->guard = page;
        *bus->guard = 1;
        /* Refused only before Linux 4.14: then a child that uses this crashes instead. */
        madvise(page, 4096, MADV_WIPEONFORK);
        return 0;
}

static struct shmd *new_bus(void)
{
        struct shmd *bus = calloc(1, sizeof(*bus));

        if (!bus)
                return NULL;
        bus->packet = malloc(sizeof(*bus->packet));
        if (!bus->packet) {
                free(bus);
                return NULL;
        }
        bus->packet->n_fds = 0;
        bus->packet->size = 0;
        bus->socket = bus->pipe_write = -1;
        bus->page = bus->alive = SEGMENT_NONE;
        bus->timer_fd = bus->directory_fd = -1;
        bus->id = random_id();
        bus->next_serial = 1;
        list_init(&bus->publishers);
        list_init(&bus->subscribers);
        list_init(&bus->channels);
        list_init(&bus->blocks);
        list_init(&bus->own_blocks);
        list_init(&bus->bumped);
        list_init(&bus->events);
        list_init(&bus->missing);
        list_init(&bus->spare_missing);
        list_init(&bus->processes);
        list_init(&bus->ears);
        list_init(&bus->watchers);
        bus->may_close = true;
        call_admit(&bus->handle, bus, bus);
        return bus;
}

static int check_connect_options(struct shmd_connect_options *copy,
                                 const struct shmd_connect_options *options)
{
        memset(copy, 0, sizeof(*copy));
        return options ? options_copy(copy, sizeof(*copy), options, options->size,
                                      "shmd_connect_options")
                       : 0;
}

static int open_bus(struct shmd *bus, const struct shmd_connect_options *options)
{
        uint64_t deadline = now_ns() + REPLY_TIMEOUT_NS;
        int code;

        bus->spin_ns = options->spin_ns;
        bus->on_broker = options->on_broker;
        bus->user = options->user;
        code = waiting_init(bus, options->loop);
        if (code == 0)
                code = connection_store_missing(bus);
        if (code == 0)
                code = make_guard(bus);
        if (code == 0)
                code = bus->socket = connect_anywhere(bus, options->socket, deadline);
        if (code < 0)
                return code;
        bus->is_connected = true;
        if (!doorbell_can_membarrier())
                bus->hello_flags |= HELLO_NO_MEMBARRIER;
        if (!can_reopen())
                bus->hello_flags |= HELLO_NO_PROC;
        code = greet(bus, deadline);
        packet_close(bus->packet);
        if (code == 0)
                code = watching_socket(bus);
        if (code < 0)
                return code;
        waiting_begin(bus);
        bus->stage = STAGE_SETTLED;
        return 0;
}

/* All of it, also when it is half open. */
static void close_bus(struct shmd *bus)
{
        call_dismiss(&bus->handle);
        bus->is_inherited = connection_is_inherited(bus);
        bus->may_close = waiting_may_close(bus);
        bus->is_closing = true;
        list_for_each_safe (&bus->publishers, link)
                shmd_publisher_close(list_entry(link, struct shmd_publisher, link));
        list_for_each_safe (&bus->subscribers, link)
                shmd_subscriber_close(list_entry(link, struct shmd_subscriber, link));
        connection_forget_events(bus, NULL);
        connection_drop_missing(bus);
        list_for_each_safe (&bus->own_blocks, link) {
                struct own_block *block = list_entry(link, struct own_block, link);

                /* RELEASE: its rows were let go of before. Partner: member_has_ended(). */
                if (!bus->is_inherited)
                        store_release(&((struct block_header *)block->memory.base)->ended, 1);
                list_remove(&block->link);
                connection_close_memory(bus, &block->memory);
                free(block);
        }
        reserve_shrink(bus, 0);
        fd_close(&bus->pipe_write);
        segment_close(&bus->page);
        segment_close(&bus->alive);
        if (bus->guard)
                munmap(bus->guard, 4096);
        bus->guard = NULL;
        free(bus->packet);
        bus->packet = NULL;
        waiting_close(bus);
}

int shmd_connect(struct shmd **busp, const struct shmd_connect_options *options)
{
        struct shmd_connect_options copy;
        struct shmd *bus;
        int code;

        if (!busp)
                return call_lacks("shmd_connect", "place for the connection");
        *busp = NULL;
        code = check_connect_options(&copy, options);
        if (code < 0)
                return code;
        bus = new_bus();
        if (!bus)
                return error_system(-ENOMEM, "a connection");
        code = open_bus(bus, &copy);
        if (code < 0) {
                close_bus(bus);
                return code;
        }
        *busp = bus;
        return 0;
}

void shmd_close(struct shmd *bus)
{
        CALL(call);
        int code;

        if (!bus)
                return;
        code = call_on_connection(&call, bus, bus);
        if ((code < 0 && code != -ECHILD) || bus->is_closing)
                return;
        if (bus->is_dispatching || bus->n_lists) {
                error_set(-EBUSY, "shmd_close: called from a callback, nothing was closed");
                return;
        }
        call_ends_connection(&call);
        close_bus(bus);
}
