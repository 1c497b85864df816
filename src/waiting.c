/* SPDX-License-Identifier: Apache-2.0 */
/*
 * waiting.c - puts a connection to sleep and wakes it: by itself, in the user's uv_loop_t, or for
 * any other loop by a descriptor.
 *
 * Every connection has its libuv handles in one loop: one that watches the broker's socket, and one
 * for each channel on which publishers ring (an "ear": a uv_pipe_t for its own pipe, a uv_poll_t
 * for a socket on which another user does). With the user's loop, a prepare handle arms before the
 * loop sleeps and a check handle runs the callbacks after it woke. With the private loop,
 * shmd_wait() sleeps on the loop's descriptor itself and drains its own pipe without libuv's help:
 * two system calls for a wake-up, an exact time-out, and signals are noticed.
 *
 * Whatever loop: the order after waking is drain, disarm, look (doorbell.h). Once armed, the
 * connection stays so until a frame was drained; `must_look` says that a look is due all the same,
 * because something may have become takeable that nobody rings for.
 */
#include <errno.h>
#include <poll.h>
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

/* When so many waits in a row have spun in vain, only one in so many still tries: who publishes may
 * need the very CPU that spins. */
#define SPINS_IN_VAIN   16
#define WAITS_A_NEW_TRY 64

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

void waiting_disarm(struct shmd *bus)
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
bool waiting_arm_and_look(struct shmd *bus)
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
        waiting_disarm(bus);
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

void waiting_deliver(struct shmd *bus)
{
        bus->is_dispatching = true;
        deliver_events(bus);
        deliver_samples(bus);
        bus->is_dispatching = false;
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

static int check_private(const struct shmd *bus, const char *function)
{
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

/* Looks some times, which takes less than SPIN_TRY_NS; true if something is there. */
static bool look_for_a_turn(struct shmd *bus)
{
        for (int i = 0; i < LOOKS_A_TURN; i++) {
                if (anything_ready(bus))
                        return true;
                spin_pause();
        }
        return false;
}

/* Looks until something is there or `budget` is over; true if something is. */
static bool spin(struct shmd *bus, uint64_t begin, uint64_t budget)
{
        while (!look_for_a_turn(bus)) {
                /* ACQUIRE: as in connection_intake(), which reads the messages. */
                if (load_acquire(bus->word) != bus->seen_word)
                        connection_intake(bus);
                if (connection_needs_care(bus))
                        connection_care(bus);
                /* Over, too, if the clock has gone back. */
                if (has_news(bus) || now_ns() - begin >= budget)
                        return false;
        }
        return true;
}

static uint64_t spin_budget(const struct shmd *bus)
{
        if (bus->spin_ns == SHMD_SPIN_NEVER)
                return 0;
        if (bus->spin_ns)
                return bus->spin_ns;
        if (bus->vain_spins >= SPINS_IN_VAIN && bus->vain_spins % WAITS_A_NEW_TRY)
                return 0;
        return bus->usual_ns > SPIN_MAX_NS ? SPIN_TRY_NS : 2 * bus->usual_ns + SPIN_TRY_NS;
}

/* Sleeps in the kernel until a frame, a message, a signal or for `left`. 1: that is over; 0, or
 * -EINTR. */
static int sleep_once(struct shmd *bus, uint64_t left)
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
        if (left != UINT64_MAX) {
                rest.tv_sec = (time_t)(left / 1000000000u);
                rest.tv_nsec = (long)(left % 1000000000u);
                timeout = &rest;
        }
        n = epoll_pwait2(uv_backend_fd(bus->loop), events, ARRAY_SIZE(events), timeout, NULL);
        if (n < 0 && (errno == ENOSYS || errno == EPERM)) /* before Linux 5.11, or a filter */
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
                        ear_drain_pipe(ear);
        }
        if (for_libuv)
                turn_loop(bus);
        return n == 0;
}

/* What is left of a time-out: never more than all of it, if the clock has gone back. */
static uint64_t time_left(uint64_t begin, uint64_t timeout)
{
        uint64_t now = now_ns(), passed = now > begin ? now - begin : 0;

        if (timeout == UINT64_MAX)
                return timeout;
        return passed < timeout ? timeout - passed : 0;
}

/* Waits until something is ready. 1; 0: time is over or there is news; -EINTR. */
static int await_until(struct shmd *bus, uint64_t budget, uint64_t begin, uint64_t timeout)
{
        if (budget && spin(bus, begin, budget < timeout ? budget : timeout)) {
                bus->vain_spins = 0;
                return 1;
        }
        bus->vain_spins++;
        while (!has_news(bus)) {
                uint64_t left = time_left(begin, timeout);
                bool must_look = waiting_has_to_look(bus) && ASK_AGAIN_NS < left;
                int code;

                if (waiting_arm_and_look(bus))
                        return 1;
                code = sleep_once(bus, must_look ? ASK_AGAIN_NS : left);
                if (bus->is_rung) {
                        waiting_disarm(bus);
                        if (anything_ready(bus)) /* without the cost of arming once more */
                                return 1;
                }
                if (waiting_has_to_look(bus))
                        connection_intake(bus);
                if (code < 0)
                        return code;
                /* The kernel has counted the time, whatever the clock says. */
                if ((code > 0 && !must_look) || time_left(begin, timeout) == 0)
                        return anything_ready(bus);
        }
        return 0;
}

static int await(struct shmd *bus, uint64_t timeout)
{
        uint64_t begin, end, lasted = 0, budget = spin_budget(bus);
        int code = 1;

        /* Without the clock: who waits for an answer that comes at once would wait for it, too. */
        if (budget < SPIN_TRY_NS || timeout < SPIN_TRY_NS || !look_for_a_turn(bus)) {
                begin = now_ns();
                code = await_until(bus, budget, begin, timeout);
                end = now_ns();
                lasted = end > begin ? end - begin : 0;
        }
        if (code > 0 && !bus->spin_ns)
                bus->usual_ns = (7 * bus->usual_ns + lasted) / 8;
        return code;
}

int shmd_wait(struct shmd *bus, int64_t timeout_ns)
{
        CALL(call);
        int code;

        if (!bus)
                return call_lacks("shmd_wait", "connection");
        code = call_on_connection(&call, bus, bus);
        if (code == 0)
                code = check_private(bus, "shmd_wait");
        if (code < 0)
                return code;
        if (timeout_ns < SHMD_FOREVER)
                return error_set(-EINVAL, "shmd_wait: %lld ns are no time", (long long)timeout_ns);
        /* ACQUIRE: as in connection_intake(), which reads the messages. */
        if (load_acquire(bus->word) != bus->seen_word || timeout_ns == 0)
                connection_intake(bus);
        code = anything_ready(bus);
        if (!code && timeout_ns && !has_news(bus))
                code = await(bus, timeout_ns > 0 ? (uint64_t)timeout_ns : UINT64_MAX);
        if (code < 0)
                return code;
        waiting_deliver(bus);
        return report(bus, code);
}

int shmd_fd(struct shmd *bus)
{
        CALL(call);
        int code;

        if (!bus)
                return call_lacks("shmd_fd", "connection");
        code = call_on_connection(&call, bus, bus);
        if (code == 0)
                code = check_private(bus, "shmd_fd");
        if (code < 0)
                return code;
        bus->must_look = true;
        return uv_backend_fd(bus->loop);
}

/* Nothing will make the descriptor readable when there is memory, or a descriptor, again. True,
 * after a moment in which nothing came, and what is missing was asked for. */
static bool wait_to_ask(struct shmd *bus)
{
        struct pollfd entry = {.fd = uv_backend_fd(bus->loop), .events = POLLIN};

        if (poll(&entry, 1, ASK_AGAIN_NS / 1000000) == 0)
                connection_intake(bus);
        return true;
}

int shmd_prepare(struct shmd *bus)
{
        CALL(call);
        int code;

        if (!bus)
                return call_lacks("shmd_prepare", "connection");
        code = call_on_connection(&call, bus, bus);
        if (code == 0)
                code = check_private(bus, "shmd_prepare");
        if (code < 0)
                return code;
        /* What a turn begins to watch, the descriptor tells of only after another. */
        while (bus->needs_turn) {
                turn_loop(bus);
                if (bus->is_rung)
                        waiting_disarm(bus);
        }
        if (waiting_arm_and_look(bus) || has_news(bus) || !list_empty(&bus->events))
                return 1;
        return waiting_has_to_look(bus) && wait_to_ask(bus);
}

int shmd_dispatch(struct shmd *bus)
{
        CALL(call);
        int code;

        if (!bus)
                return call_lacks("shmd_dispatch", "connection");
        code = call_on_connection(&call, bus, bus);
        if (code == 0)
                code = check_private(bus, "shmd_dispatch");
        if (code < 0)
                return code;
        turn_loop(bus);
        if (bus->is_rung)
                waiting_disarm(bus);
        waiting_deliver(bus);
        return report(bus, anything_ready(bus));
}
