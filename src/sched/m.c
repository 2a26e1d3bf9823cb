/*
 * m.c - the Ms: threads that run goroutines, and the creator, who makes them.
 *
 * An M is made when a P is to run and no M idles: there are as many as Ps, and one for each thread
 * that blocks, is stopped or is locked, max_threads at most. Making a thread takes locks of libc's
 * (malloc's, the loader's), which a goroutine may hold: so nobody of the scheduler does it. The
 * creator is a thread that owns no P and no lock, and for which nobody waits. The P stays in the
 * idle list; the new M takes one from there, and where there is none any more it idles, a spare.
 * If it cannot be made (-EAGAIN), the Ms that there are do the work, and the creator tries again
 * after a while, if it is asked.
 *
 * The thread that serves disks is the creator's, too (io/uring.c): as it is the program's when the runtime
 * starts, so are all, whatever goroutines do to those that they have locked.
 *
 * The M of gort_run's caller is that thread itself; it has no thread of its own.
 *
 * Structs are used again, once sysmon has looked twice, but not freed before the runtime's end: sysmon
 * looks at a P's M without a lock. Lists are under sched.lock. m->next_p is handed over with m->wake.
 */
#include "sched/netpoll.h"

#include <errno.h>

#define sched gort__sched

#define BACKOFF (1 * GORT_MS)
#define BACKOFF_MOST (100 * GORT_MS)

static struct {
	os_thread thread;
	struct note work;
	struct note pause; /* after a failure */
	uint32_t stop;     /* atomic */
} creator;

/* It sleeps until a timer, or for events: let it. */
static bool has_a_role(const struct m *m)
{
	return m == sched.poller || m == sched.net_poller;
}

struct m *gort__m_idle_get(void)
{
	struct m **link = &sched.idle_m, *m;

	while ((m = *link) != NULL && has_a_role(m) && m->idle_next)
		link = &m->idle_next;
	if (!m)
		return NULL;
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

/* Under sched.lock. One that sysmon does not look at any more: it may have found it at its P before
 * it retired. */
static struct m *used_one(void)
{
	struct m **link = &sched.free_m, *m;

	for (; (m = *link) != NULL; link = &m->idle_next)
		if (load_acquire(&sched.looks) - m->retired_at >= 2) {
			*link = m->idle_next;
			break;
		}
	return m;
}

struct m *gort__m_new(bool own_thread)
{
	struct m *m;

	lock_acquire(&sched.lock);
	m = used_one();
	lock_release(&sched.lock);
	if (!m)
		m = mem_alloc(NULL, sizeof *m);
	if (!m)
		return NULL;
	*m = (struct m){ .in_rt = 1,
			 .asks = gort__asymmetric ? 0 : ASK_FENCE,
			 .own_thread = own_thread,
			 .random = (uint32_t)os_random() | 1 };
	return m;
}

void gort__m_free(struct m *m)
{
	mem_free(NULL, m, sizeof *m);
}

void gort__m_run(struct m *m)
{
	struct cxa_globals own = { 0 };

	store_relaxed(&m->tid, os_thread_id());
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

/* The creator made it: it takes an idle P, and counts as spinning, for who found it asked has queued
 * something before. */
static void start_called(struct m *m)
{
	struct p *p;

	m->spinning = true;
	add_seq(&sched.spinning, 1);
	lock_acquire(&sched.lock);
	sched.asked--;
	p = load_relaxed(&sched.stopping) ? NULL : gort__p_get();
	if (p) {
		store_release(&p->m, m);
		gort__m_take(m, p);
	}
	lock_release(&sched.lock);
	sysmon_kick_if_lazy();
}

/* Under sched.lock: there are fewer threads, and somebody may have asked in vain. */
static void ask_if_needed(void)
{
	if (sched.idle_p && load_relaxed(&sched.global_count) && !sched.idle_m && !sched.asked)
		gort__creator_ask();
}

/* Under sched.lock. Reports may go on from it along all_next, and sysmon may look at it: it is freed
 * later. */
static void retire(struct m *m)
{
	struct m **link = &sched.all_m;

	while (*link != m)
		link = &(*link)->all_next;
	store_seq(link, m->all_next);
	gort__look_forget(m);
	sched.threads--;
	m->retired_at = load_relaxed(&sched.looks);
	m->idle_next = sched.free_m;
	sched.free_m = m;
}

/* Its thread ends. While the runtime runs that is the last of it: a goroutine has ended that had
 * locked it. */
void gort__m_retire(struct m *m)
{
	os_thread thread = os_thread_self();

	lock_acquire(&sched.lock);
	if (load_acquire(&m->left) || load_relaxed(&sched.stopping)) {
		lock_release(&sched.lock);
		gort__m_ended(m);
		return;
	}
	retire(m);
	ask_if_needed();
	lock_release(&sched.lock);
	os_thread_detach(&thread); /* may lock in libc */
}

static void m_main(void *arg)
{
	struct m *m = arg;

	m->thread = os_thread_self();
	m->cxa = gort__cxa(); /* may lock in libc: before it has a P */
	os_thread_name("gort");
	os_signals_set(&sched.signal_mask);
	m->has_altstack = os_altstack_enter(&m->altstack) == 0;
	if (m->called)
		start_called(m);
	gort__m_run(m);
	os_signals_block(); /* the stack for them goes; Valgrind would use it even then */
	if (m->has_altstack)
		os_altstack_leave(&m->altstack);
	gort__m_retire(m);
}

int gort__m_thread(struct p *p, bool called)
{
	struct m *m = gort__m_new(true);
	os_thread thread;
	int err;

	if (!m)
		return -ENOMEM;
	lock_acquire(&sched.lock);
	m->called = called;
	if (p) {
		gort__m_take(m, p);
		store_release(&p->m, m);
	}
	m->all_next = sched.all_m;
	store_release(&sched.all_m, m); /* reports read the list without the lock */
	sched.threads++;
	lock_release(&sched.lock);
	err = os_thread_start(&thread, m_main, m, 0);
	if (err == 0)
		return 0; /* m may have ended already */
	lock_acquire(&sched.lock);
	if (p)
		store_relaxed(&p->m, NULL);
	retire(m);
	lock_release(&sched.lock);
	return err;
}

/* ---- the creator ----------------------------------------------------------------------------- */

void gort__creator_ask(void)
{
	if (sched.threads + sched.asked >= sched.max_threads || load_relaxed(&sched.stopping))
		return;
	sched.asked++;
	sched.to_make++;
	note_wake(&creator.work);
}

/* What it is to find was stored before. */
void gort__creator_call(void)
{
	note_wake(&creator.work);
}

bool gort__spare_to_be_had(void)
{
	bool can;

	lock_acquire(&sched.lock);
	can = sched.idle_m || sched.threads + sched.asked < sched.max_threads;
	lock_release(&sched.lock);
	return can;
}

/* Some may rely on the M that was to come. */
static void make_do(void)
{
	struct p *p = NULL;
	struct m *m = NULL;

	lock_acquire(&sched.lock);
	sched.asked--;
	if (sched.idle_m && !load_relaxed(&sched.stopping) && (p = gort__p_get()) != NULL) {
		m = gort__m_idle_get();
		gort__m_give(m, p, true);
		add_seq(&sched.spinning, 1);
	}
	lock_release(&sched.lock);
	if (m)
		m_wake(m);
	gort__sysmon_kick(); /* steps b8, b9 of proc.c: it looks */
}

/* How many were asked for that this thread has not seen to. */
static uint32_t wanted(uint32_t made)
{
	uint32_t n;

	lock_acquire(&sched.lock);
	n = sched.to_make - made;
	sched.to_make -= made;
	lock_release(&sched.lock);
	return n;
}

static void creator_main(void *arg)
{
	int64_t backoff = BACKOFF;
	uint32_t n = 0;

	(void)arg;
	os_thread_name("gort-creator");
	while (!load_acquire(&creator.stop)) {
		note_sleep(&creator.work, OS_FOREVER);
		note_clear(&creator.work);
		gort__uring_start();
		for (n = wanted(0); n && !load_acquire(&creator.stop); n = wanted(1)) {
			if (gort__m_thread(NULL, true) == 0) {
				backoff = BACKOFF;
				continue;
			}
			make_do();
			note_sleep(&creator.pause, os_now() + backoff);
			backoff = backoff < BACKOFF_MOST ? 2 * backoff : backoff;
		}
	}
}

int gort__creator_start(void)
{
	store_relaxed(&creator.stop, 0);
	note_clear(&creator.work);
	note_clear(&creator.pause);
	return os_thread_start(&creator.thread, creator_main, NULL, 0);
}

void gort__creator_stop(void)
{
	store_release(&creator.stop, 1);
	note_wake(&creator.pause);
	note_wake(&creator.work);
	os_thread_join(&creator.thread);
}
