/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring-wrap.pml - laps that wrap after three, and a reader that is stopped for any number of them.
 *
 * Laps are compared for equality only: the reader's own, or one less. A reader that is a whole wrap
 * behind sees those, too. The chunk's own sequence, which does not wrap, then tells it that it was
 * overrun, unless the chunk that the slot names was last used before the reader's message: because
 * that very reader, or another one, has held it all the time, and the writer has just announced it.
 * BLIND says so, and at which distances, counted from the message that is announced: from a whole
 * number of wraps less one lap to a whole number of wraps. There a reader takes nothing that is
 * wrong, but it waits until something is committed in that chunk. With laps of 32 bits that takes a
 * reader that slept for 2^32 laps.
 *
 * All invariants of ring-protocol.inc; the fifth everywhere but there.
 */
#define CAP   2
#define DEPTH 1
#ifndef M
#define M     7
#endif
#define LOANS 1
#define HOLDS 1
#define NC    3
#ifdef MUTANT_LAPS_BY_SIZE
#define LAPS  4 /* with three, all that is not equal is one less */
#else
#define LAPS  3
#endif

#define WRAP  (LAPS * CAP)
#define BLIND ((committed + 1 - n >= WRAP - CAP) && ((committed + 1 - n + CAP) % WRAP <= CAP) && \
	       announced != NONE && seq[announced] % GONE < n)
#include "ring-protocol.inc"

proctype Writer()
{
	WRITER_LOCALS;

	write_all();
	stopped = true
}

proctype Reader()
{
	READER_LOCALS;

	pending = true; /* it is introduced at any time, and reads before the writer knows it */
	read_all()
}

init
{
	atomic {
		prepare();
		run Writer();
		run Reader()
	}
}
