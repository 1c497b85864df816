/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop-epoll.c - a subscriber in an event loop that isn't libuv's: here epoll, beside a timer.
 *
 *     loop-epoll [SERVICE [SAMPLES]]      default: house/kitchen, until Ctrl-C
 *
 * Three calls fit shmd into any loop: shmd_fd() is the descriptor to watch; shmd_prepare(), before
 * each sleep, asks publishers to ring and says whether sleeping is allowed; shmd_dispatch() takes
 * in what rang. A loop that never sleeps needs none of them: shmd_take() alone polls.
 */
#include <shmd/shmd.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include "sensor.h"

struct program {
        struct shmd *bus;
        struct shmd_subscriber *subscriber;
        int epoll;
        int timer;
        uint64_t left;        /* samples until the end */
        uint64_t this_second; /* samples since the timer ran last */
};

static void watch(int epoll, int fd)
{
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
                perror("loop-epoll: epoll_ctl");
                exit(1);
        }
}

static void take_all(struct program *program)
{
        struct shmd_sample sample;

        while (program->left > 0 && shmd_take(program->subscriber, &sample) > 0) {
                const struct sensor *sensor = sample.data;

                printf("sample %ju: %.1f C\n", (uintmax_t)sensor->count, sensor->celsius);
                shmd_release(program->subscriber, &sample);
                program->this_second++;
                program->left--;
        }
        fflush(stdout);
}

static void on_second(struct program *program)
{
        uint64_t ticks;

        if (read(program->timer, &ticks, sizeof(ticks)) == sizeof(ticks))
                printf("%ju samples in the last second\n", (uintmax_t)program->this_second);
        program->this_second = 0;
}

/* One turn: sleep if nothing is there, then serve whatever is. Returns a negative errno value. */
static int turn(struct program *program)
{
        struct epoll_event events[2];
        int ready, n, result;

        ready = shmd_prepare(program->bus);
        if (ready < 0)
                return ready;
        n = epoll_wait(program->epoll, events, 2, ready ? 0 : -1);
        if (n < 0)
                return errno == EINTR ? 0 : -errno;
        for (int i = 0; i < n; i++) {
                if (events[i].data.fd == program->timer)
                        on_second(program);
                else
                        ready = 1;
        }
        if (!ready)
                return 0;
        result = shmd_dispatch(program->bus);
        if (result == -ENOTCONN) /* said once; samples go on without a broker */
                printf("the broker has gone; listening to the publishers that are left\n");
        else if (result < 0)
                return result;
        take_all(program);
        return 0;
}

int main(int argc, char **argv)
{
        const char *service = argc > 1 ? argv[1] : "house/kitchen";
        struct program program = {.left = argc > 2 ? strtoull(argv[2], NULL, 10) : UINT64_MAX};
        struct itimerspec second = {.it_interval.tv_sec = 1, .it_value.tv_sec = 1};
        int result = 0;

        if (shmd_connect(&program.bus, NULL) < 0 ||
            shmd_subscribe(&program.subscriber, program.bus, service, &sensor_type, NULL) < 0) {
                fprintf(stderr, "loop-epoll: %s\n", shmd_error());
                return 1;
        }
        program.epoll = epoll_create1(EPOLL_CLOEXEC);
        program.timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
        timerfd_settime(program.timer, 0, &second, NULL);
        watch(program.epoll, shmd_fd(program.bus));
        watch(program.epoll, program.timer);

        while (program.left > 0 && result == 0)
                result = turn(&program);
        if (result < 0)
                fprintf(stderr, "loop-epoll: %s\n", shmd_error());

        close(program.timer);
        close(program.epoll);
        shmd_close(program.bus);
        return result < 0;
}
