/*
 * scope.c - goroutines that cannot outlive a block: Go's errgroup, Trio's nursery.
 *
 * Members are tasks that nobody joins (task.h), under the scope's context.
 *
 *  1. running counts members and places on their way to one; the scope is freed by close alone,
 *     when running is 0. So a member's last touch of the scope is the release of the lock under
 *     which it is counted off; what it has to say (first, the cancellation) comes before.
 *  2. A place that becomes free goes to who has waited longest for one: it stays counted.
 *  3. Once the scope is cancelled, who waits for a place is told, or finds out when it gets one.
 *
 * Callers: goroutines and guests.
 */
#include "sync/task.h"
#include "sync/wake.h"

#include <errno.h>

struct gort_scope {
	struct lock lock;
	int limit;            /* fixed */
	int running;          /* lock */
	int first;            /* lock: the first negative result */
	struct gort_ctx *ctx; /* fixed, held */
	struct waitq places;  /* lock: for a place */
	struct waitq idle;    /* lock: for running to be 0 */
};

GORT_API gort_scope *gort_scope_open(int limit)
{
	struct m *m = rt_enter();
	struct gort_scope *s = gort__may_start(m) ? mem_alloc(cache_of(m), sizeof *s) : NULL;

	if (s) {
		*s = (struct gort_scope){ .lock = LOCK_INIT(RANK_OBJECT),
					  .limit = limit > 0 ? limit : INT32_MAX,
					  .ctx = gort__ctx_new(m, gort__under(m)->ctx,
							       GORT_FOREVER) };
		if (!s->ctx) {
			mem_free(cache_of(m), s, sizeof *s);
			s = NULL;
		}
	}
	rt_leave(m);
	return s;
}

/* ---- places ---------------------------------------------------------------------------------- */

/* With the lock, which it releases before it wakes anyone: who has waited may free s (rule 1). */
static void end_all(struct m *m, struct gort_scope *s, struct waitq *q, int status)
{
	struct waitq told = { 0 };
	struct waiter *w;

	while ((w = waitq_claim(q)) != NULL) {
		w->status = status;
		waitq_push(&told, w);
	}
	lock_release(&s->lock);
	wake_told(m, &told);
}

/* Rules 1 and 2. */
static void leave_place(struct m *m, struct gort_scope *s)
{
	struct waiter *w;

	lock_acquire(&s->lock);
	w = waitq_claim(&s->places);
	if (w) {
		w->status = 0;
		lock_release(&s->lock);
		waiter_wake(m, w);
	} else if (--s->running == 0) {
		end_all(m, s, &s->idle, 0);
	} else {
		lock_release(&s->lock);
	}
}

/* The runtime ends, and a goroutine that was woken with this status never comes to use its
 * place. */
void gort__scope_forsake(struct gort_scope *s, int status)
{
	if (status == 0)
		leave_place(NULL, s);
}

/* 0: a place is the caller's. */
static int take_place(struct m *m, struct gort_scope *s, bool wait)
{
	struct waiter w;
	int err = -EAGAIN;

	if (gort__ctx_err(m, s->ctx))
		return -ECANCELED;
	lock_acquire(&s->lock);
	if (likely(s->running < s->limit)) {
		s->running++;
		lock_release(&s->lock);
		return 0;
	}
	w.elem = s;
	if (load_acquire(
		    &s->ctx->state)) /* rule 3: whoever ended it may have told all there were */
		err = -ECANCELED;
	else if (wait)
		return gort__wait(&w, &s->places, &s->lock, GORT_FOREVER, WHY_SCOPE, WAIT_BACK);
	lock_release(&s->lock);
	return err;
}

/* ---- members --------------------------------------------------------------------------------- */

static void cancel(struct m *m, struct gort_scope *s, int cause)
{
	gort__ctx_cancel(m, s->ctx, cause);
	lock_acquire(&s->lock);
	end_all(m, s, &s->places, -ECANCELED); /* rule 3 */
}

void gort__scope_member_ended(struct m *m, struct gort_scope *s, int result)
{
	bool first;

	if (result < 0) {
		lock_acquire(&s->lock);
		first = s->first == 0;
		if (first)
			s->first = result;
		lock_release(&s->lock);
		if (first)
			cancel(m, s, result);
	}
	leave_place(m, s);
}

static int start(gort_scope *s, int (*fn)(void *arg), void *arg, const gort_attr *attr, bool wait,
		 const char *call, void *from)
{
	static const gort_attr none;
	const gort_attr *a = attr ? attr : &none;
	struct m *m = rt_enter_to_start();
	struct gort_task *t;
	int err = 0;

	if (!s || !fn)
		gort__misuse(call, s ? "no function" : "no scope");
	if (!gort__running())
		err = -ESRCH;
	else if (!gort__attr_ok(a) || a->ctx)
		err = -EINVAL;
	else
		err = take_place(m, s, wait);
	if (err < 0)
		goto out;
	m = m_self();
	if (!gort__running()) /* it may have stopped while we waited */
		err = -ESRCH;
	else if (gort__ctx_err(m, s->ctx)) /* rule 3 */
		err = -ECANCELED;
	t = err ? NULL : gort__task_new(m, fn, arg, a, s->ctx);
	if (t) {
		t->refs = 1;
		t->scope = s;
		t->g->spawned_at = from;
		gort__g_start(m, t->g);
	} else {
		err = err ? err : -ENOMEM;
		leave_place(m, s);
	}
out:
	rt_leave(m);
	return err;
}

GORT_API int gort_scope_go(gort_scope *s, int (*fn)(void *arg), void *arg)
{
	return start(s, fn, arg, NULL, true, "gort_scope_go", __builtin_return_address(0));
}

GORT_API int gort_scope_try_go(gort_scope *s, int (*fn)(void *arg), void *arg)
{
	return start(s, fn, arg, NULL, false, "gort_scope_try_go", __builtin_return_address(0));
}

GORT_API int gort_scope_spawn(gort_scope *s, int (*fn)(void *arg), void *arg, const gort_attr *attr)
{
	return start(s, fn, arg, attr, true, "gort_scope_spawn", __builtin_return_address(0));
}

/* ---- the rest -------------------------------------------------------------------------------- */

GORT_API gort_ctx *gort_scope_ctx(gort_scope *s)
{
	if (!s)
		gort__misuse("gort_scope_ctx", "no scope");
	return s->ctx;
}

GORT_API void gort_scope_cancel(gort_scope *s, int cause)
{
	struct m *m;

	if (!s)
		gort__misuse("gort_scope_cancel", "no scope");
	m = rt_enter();
	cancel(m, s, cause);
	rt_leave(m);
}

/* Until running is 0. */
static int wait_idle(struct gort_scope *s, int64_t deadline, int flags)
{
	struct waiter w;

	w.elem = NULL; /* not a place */
	lock_acquire(&s->lock);
	if (s->running) {
		if (!deadline_passed(deadline))
			return gort__wait(&w, &s->idle, &s->lock, deadline, WHY_SCOPE, flags);
		lock_release(&s->lock);
		return -ETIMEDOUT;
	}
	lock_release(&s->lock);
	return 0;
}

GORT_API int gort_scope_wait_until(gort_scope *s, int64_t deadline)
{
	struct m *m;
	int err;

	if (!s)
		gort__misuse("gort_scope_wait_until", "no scope");
	m = rt_enter();
	err = wait_idle(s, deadline, WAIT_SURE);
	rt_leave(m);
	return err;
}

GORT_API int gort_scope_close(gort_scope *s)
{
	struct m *m;
	int canceled, err;

	if (!s)
		gort__misuse("gort_scope_close", "no scope");
	m = rt_enter();
	if (m && m->g->task && m->g->task->scope == s)
		gort__misuse("gort_scope_close", "a member closes its own scope");
	canceled = wait_idle(s, GORT_FOREVER, WAIT_BACK);
	if (canceled < 0) {
		cancel(m_self(), s, canceled);
		wait_idle(s, GORT_FOREVER, WAIT_SURE);
	}
	m = m_self();
	err = s->first ? s->first : canceled;
	gort__ctx_release(m, s->ctx);
	mem_free(cache_of(m), s, sizeof *s);
	rt_leave(m);
	return err;
}
