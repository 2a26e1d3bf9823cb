/*
 * bound.c - goroutines that one thread only may run, and those that wait after their slice.
 *
 * Bound for good: gort_lock_thread (BOUND_THREAD). The goroutine keeps its M, and the M runs nothing
 * else (m->locked). When it parks, the M goes to g0, gives its P up and waits (gort__bound_next);
 * when it is woken it stands in sched.fresh. The main goroutine starts so, on gort_run's caller,
 * and is free when it first parks: its M is dedicated then, and waits for the end. So the calling
 * thread never runs a goroutine that could keep gort_run from returning.
 *
 * Bound for once (g->thread alone): a goroutine that was stopped on its thread (preempt.c), in
 * sched.tired, or one that has come back from the kernel and waits for a P, in sched.fresh.
 *
 * Whoever finds a bound goroutine when it looks for work gives its P to the M that waits for it, and
 * goes idle (gort__bound_go_on). One whose M does not wait yet is left where it is: its M is on its
 * way to give up a P, and looks then.
 *
 * Turns. At each P one of these two takes turns with all others: when one has run there, some of the
 * global queue or of the P's own come first (others_turn, until the P has looked into the global queue:
 * proc.c), if there are any. tired comes after fresh, and after the others, but once in a slice
 * (serve_tired), and then not twice running: who was woken need not wait behind those that have had their
 * slice. In each queue the order is that of coming, so no goroutine waits more than a bounded number of
 * slices. (One count of turns for all Ps would not do: two Ps that ask alternately have each the same
 * answer for ever.)
 *
 * Both queues are under sched.lock, as m->waits and m->next_p are.
 */
#include "sched/sched.h"

#define sched gort__sched

void gort__global_count(void)
{
	store_relaxed(&sched.global_count,
		      sched.global.count + sched.fresh.count + sched.tired.count);
}

static void one_more(struct blist *l, const struct g *g)
{
	l->bound += g->thread != NULL;
	store_relaxed(&l->count, l->count + 1);
	gort__global_count();
}

/* It will run. */
static struct g *one_less(struct blist *l, struct g *g)
{
	store_relaxed(&l->count, l->count - 1);
	gort__global_count();
	if (g->thread) {
		l->bound--;
		g->thread->waits = false; /* the caller wakes it */
	}
	return g;
}

void gort__blist_push(struct blist *l, struct g *g)
{
	g->next = NULL;
	if (l->tail)
		l->tail->next = g;
	else
		l->head = g;
	l->tail = g;
	one_more(l, g);
}

void gort__blist_push_front(struct blist *l, struct g *g)
{
	g->next = l->head;
	l->head = g;
	if (!l->tail)
		l->tail = g;
	one_more(l, g);
}

static void clear(struct blist *l)
{
	l->head = l->tail = NULL;
	l->bound = 0;
	store_relaxed(&l->count, 0);
}

/* Under sched.lock, or where nothing runs. */
void gort__blists_clear(void)
{
	clear(&sched.fresh);
	clear(&sched.tired);
}

static struct g *pop(struct blist *l)
{
	struct g *g = l->head;

	l->head = g->next;
	if (!l->head)
		l->tail = NULL;
	return one_less(l, g);
}

static bool first_may_run(const struct blist *l)
{
	return l->head && (!l->head->thread || l->head->thread->waits);
}

bool gort__bound_some(void)
{
	return first_may_run(&sched.fresh) || first_may_run(&sched.tired);
}

bool gort__bound_free(void)
{
	return sched.tired.head && !sched.tired.head->thread;
}

/* For p. locals: it has some of its own. */
struct g *gort__bound_take(struct p *p, bool locals)
{
	bool others = sched.global.count || locals, again = p->served_tired;
	struct blist *from = NULL;

	if (p->others_turn && others)
		return NULL;
	p->served_tired = false;
	if (first_may_run(&sched.tired) && load_relaxed(&p->serve_tired) &&
	    !(again && (others || sched.fresh.head))) {
		store_relaxed(&p->serve_tired, 0);
		p->served_tired = true;
		from = &sched.tired;
	} else if (first_may_run(&sched.fresh)) {
		from = &sched.fresh;
	} else if (first_may_run(&sched.tired) && !others) {
		from = &sched.tired;
	}
	p->others_turn = from != NULL;
	return from ? pop(from) : NULL;
}

/* The first of those that are bound: no M is there for those that any may run, or another sees to them. */
static struct g *pop_bound(struct blist *l)
{
	struct g *before = NULL, *g = l->head;

	if (l->bound == 0)
		return NULL;
	for (; !g->thread; g = g->next)
		before = g;
	if (!g->thread->waits)
		return NULL;
	if (!before)
		return pop(l);
	before->next = g->next;
	if (l->tail == g)
		l->tail = before;
	return one_less(l, g);
}

struct g *gort__bound_any(struct p *p)
{
	struct g *g;

	if (p && load_relaxed(&p->serve_tired) && (g = pop_bound(&sched.tired)) != NULL) {
		store_relaxed(&p->serve_tired, 0);
		return g;
	}
	g = pop_bound(&sched.fresh);
	return g ? g : pop_bound(&sched.tired);
}

struct m *gort__bound_give(struct g *g, struct p *p)
{
	struct m *m = g->thread;

	must_checked(!m->waits);
	m->next_p = p;
	p->others_turn = true;
	store_relaxed(&p->picks, p->picks + 1);
	sched.gives++;
	store_release(&p->m, m);
	return m;
}

void gort__bound_ready(struct g *g)
{
	struct m *m = NULL;

	lock_acquire(&sched.lock);
	gort__blist_push(&sched.fresh, g);
	if (sched.idle_p && (g = gort__bound_any(NULL)) != NULL)
		m = gort__bound_give(g, gort__p_get());
	lock_release(&sched.lock);
	if (!m) {
		gort__wake_p();
		return;
	}
	m_wake(m);
	sysmon_kick_if_lazy();
}

void gort__tired_put(struct g *g)
{
	lock_acquire(&sched.lock);
	gort__blist_push(&sched.tired, g);
	lock_release(&sched.lock);
	if (load_relaxed(&sched.idle_ps))
		gort__wake_p();
}

void gort__bound_go_on(struct m *m, struct g *g)
{
	struct p *p = gort__m_drop(m);
	struct m *to;

	lock_acquire(&sched.lock);
	to = load_relaxed(&sched.stopping) ? g->thread : gort__bound_give(g, p);
	lock_release(&sched.lock);
	m_wake(to);
}

/* The goroutine leaves its stack, for g0: its P sees to it. */
void gort__bound_parks(struct m *m, struct g *g)
{
	m->p->ticks = 1;
	if (g->thread_locks)
		return;
	g->waits.bound &= ~(uint32_t)BOUND_THREAD; /* main, for the first time, or it ends */
	g->thread = NULL;
	m->locked = NULL;
	m->dedicated = true;
}

struct g *gort__bound_next(struct m *m)
{
	struct p *p = gort__m_drop(m);
	struct m *chain = NULL;

	note_clear(&m->wake);
	m->next_p = NULL;
	lock_acquire(&sched.lock);
	if (load_relaxed(&sched.stopping)) {
		lock_release(&sched.lock);
		return NULL;
	}
	m->waits = !(m->dedicated && m->own_thread);
	if (p)
		chain = gort__p_place(p);
	lock_release(&sched.lock);
	gort__m_wake_all(chain);
	sysmon_kick_if_lazy();
	if (m->dedicated && m->own_thread)
		return NULL;
	note_sleep(&m->wake, OS_FOREVER);
	if (!m->next_p)
		return NULL;
	gort__m_take(m, m->next_p);
	return m->locked;
}

void gort__bound_begin(struct m *m, struct g *main)
{
	main->thread = m;
	main->waits.bound |= BOUND_THREAD;
	m->locked = main;
	lock_acquire(&sched.lock);
	gort__blist_push(&sched.fresh, main);
	lock_release(&sched.lock);
}

/* It ends, bound: the thread ends with it, unless it is gort_run's caller. */
void gort__bound_end(struct m *m, struct g *g)
{
	g->thread_locks = 0;
	gort__bound_parks(m, g);
}

GORT_API void gort_lock_thread(void)
{
	struct m *m = rt_enter();

	if (m && m->g->thread_locks++ == 0) {
		m->g->thread = m;
		m->g->waits.bound |= BOUND_THREAD;
		m->locked = m->g;
	}
	rt_leave_here(m);
}

GORT_API void gort_unlock_thread(void)
{
	struct m *m = rt_enter();

	if (m && m->g->thread_locks == 0)
		gort__misuse("gort_unlock_thread", "the goroutine has not locked its thread");
	if (m && --m->g->thread_locks == 0 && m->own_thread) {
		m->g->waits.bound &= ~(uint32_t)BOUND_THREAD;
		m->g->thread = NULL;
		m->locked = NULL;
	}
	rt_leave_here(m);
}
