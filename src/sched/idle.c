/*
 * idle.c - an M that has nothing to run: it gives its P up and sleeps until there is one for it.
 *
 * Of those that sleep two have a role, under sched.lock; one M may have both:
 *  - the poller sleeps until the earliest timer of all Ps (timers.c);
 *  - the net poller sleeps in epoll_wait, from the first registration of a descriptor on (netpoll.c),
 *    and when it wakes makes those runnable whom the events concern.
 * Others are called before them (gort__m_idle_get). The last M that idles takes what roles are free, so
 * while all Ps idle somebody has them, or sysmon sees to it.
 *
 * Steps b7 to b9 are those of proc.c.
 *
 * Caller: the M, on g0.
 */
#include "sched/netpoll.h"

#define sched gort__sched

/* Under sched.lock: be the one that waits for events, if nobody is. Where other Ps run, their Ms look
 * themselves: else each event would wake this one. */
static void net_poll_begin(struct m *m)
{
	if (!netpoll_up() || load_relaxed(&sched.net_polled))
		return;
	if (load_relaxed(&sched.idle_ps) < load_relaxed(&sched.procs) &&
	    !load_relaxed(&sched.unattended))
		return;
	store_relaxed(&sched.net_polled, 1);
	sched.net_poller = m;
}

/* Under sched.lock: be the one that sleeps until the earliest timer, if nobody earlier is. */
static int64_t poll_begin(struct m *m, bool *kick)
{
	int64_t next = gort__timers_next();

	net_poll_begin(m);
	if (next == OS_FOREVER || (sched.poller && sched.poll_until <= next))
		return OS_FOREVER;
	if (load_relaxed(&sched.idle_ps) == 0) { /* more Ms than Ps: it could not run them */
		*kick |= next < load_relaxed(&sched.watch);
		return OS_FOREVER;
	}
	sched.poller = m;
	sched.poll_until = next;
	sched.polls++;
	return next;
}

/* Under sched.lock. Timers that nobody sleeps for any more are sysmon's. */
static bool poll_end(struct m *m)
{
	if (sched.net_poller == m) {
		sched.net_poller = NULL;
		store_relaxed(&sched.net_polled, 0);
		store_relaxed(&sched.net_brings,
			      0); /* they are queued, or it has a P, before unlock */
	}
	if (sched.poller != m)
		return false;
	sched.poller = NULL;
	return gort__timers_next() < load_relaxed(&sched.watch);
}

/* Step b9. */
static void look_after_idle(void)
{
	uint32_t n = load_acquire(&sched.p_count);

	os_membarrier(); /* b8 */
	if (!load_relaxed(&sched.lazy))
		return;
	for (uint32_t i = 0; i < n; i++)
		if (p_has_work(load_relaxed(&sched.all_p[i])))
			gort__sysmon_kick();
}

static void sleep_idle(struct m *m, bool polls, int64_t until, struct glist *woken)
{
	if (polls)
		gort__netpoll_sleep(&m->wake, &m->polls, until, woken);
	else
		note_sleep(&m->wake, until);
}

/* Give up the P and sleep until there is one again. False: the M must end. Called with sched.lock
 * held, without it on return. */
bool gort__sleep_without_p(struct m *m)
{
	struct glist woken = { 0 }; /* by events */
	int64_t until, now;
	bool others, polls, kick = false;

	for (;;) {
		note_clear(&m->wake);
		m->next_p = NULL;
		gort__m_idle_put(m);
		until = poll_begin(m, &kick);
		polls = sched.net_poller == m;
		others = load_relaxed(&sched.idle_ps) < load_relaxed(&sched.p_count);
		lock_release(&sched.lock);
		if (kick)
			gort__sysmon_kick();
		if (others)
			look_after_idle();
		sleep_idle(m, polls, until, &woken);
		m->one_event = woken.count == 1;
		lock_acquire(&sched.lock);
		kick = poll_end(m);
		if (m->idle) {
			gort__m_idle_remove(m);
			m->next_p = gort__p_get();
			if (m->next_p)
				store_release(&m->next_p->m, m);
		} else { /* somebody has taken it off the list, and may yet have to wake it */
			lock_release(&sched.lock);
			note_sleep(&m->wake, OS_FOREVER);
			lock_acquire(&sched.lock);
		}
		if (m->next_p || load_relaxed(&sched.stopping))
			break;
		glist_append(&sched.global, &woken);
		gort__global_count();
	}
	lock_release(&sched.lock);
	if (m->next_p)
		gort__m_take(m, m->next_p);
	gort__ready_events(m->next_p ? m : NULL, &woken);
	now = os_now();
	coarse_set(now); /* sysmon may have slept as well */
	if (kick)
		gort__sysmon_kick();
	sysmon_kick_if_busy(now);
	return !load_relaxed(&sched.stopping);
}
