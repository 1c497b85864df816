/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-stats.c - are the figures right: quantiles against exact ones, and slices that jump?
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "slice.h"
#include "stats.h"

static uint64_t random_next(uint64_t *state)
{
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        return *state;
}

/* ---- quantiles --------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

        return x < y ? -1 : x > y;
}

/* The smallest value that at least a share of `quantile` of all does not exceed. */
static double exact(const uint64_t *sorted, uint64_t n, enum quantile quantile)
{
        uint64_t rank = 0;

        while ((rank + 1) * 1000000 < n * quantile)
                rank++;
        return (double)sorted[rank];
}

static void check_against_exact(uint64_t *values, uint64_t n, double tolerance)
{
        static const enum quantile quantiles[] = {QUANTILE_50, QUANTILE_90, QUANTILE_99,
                                                  QUANTILE_999};
        struct histogram *histogram = histogram_new();
        double sum = 0;

        assert_non_null(histogram);
        for (uint64_t i = 0; i < n; i++) {
                histogram_add(histogram, values[i]);
                sum += (double)values[i];
        }
        qsort(values, n, sizeof(*values), compare);
        for (uint32_t i = 0; i < 4; i++) {
                double want = exact(values, n, quantiles[i]);
                double got = histogram_quantile(histogram, quantiles[i]);

                if (n < quantile_needs(quantiles[i]))
                        assert_true(isnan(got));
                else
                        assert_true(fabs(got - want) <= want * tolerance);
        }
        assert_true(histogram_max(histogram) == (double)values[n - 1]);
        assert_true(fabs(histogram_mean(histogram) - sum / (double)n) <= 1e-6 * sum / (double)n);
        free(histogram);
}

static void small_values_have_exact_quantiles(void **state)
{
        uint64_t random = 88172645463325252ull, values[20000];

        for (uint64_t n = 1; n <= 20000; n = n * 3 + 1) {
                for (uint64_t i = 0; i < n; i++)
                        values[i] = random_next(&random) % 2048;
                check_against_exact(values, n, 0);
        }
}

static void quantiles_of_any_magnitude_are_off_by_a_two_thousandth_at_most(void **state)
{
        uint64_t random = 88172645463325252ull, values[20000];

        for (uint64_t n = 1; n <= 20000; n = n * 3 + 1) {
                for (uint64_t i = 0; i < n; i++)
                        values[i] = random_next(&random) >> (25 + random % 39);
                check_against_exact(values, n, 1.0 / 2048);
        }
}

static void a_quantile_of_too_few_values_is_no_number(void **state)
{
        struct histogram *histogram = histogram_new();

        assert_non_null(histogram);
        assert_int_equal(quantile_needs(QUANTILE_50), 20);
        assert_int_equal(quantile_needs(QUANTILE_90), 100);
        assert_int_equal(quantile_needs(QUANTILE_99), 1000);
        assert_int_equal(quantile_needs(QUANTILE_999), 10000);
        assert_true(isnan(histogram_max(histogram)));
        assert_true(isnan(histogram_mean(histogram)));
        for (int i = 0; i < 99; i++)
                histogram_add(histogram, 7);
        assert_true(histogram_quantile(histogram, QUANTILE_50) == 7);
        assert_true(histogram_middle(histogram) == 7);
        assert_true(isnan(histogram_quantile(histogram, QUANTILE_90)));
        histogram_add(histogram, 7);
        assert_true(histogram_quantile(histogram, QUANTILE_90) == 7);
        assert_true(isnan(histogram_quantile(histogram, QUANTILE_99)));
        free(histogram);
}

static void the_middle_is_one_of_the_values_and_has_as_many_below_as_above(void **state)
{
        double odd[] = {5, 1, 4, 2, 3}, even[] = {4, 1, 3, 2}, one[] = {9};

        assert_true(middle_of(odd, 5) == 3);
        assert_true(middle_of(even, 4) == 2);
        assert_true(middle_of(one, 1) == 9);
        assert_true(isnan(middle_of(one, 0)));
}

static void merged_histograms_are_as_if_filled_at_once(void **state)
{
        struct histogram *parts[2] = {histogram_new(), histogram_new()};
        struct histogram *whole = histogram_new();
        uint64_t random = 2463534242u;

        assert_true(parts[0] && parts[1] && whole);
        for (int i = 0; i < 30000; i++) {
                uint64_t value = random_next(&random) >> (20 + i % 40);

                histogram_add(whole, value);
                histogram_add(parts[i % 3 == 0], value);
        }
        histogram_merge(parts[0], parts[1]);
        assert_memory_equal(parts[0], whole, sizeof(*whole));
        histogram_clear(whole);
        assert_int_equal(whole->count, 0);
        histogram_merge(parts[0], whole);
        assert_int_equal(parts[0]->count, 30000);
        free(parts[0]);
        free(parts[1]);
        free(whole);
}

static void values_beyond_the_top_are_cut_off_but_not_lost(void **state)
{
        struct histogram *histogram = histogram_new();

        assert_non_null(histogram);
        for (int i = 0; i < 20; i++)
                histogram_add(histogram, UINT64_MAX);
        assert_int_equal(histogram->count, 20);
        assert_true(histogram_quantile(histogram, QUANTILE_50) >= 0x1p39);
        free(histogram);
}

/* ---- slices ------------------------------------------------------------------------------ */

/* A machine whose floor is what a script says, one entry for each time it is asked. */
struct machine {
        const double *floors;
        uint32_t n_floors; /* after the last it starts again */
        uint32_t asked;
        uint32_t aside; /* measured, not settled */
        uint32_t kept, forgotten;
        uint32_t order; /* floor 0, measure 1, floor 2 */
        int fail_at;    /* measure number, from 1; 0: never */
        uint32_t measured;
};

static int machine_floor(void *user, bool after, double *p50_ns)
{
        struct machine *machine = user;

        assert_int_equal(machine->order, after ? 2 : 0);
        machine->order = after ? 3 : 1;
        *p50_ns = machine->floors[machine->asked++ % machine->n_floors];
        return 0;
}

static int machine_measure(void *user)
{
        struct machine *machine = user;

        assert_int_equal(machine->order, 1);
        machine->order = 2;
        machine->aside++;
        return (int)++machine->measured == machine->fail_at ? -EIO : 0;
}

static void machine_settle(void *user, bool keep)
{
        struct machine *machine = user;

        assert_int_equal(machine->order, 3);
        assert_int_equal(machine->aside, 1);
        machine->order = machine->aside = 0;
        if (keep)
                machine->kept++;
        else
                machine->forgotten++;
}

static int run(struct machine *machine, uint32_t wanted, struct slice_count *count)
{
        const struct slice_source source = {
                .floor = machine_floor,
                .measure = machine_measure,
                .settle = machine_settle,
                .user = machine,
        };

        return slices_take(&source, wanted, count);
}

static void a_steady_machine_has_all_slices_kept(void **state)
{
        static const double floors[] = {60, 66, 66, 60, 60, 60};
        struct machine machine = {.floors = floors, .n_floors = 6};
        struct slice_count count;

        assert_int_equal(run(&machine, 12, &count), 0);
        assert_int_equal(count.kept, 12);
        assert_int_equal(count.discarded, 0);
        assert_int_equal(machine.kept, 12);
}

static void a_slice_in_which_the_floor_jumps_is_taken_again(void **state)
{
        /* The third slice jumps up, the fifth down; in between the floor is high, but steady. */
        static const double floors[] = {60, 62, 61, 60, 60, 290, 290, 280, 285, 90, 90, 88};
        struct machine machine = {.floors = floors, .n_floors = 12};
        struct slice_count count;

        assert_int_equal(run(&machine, 4, &count), 0);
        assert_int_equal(count.kept, 4);
        assert_int_equal(count.discarded, 2);
        assert_int_equal(machine.kept, 4);
        assert_int_equal(machine.forgotten, 2);
        assert_int_equal(machine.asked, 12);
}

static void fifteen_percent_either_way_is_the_limit(void **state)
{
        assert_false(slice_jumped(100, 115));
        assert_false(slice_jumped(115, 100));
        assert_true(slice_jumped(100, 115.1));
        assert_true(slice_jumped(115.1, 100));
        assert_true(slice_jumped(100, NAN));
        assert_true(slice_jumped(NAN, 100));
}

static void a_machine_that_never_holds_still_comes_to_an_end(void **state)
{
        static const double floors[] = {60, 90};
        struct machine machine = {.floors = floors, .n_floors = 2};
        struct slice_count count;

        assert_int_equal(run(&machine, 5, &count), 0);
        assert_int_equal(count.kept, 0);
        assert_int_equal(count.discarded, slices_discardable(5));
        assert_int_equal(machine.forgotten, count.discarded);
}

static void an_error_ends_it(void **state)
{
        static const double floors[] = {60};
        struct machine machine = {.floors = floors, .n_floors = 1, .fail_at = 3};
        struct slice_count count;

        assert_int_equal(run(&machine, 5, &count), -EIO);
        assert_int_equal(machine.kept, 2);
}

static void what_publishing_adds_is_told_from_work_that_drifts(void **state)
{
        assert_int_equal(difference_between(100000, 101500, 100000), 1500);
        assert_int_equal(difference_between(100000, 103500, 104000), 1500); /* ever slower */
        assert_int_equal(difference_between(104000, 103500, 100000), 1500); /* ever faster */
        assert_int_equal(difference_between(100000, 101500, 100001), 1499); /* rounds down */
}

static void work_that_was_interrupted_gives_no_negative_cost(void **state)
{
        assert_int_equal(difference_between(100000, 101500, 140000), 0);
        assert_int_equal(difference_between(100000, 100000, 100000), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(small_values_have_exact_quantiles),
                cmocka_unit_test(quantiles_of_any_magnitude_are_off_by_a_two_thousandth_at_most),
                cmocka_unit_test(a_quantile_of_too_few_values_is_no_number),
                cmocka_unit_test(the_middle_is_one_of_the_values_and_has_as_many_below_as_above),
                cmocka_unit_test(merged_histograms_are_as_if_filled_at_once),
                cmocka_unit_test(values_beyond_the_top_are_cut_off_but_not_lost),
                cmocka_unit_test(a_steady_machine_has_all_slices_kept),
                cmocka_unit_test(a_slice_in_which_the_floor_jumps_is_taken_again),
                cmocka_unit_test(fifteen_percent_either_way_is_the_limit),
                cmocka_unit_test(a_machine_that_never_holds_still_comes_to_an_end),
                cmocka_unit_test(an_error_ends_it),
                cmocka_unit_test(what_publishing_adds_is_told_from_work_that_drifts),
                cmocka_unit_test(work_that_was_interrupted_gives_no_negative_cost),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
