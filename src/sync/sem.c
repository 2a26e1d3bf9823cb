/*
 * sem.c - gort_sem: a weighted semaphore, first come first served.
 *
 * count_: what is free, or its complement (negative) while somebody waits. The queue (wait_) is
 * under the parking lot's lock.
 *  1. Not negative: nobody waits; taking and giving back are one CAS. It becomes negative under the
 *     lot's lock, and stays so, changed under that lock only, until the queue is empty.
 *  2. The one at the head gets what it asked for as soon as that is free; those behind wait for
 *     it, also when they ask for less. So who asks for much is not overtaken for ever.
 *  3. A waiter that gives up may have been the one that the others waited for: it looks after them.
 *  4. The step on count_ is the last touch of the semaphore in a release: whoever waited for it may
 *     free it.
 *  In a waiter since is how much it asks for.
 *
 * Callers: goroutines and guests.
 */
#include "sync/wake.h"

#include <errno.h>

static struct waitq *queue_of(gort_sem *s)
{
	return (struct waitq *)s->wait_;
}

static inline void check(gort_sem *s, int64_t n, const char *call)
{
	if (unlikely(!s))
		gort__misuse(call, "no semaphore");
	if (unlikely(n <= 0))
		gort__misuse(call, "a number that is not positive");
}

static int64_t sum(int64_t free, int64_t n)
{
	int64_t all;

	if (unlikely(__builtin_add_overflow(free, n, &all)))
		gort__misuse("gort_sem_release", "a semaphore over 9223372036854775807");
	return all;
}

static inline bool take(gort_sem *s, int64_t n)
{
	int64_t c = load_relaxed(&s->count_);

	while (c >= n)
		if (likely(cas_acquire(&s->count_, &c, c - n)))
			return true;
	return false;
}

static inline bool give_back(gort_sem *s, int64_t n)
{
	int64_t c = load_relaxed(&s->count_);

	while (c >= 0)
		if (likely(cas_release(&s->count_, &c, sum(c, n))))
			return true;
	return false;
}

/* n more are free, and go to those who wait (2), a batch of them. */
static void serve(struct m *m, gort_sem *s, int64_t n)
{
	struct lock *lot = gort__lot_lock(s);
	struct waitq *q = queue_of(s), told = { 0 };
	struct waiter *w;
	unsigned count = 0;
	int64_t free;

	lock_acquire(lot);
	if (load_relaxed(&s->count_) >= 0) { /* and cannot become negative now (1) */
		if (n)
			give_back(s, n);
		lock_release(lot);
		return;
	}
	free = sum(~load_relaxed(&s->count_), n);
	while (count < WAKE_BATCH && (w = q->head) != NULL && w->since <= free) {
		waitq_remove(w);
		if (!waiter_claim(w))
			continue;
		free -= w->since;
		tell(&told, w, ++count);
	}
	store_release(&s->count_, q->head ? ~free : free);
	lock_release(lot);
	wake_told(m, &told);
}

/* Under the lot's lock. True: it has got them, no need to wait. Else, too, it meets the releases
 * of those who gave back what is free; what they did before goes on to who is served, by the
 * lot's lock. */
static bool announce(gort_sem *s, int64_t n)
{
	int64_t c = load_relaxed(&s->count_);

	while (c >= 0)
		if (cas_acquire(&s->count_, &c, c >= n ? c - n : ~c))
			return c >= n;
	return false;
}

static noinline int acquire_slow(gort_sem *s, int64_t n, int64_t deadline)
{
	struct lock *lot = gort__lot_lock(s);
	struct m *m = rt_enter();
	struct waiter w = { .elem = s, .since = n };
	int err = 0;

	lock_acquire(lot);
	if (announce(s, n)) {
		lock_release(lot);
	} else {
		err = gort__wait(&w, queue_of(s), lot, deadline, WHY_SEM, WAIT_BACK);
		if (err != GOT_IT)
			serve(m_self(), s, 0);
	}
	rt_leave(m);
	return err < 0 ? err : 0;
}

GORT_API int gort_sem_acquire_until(gort_sem *s, int64_t n, int64_t deadline)
{
	check(s, n, "gort_sem_acquire");
	if (likely(take(s, n)))
		return 0;
	return deadline_passed(deadline) ? -ETIMEDOUT : acquire_slow(s, n, deadline);
}

GORT_API int gort_sem_acquire(gort_sem *s, int64_t n)
{
	return gort_sem_acquire_until(s, n, GORT_FOREVER);
}

GORT_API int gort_sem_try_acquire(gort_sem *s, int64_t n)
{
	check(s, n, "gort_sem_try_acquire");
	return take(s, n) ? 0 : -EAGAIN;
}

static noinline void release_slow(gort_sem *s, int64_t n)
{
	struct m *m = rt_enter();

	serve(m, s, n);
	rt_leave(m);
}

GORT_API void gort_sem_release(gort_sem *s, int64_t n)
{
	check(s, n, "gort_sem_release");
	if (unlikely(!give_back(s, n)))
		release_slow(s, n);
}

/* The runtime ends, and the goroutine of w never comes back from its wait. */
void gort__sem_forsake(struct waiter *w)
{
	serve(NULL, w->elem, w->status < 0 ? 0 : w->since);
}
