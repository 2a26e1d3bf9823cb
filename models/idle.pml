/*
 * idle.pml - work at a running P against a P and a monitor that go to sleep: src/sched/proc.c, "Why
 * no wakeup is lost" (b); sleep_lazily and may_sleep in sysmon.c.
 *
 * There are two Ps. An owner queues WORKS goroutines at its own, then computes for ever. The M of
 * the other looks around, steals, runs what it has stolen, goes idle, is called. sysmon looks, and
 * sleeps lazily. Numbers are those of proc.c:
 *
 *   owner                        sysmon                       an M that goes idle
 *   b4  stores the work          b1  lazy = 1                 b7  idle_ps++
 *   b5  fence_light              b2  membarrier               b8  membarrier
 *   b6  idle_ps? if nobody       b3  idle_ps and work?        b9  lazy and work?
 *       spins: gort__wake_p,         else sleeps until            kicks sysmon
 *       or lazy? kicks sysmon        it is kicked
 *
 * All stores to the queue, idle_ps and lazy lie in store buffers (storebuf.h).
 *
 * Abstracted: the P's three queues are one counter of what was pushed and one of what was taken;
 * times are chance, but sysmon's lazy sleep has no end of its own, and an M that looks for aged
 * work takes it. The other M is there already (submit.pml has the creator, spinning.pml more Ms).
 *
 * Proved: all work is stolen though the owner never gives way (all_end; under weak fairness: ltl).
 *
 * Broken variants, and what each fails by:
 *   BROKEN_B2     end state  no membarrier between lazy and the look
 *   BROKEN_B3     end state  no look at the queues
 *   BROKEN_B5     end state  no fence_light: the compiler loads idle_ps before it stores the work
 *   BROKEN_B6     end state  the owner calls and kicks nobody
 *   BROKEN_B8     end state  no membarrier between idle_ps and the look
 *   BROKEN_B9     end state  no look at the queues
 *   BROKEN_CLEAR  end state  sysmon takes old kicks back after it has announced its sleep
 */
#ifdef LIVENESS
#define WORKS 1
#else
#define WORKS 2
#endif

#define OWNER 0 /* threads */
#define SYSMON 1
#define OTHER 2
#define THREADS 3
#define WORDS 4
#define DEPTH 2
#include "storebuf.h"

#define LOCK 0 /* sched.lock */
#define PUSHED 1
#define IDLE_PS 2
#define LAZY 3

byte spinning, taken; /* changed by locked instructions */
bool idle, wake;      /* the other M is in the list, has been woken */
bool aged, kicked;

#define lock_free (!mem[LOCK])
#define work (mem[PUSHED] > taken)

inline acquire(t)
{
	atomic { drained(t) && lock_free -> mem[LOCK] = 1 }
}

inline wake_p(t)
{
	if
	:: spinning
	:: atomic { !spinning && drained(t) -> spinning = 1 };
	   acquire(t);
	   if
	   :: idle ->
	      idle = false;
	      store(t, IDLE_PS, mem[IDLE_PS] - 1);
	      store(t, LOCK, 0);
	      drained(t); /* note_wake is a system call */
	      wake = true
	   :: else ->
	      spinning--;
	      store(t, LOCK, 0)
	   fi
	fi
}

/* lazy: a variable of the caller's. */
inline kick(t)
{
	atomic { drained(t) -> lazy = mem[LAZY]; mem[LAZY] = 0 };
	if
	:: lazy -> kicked = true; lazy = 0
	:: else
	fi
}

/* ---- the owner ---- */

active proctype owner()
{
	byte pushed, idles, lazy;

	do
	:: pushed < WORKS ->
	   pushed++;
#ifdef BROKEN_B5
	   idles = mem[IDLE_PS];
	   store(OWNER, PUSHED, pushed);
#else
	   store(OWNER, PUSHED, pushed); /* b4 */
	   fence_light(OWNER);           /* b5 */
	   idles = mem[IDLE_PS];         /* b6 */
#endif
#ifndef BROKEN_B6
	   if
	   :: idles && !spinning ->
	      if
	      :: wake_p(OWNER) /* a second one, or eager */
	      :: mem[LAZY] -> kick(OWNER)
	      :: !mem[LAZY]
	      fi
	   :: else
	   fi;
#endif
	   idles = 0
	:: else -> break
	od
}

/* ---- sysmon ---- */

inline sleep_lazily()
{
#ifdef BROKEN_CLEAR
	store(SYSMON, LAZY, 1);
	drained(SYSMON);
	kicked = false;
#else
	atomic { drained(SYSMON) -> kicked = false };
	store(SYSMON, LAZY, 1); /* b1 */
#endif
#ifndef BROKEN_B2
	membarrier(SYSMON, todo); /* b2 */
#endif
	if
#ifndef BROKEN_B3
	:: mem[IDLE_PS] -> go = work /* b3 */
#endif
	:: else
	fi;
	if
	:: !go ->
end:	   kicked
	:: else
	fi;
	go = false;
	store(SYSMON, LAZY, 0)
}

/* Aged: what was there at two looks with nothing moved between. */
inline look()
{
	now = (work -> taken + 1 : 0);
	aged = (now && now == seen);
	seen = now;
	if
	:: aged && mem[IDLE_PS] -> wake_p(SYSMON)
	:: else
	fi
}

active proctype sysmon()
{
	byte now, seen, todo;
	bool go;

	do
	:: look();
	   if
	   :: !now || !mem[IDLE_PS] -> sleep_lazily()
	   :: mem[IDLE_PS] /* sleeps for a moment */
	   fi
	od
}

/* ---- the other M ---- */

inline find_elsewhere()
{
	if
	:: !spins -> spins = true; spinning++
	:: else
	fi;
	if
	:: atomic { work -> taken++; aged = false; got = true }
	:: !(aged && work)
	fi;
	spins = false;
	spinning--
}

inline go_idle()
{
	acquire(OTHER);
	idle = true;
	store(OTHER, IDLE_PS, mem[IDLE_PS] + 1); /* b7 */
	store(OTHER, LOCK, 0);
#ifndef BROKEN_B8
	membarrier(OTHER, todo); /* b8 */
#endif
#ifndef BROKEN_B9
	if /* b9 */
	:: mem[LAZY] ->
	   if
	   :: work -> kick(OTHER)
	   :: else
	   fi
	:: else
	fi;
#endif
end:	wake -> wake = false; spins = true
}

active proctype other()
{
	byte todo, lazy;
	bool spins, got;

	do
	:: find_elsewhere();
	   if
	   :: got -> got = false /* runs it */
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
	byte i;

	atomic {
		for (i : 0 .. THREADS - 1) {
			run buffer(i)
		}
	}
}

#ifdef LIVENESS
ltl ends { <> (taken == WORKS) }
#endif
