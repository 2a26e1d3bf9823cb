/*
 * wake.h - many waiters at once, for objects whose lock is shared (the parking lot's) or matters to
 * others.
 *
 * Who ends many waits takes WAKE_BATCH of them out of the queue under the lock, into a queue of its
 * own, and wakes them once it has released the lock. If there may be more, the last of the batch is
 * woken with GOES_ON: it ends the next ones before it returns from its own call. So nobody holds
 * the lock for longer than a batch takes, the first ones run while the last ones still wait, and
 * the object is touched only by calls whose callers keep it alive: the ender's, until its last step
 * on the object, then those of the waiters.
 *
 * Callers: as park.h.
 */
#ifndef GORT_SYNC_WAKE_H
#define GORT_SYNC_WAKE_H

#include "sched/park.h"

#define WAKE_BATCH 128

/* A waiter's status: it has what it waited for. */
enum { GOT_IT = 0, GOES_ON = 1 };

/* The number-th of a batch, claimed, goes to the others in told. Under the lock. */
static inline void tell(struct waitq *told, struct waiter *w, unsigned number)
{
	w->status = number == WAKE_BATCH ? GOES_ON : GOT_IT;
	waitq_push(told, w);
}

/* Without the lock, for waits on one object only: they are never early. */
static inline void wake_told(struct m *m, struct waitq *told)
{
	struct glist woken = { 0 };
	struct waiter *w;

	while ((w = told->head) != NULL) {
		waitq_remove(w);
		waiter_end(w, w->status, &woken);
	}
	gort__ready_list(m, &woken);
}

#endif
