/* SPDX-License-Identifier: Apache-2.0 */
/* passing.h - sendmsg() with as many descriptors as the kernel passes, which socket.h does not. */
#ifndef SHMD_TESTS_PASSING_H
#define SHMD_TESTS_PASSING_H

#include <stddef.h>

#include "socket.h"

/* Without waiting. 0 or a negative errno; at most PACKET_FDS_MAX. */
int pass(int fd, const void *message, size_t size, const int *fds, unsigned n_fds);

#endif
