/* SPDX-License-Identifier: Apache-2.0 */
/* crowd.c - six ways to use the library, each without an end. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "crowd.h"

char crowd_service[64];

static struct role *members[CROWD_SIZE];
static volatile struct death_plan *plans; /* [CROWD_SIZE], shared */

bool crowd_worked(int code)
{
        if (code >= 0)
                return true;
        must(code == -ENOTCONN || code == -ECONNREFUSED || code == -ENOENT || code == -ERANGE);
        return false;
}

struct shmd *crowd_connect(void)
{
        struct shmd_connect_options options = {.size = sizeof(options), .socket = broker.socket};
        struct shmd *bus;

        while (!crowd_worked(shmd_connect(&bus, &options)))
                poll(NULL, 0, 1);
        return bus;
}

/* ---- what they do ------------------------------------------------------------------------ */

static void doze(void)
{
        poll(NULL, 0, (int)random_below(3));
}

/* Chunks may be scarce while others hold; the number follows from what was published. */
static void publish_some(struct shmd_publisher *publisher, unsigned n)
{
        struct shmd_publisher_state status;

        must_equal(shmd_publisher_status(publisher, &status), 0);
        while (n--) {
                void *data;

                must_equal(shmd_loan(publisher, &data), 0);
                stamped_fill(data, status.id, ++status.published);
                must_equal(shmd_publish(publisher, data), 0);
        }
}

static bool advertise(struct shmd *bus, struct shmd_publisher **publisher)
{
        /* Large enough to be missed: half a megabyte each. */
        struct shmd_publisher_options options = {
                .size = sizeof(options), .depth = 1000, .max_subscribers = 16};

        return crowd_worked(shmd_advertise(publisher, bus, crowd_service, stamped_type, &options));
}

static bool subscribe(struct shmd *bus, struct shmd_subscriber **subscriber)
{
        struct shmd_subscriber_options options = {.size = sizeof(options), .history = 3};

        return crowd_worked(shmd_subscribe(subscriber, bus, crowd_service, stamped_type, &options));
}

/* Takes what is there and checks each sample; keeps up to `n_kept` in its hands. */
static void take_some(struct shmd_subscriber *subscriber, struct shmd_sample *kept,
                      unsigned *n_kept)
{
        struct shmd_sample sample;

        for (unsigned i = 0; i < 100 && shmd_take(subscriber, &sample) == 1; i++) {
                const struct stamped *stamped = sample.data;

                must(stamped_is_whole(stamped));
                must_equal(stamped->number, sample.sequence);
                must_equal(stamped->publisher, sample.publisher);
                if (*n_kept && random_below(4) == 0) {
                        must_equal(shmd_release(subscriber, &kept[--*n_kept]), 0);
                }
                if (*n_kept == 0 && random_below(2))
                        kept[(*n_kept)++] = sample;
                else
                        must_equal(shmd_release(subscriber, &sample), 0);
        }
        for (unsigned i = 0; i < *n_kept; i++)
                must_equal(((const struct stamped *)kept[i].data)->number, kept[i].sequence);
}

static void publish_for_ever(void)
{
        struct shmd_publisher *publisher;
        struct shmd *bus = crowd_connect();

        if (advertise(bus, &publisher))
                for (;;) {
                        publish_some(publisher, 1 + (unsigned)random_below(50));
                        doze();
                }
}

static void publish_now_and_then(void)
{
        struct shmd_publisher *publisher;
        struct shmd *bus = crowd_connect();

        if (advertise(bus, &publisher))
                for (unsigned i = 0; i < 20; i++) {
                        publish_some(publisher, 1);
                        crowd_worked(shmd_wait(bus, (int64_t)random_below(MS)));
                }
        shmd_close(bus);
}

static void advertise_and_withdraw(void)
{
        struct shmd_publisher *publishers[3];
        struct shmd *bus = crowd_connect();
        unsigned n = 0;

        while (n < N_ELEMENTS(publishers) && advertise(bus, &publishers[n]))
                publish_some(publishers[n++], 3);
        while (n)
                shmd_publisher_close(publishers[--n]);
        shmd_close(bus);
}

static void take_and_hold(void)
{
        struct shmd_subscriber *subscriber;
        struct shmd *bus = crowd_connect();
        struct shmd_sample kept[2];
        unsigned n_kept = 0;

        if (subscribe(bus, &subscriber))
                for (;;) {
                        take_some(subscriber, kept, &n_kept);
                        doze();
                }
}

static void sleep_and_take(void)
{
        struct shmd_subscriber *subscriber;
        struct shmd *bus = crowd_connect();
        struct shmd_sample kept[2];
        unsigned n_kept = 0;

        if (subscribe(bus, &subscriber))
                while (crowd_worked(shmd_wait(bus, SHMD_FOREVER)))
                        take_some(subscriber, kept, &n_kept);
        shmd_close(bus);
}

static void subscribe_and_leave(void)
{
        struct shmd_subscriber *subscribers[3];
        struct shmd *bus = crowd_connect();
        struct shmd_sample kept[2];
        unsigned n = 0, n_kept = 0;

        while (n < N_ELEMENTS(subscribers) && subscribe(bus, &subscribers[n])) {
                n_kept = 0;
                take_some(subscribers[n++], kept, &n_kept);
        }
        while (n)
                shmd_subscriber_close(subscribers[--n]);
        shmd_close(bus);
}

static void (*const habits[CROWD_SIZE])(void) = {
        publish_for_ever, take_and_hold,       publish_now_and_then,
        sleep_and_take,   subscribe_and_leave, advertise_and_withdraw,
};

static void live(void *argument)
{
        unsigned i = *(const unsigned *)argument;

        alarm(0); /* it is killed, or dies with the test */
        death_plan = &plans[i];
        for (;;)
                habits[i]();
}

/* ---- the test's side --------------------------------------------------------------------- */

void crowd_open(void)
{
        random_start();
        snprintf(crowd_service, sizeof(crowd_service), "crowd/%d", getpid());
        plans = mmap(NULL, CROWD_SIZE * sizeof(*plans), PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        must(plans != MAP_FAILED);
}

void crowd_close(void)
{
        munmap((void *)(uintptr_t)plans, CROWD_SIZE * sizeof(*plans));
}

void crowd_start(unsigned i)
{
        static unsigned numbers[CROWD_SIZE];

        numbers[i] = i;
        plan_set(&plans[i], DEATH_STORE | DEATH_LOAD | DEATH_SEND,
                 random_below(4) ? SIGKILL : SIGSTOP, random_below(2) ? 1 + random_below(2000) : 0);
        members[i] = role_start("one of the crowd", live, &numbers[i]);
}

void crowd_kill(unsigned i)
{
        kill(members[i]->pid, SIGKILL);
        must_equal(victim_end(members[i]), -SIGKILL);
        injected(1);
}
