/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layout.h - every byte of shared memory, and who writes it. docs/layout.md is its document;
 * whoever changes one changes the other and LAYOUT_VERSION in the same commit.
 *
 * There are five kinds of memory, each an anonymous file (memfd) of its own:
 *
 *   segment   made and written by one publisher; read by the service's subscribers and the broker
 *   block     made and written by one connection; read by the publishers it subscribes to
 *   board     made by the broker; written by one user's subscribers of one service; read by its
 *             publishers
 *   page      made and written by the broker; read by one connection
 *   alive     made by the broker, written by it and its kernel; read by all connections
 *
 * Whoever did not write a word does not trust it: it is loaded once, bounded against the geometry
 * that came with the broker's introduction (never against a copy inside the memory itself), then
 * used. Lines that one side writes and another reads while samples flow stand alone on 128 bytes,
 * since CPUs fetch neighbouring 64-byte lines in pairs.
 */
#ifndef SHMD_LAYOUT_H
#define SHMD_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#define LAYOUT_VERSION 1u

#define LAYOUT_MAGIC_SEGMENT UINT64_C(0x31676573646d6873) /* "shmdseg1" */
#define LAYOUT_MAGIC_BLOCK   UINT64_C(0x316b6c62646d6873) /* "shmdblk1" */
#define LAYOUT_MAGIC_PAGE    UINT64_C(0x31676170646d6873) /* "shmdpag1" */
#define LAYOUT_MAGIC_ALIVE   UINT64_C(0x31766c61646d6873) /* "shmdalv1" */

#define LAYOUT_LINE 128u

/* The first bytes of segments, blocks and pages; written once, before anybody else has it. */
struct layout_identity {
        uint64_t magic;
        uint32_t version;      /* LAYOUT_VERSION */
        uint32_t header_size;  /* bytes up to the first slot, row or end */
        uint32_t compatible;   /* flags that an older reader may ignore; none yet */
        uint32_t incompatible; /* flags that a reader must know; none yet */
        uint64_t size;         /* bytes of the whole memory */
        uint64_t owner;        /* id of the publisher, connection or session */
};
_Static_assert(sizeof(struct layout_identity) == 40, "part of the layout");

/*
 * Where things are in a segment. It travels in the introduction, checked by the broker and again
 * by each receiver (ring_geometry_check()).
 *
 *   0 | segment_header | slots: capacity words | chunks: n_chunks, each `stride` bytes | size
 */
struct ring_geometry {
        uint64_t size;           /* bytes of the segment */
        uint64_t slots_offset;   /* bytes; a multiple of LAYOUT_LINE */
        uint64_t chunks_offset;  /* bytes; a multiple of the payload's alignment and LAYOUT_LINE */
        uint64_t stride;         /* bytes from one chunk to the next; likewise a multiple */
        uint64_t payload_max;    /* bytes of the largest sample */
        uint32_t capacity;       /* slots: a power of two, at least depth + 1 */
        uint32_t depth;          /* samples kept */
        uint32_t n_chunks;       /* at least depth + 2 */
        uint32_t payload_offset; /* bytes from the chunk's start to the sample */
};
_Static_assert(sizeof(struct ring_geometry) == 56, "part of the protocol");

/* In which mode a publisher rings (docs/memory-model.md, "Fences"). */
#define FENCE_MODE_FENCE UINT64_C(0) /* it fences between its commit and its look at the boards */
#define FENCE_MODE_ASYM  UINT64_C(1) /* it does not: who goes to sleep calls membarrier(2) */

struct segment_header {
        /* line 0 - written once by the publisher, read by whoever maps the segment */
        struct layout_identity identity;
        uint64_t unused_0[11];
        /* line 1 - written by the publisher when its fence mode changes, read by subscribers that
         * go to sleep */
        uint64_t fence_mode;
        uint64_t ended; /* 1: the publisher has closed; nothing comes any more */
        uint64_t unused_1[14];
};
_Static_assert(offsetof(struct segment_header, fence_mode) == LAYOUT_LINE, "a line of its own");
_Static_assert(sizeof(struct segment_header) == 2 * LAYOUT_LINE, "part of the layout");

/*
 * A slot is one word: where to look for a message. Message n stands in slot n % capacity.
 *   bits 63..32  lap: n / capacity modulo 2^32 - 1, plus 1; 0 means never used
 *   bits 31..24  extent: which memory of the publisher; 0 is the segment itself
 *   bits 23..0   chunk: which chunk of the extent; SLOT_NO_CHUNK names none
 */
#ifndef SLOT_LAP_BITS
#define SLOT_LAP_BITS 32 /* fewer only in a test that walks through whole wraps */
#endif
#define SLOT_CHUNK_BITS  24
#define SLOT_EXTENT_BITS 8
#define SLOT_LAP_SHIFT   (SLOT_CHUNK_BITS + SLOT_EXTENT_BITS)
#define SLOT_LAPS        ((UINT64_C(1) << SLOT_LAP_BITS) - 1) /* laps that differ */
#define SLOT_NO_CHUNK    ((UINT32_C(1) << SLOT_CHUNK_BITS) - 1)
_Static_assert(SLOT_LAP_BITS + SLOT_EXTENT_BITS + SLOT_CHUNK_BITS <= 64, "a slot is one word");

#define SEQUENCE_GONE (UINT64_C(1) << 63)

/*
 * A chunk: one sample and what is said about it. Written by the publisher, read by subscribers.
 * A small sample shares the line of its sequence.
 */
struct chunk_header {
        uint64_t sequence; /* n: message n is complete here. SEQUENCE_GONE | n: neither n nor any
                            * before it is here. 0: nothing ever was. Only ever grows, without the
                            * flag, so that who waits for a message need look nowhere else */
        uint64_t size;     /* bytes of the sample */
        uint64_t next;     /* extent and chunk, as in a slot, where the next message will most
                            * likely be: who takes this one watches there without a further miss */
};
_Static_assert(sizeof(struct chunk_header) == 24, "part of the layout");

/*
 * A control block of a connection: its armed word (the same in each of its blocks), then rows, one
 * for each subscription: n_holds words, from a 64-byte boundary.
 *
 * A hold is 0, or: bits 63..32 the publisher's tag (the low half of its id), bits 31..24 extent,
 * bits 23..0 chunk. A chunk that is named so by a row is not written again until it is no more.
 */
#define BLOCK_SIZE     16384u
#define BLOCK_ROW_LINE 64u
struct block_header {
        /* line 0 - written once by the connection */
        struct layout_identity identity;
        uint64_t unused_0[11];
        /* line 1 - written by the connection when it goes to sleep and wakes, read by publishers.
         * Odd: it sleeps or is about to, and wants one frame; each arming has a new value. */
        uint64_t armed;
        uint64_t ended; /* 1: the connection has closed; it takes and holds nothing any more */
        uint64_t unused_1[14];
};
_Static_assert(offsetof(struct block_header, armed) == LAYOUT_LINE, "a line of its own");
_Static_assert(sizeof(struct block_header) == 2 * LAYOUT_LINE, "part of the layout");

/* The most holds of a subscription: a row has to fit into a block. */
#define HOLDS_MAX 1024u
_Static_assert(sizeof(struct block_header) + HOLDS_MAX * 8 <= BLOCK_SIZE, "a row fits a block");

/*
 * An arming board: how often a subscriber of one user has armed for one service. Only ever
 * incremented by who is honest; a wrong value costs its user's subscribers a wake-up and the
 * publisher a scan of that user's members.
 */
#define BOARD_SIZE 4096u
struct board {
        uint64_t counter; /* written by subscribers, read by publishers */
        uint64_t unused[15];
};
_Static_assert(sizeof(struct board) == LAYOUT_LINE, "part of the layout");

/* A session's page: what the broker has to say without a message. */
#define PAGE_SIZE_SESSION 4096u
struct session_page {
        /* line 0 - written once by the broker */
        struct layout_identity identity;
        uint64_t unused_0[11];
        /* line 1 - written by the broker, read by the connection with each publish.
         * Bits 62..0: messages that the kernel has accepted for the connection's socket; raised
         * only after that, and only for messages that are not replies. Bit 63:
         * SESSION_NO_ASYM. */
        uint64_t word;
        uint64_t unused_1[15];
};
_Static_assert(offsetof(struct session_page, word) == LAYOUT_LINE, "a line of its own");

/*
 * The broker-alive page: one for all sessions. Its lock is a robust one of the C library, held by
 * the thread that runs the broker's loop; the kernel marks its word when that thread ends, however
 * it does. Where the word is in the lock depends on the C library, so WELCOME says it. Readers look
 * at this word only.
 */
#define PAGE_SIZE_ALIVE    4096u
#define LAYOUT_ALIVE_OWNER UINT32_C(0x3fffffff) /* of the word; 0: nobody holds the lock */
struct alive_page {
        /* line 0 - written once by the broker */
        struct layout_identity identity; /* owner: 0 */
        uint64_t unused_0[11];
        /* line 1 - written by the broker and its kernel, read by clients now and then */
        uint64_t lock[16];
};
_Static_assert(offsetof(struct alive_page, lock) == LAYOUT_LINE, "a line of its own");

/* A subscriber that can't call membarrier(2) reads from one of the connection's publishers. */
#define SESSION_NO_ASYM (UINT64_C(1) << 63)

/*
 * What a publisher writes into a wake channel for each arming that it answers. A hint that wakes:
 * the ring is the truth, and no reader acts on the contents.
 */
struct offset_frame {
        uint32_t publisher; /* its tag */
        uint32_t offset;    /* of the chunk in its extent, in units of 64 bytes, saturated */
        uint64_t sequence;  /* the message */
};
_Static_assert(sizeof(struct offset_frame) == 16, "part of the layout");

#endif
