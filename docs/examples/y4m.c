/* SPDX-License-Identifier: Apache-2.0 */
/* y4m.c - a reader of YUV4MPEG2 that trusts nothing in the stream. */
#include "y4m.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MAGIC "YUV4MPEG2"

/* Outcomes of reading bytes, besides having them all. */
enum { ENDED = 0, FAILED = -1 };

static const struct {
        const char *name;
        uint32_t chroma;
} known_chroma[] = {
        {"420jpeg", VIDEO_420}, {"420mpeg2", VIDEO_420}, {"420paldv", VIDEO_420},
        {"420", VIDEO_420},     {"422", VIDEO_422},      {"444", VIDEO_444},
        {"411", VIDEO_411},     {"mono", VIDEO_MONO},
};

__attribute__((format(printf, 2, 3))) static int fail(struct y4m *y4m, const char *format, ...)
{
        va_list arguments;

        va_start(arguments, format);
        vsnprintf(y4m->error, sizeof(y4m->error), format, arguments);
        va_end(arguments);
        /* What came from the stream may be anything, and this goes to a terminal. */
        for (char *c = y4m->error; *c != '\0'; c++)
                if (*c < ' ' || *c > '~')
                        *c = '?';
        return FAILED;
}

/* Reads all of `size` bytes unless the stream ends. Returns how many came, or FAILED. */
static int64_t read_all(struct y4m *y4m, void *to, uint64_t size)
{
        uint64_t n_read = 0;

        while (n_read < size) {
                ssize_t n = read(y4m->fd, (uint8_t *)to + n_read, size - n_read);

                if (n == 0)
                        break;
                if (n < 0 && errno != EINTR)
                        return fail(y4m, "frame %ju, byte %ju: %s", (uintmax_t)y4m->frame + 1,
                                    (uintmax_t)y4m->offset, strerror(errno));
                if (n < 0 && y4m->stop != NULL && *y4m->stop)
                        break;
                if (n > 0) {
                        n_read += (uint64_t)n;
                        y4m->offset += (uint64_t)n;
                }
        }
        return (int64_t)n_read;
}

static int stopped(const struct y4m *y4m)
{
        return y4m->stop != NULL && *y4m->stop;
}

/* Reads on to the end of a line of which `length` bytes are there; makes it a string. The bytes
 * after it belong to a picture, which is why this goes byte by byte. Returns its length. */
static int64_t read_line(struct y4m *y4m, char *line, size_t length, const char *what)
{
        while (length == 0 || line[length - 1] != '\n') {
                int64_t n;

                if (length == Y4M_LINE_MAX)
                        return fail(y4m, "%s is longer than %d bytes (at byte %ju)", what,
                                    Y4M_LINE_MAX, (uintmax_t)y4m->offset);
                n = read_all(y4m, line + length, 1);
                if (n < 0)
                        return FAILED;
                if (n == 0)
                        return fail(y4m, "the stream ends at byte %ju, within %s",
                                    (uintmax_t)y4m->offset, what);
                length++;
        }
        line[length - 1] = '\0';
        return (int64_t)length - 1;
}

/* Takes a number of at most nine digits off the front of *text; -1 if there is none. */
static int64_t take_number(const char **text)
{
        int64_t number = 0;
        int n_digits = 0;

        for (; **text >= '0' && **text <= '9' && n_digits < 10; (*text)++, n_digits++)
                number = number * 10 + (**text - '0');
        return n_digits > 0 && n_digits < 10 ? number : -1;
}

static int parse_ratio(struct y4m *y4m, const char *tag, uint32_t *numerator, uint32_t *denominator)
{
        const char *text = tag + 1;
        int64_t a, b;

        a = take_number(&text);
        b = *text == ':' ? (text++, take_number(&text)) : -1;
        if (a < 0 || b < 0 || *text != '\0')
                return fail(y4m, "the stream header's '%.32s' is not two numbers with a colon",
                            tag);
        *numerator = (uint32_t)a;
        *denominator = (uint32_t)b;
        return 0;
}

static int parse_side(struct y4m *y4m, const char *tag, uint32_t *side)
{
        const char *text = tag + 1;
        int64_t number = take_number(&text);

        if (number < 1 || number > VIDEO_SIDE_MAX || *text != '\0')
                return fail(y4m, "the stream header's '%.32s' is not a number from 1 to %d", tag,
                            VIDEO_SIDE_MAX);
        *side = (uint32_t)number;
        return 0;
}

static int parse_chroma(struct y4m *y4m, const char *tag)
{
        const char *name = tag + 1, *digits;

        for (size_t i = 0; i < sizeof(known_chroma) / sizeof(known_chroma[0]); i++)
                if (strcmp(name, known_chroma[i].name) == 0) {
                        y4m->format.chroma = known_chroma[i].chroma;
                        return 0;
                }
        digits = strncmp(name, "mono", 4) == 0 ? name + 4
                 : strchr(name, 'p')           ? strchr(name, 'p') + 1
                                               : "";
        if (take_number(&digits) > 8 && *digits == '\0')
                return fail(y4m,
                            "the stream's '%.32s' has more than 8 bits a pixel; only 8 are "
                            "read here (with ffmpeg: -pix_fmt yuv420p)",
                            tag);
        return fail(y4m,
                    "the stream's chroma '%.32s' is not one of C420jpeg, C420mpeg2, C420paldv, "
                    "C420, C411, C422, C444, Cmono",
                    tag);
}

static int parse_tag(struct y4m *y4m, const char *tag)
{
        struct video_frame *format = &y4m->format;

        switch (tag[0]) {
        case 'W':
                return parse_side(y4m, tag, &format->width);
        case 'H':
                return parse_side(y4m, tag, &format->height);
        case 'F':
                return parse_ratio(y4m, tag, &format->rate_num, &format->rate_den);
        case 'A':
                return parse_ratio(y4m, tag, &format->aspect_num, &format->aspect_den);
        case 'C':
                return parse_chroma(y4m, tag);
        case 'I':
                if (tag[1] == '\0' || tag[2] != '\0' || strchr("ptbm?", tag[1]) == NULL)
                        return fail(y4m, "the stream header's '%.32s' is not Ip, It, Ib or Im",
                                    tag);
                return 0; /* a picture is passed on whole, whatever the order of its fields */
        default:
                return 0; /* X is a comment; others may come */
        }
}

int y4m_parse(struct y4m *y4m, const char *line)
{
        char copy[Y4M_LINE_MAX], *next, *tag;

        if (strncmp(line, MAGIC, strlen(MAGIC)) != 0 ||
            (line[strlen(MAGIC)] != ' ' && line[strlen(MAGIC)] != '\0'))
                return fail(y4m, "the stream begins with '%.16s', not with %s", line, MAGIC);
        if (strlen(line) >= sizeof(copy))
                return fail(y4m, "the stream header is longer than %d bytes", Y4M_LINE_MAX);
        memcpy(copy, line + strlen(MAGIC), strlen(line + strlen(MAGIC)) + 1);
        y4m->format = (struct video_frame){.chroma = VIDEO_420};
        for (tag = strtok_r(copy, " ", &next); tag != NULL; tag = strtok_r(NULL, " ", &next))
                if (parse_tag(y4m, tag) < 0)
                        return FAILED;
        if (y4m->format.width == 0 || y4m->format.height == 0)
                return fail(y4m, "the stream header has no %s",
                            y4m->format.width == 0 ? "width (W)" : "height (H)");
        return video_frame_shape(&y4m->format); /* the sides were checked: can't fail */
}

int y4m_open(struct y4m *y4m, int fd, const volatile sig_atomic_t *stop)
{
        char line[Y4M_LINE_MAX];
        int64_t n;

        *y4m = (struct y4m){.fd = fd, .stop = stop};
        /* Looked at before the rest: a wrong file may have no newline for a long while. */
        n = read_all(y4m, line, strlen(MAGIC));
        if (n < 0)
                return FAILED;
        if (n == 0)
                return fail(y4m, "the stream is empty");
        if ((size_t)n < strlen(MAGIC) || memcmp(line, MAGIC, strlen(MAGIC)) != 0)
                return fail(y4m, "the stream begins with '%.*s', not with %s", (int)n, line, MAGIC);
        if (read_line(y4m, line, (size_t)n, "the stream header") < 0 || y4m_parse(y4m, line) < 0)
                return FAILED;
        y4m->start = y4m->offset;
        return 0;
}

/* The line before a picture. Returns 1; 0 if the stream has ended here; FAILED. */
static int read_frame_header(struct y4m *y4m)
{
        char line[Y4M_LINE_MAX], what[48];
        uint64_t at = y4m->offset;
        int64_t n;

        n = read_all(y4m, line, strlen("FRAME\n"));
        if (n < 0)
                return FAILED;
        if (n == 0 || stopped(y4m))
                return ENDED;
        if ((size_t)n < strlen("FRAME\n") || memcmp(line, "FRAME", 5) != 0 ||
            (line[5] != '\n' && line[5] != ' '))
                return fail(y4m, "frame %ju, byte %ju: '%.*s' where FRAME was expected",
                            (uintmax_t)y4m->frame + 1, (uintmax_t)at, (int)n, line);
        snprintf(what, sizeof(what), "the header of frame %ju", (uintmax_t)y4m->frame + 1);
        return read_line(y4m, line, (size_t)n, what) < 0 ? FAILED : 1;
}

int y4m_read(struct y4m *y4m, uint8_t *pixels)
{
        uint64_t size = y4m->format.pixels_size;
        int64_t n;
        int result;

        result = read_frame_header(y4m);
        if (result != 1)
                return stopped(y4m) ? ENDED : result;
        n = read_all(y4m, pixels, size);
        if (n < 0)
                return FAILED;
        if ((uint64_t)n < size && stopped(y4m))
                return ENDED;
        if ((uint64_t)n < size)
                return fail(y4m, "frame %ju is cut off at byte %ju: %ju of its %ju bytes are there",
                            (uintmax_t)y4m->frame + 1, (uintmax_t)y4m->offset, (uintmax_t)n,
                            (uintmax_t)size);
        y4m->frame++;
        return 1;
}

int y4m_rewind(struct y4m *y4m)
{
        if (lseek(y4m->fd, (off_t)y4m->start, SEEK_SET) < 0)
                return fail(y4m, "can't go back to the stream's first frame: %s",
                            errno == ESPIPE ? "it is a pipe, not a file" : strerror(errno));
        y4m->offset = y4m->start;
        y4m->frame = 0;
        return 0;
}
