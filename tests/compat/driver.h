/* SPDX-License-Identifier: Apache-2.0 */
/*
 * driver.h - clients of either version, as processes that run client.c, and what tests want of two
 * of them.
 */
#ifndef SHMD_TESTS_DRIVER_H
#define SHMD_TESTS_DRIVER_H

#include "harness.h"

#define SERVICE "compat/samples"

/* How many publishes without a sleeper it takes to leave fences out. */
#define N_QUIET 1200

/* What a client is made of. */
enum kind {
        OLD,
        NEW,
        OLD_PROGRAM_NEW_LIBRARY, /* as after an upgrade of the package, without a new build */
        KINDS,
};
extern const char *const kind_names[KINDS];

/* Paths. */
extern char old_broker[512], old_library[512];

/* How often must_exchange() was done. */
extern unsigned n_exchanges;

/* `old`: what with-old.sh has built. */
void driver_init(const char *old);

struct client {
        pid_t pid;
        enum kind kind;
        int to, from;
        char answer[4096];
};

/* A client that is connected; one that has also opened the service. */
struct client *client_start(enum kind kind);
struct client *publisher_start(enum kind kind);
struct client *subscriber_start(enum kind kind);
/* It closes everything, and ends; or SIGKILL. */
void client_finish(struct client *client);
void client_kill(struct client *client);

void client_connect(struct client *client);

/* What the client says next, which has to be "ok" unless `may_fail`: what comes after that. */
const char *hear_from(struct client *client, bool may_fail);
/* Tells it to do something, and hears. In vain: it has to fail, and the answer is the code and the
 * text. */
const char *ask(struct client *client, const char *command);
void ask_either_way(struct client *client, const char *command);
const char *ask_in_vain(struct client *client, const char *command);

/* As far as the client knows. */
struct state {
        int connected;
        unsigned peers, refused;
};
struct state state_of(struct client *client);
unsigned n_peers(struct client *client);

/* Publishes so many; the number of the last. */
unsigned long publish(struct client *publisher, unsigned count);
/* Takes all that is there: so many, with none lost, up to this one. */
void must_take(struct client *subscriber, unsigned count, unsigned long last);
/* Awake and asleep, fenced and without fences: samples flow between the two, and none is lost. */
void must_exchange(struct client *publisher, struct client *subscriber);
/* The subscriber holds the next sample; its number. */
unsigned long hold(struct client *publisher, struct client *subscriber);
/* What it holds is the same, though the publisher has gone through its ring. */
void must_still_hold(struct client *publisher, struct client *subscriber, unsigned long number);
/* What the publisher's segment says; only the new library keeps its descriptor. */
bool leaves_fences_out(const struct client *publisher);

#endif
