/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stamped.h - a sample that knows who published it, as what number, and whether it is whole.
 */
#ifndef SHMD_TESTS_STAMPED_H
#define SHMD_TESTS_STAMPED_H

#include <stdbool.h>
#include <stdint.h>

#include <shmd/shmd.h>

struct stamped {
        uint64_t publisher;
        uint64_t number;
        uint64_t checksum; /* of the rest */
        uint64_t words[29];
};

extern const struct shmd_type *const stamped_type;

void stamped_fill(struct stamped *stamped, uint64_t publisher, uint64_t number);
bool stamped_is_whole(const struct stamped *stamped);

/* Loans, fills in and publishes; all must succeed. `number` is to be the sample's sequence. */
void stamped_publish(struct shmd_publisher *publisher, uint64_t number);

/* What a subscriber has had of all publishers, and that it came in order and whole. */
#define TALLY_PUBLISHERS_MAX 4
struct tally {
        uint64_t taken, lost;
        unsigned n_publishers;
        struct {
                uint64_t publisher;
                uint64_t last; /* its newest sample taken */
        } of[TALLY_PUBLISHERS_MAX];
};

/* Checks a sample against what came before: that it is whole, as large and as old as it should be.
 * Of the first of each publisher anything may have been lost. */
void tally_add(struct tally *tally, const struct shmd_sample *sample);
/* The newest sample of a publisher that was taken; 0: none. */
uint64_t tally_last(const struct tally *tally, uint64_t publisher);

/* Takes, tallies and releases all that is there; how many. */
unsigned tally_take_all(struct tally *tally, struct shmd_subscriber *subscriber);

/* Opens a service of stamped samples; `size` of the options is filled in. It must succeed. */
struct shmd_publisher *stamped_advertise(struct shmd *bus, const char *service,
                                         struct shmd_publisher_options options);
struct shmd_subscriber *stamped_subscribe(struct shmd *bus, const char *service,
                                          struct shmd_subscriber_options options);

#endif
