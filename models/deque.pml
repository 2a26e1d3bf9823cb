/*
 * deque.pml - the queue of spawned goroutines: src/base/deque.h, deque.c.
 *
 * The owner pushes ITEMS items, starting with an array of 2 entries that grows once to 4, and pops
 * POPS times between; THIEVES steal STEALS times each. Numbers are those of deque.h:
 *
 *   push   looks at top (step 4): full? then grow (step 5) - stores the slot - stores bottom (1)
 *   grow   copies to an array of twice the size - stores array (5)
 *   pop    at most one entry: CAS of top, as a thief (3). Else bottom--, by an exchange (2) - looks
 *          at top (2) - reads the slot - more than one entry left: it is the owner's - else CAS of
 *          top, bottom++ (3)
 *   steal  looks at top (2), at bottom (1, 2), at array (5) - reads the slot - CAS of top (4)
 *
 * The owner's stores to slots, bottom and array lie in its store buffer (storebuf.h): step 2 is an
 * exchange for no other reason. Thieves store by CAS alone.
 *
 * Abstracted: an array that grows again; out of memory. deque_pop_oldest is a thief's steal.
 *
 * Proved: each item is taken once (got), none is lost (after the thieves have ended the owner pops
 * what is left, and all are got); all come to their end under weak fairness (ltl).
 *
 * Broken variants, and what each fails by:
 *   BROKEN_FENCE      got  pop stores bottom without a fence: step 2's look at top overtakes it
 *   BROKEN_HALF       got  thieves take half at once, with one CAS, as from the ring
 *   BROKEN_LAST       got  pop takes the last entry without a CAS
 *   BROKEN_SLOT_LATE  got  a thief reads the slot after its CAS
 *   BROKEN_ARRAY      got  a thief loads the array before top and bottom
 *   BROKEN_FREED      got  the old array is freed, and used by others, once it has been copied
 */
#define THIEVES 2
#define STEALS 1
#ifdef LIVENESS
#define ITEMS 3
#define POPS 2
#else
#define ITEMS 4
#define POPS 3
#endif

/* The owner's buffer alone. */
#define THREADS 1
#define DEPTH 4
#define WORDS 8
#include "storebuf.h"

#define BOTTOM 0
#define ARRAY 1
#define SLOT(a, i) (2 + 2 * (a) + ((i) & (1 + 2 * (a)))) /* array 0: 2 entries; 1: 4 */

byte top;

/* Ghosts. */
bool got[ITEMS + 1]; /* got[0] is true: what is no item is not taken */
byte thieves_ended;
bool over;

inline took(item)
{
	d_step { assert(!got[item]); got[item] = true }
}

inline cas_top(old, n)
{
	d_step {
		ok = (top == old);
		if
		:: ok -> top = old + n
		:: else
		fi
	}
}

/* ---- a thief ---- */

#ifdef BROKEN_HALF
#define SHARE(n) (((n) + 1) / 2)
#else
#define SHARE(n) 1
#endif

proctype thief()
{
	byte t, b, a, item, second, steals;
	bool ok;

	do
	:: steals < STEALS ->
#ifdef BROKEN_ARRAY
	   a = mem[ARRAY];
	   t = top;
	   b = mem[BOTTOM];
#else
	   t = top;         /* step 2 */
	   b = mem[BOTTOM]; /* steps 1, 2 */
	   a = mem[ARRAY];  /* step 5 */
#endif
	   if
	   :: b <= t -> steals++ /* empty */
	   :: else ->
#ifdef BROKEN_SLOT_LATE
	      cas_top(t, 1);
	      item = mem[SLOT(a, t)];
#else
	      item = mem[SLOT(a, t)];
#ifdef BROKEN_HALF
	      second = mem[SLOT(a, t + 1)];
#endif
	      cas_top(t, SHARE(b - t)); /* step 4 */
#endif
	      if
	      :: ok ->
	         took(item);
	         if
	         :: SHARE(b - t) == 2 -> took(second)
	         :: else
	         fi;
	         steals++
	      :: else
	      fi
	   fi;
	   d_step { t = 0; b = 0; a = 0; item = 0; second = 0; ok = false }
	:: else -> break
	od;
	thieves_ended++
}

/* ---- the owner. Its copies of what it has stored: bottom, array, mine (as memory, by address) ---- */

inline store_slot(a, i, v)
{
	store(0, SLOT(a, i), v);
	mine[SLOT(a, i)] = v
}

inline grow()
{
	i = t;
	do
	:: i < bottom -> store_slot(1, i, mine[SLOT(0, i)]); i++
	:: else -> break
	od;
	store(0, ARRAY, 1); /* step 5 */
	array = 1;
#ifdef BROKEN_FREED
	store(0, SLOT(0, 0), 0);
	store(0, SLOT(0, 1), 0);
#endif
	i = 0
}

inline push()
{
	t = top; /* step 4 */
	if
	:: bottom - t > 1 + 2 * array -> grow()
	:: else
	fi;
	pushed++;
	store_slot(array, bottom, pushed);
	bottom++;
	store(0, BOTTOM, bottom); /* step 1 */
	t = 0
}

/* Step 3. */
inline pop_last()
{
#ifdef BROKEN_LAST
	ok = true;
	top = t + 1;
#else
	full_fence(0);
	cas_top(t, 1);
#endif
	if
	:: ok -> took(mine[SLOT(array, t)])
	:: else
	fi
}

inline pop_raced()
{
	if
	:: t == bottom -> pop_last()
	:: else
	fi;
	bottom++;
	store(0, BOTTOM, bottom)
}

inline pop()
{
	t = top;
	if
	:: bottom == t
	:: bottom - t == 1 -> pop_last()
	:: else ->
	   bottom--;
#ifdef BROKEN_FENCE
	   store(0, BOTTOM, bottom);
#else
	   full_fence(0);
	   mem[BOTTOM] = bottom; /* step 2 */
#endif
	   t = top; /* step 2 */
	   if
	   :: bottom > t -> took(mine[SLOT(array, bottom)])
	   :: else -> pop_raced()
	   fi
	fi;
	d_step { t = 0; ok = false }
}

active proctype owner()
{
	byte bottom, array, pushed, pops, t, i;
	byte mine[WORDS];
	bool ok;

	do
	:: pushed < ITEMS -> push()
	:: pops < POPS || (thieves_ended == THIEVES && bottom != top) ->
	   d_step {
		if
		:: pops < POPS -> pops++
		:: else
		fi
	   };
	   pop()
	:: pushed == ITEMS && thieves_ended == THIEVES && bottom == top -> break
	od;
	for (i : 1 .. ITEMS) {
		assert(got[i])
	}
	over = true
}

active proctype all_end()
{
	over
}

init
{
	atomic {
		got[0] = true;
		run buffer(0);
		run thief();
		run thief()
	}
}

#ifdef LIVENESS
ltl ends { <> over }
#endif
