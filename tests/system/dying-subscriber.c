/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dying-subscriber.c - a subscriber dies after any of its stores to shared memory and any of its
 * messages: what it held comes back, its seat too, and nobody else notices. Or it stops there, or
 * after a load, for as long as others want: what it holds is as it was, byte for byte, when it goes
 * on, whatever became of the broker meanwhile.
 *
 * Beside the victim: the publisher, which has no chunk more than all may hold, and a second
 * subscriber, which gets every sample.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "protocol.h"
#include "somebody.h"
#include "victim.h"

#define SERVICE "dying/subscriber"
#define DEPTH   4
#define HOLDS   2
#define LAPS    1000 /* of the ring, while somebody stands still */

/* ---- the victim -------------------------------------------------------------------------- */

/* What it holds, and what that was when it was taken. */
struct kept {
        struct shmd_sample sample;
        struct stamped copy;
};

struct reader {
        struct shmd *bus;
        struct shmd_subscriber *subscriber;
        struct kept kept[HOLDS];
        unsigned n_kept;
        struct tally tally;
};

static volatile bool *broker_may_die; /* shared */
static bool is_somebody;              /* the victim: another user, with a board of his own */

/* Whether a call to the broker has worked. That it is gone is an answer, too, where it may be. */
static bool has_worked(int code)
{
        if (code >= 0)
                return true;
        must(*broker_may_die);
        must(code == -ENOTCONN || code == -ECONNREFUSED || code == -ENOENT);
        return false;
}

static void check_kept(const struct reader *reader)
{
        for (unsigned i = 0; i < reader->n_kept; i++) {
                must_equal(memcmp(reader->kept[i].sample.data, &reader->kept[i].copy,
                                  sizeof(struct stamped)),
                           0);
        }
}

static void step(const struct reader *reader, char what)
{
        victim_step(what);
        check_kept(reader);
}

static void keep(struct reader *reader)
{
        struct kept *kept = &reader->kept[reader->n_kept];

        must_equal(shmd_take(reader->subscriber, &kept->sample), 1);
        memcpy(&kept->copy, kept->sample.data, sizeof(kept->copy));
        tally_add(&reader->tally, &kept->sample);
        reader->n_kept++;
        check_kept(reader);
}

static void let_go(struct reader *reader, unsigned i)
{
        check_kept(reader);
        must_equal(shmd_release(reader->subscriber, &reader->kept[i].sample), 0);
        reader->kept[i] = reader->kept[--reader->n_kept];
}

/* Stops may show as EINTR, the broker's death once as itself. */
static void await_sample(struct reader *reader)
{
        uint64_t taken = reader->tally.taken;

        while (reader->tally.taken == taken) {
                int code = shmd_wait(reader->bus, (int64_t)PATIENCE_NS);

                must(code == 1 || code == -EINTR || !has_worked(code));
                tally_take_all(&reader->tally, reader->subscriber);
        }
}

static void look_around(struct reader *reader)
{
        has_worked(shmd_dispatch(reader->bus));
        tally_take_all(&reader->tally, reader->subscriber);
}

/* What is published while it stands still on the way to sleep wakes it, or keeps it awake. */
static void fall_asleep(struct reader *reader)
{
        struct pollfd entry = {.fd = shmd_fd(reader->bus), .events = POLLIN};

        look_around(reader); /* no frame is left that would wake it anyway */
        for (;;) {
                int n;

                while (shmd_prepare(reader->bus))
                        look_around(reader);
                if (reader->n_kept || tally_last(&reader->tally, record->id) == record->done)
                        return;
                n = poll(&entry, 1, (int)(PATIENCE_NS / MS));
                must(n == 1 || (n < 0 && errno == EINTR));
                look_around(reader);
        }
}

/* Subscriptions for which a second block is needed. To empty their rows is a thousand stores alike,
 * which don't count. */
static void subscribe_more(struct reader *reader)
{
        struct shmd_subscriber_options options = {.size = sizeof(options), .holds = 1024};
        struct shmd_subscriber *more[2];
        unsigned n = 0;

        while (n < N_ELEMENTS(more) &&
               has_worked(
                       shmd_subscribe(&more[n], reader->bus, "dying/more", stamped_type, &options)))
                n++;
        death_plan = NULL;
        while (n)
                shmd_subscriber_close(more[--n]);
        death_plan = victim_plan;
}

static void read_all(struct reader *reader)
{
        step(reader, 'a'); /* until the publisher knows it */
        keep(reader);      /* history */
        step(reader, 'p'); /* one sample is published */
        keep(reader);
        let_go(reader, 0);
        step(reader, 'p');
        keep(reader);
        step(reader, 'o'); /* laps, with full hands */
        let_go(reader, 1);
        let_go(reader, 0);
        tally_take_all(&reader->tally, reader->subscriber);
        step(reader, 'o');
        tally_take_all(&reader->tally, reader->subscriber);
        fall_asleep(reader);
        step(reader, 'p');
        await_sample(reader);
        step(reader, 'q'); /* many, one by one: the publisher does without its fence */
        tally_take_all(&reader->tally, reader->subscriber);
        fall_asleep(reader);
        step(reader, 'p');
        await_sample(reader);
        subscribe_more(reader);
        step(reader, 'p');
        keep(reader);
        fall_asleep(reader);
        /* It leaves armed and with something in its hand. */
        check_kept(reader);
        shmd_subscriber_close(reader->subscriber);
}

static void subscribe_through_all(void *argument)
{
        struct shmd_connect_options how = {
                .size = sizeof(how), .socket = broker.socket, .spin_ns = SHMD_SPIN_NEVER};
        struct shmd_subscriber_options options = {
                .size = sizeof(options), .history = 2, .holds = HOLDS};
        struct reader reader = {.n_kept = 0};

        if (is_somebody)
                become_somebody();
        victim_begin();
        if (!has_worked(shmd_connect(&reader.bus, &how)))
                return;
        if (has_worked(shmd_subscribe(&reader.subscriber, reader.bus, SERVICE, stamped_type,
                                      &options)))
                read_all(&reader);
        shmd_close(reader.bus);
}

/* ---- those who live on ------------------------------------------------------------------- */

struct rig {
        struct shmd *writing, *reading;
        struct shmd_publisher *publisher;
        struct shmd_subscriber *subscriber;
        uint64_t number;
        struct tally tally;
        struct snapshot mine, brokers;
};

static void open_rig(struct rig *rig)
{
        memset(rig, 0, sizeof(*rig));
        rig->writing = broker_connect();
        rig->reading = broker_connect();
        rig->publisher =
                stamped_advertise(rig->writing, SERVICE,
                                  (struct shmd_publisher_options){.depth = DEPTH,
                                                                  .loans = 1,
                                                                  .max_subscribers = 2,
                                                                  .holds = HOLDS,
                                                                  .chunks = DEPTH + 2 + HOLDS + 1});
        rig->subscriber = stamped_subscribe(rig->reading, SERVICE,
                                            (struct shmd_subscriber_options){.holds = HOLDS});
        for (unsigned i = 0; i < 2; i++)
                stamped_publish(rig->publisher, ++rig->number);
        tally_take_all(&rig->tally, rig->subscriber);
        broker_rest();
        snapshot_take(&rig->mine, 0);
        snapshot_take(&rig->brokers, broker.pid);
}

static void close_rig(struct rig *rig)
{
        shmd_close(rig->writing);
        shmd_close(rig->reading);
}

/* Each sample reaches the second subscriber, who holds at most one at a time here. */
static void publish(struct rig *rig, unsigned n)
{
        while (n--) {
                stamped_publish(rig->publisher, ++rig->number);
                must_equal(tally_take_all(&rig->tally, rig->subscriber), 1);
        }
        record->id = rig->tally.of[0].publisher;
        record->done = rig->number;
        must_equal(rig->tally.lost, 0);
}

static void do_step(struct rig *rig, char what)
{
        switch (what) {
        case 'a':
                if (broker.pid)
                        until(n_subscribers(rig->publisher) == 2);
                break;
        case 'p':
                publish(rig, 1);
                break;
        case 'q':
                for (unsigned i = 0; i < 20; i++)
                        publish(rig, 1);
                break;
        default:
                publish(rig, 5 * DEPTH);
        }
}

/* Nothing of it is there any more: neither what it held, nor its seat, nor its memory. */
static void outlive(struct rig *rig)
{
        struct shmd_sample held[HOLDS];
        struct census census;

        until(n_subscribers(rig->publisher) == 1);
        until((census = take_census(rig->writing)).n_subscribers == 1 && census.n_publishers == 1);
        await_snapshot(0, &rig->mine, "who outlived it");
        await_snapshot(broker.pid, &rig->brokers, "the broker");
        /* With both of its hands full there is a chunk for each sample only if none is missing. */
        for (unsigned i = 0; i < HOLDS; i++) {
                stamped_publish(rig->publisher, ++rig->number);
                must_equal(shmd_take(rig->subscriber, &held[i]), 1);
                tally_add(&rig->tally, &held[i]);
        }
        for (unsigned i = 0; i < 5 * DEPTH; i++)
                stamped_publish(rig->publisher, ++rig->number);
        for (unsigned i = 0; i < HOLDS; i++) {
                must(stamped_is_whole(held[i].data));
                must_equal(((const struct stamped *)held[i].data)->number, held[i].sequence);
                must_equal(shmd_release(rig->subscriber, &held[i]), 0);
        }
        tally_take_all(&rig->tally, rig->subscriber);
        memset(&rig->tally, 0, sizeof(rig->tally));
}

/* Lets the victim play its role, until it ends or stops. */
static char accompany(struct rig *rig, struct role *role)
{
        char what;

        while ((what = victim_asks(role)) != '\0' && what != VICTIM_STOPPED) {
                do_step(rig, what);
                victim_answer(role);
        }
        return what;
}

static struct role *start_victim(int signal, uint64_t n)
{
        plan_set(victim_plan,
                 signal == SIGKILL ? DEATH_STORE | DEATH_SEND
                                   : DEATH_STORE | DEATH_LOAD | DEATH_SEND,
                 signal, n);
        return role_start("subscriber", subscribe_through_all, NULL);
}

static void die_everywhere(void)
{
        struct rig rig;
        int status;

        broker_may_die = shared_memory(sizeof(*broker_may_die));
        open_rig(&rig);
        for (uint64_t n = 1;; n++) {
                struct role *role = start_victim(SIGKILL, n);

                must_equal(accompany(&rig, role), '\0');
                status = victim_end(role);
                outlive(&rig);
                if (victim_plan->passed < n)
                        break;
                must_equal(status, -SIGKILL);
                injected(1);
        }
        must_equal(status, 0);
        close_rig(&rig);
        injections_print();
}

static void subscriber_that_dies_after_any_store_leaves_nothing_held(void **state)
{
        die_everywhere();
}

/* Woken through a socket instead of a pipe. */
static void subscriber_of_another_user_leaves_nothing_held_either(void **state)
{
        if (!can_be_somebody())
                skip_because("only root can be two users");
        let_somebody_in(NULL);
        is_somebody = true;
        die_everywhere();
        is_somebody = false;
}

/* ---- stopped ----------------------------------------------------------------------------- */

static void come_and_go(void)
{
        struct shmd *bus = broker_connect();

        /* Where there is a seat. */
        for (unsigned i = 0; i < 10; i++) {
                struct shmd_subscriber *subscriber;
                int code = shmd_subscribe(&subscriber, bus, SERVICE, stamped_type, NULL);

                must(code == 0 || code == -ERANGE);
                if (code == 0)
                        shmd_subscriber_close(subscriber);
        }
        shmd_close(bus);
}

/* Runs the victim to its n-th point, where it stops while the publisher laps the ring. Its process
 * is at the same place for as long as that takes. */
static bool run_to_stop(struct rig *rig, uint64_t n, void (*meanwhile)(void))
{
        struct role *role = start_victim(SIGSTOP, n);
        char what;

        while ((what = accompany(rig, role)) != '\0') {
                must_equal(what, VICTIM_STOPPED);
                meanwhile();
                publish(rig, LAPS * DEPTH);
                role_continue(role);
        }
        must_equal(victim_end(role), 0);
        if (victim_plan->passed < n)
                return false;
        injected(1);
        return true;
}

static void subscriber_that_stops_after_any_load_or_store_keeps_what_it_holds(void **state)
{
        struct rig rig;
        uint64_t n = 0;
        bool has_stopped;

        broker_may_die = shared_memory(sizeof(*broker_may_die));
        open_rig(&rig);
        do {
                has_stopped = run_to_stop(&rig, ++n, come_and_go);
                outlive(&rig);
        } while (has_stopped);
        close_rig(&rig);
        injections_print();
}

static void subscriber_that_stops_keeps_what_it_holds_when_the_broker_dies(void **state)
{
        unsigned step = harness_is_long ? 1 : 5; /* each takes two brokers */
        struct rig rig;
        bool has_stopped;

        broker_may_die = shared_memory(sizeof(*broker_may_die));
        *broker_may_die = true;
        for (uint64_t n = 1;; n += step) {
                open_rig(&rig);
                has_stopped = run_to_stop(&rig, n, broker_kill);
                close_rig(&rig);
                if (!has_stopped)
                        break;
                renew_broker();
        }
        injections_print();
}

/* ---- dropped ----------------------------------------------------------------------------- */

/* The connection's socket, which is nobody's business but the library's. */
static int find_socket(void)
{
        for (int fd = 3; fd < 64; fd++) {
                int type = 0;
                socklen_t size = sizeof(type);

                if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
                    type == SOCK_SEQPACKET)
                        return fd;
        }
        must(!"there is a socket");
        return -1;
}

static void hold_and_say_nonsense(void *argument)
{
        struct reader reader = {.bus = broker_connect_with(SHMD_SPIN_NEVER, NULL)};
        struct message nonsense = {.type = UINT32_MAX, .size = sizeof(nonsense)};

        reader.subscriber = stamped_subscribe(
                reader.bus, SERVICE, (struct shmd_subscriber_options){.history = 2, .holds = 2});
        keep(&reader);
        keep(&reader);
        step(&reader, 'a');
        must_equal(send(find_socket(), &nonsense, sizeof(nonsense), MSG_NOSIGNAL),
                   sizeof(nonsense));
        say('s');
        raise(SIGSTOP);
        check_kept(&reader);
        /* It has not read what the broker had to say, and goes on with whom it knows. */
        let_go(&reader, 0);
        keep(&reader);
        step(&reader, 'o');
        let_go(&reader, 1);
        let_go(&reader, 0);
        tally_take_all(&reader.tally, reader.subscriber);
        shmd_close(reader.bus);
}

static unsigned n_dropped(void)
{
        unsigned n = 0;

        for (const char *at = broker_log(); (at = strstr(at, "dropped")); at++)
                n++;
        return n;
}

static void subscriber_that_the_broker_drops_keeps_what_it_holds(void **state)
{
        struct rig rig;

        broker_may_die = shared_memory(sizeof(*broker_may_die));
        open_rig(&rig);
        for (unsigned i = 0; i < 20; i++) {
                struct role *role = role_start("dropped", hold_and_say_nonsense, NULL);

                do_step(&rig, victim_asks(role));
                victim_answer(role);
                role_await(role, 's');
                must_equal(victim_asks(role), VICTIM_STOPPED);
                /* Dropped; but who may hold keeps its seat. */
                until(n_dropped() == i + 1);
                broker_settle(rig.writing);
                must_equal(n_subscribers(rig.publisher), 2);
                publish(&rig, LAPS * DEPTH);
                role_continue(role);
                must_equal(accompany(&rig, role), '\0');
                must_equal(victim_end(role), 0);
                outlive(&rig);
                injected(1);
        }
        close_rig(&rig);
        injections_print();
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(subscriber_that_dies_after_any_store_leaves_nothing_held),
                system_test(subscriber_of_another_user_leaves_nothing_held_either),
                system_test(subscriber_that_stops_after_any_load_or_store_keeps_what_it_holds),
                system_test(subscriber_that_stops_keeps_what_it_holds_when_the_broker_dies),
                system_test(subscriber_that_the_broker_drops_keeps_what_it_holds),
        };

        victims_init(argc, argv);
        return cmocka_run_group_tests_name("system-dying-subscriber", tests, NULL, NULL);
}
