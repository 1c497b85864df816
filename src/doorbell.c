/* SPDX-License-Identifier: Apache-2.0 */
/* doorbell.c - boards, members, frames and fences; the model is in doorbell.h. */
#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "atomic.h"
#include "doorbell.h"
#include "error.h"
#include "util.h"

#ifndef RWF_NOSIGNAL
#define RWF_NOSIGNAL 0x00000100 /* since Linux 6.18 */
#endif

/* Commits without a moved board before a publisher stops to fence: with fewer, subscribers that
 * sleep between bursts would pay for membarrier again and again. */
#ifndef QUIET_COMMITS
#define QUIET_COMMITS 1000 /* fewer only in tests that look at each store of a publisher */
#endif

bool doorbell_without_nosignal;

static int membarrier(int command)
{
        return (int)syscall(SYS_membarrier, command, 0, 0);
}

bool doorbell_register(void)
{
        return membarrier(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED) == 0;
}

bool doorbell_can_membarrier(void)
{
        int commands = membarrier(MEMBARRIER_CMD_QUERY);

        return commands > 0 && (commands & MEMBARRIER_CMD_GLOBAL_EXPEDITED);
}

/* ---- the publisher's side --------------------------------------------------------------- */

void doorbell_init(struct doorbell *doorbell, uint32_t tag, uint64_t *fence_mode)
{
        memset(doorbell, 0, sizeof(*doorbell));
        list_init(&doorbell->boards);
        doorbell->tag = tag;
        doorbell->fence_mode = fence_mode;
}

struct watched_board *doorbell_watch(struct doorbell *doorbell, uint64_t id, int fd)
{
        struct watched_board *board;

        list_for_each (&doorbell->boards, link) {
                board = list_entry(link, struct watched_board, link);
                if (board->id == id) {
                        board->n_members++;
                        return board;
                }
        }
        board = calloc(1, sizeof(*board));
        if (!board) {
                error_system(-ENOMEM, "an arming board");
                return NULL;
        }
        if (segment_map_board(&board->memory, fd, false) < 0) {
                free(board);
                return NULL;
        }
        board->id = id;
        board->n_members = 1;
        /*
         * ACQUIRE: read before the armed word of the member for which the board is watched; an
         * arming after this look moves the counter again. Partner: doorbell_bump().
         */
        board->counter = &((const struct board *)board->memory.base)->counter;
        board->seen = load_acquire(board->counter);
        list_append(&doorbell->boards, &board->link);
        return board;
}

void doorbell_unwatch(struct watched_board *board)
{
        if (!board || --board->n_members)
                return;
        list_remove(&board->link);
        segment_close(&board->memory);
        free(board);
}

/* A pipe that has a name, in whatever file system. */
static bool is_named_pipe(int fd)
{
        char path[32], target[8];

        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        return readlink(path, target, sizeof(target)) > 0 && target[0] == '/';
}

/* What keeps it from being opened is the mode that its maker, of this process's user, has given it.
 */
static bool is_closed_by_its_maker(int fd)
{
        struct stat status;

        return errno == EACCES && fstat(fd, &status) == 0 && status.st_uid == geteuid();
}

int channel_open(int fd, bool is_socket)
{
        char path[32];
        int opened;

        if (is_socket)
                return fd;
        /* It opens if its reader, or its file system, likes; and that may not answer for ever. */
        if (is_named_pipe(fd)) {
                fd_close(&fd);
                return CHANNEL_REFUSED;
        }
        /*
         * A description of its own: O_NONBLOCK belongs to the description, and another publisher
         * of the same user that cleared it could make this one block.
         */
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        opened = fd_above_standard(open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC));
        if (opened < 0 && is_closed_by_its_maker(fd))
                opened = CHANNEL_REFUSED;
        fd_close(&fd);
        return opened;
}

/* Writes without a signal; false: not on this kernel, nothing was written. */
static bool write_nosignal(int fd, const struct offset_frame *frame, int *code)
{
        static uint64_t is_missing; /* relaxed: a hint, the same for all threads */
        struct iovec vector = {.iov_base = (void *)frame, .iov_len = sizeof(*frame)};

        if (doorbell_without_nosignal || load_relaxed(&is_missing))
                return false;
        do {
                *code = pwritev2(fd, &vector, 1, -1, RWF_NOSIGNAL) < 0 ? -errno : 0;
        } while (*code == -EINTR);
        if (*code == 0)
                return true;
        if (*code == -EOPNOTSUPP || *code == -ENOSYS || *code == -EINVAL || *code == -EPERM) {
                store_relaxed(&is_missing, 1);
                return false;
        }
        return true;
}

/* Writes with SIGPIPE blocked, and takes it back if this write raised it. */
static int write_masked(int fd, const struct offset_frame *frame)
{
        sigset_t pipe_signal, before, pending;
        bool was_pending;
        int code;

        sigemptyset(&pipe_signal);
        sigaddset(&pipe_signal, SIGPIPE);
        sigpending(&pending);
        was_pending = sigismember(&pending, SIGPIPE);
        pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
        do {
                code = write(fd, frame, sizeof(*frame)) < 0 ? -errno : 0;
        } while (code == -EINTR);
        if (code == -EPIPE && !was_pending) {
                struct timespec now = {0, 0};

                while (sigtimedwait(&pipe_signal, NULL, &now) < 0 && errno == EINTR)
                        ;
        }
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return code;
}

static int send_frame(int fd, const struct offset_frame *frame)
{
        int code;

        do {
                code = send(fd, frame, sizeof(*frame), MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno
                                                                                        : 0;
        } while (code == -EINTR);
        return code;
}

/* False: the kernel had no memory for it, so it has to be written again. */
static bool write_frame(struct channel *channel, const struct offset_frame *frame)
{
        int code;

        if (channel->fd < 0)
                return true;
        if (channel->is_socket)
                code = send_frame(channel->fd, frame);
        else if (!write_nosignal(channel->fd, frame, &code))
                code = write_masked(channel->fd, frame);
        /* Full: it has frames enough to wake up by. Broken: it is dead, and the broker will say so;
         * until then there is nobody to wake. */
        if (code == -EPIPE || code == -ECONNRESET)
                fd_close(&channel->fd);
        return code != -ENOMEM && code != -ENOBUFS;
}

/* P4 for one member. */
static void ring_member(struct doorbell *doorbell, struct member *member, uint64_t chunk_offset,
                        uint64_t sequence)
{
        /* ACQUIRE: not older than the board's counter that was read before (A1, A2). */
        uint64_t armed = load_acquire(member->armed), units = chunk_offset / 64;
        struct offset_frame frame = {.publisher = doorbell->tag,
                                     .offset = units < UINT32_MAX ? (uint32_t)units : UINT32_MAX,
                                     .sequence = sequence};

        if (armed % 2 == 0 || armed == member->answered || member->is_leaving)
                return;
        if (write_frame(member->channel, &frame))
                member->answered = armed;
        else
                member->board->seen--; /* the next publish finds it moved, and tries again */
}

/* P3 and P4. True if a board had moved. */
static bool look_at_boards(struct doorbell *doorbell, uint64_t chunk_offset, uint64_t sequence)
{
        bool moved = false;

        list_for_each (&doorbell->boards, link) {
                struct watched_board *board = list_entry(link, struct watched_board, link);
                /* ACQUIRE: who has bumped it has armed before. Partner: doorbell_bump(). */
                uint64_t counter = load_acquire(board->counter);

                if (counter == board->seen)
                        continue;
                moved = true;
                board->seen = counter;
                for (uint32_t i = 0; i < doorbell->n_members; i++)
                        if (doorbell->members[i]->board == board)
                                ring_member(doorbell, doorbell->members[i], chunk_offset, sequence);
        }
        return moved;
}

static void set_mode(struct doorbell *doorbell, bool asym)
{
        doorbell->is_asym = asym;
        doorbell->quiet = 0;
        /*
         * RELEASE: who reads FENCE here sees every commit that was made without one. Partner: the
         * ACQUIRE in subscriber_wants_membarrier().
         */
        store_release(doorbell->fence_mode, asym ? FENCE_MODE_ASYM : FENCE_MODE_FENCE);
}

static void go_asym(struct doorbell *doorbell, uint64_t chunk_offset, uint64_t sequence)
{
        set_mode(doorbell, true);
        /* FENCE: who has read FENCE, and so sleeps without membarrier, has bumped before this look.
         * Partner: doorbell_bump(). */
        fence_seq_cst();
        if (look_at_boards(doorbell, chunk_offset, sequence))
                set_mode(doorbell, false);
}

bool doorbell_after_commit(struct doorbell *doorbell, uint64_t chunk_offset, uint64_t sequence)
{
        if (doorbell->is_asym)
                fence_compiler(); /* P2 is done by who arms, with membarrier (A3) */
        else
                fence_seq_cst(); /* P2: commit before the look at the boards. Partner: A2 */
        if (look_at_boards(doorbell, chunk_offset, sequence)) {
                if (doorbell->is_asym)
                        set_mode(doorbell, false);
                doorbell->quiet = 0;
                return true;
        }
        if (!doorbell->is_asym && doorbell->may_asym && ++doorbell->quiet >= QUIET_COMMITS)
                go_asym(doorbell, chunk_offset, sequence);
        return false;
}

void doorbell_allow_asym(struct doorbell *doorbell, bool allowed, uint64_t sequence)
{
        doorbell->may_asym = allowed;
        if (allowed || !doorbell->is_asym)
                return;
        set_mode(doorbell, false);
        /* FENCE: the member that forbids it arms without membarrier from now on; one that armed
         * before is found by this look. Partner: doorbell_bump(). */
        fence_seq_cst();
        look_at_boards(doorbell, 0, sequence);
}

int doorbell_attach(struct doorbell *doorbell, struct member *member, uint64_t next)
{
        if (doorbell->n_members == doorbell->n_room) {
                uint32_t room = doorbell->n_room ? doorbell->n_room * 2 : 8;
                struct member **members =
                        realloc(doorbell->members, room * sizeof(struct member *));

                if (!members)
                        return error_system(-ENOMEM, "a subscriber");
                doorbell->members = members;
                doorbell->n_room = room;
        }
        doorbell->members[doorbell->n_members++] = member;
        /*
         * It may have armed before it was known here, and then its board need not move again. The
         * board's counter was read before (doorbell_watch(), or the scan that set `seen`), so an
         * arming that this look misses moves it. FENCE: commits come before this look, as at P2.
         */
        fence_seq_cst();
        ring_member(doorbell, member, 0, next - 1);
        return 0;
}

void doorbell_move(struct doorbell *doorbell, struct member *member, struct watched_board *board,
                   uint64_t next)
{
        doorbell_unwatch(member->board);
        member->board = board;
        /* As in doorbell_attach(): the new board's counter was read before. */
        fence_seq_cst();
        ring_member(doorbell, member, 0, next - 1);
}

void doorbell_detach(struct doorbell *doorbell, struct member *member)
{
        for (uint32_t i = 0; i < doorbell->n_members; i++) {
                if (doorbell->members[i] != member)
                        continue;
                doorbell->members[i] = doorbell->members[--doorbell->n_members];
                break;
        }
        if (!doorbell->n_members) {
                free(doorbell->members);
                doorbell->members = NULL;
                doorbell->n_room = 0;
        }
}

/* ---- the subscriber's side -------------------------------------------------------------- */

void doorbell_bump(struct list *boards)
{
        list_for_each (boards, link) {
                struct bumped_board *board = list_entry(link, struct bumped_board, link);

                /*
                 * A2. SEQ_CST: the armed word (A1) is visible before, the looks at modes and rings
                 * (A3, A4) come after. Partners: look_at_boards(), go_asym(), doorbell_watch().
                 */
                increment_seq_cst(&((struct board *)board->memory.base)->counter);
        }
        fence_seq_cst();
}

void doorbell_membarrier(void)
{
        membarrier(MEMBARRIER_CMD_GLOBAL_EXPEDITED);
}
