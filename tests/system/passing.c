/* SPDX-License-Identifier: Apache-2.0 */
/* passing.c - one call with its control message. */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include "passing.h"

int pass(int fd, const void *message, size_t size, const int *fds, unsigned n_fds)
{
        union {
                struct cmsghdr header;
                char bytes[CMSG_SPACE(PACKET_FDS_MAX * sizeof(int))];
        } control;
        struct iovec vector = {.iov_base = (void *)(uintptr_t)message, .iov_len = size};
        struct msghdr header = {.msg_iov = &vector, .msg_iovlen = 1};

        if (n_fds) {
                memset(&control, 0, sizeof(control));
                header.msg_control = &control;
                header.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
                control.header.cmsg_level = SOL_SOCKET;
                control.header.cmsg_type = SCM_RIGHTS;
                control.header.cmsg_len = CMSG_LEN(n_fds * sizeof(int));
                memcpy(CMSG_DATA(&control.header), fds, n_fds * sizeof(int));
        }
        return sendmsg(fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}
