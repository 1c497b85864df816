/* SPDX-License-Identifier: Apache-2.0 */
/*
 * type.h - how a sample's struct is described, once, beside the struct itself.
 *
 *     struct imu {
 *             uint64_t time_ns;
 *             double acceleration[3];
 *     };
 *     SHMD_TYPE(imu_type, struct imu,
 *               SHMD_FIELD(struct imu, time_ns),
 *               SHMD_ARRAY(struct imu, acceleration));
 *
 * makes the constant `imu_type`, which shmd_advertise() and shmd_subscribe() take. The first
 * that opens a service fixes its type; whoever comes later with another name, size, alignment
 * or field is refused with a text that says what differs. A member of a nested struct is
 * described by its path: SHMD_FIELD(struct odometry, pose.x). A type without fields promises
 * only name, size and alignment.
 *
 * The same header serves C11 and C++17. The structs have a fixed layout: a binding may fill
 * them in by hand.
 */
#ifndef SHMD_TYPE_H
#define SHMD_TYPE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What one element of a field is. The values are part of the protocol and never change. */
enum shmd_kind {
        SHMD_KIND_BYTES = 0, /**< opaque; `count` is its size in bytes */
        SHMD_KIND_U8 = 1,
        SHMD_KIND_U16 = 2,
        SHMD_KIND_U32 = 3,
        SHMD_KIND_U64 = 4,
        SHMD_KIND_I8 = 5,
        SHMD_KIND_I16 = 6,
        SHMD_KIND_I32 = 7,
        SHMD_KIND_I64 = 8,
        SHMD_KIND_F32 = 9,
        SHMD_KIND_F64 = 10,
        SHMD_KIND_BOOL = 11,
        SHMD_KIND_CHAR = 12, /**< text, ended by NUL or by the field's end */
};

/** The longest name of a type or a field, in bytes without the NUL. */
#define SHMD_TYPE_NAME_MAX  63
#define SHMD_FIELD_NAME_MAX 47
/** The most fields of a type. */
#define SHMD_FIELDS_MAX 256

/** One field of a sample. */
struct shmd_field {
        const char *name; /**< borrowed; lives as long as the type is used */
        uint64_t offset;  /**< bytes from the start of the sample */
        uint32_t kind;    /**< enum shmd_kind */
        uint32_t count;   /**< elements: 1 for a scalar, more for an array */
};

/** The samples have any length up to the service's maximum; `size` is then the least one. */
#define SHMD_TYPE_VARIABLE 1u

/** A description of what the samples of a service are. */
struct shmd_type {
        const char *name;                /**< a leading "struct " does not count */
        uint64_t size;                   /**< bytes of a sample */
        uint64_t alignment;              /**< bytes; a power of two, at most 4096 */
        const struct shmd_field *fields; /**< `n_fields` of them, or NULL */
        uint32_t n_fields;
        uint32_t flags; /**< SHMD_TYPE_VARIABLE or 0 */
};

/** The bytes that one element of a kind takes; 0 for a kind that does not exist. */
static inline uint32_t shmd_kind_size_inline(uint32_t kind)
{
        static const uint8_t sizes[] = {1, 1, 2, 4, 8, 1, 2, 4, 8, 4, 8, 1, 1};

        return kind < sizeof(sizes) ? sizes[kind] : 0;
}

#ifdef __cplusplus
} /* extern "C" */

#include <type_traits>

template <typename T> constexpr uint32_t shmd_kind_of()
{
        using E = std::remove_cv_t<T>;

        if constexpr (std::is_same_v<E, bool>)
                return SHMD_KIND_BOOL;
        else if constexpr (std::is_same_v<E, char>)
                return SHMD_KIND_CHAR;
        else if constexpr (std::is_same_v<E, float>)
                return SHMD_KIND_F32;
        else if constexpr (std::is_same_v<E, double>)
                return SHMD_KIND_F64;
        else if constexpr (std::is_enum_v<E>)
                return shmd_kind_of<std::underlying_type_t<E>>();
        else if constexpr (std::is_integral_v<E> && sizeof(E) <= 8)
                return (std::is_signed_v<E> ? SHMD_KIND_I8 : SHMD_KIND_U8) + (sizeof(E) == 1   ? 0
                                                                              : sizeof(E) == 2 ? 1
                                                                              : sizeof(E) == 4 ? 2
                                                                                               : 3);
        else
                return SHMD_KIND_BYTES;
}

#define SHMD_KIND_OF_SCALAR(type, member) \
        shmd_kind_of<std::remove_reference_t<decltype(((type *)0)->member)>>()
#define SHMD_KIND_OF_ARRAY(type, member) \
        shmd_kind_of<std::remove_extent_t<std::remove_reference_t<decltype(((type *)0)->member)>>>()
#define SHMD_ALIGNOF       alignof
#define SHMD_STATIC_ASSERT static_assert
#else
/* clang-format off */
#define SHMD_KIND_OF(expression)                                                                   \
        _Generic((expression),                                                                     \
                _Bool: SHMD_KIND_BOOL, char: SHMD_KIND_CHAR,                                       \
                float: SHMD_KIND_F32, double: SHMD_KIND_F64,                                       \
                unsigned char: SHMD_KIND_U8, signed char: SHMD_KIND_I8,                            \
                unsigned short: SHMD_KIND_U16, short: SHMD_KIND_I16,                               \
                unsigned int: SHMD_KIND_U32, int: SHMD_KIND_I32,                                   \
                unsigned long: sizeof(long) == 8 ? SHMD_KIND_U64 : SHMD_KIND_U32,                  \
                long: sizeof(long) == 8 ? SHMD_KIND_I64 : SHMD_KIND_I32,                           \
                unsigned long long: SHMD_KIND_U64, long long: SHMD_KIND_I64,                       \
                default: SHMD_KIND_BYTES)
/* clang-format on */
#define SHMD_KIND_OF_SCALAR(type, member) SHMD_KIND_OF(((type *)0)->member)
#define SHMD_KIND_OF_ARRAY(type, member)  SHMD_KIND_OF(((type *)0)->member[0])
#define SHMD_ALIGNOF                      _Alignof
#define SHMD_STATIC_ASSERT                _Static_assert
#endif

#define SHMD_ELEMENTS(type, member, kind_)                                                   \
        ((uint32_t)(sizeof(((type *)0)->member) /                                            \
                    ((kind_) == SHMD_KIND_BYTES || (kind_) == SHMD_KIND_U8 ||                \
                                     (kind_) == SHMD_KIND_I8 || (kind_) == SHMD_KIND_BOOL || \
                                     (kind_) == SHMD_KIND_CHAR                               \
                             ? 1                                                             \
                     : (kind_) == SHMD_KIND_U16 || (kind_) == SHMD_KIND_I16 ? 2              \
                     : (kind_) == SHMD_KIND_U32 || (kind_) == SHMD_KIND_I32 ||               \
                                     (kind_) == SHMD_KIND_F32                                \
                             ? 4                                                             \
                             : 8)))

/** Describes the scalar (or, as opaque bytes, the nested struct) `member` of `type`. */
#define SHMD_FIELD(type, member)                                                       \
        {                                                                              \
#member, offsetof(type, member), SHMD_KIND_OF_SCALAR(type, member),    \
                        SHMD_ELEMENTS(type, member, SHMD_KIND_OF_SCALAR(type, member)) \
        }

/** Describes the array `member` of `type`; an array of arrays is opaque bytes. */
#define SHMD_ARRAY(type, member)                                                      \
        {                                                                             \
#member, offsetof(type, member), SHMD_KIND_OF_ARRAY(type, member),    \
                        SHMD_ELEMENTS(type, member, SHMD_KIND_OF_ARRAY(type, member)) \
        }

#define SHMD_TYPE_WITH_FLAGS(name, type, flags, ...)                                            \
        static const struct shmd_field name##_fields[] = {__VA_ARGS__};                         \
        SHMD_STATIC_ASSERT(sizeof(name##_fields) / sizeof(name##_fields[0]) <= SHMD_FIELDS_MAX, \
                           "a type has at most SHMD_FIELDS_MAX fields");                        \
        static const struct shmd_type name = {#type,                                            \
                                              sizeof(type),                                     \
                                              SHMD_ALIGNOF(type),                               \
                                              name##_fields,                                    \
                                              sizeof(name##_fields) / sizeof(name##_fields[0]), \
                                              flags}

/** Defines the constant `name`, the description of the struct `type`, from its fields. */
#define SHMD_TYPE(name, type, ...) SHMD_TYPE_WITH_FLAGS(name, type, 0, __VA_ARGS__)

/** The same for samples of variable length that begin with the struct `type`; what follows it, or
 *  its flexible array member, is not described. */
#define SHMD_TYPE_OF_ANY_LENGTH(name, type, ...) \
        SHMD_TYPE_WITH_FLAGS(name, type, SHMD_TYPE_VARIABLE, __VA_ARGS__)

#endif
