/* SPDX-License-Identifier: Apache-2.0 */
/* test-md5.c - the examples' own MD5 against the test suite of RFC 1321, and around block ends. */
#include "md5.h"

#include <stdio.h>
#include <string.h>

static const struct {
        const char *text, *digest;
} vectors[] = {
        {"", "d41d8cd98f00b204e9800998ecf8427e"},
        {"a", "0cc175b9c0f1b6a831c399e269772661"},
        {"abc", "900150983cd24fb0d6963f7d28e17f72"},
        {"message digest", "f96b697d7cb7938d525a2f31aaf161d0"},
        {"abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"},
        {"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
         "d174ab98d277d9f5a5611c2c9f419d9f"},
        {"12345678901234567890123456789012345678901234567890123456789012345678901234567890",
         "57edf4a22be3c955ac49da2e2107b67a"},
        /* 55, 56 and 64 bytes: the length just fits, just doesn't, is a whole block */
        {"0000000000000000000000000000000000000000000000000000001",
         "af5f21ee0485ed692db35ece3433f39b"},
        {"00000000000000000000000000000000000000000000000000000001",
         "e266a7de1b95b82ba39532d8196ee686"},
        {"0000000000000000000000000000000000000000000000000000000000000001",
         "9a25b027482b37e047104e2e532cabae"},
};

int main(void)
{
        int failed = 0;

        for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
                uint8_t digest[16];
                char text[33];

                md5(vectors[i].text, strlen(vectors[i].text), digest);
                for (int j = 0; j < 16; j++)
                        snprintf(text + 2 * j, 3, "%02x", digest[j]);
                if (strcmp(text, vectors[i].digest) != 0) {
                        printf("'%s' is %s, not %s\n", vectors[i].text, vectors[i].digest, text);
                        failed = 1;
                }
        }
        return failed;
}
