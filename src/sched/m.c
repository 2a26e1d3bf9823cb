/*
 * m.c - the Ms: threads that run goroutines, and the creator, who makes them.
 *
 * An M is made when a P is to run and no M idles; there are at most as many as GOMAXPROCS has ever
 * been. Making a thread takes locks of libc's (malloc's, the loader's), which a goroutine may hold:
 * so nobody of the scheduler does it. The creator is a thread that owns no P and no lock, for which
 * nobody waits: Ps that want an M are left in sched.wants_m. If it cannot make one (-EAGAIN), the
 * P goes back to the idle list: the Ms that there are do the work, and the next call tries again.
 *
 * The M of gort_run's caller is that thread itself; it has no thread of its own.
 *
 * Lists are under sched.lock. m->next_p is handed over with m->wake.
 */
#include "sched/sched.h"

#include <errno.h>

#define sched gort__sched

static struct {
	os_thread thread;
	struct note work;
	uint32_t stop; /* atomic */
} creator;

struct m *gort__m_idle_get(void)
{
	struct m *m = sched.idle_m, **link = &sched.idle_m;

	if (!m)
		return NULL;
	if (m == sched.poller && m->idle_next) { /* let it sleep until its timer */
		link = &m->idle_next;
		m = *link;
	}
	*link = m->idle_next;
	m->idle = false;
	return m;
}

void gort__m_idle_put(struct m *m)
{
	m->idle = true;
	m->idle_next = sched.idle_m;
	sched.idle_m = m;
}

void gort__m_idle_remove(struct m *m)
{
	struct m **link = &sched.idle_m;

	while (*link != m)
		link = &(*link)->idle_next;
	*link = m->idle_next;
	m->idle = false;
}

/* The caller wakes m after it has released the lock. */
void gort__m_give(struct m *m, struct p *p, bool spinning)
{
	m->next_p = p;
	m->spinning = spinning;
	m->called = spinning;
	store_release(&p->m, m);
}

struct m *gort__m_new(bool own_thread)
{
	struct m *m = mem_alloc(NULL, sizeof *m);

	if (!m)
		return NULL;
	*m = (struct m){ .own_thread = own_thread, .random = (uint32_t)os_random() | 1 };
	return m;
}

void gort__m_free(struct m *m)
{
	mem_free(NULL, m, sizeof *m);
}

void gort__m_run(struct m *m)
{
	struct cxa_globals own = { 0 };

	m->cxa = gort__cxa();
	if (m->cxa)
		exceptions_take(m->cxa, &own); /* gort_run may be called in a catch block */
	arch_self_set(m);
	fiber_adopt_thread(&m->g0_fiber);
	fiber_leave(&m->g0_fiber, &m->g0_fiber, false); /* gort__schedule arrives */
	gort_enter(&m->g0_sp, gort__schedule, m);
	arch_self_set(NULL);
	if (m->cxa)
		*m->cxa = own;
}

static void m_main(void *arg)
{
	struct m *m = arg;

	os_thread_name("gort");
	os_signals_set(&sched.signal_mask);
	m->has_altstack = os_altstack_enter(&m->altstack) == 0;
	if (m->called) {
		m->spinning = true;
		add_seq(&sched.spinning, 1);
		lock_acquire(&sched.lock);
		sched.asked--; /* counted as spinning instead; who found it asked has queued before */
		lock_release(&sched.lock);
	}
	gort__m_run(m);
	if (m->has_altstack)
		os_altstack_leave(&m->altstack);
	gort__m_ended(m);
}

int gort__m_thread(struct p *p, bool spinning)
{
	struct m *m = gort__m_new(true);
	int err;

	if (!m)
		return -ENOMEM;
	lock_acquire(&sched.lock);
	m->p = p;
	m->called = spinning;
	store_release(&p->m, m);
	m->all_next = sched.all_m;
	sched.all_m = m;
	store_relaxed(&m->stop, load_relaxed(&sched.stopping));
	lock_release(&sched.lock);
	err = os_thread_start(&m->thread, m_main, m, 0);
	if (err == 0)
		return 0;
	lock_acquire(&sched.lock);
	for (struct m **link = &sched.all_m;; link = &(*link)->all_next)
		if (*link == m) {
			*link = m->all_next;
			break;
		}
	store_relaxed(&p->m, NULL);
	lock_release(&sched.lock);
	gort__m_free(m);
	return err;
}

/* ---- the creator ----------------------------------------------------------------------------- */

void gort__creator_ask(struct p *p)
{
	p->on_its_way = true;
	sched.asked++;
	sched.wants_m[sched.wants_count++] = p;
	note_wake(&creator.work);
}

static void make_one(void)
{
	struct p *p = NULL;
	struct m *m = NULL;
	int err;

	lock_acquire(&sched.lock);
	if (sched.wants_count)
		p = sched.wants_m[--sched.wants_count];
	lock_release(&sched.lock);
	if (!p)
		return;
	err = gort__m_thread(p, true);
	lock_acquire(&sched.lock);
	p->on_its_way = false;
	if (err < 0) {
		sched.asked--;
		gort__p_put(p);
		if (sched.idle_m && !load_relaxed(&sched.stopping) && (p = gort__p_get()) != NULL) {
			m = gort__m_idle_get(); /* some may rely on the one that was to come */
			gort__m_give(m, p, true);
			add_seq(&sched.spinning, 1);
		}
	}
	lock_release(&sched.lock);
	if (m)
		note_wake(&m->wake);
	else if (err < 0)
		gort__sysmon_kick(); /* steps b8, b9 of proc.c: it looks */
}

static bool wanted(void)
{
	bool any;

	lock_acquire(&sched.lock);
	any = sched.wants_count != 0;
	lock_release(&sched.lock);
	return any;
}

static void creator_main(void *arg)
{
	(void)arg;
	os_thread_name("gort-creator");
	while (!load_acquire(&creator.stop)) {
		note_sleep(&creator.work, OS_FOREVER);
		note_clear(&creator.work);
		while (!load_acquire(&creator.stop) && wanted())
			make_one();
	}
}

int gort__creator_start(void)
{
	store_relaxed(&creator.stop, 0);
	note_clear(&creator.work);
	return os_thread_start(&creator.thread, creator_main, NULL, 0);
}

void gort__creator_stop(void)
{
	store_release(&creator.stop, 1);
	note_wake(&creator.work);
	os_thread_join(&creator.thread);
}
