/*
 * switch.h - giving way, inline: pick the next goroutine, switch to it, do what the last one left.
 *
 * Inline for a reason. After a switch the processor's return stack holds the other goroutine's
 * calls, so each return on the way back to user code is mispredicted: 4 to 5 ns a frame. The
 * functions that park most (channels) therefore have one frame between the user's and
 * gort_switch, and it, as all those that park, is left by a jump that has a prediction of its own
 * (returns_by_jump: a round trip of two goroutines went from 56 to 40 ns). Paths that do not park
 * must return as usual, to keep the return stack in step: they stand in functions of their own.
 * All others call gort__park (proc.c), which is the same.
 *
 * Callers: a running goroutine with a P.
 */
#ifndef GORT_SCHED_SWITCH_H
#define GORT_SCHED_SWITCH_H

#include "sched/park.h"

void gort__work_queued_slow(struct p *p, bool second);
void gort__after_switch_slow(struct m *m, enum after_kind kind);
void gort__stack_check(struct g *g);

/* Work was queued here: true if a P idles, which gort__work_queued_slow may call. */
static inline bool queued_while_idle(void)
{
	fence_light(); /* proc.c, b5 */
	return load_relaxed(&gort__sched.idle_ps) != 0;
}

/* second: there is more than the one goroutine that will run when the caller parks. Talkers, who come
 * here all the time while other Ps idle, stop at three loads. */
static inline void work_queued(struct p *p, bool second)
{
	if (unlikely(queued_while_idle()) &&
	    (second || load_relaxed(&p->eager) || load_relaxed(&gort__sched.lazy)))
		gort__work_queued_slow(p, second);
}

static inline struct g *runnext_take(struct p *p)
{
	struct g *g = load_relaxed(&p->runnext);

	if (!g || !cas_acquire(&p->runnext, &g, NULL))
		return NULL; /* only a thief can have been faster */
	return g;
}

/* The next of this P's own. NULL: go to g0 (proc.c, "Direct path"). */
static inlined struct g *pick(struct p *p)
{
	struct g *g;

	if (unlikely(--p->ticks == 0 || load_relaxed(&p->attention)))
		return NULL;
	g = runnext_take(p);
	if (likely(g != NULL)) {
		if (unlikely(load_relaxed(&p->eager)))
			store_relaxed(&p->eager, 0); /* a direct switch has succeeded again */
		return g;
	}
	g = ring_pop(&p->ring);
	return g ? g : deque_pop(&p->deque);
}

void gort__light_ended(struct m *m, struct g *g, struct lock *lock);

/* park.h, steps 5 and 6. */
static inline void after_light(struct m *m, struct g *g, struct lock *lock)
{
	uint64_t turn = turn_after(load_relaxed(&g->waits.word));

	store_release(&g->waits.word, turn | TURN_LIGHT_WAITING);
	fence_light();
	if (unlikely(load_relaxed(&g->waits.ended)))
		gort__light_ended(m, g, lock);
	else
		lock_release(lock);
}

/* On whatever runs next on m: finish what the one before left to do. Who waits lightly comes
 * most often from another who does. */
static inlined void after_switch(struct m *m, bool light)
{
	enum after_kind kind = m->after;

	m->after = AFTER_NOTHING;
	if (light && likely(kind == AFTER_LIGHT))
		after_light(m, m->after_g, m->after_lock);
	else if (likely(kind == AFTER_UNLOCK))
		lock_release(m->after_lock);
	else if (kind == AFTER_LIGHT)
		after_light(m, m->after_g, m->after_lock);
	else if (kind != AFTER_NOTHING)
		gort__after_switch_slow(m, kind);
}

static inlined void become(struct m *m, struct g *g)
{
	struct p *p = m->p;

	store_relaxed(&m->g, g);
	g_set_state(g, G_RUNNING);
	store_relaxed(&p->picks, p->picks + 1);
}

/* A stack without a guard: has it been overrun? Asked when it is left. */
static inline void check_stack(struct g *g)
{
	if (unlikely(g->unguarded))
		gort__stack_check(g);
}

/* From the running g to next, or to g0 if next is NULL. Returns when g is resumed, maybe on
 * another M: which. m->after is set. */
static inlined struct m *switch_away(struct m *m, struct g *g, struct g *next, bool light)
{
	check_stack(g);
	if (unlikely(m->cxa != NULL))
		g->excepting = exceptions_take(m->cxa, &g->exceptions);
	if (likely(next != NULL)) {
		become(m, next);
		fiber_leave(&g->fiber, &next->fiber, false);
		gort_switch(&g->sp, next->sp);
	} else {
		fiber_leave(&g->fiber, &m->g0_fiber, false);
		gort_mcall(&g->sp, m->g0_sp, gort__schedule, m);
	}
	fiber_arrive(&g->fiber);
	m = m_self();
	if (unlikely(g->excepting))
		*m->cxa = g->exceptions;
	after_switch(m, light);
	return m;
}

/* held: released once the stack is left; may be NULL. after: UNLOCK, LIGHT or PARK. */
static inlined struct m *park(struct m *m, struct g *g, struct lock *held, enum after_kind after,
			      enum g_why why)
{
	bool light = after == AFTER_LIGHT;

	must_checked(m->after == AFTER_NOTHING);
	store_relaxed(&g->why, (uint16_t)why);
	store_relaxed(&g->since, load_relaxed(&gort__sched.coarse));
	g_set_state(g, G_WAITING);
	m->after_g = g;
	m->after_lock = held;
	check_mutexes(g, why);
	if (unlikely(g->waits.bound & (BOUND_BUBBLE | BOUND_THREAD))) {
		if (g->waits.bound & BOUND_THREAD)
			gort__bound_parks(m, g);
		if (g->waits.bound & BOUND_BUBBLE)
			after = gort__bubble_park(m, g, after, why);
	}
	m->after = after;
	return switch_away(m, g, pick(m->p), light);
}

/* park.h, steps 3 and 4. 0, or how the context has ended. */
static inline int light_begin(struct g *g, struct waiter *w)
{
	w->turn = turn_after(load_relaxed(&g->waits.word)) | TURN_LIGHT;
	return load_acquire(&g->waits.ended); /* meets the release in ctx.c */
}

int gort__light_canceled(struct waiter *w);

/* A wait of m's goroutine that only its object can end otherwise. */
static inline bool waits_lightly(const struct m *m)
{
	return unlikely(m->g->waits.bound & BOUND_WAITS);
}

/* gort__wait of *on's goroutine without a deadline; *on: the M that it is on then. light: its wait may be ended from outside. A
 * constant, so that either kind has functions of its own, without a jump that the other does not
 * need: what predicts the jumps after a switch sees only the last ones. (In one function the
 * light round trip took 60 ns, not 45.) */
static inlined int wait_here(struct m **on, struct waiter *w, struct waitq *q, struct lock *lock,
			     enum g_why why, bool light)
{
	struct m *m = *on;
	struct g *g = m->g;
	int err;

	if (light && unlikely(g->waits.bound & BOUND_DEADLINE)) {
		err = gort__wait(w, q, lock, GORT_FOREVER, why, WAIT_BACK);
		*on = m_self();
		return err;
	}
	w->lock = lock;
	w->g = g;
	w->guest = NULL;
	w->turn = 0;
	w->early = false;
	if (light && unlikely((err = light_begin(g, w)) != 0)) {
		lock_release(lock);
		return err;
	}
	waitq_push(q, w);
	g->waiting = w;
	*on = park(m, g, lock, light ? AFTER_LIGHT : AFTER_UNLOCK, why);
	g->waiting = NULL;
	if (light && unlikely(load_relaxed(&g->waits.ended)))
		return gort__light_canceled(w);
	return w->status;
}

#endif
