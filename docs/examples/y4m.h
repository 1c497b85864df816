/* SPDX-License-Identifier: Apache-2.0 */
/*
 * y4m.h - reads a stream of YUV4MPEG2, the uncompressed video that ffmpeg, x264 and mplayer pipe
 * to each other.
 *
 *     YUV4MPEG2 W1920 H1080 F30:1 Ip A1:1 C420jpeg\n      once
 *     FRAME\n  and the planes of one picture              again and again
 *
 * Bytes are read with read(2), no more than asked for, the pictures straight to where they are
 * wanted: nothing is buffered here. Errors name the frame (from 1) and the byte (from 0).
 */
#ifndef Y4M_H
#define Y4M_H

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

#include "video.h"

/* The longest line, stream header or frame header, newline included. */
#define Y4M_LINE_MAX 1024

struct y4m {
        int fd;
        const volatile sig_atomic_t *stop; /* where set and non-zero, EINTR ends the stream */
        struct video_frame format;         /* width to chroma_height: of every picture */
        uint64_t start;                    /* byte where the first frame begins */
        uint64_t offset;                   /* bytes read so far */
        uint64_t frame;                    /* whole pictures read so far */
        char error[256];
};

/* Begins to read at `fd`: the stream header. Returns 0, or -1 with a text in y4m->error. */
int y4m_open(struct y4m *y4m, int fd, const volatile sig_atomic_t *stop);

/* Reads the next picture, format.pixels_size bytes. Returns 1; 0 if the stream has ended after a
 * whole picture (or was stopped); -1 with a text in y4m->error. */
int y4m_read(struct y4m *y4m, uint8_t *pixels);

/* Goes back to the first frame. Returns 0, or -1 with a text: the stream can't be sought. */
int y4m_rewind(struct y4m *y4m);

/* Takes the stream header apart: `line` without its newline, ended by NUL. As y4m_open(). */
int y4m_parse(struct y4m *y4m, const char *line);

#endif
