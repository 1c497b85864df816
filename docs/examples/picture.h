/* SPDX-License-Identifier: Apache-2.0 */
/*
 * picture.h - a moving picture from nothing, for who has no video at hand: waves of colour that
 * drift and bend, and a bright disc that bounces off the edges.
 *
 * Each row is two short tables added up, so that 1080p costs about a millisecond a frame.
 */
#ifndef PICTURE_H
#define PICTURE_H

#include "video.h"

struct picture {
        struct video_frame format; /* as for a stream; chroma is VIDEO_420 */
        uint32_t bend;             /* how far, at most, a row is shifted */
        uint8_t *luma;             /* width + bend: one row of the waves */
        uint8_t *blue, *red;       /* the same, for half as many */
};

/* Returns 0, or -1 without memory. The sides are from 1 to VIDEO_SIDE_MAX. */
int picture_init(struct picture *picture, uint32_t width, uint32_t height, uint32_t rate);
void picture_deinit(struct picture *picture);

/* Draws picture `number` into format.pixels_size bytes. */
void picture_draw(struct picture *picture, uint64_t number, uint8_t *pixels);

#endif
