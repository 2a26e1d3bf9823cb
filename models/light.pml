/*
 * light.pml - a wait on one object, under a context that may end, by plain stores alone:
 * src/sched/park.h, kind (B); light_begin and after_light in switch.h, waiter_claim in park.h,
 * gort__light_ended in proc.c, gort__light_canceled and gort__wait_cancel in park.c.
 *
 * A goroutine waits WAITS times for a value. Two senders bring one each. Meanwhile its context
 * ends. Numbers are those of park.h:
 *
 *   waiter, with the object's lock   (3)  takes the next turn, for its node
 *                                    (4)  ended? then it does not wait; else queue, park
 *   resumer, with the object's lock  (5)  store {turn, LIGHT_WAITING}; fence_light
 *                                    (6)  ended? CAS LIGHT_WAITING -> CANCELED, and ready it when
 *                                         the lock is released
 *   ender, with the object's lock    (7)  store taken = turn; fence_light
 *                                    (8)  ended? then it has won only by CAS LIGHT_WAITING -> DONE;
 *                                         else it has won
 *   canceller                             store ended; membarrier; load the wait word, taken:
 *                                    (9)  LIGHT_WAITING, and taken is not its turn: CAS ->
 *                                         CANCELED, and ready it
 *   waiter, woken                    (w)  ended, and CANCELED: take the lock, and the node out of
 *                                         the queue; else the ender's status counts
 *
 * The stores of (5), (7), and to ended, lie in store buffers (storebuf.h); the release of the
 * lock is the last in the buffer of who held it.
 *
 * Abstracted: the object is a counter of values with a queue; the set that the waiter is in
 * (cancel.pml). (4) saves a switch and no more: whatever it misses, (6) sees.
 *
 * Proved: a wait is ended once, after the stack is left (asleep); nodes are touched only while the
 * wait lasts (alive); each value is received once or lies in the object (received); the waiter
 * comes to its end though there are fewer values than waits (all_end; under weak fairness: ltl).
 *
 * Broken variants, and what each fails by:
 *   BROKEN_MEMBARRIER  end state  the canceller makes none
 *   BROKEN_ORDER       end state  the canceller looks before it stores ended
 *   BROKEN_5           end state  no fence_light: the compiler loads ended (6) before (5)
 *   BROKEN_6           end state  (6) left out
 *   BROKEN_7           asleep     no fence_light: the compiler loads ended (8) before (7)
 *   BROKEN_8           asleep     (8) left out: the ender has always won
 *   BROKEN_9           asleep     the canceller does not look at taken
 *   BROKEN_CAS         asleep     (9) by load and store
 *   BROKEN_TURN        end state  taken says that some wait was taken, not which
 *   BROKEN_W           received   woken, and ended: it was the canceller
 *   BROKEN_STAYS       alive      (w) leaves the node in the queue
 */
#ifdef LIVENESS
#define WAITS 2
#else
#define WAITS 3
#endif
#define SENDERS 2

#define WAITER 0
#define CANCELLER 1
#define SENDER 2 /* the first of them */
#define THREADS (2 + SENDERS)
#define WORDS 4
#define DEPTH 2
#include "storebuf.h"

#define WORD 0
#define TAKEN 1
#define ENDED 2
#define LOCK 3 /* the object's */

#define LIGHT_WAITING 2 /* states of a wait word */
#define DONE 3
#define CANCELED 4
#define STATES 7
#define TURN(n) (8 * (n))

byte values; /* in the object */

/* The waiter's. */
byte turn, node; /* node: its turn, while it is queued */
bool queued, alive, got; /* got: the node's status is 0 */
bool asleep, stack = true, left, ready;

byte sent, received;
bool over;

inline acquire(t)
{
	atomic { drained(t) && !mem[LOCK] -> mem[LOCK] = 1 }
}

inline release(t)
{
	store(t, LOCK, 0)
}

inline cas(t, old, new)
{
	atomic {
		drained(t);
		ok = (mem[WORD] == (old));
		if
		:: ok -> mem[WORD] = new
		:: else
		fi
	}
}

inline make_ready()
{
	d_step { assert(asleep && !stack); asleep = false; ready = true }
}

/* ---- the waiter ---- */

inline woken()
{
	seen = mem[ENDED];
	if
#ifdef BROKEN_W
	:: seen ->
#else
	:: seen && (mem[WORD] & STATES) == CANCELED -> /* (w) */
#endif
#ifndef BROKEN_STAYS
	   acquire(WAITER);
	   queued = false;
	   release(WAITER);
#endif
	   got = false
	:: else ->
	   assert(got);
	   d_step { received++; got = false }
	fi;
	alive = false
}

/* With the lock. */
inline wait()
{
	turn = turn + TURN(1); /* (3) */
	seen = mem[ENDED]; /* (4) */
	if
	:: seen -> release(WAITER)
	:: else ->
	   d_step { node = turn; queued = true; alive = true; asleep = true };
	   stack = false;
	   left = true;
	   ready;
	   d_step { ready = false; stack = true };
	   woken()
	fi;
	seen = 0
}

active proctype waiter()
{
	byte seen, round;

	do
	:: round < WAITS ->
	   round++;
	   acquire(WAITER);
	   if
	   :: values -> d_step { values--; received++ }; release(WAITER)
	   :: else -> wait()
	   fi
	:: else -> break
	od;
	over = true
}

/* The resumer: whoever runs next on the waiter's M, the same thread. */
active proctype m()
{
	byte seen, was;
	bool ok;

end:	do
	:: left ->
	   left = false;
	   was = turn;
#ifdef BROKEN_5
	   seen = mem[ENDED];
	   store(WAITER, WORD, was + LIGHT_WAITING);
#else
	   store(WAITER, WORD, was + LIGHT_WAITING); /* (5) */
	   fence_light(WAITER);
	   seen = mem[ENDED]; /* (6) */
#endif
	   if
#ifndef BROKEN_6
	   :: seen -> cas(WAITER, was + LIGHT_WAITING, was + CANCELED)
#endif
	   :: else
	   fi;
	   release(WAITER);
	   if
	   :: ok -> make_ready()
	   :: else
	   fi;
	   d_step { ok = false; seen = 0; was = 0 }
	od
}

/* ---- enders ---- */

/* waiter_claim. */
inline claim()
{
#ifdef BROKEN_7
	seen = mem[ENDED];
	store(me, TAKEN, turn_);
#else
	store(me, TAKEN, turn_); /* (7) */
	fence_light(me);
	seen = mem[ENDED]; /* (8) */
#endif
	if
#ifndef BROKEN_8
	:: seen -> cas(me, turn_ + LIGHT_WAITING, turn_ + DONE)
#endif
	:: else -> ok = true
	fi
}

proctype sender(byte me)
{
	byte seen, turn_;
	bool ok;

	acquire(me);
	if
	:: queued ->
	   assert(alive);
	   queued = false;
	   turn_ = node;
	   claim()
	:: else
	fi;
	if
	:: ok -> assert(alive); got = true
	:: else -> values++
	fi;
	release(me);
	sent++;
	if
	:: ok -> make_ready()
	:: else
	fi
}

#ifdef BROKEN_TURN
#define taken(word) mem[TAKEN]
#else
#define taken(word) (mem[TAKEN] == ((word) & ~STATES))
#endif

/* gort__wait_cancel. */
inline cancel_wait()
{
	word = mem[WORD];
	if
#ifdef BROKEN_9
	:: (word & STATES) == LIGHT_WAITING ->
#else
	:: (word & STATES) == LIGHT_WAITING && !taken(word) ->
#endif
#ifdef BROKEN_CAS
	   ok = (mem[WORD] == word);
	   if
	   :: ok -> mem[WORD] = (word & ~STATES) + CANCELED
	   :: else
	   fi
#else
	   cas(CANCELLER, word, (word & ~STATES) + CANCELED) /* (9) */
#endif
	:: else
	fi;
	if
	:: ok -> make_ready()
	:: else
	fi
}

active proctype canceller()
{
	byte word, todo;
	bool ok;

#ifdef BROKEN_ORDER
	membarrier(CANCELLER, todo);
	cancel_wait();
	store(CANCELLER, ENDED, 1)
#else
	store(CANCELLER, ENDED, 1);
#ifndef BROKEN_MEMBARRIER
	membarrier(CANCELLER, todo);
#endif
	cancel_wait()
#endif
}

active proctype all_end()
{
	over && sent == SENDERS;
	assert(received + values == SENDERS)
}

init
{
	byte i;

	atomic {
		for (i : 0 .. SENDERS - 1) {
			run sender(SENDER + i)
		}
		for (i : 0 .. THREADS - 1) {
			run buffer(i)
		}
	}
}

#ifdef LIVENESS
ltl ends { <> (over && sent == SENDERS) }
#endif
