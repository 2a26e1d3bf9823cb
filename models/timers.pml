/*
 * timers.pml - an earlier timer against those who sleep until the earliest: src/sched/timers.c,
 * "Who looks"; gort__timers_covered there, sleep_lazily and may_sleep in sysmon.c, poll_begin and
 * poll_end in proc.c.
 *
 * An owner adds two timers, each for time 1 or 2, and each time runs a goroutine for long. Another
 * M idles, and may be the poller then; it is called up to CALLS times. sysmon sleeps lazily.
 * Numbers are those of timers.c:
 *
 *   owner                          sysmon
 *   c1  adds, stores next          c4  under sched.lock: watch = the earliest that no poller sleeps
 *   c2  fence_light                    for; lazy = 1
 *   c3  next before watch?         c5  membarrier
 *       kicks sysmon               c6  under sched.lock: one before watch? looks again, else
 *                                      sleeps until watch, or it is kicked
 *
 *   an M that goes idle            p1  under sched.lock: the earliest timer, unless a poller sleeps
 *                                      for it: becomes the poller
 *   a poller that is called        p2  under sched.lock: no poller; one before watch? kicks sysmon
 *
 * The stores to next, watch and lazy lie in store buffers (storebuf.h).
 *
 * Abstracted: time stands still; timers do not fire; the heap is its earliest.
 *
 * Proved: when all that move have come to rest, the earliest timer is not later than what sysmon or
 * the poller sleeps for (all_end); and they do (under weak fairness: ltl).
 *
 * Broken variants, and what each fails by:
 *   BROKEN_C2    end state  the compiler loads watch (c3) before it stores next (c1)
 *   BROKEN_C3    end state  the owner does not look at watch
 *   BROKEN_C5    end state  no membarrier
 *   BROKEN_C6    end state  no second look
 *   BROKEN_POLL  end state  p2 does not kick
 */
#define CALLS 2
#define TIMERS 2
#define FOREVER 3

#define OWNER 0
#define SYSMON 1
#define OTHER 2 /* stores nothing but under the lock */
#define THREADS 3
#define WORDS 3
#define DEPTH 3
#include "storebuf.h"

#define NEXT 0
#define WATCH 1 /* 0: sysmon is awake */
#define LAZY 2

bool lock; /* sched.lock */
byte poll_until = FOREVER; /* of the poller; FOREVER: there is none */
bool kicked;

bool owner_ended, sysmon_sleeps, other_rests; /* ghosts */

inline acquire()
{
	atomic { !lock -> lock = true }
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

active proctype owner()
{
	byte added, next = FOREVER, watch, lazy;

	do
	:: added < TIMERS ->
	   added++;
#ifdef BROKEN_C2
	   watch = mem[WATCH];
#endif
	   if
	   :: next = 1
	   :: next > 2 -> next = 2
	   :: next <= 2
	   fi;
	   store(OWNER, NEXT, next); /* c1 */
#ifndef BROKEN_C2
	   fence_light(OWNER);       /* c2 */
	   watch = mem[WATCH];
#endif
	   if
#ifndef BROKEN_C3
	   :: next < watch -> kick(OWNER) /* c3 */
#endif
	   :: else
	   fi;
	   watch = 0
	:: else -> break
	od;
	owner_ended = true
}

/* Under the lock. */
inline uncovered_timer(t)
{
	t = mem[NEXT];
	t = (poll_until <= t -> FOREVER : t)
}

active proctype sysmon()
{
	byte until, todo;

	do
	:: atomic { drained(SYSMON) -> kicked = false };
	   atomic { drained(SYSMON) && !lock -> lock = true };
	   uncovered_timer(until);
	   store(SYSMON, WATCH, until); /* c4 */
	   store(SYSMON, LAZY, 1);
	   drained(SYSMON) -> lock = false; /* the release is the last in its buffer */
#ifndef BROKEN_C5
	   membarrier(SYSMON, todo); /* c5 */
#endif
	   acquire(); /* c6 */
#ifndef BROKEN_C6
	   if
	   :: mem[NEXT] < until && poll_until > mem[NEXT] -> lock = false
	   :: else ->
#endif
	      lock = false;
	      sysmon_sleeps = true;
end:	      kicked;
	      sysmon_sleeps = false
#ifndef BROKEN_C6
	   fi;
#endif
	   store(SYSMON, LAZY, 0);
	   store(SYSMON, WATCH, 0)
	od
}

active proctype other()
{
	byte calls, next, lazy;

	do
	:: acquire(); /* p1 */
	   next = mem[NEXT];
	   if
	   :: next < poll_until -> poll_until = next
	   :: else
	   fi;
	   next = 0;
	   lock = false;
	   other_rests = (calls == CALLS);
end:	   calls < CALLS -> calls++;
	   acquire(); /* p2 */
	   if
	   :: poll_until < FOREVER ->
	      poll_until = FOREVER;
	      next = (mem[NEXT] < mem[WATCH])
	   :: else
	   fi;
	   lock = false;
	   if
#ifndef BROKEN_POLL
	   :: next -> kick(OTHER); next = 0
#endif
	   :: else -> next = 0
	   fi;
	   if
	   :: true
	   :: break /* what it was called for does not end */
	   fi
	od;
	other_rests = true
}

#define at_rest (owner_ended && other_rests && sysmon_sleeps && !kicked)
#define covered (mem[NEXT] >= mem[WATCH] || mem[NEXT] >= poll_until)

active proctype all_end()
{
	at_rest && covered
}

init
{
	atomic {
		mem[NEXT] = FOREVER;
		run buffer(OWNER);
		run buffer(SYSMON)
	}
}

#ifdef LIVENESS
ltl ends { <> (at_rest && covered) }
#endif
