/* SPDX-License-Identifier: Apache-2.0 */
/* test-quota.c - accounts, charges, connects by a clock of the test's, and limits as text. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <shmd/broker.h>

#include "access.h"
#include "error.h"
#include "quota.h"
#include "unit.h"

#define SECOND UINT64_C(1000000000)

static uint64_t the_time;

uint64_t __wrap_now_ns(void);
uint64_t __wrap_now_ns(void)
{
        return the_time;
}

/* A broker of user 10 that lets in 11 and 12, and 11 again. */
struct books {
        struct access access;
        struct quota quota;
        struct quota_account *user, *other;
};

static void books_open(struct books *books, const struct shmd_quota *limits)
{
        static const uint32_t uids[] = {11, 12, 11, 10};

        memset(books, 0, sizeof(*books));
        books->access = (struct access){
                .own = 10, .unknown = (uid_t)-1, .n_uids = 4, .uids = (uint32_t *)(uintptr_t)uids};
        assert_int_equal(quota_init(&books->quota, limits, &books->access, 1u << 20), 0);
        books->user = quota_find(&books->quota, 11);
        books->other = quota_find(&books->quota, 12);
        assert_non_null(books->user);
        assert_non_null(books->other);
}

static void books_close(struct books *books)
{
        quota_deinit(&books->quota);
}

static void what_is_charged_is_given_back(void **unused)
{
        struct shmd_quota limits = {.bytes = 100, .sessions = 1};
        struct charge charges[3], session;
        struct books books;

        books_open(&books, &limits);
        assert_int_equal(charge_init(&charges[0], books.user, QUOTA_BYTES, 60), 0);
        assert_int_equal(charge_init(&charges[1], books.user, QUOTA_BYTES, 40), 0);
        assert_int_equal(charge_init(&charges[2], books.user, QUOTA_BYTES, 1), -EDQUOT);
        assert_non_null(strstr(error_text(), "has 100 of 100 bytes, and would need 1 more "
                                             "(--quota bytes)"));
        /* Neither the other kinds nor the others are concerned. */
        assert_int_equal(charge_init(&session, books.user, QUOTA_SESSIONS, 1), 0);
        charge_deinit(&session);
        assert_int_equal(charge_init(&session, books.other, QUOTA_BYTES, 100), 0);
        charge_deinit(&session);
        charge_deinit(&session);
        charge_deinit(&charges[2]);
        charge_deinit(&charges[0]);
        assert_int_equal(books.user->used[QUOTA_BYTES], 40);
        assert_int_equal(charge_init(&charges[0], books.user, QUOTA_BYTES, 60), 0);
        charge_deinit(&charges[0]);
        charge_deinit(&charges[1]);
        books_close(&books);
}

static void charge_grows_up_to_the_limit_and_always_shrinks(void **unused)
{
        struct shmd_quota limits = {.pairs = 10};
        struct charge charge;
        struct books books;

        books_open(&books, &limits);
        assert_int_equal(charge_init(&charge, books.user, QUOTA_PAIRS, 0), 0);
        assert_int_equal(charge_resize(&charge, 10), 0);
        assert_int_equal(charge_resize(&charge, 11), -EDQUOT);
        assert_int_equal(charge.amount, 10);
        assert_false(quota_has_room(books.user, QUOTA_PAIRS, 1));
        assert_int_equal(charge_resize(&charge, 3), 0);
        assert_true(quota_has_room(books.user, QUOTA_PAIRS, 7));
        assert_false(quota_has_room(books.user, QUOTA_PAIRS, 8));
        assert_false(quota_has_room(books.user, QUOTA_PAIRS, UINT64_MAX));
        charge_deinit(&charge);
        books_close(&books);
}

static void root_and_the_brokers_own_user_are_counted_and_not_limited(void **unused)
{
        struct shmd_quota limits = {.sessions = 1, .connects = 1};
        static const uid_t exempt[] = {0, 10};
        struct charge charge;
        struct books books;
        char text[256];

        books_open(&books, &limits);
        for (unsigned i = 0; i < 2; i++) {
                struct quota_account *account = quota_find(&books.quota, exempt[i]);

                assert_int_equal(charge_init(&charge, account, QUOTA_SESSIONS, 100), 0);
                assert_int_equal(account->used[QUOTA_SESSIONS], 100);
                for (unsigned n = 0; n < 100; n++)
                        assert_int_equal(quota_connect(account), 0);
                charge_deinit(&charge);
        }
        assert_null(quota_find(&books.quota, 13));
        /* Four users, each once. */
        for (uint32_t i = 0; i < 4; i++) {
                assert_true(quota_describe(&books.quota, i, text, sizeof(text)));
                assert_string_equal(text, "");
        }
        assert_false(quota_describe(&books.quota, 4, text, sizeof(text)));
        books_close(&books);
}

static void connects_are_so_many_at_once_and_then_so_many_a_second(void **unused)
{
        struct shmd_quota limits = {.sessions = 8, .connects = 2};
        struct books books;

        books_open(&books, &limits);
        the_time = 1000 * SECOND;
        for (unsigned n = 0; n < 8; n++)
                assert_int_equal(quota_connect(books.user), 0);
        assert_int_equal(quota_connect(books.user), -EDQUOT);
        assert_non_null(strstr(error_text(), "has connected 8 times at once, and goes on with "
                                             "more than 2 a second (--quota connects)"));
        assert_int_equal(quota_connect(books.other), 0);
        the_time += SECOND;
        assert_int_equal(quota_connect(books.user), 0);
        assert_int_equal(quota_connect(books.user), 0);
        assert_int_equal(quota_connect(books.user), -EDQUOT);
        /* Never more at once than that, however long it was quiet. */
        the_time += 1000 * SECOND;
        for (unsigned n = 0; n < 8; n++)
                assert_int_equal(quota_connect(books.user), 0);
        assert_int_equal(quota_connect(books.user), -EDQUOT);
        /* A clock that is put back locks nobody out. */
        the_time -= 500 * SECOND;
        assert_int_equal(quota_connect(books.user), 0);
        books_close(&books);
}

static void what_is_not_set_has_a_limit_too(void **unused)
{
        struct shmd_quota limits = {.pairs = SHMD_NO_LIMIT};
        struct books books;

        books_open(&books, &limits);
        for (unsigned kind = 0; kind < QUOTA_KINDS; kind++)
                if (kind != QUOTA_PAIRS && kind != QUOTA_LISTED)
                        assert_true(books.quota.max[kind] && books.quota.max[kind] < SHMD_NO_LIMIT);
        assert_int_equal(quota_max(books.user, QUOTA_PAIRS), SHMD_NO_LIMIT);
        assert_int_equal(quota_max(books.user, QUOTA_LISTED), SHMD_NO_LIMIT);
        books_close(&books);
}

static void limits_are_read_from_text(void **unused)
{
        struct shmd_quota quota = {.pairs = 5};

        assert_int_equal(shmd_broker_quota_read(&quota, "sessions=3,bytes=2G,seats=100"), 0);
        assert_int_equal(shmd_broker_quota_read(&quota, "connects=none"), 0);
        assert_int_equal(quota.sessions, 3);
        assert_int_equal(quota.bytes, UINT64_C(2) << 30);
        assert_int_equal(quota.seats, 100);
        assert_int_equal(quota.connects, SHMD_NO_LIMIT);
        assert_int_equal(quota.pairs, 5);
        assert_int_equal(quota.services, 0);
        assert_int_equal(shmd_broker_quota_read(&quota, "sessions=4,nonsense=3"), -EINVAL);
        assert_non_null(strstr(shmd_broker_error(), "'nonsense=3' is not a quota: KIND=N"));
        assert_int_equal(shmd_broker_quota_read(&quota, "seats=200"), -EINVAL);
        assert_non_null(strstr(shmd_broker_error(), "1 to 100"));
        assert_int_equal(shmd_broker_quota_read(&quota, "bytes=16777216T"), -EINVAL);
        assert_int_equal(shmd_broker_quota_read(&quota, "bytes=16777215T"), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_is_charged_is_given_back),
                cmocka_unit_test(charge_grows_up_to_the_limit_and_always_shrinks),
                cmocka_unit_test(root_and_the_brokers_own_user_are_counted_and_not_limited),
                cmocka_unit_test(connects_are_so_many_at_once_and_then_so_many_a_second),
                cmocka_unit_test(what_is_not_set_has_a_limit_too),
                cmocka_unit_test(limits_are_read_from_text),
        };

        return cmocka_run_group_tests_name("quota", tests, NULL, NULL);
}
