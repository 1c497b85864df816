/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dying-publisher.c - a publisher dies, or stops, after any of its stores to shared memory and any
 * of its messages: whoever reads it has every sample that was committed and in reach, whole and in
 * order, and goes on.
 *
 * Beside the victim: a subscriber that takes, holds, and sleeps; a second publisher of the same
 * service, which goes on; and subscribers that come late.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "somebody.h"
#include "victim.h"

#define SERVICE "dying/publisher"
#define DEPTH   4
#define HOLDS   3

static volatile bool *broker_may_die; /* shared */
static bool is_somebody;              /* the victim: another user than his subscribers */

/* ---- the victim -------------------------------------------------------------------------- */

static void publish(struct shmd_publisher *publisher, unsigned n)
{
        while (n--)
                victim_publish(publisher, victim_loan(publisher));
}

/* So few chunks that reclaim comes often, with the budget of all who hold. False: the broker has
 * died, which the test knows. */
static bool advertise(struct shmd **bus, struct shmd_publisher **publisher)
{
        struct shmd_connect_options how = {.size = sizeof(how), .socket = broker.socket};
        struct shmd_publisher_options options = {.size = sizeof(options),
                                                 .depth = DEPTH,
                                                 .loans = 2,
                                                 .max_subscribers = 3,
                                                 .holds = HOLDS,
                                                 .chunks = DEPTH + 1 + 2 + HOLDS + 2 + 1};
        int code = shmd_connect(bus, &how);

        if (code == 0)
                code = shmd_advertise(publisher, *bus, SERVICE, stamped_type, &options);
        if (code == 0)
                return true;
        must(broker_may_die && *broker_may_die && (code == -ENOTCONN || code == -ECONNREFUSED));
        return false;
}

static void publish_through_all(void *argument)
{
        struct shmd_publisher *publisher;
        struct shmd *bus;
        void *one, *other;

        if (is_somebody)
                become_somebody();
        victim_begin();
        if (!advertise(&bus, &publisher)) {
                shmd_close(bus);
                return;
        }
        victim_step('a'); /* until the subscriber has it */
        publish(publisher, 2);
        victim_step('h'); /* it takes and holds one */
        one = victim_loan(publisher);
        other = victim_loan(publisher);
        victim_publish(publisher, other);
        victim_publish(publisher, one);
        one = victim_loan(publisher);
        other = victim_loan(publisher);
        victim_publish(publisher, other);
        must_equal(shmd_discard(publisher, one), 0);
        victim_step('h');
        publish(publisher, 2);
        victim_step('s'); /* it goes to sleep */
        publish(publisher, 1);
        victim_step('w'); /* it wakes up */
        publish(publisher, 20);
        victim_step('t'); /* overrun */
        publish(publisher, 12);
        victim_step('s'); /* with membarrier by now */
        publish(publisher, 1);
        victim_step('w');
        victim_step('j'); /* another one joins, and holds the last */
        publish(publisher, 12);
        victim_step('r'); /* all let go; the other one sleeps */
        publish(publisher, 6);
        victim_step('l'); /* it leaves */
        publish(publisher, 3);
        record->is_leaving = 1;
        shmd_publisher_close(publisher);
        victim_step('t');
        shmd_close(bus);
}

/* ---- those who live on ------------------------------------------------------------------- */

struct late {
        struct shmd *bus; /* NULL: not there */
        struct shmd_subscriber *subscriber;
        struct shmd_sample held;
        struct stamped copy;
};

struct rig {
        struct shmd *reading, *writing;
        struct shmd_subscriber *subscriber;
        struct shmd_publisher *other;
        uint64_t other_number;
        struct tally tally;
        struct shmd_sample held[2];
        struct stamped copies[2];
        unsigned n_held;
        struct late late[2];    /* one that the script wants, one that came while it stood still */
        struct role *neighbour; /* where the victim is of another user: another one of his */
        struct snapshot mine, brokers;
        struct census census;
};

static void check_held(const struct shmd_sample *sample, const struct stamped *copy)
{
        must_equal(memcmp(sample->data, copy, sizeof(*copy)), 0);
        must(stamped_is_whole(copy));
}

static void check_all_held(struct rig *rig)
{
        for (unsigned i = 0; i < rig->n_held; i++)
                check_held(&rig->held[i], &rig->copies[i]);
        for (unsigned i = 0; i < 2; i++)
                if (rig->late[i].held.data)
                        check_held(&rig->late[i].held, &rig->late[i].copy);
}

/* Takes all that the victim has committed, but for what may be no longer in reach. */
static void take_all(struct rig *rig)
{
        uint64_t last = tally_last(&rig->tally, record->id), lost = rig->tally.lost, newest, gone;

        tally_take_all(&rig->tally, rig->subscriber);
        newest = tally_last(&rig->tally, record->id);
        must(newest == record->done || newest == record->began);
        gone = newest > DEPTH ? newest - DEPTH : 0;
        must(rig->tally.lost - lost <= (gone > last ? gone - last : 0));
        check_all_held(rig);
}

static void hold_one(struct rig *rig)
{
        struct shmd_sample *sample = &rig->held[rig->n_held];

        /* All may be taken already, while the victim stood still. */
        if (tally_last(&rig->tally, record->id) < record->done) {
                must_equal(shmd_take(rig->subscriber, sample), 1);
                tally_add(&rig->tally, sample);
                memcpy(&rig->copies[rig->n_held++], sample->data, sizeof(struct stamped));
        }
        take_all(rig);
}

static void release_all(struct rig *rig)
{
        while (rig->n_held)
                must_equal(shmd_release(rig->subscriber, &rig->held[--rig->n_held]), 0);
}

/* That the broker is gone is told once. */
static void must_go_on(int code)
{
        must(code >= 0 || (code == -ENOTCONN && !broker.pid));
}

static void fall_asleep(struct rig *rig)
{
        take_all(rig);
        while (shmd_prepare(rig->reading)) {
                must_go_on(shmd_dispatch(rig->reading));
                take_all(rig);
        }
}

static void wake_up(struct rig *rig)
{
        while (tally_last(&rig->tally, record->id) < record->done) {
                int code = shmd_wait(rig->reading, (int64_t)PATIENCE_NS);

                must(code);
                must_go_on(code);
                take_all(rig);
        }
        take_all(rig);
}

/* Joins with all the history there is, and holds the newest sample of the victim's. */
static void join_late(struct late *late)
{
        struct shmd_sample sample;
        uint64_t newest = record->done, n = 0;

        late->bus = broker_connect_with(SHMD_SPIN_NEVER, NULL);
        late->subscriber = stamped_subscribe(
                late->bus, SERVICE, (struct shmd_subscriber_options){.history = DEPTH, .holds = 1});
        while (shmd_take(late->subscriber, &sample) == 1) {
                const struct stamped *stamped = sample.data;

                must(stamped_is_whole(stamped));
                must_equal(stamped->number, sample.sequence);
                if (sample.publisher == record->id) {
                        n++;
                        if (sample.sequence >= newest) {
                                newest = sample.sequence;
                                late->held = sample;
                                late->copy = *stamped;
                                break;
                        }
                }
                must_equal(shmd_release(late->subscriber, &sample), 0);
        }
        must(newest == record->done || newest == record->began);
        /* All that is kept; one less if that which is under way is there already. */
        must((n == 0 && record->is_leaving) ||
             n + (record->began != record->done) >= (newest < DEPTH ? newest : DEPTH));
}

/* With its hand full it is woken by news of peers only. */
static void sleep_late(const struct late *late)
{
        struct shmd_sample sample;

        while (shmd_prepare(late->bus)) {
                must_go_on(shmd_dispatch(late->bus));
                while (!late->held.data && shmd_take(late->subscriber, &sample) == 1) {
                        must(stamped_is_whole(sample.data));
                        must_equal(shmd_release(late->subscriber, &sample), 0);
                }
        }
}

static void leave(struct late *late)
{
        if (late->held.data)
                check_held(&late->held, &late->copy);
        shmd_close(late->bus);
        memset(late, 0, sizeof(*late));
}

static void publish_other(struct rig *rig)
{
        stamped_publish(rig->other, ++rig->other_number);
}

static void do_step(struct rig *rig, char what)
{
        switch (what) {
        case 'a':
                /* Though the broker may have died since it said so. */
                until(n_publishers(rig->subscriber) == 2);
                break;
        case 'h':
                hold_one(rig);
                break;
        case 's':
                fall_asleep(rig);
                break;
        case 'w':
                wake_up(rig);
                break;
        case 'j':
                if (broker.pid)
                        join_late(&rig->late[0]);
                break;
        case 'r':
                take_all(rig);
                release_all(rig);
                if (rig->late[0].held.data)
                        must_equal(shmd_release(rig->late[0].subscriber, &rig->late[0].held), 0);
                if (rig->late[0].bus)
                        sleep_late(&rig->late[0]);
                break;
        case 'l':
                if (rig->late[0].bus)
                        leave(&rig->late[0]);
                break;
        default:
                take_all(rig);
        }
        publish_other(rig);
        take_all(rig);
}

/* The victim stands still, at whatever instruction, for as long as it takes. */
static void go_on_without(struct rig *rig)
{
        for (unsigned i = 0; i < 3; i++) {
                publish_other(rig);
                take_all(rig);
        }
        if (rig->late[1].bus)
                leave(&rig->late[1]);
        /* Known to it only when it goes on; reads at once. */
        join_late(&rig->late[1]);
        sleep_late(&rig->late[1]);
}

static void advertise_beside(void *argument)
{
        struct shmd *bus;

        become_somebody();
        bus = broker_connect();
        stamped_advertise(bus, "dying/beside", (struct shmd_publisher_options){0});
        say('r');
        hear('e');
        shmd_close(bus);
}

/* Readers keep the wake channel of a user that they have once met: so they meet him first. */
static void meet_somebody(struct rig *rig)
{
        struct shmd_subscriber *beside;

        rig->neighbour = role_start("neighbour", advertise_beside, NULL);
        role_await(rig->neighbour, 'r');
        beside = stamped_subscribe(rig->reading, "dying/beside",
                                   (struct shmd_subscriber_options){0});
        until(n_publishers(beside) == 1);
}

static void open_rig(struct rig *rig)
{
        memset(rig, 0, sizeof(*rig));
        plan_set(victim_plan, 0, 0, 0);
        rig->writing = broker_connect();
        rig->reading = broker_connect_with(SHMD_SPIN_NEVER, NULL);
        rig->other = stamped_advertise(rig->writing, SERVICE,
                                       (struct shmd_publisher_options){.holds = HOLDS});
        rig->subscriber = stamped_subscribe(rig->reading, SERVICE,
                                            (struct shmd_subscriber_options){.holds = HOLDS});
        publish_other(rig);
        take_all(rig);
        if (is_somebody)
                meet_somebody(rig);
        broker_rest();
        snapshot_take(&rig->mine, 0);
        snapshot_take(&rig->brokers, broker.pid);
        rig->census = take_census(rig->writing);
}

static void close_rig(struct rig *rig)
{
        if (rig->neighbour) {
                role_tell(rig->neighbour, 'e');
                role_finish(rig->neighbour);
        }
        shmd_close(rig->reading);
        shmd_close(rig->writing);
}

/* Everything that it left is read to the end; then nothing of it is there any more. */
static void outlive(struct rig *rig)
{
        struct census census;

        while (n_publishers(rig->subscriber) > 1) {
                fall_asleep(rig);
                must(shmd_wait(rig->reading, (int64_t)PATIENCE_NS) >= 0);
        }
        take_all(rig);
        release_all(rig);
        for (unsigned i = 0; i < 2; i++)
                if (rig->late[i].bus)
                        leave(&rig->late[i]);
        publish_other(rig);
        fall_asleep(rig);
        until((census = take_census(rig->writing)).n_publishers == rig->census.n_publishers &&
              census.n_subscribers == rig->census.n_subscribers);
        await_snapshot(0, &rig->mine, "who outlived it");
        await_snapshot(broker.pid, &rig->brokers, "the broker");
}

/* Plays a victim that dies or stops at the n-th point to its end, and does what is due while it
 * stands still. Its exit status, or -signal. */
static int accompany(struct rig *rig, int signal, uint64_t n, void (*meanwhile)(struct rig *rig))
{
        struct role *role;
        char what;

        plan_set(victim_plan,
                 signal == SIGKILL ? DEATH_STORE | DEATH_SEND
                                   : DEATH_STORE | DEATH_LOAD | DEATH_SEND,
                 signal, n);
        memset(&rig->tally, 0, sizeof(rig->tally));
        role = role_start("publisher", publish_through_all, NULL);
        while ((what = victim_asks(role)) != '\0') {
                if (what == VICTIM_STOPPED) {
                        meanwhile(rig);
                        role_continue(role);
                } else {
                        do_step(rig, what);
                        victim_answer(role);
                }
        }
        return victim_end(role);
}

/* One run, of which nothing is left in the end. False: it has passed fewer points than n. */
static bool run_to(struct rig *rig, int signal, uint64_t n)
{
        int status = accompany(rig, signal, n, go_on_without);

        must(status == 0 || status == -SIGKILL);
        outlive(rig);
        if (victim_plan->passed < n)
                return false;
        must_equal(status == 0, signal == SIGSTOP);
        injected(1);
        return true;
}

static void run_all(int signal)
{
        struct rig rig;
        uint64_t n = 1;

        open_rig(&rig);
        /* Of the many points at which it can stop, or be somebody else, one in three, unless there
         * is time. */
        while (run_to(&rig, signal, n))
                n += (signal == SIGSTOP || is_somebody) && !harness_is_long ? 3 : 1;
        close_rig(&rig);
        injections_print();
}

static void publisher_that_dies_after_any_store_is_read_to_the_end(void **state)
{
        run_all(SIGKILL);
}

/* He wakes his subscribers through sockets instead of pipes. */
static void publisher_of_another_user_is_read_to_the_end_too(void **state)
{
        if (!can_be_somebody())
                skip_because("only root can be two users");
        let_somebody_in(NULL);
        is_somebody = true;
        run_all(SIGKILL);
        is_somebody = false;
}

static void publisher_that_stops_after_any_load_or_store_stops_nobody(void **state)
{
        run_all(SIGSTOP);
}

static void go_on_without_both(struct rig *rig)
{
        go_on_without(rig);
        broker_rest();
        broker_kill();
        take_all(rig);
}

/* Whoever has got to know it reads it on; what the dead broker had still to say to it, it hears. */
static void publisher_that_stops_goes_on_when_the_broker_has_died(void **state)
{
        unsigned step = harness_is_long ? 1 : 7; /* each takes two brokers */
        bool has_stopped = true;

        broker_may_die = shared_memory(sizeof(*broker_may_die));
        *broker_may_die = true;
        for (uint64_t n = 1; has_stopped; n += step) {
                struct snapshot mine;
                struct rig rig;

                snapshot_take(&mine, 0);
                open_rig(&rig);
                must_equal(accompany(&rig, SIGSTOP, n, go_on_without_both), 0);
                take_all(&rig);
                has_stopped = victim_plan->passed >= n;
                injected(has_stopped);
                for (unsigned i = 0; i < 2; i++)
                        if (rig.late[i].bus)
                                leave(&rig.late[i]);
                close_rig(&rig);
                if (!has_stopped)
                        break;
                renew_broker();
                await_snapshot(0, &mine, "who outlived both");
        }
        injections_print();
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(publisher_that_dies_after_any_store_is_read_to_the_end),
                system_test(publisher_of_another_user_is_read_to_the_end_too),
                system_test(publisher_that_stops_after_any_load_or_store_stops_nobody),
                system_test(publisher_that_stops_goes_on_when_the_broker_has_died),
        };

        victims_init(argc, argv);
        return cmocka_run_group_tests_name("system-dying-publisher", tests, NULL, NULL);
}
