/*
 * task.c - goroutines that can be joined.
 *
 * A task is a small object apart from the goroutine, whose stack is reused as soon as it has
 * ended. state: RUNS, then ENDED, set once, under the parking lot's lock, with the waiting
 * joiners taken out of the queue. Two references: the goroutine's, given up when it has ended,
 * and the handle's, given up by a successful join or by detach. Misuse (a second join) is caught
 * while the memory is still this task's.
 *
 * A task has a context of its own, a child of its spawner's, that is made when somebody needs it:
 * the goroutine itself when it looks at its context or starts others (gort__task_own_ctx). Until
 * then a cancellation is cause, and the end of the goroutine's one wait (park.h, B). ctx and
 * cause change under the lot's lock, so either the maker sees the cause or the canceller the
 * context.
 *
 * Where there is no memory for it, the goroutine goes on under its spawner's (home). When it
 * enters another context from there it is away: cancellations are noted alone until it is back,
 * when making the context is tried again.
 *
 * Callers: goroutines and guests.
 */
#include "sync/task.h"

#include <errno.h>

enum { RUNS, ENDED };

void gort__task_unref(struct m *m, struct gort_task *t)
{
	if (sub_acq_rel(&t->refs, 1) != 1)
		return;
	if (unlikely(t->ctx != NULL))
		gort__ctx_release(m, t->ctx);
	mem_free(cache_of(m), t, sizeof *t);
}

bool gort__task_ended(struct gort_task *t)
{
	return load_acquire(&t->state) == ENDED;
}

uint32_t gort__task_bubble(const struct gort_task *t)
{
	return t->bubble;
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

void gort__task_end(struct m *m, struct gort_task *t, int err)
{
	struct glist woken;

	glist_init(&woken);
	if (unlikely(t->scope != NULL)) {
		gort__scope_member_ended(m, t->scope, err ? err : t->result);
	} else {
		end(t, err, &woken);
		gort__ready_list(m, &woken);
	}
	gort__task_unref(m, t);
}

/* The runtime ends, and only guests are left to wake. */
void gort__task_drop(struct gort_task *t)
{
	struct glist none = { 0 };

	if (t->scope)
		gort__scope_member_ended(NULL, t->scope, -ECANCELED);
	else
		end(t, -ECANCELED, &none);
	gort__task_unref(NULL, t);
}

static void task_main(void *arg)
{
	struct gort_task *t = m_self()->g->task;
	int result = t->fn(arg);

	rt_enter(); /* if the runtime has ended without it, t is gone */
	t->result = result;
	m_leave(m_self());
}

bool gort__attr_ok(const gort_attr *a)
{
	size_t size = a->stack_size ? a->stack_size : gort__sched.stack_size;

	for (size_t i = 0; i < sizeof a->reserved_ / sizeof a->reserved_[0]; i++)
		if (a->reserved_[i])
			return false;
	if (a->preempt < GORT_PREEMPT_THREAD || a->preempt > GORT_PREEMPT_OFF)
		return false;
	return size >= (size_t)16 << 10 && size <= (size_t)1 << 30 && a->copy <= size / 4;
}

struct gort_task *gort__task_new(struct m *m, int (*fn)(void *arg), void *arg, const gort_attr *a,
				 struct gort_ctx *from)
{
	struct gort_task *t = mem_alloc(cache_of(m), sizeof *t);
	struct g *g = t ? gort__g_new(m, task_main, arg, a->copy, a->stack_size) : NULL;

	if (unlikely(!g)) {
		if (t)
			mem_free(cache_of(m), t, sizeof *t);
		return NULL;
	}
	*t = (struct gort_task){ .refs = 2, .fn = fn, .g = g, .id = g->id, .bubble = rt_bubble(m) };
	if (unlikely(from != NULL))
		gort__under_begin(m, &g->under, &g->waits, from);
	g->waits.bound |= BOUND_CTX | BOUND_ENDS;
	g->task = t;
	if (a->name)
		gort__g_name(g, a->name);
	if (unlikely(a->preempt))
		gort__preempt_attr(g, a->preempt);
	return t;
}

static struct gort_ctx *parent_of(struct m *m, const gort_attr *a)
{
	return a->ctx ? gort__ctx_inside(a->ctx, "gort_spawn") : gort__under(m)->ctx;
}

GORT_API gort_task *gort_spawn(int (*fn)(void *arg), void *arg, const gort_attr *attr)
{
	static const gort_attr none;
	const gort_attr *a = attr ? attr : &none;
	struct m *m = rt_enter_to_start();
	struct gort_task *t = NULL;

	if (!fn)
		gort__misuse("gort_spawn", "no function");
	if (likely(gort__running()) && likely(gort__attr_ok(a)) &&
	    likely(a->ctx || gort__may_start(m)))
		t = gort__task_new(m, fn, arg, a, parent_of(m, a));
	if (likely(t != NULL)) {
		t->g->spawned_at = __builtin_return_address(0);
		gort__g_start(m, t->g);
	}
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
		gort__task_unref(m, t);
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
	gort__task_unref(m, t);
	rt_leave(m);
}

bool gort__task_own_ctx(struct m *m, struct g *g)
{
	struct gort_task *t = g->task;
	struct lock *lot = gort__lot_lock(t);
	struct gort_ctx *c;
	int cause;

	if (t->ctx || t->scope || t->away)
		return true; /* a member's is the scope's */
	c = gort__ctx_new(m, g->under.ctx, GORT_FOREVER);
	if (!c)
		return false; /* it goes on under its spawner's */
	lock_acquire(lot);
	t->ctx = c;
	cause = t->cause;
	lock_release(lot);
	if (cause)
		gort__ctx_cancel(m, c, cause);
	gort__under_change(m, &g->under, &g->waits, c);
	return true;
}

void gort__task_leaves_home(struct g *g)
{
	struct gort_task *t = g->task;
	struct lock *lot = gort__lot_lock(t);

	if (t->ctx || t->scope || t->away)
		return;
	lock_acquire(lot);
	t->away = true;
	t->home = g->under.ctx;
	lock_release(lot);
}

void gort__task_comes_home(struct g *g)
{
	struct gort_task *t = g->task;
	struct lock *lot = gort__lot_lock(t);

	if (!t->away || g->under.ctx != t->home)
		return;
	lock_acquire(lot);
	t->away = false;
	g->waits.bound |= BOUND_CTX | BOUND_ENDS; /* as at the start */
	if (t->cause)
		store_release(&g->waits.ended, -ECANCELED);
	lock_release(lot);
}

/* Its goroutine has no context of its own yet, and cannot end while the lot's lock is held.
 * True: it must be made runnable. */
static bool cancel_wait(struct gort_task *t, int cause)
{
	if (t->cause || load_relaxed(&t->state) == ENDED)
		return false;
	t->cause = cause < 0 ? cause : -ECANCELED;
	if (t->away)
		return false;
	store_release(&t->g->waits.ended, -ECANCELED); /* as in ctx.c */
	os_membarrier();                               /* park.h, between ended and taken */
	return gort__wait_cancel(&t->g->waits);
}

GORT_API void gort_task_cancel(gort_task *t, int cause)
{
	struct lock *lot = gort__lot_lock(t);
	struct gort_ctx *c;
	bool wake = false;
	struct m *m;

	if (!t)
		gort__misuse("gort_task_cancel", "no task");
	m = rt_enter();
	lock_acquire(lot);
	c = t->ctx; /* the task holds it, and the caller the task */
	if (!c)
		wake = cancel_wait(t, cause);
	lock_release(lot);
	if (c)
		gort__ctx_cancel(m, c, cause);
	if (wake)
		gort__ready(m, t->g);
	rt_leave(m);
}
