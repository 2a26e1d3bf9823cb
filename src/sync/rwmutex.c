/*
 * rwmutex.c - gort_rwmutex: many readers or one writer.
 *
 * Writers come one at a time by a mutex, as in Go, so they have its spinning and its fairness. The
 * one that holds the mutex and the readers share one word, state:
 *
 *     PENDING   a writer has the lock or waits for it: readers who come now wait
 *     HELD      it has the lock
 *     WAITS     somebody waits: the writer cannot unlock by one step. It goes when PENDING does
 *     count     readers: those that have the lock, and those who come just now
 *
 * A reader adds 1, and has the lock if PENDING was clear; leaving, it takes 1 away. Both look at
 * the sign alone, which is PENDING's. A writer waits until count is 0.
 *
 *  1. A reader that finds PENDING has counted itself although it has no right to. Under the lot's
 *     lock it looks again: PENDING clear, it has the lock. Else it takes itself out of count and
 *     queues. (It cannot be wrong: with count not 0 PENDING changes under the lot's lock only.)
 *  2. Whoever takes count to 0 while a writer waits gives that one the lock (hand_over). That is
 *     decided by looking at state under the lot's lock, so it may be tried too often, and must be
 *     tried once.
 *  3. The writer that unlocks gives up the mutex first, then, by one step on state, the lock: its
 *     last touch of the rwmutex, so that whoever gets it next may free it. Readers that waited
 *     are counted by that very step; the next writer then waits for them. Without any it gets the
 *     lock.
 *  4. The last reader to leave has made its last step before it knows that it must hand over. By
 *     then a writer that gave up may have let others in, who may have freed the rwmutex. So
 *     waiting writers stand in the lot's own queue, not in one of the rwmutex: only if one is
 *     found there is the rwmutex touched, since it is alive as long as that one waits.
 *  5. Readers beyond a batch (wake.h) are let in by one that has the lock already, so no writer
 *     can come in between. admitted bounds them: readers that come after a writer wait for that
 *     one.
 *  6. A writer that gives up clears PENDING and lets the waiting readers in, unless the one
 *     before it has its last step still to do, who then does that.
 *
 * Under the lot's lock: readers, waiting, admitted, the lot's queue, and all changes of HELD and
 * WAITS but a writer's that meets nobody (0 to PENDING | HELD and back).
 *
 * Callers: goroutines and guests; unlock by anyone.
 */
#include "sync/mutex.h"
#include "sync/wake.h"

#include <errno.h>

#define PENDING 0x90000000u /* the sign, and below count a bit to borrow from: see runlock */
#define HELD 0x40000000u
#define WAITS 0x20000000u
#define COUNT 0x0fffffffu

#define SPINS 100 /* pauses: the last writer's last step is a few instructions away */

/* What a gort_rwmutex is. */
struct rw {
	gort_mutex writer;
	uint32_t state;       /* atomic */
	uint32_t waiting;     /* lot: readers in the queue, or just leaving it */
	uint32_t admitted;    /* lot: so many of the queue are still to be let in */
	struct waitq readers; /* lot */
	void *unused[2];
};
_Static_assert(sizeof(struct rw) == sizeof(gort_rwmutex), "gort_rwmutex");
_Static_assert(_Alignof(struct rw) == _Alignof(gort_rwmutex), "gort_rwmutex");

static inline struct rw *inside(gort_rwmutex *l, const char *call)
{
	if (unlikely(!l))
		gort__misuse(call, "no rwmutex");
	return (struct rw *)l;
}

/* ---- under the lot's lock -------------------------------------------------------------------- */

static void change(struct rw *rw, uint32_t off, uint32_t on)
{
	uint32_t s = load_relaxed(&rw->state);

	while (!cas_acq_rel(&rw->state, &s, (s & ~off) + on))
		;
}

static struct waiter *waiting_writer(struct rw *rw)
{
	struct waiter *w = gort__lot_queue(rw)->head;

	while (w && w->elem != rw)
		w = w->next;
	return w;
}

/* (2). Gives the writer to wake, or NULL. */
static struct waiter *hand_over(struct rw *rw)
{
	struct waiter *w = waiting_writer(rw);
	uint32_t s;

	if (!w)
		return NULL; /* (4): nothing of rw may be touched */
	s = load_relaxed(&rw->state);
	if (!(s & PENDING) || s & (HELD | COUNT))
		return NULL;
	waitq_remove(w);
	if (!waiter_claim(w))
		return NULL; /* it gives up, and does what is needed (6) */
	w->status = GOT_IT;
	change(rw, 0, HELD);
	return w;
}

/* Readers that are to be let in, a batch of them, into told. The caller counts them. */
static uint32_t take_readers(struct rw *rw, struct waitq *told)
{
	struct waiter *w;
	uint32_t n = 0;

	while (n < WAKE_BATCH && rw->admitted && (w = waitq_claim(&rw->readers)) != NULL) {
		tell(told, w, ++n);
		rw->admitted--;
		rw->waiting--;
	}
	return n;
}

/* ---- readers --------------------------------------------------------------------------------- */

/* (5): the caller has the lock. */
static void let_more_in(struct m *m, struct rw *rw)
{
	struct lock *lot = gort__lot_lock(rw);
	struct waitq told = { 0 };

	lock_acquire(lot);
	add_acq_rel(&rw->state, take_readers(rw, &told));
	lock_release(lot);
	wake_told(m, &told);
}

static void reader_gives_up(struct rw *rw)
{
	struct lock *lot = gort__lot_lock(rw);

	lock_acquire(lot);
	rw->waiting--;
	lock_release(lot);
}

/* (1), counted. */
static int rlock_counted(struct m *m, struct rw *rw, int64_t deadline, int flags)
{
	struct lock *lot = gort__lot_lock(rw);
	struct waiter self = { .elem = rw }, *writer;
	int err;

	lock_acquire(lot);
	if (!(load_acquire(&rw->state) & PENDING)) {
		lock_release(lot);
		return 0;
	}
	or_acq_rel(&rw->state, WAITS); /* while it is counted: the writer cannot unlock unseen */
	sub_acq_rel(&rw->state, 1u);
	writer = hand_over(rw);
	if (writer)
		waiter_wake(m, writer);
	rw->waiting++;
	err = gort__wait(&self, &rw->readers, lot, deadline, WHY_RLOCK, flags);
	if (err == GOES_ON)
		let_more_in(m_self(), rw);
	else if (err < 0)
		reader_gives_up(rw);
	return err < 0 ? err : 0;
}

/* One step. False: it is counted, but must look again. */
static inline bool count_reader(struct rw *rw)
{
	return likely((int32_t)(add_acq_rel(&rw->state, 1u) + 1u) >= 0);
}

/* It will never have it. */
static void uncount_reader(struct rw *rw)
{
	struct lock *lot = gort__lot_lock(rw);
	struct waiter *writer;

	lock_acquire(lot);
	sub_acq_rel(&rw->state, 1u);
	writer = hand_over(rw);
	lock_release(lot);
	if (writer)
		waiter_wake(NULL, writer);
}

static noinline void rlock_slow(struct rw *rw)
{
	struct m *m = rt_enter_midway();

	if (m_stops(m))
		uncount_reader(rw);
	else
		rlock_counted(m, rw, GORT_FOREVER, WAIT_SURE);
	rt_leave_midway(m);
}

GORT_API void gort_rwmutex_rlock(gort_rwmutex *l)
{
	struct rw *rw = inside(l, "gort_rwmutex_rlock");

	if (unlikely(!count_reader(rw)))
		rlock_slow(rw);
}

/* Not by an add: nobody may see a reader that never was. */
static bool try_rlock(struct rw *rw)
{
	uint32_t s = load_relaxed(&rw->state);

	while (!(s & PENDING))
		if (likely(cas_acquire(&rw->state, &s, s + 1)))
			return true;
	return false;
}

GORT_API int gort_rwmutex_try_rlock(gort_rwmutex *l)
{
	return try_rlock(inside(l, "gort_rwmutex_try_rlock")) ? 0 : -EAGAIN;
}

GORT_API int gort_rwmutex_rlock_until(gort_rwmutex *l, int64_t deadline)
{
	struct rw *rw = inside(l, "gort_rwmutex_rlock_until");
	struct m *m;
	int err = 0;

	if (try_rlock(rw))
		return 0;
	if (deadline_passed(deadline))
		return -ETIMEDOUT;
	m = rt_enter();
	if (!count_reader(rw))
		err = rlock_counted(m, rw, deadline, WAIT_BACK);
	rt_leave(m);
	return err;
}

/* The last one has left while a writer waits. */
static void last_has_left(struct m *m, struct rw *rw)
{
	struct lock *lot = gort__lot_lock(rw);
	struct waiter *writer;

	lock_acquire(lot);
	writer = hand_over(rw);
	lock_release(lot);
	if (writer)
		waiter_wake(m, writer);
}

/* was: before this one left. With a count of 0, taking 1 away has left PENDING, if set, by its
 * lower bit, so that the sign brings it here. */
static noinline void runlock_slow(struct rw *rw, uint32_t was)
{
	struct m *m;

	if ((was & COUNT) == 0 || was & HELD)
		gort__misuse("gort_rwmutex_runlock", "the rwmutex is not locked for reading");
	if ((was & COUNT) > 1)
		return;
	m = rt_enter_midway();
	last_has_left(m, rw);
	rt_leave_midway(m);
}

GORT_API void gort_rwmutex_runlock(gort_rwmutex *l)
{
	struct rw *rw = inside(l, "gort_rwmutex_runlock");
	uint32_t was = sub_acq_rel(&rw->state, 1u);

	if (unlikely((int32_t)(was - 1) < 0))
		runlock_slow(rw, was);
}

/* ---- writers --------------------------------------------------------------------------------- */

/* With the mutex. */
static inline bool take_free(struct rw *rw)
{
	uint32_t s = 0;

	return likely(cas_acquire(&rw->state, &s, PENDING | HELD));
}

/* The last writer, which has given up the mutex, will be gone in a moment. */
static bool spin(struct rw *rw)
{
	for (int i = 0; i < SPINS && load_relaxed(&rw->state) & HELD; i++)
		arch_pause();
	return take_free(rw);
}

/* Under the lot's lock. True: it has the lock. */
static bool announce(struct rw *rw)
{
	uint32_t s = load_relaxed(&rw->state), to;

	do
		to = s == 0 ? PENDING | HELD : s | PENDING | WAITS;
	while (!cas_acq_rel(&rw->state, &s, to));
	return s == 0;
}

/* (6). */
static void writer_gives_up(struct m *m, struct rw *rw)
{
	struct lock *lot = gort__lot_lock(rw);
	struct waitq told = { 0 };
	uint32_t n;

	lock_acquire(lot);
	if (!(load_relaxed(&rw->state) & HELD)) {
		rw->admitted = rw->waiting;
		n = take_readers(rw, &told);
		change(rw, PENDING | WAITS, n);
	}
	lock_release(lot);
	wake_told(m, &told);
}

/* With the mutex. */
static noinline int lock_slow(struct rw *rw, int64_t deadline, int flags)
{
	struct lock *lot = gort__lot_lock(rw);
	struct m *m = rt_enter_midway();
	struct waiter self = { .elem = rw };
	int err = 0;

	if (m_stops(m)) {
		gort__mutex_unlock_as_guest(&rw->writer);
	} else if (!spin(rw)) {
		lock_acquire(lot);
		if (announce(rw))
			lock_release(lot);
		else
			err = gort__wait(&self, gort__lot_queue(rw), lot, deadline, WHY_WLOCK,
					 flags);
		if (err < 0)
			writer_gives_up(m_self(), rw);
	}
	rt_leave_midway(m);
	return err;
}

GORT_API void gort_rwmutex_lock(gort_rwmutex *l)
{
	struct rw *rw = inside(l, "gort_rwmutex_lock");

	gort_mutex_lock(&rw->writer);
	if (!take_free(rw))
		lock_slow(rw, GORT_FOREVER, WAIT_SURE);
}

GORT_API int gort_rwmutex_try_lock(gort_rwmutex *l)
{
	struct rw *rw = inside(l, "gort_rwmutex_try_lock");

	if (load_relaxed(&rw->state) || gort_mutex_try_lock(&rw->writer) < 0)
		return -EAGAIN;
	if (take_free(rw))
		return 0;
	gort_mutex_unlock(&rw->writer);
	return -EAGAIN;
}

GORT_API int gort_rwmutex_lock_until(gort_rwmutex *l, int64_t deadline)
{
	struct rw *rw = inside(l, "gort_rwmutex_lock_until");
	int err = gort_mutex_lock_until(&rw->writer, deadline);

	if (err < 0 || take_free(rw))
		return err;
	err = deadline_passed(deadline) ? -ETIMEDOUT : lock_slow(rw, deadline, WAIT_BACK);
	if (err < 0)
		gort_mutex_unlock(&rw->writer);
	return err;
}

/* (3), when there is somebody to let in. */
static void unlock_inside(struct m *m, struct rw *rw)
{
	struct lock *lot = gort__lot_lock(rw);
	struct waitq told = { 0 };
	struct waiter *next;
	uint32_t n;

	lock_acquire(lot);
	next = waiting_writer(rw);
	rw->admitted = rw->waiting;
	n = take_readers(rw, &told);
	if (n == 0 && next) {
		waitq_remove(next);
		if (!waiter_claim(next))
			next = NULL;
		else
			tell(&told, next, 1);
	}
	if (n || !next) /* else HELD is its from here on */
		change(rw, next ? HELD : PENDING | HELD | WAITS, n);
	lock_release(lot);
	wake_told(m, &told);
}

static noinline void unlock_slow(struct rw *rw)
{
	struct m *m = rt_enter_midway();

	unlock_inside(m, rw);
	rt_leave_midway(m);
}

GORT_API void gort_rwmutex_unlock(gort_rwmutex *l)
{
	struct rw *rw = inside(l, "gort_rwmutex_unlock");
	uint32_t s = PENDING | HELD;

	if (unlikely(!(load_relaxed(&rw->state) & HELD)))
		gort__misuse("gort_rwmutex_unlock", "the rwmutex is not locked for writing");
	gort_mutex_unlock(&rw->writer);
	if (unlikely(!cas_release(&rw->state, &s, 0)))
		unlock_slow(rw);
}

/* ---- the runtime's end: the goroutine of w never comes back from its wait -------------------- */

void gort__rlock_forsake(struct waiter *w)
{
	struct rw *rw = w->elem;

	if (w->status < 0) {
		reader_gives_up(rw);
		return;
	}
	if (w->status == GOES_ON)
		let_more_in(NULL, rw);
	if (sub_acq_rel(&rw->state, 1u) & PENDING)
		last_has_left(NULL, rw);
}

void gort__wlock_forsake(struct waiter *w)
{
	struct rw *rw = w->elem;

	if (w->status < 0)
		writer_gives_up(NULL, rw);
	gort__mutex_forsake(&rw->writer, 0);
	if (w->status >= 0)
		unlock_inside(NULL, rw);
}
