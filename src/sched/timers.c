/*
 * timers.c - deadlines: a 4-ary heap of nodes per P.
 *
 * Two kinds of nodes. A deadline is a wait's: it lies on the waiting stack, is added by a
 * goroutine that is about to park, and removed before it returns. A kept timer outlives waits
 * (sync/timer.c, and whatever else has something to do at a time): anybody adds, moves and
 * removes it, guests included.
 *
 *  1. A node is in at most one heap: node->heap, under its lock. It changes heaps only when its P
 *     is retired, under both locks (the lower address first).
 *  2. A node fires under its heap's lock, after removal. gort__timer_del takes that lock, so when
 *     it returns fire has let go of the node. What fire has left for later (timer_later) is run
 *     with the lock released, by the same M, before it does anything else: till then the node is
 *     its, and gort__timer_reset and _del do nothing to it.
 *  3. next says when to look at the heap: at the earliest, or a little later (pace); OS_FOREVER
 *     if it is empty. Written under the lock, read without.
 *  4. live + kept are never more than the arrays hold: a kept timer has its place for life, so
 *     that it can be added again and moved without memory.
 *  5. A kept timer belongs to the life of the runtime that it was started in (node->life). In
 *     another, its heap is gone, and the node is all there is of it: timer_lives.
 *
 * The heap has two arrays. entries, the heap proper, holds times and slots. slots holds the
 * nodes. Sifting stays in entries, where the four children of one are one line of the cache:
 * neither nodes, which lie on as many stacks, nor slots are touched. So nobody knows where in the
 * heap a node is, and one that is removed leaves its entry behind, dead, with an empty slot: dead
 * ones at the top go at once, the others when there are more of them than live ones, all
 * together. That makes removal cheap, too, and most deadlines are removed. Before, slots knew the
 * places: one more miss of the caches for each step of a sift.
 *
 * Who looks. A running P runs its own heap once in TICKS picks and whenever it has nothing else
 * to do. An M with nothing to do runs all heaps, and before it sleeps becomes the poller: it
 * sleeps until the earliest. For Ps that run one goroutine for long, sysmon looks. No timer is
 * missed: who adds one does that (c1, under the lock), then, if it is the heap's earliest, makes
 * a light fence (c2) and kicks sysmon if that sleeps beyond it (c3: reads watch):
 * gort__timers_covered. sysmon stores watch (c4), makes a full fence (c5), and looks at all heaps
 * again before it sleeps (c6). Either c6 sees c1, or c3 sees c4. A goroutine that adds a deadline
 * leaves c2 and c3 to its M, which comes to g0 after it has parked (attention): if that finds
 * nothing to run, no kick is needed, since the P goes idle, and its M looks at all heaps under
 * sched.lock (poll_begin). What is added after that look, and what the poller does not sleep for,
 * is sysmon's (uncovered_timer).
 *
 * Guests' timers lie in P 0's heap, which is never retired. The heaps of retired Ps are taken
 * over by whoever looks around next (stranded): who retires Ps stores procs (d1), makes a full
 * fence (d2), then looks at their heaps (d3); who adds to a heap that is not its own P's does so
 * (d4), makes a light fence (d5), and reads procs (d6). A P that is still held is looked at when
 * it is let go. Without memory to take them over they are run where they are, as if they were P
 * 0's.
 *
 * A heap without a P is a bubble's (sync/bubble.c), which runs it in a time of its own: nobody
 * else looks at it.
 *
 * Callers: gort__timers_run, _rescue on g0, or a bubble's driver; the others anyone, as sched.h
 * says.
 */
#include "sched/sched.h"

#include <errno.h>
#include <string.h>

#define sched gort__sched
#define ROOT 3u /* where entries begin: the children of i are 4i-8 to 4i-5 */
#define FIRST_SIZE 16u
#define DEAD_FEW 64u
#define TAKE 16u /* that leave the heap together */
#define PACE (500 * GORT_US)
#define PACE_FEW 4u

/* ---- the heap. Under its lock ---------------------------------------------------------------- */

static uint32_t parent_of(uint32_t i)
{
	return i / 4 + 2;
}

static uint32_t end_of(const struct timer_heap *h)
{
	return ROOT + h->count;
}

static void sift_up(struct timer_heap *h, uint32_t i, struct timer_entry e)
{
	for (uint32_t parent; i > ROOT; i = parent) {
		parent = parent_of(i);
		if (h->entries[parent].when <= e.when)
			break;
		h->entries[i] = h->entries[parent];
	}
	h->entries[i] = e;
}

/* The earliest of four that stand together: without branches, which nobody could predict. */
static uint32_t first_of(const struct timer_entry *c)
{
	uint32_t a = c[1].when < c[0].when, b = 2 + (c[3].when < c[2].when);

	return c[b].when < c[a].when ? b : a;
}

/* Of the children from c on, the last of which may be missing. */
static uint32_t earliest_of(const struct timer_heap *h, uint32_t c)
{
	uint32_t end = end_of(h), best = c;

	if (likely(end - c >= 4))
		return c + first_of(h->entries + c);
	for (uint32_t i = c + 1; i < end; i++)
		if (h->entries[i].when < h->entries[best].when)
			best = i;
	return best;
}

static void sift_down(struct timer_heap *h, uint32_t i, struct timer_entry e)
{
	for (uint32_t best, child; (child = 4 * i - 8) < end_of(h); i = best) {
		for (uint32_t k = 0; k < 4; k++) /* the grandchildren */
			__builtin_prefetch(h->entries + 4 * (child + k) - 8);
		best = earliest_of(h, child);
		if (h->entries[best].when >= e.when)
			break;
		h->entries[i] = h->entries[best];
	}
	h->entries[i] = e;
}

static struct timer *timer_at(const struct timer_heap *h, uint32_t i)
{
	return h->slots[h->entries[i].slot].timer;
}

static void slot_free(struct timer_heap *h, uint32_t slot)
{
	h->slots[slot].next = h->free_slot;
	h->free_slot = slot;
}

/* Take the first entry out. */
static void pop(struct timer_heap *h)
{
	if (--h->count)
		sift_down(h, ROOT, h->entries[end_of(h)]);
}

/* Dead ones go, the others become a heap again. */
static void compact(struct timer_heap *h)
{
	uint32_t end = ROOT;

	for (uint32_t i = ROOT; i < end_of(h); i++) {
		if (timer_at(h, i))
			h->entries[end++] = h->entries[i];
		else
			slot_free(h, h->entries[i].slot);
	}
	h->count = h->live;
	for (uint32_t i = parent_of(end); i >= ROOT && h->count > 1; i--)
		sift_down(h, i, h->entries[i]);
}

/* Invariant 3. */
static void publish(struct timer_heap *h)
{
	int64_t next = h->live ? h->entries[ROOT].when : OS_FOREVER;

	store_release(&h->next, next > h->not_before ? next : h->not_before);
}

/* The first entry is a live one, and everybody knows its time. */
static void settle(struct timer_heap *h)
{
	if (h->count > 2 * h->live + DEAD_FEW)
		compact(h);
	while (h->count && !timer_at(h, ROOT)) {
		slot_free(h, h->entries[ROOT].slot);
		pop(h);
	}
	publish(h);
}

static bool due_at(const struct timer_heap *h, int64_t now)
{
	return h->count && h->entries[ROOT].when <= now;
}

/* t's entry has no timer any more. */
static void forget(struct timer_heap *h, struct timer *t)
{
	h->slots[t->slot].timer = NULL;
	if (h->entries[end_of(h) - 1].slot == t->slot) { /* the one that was added last */
		slot_free(h, t->slot);
		h->count--;
	}
	t->slot = TIMER_IDLE;
	h->live--;
	h->kept += t->life != 0;
}

/* There is room. */
static void insert(struct timer_heap *h, struct timer *t)
{
	struct timer_entry e = { t->when, h->free_slot };

	h->free_slot = h->slots[e.slot].next;
	h->slots[e.slot].timer = t;
	t->slot = e.slot;
	h->live++;
	h->count++;
	sift_up(h, end_of(h) - 1, e);
}

/* A kept one takes up its place. True: it is the earliest. */
static bool take_place(struct timer_heap *h, struct timer *t, int64_t when)
{
	if (unlikely(end_of(h) == h->size))
		compact(h); /* some are dead: invariant 4 */
	h->kept--;
	t->when = when;
	insert(h, t);
	settle(h);
	return h->entries[ROOT].slot == t->slot;
}

/* ---- room ------------------------------------------------------------------------------------ */

static void arrays_free(struct mem_cache *cache, struct timer_entry *entries,
			union timer_slot *slots, uint32_t size)
{
	if (entries)
		mem_free(cache, entries, size * sizeof *entries);
	if (slots)
		mem_free(cache, slots, size * sizeof *slots);
}

void gort__timers_init(struct timer_heap *h, struct p *p)
{
	*h = (struct timer_heap){ .lock = LOCK_INIT(RANK_TIMERS), .p = p, .next = OS_FOREVER };
}

void gort__timers_free(struct timer_heap *h)
{
	arrays_free(NULL, h->entries, h->slots, h->size);
}

static bool grow(struct timer_heap *h, struct mem_cache *cache, uint32_t size)
{
	struct timer_entry *entries = mem_alloc(cache, size * sizeof *entries);
	union timer_slot *slots = mem_alloc(cache, size * sizeof *slots);

	if (!entries || !slots) {
		arrays_free(cache, entries, slots, size);
		return false;
	}
	if (h->size) {
		memcpy(entries, h->entries, end_of(h) * sizeof *entries);
		memcpy(slots, h->slots, h->size * sizeof *slots);
		arrays_free(cache, h->entries, h->slots, h->size);
	}
	h->entries = entries;
	h->slots = slots;
	for (uint32_t i = size; i > h->size; i--)
		slot_free(h, i - 1);
	h->size = size;
	return true;
}

/* For more places. At most three quarters are live or kept where memory allows that, so that
 * dead ones are not cleared away all the time. */
static rare bool make_room(struct timer_heap *h, struct mem_cache *cache, uint32_t more)
{
	uint32_t size = h->size ? h->size : FIRST_SIZE;
	uint64_t used = (uint64_t)h->live + h->kept + more + ROOT;

	while (size < UINT32_C(1) << 31 && used > size / 4 * 3)
		size *= 2;
	if (size != h->size && !grow(h, cache, size) && used > h->size)
		return false;
	if (end_of(h) + h->kept + more > h->size)
		compact(h);
	return true;
}

static bool has_room(struct timer_heap *h, struct mem_cache *cache)
{
	return likely(end_of(h) + h->kept < h->size) || make_room(h, cache, 1);
}

/* ---- deadlines ------------------------------------------------------------------------------- */

/* Where a timer goes that m's goroutine, or a guest, adds. */
static struct timer_heap *heap_for(struct m *m)
{
	if (unlikely(!m))
		return &load_relaxed(&sched.all_p[0])->timers;
	return unlikely(in_bubble(m)) ? gort__bubble_heap(m->g->in.bubble) : &m->p->timers;
}

int gort__timer_add(struct m *m, struct timer *t)
{
	struct timer_heap *h = heap_for(m);
	bool earliest;

	lock_acquire(&h->lock);
	if (unlikely(!has_room(h, &m->p->cache))) {
		lock_release(&h->lock);
		return -ENOMEM;
	}
	store_relaxed(&t->heap, h);
	insert(h, t);
	earliest = h->entries[ROOT].slot == t->slot;
	if (earliest)
		publish(h); /* c1 */
	lock_release(&h->lock);
	if (earliest && h->p)
		store_relaxed(&h->p->attention, 1); /* the adder parks: g0 does c2 and c3 */
	return 0;
}

void gort__timers_covered(struct p *p)
{
	fence_light();                                                  /* c2 */
	if (load_relaxed(&p->timers.next) < load_relaxed(&sched.watch)) /* c3 */
		gort__sysmon_kick();
}

/* The heap that t is in, or has its place in: locked. */
static struct timer_heap *lock_heap_of(struct timer *t)
{
	struct timer_heap *h;

	for (;;) {
		h = load_acquire(&t->heap);
		lock_acquire(&h->lock);
		if (likely(load_relaxed(&t->heap) == h))
			return h;
		lock_release(&h->lock); /* it has just moved */
	}
}

bool gort__timer_del(struct timer *t)
{
	struct timer_heap *h;
	bool pending;

	if (unlikely(!timer_lives(t)))
		return true;
	h = lock_heap_of(t);
	pending = t->slot != TIMER_IDLE;
	if (pending) {
		forget(h, t);
		settle(h);
	}
	lock_release(&h->lock);
	return pending;
}

/* ---- kept timers ----------------------------------------------------------------------------- */

/* It became the earliest of p's heap, and who added it need not park. On g0 an M looks around
 * anyway. */
static void cover(struct p *p)
{
	struct m *m = m_self();

	if (!m || m->g)
		store_relaxed(&p->attention, 1); /* it may be due already */
	gort__timers_covered(p);
}

/* It was added to p's heap: step d4. NULL: to a bubble's. */
static void added(struct p *p, bool earliest)
{
	if (unlikely(!p))
		return;
	fence_light();                                     /* d5 */
	if (unlikely(p->id >= load_relaxed(&sched.procs))) /* d6 */
		gort__timers_strand();
	if (earliest)
		cover(p);
}

int gort__timer_start(struct m *m, struct timer *t, int64_t when)
{
	struct timer_heap *h = heap_for(m);
	struct p *p = h->p;
	bool earliest = false;

	t->slot = TIMER_IDLE;
	t->life = load_relaxed(&sched.life);
	store_relaxed(&t->heap, h);
	lock_acquire(&h->lock);
	if (unlikely(!has_room(h, cache_of(m)))) {
		lock_release(&h->lock);
		return -ENOMEM;
	}
	h->kept++;
	if (when != OS_FOREVER)
		earliest = take_place(h, t, when);
	lock_release(&h->lock);
	if (when != OS_FOREVER) /* t may be gone already */
		added(p, earliest);
	return 0;
}

void gort__timer_restart(struct timer *t, int64_t when)
{
	struct timer_heap *h = lock_heap_of(t);
	struct p *p = h->p;
	bool earliest = take_place(h, t, when);

	lock_release(&h->lock);
	added(p, earliest);
}

bool gort__timer_reset(struct timer *t, int64_t when)
{
	struct timer_heap *h = lock_heap_of(t);
	struct p *p = h->p;
	bool pending = t->slot != TIMER_IDLE, earliest = false;

	if (pending) {
		forget(h, t);
		earliest = take_place(h, t, when);
	}
	lock_release(&h->lock);
	if (pending)
		added(p, earliest);
	return pending;
}

void gort__timer_end(struct timer *t)
{
	struct timer_heap *h;

	if (!timer_lives(t))
		return;
	h = lock_heap_of(t);
	must_checked(t->slot == TIMER_IDLE);
	h->kept--;
	lock_release(&h->lock);
}

/* ---- running them ---------------------------------------------------------------------------- */

/* Where timers come due all the time, each look at them can cost a thread's wakeup: tens of
 * microseconds, to run what takes a fraction of one. So only the first PACE_FEW of a window of
 * PACE are run to the point; the others together at its end. When there is more to run than one
 * look may do, the next may follow at once; what is left over is not older than this look, so
 * that sysmon leaves it to its P. */
static void pace(struct timer_heap *h, const struct due *due, uint32_t fired)
{
	if (unlikely(!h->p))
		return;
	if (due->now >= h->window) {
		h->window = due->now + PACE;
		h->paced = 0;
	}
	h->paced += fired;
	if (due->count == DUE_LATER)
		h->not_before = due->now;
	else
		h->not_before = h->paced >= PACE_FEW ? h->window : INT64_MIN;
}

/* Up to most entries of what is due leave the heap, in order. Gives how many were live. Slots
 * and nodes lie all over memory: each step has those of the next on their way to the cache. */
static uint32_t take_due(struct timer_heap *h, int64_t now, struct timer **taken, uint32_t most)
{
	uint32_t slots[TAKE], n = 0, live = 0;

	while (n < most && due_at(h, now)) {
		slots[n] = h->entries[ROOT].slot;
		__builtin_prefetch(&h->slots[slots[n++]]);
		pop(h);
	}
	for (uint32_t i = 0; i < n; i++) {
		taken[live] = h->slots[slots[i]].timer;
		slot_free(h, slots[i]);
		if (taken[live])
			__builtin_prefetch(taken[live++]);
	}
	h->live -= live;
	return live;
}

void gort__timers_run(struct timer_heap *h, struct due *due)
{
	struct timer *t[TAKE];
	uint32_t n, fired = 0;

	lock_acquire(&h->lock);
	while (due_at(h, due->now) && due->count < DUE_LATER) {
		n = DUE_LATER - due->count;
		n = take_due(h, due->now, t, n < TAKE ? n : TAKE);
		for (uint32_t i = 0; i < n; i++) {
			h->kept += t[i]->life != 0;
			t[i]->slot = TIMER_IDLE;
			t[i]->fire(t[i], due);
		}
		fired += n;
	}
	pace(h, due, fired);
	settle(h);
	lock_release(&h->lock);
}

/* ---- retired Ps ------------------------------------------------------------------------------ */

/* False: no memory, nothing has changed. */
bool gort__timers_move(struct p *from, struct p *to)
{
	struct timer_heap *a = &from->timers, *b = &to->timers;
	bool room;

	if (load_relaxed(&a->next) == OS_FOREVER || from == to)
		return true;
	lock_acquire(a < b ? &a->lock : &b->lock);
	lock_acquire(a < b ? &b->lock : &a->lock);
	room = make_room(b, NULL, a->live);
	for (uint32_t i = ROOT; room && i < end_of(a); i++) {
		struct timer *t = timer_at(a, i);

		slot_free(a, a->entries[i].slot);
		if (t) {
			store_release(&t->heap, b);
			insert(b, t);
		}
	}
	if (room) {
		a->live = a->count = 0;
		settle(a);
		settle(b);
	}
	lock_release(&b->lock);
	lock_release(&a->lock);
	return room;
}

void gort__timers_strand(void)
{
	store_release(&sched.stranded, 1); /* meets the acquire in gort__timers_rescue */
	store_seq(&load_relaxed(&sched.all_p[0])->attention, 1);
}

/* Step d3. */
void gort__timers_retired(void)
{
	uint32_t n = load_acquire(&sched.p_count);

	os_membarrier(); /* d2 */
	for (uint32_t i = load_relaxed(&sched.procs); i < n; i++)
		if (load_acquire(&load_relaxed(&sched.all_p[i])->timers.next) != OS_FOREVER)
			gort__timers_strand();
}

bool gort__timers_rescue(struct p *to)
{
	uint32_t n = load_acquire(&sched.p_count);
	bool all = true;

	swap_acquire(&sched.stranded, 0);
	for (uint32_t i = load_relaxed(&sched.procs); i < n; i++)
		all &= gort__timers_move(load_relaxed(&sched.all_p[i]), to);
	if (!all)
		store_release(&sched.stranded, 1);
	return all;
}

int64_t gort__timers_next(void)
{
	uint32_t n = load_acquire(&sched.p_count);
	int64_t next = OS_FOREVER, this;

	for (uint32_t i = 0; i < n; i++) {
		this = load_acquire(&load_relaxed(&sched.all_p[i])->timers.next);
		next = this < next ? this : next;
	}
	return next;
}
