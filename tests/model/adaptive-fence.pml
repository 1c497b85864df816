/* SPDX-License-Identifier: Apache-2.0 */
/*
 * adaptive-fence.pml - who pays for the fence between a commit and the look at the sleepers.
 *
 * The publisher stores a sequence and then loads the arming board; a subscriber that goes to sleep
 * stores to the board and then loads the sequence. One of them must see the other, so each needs a
 * fence between the two. The subscriber's is its atomic increment. The publisher has two modes:
 *
 *   FENCE    it fences after each commit
 *   ASYM     it does not; who goes to sleep reads the mode after the increment and, if it is
 *            ASYM, calls membarrier(2), which drains the publisher's store buffer
 *
 * It goes from FENCE to ASYM at any publish that found the board unmoved: store the mode, fence,
 * look once more. A moved board brings it back. Both stores of the mode go through the store
 * buffer, as the commits do. A subscriber to which membarrier is refused is introduced in this
 * order: the broker raises a flag in the publisher's session page; calls membarrier itself; then
 * introduces. The publisher looks at its page after each look at the board (hear_broker()). If it has
 * changed it fences and reads it again, attaches whoever was introduced, and with the flag goes back
 * to FENCE and is never ASYM again.
 *
 * It also reads introductions when it waits for an answer of the broker (request()), without a look
 * at its page; and if the broker is dead by then, there is no page to look at any more. So the
 * introduction itself says that a member has no membarrier, and that is heeded like the flag. That
 * is searched in adaptive-fence-lost.pml.
 *
 * Memory is that of x86: each process sees its stores before others do (the publisher's buffer is
 * modelled; the members' stores are atomic operations or come before one; only a mutant, in which
 * the increment is an ordinary store, has a buffer for it), all else is in order.
 *
 * Invariant: nobody sleeps in front of a message without a frame in its pipe: a member that does
 * not get to message M is an invalid end state.
 */
#ifndef M
#define M 2 /* messages */
#endif

/* A store buffer, and what it drains into. */
chan buffer = [4] of { byte, byte };
#define SEQ  0
#define MODE 1
byte memory[2];

#define FENCE_MODE 0 /* fences between commit and look */
#define ASYM_MODE  1 /* does not: who goes to sleep calls membarrier */

byte board;
byte armed[2];  /* member 0 has membarrier, member 1 has not */
byte frames[2];
byte queued;    /* introductions that the kernel has accepted for the publisher */
byte word;      /* session page: how many, and the flag */
#define FLAG 128
bool dead;      /* the broker */

#define FENCE() empty(buffer)

inline drain_one()
{
	buffer ? where, what;
	memory[where] = what;
	where = 0;
	what = 0
}

#ifdef MUTANT_NO_ARM_FENCE
byte bumps; /* of members, that others don't see yet */
#define BUMP() bumps++
#else
#define BUMP() board++ /* atomic: a fence, too */
#endif

active proctype Buffer()
{
	byte where, what;

end:	do
	:: atomic { nempty(buffer) -> drain_one() }
#ifdef MUTANT_NO_ARM_FENCE
	:: atomic { bumps > 0 -> bumps--; board++ }
#endif
	od
}

/* membarrier(2): whatever the publisher has stored is visible when it returns. */
inline membarrier()
{
	atomic {
		do
		:: nempty(buffer) -> drain_one()
		:: empty(buffer) -> break
		od
	}
}

/* ---- publisher --------------------------------------------------------------------------- */

inline look_at_member(m)
{
	atomic {
		a = armed[m];
		if
		:: a % 2 == 1 && a != rung[m] -> rung[m] = a
		:: else -> a = 0
		fi
	};
	if
	:: atomic { a != 0 -> frames[m]++; a = 0 }
	:: else
	fi
}

/* look_at_boards(): leaves in `moved` whether the board had moved. */
inline look_at_board()
{
	atomic { w = board; moved = (w != seen_board) };
	if
	:: atomic { moved -> seen_board = w; w = 0 };
		if
		:: n_known > 0 -> look_at_member(0)
		:: else
		fi;
		if
		:: n_known > 1 -> look_at_member(1)
		:: else
		fi
	:: atomic { else -> w = 0 }
	fi
}

/* set_mode() */
inline set_mode(m)
{
	atomic { buffer ! MODE, m; mode = m }
}

/* doorbell_allow_asym(), when it is not allowed. */
inline forbid_asym()
{
	may_asym = false;
	if
	:: mode == ASYM_MODE ->
		set_mode(FENCE_MODE);
#ifndef VARIANT_NEWCOMERS_WITHOUT_FENCES
		FENCE();
		look_at_board()
#endif
	:: else
	fi
}

/* publisher_added(), for each that is in the socket. */
inline take_messages()
{
	do
	:: n_known < queued ->
#ifndef VARIANT_NEWCOMERS_WITHOUT_FENCES
		FENCE();
#endif
		n_known++;
		look_at_member(n_known - 1);
#ifndef MUTANT_INTRODUCTION_NOT_HEEDED
		if
		:: n_known > 1 -> forbid_asym()
		:: else
		fi
#endif
	:: else -> break
	od;
	moved = false
}

/*
 * hear_broker(): attaches whoever was introduced, and heeds the flag. A page that has changed is
 * read again after a fence: whoever is introduced later than that looks at the ring when the last
 * commit is visible, though it may have been made without a fence.
 */
inline hear_broker()
{
	if
	:: atomic { word != seen_word && !is_away -> seen_word = word };
#ifndef MUTANT_INTAKE_WITHOUT_FENCE
		FENCE();
		seen_word = word;
#endif
		take_messages();
#ifndef MUTANT_FLAG_IGNORED
		if
		:: seen_word >= FLAG -> forbid_asym()
		:: else
		fi
#endif
	:: atomic { else -> moved = false }
	fi
}

/* Reads on while it waits for an answer, or to the end of the socket: connection_lose(). */
inline request()
{
	atomic { has_asked = true; is_away = dead };
	take_messages()
}

active proctype Publisher()
{
	byte n, a, w, rung[2], n_known, seen_board, seen_word, mode = FENCE_MODE;
	bool may_asym = true, moved, has_asked, is_away;

	do
	:: n < M ->
		atomic { buffer ! SEQ, n + 1; n++ };
#ifndef MUTANT_NO_PUBLISH_FENCE
		if
		:: mode == FENCE_MODE -> FENCE()
		:: else
		fi;
#endif
		look_at_board();
		if
		:: mode == ASYM_MODE && moved -> set_mode(FENCE_MODE)
		:: mode == FENCE_MODE && may_asym && !moved -> /* go_asym() */
			set_mode(ASYM_MODE);
#ifndef MUTANT_NO_FENCE_AT_SWITCH
			FENCE();
#endif
#ifndef VARIANT_NO_LOOK_AT_SWITCH
			look_at_board();
			if
			:: moved -> set_mode(FENCE_MODE)
			:: else
			fi
#endif
		:: mode == FENCE_MODE || !moved /* not yet time to switch */
		fi;
		hear_broker()
#ifdef BROKER_DIES
	:: !has_asked -> request()
#endif
	:: n == M -> break
	od
}

/* ---- members ----------------------------------------------------------------------------- */

/* arm_and_look(), sleep, wake */
inline member(me)
{
	do
	:: taken == M -> break
	:: atomic { memory[SEQ] > taken -> taken = memory[SEQ] }
	:: else ->
		armed[me]++;
		BUMP();
		if
		:: me == 0 && memory[MODE] == ASYM_MODE ->
#ifndef MUTANT_NO_MEMBARRIER
			membarrier()
#endif
		:: else
		fi;
		if
		:: atomic { memory[SEQ] > taken -> taken = memory[SEQ] }
		:: else ->
			frames[me] > 0;
			frames[me] = 0
		fi;
		armed[me]++
	od
}

proctype WithMembarrier()
{
	byte taken, where, what;

	member(0)
}

proctype WithoutMembarrier()
{
	byte taken, where, what;

	member(1)
}

active proctype Broker()
{
	byte where, what;

	queued++;
	word++;
#ifndef BROKER_DIES
	run WithMembarrier();
#endif
	word = word + FLAG;
#ifndef MUTANT_NO_BROKER_MEMBARRIER
	membarrier();
#endif
	queued++;
	word++;
	run WithoutMembarrier();
#ifdef BROKER_DIES
	dead = true
#endif
}
