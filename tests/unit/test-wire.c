/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test-wire.c - of each type of message a valid one is let through, and what is spoilt is not. The
 * bytes lie in memory of exactly their size, so that AddressSanitizer sees a look behind them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <shmd/shmd.h>

#include "unit.h"
#include "error.h"
#include "ring.h"
#include "type.h"
#include "util.h"
#include "wire-samples.h"

/* wire_check() on a copy of exactly `size` bytes. */
static int check_exactly(const void *bytes, size_t size, enum wire_side side)
{
        void *copy = malloc(size ? size : 1);
        int code;

        assert_non_null(copy);
        memcpy(copy, bytes, size);
        code = wire_check(copy, size, side);
        free(copy);
        assert_true(code == 0 || code == -EPROTO);
        return code;
}

#define FOR_EACH_TYPE(type) \
        for (enum message_type type = MESSAGE_HELLO; type < MESSAGE_TYPES_END; type++)

static void each_message_is_accepted_from_the_side_that_sends_it(void **unused)
{
        union wire_sample sample;

        FOR_EACH_TYPE(type)
        {
                size_t size = wire_sample(&sample, type);
                enum wire_side side = wire_sample_side(type);

                assert_int_equal(check_exactly(&sample, size, side), 0);
                assert_string_not_equal(wire_name(type), "unknown");
                assert_int_equal(check_exactly(&sample, size, !side), -EPROTO);
                assert_non_null(strstr(error_text(), wire_name(type)));
                assert_non_null(strstr(error_text(), "not a message for this side"));
        }
}

/* Some have grown. 0: not this one. */
static size_t size_in_version_1(enum message_type type)
{
        switch (type) {
        case MESSAGE_WELCOME:
                return MESSAGE_WELCOME_SIZE_1;
        case MESSAGE_SUBSCRIBER_ADDED:
                return MESSAGE_SUBSCRIBER_ADDED_SIZE_1;
        case MESSAGE_PUBLISHER_ADDED:
                return MESSAGE_PUBLISHER_ADDED_SIZE_1;
        default:
                return 0;
        }
}

static void message_of_the_first_version_has_its_length_and_descriptors(void **unused)
{
        union wire_sample sample;

        FOR_EACH_TYPE(type)
        {
                unsigned n_fds;

                if (!size_in_version_1(type))
                        continue;
                wire_sample(&sample, type);
                n_fds = wire_n_fds(&sample.header);
                sample.header.size = (uint32_t)size_in_version_1(type);
                assert_int_equal(check_exactly(&sample, sample.header.size, wire_sample_side(type)),
                                 0);
                assert_int_equal(wire_n_fds(&sample.header), n_fds - 1);
        }
}

static void message_of_any_other_length_is_refused(void **unused)
{
        union wire_sample sample;

        FOR_EACH_TYPE(type)
        {
                size_t size = wire_sample(&sample, type);

                for (size_t wrong = 0; wrong <= size + 200; wrong++) {
                        if (wrong == size || wrong == size_in_version_1(type))
                                continue;
                        sample.header.size = (uint32_t)size;
                        assert_int_equal(check_exactly(&sample, wrong, wire_sample_side(type)),
                                         -EPROTO);
                        sample.header.size = (uint32_t)wrong; /* and says so itself */
                        assert_int_equal(check_exactly(&sample, wrong, wire_sample_side(type)),
                                         -EPROTO);
                }
        }
}

static void message_that_lies_about_its_length_is_refused(void **unused)
{
        union wire_sample sample;

        FOR_EACH_TYPE(type)
        {
                size_t size = wire_sample(&sample, type);

                for (uint32_t off = 1; off <= 64; off *= 2) {
                        sample.header.size = (uint32_t)size + off;
                        assert_int_equal(check_exactly(&sample, size, wire_sample_side(type)),
                                         -EPROTO);
                        sample.header.size = (uint32_t)size - off;
                        assert_int_equal(check_exactly(&sample, size, wire_sample_side(type)),
                                         -EPROTO);
                }
        }
}

static void unknown_message_or_serial_is_refused(void **unused)
{
        static const uint32_t unknown[] = {0, MESSAGE_TYPES_END, 1000, UINT32_MAX};
        union wire_sample sample;
        size_t size;

        FOR_EACH_TYPE(type)
        {
                size = wire_sample(&sample, type);
                sample.header.serial = !sample.header.serial;
                assert_int_equal(check_exactly(&sample, size, wire_sample_side(type)), -EPROTO);
                assert_non_null(strstr(error_text(), "serial"));
        }
        size = wire_sample(&sample, MESSAGE_HELLO);
        for (size_t i = 0; i < ARRAY_SIZE(unknown); i++) {
                sample.header.type = unknown[i];
                assert_int_equal(check_exactly(&sample, size, WIRE_FROM_CLIENT), -EPROTO);
                assert_string_equal(wire_name(unknown[i]), "unknown");
        }
}

/* Spoils one field, and says which words the text has. */
#define REFUSES(type, change, words)                                                              \
        do {                                                                                      \
                union wire_sample sample;                                                         \
                size_t size = wire_sample(&sample, type);                                         \
                                                                                                  \
                change;                                                                           \
                assert_int_equal(check_exactly(&sample, size, wire_sample_side(type)), -EPROTO);  \
                if (!strstr(error_text(), words))                                                 \
                        fail_msg("'%s' does not speak of '%s'", error_text(), words);             \
                assert_int_equal(strncmp(error_text(), wire_name(type), strlen(wire_name(type))), \
                                 0);                                                              \
        } while (0)

#define ACCEPTS(type, change)                                                              \
        do {                                                                               \
                union wire_sample sample;                                                  \
                size_t size = wire_sample(&sample, type);                                  \
                                                                                           \
                change;                                                                    \
                assert_int_equal(check_exactly(&sample, size, wire_sample_side(type)), 0); \
        } while (0)

#define ENDLESS(text) memset(text, 'x', sizeof(text))

static void string_without_an_end_is_refused(void **unused)
{
        REFUSES(MESSAGE_REPLY, ENDLESS(sample.reply.text), "without end");
        REFUSES(MESSAGE_GOODBYE, ENDLESS(sample.goodbye.text), "without end");
        REFUSES(MESSAGE_ADVERTISE, ENDLESS(sample.advertise.service), "name has 1 to 255");
        REFUSES(MESSAGE_ADVERTISE, ENDLESS(sample.advertise.type.name), "type's name");
        REFUSES(MESSAGE_ADVERTISE, ENDLESS(sample.advertise.fields[1].name), "field 1");
        REFUSES(MESSAGE_SUBSCRIBE, ENDLESS(sample.subscribe.service), "name has 1 to 255");
        REFUSES(MESSAGE_SUBSCRIBE, ENDLESS(sample.subscribe.type.name), "type's name");
        REFUSES(MESSAGE_SUBSCRIBE, ENDLESS(sample.subscribe.fields[0].name), "field 0");
        REFUSES(MESSAGE_SUBSCRIBER_ADDED, ENDLESS(sample.subscriber_added.peer.program), "end");
        REFUSES(MESSAGE_PUBLISHER_ADDED, ENDLESS(sample.publisher_added.peer.program), "end");
        REFUSES(MESSAGE_LISTING, ENDLESS(sample.listing.peer.program), "without end");
        REFUSES(MESSAGE_LISTING, ENDLESS(sample.listing.type), "without end");
        REFUSES(MESSAGE_LISTING, ENDLESS(sample.listing.service), "name has 1 to 255");
        REFUSES(MESSAGE_LIST, ENDLESS(sample.list.service), "name has 1 to 255");
}

static void bytes_behind_the_end_of_a_name_are_refused(void **unused)
{
        REFUSES(MESSAGE_ADVERTISE, sample.advertise.service[255] = 'x', "after the end");
        REFUSES(MESSAGE_SUBSCRIBE, sample.subscribe.service[13] = 'x', "after the end");
        REFUSES(MESSAGE_LIST, sample.list.service[255] = 'x', "after the end");
        REFUSES(MESSAGE_LISTING, sample.listing.service[255] = 'x', "after the end");
        REFUSES(MESSAGE_ADVERTISE, sample.advertise.type.name[63] = 'x', "type's name");
        REFUSES(MESSAGE_ADVERTISE, sample.advertise.fields[0].name[47] = 'x', "field 0");
}

static void field_out_of_range_is_refused(void **unused)
{
        REFUSES(MESSAGE_HELLO, sample.hello.magic++, "not shmd's protocol");
        REFUSES(MESSAGE_HELLO, sample.hello.connection = 0, "not shmd's protocol");
        REFUSES(MESSAGE_HELLO, sample.hello.min_version = 3, "not shmd's protocol");
        REFUSES(MESSAGE_REPLY, sample.reply.code = 1, "code 1");
        REFUSES(MESSAGE_REPLY, sample.reply.code = -4096, "code -4096");
        REFUSES(MESSAGE_REPLY, sample.reply.code = INT32_MIN, "code");
        REFUSES(MESSAGE_GOODBYE, sample.goodbye.code = 1, "code 1");
        REFUSES(MESSAGE_REINTRODUCE, sample.reintroduce.which = 0, "reintroduce 0");
        REFUSES(MESSAGE_REINTRODUCE, sample.reintroduce.which = 3, "reintroduce 3");
        REFUSES(MESSAGE_PEER_BACK, sample.pair.which = 0, "0 can't be back");
        REFUSES(MESSAGE_PEER_BACK, sample.pair.which = 3, "3 can't be back");
        REFUSES(MESSAGE_KNOWN, sample.known.count = 0, "records do not fill");
        REFUSES(MESSAGE_KNOWN, sample.known.count = 3, "records do not fill");
        REFUSES(MESSAGE_KNOWN, sample.known.count = UINT32_MAX, "records do not fill");
        REFUSES(MESSAGE_KNOWN, sample.known.peers[1].id = 0, "record 1");
        REFUSES(MESSAGE_KNOWN, sample.known.peers[0].start = UINT64_MAX, "record 0");
        REFUSES(MESSAGE_PUBLISHER_REFUSED, sample.publisher_gone.reason = 0, "reason 0");
        REFUSES(MESSAGE_PUBLISHER_REFUSED, sample.publisher_gone.reason = 3, "reason 3");
        REFUSES(MESSAGE_LISTING, sample.listing.what = 0, "record 0");
        REFUSES(MESSAGE_LISTING, sample.listing.what = 4, "record 4");
        REFUSES(MESSAGE_LISTING, sample.listing.service[0] = 0, "after the end");
        ACCEPTS(MESSAGE_HELLO, sample.hello.version = UINT32_MAX); /* the broker knows an older */
        ACCEPTS(MESSAGE_HELLO, sample.hello.min_version = 0); /* which it has a better text for */
        ACCEPTS(MESSAGE_REPLY, sample.reply.code = -4095);
        ACCEPTS(MESSAGE_REPLY, sample.reply.code = 0);
        ACCEPTS(MESSAGE_LIST, memset(sample.list.service, 0, sizeof(sample.list.service)));
}

static void advertisement_out_of_range_is_refused(void **unused)
{
#define SPOILT(change, words) REFUSES(MESSAGE_ADVERTISE, sample.advertise.change, words)
        SPOILT(publisher = UINT64_C(1) << 32, "publisher's id");
        SPOILT(loans = 0, "loans 0");
        SPOILT(loans = PROTOCOL_LOANS_MAX + 1, "loans 65537");
        SPOILT(flags = 2, "flags 0x2");
        SPOILT(holds = 0, "holds 0");
        SPOILT(holds = HOLDS_MAX + 1, "holds 1025");
        SPOILT(max_subscribers = 0, "max_subscribers 0");
        SPOILT(max_subscribers = PROTOCOL_SUBSCRIBERS_MAX + 1, "max_subscribers 65537");
        SPOILT(geometry.n_chunks = 1u << 20, "chunks are not inside");
        SPOILT(geometry.payload_max = 31, "does not fit the type");
        SPOILT(geometry.payload_max = 33, "does not fit the type");
        SPOILT(geometry.payload_offset += 4, "does not fit the type");
        SPOILT(type.size = 40, "hash");
        SPOILT(type.hash++, "hash");
        SPOILT(type.alignment = 0, "alignment");
        SPOILT(type.alignment = 12, "alignment");
        SPOILT(type.alignment = 8192, "alignment");
        SPOILT(type.flags = 2, "flags");
        SPOILT(type.n_fields = 1, "do not fill");
        SPOILT(type.n_fields = 3, "do not fill");
        SPOILT(type.n_fields = UINT32_MAX, "do not fill");
        SPOILT(fields[1].offset = 9, "not within");
        SPOILT(fields[1].offset = UINT64_MAX, "not within");
        SPOILT(fields[1].count = UINT32_MAX, "not within");
        SPOILT(fields[1].count = 0, "not within");
        SPOILT(fields[1].kind = 13, "unknown kind 13");
        SPOILT(fields[0].name[0] = '\n', "field 0");
        SPOILT(service[0] = '/', "empty part");
#undef SPOILT
        ACCEPTS(MESSAGE_ADVERTISE, sample.advertise.loans = PROTOCOL_LOANS_MAX);
        ACCEPTS(MESSAGE_ADVERTISE, sample.advertise.holds = HOLDS_MAX);
        ACCEPTS(MESSAGE_ADVERTISE, sample.advertise.max_subscribers = PROTOCOL_SUBSCRIBERS_MAX);
}

/* Of variable length a sample may be longer than its type says, but not shorter. */
static void make_variable(struct message_advertise *advertise, uint64_t payload_max)
{
        advertise->type.flags = SHMD_TYPE_VARIABLE;
        advertise->type.hash = type_hash(&advertise->type, advertise->fields);
        advertise->geometry.payload_max = payload_max;
}

static void maximum_of_a_variable_length_is_not_below_its_minimum(void **unused)
{
        REFUSES(MESSAGE_ADVERTISE, make_variable(&sample.advertise, 31), "does not fit the type");
        ACCEPTS(MESSAGE_ADVERTISE, make_variable(&sample.advertise, 32));
        ACCEPTS(MESSAGE_ADVERTISE, make_variable(&sample.advertise, 33));
}

static void row_that_is_not_inside_its_block_is_refused(void **unused)
{
#define SUBSCRIBE(change) REFUSES(MESSAGE_SUBSCRIBE, sample.subscribe.change, "a row of")
#define ADDED(change)     REFUSES(MESSAGE_SUBSCRIBER_ADDED, sample.subscriber_added.change, "a row of")
        SUBSCRIBE(holds = 0);
        SUBSCRIBE(holds = HOLDS_MAX + 1);
        SUBSCRIBE(holds = UINT32_MAX);
        SUBSCRIBE(row_offset = 0);
        SUBSCRIBE(row_offset = BLOCK_ROW_LINE);
        SUBSCRIBE(row_offset += 8);
        SUBSCRIBE(row_offset = BLOCK_SIZE);
        SUBSCRIBE(row_offset = BLOCK_SIZE + BLOCK_ROW_LINE);
        SUBSCRIBE(row_offset = 0u - BLOCK_ROW_LINE);
        ADDED(n_holds = 0);
        ADDED(n_holds = HOLDS_MAX + 1);
        ADDED(row_offset = BLOCK_SIZE);
        ADDED(row_offset = 0u - BLOCK_ROW_LINE);
        ADDED(row_offset = 0);
#undef SUBSCRIBE
#undef ADDED
        REFUSES(MESSAGE_SUBSCRIBE,
                (sample.subscribe.row_offset = BLOCK_SIZE - BLOCK_ROW_LINE,
                 sample.subscribe.holds = 9),
                "a row of 9");
        ACCEPTS(MESSAGE_SUBSCRIBE, (sample.subscribe.row_offset = BLOCK_SIZE - BLOCK_ROW_LINE,
                                    sample.subscribe.holds = 8));
        ACCEPTS(MESSAGE_SUBSCRIBE, sample.subscribe.holds = HOLDS_MAX);
}

static void subscription_and_introduction_out_of_range_are_refused(void **unused)
{
        REFUSES(MESSAGE_SUBSCRIBE, sample.subscribe.subscription = UINT64_C(1) << 32, "id is zero");
        REFUSES(MESSAGE_SUBSCRIBE, sample.subscribe.flags = 16, "flags 0x10");
        REFUSES(MESSAGE_SUBSCRIBER_ADDED, sample.subscriber_added.channel_kind = 0, "channel 0");
        REFUSES(MESSAGE_SUBSCRIBER_ADDED, sample.subscriber_added.channel_kind = 3, "channel 3");
        REFUSES(MESSAGE_SUBSCRIBER_ADDED, sample.subscriber_added.start = UINT64_MAX, "start");
        REFUSES(MESSAGE_SUBSCRIBER_ADDED, sample.subscriber_added.peer.id = 0, "without an id");
        REFUSES(MESSAGE_PUBLISHER_ADDED, sample.publisher_added.peer.id = 0, "without an id");
        REFUSES(MESSAGE_PUBLISHER_ADDED, sample.publisher_added.holds = 0, "holds 0");
        REFUSES(MESSAGE_PUBLISHER_ADDED, sample.publisher_added.holds = HOLDS_MAX + 1, "1025");
        REFUSES(MESSAGE_PUBLISHER_ADDED, sample.publisher_added.flags = 4, "flags 0x4");
        REFUSES(MESSAGE_PUBLISHER_ADDED, sample.publisher_added.geometry.capacity = 3, "3 slots");
        REFUSES(MESSAGE_PUBLISHER_ADDED, sample.publisher_added.geometry.stride *= 2, "inside");
}

static void descriptors_are_counted_by_type_and_flags(void **unused)
{
        union wire_sample sample;

        FOR_EACH_TYPE(type)
        {
                unsigned expected = 0;

                wire_sample(&sample, type);
                if (type == MESSAGE_ADVERTISE)
                        expected = 1;
                else if (type == MESSAGE_SUBSCRIBE || type == MESSAGE_WELCOME)
                        expected = 2;
                else if (type == MESSAGE_SUBSCRIBER_ADDED || type == MESSAGE_PUBLISHER_ADDED)
                        expected = 4;
                assert_int_equal(wire_n_fds(&sample.header), expected);
                assert_true(expected <= PROTOCOL_FDS_MAX);
        }
        wire_sample(&sample, MESSAGE_SUBSCRIBE);
        sample.subscribe.flags = SUBSCRIBE_HOLDS_SET;
        assert_int_equal(wire_n_fds(&sample.header), 0);
        sample.subscribe.flags = SUBSCRIBE_BLOCK;
        assert_int_equal(wire_n_fds(&sample.header), 1);
        wire_sample(&sample, MESSAGE_PUBLISHER_ADDED);
        sample.publisher_added.flags = 0;
        assert_int_equal(wire_n_fds(&sample.header), 3);
}

static void message_with_all_its_fields_is_the_longest(void **unused)
{
        union wire_sample sample;
        size_t size = sizeof(sample.advertise) + PROTOCOL_FIELDS_MAX * sizeof(struct message_field);

        wire_sample(&sample, MESSAGE_ADVERTISE);
        for (uint32_t i = 0; i < PROTOCOL_FIELDS_MAX; i++)
                sample.advertise.fields[i] =
                        (struct message_field){.name = "x", .offset = i % 32, .count = 1};
        sample.advertise.type.n_fields = PROTOCOL_FIELDS_MAX;
        sample.advertise.type.hash = type_hash(&sample.advertise.type, sample.advertise.fields);
        sample.header.size = (uint32_t)size;
        assert_int_equal(check_exactly(&sample, size, WIRE_FROM_CLIENT), 0);
        size += sizeof(struct message_field);
        sample.advertise.type.n_fields++;
        sample.header.size = (uint32_t)size;
        assert_int_equal(check_exactly(&sample, size, WIRE_FROM_CLIENT), -EPROTO);
}

/* ---- names of services ------------------------------------------------------------------ */

static void name_of_a_service_is_parts_between_single_slashes(void **unused)
{
        static const char *const good[] = {"a",    "camera/front", "A-Z_0.9/...",
                                           "a/.b", "-/_",          ".../x"};
        static const struct {
                const char *name, *words;
        } bad[] = {
                {"", "this has none"},
                {"/", "empty part at byte 1"},
                {"/a", "empty part at byte 1"},
                {"a/", "empty part at byte 3"},
                {"a//b", "empty part at byte 3"},
                {".", "no part may be"},
                {"..", "no part may be"},
                {"a/./b", "no part may be"},
                {"a/..", "no part may be"},
                {"a b", "byte 2 (0x20)"},
                {"a\n", "byte 2 (0x0a)"},
                {"\xc3\xa4", "byte 1 (0xc3)"},
                {"a*", "byte 2 (0x2a)"},
                {"a:b", "byte 2 (0x3a)"},
        };

        for (size_t i = 0; i < ARRAY_SIZE(good); i++)
                assert_int_equal(wire_check_service(good[i]), 0);
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                assert_int_equal(wire_check_service(bad[i].name), -EINVAL);
                if (!strstr(error_text(), bad[i].words))
                        fail_msg("'%s' does not speak of '%s'", error_text(), bad[i].words);
        }
}

static void name_of_a_service_has_a_limit(void **unused)
{
        char name[PROTOCOL_SERVICE_SIZE + 10];

        memset(name, 'x', sizeof(name));
        name[PROTOCOL_SERVICE_SIZE - 1] = '\0';
        assert_int_equal(wire_check_service(name), 0);
        name[PROTOCOL_SERVICE_SIZE - 1] = 'x';
        name[PROTOCOL_SERVICE_SIZE] = '\0';
        assert_int_equal(wire_check_service(name), -EINVAL);
        assert_string_equal(error_text(), "a service's name has 1 to 255 bytes, this has more");
}

/* ---- anything at all -------------------------------------------------------------------- */

/* What the code behind wire_check() relies on. */
static void assert_sane(const union wire_sample *sample, enum message_type type)
{
        if (type == MESSAGE_ADVERTISE) {
                assert_int_equal(ring_geometry_check(&sample->advertise.geometry), 0);
                assert_int_equal(type_check(&sample->advertise.type, sample->advertise.fields), 0);
        }
        if (type == MESSAGE_ADVERTISE || type == MESSAGE_SUBSCRIBE)
                assert_int_equal(wire_check_service(type == MESSAGE_ADVERTISE
                                                            ? sample->advertise.service
                                                            : sample->subscribe.service),
                                 0);
        if (type == MESSAGE_REPLY)
                assert_true(strnlen(sample->reply.text, PROTOCOL_TEXT_SIZE) < PROTOCOL_TEXT_SIZE);
        if (type == MESSAGE_SUBSCRIBER_ADDED)
                assert_true(sample->subscriber_added.row_offset +
                                    (uint64_t)sample->subscriber_added.n_holds * 8 <=
                            BLOCK_SIZE);
}

static void flipped_bytes_are_refused_or_harmless(void **unused)
{
        uint64_t state = 8, accepted = 0, n = 0;
        union wire_sample sample;

        for (int round = 0; round < 3000; round++)
                FOR_EACH_TYPE(type)
                {
                        size_t size = wire_sample(&sample, type);
                        enum wire_side side;
                        uint32_t flips = 1 + random_below(&state, 3);

                        while (flips--)
                                sample.bytes[random_below(&state, (uint32_t)size)] =
                                        (unsigned char)random_nasty(&state);
                        /* Beyond the head, or hardly any gets past it. */
                        if (round % 2)
                                wire_begin(&sample, type, size, sample.header.serial ? 1 : 0);
                        n++;
                        /* Now and then from the other side. */
                        side = round % 3 ? wire_sample_side(type) : (enum wire_side)(round / 3 % 2);
                        if (check_exactly(&sample, size, side) < 0)
                                continue;
                        accepted++;
                        assert_sane(&sample, sample.header.type);
                }
        assert_true(accepted > n / 50 && accepted < n / 2);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(each_message_is_accepted_from_the_side_that_sends_it),
                cmocka_unit_test(message_of_any_other_length_is_refused),
                cmocka_unit_test(message_of_the_first_version_has_its_length_and_descriptors),
                cmocka_unit_test(message_that_lies_about_its_length_is_refused),
                cmocka_unit_test(unknown_message_or_serial_is_refused),
                cmocka_unit_test(string_without_an_end_is_refused),
                cmocka_unit_test(bytes_behind_the_end_of_a_name_are_refused),
                cmocka_unit_test(field_out_of_range_is_refused),
                cmocka_unit_test(advertisement_out_of_range_is_refused),
                cmocka_unit_test(maximum_of_a_variable_length_is_not_below_its_minimum),
                cmocka_unit_test(row_that_is_not_inside_its_block_is_refused),
                cmocka_unit_test(subscription_and_introduction_out_of_range_are_refused),
                cmocka_unit_test(descriptors_are_counted_by_type_and_flags),
                cmocka_unit_test(message_with_all_its_fields_is_the_longest),
                cmocka_unit_test(name_of_a_service_is_parts_between_single_slashes),
                cmocka_unit_test(name_of_a_service_has_a_limit),
                cmocka_unit_test(flipped_bytes_are_refused_or_harmless),
        };

        return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
