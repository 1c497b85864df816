/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hostile-fuse.c - a file of a FUSE server that answers nobody but its own process: whoever else
 * touches it waits, and can't even be killed. Passed to the broker it may stop one of the threads
 * that close what clients leave, and nothing else. Needs root, and /dev/fuse.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

/* <sys/mount.h> has one too. */
#undef BLOCK_SIZE

#include "harness.h"
#include "honest.h"
#include "passing.h"
#include "raw.h"

/* A file system that is one file. */
struct fuse {
        int fd;
        pthread_t thread;
        char path[80];
        _Atomic unsigned n_kept_waiting;
};

static void answer(const struct fuse *fuse, const struct fuse_in_header *in, int error,
                   const void *data, size_t size)
{
        struct {
                struct fuse_out_header header;
                char data[256];
        } out = {.header = {.len = (uint32_t)(sizeof(out.header) + size),
                            .error = error,
                            .unique = in->unique}};

        memcpy(out.data, data, size);
        must_equal(write(fuse->fd, &out, out.header.len), out.header.len);
}

static void answer_own(const struct fuse *fuse, const struct fuse_in_header *in)
{
        struct fuse_init_out init = {.major = FUSE_KERNEL_VERSION,
                                     .minor = FUSE_KERNEL_MINOR_VERSION,
                                     .max_write = 4096};
        struct fuse_attr_out attributes = {
                .attr = {.ino = 1, .mode = S_IFREG | 0666, .nlink = 1, .blksize = 4096}};
        struct fuse_open_out open = {.fh = 1};

        switch (in->opcode) {
        case FUSE_INIT:
                answer(fuse, in, 0, &init, sizeof(init));
                break;
        case FUSE_GETATTR:
                answer(fuse, in, 0, &attributes, sizeof(attributes));
                break;
        case FUSE_OPEN:
                answer(fuse, in, 0, &open, sizeof(open));
                break;
        case FUSE_FLUSH:
                answer(fuse, in, 0, "", 0);
                break;
        case FUSE_FORGET:
        case FUSE_BATCH_FORGET:
        case FUSE_INTERRUPT:
                break;
        default:
                answer(fuse, in, -ENOSYS, "", 0);
        }
}

static void *serve(void *argument)
{
        struct fuse *fuse = argument;
        static _Alignas(8) char request[FUSE_MIN_READ_BUFFER + 4096];

        while (read(fuse->fd, request, sizeof(request)) > 0) {
                const struct fuse_in_header *in = (const void *)request;

                if (in->opcode == FUSE_INIT || (pid_t)in->pid == getpid())
                        answer_own(fuse, in);
                else
                        fuse->n_kept_waiting++;
        }
        return NULL;
}

static bool fuse_open_file(struct fuse *fuse)
{
        char options[96];

        memset(fuse, 0, sizeof(*fuse));
        fuse->fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
        if (fuse->fd < 0)
                return false;
        snprintf(fuse->path, sizeof(fuse->path), "%s/file", broker.directory);
        close(open(fuse->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        snprintf(options, sizeof(options), "fd=%d,rootmode=100666,user_id=0,group_id=0", fuse->fd);
        if (mount("fuse", fuse->path, "fuse", MS_NOSUID | MS_NODEV, options) == 0 &&
            pthread_create(&fuse->thread, NULL, serve, fuse) == 0)
                return true;
        close(fuse->fd);
        return false;
}

/* Whoever waits gets an error: the server is gone. */
static void fuse_close_file(struct fuse *fuse)
{
        must_equal(umount2(fuse->path, MNT_FORCE | MNT_DETACH), 0);
        pthread_join(fuse->thread, NULL);
        close(fuse->fd);
}

/* Passes a file that is open nowhere else by then. */
static void pass_file(const struct fuse *fuse, int fd, const void *message, size_t size)
{
        int file = open(fuse->path, O_RDWR | O_CLOEXEC);

        must(file >= 0);
        must_equal(pass(fd, message, size, &file, 1), 0);
        close(file);
}

enum { NO_FUSE = 2 };

/* With mounts of its own. */
static void pass_files(void)
{
        static const char nonsense[16];
        struct raw_publisher publisher;
        struct fuse fuse;
        int fds[2];

        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            !fuse_open_file(&fuse))
                _exit(NO_FUSE);
        raw_publisher_open(&publisher, "hostile");
        fds[0] = raw_session(NULL);
        pass_file(&fuse, fds[0], nonsense, sizeof(nonsense));
        must_say(raw_await_end(fds[0]), "not a message");
        /* It is looked at no more than has to be to see that it is no memory. */
        fds[1] = raw_session(NULL);
        pass_file(&fuse, fds[1], &publisher.message, sizeof(publisher.message));
        must_say(raw_await_end(fds[1]), "no shared memory");
        until(fuse.n_kept_waiting >= 1);
        for (unsigned i = 0; i < 20; i++)
                shmd_close(broker_connect());
        until(fuse.n_kept_waiting >= 2);
        fuse_close_file(&fuse);
        _exit(0);
}

static void file_of_a_silent_server_stops_nobody(void **state)
{
        char path[80];
        int status;
        pid_t pid;

        if (geteuid() != 0)
                skip_because("only root can mount");
        snprintf(path, sizeof(path), "%s/file", broker.directory);
        honest_open();
        pid = child_fork();
        if (pid == 0)
                pass_files();
        status = child_finish(pid);
        unlink(path);
        if (status == NO_FUSE) {
                honest_close();
                skip_because("there is no FUSE, or it can't be mounted");
        }
        must_equal(status, 0);
        honest_check(2);
        honest_close();
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(file_of_a_silent_server_stops_nobody),
        };

        harness_init(argc, argv);
        return cmocka_run_group_tests_name("hostile-fuse", tests, NULL, NULL);
}
