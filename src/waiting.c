/* SPDX-License-Identifier: Apache-2.0 */
/*
 * waiting.c - puts a connection to sleep and wakes it: by itself, in the user's uv_loop_t, or for
 * any other loop by a descriptor.
 *
 * Every connection has its libuv handles in one loop: one that watches the broker's socket, and a
 * uv_pipe_t ("ear") for each channel on which publishers ring. With the user's loop, a prepare
 * handle arms before the loop sleeps and a check handle runs the callbacks after it woke. With the
 * private loop, shmd_wait() sleeps on the loop's descriptor itself and drains its own pipe without
 * libuv's help: two system calls for a wake-up, an exact time-out, and signals are noticed.
 *
 * Whatever loop: the order after waking is drain, disarm, look (doorbell.h). Once armed, the
 * connection stays so until a frame was drained; `must_look` says that a look is due all the same,
 * because something may have become takeable that nobody rings for.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "atomic.h"
#include "connection.h"
#include "error.h"
#include "util.h"

/* No wait spins longer than this, and none that usually takes longer spins for more than a try. */
#define SPIN_MAX_NS UINT64_C(50000)
#define SPIN_TRY_NS UINT64_C(1000)

/* Looks between two looks at the clock and at the session page. */
#define LOOKS_A_TURN 32

/* ---- arming ----------------------------------------------------------------------------- */

static void set_armed(struct shmd *bus, bool armed)
{
        bus->armed++;
        bus->is_armed = armed;
        list_for_each (&bus->own_blocks, link) {
                struct block_header *block = list_entry(link, struct own_block, link)->memory.base;

                /* RELEASE (A1): new before the boards move. Partner: ring_member(). */
                store_release(&block->armed, bus->armed);
        }
}

static void disarm(struct shmd *bus)
{
        bus->is_rung = false;
        if (bus->is_armed)
                set_armed(bus, false);
}

static bool anything_ready(struct shmd *bus)
{
        list_for_each (&bus->subscribers, link) {
                struct shmd_subscriber *subscriber = list_entry(link, struct shmd_subscriber, link);

                /* In the user's loop only callbacks take: without one it need not stay awake. */
                if ((bus->owns_loop || subscriber->on_sample) && subscriber_ready(subscriber))
                        return true;
        }
        return false;
}

/* Arms, if it isn't, and looks once more. True: something is there, and it is not armed. */
static bool arm_and_look(struct shmd *bus)
{
        if (bus->is_armed && !bus->must_look)
                return false;
        bus->must_look = false;
        /* Armed anew each time: what has changed may be a publisher that does not know it. */
        if (bus->is_armed)
                set_armed(bus, false);
        if (!list_empty(&bus->own_blocks)) {
                set_armed(bus, true);
                doorbell_bump(&bus->bumped);
                list_for_each (&bus->subscribers, link) {
                        if (!subscriber_wants_membarrier(
                                    list_entry(link, struct shmd_subscriber, link)))
                                continue;
                        doorbell_membarrier();
                        break;
                }
        }
        if (!anything_ready(bus)) /* A4 */
                return false;
        disarm(bus);
        return true;
}

/* ---- callbacks -------------------------------------------------------------------------- */

static void deliver_events(struct shmd *bus)
{
        while (!list_empty(&bus->events)) {
                struct event *event = list_entry(bus->events.next, struct event, link);

                list_remove(&event->link);
                if (event->on_broker)
                        event->on_broker(event->user, event->present);
                else
                        event->callback(event->user, &event->peer, event->present);
                free(event);
        }
}

/* Calls back each subscriber that has something, once. The callback may open and close others:
 * so begin anew after each, passing over those that have had their turn. */
static void deliver_samples(struct shmd *bus)
{
        uint64_t pass = ++bus->passes;
        struct list *link = bus->subscribers.next;

        while (link != &bus->subscribers) {
                struct shmd_subscriber *subscriber = list_entry(link, struct shmd_subscriber, link);

                link = link->next;
                if (subscriber->pass == pass)
                        continue;
                subscriber->pass = pass;
                if (!subscriber->on_sample || !subscriber_ready(subscriber))
                        continue;
                subscriber->on_sample(subscriber->user, subscriber);
                link = bus->subscribers.next;
        }
}

static void deliver(struct shmd *bus)
{
        bus->is_dispatching = true;
        deliver_events(bus);
        deliver_samples(bus);
        bus->is_dispatching = false;
}

/* ---- libuv handles ---------------------------------------------------------------------- */

void waiting_handle_closed(struct shmd *bus)
{
        if (--bus->n_handles == 0 && bus->is_closing && !bus->owns_loop)
                free(bus);
}

static void on_handle_closed(uv_handle_t *handle)
{
        waiting_handle_closed(handle->data);
}

static void on_ear_closed(uv_handle_t *handle)
{
        struct ear *ear = handle->data;
        struct shmd *bus = ear->bus;

        free(ear);
        waiting_handle_closed(bus);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
        struct ear *ear = handle->data;

        (void)suggested;
        /* Nobody looks at frames, and no packet is being received now. */
        buffer->base = (char *)ear->bus->packet->bytes;
        buffer->len = sizeof(ear->bus->packet->bytes);
}

static void on_frames(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
        struct ear *ear = stream->data;

        (void)buffer;
        if (size > 0)
                ear->bus->is_rung = true;
        if (size >= 0)
                return;
        /* All who could ring here are gone, the broker that made it too. */
        uv_read_stop(stream);
        if (ear->id == 0)
                return;
        list_remove(&ear->link);
        uv_close((uv_handle_t *)&ear->handle, on_ear_closed);
}

/* Is there only so that the loop does not sleep. */
static void on_idle(uv_idle_t *handle)
{
        (void)handle;
}

static void on_prepare(uv_prepare_t *handle)
{
        struct shmd *bus = handle->data;

        if (arm_and_look(bus) || !list_empty(&bus->events))
                uv_idle_start(&bus->idle, on_idle);
}

static void on_check(uv_check_t *handle)
{
        struct shmd *bus = handle->data;

        uv_idle_stop(&bus->idle);
        if (bus->is_rung)
                disarm(bus);
        deliver(bus);
}

int waiting_init(struct shmd *bus, uv_loop_t *loop)
{
        int code;

        bus->owns_loop = !loop;
        bus->loop = loop;
        if (!loop) {
                code = uv_loop_init(&bus->own_loop);
                if (code < 0)
                        return error_system(code, "an event loop");
                bus->loop = &bus->own_loop;
                return 0;
        }
        uv_prepare_init(loop, &bus->prepare);
        uv_check_init(loop, &bus->check);
        uv_idle_init(loop, &bus->idle);
        bus->prepare.data = bus->check.data = bus->idle.data = bus;
        bus->n_handles = 3;
        return 0;
}

void waiting_begin(struct shmd *bus)
{
        if (bus->owns_loop)
                return;
        uv_prepare_start(&bus->prepare, on_prepare);
        uv_check_start(&bus->check, on_check);
        /* The socket's handle alone keeps the loop alive. */
        uv_unref((uv_handle_t *)&bus->prepare);
        uv_unref((uv_handle_t *)&bus->check);
        uv_unref((uv_handle_t *)&bus->idle);
        bus->must_look = true;
}

static int add_ear(struct shmd *bus, uint64_t id, int fd)
{
        struct ear *ear = calloc(1, sizeof(*ear));
        int code;

        if (!ear) {
                fd_close(&fd);
                return error_system(-ENOMEM, "a wake channel");
        }
        uv_pipe_init(bus->loop, &ear->handle, 0);
        ear->bus = bus;
        ear->id = id;
        ear->fd = fd;
        ear->handle.data = ear;
        list_append(&bus->ears, &ear->link);
        bus->n_handles++;
        bus->needs_turn = true;
        code = uv_pipe_open(&ear->handle, fd);
        if (code < 0)
                fd_close(&fd);
        else
                code = uv_read_start((uv_stream_t *)&ear->handle, on_alloc, on_frames);
        if (code < 0) {
                list_remove(&ear->link);
                uv_close((uv_handle_t *)&ear->handle, on_ear_closed);
                return error_system(code, "a wake channel");
        }
        return 0;
}

int waiting_make_pipe(struct shmd *bus)
{
        int ends[2], code;

        if (bus->pipe_write >= 0)
                return 0;
        if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
                return error_system(-errno, "a pipe");
        bus->pipe_write = ends[1];
        code = add_ear(bus, 0, ends[0]);
        if (code < 0)
                fd_close(&bus->pipe_write);
        return code;
}

int waiting_listen(struct shmd *bus, uint64_t id, int fd)
{
        list_for_each (&bus->ears, link) {
                if (list_entry(link, struct ear, link)->id != id)
                        continue;
                fd_close(&fd);
                return 0;
        }
        return add_ear(bus, id, fd);
}

void waiting_close(struct shmd *bus)
{
        watching_drop_socket(bus);
        watching_end_vigil(bus);
        list_for_each_safe (&bus->ears, link) {
                struct ear *ear = list_entry(link, struct ear, link);

                list_remove(&ear->link);
                uv_close((uv_handle_t *)&ear->handle, on_ear_closed);
        }
        if (!bus->owns_loop) {
                uv_close((uv_handle_t *)&bus->prepare, on_handle_closed);
                uv_close((uv_handle_t *)&bus->check, on_handle_closed);
                uv_close((uv_handle_t *)&bus->idle, on_handle_closed);
                return;
        }
        if (bus->loop) {
                uv_run(bus->loop, UV_RUN_DEFAULT); /* the close callbacks */
                uv_loop_close(bus->loop);
        }
        free(bus);
}

/* ---- the private loop ------------------------------------------------------------------- */

static void turn_loop(struct shmd *bus)
{
        bus->needs_turn = false;
        bus->in_turn = true;
        uv_run(bus->loop, UV_RUN_NOWAIT);
        bus->in_turn = false;
}

void waiting_tidy(struct shmd *bus)
{
        if (!bus->owns_loop || !bus->needs_turn || bus->is_armed || bus->in_turn)
                return;
        turn_loop(bus);
        bus->is_rung = false; /* for an arming that is over */
}

static int check_private(struct shmd *bus, const char *function)
{
        int code = connection_guard(bus);

        if (code < 0)
                return code;
        if (!bus->owns_loop)
                return error_set(-EINVAL, "%s: the connection lives in your uv_loop_t: run that",
                                 function);
        if (bus->is_dispatching)
                return error_set(-EINVAL, "%s: called from a callback", function);
        return 0;
}

/* What has come about, as shmd_wait() and shmd_dispatch() report it. */
static int report(struct shmd *bus, bool ready)
{
        if (bus->stage != STAGE_SETTLED && !bus->is_loss_told) {
                bus->is_loss_told = true;
                return error_set(-ENOTCONN, "the broker is gone; peers that are known still work");
        }
        if (bus->peers_changed) {
                bus->peers_changed = false;
                return 1;
        }
        return ready;
}

static bool has_news(const struct shmd *bus)
{
        return bus->peers_changed || (bus->stage != STAGE_SETTLED && !bus->is_loss_told);
}

/* Looks until something is there or `until`; true if something is. */
static bool spin(struct shmd *bus, uint64_t until)
{
        do {
                for (int i = 0; i < LOOKS_A_TURN; i++) {
                        if (anything_ready(bus))
                                return true;
                        spin_pause();
                }
                /* ACQUIRE: as in connection_intake(), which reads the messages. */
                if (load_acquire(bus->word) != bus->seen_word)
                        connection_intake(bus);
                if (connection_needs_care(bus))
                        connection_care(bus);
                if (has_news(bus))
                        return false;
        } while (now_ns() < until);
        return false;
}

static uint64_t spin_budget(const struct shmd *bus)
{
        if (bus->spin_ns == SHMD_SPIN_NEVER)
                return 0;
        if (bus->spin_ns)
                return bus->spin_ns;
        return bus->usual_ns > SPIN_MAX_NS ? SPIN_TRY_NS : 2 * bus->usual_ns + SPIN_TRY_NS;
}

/* Reads the frames that are there; no more than fit a pipe, so that nobody who goes on writing can
 * keep us here. */
static void drain(struct shmd *bus, int fd)
{
        struct packet *packet = bus->packet;

        for (int i = 0; i < 4; i++) {
                ssize_t size = read(fd, packet->bytes, sizeof(packet->bytes));

                if (size > 0)
                        bus->is_rung = true;
                if (size < (ssize_t)sizeof(packet->bytes))
                        return;
        }
}

/* Sleeps in the kernel until a frame, a message, a signal or the deadline. 0 or -EINTR. */
static int sleep_once(struct shmd *bus, uint64_t deadline)
{
        struct epoll_event events[8];
        struct timespec rest, *timeout = NULL;
        bool for_libuv = false;
        int n;

        if (bus->needs_turn) {
                /* It may drain the very frame that would end the sleep: look again first. */
                turn_loop(bus);
                return 0;
        }
        if (deadline != UINT64_MAX) {
                uint64_t now = now_ns(), left = deadline > now ? deadline - now : 0;

                rest.tv_sec = (time_t)(left / 1000000000u);
                rest.tv_nsec = (long)(left % 1000000000u);
                timeout = &rest;
        }
        n = epoll_pwait2(uv_backend_fd(bus->loop), events, ARRAY_SIZE(events), timeout, NULL);
        if (n < 0 && errno == ENOSYS) /* before Linux 5.11, or a filter */
                n = epoll_wait(uv_backend_fd(bus->loop), events, ARRAY_SIZE(events),
                               timeout ? (int)(rest.tv_sec * 1000 + rest.tv_nsec / 1000000 + 1)
                                       : -1);
        if (n < 0)
                return errno == EINTR ? error_set(-EINTR, "a signal came")
                                      : error_system(-errno, "epoll_pwait2");
        for (int i = 0; i < n; i++) {
                /* The first ear is the connection's own pipe. */
                struct ear *ear = list_entry(bus->ears.next, struct ear, link);

                if (list_empty(&bus->ears) || events[i].data.fd != ear->fd || ear->id != 0)
                        for_libuv = true;
                else
                        drain(bus, ear->fd);
        }
        if (for_libuv)
                turn_loop(bus);
        return 0;
}

/* Whether there is something to do of which no descriptor tells: introductions that were lost, and
 * a broker to look for without a timer. */
static bool has_to_look(const struct shmd *bus)
{
        return !list_empty(&bus->missing) || (bus->stage == STAGE_AWAY && !bus->timer);
}

static uint64_t next_look(const struct shmd *bus, uint64_t deadline)
{
        uint64_t next = has_to_look(bus) ? now_ns() + ASK_AGAIN_NS : UINT64_MAX;

        return next < deadline ? next : deadline;
}

/* Waits until something is ready. 1; 0: time is over or there is news; -EINTR. */
static int await(struct shmd *bus, uint64_t begin, uint64_t deadline)
{
        uint64_t budget = spin_budget(bus);

        if (budget && spin(bus, begin + budget < deadline ? begin + budget : deadline))
                return 1;
        while (!has_news(bus)) {
                int code;

                if (arm_and_look(bus))
                        return 1;
                code = sleep_once(bus, next_look(bus, deadline));
                if (bus->is_rung) {
                        disarm(bus);
                        if (anything_ready(bus)) /* without the cost of arming once more */
                                return 1;
                }
                if (has_to_look(bus))
                        connection_intake(bus);
                if (code < 0)
                        return code;
                if (deadline != UINT64_MAX && now_ns() >= deadline)
                        return anything_ready(bus);
        }
        return 0;
}

int shmd_wait(struct shmd *bus, int64_t timeout_ns)
{
        uint64_t begin, deadline = UINT64_MAX;
        int code = check_private(bus, "shmd_wait");

        if (code < 0)
                return code;
        if (timeout_ns < SHMD_FOREVER)
                return error_set(-EINVAL, "shmd_wait: a time-out of %lld ns",
                                 (long long)timeout_ns);
        /* ACQUIRE: as in connection_intake(), which reads the messages. */
        if (load_acquire(bus->word) != bus->seen_word || timeout_ns == 0)
                connection_intake(bus);
        code = anything_ready(bus);
        if (!code && timeout_ns && !has_news(bus)) {
                begin = now_ns();
                if (timeout_ns > 0)
                        deadline = begin + (uint64_t)timeout_ns;
                code = await(bus, begin, deadline);
                if (code < 0)
                        return code;
                if (code > 0 && !bus->spin_ns)
                        bus->usual_ns = (7 * bus->usual_ns + (now_ns() - begin)) / 8;
        }
        deliver(bus);
        return report(bus, code);
}

int shmd_fd(struct shmd *bus)
{
        int code = check_private(bus, "shmd_fd");

        if (code < 0)
                return code;
        bus->must_look = true;
        return uv_backend_fd(bus->loop);
}

int shmd_prepare(struct shmd *bus)
{
        int code = check_private(bus, "shmd_prepare");

        if (code < 0)
                return code;
        if (bus->needs_turn) {
                turn_loop(bus);
                if (bus->is_rung)
                        disarm(bus);
        }
        return arm_and_look(bus) || has_news(bus) || !list_empty(&bus->events);
}

int shmd_dispatch(struct shmd *bus)
{
        int code = check_private(bus, "shmd_dispatch");

        if (code < 0)
                return code;
        turn_loop(bus);
        if (bus->is_rung)
                disarm(bus);
        deliver(bus);
        return report(bus, anything_ready(bus));
}
