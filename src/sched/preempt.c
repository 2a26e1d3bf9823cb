/*
 * preempt.c - a goroutine that runs on and on gives way to others.
 *
 * Go stops a goroutine at any instruction, saves its registers, and resumes it on any thread. C
 * cannot: the code may hold malloc's lock, or a thread-local's address in a register. And Go's
 * objection to doing it all in the signal's handler is that each preempted goroutine then keeps a
 * thread. That is the price here, and it is bounded:
 *
 * THREAD mode, the default. The handler gives the P away, puts the goroutine into sched.tired, bound
 * to its thread, and waits until somebody gives it a P again (handoff.c, bound.c). The return from
 * the handler restores all registers there are. No thread state changes hands, so it is sound in
 * malloc, with a lock held, in any library. While it waits all signals of the user are blocked. At most
 * STOPPED_SOFT threads are stopped so: beyond that only a goroutine that has run for long gives way,
 * while free ones wait.
 *
 * SWITCH mode, asked for per goroutine: computations, many more than there may be threads. The handler,
 * on the alternate stack, has the thread sent a second signal, which comes when it has returned, at
 * the same instruction, on the goroutine's own stack. The kernel's frame there is the full save,
 * vectors and flags and all, and the second handler leaves the stack as any goroutine that yields
 * does; the return from it, on whatever thread, restores everything. The first handler decides: only
 * code of the program's own, never gort's (where the M may be in a register) or a library's; else
 * the thread is stopped as in THREAD mode. Users promise the rest (gort.h). With a static libc,
 * under the sanitizers and Valgrind SWITCH is THREAD.
 *
 * Who asks: sysmon (retake.c) sets m->preempt, notes how many goroutines the P had run by then
 * (preempt_picks), and sends the signal. It comes
 *   in gort, or with preemption off   noted in m->asks; leaving gort (gort__leave_slow), or
 *                                     gort_preempt_on, gives way instead, in the same manner
 *   in libc or the loader             not now: fewer goroutines stop while they hold the lock
 *                                     of stdout that the rest will want. sysmon sends it again soon
 *   in a call that is to sleep        nothing: the call is made again (os/linux/again.c)
 *   in gort's code, by a SWITCH one   not now either: it is about to enter gort, or has just left it,
 *                                     mostly in the second handler, and must not stop the thread
 *   without a P                       it was taken (retake.c), and the thread burns CPU: it waits
 *   too late                          the P has run another goroutine since: nothing
 *
 * Nothing that this does waits for a lock outside gort, or for the creator: if there is neither an
 * idle M nor another thread that waits for a P, the goroutine just goes on (gort__p_place).
 *
 * Callers: the goroutine itself, in the handler or on its own stack.
 */
#include "sched/stack.h"
#include "sched/switch.h"

#define sched gort__sched
#define STOPPED_SOFT 256u
#define LIBC_TRIES 20
#define SWITCH_ROOM 2048u

static bool somebody_waits(struct p *p)
{
	return p_has_work(p) || load_relaxed(&sched.global_count) || timers_due(p);
}

/* how: PREEMPT_*. */
static bool may_stop(uint32_t how)
{
	return load_relaxed(&sched.stopped) < STOPPED_SOFT || how == PREEMPT_LONG;
}

static void stop_thread(struct m *m, uint32_t how)
{
	if (may_stop(how)) {
		store_relaxed(&m->p->preemptions, m->p->preemptions + 1);
		gort__p_yield(m);
	}
}

/* Comes back on any M. */
static void leave_stack(struct m *m)
{
	struct g *g = m->g;

	store_relaxed(&m->p->preemptions, m->p->preemptions + 1);
	store_relaxed(&m->p->attention, 1);
	m->after_g = g;
	m->after = AFTER_TIRED;
	switch_away(m, g, NULL, false);
}

static void give_way(struct m *m, uint32_t how)
{
	if (!somebody_waits(m->p) || load_relaxed(&sched.stopping))
		return;
	if (m->g->switches && !g_is_bound(m->g))
		leave_stack(m);
	else
		stop_thread(m, how);
}

static bool still_meant(struct m *m)
{
	return load_relaxed(&m->p->picks) == load_relaxed(&m->preempt_picks);
}

/* At a call of gort's it need not keep its thread; where no other can be had it does not. */
void gort__preempt_here(struct m *m)
{
	if (!still_meant(m))
		return;
	if (!gort__spare_to_be_had() && !g_is_bound(m->g))
		gort__yield(m);
	else
		give_way(m, load_relaxed(&m->preempt_how));
}

/* In user code, by the handler: enter gort for it, and leave it again; in no case by another stack.
 * (Nothing asks meanwhile: the signal is blocked.) */
static void stop(struct m *m, uint32_t how)
{
	and_acq_rel(&m->asks, ~(uint32_t)ASK_PREEMPT);
	if (!m_enter(m) && !gort__p_holds(m))
		gort__p_back(m);
	else if (still_meant(m) && somebody_waits(m->p) && !load_relaxed(&sched.stopping))
		stop_thread(m, how);
	m_leave(m);
}

/* The program's own code runs, with room for the signal's frame and what we do above it. */
static bool may_switch(const struct g *g, const struct os_interrupted *at)
{
	return g->switches && !g_is_bound(g) && os_switch_usable(at->pc) &&
		at->sp > (uintptr_t)g->low + os_signal_frame() + SWITCH_ROOM &&
		at->sp < (uintptr_t)g;
}

/* The second signal: on the goroutine's own stack, where the first has met it. */
static void switch_signal(uintptr_t sp)
{
	struct m *m = m_self();
	struct g *g = m ? load_relaxed(&m->g) : NULL;

	if (!g || !m->switching)
		return;
	m->switching = false;
	if (load_relaxed(&m->in_rt) || g->preempt_off || sp <= (uintptr_t)g->low ||
	    sp >= (uintptr_t)g)
		return;
	if (!m_enter(m) && !gort__p_holds(m))
		gort__p_back(m);
	else if (still_meant(m))
		give_way(m, PREEMPT_DUE);
	m_leave(m_self());
}

void gort__preempt_attr(struct g *g, int how)
{
	if (how == GORT_PREEMPT_OFF)
		g->preempt_off = PREEMPT_NEVER;
	else if (how == GORT_PREEMPT_SWITCH && fiber_is_plain)
		g->switches = os_switch_install(switch_signal) == 0;
}

bool gort__preempt_signal(const struct os_interrupted *at)
{
	struct m *m = m_self();
	struct g *g = m ? load_relaxed(&m->g) : NULL;
	uint32_t how = m ? swap_relaxed(&m->preempt, 0) : 0;

	if (!how)
		return false;
	if (!g)
		return true;
	store_relaxed(&m->preempt_how, how);
	if (load_relaxed(&m->in_rt) || g->preempt_off) {
		or_relaxed(&m->asks, ASK_PREEMPT);
		return true;
	}
	if (at->asleep)
		return true; /* sysmon will see it sleep */
	if ((os_in_libc(at->pc) || (g->switches && os_in_gort(at->pc))) &&
	    m->libc_tries++ < LIBC_TRIES)
		return true;
	m->libc_tries = 0;
	if (may_switch(g, at)) {
		m->switching = true;
		os_switch_self();
	} else {
		stop(m, how);
	}
	return true;
}

GORT_API void gort_preempt_off(void)
{
	struct m *m = m_self();

	if (m)
		m->g->preempt_off++;
	fence_compiler();
}

GORT_API void gort_preempt_on(void)
{
	struct m *m = m_self();

	if (!m)
		return;
	if ((m->g->preempt_off & ~PREEMPT_NEVER) == 0)
		gort__misuse("gort_preempt_on", "preemption is not off");
	fence_compiler();
	m->g->preempt_off--;
	fence_compiler();
	if (unlikely(load_relaxed(&m->asks) & ~(uint32_t)ASK_FENCE))
		rt_leave(rt_enter());
}
