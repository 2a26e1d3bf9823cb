/*
 * waitgroup.c - Go's sync.WaitGroup.
 *
 * state_: the count in the low 32 bits, WAITERS above. The queue (wait_) is under the parking lot's
 * lock. The step that brings the count to zero is the last touch of the wait group, so that
 * whoever waited may free it: when there are waiters, they are taken out of the queue first, and
 * state_ becomes 0 by a CAS under the lot's lock; then they are woken.
 *
 * Callers: goroutines and guests.
 */
#include "sched/park.h"

#include <errno.h>

#define WAITERS (UINT64_C(1) << 32)
#define COUNT(s) ((int32_t)(uint32_t)(s))

static struct waitq *queue_of(gort_waitgroup *g)
{
	return (struct waitq *)g->wait_;
}

static uint64_t with_count(uint64_t s, int64_t count)
{
	if (count < 0)
		gort__misuse("gort_waitgroup_add", "a wait group below zero");
	if (count > INT32_MAX)
		gort__misuse("gort_waitgroup_add", "a wait group over 2147483647");
	return (s & WAITERS) | (uint32_t)count;
}

/* The count goes to zero with WAITERS set. False: state_ has changed, look again. */
static noinline bool end_waits(gort_waitgroup *g, uint64_t s)
{
	struct m *m = rt_enter();
	struct lock *lot = gort__lot_lock(g);
	struct waitq all = { 0 };
	struct glist woken = { 0 };
	struct waiter *w;
	bool zero;

	lock_acquire(lot);
	all = *queue_of(g);
	*queue_of(g) = (struct waitq){ 0 };
	for (w = all.head; w; w = w->next)
		w->queue = &all;
	zero = cas_acq_rel(&g->state_, &s, 0); /* the last touch of g */
	if (!zero) {
		for (w = all.head; w; w = w->next)
			w->queue = queue_of(g);
		*queue_of(g) = all;
	}
	while (zero && (w = waitq_claim(&all)) != NULL)
		waiter_end(w, 0, &woken);
	lock_release(lot);
	gort__ready_list(m, &woken);
	rt_leave(m);
	return zero;
}

GORT_API void gort_waitgroup_add(gort_waitgroup *g, int delta)
{
	uint64_t s, to;

	if (unlikely(!g))
		gort__misuse("gort_waitgroup_add", "no wait group");
	for (s = load_relaxed(&g->state_);;) {
		to = with_count(s, (int64_t)COUNT(s) + delta);
		if (unlikely(to == WAITERS)) {
			if (end_waits(g, s))
				return;
			s = load_relaxed(&g->state_);
		} else if (likely(cas_acq_rel(&g->state_, &s, to))) {
			return;
		}
	}
}

GORT_API void gort_waitgroup_done(gort_waitgroup *g)
{
	gort_waitgroup_add(g, -1);
}

/* Under the lot's lock. False: the count is zero. */
static bool announce(gort_waitgroup *g)
{
	uint64_t s = load_acquire(&g->state_);

	while (COUNT(s) != 0)
		if (cas_acq_rel(&g->state_, &s, s | WAITERS))
			return true;
	return false;
}

GORT_API int gort_waitgroup_wait_until(gort_waitgroup *g, int64_t deadline)
{
	struct lock *lot = gort__lot_lock(g);
	struct waiter w;
	struct m *m;
	int err = 0;

	if (unlikely(!g))
		gort__misuse("gort_waitgroup_wait", "no wait group");
	if (COUNT(load_acquire(&g->state_)) == 0)
		return 0;
	if (deadline_passed(deadline))
		return -ETIMEDOUT;
	m = rt_enter();
	lock_acquire(lot);
	if (announce(g))
		err = gort__wait(&w, queue_of(g), lot, deadline, WHY_WAITGROUP, WAIT_BACK);
	else
		lock_release(lot);
	rt_leave(m);
	return err;
}

GORT_API int gort_waitgroup_wait(gort_waitgroup *g)
{
	return gort_waitgroup_wait_until(g, GORT_FOREVER);
}

/* Lies at the top of the goroutine's stack (gort_go_copy), so it is there until the very end. */
struct member {
	gort_waitgroup *group;
	gort_func fn;
	void *arg;
	struct defer done;
};

static void member_ends(void *group)
{
	gort_waitgroup_done(group);
}

/* done is the first defer, so it runs last. */
static void member_runs(void *arg)
{
	struct member *member = arg;

	gort__defer_push(gort__local(), &member->done, member_ends, member->group);
	member->fn(member->arg);
}

GORT_API int gort_waitgroup_go(gort_waitgroup *g, gort_func fn, void *arg)
{
	struct member member = { .group = g, .fn = fn, .arg = arg };
	int err;

	gort_waitgroup_add(g, 1);
	err = gort_go_copy(member_runs, &member, sizeof member);
	if (err < 0)
		gort_waitgroup_done(g);
	return err;
}
