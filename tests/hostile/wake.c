/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wake.c - publishers that abuse their wake channel, beside an honest one, before a subscriber that
 * sleeps: as the same user on a pipe, as another on a socket, and there also on a kernel that can't
 * refuse descriptors.
 *
 * The tricks last until the honest publisher's samples have all arrived, one sleep each: whoever is
 * stopped by one, is stopped for longer than the test has patience.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "connection.h"
#include "faults.h"
#include "harness.h"
#include "somebody.h"
#include "stamped.h"
#include "wake-tricks.h"

#define SERVICE "hostile/wake"
#define N_PINGS 50

/* What the processes tell each other. */
static struct scene {
        uint32_t lacking; /* what this kernel is to lack, see faults.h */
        bool is_other;    /* the hostile one is another user */
        const struct wake_trick *trick;
        pid_t victim;
        int victims_end;
        uint64_t honest;  /* id of the publisher */
        uint64_t n_taken; /* of its samples */
        uint64_t n_pings; /* that it is to publish */
        bool refuses;     /* descriptors are refused */
        uint64_t n_before, n_after;
} * scene;

static struct faults *brokers;

/* ---- users --------------------------------------------------------------------------------- */

/* A broker for both, on a kernel like that. */
static void let_both_in(uint32_t lacking)
{
        broker_terminate(SIGTERM);
        brokers->lacking = lacking;
        let_somebody_in(NULL);
}

/* ---- the processes -------------------------------------------------------------------------- */

static struct shmd_publisher *advertise_and_be_known(struct shmd *bus)
{
        struct shmd_publisher *publisher =
                stamped_advertise(bus, SERVICE, (struct shmd_publisher_options){.depth = 4});
        struct shmd_publisher_state status;

        until(shmd_publisher_status(publisher, &status) == 0 && status.subscribers == 1);
        return publisher;
}

static void take_honest(struct shmd_subscriber *subscriber)
{
        struct shmd_sample sample;

        while (shmd_take(subscriber, &sample) == 1) {
                if (sample.publisher == __atomic_load_n(&scene->honest, __ATOMIC_ACQUIRE)) {
                        must_equal(sample.lost, 0);
                        __atomic_add_fetch(&scene->n_taken, 1, __ATOMIC_RELEASE);
                }
                must_equal(shmd_release(subscriber, &sample), 0);
        }
}

static void sleep_and_take(void *argument)
{
        struct shmd_subscriber *subscriber;
        struct shmd *bus;

        (void)argument;
        faults->lacking = scene->lacking;
        bus = broker_connect_with(SHMD_SPIN_NEVER, NULL);
        subscriber = stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});
        scene->victim = getpid();
        scene->victims_end = bus->pipe_write;
        say('r');
        while (!has_heard('e')) {
                int code = shmd_wait(bus, 200 * (int64_t)MS);

                /* Of all that wakes it only samples count. -EINTR: it was stopped. */
                must(code >= 0 || code == -EINTR);
                take_honest(subscriber);
        }
        shmd_close(bus);
}

/* Rings for the sleeper, who does not drain now. */
static void publish_while_it_is_stopped(struct shmd_publisher *publisher)
{
        say('r');
        hear('s');
        stamped_publish(publisher, 1);
        say('p');
        hear('g');
}

static void publish_honestly(void *argument)
{
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher = advertise_and_be_known(bus);
        struct shmd_publisher_state status;

        (void)argument;
        must_equal(shmd_publisher_status(publisher, &status), 0);
        __atomic_store_n(&scene->honest, status.id, __ATOMIC_RELEASE);
        publish_while_it_is_stopped(publisher);
        for (uint64_t n = 2; n <= N_PINGS; n++) {
                stamped_publish(publisher, n);
                until(__atomic_load_n(&scene->n_taken, __ATOMIC_ACQUIRE) == n);
        }
        say('d');
        shmd_close(bus);
}

/* Of the same user as the hostile one, so it may not be heard: but it never waits. */
static void publish_beside(void *argument)
{
        struct shmd_publisher *publisher;
        struct shmd *bus;

        (void)argument;
        if (scene->is_other)
                become_somebody();
        bus = broker_connect();
        publisher = advertise_and_be_known(bus);
        publish_while_it_is_stopped(publisher);
        for (uint64_t n = 2; n <= N_PINGS; n++) {
                uint64_t taken = __atomic_load_n(&scene->n_taken, __ATOMIC_ACQUIRE);

                stamped_publish(publisher, n);
                until(taken == N_PINGS ||
                      __atomic_load_n(&scene->n_taken, __ATOMIC_ACQUIRE) > taken);
        }
        shmd_close(bus);
}

static void play_trick(void *argument)
{
        const struct wake_trick *trick = scene->trick;
        struct wake_trick_props props = {.victim = scene->victim,
                                         .victims_end = scene->victims_end,
                                         .refuses = scene->refuses,
                                         .fault_fd = -1,
                                         .peer = -1};
        const struct channel *channel;
        struct shmd *bus;

        (void)argument;
        /* What it writes to the channel is its own affair; so is how it dies of it. */
        signal(SIGPIPE, SIG_IGN);
        if (trick->flags & TRICK_FAULTS)
                props.fault_fd = wake_fault_fd();
        if (scene->is_other)
                become_somebody();
        bus = broker_connect();
        advertise_and_be_known(bus);
        channel = list_entry(bus->channels.next, struct channel, link);
        must_equal(channel->is_socket, scene->is_other);
        props.channel = channel->fd;
        props.is_socket = channel->is_socket;
        trick->begin(&props);
        say('r');
        while (!has_heard('e'))
                if (trick->go_on)
                        trick->go_on(&props);
        if (trick->end)
                trick->end(&props);
        if (props.fault_fd >= 0)
                close(props.fault_fd);
        shmd_close(bus);
}

static void survive_trick(const struct wake_trick *trick)
{
        struct role *subscriber, *honest, *beside, *hostile;

        scene->trick = trick;
        scene->n_taken = scene->honest = 0;
        subscriber = role_start("subscriber", sleep_and_take, NULL);
        role_await(subscriber, 'r');
        honest = role_start("honest", publish_honestly, NULL);
        role_await(honest, 'r');
        beside = role_start("beside", publish_beside, NULL);
        role_await(beside, 'r');
        /* Asleep and armed, so that all that the trick begins with is there when it goes on. */
        broker_rest();
        until(process_is_asleep(subscriber->pid));
        role_stop(subscriber);
        hostile = role_start(trick->name, play_trick, NULL);
        role_await(hostile, 'r');
        if (trick->flags & TRICK_STOPS)
                role_stop(hostile);
        role_tell(beside, 's');
        role_await(beside, 'p');
        role_tell(honest, 's');
        role_await(honest, 'p');
        role_continue(subscriber);
        role_tell(beside, 'g');
        role_tell(honest, 'g');
        role_await(honest, 'd');
        role_finish(honest);
        role_finish(beside);
        /* It also ends in time, with whatever the trick has left in its channel. */
        role_tell(subscriber, 'e');
        role_finish(subscriber);
        if (trick->flags & TRICK_STOPS)
                role_continue(hostile);
        role_tell(hostile, 'e');
        role_finish(hostile);
}

static bool can_fault(void)
{
        int fd = wake_fault_fd();

        if (fd < 0)
                return false;
        close(fd);
        return true;
}

static void survive_tricks(unsigned flags)
{
        for (unsigned i = 0; i < n_wake_tricks; i++) {
                const struct wake_trick *trick = &wake_tricks[i];

                if (!(trick->flags & flags))
                        continue;
                if ((trick->flags & TRICK_FAULTS) && !can_fault())
                        print_message("left out: %s: no userfaultfd\n", trick->name);
                else
                        survive_trick(trick);
        }
}

static bool kernel_refuses_descriptors(void)
{
        int fds[2];
        bool can;

        must_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        can = socket_refuse_fds(fds[0]) && socket_refuses_fds(fds[0]);
        close(fds[0]);
        close(fds[1]);
        return can;
}

static void as_other_user(uint32_t lacking)
{
        if (!can_be_somebody())
                skip_because("only root can be two users");
        let_both_in(lacking);
        scene = shared_memory(sizeof(*scene));
        scene->is_other = true;
        scene->lacking = lacking;
        scene->refuses = !lacking && kernel_refuses_descriptors();
        survive_tricks(TRICK_SOCKET);
        brokers->lacking = 0;
}

static void same_users_tricks_stop_nobody(void **state)
{
        scene = shared_memory(sizeof(*scene));
        survive_tricks(TRICK_PIPE);
}

static void other_users_tricks_stop_nobody(void **state)
{
        as_other_user(0);
}

static void other_users_tricks_stop_nobody_on_older_kernels(void **state)
{
        as_other_user(LACKS_PASSRIGHTS);
}

/* ---- nobody to close it ---------------------------------------------------------------------- */

static void close_without_a_broker(void *argument)
{
        struct shmd *bus;

        (void)argument;
        faults->lacking = scene->lacking;
        bus = broker_connect_with(SHMD_SPIN_NEVER, NULL);
        stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});
        scene->victim = getpid();
        scene->victims_end = bus->pipe_write;
        say('r');
        hear('l'); /* the broker is gone */
        until(shmd_wait(bus, MS) == -ENOTCONN);
        shmd_close(bus);
        say('c');
        /* It has one descriptor more than before: what came through it would take an hour. */
        hear('k');
}

static void descriptors_stop_nobody_who_has_lost_the_broker(void **state)
{
        struct role *subscriber, *hostile;

        if (!can_be_somebody())
                skip_because("only root can be two users");
        let_both_in(LACKS_PASSRIGHTS);
        scene = shared_memory(sizeof(*scene));
        scene->is_other = true;
        scene->lacking = LACKS_PASSRIGHTS;
        scene->trick = &wake_tricks[0];
        while (strcmp(scene->trick->name, "a descriptor"))
                scene->trick++;
        subscriber = role_start("subscriber", close_without_a_broker, NULL);
        role_await(subscriber, 'r');
        hostile = role_start("hostile", play_trick, NULL);
        role_await(hostile, 'r');
        broker_kill();
        role_tell(subscriber, 'l');
        role_await(subscriber, 'c');
        role_kill(subscriber);
        role_tell(hostile, 'e');
        role_finish(hostile);
        brokers->lacking = 0;
}

/* ---- what junk costs ------------------------------------------------------------------------ */

static uint64_t n_waiting(int fd)
{
        int n = 0;

        must_equal(ioctl(fd, FIONREAD, &n), 0);
        return (uint64_t)n;
}

static unsigned n_ears(const struct shmd *bus)
{
        unsigned n = 0;

        list_for_each (&bus->ears, link)
                n++;
        return n;
}

/* Lets junk pile up while it does nothing, and then takes one turn. */
static void take_one_turn(void *argument)
{
        struct shmd *bus = broker_connect();
        const struct ear *ear = NULL;
        struct pollfd bell = {.events = POLLIN};

        (void)argument;
        faults->lacking = scene->lacking;
        stamped_subscribe(bus, SERVICE, (struct shmd_subscriber_options){0});
        say('r');
        hear('j'); /* the hostile one is there: let it in */
        until(shmd_wait(bus, MS) >= 0 && (!scene->is_other || n_ears(bus) == 2));
        list_for_each (&bus->ears, link)
                ear = list_entry(link, struct ear, link);
        must_equal(ear->id != 0, scene->is_other);
        bell.fd = shmd_fd(bus);
        while (shmd_prepare(bus) != 0)
                must(shmd_dispatch(bus) >= 0);
        say('w');
        hear('g');
        scene->n_before = n_waiting(ear->fd);
        until(poll(&bell, 1, 0) == 1);
        must(shmd_dispatch(bus) >= 0);
        scene->n_after = n_waiting(ear->fd);
        shmd_close(bus);
}

static void pile_up_junk(void *argument)
{
        static const char junk[65536];
        const struct channel *channel;
        struct shmd *bus;

        (void)argument;
        if (scene->is_other)
                become_somebody();
        bus = broker_connect();
        stamped_advertise(bus, SERVICE, (struct shmd_publisher_options){.depth = 4});
        say('r');
        hear('g');
        until(shmd_wait(bus, MS) >= 0 && !list_empty(&bus->channels));
        channel = list_entry(bus->channels.next, struct channel, link);
        fcntl(channel->fd, F_SETPIPE_SZ, 1 << 20);
        while (write(channel->fd, junk, sizeof(junk)) > 0)
                ;
        wake_fill(channel->fd);
        say('d');
        shmd_close(bus);
}

/* Bytes that one turn reads at most, of more than that. */
static void one_turn_takes_at_most(uint64_t most)
{
        struct role *subscriber = role_start("subscriber", take_one_turn, NULL), *hostile;

        role_await(subscriber, 'r');
        hostile = role_start("hostile", pile_up_junk, NULL);
        role_await(hostile, 'r');
        role_tell(subscriber, 'j');
        role_await(subscriber, 'w');
        role_tell(hostile, 'g');
        role_await(hostile, 'd');
        role_finish(hostile);
        role_tell(subscriber, 'g');
        role_finish(subscriber);
        must(scene->n_before > most);
        must(scene->n_after < scene->n_before);
        must(scene->n_before - scene->n_after <= most);
}

static void junk_costs_a_bounded_drain(void **state)
{
        scene = shared_memory(sizeof(*scene));
        /* libuv's own bound: so many reads. */
        one_turn_takes_at_most(UINT64_C(32) * PROTOCOL_MESSAGE_MAX);
}

static void junk_of_others_costs_a_bounded_drain(void **state)
{
        if (!can_be_somebody())
                skip_because("only root can be two users");
        let_both_in(0);
        scene = shared_memory(sizeof(*scene));
        scene->is_other = true;
        one_turn_takes_at_most(UINT64_C(4) * PROTOCOL_MESSAGE_MAX);
        scene->lacking = LACKS_PASSRIGHTS;
        one_turn_takes_at_most(UINT64_C(4) * PROTOCOL_MESSAGE_MAX);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(same_users_tricks_stop_nobody),
                system_test(other_users_tricks_stop_nobody),
                system_test(other_users_tricks_stop_nobody_on_older_kernels),
                system_test(descriptors_stop_nobody_who_has_lost_the_broker),
                system_test(junk_costs_a_bounded_drain),
                system_test(junk_of_others_costs_a_bounded_drain),
        };

        harness_init(argc, argv);
        brokers = faults_share();
        return cmocka_run_group_tests_name("hostile-wake", tests, NULL, NULL);
}
