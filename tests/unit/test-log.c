/* SPDX-License-Identifier: Apache-2.0 */
/* test-log.c - how much is said about whom, by a clock of the test's. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "log.h"
#include "unit.h"

static time_t the_time;
static unsigned n_lines;
static char last_line[1024];

int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
        (void)clock;
        *now = (struct timespec){.tv_sec = the_time};
        return 0;
}

static void take_line(void *user, int level, const char *text)
{
        (void)user;
        (void)level;
        n_lines++;
        snprintf(last_line, sizeof(last_line), "%s", text);
}

static void begin(struct broker_log *log)
{
        *log = (struct broker_log){.callback = take_line};
        the_time = 1000;
        n_lines = 0;
}

static void tell(struct broker_log *log, uid_t uid, unsigned n)
{
        while (n--)
                log_about(log, uid, "about %u", uid);
}

static void each_user_has_as_many_lines(void **unused)
{
        struct broker_log log;

        begin(&log);
        tell(&log, 1, LOG_BURST + 10);
        assert_int_equal(n_lines, LOG_BURST);
        tell(&log, 2, 1);
        assert_int_equal(n_lines, LOG_BURST + 1);
        the_time++;
        tell(&log, 2, 1);
        assert_int_equal(n_lines, LOG_BURST + 3);
        log_close(&log);
        assert_int_equal(n_lines, LOG_BURST + 3);
}

/* However many have had something said about them before, and however often: all users that this
 * machine can name may come and be turned away. */
static void who_is_quiet_keeps_no_place(void **unused)
{
        struct broker_log log;

        begin(&log);
        for (uid_t uid = 0; uid < LOG_USERS; uid++)
                tell(&log, 1000 + uid, 1);
        the_time++;
        tell(&log, 1, LOG_BURST);
        tell(&log, 2, LOG_BURST);
        assert_int_equal(n_lines, LOG_USERS + 2 * LOG_BURST);
        assert_string_equal(last_line, "about 2");
}

static void many_at_a_time_share_a_place_and_are_not_taken_for_each_other(void **unused)
{
        struct broker_log log;

        begin(&log);
        for (uid_t uid = 0; uid < LOG_USERS + 3; uid++)
                tell(&log, 1000 + uid, LOG_BURST + 1);
        assert_int_equal(n_lines, LOG_USERS * LOG_BURST);
        log_close(&log);
        assert_string_equal(last_line, "left out 154 more such lines about user 1031 and others");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(each_user_has_as_many_lines),
                cmocka_unit_test(who_is_quiet_keeps_no_place),
                cmocka_unit_test(many_at_a_time_share_a_place_and_are_not_taken_for_each_other),
        };

        return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
