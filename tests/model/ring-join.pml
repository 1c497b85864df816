/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring-join.pml - a reader that comes late, finds the newest message and starts up to DEPTH
 * messages before it.
 *
 * It halves by laps, and then trusts what the chunk itself says; the writer goes on meanwhile. The
 * search may be overtaken so that it comes out with 0, which means to start at message 1 and to be
 * overrun there; ring_reader_join() searches again a few times before it does that.
 *
 * All invariants of ring-protocol.inc, from the message at which it starts. Besides (in join()): what it
 * finds has been committed, and is at most one message older than the newest when the search began;
 * beside a writer that has stopped it is the newest.
 */
#define CAP   4
#define DEPTH 2
#ifndef M
#define M     7
#endif
#define LOANS 1
#define HOLDS 1
#define NC    4
#include "ring-protocol.inc"

proctype Writer()
{
	WRITER_LOCALS;

	write_all();
	stopped = true
}

/* ring_reader_join() */
inline join()
{
	atomic { calm = STOPPED; before = committed };
	find_newest();
	atomic {
		assert(newest <= committed);
		assert(newest == 0 || newest + 1 >= before);
		assert(newest == committed || !calm);
		n = newest + 1;
		do
		:: n > 1 && newest + 1 - n < DEPTH -> n--
		:: break
		od;
		last = n - 1;
		newest = 0;
		before = 0;
		calm = false
	}
}

proctype Reader()
{
	READER_LOCALS;
	byte before;

	pending = true;
	join();
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
