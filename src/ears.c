/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ears.c - the descriptors on which publishers ring, and how they are read so that nobody who may
 * write there can stop this process.
 *
 * Publishers of the same user ring on the connection's own pipe (id 0): libuv reads it, or
 * sleep_once() does. Those of each other user ring on a socket that the broker has made, and
 * whoever has its other end may send what he likes: more than is ever read, bytes that are no
 * frames, an end of file, and descriptors. Bytes cost a bounded drain. Descriptors are the danger:
 * those that nobody receives are closed by whoever reads the bytes that they came with, and
 * close(2) of a TCP socket that lingers, or of a file on a slow file system, takes as long as its
 * owner likes.
 *
 *   hearing ---- end of file ----------------------------------------> closed
 *      |
 *      +-------- a descriptor has come (only before Linux 6.16) -----> deaf ---- ear_close() --->
 *
 * Since 6.16 the socket refuses descriptors (SO_PASSRIGHTS). Before, what is about to be read is
 * looked at first: MSG_PEEK leaves descriptors where they are, and says with MSG_CTRUNC that there
 * are some. Such a socket is never read again. So that user's publishers are not heard any more on
 * this connection; all others are.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "connection.h"
#include "error.h"
#include "util.h"

/* Buffers that one drain reads at most: who goes on sending does not keep us here. */
#define DRAIN_TURNS 4

enum drained {
        DRAINED,       /* there may be more, for which the loop comes again */
        DRAINED_ENDED, /* nobody is left who could ring */
        DRAINED_FDS,   /* descriptors are next */
};

/* ---- the connection's own pipe ------------------------------------------------------------ */

static void on_pipe_closed(uv_handle_t *handle)
{
        struct ear *ear = handle->data;
        struct shmd *bus = ear->bus;

        free(ear);
        waiting_handle_closed(bus);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
        struct ear *ear = handle->data;

        (void)suggested;
        /* Nobody looks at frames, and no packet is being received now. */
        buffer->base = (char *)ear->bus->packet->bytes;
        buffer->len = sizeof(ear->bus->packet->bytes);
}

static void on_frames(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
        struct ear *ear = stream->data;

        (void)buffer;
        if (size > 0)
                ear->bus->is_rung = true;
        if (size < 0)
                uv_read_stop(stream);
}

static struct ear *ear_new(struct shmd *bus, uint64_t id, int fd)
{
        struct ear *ear = calloc(1, sizeof(*ear));

        if (!ear) {
                error_system(-ENOMEM, "a wake channel");
                return NULL;
        }
        ear->bus = bus;
        ear->id = id;
        ear->fd = fd;
        return ear;
}

static int make_pipe(struct shmd *bus)
{
        int ends[2], code;
        struct ear *ear;

        if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
                return error_system(-errno, "a pipe");
        ear = ear_new(bus, 0, ends[0]);
        if (!ear) {
                fd_close(&ends[0]);
                fd_close(&ends[1]);
                return -ENOMEM;
        }
        uv_pipe_init(bus->loop, &ear->pipe, 0);
        ear->pipe.data = ear;
        bus->n_handles++;
        bus->needs_turn = true;
        code = uv_pipe_open(&ear->pipe, ends[0]);
        if (code < 0)
                fd_close(&ends[0]);
        else
                code = uv_read_start((uv_stream_t *)&ear->pipe, on_alloc, on_frames);
        if (code < 0) {
                uv_close((uv_handle_t *)&ear->pipe, on_pipe_closed);
                fd_close(&ends[1]);
                return error_system(code, "a wake channel");
        }
        list_append(&bus->ears, &ear->link);
        bus->pipe_write = ends[1];
        return 0;
}

int ear_make_pipe(struct shmd *bus)
{
        int held[3], code;

        if (bus->pipe_write >= 0)
                return 0;
        standard_fds_hold(held); /* with its first stream libuv makes another descriptor */
        code = make_pipe(bus);
        standard_fds_release(held);
        return code;
}

void ear_drain_pipe(struct ear *ear)
{
        struct packet *packet = ear->bus->packet;

        for (int i = 0; i < DRAIN_TURNS; i++) {
                ssize_t size = read(ear->fd, packet->bytes, sizeof(packet->bytes));

                if (size > 0)
                        ear->bus->is_rung = true;
                if (size < (ssize_t)sizeof(packet->bytes))
                        return;
        }
}

/* ---- sockets on which other users ring ---------------------------------------------------- */

/* Reads once, if that brings no descriptor. */
static enum drained read_socket(const struct ear *ear, void *bytes, size_t size, ssize_t *n)
{
        bool has_fds = false;

        if (ear->may_bring_fds) {
                *n = socket_peek_bytes(ear->fd, bytes, size, &has_fds);
                if (has_fds)
                        return DRAINED_FDS;
                if (*n > 0) /* these and no more: what comes behind them was not looked at */
                        size = (size_t)*n;
        }
        if (!ear->may_bring_fds || *n > 0)
                *n = recv(ear->fd, bytes, size, MSG_DONTWAIT);
        if (*n > 0 || (*n < 0 && (errno == EAGAIN || errno == EINTR)))
                return DRAINED;
        return DRAINED_ENDED;
}

static enum drained drain_socket(const struct ear *ear)
{
        struct packet *packet = ear->bus->packet; /* no packet is being received now */
        enum drained result = DRAINED;
        ssize_t n = sizeof(packet->bytes);

        for (int i = 0; i < DRAIN_TURNS && n == sizeof(packet->bytes); i++) {
                result = read_socket(ear, packet->bytes, sizeof(packet->bytes), &n);
                if (n > 0)
                        ear->bus->is_rung = true;
                if (result != DRAINED)
                        break;
        }
        return result;
}

/* Whether it can be closed without closing what others have sent: nothing more can come, and what
 * is there are bytes. */
static bool is_harmless(const struct ear *ear)
{
        unsigned char bytes[4096];
        enum drained result = DRAINED;
        ssize_t n;

        if (!ear->may_bring_fds)
                return true;
        shutdown(ear->fd, SHUT_RD);
        /* A socket's queue is as long as the sender's buffer allows, and ends. */
        while (result == DRAINED)
                result = read_socket(ear, bytes, sizeof(bytes), &n);
        return result == DRAINED_ENDED;
}

/*
 * What is in the socket is closed with its last descriptor. As long as there is a session the
 * broker has another, which it closes where that may take long. Without one, a socket that has
 * foreign descriptors in it stays open until this process ends: there is nobody to take it.
 */
static void close_socket(struct ear *ear)
{
        struct shmd *bus = ear->bus;

        watching_close(&ear->watcher);
        list_remove(&ear->link);
        if (connection_is_inherited(bus) || is_harmless(ear) || bus->is_connected)
                fd_close(&ear->fd);
        free(ear);
}

static void on_socket(uv_poll_t *handle, int status, int events)
{
        struct ear *ear = ((struct watcher *)handle->data)->owner;
        enum drained result = status < 0 ? DRAINED_ENDED : drain_socket(ear);

        (void)events;
        if (result == DRAINED_ENDED)
                close_socket(ear);
        if (result == DRAINED_FDS)
                watching_close(&ear->watcher); /* deaf */
}

int ear_listen(struct shmd *bus, uint64_t id, int fd)
{
        struct ear *ear = NULL;

        list_for_each (&bus->ears, link) {
                if (list_entry(link, struct ear, link)->id != id)
                        continue;
                fd_close(&fd);
                return 0;
        }
        if (fd < 0)
                return error_set(-EPROTO, "an introduction without its wake channel");
        ear = ear_new(bus, id, fd);
        if (!ear) {
                fd_close(&fd);
                return -ENOMEM;
        }
        list_append(&bus->ears, &ear->link);
        ear->may_bring_fds = !socket_refuses_fds(fd);
        ear->watcher = watching_open(bus, fd, UV_READABLE, on_socket, ear);
        if (ear->watcher)
                return 0;
        close_socket(ear);
        return -ENOMEM;
}

/* ---- all of them --------------------------------------------------------------------------- */

void ears_pause(struct shmd *bus)
{
        list_for_each (&bus->ears, link) {
                struct ear *ear = list_entry(link, struct ear, link);

                if (ear->id == 0) /* the others' watchers are paused with all watchers */
                        uv_read_stop((uv_stream_t *)&ear->pipe);
        }
}

void ears_close(struct shmd *bus)
{
        list_for_each_safe (&bus->ears, link) {
                struct ear *ear = list_entry(link, struct ear, link);

                if (ear->id != 0) {
                        close_socket(ear);
                        continue;
                }
                list_remove(&ear->link);
                uv_close((uv_handle_t *)&ear->pipe, on_pipe_closed);
        }
}
