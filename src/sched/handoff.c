/*
 * handoff.c - a P and its M part: an M without a P runs user code (it may sleep in the kernel), and
 * gets one when it comes back to gort.
 *
 * Any library may block, and says nothing. So sysmon takes the P of a thread that sleeps in the
 * kernel (retake.c), without a fence or a locked step in the calls of those that do not. Each M has
 * two shared words: in_rt, 1 while it is in gort; handle, the P that it holds, or 0. In gort it
 * goes by m->p, which no other touches.
 *
 *   entry   n1  store in_rt = 1
 *           n2  a light fence
 *           n3  load handle. Not 0: m->p is it still. 0: it was taken, or is being looked at:
 *           n4  transition lock; handle again, it may have been put back; else wait for a P
 *   leave   l1  store in_rt = 0 (release: after all that was done with the P)
 *           l2  a light fence, then load asks: who asks something of a thread in gort stores that
 *               before t2, so that either t3 finds 0 or it is seen here
 *   giving  g1  CAS handle P -> 0, by the owner, in gort; if that fails, sysmon has it in its
 *   away        hands, and will put it back: wait on the transition lock, try again
 *           g2  the P is idle, or another's
 *   taking  t1  transition lock; CAS handle P -> 0 of the suspects
 *           t2  membarrier, one for all suspects
 *           t3  load in_rt (acquire). 0: the P is taken, and goes to who waits
 *           t4  1: handle = P: back it goes
 *
 * Either n3 comes after t1 and finds 0, or n1 comes before t2 and t3 finds 1. What t1 to t4 do
 * to handle may not be undone by the owner meanwhile: hence its CAS at g1. After t1 the owner only
 * reads it until the lock is free. models/retake.pml proves it, and shows what each step is for.
 *
 * Where there is no membarrier light fences are full ones. So as not to ask for that at each call, n3
 * and l2 are made to take their slow paths then, which make the fence: handle is the P with a bit
 * that n3 does not like (SHY), and asks always has ASK_FENCE.
 *
 * Who gets a P that its M has left (gort__p_place, under sched.lock): the M of a bound goroutine
 * whose turn it is (bound.c), else an idle M if there is something to run, else nobody: it is idle,
 * and the creator makes an M if there is something to run.
 *
 *  1. While a P idles, no goroutine stands in fresh or tired whose M waits (m->waits). Whoever puts
 *     one there with a P idle gives it that; whoever gives a P up looks there. So the threads that
 *     hold foreign locks, stopped or come back from the kernel, go on without help of the creator,
 *     who may wait for such a lock.
 *  2. An M that waits so is in no list of idle Ms; whoever takes its goroutine out of the queue
 *     wakes it (waits is false from then on: the runtime's end leaves it to them).
 *
 * Callers: the M itself, in gort, on the goroutine's stack or a signal's. Nothing here switches
 * stacks: a goroutine that gets its P back does so on the thread that it was on.
 */
#include "sched/sched.h"

#define sched gort__sched

static struct lock transition = LOCK_INIT(RANK_HANDLE);

void gort__m_take(struct m *m, struct p *p)
{
	m->p = p;
	store_release(&m->handle, handle_of(p));
}

struct p *gort__m_drop(struct m *m)
{
	struct p *p = m->p;
	uintptr_t was = handle_of(p);

	if (!p)
		return NULL;
	while (!cas_acq_rel(&m->handle, &was, 0)) { /* g1 */
		lock_acquire(&transition);
		lock_release(&transition);
		was = handle_of(p);
	}
	m->p = NULL;
	return p;
}

void gort__ps_retake(struct suspect *s, uint32_t n)
{
	lock_acquire(&transition);
	for (uint32_t i = 0; i < n; i++) {
		uintptr_t was = handle_of(s[i].p);

		s[i].taken = s[i].p && cas_acq_rel(&s[i].m->handle, &was, 0); /* t1 */
	}
	os_membarrier(); /* t2 */
	for (uint32_t i = 0; i < n; i++) {
		if (!s[i].taken)
			continue;
		if (load_acquire(&s[i].m->in_rt)) { /* t3 */
			s[i].taken = false;
			store_release(&s[i].m->handle, handle_of(s[i].p)); /* t4 */
		} else {
			store_relaxed(&s[i].m->seen_away.at, 0);
			store_relaxed(&s[i].m->away, (uint32_t)AWAY_RETAKEN);
			add_relaxed(&sched.away, 1);
		}
	}
	lock_release(&transition);
}

/* ---- to whom ---------------------------------------------------------------------------------- */

/* Idle Ps for bound goroutines that wait: rule 1. */
static struct m *serve_bound(struct m *chain)
{
	struct m *m;
	struct g *g;

	while (sched.idle_p && (g = gort__bound_any(NULL)) != NULL) {
		m = gort__bound_give(g, gort__p_get());
		m->idle_next = chain;
		chain = m;
	}
	return chain;
}

/* Nobody looks for work in idle Ps, nor in those that GOMAXPROCS leaves out. */
static void retire(struct p *p)
{
	gort__p_empty(p, &sched.global);
	gort__global_count();
	gort__p_put(p);
}

/* An M that looks around, if Ps idle, for what anyone may run: it calls the next. */
static struct m *serve_global(struct m *chain)
{
	struct m *m;

	if (!sched.idle_p || !(sched.global.count || gort__bound_free()))
		return chain;
	if (!(m = gort__m_idle_get())) {
		if (!sched.asked)
			gort__creator_ask();
		return chain;
	}
	add_seq(&sched.spinning, 1);
	gort__m_give(m, gort__p_get(), true);
	m->idle_next = chain;
	return m;
}

struct m *gort__p_place(struct p *p)
{
	struct m *m = NULL;
	struct g *g;
	bool locals, others;

	store_relaxed(&p->m, NULL);
	if (load_relaxed(&sched.stopping))
		return NULL;
	if (p->id >= load_relaxed(&sched.procs)) {
		retire(p);
		if (!(p = gort__p_get()))
			return NULL;
	}
	locals = p_has_work(p) || timers_due(p);
	others = locals || sched.global.count || gort__bound_free();
	store_relaxed(&p->attention, 1);
	g = gort__bound_take(p, locals);
	if (g && !g->thread) { /* any M may run it */
		gort__blist_push_front(&sched.tired, g);
		store_relaxed(&p->serve_tired, 1);
		p->served_tired = p->others_turn = false;
		g = NULL;
	}
	if (g) {
		m = gort__bound_give(g, p);
	} else if (!others && !gort__bound_some()) {
		gort__p_put(p);
	} else if ((m = gort__m_idle_get()) != NULL) {
		gort__m_give(m, p, false);
	} else if ((g = gort__bound_any(p)) != NULL) {
		m = gort__bound_give(g, p);
	} else {
		retire(p);
		gort__creator_ask();
	}
	if (m && !sched.idle_m && !sched.asked && others)
		gort__creator_ask(); /* a spare one, for those that any M may run */
	if (m)
		m->idle_next = NULL;
	return serve_global(serve_bound(m));
}

void gort__m_wake_all(struct m *chain)
{
	struct m *next;

	for (; chain; chain = next) {
		next = chain->idle_next;
		m_wake(chain);
	}
}

void gort__p_away(struct m *m, enum m_away why)
{
	struct p *p = gort__m_drop(m);
	struct m *chain;

	store_relaxed(&m->away, (uint32_t)why);
	add_relaxed(&sched.away, 1);
	lock_acquire(&sched.lock);
	chain = gort__p_place(p);
	lock_release(&sched.lock);
	gort__m_wake_all(chain);
	sysmon_kick_if_lazy();
}

/* ---- and back --------------------------------------------------------------------------------- */

static bool is_over(struct m *m)
{
	return load_acquire(&sched.stopping) || load_acquire(&m->left); /* in this order: init.c */
}

/* Under sched.lock, which it releases: m's goroutine stands in a queue, or has m->next_p already. */
static bool sleep_until_given(struct m *m, struct m *chain)
{
	struct g *g = m->g;
	bool queued = load_relaxed(&g->state) == G_RUNNABLE;

	store_relaxed(&sched.stopped, sched.stopped + queued);
	lock_release(&sched.lock);
	gort__m_wake_all(chain);
	if (queued) {
		note_sleep(&m->wake, OS_FOREVER);
		g_set_state(g, G_RUNNING);
		if (load_acquire(&m->left))
			return false;
		lock_acquire(&sched.lock);
		store_relaxed(&sched.stopped, sched.stopped - 1);
		lock_release(&sched.lock);
	}
	if (!g_is_bound(g))
		g->thread = NULL;
	if (!m->next_p)
		return false;
	if (load_relaxed(&m->away)) {
		store_relaxed(&m->away, (uint32_t)AWAY_NO);
		sub_relaxed(&sched.away, 1);
	}
	gort__m_take(m, m->next_p);
	return true;
}

static void wait_bound(struct m *m)
{
	m->g->thread = m;
	g_set_state(m->g, G_RUNNABLE);
	m->waits = true;
}

bool gort__p_wait(struct m *m)
{
	struct p *p;

	m->p = NULL;
	note_clear(&m->wake);
	m->next_p = NULL;
	lock_acquire(&sched.lock);
	if (is_over(m)) {
		lock_release(&sched.lock);
		return false;
	}
	p = gort__p_get();
	if (p) {
		gort__m_give(m, p, false);
	} else {
		wait_bound(m);
		gort__blist_push(&sched.fresh, m->g);
	}
	if (!sleep_until_given(m, NULL))
		return false;
	if (p)
		sysmon_kick_if_lazy();
	return true;
}

bool gort__p_yield(struct m *m)
{
	struct p *p = gort__m_drop(m);
	struct g *g = m->g;
	struct m *chain;

	note_clear(&m->wake);
	m->next_p = NULL;
	lock_acquire(&sched.lock);
	if (is_over(m)) {
		lock_release(&sched.lock);
		return false;
	}
	wait_bound(m);
	gort__blist_push(&sched.tired, g);
	chain = gort__p_place(p);
	return sleep_until_given(m, chain);
}

bool gort__p_holds(struct m *m)
{
	if (gort__asymmetric)
		return false;
	fence_seq(); /* n2 */
	return load_acquire(&m->handle) != 0;
}

bool gort__p_back(struct m *m)
{
	bool back;

	lock_acquire(&transition);
	back = load_relaxed(&m->handle) != 0;
	lock_release(&transition);
	return back || gort__p_wait(m);
}

rare void gort__p_lost(struct m *m)
{
	if (!gort__p_holds(m) && !gort__p_back(m))
		gort__stop_here(m);
}

struct m *rt_enter_midway(void)
{
	struct m *m = m_self();

	if (m && !m_enter(m) && !gort__p_holds(m) && !gort__p_back(m))
		m = NULL;
	if (!m)
		gort__guest_enter();
	return m;
}

void rt_leave_midway(struct m *m)
{
	if (!m_stops(m)) {
		rt_leave(m);
		return;
	}
	gort__guest_leave();
	gort__stop_here(m_self());
}

bool rt_is_over(void)
{
	struct m *m = rt_enter_midway();

	if (likely(!m_stops(m))) {
		rt_leave(m);
		return false;
	}
	gort__guest_leave();
	store_release(&m_self()->in_rt, 0); /* l1 */
	return true;
}

/* ---- leaving gort ----------------------------------------------------------------------------- */

/* In gort: the runtime stops, and what m was called for is done. Its goroutine stops when it comes
 * again, and finds no P. */
static void stop_soon(struct m *m)
{
	and_acq_rel(&m->asks, ~(uint32_t)ASK_STOP);
	gort__m_drop(m);
}

/* Something was asked of m while it was in gort. */
rare void gort__leave_slow(struct m *m)
{
	uint32_t asks;

	for (;;) {
		if (!gort__asymmetric)
			fence_seq(); /* l2 */
		asks = load_acquire(&m->asks) & ~(uint32_t)ASK_FENCE;
		if (!asks)
			return;
		if (!(asks & ASK_STOP) && m->g->preempt_off)
			return; /* gort_preempt_on looks again */
		if (!m_enter(m) && !gort__p_holds(m)) {
			if (!gort__p_back(m))
				and_acq_rel(&m->asks, ASK_FENCE); /* it learns at its next call */
		} else if (asks & ASK_STOP) {
			stop_soon(m);
		} else {
			and_acq_rel(&m->asks, ~(uint32_t)ASK_PREEMPT);
			gort__preempt_here(m);
			m = m_self();
		}
		store_release(&m->in_rt, 0); /* l1 */
		fence_compiler();
	}
}

rare int gort__leave_slow_with(struct m *m, int result)
{
	gort__leave_slow(m);
	return result;
}

/* ---- calls that say that they block ----------------------------------------------------------- */

GORT_API int gort_blocking(int (*fn)(void *arg), void *arg)
{
	struct m *m = rt_enter();
	int result;

	if (!fn)
		gort__misuse("gort_blocking", "no function");
	if (m) {
		gort__p_away(m, AWAY_BLOCKING);
		and_acq_rel(&m->asks, ~(uint32_t)ASK_PREEMPT); /* it gives way right now */
	}
	rt_leave_here(m);
	result = fn(arg);
	rt_leave(rt_enter());
	return result;
}
