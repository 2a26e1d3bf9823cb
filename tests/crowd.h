/*
 * crowd.h - goroutines that announce themselves, so that a test can see when all of them wait.
 *
 * Of a goroutine that is found waiting the queue is in order: it says so under the object's lock.
 */
#ifndef GORT_TESTS_CROWD_H
#define GORT_TESTS_CROWD_H

#include "harness.h"
#include "sched/sched.h"

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

/* n have joined, and all wait so. */
static inline bool crowd_waits(uint32_t n, enum g_why why)
{
	struct g *g;

	if (load_acquire(&crowd_count) != n)
		return false;
	for (uint32_t i = 0; i < n; i++) {
		g = load_acquire(&crowd[i]);
		if (!g || load_relaxed(&g->state) != G_WAITING || load_relaxed(&g->why) != why)
			return false;
	}
	return true;
}

static inline void crowd_forget(void)
{
	for (uint32_t i = 0; i < CROWD_MOST; i++)
		crowd[i] = NULL;
	store_release(&crowd_count, 0);
}

#endif
