/* SPDX-License-Identifier: Apache-2.0 */
/*
 * confine-calls.c - the system calls that a serving broker makes, and what becomes of all others.
 *
 *   allowed            what the broker, libuv and the C library were seen to use under the whole
 *                      test suite, and what other versions of the two use in its place
 *   allowed as far as  the same, with an argument: no open for writing, no executable memory, no
 *                      signal to others, no new process
 *   deadly             what no honest broker ever calls, in any version of any library: starting
 *                      programs, looking into other processes, changing the system. Who gets there
 *                      is no longer the broker, so it ends, and the kernel's log says by what
 *   everything else    does not exist (ENOSYS). Libraries know that answer from old kernels, and go
 *                      on in another way; so one that is newer than this table costs nobody his
 *                      broker
 *
 * io_uring is refused before there is a loop: a ring that exists does by itself what this table
 * forbids, and newer versions of libuv make one where they can.
 */
#include "confine-calls.h"

#ifndef HAVE_SECCOMP

int calls_begin(void)
{
        return 0;
}

int calls_confine(const char **lack)
{
        *lack = "built without libseccomp";
        return 0;
}

#else

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* Linux 6.16 */
#endif

#define NO_SUCH_CALL SCMP_ACT_ERRNO(ENOSYS)

#define CLONE_NAMESPACES                                                               \
        (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | \
         CLONE_NEWPID | CLONE_NEWNET)

/* Names that this kernel's architecture or this libseccomp doesn't have are passed over. */
static const char *const allowed[] = {
        /* The loop: waiting, and waking itself. */
        "epoll_wait", "epoll_pwait", "epoll_pwait2", "epoll_ctl", "eventfd2", "pipe2", "poll",
        "ppoll", "read", "write", "restart_syscall",
        /* Clients: they come, talk and go. */
        "accept4", "recvmsg", "sendmsg", "getsockopt", "shutdown", "close", "pidfd_open",
        /* Memory for them; what they pass is looked at. */
        "memfd_create", "fallocate", "munmap", "madvise", "fstat", "newfstatat", "statx", "lseek",
        "pread64",
        /* Fences for publishers that leave them out. */
        "membarrier",
        /* The end: the socket is looked at and removed under a lock. */
        "flock", "lstat", "unlink", "unlinkat", "exit", "exit_group",
        /* Who am I: for messages, locks, and signals to oneself. */
        "getpid", "gettid", "getuid", "geteuid", "getgid", "getegid", "uname",
        /* Signals. */
        "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack",
        /* The C library: the heap, locks, the closer's thread, clocks where there is no vDSO, the
         * message of an assertion. */
        "brk", "mremap", "futex", "getrandom", "sched_getaffinity", "sched_yield",
        "set_robust_list", "rseq", "clock_gettime", "gettimeofday", "writev"};

/* Allowed where (argument & mask) == value. */
static const struct condition {
        const char *call;
        unsigned argument;
        uint64_t mask, value;
} conditions[] = {
        /* Names of processes, a board once more: nothing is written, nothing made. */
        {"openat", 2, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY},
        {"open", 1, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY},
        /* Memory is never code. */
        {"mmap", 2, PROT_EXEC, 0},
        {"mprotect", 2, PROT_EXEC, 0},
        /* The closer, and nothing but threads. Of clone3 a filter can't see the flags: it doesn't
         * exist, and libraries use clone. */
        {"clone", 0, CLONE_THREAD | CLONE_NAMESPACES, CLONE_THREAD},
        /* A board is closed for everybody. */
        {"fchmod", 1, 0xffff, 0},
        /* Wake channels between users. */
        {"socketpair", 0, 0xffffffff, AF_UNIX},
        {"setsockopt", 2, 0xffffffff, SO_PASSRIGHTS},
        {"setsockopt", 2, 0xffffffff, SO_OOBINLINE},
        /* A socket that is drained tells empty packets from its end. */
        {"setsockopt", 2, 0xffffffff, SO_PASSCRED},
        /* Foreign sockets are closed without waiting for their peers. */
        {"setsockopt", 2, 0xffffffff, SO_LINGER},
        /* libuv makes descriptors nonblocking. */
        {"ioctl", 1, 0xffffffff, FIONBIO},
        {"ioctl", 1, 0xffffffff, FIOCLEX},
        {"fcntl", 1, 0xffffffff, F_GETFL},
        {"fcntl", 1, 0xffffffff, F_SETFL},
        {"fcntl", 1, 0xffffffff, F_GETFD},
        {"fcntl", 1, 0xffffffff, F_SETFD},
        /* Seals are looked at and set; a client's pipe is known by its size. */
        {"fcntl", 1, 0xffffffff, F_GET_SEALS},
        {"fcntl", 1, 0xffffffff, F_ADD_SEALS},
        {"fcntl", 1, 0xffffffff, F_GETPIPE_SZ},
        /* Limits are looked at, not set. */
        {"prlimit64", 2, UINT64_MAX, 0},
};

static const char *const deadly[] = {
        /* Programs. */
        "execve", "execveat", "fork", "vfork",
        /* Other processes. */
        "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd",
        "pidfd_send_signal", "kcmp",
        /* The file system, and views of it. */
        "mount", "umount2", "fsopen", "fsmount", "move_mount", "open_tree", "pivot_root", "chroot",
        "unshare", "setns", "open_by_handle_at",
        /* Users. */
        "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups", "capset",
        /* The kernel, and doors into it. */
        "bpf", "perf_event_open", "userfaultfd", "keyctl", "add_key", "request_key", "init_module",
        "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "swapon",
        "swapoff", "iopl", "ioperm", "modify_ldt", "settimeofday", "clock_settime", "sethostname",
        "quotactl", "acct", "syslog"};

static int add(scmp_filter_ctx filter, uint32_t action, const char *name,
               const struct scmp_arg_cmp *comparison)
{
        int number = seccomp_syscall_resolve_name(name);

        /* Below zero: none, or one of another architecture. */
        if (number < 0)
                return 0;
        return seccomp_rule_add_array(filter, action, number, comparison ? 1 : 0, comparison);
}

static int add_condition(scmp_filter_ctx filter, const struct condition *condition)
{
        struct scmp_arg_cmp comparison = {.arg = condition->argument,
                                          .op = SCMP_CMP_MASKED_EQ,
                                          .datum_a = condition->mask,
                                          .datum_b = condition->value};

        return add(filter, SCMP_ACT_ALLOW, condition->call, &comparison);
}

/* abort(), whatever one may catch: a signal to oneself. */
static int add_suicide(scmp_filter_ctx filter)
{
        static const char *const calls[] = {"kill", "tgkill"};
        int code = 0;

        for (size_t i = 0; code == 0 && i < ARRAY_SIZE(calls); i++)
                code = add_condition(
                        filter, &(struct condition){calls[i], 0, 0xffffffff, (uint64_t)getpid()});
        return code;
}

static int add_rules(scmp_filter_ctx filter)
{
        int code = add_suicide(filter);

        for (size_t i = 0; code == 0 && i < ARRAY_SIZE(allowed); i++)
                code = add(filter, SCMP_ACT_ALLOW, allowed[i], NULL);
        for (size_t i = 0; code == 0 && i < ARRAY_SIZE(conditions); i++)
                code = add_condition(filter, &conditions[i]);
        for (size_t i = 0; code == 0 && i < ARRAY_SIZE(deadly); i++)
                code = add(filter, SCMP_ACT_KILL_PROCESS, deadly[i], NULL);
        return code;
}

static int add_no_rings(scmp_filter_ctx filter)
{
        return add(filter, NO_SUCH_CALL, "io_uring_setup", NULL);
}

/* Puts a filter in force, for all threads. */
static int load(uint32_t otherwise, int (*add_all)(scmp_filter_ctx filter))
{
        scmp_filter_ctx filter = seccomp_init(otherwise);
        int code;

        if (!filter)
                return -ENOMEM;
        /* Calls of another architecture would be read with the wrong table. */
        code = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
        if (code == 0)
                code = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
        /* A tree: where the kernel keeps no table of what is always allowed, each call walks it. */
        if (code == 0)
                code = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
        if (code == 0) /* the kernel's own errors */
                code = seccomp_attr_set(filter, SCMP_FLTATR_API_SYSRAWRC, 1);
        if (code == 0)
                code = add_all(filter);
        if (code == 0)
                code = seccomp_load(filter);
        seccomp_release(filter);
        return code;
}

static bool is_there(void)
{
        uint32_t action = SCMP_ACT_KILL_PROCESS;

        return syscall(SYS_seccomp, 2 /* SECCOMP_GET_ACTION_AVAIL */, 0, &action) == 0;
}

int calls_begin(void)
{
        return is_there() ? load(SCMP_ACT_ALLOW, add_no_rings) : 0;
}

int calls_confine(const char **lack)
{
        if (is_there())
                return load(NO_SUCH_CALL, add_rules);
        *lack = "no seccomp filters (Linux 4.14)";
        return 0;
}

#endif
