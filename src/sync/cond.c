/*
 * cond.c - gort_cond: Go's sync.Cond, with deadlines.
 *
 * seq_: WAITS, and above it a number that grows with each wait. The queue (wait_) is under the
 * parking lot's lock.
 *  1. A wait queues and gives the mutex up under one hold of the lot's lock, which is released when
 *     the goroutine has left its stack. So between unlock and queueing there is nothing to miss:
 *     whoever gets the mutex then finds the waiter when it comes to signal.
 *  2. WAITS is set before the mutex is given up, and cleared under the lot's lock when the queue is
 *     empty. Who signals with the mutex, or after it had it, thus sees it, and who finds it clear
 *     need not take the lock.
 *  3. A waiter whose deadline passes just then cannot be claimed: the signal goes to the next.
 *  4. A broadcast wakes those who waited when it began, in batches (wake.h). since is the number
 *     that seq_ had when the wait began; in the waiter that goes on, the last number to wake.
 *
 * Not done: moving the waiters of a broadcast into the mutex's queue, as kernels do with threads.
 * Of goroutines no more run at once than there are Ps; the rest find the mutex free in their
 * turn, whereas from its queue each would have to be woken by the one before it.
 *
 * Callers: goroutines and guests, with or without the mutex where they signal.
 */
#include "sched/switch.h"
#include "sync/mutex.h"
#include "sync/wake.h"

#include <errno.h>

#define WAITS 1u
#define NUMBER 2u

/* A waiter's status, beside those of a broadcast (wake.h). */
enum { SIGNALED = 2 };

static struct waitq *queue_of(gort_cond *c)
{
	return (struct waitq *)c->wait_;
}

/* ---- waking ---------------------------------------------------------------------------------- */

/* Under the lot's lock. */
static void look_for_waiters(gort_cond *c)
{
	if (!queue_of(c)->head)
		store_relaxed(&c->seq_, load_relaxed(&c->seq_) & ~(uint64_t)WAITS);
}

static void signal_one(struct m *m, gort_cond *c)
{
	struct lock *lot = gort__lot_lock(c);
	struct waiter *w;

	lock_acquire(lot);
	w = waitq_claim(queue_of(c));
	if (w)
		w->status = SIGNALED;
	look_for_waiters(c);
	lock_release(lot);
	if (w)
		waiter_wake(m, w);
}

/* (4): those whose wait began at last, or before. */
static void signal_until(struct m *m, gort_cond *c, int64_t last)
{
	struct lock *lot = gort__lot_lock(c);
	struct waitq *q = queue_of(c), told = { 0 };
	struct waiter *w;
	unsigned n = 0;

	lock_acquire(lot);
	while (n < WAKE_BATCH && (w = q->head) != NULL && w->since <= last) {
		waitq_remove(w);
		if (!waiter_claim(w))
			continue;
		w->since = last;
		tell(&told, w, ++n);
	}
	look_for_waiters(c);
	lock_release(lot);
	wake_told(m, &told);
}

static bool somebody_waits(gort_cond *c, const char *call)
{
	if (unlikely(!c))
		gort__misuse(call, "no cond");
	return load_relaxed(&c->seq_) & WAITS;
}

GORT_API void gort_cond_signal(gort_cond *c)
{
	struct m *m;

	if (!somebody_waits(c, "gort_cond_signal"))
		return;
	m = rt_enter();
	signal_one(m, c);
	rt_leave(m);
}

GORT_API void gort_cond_broadcast(gort_cond *c)
{
	struct m *m;

	if (!somebody_waits(c, "gort_cond_broadcast"))
		return;
	m = rt_enter();
	signal_until(m, c, (int64_t)load_relaxed(&c->seq_));
	rt_leave(m);
}

/* The runtime ends, and the goroutine of w never comes back from its wait. */
void gort__cond_forsake(struct waiter *w)
{
	if (w->status == SIGNALED)
		signal_one(NULL, w->elem);
	else if (w->status == GOES_ON)
		signal_until(NULL, w->elem, w->since);
}

/* ---- waiting --------------------------------------------------------------------------------- */

/* (2), under the lot's lock. */
static void announce(gort_cond *c, struct waiter *w)
{
	uint64_t seq = (load_relaxed(&c->seq_) + NUMBER) | WAITS;

	store_relaxed(&c->seq_, seq);
	w->since = (int64_t)seq;
}

/* Somebody waits for the mutex, and is found under its own lot's lock: both are held, in their
 * order, then only c's again. Gives whom to wake. */
static noinline struct waiter *unlock_slow(gort_cond *c, gort_mutex *m, struct waiter *self)
{
	struct lock *lot = gort__lot_lock(c), *other = gort__lot_lock(m);
	struct waiter *w;

	if (other < lot) {
		lock_release(lot);
		lock_acquire(other);
		lock_acquire(lot);
		announce(c, self);
	} else if (other > lot) {
		lock_acquire(other);
	}
	w = gort__mutex_unlock_under(m, "gort_cond_wait");
	if (other != lot)
		lock_release(other);
	return w;
}

/* Inline in both calls for the reason that switch.h gives: a goroutine comes back from here by one
 * return. */
static inlined int wait(gort_cond *c, gort_mutex *m, int64_t deadline)
{
	struct waiter w = { .elem = c, .status = -ECANCELED }, *next;
	struct m *self = rt_enter();
	struct lock *lot = gort__lot_lock(c);
	int err;

	lock_acquire(lot);
	announce(c, &w);
	if (unlikely(!gort__mutex_try_unlock(m)) && (next = unlock_slow(c, m, &w)) != NULL)
		waiter_wake(self, next);
	if (likely(self != NULL) && likely(deadline == GORT_FOREVER) && !waits_lightly(self))
		err = wait_here(&self, &w, queue_of(c), lot, WHY_COND, false);
	else
		err = gort__wait(&w, queue_of(c), lot, deadline, WHY_COND, WAIT_BACK);
	if (unlikely(err == GOES_ON))
		signal_until(m_self(), c, w.since);
	rt_leave(self);
	gort_mutex_lock(m);
	return err < 0 ? err : 0;
}

GORT_API returns_by_jump int gort_cond_wait(gort_cond *c, gort_mutex *m)
{
	if (unlikely(!c || !m))
		gort__misuse("gort_cond_wait", c ? "no mutex" : "no cond");
	return wait(c, m, GORT_FOREVER);
}

/* No wait, but the mutex is free for a moment: who asks in a loop must not keep others from
 * doing what it asks for. */
static rare int too_late(gort_mutex *m)
{
	gort_mutex_unlock(m);
	gort_yield();
	gort_mutex_lock(m);
	return -ETIMEDOUT;
}

GORT_API int gort_cond_wait_until(gort_cond *c, gort_mutex *m, int64_t deadline)
{
	if (unlikely(!c || !m))
		gort__misuse("gort_cond_wait_until", c ? "no mutex" : "no cond");
	return deadline_passed(deadline) ? too_late(m) : wait(c, m, deadline);
}
