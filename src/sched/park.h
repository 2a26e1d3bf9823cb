/*
 * park.h - one protocol for every wait: how a goroutine or a guest goes to sleep on an object, and
 * how exactly one ender wakes it.
 *
 * The waiting side puts a struct waiter, which lies on its own stack, into the object's queue
 * under the object's lock, and parks with that lock held: it is released once the stack has been
 * left (m->after). Enders take a node out of the queue under the same lock, so that a wait that
 * only they can end has one winner without further ado (turn 0).
 *
 * A wait that somebody else can end as well (a deadline's timer; later a context) has a turn: a
 * number that its wait word, which lies in the G, holds together with one of four states:
 *
 *   {turn, PARKING}  stored by the waiter before anything is armed
 *        |  \ ender's CAS (1a): it has won, and does not ready the G, whose stack is in use
 *        |   +--------------------------------------------------> {turn, DONE}
 *        v resumer's CAS (2), once the stack is left                   ^
 *   {turn, WAITING} ---- ender's CAS (1b): it has won, and readies ----+
 *
 *   The resumer whose CAS (2) fails (the state is DONE) readies the G itself.
 *
 *  1. Of all enders of one turn, one CAS succeeds; turns are never used twice in the life of a G's
 *     memory, so a late ender of an earlier wait fails as well.
 *  2. A G is made runnable by exactly one: the ender of (1b), or the resumer whose (2) failed.
 *  3. Enders that hold the object's lock never meet PARKING: the lock is released after (2). So
 *     they may write the result (status, element) after they have won and before they ready.
 *     Enders without the lock (timers) write nothing: the waiter has preset what they mean.
 *  4. A timer's node is removed by the waiter before it returns, under the heap's lock, and fires
 *     under that lock: so it is never touched after the stack that it lies on is gone.
 *  5. Guests have a word and a note of their own, on their stack. There is no PARKING: a guest that
 *     waits blocks its thread. Its own time-out claims the turn as an ender does.
 *
 * Spinning until the G has left its stack, instead of PARKING, would let two Ms wait in a circle.
 *
 * Callers: goroutines and guests between rt_enter and rt_leave.
 */
#ifndef GORT_SCHED_PARK_H
#define GORT_SCHED_PARK_H

#include "sched/sched.h"

enum { TURN_RUNNING, TURN_PARKING, TURN_WAITING, TURN_DONE, TURN_STEP };

struct waitq {
	struct waiter *head, *tail;
};

struct guest {
	uint64_t word;
	struct note note;
};

struct waiter {
	struct waiter *next, *prev; /* under lock, while queued */
	struct waitq *queue;        /* under lock: where it is queued, or NULL */
	struct lock *lock;          /* fixed during the wait */
	struct g *g;                /* fixed: NULL for a guest */
	struct guest *guest;        /* fixed: NULL for a goroutine */
	uint64_t turn;              /* fixed: 0 if only holders of lock end it */
	void *elem;                 /* what the object needs: a channel's element ... */
	int64_t since;              /* ... when the wait began, for a mutex */
	int status;                 /* the call's result; the winner writes it */
};

static inline void waitq_push(struct waitq *q, struct waiter *w)
{
	w->queue = q;
	w->next = NULL;
	w->prev = q->tail;
	if (q->tail)
		q->tail->next = w;
	else
		q->head = w;
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
	q->head = w;
}

static inline void waitq_remove(struct waiter *w)
{
	struct waitq *q = w->queue;

	if (w->prev)
		w->prev->next = w->next;
	else
		q->head = w->next;
	if (w->next)
		w->next->prev = w->prev;
	else
		q->tail = w->prev;
	w->queue = NULL;
}

/* Become the one who ends w's wait. Under w's lock. */
static inline bool waiter_claim(struct waiter *w)
{
	uint64_t word;

	if (w->turn == 0)
		return true;
	word = w->turn | TURN_WAITING;
	return cas_acq_rel(w->g ? &w->g->word : &w->guest->word, &word, w->turn | TURN_DONE);
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

/* Wake a claimed waiter whose result is written. The last touch of w. With or without the lock. */
static inline void waiter_wake(struct m *m, struct waiter *w)
{
	if (likely(w->g != NULL))
		gort__ready(m, w->g);
	else
		note_wake(&w->guest->note);
}

/* As waiter_wake, with the result, but goroutines are collected: for gort__ready_list. */
static inline void waiter_end(struct waiter *w, int status, struct glist *gs)
{
	w->status = status;
	if (w->g)
		glist_push_woken(gs, w->g);
	else
		note_wake(&w->guest->note);
}

/* Wait: queue w (elem and the like filled in by the caller) on q, release lock, return when someone
 * has ended the wait or the deadline has passed. lock is held by the caller, and is not held any
 * more on return. Gives w->status as the ender set it, -ETIMEDOUT, or -ENOMEM (no memory for the
 * deadline; it has not waited). On return w is in no queue. front: before all others.
 * Blocks; may resume on another M. */
int gort__wait(struct waiter *w, struct waitq *q, struct lock *lock, int64_t deadline,
	       enum g_why why, bool front);

/* A call with this deadline must not wait. */
static inline bool deadline_passed(int64_t deadline)
{
	return deadline != GORT_FOREVER && (deadline == GORT_NOW || deadline <= os_now());
}

/* Wait for nobody: until the deadline. */
int gort__wait_deadline(int64_t deadline, enum g_why why);

/* At the runtime's end, on a goroutine that will never run again: out of its queue. */
void gort__wait_withdraw(struct g *g);
/* Then: what it was woken with goes on to others. */
void gort__wait_forsake(struct g *g);
void gort__mutex_forsake(gort_mutex *m, int status); /* mutex.c */

/* ---- the parking lot: locks for objects that have room for none (mutex, wait group, task). */
struct lock *gort__lot_lock(const void *object);

#endif
