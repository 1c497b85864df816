/* SPDX-License-Identifier: Apache-2.0 */
/*
 * video-demo.c - the whole of it in one go: a private broker, a publisher of video and two
 * subscribers that read every frame in place, four processes; and the proof.
 *
 * The publisher and both subscribers ask the kernel, each for itself, which file and which offset
 * the frame is at that they write or read, and report that through pipes. Here it is compared: a
 * frame that was read anywhere but in the publisher's own loan counts as foreign, and fails the
 * demonstration. So does one that was neither taken nor counted as lost.
 */
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "program.h"
#include "progress.h"
#include "stage.h"
#include "tally.h"

#define SERVICE   "camera/front"
#define SECOND_NS UINT64_C(1000000000)
/* Without a file, and if nobody says how long. */
#define DEFAULT_FRAMES "150"

static const char usage[] =
        "usage: video-demo [options] [FILE|-]\n"
        "Sends video from one process to two others and shows that nobody copied it. FILE is\n"
        "YUV4MPEG2; - is standard input, as from\n"
        "'ffmpeg -i anything -pix_fmt yuv420p -f yuv4mpegpipe -'. A file plays to its end; "
        "without\n"
        "one there are 5 seconds of a moving picture.\n"
        "  --frames N    end after N frames\n"
        "  --seconds N   end after N seconds\n"
        "  --rate FPS    frames a second; 0 is as fast as possible; default: the stream's own\n"
        "  --size WxH    of the moving picture; default 1920x1080\n"
        "  --no-table    without the latency table at the end\n"
        "  --copy        let a subscriber copy each frame before it reads it, as it should not:\n"
        "                to see that this is noticed\n";

enum { PUBLISHER = STAGE_FIRST, CHECKSUM, HISTOGRAM };

static const char *const names[] = {"shmd", "video-publish", "video-checksum", "video-histogram"};

/* What a process said. */
struct account {
        struct tally tally;
        uint64_t n_reported; /* frames, so far */
        uint64_t n_moved;    /* the rest at the end: frames sent, or taken */
        uint64_t n_lost, p50_ns, p99_ns;
};

struct demo {
        const char *file, *rate, *size, *frames;
        uint64_t n_frames, seconds; /* 0: not given */
        int no_table, copy;

        struct stage stage;
        int n_ready; /* subscribers that wait for the publisher */
        struct account accounts[STAGE_CHILDREN];
        struct tally_places places;
        struct progress progress;
        char bars[256];
};

static void parse_options(struct demo *demo, int argc, char **argv)
{
        static const struct option options[] = {
                {"frames", required_argument, NULL, 'n'}, {"seconds", required_argument, NULL, 't'},
                {"rate", required_argument, NULL, 'r'},   {"size", required_argument, NULL, 's'},
                {"no-table", no_argument, NULL, 'x'},     {"copy", no_argument, NULL, 'c'},
                {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
        };
        uint32_t width, height;
        int option;

        while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
                if (option == 'n')
                        demo->frames = optarg;
                else if (option == 't')
                        demo->seconds = program_number("--seconds", optarg, 1, 1000000);
                else if (option == 'r')
                        demo->rate = optarg; /* the publisher knows better what is one */
                else if (option == 's')
                        program_size(demo->size = optarg, &width, &height);
                else if (option == 'x')
                        demo->no_table = 1;
                else if (option == 'c')
                        demo->copy = 1;
                else if (option == 'h')
                        exit(fputs(usage, stdout) < 0);
                else
                        exit(2);
        }
        if (argc - optind > 1) {
                fputs(usage, stderr);
                exit(2);
        }
        demo->file = argv[optind];
        if (demo->file != NULL && demo->size != NULL)
                program_fail("--size is for the moving picture: not with a file");
        if (demo->file == NULL && demo->frames == NULL && demo->seconds == 0)
                demo->frames = DEFAULT_FRAMES;
        if (demo->frames != NULL)
                demo->n_frames = program_number("--frames", demo->frames, 1, UINT32_MAX);
}

static void on_stream(const struct demo *demo, const char *line)
{
        unsigned width, height, num, den;
        char rate[48] = "as fast as possible";

        if (sscanf(line, "stream %u %u %u %u", &width, &height, &num, &den) != 4)
                return;
        if (num > 0)
                snprintf(rate, sizeof(rate), "%g frames a second", (double)num / den);
        printf("%s: %ux%u, %s, from %s\n", SERVICE, width, height, rate,
               demo->file == NULL             ? "a moving picture"
               : strcmp(demo->file, "-") == 0 ? "standard input"
                                              : demo->file);
        fflush(stdout);
}

static void on_line(void *user, int player, const char *line)
{
        struct demo *demo = user;
        struct account *account = &demo->accounts[player];
        struct where where;
        uint64_t number;

        if (sscanf(line, "frame %" SCNu64 " %" SCNu32 " %" SCNu32 " %" SCNu64 " %" SCNu64, &number,
                   &where.major, &where.minor, &where.inode, &where.offset) == 5) {
                if (tally_add(&account->tally, &demo->places, number, &where) < 0)
                        program_fail("can't keep account of frame %" PRIu64, number);
                account->n_reported++;
        } else if (strncmp(line, "bar ", 4) == 0) {
                snprintf(demo->bars, sizeof(demo->bars), "%s", line + 4);
        } else if (strcmp(line, "ready") == 0) {
                demo->n_ready++;
        } else if (strncmp(line, "stream ", 7) == 0) {
                on_stream(demo, line);
        } else {
                sscanf(line, "end %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64, &account->n_moved,
                       &account->n_lost, &account->p50_ns, &account->p99_ns);
        }
}

static void start_subscribers(struct demo *demo)
{
        const char *const checksum[] = {
                "video-checksum", SERVICE, "--report", "3", demo->copy ? "--copy" : NULL, NULL};
        const char *const histogram[] = {"video-histogram", SERVICE, "--report", "3", NULL};

        stage_start(&demo->stage, CHECKSUM, checksum, -1);
        stage_start(&demo->stage, HISTOGRAM, histogram, -1);
}

/* When both have subscribed: who comes before the publisher gets its first frame. */
static void start_publisher(struct demo *demo)
{
        const char *arguments[16] = {"video-publish", SERVICE, "--report", "3"};
        int n = 4;

        if (demo->frames != NULL) {
                arguments[n++] = "--frames";
                arguments[n++] = demo->frames;
        }
        if (demo->rate != NULL) {
                arguments[n++] = "--rate";
                arguments[n++] = demo->rate;
        }
        if (demo->size != NULL) {
                arguments[n++] = "--size";
                arguments[n++] = demo->size;
        }
        arguments[n++] = demo->file != NULL ? "--" : "--picture";
        arguments[n++] = demo->file;
        stage_start(&demo->stage, PUBLISHER, arguments,
                    demo->file != NULL && strcmp(demo->file, "-") == 0 ? STDIN_FILENO : -1);
}

static void play(struct demo *demo)
{
        const struct account *sent = &demo->accounts[PUBLISHER];
        uint64_t now_ns = program_now_ns();
        int begun = 0, finished = 0;

        start_subscribers(demo);
        while (!stage_empty(&demo->stage)) {
                stage_turn(&demo->stage, 50);
                if (demo->n_ready == 2 && !demo->stage.failed && !demo->stage.interrupted) {
                        demo->n_ready = 0;
                        start_publisher(demo);
                }
                now_ns = program_now_ns();
                if (!begun && sent->n_reported == 0)
                        continue;
                if (!begun++)
                        progress_start(&demo->progress, now_ns);
                if (!finished && demo->seconds > 0 &&
                    now_ns - demo->progress.started_ns >= demo->seconds * SECOND_NS) {
                        stage_finish(&demo->stage);
                        finished = 1;
                }
                progress_draw(&demo->progress, now_ns, sent->n_reported, demo->n_frames,
                              demo->seconds, demo->bars);
        }
        if (begun)
                progress_end(&demo->progress, now_ns, sent->n_reported, demo->n_frames,
                             demo->seconds, demo->bars);
        stage_close(&demo->stage);
}

/* Prints a subscriber's line. Returns whether all its frames are accounted for, in place. */
static int print_subscriber(struct demo *demo, int which)
{
        const struct account *sent = &demo->accounts[PUBLISHER], *taken = &demo->accounts[which];
        uint64_t n_foreign = tally_foreign(&taken->tally, &sent->tally, &demo->places);

        if (child_failed(&demo->stage.children[which])) {
                printf("%-15s %8" PRIu64 " reported before it failed\n", names[which],
                       taken->n_reported);
                return 0;
        }
        printf("%-15s %8" PRIu64 " taken %8" PRIu64 " %14" PRIu64 " %12.1f us %9.1f us\n",
               names[which], taken->n_moved, taken->n_lost, n_foreign, (double)taken->p50_ns / 1000,
               (double)taken->p99_ns / 1000);
        if (n_foreign > 0)
                fprintf(stderr,
                        "video-demo: %s read %" PRIu64 " frames in memory that was not the "
                        "publisher's\n",
                        names[which], n_foreign);
        if (taken->n_moved != taken->n_reported)
                fprintf(stderr, "video-demo: %s took %" PRIu64 " frames and reported %" PRIu64 "\n",
                        names[which], taken->n_moved, taken->n_reported);
        if (taken->n_moved + taken->n_lost != sent->n_moved)
                fprintf(stderr,
                        "video-demo: %s: %" PRIu64 " frames were sent, but taken and lost are "
                        "%" PRIu64 "\n",
                        names[which], sent->n_moved, taken->n_moved + taken->n_lost);
        return n_foreign == 0 && taken->n_moved == taken->n_reported &&
               taken->n_moved + taken->n_lost == sent->n_moved;
}

/* In how many places the publisher's frames were; and the inode, 0 if it isn't one for all. */
static unsigned count_places(const struct demo *demo, uint64_t *inode)
{
        const struct tally *tally = &demo->accounts[PUBLISHER].tally;
        uint8_t seen[TALLY_PLACES] = {0};
        unsigned n_places = 0;

        for (uint64_t number = 1; number <= tally->n_frames; number++) {
                const struct where *where = tally_get(tally, &demo->places, number);

                if (where == NULL || seen[where - demo->places.places])
                        continue;
                seen[where - demo->places.places] = 1;
                *inode = n_places == 0 || *inode == where->inode ? where->inode : 0;
                n_places++;
        }
        return n_places;
}

/* Returns whether everything was as it should be. */
static int print_result(struct demo *demo)
{
        const struct account *sent = &demo->accounts[PUBLISHER];
        uint64_t inode = 0;
        unsigned n_places = count_places(demo, &inode);
        int good;

        printf("\n%-15s %14s %8s %14s %15s %12s\n", "", "frames", "lost", "foreign memory",
               "one-way p50", "p99");
        printf("%-15s %8" PRIu64 " sent\n", names[PUBLISHER], sent->n_moved);
        good = print_subscriber(demo, CHECKSUM);
        good = print_subscriber(demo, HISTOGRAM) && good;
        if (sent->n_moved == 0) {
                fprintf(stderr, "video-demo: no frame was sent\n");
                return 0;
        }
        if (good)
                printf("\nThe publisher wrote its frames to %u places of %s (inode %" PRIu64 ");\n"
                       "every frame that was taken was read where it was written.\n",
                       n_places, inode != 0 ? "one file in memory" : "several files", inode);
        fflush(stdout);
        return good;
}

/* Beside a Unix socket, by the benchmark. */
static void print_table(const struct demo *demo)
{
        char path[2 * PATH_MAX];
        pid_t pid;
        int status;

        if (!stage_find(&demo->stage, "../../bench/shmd-bench", path)) {
                printf("\nNo latency table: %s was not built.\n", path);
                return;
        }
        printf("\nLatency of small and large samples, one way, polling:\n\n");
        fflush(stdout);
        pid = fork();
        if (pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGTERM);
                execl(path, "shmd-bench", "latency", "--transport", "floor,shmd,unix-stream",
                      "--payload", "64,1M", "--seconds", "0.3", "--runs", "1", (char *)NULL);
                _exit(127);
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
                fprintf(stderr, "video-demo: %s failed\n", path);
}

int main(int argc, char **argv)
{
        static struct demo demo;
        int good;

        parse_options(&demo, argc, argv);
        demo.stage.on_line = on_line;
        demo.stage.user = &demo;
        stage_open(&demo.stage);
        play(&demo);
        if (demo.stage.failed && demo.accounts[PUBLISHER].n_moved == 0)
                return 1; /* why, was said */
        good = print_result(&demo) && !demo.stage.failed;
        if (demo.stage.interrupted)
                return 130;
        if (!demo.no_table)
                print_table(&demo);
        return good ? 0 : 1;
}
