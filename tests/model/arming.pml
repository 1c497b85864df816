/* SPDX-License-Identifier: Apache-2.0 */
/*
 * arming.pml - sleeping and waking: an eventcount, with members that the publisher does not know
 * yet when they arm.
 *
 * To sleep, a member makes its armed word odd (arm_and_look()), increments the board that all
 * members of one user share, looks at the rings once more, and waits for a frame in its pipe. A
 * publisher, after each commit (doorbell_after_commit()), looks at the board, and if its counter is
 * not what it saw last, remembers it and looks at each member's armed word: one frame for each
 * arming that is new. Then (hear_broker()) it looks at `pending` and attaches whoever was introduced.
 *
 * A member may have armed before it was attached, and the board need not move again for it. So
 * attaching looks at the armed word as well, and where the board is new to the publisher, too,
 * reads its counter first: read later it could cover an arming that was not seen. Where other
 * members have made the board known, attaching leaves alone what was seen of it: the scan that a
 * moved counter asks for is for all of them.
 *
 * On waking: drain, disarm, look at the rings. A member that finds a message after it has armed
 * may disarm or stay armed. What must not be is that a frame is drained and the arming that it
 * answered goes on: no second frame comes for it.
 *
 * Memory is sequentially consistent; adaptive-fence.pml is about the fences.
 *
 * Invariant: nobody sleeps in front of a message without a frame in its pipe: a member that does
 * not get to the last message of each publisher is an invalid end state.
 */
#ifndef M
#ifdef MUTANT_BOARD_REMEMBERED_AFTER_SCAN
#define M          3 /* messages of each publisher; here attaching takes one */
#else
#define M          2
#endif
#endif
#ifndef PUBLISHERS
#define PUBLISHERS 1
#endif
#ifndef MEMBERS
#define MEMBERS    2 /* subscribers, all of one user */
#endif
#define PIPE       2 /* frames that a pipe has room for */

byte newest[PUBLISHERS]; /* the rings */
byte board;              /* how often members have armed; only ever goes up */
byte armed[MEMBERS];     /* odd: sleeps or is about to; each arming has a new value */
byte frames[MEMBERS];    /* in the pipe of each */
bool introduced[MEMBERS];
byte pending;

/* ---- publishers -------------------------------------------------------------------------- */

/* One frame for each arming; none into a full pipe, whose reader is awake already. */
inline look_at_member(m)
{
	a = armed[m];
	if
	:: a % 2 == 1 && a != rung[m] ->
		rung[m] = a;
		if
		:: atomic { frames[m] < PIPE -> frames[m]++ }
		:: else
		fi
	:: else
	fi;
	a = 0
}

inline attach(m)
{
	known[m] = true;
#ifdef MUTANT_ATTACH_ARMED_FIRST
	look_at_member(m);
#endif
#ifndef MUTANT_ATTACH_FORGETS_OTHERS
	if
	:: !board_known ->
#endif
		seen_board = board;
		board_known = true
#ifndef MUTANT_ATTACH_FORGETS_OTHERS
	:: else /* what it knows of the board stays: other members may have moved it */
	fi
#endif
#if !defined(MUTANT_ATTACH_ARMED_FIRST) && !defined(MUTANT_ATTACH_ARMED_IGNORED)
	;look_at_member(m)
#endif
}

/* doorbell_after_commit(), after the commit and its fence; then hear_broker() */
inline ring_doorbells()
{
	w = board;
	if
	:: board_known && w != seen_board ->
#ifndef MUTANT_BOARD_REMEMBERED_AFTER_SCAN
		seen_board = w;
#endif
		m = 0;
		do
		:: m < MEMBERS && known[m] -> look_at_member(m); m++
		:: m < MEMBERS && !known[m] -> m++
		:: m >= MEMBERS -> break
		od
#ifdef MUTANT_BOARD_REMEMBERED_AFTER_SCAN
		;seen_board = board
#endif
	:: else
	fi;
	w = pending;
	if
	:: w != seen_pending ->
		seen_pending = w;
		m = 0;
		do
		:: m < MEMBERS && introduced[m] && !known[m] -> attach(m)
		:: m < MEMBERS && (!introduced[m] || known[m]) -> m++
		:: m >= MEMBERS -> break
		od
	:: else
	fi;
	atomic { m = 0; w = 0 }
}

proctype Publisher(byte p)
{
	byte n, w, a, m;
	byte seen_pending, seen_board, rung[MEMBERS];
	bool known[MEMBERS], board_known;

	do
	:: n < M ->
		n++;
#ifdef MUTANT_LOOK_BEFORE_COMMIT
		ring_doorbells();
		newest[p] = n
#else
		newest[p] = n;
		ring_doorbells()
#endif
	:: else -> break
	od
}

/* ---- members ----------------------------------------------------------------------------- */

/* Looks at all rings and takes what is there. */
inline look()
{
	found = false;
	p = 0;
	do
	:: p < PUBLISHERS ->
		atomic {
			found = found || newest[p] > taken[p];
			taken[p] = newest[p];
			p++
		}
	:: else -> p = 0; break
	od
}

/* arm_and_look() */
inline arm()
{
	if
	:: armed[me] % 2 == 0 ->
		armed[me]++;
		board++
	:: else /* still armed from before */
	fi
}

#if PUBLISHERS == 1
#define DONE (taken[0] == M)
#else
#define DONE (taken[0] == M && taken[1] == M)
#endif

proctype Member(byte me)
{
	byte taken[PUBLISHERS], p;
	bool found;

	introduced[me] = true;
	pending++;
	do
	:: DONE -> break
	:: else ->
		look();
		if
		:: found -> goto again
		:: else
		fi;
		arm();
#ifndef MUTANT_NO_LAST_LOOK
		look();
		if
		:: found ->
			if
			:: armed[me]++ /* disarms at once, or stays armed until a frame comes */
			:: true
			fi;
			goto again
		:: else
		fi;
#endif
		/* Asleep. Whoever stays here with a message in a ring is an invalid end state. */
asleep:		frames[me] > 0;
#if defined(MUTANT_DISARM_BEFORE_DRAIN)
		/* It disarms, and as it is about to sleep again arms, with the old frame still there. */
		armed[me]++;
		look();
		arm();
		look();
		frames[me] = 0;
		if
		:: !found && !DONE -> goto asleep
		:: else
		fi;
#else
		if
		:: frames[me] = 0
		:: frames[me]--	/* the drain is bounded */
		fi;
#ifndef MUTANT_NO_DISARM
		armed[me]++;
#endif
		look();
#endif
again:		found = false
	od
}

init
{
	byte i;

	atomic {
		do
		:: i < PUBLISHERS -> run Publisher(i); i++
		:: else -> i = 0; break
		od;
		do
		:: i < MEMBERS -> run Member(i); i++
		:: else -> break
		od
	}
}
