/*
 * cancels.c - cancellation of tasks, and of guests; contexts that are entered, released, or left
 * by the runtime, as they end.
 */
#include "sim.h"

#include <errno.h>

static struct {
	gort_ctx *ctx;
	gort_chan *c, *d;
	gort_mutex m;
	gort_task *task;
	gort_waitgroup all;
	unsigned n;
} x;

static void make(void)
{
	x.ctx = gort_ctx_with_cancel(gort_ctx_background());
	x.c = gort_chan_make(0, 0);
	x.d = gort_chan_make(0, 0);
	check(x.ctx && x.c && x.d);
}

static void drop(void)
{
	gort_ctx_release(x.ctx);
	gort_chan_release(x.c);
	gort_chan_release(x.d);
}

static void count(unsigned *n)
{
	__atomic_add_fetch(n, 1, __ATOMIC_RELAXED);
}

static void yield_some(unsigned most)
{
	for (unsigned i = pick(most); i > 0; i--)
		gort_yield();
}

static void cancel(void *arg)
{
	(void)arg;
	gort_ctx_cancel(x.ctx, 0);
}

/* ---- entered, and waited under --------------------------------------------------------------- */

static void enter_and_wait(void *arg)
{
	gort_ctx *before = gort_ctx_enter(x.ctx);

	(void)arg;
	check_eq(gort_chan_recv(x.c, NULL), -ECANCELED);
	gort_ctx_leave(before);
}

SCENARIO(cancel_entered, "a goroutine and a guest enter a context as it ends: they learn of it")
{
	struct guest_thread *t[2];

	make();
	check_eq(gort_waitgroup_go(&x.all, enter_and_wait, NULL), 0);
	t[0] = guest_start(enter_and_wait, NULL);
	t[1] = guest_start(cancel, NULL);
	gort_waitgroup_wait(&x.all);
	guest_join(t[0]);
	guest_join(t[1]);
	drop();
}

/* Its next wait is one that only the mutex's holder may end. */
static void refused_then_locks(void *arg)
{
	gort_ctx *before = gort_ctx_enter(x.ctx);

	(void)arg;
	check_eq(gort_chan_recv(x.c, NULL), -ECANCELED);
	gort_mutex_lock(&x.m);
	check_eq(x.n, 1);
	gort_mutex_unlock(&x.m);
	gort_ctx_leave(before);
}

SCENARIO(cancel_guest, "a guest that is cancelled as it begins to wait is not woken later")
{
	struct guest_thread *t[2];

	make();
	gort_mutex_lock(&x.m);
	t[0] = guest_start(refused_then_locks, NULL);
	t[1] = guest_start(cancel, NULL);
	guest_join(t[1]);
	gort_sleep((int64_t)pick(20) * GORT_US);
	x.n = 1;
	gort_mutex_unlock(&x.m);
	guest_join(t[0]);
	drop();
}

static void wait_somehow(void *arg)
{
	gort_case k = GORT_CASE_RECV(x.c, NULL);
	gort_ctx *before = gort_ctx_enter(x.ctx);

	switch ((intptr_t)arg) {
	case 0:
		check_eq(gort_chan_recv(x.c, NULL), -ECANCELED);
		break;
	case 1:
		check_eq(gort_sleep(1000 * GORT_SEC), -ECANCELED);
		break;
	case 2:
		check_eq(gort_select(&k, 1, GORT_FOREVER), -ECANCELED);
		break;
	case 3:
		check_eq(gort_mutex_lock_until(&x.m, GORT_FOREVER), -ECANCELED);
		break;
	default:
		check_eq(gort_join(x.task, NULL), -ECANCELED);
		break;
	}
	gort_ctx_leave(before);
}

static int wait_for_close(void *arg)
{
	(void)arg;
	check_eq(gort_chan_recv(x.d, NULL), -EPIPE);
	return 0;
}

SCENARIO(cancel_all_waits, "a context ends under waits of all kinds, of goroutines and guests")
{
	struct guest_thread *t[2];

	make();
	gort_mutex_lock(&x.m);
	x.task = gort_spawn(wait_for_close, NULL, NULL);
	t[0] = guest_start(wait_somehow, (void *)(intptr_t)pick(5));
	for (int i = 0; i < 2; i++)
		check_eq(gort_waitgroup_go(&x.all, wait_somehow, (void *)(intptr_t)pick(5)), 0);
	t[1] = guest_start(cancel, NULL);
	gort_waitgroup_wait(&x.all);
	guest_join(t[0]);
	guest_join(t[1]);
	gort_chan_close(x.d);
	check_eq(gort_join(x.task, NULL), 0);
	gort_mutex_unlock(&x.m);
	drop();
}

/* ---- both ends of a channel are cancelled again and again ------------------------------------ */

static gort_ctx *under[2]; /* who takes it cancels it */

static void enter_new(int end, gort_ctx *next)
{
	gort_ctx_leave(gort_ctx_background());
	if (next)
		gort_ctx_enter(next);
	gort_ctx_release(__atomic_exchange_n(&under[end], next, __ATOMIC_ACQ_REL));
}

static gort_ctx *new_ctx(void)
{
	return gort_ctx_with_cancel(gort_ctx_background());
}

static void talk(void *arg)
{
	int end = (int)(intptr_t)arg, n = 0, value, err;

	gort_ctx_enter(gort_ctx_background());
	enter_new(end, new_ctx());
	while (n < 4) {
		value = n;
		err = end ? gort_chan_recv(x.c, &value) : gort_chan_send(x.c, &value);
		if (err == 0) {
			check_eq(value, n);
			n++;
		} else {
			check_eq(err, -ECANCELED);
			enter_new(end, new_ctx());
		}
	}
	enter_new(end, NULL);
}

static void cancel_often(void *arg)
{
	(void)arg;
	for (int i = 0; i < 6; i++) {
		gort_ctx *ctx = __atomic_exchange_n(&under[i % 2], NULL, __ATOMIC_ACQ_REL);

		if (ctx)
			gort_ctx_cancel(ctx, 0);
		gort_ctx_release(ctx);
		compute(pick(300));
	}
}

SCENARIO(cancel_both_ends, "both ends of a channel are cancelled: values come once, in order")
{
	struct guest_thread *t;

	x.c = gort_chan_make(sizeof(int), pick(2));
	check_eq(gort_waitgroup_go(&x.all, talk, (void *)0), 0);
	check_eq(gort_waitgroup_go(&x.all, talk, (void *)1), 0);
	t = guest_start(cancel_often, NULL);
	gort_waitgroup_wait(&x.all);
	guest_join(t);
	gort_chan_release(x.c);
}

/* ---- tasks ----------------------------------------------------------------------------------- */

static void below(void *arg)
{
	(void)arg;
	check_eq(gort_chan_recv(x.c, NULL), -ECANCELED);
	count(&x.n);
}

static int task(void *arg)
{
	(void)arg;
	if (pick(2))
		check_eq(gort_chan_recv(x.c, NULL), -ECANCELED);
	if (pick(2))
		gort_ctx_current();
	check_eq(gort_waitgroup_go(&x.all, below, NULL), 0);
	check_eq(gort_waitgroup_go(&x.all, below, NULL), 0);
	if (pick(2))
		check_eq(gort_sleep(GORT_FOREVER), -ECANCELED);
	return 5;
}

static void cancel_task(void *arg)
{
	(void)arg;
	gort_task_cancel(x.task, -EPERM);
}

SCENARIO(cancel_task_by_two, "a task is cancelled by two: it ends, and those that it has started")
{
	struct guest_thread *t;
	int result;

	make();
	x.task = gort_spawn(task, NULL, NULL);
	t = guest_start(cancel_task, NULL);
	yield_some(3);
	cancel_task(NULL);
	guest_join(t);
	check_eq(gort_join(x.task, &result), 0);
	check_eq(result, 5);
	gort_waitgroup_wait(&x.all);
	check_eq(x.n, 2);
	drop();
}

/* ---- references ------------------------------------------------------------------------------ */

static void release(void *ctx)
{
	gort_ctx_release(ctx);
}

static void count_after(void *arg)
{
	(void)arg;
	count(&x.n);
}

SCENARIO(cancel_released,
	 "contexts are released by several as the uppermost ends: functions run once")
{
	gort_ctx *middle, *low;
	struct guest_thread *t[2];
	gort_after *a;

	make();
	middle = gort_ctx_with_cancel(x.ctx);
	low = gort_ctx_with_cancel(middle);
	a = gort_ctx_after_func(low, count_after, NULL);
	t[0] = guest_start(release, low);
	check_eq(gort_waitgroup_go(&x.all, release, middle), 0);
	t[1] = guest_start(cancel, NULL);
	gort_waitgroup_wait(&x.all);
	guest_join(t[0]);
	guest_join(t[1]);
	check(!gort_ctx_after_stop(a));
	while (!__atomic_load_n(&x.n, __ATOMIC_RELAXED))
		give_way();
	check_eq(x.n, 1);
	drop();
}

/* ---- the runtime's end ----------------------------------------------------------------------- */

static int leave_waiting(void *arg)
{
	(void)arg;
	for (intptr_t i = 0; i < 4; i++)
		gort_go(wait_somehow, (void *)i);
	yield_some(4);
	return 0;
}

SCENARIO_PLAIN(cancel_after_the_end, "the runtime ends under a context, which ends later")
{
	gort_options o = sim_options();
	struct guest_thread *t;

	make();
	gort_mutex_lock(&x.m);
	t = guest_start(enter_and_wait, NULL);
	for (int i = 0; i < 2; i++)
		gort_run(leave_waiting, NULL, &o);
	gort_ctx_cancel(x.ctx, 0);
	guest_join(t);
	gort_mutex_unlock(&x.m);
	drop();
}
