/* SPDX-License-Identifier: Apache-2.0 */
/* md5.h - the MD5 of a block of memory (RFC 1321): to compare with ffmpeg's, not to trust. */
#ifndef MD5_H
#define MD5_H

#include <stddef.h>
#include <stdint.h>

void md5(const void *data, size_t size, uint8_t digest[16]);

#endif
