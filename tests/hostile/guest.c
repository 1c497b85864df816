/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest.c - the library in programs that are not made for it: what it leaves as it was, and what it
 * does without.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <locale.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <shmd/broker.h>

#include "guest-life.h"
#include "harness.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

/* ---- descriptors ----------------------------------------------------------------------------- */

#define FDS_MAX 4096
static bool was_open[FDS_MAX]; /* before the library came, and so not its */

static bool closes_on_exec(int directory, const char *number)
{
        char text[256] = "";
        const char *flags;
        int fd = openat(directory, number, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

        if (fd >= 0)
                close(fd);
        flags = n > 0 ? strstr(text, "flags:") : NULL;
        /* Closed meanwhile: the directory's own. */
        return !flags || (strtoul(flags + strlen("flags:"), NULL, 8) & O_CLOEXEC);
}

/* Each descriptor that was not there before goes away with exec(); how many there are. */
static unsigned check_descriptors(pid_t pid, const char *after)
{
        char path[40];
        struct dirent *entry;
        unsigned n = 0;
        DIR *directory;

        snprintf(path, sizeof(path), "/proc/%d/fdinfo", pid);
        directory = opendir(path);
        must(directory);
        while ((entry = readdir(directory))) {
                int fd = atoi(entry->d_name);

                if (entry->d_name[0] == '.' || (fd < FDS_MAX && was_open[fd]))
                        continue;
                n++;
                if (closes_on_exec(dirfd(directory), entry->d_name))
                        continue;
                fprintf(stderr, "after %s process %d has a descriptor, %d, that exec() keeps\n",
                        after, pid, fd);
                must(!"all descriptors are closed on exec");
        }
        closedir(directory);
        return n;
}

static unsigned most_descriptors;

static void check_own_and_brokers(const char *call)
{
        unsigned n = check_descriptors(getpid(), call);

        if (n > most_descriptors)
                most_descriptors = n;
        check_descriptors(broker.pid, call);
}

static void look_at_each_call(void *argument)
{
        struct shmd *bus;

        (void)argument;
        must(guest_live(broker.socket, check_own_and_brokers));
        must(most_descriptors > 20); /* they were looked at */
        /* Without a broker there are others: a timer, and a look at the directory. */
        bus = broker_connect();
        say('r');
        hear('l');
        until(shmd_wait(bus, (int64_t)MS) == -ENOTCONN);
        must(check_descriptors(getpid(), "the broker's end") > 3);
        shmd_close(bus);
}

static void descriptors_are_closed_on_exec(void **state)
{
        struct role *role;

        /* What exec() has kept for this program it keeps for the broker. */
        for (int fd = 0; fd < FDS_MAX; fd++)
                was_open[fd] = fcntl(fd, F_GETFD) == 0;
        role = role_start("looks", look_at_each_call, NULL);
        role_await(role, 'r');
        broker_kill();
        role_tell(role, 'l');
        role_finish(role);
}

/* ---- what is the program's ------------------------------------------------------------------- */

struct manners {
        struct {
                void (*handler)(int number);
                int flags;
                uint64_t mask;
        } signals[65];
        sigset_t mask, pending;
        mode_t umask;
        char directory[256];
        char locale[256];
        struct rlimit limits[RLIM_NLIMITS];
        int flags[3]; /* of the standard descriptors */
        int dumpable;
        unsigned n_threads;
};

static unsigned count_threads(void)
{
        DIR *directory = opendir("/proc/self/task");
        unsigned n = 0;

        must(directory);
        while (readdir(directory))
                n++;
        closedir(directory);
        return n - 2; /* . and .. */
}

static void look_at_manners(struct manners *manners)
{
        memset(manners, 0, sizeof(*manners));
        for (int number = 1; number <= 64; number++) {
                struct sigaction action = {.sa_handler = SIG_DFL};

                sigaction(number, NULL, &action);
                manners->signals[number].handler = action.sa_handler;
                manners->signals[number].flags = action.sa_flags;
                memcpy(&manners->signals[number].mask, &action.sa_mask, sizeof(uint64_t));
        }
        sigprocmask(SIG_SETMASK, NULL, &manners->mask);
        sigpending(&manners->pending);
        manners->umask = umask(0);
        umask(manners->umask);
        must(getcwd(manners->directory, sizeof(manners->directory)));
        snprintf(manners->locale, sizeof(manners->locale), "%s", setlocale(LC_ALL, NULL));
        for (int i = 0; i < RLIM_NLIMITS; i++)
                getrlimit(i, &manners->limits[i]);
        for (int fd = 0; fd < 3; fd++)
                manners->flags[fd] = fcntl(fd, F_GETFL);
        manners->dumpable = prctl(PR_GET_DUMPABLE);
        manners->n_threads = count_threads();
}

static struct manners before;

static size_t first_difference(const void *one, const void *other, size_t size)
{
        size_t i = 0;

        while (i < size && ((const char *)one)[i] == ((const char *)other)[i])
                i++;
        return i;
}

static void check_manners(const char *call)
{
        struct manners now;

        look_at_manners(&now);
        if (memcmp(&now, &before, sizeof(now)) == 0)
                return;
        fprintf(stderr, "after %s the process is not what it was: byte %zu\n", call,
                first_difference(&before, &now, sizeof(now)));
        must(!"signals, mask, umask, directory, locale, limits, threads are as before");
}

static void live_with_manners(void *argument)
{
        int written = *(int *)argument, out = dup(1), err = dup(2);

        must(out >= 0 && err >= 0);
        dup2(written, 1);
        dup2(written, 2);
        umask(0123);
        must_equal(raise(SIGCHLD), 0);
        signal(SIGUSR1, SIG_IGN);
        look_at_manners(&before);
        must(guest_live(broker.socket, check_manners));
        /* With nothing but errors. */
        must(!guest_live("/nowhere/at/all", check_manners) || !"there is a broker nowhere");
        dup2(out, 1);
        dup2(err, 2);
        close(out);
        close(err);
}

static void process_is_left_as_it_was(void **state)
{
        char text[1024] = "";
        int output[2];
        ssize_t n;

        must_equal(pipe2(output, O_CLOEXEC | O_NONBLOCK), 0);
        role_finish(role_start("polite", live_with_manners, &output[1]));
        n = read(output[0], text, sizeof(text) - 1);
        must(n >= 0);
        close(output[0]);
        close(output[1]);
        /* What guest_live() itself says of the failure that was asked for, and no more. */
        must_say(text, "shmd_connect(&guest->mine", "after 0 samples");
        n = 0;
        for (const char *c = text; *c; c++)
                n += *c == '\n';
        must_equal(n, 2);
}

/* ---- circumstances --------------------------------------------------------------------------- */

static void live_without_standard_descriptors(void *argument)
{
        int kept[3];

        (void)argument;
        for (int fd = 0; fd < 3; fd++) {
                kept[fd] = fcntl(fd, F_DUPFD_CLOEXEC, 10);
                must(kept[fd] >= 0);
                close(fd);
        }
        must(guest_live(broker.socket, NULL));
        for (int fd = 0; fd < 3; fd++) {
                must_equal(fcntl(fd, F_GETFD), -1); /* none of ours is left there */
                dup2(kept[fd], fd);
                close(kept[fd]);
        }
}

static void standard_descriptors_may_be_closed(void **state)
{
        role_finish(role_start("closed", live_without_standard_descriptors, NULL));
}

static void broker_inside_a_program_may_lack_them_too(void **state)
{
        char path[96];
        struct shmd_broker_options options = {.size = sizeof(options), .socket = path};
        struct shmd_broker *inside;
        pid_t pid = child_fork();

        if (pid == 0) {
                snprintf(path, sizeof(path), "%s/inside", broker.directory);
                for (int fd = 0; fd < 3; fd++)
                        close(fd);
                if (shmd_broker_open(&inside, &options) < 0)
                        _exit(1);
                shmd_broker_close(inside);
                _exit(0);
        }
        must_equal(child_finish(pid), 0);
}

static bool is_served(void)
{
        struct shmd_connect_options options = {.size = sizeof(options), .socket = broker.socket};
        struct shmd *bus;

        if (shmd_connect(&bus, &options) < 0)
                return false;
        shmd_close(bus);
        return true;
}

/* Its log goes to standard error: where, without one, a client's socket would be. */
static void broker_without_standard_descriptors_keeps_sockets_clean(void **state)
{
        char path[48], target[64];
        pid_t pid;

        broker_terminate(SIGTERM);
        pid = child_fork();
        if (pid == 0) {
                for (int fd = 0; fd < 3; fd++)
                        close(fd);
                alarm(0);
                execl(SHMD_PROGRAM, SHMD_PROGRAM, "--socket", broker.socket, "--log-level", "debug",
                      NULL);
                _exit(127);
        }
        until(is_served());
        must(guest_live(broker.socket, NULL));
        for (int fd = 0; fd < 3; fd++) {
                ssize_t n;

                snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
                n = readlink(path, target, sizeof(target) - 1);
                must(n > 0);
                target[n] = '\0';
                must_say(target, "/dev/null");
        }
        must_equal(kill(pid, SIGTERM), 0);
        must_equal(child_finish(pid), 0);
        broker_spawn(NULL);
}

#define MANY_FDS 1200
static void live_with_high_descriptors(void *argument)
{
        struct rlimit limit;
        int lowest = open("/dev/null", O_RDONLY | O_CLOEXEC), last = lowest;

        (void)argument;
        must_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
        limit.rlim_cur = limit.rlim_max;
        must_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        while (last < MANY_FDS) {
                last = fcntl(lowest, F_DUPFD_CLOEXEC, 0);
                must(last >= 0);
        }
        must(guest_live(broker.socket, NULL));
        for (int fd = lowest; fd <= last; fd++)
                if (fcntl(fd, F_GETFD) >= 0 && fcntl(fd, F_GETFL) == (O_RDONLY | 0100000))
                        close(fd);
}

static void descriptors_may_be_above_1024(void **state)
{
        struct rlimit limit;

        must_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
        if (limit.rlim_max < MANY_FDS + 100)
                skip_because("no more than 1024 descriptors are allowed");
        role_finish(role_start("high", live_with_high_descriptors, NULL));
}

static void live_with_signals_blocked(void *argument)
{
        sigset_t all, now;

        (void)argument;
        sigfillset(&all);
        must_equal(pthread_sigmask(SIG_BLOCK, &all, NULL), 0);
        must_equal(raise(SIGPIPE), 0);
        must(guest_live(broker.socket, NULL));
        sigpending(&now);
        must(sigismember(&now, SIGPIPE));
        sigemptyset(&all);
        sigaddset(&all, SIGPIPE);
        sigwaitinfo(&all, NULL);
}

static void signals_may_be_blocked(void **state)
{
        role_finish(role_start("blocked", live_with_signals_blocked, NULL));
}

static void *live_in_thread(void *argument)
{
        return guest_live(broker.socket, NULL) ? argument : NULL;
}

static void live_on_a_small_stack(void *argument)
{
        pthread_attr_t attributes;
        pthread_t thread;
        void *result;
        bool well;

        (void)argument;
        must_equal(pthread_attr_init(&attributes), 0);
        must_equal(pthread_attr_setstacksize(&attributes, 64 << 10), 0);
        must_equal(pthread_create(&thread, &attributes, live_in_thread, &well), 0);
        must_equal(pthread_join(thread, &result), 0);
        must_equal(result == &well, true);
        pthread_attr_destroy(&attributes);
}

static void stack_may_be_small(void **state)
{
        if (HAVE_ASAN)
                skip_because("sanitizers make frames larger than that");
        role_finish(role_start("small", live_on_a_small_stack, NULL));
}

static void proc_may_be_missing(void **state)
{
        pid_t pid;

        if (geteuid() != 0)
                skip_because("only root can change the root directory");
        pid = child_fork();
        if (pid == 0) {
                if (chroot(broker.directory) < 0 || chdir("/") < 0)
                        _exit(3);
                _exit(!guest_live("/shmd/control", NULL) || access("/proc", F_OK) == 0);
        }
        must_equal(child_finish(pid), 0);
}

/* ---- filters --------------------------------------------------------------------------------- */

/* A system call that is refused; only with `mask` in argument `which`, or `value` there. */
struct refusal {
        long number;
        int error;
        unsigned which;
        uint32_t mask, value;
};

static const struct refusal refusals[] = {
        {SYS_membarrier, EPERM, 0, 0, 0},
        {SYS_membarrier, ENOSYS, 0, 0, 0},
        {SYS_memfd_create, EINVAL, 1, MFD_NOEXEC_SEAL, 0},
        {SYS_pidfd_open, ENOSYS, 0, 0, 0},
        {SYS_pidfd_open, EPERM, 0, 0, 0},
        {SYS_getsockopt, ENOPROTOOPT, 2, 0, SO_PEERPIDFD},
        {SYS_setsockopt, ENOPROTOOPT, 2, 0, SO_PASSRIGHTS},
        {SYS_getsockopt, ENOPROTOOPT, 2, 0, SO_PASSRIGHTS},
        {SYS_epoll_pwait2, ENOSYS, 0, 0, 0},
        {SYS_epoll_pwait2, EPERM, 0, 0, 0},
        {SYS_pwritev2, ENOSYS, 0, 0, 0},
        {SYS_pwritev2, EPERM, 0, 0, 0},
        {SYS_getrandom, ENOSYS, 0, 0, 0},
        {SYS_inotify_init1, EMFILE, 0, 0, 0},
        {SYS_inotify_init1, EPERM, 0, 0, 0},
        {SYS_timerfd_create, ENOSYS, 0, 0, 0},
        {SYS_timerfd_create, EPERM, 0, 0, 0},
        {SYS_madvise, EPERM, 0, 0, 0},
};

/* From here on this process, and all that it starts, is refused what the bits of `which` name. */
static void refuse(uint64_t which)
{
        struct sock_filter filter[8 * N_ELEMENTS(refusals) + 1];
        struct sock_fprog program = {.filter = filter};
        unsigned short n = 0;

        for (size_t i = 0; i < N_ELEMENTS(refusals); i++) {
                const struct refusal *refusal = &refusals[i];
                unsigned char rest = refusal->mask || refusal->value ? 3 : 1;

                if (!(which >> i & 1))
                        continue;
                filter[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                                           offsetof(struct seccomp_data, nr));
                filter[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
                                                           (uint32_t)refusal->number, 0, rest);
                if (rest == 3) {
                        filter[n++] = (struct sock_filter)BPF_STMT(
                                BPF_LD | BPF_W | BPF_ABS,
                                (uint32_t)offsetof(struct seccomp_data, args[0]) +
                                        8 * refusal->which);
                        filter[n++] = (struct sock_filter)BPF_JUMP(
                                BPF_JMP | (refusal->mask ? BPF_JSET : BPF_JEQ) | BPF_K,
                                refusal->mask ? refusal->mask : refusal->value, 0, 1);
                }
                filter[n++] = (struct sock_filter)BPF_STMT(
                        BPF_RET | BPF_K,
                        SECCOMP_RET_ERRNO | ((uint32_t)refusal->error & SECCOMP_RET_DATA));
        }
        filter[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
        program.len = n;
        must_equal(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        must_equal(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

/* libshmd-broker in this program, which has libshmd, too. */
static void serve_refused(void *argument)
{
        struct shmd_broker_options options = {.size = sizeof(options), .socket = broker.socket};
        struct shmd_broker *served;
        int code;

        refuse(*(const uint64_t *)argument);
        code = shmd_broker_open(&served, &options);
        if (code < 0)
                fprintf(stderr, "%s\n", shmd_broker_error());
        must_equal(code, 0);
        say('r');
        shmd_broker_run(served);
}

static struct role *start_refused_broker(uint64_t *which)
{
        struct role *role = role_start("broker", serve_refused, which);

        role_await(role, 'r');
        return role;
}

static void live_refused(void *argument)
{
        struct shmd *bus;

        refuse(*(const uint64_t *)argument);
        must(guest_live(broker.socket, NULL));
        bus = broker_connect();
        say('r');
        hear('l');
        /* And comes back to a broker that was exchanged. */
        must(guest_await_broker(bus));
        shmd_close(bus);
}

static void live_in_a_world_that_refuses(uint64_t which)
{
        struct role *broker_role = start_refused_broker(&which);
        struct role *role = role_start("refused", live_refused, &which);

        role_await(role, 'r');
        role_kill(broker_role);
        broker_role = start_refused_broker(&which);
        role_tell(role, 'l');
        role_finish(role);
        role_kill(broker_role);
}

static void what_is_optional_may_be_refused(void **state)
{
        /* Of these two ways to come by a pidfd the broker needs one. */
        uint64_t all = 0, open = 0, peer = 0;

        broker_terminate(SIGTERM);
        live_in_a_world_that_refuses(0);
        for (unsigned i = 0; i < N_ELEMENTS(refusals); i++) {
                uint64_t one = UINT64_C(1) << i;

                live_in_a_world_that_refuses(one);
                all |= one;
                if (refusals[i].number == SYS_pidfd_open)
                        open |= one;
                if (refusals[i].value == SO_PEERPIDFD)
                        peer |= one;
        }
        live_in_a_world_that_refuses(all & ~open);
        live_in_a_world_that_refuses(all & ~peer);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                system_test(descriptors_are_closed_on_exec),
                system_test(process_is_left_as_it_was),
                system_test(standard_descriptors_may_be_closed),
                system_test(broker_inside_a_program_may_lack_them_too),
                system_test(broker_without_standard_descriptors_keeps_sockets_clean),
                system_test(descriptors_may_be_above_1024),
                system_test(signals_may_be_blocked),
                system_test(stack_may_be_small),
                system_test(proc_may_be_missing),
                system_test(what_is_optional_may_be_refused),
        };

        harness_init(argc, argv);
        return cmocka_run_group_tests_name("hostile-guest", tests, NULL, NULL);
}
