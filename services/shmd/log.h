/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - one line at a time to whoever runs the broker.
 *
 * The broker prints nothing itself: the program gave a callback, or wants silence. A client can
 * cause a bounded number of lines only: one when its session is dropped, never one a message.
 */
#ifndef SHMD_BROKER_LOG_H
#define SHMD_BROKER_LOG_H

#include <shmd/broker.h>

struct broker_log {
        shmd_log_callback callback; /* NULL: silent */
        void *user;
};

/* Tells one line, without newline; `level` is an enum shmd_log_level. */
void broker_log(const struct broker_log *log, int level, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

#endif
