/* SPDX-License-Identifier: Apache-2.0 */
/* test-type.c - what the macros make of a struct, its hash, and the texts when two differ. */
#include <errno.h>
#include <string.h>

#include "unit.h"
#include "type-described.h"
#include "error.h"
#include "type.h"
#include "util.h"

/* ---- macros ----------------------------------------------------------------------------- */

static const struct shmd_field *field(const char *name)
{
        for (uint32_t i = 0; i < described_type.n_fields; i++)
                if (strcmp(described_type.fields[i].name, name) == 0)
                        return &described_type.fields[i];
        fail_msg("no field %s", name);
        return NULL;
}

#define IS(member, kind_, count_)                                                             \
        do {                                                                                  \
                assert_int_equal(field(#member)->kind, kind_);                                \
                assert_int_equal(field(#member)->count, count_);                              \
                assert_int_equal(field(#member)->offset, offsetof(struct described, member)); \
        } while (0)

static void macros_find_kind_count_and_offset(void **unused)
{
        assert_string_equal(described_type.name, "struct described");
        assert_int_equal(described_type.size, sizeof(struct described));
        assert_int_equal(described_type.alignment, _Alignof(struct described));
        assert_int_equal(described_type.flags, 0);
        IS(u8, SHMD_KIND_U8, 1);
        IS(u16, SHMD_KIND_U16, 1);
        IS(u32, SHMD_KIND_U32, 1);
        IS(u64, SHMD_KIND_U64, 1);
        IS(i8, SHMD_KIND_I8, 1);
        IS(i16, SHMD_KIND_I16, 1);
        IS(i32, SHMD_KIND_I32, 1);
        IS(i64, SHMD_KIND_I64, 1);
        IS(f32, SHMD_KIND_F32, 1);
        IS(f64, SHMD_KIND_F64, 1);
        IS(truth, SHMD_KIND_BOOL, 1);
        IS(letter, SHMD_KIND_CHAR, 1);
        IS(text, SHMD_KIND_CHAR, 21);
        IS(longs, sizeof(long) == 8 ? SHMD_KIND_U64 : SHMD_KIND_U32, 3);
        IS(long_longs, SHMD_KIND_I64, 2);
        IS(truths, SHMD_KIND_BOOL, 4);
        IS(choice, SHMD_KIND_U32, 1);
        IS(choices, SHMD_KIND_I32, 2);
        IS(constant, SHMD_KIND_I32, 1);
        IS(bytes, SHMD_KIND_U8, 7);
}

static void what_has_no_kind_is_opaque_bytes(void **unused)
{
        IS(inner, SHMD_KIND_BYTES, sizeof(struct described_inner));
        IS(inners, SHMD_KIND_BYTES, 2 * sizeof(struct described_inner));
        IS(matrix, SHMD_KIND_BYTES, 12 * sizeof(float));
        IS(pointer, SHMD_KIND_BYTES, sizeof(void *));
        IS(big, SHMD_KIND_BYTES, sizeof(long double));
}

static void member_of_a_nested_struct_has_a_path(void **unused)
{
        IS(inner.x, SHMD_KIND_F64, 1);
        IS(inner.y, SHMD_KIND_F64, 2);
        IS(inners[1].x, SHMD_KIND_F64, 1);
}

static void kinds_have_sizes(void **unused)
{
        static const uint32_t sizes[] = {1, 1, 2, 4, 8, 1, 2, 4, 8, 4, 8, 1, 1};

        for (uint32_t kind = 0; kind < ARRAY_SIZE(sizes); kind++) {
                assert_int_equal(shmd_kind_size(kind), sizes[kind]);
                assert_int_equal(shmd_kind_size_inline(kind), sizes[kind]);
        }
        assert_int_equal(shmd_kind_size(ARRAY_SIZE(sizes)), 0);
        assert_int_equal(shmd_kind_size(UINT32_MAX), 0);
}

static void same_struct_in_cpp_is_the_same_type(void **unused)
{
#if HAVE_CPP
        const struct shmd_type *cpp = described_in_cpp();

        assert_int_equal(cpp->n_fields, described_type.n_fields);
        for (uint32_t i = 0; i < cpp->n_fields; i++) {
                const struct shmd_field *c = field(cpp->fields[i].name);

                if (cpp->fields[i].kind != c->kind || cpp->fields[i].count != c->count ||
                    cpp->fields[i].offset != c->offset)
                        fail_msg("%s is kind %u [%u] in C, kind %u [%u] in C++", c->name, c->kind,
                                 c->count, cpp->fields[i].kind, cpp->fields[i].count);
        }
        assert_int_equal(shmd_type_hash(cpp), shmd_type_hash(&described_type));
#else
        print_message("there is no C++ compiler\n");
        skip();
#endif
}

/* ---- hash ------------------------------------------------------------------------------- */

struct imu {
        uint64_t time_ns;
        double acceleration[3];
};
SHMD_TYPE(imu_type, struct imu, SHMD_FIELD(struct imu, time_ns),
          SHMD_ARRAY(struct imu, acceleration));

/* Values that other programs, and other versions of this one, have. */
static void hash_is_what_it_always_was(void **unused)
{
        struct shmd_type empty = {.name = "x", .size = 1, .alignment = 1};

        assert_int_equal(shmd_type_hash(&imu_type), UINT64_C(0x806877c594fff049));
        assert_int_equal(shmd_type_hash(&shmd_bytes), UINT64_C(0xd3ed3a4dcff92905));
        assert_int_equal(shmd_type_hash(&empty), UINT64_C(0x72e2bd5daf22f6a5));
        empty.name = "struct x";
        assert_int_equal(shmd_type_hash(&empty), UINT64_C(0x72e2bd5daf22f6a5));
}

static void hash_depends_on_everything(void **unused)
{
        struct shmd_field fields[2] = {imu_type.fields[0], imu_type.fields[1]};
        struct shmd_type type = imu_type;
        uint64_t hashes[12];
        size_t n = 0;

#define ADD(change, undo)                            \
        do {                                         \
                change;                              \
                hashes[n++] = shmd_type_hash(&type); \
                undo;                                \
        } while (0)
        type.fields = fields;
        ADD((void)0, (void)0);
        assert_int_equal(hashes[0], shmd_type_hash(&imu_type));
        ADD(type.name = "imu2", type.name = "imu");
        ADD(type.size = 40, type.size = 32);
        ADD(type.alignment = 16, type.alignment = 8);
        ADD(type.flags = SHMD_TYPE_VARIABLE, type.flags = 0);
        ADD(type.n_fields = 1, type.n_fields = 2);
        ADD(fields[0].name = "time", fields[0].name = "time_ns");
        ADD(fields[0].kind = SHMD_KIND_I64, fields[0].kind = SHMD_KIND_U64);
        ADD(fields[1].count = 2, fields[1].count = 3);
        ADD(fields[1].offset = 0, fields[1].offset = 8);
#undef ADD
        for (size_t i = 0; i < n; i++) {
                assert_int_not_equal(hashes[i], 0);
                for (size_t j = 0; j < i; j++)
                        assert_int_not_equal(hashes[i], hashes[j]);
        }
}

/* ---- what differs ----------------------------------------------------------------------- */

struct packed {
        struct message_type_head head;
        struct message_field fields[PROTOCOL_FIELDS_MAX];
};

static void pack(struct packed *packed, const struct shmd_type *type)
{
        memset(packed, 0, sizeof(*packed));
        assert_int_equal(type_pack(&packed->head, packed->fields, type), 0);
}

static void first_difference_is_named(void **unused)
{
        static struct packed is, asked;
        char text[200];

#define DIFFERS(change, words)                                                                 \
        do {                                                                                   \
                pack(&is, &imu_type);                                                          \
                pack(&asked, &imu_type);                                                       \
                change;                                                                        \
                assert_true(type_differs(text, sizeof(text), &is.head, is.fields, &asked.head, \
                                         asked.fields));                                       \
                assert_string_equal(text, words);                                              \
        } while (0)
        DIFFERS(strcpy(asked.head.name, "gps"), "the type is imu, asked for gps");
        DIFFERS(strcpy(asked.fields[0].name, "time"), "field time_ns is there, asked for time");
        DIFFERS(asked.fields[1].kind = SHMD_KIND_F32,
                "field acceleration is f64[3] at byte 8, asked for f32[3] at byte 8");
        DIFFERS(asked.fields[1].count = 2,
                "field acceleration is f64[3] at byte 8, asked for f64[2] at byte 8");
        DIFFERS(asked.fields[1].offset = 0,
                "field acceleration is f64[3] at byte 8, asked for f64[3] at byte 0");
        DIFFERS(asked.fields[0].kind = 99,
                "field time_ns is u64[1] at byte 0, asked for unknown[1] at byte 0");
        DIFFERS(asked.head.n_fields = 1,
                "type imu has 2 fields, asked for 1 (acceleration is missing)");
        DIFFERS(is.head.n_fields = 1,
                "type imu has 1 fields, asked for 2 (acceleration is not there)");
        DIFFERS(asked.head.size = 40, "type imu has size 32, asked for 40");
        DIFFERS(asked.head.alignment = 16, "type imu has alignment 8, asked for 16");
        DIFFERS(asked.head.flags = SHMD_TYPE_VARIABLE,
                "samples of type imu have one length, asked for any");
        DIFFERS(is.head.flags = SHMD_TYPE_VARIABLE,
                "samples of type imu have any length, asked for one");
#undef DIFFERS
        pack(&is, &imu_type);
        pack(&asked, &imu_type);
        assert_false(
                type_differs(text, sizeof(text), &is.head, is.fields, &asked.head, asked.fields));
}

/* ---- names and limits ------------------------------------------------------------------- */

static void type_or_field_without_a_proper_name_is_refused(void **unused)
{
        static struct packed packed;
        char name[100];
        struct shmd_field fields[1] = {imu_type.fields[0]};
        struct shmd_type type = {
                .name = name, .size = 8, .alignment = 8, .fields = fields, .n_fields = 1};

#define PACKS(code) assert_int_equal(type_pack(&packed.head, packed.fields, &type), code)
        memset(name, 'x', sizeof(name));
        name[SHMD_TYPE_NAME_MAX] = '\0';
        PACKS(0);
        name[SHMD_TYPE_NAME_MAX] = 'x';
        name[SHMD_TYPE_NAME_MAX + 1] = '\0';
        PACKS(-EINVAL);
        assert_non_null(strstr(error_text(), "1 to 63 characters"));
        type.name = "struct ";
        PACKS(-EINVAL);
        type.name = NULL;
        PACKS(-EINVAL);
        type.name = "im\tu";
        PACKS(-EINVAL);
        type.name = "imu";
        PACKS(0);
        name[SHMD_FIELD_NAME_MAX] = '\0';
        fields[0].name = name;
        PACKS(0);
        name[SHMD_FIELD_NAME_MAX] = 'x';
        PACKS(-EINVAL);
        assert_non_null(strstr(error_text(), "type imu: field"));
        fields[0].name = "";
        PACKS(-EINVAL);
        fields[0].name = NULL;
        PACKS(-EINVAL);
        assert_int_equal(shmd_type_hash(&type), 0);
        assert_int_equal(shmd_type_hash(NULL), 0);
}

static void type_beyond_its_limits_is_refused(void **unused)
{
        static struct packed packed;
        static struct shmd_field fields[SHMD_FIELDS_MAX + 1];
        struct shmd_type type = {.name = "t",
                                 .size = 8,
                                 .alignment = 8,
                                 .fields = fields,
                                 .n_fields = SHMD_FIELDS_MAX};

        for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
                fields[i] = imu_type.fields[0];
        PACKS(0);
        type.n_fields++;
        PACKS(-EINVAL);
        assert_non_null(strstr(error_text(), "257 fields, at most 256"));
        type.n_fields = 1;
        type.fields = NULL;
        PACKS(-EINVAL);
        type.fields = fields;
        PACKS(0);
        fields[0].offset = 1;
        PACKS(-EINVAL);
        assert_string_equal(error_text(), "type t: field time_ns (1 x u64 at 1) is not within the "
                                          "type's 8 bytes");
        fields[0].offset = 0;
        PACKS(0);
        type.alignment = 4096;
        PACKS(0);
        type.alignment = 8192;
        PACKS(-EINVAL);
        type.alignment = 0;
        PACKS(-EINVAL);
        type.alignment = 8;
        type.size = 7;
        PACKS(-EINVAL);
        type.size = 0;
        PACKS(-EINVAL);
        type.n_fields = 0;
        PACKS(-EINVAL);
        type.flags = SHMD_TYPE_VARIABLE;
        PACKS(0);
        type.flags = 2;
        PACKS(-EINVAL);
        type.flags = 0;
        type.size = UINT64_MAX;
        PACKS(-EINVAL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(macros_find_kind_count_and_offset),
                cmocka_unit_test(what_has_no_kind_is_opaque_bytes),
                cmocka_unit_test(member_of_a_nested_struct_has_a_path),
                cmocka_unit_test(kinds_have_sizes),
                cmocka_unit_test(same_struct_in_cpp_is_the_same_type),
                cmocka_unit_test(hash_is_what_it_always_was),
                cmocka_unit_test(hash_depends_on_everything),
                cmocka_unit_test(first_difference_is_named),
                cmocka_unit_test(type_or_field_without_a_proper_name_is_refused),
                cmocka_unit_test(type_beyond_its_limits_is_refused),
        };

        return cmocka_run_group_tests_name("type", tests, NULL, NULL);
}
