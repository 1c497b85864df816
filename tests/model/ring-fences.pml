/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring-fences.pml - the ring with store buffers.
 *
 * What writer and reader store stays in a queue of their own until it is drained into memory, at any
 * time and in order, as on x86; a fence waits until the queue is empty. There are two: the writer's,
 * between the marking of sequences and the reading of holds, and the reader's, between its hold and
 * the second look at the sequence. Neither side loads a word that it stores itself.
 *
 * All invariants of ring-protocol.inc.
 */
#define CAP   2
#define DEPTH 1
#ifndef M
#define M     5
#endif
#define LOANS 1
#define HOLDS 1
#define NC    3
#define TSO   3 /* stores that the writer's buffer has room for */
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
