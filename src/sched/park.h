/*
 * park.h - one protocol for every wait: how a goroutine or a guest goes to sleep on an object, and
 * how exactly one ender wakes it.
 *
 * The waiting side puts a struct waiter, which lies on its own stack, into the object's queue
 * under the object's lock, and parks with that lock held: it is released once the stack has been
 * left (m->after). Enders take a node out of the queue under the same lock, so that a wait that
 * only they can end has one winner without further ado (turn 0).
 *
 * A wait that somebody else can end as well has a turn: a number that its wait word, which lies
 * in the struct waits of the G or guest, holds together with a state. Two kinds:
 *
 * (A) A deadline's timer, or the enders of several objects (select). All decide by CAS:
 *
 *   {turn, PARKING}  stored by the waiter before anything is armed
 *        |  \ ender's CAS (1a): it has won, and does not ready the G, whose stack is in use
 *        |   +--------------------------------------------> {turn, DONE}, TIMEOUT or CANCELED
 *        v resumer's CAS (2), once the stack is left                   ^
 *   {turn, WAITING} ---- ender's CAS (1b): it has won, and readies ----+
 *
 *   The resumer whose CAS (2) fails (the state is another) readies the G itself.
 *
 * (B) Light: one object, and a context that may end (ctx.c). The frequent side has plain stores
 * only:
 *
 *   {last turn, whatever}  the waiter takes the next turn for its node (3); it looks at ended, so
 *        |   as not to wait under what has ended already (4): what that misses, (6) sees
 *        v resumer's store (5), under the object's lock; a light fence, then it looks at ended (6)
 *   {turn, LIGHT_WAITING} ---- canceller's CAS (9), or the resumer's at (6) ----> {turn, CANCELED}
 *
 *   The object's ender, under its lock: stores taken = turn (7), a light fence, looks at ended
 *   (8). Not set: it has won. Set: it must win by CAS from LIGHT_WAITING to DONE. The canceller
 *   stores ended, makes a full fence on every thread (os_membarrier), then looks: If (5) is still
 *   to come so is (6), which sees ended. LIGHT_WAITING and taken != turn: it tries (9). An ender
 *   whose (8) saw nothing did (7) before the barrier, so the canceller sees taken and leaves it
 *   alone; every later ender decides by CAS. A light wait that its ender has taken leaves
 *   LIGHT_WAITING behind, with taken: nobody ends that turn again.
 *
 *  1. Of all enders of one turn, one wins; turns are never used twice in the life of a G's
 *     memory, so a late ender of an earlier wait fails as well.
 *  2. A G is made runnable by exactly one: the ender of (1b), the winner of (7..9), or the resumer
 *     whose (2) failed or whose CAS at (6) succeeded.
 *  3. Enders that hold the one object's lock never meet PARKING: the lock is released after (2)
 *     or (5). Those of a select may. Either way they write the result (status, element) after
 *     they have won and before they release the lock; who meets PARKING wakes nobody
 *     (waiter_early), and the waiter sees the result when it has taken that lock again. Enders
 *     without the lock (timers, cancellers) write nothing: the word tells.
 *  4. A timer's node is removed by the waiter before it returns, under the heap's lock, and fires
 *     under that lock: so it is never touched after the stack that it lies on is gone.
 *  5. A guest's struct waits and note are thread-local. There is no PARKING: a guest that waits
 *     blocks its thread. Its own time-out claims the turn as an ender does.
 *
 * Spinning until the G has left its stack, instead of PARKING, would let two Ms wait in a circle.
 *
 * Callers: goroutines and guests between rt_enter and rt_leave.
 */
#ifndef GORT_SCHED_PARK_H
#define GORT_SCHED_PARK_H

#include "sched/sched.h"

struct guest {
	struct waits waits;
	struct note note;
	struct under under;
};

struct waiter {
	struct waiter *next, *prev; /* under lock, while queued */
	struct waitq *queue;        /* under lock: where it is queued, or NULL */
	struct lock *lock;          /* fixed during the wait */
	struct g *g;                /* fixed: NULL for a guest */
	struct guest *guest;        /* fixed: NULL for a goroutine */
	uint64_t turn; /* 0 if only holders of lock end it; a light one has TURN_LIGHT */
	void *elem;    /* what the object needs: a channel's element ... */
	int64_t since; /* ... when the wait began, for a mutex */
	int status;    /* the call's result; the winner writes it */
	bool early;    /* under lock: it was won while PARKING */
};

static inline void waitq_push(struct waitq *q, struct waiter *w)
{
	w->queue = q;
	w->next = NULL;
	w->prev = q->tail;
	if (q->tail)
		q->tail->next = w;
	else
		store_relaxed(&q->head, w);
	q->tail = w;
}

static inline void waitq_push_front(struct waitq *q, struct waiter *w)
{
	w->queue = q;
	w->prev = NULL;
	w->next = q->head;
	if (q->head)
		q->head->prev = w;
	else
		q->tail = w;
	store_relaxed(&q->head, w);
}

static inline void waitq_remove(struct waiter *w)
{
	struct waitq *q = w->queue;

	must_checked(q != NULL);
	if (w->prev)
		w->prev->next = w->next;
	else
		store_relaxed(&q->head, w->next);
	if (w->next)
		w->next->prev = w->prev;
	else
		q->tail = w->prev;
	w->queue = NULL;
}

static inline struct waits *waits_of(struct waiter *w)
{
	return w->g ? &w->g->waits : &w->guest->waits;
}

bool gort__claim(struct waiter *w); /* of kind (A) */

/* w has left its queue, or will not come to it, with nobody to end its wait: whose lock it holds
 * hears of it, if that is a channel. Under w's lock. */
void gort__chan_deserted(struct lock *l); /* chan_pollfd.c */
static inline void waiter_gone(struct waiter *w)
{
	if (w->lock->rank == RANK_CHAN)
		gort__chan_deserted(w->lock);
}

/* Become the one who ends w's wait. Under w's lock. */
static inline bool waiter_claim(struct waiter *w)
{
	struct waits *s;
	uint64_t word;

	if (likely(w->turn == 0))
		return true;
	if (!(w->turn & TURN_LIGHT))
		return gort__claim(w);
	s = &w->g->waits;
	store_relaxed(&s->taken, w->turn); /* step 7 */
	fence_light();
	if (likely(load_relaxed(&s->ended) == 0)) /* step 8 */
		return true;
	word = w->turn - TURN_LIGHT + TURN_LIGHT_WAITING;
	return cas_acq_rel(&s->word, &word, w->turn - TURN_LIGHT + TURN_DONE);
}

/* Asked by who has won, before it releases the lock: if true, w must not be woken. */
static inline bool waiter_early(const struct waiter *w)
{
	return unlikely(w->early);
}

/* Take the first waiter that can still be won out of q. Under the lock. */
static inline struct waiter *waitq_claim(struct waitq *q)
{
	struct waiter *w;

	while ((w = q->head) != NULL) {
		waitq_remove(w);
		if (likely(waiter_claim(w)))
			return w;
	}
	return NULL;
}

/* Wake a claimed waiter whose result is written, and who is not early. The last touch of w. With or
 * without the lock. */
static inline void waiter_wake(struct m *m, struct waiter *w)
{
	if (likely(w->g != NULL))
		gort__ready(m, w->g);
	else
		note_wake(&w->guest->note);
}

/* As waiter_wake, with the result, but goroutines are collected: for gort__ready_list. Under the
 * lock. */
static inline void waiter_end(struct waiter *w, int status, struct glist *gs)
{
	w->status = status;
	if (waiter_early(w))
		return;
	if (w->g)
		glist_push_woken(gs, w->g);
	else
		note_wake(&w->guest->note);
}

enum { WAIT_BACK, WAIT_FRONT = 1, WAIT_SURE = 2 };

/* Wait: queue w (elem and the like filled in by the caller) on q, release lock, return when
 * someone has ended the wait, the deadline has passed, or the caller's context or own deadline
 * has ended. lock is held by the caller, and is not held any more on return. Gives w->status as
 * the ender set it, -ETIMEDOUT, -ECANCELED, or -ENOMEM (no memory for the deadline; it has not
 * waited). On return w is in no queue. flags: WAIT_FRONT before all others; WAIT_SURE is not
 * cancellable, but ends at the deadline. Blocks; may resume on another M. */
int gort__wait(struct waiter *w, struct waitq *q, struct lock *lock, int64_t when, enum g_why why,
	       int flags);

/* A call with this deadline must not wait. */
static inline bool deadline_passed(int64_t deadline)
{
	return deadline != GORT_FOREVER && (deadline == GORT_NOW || deadline <= rt_now());
}

/* Wait for nobody: until the deadline (-ETIMEDOUT), or as gort__wait. */
int gort__wait_deadline(int64_t when, enum g_why why);

/* The parts of it, for waits of kind (A) on several objects (select.c).
 *   begin   a turn, PARKING or a guest's WAITING, and a timer if when is not GORT_FOREVER.
 *           -ENOMEM, or how the context has ended: no turn then. Whoever has begun calls sleep, or
 *           claim and then result or abandon.
 *   claim   become the ender of one's own turn. False: another was faster.
 *   sleep   with held released (may be NULL) until somebody has ended it, then as result.
 *   result  another has ended it: 0 an ender, -ETIMEDOUT, -ECANCELED. Nodes of this turn may still
 *           be queued.
 *   timed_out  after result: -ETIMEDOUT was when, not a context's end.
 *   abandon after claim: no sleep, no result. */
struct wait {
	struct timer timer;
	struct waits *waits;
	struct g *g;         /* NULL: a guest */
	struct guest *guest; /* NULL: a goroutine */
	uint64_t turn;
	int64_t when;
};
int gort__wait_begin(struct m *m, struct wait *t, int64_t when, bool sure);
bool gort__wait_claim(struct wait *t);
int gort__wait_sleep(struct wait *t, struct lock *held, enum g_why why);
int gort__wait_result(struct wait *t);
bool gort__wait_timed_out(const struct wait *t);
void gort__wait_abandon(struct wait *t);

/* A context has ended: end the wait that its member is in, if it is in one. True: it must be
 * woken. */
bool gort__wait_cancel(struct waits *s);

/* The earliest of a call's deadline, its caller's own (gort_set_deadline), and a guest's
 * context's, which no timer may see to. */
int64_t gort__wait_bounded(struct m *m, int64_t when);

/* The calling thread's, if it is a guest. */
struct guest *gort__guest(void);

/* At the runtime's end, on a goroutine that will never run again: out of its queue. */
void gort__wait_withdraw(struct g *g);
/* Then: what it was woken with goes on to others, or its having waited is undone. */
void gort__wait_forsake(struct g *g);
void gort__scope_forsake(gort_scope *s, int status); /* scope.c */
void gort__mutex_forsake(gort_mutex *m, int status); /* mutex.c */
void gort__rlock_forsake(struct waiter *w);          /* rwmutex.c */
void gort__wlock_forsake(struct waiter *w);
void gort__cond_forsake(struct waiter *w); /* cond.c */
void gort__sem_forsake(struct waiter *w);  /* sem.c */

/* ---- the parking lot: locks for objects that have room for none (mutex, wait group, task). */
struct lock *gort__lot_lock(const void *object);
/* Under that lock: a queue for waiters of any object of the bucket, told apart by elem. Who
 * finds one there knows that its object is alive, without touching that. */
struct waitq *gort__lot_queue(const void *object);

#endif
