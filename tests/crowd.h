/*
 * crowd.h - goroutines that announce themselves, so that a test can see when all of them wait.
 *
 * Of a goroutine that is found waiting the queue is in order: it says so under the object's lock.
 */
#ifndef GORT_TESTS_CROWD_H
#define GORT_TESTS_CROWD_H

#include "harness.h"
#include "sched/park.h"

#define CROWD_MOST 5000

static struct g *crowd[CROWD_MOST];
static uint32_t crowd_count;

/* By the goroutine, right before the call that waits. */
static inline void crowd_join(void)
{
	uint32_t i = add_acq_rel(&crowd_count, 1u);

	CHECK(i < CROWD_MOST);
	store_release(&crowd[i], m_self()->g);
}

/* The one that has joined as the i-th. */
static inline bool crowd_member_waits(uint32_t i)
{
	struct g *g = load_acquire(&crowd[i]);

	return g && load_relaxed(&g->state) == G_WAITING;
}

/* n have joined, and all wait, for whatever it is. */
static inline bool crowd_all_wait(uint32_t n)
{
	if (load_acquire(&crowd_count) != n)
		return false;
	for (uint32_t i = 0; i < n; i++)
		if (!crowd_member_waits(i))
			return false;
	return true;
}

/* n have joined, and all wait so. */
static inline bool crowd_waits(uint32_t n, enum g_why why)
{
	if (!crowd_all_wait(n))
		return false;
	for (uint32_t i = 0; i < n; i++)
		if (load_relaxed(&crowd[i]->why) != why)
			return false;
	return true;
}

/* ---- of one, that may be a guest */

/* The caller's. */
static inline struct waits *own_waits(void)
{
	struct m *m = m_self();

	return m ? &m->g->waits : &gort__guest()->waits;
}

/* It has gone to sleep, in a wait that a deadline or a context could end. */
static inline bool sleeps_now(struct waits *s)
{
	uint64_t state = load_acquire(&s->word) & TURN_STATES;

	return state == TURN_WAITING || state == TURN_LIGHT_WAITING;
}

static inline void crowd_forget(void)
{
	for (uint32_t i = 0; i < CROWD_MOST; i++)
		crowd[i] = NULL;
	store_release(&crowd_count, 0);
}

/* ---- one after the other, on one P */

struct arrival {
	gort_func fn;
	void *arg;
	struct g *g;    /* atomic */
	uint32_t ended; /* atomic */
};

/* It is not preempted: between its steps nobody else's come, but for waits. */
static inline void crowd_arrival(void *arg)
{
	struct arrival *a = arg;

	gort_preempt_off();
	store_release(&a->g, m_self()->g);
	a->fn(a->arg);
	store_release(&a->ended, 1u);
}

/* It waits when this returns, whoever gets the processor meanwhile, or it has ended: it had no need to. */
static inline void crowd_arrive(gort_waitgroup *group, gort_func fn, void *arg)
{
	static struct arrival all[32]; /* those before have ended, or been dropped */
	static uint32_t next;
	struct arrival *a = &all[next++ % 32];
	struct g *g;

	*a = (struct arrival){ fn, arg, NULL, 0 };
	CHECK_EQ(gort_waitgroup_go(group, crowd_arrival, a), 0);
	while (!load_acquire(&a->ended)) {
		g = load_acquire(&a->g);
		if (g && load_relaxed(&g->state) == G_WAITING)
			break;
		gort_yield();
	}
}

#endif
