/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring-holds.pml - a reader that keeps two samples and lets go of them in any order.
 *
 * All invariants of ring-protocol.inc. The fourth is what it is for: with every hold in use on a
 * chunk that is retired already, the writer still finds one to lend and one to announce.
 */
#define CAP   4
#define DEPTH 2
#ifndef M
#define M     5
#endif
#define LOANS 1
#define HOLDS 2
#ifdef MUTANT_BUDGET
#define NC    4
#else
#define NC    5
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
