/*
 * lock.pml - how a thread sleeps on a struct lock: src/base/lock.h (2), gort__lock_slow in lock.c.
 *
 *   who wants to sleep                     who releases
 *   1  add_seq(sleepers, 1)                r1  store word = 0 (release)
 *   2  os_membarrier                       r2  fence_light
 *   3  look at word; while it is held,     r3  load sleepers; if any, futex_wake
 *      futex_wait(word, 1)
 *      then sub_relaxed(sleepers, 1)
 *
 * THREADS threads each take the lock ROUNDS times. The store of r1 may lie in the releaser's store
 * buffer (storebuf.h) while r3 loads: that is what the fences are for.
 *
 * Abstracted: spinning before step 1; what the lock protects is the ghost inside. A futex compares
 * and queues in one step, wakes any one sleeper, and never wakes spuriously (which would hide a
 * lost wakeup). futex_wake is a full fence before it looks whether anyone sleeps, as in Linux.
 *
 * Proved: one thread at a time is inside; nobody sleeps for ever (all_end would be left at an
 * invalid end state); under weak fairness all come to their end (ltl).
 *
 * Broken variants, and what each fails by:
 *   BROKEN_MEMBARRIER  end state  step 2 is left out
 *   BROKEN_LIGHT       end state  no fence_light: the compiler loads (r3) before it stores (r1)
 *   BROKEN_COUNT       end state  steps 1 and 2 swapped
 *   BROKEN_LOOK        end state  step 3 sleeps without a look at word
 *   BROKEN_TRY         inside     the lock is taken by load and store instead of CAS
 */
#define THREADS 3
#define WORDS 1
#define DEPTH 1
#ifdef LIVENESS
#define ROUNDS 1
#else
#define ROUNDS 2
#endif
#include "storebuf.h"

#define WORD 0 /* 1 while held */

byte sleepers;        /* changed by locked instructions alone */
bool asleep[THREADS]; /* in futex_wait */
byte inside, done;    /* ghosts */

inline cas_word(me, got)
{
#ifdef BROKEN_TRY
	drained(me);
	got = (mem[WORD] == 0);
	if
	:: got -> mem[WORD] = 1
	:: else
	fi
#else
	atomic {
		drained(me);
		got = (mem[WORD] == 0);
		if
		:: got -> mem[WORD] = 1
		:: else
		fi
	}
#endif
}

inline futex_wait(me)
{
#ifdef BROKEN_LOOK
	asleep[me] = true;
	!asleep[me]
#else
	if
	:: mem[WORD] != 1
	:: atomic { mem[WORD] == 1 -> asleep[me] = true };
	   !asleep[me]
	fi
#endif
}

inline futex_wake(me)
{
	atomic {
		drained(me);
		if
		:: asleep[0] -> asleep[0] = false
		:: asleep[1] -> asleep[1] = false
		:: asleep[2] -> asleep[2] = false
		:: else
		fi
	}
}

/* Comes after a failed CAS, so nothing of the thread's own is pending. */
inline lock_slow(me, got, todo)
{
#ifdef BROKEN_COUNT
	membarrier(me, todo);
	sleepers++;
#else
	sleepers++; /* 1 */
#ifndef BROKEN_MEMBARRIER
	membarrier(me, todo); /* 2 */
#endif
#endif
	do /* 3 */
	:: futex_wait(me);
	   cas_word(me, got);
	   if
	   :: got -> break
	   :: else
	   fi
	od;
	sleepers--
}

inline lock_release(me)
{
#ifdef BROKEN_LIGHT
	found = sleepers;
	store(me, WORD, 0);
#else
	store(me, WORD, 0); /* r1 */
	fence_light(me);    /* r2 */
	found = sleepers;   /* r3 */
#endif
	if
	:: found -> futex_wake(me); found = 0
	:: else
	fi
}

proctype thread(byte me)
{
	byte round, todo, found;
	bool got;

	do
	:: round < ROUNDS ->
	   cas_word(me, got);
	   if
	   :: !got -> lock_slow(me, got, todo)
	   :: else
	   fi;
	   inside++;
	   assert(inside == 1);
	   inside--;
	   lock_release(me);
	   round++
	:: else -> break
	od;
	done++
}

active proctype all_end()
{
	done == THREADS
}

init
{
	byte t;

	atomic {
		for (t : 0 .. THREADS - 1) {
			run thread(t);
			run buffer(t)
		}
	}
}

#ifdef LIVENESS
ltl ends { <> (done == THREADS) }
#endif
