/*
 * stack.h - where goroutines lie. See stack.c.
 */
#ifndef GORT_SCHED_STACK_H
#define GORT_SCHED_STACK_H

#include "sched/sched.h"

#define STACK_MIN ((size_t)16 << 10)
#define STACK_MAX ((size_t)1 << 30)
#define STACK_DEFAULT ((size_t)256 << 10)
#define STACK_GUARD ((size_t)16 << 10)

/* A goroutine on a stack of at least so many usable bytes, state FREE. m NULL: a guest. NULL:
 * out of memory. */
struct g *gort__stack_get(struct m *m, size_t size);
void gort__stack_put_slow(struct m *m, struct g *g);
/* Somebody makes goroutines faster than their first pages can be had: make some stacks ready.
 * False: there is no need. Called by an M that looks for work. */
bool gort__stacks_prepare(void);
void gort__stack_idle(struct p *p);  /* p goes idle: leave the rest where it can go cold */
void gort__stack_flush(struct p *p); /* what p keeps warm, to the shared lists */

/* Give back the pages of at most so many stacks (of each size) that nobody has used between the
 * last two counts; count: this call is the next. Returns how many more may follow. Called by
 * sysmon. */
uint32_t gort__stacks_trim(uint32_t most, bool count);

/* For each goroutine that exists and is not FREE. Nothing else runs. */
void gort__stacks_each(void (*fn)(struct g *g));
/* Unmap everything but the chunks of those for which keep is true (they are left for good). */
void gort__stacks_free(bool (*keep)(struct g *g));

/* The end of a goroutine that has left its stack. m NULL: a guest. */
static inline void stack_put(struct m *m, struct g *g)
{
	fiber_destroy(&g->fiber);
	g_set_state(g, G_FREE);
	fiber_poison(g->low, (size_t)((char *)g - g->low));
	if (likely(m && g->stack_size == gort__sched.stack_size && m->p->free_count < P_FREE))
		m->p->free_gs[m->p->free_count++] = g;
	else
		gort__stack_put_slow(m, g);
}

void gort__stack_check(struct g *g); /* the canary of one without a guard */

/* The goroutine whose stack or guard holds address, if it is g's. Safe in signal handlers. */
static inline bool stack_overflowed(const struct g *g, uintptr_t address, uintptr_t sp)
{
	uintptr_t low = (uintptr_t)g->low, top = (uintptr_t)g;

	return (address >= low - STACK_GUARD && address < low) ||
		(sp < low && top - sp < 2 * (top - low));
}

#endif
