/* SPDX-License-Identifier: Apache-2.0 */
/* impostor.h - says by hand that it is somebody else, as a peer of its victim could. */
#ifndef SHMD_TESTS_IMPOSTOR_H
#define SHMD_TESTS_IMPOSTOR_H

#include <stdbool.h>

#include "protocol.h"
#include "segment.h"

/* What somebody knows of a victim. */
struct victim {
        uint64_t connection;
        uint64_t id;                         /* of its publisher or subscription */
        struct message_known_peer publisher; /* of its subscription */
};

/* The type of stamped samples, as it is sent. */
void impostor_fill_type(struct message_type_head *type, struct message_field *fields);

/* A publisher of stamped samples with the victim's id, and memory of its own that says so, too. The
 * broker must take it if it resumes, and not if it is a new one. */
void impostor_advertise(int fd, const char *service, const struct victim *victim,
                        struct segment *memory, bool resumes);

/* That this is all it has. */
void impostor_say_resumed(int fd);

/* The broker must not have told it of anybody. */
void impostor_has_met_nobody(int fd);

/* A role's: resumes as the victim's connection with that publisher, says 'r', and until it hears
 * 'e' has met nobody. */
void impostor_resume(const char *service, const struct victim *victim);

#endif
