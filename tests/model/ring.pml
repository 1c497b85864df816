/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring.pml - a writer with one loan at a time, and a reader that keeps one sample.
 *
 * The writer announces message n + 1 as soon as it has committed n, retires what is DEPTH messages
 * old, and reclaims when it has no free chunk. It learns of the reader only by looking at `pending`
 * when it reclaims. The ring has more slots than messages that are kept, so that what is marked as
 * gone and what is overwritten are different messages.
 *
 * All invariants of ring-protocol.inc; the number of chunks is the smallest with which the fourth
 * holds.
 */
#define CAP   4
#define DEPTH 2
#ifndef M
#define M     7
#endif
#define LOANS 1
#define HOLDS 1
#ifdef MUTANT_BUDGET
#define NC    3
#else
#define NC    4
#endif
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
