/*
 * cancel.pml - a context ends while somebody waits under it: src/sync/ctx.c, rules 1 and 2;
 * gort__wait_begin and gort__wait_cancel in src/sched/park.c, for waits of kind (A) of park.h
 * (those of kind (B): light.pml).
 *
 * A goroutine begins a context, and waits for a value that may come or not; that wait the context
 * may end. Then it waits for a value that will come; that wait is sure. Then it leaves the
 * context, and waits for a value that will come. Meanwhile the context ends.
 *
 *   begin   b1  store ended = 0
 *           b2  under the set's lock: has the context ended? if not, become a member
 *           b3  if it has: store ended
 *   wait    w1  under the object's lock: store {turn, sure or not, PARKING} in the wait word
 *           w2  fence_light
 *           w3  not sure: load ended. It has: store RUNNING, and do not wait
 *           w4  the node into the queue; park, (2) as in park.h; the lock is released after that
 *   leave   l1  under the set's lock: no longer a member
 *           l2  store ended = 0
 *   end     e1  CAS of the context's state
 *           e2  under the set's lock, till e5: take members out
 *           e3  store their ended
 *           e4  membarrier, one for a batch
 *           e5  load the wait word. Not sure, and PARKING or WAITING: CAS to CANCELED, (1a) or (1b)
 *   sender  claims by CAS under the object's lock, as in park.h
 *
 * Either w3 sees e3, or e5 sees w1. The stores of b1, b3, l2, w1 and e3 lie in store buffers
 * (storebuf.h).
 *
 * Abstracted: a set has one member; sets by shards; contexts below; deadlines.
 *
 * Proved: the first wait ends though no value comes (all_end; under weak fairness: ltl), the others
 * by a value alone (got); a wait is ended once, after the stack is left (asleep).
 *
 * Broken variants, and what each fails by:
 *   BROKEN_MEMBARRIER  end state  e4 left out
 *   BROKEN_LIGHT       end state  the compiler loads ended (w3) before it stores the word (w1)
 *   BROKEN_ORDER       end state  e5 comes before e3
 *   BROKEN_LOOK        end state  w3 left out
 *   BROKEN_JOIN        end state  b2 looks at the context before it takes the lock
 *   BROKEN_BEGIN       end state  b1 comes after b2: it may undo e3
 *   BROKEN_LEAVE       got        l2 comes before l1: e3 may come between
 *   BROKEN_TURN        got        e5's CAS compares the state alone: it hits a later wait
 *   BROKEN_SURE        got        e5 does not ask whether the wait is sure
 *   BROKEN_BOTH        asleep     e5 readies a goroutine that is PARKING
 */
#define WAITER 0
#define CANCELLER 1
#define THREADS 2
#define WORDS 2
#define DEPTH 2
#include "storebuf.h"

#define WORD 0
#define ENDED 1

#define RUNNING 0 /* states of a wait word */
#define PARKING 1
#define WAITING 2
#define DONE 3
#define CANCELED 4
#define STATES 7
#define SURE 8 /* a part of the turn */
#define TURN(n) (16 * (n))

#define WAITS 3

bool object_lock, set_lock;
byte values; /* in the object */

bool context_ended, member;

/* The waiter's. */
byte turn;
bool queued, got; /* its node; the node's status is 0 */
bool asleep, stack = true, left, ready;

byte round;
bool over;

inline acquire(lock)
{
	atomic { !lock -> lock = true }
}

/* The same as a locked instruction of the waiter's: it has no other stores pending then. */
inline acquire_drained(lock)
{
	atomic { drained(WAITER) && !lock -> lock = true }
}

inline cas(old, new)
{
	d_step {
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

inline join()
{
#ifdef BROKEN_JOIN
	seen = context_ended;
	acquire_drained(set_lock);
#else
	acquire_drained(set_lock);
	seen = context_ended;
#endif
	member = !seen;
	set_lock = false
}

inline begin()
{
#ifndef BROKEN_BEGIN
	store(WAITER, ENDED, 0); /* b1 */
#endif
	join(); /* b2 */
	if
	:: seen -> store(WAITER, ENDED, 1) /* b3 */
#ifdef BROKEN_BEGIN
	:: !seen -> store(WAITER, ENDED, 0)
#else
	:: !seen
#endif
	fi;
	seen = 0
}

inline leave()
{
#ifdef BROKEN_LEAVE
	store(WAITER, ENDED, 0);
#endif
	acquire_drained(set_lock); /* l1 */
	member = false;
	set_lock = false;
#ifndef BROKEN_LEAVE
	store(WAITER, ENDED, 0) /* l2 */
#endif
}

inline park()
{
	queued = true;
	asleep = true;
	stack = false;
	left = true;
	ready;
	d_step { ready = false; stack = true };
	acquire(object_lock);
	queued = false
}

/* With the lock, and nothing in the object. */
inline wait()
{
	turn = TURN(round) + (round == 2 -> SURE : 0);
#ifdef BROKEN_LIGHT
	seen = mem[ENDED];
	store(WAITER, WORD, turn + PARKING);
#else
	store(WAITER, WORD, turn + PARKING); /* w1 */
	fence_light(WAITER);                 /* w2 */
	seen = mem[ENDED];                   /* w3 */
#endif
	if
#ifndef BROKEN_LOOK
	:: seen && !(turn & SURE) -> store(WAITER, WORD, turn + RUNNING)
#endif
	:: else -> park() /* w4 */
	fi;
	seen = 0
}

active proctype waiter()
{
	byte seen;

	begin();
	do
	:: round < WAITS ->
	   round++;
	   if
	   :: round == WAITS -> leave()
	   :: else
	   fi;
	   acquire_drained(object_lock);
	   if
	   :: values -> values--; got = true
	   :: else -> wait()
	   fi;
	   drained(WAITER) -> object_lock = false; /* the release is the last in its buffer */
	   assert(round == 1 || got);
	   got = false
	:: else -> break
	od;
	over = true
}

/* Whoever runs next on its M: the same thread. */
active proctype m()
{
	bool ok;

end:	do
	:: left ->
	   left = false;
	   drained(WAITER);
	   cas(turn + PARKING, turn + WAITING); /* (2) */
	   object_lock = false;
	   if
	   :: ok
	   :: else -> make_ready()
	   fi;
	   ok = false
	od
}

/* ---- enders ---- */

/* e5, as claim() of park.c but for a loop in place of its three tries. */
inline cancel_wait()
{
	do
	:: seen = mem[WORD];
	   if
#ifdef BROKEN_SURE
	   :: (seen & STATES) == PARKING || (seen & STATES) == WAITING ->
#else
	   :: !(seen & SURE) && ((seen & STATES) == PARKING || (seen & STATES) == WAITING) ->
#endif
#ifdef BROKEN_TURN
	      d_step {
		ok = ((mem[WORD] & STATES) == (seen & STATES));
		if
		:: ok -> mem[WORD] = (mem[WORD] & ~STATES) + CANCELED
		:: else
		fi
	      };
#else
	      cas(seen, (seen & ~STATES) + CANCELED);
#endif
	      if
	      :: ok -> break
	      :: else
	      fi
	   :: else -> break
	   fi
	od;
	if
#ifdef BROKEN_BOTH
	:: ok -> make_ready()
#else
	:: ok && (seen & STATES) == WAITING -> make_ready()
#endif
	:: else
	fi
}

active proctype canceller()
{
	byte seen, todo;
	bool ok;

	context_ended = true; /* e1 */
	acquire(set_lock);    /* e2 */
	if
	:: member ->
	   member = false;
#ifdef BROKEN_ORDER
	   membarrier(CANCELLER, todo);
	   cancel_wait();
	   store(CANCELLER, ENDED, 1);
#else
	   store(CANCELLER, ENDED, 1); /* e3 */
#ifndef BROKEN_MEMBARRIER
	   membarrier(CANCELLER, todo); /* e4 */
#endif
	   cancel_wait(); /* e5 */
#endif
	   drained(CANCELLER)
	:: else
	fi;
	set_lock = false
}

/* A value while the waiter is in a round, or, in the first, none. */
proctype sender(byte which)
{
	bool ok;

	if
	:: round >= which
	:: which == 1 -> goto none
	fi;
	acquire(object_lock);
	if
	:: queued ->
	   queued = false;
	   assert((mem[WORD] & STATES) != PARKING);
	   cas(turn + WAITING, turn + DONE);
	   got = ok
	:: else
	fi;
	values = values + 1 - ok;
	object_lock = false;
	if
	:: ok -> make_ready()
	:: else
	fi;
none:	skip
}

active proctype all_end()
{
	over
}

init
{
	atomic {
		run sender(1);
		run sender(2);
		run sender(3);
		run buffer(WAITER);
		run buffer(CANCELLER)
	}
}

#ifdef LIVENESS
ltl ends { <> over }
#endif
