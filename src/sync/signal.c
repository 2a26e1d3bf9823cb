/*
 * signal.c - signals as values on channels. Go's os/signal, Notify and Stop.
 *
 *     handler: caught --pending, note--> the thread "gort-signals" --try_send--> channels
 *
 *  1. The handler (os/linux/notify.c) runs on any thread at any point, so it takes no lock: it sets
 *     its signal's bit in pending (s1), then wakes the thread (s2).
 *  2. The thread clears the note (s3), then takes all of pending (s4), and sleeps when it has
 *     delivered that. A bit that is set after s4 has its s2 after s3, so the next sleep ends at
 *     once: no signal is lost, however it falls. What came more than once between two looks is
 *     delivered once, as the kernel itself does with standard signals; here it goes for real-time
 *     ones as well.
 *  3. s4 and the sends are under the lock. So none goes to a channel whose stop has returned, and
 *     none that came before the first watcher (which clears the bit) goes to it.
 *  4. A send never waits: who has no room loses the signal. Whom it wakes is made runnable as by a
 *     guest, once the lock is released.
 *
 * The thread is made at the first notify, by its caller, outside of everything: that takes libc's
 * locks, as pthread_create by the program would. It blocks all signals, and lives until the
 * runtime's end:
 *
 *     NONE --thread_look--> STARTING --thread_make--> LIVES --stop_all--> NONE
 *                               +-----thread_make: none to be had-----> NONE
 *
 * Others that come meanwhile yield until it is there. They cannot wait on a mutex: the runtime's
 * end might stop its holder for good at a call into gort. So there is no such call between
 * thread_look's store and thread_make's, and the end may wait for that.
 *
 * The end (init.c) comes here twice. While goroutines can still be woken (stop_all): it does not
 * run any more, which who takes the lock from here on sees, so that nothing is watched again;
 * handlers are what they were, and the thread is joined. It is not counted as a guest, but is gone
 * before guests are waited for. And when no goroutine waits for anything any more (release_all):
 * the channels are released, of which these may be the last references.
 *
 * The functions here have names that no other file has: the linker leaves out of a program what it
 * does not use by name, in one object that was linked before.
 *
 * signals.lock (RANK_SIGNALS, over the channels') protects watchers, and the handlers'
 * installation. Callers: goroutines and guests.
 */
#include "sched/signals.h"

#include "sync/chan.h"

#include <errno.h>

struct watcher {
	struct watcher *next;
	struct gort_chan *chan; /* held */
	uint64_t set;           /* of bits */
};

enum { NONE, STARTING, LIVES };

static struct {
	struct lock lock;
	struct watcher *watchers; /* lock */
	struct watcher *dead;     /* of the runtime that ends: its own thread's */
	uint32_t state;           /* atomic: to STARTING under lock; the rest as drawn */
	uint32_t stop;            /* atomic */
	uint64_t pending;         /* atomic */
	struct note work;
	os_thread thread; /* written before LIVES, release */
} signals = { .lock = LOCK_INIT(RANK_SIGNALS) };

static uint64_t bit_of(int signo)
{
	return UINT64_C(1) << (signo - 1);
}

/* ---- delivery -------------------------------------------------------------------------------- */

/* In a signal handler. Both may be called there: the note is a store and a system call. */
static void caught(int signo)
{
	(void)or_acq_rel(&signals.pending, bit_of(signo)); /* s1 */
	note_wake(&signals.work);                          /* s2 */
}

static void signal_send(struct gort_chan *c, int signo, struct glist *woken)
{
	struct waiter *w = NULL;

	lock_acquire(&c->lock);
	(void)gort__chan_send_now(c, &signo, &w);
	lock_release(&c->lock);
	if (w)
		waiter_end(w, 0, woken);
}

static void deliver(void)
{
	struct glist woken = { 0 };
	uint64_t set;

	lock_acquire(&signals.lock);
	set = swap_acq_rel(&signals.pending, 0); /* s4 */
	for (; set; set &= set - 1)
		for (struct watcher *w = signals.watchers; w; w = w->next)
			if (w->set & set & -set)
				signal_send(w->chan, __builtin_ctzll(set) + 1, &woken);
	lock_release(&signals.lock);
	gort__ready_list(NULL, &woken);
}

static void signals_main(void *arg)
{
	(void)arg;
	os_thread_name("gort-signals");
	store_release(&gort__signals.tid, os_thread_id());
	for (;;) {
		note_sleep(&signals.work, OS_FOREVER);
		note_clear(&signals.work); /* s3 */
		if (load_acquire(&signals.stop))
			return;
		deliver();
	}
}

/* ---- watching: under the lock ---------------------------------------------------------------- */

static uint64_t watched(void)
{
	uint64_t set = 0;

	for (struct watcher *w = signals.watchers; w; w = w->next)
		set |= w->set;
	return set;
}

static void handlers_remove(uint64_t set)
{
	for (; set; set &= set - 1)
		os_notify_remove(__builtin_ctzll(set) + 1);
}

static int handler_install(int signo)
{
	if (watched() & bit_of(signo))
		return 0;
	(void)and_acq_rel(&signals.pending, ~bit_of(signo)); /* a late one of earlier watchers */
	return os_notify_install(signo, caught);
}

static struct watcher **watcher_of(const struct gort_chan *c)
{
	struct watcher **link = &signals.watchers;

	while (*link && (*link)->chan != c)
		link = &(*link)->next;
	return link;
}

static int watch(struct m *m, struct gort_chan *c, int signo)
{
	struct watcher **link = watcher_of(c), *w = *link;
	int err;

	if (!w && !(w = mem_alloc(cache_of(m), sizeof *w)))
		return -ENOMEM;
	err = handler_install(signo);
	if (*link) {
		w->set |= err == 0 ? bit_of(signo) : 0;
	} else if (err == 0) {
		*w = (struct watcher){ .chan = gort_chan_retain(c), .set = bit_of(signo) };
		*link = w;
		store_release(&gort__signals.watched, gort__signals.watched + 1);
	} else {
		mem_free(cache_of(m), w, sizeof *w);
	}
	return err;
}

/* ---- the thread ------------------------------------------------------------------------------ */

/* 0: it is there; 1: the caller is to start it; -EAGAIN: somebody does; -ESRCH. */
static int thread_look(void)
{
	struct m *m = rt_enter();
	int result;

	lock_acquire(&signals.lock);
	if (!gort__running()) {
		result = -ESRCH;
	} else if (load_acquire(&signals.state) != NONE) {
		result = load_acquire(&signals.state) == LIVES ? 0 : -EAGAIN;
	} else {
		store_relaxed(&signals.state, STARTING);
		result = 1;
	}
	lock_release(&signals.lock);
	rt_leave(m);
	return result;
}

static int thread_make(void)
{
	int err;

	note_clear(&signals.work);
	store_relaxed(&signals.stop, 0);
	err = os_thread_start(&signals.thread, signals_main, NULL, 0);
	store_release(&signals.state, err < 0 ? NONE : LIVES);
	return err;
}

static int need_thread(void)
{
	int result;

	while ((result = thread_look()) == -EAGAIN)
		gort_yield();
	return result == 1 ? thread_make() : result;
}

/* ---- ends ------------------------------------------------------------------------------------ */

static void stop_all(void)
{
	lock_acquire(&signals.lock);
	handlers_remove(watched());
	signals.dead = signals.watchers;
	signals.watchers = NULL;
	store_release(&gort__signals.watched, 0);
	lock_release(&signals.lock);
	while (load_acquire(&signals.state) == STARTING)
		os_yield_thread();
	if (load_acquire(&signals.state) == NONE)
		return;
	store_release(&signals.stop, 1);
	note_wake(&signals.work);
	os_thread_join(&signals.thread);
	store_relaxed(&gort__signals.tid, 0);
	store_relaxed(&signals.state, NONE);
}

static void release_all(void)
{
	struct watcher *w;

	while ((w = signals.dead) != NULL) {
		signals.dead = w->next;
		gort__chan_release(NULL, w->chan);
		mem_free(NULL, w, sizeof *w);
	}
}

static void runtime_ends(bool withdrawn)
{
	if (withdrawn)
		release_all();
	else
		stop_all();
}

/* No lock: who holds it is not in the child. */
static void runtime_forked(void)
{
	handlers_remove(UINT64_MAX);
}

/* ---- the public calls ------------------------------------------------------------------------ */

GORT_API int gort_signal_notify(gort_chan *c, int signo)
{
	struct m *m;
	int err;

	if (!c || c->elem_size != sizeof(int) || !os_notify_allowed(signo))
		return -EINVAL;
	if (gort__forked)
		return -ESRCH;
	store_release(&gort__signals.forked, runtime_forked);
	store_release(&gort__signals.end, runtime_ends);
	err = need_thread();
	if (err < 0)
		return err;
	m = rt_enter();
	lock_acquire(&signals.lock);
	err = gort__running() ? watch(m, c, signo) : -ESRCH;
	lock_release(&signals.lock);
	rt_leave(m);
	return err;
}

GORT_API int gort_signal_stop(gort_chan *c)
{
	struct watcher **link, *w;
	struct m *m;

	if (!c)
		return -EINVAL;
	m = rt_enter();
	lock_acquire(&signals.lock);
	link = watcher_of(c);
	w = *link;
	if (w) {
		*link = w->next;
		handlers_remove(w->set & ~watched());
		store_release(&gort__signals.watched, gort__signals.watched - 1);
	}
	lock_release(&signals.lock);
	if (w) {
		mem_free(cache_of(m), w, sizeof *w);
		sysmon_kick_if_lazy(); /* nobody may be left who could wake anybody (deadlock.c) */
	}
	rt_leave(m);
	if (!w)
		return -ENOENT;
	gort_chan_release(c);
	return 0;
}
