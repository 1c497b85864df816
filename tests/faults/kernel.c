/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel.c - kernels that lack something, signals that interrupt everything, clocks that jump: in
 * the broker and in its clients alike.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "stage.h"

#define HOUR_NS (INT64_C(3600) * 1000 * (int64_t)MS)

static struct faults *brokers;

/* What a role has seen. */
struct table {
        uint32_t seen_lacking;
        uint64_t n_disturbances;
};
static struct table *table;

/* Everything once, with a sleep and a wake-up in it. */
static void live(void)
{
        struct stage stage;
        struct pollfd bell = {.events = POLLIN};

        stage_open(&stage, false);
        stage_check(&stage);
        for (unsigned i = 0; i < 3; i++)
                shmd_wait(stage.peer.bus, MS);
        bell.fd = shmd_fd(stage.peer.bus);
        while (shmd_prepare(stage.peer.bus) != 0)
                must(shmd_dispatch(stage.peer.bus) >= 0);
        must_equal(side_publish(&stage.me), 0);
        until(poll(&bell, 1, 0) == 1);
        must(shmd_dispatch(stage.peer.bus) >= 0);
        stage_close(&stage);
}

/* ---- older kernels ------------------------------------------------------------------------ */

static void live_on_an_older_kernel(void *argument)
{
        faults->lacking = *(const uint32_t *)argument;
        live();
        __atomic_or_fetch(&table->seen_lacking, faults->seen_lacking, __ATOMIC_RELAXED);
}

static void older_kernels_are_enough(void **state)
{
        /* SO_PASSRIGHTS matters for wake channels that are sockets. */
        static uint32_t lacks[] = {LACKS_PEERPIDFD,
                                   LACKS_NOEXEC_SEAL,
                                   LACKS_NOSIGNAL,
                                   LACKS_PWAIT2,
                                   LACKS_PASSRIGHTS | LACKS_PROC,
                                   LACKS_MEMBARRIER,
                                   LACKS_GETRANDOM,
                                   LACKS_ALL & ~LACKS_PROC,
                                   LACKS_ALL};
        uint64_t n = 0;

        table = shared_memory(sizeof(*table));
        for (size_t i = 0; i < N_ELEMENTS(lacks); i++) {
                broker_terminate(SIGTERM);
                brokers->lacking = lacks[i];
                brokers->seen_lacking = table->seen_lacking = 0;
                broker_spawn(NULL);
                role_finish(role_start("older", live_on_an_older_kernel, &lacks[i]));
                /* It was asked for, and refused. */
                must_equal((brokers->seen_lacking | table->seen_lacking) & lacks[i],
                           lacks[i] &
                                   (lacks[i] & LACKS_PROC ? ~LACKS_NOSIGNAL : ~LACKS_PASSRIGHTS));
                n += (uint64_t)__builtin_popcount(brokers->seen_lacking | table->seen_lacking);
        }
        broker_terminate(SIGTERM);
        brokers->lacking = 0;
        broker_spawn(NULL);
        faults_report("kernels that lack something", n);
}

/* ---- signals ------------------------------------------------------------------------------ */

static void start_timer(void (*handler)(int signal), long interval_ns)
{
        struct sigaction action = {.sa_handler = handler}; /* without SA_RESTART */
        struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
        struct itimerspec interval = {.it_interval = {0, interval_ns},
                                      .it_value = {0, interval_ns}};
        timer_t timer;

        must_equal(sigaction(SIGUSR1, &action, NULL), 0);
        must_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
        must_equal(timer_settime(timer, 0, &interval, NULL), 0);
}

static void interrupt_the_broker_too(int signal)
{
        table->n_disturbances++;
        kill(broker.pid, signal);
}

static void live_in_a_storm(void *argument)
{
        start_timer(interrupt_the_broker_too, 50000);
        for (unsigned i = 0; i < *(const unsigned *)argument; i++)
                live();
}

static void storm_of_signals_stops_nothing(void **state)
{
        unsigned n = harness_is_long ? 1000 : 20;

        table = shared_memory(sizeof(*table));
        role_finish(role_start("storm", live_in_a_storm, &n));
        must(table->n_disturbances);
        faults_report("signals while everything runs", table->n_disturbances);
}

/* ---- clocks ------------------------------------------------------------------------------- */

static void jump(int signal)
{
        static const int64_t hours[] = {10, 11, 9, 20, 0};
        int64_t offset = hours[table->n_disturbances++ % N_ELEMENTS(hours)] * HOUR_NS;

        for (unsigned i = 0; i < 2; i++) {
                __atomic_store_n(&faults->clock_offset[i], offset, __ATOMIC_RELAXED);
                __atomic_store_n(&brokers->clock_offset[i], offset, __ATOMIC_RELAXED);
        }
}

/* If one wait took as long as a jump, this would not end in time. */
static void live_with_clocks_that_jump(void *argument)
{
        struct shmd *bus;

        start_timer(jump, 300000);
        for (unsigned i = 0; i < *(const unsigned *)argument; i++)
                live();
        bus = broker_connect();
        for (unsigned i = 0; i < 100; i++) {
                int code = shmd_wait(bus, 2 * (int64_t)MS);

                must(code == 0 || code == -EINTR);
        }
        shmd_close(bus);
}

static void clocks_that_jump_stop_nothing(void **state)
{
        unsigned n = harness_is_long ? 1000 : 20;

        table = shared_memory(sizeof(*table));
        role_finish(role_start("jump", live_with_clocks_that_jump, &n));
        must(table->n_disturbances);
        faults_report("jumps of both clocks by hours", table->n_disturbances);
        memset(brokers->clock_offset, 0, sizeof(brokers->clock_offset));
}

/* Goes back by a second at each look at it: by that clock no time-out is ever over. */
static void wait_with_a_clock_that_goes_back(void *argument)
{
        struct shmd *bus = broker_connect();
        unsigned *n = argument;

        faults->clock_offset[CLOCK_MONOTONIC] = 10 * HOUR_NS;
        faults->clock_step = -1000 * (int64_t)MS;
        for (; *n < 50; ++*n)
                must_equal(shmd_wait(bus, MS), 0);
        broker_settle(bus);
        faults->clock_step = 0;
        shmd_close(bus);
}

static void waits_end_though_the_clock_goes_back(void **state)
{
        unsigned *n = shared_memory(sizeof(*n));

        role_finish(role_start("back", wait_with_a_clock_that_goes_back, n));
        must_equal(*n, 50);
        faults_report("waits with a clock that goes back", *n);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(older_kernels_are_enough),
                system_test(storm_of_signals_stops_nothing),
                system_test(clocks_that_jump_stop_nothing),
                system_test(waits_end_though_the_clock_goes_back),
        };

        harness_init(argc, argv);
        brokers = faults_share();
        return cmocka_run_group_tests_name("faults-kernel", tests, NULL, NULL);
}
