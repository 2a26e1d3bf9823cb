/*
 * deadlock.c - nothing will ever run again: found by sysmon, while all Ps idle.
 *
 * A deadlock: goroutines wait, and nobody is left who could wake one. Asked under sched.lock, in
 * which all of it changes, but for timers, which only goroutines and guests start:
 *
 *  1. Every P idles, no queue has anything, no M is on its way.
 *  2. No thread is in user code without its P: a call that blocks may return.
 *  3. No timer is pending, no signal is watched, no goroutine waits for a descriptor, or for a file's
 *     disk (sysmon does not sleep for good while one does).
 *  4. No other thread lives in the process: it might call gort. The kernel counts them
 *     (/proc/self/task); ours are the Ms, also those that an earlier runtime left behind, the
 *     creator, sysmon, those that deliver signals and serve disks. The kernel's own workers, and an
 *     emulator's, do not count.
 *  5. From 1 on until 4 has been asked no goroutine has run (picks): else the other thread may have
 *     woken one and ended, and that have started another thread and wait for it.
 *  6. Nobody comes from netpoll with goroutines that are out of their queues, and not yet in any that
 *     is looked at here (net_brings, till sched.lock is taken).
 *
 * A runtime that gort_start has started has none: whoever started it lives.
 *
 * Where only 4 fails, or something moves that sysmon has not seen, it asks again LOOK_AGAIN later: nobody
 * tells it when a thread ends, nor when all is idle once more. For 2 and 3 it may sleep: the call, the
 * timer, the signal's watcher (gort_signal_stop) wakes it.
 *
 * And max_threads: where goroutines are runnable, but all threads that there may be are kept by
 * goroutines that wait, and nobody is left who could wake one of those (as above, but for the
 * queue), nothing could ever run either. That is fatal.
 *
 * Caller: sysmon.
 */
#include "sched/netpoll.h"
#include "sched/signals.h"

#define sched gort__sched
#define LOOK_AGAIN (900 * GORT_MS)

enum { ALL_WELL, OTHERS_LIVE, DEADLOCK, NO_THREADS };

/* Under sched.lock: something runs, or is about to. */
static bool something_moves(void)
{
	return load_relaxed(&sched.idle_ps) != load_relaxed(&sched.procs) || sched.asked ||
		sched.stopped || load_relaxed(&sched.net_brings);
}

/* Under sched.lock: who ends that state kicks sysmon. */
static bool somebody_will_come(void)
{
	return load_relaxed(&sched.stopping) || load_relaxed(&sched.away) ||
		gort__timers_next() != OS_FOREVER || gort__signals_watched() ||
		gort__netpoll_waits() || load_acquire(&sched.disk);
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
	if (somebody_will_come())
		return ALL_WELL;
	if (something_moves())
		return OTHERS_LIVE;
	if (no_thread_is_left())
		return NO_THREADS;
	if (load_relaxed(&sched.global_count))
		return OTHERS_LIVE;
	return sched.deadlocks ? DEADLOCK : ALL_WELL;
}

/* Under sched.lock, all Ps idle: how often a goroutine has been run. */
uint64_t gort__picks(void)
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
		2 /* creator, sysmon */ + (gort__signals_tid() != 0) +
		(int)load_relaxed(&sched.disk_threads);
}

static int ask(void)
{
	int own, result;
	uint64_t picked;

	lock_acquire(&sched.lock);
	result = how_it_stands();
	picked = gort__picks();
	own = own_threads();
	lock_release(&sched.lock);
	if (result == ALL_WELL || result == OTHERS_LIVE)
		return result;
	if (load_acquire(&sched.guests) || os_threads(own) > own)
		return OTHERS_LIVE;
	os_membarrier(); /* 6: who was out of its queue at the first look is seen to be brought */
	lock_acquire(&sched.lock);
	result = how_it_stands();
	if (result != ALL_WELL && (own != own_threads() || picked != gort__picks()))
		result = OTHERS_LIVE;
	lock_release(&sched.lock);
	return result;
}

/* looks: how often running sysmon has found all idle. When to ask again at the latest. */
int64_t gort__deadlock_look(int64_t now, uint32_t looks)
{
	if (looks < DEADLOCK_LOOKS || load_relaxed(&sched.stopping))
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
