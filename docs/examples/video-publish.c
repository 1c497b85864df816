/* SPDX-License-Identifier: Apache-2.0 */
/*
 * video-publish.c - publishes uncompressed video, each frame read from its file or pipe straight
 * into the memory that subscribers read.
 *
 *     video-publish camera/front film.y4m
 *     ffmpeg -i anything -pix_fmt yuv420p -f yuv4mpegpipe - | video-publish camera/front
 *
 * The kernel's copy in read(2) is the only one: subscribers map the same pages. Without a file it
 * draws a picture itself, in place too.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "picture.h"
#include "program.h"
#include "report.h"
#include "video.h"
#include "y4m.h"

#define SECOND_NS 1000000000u
/* A signal that comes just before shmd_wait() sleeps is noticed after this long. */
#define WAIT_NS 200000000

static const char usage[] =
        "usage: video-publish [options] SERVICE [FILE|-]\n"
        "Publishes the frames of FILE (YUV4MPEG2; - is standard input, as from\n"
        "'ffmpeg -i anything -pix_fmt yuv420p -f yuv4mpegpipe -'). Without FILE it reads standard\n"
        "input if that is a pipe or a file; else it draws a moving picture itself.\n"
        "  --rate FPS         frames a second: 25, 29.97, 30000/1001; 0 is as fast as possible;\n"
        "                     default: the stream's own; 30 for the picture\n"
        "  --frames N         end after N frames\n"
        "  --loop             begin again at the end of FILE\n"
        "  --picture          draw the moving picture, whatever standard input is\n"
        "  --size WxH         of the moving picture; default 1920x1080\n"
        "  --subscribers N    wait for N subscribers before the first frame; who has subscribed\n"
        "                     before this program started gets it in any case\n"
        "  --step-by-ack      wait after each frame until every one of them (at least one) has\n"
        "                     acknowledged it on SERVICE/ack: nothing is lost\n"
        "  --report FD        tell the memory of each frame, and the end, on this descriptor\n";

struct publish {
        /* options */
        const char *service;
        const char *file; /* NULL: the picture */
        int rate_given, as_fast_as_possible, loop, step_by_ack;
        uint32_t rate_num, rate_den;
        uint32_t width, height;
        uint64_t most_frames; /* 0: no end */
        uint32_t n_subscribers;

        /* state */
        struct y4m y4m;
        struct picture picture;
        struct video_frame format; /* of all frames */
        struct report report;
        struct shmd *bus;
        struct shmd_publisher *publisher;
        struct shmd_subscriber *acks; /* NULL without --step-by-ack */
        int ack_left;                 /* somebody who acknowledges has gone */
        uint64_t due_ns;              /* when the next frame is to be read; 0 at first */
        uint64_t n_sent;
};

/* "30", "29.97" or "30000/1001"; 0 for as fast as possible. */
static void parse_rate(struct publish *publish, const char *text)
{
        const char *rest = text;
        uint32_t whole, more, denominator = 1;
        int good, n_digits;

        good = program_digits(&rest, &whole) > 0;
        if (*rest == '/') {
                rest++;
                good = good && program_digits(&rest, &denominator) > 0 && denominator > 0;
        } else if (*rest == '.') {
                rest++;
                n_digits = program_digits(&rest, &more);
                good = good && n_digits > 0 && n_digits <= 3 && whole < 1000000;
                for (int i = 0; good && i < n_digits; i++)
                        denominator *= 10;
                whole = good ? whole * denominator + more : 0;
        }
        if (!good || *rest != '\0')
                program_fail("--rate takes frames a second, such as 25, 29.97, 30000/1001 or 0, "
                             "not '%s'",
                             text);
        publish->rate_given = 1;
        publish->as_fast_as_possible = whole == 0;
        publish->rate_num = whole;
        publish->rate_den = denominator;
}

static void parse_arguments(struct publish *publish, char **arguments, int n, int picture, int size)
{
        if (n < 1 || n > 2) {
                fputs(usage, stderr);
                exit(2);
        }
        publish->service = arguments[0];
        publish->file = arguments[1];
        if (publish->file == NULL && !picture && !size) {
                /* What stands at the end of a pipe is meant to be read; a terminal, or nothing
                 * at all, can't be. */
                struct stat status;

                if (fstat(STDIN_FILENO, &status) == 0 &&
                    (S_ISFIFO(status.st_mode) || S_ISREG(status.st_mode)))
                        publish->file = "-";
        }
        if (publish->file != NULL && (picture || size))
                program_fail("--picture and --size are for the moving picture: not with a file");
        if (publish->file == NULL && publish->loop)
                program_fail("--loop is for files: the moving picture has no end");
}

static void parse_options(struct publish *publish, int argc, char **argv)
{
        static const struct option options[] = {
                {"rate", required_argument, NULL, 'r'},
                {"frames", required_argument, NULL, 'n'},
                {"loop", no_argument, NULL, 'l'},
                {"size", required_argument, NULL, 's'},
                {"picture", no_argument, NULL, 'p'},
                {"report", required_argument, NULL, 'o'},
                {"step-by-ack", no_argument, NULL, 'a'},
                {"subscribers", required_argument, NULL, 'w'},
                {"help", no_argument, NULL, 'h'},
                {NULL, 0, NULL, 0},
        };
        int option, report_fd = -1, picture = 0, size = 0;

        while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
                if (option == 'r')
                        parse_rate(publish, optarg);
                else if (option == 'n')
                        publish->most_frames = program_number("--frames", optarg, 1, UINT64_MAX);
                else if (option == 'l')
                        publish->loop = 1;
                else if (option == 's')
                        program_size(optarg, &publish->width, &publish->height), size = 1;
                else if (option == 'p')
                        picture = 1;
                else if (option == 'o')
                        report_fd = (int)program_number("--report", optarg, 0, 65535);
                else if (option == 'a')
                        publish->step_by_ack = 1;
                else if (option == 'w')
                        publish->n_subscribers =
                                (uint32_t)program_number("--subscribers", optarg, 1, 1000);
                else if (option == 'h')
                        exit(fputs(usage, stdout) < 0);
                else
                        exit(2);
        }
        parse_arguments(publish, argv + optind, argc - optind, picture, size);
        report_open(&publish->report, report_fd);
}

static void open_source(struct publish *publish)
{
        int fd = STDIN_FILENO;

        if (publish->file == NULL) {
                if (picture_init(&publish->picture, publish->width, publish->height, 30) < 0)
                        program_fail("no memory for a picture");
                publish->format = publish->picture.format;
        } else {
                if (strcmp(publish->file, "-") != 0)
                        fd = open(publish->file, O_RDONLY | O_CLOEXEC);
                else if (isatty(fd))
                        program_fail("standard input is a terminal, not a stream of YUV4MPEG2");
                if (fd < 0)
                        program_fail("%s: %s", publish->file, strerror(errno));
                if (y4m_open(&publish->y4m, fd, &program_stopped) < 0)
                        program_fail("%s: %s", publish->file, publish->y4m.error);
                publish->format = publish->y4m.format;
        }
        if (publish->rate_given && !publish->as_fast_as_possible) {
                publish->format.rate_num = publish->rate_num;
                publish->format.rate_den = publish->rate_den;
        }
        if (publish->format.rate_num == 0 || publish->format.rate_den == 0) {
                publish->format.rate_num = 25; /* F0:0: the stream doesn't know */
                publish->format.rate_den = 1;
        }
        if (publish->file == NULL)
                publish->picture.format = publish->format;
}

static void on_ack_publisher(void *user, const struct shmd_peer *peer, int present)
{
        struct publish *publish = user;

        (void)peer;
        publish->ack_left |= !present;
}

static void open_services(struct publish *publish)
{
        struct shmd_publisher_options options = {
                .size = sizeof(options),
                .depth = 4,
                .loans = 1,
                .max_subscribers = publish->n_subscribers > 8 ? publish->n_subscribers : 8,
                .max_size = sizeof(struct video_frame) + publish->format.pixels_size,
        };
        struct shmd_subscriber_options ack_options = {
                .size = sizeof(ack_options), .on_publisher = on_ack_publisher, .user = publish};
        char name[SHMD_SERVICE_NAME_MAX + 8];

        if (shmd_connect(&publish->bus, NULL) < 0)
                program_fail("%s", shmd_error());
        if (publish->step_by_ack) {
                snprintf(name, sizeof(name), "%s/ack", publish->service);
                if (shmd_subscribe(&publish->acks, publish->bus, name, &video_ack_type,
                                   &ack_options) < 0)
                        program_fail("%s", shmd_error());
        }
        if (shmd_advertise(&publish->publisher, publish->bus, publish->service, &video_frame_type,
                           &options) < 0)
                program_fail("%s", shmd_error());
}

/* Sleeps until something may have changed; the program's end if that is an error. */
static void wait_a_little(struct publish *publish)
{
        int result = shmd_wait(publish->bus, WAIT_NS);

        if (result < 0 && result != -EINTR)
                program_fail("%s", shmd_error());
}

static void wait_for_subscribers(struct publish *publish)
{
        struct shmd_publisher_state status;

        while (!program_stopped) {
                if (shmd_publisher_status(publish->publisher, &status) < 0)
                        program_fail("%s", shmd_error());
                if (status.subscribers >= publish->n_subscribers)
                        return;
                wait_a_little(publish);
        }
}

/* Waits until as many acknowledgements of the frame have come as there are to be subscribers. */
static void wait_for_acks(struct publish *publish, uint64_t number)
{
        uint32_t left = publish->n_subscribers > 0 ? publish->n_subscribers : 1;
        struct shmd_sample sample;

        while (!program_stopped) {
                while (shmd_take(publish->acks, &sample) > 0) {
                        const struct video_ack *ack = sample.data;

                        left -= left > 0 && ack->number == number;
                        shmd_release(publish->acks, &sample);
                }
                if (left == 0)
                        return;
                if (publish->ack_left)
                        program_fail(
                                "a subscriber has gone that did not acknowledge frame %" PRIu64,
                                number);
                wait_a_little(publish);
        }
}

/* Sleeps until the next frame is due. A source that was late by more than a second sets a new
 * start, or all that it owes would come in one burst. */
static void wait_until_due(struct publish *publish)
{
        const struct video_frame *format = &publish->format;
        uint64_t now_ns = program_now_ns();
        uint64_t step_ns = (uint64_t)SECOND_NS * format->rate_den / format->rate_num;
        struct timespec due;

        if (publish->as_fast_as_possible)
                return;
        if (publish->due_ns == 0 || now_ns > publish->due_ns + SECOND_NS)
                publish->due_ns = now_ns;
        due = (struct timespec){.tv_sec = (time_t)(publish->due_ns / SECOND_NS),
                                .tv_nsec = (long)(publish->due_ns % SECOND_NS)};
        while (!program_stopped &&
               clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR)
                ;
        publish->due_ns += step_ns;
}

/* The next picture into `pixels`. Returns 1, or 0 when there is none any more. */
static int next_picture(struct publish *publish, uint8_t *pixels)
{
        int result;

        if (publish->file == NULL) {
                picture_draw(&publish->picture, publish->n_sent, pixels);
                return 1;
        }
        result = y4m_read(&publish->y4m, pixels);
        if (result == 0 && publish->loop && !program_stopped && publish->y4m.frame > 0)
                result = y4m_rewind(&publish->y4m) < 0 ? -1 : y4m_read(&publish->y4m, pixels);
        if (result < 0)
                program_fail("%s: %s", publish->file, publish->y4m.error);
        return result;
}

/* Returns 1, or 0 at the stream's end. */
static int publish_frame(struct publish *publish)
{
        struct video_frame *frame;
        void *loan;

        wait_until_due(publish); /* before, not after, as with a camera: then subscribers have */
        if (program_stopped)     /* the CPUs to themselves when the frame is there */
                return 0;
        if (shmd_loan(publish->publisher, &loan) < 0)
                program_fail("%s", shmd_error());
        frame = loan;
        if (next_picture(publish, video_frame_pixels(frame)) == 0) {
                shmd_discard(publish->publisher, loan);
                return 0;
        }
        *frame = publish->format;
        frame->number = publish->n_sent + 1;
        report_frame(&publish->report, frame->number, frame, sizeof(*frame) + frame->pixels_size);
        frame->captured_ns = program_now_ns();
        if (shmd_publish(publish->publisher, loan) < 0)
                program_fail("%s", shmd_error());
        publish->n_sent++;
        return 1;
}

int main(int argc, char **argv)
{
        static struct publish publish = {.width = 1920, .height = 1080};
        const struct video_frame *format = &publish.format;

        parse_options(&publish, argc, argv);
        program_stop_on_signals();
        open_source(&publish);
        open_services(&publish);
        report_line(&publish.report, "stream %" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRIu32,
                    format->width, format->height,
                    publish.as_fast_as_possible ? 0 : format->rate_num, format->rate_den);
        wait_for_subscribers(&publish);
        while (!program_stopped &&
               (publish.most_frames == 0 || publish.n_sent < publish.most_frames) &&
               publish_frame(&publish))
                if (publish.acks != NULL)
                        wait_for_acks(&publish, publish.n_sent);

        fprintf(stderr, "%s: sent %" PRIu64 "\n", program_invocation_short_name, publish.n_sent);
        report_line(&publish.report, "end %" PRIu64, publish.n_sent);
        report_close(&publish.report);
        picture_deinit(&publish.picture);
        shmd_close(publish.bus);
        return 0;
}
