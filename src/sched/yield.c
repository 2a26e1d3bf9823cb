/*
 * yield.c - gort_yield: others first, this one goes to the back of the ring.
 *
 * It picks the next as whoever parks does (switch.h), but prefers what was spawned, and comes back at
 * once if nobody else wants to run. One that is bound to its thread goes to g0, and stands in fresh
 * (bound.c).
 *
 * Callers: the running goroutine, in gort.
 */
#include "sched/switch.h"

#define sched gort__sched

/* What was spawned goes before the ring: two that yield to each other would keep it waiting. */
static struct g *pick_for_yield(struct p *p)
{
	struct g *g;

	if (deque_len(&p->deque) == 0 || load_relaxed(&p->runnext) || p->ticks == 1 ||
	    load_relaxed(&p->attention))
		return pick(p);
	p->ticks--;
	g = deque_pop(&p->deque);
	return g ? g : ring_pop(&p->ring);
}

static returns_by_jump void yield_to(struct m *m, struct g *g, struct g *next)
{
	m->after_g = g;
	m->after = AFTER_YIELD;
	switch_away(m, g, next, false);
}

static rare returns_by_jump void yield_bound(struct m *m, struct g *g)
{
	struct p *p = m->p;

	if (!load_relaxed(&p->attention) && !load_relaxed(&sched.global_count) && !p_has_work(p) &&
	    load_relaxed(&p->timers.next) == OS_FOREVER)
		return;
	gort__bound_parks(m, g);
	p->yielded = !g_is_bound(g); /* main for the first time: it will stand in the ring */
	p->others_turn = true;
	yield_to(m, g, NULL);
}

static returns_by_jump void yield_to_and_leave(struct m *m, struct g *g, struct g *next)
{
	m->after_g = g;
	m->after = AFTER_YIELD;
	m_leave(switch_away(m, g, next, false));
}

static inlined void yield_here(struct m *m, bool leave)
{
	struct p *p = m->p;
	struct g *g = m->g, *next = pick_for_yield(p);

	if (!next && !load_relaxed(&p->attention) && !load_relaxed(&sched.global_count) &&
	    !p_has_work(p) && (p->ticks || load_relaxed(&p->timers.next) == OS_FOREVER)) {
		if (p->ticks == 0)
			p->ticks = TICKS;
		if (leave)
			m_leave(m);
		return; /* nobody else wants to run here */
	}
	if (!next) {
		p->ticks = 0; /* look around: it goes to the back */
		p->yielded = true;
	}
	if (leave)
		yield_to_and_leave(m, g, next);
	else
		yield_to(m, g, next);
}

static rare void yield_bound_and_leave(struct m *m)
{
	yield_bound(m, m->g);
	m_leave(m_self());
}

void gort__yield(struct m *m)
{
	if (g_is_bound(m->g))
		yield_bound(m, m->g);
	else
		yield_here(m, false);
}

/* A frame of its own between the caller and the switch would cost a mispredicted return. */
void gort__yield_and_leave(struct m *m)
{
	if (g_is_bound(m->g))
		yield_bound_and_leave(m);
	else
		yield_here(m, true);
}
