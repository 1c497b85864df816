/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transport.c - which transports are there?
 */
#include "transport.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const struct transport *const transports[] = {
        &transport_floor, &transport_floor_readonly, &transport_shmd, &transport_unix_stream, NULL,
};

const struct transport *transport_find(const char *name)
{
        for (uint32_t i = 0; transports[i]; i++) {
                if (strcmp(transports[i]->name, name) == 0)
                        return transports[i];
        }
        return NULL;
}

int end_failed(struct end *end, int result, const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(end->reason, sizeof(end->reason), format, arguments);
        va_end(arguments);
        return result;
}
