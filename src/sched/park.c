/*
 * park.c - waiting on an object, with or without a deadline. The protocol and its argument stand in
 * park.h; switching away is gort__park in proc.c.
 */
#include "sched/netpoll.h"

#include <errno.h>

static per_thread(struct guest, thread_guest);

/* Never inlined, so that no compiler keeps the address of the thread-local across a switch. */
noinline struct guest *gort__guest(void)
{
	return &own_of(thread_guest);
}

/* ---- turns of kind (A) ----------------------------------------------------------------------- */

/* Steps (1a) and (1b). *early: it was PARKING. */
static bool claim(struct waits *s, uint64_t turn, uint64_t to, bool *early)
{
	uint64_t word = turn | TURN_WAITING;

	*early = false;
	if (cas_acq_rel(&s->word, &word, turn | to))
		return true;
	if (word != (turn | TURN_PARKING))
		return false;
	if (cas_acq_rel(&s->word, &word, turn | to)) {
		*early = true;
		return true;
	}
	return word == (turn | TURN_WAITING) && cas_acq_rel(&s->word, &word, turn | to);
}

bool gort__claim(struct waiter *w)
{
	bool early, won = claim(waits_of(w), w->turn, TURN_DONE, &early);

	if (won)
		w->early = early;
	return won;
}

/* Under the heap's lock (park.h, 4). */
static void deadline_fire(struct timer *timer, struct due *due)
{
	struct wait *t = container_of(timer, struct wait, timer);
	bool early;

	if (claim(t->waits, t->turn, TURN_TIMEOUT, &early) && !early)
		glist_push_woken(&due->ready, t->g);
}

int gort__wait_begin(struct m *m, struct wait *t, int64_t when, bool sure)
{
	int err;

	t->g = m ? m->g : NULL;
	t->guest = m ? NULL : gort__guest();
	t->waits = m ? &m->g->waits : &t->guest->waits;
	t->turn = turn_after(load_relaxed(&t->waits->word)) | (sure ? TURN_SURE : 0);
	t->when = when;
	if (!m)
		note_clear(&t->guest->note);
	store_relaxed(&t->waits->word, t->turn | (m ? TURN_PARKING : TURN_WAITING));
	fence_light();
	err = sure ? 0 : load_acquire(&t->waits->ended); /* meets the release in ctx.c */
	if (err == 0 && m && when != GORT_FOREVER) {
		t->timer =
			(struct timer){ .when = when, .slot = TIMER_IDLE, .fire = deadline_fire };
		err = gort__timer_add(m, &t->timer);
	}
	if (unlikely(err < 0))
		gort__wait_claim(t); /* or a canceller has, and a guest must await its wake */
	return err;
}

bool gort__wait_claim(struct wait *t)
{
	bool early;

	if (claim(t->waits, t->turn, TURN_DONE, &early))
		return true;
	if (t->guest)
		note_sleep(&t->guest->note, OS_FOREVER); /* who won is about to wake us */
	return false;
}

int64_t gort__wait_bounded(struct m *m, int64_t when)
{
	const struct local *l = gort__local();

	if (unlikely(l->deadline) && l->deadline < when)
		when = l->deadline;
	if (!m) {
		const struct under *u = &gort__guest()->under;

		if (u->ctx && u->deadline < when)
			when = u->deadline;
	}
	return when;
}

/* Nobody touches t after this. */
static void disarm(struct wait *t)
{
	if (t->g && t->when != GORT_FOREVER)
		gort__timer_del(&t->timer);
}

void gort__wait_abandon(struct wait *t)
{
	disarm(t);
}

static void guest_sleep(struct wait *t, struct lock *held)
{
	bool early;

	if (held)
		lock_release(held);
	gort__guest_leave();
	if (!note_sleep(&t->guest->note, t->when) &&
	    !claim(t->waits, t->turn, TURN_TIMEOUT, &early))
		note_sleep(&t->guest->note, OS_FOREVER); /* who won is about to wake us */
	gort__guest_enter();
}

int gort__wait_result(struct wait *t)
{
	disarm(t);
	switch (load_acquire(&t->waits->word) & TURN_STATES) {
	case TURN_TIMEOUT:
		return -ETIMEDOUT;
	case TURN_CANCELED:
		return load_acquire(&t->waits->ended);
	default:
		return 0;
	}
}

bool gort__wait_timed_out(const struct wait *t)
{
	return (load_relaxed(&t->waits->word) & TURN_STATES) == TURN_TIMEOUT;
}

returns_by_jump int gort__wait_sleep(struct wait *t, struct lock *held, enum g_why why)
{
	if (t->g)
		gort__park(held, AFTER_PARK, why);
	else
		guest_sleep(t, held);
	return gort__wait_result(t);
}

/* park.h, step 9 and (1a), (1b): after ended was stored, and a full fence on every thread. */
bool gort__wait_cancel(struct waits *s)
{
	uint64_t word = load_acquire(&s->word), turn = turn_of(word);
	bool early;

	if (word & TURN_SURE)
		return false;
	switch (word & TURN_STATES) {
	case TURN_LIGHT_WAITING:
		return load_relaxed(&s->taken) != (turn | TURN_LIGHT) &&
			cas_acq_rel(&s->word, &word, turn | TURN_CANCELED);
	case TURN_PARKING:
	case TURN_WAITING:
		return claim(s, turn, TURN_CANCELED, &early) && !early;
	default:
		return false;
	}
}

/* ---- a wait in one queue --------------------------------------------------------------------- */

static void leave_queue(struct waiter *w)
{
	lock_acquire(w->lock);
	if (w->queue) {
		waitq_remove(w);
		waiter_gone(w);
	}
	lock_release(w->lock);
}

static returns_by_jump int wait_turn(struct m *m, struct waiter *w, struct waitq *q, int64_t when,
				     enum g_why why, int flags)
{
	struct wait t;
	int err = gort__wait_begin(m, &t, when, flags & WAIT_SURE);

	if (err < 0) {
		waiter_gone(w);
		lock_release(w->lock);
		return err;
	}
	w->turn = t.turn;
	if (flags & WAIT_FRONT)
		waitq_push_front(q, w);
	else
		waitq_push(q, w);
	if (t.g)
		t.g->waiting = w;
	err = gort__wait_sleep(&t, w->lock, why);
	if (t.g)
		t.g->waiting = NULL;
	if (err == 0)
		return w->status;
	leave_queue(w);
	return err;
}

/* Its enders all hold the lock. */
static returns_by_jump int wait_sure(struct m *m, struct waiter *w, struct waitq *q, enum g_why why,
				     bool front)
{
	w->turn = 0;
	if (front)
		waitq_push_front(q, w);
	else
		waitq_push(q, w);
	if (m) {
		w->g->waiting = w;
		gort__park(w->lock, AFTER_UNLOCK, why);
		w->g->waiting = NULL;
	} else {
		note_clear(&w->guest->note);
		lock_release(w->lock);
		gort__guest_leave();
		note_sleep(&w->guest->note, OS_FOREVER);
		gort__guest_enter();
	}
	return w->status;
}

returns_by_jump int gort__wait(struct waiter *w, struct waitq *q, struct lock *lock, int64_t when,
			       enum g_why why, int flags)
{
	struct m *m = m_self();

	w->lock = lock;
	w->g = m ? m->g : NULL;
	w->guest = m ? NULL : gort__guest();
	w->early = false;
	w->status = -ECANCELED; /* for gort__wait_forsake: nobody has ended it */
	if (unlikely(waits_of(w)->bound & BOUND_WAITS) && !(flags & WAIT_SURE))
		when = gort__wait_bounded(m, when);
	else if (when == GORT_FOREVER)
		return wait_sure(m, w, q, why, flags & WAIT_FRONT);
	return wait_turn(m, w, q, when, why, flags);
}

/* A light wait whose context has ended, but maybe an ender was faster. The lock is taken in any
 * case: who released it for us may not have done so yet. */
rare int gort__light_canceled(struct waiter *w)
{
	if ((load_acquire(&w->g->waits.word) & TURN_STATES) != TURN_CANCELED)
		return w->status;
	leave_queue(w);
	return load_acquire(&w->g->waits.ended);
}

returns_by_jump int gort__wait_deadline(int64_t when, enum g_why why)
{
	struct m *m = m_self();
	struct wait t;
	int err;

	err = gort__wait_begin(m, &t, gort__wait_bounded(m, when), false);
	if (err == 0)
		err = gort__wait_sleep(&t, NULL, why);
	return err;
}

/* No M runs and no guest is inside, so nothing moves: a queued node's object is alive, since its
 * queue would have been emptied or found in use otherwise. */
void gort__wait_withdraw(struct g *g)
{
	for (size_t i = 0; g->waiting && i < g->waiting_count; i++)
		if (g->waiting[i].queue)
			leave_queue(&g->waiting[i]);
}

/* All nodes of goroutines are out of their queues: only guests can be woken. */
void gort__wait_forsake(struct g *g)
{
	struct waiter *w = g->waiting;

	if (!w)
		return;
	switch (load_relaxed(&g->why)) {
	case WHY_MUTEX:
		gort__mutex_forsake(w->elem, w->status);
		break;
	case WHY_SCOPE:
		if (w->elem)
			gort__scope_forsake(w->elem, w->status);
		break;
	case WHY_RLOCK:
		gort__rlock_forsake(w);
		break;
	case WHY_WLOCK:
		gort__wlock_forsake(w);
		break;
	case WHY_COND:
		gort__cond_forsake(w);
		break;
	case WHY_SEM:
		gort__sem_forsake(w);
		break;
	case WHY_READ:
	case WHY_WRITE:
	case WHY_ACCEPT:
	case WHY_CONNECT:
		gort__file_forsake(w);
		break;
	default:
		break;
	}
}

#define LOT_BUCKETS 256

static struct {
	aligned_line struct lock lock;
	struct waitq queue; /* lock */
} lot[LOT_BUCKETS] = { [0 ... LOT_BUCKETS - 1] = { .lock = LOCK_INIT(RANK_LOT) } };

static unsigned bucket(const void *object)
{
	uint64_t hash = (uint64_t)(uintptr_t)object * UINT64_C(0x9e3779b97f4a7c15);

	return (unsigned)(hash >> 56);
}

struct lock *gort__lot_lock(const void *object)
{
	return &lot[bucket(object)].lock;
}

struct waitq *gort__lot_queue(const void *object)
{
	return &lot[bucket(object)].queue;
}
