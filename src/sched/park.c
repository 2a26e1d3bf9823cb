/*
 * park.c - waiting on an object, with or without a deadline. The protocol and its argument stand in
 * park.h; switching away is gort__park in proc.c.
 */
#include "sched/park.h"

#include <errno.h>

/* The timer of a wait. It lies on the waiting stack. */
struct deadline {
	struct timer timer;
	struct g *g;
	uint64_t turn;
};

/* Under the heap's lock (park.h, 4). Step (1a) or (1b). */
static void deadline_fire(struct timer *t, struct glist *ready)
{
	struct deadline *d = container_of(t, struct deadline, timer);
	struct g *g = d->g;
	uint64_t word = load_relaxed(&g->word);

	for (;;) {
		if (word == (d->turn | TURN_WAITING)) {
			if (!cas_acq_rel(&g->word, &word, d->turn | TURN_DONE))
				continue;
			glist_push_woken(ready, g);
			return;
		}
		if (word != (d->turn | TURN_PARKING))
			return; /* somebody else has won */
		if (cas_acq_rel(&g->word, &word, d->turn | TURN_DONE))
			return; /* (1a): the resumer readies it */
	}
}

static void deadline_begin(struct deadline *d, struct g *g, int64_t when)
{
	d->timer = (struct timer){ .when = when, .slot = TIMER_IDLE, .fire = deadline_fire };
	d->g = g;
	d->turn = (load_relaxed(&g->word) & ~(uint64_t)(TURN_STEP - 1)) + TURN_STEP;
	store_relaxed(&g->word, d->turn | TURN_PARKING);
}

static returns_by_jump int wait_goroutine(struct m *m, struct waiter *w, int64_t when,
					  enum g_why why)
{
	struct lock *lock = w->lock;
	struct deadline d;

	if (when == GORT_FOREVER) {
		gort__park(lock, false, why);
		return w->status;
	}
	deadline_begin(&d, w->g, when);
	w->turn = d.turn;
	if (unlikely(gort__timer_add(m, &d.timer) < 0)) {
		waitq_remove(w);
		store_relaxed(&w->g->word, d.turn);
		lock_release(lock);
		return -ENOMEM;
	}
	gort__park(lock, true, why);
	if (gort__timer_del(&d.timer))
		return w->status; /* it had not fired: an ender won, and took w out */
	lock_acquire(lock);       /* fired or firing; who has won shows in queue and status */
	if (w->queue)
		waitq_remove(w);
	lock_release(lock);
	return w->status;
}

static int wait_guest(struct waiter *w, int64_t when)
{
	struct guest *guest = w->guest;
	struct lock *lock = w->lock;
	uint64_t word;

	lock_release(lock);
	gort__guest_leave();
	if (!note_sleep(&guest->note, when)) {
		word = w->turn | TURN_WAITING;
		if (!cas_acq_rel(&guest->word, &word, w->turn | TURN_DONE)) {
			note_sleep(&guest->note,
				   OS_FOREVER); /* an ender won, and is about to wake us */
		} else {
			lock_acquire(lock);
			if (w->queue)
				waitq_remove(w);
			lock_release(lock);
		}
	}
	gort__guest_enter();
	return w->status;
}

returns_by_jump int gort__wait(struct waiter *w, struct waitq *q, struct lock *lock, int64_t when,
			       enum g_why why, bool front)
{
	struct m *m = m_self();
	struct guest guest;
	int status;

	w->lock = lock;
	w->turn = 0;
	w->status = -ETIMEDOUT;
	if (front)
		waitq_push_front(q, w);
	else
		waitq_push(q, w);
	if (unlikely(!m)) {
		w->g = NULL;
		w->guest = &guest;
		note_clear(&guest.note);
		if (when != GORT_FOREVER)
			w->turn = TURN_STEP;
		guest.word = w->turn | TURN_WAITING;
		return wait_guest(w, when);
	}
	w->g = m->g;
	w->guest = NULL;
	w->g->waiting = w;
	status = wait_goroutine(m, w, when, why);
	w->g->waiting = NULL;
	return status;
}

returns_by_jump int gort__wait_deadline(int64_t when, enum g_why why)
{
	struct m *m = m_self();
	struct deadline d;
	struct note note;

	if (!m) {
		note_clear(&note);
		gort__guest_leave();
		note_sleep(&note, when);
		gort__guest_enter();
		return -ETIMEDOUT;
	}
	if (when == GORT_FOREVER) {
		gort__park(NULL, false, why); /* nobody will ever ready it */
		gort__fatal("internal error: a goroutine that waits for nothing was woken");
	}
	deadline_begin(&d, m->g, when);
	if (unlikely(gort__timer_add(m, &d.timer) < 0)) {
		store_relaxed(&m->g->word, d.turn);
		return -ENOMEM;
	}
	gort__park(NULL, true, why);
	/* It has fired, since nothing else ends this wait, and touches d no more after its CAS. */
	return -ETIMEDOUT;
}

/* No M runs and no guest is inside, so nothing moves: a queued node's object is alive, since its
 * queue would have been emptied or found in use otherwise. */
void gort__wait_withdraw(struct g *g)
{
	struct waiter *w = g->waiting;

	if (!w || !w->queue)
		return;
	lock_acquire(w->lock);
	waitq_remove(w);
	lock_release(w->lock);
}

/* All nodes of goroutines are out of their queues: only guests can be woken. */
void gort__wait_forsake(struct g *g)
{
	if (g->waiting && load_relaxed(&g->state) == G_RUNNABLE &&
	    load_relaxed(&g->why) == WHY_MUTEX)
		gort__mutex_forsake(g->waiting->elem, g->waiting->status);
}

#define LOT_BUCKETS 256

static struct {
	aligned_line struct lock lock;
} lot[LOT_BUCKETS] = { [0 ... LOT_BUCKETS - 1] = { LOCK_INIT(RANK_LOT) } };

struct lock *gort__lot_lock(const void *object)
{
	uint64_t hash = (uint64_t)(uintptr_t)object * UINT64_C(0x9e3779b97f4a7c15);

	return &lot[hash >> 56].lock;
}
