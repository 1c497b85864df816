/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring-loans.pml - two loans at a time, published in any order or discarded.
 *
 * The first loan is the announced chunk. When another one is published first, its name is written
 * over the announcement before the commit; the announced chunk, loaned still, is announced again for
 * the next message. A reader that has read the old name finds a sequence that is not n and looks at
 * the slot once more.
 *
 * All invariants of ring-protocol.inc. The second is what it is for: an announcement that has changed
 * is not taken for an overrun.
 */
#define CAP   2
#define DEPTH 1
#ifndef M
#define M     4
#endif
#define LOANS 2
#define HOLDS 1
#define NC    4
#include "ring-protocol.inc"

proctype Writer()
{
	WRITER_LOCALS;

	do
	:: n_loans < LOANS && next <= LAST -> loan(c)
	:: atomic { n_loans > 0 -> pick(c, LOANED) };
		if
		:: next <= LAST -> publish(c)
		:: discard(c)
		fi
	:: next > LAST && n_loans == 0 -> break
	od;
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
