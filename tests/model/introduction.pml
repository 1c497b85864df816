/* SPDX-License-Identifier: Apache-2.0 */
/*
 * introduction.pml - in which order a subscriber and a publisher hear of each other, and when the
 * publisher may forget a subscriber again.
 *
 * A subscriber reads, and holds, before the publisher has taken the message that introduces it.
 * That is safe because of the order of an introduction: the kernel has accepted SUBSCRIBER_ADDED
 * for the publisher's socket; then the counter `pending` in its session page is raised; only then
 * does the subscriber get the segment. A publisher that reuses memory marks (0 here), fences, looks at
 * `pending`, reads its socket to the end if the counter moved, and then reads the holds.
 *
 * One publisher with two chunks, one of which is the newest message; two subscribers, of which any
 * may be killed while it holds, or leave; a broker that may also close the session of a subscriber
 * that lives on, and goes on reading. The publisher may sleep for any time between any two steps,
 * so its socket has a bound: each message that it has not acknowledged costs a credit, and who
 * finds none left waits. SUBSCRIBER_REMOVED is sent as `final` here; before it, holds count.
 *
 * Invariants: no chunk that somebody reads is used again (in Publisher); the socket is never full
 * when the broker writes to it (in Broker); everybody who wants to join does, and whoever is gone
 * is let go of at last (no invalid end state).
 */
#define SUBSCRIBERS 2
#ifndef CREDIT
#define CREDIT      1 /* messages that the publisher may leave unread */
#endif
#ifndef ROUNDS
#define ROUNDS      3 /* chunks that the publisher uses again */
#endif

mtype = { added, removed };
#ifdef MUTANT_REMOVED_WITHOUT_CREDIT
chan socket = [2 * CREDIT] of { mtype, byte }; /* room for each introduction and its end */
#else
chan socket = [CREDIT] of { mtype, byte };     /* what the kernel holds for the publisher */
#endif
byte pending;                              /* raised after the kernel has accepted */
byte acknowledged;                         /* messages that the publisher says it has read */

#define NC   2
#define NONE 15
byte slot;              /* the chunk of the newest message */
byte seq[NC];
byte hold[SUBSCRIBERS] = NONE;
byte reading[NC];       /* ghost: how many read it */

bool has_segment[SUBSCRIBERS];
bool said_goodbye[SUBSCRIBERS]; /* takes nothing any more, and lets go */
bool dead[SUBSCRIBERS];         /* its process is gone: the kernel says so */
bool evicted[SUBSCRIBERS];      /* its session is closed; its process lives, and may take */

/* ---- publisher --------------------------------------------------------------------------- */

/* Reads the socket to its end; then says how much it has read. */
inline take_messages()
{
	do
	:: atomic { socket ? added(s) -> known[s] = true; count++ }
	:: atomic { socket ? removed(s) -> known[s] = false;
#ifndef MUTANT_REMOVED_WITHOUT_CREDIT
		count++
#endif
		}
	:: atomic { empty(socket) -> s = 0; break }
	od;
	atomic {
#ifndef MUTANT_NOT_ACKNOWLEDGED
		acknowledged = acknowledged + count;
#endif
		count = 0
	}
}

/* ring_reclaim_*(): frees the chunk that is not the newest, unless somebody holds it. */
inline reclaim(c)
{
	seq[c] = 0;
	held = false;
#ifndef MUTANT_PENDING_IGNORED
	if
	:: atomic { pending != seen -> seen = pending }; take_messages()
	:: else
	fi;
#endif
	s = 0;
	do
	:: atomic { s < SUBSCRIBERS ->
		held = held || (known[s] && hold[s] == c);
		s++ }
	:: atomic { s >= SUBSCRIBERS -> s = 0; break }
	od
}

active proctype Publisher()
{
	byte n = 1, c, s, seen, count;
	bool known[SUBSCRIBERS], held;

	/* Message 1 is in chunk 0 from the beginning. */
	atomic { seq[0] = 1; c = 1 };
	do
	:: n <= ROUNDS ->
		reclaim(c);
		if
		:: atomic { !held ->
			assert(!reading[c]);
			n++ };
			atomic { seq[c] = n; slot = c; c = 1 - c }
		:: else /* all is held: the loan fails, and the program may try again, or not */
		fi;
		held = false
	:: n > 1 -> break
	od;
	/* It publishes no more, and serves its socket when there is something. */
end:	do
	:: nempty(socket) -> take_messages()
	od
}

/* ---- broker ------------------------------------------------------------------------------ */

#ifdef MUTANT_CREDIT_IGNORED
#define HAS_CREDIT true
#else
#define HAS_CREDIT (unread < CREDIT)
#endif

#ifdef MUTANT_REMOVED_WITHOUT_CREDIT
#define HAS_CREDIT_FOR_REMOVED true
#define COUNT_REMOVED
#else
#define HAS_CREDIT_FOR_REMOVED HAS_CREDIT
#define COUNT_REMOVED unread++
#endif

#if defined(MUTANT_FINAL_AFTER_EVICTION)
#define TAKES_NO_MORE(i) ((said_goodbye[i] || evicted[i]) && hold[i] == NONE)
#elif defined(MUTANT_FINAL_WHILE_HELD)
#define TAKES_NO_MORE(i) (evicted[i] || (said_goodbye[i] && hold[i] == NONE))
#else
#define TAKES_NO_MORE(i) (said_goodbye[i] && hold[i] == NONE)
#endif
#define MAY_LET_GO(i) (introduced[i] && !gone[i] && (dead[i] || TAKES_NO_MORE(i)))

active proctype Broker()
{
	byte unread, s;
	bool introduced[SUBSCRIBERS], gone[SUBSCRIBERS];

	do
	:: atomic { acknowledged > 0 -> unread = unread - acknowledged; acknowledged = 0 }
	/* Somebody joins; without credit it waits. */
	:: atomic { HAS_CREDIT && (!introduced[0] || !introduced[1]) ->
			if
			:: !introduced[0] -> s = 0
			:: !introduced[1] -> s = 1
			fi };
#ifdef MUTANT_PENDING_BEFORE_ADDED
		pending++;
#endif
#ifdef MUTANT_SEGMENT_BEFORE_PENDING
		has_segment[s] = true;
#endif
		atomic { assert(nfull(socket)); socket ! added(s); unread++ };
#ifndef MUTANT_PENDING_BEFORE_ADDED
		pending++;
#endif
		atomic { has_segment[s] = true; introduced[s] = true; s = 0 }
	/* It closes the session of a living subscriber. */
	:: atomic { introduced[0] && !evicted[0] && !gone[0] -> evicted[0] = true }
	/* Who has left has let go of everything, or the kernel says that it is no more. */
	:: atomic { HAS_CREDIT_FOR_REMOVED && (MAY_LET_GO(0) || MAY_LET_GO(1)) ->
			if
			:: MAY_LET_GO(0) -> s = 0
			:: MAY_LET_GO(1) -> s = 1
			fi;
			gone[s] = true;
			assert(nfull(socket));
			socket ! removed(s);
			COUNT_REMOVED };
		atomic { pending++; s = 0 }
	:: gone[0] && gone[1] -> break
	od
}

/* ---- subscribers ------------------------------------------------------------------------- */

proctype Subscriber(byte s)
{
	byte c, n;

	has_segment[s];
	do
	:: atomic { c = slot; n = seq[c] };
		if
		:: n != 0 ->
			hold[s] = c;
			if
			:: atomic { seq[c] == n -> reading[c]++ };
				if
				:: atomic { reading[c]--; hold[s] = NONE }
				:: atomic { reading[c]--; dead[s] = true; break } /* killed; its hold stays */
				fi
			:: else -> hold[s] = NONE
			fi
		:: else
		fi
	:: said_goodbye[s] = true; break
	od
}

init
{
	atomic {
		run Subscriber(0);
		run Subscriber(1)
	}
}
