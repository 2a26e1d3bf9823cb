/*
 * switch.pml - goroutines that switch straight into each other: the wait word with PARKING, as in
 * src/sched/park.h, and "Spinning until the G has left its stack" there; switch.h.
 *
 * MS threads run GS goroutines. Each goroutine waits WAITS times for an ender that needs no lock
 * (a timer, a context). Its M picks the next one while it is still on the stack of the one that
 * waits, and switches straight to it; with nothing to pick it goes to g0.
 *
 *   p1   store PARKING in the wait word; from here on the ender may come
 *   p2   pick the next G
 *   p3   leave the stack, arrive on the next one's
 *   (2)  CAS PARKING -> WAITING of the one left behind; if that fails, ready it
 *   (1a) ender: CAS PARKING -> DONE, no more
 *   (1b) ender: CAS WAITING -> DONE, and ready
 *
 * Abstracted: each wait has one ender, so turns are left out (park.pml has them, and many enders);
 * the Ps' queues are one.
 *
 * Proved: no stack has two Ms on it (stack); a goroutine is made ready once a wait (queued); all
 * come to their end, whoever picks whom (all_end; under weak fairness: ltl).
 *
 * Broken variants, and what each fails by:
 *   BROKEN_EARLY  stack      no PARKING: the ender readies a G whose stack is in use
 *   BROKEN_SPIN   end state  the same, and who picks such a G waits, on the stack that it is about
 *                            to leave, until the other stack is left: two Ms in a circle
 *   BROKEN_STORE  end state  (2) as load and store: the ender's DONE is lost
 *   BROKEN_BOTH   queued     (1a) readies as well
 */
#define MS 2
#define GS 3
#ifdef LIVENESS
#define WAITS 1
#else
#define WAITS 2
#endif

#define RUNNING 0 /* a wait word */
#define PARKING 1
#define WAITING 2
#define DONE 3

#define G0 GS /* instead of a goroutine */

byte word[GS], waits[GS];
bool armed[GS]; /* the ender may come */
bool stack[GS]; /* an M is on it */
bool queued[GS];
chan ready_queue = [GS] of { byte };
byte ended;

inline cas(at, old, new, ok)
{
	d_step {
		ok = (at == (old));
		if
		:: ok -> at = new
		:: else
		fi
	}
}

inline ready(g)
{
	atomic {
		assert(!queued[g]);
		queued[g] = true;
		ready_queue!g
	}
}

/* To be done on g's stack, once it is left. */
inline arrive(g)
{
#ifdef BROKEN_SPIN
	!stack[g];
#endif
	d_step { assert(!stack[g]); stack[g] = true }
}

inline begin_wait()
{
#if defined(BROKEN_EARLY) || defined(BROKEN_SPIN)
	word[g] = WAITING;
#else
	word[g] = PARKING; /* p1 */
#endif
	armed[g] = true
}

/* Gives whether the one left behind has been ended meanwhile. */
inline resumer_step()
{
#if defined(BROKEN_EARLY) || defined(BROKEN_SPIN)
	skip
#elif defined(BROKEN_STORE)
	ok = (word[g] == PARKING);
	if
	:: ok -> word[g] = WAITING
	:: else -> ready(g)
	fi
#else
	cas(word[g], PARKING, WAITING, ok); /* (2) */
	if
	:: !ok -> ready(g)
	:: else
	fi
#endif
}

/* after: g waits, else it is dead. Where stacks are published early, the next may be g itself. */
inline give_way()
{
	atomic {
		if
		:: ready_queue?next -> queued[next] = false
		:: empty(ready_queue) -> next = G0
		fi
	}; /* p2 */
	if
#ifdef BROKEN_SPIN
	:: next == g
#endif
	:: else ->
#ifdef BROKEN_SPIN
	   next == G0 || !stack[next];
#endif
	   stack[g] = false; /* p3 */
	   if
	   :: next != G0 -> arrive(next)
	   :: else
	   fi;
	   if
	   :: after -> resumer_step()
	   :: else
	   fi
	fi;
	d_step { g = next; next = 0; ok = false; after = false }
}

proctype m(byte g)
{
	byte next;
	bool after, ok;

	arrive(g);
	do
	:: g == G0 ->
end:	   atomic { ready_queue?g; queued[g] = false };
	   arrive(g)
	:: g != G0 ->
	   if
	   :: waits[g] < WAITS -> waits[g]++; after = true; begin_wait()
	   :: else -> ended++
	   fi;
	   give_way()
	od
}

proctype ender(byte g)
{
	byte seen;
	bool ok;

end:	do
	:: armed[g] ->
	   armed[g] = false;
	   do
	   :: !ok ->
	      seen = word[g];
	      cas(word[g], seen, DONE, ok)
	   :: ok -> break
	   od;
	   if
#ifndef BROKEN_BOTH
	   :: seen == PARKING /* (1a) */
#endif
	   :: else -> ready(g) /* (1b) */
	   fi;
	   seen = 0;
	   ok = false
	od
}

active proctype all_end()
{
	ended == GS
}

init
{
	byte i;

	atomic {
		for (i : 0 .. GS - 1) {
			run ender(i);
			if
			:: i < MS -> run m(i)
			:: else -> ready(i)
			fi
		}
	}
}

#ifdef LIVENESS
ltl ends { <> (ended == GS) }
#endif
