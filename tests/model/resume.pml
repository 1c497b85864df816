/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resume.pml - the broker dies, at any point, and others follow: is nothing reused that a
 * subscriber reads, and does everybody who sleeps wake up?
 *
 * One publisher with two chunks, one subscriber, and BROKERS brokers one after the other, of which
 * all but the last may die before and after each thing that they do. A client that finds its broker
 * dead takes in what is still in its socket, and then tells the next one whether it knows the other,
 * and on which board. A broker that both have told so, of the same board, leaves them as they are;
 * else it introduces them (to the publisher, then `pending`, then to the subscriber), with a board
 * of its own. Who knows the other already moves to that board.
 *
 * With LOSES_ONE the descriptors of an introduction may be lost on the way to the publisher, once:
 * then it knows that somebody is missing, reuses nothing until it is introduced again, and rings for
 * nobody.
 *
 * Invariants: no chunk that is read is used again (in Publisher); the subscriber takes the last
 * message at last, though it sleeps whenever there is nothing (no invalid end state).
 */
#ifndef BROKERS
#define BROKERS  2
#endif
#ifndef MESSAGES
#define MESSAGES 3
#endif
#define NONE 15

/* What the kernel holds for each, of each broker: the number of the board, which is the broker's. */
chan to_publisher[BROKERS] = [1] of { byte };
chan to_subscriber[BROKERS] = [1] of { byte };
byte pending[BROKERS];   /* in the publisher's page of that broker */
byte now;                /* the last broker that has started */
bool dead[BROKERS];      /* sockets end */

/* What each broker was told. */
bool publisher_came[BROKERS], subscriber_came[BROKERS];
bool publisher_lists[BROKERS], subscriber_lists[BROKERS];
byte publisher_lists_board[BROKERS], subscriber_lists_board[BROKERS];

/* Shared memory. */
byte slot;               /* the chunk of the newest message */
byte seq[2];
byte hold = NONE;
byte reading[2];         /* ghost */
byte counter[BROKERS];   /* of boards */
byte armed;              /* odd: asleep, or about to be */
bool frame;              /* in the subscriber's pipe */
bool missing;            /* the publisher says so to its broker */

/* ---- brokers ----------------------------------------------------------------------------- */

#ifdef MUTANT_BOARDS_NOT_COMPARED
#define SAME_BOARD(b) true
#else
#define SAME_BOARD(b) (publisher_lists_board[b] == subscriber_lists_board[b])
#endif
#ifdef MUTANT_ONE_SIDE_IS_ENOUGH
#define KNOW_EACH_OTHER(b) (publisher_lists[b] || subscriber_lists[b])
#else
#define KNOW_EACH_OTHER(b) (publisher_lists[b] && subscriber_lists[b] && SAME_BOARD(b))
#endif

inline may_die()
{
	if
	:: b + 1 < BROKERS -> dead[b] = true; goto next
	:: true
	fi
}

active proctype Broker()
{
	byte b;

start:	now = b;
end_alone: /* the subscriber has had everything, and comes no more */
	if
	:: publisher_came[b] && subscriber_came[b]
	:: b + 1 < BROKERS -> dead[b] = true; goto next
	fi;
	if
	:: KNOW_EACH_OTHER(b)
	:: else ->
		to_publisher[b] ! b;
		may_die();
		pending[b]++;
		may_die();
		to_subscriber[b] ! b
	fi;
end:	do
	:: b + 1 < BROKERS -> dead[b] = true; goto next
	/* It is asked to send an introduction again. */
	:: atomic { missing && !dead[b] && len(to_publisher[b]) == 0 -> to_publisher[b] ! b };
		pending[b]++
	od;
next:	atomic { b++; goto start }
}

/* ---- publisher --------------------------------------------------------------------------- */

inline look_at_member()
{
	if
	:: atomic { armed % 2 == 1 && armed != answered -> answered = armed; frame = true }
	:: else
	fi
}

/* publisher_added(): a newcomer is attached, who is known moves to the new board. */
inline take_messages()
{
	if
	:: atomic { len(to_publisher[session]) > 0 -> to_publisher[session] ? introduced };
		if
#ifdef LOSES_ONE
		:: atomic { !known && !has_lost -> has_lost = true; missing = true }
#endif
		:: true ->
#ifdef MUTANT_SEEN_AFTER_ARMED
			look_at_member();
			seen = counter[introduced];
			atomic { board = introduced; known = true; missing = false }
#else
			seen = counter[introduced];
#ifdef MUTANT_MOVED_ARMED_IGNORED
			if
			:: known
			:: else -> look_at_member()
			fi;
#else
			look_at_member();
#endif
			atomic { board = introduced; known = true; missing = false }
#endif
		fi
	:: len(to_publisher[session]) == 0
	fi
}

active proctype Publisher()
{
	byte n = 1, c, session, introduced, board = NONE, seen, answered, seen_pending;
	bool known, has_lost, away;

	/* Message 1 is in chunk 0 from the beginning. */
	atomic { seq[0] = 1; publisher_came[0] = true };
	do
	/* Its broker is dead: it reads on to the end, and goes to the next. */
	:: !away && dead[session] ->
#ifndef MUTANT_QUEUED_DROPPED
		take_messages();
#endif
#ifdef MUTANT_MEMBERS_FORGOTTEN
		known = false;
#endif
		away = true
	:: atomic { away && now > session && !dead[now] ->
		session = now;
#ifndef MUTANT_OLD_PAGE
		seen_pending = 0;
#endif
		publisher_lists[now] = known;
		publisher_lists_board[now] = board;
		publisher_came[now] = true;
		away = false }
	:: !away && len(to_publisher[session]) > 0 -> take_messages()
	/* Reclaim, and publish. */
	:: n < MESSAGES ->
		atomic { c = 1 - slot; seq[c] = 0 };
#ifdef MUTANT_OLD_PAGE
		if
		:: !away && pending[0] != seen_pending ->
			seen_pending = pending[0];
			take_messages()
		:: else
		fi;
#else
		if
		:: !away && pending[session] != seen_pending ->
			seen_pending = pending[session];
			take_messages()
		:: else
		fi;
#endif
		if
		:: atomic { !missing && !(known && hold == c) ->
			assert(!reading[c]);
			n++ };
			atomic { seq[c] = n; slot = c };
			/* Doorbell. */
			if
			:: atomic { known && counter[board] != seen -> seen = counter[board] };
				look_at_member()
			:: else
			fi
		:: else
		fi
	:: n == MESSAGES && (away -> !(now > session && !dead[now])
					 : (!dead[session] && len(to_publisher[session]) == 0)) ->
end:		(away && now > session && !dead[now]) || (!away && (dead[session] ||
			len(to_publisher[session]) > 0))
	od
}

/* ---- subscriber -------------------------------------------------------------------------- */

inline disarm()
{
	if
	:: armed % 2 == 1 -> armed++
	:: else
	fi
}

active proctype Subscriber()
{
	byte session, introduced, board = NONE, c, n, last;
	bool known, away;

	subscriber_came[0] = true;
	do
	:: atomic { !away && len(to_subscriber[session]) > 0 -> to_subscriber[session] ? introduced;
		board = introduced; known = true };
		disarm()
	:: atomic { !away && dead[session] && len(to_subscriber[session]) == 0 -> away = true
#ifdef MUTANT_OLD_BOARD_DROPPED
		; board = NONE
#endif
		}
	:: atomic { away && now > session && !dead[now] ->
		session = now;
		subscriber_lists[now] = known;
#ifdef MUTANT_OLD_BOARD_DROPPED
		subscriber_lists_board[now] = publisher_lists_board[now];
#else
		subscriber_lists_board[now] = board;
#endif
		subscriber_came[now] = true;
		away = false }
	:: known && seq[slot] > last ->
		atomic { c = slot; n = seq[c] };
		if
		:: n > last ->
			hold = c;
			if
			:: atomic { seq[c] == n -> reading[c]++ };
				atomic { reading[c]--; last = n };
				hold = NONE
			:: else -> hold = NONE
			fi
		:: else
		fi
	:: last == MESSAGES -> break
	/* Arm, look once more, sleep. */
	:: known && last < MESSAGES && seq[slot] <= last && armed % 2 == 0 ->
		armed++;
		if
		:: board != NONE -> counter[board]++
		:: else
		fi;
		if
		:: seq[slot] > last -> armed++
		:: else ->
			(frame || (!away && (dead[session] || len(to_subscriber[session]) > 0)) ||
			 (away && now > session && !dead[now]));
			if
			:: atomic { frame -> frame = false };
				disarm()
			:: else
			fi
		fi
	/* Armed, and woken by something else: it sleeps again without arming anew. */
	:: known && last < MESSAGES && armed % 2 == 1 && seq[slot] <= last &&
	   !(!away && (dead[session] || len(to_subscriber[session]) > 0)) &&
	   !(away && now > session && !dead[now]) ->
		(frame || (!away && (dead[session] || len(to_subscriber[session]) > 0)) ||
		 (away && now > session && !dead[now]));
		if
		:: atomic { frame -> frame = false };
			disarm()
		:: else
		fi
	od
}
