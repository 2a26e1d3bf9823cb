/*
 * spinning.pml - who queues work and sees an M spin leaves it to that M: src/sched/proc.c,
 * gort__work_queued_slow, gort__wake_p, find_elsewhere, spinning_end.
 *
 * As idle.pml, with three Ps: an owner that queues WORKS goroutines and computes for ever, two
 * other Ms, sysmon. What an M steals first does not end before all work has begun, so the other M
 * must come, or be called. Coarser than idle.pml: only the owner's queue has a store buffer, what
 * is done under sched.lock is one step.
 *
 *   b4, b5, b6  the owner: stores work, fence_light, idle_ps and nobody spins? then gort__wake_p,
 *               or kicks sysmon if it is lazy
 *   e1          an M that spun stops: spinning--. With nothing found it goes idle (b7 to b9)
 *   e2          with something found, if it was the last that spun: fence_seq
 *   e3          a P idles? then gort__wake_p, or (quiet) kicks sysmon if it is lazy
 *
 * Abstracted: what idle.pml leaves out; whether second, eager and quiet are set is chance.
 *
 * Proved: all work is stolen though the owner never gives way (all_end; under weak fairness: ltl).
 *
 * Broken variants, and what each fails by:
 *   BROKEN_END    end state  e3 is left out
 *   BROKEN_EARLY  end state  e3 comes before e1
 *   BROKEN_LOST   end state  an M that has found nothing goes idle without b9
 */
#ifdef LIVENESS
#define WORKS 1
#else
#define WORKS 2
#endif
#define MS 2 /* the others */

#define OWNER 0
#define ANY 1 /* other than the owner: its stores commit at once */
#define THREADS 1
#define WORDS 1
#define DEPTH 2
#include "storebuf.h"

#define PUSHED 0

byte spinning, taken, idle_ps;
bool idle[MS], wake[MS], lazy, aged, kicked;

#define ready(t) (t == ANY || drained(OWNER)) /* for a locked instruction */
#define work (mem[PUSHED] > taken)

/* w: a variable of the caller's, MS before and after. */
inline wake_p(t, w)
{
	if
	:: spinning
	:: atomic { !spinning && ready(t) -> spinning = 1 };
	   atomic { /* under sched.lock */
		if
		:: idle[0] -> w = 0
		:: idle[1] -> w = 1
		:: !idle[0] && !idle[1] -> spinning--
		fi;
		if
		:: w < MS -> idle[w] = false; idle_ps--
		:: else
		fi
	   };
	   if
	   :: w < MS -> wake[w] = true; w = MS
	   :: else
	   fi
	fi
}

inline kick(t)
{
	if
	:: atomic { lazy && ready(t) -> lazy = false }; kicked = true
	:: !lazy
	fi
}

active proctype owner()
{
	byte pushed, w = MS;

	do
	:: pushed < WORKS ->
	   pushed++;
	   store(OWNER, PUSHED, pushed); /* b4 */
	   fence_light(OWNER);           /* b5 */
	   if                            /* b6 */
	   :: idle_ps ->
	      if
	      :: spinning
	      :: else ->
	         if
	         :: wake_p(OWNER, w)
	         :: kick(OWNER)
	         fi
	      fi
	   :: else
	   fi
	:: else -> break
	od
}

inline heavy()
{
#ifdef WITH_FULL_FENCES
	skip
#else
	flush(OWNER)
#endif
}

active proctype sysmon()
{
	byte now, seen, w = MS;

	do
	:: now = (work -> taken + 1 : 0);
	   aged = (now && now == seen);
	   seen = now;
	   if
	   :: aged && idle_ps -> wake_p(ANY, w)
	   :: else
	   fi;
	   if
	   :: !now || !idle_ps ->
	      d_step { kicked = false; lazy = true }; /* b1 */
	      heavy();                                /* b2 */
	      if                                      /* b3 */
	      :: idle_ps && work
	      :: else ->
end:	         kicked
	      fi;
	      lazy = false
	   :: idle_ps /* sleeps for a moment */
	   fi
	od
}

inline call_next()
{
	if
	:: got && last && idle_ps ->
	   if
	   :: wake_p(ANY, w)
	   :: kick(ANY) /* quiet */
	   fi
	:: else
	fi
}

inline spinning_end()
{
#ifdef BROKEN_EARLY
	last = true;
	call_next();
	spinning--;
#else
	d_step { last = (spinning == 1); spinning-- }; /* e1, e2 */
#ifndef BROKEN_END
	call_next(); /* e3 */
#endif
#endif
	last = false
}

inline go_idle()
{
	atomic { idle_ps++; idle[me] = true }; /* b7 */
	heavy();                               /* b8 */
#ifndef BROKEN_LOST
	if                                     /* b9 */
	:: lazy ->
	   if
	   :: work -> kick(ANY)
	   :: else
	   fi
	:: else
	fi;
#endif
end:	wake[me] -> wake[me] = false
}

proctype m(byte me)
{
	byte w = MS;
	bool got, last;

	spinning++;
	do
	:: if
	   :: atomic { work -> taken++; aged = false; got = true }
	   :: !(aged && work)
	   fi;
	   spinning_end();
	   if
	   :: got -> break
	   :: else -> go_idle()
	   fi
	od
}

active proctype all_end()
{
	taken == WORKS
}

init
{
	atomic {
		run buffer(OWNER);
		run m(0);
		run m(1)
	}
}

#ifdef LIVENESS
ltl ends { <> (taken == WORKS) }
#endif
