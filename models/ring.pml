/*
 * ring.pml - the queue of woken goroutines with its thieves: src/base/ring.h.
 *
 * A ring of SIZE entries, whose head and tail wrap at WRAP (2^32 in the code) and start shortly
 * before that. The owner pushes up to ITEMS items, pops between, and takes half when the ring is
 * full; THIEVES grab, up to GRABS times each. Numbers are those of ring.h:
 *
 *   push (owner)  reads tail, then head: full? (step 3) - stores the slot - stores tail (step 2)
 *   pop (owner)   reads head, tail - reads the slot - CAS of head (steps 1, 3)
 *   grab (thief)  reads head, then tail (step 2) - more than the ring holds: again (step 5) -
 *                 reads the slots - CAS of head (steps 1, 3)
 *   pop_half      as grab, by the owner of a full ring
 *
 * Each read and store is a step of its own, in program order: the code's releases and acquires
 * keep them so on other processors. The variants SLOT_LATE and TAIL_FIRST are what would happen
 * without. ITEMS < WRAP, so that no head comes round within one grab (4).
 *
 * Proved: each item is taken once (got), none is lost (the owner pops what is left, and all are
 * got); items leave in the order in which they came (last); a thief never fills more than its array
 * (n <= SIZE / 2); step 5 is taken only if head has moved meanwhile, so somebody has got on
 * (head != h); under weak fairness all come to their end (ltl).
 *
 * Broken variants, and what each fails by:
 *   BROKEN_CAS         got   a thief moves head by load and store
 *   BROKEN_SLOT_LATE   got   a thief reads the slots after its CAS: the owner has overwritten them
 *   BROKEN_TAIL_FIRST  got   push stores tail before the slot
 *   BROKEN_STEP5       n<=   a thief whose head is old takes what it sees
 *   BROKEN_TAIL_POP    got   the owner pops at tail, as it may from a deque
 */
#define SIZE 4
#define WRAP 8
#define ITEMS 5
#define POPS 2
#define THIEVES 2
#ifdef LIVENESS
#define GRABS 1
#else
#define GRABS 2
#endif

#define MINUS(a, b) (((a) + WRAP - (b)) % WRAP)
#define PLUS(a, n) (((a) + (n)) % WRAP)
#define AT(i) slots[(i) % SIZE]

byte head = WRAP - 2, tail = WRAP - 2; /* CAS by anyone; stored by the owner */
byte slots[SIZE];                      /* an item is its number, from 1 */

#ifdef BROKEN
#define WRONG true /* look for items taken twice, not for the first thing out of order */
#else
#define WRONG false
#endif

/* Ghosts. */
bool got[ITEMS + 1]; /* got[0] is true: what is no item is not taken */
byte last;           /* the item that left the ring last */
byte pushed, thieves_ended;
bool over;

inline took(item)
{
	d_step { assert(!got[item]); got[item] = true; item = 0 }
}

/* The CAS of head, and that what leaves is what came first. */
inline cas_head(h, n, first)
{
	d_step {
		ok = (head == h);
		if
		:: ok ->
		   head = PLUS(h, n);
		   assert(first == last + 1 || WRONG);
		   last = last + n
		:: else
		fi
	}
}

/* ring_take: n is 1 or 2. */
inline ring_take(h, n)
{
#ifndef BROKEN_SLOT_LATE
	out[0] = AT(h);
	if
	:: n > 1 -> out[1] = AT(h + 1)
	:: else
	fi;
#endif
#ifdef BROKEN_CAS
	ok = (head == h);
	if
	:: ok -> head = PLUS(h, n)
	:: else
	fi;
#else
	cas_head(h, n, out[0]);
#endif
#ifdef BROKEN_SLOT_LATE
	out[0] = AT(h);
	if
	:: n > 1 -> out[1] = AT(h + 1)
	:: else
	fi;
#endif
	if
	:: ok ->
	   took(out[0]);
	   if
	   :: n > 1 -> took(out[1])
	   :: else
	   fi
	:: else -> d_step { out[0] = 0; out[1] = 0 }
	fi
}

proctype thief()
{
	byte h, n, grabs;
	byte out[SIZE / 2];
	bool ok;

	do
	:: grabs < GRABS ->
	   h = head;
	   n = MINUS(tail, h); /* step 2 */
	   n = n - n / 2;
	   if
#ifndef BROKEN_STEP5
	   :: n > SIZE / 2 -> assert(head != h || WRONG) /* step 5 */
#endif
	   :: else ->
	      assert(n <= SIZE / 2);
	      if
	      :: n == 0 -> ok = true
	      :: else -> ring_take(h, n) /* steps 1, 3 */
	      fi;
	      if
	      :: ok -> grabs++
	      :: else
	      fi;
	      ok = false
	   fi;
	   d_step { h = 0; n = 0 }
	:: else -> break
	od;
	thieves_ended++
}

inline push()
{
	h = head;
	if
	:: MINUS(tail, h) >= SIZE -> pop_half() /* step 3: full */
	:: else ->
	   pushed++;
#ifdef BROKEN_TAIL_FIRST
	   tail = PLUS(tail, 1);
	   AT(tail + WRAP - 1) = pushed
#else
	   AT(tail) = pushed;
	   tail = PLUS(tail, 1) /* step 2 */
#endif
	fi;
	h = 0
}

inline pop_half()
{
	n = MINUS(tail, h) / 2;
	ring_take(h, n);
	d_step { n = 0; ok = false }
}

#ifdef BROKEN_TAIL_POP
/* As deque_pop (base/deque.h). */
inline pop()
{
	if
	:: head != tail ->
	   tail = PLUS(tail, WRAP - 1);
	   h = head;
	   if
	   :: MINUS(tail, h) > 0 && MINUS(tail, h) <= SIZE ->
	      out[0] = AT(tail);
	      took(out[0])
	   :: else ->
	      out[0] = AT(tail);
	      cas_head(h, 1, out[0]);
	      if
	      :: ok && h == tail -> took(out[0])
	      :: else
	      fi;
	      tail = PLUS(h, 1)
	   fi;
	   d_step { out[0] = 0; h = 0; ok = false }
	:: else
	fi
}
#else
inline pop()
{
	h = head;
	do
	:: h == tail -> break
	:: else ->
	   out[0] = AT(h);
	   cas_head(h, 1, out[0]); /* steps 1, 3 */
	   if
	   :: ok -> took(out[0]); break
	   :: else -> h = head
	   fi
	od;
	atomic { out[0] = 0; h = 0; ok = false }
}
#endif

active proctype owner()
{
	byte h, n, pops, i;
	byte out[SIZE / 2];
	bool ok;

	do
	:: pushed < ITEMS -> push()
	:: pops < POPS || (thieves_ended == THIEVES && head != tail) ->
	   d_step {
		if
		:: pops < POPS -> pops++
		:: else
		fi
	   };
	   pop()
	:: pushed == ITEMS && thieves_ended == THIEVES && head == tail -> break
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
		run thief();
		run thief()
	}
}

#ifdef LIVENESS
ltl ends { <> over }
#endif
