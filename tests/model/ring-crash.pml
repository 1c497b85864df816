/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring-crash.pml - a writer that is killed between any two of its steps.
 *
 * It has one chunk less than its budget. So loans fail while the reader holds, and announcements are
 * left to the next loan; all of that is interrupted, too.
 *
 * All invariants of ring-protocol.inc. The fifth is what it is for: wherever the writer was, the reader
 * gets to the newest message that was committed. A chunk that is reclaimed, and that nothing is
 * committed in any more, says itself that its message is gone: a reader may have watched it since
 * long ago. ring-loans.pml is about crashes between the steps of a publish out of order.
 */
#define CAP   4
#define DEPTH 2
#ifndef M
#define M     7
#endif
#define LOANS 1
#define HOLDS 1
#define NC    3
#include "ring-protocol.inc"

bool killed;

proctype Writer()
{
	WRITER_LOCALS;

	{ write_all() } unless { killed };
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
