/*
 * task.c - goroutines that can be joined.
 *
 * A task is a small object apart from the goroutine, whose stack is reused as soon as it has ended.
 * state: RUNS, then ENDED, set once, under the parking lot's lock, with the waiting joiners taken out
 * of the queue. Two references: the goroutine's, given up when it has ended, and the handle's,
 * given up by a successful join or by detach. Misuse (a second join) is caught while the memory is
 * still this task's.
 *
 * Callers: goroutines and guests.
 */
#include "sched/park.h"

#include <errno.h>

enum { RUNS, ENDED };

struct gort_task {
	uint32_t state; /* atomic; ENDED by release meets acquire in joins */
	uint32_t refs;  /* atomic */
	int result;     /* by the goroutine before ENDED */
	int err;        /* 0 or -EOWNERDEAD; likewise */
	int (*fn)(void *arg);
	void *arg;
	struct g *g; /* while it RUNS, for -EDEADLK */
	uint64_t id;
	struct waitq joiners; /* lot */
};

static void unref(struct mem_cache *cache, struct gort_task *t)
{
	if (sub_acq_rel(&t->refs, 1) == 1)
		mem_free(cache, t, sizeof *t);
}

bool gort__task_ended(struct gort_task *t)
{
	return load_acquire(&t->state) == ENDED;
}

bool gort__task_enlist(struct gort_task *t, struct waiter *w)
{
	struct lock *lot = gort__lot_lock(t);
	bool ended;

	lock_acquire(lot);
	ended = gort__task_ended(t);
	if (!ended) {
		w->lock = lot;
		waitq_push(&t->joiners, w);
	}
	lock_release(lot);
	return !ended;
}

static void end(struct gort_task *t, int err, struct glist *woken)
{
	struct lock *lot = gort__lot_lock(t);
	struct waiter *w;

	t->err = err;
	lock_acquire(lot);
	store_release(&t->state, ENDED);
	while ((w = waitq_claim(&t->joiners)) != NULL)
		waiter_end(w, 0, woken);
	lock_release(lot);
}

void gort__task_end(struct gort_task *t, int err)
{
	struct m *m = rt_enter();
	struct glist woken = { 0 };

	end(t, err, &woken);
	gort__ready_list(m, &woken);
	unref(cache_of(m), t);
	rt_leave(m);
}

/* The runtime ends, and only guests are left to wake. */
void gort__task_drop(struct gort_task *t)
{
	struct glist none = { 0 };

	end(t, -ECANCELED, &none);
	unref(NULL, t);
}

static void task_main(void *arg)
{
	struct gort_task *t = m_self()->g->task;

	t->result = t->fn(arg);
}

static bool attr_ok(const gort_attr *a)
{
	size_t size = a->stack_size ? a->stack_size : gort__sched.stack_size;

	for (size_t i = 0; i < sizeof a->reserved_ / sizeof a->reserved_[0]; i++)
		if (a->reserved_[i])
			return false;
	return size >= (size_t)16 << 10 && size <= (size_t)1 << 30 && a->copy <= size / 4;
}

GORT_API gort_task *gort_spawn(int (*fn)(void *arg), void *arg, const gort_attr *attr)
{
	static const gort_attr none;
	const gort_attr *a = attr ? attr : &none;
	struct m *m = rt_enter();
	struct gort_task *t = NULL;
	struct g *g;

	if (!fn)
		gort__misuse("gort_spawn", "no function");
	if (likely(gort__running()) && likely(attr_ok(a)))
		t = mem_alloc(cache_of(m), sizeof *t);
	if (!t)
		goto out;
	g = gort__g_new(m, task_main, arg, a->copy, a->stack_size);
	if (unlikely(!g)) {
		mem_free(cache_of(m), t, sizeof *t);
		t = NULL;
		goto out;
	}
	*t = (struct gort_task){ .refs = 2, .fn = fn, .g = g, .id = g->id };
	g->task = t;
	if (a->name)
		gort__g_name(g, a->name);
	gort__g_start(m, g);
out:
	rt_leave(m);
	return t;
}

GORT_API int gort_join_until(gort_task *t, int *result, int64_t deadline)
{
	struct lock *lot = gort__lot_lock(t);
	struct m *m;
	struct waiter w;
	int err = 0;

	if (!t)
		gort__misuse("gort_join", "no task");
	m = rt_enter();
	if (load_acquire(&t->state) != ENDED) {
		lock_acquire(lot);
		if (load_acquire(&t->state) == ENDED) {
			lock_release(lot);
		} else if (m && t->g == m->g) {
			lock_release(lot);
			err = -EDEADLK;
		} else if (deadline_passed(deadline)) {
			lock_release(lot);
			err = -ETIMEDOUT;
		} else {
			err = gort__wait(&w, &t->joiners, lot, deadline, WHY_JOIN, WAIT_BACK);
			m = m_self();
		}
	}
	if (err == 0) {
		err = t->err;
		if (result && err == 0)
			*result = t->result;
		unref(cache_of(m), t);
	}
	rt_leave(m);
	return err;
}

GORT_API int gort_join(gort_task *t, int *result)
{
	return gort_join_until(t, result, GORT_FOREVER);
}

GORT_API void gort_detach(gort_task *t)
{
	struct m *m;

	if (!t)
		return;
	m = rt_enter();
	unref(cache_of(m), t);
	rt_leave(m);
}
