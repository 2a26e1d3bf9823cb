/*
 * contexts.c - cancellation: whoever waits under a context that ends is woken, and nothing is
 * lost by it.
 */
#include "sim.h"

#include <errno.h>

static struct {
	gort_ctx *ctx;
	gort_chan *c;
	gort_waitgroup all;
	gort_mutex m;
	unsigned sent, received, canceled;
	bool inside;
} x;

static bool ended(int err)
{
	return err == -ECANCELED || err == -ETIMEDOUT;
}

static void count(unsigned *n)
{
	__atomic_add_fetch(n, 1, __ATOMIC_RELAXED);
}

/* ---- channels -------------------------------------------------------------------------------- */

static void send_until_canceled(void *arg)
{
	int err;

	(void)arg;
	while ((err = gort_chan_send(x.c, &err)) == 0)
		count(&x.sent);
	check(ended(err));
	count(&x.canceled);
}

static void receive_until_canceled(void *arg)
{
	int v, err;

	(void)arg;
	while ((err = gort_chan_recv(x.c, &v)) == 0)
		count(&x.received);
	check(ended(err));
	count(&x.canceled);
}

static void talk_under(gort_ctx *ctx, bool even)
{
	gort_ctx *before = gort_ctx_enter(ctx);

	x.c = gort_chan_make(sizeof(int), 0);
	for (int i = 0; i < 2; i++) {
		check_eq(gort_waitgroup_go(&x.all, receive_until_canceled, NULL), 0);
		if (even)
			check_eq(gort_waitgroup_go(&x.all, send_until_canceled, NULL), 0);
	}
	gort_ctx_leave(before);
}

SCENARIO(ctx_cancel_talk, "a context ends under goroutines that talk: all stop, sent is received")
{
	x.ctx = gort_ctx_with_cancel(gort_ctx_background());
	check(x.ctx);
	talk_under(x.ctx, true);
	for (unsigned i = pick(8); i > 0; i--)
		gort_yield();
	gort_ctx_cancel(x.ctx, 0);
	gort_waitgroup_wait(&x.all);
	check_eq(x.sent, x.received);
	check_eq(x.canceled, 4);
	gort_ctx_release(x.ctx);
	gort_chan_release(x.c);
}

SCENARIO(ctx_cancel_waits, "a context ends while goroutines go to sleep under it: all wake")
{
	x.ctx = gort_ctx_with_cancel(gort_ctx_background());
	talk_under(x.ctx, false);
	if (pick(2))
		gort_yield();
	gort_ctx_cancel(x.ctx, 0);
	gort_waitgroup_wait(&x.all);
	check_eq(x.canceled, 2);
	gort_ctx_release(x.ctx);
	gort_chan_release(x.c);
}

SCENARIO(ctx_deadline, "a context's deadline passes under goroutines that wait: all wake")
{
	x.ctx = gort_ctx_with_deadline(gort_ctx_background(), gort_in((int64_t)pick(40) * GORT_US));
	talk_under(x.ctx, pick(2));
	gort_waitgroup_wait(&x.all);
	check_eq(gort_ctx_err(x.ctx), -ETIMEDOUT);
	gort_ctx_release(x.ctx);
	gort_chan_release(x.c);
}

static void cancel(void *arg)
{
	(void)arg;
	gort_ctx_cancel(x.ctx, 0);
}

static void one_value(void *arg)
{
	int err = gort_chan_recv(x.c, NULL);

	(void)arg;
	if (err == 0)
		count(&x.received);
	else
		check(ended(err));
}

SCENARIO(ctx_race, "a send and a cancellation race for one that waits: it has one outcome")
{
	gort_ctx *before;
	struct guest_thread *t;

	x.ctx = gort_ctx_with_cancel(gort_ctx_background());
	x.c = gort_chan_make(0, 0);
	before = gort_ctx_enter(x.ctx);
	check_eq(gort_waitgroup_go(&x.all, one_value, NULL), 0);
	gort_ctx_leave(before);
	for (unsigned i = pick(3); i > 0; i--)
		gort_yield();
	t = guest_start(cancel, NULL);
	x.sent = gort_chan_send_until(x.c, NULL, gort_in((int64_t)pick(30) * GORT_US)) == 0;
	guest_join(t);
	gort_waitgroup_wait(&x.all);
	check_eq(x.sent, x.received);
	gort_ctx_release(x.ctx);
	gort_chan_release(x.c);
}

/* ---- trees ----------------------------------------------------------------------------------- */

static void live_under_child(void *arg)
{
	gort_ctx *child = pick(2) ? gort_ctx_with_cancel(x.ctx)
				  : gort_ctx_with_deadline(x.ctx, gort_in(GORT_SEC));
	gort_ctx *before;

	(void)arg;
	check(child);
	before = gort_ctx_enter(child);
	check(ended(gort_chan_recv(x.c, NULL)));
	check(gort_ctx_err(child) != 0);
	gort_ctx_leave(before);
	gort_ctx_release(child);
}

SCENARIO(ctx_children, "children are made while their parent ends: none lives on")
{
	x.ctx = gort_ctx_with_cancel(gort_ctx_background());
	x.c = gort_chan_make(0, 0);
	for (int i = 0; i < 3; i++)
		check_eq(gort_waitgroup_go(&x.all, live_under_child, NULL), 0);
	for (unsigned i = pick(4); i > 0; i--)
		gort_yield();
	gort_ctx_cancel(x.ctx, -EPERM);
	check_eq(gort_ctx_cause(x.ctx), -EPERM);
	gort_waitgroup_wait(&x.all);
	gort_ctx_release(x.ctx);
	gort_chan_release(x.c);
}

static void wait_for_done(void *arg)
{
	(void)arg;
	check_eq(gort_chan_recv(gort_ctx_done(x.ctx), NULL), -EPIPE);
}

SCENARIO(ctx_done, "done is closed when the context ends, though many ask for it at once")
{
	x.ctx = gort_ctx_with_cancel(gort_ctx_background());
	for (int i = 0; i < 3; i++)
		check_eq(gort_waitgroup_go(&x.all, wait_for_done, NULL), 0);
	for (unsigned i = pick(4); i > 0; i--)
		gort_yield();
	gort_ctx_cancel(x.ctx, 0);
	gort_waitgroup_wait(&x.all);
	gort_ctx_release(x.ctx);
}

static unsigned afters;

static void after(void *arg)
{
	(void)arg;
	count(&afters);
}

SCENARIO(ctx_after, "what is to run after the end runs once, or was stopped")
{
	struct guest_thread *t;
	gort_after *a;
	bool stopped;

	x.ctx = gort_ctx_with_cancel(gort_ctx_background());
	a = gort_ctx_after_func(x.ctx, after, NULL);
	check(a);
	t = guest_start(cancel, NULL);
	for (unsigned i = pick(4); i > 0; i--)
		gort_yield();
	stopped = gort_ctx_after_stop(a);
	guest_join(t);
	while (!stopped && !__atomic_load_n(&afters, __ATOMIC_RELAXED))
		give_way();
	gort_sleep(20 * GORT_US);
	check_eq(afters, !stopped);
	gort_ctx_release(x.ctx);
}
