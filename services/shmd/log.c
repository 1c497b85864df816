/* SPDX-License-Identifier: Apache-2.0 */
/* log.c - formats a line for the program's callback, and counts those about users. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "log.h"

__attribute__((format(printf, 3, 0))) static void tell(const struct broker_log *log, int level,
                                                       const char *format, va_list arguments)
{
        char text[1024];

        if (!log->callback)
                return;
        vsnprintf(text, sizeof(text), format, arguments);
        /* Names that clients chose, and were refused for, stand in it: one line stays one line. */
        for (char *c = text; *c; c++)
                if (*c < 0x20 || *c > 0x7e)
                        *c = '?';
        log->callback(log->user, level, text);
}

void log_line(const struct broker_log *log, int level, const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        tell(log, level, format, arguments);
        va_end(arguments);
}

static struct log_user *find_user(struct broker_log *log, uid_t uid, uint64_t now)
{
        struct log_user *place = NULL;

        for (uint32_t i = 0; i < log->n_users; i++) {
                struct log_user *user = &log->users[i];

                if (user->uid == uid)
                        return user;
                /* As good as new, though it may be the place of all others. */
                if (user->n_left == LOG_BURST && !user->n_left_out)
                        place = user;
        }
        if (log->n_users < LOG_USERS)
                place = &log->users[log->n_users++];
        if (!place) {
                log->users[LOG_USERS - 1].is_shared = true;
                return &log->users[LOG_USERS - 1];
        }
        *place = (struct log_user){.uid = uid, .n_left = LOG_BURST, .seconds = now};
        return place;
}

static void let_time_pass(struct log_user *user, uint64_t now)
{
        uint64_t due = now - user->seconds + user->n_left;

        user->n_left = due < LOG_BURST ? (uint32_t)due : LOG_BURST;
        user->seconds = now;
}

static void tell_left_out(const struct broker_log *log, struct log_user *user)
{
        if (user->n_left_out)
                log_line(log, SHMD_LOG_WARNING,
                         "left out %" PRIu64 " more such lines about user %u%s", user->n_left_out,
                         user->uid, user->is_shared ? " and others" : "");
        user->n_left_out = 0;
}

void log_about(struct broker_log *log, uid_t uid, const char *format, ...)
{
        struct timespec time;
        struct log_user *user;
        va_list arguments;
        uint64_t now;

        clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
        now = (uint64_t)time.tv_sec;
        for (uint32_t i = 0; i < log->n_users; i++) {
                let_time_pass(&log->users[i], now);
                if (log->users[i].n_left)
                        tell_left_out(log, &log->users[i]);
        }
        user = find_user(log, uid, now);
        if (!user->n_left) {
                user->n_left_out++;
                return;
        }
        user->n_left--;
        va_start(arguments, format);
        tell(log, SHMD_LOG_WARNING, format, arguments);
        va_end(arguments);
}

void log_close(struct broker_log *log)
{
        for (uint32_t i = 0; i < log->n_users; i++)
                tell_left_out(log, &log->users[i]);
}
