/* SPDX-License-Identifier: Apache-2.0 */
/*
 * video.h - what a sample of video is: one picture, uncompressed, with what is needed to show it.
 *
 * The pixels follow the header and are those of YUV4MPEG2: the luma plane, then two planes of
 * chroma (none for VIDEO_MONO), rows without padding, one byte a pixel. They start 64 bytes into
 * a 64-byte-aligned sample, so that vector instructions may read them aligned.
 */
#ifndef VIDEO_H
#define VIDEO_H

#include <shmd/shmd.h>

/* How many chroma pixels there are: part of the sample, so the values never change. */
enum video_chroma {
        VIDEO_MONO = 0, /* none */
        VIDEO_411 = 1,  /* a quarter as wide */
        VIDEO_420 = 2,  /* half as wide, half as high */
        VIDEO_422 = 3,  /* half as wide */
        VIDEO_444 = 4,  /* as many as luma */
};

/* The longest side of a picture. */
#define VIDEO_SIDE_MAX 16384

struct video_frame {
        _Alignas(64) uint64_t number;          /* from 1, without gaps */
        uint64_t captured_ns;                  /* CLOCK_MONOTONIC, just before it was published */
        uint64_t pixels_size;                  /* bytes: all planes */
        uint32_t width, height;                /* of the picture, and of its luma plane */
        uint32_t rate_num, rate_den;           /* frames per second */
        uint32_t aspect_num, aspect_den;       /* of one pixel; 0/0 if not known */
        uint32_t chroma;                       /* enum video_chroma */
        uint32_t y_stride;                     /* bytes from one row to the next */
        uint32_t chroma_stride, chroma_height; /* of each plane of chroma; 0 for VIDEO_MONO */
};

static const struct shmd_field video_frame_fields[] = {
        SHMD_FIELD(struct video_frame, number),
        SHMD_FIELD(struct video_frame, captured_ns),
        SHMD_FIELD(struct video_frame, pixels_size),
        SHMD_FIELD(struct video_frame, width),
        SHMD_FIELD(struct video_frame, height),
        SHMD_FIELD(struct video_frame, rate_num),
        SHMD_FIELD(struct video_frame, rate_den),
        SHMD_FIELD(struct video_frame, aspect_num),
        SHMD_FIELD(struct video_frame, aspect_den),
        SHMD_FIELD(struct video_frame, chroma),
        SHMD_FIELD(struct video_frame, y_stride),
        SHMD_FIELD(struct video_frame, chroma_stride),
        SHMD_FIELD(struct video_frame, chroma_height),
};

/* Of variable length: the header, then pixels. */
static const struct shmd_type video_frame_type = {
        .name = "struct video_frame",
        .size = sizeof(struct video_frame),
        .alignment = _Alignof(struct video_frame),
        .fields = video_frame_fields,
        .n_fields = sizeof(video_frame_fields) / sizeof(video_frame_fields[0]),
        .flags = SHMD_TYPE_VARIABLE,
};

/* Published on SERVICE/ack by a subscriber that is done with a frame (--ack), for a publisher
 * that waits for it (--step-by-ack). */
struct video_ack {
        uint64_t number; /* of the frame */
};
SHMD_TYPE(video_ack_type, struct video_ack, SHMD_FIELD(struct video_ack, number));

/* Where the pixels of a sample begin. */
static inline uint8_t *video_frame_pixels(struct video_frame *frame)
{
        return (uint8_t *)(frame + 1);
}

/* Fills in pixels_size, strides and the like from width, height and chroma. Returns 0, or -1 if
 * they make no picture: a side of 0 or above VIDEO_SIDE_MAX, an unknown chroma. */
static inline int video_frame_shape(struct video_frame *frame)
{
        static const uint8_t right[] = {0, 2, 1, 1, 0}; /* width of a chroma row: shifted by this */
        uint32_t chroma = frame->chroma;

        if (frame->width < 1 || frame->width > VIDEO_SIDE_MAX || frame->height < 1 ||
            frame->height > VIDEO_SIDE_MAX || chroma > VIDEO_444)
                return -1;
        frame->y_stride = frame->width;
        frame->chroma_stride = 0;
        frame->chroma_height = 0;
        if (chroma != VIDEO_MONO) {
                frame->chroma_stride = (frame->width + (1u << right[chroma]) - 1) >> right[chroma];
                frame->chroma_height =
                        (frame->height + (chroma == VIDEO_420)) >> (chroma == VIDEO_420);
        }
        frame->pixels_size = (uint64_t)frame->y_stride * frame->height +
                             (uint64_t)frame->chroma_stride * frame->chroma_height * 2;
        return 0;
}

#endif
