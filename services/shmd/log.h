/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - one line at a time to whoever runs the broker.
 *
 * The broker prints nothing itself: the program gave a callback, or wants silence. A client can
 * cause a line when its session is dropped, when it is turned away, and with each request that goes
 * beyond a quota. Nobody can keep it from coming back, but from filling the log: what is said about
 * the processes of one user is LOG_BURST lines, and from then on one a second. How many were left
 * out is said with the next line that is due, about whomever; so no timer runs for it.
 */
#ifndef SHMD_BROKER_LOG_H
#define SHMD_BROKER_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <shmd/broker.h>

#define LOG_BURST 50u
/* Users about whom something was said lately that are told apart; all others count as one. */
#define LOG_USERS 32u

/* How much is to be said about a user. */
struct log_user {
        uid_t uid;
        uint32_t n_left;     /* lines that may be said now */
        uint64_t seconds;    /* when that was so */
        uint64_t n_left_out; /* and not told yet */
        bool is_shared;      /* with others, for whom there was no place */
};

struct broker_log {
        shmd_log_callback callback; /* NULL: silent */
        void *user;
        struct log_user users[LOG_USERS];
        uint32_t n_users;
};

/* Tells one line, without newline and with `?` for what is not printable ASCII; `level` is an enum
 * shmd_log_level. */
void log_line(const struct broker_log *log, int level, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* Warns of what a process of this user did, if it is not too much. */
void log_about(struct broker_log *log, uid_t uid, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* Tells what was left out and not told yet. */
void log_close(struct broker_log *log);

#endif
