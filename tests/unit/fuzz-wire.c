/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz-wire.c - libFuzzer's way into wire_check(): any bytes, from either side. The first byte says
 * which; the rest lies in memory of exactly its size, 8-byte aligned, as it does in a packet.
 *
 * Run without libFuzzer (fuzz-wire FILE...) it checks files that were found before.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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

#ifndef WITH_LIBFUZZER
int main(int argc, char **argv)
{
        static uint8_t data[PROTOCOL_MESSAGE_MAX + 2];

        for (int i = 1; i < argc; i++) {
                FILE *file = fopen(argv[i], "rbe");

                if (!file) {
                        perror(argv[i]);
                        return 1;
                }
                LLVMFuzzerTestOneInput(data, fread(data, 1, sizeof(data), file));
                fclose(file);
        }
        return 0;
}
#endif
