/*
 * park.pml - one wait, several enders: src/sched/park.h, kind (A), and waits without a turn;
 * park.c, after_park in proc.c, rule 2 of timers.c.
 *
 * A goroutine G receives from an object, or sleeps, WAITS times; a guest receives once, with a
 * deadline; two senders send one value each; G's timer fires whenever it likes. Numbers are those
 * of park.h:
 *
 *   waiter    under the object's lock: stores {turn, PARKING} before anything is armed; adds the
 *             timer; queues its node; parks: state WAITING, leaves the stack
 *   (1a)      an ender's CAS {turn, PARKING} -> {turn, DONE or TIMEOUT}: it does not ready G
 *   (1b)      an ender's CAS {turn, WAITING} -> {turn, DONE or TIMEOUT}: it readies G
 *   (2)       the resumer's CAS {turn, PARKING} -> {turn, WAITING}, once the stack is left; then it
 *             releases the object's lock; if the CAS failed it readies G
 *   after     the waiter deletes its timer, under the heap's lock. DONE: the ender has written the
 *             status. TIMEOUT: it takes the object's lock, and its node out of the queue
 *
 * The kinds of a wait: PLAIN (turn 0: only holders of the lock end it), UNTIL (with a deadline),
 * SLEEP (a deadline alone).
 *
 * Abstracted: the object is a counter of values with a queue, as a channel with a large buffer
 * is; the Ms take G from one queue; time is chance; contexts (cancel.pml, light.pml), waits on
 * several objects (select.pml). All order is by CAS and locks, none by StoreLoad, so there are no
 * store buffers.
 *
 * Proved, by number in park.h: of all enders one wins (1), and G is made runnable by exactly one,
 * never before it has left its stack (2: state, stack); who holds the lock never meets PARKING
 * (3); a timer is not touched after its stack is gone (4); nor is a node (alive). Every value sent
 * is received once or lies in the object (received). Every wait with a deadline ends, a plain one
 * if there is a value (all_end; under weak fairness: ltl).
 *
 * Broken variants, and what each fails by:
 *   BROKEN_EARLY    stack      (2) and the release come before the stack is left
 *   BROKEN_BOTH     state      (1a) readies G, too
 *   BROKEN_AGAIN    end state  an ender whose (1a) failed since (2) was faster does not try (1b)
 *   BROKEN_RESUMER  end state  the resumer whose (2) failed readies nobody
 *   BROKEN_ARMED    end state  the timer is added before PARKING is stored
 *   BROKEN_STAYS    alive      the waiter returns without deleting its timer
 *   BROKEN_NODE     alive      the waiter whose time was out leaves its node in the queue
 *   BROKEN_CLAIM    state      an ender under the lock takes the wait without a CAS
 *   BROKEN_LOSER    received   an ender whose CAS failed looks for no other waiter
 */
#ifdef LIVENESS
#define WAITS 1
#else
#define WAITS 2
#endif
#define SENDS 2

#define PARKING 1 /* states of a wait word */
#define WAITING 2
#define DONE 3
#define TIMEOUT 4
#define STATES 7
#define TURN(n) (8 * (n))

mtype = { RUNNABLE, RUNNING, ASLEEP };    /* G's state; ASLEEP is G_WAITING */
mtype = { NONE, PLAIN, UNTIL, SLEEP };    /* kinds of its wait */
mtype = { NOBODY, GOROUTINE, GUEST };     /* whose node */

/* The object. */
bool object_lock;
byte values; /* in it */
chan queue = [2] of { mtype };

/* G. */
mtype state = RUNNABLE;
byte word, turn;
chan ready_queue = [2] of { mtype };
bool stack; /* some M is on it */

/* On G's stack while it waits. */
mtype kind = NONE;
bool node_alive, node_got; /* got: its status is 0 */
byte node_turn;            /* 0: PLAIN */
bool timer_alive, armed;   /* armed: in the heap */
byte timer_turn;
bool heap_lock;

/* The guest's. */
byte guest_word;
bool guest_note, guest_alive, guest_got;

/* Ghosts. */
byte sent, received, waits;
bool g_ended, guest_ended, over;

inline acquire(lock)
{
	atomic { !lock -> lock = true }
}

inline cas(at, old, new)
{
	d_step {
		ok = (at == (old));
		if
		:: ok -> at = new
		:: else
		fi
	}
}

/* (1a), (1b); claim() of park.c. early: it was PARKING. found: what a CAS that failed has found. */
inline claim(at, turn_, to)
{
	early = false;
	atomic { cas(at, turn_ + WAITING, turn_ + to); found = at };
	if
	:: !ok && found == turn_ + PARKING ->
	   atomic { cas(at, turn_ + PARKING, turn_ + to); found = at };
	   early = ok;
	   if
#ifndef BROKEN_AGAIN
	   :: !ok && found == turn_ + WAITING -> cas(at, turn_ + WAITING, turn_ + to)
#endif
	   :: else
	   fi
	:: else
	fi;
	found = 0
}

inline set_runnable()
{
	d_step { assert(state == ASLEEP); state = RUNNABLE }
}

inline ready()
{
	set_runnable();
	ready_queue!GOROUTINE
}

/* ---- G, on whichever M runs it ---- */

inline timer_add()
{
	acquire(heap_lock);
	armed = true;
	heap_lock = false
}

inline wait_begin()
{
	d_step { turn++; timer_alive = true; timer_turn = TURN(turn) };
#ifdef BROKEN_ARMED
	timer_add();
	word = TURN(turn) + PARKING
#else
	word = TURN(turn) + PARKING;
	timer_add()
#endif
}

/* (2), and what else after_switch does. Of the M's own: racy, held (m->after, m->after_lock). */
inline after_switch()
{
	if
	:: racy ->
	   seen = word & ~STATES;
	   cas(word, seen + PARKING, seen + WAITING)
	:: else
	fi;
	if
	:: held -> object_lock = false
	:: else
	fi
}

inline park()
{
	d_step { state = ASLEEP; racy = (kind != PLAIN); held = (kind != SLEEP) };
#ifdef BROKEN_EARLY
	after_switch();
	stack = false;
#else
	stack = false;
	after_switch();
#endif
	if
#ifndef BROKEN_RESUMER
	:: !ok -> ready()
#endif
	:: else
	fi;
	d_step { ok = true; racy = false; held = false; seen = 0 }
}

inline after_wait()
{
	if
	:: kind == UNTIL || kind == SLEEP ->
#ifndef BROKEN_STAYS
	   acquire(heap_lock);
	   armed = false;
	   heap_lock = false;
#endif
	   if
	   :: (word & STATES) == TIMEOUT && kind == UNTIL ->
#ifndef BROKEN_NODE
	      acquire(object_lock);
	      if
	      :: queue??[GOROUTINE] -> queue??GOROUTINE
	      :: else
	      fi;
	      object_lock = false
#endif
	   :: else
	   fi
	:: else
	fi;
	d_step {
		received = received + node_got;
		node_got = false;
		node_alive = false;
		node_turn = 0;
		timer_alive = false;
		timer_turn = 0;
		kind = NONE
	}
}

/* Ends with G parked or ended. */
inline begin_wait()
{
	do
	:: waits == WAITS -> g_ended = true; stack = false; break
	:: waits < WAITS ->
	   waits++;
	   if
	   :: kind = SLEEP
	   :: acquire(object_lock);
	      if
	      :: values -> d_step { values--; received++ }; object_lock = false
	      :: else ->
	         if
	         :: kind = PLAIN
	         :: kind = UNTIL
	         fi
	      fi
	   fi;
	   if
	   :: kind == UNTIL || kind == SLEEP -> wait_begin()
	   :: else
	   fi;
	   if
	   :: kind == PLAIN || kind == UNTIL ->
	      d_step { node_alive = true; node_turn = (kind == UNTIL -> TURN(turn) : 0) };
	      queue!GOROUTINE
	   :: else
	   fi;
	   if
	   :: kind != NONE -> park(); break
	   :: else /* it has got a value */
	   fi
	od
}

active [2] proctype m()
{
	bool ok = true, racy, held;
	byte seen;

end:	do
	:: ready_queue?GOROUTINE ->
	   d_step { /* run */
		assert(state == RUNNABLE);
		state = RUNNING;
		assert(!stack);
		stack = true
	   };
	   after_wait();
	   begin_wait()
	od
}

/* ---- enders ---- */

/* waiter_claim: under the object's lock. */
inline claim_node(at, turn_)
{
#ifdef BROKEN_CLAIM
	ok = true
#else
	if
	:: !turn_ -> ok = true
	:: else ->
	   assert((at & STATES) != PARKING); /* 3 */
	   cas(at, turn_ + WAITING, turn_ + DONE)
	fi
#endif
}

/* The other one has won. Is there another waiter? */
inline lost()
{
#ifdef BROKEN_LOSER
	drop = true;
	break
#else
	skip
#endif
}

active [SENDS] proctype sender()
{
	mtype won = NOBODY;
	bool ok, drop;

	acquire(object_lock);
	do
	:: queue?GOROUTINE ->
	   assert(node_alive);
	   claim_node(word, node_turn);
	   if
	   :: ok -> won = GOROUTINE; break
	   :: else -> lost()
	   fi
	:: queue?GUEST ->
	   assert(guest_alive);
	   claim_node(guest_word, TURN(1));
	   if
	   :: ok -> won = GUEST; break
	   :: else -> lost()
	   fi
	:: empty(queue) -> break
	od;
	if
	:: won == GOROUTINE ->
	   assert(node_alive);
	   node_got = true;
	   object_lock = false;
	   ready()
	:: won == GUEST ->
	   assert(guest_alive);
	   guest_got = true;
	   object_lock = false;
	   guest_note = true
	:: else ->
	   values = values + (1 - drop);
	   object_lock = false
	fi;
	sent++
}

/* Some M, on g0: gort__timers_run, deadline_fire. */
active proctype timer()
{
	byte found;
	bool ok, early, woken;

end:	do
	:: atomic { armed && !heap_lock -> heap_lock = true };
	   armed = false;
	   assert(timer_alive);
	   claim(word, timer_turn, TIMEOUT);
	   if
#ifdef BROKEN_BOTH
	   :: ok -> set_runnable(); woken = true
#else
	   :: ok && !early -> set_runnable(); woken = true
#endif
	   :: else
	   fi;
	   heap_lock = false;
	   if
	   :: woken -> ready_queue!GOROUTINE; woken = false
	   :: else
	   fi;
	   d_step { ok = false; early = false }
	od
}

active proctype guest()
{
	bool ok;

	acquire(object_lock);
	if
	:: values -> d_step { values--; received++ }; object_lock = false
	:: else ->
	   guest_alive = true;
	   guest_word = TURN(1) + WAITING;
	   queue!GUEST;
	   object_lock = false;
	   if
	   :: guest_note
	   :: cas(guest_word, TURN(1) + WAITING, TURN(1) + TIMEOUT);
	      if
	      :: ok ->
	         acquire(object_lock);
	         if
	         :: queue??[GUEST] -> queue??GUEST
	         :: else
	         fi;
	         object_lock = false
	      :: else -> guest_note /* an ender won, and is about to wake it */
	      fi
	   fi;
	   d_step { guest_alive = false; received = received + guest_got }
	fi;
	guest_ended = true
}

/* A plain wait ends if there is a value. */
#define g_waits (kind == PLAIN && queue??[GOROUTINE] && state == ASLEEP && !stack && !values)

active proctype all_end()
{
	sent == SENDS && guest_ended && (g_ended || g_waits);
	assert(received + values == SENDS);
	over = true
}

init
{
	ready_queue!GOROUTINE
}

#ifdef LIVENESS
ltl ends { <> over }
#endif
