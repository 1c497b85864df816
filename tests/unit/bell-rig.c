/* SPDX-License-Identifier: Apache-2.0 */
/* bell-rig.c - a doorbell between two halves of one process. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "unit.h"
#include "atomic.h"
#include "bell-rig.h"
#include "util.h"

void bell_open(struct bell *bell, bool is_socket)
{
        int ends[2];

        memset(bell, 0, sizeof(*bell));
        doorbell_init(&bell->doorbell, BELL_TAG, &bell->fence_mode);
        assert_int_equal(segment_create_board(&bell->write_fd, &bell->read_fd), 0);
        list_init(&bell->bumped);
        assert_int_equal(segment_map_board(&bell->bump.memory, bell->write_fd, true), 0);
        list_append(&bell->bumped, &bell->bump.link);
        if (is_socket)
                assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        else
                assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        bell->reading = ends[0];
        assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
        list_init(&bell->channel.link);
        bell->channel.fd = channel_open(ends[1], is_socket);
        bell->channel.is_socket = is_socket;
        assert_true(bell->channel.fd >= 0);
        bell->member.armed = &bell->armed;
        bell->member.channel = &bell->channel;
}

void bell_attach(struct bell *bell)
{
        bell->member.board = doorbell_watch(&bell->doorbell, BELL_BOARD, bell->read_fd);
        assert_non_null(bell->member.board);
        assert_int_equal(doorbell_attach(&bell->doorbell, &bell->member, 100), 0);
}

void bell_close(struct bell *bell)
{
        doorbell_detach(&bell->doorbell, &bell->member);
        doorbell_unwatch(bell->member.board);
        assert_true(list_empty(&bell->doorbell.boards));
        segment_close(&bell->bump.memory);
        fd_close(&bell->write_fd);
        fd_close(&bell->read_fd);
        fd_close(&bell->reading);
        fd_close(&bell->channel.fd);
}

void bell_arm(struct bell *bell)
{
        uint64_t armed = load_relaxed(&bell->armed);

        store_release(&bell->armed, armed + 1 + armed % 2);
        doorbell_bump(&bell->bumped);
}

void bell_commit(struct bell *bell, uint64_t offset, uint64_t sequence)
{
        doorbell_after_commit(&bell->doorbell, offset, sequence);
}

bool bell_frame(struct bell *bell, struct offset_frame *frame)
{
        return read(bell->reading, frame, sizeof(*frame)) == (ssize_t)sizeof(*frame);
}

unsigned bell_drain(struct bell *bell)
{
        struct offset_frame frame;
        unsigned n = 0;

        while (bell_frame(bell, &frame))
                n++;
        return n;
}
