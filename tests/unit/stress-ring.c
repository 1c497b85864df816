/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stress-ring.c - the ring with a writer and readers that run at once, on one malloc'd mapping, so
 * that ThreadSanitizer sees the code that runs between processes.
 *
 * Readers come and go while the writer writes, and introduce themselves as real ones do: the row is
 * put on the list and `pending` is raised before the reader touches the ring; the writer looks at
 * `pending` inside each reclaim, between its zeros and its look at the holds. Every sample is
 * checked from end to end when it is taken, once more just before it is let go, and holds are kept
 * over many laps of the ring.
 *
 * Either the writer runs as fast as it can, or nearly, and readers are lapped again and again; or
 * it is paced by them, so that none is ever lapped and none may lose anything.
 */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "unit.h"
#include "atomic.h"
#include "ring-rig.h"
#include "util.h"

#define READERS_MAX 3
#define HOLDS       4u
#define SEATS       24 /* rows there can be, those of readers that have gone included */
#define LOANS_MAX   3u
#define RUN_NS      UINT64_C(1200000000) /* of each test */
#define LARGE       16384u               /* bytes of the largest samples */

struct stage_plan {
        uint32_t readers; /* at most 3: one that lets go at once, two that keep what they can */
        uint32_t depth, loans, spare_chunks;
        uint32_t pause; /* the most turns that the writer spins between two messages */
        uint64_t payload;
        bool is_paced;
        bool is_streaming; /* samples are written past the cache */
};

struct seat {
        uint64_t holds[HOLDS];
        uint64_t progress; /* written by its reader: the message it has taken last */
};

struct stage {
        struct rig rig; /* without rows: they come with the readers */
        struct seat seats[SEATS];
        pthread_mutex_t lock; /* of n_introduced */
        uint32_t n_introduced;
        uint64_t pending;   /* how many introductions there have been */
        uint64_t is_over;   /* the message that never comes, when the writer has ended; else 0 */
        uint64_t is_faulty; /* a reader has given up */
        struct stage_plan plan;
};

struct reader_run {
        struct stage *stage;
        uint32_t number;
        uint64_t taken, lost, joins;
        const char *fault; /* threads can't fail a cmocka test: the main one looks at this */
};

/* ---- the writer ------------------------------------------------------------------------- */

struct author {
        struct stage *stage;
        struct ring_row rows[SEATS];
        uint32_t n_rows;
        uint64_t seen; /* of `pending` */
};

static void hear_introductions(struct author *author)
{
        struct stage *stage = author->stage;
        uint64_t pending = load_acquire(&stage->pending);

        if (pending == author->seen)
                return;
        author->seen = pending;
        pthread_mutex_lock(&stage->lock);
        for (; author->n_rows < stage->n_introduced; author->n_rows++)
                author->rows[author->n_rows] =
                        (struct ring_row){.holds = stage->seats[author->n_rows].holds,
                                          .n_holds = HOLDS,
                                          .budget = HOLDS};
        pthread_mutex_unlock(&stage->lock);
}

static void reclaim(struct author *author)
{
        struct ring_writer *writer = &author->stage->rig.writer;

        do {
                ring_reclaim_begin(writer);
                hear_introductions(author);
                for (uint32_t i = 0; i < author->n_rows; i++)
                        ring_reclaim_mark(writer, &author->rows[i]);
        } while (ring_reclaim_end(writer));
}

static uint32_t lend(struct author *author)
{
        struct ring_writer *writer = &author->stage->rig.writer;
        uint32_t chunk = ring_loan(writer);

        if (chunk != RING_NONE)
                return chunk;
        reclaim(author);
        return ring_loan(writer);
}

/* Samples differ in length, so that a size that belongs to another is noticed. */
static uint64_t size_of(const struct stage *stage, uint64_t sequence)
{
        return stage->plan.payload - sequence % 4 * 8;
}

/* A turn of a loop that waits for another thread, which may need this CPU. */
static void wait_a_turn(uint32_t *turns)
{
        if (++*turns % 256)
                spin_pause();
        else
                sched_yield();
}

/* The next message overtakes the one that is depth older: if paced, all must have taken that. */
static void wait_for_readers(const struct stage *stage)
{
        uint64_t n = stage->rig.writer.next;
        uint32_t turns = 0;

        if (!stage->plan.is_paced || n <= stage->plan.depth)
                return;
        for (uint32_t i = 0; i < stage->plan.readers; i++)
                while (load_acquire(&stage->seats[i].progress) < n - stage->plan.depth &&
                       !load_relaxed(&stage->is_faulty))
                        wait_a_turn(&turns);
}

/* As a user that fills a frame with stores which the CPU may make visible late. */
static void fill_streaming(struct rig *rig, void *data)
{
#if defined(__SSE2__) && defined(__x86_64__)
        uint64_t words[LARGE / 8], n = rig->geometry.payload_max / 8;

        rig_fill(words, rig->geometry.payload_max, rig->writer.next);
        for (uint64_t i = 0; i < n; i++)
                _mm_stream_si64((long long *)data + i, (long long)words[i]);
#else
        rig_fill(data, rig->geometry.payload_max, rig->writer.next);
#endif
}

static void publish(struct author *author, uint32_t chunk)
{
        struct rig *rig = &author->stage->rig;
        void *data = ring_payload(&rig->writer, chunk);

        wait_for_readers(author->stage);
        if (author->stage->plan.is_streaming)
                fill_streaming(rig, data);
        else
                rig_fill(data, rig->geometry.payload_max, rig->writer.next);
        ring_commit(&rig->writer, chunk, size_of(author->stage, rig->writer.next));
        ring_announce(&rig->writer);
        if (rig->writer.announced != RING_NONE)
                return;
        reclaim(author);
        ring_announce(&rig->writer);
}

/* Publishes in bursts, with several loans at a time, in any order, some discarded. */
static const char *write_all(struct stage *stage)
{
        struct author author = {.stage = stage};
        uint64_t state = 11, start = now_ns();

        while (now_ns() - start < RUN_NS) {
                for (int burst = 0; burst < 64; burst++) {
                        uint32_t lent[LOANS_MAX], n = 1 + random_below(&state, stage->plan.loans);

                        for (uint32_t i = 0; i < n; i++) {
                                lent[i] = lend(&author);
                                if (lent[i] == RING_NONE)
                                        return "the writer ran out of chunks";
                        }
                        while (n) {
                                uint32_t at = random_below(&state, n);

                                if (random_below(&state, 16))
                                        publish(&author, lent[at]);
                                else
                                        ring_discard(&stage->rig.writer, lent[at]);
                                lent[at] = lent[--n];
                                for (uint32_t i = random_below(&state, stage->plan.pause + 1); i--;)
                                        spin_pause();
                        }
                }
                /* On one CPU readers would only ever see the ring between two slices of time. */
                if (random_below(&state, 4) == 0)
                        sched_yield();
        }
        return NULL;
}

/* ---- readers ---------------------------------------------------------------------------- */

struct seated {
        struct reader_run *run;
        struct seat *seat;
        struct ring_reader reader;
        struct ring_sample samples[HOLDS];
        uint64_t last;
};

/* Takes a seat: listed, then pending raised, and only then does it read. */
static struct seat *sit_down(struct stage *stage)
{
        struct seat *seat;

        pthread_mutex_lock(&stage->lock);
        seat = &stage->seats[stage->n_introduced++];
        pthread_mutex_unlock(&stage->lock);
        increment_seq_cst(&stage->pending);
        return seat;
}

/* How many holds a reader uses: 0 lets go at once, the others keep some. */
static uint32_t holds_of(uint32_t number)
{
        return number == 0 ? 1 : HOLDS;
}

static bool is_intact(struct seated *seated, uint32_t at)
{
        const struct ring_sample *sample = &seated->samples[at];

        return sample->size == size_of(seated->run->stage, sample->sequence) &&
               rig_is_filled(sample->data, sample->size, sample->sequence);
}

static bool let_go(struct seated *seated, uint32_t at)
{
        if (!seated->seat->holds[at])
                return true;
        if (!is_intact(seated, at)) {
                seated->run->fault = "a sample changed while it was held";
                return false;
        }
        ring_release(&seated->seat->holds[at]);
        return true;
}

/* 1: taken; 0: nothing there; -1: a fault. */
static int take_one(struct seated *seated, uint32_t at)
{
        struct ring_sample *sample = &seated->samples[at];

        if (!let_go(seated, at))
                return -1;
        if (!ring_take(&seated->reader, &seated->seat->holds[at], sample)) {
                if (!seated->seat->holds[at])
                        return 0;
                seated->run->fault = "nothing was taken, but something is held";
        } else if (!is_intact(seated, at))
                seated->run->fault = "a sample is not what was written";
        else if (sample->lost && seated->run->stage->plan.is_paced)
                seated->run->fault = "a message was lost that was not overtaken";
        else if (sample->sequence != seated->last + 1 + sample->lost)
                seated->run->fault = "messages are missing that were not counted";
        if (seated->run->fault)
                return -1;
        seated->last = sample->sequence;
        store_release(&seated->seat->progress, seated->last);
        seated->run->taken++;
        seated->run->lost += sample->lost;
        return 1;
}

/* Reads until the end, or (who joins late) for a while; lets go of everything. */
static bool attend(struct reader_run *run, struct seat *seat, uint64_t *state, bool stays)
{
        struct stage *stage = run->stage;
        struct seated seated = {.run = run, .seat = seat};
        uint64_t started_at, taken = run->taken, lost = run->lost;
        uint32_t turns = 0, patience = stays ? UINT32_MAX : 20000 + random_below(state, 20000);

        if (stays)
                ring_reader_init(&seated.reader, &stage->rig.geometry, stage->rig.segment, RIG_TAG,
                                 1);
        else
                rig_join(&stage->rig, &seated.reader, random_below(state, stage->plan.depth + 1));
        seated.last = seated.reader.next - 1;
        started_at = seated.last;
        while (patience--) {
                uint32_t at = random_below(state, holds_of(run->number));
                uint64_t over = load_acquire(&stage->is_over);
                int taken_now;

                /* Kept over many laps; when all are, one is let go of to take the next. */
                if (run->number == 2 && seat->holds[at] && random_below(state, 200) &&
                    !stage->plan.is_paced)
                        continue;
                taken_now = take_one(&seated, at);
                if (taken_now < 0)
                        return false;
                if (taken_now)
                        continue;
                if (over)
                        break;
                wait_a_turn(&turns);
        }
        for (uint32_t at = 0; at < HOLDS; at++)
                if (!let_go(&seated, at))
                        return false;
        if (run->taken - taken + run->lost - lost != seated.last - started_at)
                run->fault = "taken and lost are not all";
        else if (load_acquire(&stage->is_over) && stays &&
                 seated.last != load_acquire(&stage->is_over) - 1)
                run->fault = "the last message was not found";
        return !run->fault;
}

static void *read_all(void *argument)
{
        struct reader_run *run = argument;
        struct stage *stage = run->stage;
        uint64_t state = 100 + run->number;
        uint64_t joins = run->number < 2 || stage->plan.is_paced ? 1 : SEATS - 2;
        bool stays;

        run_on_cpu(1 + run->number);
        /* Readers 0 and 1 stay; 2 comes and goes on the other seats, and stays on the last. */
        do {
                stays = ++run->joins == joins;
        } while (attend(run, sit_down(stage), &state, stays) && !stays);
        if (run->fault)
                store_relaxed(&stage->is_faulty, 1);
        return NULL;
}

/* ---- runs ------------------------------------------------------------------------------- */

static void run_stage(const struct stage_plan *stage_plan)
{
        struct rig_plan plan = {.payload = stage_plan->payload,
                                .depth = stage_plan->depth,
                                .loans = stage_plan->loans};
        struct stage *stage = calloc(1, sizeof(*stage));
        struct reader_run runs[READERS_MAX] = {0};
        pthread_t threads[READERS_MAX];
        cpu_set_t everywhere;
        const char *fault;

        assert_non_null(stage);
        /* So many at a time: whoever has gone holds nothing. */
        plan.n_chunks = rig_budget(&plan) + stage_plan->spare_chunks;
        for (uint32_t i = 0; i < stage_plan->readers; i++)
                plan.n_chunks += holds_of(i);
        rig_open(&stage->rig, &plan);
        pthread_mutex_init(&stage->lock, NULL);
        stage->plan = *stage_plan;
        for (uint32_t i = 0; i < stage_plan->readers; i++) {
                runs[i].stage = stage;
                runs[i].number = i;
                assert_int_equal(pthread_create(&threads[i], NULL, read_all, &runs[i]), 0);
        }
        sched_getaffinity(0, sizeof(everywhere), &everywhere);
        run_on_cpu(0);
        fault = write_all(stage);
        sched_setaffinity(0, sizeof(everywhere), &everywhere);
        store_release(&stage->is_over, rig_newest(&stage->rig) + 1);
        for (uint32_t i = 0; i < stage_plan->readers; i++)
                pthread_join(threads[i], NULL);
        for (uint32_t i = 0; i < stage_plan->readers; i++) {
                print_message("depth %u: %llu written, reader %u: %llu taken, %llu lost, %llu "
                              "joins%s%s\n",
                              plan.depth, (unsigned long long)rig_newest(&stage->rig), i,
                              (unsigned long long)runs[i].taken, (unsigned long long)runs[i].lost,
                              (unsigned long long)runs[i].joins, runs[i].fault ? ": " : "",
                              runs[i].fault ? runs[i].fault : "");
                if (!fault)
                        fault = runs[i].fault;
        }
        for (uint32_t i = 0; i < 2 && i < stage_plan->readers && !fault; i++)
                if (runs[i].taken + runs[i].lost != rig_newest(&stage->rig))
                        fault = "taken + lost is not what was committed";
        rig_close(&stage->rig);
        pthread_mutex_destroy(&stage->lock);
        free(stage);
        if (fault)
                fail_msg("%s", fault);
}

static void lapped_readers_keep_what_they_hold_with_chunks_to_spare(void **unused)
{
        run_stage(&(struct stage_plan){.readers = 3,
                                       .depth = 8,
                                       .loans = 3,
                                       .payload = 256,
                                       .spare_chunks = 32,
                                       .pause = 4});
}

static void lapped_readers_keep_what_they_hold_with_exactly_the_budget(void **unused)
{
        run_stage(&(struct stage_plan){.readers = 3, .depth = 2, .loans = 3, .payload = 64});
}

/* Each message is reclaimed as soon as it is overtaken, which is when the reader wants it. */
static void reader_and_reclaim_meet_at_each_message(void **unused)
{
        run_stage(&(struct stage_plan){
                .readers = 1, .depth = 1, .loans = 1, .payload = 64, .pause = 16});
}

static void lapped_readers_keep_large_samples(void **unused)
{
        run_stage(&(struct stage_plan){.readers = 3, .depth = 4, .loans = 3, .payload = LARGE});
}

static void nobody_who_is_not_lapped_loses_anything(void **unused)
{
        run_stage(&(struct stage_plan){
                .readers = 1, .depth = 4, .loans = 3, .payload = 64, .is_paced = true});
}

static void samples_written_past_the_cache_are_whole_when_they_are_taken(void **unused)
{
        run_stage(&(struct stage_plan){.readers = 1,
                                       .depth = 1,
                                       .loans = 1,
                                       .payload = 1024,
                                       .is_paced = true,
                                       .is_streaming = true});
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(lapped_readers_keep_what_they_hold_with_chunks_to_spare),
                cmocka_unit_test(lapped_readers_keep_what_they_hold_with_exactly_the_budget),
                cmocka_unit_test(reader_and_reclaim_meet_at_each_message),
                cmocka_unit_test(lapped_readers_keep_large_samples),
                cmocka_unit_test(nobody_who_is_not_lapped_loses_anything),
                cmocka_unit_test(samples_written_past_the_cache_are_whole_when_they_are_taken),
        };

        return cmocka_run_group_tests_name("stress-ring", tests, NULL, NULL);
}
