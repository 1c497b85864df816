/* SPDX-License-Identifier: Apache-2.0 */
/* attempts.c - what a broker has no business to do, and a little of what it must. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "attempts.h"
#include "harness.h"

static char others_file[96], others_directory[96]; /* not the socket's */
static pid_t other;

/* ---- below 0 and errno if it can't be done ----------------------------------------------- */

static long read_a_file(void)
{
        return open("/etc/passwd", O_RDONLY | O_CLOEXEC);
}

static long read_a_directory(void)
{
        return open("/etc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static long read_what_another_process_has(void)
{
        char path[32];

        snprintf(path, sizeof(path), "/proc/%d/environ", other);
        return open(path, O_RDONLY | O_CLOEXEC);
}

static long use_a_device(void)
{
        return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static long write_a_file(void)
{
        return open(others_file, O_WRONLY | O_CLOEXEC);
}

/* The directory of the socket is no exception. */
static long make_a_file(void)
{
        char path[128];

        snprintf(path, sizeof(path), "%s/shmd/new", broker.directory);
        return open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) < 0 ? -1 : unlink(path);
}

static long remove_a_file(void)
{
        return unlink(others_file);
}

static long remove_a_directory(void)
{
        return rmdir(others_directory);
}

static long make_a_directory(void)
{
        char path[128];

        snprintf(path, sizeof(path), "%s-new", others_directory);
        return mkdir(path, 0700) < 0 ? -1 : rmdir(path);
}

static long rename_a_file(void)
{
        return rename(others_file, others_file);
}

static long link_a_file(void)
{
        char path[128];

        snprintf(path, sizeof(path), "%s-link", others_file);
        return symlink(others_file, path) < 0 ? -1 : unlink(path);
}

static long truncate_a_file(void)
{
        return truncate(others_file, 0);
}

static long change_a_mode(void)
{
        return chmod(others_file, 0640);
}

static long change_an_open_files_mode(void)
{
        return fchmod(memfd_create("mode", MFD_CLOEXEC), 0777);
}

static long reach_the_network(void)
{
        return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static long reach_the_kernels_own_network(void)
{
        return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0);
}

static long connect_elsewhere(void)
{
        struct sockaddr_un name = {.sun_family = AF_UNIX};
        int fds[2], fd;

        must_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        strcpy(name.sun_path, broker.socket);
        return fd < 0 ? connect(fds[0], (struct sockaddr *)&name, sizeof(name))
                      : connect(fd, (struct sockaddr *)&name, sizeof(name));
}

static long filter_packets(void)
{
        struct sock_filter all[] = {BPF_STMT(BPF_RET | BPF_K, ~0U)};
        struct sock_fprog program = {.len = 1, .filter = all};
        int fds[2];

        must_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        return setsockopt(fds[0], SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

static long run_a_program(void)
{
        return execl("/bin/true", "true", NULL);
}

static long start_a_process(void)
{
        pid_t pid = fork();

        if (pid == 0)
                _exit(0);
        return pid;
}

static long signal_another_process(void)
{
        return kill(other, 0);
}

static long signal_another_thread(void)
{
        return syscall(SYS_tgkill, other, other, 0);
}

static long be_traced(void)
{
        return ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static long read_a_process(void)
{
        char from = 'a', to;
        struct iovec local = {&to, 1}, remote = {&from, 1};

        return process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
}

static long make_code(void)
{
        void *page = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        return page == MAP_FAILED ? -1 : 0;
}

static long make_memory_code(void)
{
        void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        return mprotect(page, 4096, PROT_READ | PROT_EXEC);
}

static long set_a_limit(void)
{
        struct rlimit limit = {0, 0};

        return setrlimit(RLIMIT_CORE, &limit);
}

static long set_an_attribute(void)
{
        return prctl(PR_SET_NAME, "somebody", 0, 0, 0);
}

static long make_a_ring(void)
{
        char parameters[120] = {0};

        return syscall(SYS_io_uring_setup, 1, parameters);
}

/* A number that means another call in a table for 64-bit programs. */
static long call_by_another_table(void)
{
#ifdef __x86_64__
        return syscall(0x40000000 | SYS_getpid); /* x32 */
#else
        return raise(SIGSYS);
#endif
}

static long mount_something(void)
{
        return mount("none", "/", NULL, MS_REMOUNT | MS_BIND, NULL);
}

static long leave_a_namespace(void)
{
        return unshare(CLONE_FILES);
}

static long change_the_user(void)
{
        return setuid(getuid());
}

static long use_bpf(void)
{
        return syscall(SYS_bpf, 0, NULL, 0);
}

static long use_a_keyring(void)
{
        return syscall(SYS_keyctl, 0, -1, 0, 0, 0);
}

static long catch_page_faults(void)
{
        return syscall(SYS_userfaultfd, O_CLOEXEC);
}

static long name_myself(void)
{
        return open("/proc/self/comm", O_RDONLY | O_CLOEXEC);
}

static long name_another_process(void)
{
        char path[32];

        snprintf(path, sizeof(path), "/proc/%d/comm", other);
        return open(path, O_RDONLY | O_CLOEXEC);
}

static void *do_nothing(void *argument)
{
        return argument;
}

static long start_a_thread(void)
{
        pthread_t thread;

        return pthread_create(&thread, NULL, do_nothing, NULL) ? -1 : pthread_join(thread, NULL);
}

static long remove_the_socket(void)
{
        char path[80];
        int fd;

        snprintf(path, sizeof(path), "%s/shmd", broker.directory);
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        snprintf(path, sizeof(path), "%s/shmd/old", broker.directory);
        return fd < 0 ? -1 : unlink(path);
}

static long give_up(void)
{
        abort();
}

/* ---- all of them ------------------------------------------------------------------------- */

const struct attempt attempts[] = {
        {"read a file", read_a_file, REFUSED, FILES, POSSIBLE},
        {"read a directory", read_a_directory, REFUSED, FILES, POSSIBLE},
        {"read what another process has", read_what_another_process_has, REFUSED, FILES, POSSIBLE},
        {"use a device", use_a_device, REFUSED, FILES, POSSIBLE},
        {"write a file", write_a_file, REFUSED, EITHER, POSSIBLE},
        {"make a file", make_a_file, REFUSED, EITHER, POSSIBLE},
        {"remove a file", remove_a_file, REFUSED, FILES, POSSIBLE},
        {"remove a directory", remove_a_directory, REFUSED, EITHER, POSSIBLE},
        {"make a directory", make_a_directory, REFUSED, EITHER, POSSIBLE},
        {"rename a file", rename_a_file, REFUSED, CALLS, POSSIBLE},
        {"link a file", link_a_file, REFUSED, EITHER, POSSIBLE},
        {"truncate a file", truncate_a_file, REFUSED, CALLS, POSSIBLE},
        {"change a mode", change_a_mode, REFUSED, CALLS, POSSIBLE},
        {"change an open file's mode", change_an_open_files_mode, REFUSED, CALLS, POSSIBLE},
        {"reach the network", reach_the_network, REFUSED, CALLS, POSSIBLE},
        {"reach the kernel's network", reach_the_kernels_own_network, REFUSED, CALLS, POSSIBLE},
        {"connect elsewhere", connect_elsewhere, REFUSED, CALLS, POSSIBLE},
        {"filter packets", filter_packets, REFUSED, CALLS, POSSIBLE},
        {"run a program", run_a_program, DEADLY, CALLS, POSSIBLE},
        {"start a process", start_a_process, REFUSED, CALLS, POSSIBLE},
        {"signal another process", signal_another_process, REFUSED, CALLS, POSSIBLE},
        {"signal another thread", signal_another_thread, REFUSED, CALLS, POSSIBLE},
        {"make code", make_code, REFUSED, CALLS, POSSIBLE},
        {"make memory code", make_memory_code, REFUSED, CALLS, POSSIBLE},
        {"set a limit", set_a_limit, REFUSED, CALLS, POSSIBLE},
        {"set an attribute", set_an_attribute, REFUSED, CALLS, POSSIBLE},
        {"leave a namespace", leave_a_namespace, DEADLY, CALLS, POSSIBLE},
        {"change the user", change_the_user, DEADLY, CALLS, POSSIBLE},
        /* Not everywhere possible for everybody. */
        {"be traced", be_traced, DEADLY, CALLS, FAILED},
        {"read a process", read_a_process, DEADLY, CALLS, FAILED},
        {"make a ring", make_a_ring, REFUSED, CALLS, FAILED},
        {"call by another table", call_by_another_table, DEADLY, CALLS, FAILED},
        {"mount something", mount_something, DEADLY, CALLS, FAILED},
        {"use BPF", use_bpf, DEADLY, CALLS, FAILED},
        {"use a keyring", use_a_keyring, DEADLY, CALLS, FAILED},
        {"catch page faults", catch_page_faults, DEADLY, CALLS, FAILED},
        /* What a broker needs. */
        {"name itself", name_myself, POSSIBLE, NEITHER, POSSIBLE},
        {"name another process", name_another_process, POSSIBLE, NEITHER, POSSIBLE},
        {"start a thread", start_a_thread, POSSIBLE, NEITHER, POSSIBLE},
        {"remove the socket", remove_the_socket, POSSIBLE, NEITHER, POSSIBLE},
        {"give up", give_up, ABORTED, NEITHER, ABORTED},
};

const size_t n_attempts = N_ELEMENTS(attempts);

void attempts_init(pid_t process)
{
        other = process;
        snprintf(others_file, sizeof(others_file), "%s/file", broker.directory);
        snprintf(others_directory, sizeof(others_directory), "%s/directory", broker.directory);
}

static void make_file(const char *path)
{
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

        must(fd >= 0);
        close(fd);
}

void attempts_make_files(void)
{
        char path[80];

        snprintf(path, sizeof(path), "%s/shmd/old", broker.directory);
        make_file(path);
        make_file(others_file);
        must(mkdir(others_directory, 0700) == 0 || errno == EEXIST);
}

void attempts_remove_files(void)
{
        char path[80];

        snprintf(path, sizeof(path), "%s/shmd/old", broker.directory);
        unlink(path);
        unlink(others_file);
        rmdir(others_directory);
}
