/* SPDX-License-Identifier: Apache-2.0 */
/* test-util.c - options of other sizes, ids, owned descriptors; and the texts of errors. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "unit.h"
#include "error.h"
#include "util.h"

struct options {
        uint32_t size;
        uint32_t first;
        uint64_t second;
};

static void options_of_the_same_size_are_copied(void **unused)
{
        struct options from = {sizeof(from), 1, 2}, to;

        assert_int_equal(options_copy(&to, sizeof(to), &from, from.size, "options"), 0);
        assert_memory_equal(&to, &from, sizeof(to));
}

static void options_of_an_older_program_end_with_defaults(void **unused)
{
        struct options from = {8, 1, 2}, to;

        for (uint32_t size = 4; size <= sizeof(from); size += 4) {
                memset(&to, 0xff, sizeof(to));
                assert_int_equal(options_copy(&to, sizeof(to), &from, size, "options"), 0);
                assert_int_equal(to.size, 8);
                assert_int_equal(to.first, size >= 8 ? 1 : 0);
                assert_int_equal(to.second, size >= 12 ? 2 : 0);
        }
}

static void options_of_a_newer_program_may_not_ask_for_what_is_unknown(void **unused)
{
        struct {
                struct options known;
                uint64_t unknown;
        } from = {{sizeof(from), 1, 2}, 0};
        struct options to;

        assert_int_equal(options_copy(&to, sizeof(to), &from, sizeof(from), "options"), 0);
        assert_int_equal(to.second, 2);
        from.unknown = UINT64_C(1) << 56; /* the last byte */
        assert_int_equal(options_copy(&to, sizeof(to), &from, sizeof(from), "options"), -E2BIG);
        assert_string_equal(error_text(),
                            "struct options: byte 23 is set, which this version of the library "
                            "(16 bytes) does not know");
}

static void options_without_a_size_are_refused(void **unused)
{
        static const size_t sizes[] = {0, 3, 4097, SIZE_MAX};
        struct options from = {0, 1, 2}, to;

        for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
                assert_int_equal(options_copy(&to, sizeof(to), &from, sizes[i], "options"),
                                 -EINVAL);
                assert_non_null(strstr(error_text(), "set it to sizeof the struct"));
        }
}

static void random_ids_differ_and_have_no_zero_half(void **unused)
{
        uint64_t ids[256];

        for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
                ids[i] = random_id();
                assert_int_not_equal((uint32_t)ids[i], 0);
                for (size_t j = 0; j < i; j++)
                        assert_int_not_equal(ids[i], ids[j]);
        }
}

static void closing_a_descriptor_forgets_it_and_keeps_errno(void **unused)
{
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), copy = fd;

        assert_true(fd >= 0);
        errno = ENOTTY;
        fd_close(&fd);
        assert_int_equal(errno, ENOTTY);
        assert_int_equal(fd, -1);
        assert_int_equal(fcntl(copy, F_GETFD), -1);
        errno = ENOTTY;
        fd_close(&fd); /* of none */
        assert_int_equal(errno, ENOTTY);
        fd_close(&copy); /* that is closed already: EBADF is nobody's business */
        assert_int_equal(errno, ENOTTY);
}

static void alignment_rounds_up_to_the_next_multiple(void **unused)
{
        assert_int_equal(align_up(0, 8), 0);
        assert_int_equal(align_up(1, 8), 8);
        assert_int_equal(align_up(8, 8), 8);
        assert_int_equal(align_up(4097, 4096), 8192);
        assert_int_equal(align_up(7, 1), 7);
        assert_false(is_power_of_two(0));
        assert_false(is_power_of_two(6));
        for (int i = 0; i < 64; i++)
                assert_true(is_power_of_two(UINT64_C(1) << i));
}

static void error_text_takes_words_in_front_and_the_meaning_of_errno_behind(void **unused)
{
        assert_int_equal(error_system(-ENOENT, "opening %s", "x"), -ENOENT);
        assert_string_equal(error_text(), "opening x: No such file or directory");
        assert_int_equal(error_prefix(-EPROTO, "service %d", 7), -EPROTO);
        assert_string_equal(error_text(), "service 7: opening x: No such file or directory");
        assert_int_equal(error_set(-EINVAL, "again: %s", error_text()), -EINVAL);
        assert_string_equal(error_text(), "again: service 7: opening x: No such file or directory");
}

static void error_text_that_is_too_long_is_cut(void **unused)
{
        char words[3000];

        memset(words, 'x', sizeof(words));
        words[sizeof(words) - 1] = '\0';
        error_set(-EINVAL, "%s", words);
        assert_int_equal(strlen(error_text()), 1023);
        for (int i = 0; i < 10; i++)
                error_prefix(-EINVAL, "%s", words);
        assert_true(strlen(error_text()) <= 1023);
        error_system(-EINVAL, "%s", words);
        assert_non_null(strstr(error_text(), "Invalid argument"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(options_of_the_same_size_are_copied),
                cmocka_unit_test(options_of_an_older_program_end_with_defaults),
                cmocka_unit_test(options_of_a_newer_program_may_not_ask_for_what_is_unknown),
                cmocka_unit_test(options_without_a_size_are_refused),
                cmocka_unit_test(random_ids_differ_and_have_no_zero_half),
                cmocka_unit_test(closing_a_descriptor_forgets_it_and_keeps_errno),
                cmocka_unit_test(alignment_rounds_up_to_the_next_multiple),
                cmocka_unit_test(error_text_takes_words_in_front_and_the_meaning_of_errno_behind),
                cmocka_unit_test(error_text_that_is_too_long_is_cut),
        };

        return cmocka_run_group_tests_name("util", tests, NULL, NULL);
}
