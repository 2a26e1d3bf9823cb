/*
 * retake.pml - taking the P of a thread that may be asleep in the kernel, without a fence in the
 * calls of those that are not: the design for blocking calls. Ahead of the code: this file is the
 * description until then.
 *
 * Each M has two shared words. in_rt: 1 while it is in gort, 0 in user code. handle: the P that it
 * holds, or NULL. In gort it uses a private copy of handle, p, which it takes at entry.
 *
 *   entry   n1  store in_rt = 1
 *           n2  fence_light
 *           n3  load handle. NULL: it was taken, or is just being looked at:
 *           n4  transition lock; handle again (it may have been put back); else take an idle P, by
 *               CAS NULL -> P; else wait for one
 *   leave   l1  store in_rt = 0 (release: after all that was done with the P)
 *   giving  g1  CAS handle P -> NULL, by the owner, in gort; if that fails, sysmon has it in its
 *   away        hands: wait on the transition lock, try again
 *           g2  the P is idle, or another's
 *   sysmon  t1  transition lock; CAS handle P -> NULL of the suspects
 *           t2  membarrier, one for all suspects
 *           t3  load in_rt (acquire). 0: the P is taken, and goes to who waits
 *           t4  1: CAS handle NULL -> P: back it goes
 *
 * Either n3 comes after t1 and finds NULL, or n1 comes before t2 and t3 finds 1. What t1 to t4 do
 * to handle must not be undone by the owner meanwhile: hence each of its changes is a CAS, too.
 *
 * Ms enter, use their P or give it away, and leave, ROUNDS times; then they stay in user code. The
 * stores to in_rt, and to what belongs to a P (data), lie in store buffers (storebuf.h).
 *
 * Abstracted: which threads are suspects is chance; waiting for a P is not queued.
 *
 * Proved: a P has one user in gort (users); who uses a P sees what was done with it before (uses);
 * a P is in one place (handle, or idle); who waits for a P gets one, though the others stay in
 * user code for ever (under weak fairness: ltl).
 *
 * Broken variants, and what each fails by:
 *   BROKEN_MEMBARRIER  users|uses  t2 left out: in_rt = 1 still lies in the store buffer at t3
 *   BROKEN_LIGHT       users|uses  the compiler loads handle (n3) before it stores in_rt (n1)
 *   BROKEN_ENTRY       users|uses  n3 left out: it goes on with the P that it had
 *   BROKEN_LOOK        users|uses  t3 left out: taken whatever the M does
 *   BROKEN_RELEASE     uses        l1 comes before the last store to what belongs to the P
 *   BROKEN_GIVING      handle      g1 as a plain store
 *   BROKEN_WAIT        handle      g1's CAS failed, and it gives the P away all the same
 */
#define MS 2
#define ROUNDS 2
#ifdef WITH_TWO_PS
#define PS 2
#else
#define PS 1
#endif

#define SYSMON MS
#define THREADS (MS + 1)
#define WORDS (PS + 1 + MS)
#define DEPTH 3
#include "storebuf.h"

#define DATA(p) p /* Ps count from 1; 0 is NULL */
#define IN_RT(m) (PS + 1 + (m))

byte handle[MS];
bool idle_p[PS + 1];
bool transition; /* lock */

/* Ghosts. */
byte users[PS + 1]; /* in gort, by M or not */
byte uses[PS + 1]; /* it was used */
byte ended;

#define places(p) ((handle[0] == p) + (handle[1] == p) + idle_p[p])
#define some_idle (idle_p[1] || idle_p[PS])

/* Of handle: from P to NULL or back. */
inline cas(m, from, to)
{
	d_step {
		ok = (handle[m] == from);
		if
		:: ok -> handle[m] = to; assert(places(from + to) <= 1)
		:: else
		fi
	}
}

inline give(p)
{
	d_step { idle_p[p] = true; assert(places(p) <= 1) }
}

/* ---- an M: p, ok are its own ---- */

inline begin_use()
{
	d_step {
		if
		:: p -> assert(!users[p]); users[p]++
		:: else
		fi
	}
}

/* n4 */
inline wait_for_p()
{
	atomic { drained(me) && !transition && (handle[me] || some_idle) -> transition = true };
	p = handle[me];
	if
	:: p
	:: else ->
	   d_step {
		p = (idle_p[1] -> 1 : PS);
		idle_p[p] = false
	   };
	   cas(me, 0, p)
	fi;
	begin_use();
	transition = false
}

inline enter()
{
#ifdef BROKEN_ENTRY
	store(me, IN_RT(me), 1);
	begin_use();
#else
#ifdef BROKEN_LIGHT
	atomic { p = handle[me]; begin_use() };
	store(me, IN_RT(me), 1);
#else
	store(me, IN_RT(me), 1);                /* n1 */
	fence_light(me);                        /* n2 */
	atomic { p = handle[me]; begin_use() }; /* n3 */
#endif
#endif
	if
	:: !p -> wait_for_p()
	:: else
	fi
}

/* Its own store it sees in the buffer, if it has not committed. With two Ps it is left out. */
inline use()
{
#ifdef WITH_TWO_PS
	skip
#else
	d_step {
		assert(pending[me]??[eval(p), v_] || mem[DATA(p)] == uses[p]);
		uses[p]++
	};
	store(me, DATA(p), uses[p])
#endif
}

inline give_away()
{
	do
	:: atomic {
		drained(me);
#ifdef BROKEN_GIVING
		handle[me] = 0;
		ok = true;
#else
		cas(me, p, 0); /* g1 */
#endif
#ifdef BROKEN_WAIT
		ok = true;
#endif
		if
		:: ok -> users[p]--
		:: else
		fi
	   };
	   if
	   :: ok -> give(p); p = 0; break /* g2 */
	   :: else -> !transition
	   fi
	od
}

inline leave()
{
#ifdef BROKEN_RELEASE
	store(me, IN_RT(me), 0);
	if
	:: p -> users[p]--; use()
	:: else
	fi
#else
	if
	:: p -> use(); users[p]--
	:: else
	fi;
	store(me, IN_RT(me), 0) /* l1 */
#endif
}

proctype m(byte me)
{
	byte p = handle[me], round;
	bool ok;

	do
	:: round < ROUNDS ->
	   round++;
	   enter();
	   if
	   :: true
	   :: use(); give_away()
	   fi;
	   leave()
	:: else -> break
	od;
	ended++
}

/* ---- sysmon. A thread that is a suspect for good, and the only one that it looks at then ---- */

#define still(m) (handle[m] && !mem[IN_RT(m)])

active proctype sysmon()
{
	byte taken[MS], i, todo;
	bool ok;

	do
#ifdef LIVENESS
	:: atomic { !transition && (still(0) || still(1)) -> transition = true };
#else
	:: atomic { !transition -> transition = true };
#endif
	   for (i : 0 .. MS - 1) {
		if
		:: taken[i] = handle[i]
#ifndef LIVENESS
		:: true /* no suspect */
#endif
		fi;
		if
		:: taken[i] ->
		   cas(i, taken[i], 0); /* t1 */
		   if
		   :: !ok -> taken[i] = 0
		   :: else
		   fi
		:: else
		fi
	   }
#ifndef BROKEN_MEMBARRIER
	   membarrier(SYSMON, todo); /* t2 */
#endif
	   for (i : 0 .. MS - 1) {
		if
		:: !taken[i]
#ifdef BROKEN_LOOK
		:: taken[i] -> give(taken[i])
#else
		:: taken[i] && !mem[IN_RT(i)] -> give(taken[i]) /* t3 */
		:: else ->
		   cas(i, 0, taken[i]); /* t4 */
		   assert(ok)
#endif
		fi;
		taken[i] = 0
	   }
	   ok = false;
	   transition = false
	od
}

init
{
	byte i;

	atomic {
		for (i : 0 .. MS - 1) {
			if
			:: i < PS -> handle[i] = i + 1
			:: else
			fi;
			run m(i);
			run buffer(i)
		}
	}
}

#ifdef LIVENESS
ltl ends { <> (ended == MS) }
#endif
