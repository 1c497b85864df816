/* SPDX-License-Identifier: Apache-2.0 */
/*
 * types.c - what may meet: types, names, sizes and limits, and what is said to who is refused.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "harness.h"

struct imu {
        uint64_t time_ns;
        double acceleration[3];
        uint32_t status;
        char frame[4];
};
SHMD_TYPE(imu_type, struct imu, SHMD_FIELD(struct imu, time_ns),
          SHMD_ARRAY(struct imu, acceleration), SHMD_FIELD(struct imu, status),
          SHMD_ARRAY(struct imu, frame));

/* A copy of imu_type that may be changed. */
static struct shmd_field fields[SHMD_FIELDS_MAX + 1];
static struct shmd_type type;

static void reset_type(void)
{
        type = imu_type;
        type.fields = fields;
        memcpy(fields, imu_type.fields, imu_type.n_fields * sizeof(fields[0]));
}

static int subscribe(struct shmd *bus, const char *service, const struct shmd_type *of)
{
        struct shmd_subscriber *subscriber;
        int code = shmd_subscribe(&subscriber, bus, service, of, NULL);

        shmd_subscriber_close(subscriber);
        return code;
}

static int advertise_with(struct shmd *bus, const char *service, const struct shmd_type *of,
                          const struct shmd_publisher_options *options)
{
        struct shmd_publisher *publisher;
        int code = shmd_advertise(&publisher, bus, service, of, options);

        shmd_publisher_close(publisher);
        return code;
}

static int advertise(struct shmd *bus, const char *service, const struct shmd_type *of)
{
        return advertise_with(bus, service, of, NULL);
}

/* ---- types ------------------------------------------------------------------------------- */

static void same_type_is_accepted_whoever_comes_first(void **state)
{
        struct shmd *one = broker_connect(), *other = broker_connect();
        struct shmd_publisher *publisher;
        struct shmd_subscriber *subscriber;

        reset_type();
        must(shmd_type_hash(&type) == shmd_type_hash(&imu_type));
        must_equal(shmd_advertise(&publisher, one, "types/imu", &imu_type, NULL), 0);
        must_equal(subscribe(other, "types/imu", &type), 0);
        must_equal(advertise(other, "types/imu", &type), 0);
        shmd_publisher_close(publisher);
        /* A tag of a struct is no part of its name. */
        type.name = "imu";
        must_equal(shmd_subscribe(&subscriber, other, "types/imu", &type, NULL), 0);
        must_equal(advertise(one, "types/imu", &imu_type), 0);
        shmd_close(one);
        shmd_close(other);
}

/* The service types/imu is there, as imu_type. */
static void expect_refusal(struct shmd *bus, const char *is, const char *asked)
{
        must_equal(subscribe(bus, "types/imu", &type), -EPROTOTYPE);
        must_say(shmd_error(), "types/imu", is, asked);
        must_equal(advertise(bus, "types/imu", &type), -EPROTOTYPE);
        must_say(shmd_error(), "types/imu", is, asked);
        must(shmd_type_hash(&type) != shmd_type_hash(&imu_type));
        reset_type();
}

static void check_refusals(struct shmd *bus)
{
        reset_type();
        type.name = "gyro";
        expect_refusal(bus, "type is imu", "asked for gyro");
        type.size += 8;
        expect_refusal(bus, "size 40", "asked for 48");
        type.alignment = 16;
        expect_refusal(bus, "alignment 8", "asked for 16");
        type.flags = SHMD_TYPE_VARIABLE;
        expect_refusal(bus, "one length", "asked for any");
        fields[1].name = "velocity";
        expect_refusal(bus, "field acceleration", "asked for velocity");
        fields[1].kind = SHMD_KIND_I64;
        expect_refusal(bus, "field acceleration is f64[3] at byte 8", "asked for i64[3] at byte 8");
        fields[1].count = 2;
        expect_refusal(bus, "f64[3] at byte 8", "asked for f64[2] at byte 8");
        fields[2].offset = 36;
        expect_refusal(bus, "field status is u32[1] at byte 32", "asked for u32[1] at byte 36");
        type.n_fields = 3;
        expect_refusal(bus, "4 fields", "asked for 3 (frame is missing)");
        fields[type.n_fields++] = (struct shmd_field){"more", 0, SHMD_KIND_U8, 1};
        expect_refusal(bus, "4 fields", "asked for 5 (more is not there)");
        type.n_fields = 0;
        expect_refusal(bus, "4 fields", "asked for 0 (time_ns is missing)");
}

static void each_difference_of_types_is_named(void **state)
{
        struct shmd *one = broker_connect(), *other = broker_connect();
        struct shmd_publisher *publisher;
        struct shmd_subscriber *subscriber;

        must_equal(shmd_advertise(&publisher, one, "types/imu", &imu_type, NULL), 0);
        check_refusals(other);
        shmd_publisher_close(publisher);
        broker_settle(one);
        must_equal(shmd_subscribe(&subscriber, one, "types/imu", &imu_type, NULL), 0);
        check_refusals(other);
        shmd_subscriber_close(subscriber);
        broker_settle(one);
        /* With the last of them the contract is over. */
        type.name = "gyro";
        must_equal(advertise(other, "types/imu", &type), 0);
        shmd_close(one);
        shmd_close(other);
}

static void expect_invalid(struct shmd *bus, const char *part)
{
        must_equal(advertise(bus, "types/imu", &type), -EINVAL);
        must_say(shmd_error(), part);
        must_equal(subscribe(bus, "types/imu", &type), -EINVAL);
        must_say(shmd_error(), part);
        must_equal(shmd_type_hash(&type), 0);
        must_say(shmd_error(), part);
        reset_type();
}

static void types_that_can_not_be_are_refused(void **state)
{
        static const char long_name[] =
                "a-name-of-64-characters-which-is-one-more-than-a-type-may-have--";
        struct shmd *bus = broker_connect();

        reset_type();
        type.name = "";
        expect_invalid(bus, "1 to 63 characters");
        must_equal(strlen(long_name), SHMD_TYPE_NAME_MAX + 1);
        type.name = long_name;
        expect_invalid(bus, "1 to 63 characters");
        type.name = long_name + 1;
        must_equal(subscribe(bus, "types/imu", &type), 0);
        type.name = "im\nu";
        expect_invalid(bus, "printable");
        type.size = 0;
        type.n_fields = 0;
        expect_invalid(bus, "0 bytes");
        type.alignment = 3;
        expect_invalid(bus, "alignment is 3");
        type.alignment = 8192;
        expect_invalid(bus, "up to 4096");
        type.flags = 2;
        expect_invalid(bus, "flags 0x2");
        type.n_fields = SHMD_FIELDS_MAX + 1;
        expect_invalid(bus, "257 fields");
        fields[1].name = NULL;
        expect_invalid(bus, "field");
        fields[1].name = long_name + 64 - 48;
        expect_invalid(bus, "1 to 47 characters");
        fields[1].kind = 13;
        expect_invalid(bus, "unknown kind 13");
        fields[1].count = 0;
        expect_invalid(bus, "field acceleration");
        fields[1].offset = 24;
        expect_invalid(bus, "not within");
        fields[1].offset = UINT64_MAX - 7;
        expect_invalid(bus, "not within");
        shmd_close(bus);
}

static void type_with_all_fields_passes(void **state)
{
        static char names[SHMD_FIELDS_MAX][SHMD_FIELD_NAME_MAX + 1];
        struct shmd *one = broker_connect(), *other = broker_connect();
        struct shmd_publisher *publisher;

        for (unsigned i = 0; i < SHMD_FIELDS_MAX; i++) {
                snprintf(names[i], sizeof(names[i]), "%047u", i);
                fields[i] = (struct shmd_field){names[i], 2 * i, SHMD_KIND_U16, 1};
        }
        type = (struct shmd_type){"large", 2 * SHMD_FIELDS_MAX, 2, fields, SHMD_FIELDS_MAX, 0};
        must_equal(shmd_advertise(&publisher, one, "types/large", &type, NULL), 0);
        must_equal(subscribe(other, "types/large", &type), 0);
        fields[SHMD_FIELDS_MAX - 1].kind = SHMD_KIND_I16;
        must_equal(subscribe(other, "types/large", &type), -EPROTOTYPE);
        must_say(shmd_error(), names[SHMD_FIELDS_MAX - 1], "u16[1]", "i16[1]");
        shmd_close(one);
        shmd_close(other);
}

/* ---- names ------------------------------------------------------------------------------- */

static void names_of_services_are_checked(void **state)
{
        static const char *const good[] = {"a",     "camera/front", "A-Z_0.9/x", "...",
                                           "a/...", "..a/b..",      "-",         "a/b/c/d/e/f"};
        static const struct {
                const char *name, *says;
        } bad[] = {
                {"", "none"},
                {"/a", "empty part at byte 1"},
                {"a/", "empty part at byte 3"},
                {"a//b", "empty part at byte 3"},
                {"/", "empty part"},
                {".", "'.' or '..'"},
                {"..", "'.' or '..'"},
                {"a/./b", "'.' or '..'"},
                {"a/..", "'.' or '..'"},
                {"a b", "byte 2 (0x20)"},
                {"a\tb", "byte 2 (0x09)"},
                {"a/\xc3\xa4", "byte 3 (0xc3)"},
                {"a:b", "byte 2 (0x3a)"},
                {"a*", "byte 2 (0x2a)"},
        };
        char name[SHMD_SERVICE_NAME_MAX + 2];
        struct shmd *bus = broker_connect();

        for (unsigned i = 0; i < N_ELEMENTS(good); i++) {
                must_equal(advertise(bus, good[i], &imu_type), 0);
                must_equal(subscribe(bus, good[i], &imu_type), 0);
        }
        for (unsigned i = 0; i < N_ELEMENTS(bad); i++) {
                must_equal(advertise(bus, bad[i].name, &imu_type), -EINVAL);
                must_say(shmd_error(), bad[i].says);
                must_equal(subscribe(bus, bad[i].name, &imu_type), -EINVAL);
                must_say(shmd_error(), bad[i].says);
        }
        memset(name, 'n', sizeof(name));
        name[SHMD_SERVICE_NAME_MAX] = '\0';
        must_equal(strlen(name), 255);
        must_equal(advertise(bus, name, &imu_type), 0);
        must_equal(subscribe(bus, name, &imu_type), 0);
        name[SHMD_SERVICE_NAME_MAX] = 'n';
        name[SHMD_SERVICE_NAME_MAX + 1] = '\0';
        must_equal(advertise(bus, name, &imu_type), -EINVAL);
        must_say(shmd_error(), "1 to 255 bytes", "more");
        must_equal(subscribe(bus, name, &imu_type), -EINVAL);
        must_say(shmd_error(), "1 to 255 bytes", "more");
        must_equal(advertise(bus, NULL, &imu_type), -EINVAL);
        must_say(shmd_error(), "no service given");
        must_equal(subscribe(bus, "a", NULL), -EINVAL);
        must_say(shmd_error(), "no type given");
        shmd_close(bus);
}

/* ---- sizes ------------------------------------------------------------------------------- */

/* As a later version of the library might have it. */
struct longer {
        struct shmd_subscriber_options options;
        uint64_t more;
};

static void sizes_of_options_are_checked(void **state)
{
        struct shmd_publisher_options options = {.size = 0};
        struct shmd_connect_options connect = {.size = 3};
        struct longer longer = {.options = {.size = sizeof(longer)}};
        struct shmd *bus = broker_connect(), *none;
        struct shmd_subscriber *subscriber;

        must_equal(advertise_with(bus, "a", &imu_type, &options), -EINVAL);
        must_say(shmd_error(), "shmd_publisher_options", "size is 0");
        must_equal(shmd_connect(&none, &connect), -EINVAL);
        must_say(shmd_error(), "shmd_connect_options", "size is 3");
        must(!none);
        must_equal(shmd_subscribe(&subscriber, bus, "a", &imu_type, &longer.options), 0);
        shmd_subscriber_close(subscriber);
        longer.more = UINT64_C(1) << 40;
        must_equal(shmd_subscribe(&subscriber, bus, "a", &imu_type, &longer.options), -E2BIG);
        must_say(shmd_error(), "shmd_subscriber_options");
        must(!subscriber);
        /* An earlier version's, that ends after `history`. */
        longer.options.size = 8;
        longer.options.min_depth = UINT32_MAX;
        must_equal(shmd_subscribe(&subscriber, bus, "a", &imu_type, &longer.options), 0);
        shmd_close(bus);
}

static void expect_bad_limit(struct shmd *bus, struct shmd_publisher_options options,
                             const char *is, const char *range)
{
        options.size = sizeof(options);
        must_equal(advertise_with(bus, "limits/a", &imu_type, &options), -EINVAL);
        must_say(shmd_error(), "limits/a", is, range);
}

static void limits_out_of_range_are_named(void **state)
{
        struct shmd *bus = broker_connect();
        struct shmd_subscriber_options too_many = {.size = sizeof(too_many), .holds = 1025};
        struct shmd_subscriber *subscriber;

        expect_bad_limit(bus, (struct shmd_publisher_options){.depth = (1u << 20) + 1},
                         "depth is 1048577", "from 1 to 1048576");
        expect_bad_limit(bus, (struct shmd_publisher_options){.loans = 65537}, "loans is 65537",
                         "from 1 to 65536");
        expect_bad_limit(bus, (struct shmd_publisher_options){.holds = 1025}, "holds is 1025",
                         "from 1 to 1024");
        expect_bad_limit(bus, (struct shmd_publisher_options){.max_subscribers = 65537},
                         "max_subscribers is 65537", "from 1 to 65536");
        expect_bad_limit(bus, (struct shmd_publisher_options){.max_size = 39}, "max_size is 39",
                         "from 40 to 40");
        expect_bad_limit(bus, (struct shmd_publisher_options){.max_size = 41}, "max_size is 41",
                         "from 40 to 40");
        expect_bad_limit(bus, (struct shmd_publisher_options){.depth = 4, .loans = 3, .chunks = 7},
                         "chunks is 7", "from 8 to");
        expect_bad_limit(bus, (struct shmd_publisher_options){.flags = 4}, "unknown flags", "0x4");
        must_equal(shmd_subscribe(&subscriber, bus, "limits/a", &imu_type, &too_many), -EINVAL);
        must_say(shmd_error(), "limits/a", "holds is 1025", "from 1 to 1024");
        shmd_close(bus);
}

static void segment_over_one_gibibyte_needs_its_option(void **state)
{
        struct shmd_publisher_options options = {.size = sizeof(options),
                                                 .depth = 1,
                                                 .loans = 1,
                                                 .max_subscribers = 1,
                                                 .holds = 1,
                                                 .max_size = UINT64_C(257) << 20};
        struct shmd *bus = broker_connect();
        struct sysinfo info;
        int code;

        must_equal(advertise_with(bus, "large", &shmd_bytes, &options), -EFBIG);
        must_say(shmd_error(), "large", "1028 MiB", "1 GiB", "SHMD_LARGE_SEGMENT");
        options.flags = SHMD_LARGE_SEGMENT;
        /* Where memory is short, that is what is said, and nothing is taken. */
        must_equal(sysinfo(&info), 0);
        if (info.freeram * info.mem_unit > UINT64_C(4) << 30) {
                code = advertise_with(bus, "large", &shmd_bytes, &options);
                must(code == 0 || code == -ENOMEM);
        }
        /* More than any machine has. */
        options.max_size = UINT64_C(1) << 50;
        must_equal(advertise_with(bus, "large", &shmd_bytes, &options), -ENOMEM);
        must_say(shmd_error(), "large");
        shmd_close(bus);
}

/* ---- limits of one against wishes of the other ------------------------------------------- */

static void subscriber_refuses_publishers_below_its_minima(void **state)
{
        struct shmd_publisher_options offered = {
                .size = sizeof(offered), .depth = 4, .holds = 2, .max_subscribers = 1};
        struct shmd_subscriber_options asked = {.size = sizeof(asked), .min_depth = 5};
        struct shmd *one = broker_connect(), *other = broker_connect();
        struct shmd_subscriber *subscriber, *second;
        struct shmd_publisher *publisher;

        must_equal(shmd_advertise(&publisher, one, "a", &imu_type, &offered), 0);
        must_equal(shmd_subscribe(&subscriber, other, "a", &imu_type, &asked), -ERANGE);
        must_say(shmd_error(), "service a", "depth 4", "min_depth 5", "system-types");
        asked.min_depth = 4;
        asked.holds = 3;
        must_equal(shmd_subscribe(&subscriber, other, "a", &imu_type, &asked), -ERANGE);
        must_say(shmd_error(), "service a", "holds 2", "holds 3");
        asked.holds = 2;
        must_equal(shmd_subscribe(&subscriber, other, "a", &imu_type, &asked), 0);
        must_equal(shmd_subscribe(&second, other, "a", &imu_type, NULL), -ERANGE);
        must_say(shmd_error(), "service a", "max_subscribers 1");
        shmd_close(one);
        shmd_close(other);
}

static struct shmd_subscriber_state status_of(struct shmd_subscriber *subscriber)
{
        struct shmd_subscriber_state status;

        must_equal(shmd_subscriber_status(subscriber, &status), 0);
        return status;
}

static void publisher_that_comes_later_is_refused_and_counted(void **state)
{
        struct shmd_publisher_options offered = {.size = sizeof(offered), .depth = 4};
        struct shmd_subscriber_options asked = {.size = sizeof(asked), .min_depth = 5};
        struct shmd *one = broker_connect(), *other = broker_connect();
        struct shmd_subscriber *subscriber;
        struct shmd_publisher *shallow, *deep;

        must_equal(shmd_subscribe(&subscriber, other, "a", &imu_type, &asked), 0);
        must_equal(shmd_advertise(&shallow, one, "a", &imu_type, &offered), 0);
        until(status_of(subscriber).refused == 1);
        must_equal(status_of(subscriber).publishers, 0);
        offered.depth = 5;
        must_equal(shmd_advertise(&deep, one, "a", &imu_type, &offered), 0);
        until(status_of(subscriber).publishers == 1);
        must_equal(status_of(subscriber).refused, 1);
        shmd_publisher_close(shallow);
        until(status_of(subscriber).refused == 0);
        must_equal(status_of(subscriber).publishers, 1);
        shmd_close(one);
        shmd_close(other);
}

static void subscriber_without_seat_gets_the_next_that_is_free(void **state)
{
        struct shmd_publisher_options offered = {.size = sizeof(offered), .max_subscribers = 1};
        struct shmd *one = broker_connect(), *other = broker_connect(), *third = broker_connect();
        struct shmd_subscriber *first, *second;
        struct shmd_publisher *publisher;
        struct shmd_publisher_state status;
        struct shmd_sample sample;
        void *data;

        must_equal(shmd_subscribe(&first, other, "a", &imu_type, NULL), 0);
        must_equal(shmd_subscribe(&second, third, "a", &imu_type, NULL), 0);
        must_equal(shmd_advertise(&publisher, one, "a", &imu_type, &offered), 0);
        until(status_of(first).publishers + status_of(second).publishers == 1 &&
              status_of(first).refused + status_of(second).refused == 1);
        if (status_of(second).publishers) {
                struct shmd_subscriber *seated = second;

                second = first;
                first = seated;
        }
        must_equal(shmd_publisher_status(publisher, &status), 0);
        must_equal(status.subscribers, 1);
        shmd_subscriber_close(first);
        until(status_of(second).publishers == 1);
        must_equal(status_of(second).refused, 0);
        must_equal(shmd_loan(publisher, &data), 0);
        must_equal(shmd_publish(publisher, data), 0);
        must_equal(shmd_take(second, &sample), 1);
        shmd_close(one);
        shmd_close(other);
        shmd_close(third);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(same_type_is_accepted_whoever_comes_first),
                system_test(each_difference_of_types_is_named),
                system_test(types_that_can_not_be_are_refused),
                system_test(type_with_all_fields_passes),
                system_test(names_of_services_are_checked),
                system_test(sizes_of_options_are_checked),
                system_test(limits_out_of_range_are_named),
                system_test(segment_over_one_gibibyte_needs_its_option),
                system_test(subscriber_refuses_publishers_below_its_minima),
                system_test(publisher_that_comes_later_is_refused_and_counted),
                system_test(subscriber_without_seat_gets_the_next_that_is_free),
        };

        harness_init(argc, argv);
        return cmocka_run_group_tests_name("system-types", tests, NULL, NULL);
}
