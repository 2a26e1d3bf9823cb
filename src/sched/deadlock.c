/*
 * deadlock.c - nothing will ever run again: found by sysmon, while all Ps idle.
 *
 * A deadlock: goroutines wait, and nobody is left who could wake one. Asked under sched.lock, in
 * which all of it changes, but for timers, which only goroutines and guests start:
 *
 *  1. Every P idles, no queue has anything, no M is on its way.
 *  2. No thread is in user code without its P: a call that blocks may return.
 *  3. No timer is pending, no signal is watched.
 *  4. No other thread lives in the process: it might call gort. The kernel counts them
 *     (/proc/self/task); ours are the Ms, also those that an earlier runtime left behind, the
 *     creator, sysmon, and the one that delivers signals. Those that were there before gort was
 *     loaded (a sanitizer's helper) and the kernel's own workers do not count.
 *  5. From 1 on until 4 has been asked no goroutine has run (picks): else the other thread may have
 *     woken one and ended, and that have started another thread and wait for it.
 *
 * A runtime that gort_start has started has none: whoever started it lives.
 *
 * Where 4 alone fails sysmon asks again LOOK_AGAIN later, since nobody tells when a thread ends.
 *
 * And max_threads: where goroutines are runnable, but all threads that there may be are kept by
 * goroutines that wait, and nobody is left who could wake one of those (as above, but for the
 * queue), nothing could ever run either. That is fatal.
 *
 * Caller: sysmon.
 */
#include "sched/sched.h"
#include "sched/signals.h"

#define sched gort__sched
#define SETTLED 4 /* looks at an idle runtime before it is asked */
#define LOOK_AGAIN (900 * GORT_MS)

enum { ALL_WELL, OTHERS_LIVE, DEADLOCK, NO_THREADS };

/* Under sched.lock: 1 to 3, but for the queues. */
static bool nobody_can_wake(void)
{
	return load_relaxed(&sched.idle_ps) == load_relaxed(&sched.procs) && sched.asked == 0 &&
		sched.stopped == 0 && load_relaxed(&sched.away) == 0 &&
		gort__timers_next() == OS_FOREVER && !gort__signals_watched() &&
		!load_relaxed(&sched.stopping);
}

/* Under sched.lock. Each thread sleeps with its goroutine; none has only just been made. */
static bool all_threads_are_kept(void)
{
	const struct m *m = sched.all_m;

	while (m && m->waits)
		m = m->all_next;
	return !m && sched.threads >= sched.max_threads;
}

/* Under sched.lock. Goroutines are runnable, but no thread is left to run them. */
static bool no_thread_is_left(void)
{
	return load_relaxed(&sched.global_count) && !gort__bound_some() && all_threads_are_kept();
}

/* Under sched.lock. */
static int how_it_stands(void)
{
	if (!nobody_can_wake())
		return ALL_WELL;
	if (no_thread_is_left())
		return NO_THREADS;
	return sched.deadlocks && load_relaxed(&sched.global_count) == 0 ? DEADLOCK : ALL_WELL;
}

/* Under sched.lock, all Ps idle: how often a goroutine has been run. */
static uint64_t picks(void)
{
	uint32_t n = load_acquire(&sched.p_count);
	uint64_t sum = 0;

	for (uint32_t i = 0; i < n; i++)
		sum += load_relaxed(&load_relaxed(&sched.all_p[i])->picks);
	return sum;
}

static int own_threads(void)
{
	return (int)sched.threads + (int)load_relaxed(&sched.left_behind) +
		2 /* creator, sysmon */ + (gort__signals_tid() != 0);
}

static int ask(void)
{
	int own, result;
	uint64_t picked;

	lock_acquire(&sched.lock);
	result = how_it_stands();
	picked = picks();
	own = own_threads();
	lock_release(&sched.lock);
	if (result == ALL_WELL)
		return result;
	if (load_acquire(&sched.guests) || os_threads(own) > own)
		return OTHERS_LIVE;
	lock_acquire(&sched.lock);
	result = how_it_stands();
	if (result != ALL_WELL && (own != own_threads() || picked != picks()))
		result = OTHERS_LIVE;
	lock_release(&sched.lock);
	return result;
}

/* looks: how often running sysmon has found all idle. When to ask again at the latest. */
int64_t gort__deadlock_look(int64_t now, uint32_t looks)
{
	if (looks < SETTLED || load_relaxed(&sched.stopping))
		return OS_FOREVER;
	switch (ask()) {
	case OTHERS_LIVE:
		return now + LOOK_AGAIN;
	case DEADLOCK:
		if (sched.deadlock_returns) {
			gort__main_deadlocked();
			return OS_FOREVER;
		}
		gort__report("all goroutines are asleep: a deadlock");
		gort_dump(2);
		os_exit(2);
	case NO_THREADS:
		gort__fatal("nothing can run: all %u threads (gort_options.max_threads, "
			    "GORT_MAXTHREADS) are kept by goroutines that wait",
			    (uint64_t)sched.max_threads);
	default:
		return OS_FOREVER;
	}
}
