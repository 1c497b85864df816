/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz-wire.c - libFuzzer's way into wire_check(): any bytes, from either side. The first byte says
 * which; the rest lies in memory of exactly its size, 8-byte aligned, as it does in a packet.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
        (void)argc;
        (void)argv;
        return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        void *copy;

        if (size < 1 || size > PROTOCOL_MESSAGE_MAX + 1)
                return 0;
        copy = malloc(size - 1 ? size - 1 : 1);
        if (!copy)
                return 0;
        memcpy(copy, data + 1, size - 1);
        if (wire_check(copy, size - 1, data[0] % 2 ? WIRE_FROM_BROKER : WIRE_FROM_CLIENT) == 0 &&
            wire_n_fds(copy) > PROTOCOL_FDS_MAX)
                abort();
        free(copy);
        return 0;
}
