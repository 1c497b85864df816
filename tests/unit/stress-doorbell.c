/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stress-doorbell.c - a subscriber that goes to sleep again and again, just when the publisher
 * commits: no wake-up is lost, whichever of the two makes the fence.
 */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "unit.h"
#include "atomic.h"
#include "bell-rig.h"
#include "util.h"

#define QUIET       1001u /* commits that make a publisher leave out its fence, and one more */
#define PATIENCE_MS 10000 /* longer than anybody sleeps who is rung for */

struct scene {
        struct bell bell;
        uint64_t newest; /* the message committed last */
        uint64_t taken;  /* by the subscriber */
        uint64_t n_slept, n_armed, n_asym;
        uint32_t burst; /* commits in a row, of which the last may find somebody asleep */
        uint32_t armings;
        uint32_t delay; /* turns that each waits at most, so that they meet */
        bool is_lost;
};

static void delay(const struct scene *scene, uint64_t *state)
{
        for (uint32_t i = random_below(state, scene->delay); i--;)
                spin_pause();
        /* On one CPU the other would only ever see what both have done. */
        if (random_below(state, 8) == 0)
                sched_yield();
}

static void wait_until(const uint64_t *word, uint64_t value)
{
        for (uint32_t turns = 1; load_acquire(word) < value; turns++) {
                if (turns % 256)
                        spin_pause();
                else
                        sched_yield();
        }
}

/* Until there is message n: arms, looks, sleeps; drains, disarms, looks. */
static bool sleep_until(struct scene *scene, uint64_t n)
{
        struct bell *bell = &scene->bell;

        while (load_acquire(&scene->newest) < n) {
                struct pollfd reading = {.fd = bell->reading, .events = POLLIN};

                bell_arm(bell);
                scene->n_armed++;
                if (load_acquire(&bell->fence_mode) == FENCE_MODE_ASYM) {
                        scene->n_asym++;
                        doorbell_membarrier();
                }
                if (load_acquire(&scene->newest) < n) {
                        scene->n_slept++;
                        if (poll(&reading, 1, PATIENCE_MS) == 0)
                                return false;
                        bell_drain(bell);
                }
                store_release(&bell->armed, load_relaxed(&bell->armed) + 1);
        }
        return true;
}

static void *subscribe(void *argument)
{
        struct scene *scene = argument;
        uint64_t state = 21, n = 0;

        run_on_cpu(1);
        for (uint32_t i = 0; i < scene->armings && !scene->is_lost; i++) {
                n += scene->burst;
                wait_until(&scene->newest, n - 1);
                delay(scene, &state);
                scene->is_lost = !sleep_until(scene, n);
                store_release(&scene->taken, scene->is_lost ? UINT64_MAX : n);
        }
        return NULL;
}

static void publish(struct scene *scene)
{
        uint64_t state = 22, n = 0;

        for (uint32_t i = 0; i < scene->armings && load_acquire(&scene->taken) != UINT64_MAX; i++) {
                for (uint32_t j = 1; j <= scene->burst; j++) {
                        if (j == scene->burst)
                                delay(scene, &state);
                        store_release(&scene->newest, ++n);
                        bell_commit(&scene->bell, 0, n);
                }
                wait_until(&scene->taken, n);
        }
}

static void play(bool may_asym)
{
        /* membarrier(2) takes longer than a fence: who is to fall asleep needs the time for it. */
        struct scene scene = {.burst = may_asym ? QUIET + 1 : 1,
                              .armings = may_asym ? 10000 : 30000,
                              .delay = may_asym ? 2000 : 120};
        cpu_set_t everywhere;
        pthread_t thread;

        bell_open(&scene.bell, false);
        bell_attach(&scene.bell);
        doorbell_allow_asym(&scene.bell.doorbell, may_asym, 0);
        assert_int_equal(pthread_create(&thread, NULL, subscribe, &scene), 0);
        sched_getaffinity(0, sizeof(everywhere), &everywhere);
        run_on_cpu(0);
        publish(&scene);
        pthread_join(thread, NULL);
        sched_setaffinity(0, sizeof(everywhere), &everywhere);
        print_message("%llu armings, %llu with membarrier, slept %llu times\n",
                      (unsigned long long)scene.n_armed, (unsigned long long)scene.n_asym,
                      (unsigned long long)scene.n_slept);
        bell_close(&scene.bell);
        assert_false(scene.is_lost);
        assert_true(scene.n_slept > 0);
        assert_true(may_asym ? scene.n_asym > 0 : scene.n_asym == 0);
}

static void no_wakeup_is_lost_when_the_publisher_fences(void **unused)
{
        play(false);
}

static void no_wakeup_is_lost_when_the_subscriber_makes_up_for_the_fence(void **unused)
{
        if (!doorbell_can_membarrier() || !doorbell_register()) {
                print_message("membarrier(2) is refused here\n");
                skip();
        }
        play(true);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(no_wakeup_is_lost_when_the_publisher_fences),
                cmocka_unit_test(no_wakeup_is_lost_when_the_subscriber_makes_up_for_the_fence),
        };

        return cmocka_run_group_tests_name("stress-doorbell", tests, NULL, NULL);
}
