/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-transports.c - do all transports move all bytes, and would it show if one did not?
 *
 * Two processes exchange samples in which every byte depends on its place and on the sample's
 * number, and each compares all that it gets. A transport of this file's own does the same with
 * faults that can be switched on: each has to be found.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <dirent.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker.h"
#include "carrier.h"
#include "ends.h"
#include "pingpong.h"
#include "process.h"

#define KIB (1ull << 10)
#define MIB (1ull << 20)

/* What every transport carries, however small its limits. */
#define SURELY (4 * KIB)

#define TIMEOUT_NS (60 * NS_PER_S)

static struct broker broker;
static int cpus[2];
static uint32_t n_cpus;

/* ---- an exchange ------------------------------------------------------------------------- */

struct exchange {
        struct link *link;
        uint64_t count;
};

static int side(struct ends *ends, const struct exchange *exchange, bool leads)
{
        const struct transport *transport = exchange->link->transport;
        struct end end = {.link = exchange->link, .leads = leads};
        int result = transport->open(&end);

        if (result >= 0) {
                ends_meet(ends);
                result = (leads ? transport->ping : transport->pong)(&end, 1, exchange->count);
        }
        snprintf(ends->reasons[!leads], sizeof(ends->reasons[0]), "%s", end.reason);
        transport->close(&end);
        return result;
}

static int lead(struct ends *ends, const void *user)
{
        return side(ends, user, true);
}

static int follow(struct ends *ends, const void *user)
{
        return side(ends, user, false);
}

/* @return 0; negative with link->reason set: from create(), -EMSGSIZE or what the kernel said;
 * -ECANCELED: one of the ends found a fault; -ETIMEDOUT. */
static int exchange_run(struct link *link, uint64_t count)
{
        struct exchange exchange = {.link = link, .count = count};
        struct ends_job job = {
                .lead = lead,
                .follow = follow,
                .user = &exchange,
                .cpus = {cpus[0], cpus[1]},
                .timeout_ns = TIMEOUT_NS,
        };
        struct figures figures;
        int result = 0;

        link->socket = broker.socket;
        link->room = link->transport->memory ? link->transport->memory(link) : 0;
        link->in[0] = link->in[1] = link->out[0] = link->out[1] = -1;
        if (link->transport->create)
                result = link->transport->create(link);
        if (result >= 0)
                result = ends_run(&job, &figures, NULL, link->reason, sizeof(link->reason));
        if (link->transport->destroy)
                link->transport->destroy(link);
        return result;
}

/* Kernels, and those who fence a program in, may do without a transport. */
static bool is_missing(int result)
{
        return result == -ENOSYS || result == -EACCES || result == -EPERM;
}

/* A payload that doesn't fit is refused with a reason; a kernel that has no such thing, told of. */
static void exchange_expect(const struct transport *transport, enum wait wait, enum touch touch,
                            uint64_t payload, uint64_t count)
{
        struct link link = {
                .transport = transport, .payload = payload, .touch = touch, .wait = wait};
        int result = exchange_run(&link, count);

        if (result < 0)
                print_message("%s, %s, %llu bytes: %s\n", transport->name, wait_name(wait),
                              (unsigned long long)payload, link.reason);
        if (is_missing(result))
                return;
        if (result == -EMSGSIZE) {
                assert_true(payload > SURELY);
                assert_true(link.reason[0]);
                return;
        }
        assert_int_equal(result, 0);
}

static void all_expect(enum wait wait, enum touch touch, uint64_t payload, uint64_t count)
{
        for (uint32_t i = 0; transports[i]; i++) {
                if (transports[i]->waits & wait && !transports[i]->is_bare)
                        exchange_expect(transports[i], wait, touch, payload, count);
        }
}

static void sizes_expect(enum wait wait)
{
        all_expect(wait, TOUCH_CHECK, 8, 200);
        all_expect(wait, TOUCH_CHECK, 1001, 100);
        all_expect(wait, TOUCH_CHECK, SURELY, 100);
        all_expect(wait, TOUCH_CHECK, 64 * KIB + 1, 20);
        all_expect(wait, TOUCH_CHECK, 40 * MIB + 3, 2);
        for (enum touch touch = TOUCH_FIRST; touch <= TOUCH_ALL; touch++) {
                all_expect(wait, touch, 8, 50);
                all_expect(wait, touch, 1001, 50);
        }
}

/* Two that spin on one CPU only move on when the scheduler takes it from one of them. */
static void two_cpus_needed(void)
{
        if (n_cpus >= 2)
                return;
        print_message("skipped: two processes that spin need two CPUs\n");
        skip();
}

static void every_byte_arrives_where_both_poll(void **state)
{
        two_cpus_needed();
        sizes_expect(WAIT_POLL);
}

static void every_byte_arrives_where_both_block(void **state)
{
        sizes_expect(WAIT_BLOCK);
}

static void every_byte_arrives_where_a_bare_call_waits(void **state)
{
        sizes_expect(WAIT_BARE);
}

static void every_byte_arrives_where_both_spin_a_little(void **state)
{
        sizes_expect(WAIT_ADAPTIVE);
}

static void every_byte_arrives_with_both_on_one_cpu(void **state)
{
        int other = cpus[1];

        cpus[1] = cpus[0];
        all_expect(WAIT_BLOCK, TOUCH_CHECK, 1001, 50);
        all_expect(WAIT_BARE, TOUCH_CHECK, 64 * KIB + 1, 10);
        cpus[1] = other;
}

static void limits_expect(void)
{
        static const struct transport *const limited[] = {&transport_unix_dgram,
                                                          &transport_unix_seqpacket,
                                                          &transport_posix_mq, &transport_sysv_mq};

        for (uint32_t i = 0; i < 4; i++) {
                struct link link = {.transport = limited[i],
                                    .payload = 1 << 30,
                                    .touch = TOUCH_FIRST,
                                    .wait = WAIT_BLOCK};
                int result = exchange_run(&link, 1);

                if (is_missing(result))
                        continue;
                assert_int_equal(result, -EMSGSIZE);
                assert_true(link.reason[0]);
        }
}

static void what_has_no_room_for_a_payload_says_why(void **state)
{
        limits_expect();
}

/* ---- faults ------------------------------------------------------------------------------ */

enum fault {
        FAULT_NONE,
        FAULT_DROPS_A_BYTE,   /* those behind it move up */
        FAULT_SWAPS_BYTES,    /* neighbours: a sum would not notice */
        FAULT_REPEATS_SAMPLE, /* the one before, once more */
        FAULT_CUTS_THE_END,   /* one byte less */
        FAULT_MAX,
};

static enum fault fault;

/* Sample 5 is the one that suffers. */
static int faulty_send(struct end *end, uint64_t n)
{
        const struct carrier *carrier = end->state;
        uint64_t size = end->link->payload, middle = size / 2, length = size;
        unsigned char *bytes = carrier->outgoing, swapped = bytes[middle];

        payload_write(end, bytes, n);
        if (n == 5 && fault == FAULT_DROPS_A_BYTE)
                memmove(bytes + middle, bytes + middle + 1, size - middle - 1);
        swapped = bytes[middle];
        if (n == 5 && fault == FAULT_SWAPS_BYTES) {
                bytes[middle] = bytes[middle + 1];
                bytes[middle + 1] = swapped;
        }
        if (n == 5 && fault == FAULT_REPEATS_SAMPLE)
                payload_write(end, bytes, n - 1);
        if (n == 5 && fault == FAULT_CUTS_THE_END)
                length--;
        return send(carrier->out, bytes, length, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static ssize_t faulty_call(const struct carrier *carrier, void *data, size_t size)
{
        return recv(carrier->in, data, size, 0);
}

static int faulty_receive(struct end *end, uint64_t n)
{
        return carrier_receive(end, n, faulty_call);
}

static int faulty_ping(struct end *end, uint64_t first, uint64_t count)
{
        return pingpong_lead(end, first, count, faulty_send, faulty_receive);
}

static int faulty_pong(struct end *end, uint64_t first, uint64_t count)
{
        return pingpong_follow(end, first, count, faulty_send, faulty_receive);
}

static int faulty_run(enum fault with, enum touch touch, uint64_t payload)
{
        struct transport faulty = transport_unix_seqpacket;
        struct link link = {
                .transport = &faulty, .payload = payload, .touch = touch, .wait = WAIT_BARE};

        faulty.ping = faulty_ping;
        faulty.pong = faulty_pong;
        fault = with;
        return exchange_run(&link, 10);
}

static void a_broken_transport_is_found_out(void **state)
{
        for (enum fault with = FAULT_NONE; with < FAULT_MAX; with++) {
                int expected = with == FAULT_NONE ? 0 : -ECANCELED;

                assert_int_equal(faulty_run(with, TOUCH_CHECK, 1001), expected);
                assert_int_equal(faulty_run(with, TOUCH_CHECK, 8), expected);
        }
}

/* What a measurement itself looks at: the numbers at both ends. */
static void a_sample_that_is_old_or_cut_ends_a_measurement(void **state)
{
        for (enum touch touch = TOUCH_FIRST; touch <= TOUCH_ALL; touch++) {
                assert_int_equal(faulty_run(FAULT_NONE, touch, 1001), 0);
                assert_int_equal(faulty_run(FAULT_REPEATS_SAMPLE, touch, 1001), -ECANCELED);
                assert_int_equal(faulty_run(FAULT_REPEATS_SAMPLE, touch, 8), -ECANCELED);
                assert_int_equal(faulty_run(FAULT_CUTS_THE_END, touch, 1001), -ECANCELED);
        }
}

/* ---- what is left ------------------------------------------------------------------------ */

static uint32_t descriptors(void)
{
        DIR *directory = opendir("/proc/self/fd");
        uint32_t n = 0;

        assert_non_null(directory);
        while (readdir(directory))
                n++;
        closedir(directory);
        return n;
}

/* They would outlive their processes. */
static void queues_are_removed(void)
{
        struct link link = {.transport = &transport_sysv_mq, .payload = 8, .wait = WAIT_BLOCK};
        struct msqid_ds queue;
        int ids[2];

        if (link.transport->create(&link) >= 0) {
                memcpy(ids, link.in, sizeof(ids));
                assert_int_equal(msgctl(ids[0], IPC_STAT, &queue), 0);
                assert_int_equal(msgctl(ids[1], IPC_STAT, &queue), 0);
                link.transport->destroy(&link);
                assert_true(msgctl(ids[0], IPC_STAT, &queue) < 0);
                assert_true(msgctl(ids[1], IPC_STAT, &queue) < 0);
        } else {
                print_message("sysv-mq: %s\n", link.reason);
                link.transport->destroy(&link);
        }
}

static void nothing_is_left_behind(void **state)
{
        uint32_t fds = descriptors();

        all_expect(WAIT_BLOCK, TOUCH_FIRST, 64, 3);
        limits_expect();
        assert_int_equal(descriptors(), fds);
        queues_are_removed();
}

static int setup(void **state)
{
        n_cpus = process_cpus(cpus, 2);
        if (n_cpus < 2)
                cpus[1] = cpus[0];
        return broker_start(&broker, NULL, CPU_ANY);
}

static int teardown(void **state)
{
        broker_stop(&broker);
        return 0;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_byte_arrives_where_both_poll),
                cmocka_unit_test(every_byte_arrives_where_both_block),
                cmocka_unit_test(every_byte_arrives_where_a_bare_call_waits),
                cmocka_unit_test(every_byte_arrives_where_both_spin_a_little),
                cmocka_unit_test(every_byte_arrives_with_both_on_one_cpu),
                cmocka_unit_test(what_has_no_room_for_a_payload_says_why),
                cmocka_unit_test(a_broken_transport_is_found_out),
                cmocka_unit_test(a_sample_that_is_old_or_cut_ends_a_measurement),
                cmocka_unit_test(nothing_is_left_behind),
        };

        process_init();
        return cmocka_run_group_tests(tests, setup, teardown);
}
