/* SPDX-License-Identifier: Apache-2.0 */
/*
 * video-histogram.c - how bright the pixels of a video are, read in place and drawn as a line of
 * bars: black at the left, white at the right.
 */
#include <stdio.h>
#include <string.h>

#include "program.h"
#include "receive.h"

#define COLUMNS 32
/* Drawn no more often than this, and once a second where lines can't be drawn over. */
#define DRAW_NS 100000000u

static const char usage[] =
        "usage: video-histogram [options] SERVICE\n"
        "Draws the luma histogram of the frames of SERVICE until their publisher leaves.\n"
        "  --frames N    end after N frames\n"
        "  --follow      stay when the publisher has left, for the next\n"
        "  --ack         acknowledge each frame on SERVICE/ack\n"
        "  --copy        copy each frame and read the copy, to compare\n"
        "  --report FD   tell the memory of each frame, the bars, and the end on this descriptor\n";

/* Counts the luma of a frame. Four tables, because neighbours are often equal and adding to one
 * counter again has to wait for the last time. */
static void count_luma(const struct video_frame *frame, const uint8_t *pixels,
                       uint32_t counts[COLUMNS])
{
        uint32_t tables[4][256] = {{0}};

        for (uint32_t y = 0; y < frame->height; y++) {
                const uint8_t *row = pixels + (uint64_t)y * frame->y_stride;
                uint32_t x = 0;

                for (; x + 4 <= frame->width; x += 4)
                        for (unsigned i = 0; i < 4; i++)
                                tables[i][row[x + i]]++;
                for (; x < frame->width; x++)
                        tables[0][row[x]]++;
        }
        memset(counts, 0, COLUMNS * sizeof(counts[0]));
        for (unsigned i = 0; i < 256; i++)
                counts[i * COLUMNS / 256] +=
                        tables[0][i] + tables[1][i] + tables[2][i] + tables[3][i];
}

/* Writes the bars to `text`: a blank, or a block of up to eight eighths, for each column. */
static void draw_bars(const uint32_t counts[COLUMNS], char text[COLUMNS * 3 + 1])
{
        uint32_t most = 1;

        for (unsigned i = 0; i < COLUMNS; i++)
                most = counts[i] > most ? counts[i] : most;
        for (unsigned i = 0; i < COLUMNS; i++) {
                unsigned eighths = (unsigned)(((uint64_t)counts[i] * 8 + most - 1) / most);

                if (eighths == 0) {
                        *text++ = ' ';
                        continue;
                }
                memcpy(text, "\xe2\x96\x81", 3); /* U+2581, one eighth; U+2588 is all eight */
                text[2] = (char)(text[2] + (int)eighths - 1);
                text += 3;
        }
        *text = '\0';
}

static void on_frame(struct receive *receive, const struct video_frame *frame,
                     const uint8_t *pixels)
{
        static uint64_t drawn_ns, printed_ns;
        uint64_t now_ns = program_now_ns();
        uint32_t counts[COLUMNS];
        char text[COLUMNS * 3 + 1];

        count_luma(frame, pixels, counts);
        if (drawn_ns != 0 && now_ns - drawn_ns < DRAW_NS)
                return;
        drawn_ns = now_ns;
        draw_bars(counts, text);
        report_line(&receive->report, "bar %s", text);
        if (!receive->terminal && now_ns - printed_ns < 10 * (uint64_t)DRAW_NS)
                return;
        printed_ns = now_ns;
        printf(receive->terminal ? "\r%s\033[K" : "%s\n", text);
        fflush(stdout);
}

int main(int argc, char **argv)
{
        static struct receive receive = {.usage = usage, .on_frame = on_frame};

        return receive_run(&receive, argc, argv);
}
