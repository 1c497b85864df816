/* SPDX-License-Identifier: Apache-2.0 */
/* log.c - formats a line for the program's callback. */
#include <stdarg.h>
#include <stdio.h>

#include "log.h"

void broker_log(const struct broker_log *log, int level, const char *format, ...)
{
        char text[1024];
        va_list arguments;

        if (!log->callback)
                return;
        va_start(arguments, format);
        vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        log->callback(log->user, level, text);
}
