/*
 * mutexes.c - the commonest hidden deadlock: a goroutine waits while it holds a pthread mutex.
 *
 * Others run on its thread meanwhile. One of them that wants the mutex stops that thread; if it is
 * the one that was to end the wait, nothing goes on, or it goes on until there are threads no more.
 * And who waited may come back on another thread, where it may not unlock what it has locked. So it
 * is told of where it happens, once in a process, with the goroutine's calls, and the program goes on.
 * A goroutine that keeps its thread (gort_lock_thread) harms nobody, and is not told of.
 *
 * It takes a call of ours in front of each lock and unlock (os/linux/mutexes.c), so it is a check of
 * checked builds alone, and of those without a sanitizer, which stands there itself. Nor does it see
 * anything in fully static programs, where libc's own calls cannot be told from the program's. Not
 * seen are C11's mtx_t, rwlocks and spin locks.
 *
 *  1. Who holds what stands in a table: the mutex, and the goroutine or the thread that has locked
 *     it, an entry for each time. A count in the goroutine alone would be wrong for ever where
 *     another unlocks the mutex; here the unlocking takes the other's entry out.
 *  2. The unlocking takes its own entry, if there is one: while a thread waits for a condition, its
 *     entry stays, and others come and go for the same mutex.
 *  3. g->mutexes says only whether to look: at least how many entries it has.
 *  4. What does not fit is not told of. So nothing that is told of is untrue, but something may be
 *     missed: where a stranger unlocks a mutex that others wait for with conditions, or has many
 *     mutexes at almost the same place.
 *  5. An entry is put in by who has locked the mutex, after that, and taken out after unlocking it, so
 *     several may be about for a mutex at a time. Each slot changes hands by a CAS of its key.
 *
 * Callers: program code, on any thread, where there is no preemption by another stack, since gort's
 * code runs (preempt.c); park (switch.h), with the lock of what it waits on.
 */
#include "sched/config.h"

#define SLOTS 1024u
#define NEAR 16u /* it stands so near to its place */
#define CLAIMED 1u

static struct held {
	uintptr_t mutex; /* atomic: 0: free; CLAIMED */
	uint64_t by;     /* atomic */
} table[SLOTS];

/* Odd: a goroutine's. */
static uint64_t who_is(const struct g *g)
{
	return g ? g->id << 1 | 1 : os_thread_self().handle;
}

static struct held *slot(const void *mutex, uint32_t i)
{
	uint64_t hash = (uint64_t)(uintptr_t)mutex * UINT64_C(0x9e3779b97f4a7c15);

	return &table[((hash >> 40) + i) % SLOTS];
}

static bool note(const void *mutex, uint64_t by)
{
	for (uint32_t i = 0; i < NEAR; i++) {
		struct held *h = slot(mutex, i);
		uintptr_t was = 0;

		if (load_relaxed(&h->mutex) || !cas_acquire(&h->mutex, &was, CLAIMED))
			continue;
		store_relaxed(&h->by, by);
		store_release(&h->mutex, (uintptr_t)mutex); /* meets the acquire in forget, holds */
		return true;
	}
	return false;
}

/* by 0: anybody's. */
static bool forget(const void *mutex, uint64_t by)
{
	for (uint32_t i = 0; i < NEAR; i++) {
		struct held *h = slot(mutex, i);
		uintptr_t was = load_acquire(&h->mutex);

		if (was == (uintptr_t)mutex && (!by || load_relaxed(&h->by) == by) &&
		    cas_release(&h->mutex, &was, 0))
			return true;
	}
	return false;
}

static bool holds(uint64_t by)
{
	for (struct held *h = table; h < table + SLOTS; h++)
		if (load_acquire(&h->mutex) > CLAIMED && load_relaxed(&h->by) == by)
			return true;
	return false;
}

static void on_mutex(const void *mutex, bool locked)
{
	struct m *m = m_self();
	struct g *g = m ? load_relaxed(&m->g) : NULL;
	uint64_t by = who_is(g);
	int change = 0;

	if (locked)
		change = note(mutex, by);
	else if (forget(mutex, by))
		change = -1;
	else
		forget(mutex, 0);
	if (g)
		g->mutexes += (uint32_t)change;
}

void gort__mutexes_watch(void)
{
	os_mutexes_watch(on_mutex);
}

noinline void gort__mutexes_parks(struct g *g, enum g_why why)
{
	static uint32_t told;
	char label[LABEL_SIZE];

	if (g->thread_locks)
		return;
	if (!holds(who_is(g))) {
		g->mutexes = 0; /* others have unlocked them */
		return;
	}
	if (swap_acq_rel(&told, 1))
		return;
	gort__report(
		"goroutine %s waits (%s) while it holds a pthread mutex; another goroutine on this "
		"thread that wants it stops the thread",
		g_label(g, label), gort__reason(why));
	gort__dump_here(true);
	fence_compiler(); /* no call at the end: see gort_dump */
}
