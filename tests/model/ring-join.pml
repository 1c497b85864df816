/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring-join.pml - a late joiner. The broker finds the newest message for it, tells the publisher,
 * and passes on what it found; the reader starts after that, or up to DEPTH messages before.
 *
 * The search halves by laps, and then trusts what the chunk itself says; the writer goes on
 * meanwhile. It may be overtaken so that it comes out with 0, which means to start at message 1 and
 * to be overrun there; ring_newest() searches again a few times before it gives that.
 *
 * All invariants of ring-protocol.inc, from the message at which it starts. Besides (in join()): what
 * it finds has been committed, and is at most one message older than the newest when the search
 * began; beside a writer that has stopped it is the newest. Whatever is published after the publisher
 * was told is taken or counted as lost.
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

/* The broker: publication_newest(), SUBSCRIBER_ADDED; then the subscriber: first_wanted() */
inline join()
{
#ifdef MUTANT_START_AFTER_TOLD
	atomic { pending = true; told = committed };
#endif
	atomic { calm = STOPPED; before = committed };
	find_newest();
	atomic {
		assert(newest <= committed);
		assert(newest == 0 || newest + 1 >= before);
		assert(newest == committed || !calm)
	};
#ifndef MUTANT_START_AFTER_TOLD
	atomic { pending = true; told = committed };
#endif
	atomic {
		assert(newest <= told);
		n = newest + 1;
		do
		:: n > 1 && newest + 1 - n < DEPTH -> n--
		:: break
		od;
		last = n - 1;
		newest = 0;
		before = 0;
		told = 0;
		calm = false
	}
}

proctype Reader()
{
	READER_LOCALS;
	byte before, told;

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
