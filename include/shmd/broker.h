/* SPDX-License-Identifier: Apache-2.0 */
/*
 * broker.h - the broker inside a program of your own: for tests, demonstrations, and programs
 * that want no daemon beside them. Link with libshmd-broker (shmd-broker.pc).
 *
 *     struct shmd_broker_options options = {.size = sizeof(options), .socket = "/tmp/my/control"};
 *     shmd_broker_open(&broker, &options);
 *     shmd_broker_run(broker);          // until shmd_broker_stop(), from any thread or handler
 *     shmd_broker_close(broker);
 *
 * Everything but shmd_broker_stop() belongs to the one thread that runs the loop. Errors are
 * negative errno values; shmd_broker_error() has the text of the last one on this thread.
 */
#ifndef SHMD_BROKER_H
#define SHMD_BROKER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define SHMD_BROKER_EXPORT __attribute__((visibility("default")))
#else
#define SHMD_BROKER_EXPORT
#endif

struct uv_loop_s;
struct shmd_broker;

enum shmd_log_level {
        SHMD_LOG_ERROR = 0,
        SHMD_LOG_WARNING = 1,
        SHMD_LOG_INFO = 2,
        SHMD_LOG_DEBUG = 3,
};

/** One line of log, without newline. */
typedef void (*shmd_log_callback)(void *user, int level, const char *text);

/** As a field of struct shmd_quota: no limit. */
#define SHMD_NO_LIMIT UINT64_MAX

/**
 * What each user may have at a broker at a time. Root and the broker's own user are not limited.
 * Zero fields mean the default.
 */
struct shmd_quota {
        uint64_t sessions; /**< connections; default 256. Those that have ended count as long as a
                                living process may still hold samples through them */
        uint64_t services; /**< names that it publishes or reads; default 1024 */
        uint64_t segments; /**< publishers, and control blocks of subscribers; default 1024 */
        uint64_t bytes;    /**< of these; default half of the machine's memory */
        uint64_t subscriptions; /**< default 1024; those that have ended count likewise */
        uint64_t pairs;         /**< of a publisher and a subscriber that it has brought together by
                                     joining; default 65536 */
        uint64_t introductions; /**< unread; default 1024, or those whose descriptors are an eighth
                                     of what the broker may have open, if they are fewer */
        uint64_t connects;      /**< a second, after as many at once as `sessions`, if that is more;
                                     default 100 */
        uint64_t seats; /**< percent of a publisher's max_subscribers that one user other than
                             the publisher's may take; default 75, at least one seat */
};

struct shmd_broker_options {
        uint32_t size;      /**< sizeof the struct; zero fields mean the default */
        uint32_t n_uids;    /**< length of `uids` */
        const char *socket; /**< where to listen; required. Its directory is made if missing */
        /** Users that may connect besides root and the broker's own. */
        const uint32_t *uids;
        /** The caller's loop; then shmd_broker_run() is not used. Default NULL: its own. */
        struct uv_loop_s *loop;
        shmd_log_callback log; /**< default NULL: silent */
        void *user;            /**< passed to `log` */
        struct shmd_quota quota;
};

/**
 * Reads limits as `shmd --quota` has them: KIND=N, several separated by commas. The kinds are the
 * fields of the struct; N is a number, for bytes with K, M, G or T behind it if one likes, or
 * "none". Fields that are not named stay as they are.
 * @return 0; -EINVAL, with a text that says what was wrong.
 */
SHMD_BROKER_EXPORT int shmd_broker_quota_read(struct shmd_quota *quota, const char *text);

/**
 * Starts to listen. A socket left by a broker that crashed is replaced; one that is served by a
 * living broker is not.
 * @return 0 and *broker; -EADDRINUSE: another broker is there (the text says which process);
 *         -EEXIST: something stands there that is no broker's socket; -EBUSY: another broker is
 *         starting or stopping in the directory; -ENAMETOOLONG, -EACCES, -ENOENT, -EINVAL, -E2BIG;
 *         -EMFILE, -ENFILE, -ENOMEM.
 */
SHMD_BROKER_EXPORT int shmd_broker_open(struct shmd_broker **broker,
                                        const struct shmd_broker_options *options);

/** Serves until shmd_broker_stop(). @return 0; -EINVAL: it uses the caller's loop. */
SHMD_BROKER_EXPORT int shmd_broker_run(struct shmd_broker *broker);

/** Makes shmd_broker_run() return. From any thread, or a signal handler. */
SHMD_BROKER_EXPORT void shmd_broker_stop(struct shmd_broker *broker);

/** Ends all sessions, removes the socket, frees everything. NULL is allowed. With the caller's
 *  loop the handles are closed by the loop's next turn, which must still come. */
SHMD_BROKER_EXPORT void shmd_broker_close(struct shmd_broker *broker);

/** The text of the last call that failed on this thread. */
SHMD_BROKER_EXPORT const char *shmd_broker_error(void);

#ifdef __cplusplus
}
#endif

#endif
