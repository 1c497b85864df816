/* SPDX-License-Identifier: Apache-2.0 */
/*
 * confine.c - gives up capabilities, files, and the rest.
 *
 *   no new privileges   so that what follows needs no right; programs are refused anyway
 *   capabilities        all but one: the socket is bound, limits are raised, and brokers of
 * ordinary users show that what comes later needs none looking inside      with users other than
 * its own to serve: no ptrace, no core file files (Landlock)    but for names of processes, and at
 * the end the socket: allow_files(). Memory of clients has no path, so it is not concerned system
 * calls        confine-calls.c
 *
 * Part of this holds only for the calling thread and those that it starts, so it has to be alone.
 *
 * What a kernel or a build doesn't have is left out, and named. Anything else that goes wrong is an
 * error: a broker that is confined by luck is not.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "confine-calls.h"
#include "confine.h"

#ifdef CONFINE_INSTRUMENTED

int confine_begin(void)
{
        return 0;
}

int confine(const char *socket, bool serves_others, char text[static CONFINE_TEXT_SIZE])
{
        snprintf(text, CONFINE_TEXT_SIZE,
                 "all: built with a sanitizer or for coverage, which need "
                 "other files and system calls");
        return 0;
}

#else

/* ---- what is missing, and what went wrong ----------------------------------------------- */

__attribute__((format(printf, 2, 3))) static void add_lack(char text[static CONFINE_TEXT_SIZE],
                                                           const char *format, ...)
{
        size_t length = strlen(text);
        va_list arguments;

        if (length && length < CONFINE_TEXT_SIZE)
                length += (size_t)snprintf(text + length, CONFINE_TEXT_SIZE - length, "; ");
        if (length >= CONFINE_TEXT_SIZE)
                return;
        va_start(arguments, format);
        vsnprintf(text + length, CONFINE_TEXT_SIZE - length, format, arguments);
        va_end(arguments);
}

static int fail(char text[static CONFINE_TEXT_SIZE], int code, const char *what)
{
        snprintf(text, CONFINE_TEXT_SIZE, "%s: %s", what, strerrordesc_np(-code));
        return code;
}

/* ---- rights ------------------------------------------------------------------------------ */

/* True as well where nothing is known. */
static bool is_only_thread(void)
{
        struct stat status;

        /* A directory has two links, and one for each directory in it. */
        return stat("/proc/self/task", &status) < 0 || status.st_nlink <= 3;
}

/*
 * All but one, if it is there: the kernel counts descriptors in flight for each user, and with this
 * one does not refuse the broker's introductions because of what others of its user (root of a
 * container may be one) have on their way.
 */
static int give_up_capabilities(void)
{
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct had[_LINUX_CAPABILITY_U32S_3] = {0};
        struct __user_cap_data_struct keep[_LINUX_CAPABILITY_U32S_3] = {0};

        if (syscall(SYS_capget, &header, had) < 0)
                return -errno;
        keep[0].permitted = had[0].permitted & (1U << CAP_SYS_RESOURCE);
        keep[0].effective = keep[0].permitted;
        return syscall(SYS_capset, &header, keep) < 0 ? -errno : 0;
}

/* ---- files ------------------------------------------------------------------------------- */

/* The kernel's, as of Linux 6.12: headers are often older than the kernel. */
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule       445
#define SYS_landlock_restrict_self  446
#endif
#define LANDLOCK_VERSION (1U << 0) /* flag of create_ruleset: say which version there is */
#define LANDLOCK_BENEATH 1         /* a rule for a file, or for a directory and what is in it */

#define FILES_READ_FILE   (UINT64_C(1) << 2)
#define FILES_READ_DIR    (UINT64_C(1) << 3)
#define FILES_REMOVE_FILE (UINT64_C(1) << 5)

struct landlock_ruleset {
        uint64_t files, network, scopes; /* what is refused where no rule allows it */
};

struct landlock_rule {
        uint64_t files;
        int32_t parent_fd;
} __attribute__((packed));

/* All that a version can refuse; what a later one adds must stay 0. */
static struct landlock_ruleset refuse_all(long version)
{
        struct landlock_ruleset all = {.files = (UINT64_C(1) << 13) - 1};

        if (version >= 2)
                all.files |= UINT64_C(1) << 13; /* links and renames between directories */
        if (version >= 3)
                all.files |= UINT64_C(1) << 14; /* truncate */
        if (version >= 4)
                all.network = 3; /* TCP: bind, connect */
        if (version >= 5)
                all.files |= UINT64_C(1) << 15; /* ioctl of devices */
        if (version >= 6)
                all.scopes = 3; /* abstract sockets and signals, of those who are not confined */
        return all;
}

/* What isn't there needs no rule. */
static int allow(int ruleset, const char *path, uint64_t files)
{
        struct landlock_rule rule = {.files = files, .parent_fd = open(path, O_PATH | O_CLOEXEC)};
        int code = 0;

        if (rule.parent_fd < 0)
                return errno == ENOENT ? 0 : -errno;
        if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_BENEATH, &rule, 0) < 0)
                code = -errno;
        close(rule.parent_fd);
        return code;
}

static int allow_files(int ruleset, const char *directory)
{
        /* Names of peers, /proc/PID/comm; a process that is confined is shown nothing there that
         * ptrace(2) would be needed for. */
        int code = allow(ruleset, "/proc", FILES_READ_FILE);

        /* Opened and locked while the socket is removed. */
        if (code == 0)
                code = allow(ruleset, directory, FILES_READ_DIR | FILES_REMOVE_FILE);
        return code;
}

static int confine_files(const char *directory, char text[static CONFINE_TEXT_SIZE])
{
        long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION);
        struct landlock_ruleset all = refuse_all(version);
        int ruleset, code;

        if (version < 0) {
                add_lack(text, "files: no Landlock (Linux 5.13): %s", strerrordesc_np(errno));
                return 0;
        }
        ruleset = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof(all), 0);
        if (ruleset < 0)
                return fail(text, -errno, "Landlock");
        code = allow_files(ruleset, directory);
        if (code == 0 && syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
                code = -errno;
        close(ruleset);
        return code < 0 ? fail(text, code, "Landlock") : 0;
}

/* ---- all of it --------------------------------------------------------------------------- */

int confine_begin(void)
{
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return -errno;
        return calls_begin();
}

int confine(const char *socket, bool serves_others, char text[static CONFINE_TEXT_SIZE])
{
        char directory[PATH_MAX];
        const char *lack = NULL;
        int code;

        *text = '\0';
        assert(is_only_thread());
        snprintf(directory, sizeof(directory), "%s", socket);
        code = give_up_capabilities();
        if (code < 0)
                return fail(text, code, "capabilities");
        if (serves_others && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
                return fail(text, -errno, "PR_SET_DUMPABLE");
        code = confine_files(dirname(directory), text);
        if (code < 0)
                return code;
        code = calls_confine(&lack);
        if (code < 0)
                return fail(text, code, "system calls");
        if (lack)
                add_lack(text, "system calls: %s", lack);
        return 0;
}

#endif
