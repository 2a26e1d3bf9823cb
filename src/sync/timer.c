/*
 * timer.c - timers that users have: functions, ticks on channels, once or again and again. Go's,
 * as of 1.23.
 *
 * A timer is a kept node of timers.c and what is to happen, under a lock of its own. armed says
 * that it is to fire at when; placed that its node is in a heap, or has just been taken out of
 * one and is about to be run. Nobody but who holds the lock changes either, though the node may
 * leave the heap meanwhile.
 *
 *     idle --place--> in the heap --fire (heap's lock)--> run has it (run: placed = false) --> idle
 *                         |                                                        |
 *                         +-- stop, release: gort__timer_del (placed = false)      +-- place: again
 *
 *  1. run looks what is to be done now: it fires only what is armed and due, and places anew what
 *     is armed and not due yet. So whatever was changed after the node has left the heap counts,
 *     and nothing is sent or started once stop or reset has returned. What was sent before that
 *     is taken back.
 *  2. So the node may lie in the heap at an earlier time than when: moving a timer to a later
 *     one, which is what most do, is one store. It is found out when the node comes due. Only an
 *     earlier one moves it.
 *  3. Who releases frees it, unless run has it: then run does, which finds released set.
 *  4. The lock is held over the channel's (a tick, and taking one back) and over the heap's.
 *
 * Memory. All there is is taken at the start, but for fn's goroutine: a stack each, made
 * beforehand, would cost a page for each timer that there is, and most are stopped. If there is
 * none when it is time, the timer stays due and is tried again every RETRY, for which it has its
 * place in the heap.
 *
 * A timer belongs to the runtime that it was started in (timer_lives). When that has ended the
 * timer never fires again; it is there until it is released.
 *
 * Callers: goroutines and guests; run and fire on g0.
 */
#include "sync/chan.h"

#include <string.h>

#define RETRY (1 * GORT_MS)

struct gort_timer {
	struct lock lock;
	bool armed;    /* lock */
	bool placed;   /* lock */
	bool released; /* lock */
	int64_t when;  /* lock: when it is to fire, no earlier than work.timer.when */
	struct timer_work work;
	int64_t period;         /* fixed, as all below; <= 0: once */
	struct gort_chan *chan; /* NULL if fn is not */
	gort_func fn;
	void *arg;
	uint64_t control;        /* fn's floating-point control state */
	struct chan_owner owner; /* of gort_after_chan's */
};

static void timer_free(struct m *m, struct gort_timer *t)
{
	gort__timer_end(&t->work.timer);
	mem_free(cache_of(m), t, sizeof *t);
}

/* ---- firing: on g0 --------------------------------------------------------------------------- */

/* Under the lock. */
static void place(struct gort_timer *t, int64_t when)
{
	t->placed = when != GORT_FOREVER;
	if (t->placed)
		gort__timer_restart(&t->work.timer, when);
}

/* The channel has room for one: the latest. */
static void tick(struct gort_chan *c, struct due *due)
{
	struct waiter *woken = NULL;
	int err;

	lock_acquire(&c->lock);
	err = gort__chan_send_now(c, &due->now, &woken);
	if (err == -EAGAIN)
		memcpy(c->buffer, &due->now, sizeof due->now);
	lock_release(&c->lock);
	if (woken)
		waiter_end(woken, 0, &due->ready);
}

/* False: no memory. */
static bool start_fn(struct m *m, struct gort_timer *t, struct due *due)
{
	struct g *g = gort__g_new(m, t->fn, t->arg, 0, 0);

	if (unlikely(!g))
		return false;
	arch_context_control(g->sp, t->control);
	__builtin_prefetch(t->arg);
	glist_push_new(&due->ready, g);
	return true;
}

/* The first time after now that is whole periods after when, which is not after now. */
static int64_t next_tick(int64_t when, int64_t period, int64_t now)
{
	uint64_t late = (uint64_t)now - (uint64_t)when;
	int64_t next;

	if (__builtin_add_overflow(now, period - (int64_t)(late % (uint64_t)period), &next))
		return GORT_FOREVER;
	return next;
}

/* It is due. */
static void go_off(struct m *m, struct gort_timer *t, struct due *due)
{
	if (t->fn && !start_fn(m, t, due)) {
		place(t, due->now + RETRY);
		return;
	}
	if (!t->fn)
		tick(t->chan, due);
	t->armed = t->period > 0;
	if (t->armed) {
		t->when = next_tick(t->when, t->period, due->now);
		place(t, t->when);
	}
}

static void run(struct m *m, struct timer_work *w, struct due *due)
{
	struct gort_timer *t = container_of(w, struct gort_timer, work);
	bool released;

	lock_acquire(&t->lock);
	t->placed = false;
	if (t->armed && t->when <= due->now)
		go_off(m, t, due);
	else if (t->armed)
		place(t, t->when);
	released = t->released;
	lock_release(&t->lock);
	if (unlikely(released))
		timer_free(m, t);
}

/* placed keeps the node. */
static void fire(struct timer *timer, struct due *due)
{
	timer_later(due, container_of(timer, struct timer_work, timer));
}

/* ---- start ----------------------------------------------------------------------------------- */

/* GORT_NOW is no point in time that periods could be counted from. */
static int64_t time_of(int64_t deadline)
{
	return deadline == GORT_NOW ? rt_now() : deadline;
}

/* NULL: no runtime, no memory. */
static struct gort_timer *start(struct m *m, const struct gort_timer *like)
{
	struct gort_timer *t = gort__running() ? mem_alloc(cache_of(m), sizeof *t) : NULL;

	if (unlikely(!t))
		return NULL;
	*t = *like;
	t->lock = (struct lock)LOCK_INIT(RANK_TICKER);
	t->work.timer.fire = fire;
	t->work.run = run;
	t->armed = true;
	t->placed = t->when != GORT_FOREVER;
	if (t->chan && t->owner.gone)
		t->chan->owner = &t->owner;
	if (likely(gort__timer_start(m, &t->work.timer, t->when) == 0))
		return t;
	if (t->chan)
		t->chan->owner = NULL;
	mem_free(cache_of(m), t, sizeof *t);
	return NULL;
}

/* One that ticks. Between rt_enter and rt_leave throughout: a goroutine that is stopped between
 * making the two would lose the channel. */
static struct gort_timer *start_ticks(struct m *m, struct gort_timer *like)
{
	struct gort_timer *t = NULL;

	like->chan = gort__running() ? gort__chan_make(m, sizeof(int64_t), 1) : NULL;
	if (likely(like->chan != NULL))
		t = start(m, like);
	if (unlikely(!t))
		gort__chan_release(m, like->chan);
	return t;
}

GORT_API gort_timer *gort_timer_start(int64_t deadline, int64_t period, gort_func fn, void *arg)
{
	struct gort_timer like = {
		.when = time_of(deadline), .period = period, .fn = fn, .arg = arg
	};
	struct m *m = rt_enter_to_start();
	struct gort_timer *t;

	if (fn)
		like.control = arch_control();
	t = fn ? start(m, &like) : start_ticks(m, &like);
	rt_leave(m);
	return t;
}

GORT_API gort_chan *gort_timer_chan(gort_timer *t)
{
	if (!t)
		gort__misuse("gort_timer_chan", "no timer");
	return t->chan;
}

/* ---- stop, reset, release -------------------------------------------------------------------- */

/* Under the lock: take a tick back that nobody has received. */
static bool untick(struct m *m, struct gort_chan *c)
{
	struct waiter *woken = NULL;
	int err;

	if (!c || gort_chan_len(c) == 0)
		return false;
	lock_acquire(&c->lock);
	err = gort__chan_recv_now(c, NULL, &woken);
	lock_release(&c->lock);
	if (unlikely(woken != NULL)) /* a user's own send */
		waiter_wake(m, woken);
	return err == 0;
}

/* Under the lock. */
static bool disarm(struct m *m, struct gort_timer *t)
{
	bool was = t->armed;

	t->armed = false;
	if (t->placed && gort__timer_del(&t->work.timer))
		t->placed = false;
	return untick(m, t->chan) || was;
}

GORT_API bool gort_timer_stop(gort_timer *t)
{
	struct m *m;
	bool was;

	if (!t)
		gort__misuse("gort_timer_stop", "no timer");
	m = rt_enter();
	lock_acquire(&t->lock);
	was = disarm(m, t);
	lock_release(&t->lock);
	rt_leave(m);
	return was;
}

/* Under the lock. If run has the node, it places it. */
static void arm(struct gort_timer *t, int64_t when)
{
	t->armed = true;
	t->when = when;
	if (!t->placed)
		place(t, when);
	else if (when < t->work.timer.when)
		gort__timer_reset(&t->work.timer, when);
}

GORT_API bool gort_timer_reset(gort_timer *t, int64_t deadline)
{
	struct m *m;
	bool was;

	if (!t)
		gort__misuse("gort_timer_reset", "no timer");
	deadline = time_of(deadline);
	m = rt_enter();
	lock_acquire(&t->lock);
	if (likely(timer_lives(&t->work.timer))) {
		was = untick(m, t->chan) || t->armed;
		arm(t, deadline);
	} else {
		was = disarm(m, t);
	}
	lock_release(&t->lock);
	rt_leave(m);
	return was;
}

static void release(struct gort_timer *t)
{
	struct m *m = rt_enter();
	bool placed;

	lock_acquire(&t->lock);
	disarm(m, t);
	t->released = true;
	placed = t->placed;
	lock_release(&t->lock);
	if (!placed)
		timer_free(m, t); /* else run has it, and does that */
	rt_leave(m);
}

GORT_API void gort_timer_release(gort_timer *t)
{
	struct gort_chan *c;

	if (!t)
		return;
	c = t->chan;
	release(t);
	gort_chan_release(c);
}

/* ---- gort_after_chan: a timer that only its channel knows ------------------------------------ */

static void chan_gone(struct chan_owner *owner)
{
	release(container_of(owner, struct gort_timer, owner));
}

GORT_API gort_chan *gort_after_chan(int64_t duration)
{
	struct gort_timer like = { .when = gort_in(duration), .owner = { chan_gone } };
	struct m *m = rt_enter_to_start();
	struct gort_timer *t = start_ticks(m, &like);

	rt_leave(m);
	return likely(t != NULL) ? like.chan : NULL;
}
