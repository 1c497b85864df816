/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire.h - from bytes to a message that may be looked at. Pure functions.
 *
 * wire_check() is all that stands between a peer's bytes and the code that acts on them: after it
 * says 0, every string ends, every count and offset is within its limits, the size is the one that
 * the type of message has.
 */
#ifndef SHMD_WIRE_H
#define SHMD_WIRE_H

#include <stddef.h>

#include "protocol.h"

enum wire_side {
        WIRE_FROM_CLIENT = 0,
        WIRE_FROM_BROKER = 1,
};

/* 0, or -EPROTO with a text that names the message and the field. `bytes` is 8-byte aligned. */
int wire_check(const void *bytes, size_t size, enum wire_side from);

/* How many descriptors a checked message comes with. */
unsigned wire_n_fds(const struct message *message);

/* "ADVERTISE" for MESSAGE_ADVERTISE; "unknown" for what is none. */
const char *wire_name(uint32_t type);

/* 0, or -EINVAL with a text that says which character or part of the name is wrong. */
int wire_check_service(const char *name);

/* Fills in the head of a message. */
void wire_begin(void *message, enum message_type type, size_t size, uint64_t serial);

#endif
