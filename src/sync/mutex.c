/*
 * mutex.c - gort_mutex: fast when free, fair when somebody has waited long.
 *
 * state_: LOCKED | WAITERS | WOKEN. The queue of waiters (wait_) is under the parking lot's lock.
 *  1. WAITERS is set while the queue is not empty, changed under the lot's lock only.
 *  2. WOKEN: a waiter was taken out of the queue and is on its way to try again; unlocking then
 *     wakes no other. It clears the bit when it has got the mutex or queues again.
 *  3. Unlocking is one atomic step on state_, the last touch of the mutex: a CAS, or with waiters
 *     to wake under the lot's lock, when the queue has been put in order. So whoever then gets
 *     the mutex may free it.
 *  4. A waiter of over 1 ms gets the mutex by hand-off: LOCKED stays set, it wakes as the holder. A
 *     woken waiter that lost against others queues at the front, keeping its time.
 *  A goroutine that finds the mutex taken first spins for a moment, if another P runs: the holder
 *  may be there.
 *
 * Callers: goroutines and guests; unlock by anyone.
 */
#include "sync/mutex.h"

#include <errno.h>

#define LOCKED 1u
#define WAITERS 2u
#define WOKEN 4u

#define STARVED (1 * GORT_MS)
#define SPINS 4
#define PAUSES 30

/* A waiter's result. */
enum { HANDED_OVER = 0, TRY_AGAIN = -EAGAIN };

static struct waitq *queue_of(gort_mutex *m)
{
	return (struct waitq *)m->wait_;
}

/* Take it if it is free, with waiters or without. Setting a bit costs less than a
 * compare-and-swap, and changes nothing of one that is taken. */
static inline bool lock_free_one(gort_mutex *m, const char *call)
{
	if (unlikely(!m))
		gort__misuse(call, "no mutex");
	return !(or_acq_rel(&m->state_, LOCKED) & LOCKED); /* meets the release of who unlocks */
}

/* The same for one who has waited; own: bits that the caller clears by it. */
static bool try_lock(gort_mutex *m, uint32_t own)
{
	uint32_t s = load_relaxed(&m->state_);

	while (!(s & LOCKED))
		if (likely(cas_acquire(&m->state_, &s, (s | LOCKED) & ~own)))
			return true;
	return false;
}

static bool worth_spinning(void)
{
	return load_relaxed(&gort__sched.procs) - load_relaxed(&gort__sched.idle_ps) > 1;
}

static bool spin(gort_mutex *m, uint32_t own)
{
	if (try_lock(m, own))
		return true;
	for (int i = 0; i < SPINS && worth_spinning(); i++) {
		for (int j = 0; j < PAUSES; j++)
			arch_pause();
		if (try_lock(m, own))
			return true;
	}
	return false;
}

/* Under the lot's lock: queue if it is still taken, else take it. True: taken. */
static bool announce(gort_mutex *m, uint32_t own)
{
	uint32_t s = load_relaxed(&m->state_);

	for (;;) {
		if (!(s & LOCKED)) {
			if (cas_acquire(&m->state_, &s, (s | LOCKED) & ~own))
				return true;
		} else if (cas_relaxed(&m->state_, &s, (s | WAITERS) & ~own)) {
			return false;
		}
	}
}

/* A wait ended by its deadline: no bit may stay that says somebody waits. */
static void tidy(gort_mutex *m, struct lock *lot)
{
	lock_acquire(lot);
	if (!queue_of(m)->head)
		and_acq_rel(&m->state_, ~WAITERS);
	lock_release(lot);
}

static noinline int lock_slow(gort_mutex *m, int64_t deadline, int flags)
{
	struct lock *lot = gort__lot_lock(m);
	struct waiter w;
	uint32_t own = 0;
	int64_t since = 0;
	int err;

	for (;;) {
		if (spin(m, own))
			return 0;
		if (deadline_passed(deadline)) {
			if (own)
				and_acq_rel(&m->state_, ~WOKEN);
			return try_lock(m, 0) ? 0 : -ETIMEDOUT;
		}
		lock_acquire(lot);
		if (announce(m, own)) {
			lock_release(lot);
			return 0;
		}
		w.elem = m;
		w.since = since ? since : (since = os_now());
		err = gort__wait(&w, queue_of(m), lot, deadline, WHY_MUTEX,
				 flags | (own ? WAIT_FRONT : WAIT_BACK));
		if (err == HANDED_OVER)
			return 0;
		if (err != TRY_AGAIN) {
			tidy(m, lot);
			return err;
		}
		own = WOKEN;
	}
}

GORT_API void gort_mutex_lock(gort_mutex *m)
{
	struct m *self;

	if (likely(lock_free_one(m, "gort_mutex_lock")))
		return;
	self = rt_enter();
	lock_slow(m, GORT_FOREVER, WAIT_SURE);
	rt_leave(self);
}

GORT_API int gort_mutex_try_lock(gort_mutex *m)
{
	return lock_free_one(m, "gort_mutex_try_lock") ? 0 : -EAGAIN;
}

GORT_API int gort_mutex_lock_until(gort_mutex *m, int64_t deadline)
{
	struct m *self;
	int err;

	if (likely(lock_free_one(m, "gort_mutex_lock_until")))
		return 0;
	self = rt_enter();
	err = lock_slow(m, deadline, 0);
	rt_leave(self);
	return err;
}

/* Under the lot's lock, held by the caller as its holder: pass it on or let it go. */
static struct waiter *choose_next(gort_mutex *m)
{
	struct waiter *w = waitq_claim(queue_of(m));
	uint32_t more = queue_of(m)->head ? WAITERS : 0;

	if (!w) {
		and_acq_rel(&m->state_, ~(LOCKED | WAITERS));
	} else if (os_now() - w->since > STARVED) {
		w->status = HANDED_OVER;
		store_release(&m->state_, LOCKED | more);
	} else {
		w->status = TRY_AGAIN;
		store_release(&m->state_, WOKEN | more);
	}
	return w;
}

/* By one step, where nobody needs to be woken. False: there are waiters, or it is not locked. */
static inline bool try_unlock(gort_mutex *m)
{
	uint32_t s = load_relaxed(&m->state_);

	while (s == LOCKED || (s & (LOCKED | WOKEN)) == (LOCKED | WOKEN))
		if (likely(cas_release(&m->state_, &s, s & ~LOCKED)))
			return true;
	return false;
}

bool gort__mutex_try_unlock(gort_mutex *m)
{
	return try_unlock(m);
}

struct waiter *gort__mutex_unlock_under(gort_mutex *m, const char *call)
{
	do {
		if (!(load_relaxed(&m->state_) & LOCKED))
			gort__misuse(call, "the mutex is not locked");
		if ((load_relaxed(&m->state_) & (WAITERS | WOKEN)) == WAITERS)
			return choose_next(m);
	} while (!try_unlock(m));
	return NULL;
}

static void unlock_inside(struct m *self, gort_mutex *m)
{
	struct lock *lot = gort__lot_lock(m);
	struct waiter *w;

	lock_acquire(lot);
	w = gort__mutex_unlock_under(m, "gort_mutex_unlock");
	lock_release(lot);
	if (w)
		waiter_wake(self, w);
}

static noinline void unlock_slow(gort_mutex *m)
{
	struct m *self = rt_enter();

	unlock_inside(self, m);
	rt_leave(self);
}

void gort__mutex_unlock_as_guest(gort_mutex *m)
{
	if (!try_unlock(m))
		unlock_inside(NULL, m);
}

/* The runtime ends, and a goroutine that was woken with this status never comes to try. */
void gort__mutex_forsake(gort_mutex *m, int status)
{
	if (status == TRY_AGAIN) {
		and_acq_rel(&m->state_, ~WOKEN);
		if (!try_lock(m, 0))
			return;
	}
	if (status == TRY_AGAIN || status == HANDED_OVER)
		gort__mutex_unlock_as_guest(m);
}

GORT_API void gort_mutex_unlock(gort_mutex *m)
{
	uint32_t s = LOCKED;

	if (unlikely(!m))
		gort__misuse("gort_mutex_unlock", "no mutex");
	if (unlikely(!cas_release(&m->state_, &s, 0)) && !try_unlock(m))
		unlock_slow(m);
}
