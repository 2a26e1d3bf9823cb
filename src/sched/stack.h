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
/* Reports look while all else runs: chunks, Ms and Ps stay mapped until peek_end. False: there is no
 * runtime, or it ends. Signal handlers. */
static inline bool peek_begin(void)
{
	add_seq(&gort__sched.dumpers, 1); /* meets the loads in init.c and stack.c */
	if (load_seq(&gort__sched.running) && !load_seq(&gort__sched.no_dumps))
		return true;
	sub_release(&gort__sched.dumpers, 1);
	return false;
}

static inline void peek_end(void)
{
	sub_release(&gort__sched.dumpers, 1);
}

/* For each that is not FREE while all else runs, without a lock, also in signal handlers; low: of its
 * stack. What fn reads may change meanwhile; it stays mapped while sched.dumpers counts the caller. */
void gort__stacks_peek(void (*fn)(void *arg, struct g *g, char *low), void *arg);
/* Under the same: address space reserved for stacks, and of that what is neither untouched nor given
 * back: at most so much is resident. */
void gort__stacks_size(uint64_t *reserved, uint64_t *resident);
/* Unmap everything, but for the chunks in which one is RUNNING, if keep_running: they go at a later
 * call, when that has been left (gort__stack_left). */
void gort__stacks_free(bool keep_running);
void gort__stack_left(struct g *g);

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
