/* SPDX-License-Identifier: Apache-2.0 */
/* receive.c - takes frame after frame until the publisher leaves, somebody interrupts or enough
 * have come. */
#include "receive.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "program.h"

/* A signal that comes just before shmd_wait() sleeps is noticed after this long. */
#define WAIT_NS 200000000

static void parse_options(struct receive *receive, int argc, char **argv)
{
        struct option options[] = {
                {"frames", required_argument, NULL, 'n'}, {"report", required_argument, NULL, 'r'},
                {"follow", no_argument, NULL, 'f'},       {"ack", no_argument, NULL, 'a'},
                {"copy", no_argument, NULL, 'c'},         {"help", no_argument, NULL, 'h'},
                {receive->flag, no_argument, NULL, 'x'},  {NULL, 0, NULL, 0},
        };
        int option, report_fd = -1;

        while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
                if (option == 'n')
                        receive->most_frames = program_number("--frames", optarg, 1, UINT64_MAX);
                else if (option == 'r')
                        report_fd = (int)program_number("--report", optarg, 0, 65535);
                else if (option == 'f')
                        receive->follow = 1;
                else if (option == 'a')
                        receive->ack = 1;
                else if (option == 'c')
                        receive->copying = 1;
                else if (option == 'x')
                        receive->flag_given = 1;
                else if (option == 'h')
                        exit(fputs(receive->usage, stdout) < 0);
                else
                        exit(2);
        }
        if (argc - optind != 1) {
                fputs(receive->usage, stderr);
                exit(2);
        }
        receive->service = argv[optind];
        receive->terminal = isatty(STDOUT_FILENO);
        report_open(&receive->report, report_fd);
}

static void on_publisher(void *user, const struct shmd_peer *peer, int present)
{
        struct receive *receive = user;

        (void)peer;
        if (present)
                return;
        receive->publisher_left = 1;
        receive->report.mappings.n_mappings = 0;
}

static void open_services(struct receive *receive)
{
        struct shmd_subscriber_options options = {
                .size = sizeof(options),
                /* Who acknowledges is waited for: the frame that it came too late for is kept. */
                .history = receive->ack ? 1 : 0,
                .on_publisher = on_publisher,
                .user = receive,
        };
        char name[SHMD_SERVICE_NAME_MAX + 8];

        if (shmd_connect(&receive->bus, NULL) < 0)
                program_fail("%s", shmd_error());
        if (receive->ack) {
                snprintf(name, sizeof(name), "%s/ack", receive->service);
                if (shmd_advertise(&receive->acks, receive->bus, name, &video_ack_type, NULL) < 0)
                        program_fail("%s", shmd_error());
        }
        if (shmd_subscribe(&receive->subscriber, receive->bus, receive->service, &video_frame_type,
                           &options) < 0)
                program_fail("%s", shmd_error());
}

/* A copy of the sample's header in *frame, if it and the sample's length describe a picture. */
static int check_frame(const struct shmd_sample *sample, struct video_frame *frame)
{
        struct video_frame shape;

        if (sample->size < sizeof(*frame))
                return -1;
        memcpy(frame, sample->data, sizeof(*frame));
        shape = *frame;
        return video_frame_shape(&shape) == 0 && shape.pixels_size == frame->pixels_size &&
                               shape.y_stride == frame->y_stride &&
                               shape.chroma_stride == frame->chroma_stride &&
                               shape.chroma_height == frame->chroma_height && frame->rate_num > 0 &&
                               frame->rate_den > 0 &&
                               sample->size - sizeof(*frame) >= frame->pixels_size
                       ? 0
                       : -1;
}

static void acknowledge(struct receive *receive, uint64_t number)
{
        void *loan;

        if (shmd_loan(receive->acks, &loan) < 0)
                program_fail("%s", shmd_error());
        *(struct video_ack *)loan = (struct video_ack){.number = number};
        if (shmd_publish(receive->acks, loan) < 0)
                program_fail("%s", shmd_error());
}

/* What --copy reads: the same bytes in memory of this process. */
static const uint8_t *copy_of(struct receive *receive, const void *data, uint64_t size)
{
        if (size > receive->copy_size) {
                free(receive->copy);
                receive->copy = malloc(size);
                receive->copy_size = size;
                if (receive->copy == NULL)
                        program_fail("no memory for a copy of %" PRIu64 " bytes", size);
        }
        memcpy(receive->copy, data, size);
        return receive->copy;
}

static void receive_frame(struct receive *receive, const struct shmd_sample *sample)
{
        uint64_t now_ns = program_now_ns();
        const uint8_t *data = sample->data;
        struct video_frame frame;

        if (check_frame(sample, &frame) < 0)
                program_fail("sample %" PRIu64 " of %s is no picture: %" PRIu64 " bytes",
                             sample->sequence, receive->service, sample->size);
        receive->n_taken++;
        latency_add(&receive->latency, now_ns > frame.captured_ns ? now_ns - frame.captured_ns : 0);
        if (receive->copying)
                data = copy_of(receive, data, sizeof(frame) + frame.pixels_size);
        report_frame(&receive->report, frame.number, data, sizeof(frame) + frame.pixels_size);
        receive->on_frame(receive, &frame, data + sizeof(frame));
        if (receive->acks != NULL)
                acknowledge(receive, frame.number);
}

static int enough(const struct receive *receive)
{
        return program_stopped ||
               (receive->most_frames > 0 && receive->n_taken >= receive->most_frames);
}

/* Takes what is there. Returns 0, or 1 if there will be no more. */
static int take_all(struct receive *receive)
{
        struct shmd_subscriber_state status;
        struct shmd_sample sample;
        int result = 0;

        while (!enough(receive) && (result = shmd_take(receive->subscriber, &sample)) > 0) {
                receive_frame(receive, &sample);
                shmd_release(receive->subscriber, &sample);
        }
        if (result < 0)
                program_fail("%s", shmd_error());
        if (enough(receive))
                return 1;
        if (!receive->publisher_left || receive->follow)
                return 0;
        return shmd_subscriber_status(receive->subscriber, &status) == 0 && status.publishers == 0;
}

static void summarize(struct receive *receive)
{
        struct shmd_subscriber_state status = {0};
        uint64_t p50, p99;

        if (shmd_subscriber_status(receive->subscriber, &status) < 0)
                program_fail("%s", shmd_error());
        p50 = latency_percentile(&receive->latency, 50);
        p99 = latency_percentile(&receive->latency, 99);
        fprintf(stderr,
                "%s: taken %" PRIu64 ", lost %" PRIu64 ", one-way p50 %.1f us, p99 %.1f us\n",
                program_invocation_short_name, receive->n_taken, status.lost, (double)p50 / 1000,
                (double)p99 / 1000);
        report_line(&receive->report, "end %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64,
                    receive->n_taken, status.lost, p50, p99);
        report_close(&receive->report);
}

int receive_run(struct receive *receive, int argc, char **argv)
{
        int result, ended = 0;

        parse_options(receive, argc, argv);
        program_stop_on_signals();
        open_services(receive);
        report_line(&receive->report, "ready");
        while (!ended) {
                result = shmd_wait(receive->bus, WAIT_NS);
                if (result == -ENOTCONN)
                        fprintf(stderr, "%s: the broker has gone; frames go on without it\n",
                                program_invocation_short_name);
                else if (result < 0 && result != -EINTR)
                        program_fail("%s", shmd_error());
                ended = take_all(receive);
        }
        if (receive->terminal && !receive->flag_given)
                putchar('\n'); /* after the line that was drawn again and again */
        fflush(stdout);
        summarize(receive);
        shmd_close(receive->bus);
        free(receive->copy);
        return 0;
}
