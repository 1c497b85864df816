/* SPDX-License-Identifier: Apache-2.0 */
/* error.c - one text a thread. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "error.h"

static _Thread_local char text[1024];

int error_set(int code, const char *format, ...)
{
        char new_text[sizeof(text)];
        va_list arguments;

        /* Via a copy: an argument may be the text itself. */
        va_start(arguments, format);
        vsnprintf(new_text, sizeof(new_text), format, arguments);
        va_end(arguments);
        memcpy(text, new_text, sizeof(text));
        return code;
}

int error_system(int code, const char *format, ...)
{
        char new_text[sizeof(text)];
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(new_text, sizeof(new_text), format, arguments);
        va_end(arguments);
        return error_set(code, "%.700s: %s", new_text, strerrordesc_np(-code));
}

int error_prefix(int code, const char *format, ...)
{
        char prefix[sizeof(text)];
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(prefix, sizeof(prefix), format, arguments);
        va_end(arguments);
        return error_set(code, "%.400s: %.600s", prefix, text);
}

const char *error_text(void)
{
        return text;
}
