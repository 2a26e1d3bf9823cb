/*
 * select.pml - a wait with one winner over several channels: src/sync/select.c; gort__chan_ready,
 * gort__chan_send_now and recv_now in chan.c; the wait word as in src/sched/park.h, kind (A).
 *
 * A and B receive from both channels, C sends to channel 0, D to channel 1. With WITH_SENDER B
 * sends to both, and D receives from 0: two selects face each other. With WITH_DEADLINE there is
 * no B, and A receives twice, at first with a deadline, after which it tries again without.
 * Whoever meets whom, all can come to their end. For the ltl, A receives from both what B sends to
 * both, and that is all. Steps 1 to 3 are those of select.c:
 *
 *   1   look at each case without a lock; one that looks ready is tried under its lock
 *   2   store PARKING, arm the timer; for each case, under its lock: ready now? else queue a node.
 *       One is ready: claim the own turn by CAS (2c), take the nodes back (3), and go to 1. If the
 *       claim fails an ender has won: go on as if woken
 *   3   park: (2) of park.h, no lock is held; woken, take each node back under its lock. Whose
 *       status an ender has written, that case it was
 *
 *   ender, under one channel's lock: takes nodes of the other side out of the queue, the oldest
 *       first; claims by CAS: from WAITING (1b), or from PARKING (1a): that is early, it wakes
 *       nobody. Lost: looks for another waiter. Won: moves the value, writes the status, releases
 *       the lock, wakes
 *
 * Abstracted: channels have no buffer and are not closed; turns (they would go on without end, and
 * no node outlives its turn: park.pml, cancel.pml have them); the timer's lock (park.pml); tasks.
 *
 * Proved: each value is received once (got), none is lost (all_end); a node is touched only while
 * its wait lasts (alive); a wait is ended once, after the stack is left (asleep); a value moves
 * from who has one to who has none (value). Under weak fairness all come to their end, or two
 * selects step back before each other again and again, which chance ends (ltl).
 *
 * Broken variants, and what each fails by:
 *   BROKEN_CLAIM    end state  enders claim by load and store
 *   BROKEN_DROP     end state  who has lost takes its value for received
 *   BROKEN_LOOK     end state  2 queues without looking again: two selects miss each other
 *   BROKEN_BACK     value      2c left out: it steps back though an ender may have won
 *   BROKEN_STAYS    alive      3 leaves nodes where they are
 *   BROKEN_LOCK     end state  3 takes no lock for nodes that are in no queue: it sees no status yet
 *   BROKEN_EARLY    asleep     (1a) wakes
 *   BROKEN_RESUMER  end state  (2) failed, and nobody is woken
 */
#define GS 4
#define A 0
#define B 1
#define C 2
#define D 3
#define NOBODY GS
#if defined(LIVENESS)
#define ENDS 2
#elif defined(WITH_DEADLINE)
#define ENDS 3
#else
#define ENDS 4
#endif

#define selects(g) ((g) == A || (g) == B)

#define RECV 0 /* directions, and queues of a channel: who waits to receive */
#define SEND 1
#define QUEUE(ch, direction) (2 * (ch) + (direction))
#define NODE(g, ch) (2 * (g) + (ch))

#define PARKING 1 /* states of a wait word */
#define WAITING 2
#define DONE 3
#define TIMEOUT 4

#ifdef BROKEN
#define WRONG true /* see what it leads to */
#else
#define WRONG false
#endif

bool locked[2];
chan queue[4] = [GS] of { byte };

byte word[GS];
bool asleep[GS], ready[GS]; /* its state is WAITING; it may go on */
bool stack[GS];             /* an M is on it */
byte left[GS];              /* its M has to: 1: release its channel's lock; 2: (2) */
bool alive[GS];             /* its nodes */
bool status[2 * GS];        /* of a node: an ender has ended it */
byte value[GS];             /* what it sends, or has received; 0: nothing */
bool armed, timer_lock;     /* A's timer */

/* Ghosts. */
bool got[GS];
byte ended, backs;

inline acquire(ch)
{
	atomic { !locked[ch] -> locked[ch] = true }
}

/* found: what it was. */
inline cas(g, old, new)
{
	d_step {
		found = word[g];
		ok = (found == old);
		if
		:: ok -> word[g] = new
		:: else
		fi
	}
}

/* claim() of park.c. */
inline claim(g, to)
{
	early = false;
#ifdef BROKEN_CLAIM
	found = word[g];
	ok = (found == WAITING || found == PARKING);
	early = (found == PARKING);
	if
	:: ok -> word[g] = to
	:: else
	fi;
#else
	cas(g, WAITING, to);
	if
	:: !ok && found == PARKING ->
	   cas(g, PARKING, to);
	   early = ok;
	   if
	   :: !ok && found == WAITING -> cas(g, WAITING, to)
	   :: else
	   fi
	:: else
	fi;
#endif
	found = 0
}

inline make_ready(g)
{
	d_step { assert(asleep[g] && !stack[g]); asleep[g] = false; ready[g] = true }
}

/* ---- a goroutine: me, direction, c (its channel, or the first of two), both ---- */

/* Under the lock of ch. done, or there was nobody. */
inline try(ch)
{
	do
	:: queue[QUEUE(ch, 1 - direction)]?w ->
	   assert(alive[w]);
	   if
	   :: selects(w) -> claim(w, DONE)
	   :: else -> ok = true; early = false
	   fi;
	   if
	   :: ok -> move(ch); done = true; break
	   :: else ->
#ifdef BROKEN_DROP
	      done = (direction == SEND);
	      if
	      :: done -> break
	      :: else
	      fi
#else
	      skip
#endif
	   fi
	:: empty(queue[QUEUE(ch, 1 - direction)]) -> break
	od
}

/* wants: who sends has a value, who receives has none. */
inline move(ch)
{
	d_step {
		assert(alive[w]);
		if
		:: direction == SEND ->
		   assert(value[me] && !value[w]);
		   value[w] = value[me];
		   value[me] = 0
		:: direction == RECV ->
		   assert(value[w] && !value[me]);
		   value[me] = value[w];
		   value[w] = 0
		fi;
		status[NODE(w, ch)] = true
	}
}

/* After the lock was released. */
inline wake()
{
	if
#ifdef BROKEN_EARLY
	:: ok -> make_ready(w)
#else
	:: ok && !early -> make_ready(w)
#endif
	:: else
	fi;
	d_step { w = NOBODY; ok = false; early = false }
}

inline park(what)
{
	asleep[me] = true;
	stack[me] = false;
	left[me] = what;
	ready[me];
	d_step { ready[me] = false; assert(!stack[me]); stack[me] = true }
}

/* A channel's own send or receive. */
inline plain()
{
	acquire(c);
	try(c);
	if
	:: done -> locked[c] = false; wake()
	:: else ->
	   alive[me] = true;
	   queue[QUEUE(c, direction)]!me;
	   park(1);
	   assert(status[NODE(me, c)]);
	   alive[me] = false;
	   done = true
	fi
}

/* 1 */
inline try_all()
{
	do
	:: !done && tries < 2 ->
	   if
	   :: nempty(queue[QUEUE(at, 1 - direction)]) ->
	      acquire(at);
	      try(at);
	      locked[at] = false;
	      wake()
	   :: empty(queue[QUEUE(at, 1 - direction)])
	   fi;
	   at = 1 - at;
	   tries++
	:: done || tries == 2 -> break
	od;
	tries = 0
}

/* 2. again: one is ready. */
inline enlist_all()
{
	alive[me] = true;
	do
	:: !again && tries < 2 ->
	   acquire(at);
	   if
#ifdef BROKEN_LOOK
	   :: true -> queue[QUEUE(at, direction)]!me
#else
	   :: nempty(queue[QUEUE(at, 1 - direction)]) -> again = true
	   :: empty(queue[QUEUE(at, 1 - direction)]) -> queue[QUEUE(at, direction)]!me
#endif
	   fi;
	   locked[at] = false;
	   at = 1 - at;
	   tries++
	:: again || tries == 2 -> break
	od;
	tries = 0
}

inline delist(ch)
{
#ifdef BROKEN_LOCK
	if
	:: queue[QUEUE(ch, direction)]??[eval(me)] ->
	   acquire(ch);
	   take_out(ch);
	   locked[ch] = false
	:: else
	fi;
#else
	acquire(ch);
	take_out(ch);
	locked[ch] = false;
#endif
	done = done || status[NODE(me, ch)]
}

inline take_out(ch)
{
	if
#ifndef BROKEN_STAYS
	:: queue[QUEUE(ch, direction)]??[eval(me)] -> queue[QUEUE(ch, direction)]??eval(me)
#endif
	:: else
	fi
}

/* 2 and 3, once. */
inline wait_once()
{
	word[me] = PARKING;
#ifdef WITH_DEADLINE
	armed = racy;
#endif
	enlist_all();
	if
	:: again ->
#ifdef BROKEN_BACK
	   ok = true
#else
	   claim(me, DONE); /* 2c */
	   early = false
#endif
	:: else -> park(2)
	fi;
#ifdef WITH_DEADLINE
	if
	:: racy -> atomic { !timer_lock -> armed = false }; racy = false
	:: else
	fi;
#endif
	delist(0); /* 3 */
	delist(1);
	d_step {
		if
		:: ok -> done = false /* it has stepped back */
#ifdef LIVENESS
		   ; backs = (backs < 3 -> backs + 1 : 3)
#endif
		:: else -> assert(done || word[me] == TIMEOUT || WRONG)
		fi;
		ok = false;
		again = false;
		status[NODE(me, 0)] = false;
		status[NODE(me, 1)] = false;
		alive[me] = false
	}
}

proctype goroutine(byte me; bit direction; bit c; bool both)
{
	byte w = NOBODY, tries, found;
	bit at;
	bool done, again, ok, early, racy, twice;

	d_step {
		stack[me] = true;
		value[me] = (direction == SEND -> me : 0);
#ifdef WITH_DEADLINE
		racy = (me == A)
#endif
	};
again_:	if
	:: !both -> plain()
	:: both ->
	   do
	   :: !done ->
	      if
	      :: at = 0
	      :: at = 1
	      fi;
	      try_all();
	      if
	      :: !done -> wait_once()
	      :: done
	      fi
	   :: done -> break
	   od
	fi;
	if
	:: direction == RECV -> d_step { assert(!got[value[me]]); got[value[me]] = true }
	:: direction == SEND
	fi;
#ifdef WITH_DEADLINE
	if
	:: me == A && !twice ->
	   d_step { twice = true; done = false; value[me] = 0 };
	   goto again_
	:: else
	fi;
#endif
	ended++
}

/* Whoever runs next on its M. */
proctype m(byte me; bit c)
{
	byte found;
	bool ok;

end:	do
	:: left[me] == 1 -> left[me] = 0; locked[c] = false
	:: left[me] == 2 ->
	   left[me] = 0;
	   cas(me, PARKING, WAITING); /* (2) */
	   if
#ifndef BROKEN_RESUMER
	   :: !ok -> make_ready(me)
#endif
	   :: else
	   fi;
	   d_step { ok = false; found = 0 }
	od
}

#ifdef WITH_DEADLINE
active proctype timer()
{
	byte found;
	bool ok, early;

end:	atomic { armed -> armed = false; timer_lock = true };
	claim(A, TIMEOUT);
	if
	:: ok && !early -> make_ready(A)
	:: else
	fi;
	timer_lock = false
}
#endif

active proctype all_end()
{
	ended == ENDS
}

init
{
	atomic {
		got[0] = true;
		run goroutine(A, RECV, 0, true);
		run m(A, 0);
#ifndef LIVENESS
		run goroutine(C, SEND, 0, false);
		run m(C, 0);
#ifdef WITH_SENDER
		run goroutine(D, RECV, 0, false);
		run m(D, 0);
#else
		run goroutine(D, SEND, 1, false);
		run m(D, 1);
#endif
#endif
#if defined(WITH_SENDER) || defined(LIVENESS)
		run goroutine(B, SEND, 1, true);
		run m(B, 1)
#elif !defined(WITH_DEADLINE)
		run goroutine(B, RECV, 1, true);
		run m(B, 1)
#endif
	}
}

#ifdef LIVENESS
ltl ends { <> (ended == ENDS || backs == 3) }
#endif
