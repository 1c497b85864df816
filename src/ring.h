/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring.h - announce, commit, hold, reclaim: how samples pass from one writer to any number of
 * readers, on any memory.
 *
 * The model. A ring has `capacity` slots and `n_chunks` chunks. Message n (1, 2, 3...) is a chunk
 * whose `sequence` is n; that word is the truth. Slot n % capacity is only a hint where to look,
 * and says so *before* the message is written: the writer announces the chunk of n + 1 as soon as
 * it has committed n, so that a waiting reader already watches the one cache line that the commit
 * will change.
 *
 * A chunk is, in turn:
 *
 *            loan, announce             commit                n - depth is overtaken
 *    free ------------------> prepared --------> published ------------------------> retired
 *      ^                         |                                                      |
 *      |        discard          |                    sequence = gone; reclaim: fence,  |
 *      +-------------------------+                    nobody holds it                   |
 *      +--------------------------------------------------------------------------------+
 *
 * A reader takes n by writing the chunk's name into one of its holds, fencing, and looking at the
 * sequence once more. The writer marks the sequence as gone, fences, and reads the holds. One of
 * the two must see the other: either the reader finds the mark and lets go, or the writer finds the
 * hold and lets the chunk be. (Hazard pointers: M. Michael, IEEE TPDS 15(6), 2004.)
 *
 * What a reader finds at slot n % capacity, where laps are only compared for equality, since a
 * reader may have been stopped for any number of them:
 *
 *    lap of n         announced: look at the chunk. Sequence n: take it. Later than n, or n gone:
 *                     overrun. Otherwise not yet committed.
 *    one lap less     not announced yet (unless its chunk has a sequence later than n: overrun)
 *    anything else    overrun
 *
 * While it waits, a reader looks at nothing but the sequence of the chunk where n is expected. Each
 * chunk also names the one that was chosen for the message after its own, so that a reader which
 * takes n knows where n + 1 will be without a look at the slots. That is safe because nothing can
 * become of n that leaves that sequence as it was: n is committed there; or it is committed
 * elsewhere, and the writer marks n as gone there first; or it was committed there, overtaken, and
 * reclaimed, which marks it as gone too. A sequence only grows, so no change undoes another.
 *
 * Trust. A writer reads nothing that readers write but holds; a reader bounds every word. A writer
 * that lies makes its own samples wrong and nothing else; every loop ends.
 *
 * What it is not: it maps nothing, allocates nothing and knows no clocks, descriptors or peers.
 */
#ifndef SHMD_RING_H
#define SHMD_RING_H

#include <stdbool.h>
#include <stdint.h>

#include "layout.h"

/* ---- geometry --------------------------------------------------------------------------- */

struct ring_wish {
        uint64_t payload_max;
        uint64_t alignment;
        uint32_t depth;
        uint32_t n_chunks;
};

/* Lays a ring out; the caller has bounded depth and alignment. 0, or -EINVAL with a text. */
int ring_geometry_init(struct ring_geometry *geometry, const struct ring_wish *wish);

/* Whether every slot, chunk and sample lies inside the segment and nothing overlaps. 0, or -EINVAL
 * with a text. After that all arithmetic on it is safe. */
int ring_geometry_check(const struct ring_geometry *geometry);

/* ---- the writer ------------------------------------------------------------------------- */

/* A subscriber's holds, as the writer sees them. */
struct ring_row {
        const uint64_t *holds; /* n_holds words that somebody else writes */
        uint32_t n_holds;
        uint32_t budget; /* chunks of this writer that it can pin, at most */
};

#define RING_NONE UINT32_MAX /* no chunk */

struct ring_writer {
        struct ring_geometry geometry;
        unsigned char *chunks; /* the first one */
        uint64_t *slots;
        uint64_t next;            /* the message to be committed next */
        uint32_t tag;             /* names this writer in holds */
        uint32_t announced;       /* the chunk that will be named as `next`, or RING_NONE */
        bool announced_is_loaned; /* then it is not to be lent again */
        uint32_t *published;      /* [capacity] chunk of message n at n % capacity */
        uint32_t *free;           /* [n_chunks] a queue: first in, first out */
        uint32_t free_first, n_free;
        uint32_t *retired; /* [n_chunks] the marked ones first, then the oldest */
        uint32_t n_retired;
        uint32_t n_marked;    /* of the retired ones */
        uint32_t n_kept;      /* of the marked ones: held when last looked at */
        uint64_t *message;    /* [n_chunks] the last that was committed there */
        unsigned char *state; /* [n_chunks] enum ring_state */
};

/* Bytes that ring_writer_init() needs as `scratch`, 8-byte aligned, private to the writer. */
uint64_t ring_scratch_size(const struct ring_geometry *geometry);

/* Starts a ring in zeroed memory, the first message being `first` (1, but for tests of wraps).
 * Announces it. */
void ring_writer_init(struct ring_writer *writer, const struct ring_geometry *geometry,
                      void *segment, void *scratch, uint32_t tag, uint64_t first);

/* What is done for each sample is in ring-publish.h: ring_loan(), ring_payload(), ring_commit() and
 * ring_announce(). */

/* The chunk in which a sample is on loan, or RING_NONE. */
uint32_t ring_chunk_of(const struct ring_writer *writer, const void *payload);

/* Takes a loaned chunk back. */
void ring_discard(struct ring_writer *writer, uint32_t chunk);

/*
 * Reclaims, in three steps. ring_reclaim_begin() sees to it that some of what is retired is marked,
 * and fences. Then the caller takes in every subscriber that has been introduced to it (a reader
 * may hold before the writer knows it; the introduction was raised before the reader had the
 * segment). ring_reclaim_mark() for each row; ring_reclaim_end() frees what none of them holds.
 * True: nothing was freed, but more can be marked; reclaim once more.
 */
void ring_reclaim_begin(struct ring_writer *writer);
void ring_reclaim_mark(struct ring_writer *writer, const struct ring_row *row);
bool ring_reclaim_end(struct ring_writer *writer);

/* ---- a reader --------------------------------------------------------------------------- */

struct ring_reader {
        struct ring_geometry geometry;
        const unsigned char *chunks; /* the first one */
        const uint64_t *slots;
        uint64_t next;    /* the message to be taken next */
        uint64_t lost;    /* messages overrun since the last that was taken */
        uint64_t margin;  /* how far beyond the oldest to go on after an overrun */
        uint64_t resumed; /* the message with which it went on */
        uint32_t tag;     /* the writer's */
        uint32_t watched; /* the chunk where `next` is expected; RING_NONE: not known */
        const struct chunk_header *watch; /* the same; not known: one that is past all messages */
        uint64_t payload_min;             /* of the smallest sample */
        uint64_t payload_room;            /* from there to payload_max */
        uint64_t end; /* the last message there will be; UINT64_MAX: not known */
};

struct ring_sample {
        const void *data;
        uint64_t size;
        uint64_t sequence;
        uint64_t lost; /* messages between the last that was taken and this one */
};

/* Starts to read at `next`; 1 is the writer's first. */
void ring_reader_init(struct ring_reader *reader, const struct ring_geometry *geometry,
                      const void *segment, uint32_t tag, uint64_t next);

/* No sample is smaller than this, whatever the writer says; at most payload_max. */
void ring_reader_bound(struct ring_reader *reader, uint64_t payload_min);

/* Starts to read after message `start` (0: with the first), or `history` messages before that. */
void ring_reader_join(struct ring_reader *reader, const struct ring_geometry *geometry,
                      const void *segment, uint32_t tag, uint64_t start, uint64_t history);

/*
 * The writer has gone: what is committed by now is all there will be. That is at most one message
 * for each chunk; what else would come before the end counts as lost. ring_reader_is_over(): it was
 * taken to the end, whatever the memory goes on to say.
 */
void ring_reader_end(struct ring_reader *reader);
static inline bool ring_reader_is_over(const struct ring_reader *reader)
{
        return reader->next > reader->end;
}

/* Finds nothing from now on, whatever the memory says. */
void ring_reader_stop(struct ring_reader *reader);

/* The writer was not gone: goes on where it was, stopped or not. */
void ring_reader_go_on(struct ring_reader *reader);

/* The newest message that is committed, as far as can be seen; 0: none. */
uint64_t ring_newest(const struct ring_reader *reader);

/* Whether ring_take() has something to do. */
bool ring_ready(struct ring_reader *reader);

/* Takes the next message into a hold, which is 0 before and is 0 again if there is none. Then the
 * sample stays until ring_release(). Counts overruns into `lost`. */
bool ring_take(struct ring_reader *reader, uint64_t *hold, struct ring_sample *sample);

void ring_release(uint64_t *hold);

#endif
