/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop-uv.c - a subscriber inside a program's own libuv loop, beside its timers and signals.
 *
 *     loop-uv [SERVICE [SAMPLES]]      default: house/kitchen, until Ctrl-C
 *
 * The loop is named when connecting; from then on callbacks come from uv_run(). There is nothing
 * to poll, and no thread.
 */
#include <shmd/shmd.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>
#include "sensor.h"

struct program {
        uv_loop_t loop;
        uv_signal_t interrupt;
        uv_timer_t second;
        uint64_t left;        /* samples until the end */
        uint64_t this_second; /* samples since the timer ran last */
};

/* Runs again as long as something is left, so one sample a call is enough; taking all is quicker.
 */
static void on_sample(void *user, struct shmd_subscriber *subscriber)
{
        struct program *program = user;
        struct shmd_sample sample;

        while (program->left > 0 && shmd_take(subscriber, &sample) > 0) {
                const struct sensor *sensor = sample.data;

                printf("sample %ju: %.1f C\n", (uintmax_t)sensor->count, sensor->celsius);
                shmd_release(subscriber, &sample);
                program->this_second++;
                program->left--;
        }
        fflush(stdout);
        if (program->left == 0)
                uv_stop(&program->loop); /* shmd_close() may not be called in a callback */
}

static void on_second(uv_timer_t *timer)
{
        struct program *program = timer->data;

        printf("%ju samples in the last second\n", (uintmax_t)program->this_second);
        program->this_second = 0;
}

static void on_interrupt(uv_signal_t *handle, int signal)
{
        (void)signal;
        uv_stop(handle->loop);
}

static void start(struct program *program)
{
        uv_loop_init(&program->loop);
        uv_signal_init(&program->loop, &program->interrupt);
        uv_signal_start(&program->interrupt, on_interrupt, SIGINT);
        uv_timer_init(&program->loop, &program->second);
        program->second.data = program;
        uv_timer_start(&program->second, on_second, 1000, 1000);
}

int main(int argc, char **argv)
{
        const char *service = argc > 1 ? argv[1] : "house/kitchen";
        struct program program = {.left = argc > 2 ? strtoull(argv[2], NULL, 10) : UINT64_MAX};
        struct shmd_connect_options connect = {.size = sizeof(connect), .loop = &program.loop};
        struct shmd_subscriber_options options = {
                .size = sizeof(options), .on_sample = on_sample, .user = &program};
        struct shmd *bus = NULL;
        struct shmd_subscriber *subscriber;
        int status = 0;

        start(&program);
        if (shmd_connect(&bus, &connect) < 0 ||
            shmd_subscribe(&subscriber, bus, service, &sensor_type, &options) < 0) {
                fprintf(stderr, "loop-uv: %s\n", shmd_error());
                status = 1;
        } else {
                uv_run(&program.loop, UV_RUN_DEFAULT);
        }

        /* The connection has handles in the loop: they are closed by its next turn. */
        shmd_close(bus);
        uv_close((uv_handle_t *)&program.interrupt, NULL);
        uv_close((uv_handle_t *)&program.second, NULL);
        uv_run(&program.loop, UV_RUN_DEFAULT);
        if (uv_loop_close(&program.loop) != 0) {
                fprintf(stderr, "loop-uv: something is left in the loop\n");
                status = 1;
        }
        return status;
}
