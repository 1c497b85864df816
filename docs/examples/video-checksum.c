/* SPDX-License-Identifier: Apache-2.0 */
/*
 * video-checksum.c - reads every byte of every frame, in place, and says what it read.
 *
 * On a terminal it shows the newest frame's Adler-32, which is what `ffmpeg -f framecrc` prints.
 * With --framemd5 it prints a line a frame, the same as `ffmpeg -f framemd5`, so that diff(1) can
 * tell whether a stream arrived as it was sent.
 */
#include <inttypes.h>
#include <stdio.h>

#include "md5.h"
#include "receive.h"

static const char usage[] =
        "usage: video-checksum [options] SERVICE\n"
        "Reads the frames of SERVICE until their publisher leaves.\n"
        "  --framemd5    print a line a frame, the same as ffmpeg -f framemd5\n"
        "  --frames N    end after N frames\n"
        "  --follow      stay when the publisher has left, for the next\n"
        "  --ack         acknowledge each frame on SERVICE/ack\n"
        "  --copy        copy each frame and read the copy, to compare\n"
        "  --report FD   tell the memory of each frame, and the end, on this descriptor\n";

/* RFC 1950. 5552 is the most bytes after which the sums still fit. */
static uint32_t adler32(const uint8_t *data, uint64_t size)
{
        uint32_t a = 1, b = 0;

        while (size > 0) {
                uint64_t part = size < 5552 ? size : 5552;

                for (uint64_t i = 0; i < part; i++) {
                        a += data[i];
                        b += a;
                }
                a %= 65521;
                b %= 65521;
                data += part;
                size -= part;
        }
        return b << 16 | a;
}

static void print_framemd5(const struct video_frame *frame, const uint8_t *pixels)
{
        static int begun;
        uint8_t digest[16];

        if (!begun)
                printf("#format: frame checksums\n#version: 2\n#hash: MD5\n"
                       "#tb 0: %" PRIu32 "/%" PRIu32 "\n#media_type 0: video\n"
                       "#codec_id 0: rawvideo\n#dimensions 0: %" PRIu32 "x%" PRIu32 "\n"
                       "#sar 0: %" PRIu32 "/%" PRIu32 "\n"
                       "#stream#, dts,        pts, duration,     size, hash\n",
                       frame->rate_den, frame->rate_num, frame->width, frame->height,
                       frame->aspect_num, frame->aspect_den ? frame->aspect_den : 1);
        begun = 1;
        md5(pixels, frame->pixels_size, digest);
        printf("0, %10" PRIu64 ", %10" PRIu64 ", %8d, %8" PRIu64 ", ", frame->number - 1,
               frame->number - 1, 1, frame->pixels_size);
        for (int i = 0; i < 16; i++)
                printf("%02x", digest[i]);
        putchar('\n');
}

static void on_frame(struct receive *receive, const struct video_frame *frame,
                     const uint8_t *pixels)
{
        uint32_t checksum;

        if (receive->flag_given) {
                print_framemd5(frame, pixels);
                return;
        }
        checksum = adler32(pixels, frame->pixels_size);
        if (receive->terminal) {
                printf("\rframe %" PRIu64 "  %" PRIu32 "x%" PRIu32 "  0x%08" PRIx32 "\033[K",
                       frame->number, frame->width, frame->height, checksum);
                fflush(stdout);
        }
}

int main(int argc, char **argv)
{
        static struct receive receive = {.usage = usage, .flag = "framemd5", .on_frame = on_frame};

        return receive_run(&receive, argc, argv);
}
