/*
 * submit.pml - the global queue against Ms that go idle: src/sched/proc.c, "Why no wakeup is lost"
 * (a); gort__global_put, gort__wake_p, find_runnable, spinning_end there; the creator in m.c.
 *
 * Guests put WORKS goroutines into the global queue while MS threads with PS Ps come and go. Only
 * the first M is there at the start, idle; the creator makes the others. As many goroutines as
 * there are Ps, but for one, may not end before all have begun: so it is not enough that work is
 * found some day, it must be found by a P that idles.
 *
 *   who fills it                             an M with nothing to do
 *   s1  under sched.lock: append,            i1  spins: looks at count
 *       store count                          i2  spinning--; with something found: fence_seq, and
 *   s2  fence_seq                                if a P idles and count says so: gort__wake_p
 *   s3  idle_ps? gort__wake_p                i3  under sched.lock: count? then again;
 *       (spinning? leave it to them)             else idle_ps++, to the idle list
 *                                            i4  sleeps until it is given a P
 *
 *   gort__wake_p  w1  spinning: 0 -> 1; else somebody is on its way
 *                 w2  under sched.lock: a P and an M from the idle lists; the M counts as spinning
 *                     instead of the caller. No M: the creator is asked, and the caller counts no
 *                     more. Is it asked already: nothing
 *   a new M       n1  counts as spinning
 *                 n2  under sched.lock: it is asked for no more; then i1. So whoever found it asked
 *                     has put its work there before that M looks
 *
 * The stores of s1 and w2 lie in store buffers (storebuf.h): s2 is a fence for i2's sake. The Ms'
 * other stores do not: between each and a load that matters there is a locked instruction.
 *
 * Abstracted: an M takes one goroutine at a time (what it moves to its own ring is idle.pml's); no
 * thread fails to start; quiet is set always, so that only count makes i2 call; sysmon, who would
 * find what is lost here at its next look, but may sleep without end when all Ps were idle before.
 *
 * Proved: all work begins (all_end; under weak fairness: ltl). WITH_TWO_GUESTS has another size:
 * two guests, two Ps.
 *
 * Broken variants, and what each fails by:
 *   BROKEN_FENCE  end state  s2 left out: s3 reads idle_ps and spinning before count is seen
 *   BROKEN_END    end state  i2 calls nobody
 *   BROKEN_LOOK   end state  i3 does not look at count
 *   BROKEN_ORDER  end state  with nothing found, i2 comes after i3
 *   BROKEN_ASKED  end state  n2 is done by the creator, when it has started the M
 */
#define MS 3
#if defined(WITH_TWO_GUESTS) || defined(LIVENESS)
#define PS 2
#else
#define PS 3
#endif
#ifdef WITH_TWO_GUESTS
#define GUESTS 2
#else
#define GUESTS 1
#endif
#define WORKS 3

#define AN_M GUESTS /* the buffer of whichever M holds the lock */
#define THREADS (GUESTS + 1)
#define WORDS 3
#define DEPTH 3
#include "storebuf.h"

#define LOCK 0 /* sched.lock */
#define COUNT 1
#define IDLE_PS 2

byte spinning;     /* changed by locked instructions */
byte wants, asked; /* under the lock */
bool made[MS], idle[MS], wake[MS];

#define nobody_idles (!idle[0] && !idle[1] && !idle[2])

/* Ghosts. */
byte taken, busy, submitted;

/* Ms and the creator. What they do under the lock is one step where one word that is read without
 * it changes: held is then never seen. */
#define lock_free (!mem[LOCK])

inline sleeper_get(m)
{
	atomic {
		if
		:: idle[0] -> m = 0
		:: idle[1] -> m = 1
		:: idle[2] -> m = 2
		:: nobody_idles -> m = MS
		fi;
		if
		:: m < MS -> idle[m] = false
		:: else
		fi
	}
}

/* t: whose store buffer; m: a variable of the caller's. */
inline wake_p(t, m)
{
	if
	:: spinning
	:: atomic { !spinning && drained(t) -> spinning = 1 }; /* w1 */
	   atomic { lock_free && drained(t) -> mem[LOCK] = 1 }; /* w2 */
	   m = MS;
	   if
	   :: !mem[IDLE_PS] || (asked && nobody_idles) -> spinning--
	   :: else ->
	      store(t, IDLE_PS, mem[IDLE_PS] - 1);
	      sleeper_get(m);
	      if
	      :: m < MS
	      :: m == MS -> d_step { asked++; wants++; spinning-- }
	      fi
	   fi;
	   store(t, LOCK, 0);
	   if
	   :: m < MS -> drained(t); wake[m] = true /* by a system call */
	   :: m == MS
	   fi;
	   m = 0
	fi
}

/* ---- an M. spins, got: variables of its own ---- */

/* global_take. */
inline look()
{
	if
	:: mem[COUNT] ->
	   atomic {
		lock_free;
		if
		:: mem[COUNT] -> mem[COUNT] = mem[COUNT] - 1; taken++; got = true
		:: else
		fi
	   }
	:: else
	fi
}

inline find_elsewhere()
{
	if
	:: mem[IDLE_PS] + 1 >= PS /* nobody else runs */
	:: !spins && 2 * spinning >= PS - mem[IDLE_PS] /* enough others look */
	:: else ->
	   if
	   :: !spins -> spins = true; spinning++
	   :: else
	   fi;
	   do /* i1 */
	   :: !got -> look()
	   :: break
	   od
	fi
}

inline spinning_end()
{
	if
#ifdef BROKEN_ORDER
	:: spins && got ->
#else
	:: spins ->
#endif
	   spins = false;
	   atomic { last = (spinning == 1); spinning-- }; /* i2 */
	   if
	   :: last && got && mem[IDLE_PS] ->
#ifndef BROKEN_END
	      if
	      :: mem[COUNT] -> wake_p(AN_M, other)
	      :: else
	      fi
#endif
	   :: else
	   fi;
	   last = false
	:: else
	fi
}

/* Either it ends, or it does not before all others have begun. */
inline execute()
{
	if
	:: true
	:: atomic { busy < PS - 1 -> busy++ };
	   taken == WORKS
	fi
}

proctype m(byte me)
{
	byte other;
	bool spins, got, last;

	if
	:: me == 0 -> goto sleep
	:: else
	fi;
end1:	made[me] -> spinning++; spins = true;
#ifndef BROKEN_ASKED
	atomic { lock_free -> asked-- };
#endif
	do
	:: look();
	   if
	   :: !got -> find_elsewhere()
	   :: else
	   fi;
	   spinning_end();
	   if
	   :: got -> got = false; execute()
	   :: else ->
	      atomic {
		lock_free; /* i3 */
		if
#ifndef BROKEN_LOOK
		:: mem[COUNT]
#endif
		:: else -> mem[IDLE_PS] = mem[IDLE_PS] + 1; idle[me] = true; goto sleep
		fi
	      };
	      goto again;
sleep:
#ifdef BROKEN_ORDER
	      if
	      :: spins -> spins = false; spinning--
	      :: else
	      fi;
#endif
end2:	      wake[me] -> wake[me] = false; spins = true; /* i4 */
again:	      skip
	   fi
	od
}

active proctype creator()
{
	byte next = 1;

end:	do
	:: atomic { wants && lock_free -> wants-- };
	   made[next] = true;
	   next++;
#ifdef BROKEN_ASKED
	   atomic { lock_free -> asked-- }
#endif
	od
}

proctype guest(byte me)
{
	byte other;

	do
	:: atomic { submitted < WORKS -> submitted++ };
	   atomic { lock_free && drained(me) -> mem[LOCK] = 1 }; /* s1 */
	   store(me, COUNT, mem[COUNT] + 1);
	   store(me, LOCK, 0);
#ifndef BROKEN_FENCE
	   full_fence(me); /* s2 */
#endif
	   if /* s3 */
	   :: mem[IDLE_PS] -> wake_p(me, other)
	   :: else
	   fi
	:: submitted == WORKS -> break
	od
}

active proctype all_end()
{
	taken == WORKS
}

init
{
	byte i;

	atomic {
		mem[IDLE_PS] = PS;
		idle[0] = true;
		for (i : 0 .. MS - 1) {
			run m(i)
		}
		for (i : 0 .. GUESTS - 1) {
			run guest(i)
		}
		for (i : 0 .. THREADS - 1) {
			run buffer(i)
		}
	}
}

#ifdef LIVENESS
ltl ends { <> (taken == WORKS) }
#endif
