/* SPDX-License-Identifier: Apache-2.0 */
/* guest-life.c - a small whole life; it needs nothing but the public headers. */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <shmd/shmd.h>

#include "guest-life.h"

#define SERVICE  "hostile/guest"
#define PATIENCE 20000 /* ms */

struct guest {
        guest_check check;
        struct shmd *mine, *other;
        struct shmd_publisher *publisher;
        struct shmd_subscriber *subscriber;
        uint64_t n_published, n_taken;
};

struct note {
        uint64_t number;
        char text[56];
};
SHMD_TYPE(note_type, struct note, SHMD_FIELD(struct note, number), SHMD_ARRAY(struct note, text));
SHMD_TYPE(other_type, struct note, SHMD_FIELD(struct note, number));

/* What the call said, after a look at the process. */
static int called(const struct guest *guest, const char *call, int code)
{
        if (guest->check)
                guest->check(call);
        return code;
}
#define CALLED(guest, call) called(guest, #call, call)

/* Ends the function if the call says anything else. */
#define EXPECT(guest, call, expected)                                                     \
        do {                                                                              \
                int said_ = CALLED(guest, call);                                          \
                if (said_ != (expected)) {                                                \
                        fprintf(stderr, "%s: %d, not %d: %s\n", #call, said_, (expected), \
                                shmd_error());                                            \
                        return false;                                                     \
                }                                                                         \
        } while (0)

static bool publish(struct guest *guest)
{
        struct note *note;
        void *loan;

        EXPECT(guest, shmd_loan(guest->publisher, &loan), 0);
        note = loan;
        note->number = ++guest->n_published;
        memset(note->text, (int)note->number, sizeof(note->text));
        EXPECT(guest, shmd_publish(guest->publisher, loan), 0);
        return true;
}

static bool take(struct guest *guest)
{
        const struct note *note;
        struct shmd_sample sample;

        EXPECT(guest, shmd_take(guest->subscriber, &sample), 1);
        note = sample.data;
        if (note->number != ++guest->n_taken || sample.lost)
                return false;
        EXPECT(guest, shmd_release(guest->subscriber, &sample), 0);
        EXPECT(guest, shmd_take(guest->subscriber, &sample), 0);
        return true;
}

static bool sleep_and_be_woken(struct guest *guest)
{
        struct pollfd bell = {.events = POLLIN};
        int code;

        bell.fd = CALLED(guest, shmd_fd(guest->other));
        while ((code = CALLED(guest, shmd_prepare(guest->other))) > 0)
                if (CALLED(guest, shmd_dispatch(guest->other)) < 0)
                        return false;
        if (bell.fd < 0 || code < 0 || !publish(guest) || poll(&bell, 1, PATIENCE) != 1)
                return false;
        EXPECT(guest, shmd_dispatch(guest->other), 1);
        if (!take(guest) || !publish(guest))
                return false;
        EXPECT(guest, shmd_wait(guest->other, SHMD_FOREVER), 1);
        if (!take(guest))
                return false;
        EXPECT(guest, shmd_wait(guest->other, 1000000), 0);
        return true;
}

static void count(void *user, const struct shmd_listing *listing)
{
        (void)listing;
        ++*(unsigned *)user;
}

static bool look_around(struct guest *guest)
{
        struct shmd_publisher_state publisher;
        struct shmd_subscriber_state subscriber;
        unsigned n = 0;

        EXPECT(guest, shmd_list(guest->mine, count, &n), 0);
        EXPECT(guest, shmd_publisher_status(guest->publisher, &publisher), 0);
        EXPECT(guest, shmd_subscriber_status(guest->subscriber, &subscriber), 0);
        return n >= 3 && publisher.subscribers == 1 && subscriber.publishers == 1;
}

static bool make_mistakes(struct guest *guest, const char *socket)
{
        struct shmd_connect_options nowhere = {.size = sizeof(nowhere),
                                               .socket = "/nowhere/at/all"};
        struct shmd_connect_options short_of = {.size = 1, .socket = socket};
        struct shmd_subscriber *subscriber;
        struct shmd_publisher *publisher;
        struct shmd *bus;

        EXPECT(guest, shmd_connect(&bus, &nowhere) < 0, 1);
        EXPECT(guest, shmd_connect(&bus, &short_of) < 0, 1);
        EXPECT(guest, shmd_advertise(&publisher, guest->mine, SERVICE, &other_type, NULL) < 0, 1);
        EXPECT(guest, shmd_subscribe(&subscriber, guest->mine, "no name!", &note_type, NULL) < 0,
               1);
        EXPECT(guest, shmd_publish(guest->publisher, &bus) < 0, 1);
        EXPECT(guest, shmd_wait(guest->mine, -5) < 0, 1);
        return true;
}

static bool live(struct guest *guest, const char *socket)
{
        struct shmd_connect_options options = {.size = sizeof(options), .socket = socket};
        struct shmd_publisher_state status;

        EXPECT(guest, shmd_connect(&guest->mine, &options), 0);
        EXPECT(guest, shmd_connect(&guest->other, &options), 0);
        EXPECT(guest, shmd_advertise(&guest->publisher, guest->mine, SERVICE, &note_type, NULL), 0);
        EXPECT(guest, shmd_subscribe(&guest->subscriber, guest->other, SERVICE, &note_type, NULL),
               0);
        do {
                EXPECT(guest, shmd_publisher_status(guest->publisher, &status), 0);
                shmd_wait(guest->mine, 1000000);
        } while (status.subscribers != 1);
        for (unsigned i = 0; i < 100; i++)
                if (!publish(guest) || !take(guest))
                        return false;
        return sleep_and_be_woken(guest) && look_around(guest) && make_mistakes(guest, socket);
}

bool guest_live(const char *socket, guest_check check)
{
        struct guest guest = {.check = check};
        bool is_well = live(&guest, socket);

        if (!is_well)
                fprintf(stderr, "after %ju samples: %s\n", (uintmax_t)guest.n_published,
                        shmd_error());
        shmd_subscriber_close(guest.subscriber);
        called(&guest, "shmd_subscriber_close", 0);
        shmd_publisher_close(guest.publisher);
        called(&guest, "shmd_publisher_close", 0);
        shmd_close(guest.other);
        shmd_close(guest.mine);
        called(&guest, "shmd_close", 0);
        return is_well;
}

bool guest_await_broker(struct shmd *bus)
{
        unsigned n;

        for (int i = 0; i < PATIENCE / 10; i++) {
                shmd_wait(bus, 10000000);
                if (shmd_list(bus, count, &n) == 0)
                        return true;
        }
        return false;
}
