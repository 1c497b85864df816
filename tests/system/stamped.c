/* SPDX-License-Identifier: Apache-2.0 */
/* stamped.c - the words of a sample follow from who publishes it and from its number. */
#include "harness.h"
#include "stamped.h"

SHMD_TYPE(type, struct stamped, SHMD_FIELD(struct stamped, publisher),
          SHMD_FIELD(struct stamped, number), SHMD_FIELD(struct stamped, checksum),
          SHMD_ARRAY(struct stamped, words));

const struct shmd_type *const stamped_type = &type;

static uint64_t word_after(uint64_t word)
{
        word ^= word << 13;
        word ^= word >> 7;
        return word ^ word << 17;
}

static uint64_t checksum_of(const struct stamped *stamped)
{
        uint64_t sum = stamped->publisher ^ stamped->number * 31;

        for (unsigned i = 0; i < N_ELEMENTS(stamped->words); i++)
                sum = sum * 31 + stamped->words[i];
        return sum;
}

void stamped_fill(struct stamped *stamped, uint64_t publisher, uint64_t number)
{
        uint64_t word = publisher ^ number * UINT64_C(0x9e3779b97f4a7c15);

        stamped->publisher = publisher;
        stamped->number = number;
        for (unsigned i = 0; i < N_ELEMENTS(stamped->words); i++)
                stamped->words[i] = word = word_after(word + i);
        stamped->checksum = checksum_of(stamped);
}

bool stamped_is_whole(const struct stamped *stamped)
{
        struct stamped should_be;

        stamped_fill(&should_be, stamped->publisher, stamped->number);
        return stamped->checksum == should_be.checksum &&
               checksum_of(stamped) == should_be.checksum;
}

void stamped_publish(struct shmd_publisher *publisher, uint64_t number)
{
        static struct shmd_publisher *last;
        static struct shmd_publisher_state status;
        void *data;

        /* The id is asked for once, so that publishing is all that this does. */
        if (publisher != last || number == 1) {
                must_equal(shmd_publisher_status(publisher, &status), 0);
                last = publisher;
        }
        must_equal(shmd_loan(publisher, &data), 0);
        stamped_fill(data, status.id, number);
        must_equal(shmd_publish(publisher, data), 0);
}

void tally_add(struct tally *tally, const struct shmd_sample *sample)
{
        const struct stamped *stamped = sample->data;
        unsigned i = 0;

        must_equal(sample->size, sizeof(*stamped));
        must(stamped_is_whole(stamped));
        must_equal(stamped->publisher, sample->publisher);
        must_equal(stamped->number, sample->sequence);
        while (i < tally->n_publishers && tally->of[i].publisher != sample->publisher)
                i++;
        if (i == tally->n_publishers) {
                must(i < TALLY_PUBLISHERS_MAX);
                tally->of[tally->n_publishers++].publisher = sample->publisher;
        } else {
                must_equal(sample->sequence, tally->of[i].last + sample->lost + 1);
        }
        tally->of[i].last = sample->sequence;
        tally->taken++;
        tally->lost += sample->lost;
}

uint64_t tally_last(const struct tally *tally, uint64_t publisher)
{
        for (unsigned i = 0; i < tally->n_publishers; i++)
                if (tally->of[i].publisher == publisher)
                        return tally->of[i].last;
        return 0;
}

unsigned tally_take_all(struct tally *tally, struct shmd_subscriber *subscriber)
{
        struct shmd_sample sample;
        unsigned n = 0;
        int code;

        while ((code = shmd_take(subscriber, &sample)) == 1) {
                tally_add(tally, &sample);
                must_equal(shmd_release(subscriber, &sample), 0);
                n++;
        }
        must_equal(code, 0);
        return n;
}

struct shmd_publisher *stamped_advertise(struct shmd *bus, const char *service,
                                         struct shmd_publisher_options options)
{
        struct shmd_publisher *publisher;

        options.size = sizeof(options);
        must_equal(shmd_advertise(&publisher, bus, service, stamped_type, &options), 0);
        return publisher;
}

struct shmd_subscriber *stamped_subscribe(struct shmd *bus, const char *service,
                                          struct shmd_subscriber_options options)
{
        struct shmd_subscriber *subscriber;

        options.size = sizeof(options);
        must_equal(shmd_subscribe(&subscriber, bus, service, stamped_type, &options), 0);
        return subscriber;
}
