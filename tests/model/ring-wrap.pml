/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring-wrap.pml - laps that wrap after four, and a reader that is stopped for any number of them.
 *
 * Laps are compared for equality only: the reader's own, or one less. A reader that is a whole wrap
 * behind sees those, too. The chunk's own sequence, which does not wrap, then tells it that it was
 * overrun, unless the chunk that the slot names has none: because it is announced and not committed,
 * or was zeroed to be reclaimed. BLIND says at which distances, counted from the message that is
 * announced, that can be: from a whole number of wraps less one lap to a whole number of wraps. There
 * a reader takes nothing that is wrong, but it waits, and finds out when at most CAP + 1 more
 * messages have been published. With laps of 32 bits that takes a reader that slept for 2^32 laps.
 *
 * All invariants of ring-protocol.inc; the fifth everywhere but there.
 */
#define CAP   2
#define DEPTH 1
#ifndef M
#define M     9
#endif
#define LOANS 1
#define HOLDS 1
#define NC    3
#define LAPS  4

#define WRAP  (LAPS * CAP)
#define BLIND ((committed + 1 - n >= WRAP - CAP) && ((committed + 1 - n + CAP) % WRAP <= CAP))
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
