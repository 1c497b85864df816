/* SPDX-License-Identifier: Apache-2.0 */
/* progress.c - draws a progress bar. */
#include "progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define SECOND_NS     1000000000u
#define BAR_WIDTH     20
#define COLUMNS_LEAST 80 /* what a line with bars takes */

void progress_start(struct progress *progress, uint64_t now_ns)
{
        *progress = (struct progress){.terminal = isatty(STDOUT_FILENO), .started_ns = now_ns};
}

static void draw(struct progress *progress, uint64_t now_ns, uint64_t n_frames, uint64_t n_total,
                 uint64_t seconds, const char *bars)
{
        uint64_t passed_ns = now_ns - progress->started_ns;
        char bar[BAR_WIDTH + 4] = "", of[32] = "";
        struct winsize size;
        double part = -1;

        if (n_total > 0)
                part = (double)n_frames / (double)n_total;
        else if (seconds > 0)
                part = (double)passed_ns / (double)(seconds * SECOND_NS);
        if (part >= 0) {
                int full = part < 1 ? (int)(part * BAR_WIDTH) : BAR_WIDTH;

                memset(bar, ' ', sizeof(bar) - 1);
                bar[0] = '[';
                memset(bar + 1, '#', (size_t)full);
                bar[BAR_WIDTH + 1] = ']';
        }
        if (n_total > 0)
                snprintf(of, sizeof(of), "/%" PRIu64, n_total);
        if (progress->terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 &&
            size.ws_col < COLUMNS_LEAST)
                bars = "";
        printf("%s%s%5" PRIu64 "%s frames %5.1f s  %s%s", progress->terminal ? "\r" : "",
               progress->terminal ? bar : "", n_frames, of, (double)passed_ns / SECOND_NS, bars,
               progress->terminal ? "\033[K" : "\n");
        fflush(stdout);
        progress->drawn_ns = now_ns;
        progress->n_drawn = n_frames;
}

void progress_draw(struct progress *progress, uint64_t now_ns, uint64_t n_frames, uint64_t n_total,
                   uint64_t seconds, const char *bars)
{
        uint64_t pause_ns = progress->terminal ? SECOND_NS / 20 : SECOND_NS;

        if (now_ns - progress->drawn_ns >= pause_ns && now_ns - progress->started_ns >= pause_ns)
                draw(progress, now_ns, n_frames, n_total, seconds, bars);
}

void progress_end(struct progress *progress, uint64_t now_ns, uint64_t n_frames, uint64_t n_total,
                  uint64_t seconds, const char *bars)
{
        if (progress->terminal || progress->drawn_ns == 0 || progress->n_drawn != n_frames)
                draw(progress, now_ns, n_frames, n_total, seconds, bars);
        if (progress->terminal)
                putchar('\n');
}
