/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring-loans.pml - two loans at a time, published in any order or discarded, by a writer that may be
 * killed between any two of its steps.
 *
 * The first loan is the announced chunk. When another one is published first, its name is written
 * over the announcement; then the announced chunk is marked: this message is not here; then comes the
 * commit. The announced chunk, loaned still, is announced again for the next message. A reader that
 * watches it, since the sample before named it or the slot did, finds the mark and looks at the slot,
 * which is new by then.
 *
 * All invariants of ring-protocol.inc. The second and the fifth are what it is for: an announcement
 * that has changed is not taken for an overrun, and nobody goes on waiting where nothing will come.
 */
#define CAP   2
#define DEPTH 1
#ifndef M
#define M     3
#endif
#define LOANS 2
#define HOLDS 1
#define NC    4
#include "ring-protocol.inc"

bool killed;

proctype Writer()
{
	WRITER_LOCALS;

	{ do
	:: n_loans < LOANS && next <= LAST -> loan(c)
	:: atomic { n_loans > 0 -> pick(c, LOANED) };
		if
		:: next <= LAST -> publish(c)
		:: discard(c)
		fi
	:: next > LAST && n_loans == 0 -> break
	od } unless { killed };
	stopped = true
}

proctype Reader()
{
	READER_LOCALS;

	pending = true; /* it is introduced at any time, and reads before the writer knows it */
	read_all()
}

proctype Killer()
{
	killed = true
}

init
{
	atomic {
		prepare();
		run Writer();
		run Reader();
		run Killer()
	}
}
