/* SPDX-License-Identifier: Apache-2.0 */
/*
 * type.h - types in the form in which they travel: one head and its fields.
 *
 * Library and broker check, hash and compare types only in this form, so that both always agree.
 */
#ifndef SHMD_SRC_TYPE_H
#define SHMD_SRC_TYPE_H

#include <stddef.h>

#include "protocol.h"

struct shmd_type;

/* Fills in head and fields (room for PROTOCOL_FIELDS_MAX) from the user's description and checks
 * it. 0, or -EINVAL with a text. */
int type_pack(struct message_type_head *head, struct message_field *fields,
              const struct shmd_type *type);

/* Whether the type is one: names end and are not empty, alignment a power of two, fields inside
 * the sample, the hash its own. 0, or -EINVAL with a text. */
int type_check(const struct message_type_head *head, const struct message_field *fields);

uint64_t type_hash(const struct message_type_head *head, const struct message_field *fields);

/* What differs first, as "field pose.x is f64 at 8, asked for f32 at 8", into `text`; false if
 * nothing does. */
bool type_differs(char *text, size_t size, const struct message_type_head *is,
                  const struct message_field *is_fields, const struct message_type_head *asked,
                  const struct message_field *asked_fields);

#endif
