/* SPDX-License-Identifier: Apache-2.0 */
/*
 * receive.h - the part that all subscribers of video share: options, the loop, a checked frame at a
 * time in place, what was lost and how late it was.
 *
 * A frame comes from another process and is not believed: its header is copied once, then checked,
 * then used; the pixels are read where they are.
 */
#ifndef RECEIVE_H
#define RECEIVE_H

#include "latency.h"
#include "report.h"
#include "video.h"

struct receive {
        /* What the program says of itself. */
        const char *usage;
        const char *flag; /* an option of its own, without the dashes, or NULL */
        /* Called for each frame; `pixels` has frame->pixels_size bytes and is valid until it
         * returns. `frame` is a copy without pixels. */
        void (*on_frame)(struct receive *receive, const struct video_frame *frame,
                         const uint8_t *pixels);

        /* For on_frame. */
        int flag_given;
        int terminal; /* standard output is one */
        struct report report;

        /* receive.c's own. */
        const char *service;
        uint64_t most_frames; /* 0: no end */
        int follow;           /* stay when the last publisher has gone */
        int copying;          /* read a copy */
        int ack;              /* say when a frame is done with */
        struct shmd *bus;
        struct shmd_subscriber *subscriber;
        struct shmd_publisher *acks; /* NULL without --ack */
        int publisher_left;
        uint8_t *copy; /* for --copy */
        uint64_t copy_size;
        uint64_t n_taken;
        struct latency latency;
};

/* Runs the whole program. Returns its exit status. */
int receive_run(struct receive *receive, int argc, char **argv);

#endif
