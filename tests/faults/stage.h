/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stage.h - two connections that publish to each other and read each other: what faults are
 * injected into, and what has to work afterwards.
 *
 * Both live in the test's process. `bus` is the one whose calls fail; what `peer` does happens
 * while nothing is armed.
 */
#ifndef SHMD_TESTS_STAGE_H
#define SHMD_TESTS_STAGE_H

#include <uv.h>

#include "faults.h"
#include "harness.h"
#include "stamped.h"

#define STAGE_SERVICE "faults/samples"

struct news {
        unsigned come, gone; /* as callbacks have told */
};

struct side {
        struct shmd *bus;
        struct shmd_publisher *publisher;
        struct shmd_subscriber *subscriber;
        uint64_t n_published;
        struct tally tally;
        struct news subscribers, publishers;
};

struct stage {
        struct side me, peer;
        struct shmd *extra; /* a connection that a scene has opened */
        uv_loop_t loop;     /* for a scene that brings one */
        bool uses_loop;
        /* Subscribers of mine that the broker never heard to have left: they count until the
         * process ends. */
        unsigned n_unheard;
        int peer_fd; /* the peer's descriptor to poll, if a scene wants it */
        struct snapshot before;
        int64_t blocks_before;
};

void stage_open(struct stage *stage, bool uses_loop);

/* Opens what the side does not have yet; 0 or what the call said. */
int side_connect(struct side *side, uv_loop_t *loop);
int side_advertise(struct side *side);
int side_subscribe(struct side *side);
/* Loans, fills in, publishes. */
int side_publish(struct side *side);
/* Takes, checks and releases what is there, in at least `n` takes; 0 or what a call said. */
int side_take(struct side *side, unsigned n);

/* Lets everything happen that is due: callbacks, messages. */
void stage_turn(struct stage *stage);

/* Samples flow both ways, nobody is missing, and everybody has been told of everybody, once. What
 * is not open yet is opened. */
void stage_check(struct stage *stage);

/* Closes; what the process has must be what it had before stage_open(). */
void stage_close(struct stage *stage);

#endif
