/*
 * procs.c - the Ps: made, idle, retired when GOMAXPROCS shrinks, taken up again when it grows.
 *
 * A P, once made, lives until the runtime ends (all_p never shrinks), so whoever looks at all of
 * them needs no lock. Ps with id < procs are in use: each is held by an M (p->m), on its way from one
 * to another (handoff.c), or idle (in the list). The others are retired: held by nobody, their queues empty, their
 * timers soon another's (timers.c, d1-d6). A P above the limit that still runs a goroutine is
 * retired by its M, when that comes to g0 next.
 *
 * All lists here are under sched.lock.
 */
#include "sched/stack.h"

#include <errno.h>
#include <string.h>

#define sched gort__sched

struct p *gort__p_get(void)
{
	struct p *p = sched.idle_p;

	if (!p)
		return NULL;
	sched.idle_p = p->idle_next;
	p->idle = false;
	store_relaxed(&sched.idle_ps, sched.idle_ps - 1);
	return p;
}

void gort__p_put(struct p *p)
{
	store_relaxed(&p->m, NULL);
	if (p->id >= load_relaxed(&sched.procs)) { /* retired meanwhile */
		if (load_relaxed(&p->timers.next) != OS_FOREVER)
			gort__timers_strand();
		return;
	}
	p->idle = true;
	p->idle_next = sched.idle_p;
	sched.idle_p = p;
	store_relaxed(&sched.idle_ps, sched.idle_ps + 1);
}

/* By who alone has p. */
void gort__p_empty(struct p *p, struct glist *into)
{
	struct g *g;

	if ((g = swap_acquire(&p->runnext, NULL)) != NULL)
		glist_push(into, g);
	while (p->yielded && (g = deque_pop_oldest(&p->deque)) != NULL)
		glist_push(into, g); /* before the one that yielded, which is in the ring */
	while ((g = ring_pop(&p->ring)) != NULL || (g = deque_pop_oldest(&p->deque)) != NULL)
		glist_push(into, g);
	p->yielded = false;
}

/* Everything that p holds goes where others find it. */
void gort__p_drain(struct p *p)
{
	struct glist list = { 0 };

	gort__p_empty(p, &list);
	gort__stack_flush(p);
	mem_cache_flush(&p->cache);
	gort__global_put(&list);
}

static struct p *p_new(uint32_t id)
{
	struct p *p = os_map(sizeof *p);

	if (!p)
		return NULL;
	p->id = id;
	p->ticks = TICKS;
	gort__timers_init(&p->timers, p);
	if (!deque_init(&p->deque)) {
		os_unmap(p, sizeof *p);
		return NULL;
	}
	return p;
}

/* Make P number p_count. One caller at a time. */
static bool add_one(void)
{
	uint32_t n = load_relaxed(&sched.p_count);
	struct p *p = p_new(n);

	if (!p)
		return false;
	store_relaxed(&sched.all_p[n], p);
	store_release(&sched.p_count, n + 1);
	return true;
}

/* Take those that are not in use off the idle list, put those that now are on it. */
static void rebuild_idle(uint32_t before, uint32_t n)
{
	struct p **link = &sched.idle_p, *p;

	while ((p = *link) != NULL) {
		if (p->id < n) {
			link = &p->idle_next;
			continue;
		}
		*link = p->idle_next;
		p->idle = false;
		store_relaxed(&sched.idle_ps, sched.idle_ps - 1);
	}
	for (uint32_t i = before; i < n; i++) {
		p = load_relaxed(&sched.all_p[i]);
		if (!load_relaxed(&p->m) && !p->idle)
			gort__p_put(p);
	}
}

#define PATIENCE 1000 /* yields */

/* p is beyond GOMAXPROCS. If its M runs no goroutine it gives p up at once: wait for that, so
 * that nothing starts on it any more when gort_maxprocs has returned. */
static void wait_for_retirement(struct p *p)
{
	struct m *m;

	store_seq(&p->attention, 1);
	for (int i = 0; i < PATIENCE; i++) {
		m = load_acquire(&p->m);
		if (!m || load_relaxed(&m->g))
			return;
		os_yield_thread();
	}
}

static struct lock procs_lock = LOCK_INIT(RANK_RUN);

/* n in 1..MAX_PROCS. -ENOMEM: nothing has changed. */
int gort__procs_set(uint32_t n)
{
	uint32_t before;
	int err = 0;

	lock_acquire(&procs_lock);
	while (!err && load_relaxed(&sched.p_count) < n)
		err = add_one() ? 0 : -ENOMEM;
	if (!err) {
		lock_acquire(&sched.lock);
		before = load_relaxed(&sched.procs);
		store_relaxed(&sched.procs, n); /* timers.c, d1 */
		rebuild_idle(before, n);
		lock_release(&sched.lock);
		if (n < before)
			gort__timers_retired();
		for (uint32_t i = n; i < load_relaxed(&sched.p_count); i++)
			wait_for_retirement(load_relaxed(&sched.all_p[i]));
		for (uint32_t i = before; i < n && load_relaxed(&sched.running); i++)
			gort__wake_p(); /* each calls the next while it finds work */
	}
	lock_release(&procs_lock);
	return err;
}

/* Nothing of the runtime runs any more. */
void gort__procs_free(bool stragglers)
{
	uint32_t n = load_relaxed(&sched.p_count);

	gort__bubbles_end(stragglers);
	for (uint32_t i = 0; i < n; i++) {
		struct p *p = load_relaxed(&sched.all_p[i]);

		deque_fini(&p->deque);
		gort__timers_free(&p->timers);
		mem_cache_flush(&p->cache);
		os_unmap(p, sizeof *p);
		store_relaxed(&sched.all_p[i], NULL);
	}
	store_relaxed(&sched.p_count, 0);
	store_relaxed(&sched.procs, 0);
	store_relaxed(&sched.idle_ps, 0);
	sched.idle_p = NULL;
}
