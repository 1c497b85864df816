/* SPDX-License-Identifier: Apache-2.0 */
/* picture.c - draws waves of colour and a disc. */
#include "picture.h"

#include <stdlib.h>
#include <string.h>

/* A turn of a wave in 65536 steps; from 0 to 255 and back. A parabola each half: near a sine. */
static uint8_t wave(uint64_t phase)
{
        uint32_t x = phase & 0x7fff;
        uint32_t height = x * (0x8000 - x) >> 21;

        return (uint8_t)(phase & 0x8000 ? 128 - height : 127 + height);
}

/* Where something is that runs from 0 to `span` and back, `way` after its start. */
static uint32_t bounce(uint64_t way, uint32_t span)
{
        uint64_t at = span > 0 ? way % (2 * (uint64_t)span) : 0;

        return (uint32_t)(at < span ? at : 2 * (uint64_t)span - at);
}

int picture_init(struct picture *picture, uint32_t width, uint32_t height, uint32_t rate)
{
        *picture = (struct picture){
                .format = {.width = width,
                           .height = height,
                           .rate_num = rate,
                           .rate_den = 1,
                           .aspect_num = 1,
                           .aspect_den = 1,
                           .chroma = VIDEO_420},
                .bend = width / 8,
        };
        if (video_frame_shape(&picture->format) < 0)
                return -1;
        picture->luma = malloc(width + picture->bend);
        picture->blue = malloc(width + picture->bend);
        picture->red = malloc(width + picture->bend);
        if (picture->luma != NULL && picture->blue != NULL && picture->red != NULL)
                return 0;
        picture_deinit(picture);
        return -1;
}

void picture_deinit(struct picture *picture)
{
        free(picture->luma);
        free(picture->blue);
        free(picture->red);
        picture->luma = picture->blue = picture->red = NULL;
}

static void add_to_row(uint8_t *restrict to, const uint8_t *restrict from, uint8_t more, uint32_t n)
{
        for (uint32_t i = 0; i < n; i++)
                to[i] = (uint8_t)(from[i] + more);
}

/* A filled circle, from its rows' ends: x shrinks while y grows. */
static void draw_disc(const struct video_frame *format, uint8_t *luma, uint64_t number)
{
        uint32_t shorter = format->width < format->height ? format->width : format->height;
        uint32_t radius = shorter / 10, side = 2 * radius + 1, reach = radius;
        uint64_t second = number * format->rate_den * 1024 / format->rate_num;
        uint32_t left, top;

        if (side > shorter)
                return;
        left = bounce(second * format->width / 3072, format->width - side);
        top = bounce(second * format->height / 2048, format->height - side);
        for (uint32_t y = 0; y <= radius; y++) {
                while ((uint64_t)reach * reach + (uint64_t)y * y > (uint64_t)radius * radius)
                        reach--;
                for (int below = 0; below < 2; below++) {
                        uint32_t row = top + (below ? radius + y : radius - y);

                        memset(luma + (uint64_t)row * format->y_stride + left + radius - reach, 235,
                               2 * reach + 1);
                }
        }
}

void picture_draw(struct picture *picture, uint64_t number, uint8_t *pixels)
{
        const struct video_frame *format = &picture->format;
        uint64_t time = number * format->rate_den * 65536 / format->rate_num; /* 65536 a second */
        uint64_t chroma_size = (uint64_t)format->chroma_stride * format->chroma_height;
        uint8_t *blue = pixels + (uint64_t)format->y_stride * format->height;
        uint8_t *red = blue + chroma_size;

        for (uint32_t x = 0; x < format->width + picture->bend; x++) {
                uint64_t across = (uint64_t)x * 65536 / format->width;

                picture->luma[x] = (uint8_t)(16 + wave(across * 2 + time / 3) * 110 / 255);
                picture->blue[x] = (uint8_t)(48 + wave(across * 2 - time / 5) * 80 / 255);
                picture->red[x] = (uint8_t)(48 + wave(across * 2 + time / 4 + 20000) * 80 / 255);
        }
        for (uint32_t y = 0; y < format->height; y++) {
                uint64_t down = (uint64_t)y * 65536 / format->height;
                uint32_t shift = wave(down + time / 4) * picture->bend / 255;
                uint8_t brighter = (uint8_t)(wave(down + time / 7) * 90 / 255);

                add_to_row(pixels + (uint64_t)y * format->y_stride, picture->luma + shift, brighter,
                           format->width);
        }
        for (uint32_t y = 0; y < format->chroma_height; y++) {
                uint64_t down = (uint64_t)y * 65536 / format->chroma_height;
                uint32_t shift = wave(down + time / 4) * picture->bend / 512;

                add_to_row(blue + (uint64_t)y * format->chroma_stride, picture->blue + shift,
                           (uint8_t)(wave(down + time / 9) * 80 / 255), format->chroma_stride);
                add_to_row(red + (uint64_t)y * format->chroma_stride, picture->red + shift,
                           (uint8_t)(wave(down * 2 - time / 6) * 80 / 255), format->chroma_stride);
        }
        draw_disc(format, pixels, number);
}
