/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transport.c - which transports are there?
 */
#include "transport.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const struct transport *const transports[] = {
        &transport_floor,
        &transport_floor_readonly,
        &transport_shmd,
        &transport_futex,
        &transport_eventfd,
        &transport_pipe,
        &transport_unix_stream,
        &transport_unix_dgram,
        &transport_unix_seqpacket,
        &transport_tcp,
        &transport_posix_mq,
        &transport_sysv_mq,
        NULL,
};

const char *const wait_names[] = {"poll", "block", "bare", "adaptive", NULL};

const char *wait_name(enum wait wait)
{
        return wait_names[__builtin_ctz(wait)];
}

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

int link_failed(struct link *link, int result, const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(link->reason, sizeof(link->reason), format, arguments);
        va_end(arguments);
        return result;
}
