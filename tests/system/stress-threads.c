/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stress-threads.c - a broker and clients as threads of one process, each with a connection of its
 * own, so that ThreadSanitizer sees the whole of library and broker at work: they meet, pass
 * samples round while they sleep and wake each other, come and go, and come back to a second
 * broker.
 *
 * What processes share through memory and sockets is shared here as well, and nothing else may be.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <shmd/broker.h>
#include <shmd/shmd.h>

#include "unit.h"
#include "atomic.h"
#include "stamped.h"

#define N_THREADS   8
#define N_ROUNDS    300 /* of each number round all threads */
#define N_VISITS    10  /* connections that come and go beside it, of each thread */
#define PATIENCE_NS INT64_C(20000000000)

#if defined(__SANITIZE_THREAD__)
/*
 * libuv closes descriptors by syscall(2), so that it is no point of cancellation, and
 * ThreadSanitizer does not see it: the next use of the same number by another thread then looks
 * like a race for a descriptor that it believes to be open still. Closed in its sight, the order
 * that the kernel gives is known to it.
 */
long syscall(long number, ...)
{
        static long (*real)(long number, ...);
        va_list arguments;
        long words[6];

        va_start(arguments, number);
        for (int i = 0; i < 6; i++)
                words[i] = va_arg(arguments, long);
        va_end(arguments);
        if (number == SYS_close)
                return close((int)words[0]);
        if (!__atomic_load_n(&real, __ATOMIC_ACQUIRE))
                __atomic_store_n(&real, (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall"),
                                 __ATOMIC_RELEASE);
        return __atomic_load_n(&real, __ATOMIC_ACQUIRE)(number, words[0], words[1], words[2],
                                                        words[3], words[4], words[5]);
}
#endif

static char directory[64], address[96];
static uint64_t n_done;   /* threads that are through with their rounds */
static const char *fault; /* threads can't fail a cmocka test: the main one looks here */

/* ---- the broker -------------------------------------------------------------------------- */

struct host {
        struct shmd_broker *broker;
        pthread_t thread;
};

static void *serve(void *argument)
{
        struct host *host = argument;

        shmd_broker_run(host->broker);
        return NULL;
}

static void host_start(struct host *host)
{
        struct shmd_broker_options options = {.size = sizeof(options), .socket = address};

        assert_int_equal(shmd_broker_open(&host->broker, &options), 0);
        assert_int_equal(pthread_create(&host->thread, NULL, serve, host), 0);
}

static void host_stop(struct host *host)
{
        shmd_broker_stop(host->broker);
        pthread_join(host->thread, NULL);
        shmd_broker_close(host->broker);
}

/* ---- clients ----------------------------------------------------------------------------- */

#define CHECK(claim) check(claim, #claim)

/* Ends the thread where it is not so. */
static void check(bool is_so, const char *claim)
{
        if (is_so)
                return;
        fprintf(stderr, "not so: %s (%s)\n", claim, shmd_error());
        __atomic_store_n(&fault, claim, __ATOMIC_RELEASE);
        pthread_exit(NULL);
}

static struct shmd *open_connection(void)
{
        struct shmd_connect_options options = {.size = sizeof(options), .socket = address};
        struct shmd *bus;
        int code;

        /* There may be no broker for a moment. */
        for (unsigned i = 0; i < 10000; i++) {
                code = shmd_connect(&bus, &options);
                if (code == 0)
                        return bus;
                usleep(1000);
        }
        CHECK(!"a broker is there");
        return NULL;
}

static void name_hop(char name[static 32], unsigned index)
{
        snprintf(name, 32, "threads/hop-%u", index % N_THREADS);
}

static void await_sample(struct shmd *bus, struct shmd_subscriber *subscriber,
                         struct shmd_sample *sample)
{
        while (shmd_take(subscriber, sample) == 0) {
                int code = shmd_wait(bus, PATIENCE_NS);

                CHECK(code == 1 || code == -ENOTCONN);
                CHECK(!__atomic_load_n(&fault, __ATOMIC_ACQUIRE));
        }
}

/* Comes, reads what is there, publishes something that nobody waits for, and goes. */
static void visit(unsigned index)
{
        struct shmd_subscriber_options options = {.size = sizeof(options), .history = 1};
        struct shmd *bus = open_connection();
        struct shmd_publisher *publisher;
        struct shmd_subscriber *subscriber;
        struct shmd_sample sample;
        char name[32];
        void *data;

        name_hop(name, index);
        if (shmd_subscribe(&subscriber, bus, name, stamped_type, &options) == 0 &&
            shmd_take(subscriber, &sample) == 1) {
                CHECK(stamped_is_whole(sample.data));
                CHECK(shmd_release(subscriber, &sample) == 0);
        }
        if (shmd_advertise(&publisher, bus, "threads/visits", stamped_type, NULL) == 0) {
                CHECK(shmd_loan(publisher, &data) == 0);
                stamped_fill(data, 1, 1);
                CHECK(shmd_publish(publisher, data) == 0);
        }
        shmd_close(bus);
}

/* Publishes each number that comes from the thread before; the first begins. */
static void *pass_on(void *argument)
{
        unsigned index = (unsigned)(uintptr_t)argument;
        struct shmd_subscriber_options options = {.size = sizeof(options), .history = 1};
        struct shmd_publisher_options limits = {.size = sizeof(limits),
                                                .max_subscribers = 2 + N_THREADS};
        struct shmd *bus = open_connection();
        struct shmd_publisher *publisher;
        struct shmd_subscriber *subscriber;
        struct shmd_sample sample;
        char from[32], to[32];
        void *data;
        int code;

        name_hop(from, index);
        name_hop(to, index + 1);
        /* Without a broker there is nothing to do but to ask again. */
        while ((code = shmd_advertise(&publisher, bus, to, stamped_type, &limits)) == -ENOTCONN)
                usleep(1000);
        CHECK(code == 0);
        while ((code = shmd_subscribe(&subscriber, bus, from, stamped_type, &options)) == -ENOTCONN)
                usleep(1000);
        CHECK(code == 0);
        for (uint64_t n = 1; n <= N_ROUNDS; n++) {
                if (n % (N_ROUNDS / N_VISITS) == 0)
                        visit(index + (unsigned)n);
                for (unsigned turn = 0; turn < 2; turn++) {
                        if ((turn == 0) == (index == 0)) {
                                CHECK(shmd_loan(publisher, &data) == 0);
                                stamped_fill(data, index + 1, n);
                                CHECK(shmd_publish(publisher, data) == 0);
                                continue;
                        }
                        await_sample(bus, subscriber, &sample);
                        CHECK(sample.sequence == n && sample.lost == 0);
                        CHECK(stamped_is_whole(sample.data));
                        CHECK(shmd_release(subscriber, &sample) == 0);
                }
        }
        increment_seq_cst(&n_done);
        shmd_close(bus);
        return NULL;
}

static void run_threads(bool with_restart)
{
        pthread_t threads[N_THREADS];
        struct host host;

        snprintf(directory, sizeof(directory), "/tmp/shmd-XXXXXX");
        assert_non_null(mkdtemp(directory));
        snprintf(address, sizeof(address), "%s/shmd/control", directory);
        n_done = 0;
        host_start(&host);
        for (uintptr_t i = 0; i < N_THREADS; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, pass_on, (void *)i), 0);
        for (unsigned i = 0; with_restart && i < 3; i++) {
                usleep(20000);
                host_stop(&host);
                host_start(&host);
        }
        for (unsigned i = 0; i < N_THREADS; i++)
                pthread_join(threads[i], NULL);
        host_stop(&host);
        assert_null(fault);
        assert_int_equal(n_done, N_THREADS);
        snprintf(address, sizeof(address), "%s/shmd", directory);
        rmdir(address);
        assert_int_equal(rmdir(directory), 0);
}

static void threads_with_a_connection_each_share_nothing_else(void **unused)
{
        run_threads(false);
}

static void threads_come_back_to_the_next_broker(void **unused)
{
        run_threads(true);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(threads_with_a_connection_each_share_nothing_else),
                cmocka_unit_test(threads_come_back_to_the_next_broker),
        };

        alarm(110);
        return cmocka_run_group_tests_name("stress-threads", tests, NULL, NULL);
}
