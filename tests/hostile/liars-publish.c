/* SPDX-License-Identifier: Apache-2.0 */
/*
 * liars-publish.c - publishers that write anything into their segments, at full speed and while it
 * is read, beside an honest one. Their readers stay inside the mapping, get each publisher's
 * samples in order, miss nothing of the honest one, and are awake whenever it has published.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "connection.h"
#include "harness.h"
#include "lies.h"
#include "slot.h"
#include "somebody.h"
#include "stamped.h"
#include "util.h"

#define SERVICE   "liars/publish"
#define N_LIARS   2
#define N_READERS 2

struct scene {
        uint64_t is_over;
        uint64_t honest;           /* the honest publisher's id */
        uint64_t taken[N_READERS]; /* of it */
        uint64_t liars[N_LIARS];   /* ids */
        uint64_t next[N_LIARS];    /* what a reader looks for: so that they can lie well */
        uint64_t n_samples;        /* of liars, that were taken */
        uint64_t n_lies;
};
static struct scene *scene;
static bool are_others;

static bool is_over(void)
{
        return __atomic_load_n(&scene->is_over, __ATOMIC_ACQUIRE);
}

/* ---- who lies ------------------------------------------------------------------------------ */

/* A word of the ring that matters: of the header, a slot, a chunk's header. */
static uint64_t *some_word(const struct shmd_publisher *publisher)
{
        const struct ring_geometry *geometry = &publisher->ring.geometry;
        uint64_t *base = publisher->memory.base;
        uint64_t *chunk;

        switch (lies_below(8)) {
        case 0:
                return base + lies_below(sizeof(struct segment_header) / 8);
        case 1:
        case 2:
                return base + geometry->slots_offset / 8 + lies_below(geometry->capacity);
        default:
                chunk = base + (geometry->chunks_offset +
                                geometry->stride * lies_below(geometry->n_chunks)) /
                                       8;
                return chunk + lies_below(sizeof(struct chunk_header) / 8);
        }
}

/* What a reader that looks for a message about there may well believe: some messages in a row, of
 * which slot, chunk and sequence agree, and that say anything about all else. */
static void lie_well(const struct shmd_publisher *publisher, uint64_t around)
{
        const struct ring_geometry *geometry = &publisher->ring.geometry;
        uint64_t *slots = (uint64_t *)publisher->memory.base + geometry->slots_offset / 8;
        uint64_t n = around + lies_below(3), end = n + 1 + lies_below(8);
        uint32_t which = (uint32_t)lies_below(geometry->n_chunks);

        for (; n < end; n++) {
                struct chunk_header *chunk =
                        (void *)((char *)publisher->memory.base + geometry->chunks_offset +
                                 geometry->stride * which);

                store_relaxed(&chunk->size, lies_for(chunk->size, slots, geometry->capacity));
                store_relaxed(&chunk->next,
                              lies_below(4) ? (which + 1) % geometry->n_chunks : lies_next());
                store_release(&slots[n & (geometry->capacity - 1)],
                              slot_word(n, geometry->capacity, which));
                store_release(&chunk->sequence, lies_below(16) ? n : n | SEQUENCE_GONE);
                which = (which + 1) % geometry->n_chunks;
        }
}

static void lie(const struct shmd_publisher *publisher, uint64_t around)
{
        const struct ring_geometry *geometry = &publisher->ring.geometry;
        const uint64_t *others =
                (const uint64_t *)publisher->memory.base + geometry->slots_offset / 8;
        uint64_t *word = some_word(publisher);

        if (lies_below(3))
                store_relaxed(word, lies_for(load_relaxed(word), others, geometry->capacity));
        else
                lie_well(publisher, lies_below(4) ? around : publisher->ring.next);
}

static struct shmd_publisher *advertise_anything(struct shmd *bus, unsigned self)
{
        static const uint64_t sizes[] = {1, 8, 64, 1000, 5000};
        struct shmd_publisher_options options = {.size = sizeof(options),
                                                 .depth = 1 + (uint32_t)lies_below(20),
                                                 .max_size = sizes[lies_below(5)]};
        struct shmd_publisher *publisher;

        must_equal(shmd_advertise(&publisher, bus, SERVICE, &shmd_bytes, &options), 0);
        __atomic_store_n(&scene->liars[self], publisher->id, __ATOMIC_RELEASE);
        return publisher;
}

static void publish_lies(void *argument)
{
        unsigned self = (unsigned)(uintptr_t)argument;
        struct shmd_publisher *publisher;
        uint64_t n_lies = 0;
        struct shmd *bus;
        void *data;

        lies_begin(self);
        if (are_others)
                become_somebody();
        bus = broker_connect();
        publisher = advertise_anything(bus, self);
        say('r');
        while (!is_over()) {
                for (uint64_t burst = lies_below(64); burst; burst--, n_lies++)
                        lie(publisher, __atomic_load_n(&scene->next[self], __ATOMIC_RELAXED));
                /* And some truths, or nobody would go on to believe. */
                for (uint64_t burst = lies_below(8); burst; burst--) {
                        must_equal(shmd_loan(publisher, &data), 0);
                        must_equal(shmd_publish(publisher, data), 0);
                }
                if (lies_below(4))
                        lie_well(publisher, __atomic_load_n(&scene->next[self], __ATOMIC_RELAXED));
                /* Lets its readers look at what it has left, and go to sleep in front of it. */
                if (lies_below(16) == 0)
                        poll(NULL, 0, (int)lies_below(3));
                if (lies_below(1000) == 0) {
                        shmd_publisher_close(publisher);
                        publisher = advertise_anything(bus, self);
                }
        }
        __atomic_fetch_add(&scene->n_lies, n_lies, __ATOMIC_RELAXED);
        shmd_close(bus);
}

/* ---- who is honest ------------------------------------------------------------------------- */

static bool all_have_taken(uint64_t n)
{
        for (unsigned i = 0; i < N_READERS; i++)
                if (__atomic_load_n(&scene->taken[i], __ATOMIC_ACQUIRE) < n)
                        return false;
        return true;
}

static void publish_truth(struct shmd_publisher *publisher, uint64_t id, uint64_t n)
{
        void *data;

        must_equal(shmd_loan(publisher, &data), 0);
        stamped_fill(data, id, n);
        must_equal(shmd_publish_sized(publisher, data, sizeof(struct stamped)), 0);
}

/* One sample after the other, each when all have had the one before. */
static void publish_truths(void *argument)
{
        struct shmd *bus = broker_connect();
        struct shmd_publisher *publisher;
        struct shmd_publisher_state status;
        uint64_t n = 0;

        must_equal(shmd_advertise(&publisher, bus, SERVICE, &shmd_bytes, NULL), 0);
        until(shmd_publisher_status(publisher, &status) == 0 && status.subscribers == N_READERS);
        __atomic_store_n(&scene->honest, status.id, __ATOMIC_RELEASE);
        say('r');
        hear('g');
        do {
                until(all_have_taken(n));
                publish_truth(publisher, status.id, ++n);
        } while (!is_over());
        until(all_have_taken(n));
        /* One more, for those who sleep and don't know that it is over. */
        __atomic_store_n(&scene->is_over, 2, __ATOMIC_RELEASE);
        publish_truth(publisher, status.id, ++n);
        hear('x');
        shmd_close(bus);
}

/* What a reader has had of whom. Liars come again and again: the oldest are forgotten. */
struct had {
        uint64_t publisher, last;
};
#define N_HAD 64

struct reader {
        struct shmd_subscriber *subscriber;
        struct tally honest;
        struct had had[N_HAD];
        unsigned n_had;
        uint64_t n_lies;
};

static struct had *find_had(struct reader *reader, uint64_t publisher)
{
        for (unsigned i = 0; i < N_HAD; i++)
                if (reader->had[i].publisher == publisher)
                        return &reader->had[i];
        return NULL;
}

static const struct attachment *find_attachment(const struct shmd_subscriber *subscriber,
                                                uint64_t publisher)
{
        for (uint32_t i = 0; i < subscriber->n_attachments; i++)
                if (subscriber->attachments[i]->peer.id == publisher)
                        return subscriber->attachments[i];
        return NULL;
}

/* Inside the mapping, where a chunk's sample may be; and all of it can be read. */
static void check_bounds(const struct attachment *from, const struct shmd_sample *sample)
{
        const struct ring_geometry *geometry = &from->ring.geometry;
        const volatile unsigned char *bytes = sample->data;
        uint64_t offset = (uintptr_t)sample->data - (uintptr_t)from->memory.base;

        must(offset >= geometry->chunks_offset && offset < geometry->size);
        must((offset - geometry->chunks_offset) / geometry->stride < geometry->n_chunks);
        must_equal((offset - geometry->chunks_offset) % geometry->stride, geometry->payload_offset);
        must(sample->size <= geometry->payload_max && offset + sample->size <= geometry->size);
        for (uint64_t i = 0; i < sample->size; i++)
                (void)bytes[i];
}

static void take_lie(struct reader *reader, const struct shmd_sample *sample)
{
        const struct attachment *from = find_attachment(reader->subscriber, sample->publisher);
        struct had *had = find_had(reader, sample->publisher);

        must(from);
        check_bounds(from, sample);
        must(sample->sequence >= 1 && sample->lost < sample->sequence);
        if (!had) {
                had = &reader->had[reader->n_had++ % N_HAD];
                *had = (struct had){.publisher = sample->publisher};
        } else {
                must(sample->sequence > had->last);
                must_equal(sample->lost, sample->sequence - had->last - 1);
        }
        had->last = sample->sequence;
        reader->n_lies++;
}

/* Takes what there is, but gives others their turn: a liar always has something. */
static void take_some(struct reader *reader, unsigned self)
{
        struct shmd_sample sample;

        for (int i = 0; i < 64 && shmd_take(reader->subscriber, &sample) > 0; i++) {
                if (sample.publisher == __atomic_load_n(&scene->honest, __ATOMIC_ACQUIRE)) {
                        tally_add(&reader->honest, &sample);
                        must_equal(sample.lost, 0);
                        __atomic_store_n(&scene->taken[self], sample.sequence, __ATOMIC_RELEASE);
                } else {
                        take_lie(reader, &sample);
                }
                must_equal(shmd_release(reader->subscriber, &sample), 0);
        }
}

static void say_where_it_is(const struct reader *reader)
{
        for (unsigned i = 0; i < N_LIARS; i++) {
                uint64_t id = __atomic_load_n(&scene->liars[i], __ATOMIC_ACQUIRE);
                const struct attachment *from = find_attachment(reader->subscriber, id);

                if (from)
                        __atomic_store_n(&scene->next[i], from->ring.next, __ATOMIC_RELAXED);
        }
}

/* Even ones sleep, odd ones poll. */
static void read_all(void *argument)
{
        unsigned self = (unsigned)(uintptr_t)argument;
        static struct reader reader;
        struct shmd *bus = broker_connect_with(SHMD_SPIN_NEVER, NULL);

        must_equal(shmd_subscribe(&reader.subscriber, bus, SERVICE, &shmd_bytes, NULL), 0);
        say('r');
        while (__atomic_load_n(&scene->is_over, __ATOMIC_ACQUIRE) < 2) {
                if (self % 2 == 0)
                        must_equal(shmd_wait(bus, (int64_t)PATIENCE_NS), 1);
                take_some(&reader, self);
                say_where_it_is(&reader);
        }
        must_equal(reader.honest.lost, 0);
        __atomic_fetch_add(&scene->n_samples, reader.n_lies, __ATOMIC_RELAXED);
        shmd_close(bus);
}

static void publisher_that_lies_harms_nobody_else(void **state)
{
        struct role *liars[N_LIARS], *readers[N_READERS], *honest;
        uint64_t begin = harness_now();

        are_others = can_be_somebody();
        if (are_others)
                let_somebody_in(NULL);
        lies_seed();
        scene = shared_memory(sizeof(*scene));
        for (uintptr_t i = 0; i < N_READERS; i++) {
                readers[i] = role_start("reader", read_all, (void *)i);
                role_await(readers[i], 'r');
        }
        honest = role_start("honest", publish_truths, NULL);
        role_await(honest, 'r');
        for (uintptr_t i = 0; i < N_LIARS; i++) {
                liars[i] = role_start("liar", publish_lies, (void *)i);
                role_await(liars[i], 'r');
        }
        role_tell(honest, 'g');
        until(scene->taken[0] > 10 && scene->taken[1] > 10);
        while (!lies_are_over(begin)) {
                uint64_t before = scene->taken[0];

                /* It goes on, however they lie. */
                until(scene->taken[0] != before);
                poll(NULL, 0, 10);
        }
        __atomic_store_n(&scene->is_over, 1, __ATOMIC_RELEASE);
        for (int i = 0; i < N_READERS; i++)
                role_finish(readers[i]);
        for (int i = 0; i < N_LIARS; i++)
                role_finish(liars[i]);
        role_tell(honest, 'x');
        role_finish(honest);
        print_message("%llu samples of liars, %llu of the honest one\ninjections: %llu\n",
                      (unsigned long long)scene->n_samples, (unsigned long long)scene->taken[0],
                      (unsigned long long)scene->n_lies);
        must(scene->n_samples > 0); /* or they were too clumsy to test anything */
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(publisher_that_lies_harms_nobody_else),
        };

        harness_init(argc, argv);
        return cmocka_run_group_tests_name("hostile-liars-publish", tests, NULL, NULL);
}
