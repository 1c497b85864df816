/* SPDX-License-Identifier: Apache-2.0 */
/* type.c - packs, checks, hashes and compares the descriptions of samples. */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <shmd/shmd.h>

#include "error.h"
#include "type.h"
#include "util.h"

_Static_assert(SHMD_TYPE_NAME_MAX + 1 == PROTOCOL_TYPE_SIZE, "the public limit is the protocol's");
_Static_assert(SHMD_FIELD_NAME_MAX + 1 == PROTOCOL_FIELD_SIZE, "likewise");
_Static_assert(SHMD_FIELDS_MAX == PROTOCOL_FIELDS_MAX, "likewise");
_Static_assert(SHMD_SERVICE_NAME_MAX + 1 == PROTOCOL_SERVICE_SIZE, "likewise");

const struct shmd_type shmd_bytes = {
        .name = "bytes", .size = 0, .alignment = 8, .flags = SHMD_TYPE_VARIABLE};

static const char *const kind_names[] = {"bytes", "u8",  "u16", "u32", "u64",  "i8",  "i16",
                                         "i32",   "i64", "f32", "f64", "bool", "char"};

uint32_t shmd_kind_size(uint32_t kind)
{
        return shmd_kind_size_inline(kind);
}

/* Whether `name` ends within `size` bytes, is not empty, printable, and zero after its end. */
static bool name_is_valid(const char *name, size_t size)
{
        size_t length = strnlen(name, size);

        if (length == 0 || length == size)
                return false;
        for (size_t i = 0; i < length; i++)
                if (name[i] < 0x20 || name[i] > 0x7e)
                        return false;
        for (size_t i = length; i < size; i++)
                if (name[i])
                        return false;
        return true;
}

static int check_field(const struct message_type_head *head, const struct message_field *field,
                       uint32_t index)
{
        uint64_t bytes;

        if (!name_is_valid(field->name, sizeof(field->name)))
                return error_set(-EINVAL,
                                 "type %s: field %u has no name of 1 to %u printable characters",
                                 head->name, index, PROTOCOL_FIELD_SIZE - 1);
        if (!shmd_kind_size_inline(field->kind))
                return error_set(-EINVAL, "type %s: field %s has the unknown kind %u", head->name,
                                 field->name, field->kind);
        bytes = (uint64_t)field->count * shmd_kind_size_inline(field->kind);
        if (!field->count || field->offset > head->size || bytes > head->size - field->offset)
                return error_set(-EINVAL,
                                 "type %s: field %s (%u x %s at %" PRIu64
                                 ") is not within the type's %" PRIu64 " bytes",
                                 head->name, field->name, field->count, kind_names[field->kind],
                                 field->offset, head->size);
        return 0;
}

int type_check(const struct message_type_head *head, const struct message_field *fields)
{
        int code;

        if (!name_is_valid(head->name, sizeof(head->name)))
                return error_set(-EINVAL, "a type's name has 1 to %u printable characters",
                                 PROTOCOL_TYPE_SIZE - 1);
        if (!is_power_of_two(head->alignment) || head->alignment > PROTOCOL_ALIGNMENT_MAX)
                return error_set(-EINVAL,
                                 "type %s: alignment is %" PRIu64
                                 ", must be a power of two up to %u",
                                 head->name, head->alignment, PROTOCOL_ALIGNMENT_MAX);
        if (head->flags & ~SHMD_TYPE_VARIABLE)
                return error_set(-EINVAL, "type %s: unknown flags 0x%x", head->name, head->flags);
        if (head->size > INT64_MAX / 2 || (!head->size && !(head->flags & SHMD_TYPE_VARIABLE)))
                return error_set(-EINVAL, "type %s: a sample can't have %" PRIu64 " bytes",
                                 head->name, head->size);
        if (head->n_fields > PROTOCOL_FIELDS_MAX)
                return error_set(-EINVAL, "type %s: %u fields, at most %u are possible", head->name,
                                 head->n_fields, PROTOCOL_FIELDS_MAX);
        for (uint32_t i = 0; i < head->n_fields; i++) {
                code = check_field(head, &fields[i], i);
                if (code < 0)
                        return code;
        }
        if (head->hash != type_hash(head, fields))
                return error_set(-EINVAL, "type %s: its hash is not the hash of its fields",
                                 head->name);
        return 0;
}

static int copy_name(char *to, size_t size, const char *from, const char *what)
{
        if (!from || !*from || strlen(from) >= size)
                return error_set(-EINVAL, "%s '%.80s': a name has 1 to %zu characters", what,
                                 from ? from : "", size - 1);
        memset(to, 0, size);
        memcpy(to, from, strlen(from) + 1);
        return 0;
}

int type_pack(struct message_type_head *head, struct message_field *fields,
              const struct shmd_type *type)
{
        const char *name = type->name;
        const uint32_t n_fields = type->n_fields;
        int code;

        memset(head, 0, sizeof(*head));
        /* C says "struct imu" where C++ says "imu". */
        if (name && !strncmp(name, "struct ", 7))
                name += 7;
        code = copy_name(head->name, sizeof(head->name), name, "type");
        if (code < 0)
                return code;
        if (n_fields > PROTOCOL_FIELDS_MAX || (n_fields && !type->fields))
                return error_set(-EINVAL, "type %s: %u fields, at most %u are possible", name,
                                 n_fields, PROTOCOL_FIELDS_MAX);
        head->size = type->size;
        head->alignment = type->alignment;
        head->flags = type->flags;
        head->n_fields = n_fields;
        memset(fields, 0, n_fields * sizeof(*fields));
        for (uint32_t i = 0; i < n_fields; i++) {
                code = copy_name(fields[i].name, sizeof(fields[i].name), type->fields[i].name,
                                 "field");
                if (code < 0)
                        return error_prefix(code, "type %s", name);
                fields[i].offset = type->fields[i].offset;
                fields[i].kind = type->fields[i].kind;
                fields[i].count = type->fields[i].count;
        }
        head->hash = type_hash(head, fields);
        return type_check(head, fields);
}

/* FNV-1a, 64 bits: http://www.isthe.com/chongo/tech/comp/fnv/ */
static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t size)
{
        const unsigned char *byte = bytes;

        for (size_t i = 0; i < size; i++)
                hash = (hash ^ byte[i]) * UINT64_C(0x100000001b3);
        return hash;
}

/* Numbers are hashed with their low byte first, on every machine. */
static uint64_t hash_number(uint64_t hash, uint64_t number)
{
        unsigned char bytes[8];

        for (int i = 0; i < 8; i++)
                bytes[i] = (unsigned char)(number >> (8 * i));
        return hash_bytes(hash, bytes, sizeof(bytes));
}

uint64_t type_hash(const struct message_type_head *head, const struct message_field *fields)
{
        uint64_t hash = UINT64_C(0xcbf29ce484222325);

        hash = hash_bytes(hash, head->name, strnlen(head->name, sizeof(head->name)) + 1);
        hash = hash_number(hash, head->size);
        hash = hash_number(hash, head->alignment);
        hash = hash_number(hash, head->flags);
        for (uint32_t i = 0; i < head->n_fields; i++) {
                hash = hash_bytes(hash, fields[i].name,
                                  strnlen(fields[i].name, sizeof(fields[i].name)) + 1);
                hash = hash_number(hash, fields[i].offset);
                hash = hash_number(hash, fields[i].kind);
                hash = hash_number(hash, fields[i].count);
        }
        return hash ? hash : 1;
}

uint64_t shmd_type_hash(const struct shmd_type *type)
{
        struct message_type_head head;
        struct message_field fields[PROTOCOL_FIELDS_MAX];

        if (!type) {
                error_set(-EINVAL, "no type given");
                return 0;
        }
        return type_pack(&head, fields, type) < 0 ? 0 : head.hash;
}

static const char *kind_name(uint32_t kind)
{
        return kind < ARRAY_SIZE(kind_names) ? kind_names[kind] : "unknown";
}

static bool field_differs(char *text, size_t size, const struct message_field *is,
                          const struct message_field *asked)
{
        if (strcmp(is->name, asked->name) != 0)
                snprintf(text, size, "field %s is there, asked for %s", is->name, asked->name);
        else if (is->kind != asked->kind || is->count != asked->count ||
                 is->offset != asked->offset)
                snprintf(text, size,
                         "field %s is %s[%u] at byte %" PRIu64
                         ", asked for %s[%u] at byte %" PRIu64,
                         is->name, kind_name(is->kind), is->count, is->offset,
                         kind_name(asked->kind), asked->count, asked->offset);
        else
                return false;
        return true;
}

bool type_differs(char *text, size_t size, const struct message_type_head *is,
                  const struct message_field *is_fields, const struct message_type_head *asked,
                  const struct message_field *asked_fields)
{
        uint32_t common = is->n_fields < asked->n_fields ? is->n_fields : asked->n_fields;

        if (strcmp(is->name, asked->name) != 0) {
                snprintf(text, size, "the type is %s, asked for %s", is->name, asked->name);
                return true;
        }
        for (uint32_t i = 0; i < common; i++)
                if (field_differs(text, size, &is_fields[i], &asked_fields[i]))
                        return true;
        if (is->n_fields != asked->n_fields)
                snprintf(text, size, "type %s has %u fields, asked for %u (%s is %s)", is->name,
                         is->n_fields, asked->n_fields,
                         is->n_fields > common ? is_fields[common].name : asked_fields[common].name,
                         is->n_fields > common ? "missing" : "not there");
        else if (is->size != asked->size)
                snprintf(text, size, "type %s has size %" PRIu64 ", asked for %" PRIu64, is->name,
                         is->size, asked->size);
        else if (is->alignment != asked->alignment)
                snprintf(text, size, "type %s has alignment %" PRIu64 ", asked for %" PRIu64,
                         is->name, is->alignment, asked->alignment);
        else if (is->flags != asked->flags)
                snprintf(text, size, "samples of type %s have %s length, asked for %s", is->name,
                         is->flags & SHMD_TYPE_VARIABLE ? "any" : "one",
                         asked->flags & SHMD_TYPE_VARIABLE ? "any" : "one");
        else
                return false;
        return true;
}
