/*
 * timers.c - deadlines: a 4-ary heap of embedded nodes per P.
 *
 *  1. A node is in at most one heap: node->p's, as slots[node->slot], under that heap's lock.
 *     A node changes heaps only when its P is retired, under both locks (the lower address first).
 *  2. A node fires under its heap's lock, after removal. gort__timer_del takes that lock, so when it
 *     returns fire has let go of the node.
 *  3. next is entries[0].when, or OS_FOREVER; written under the lock, read without.
 *
 * Who looks. A running P runs its own heap once in TICKS picks and whenever it has nothing else to
 * do. An M with nothing to do runs all heaps, and before it sleeps becomes the poller: it sleeps
 * until the earliest. For Ps that run one goroutine for long, sysmon looks. No timer is missed:
 * only a running P's goroutine adds one (c1, under the lock), then parks. If its M finds another
 * goroutine to run, it makes a light fence (c2) and kicks sysmon if that sleeps beyond it (c3: reads
 * watch), in gort__timers_covered. sysmon stores watch (c4), makes a full
 * fence (c5), and looks at all heaps again before it sleeps (c6). Either c6 sees c1, or c3 sees c4.
 * When a P goes idle, its M looks at all heaps under sched.lock (poll_begin).
 *
 * Sifting stays in two arrays: entries (time and slot, the heap) and slots (node, and its place in the
 * heap). The nodes lie on as many stacks, each a miss of the caches: they are touched when they are
 * added, removed or fire.
 */
#include "sched/sched.h"

#include <errno.h>
#include <string.h>

#define FIRST_ROOM 16u

static void set(struct timer_heap *h, uint32_t i, struct timer_entry e)
{
	h->entries[i] = e;
	h->slots[e.slot].place = i;
}

static void sift_up(struct timer_heap *h, uint32_t i, struct timer_entry e)
{
	while (i > 0) {
		uint32_t parent = (i - 1) / 4;

		if (h->entries[parent].when <= e.when)
			break;
		set(h, i, h->entries[parent]);
		i = parent;
	}
	set(h, i, e);
}

static void sift_down(struct timer_heap *h, uint32_t i, struct timer_entry e)
{
	for (;;) {
		uint32_t first = 4 * i + 1, best = first;

		if (first >= h->count)
			break;
		for (uint32_t c = first + 1; c < first + 4 && c < h->count; c++)
			if (h->entries[c].when < h->entries[best].when)
				best = c;
		if (h->entries[best].when >= e.when)
			break;
		set(h, i, h->entries[best]);
		i = best;
	}
	set(h, i, e);
}

static void publish_next(struct timer_heap *h)
{
	store_release(&h->next, h->count ? h->entries[0].when : OS_FOREVER);
}

static void remove_at(struct timer_heap *h, uint32_t i)
{
	uint32_t slot = h->entries[i].slot;
	struct timer_entry last = h->entries[--h->count];

	h->slots[slot].place = h->free_slot;
	h->free_slot = slot;
	if (i != h->count) {
		if (i > 0 && h->entries[(i - 1) / 4].when > last.when)
			sift_up(h, i, last);
		else
			sift_down(h, i, last);
	}
	publish_next(h);
}

static void arrays_free(struct timer_entry *entries, struct timer_slot *slots, uint32_t room,
			struct mem_cache *cache)
{
	if (entries)
		mem_free(cache, entries, room * sizeof *entries);
	if (slots)
		mem_free(cache, slots, room * sizeof *slots);
}

void gort__timers_free(struct p *p)
{
	arrays_free(p->timers.entries, p->timers.slots, p->timers.room, NULL);
}

static bool make_room(struct timer_heap *h, struct mem_cache *cache, uint32_t count)
{
	uint32_t room = h->room ? h->room : FIRST_ROOM;
	struct timer_entry *entries;
	struct timer_slot *slots;

	while (room < count)
		room *= 2;
	if (room == h->room)
		return true;
	entries = mem_alloc(cache, room * sizeof *entries);
	slots = mem_alloc(cache, room * sizeof *slots);
	if (!entries || !slots) {
		arrays_free(entries, slots, room, cache);
		return false;
	}
	if (h->room) {
		memcpy(entries, h->entries, h->count * sizeof *entries);
		memcpy(slots, h->slots, h->room * sizeof *slots);
		arrays_free(h->entries, h->slots, h->room, cache);
	}
	for (uint32_t i = h->room; i < room; i++)
		slots[i].place = i + 1 < room ? i + 1 : h->free_slot;
	h->free_slot = h->room;
	h->entries = entries;
	h->slots = slots;
	h->room = room;
	return true;
}

static void insert(struct timer_heap *h, struct timer *t)
{
	struct timer_entry e = { t->when, h->free_slot };

	h->free_slot = h->slots[e.slot].place;
	h->slots[e.slot].timer = t;
	t->slot = e.slot;
	sift_up(h, h->count++, e);
	publish_next(h);
}

int gort__timer_add(struct m *m, struct timer *t)
{
	struct p *p = m->p;
	struct timer_heap *h = &p->timers;
	bool earliest;

	lock_acquire(&h->lock);
	if (unlikely(!make_room(h, &p->cache, h->count + 1))) {
		lock_release(&h->lock);
		return -ENOMEM;
	}
	store_relaxed(&t->p, p);
	insert(h, t);
	earliest = h->slots[t->slot].place == 0; /* c1 */
	lock_release(&h->lock);
	if (earliest)
		store_relaxed(&p->attention, 1); /* the adder parks: g0 does c2 and c3 */
	return 0;
}

void gort__timers_covered(struct p *p)
{
	fence_light();                                                        /* c2 */
	if (load_relaxed(&p->timers.next) < load_relaxed(&gort__sched.watch)) /* c3 */
		gort__sysmon_kick();
}

bool gort__timer_del(struct timer *t)
{
	struct p *p;
	bool pending;

	for (;;) {
		p = load_acquire(&t->p);
		lock_acquire(&p->timers.lock);
		if (load_relaxed(&t->p) == p)
			break;
		lock_release(&p->timers.lock); /* it has just moved */
	}
	pending = t->slot != TIMER_IDLE;
	if (pending)
		remove_at(&p->timers, p->timers.slots[t->slot].place);
	t->slot = TIMER_IDLE;
	lock_release(&p->timers.lock);
	return pending;
}

/* The nodes of those that may be next, on as many stacks: on their way to the cache meanwhile. */
static void prefetch_next(const struct timer_heap *h)
{
	for (uint32_t i = 1; i < 5 && i < h->count; i++)
		__builtin_prefetch(h->slots[h->entries[i].slot].timer);
}

void gort__timers_run(struct p *p, int64_t now, struct glist *ready)
{
	struct timer_heap *h = &p->timers;
	struct timer *t;

	lock_acquire(&h->lock);
	while (h->count && h->entries[0].when <= now) {
		t = h->slots[h->entries[0].slot].timer;
		prefetch_next(h);
		remove_at(h, 0);
		t->slot = TIMER_IDLE;
		t->fire(t, ready);
	}
	lock_release(&h->lock);
}

/* from is retired: nobody adds to it any more. Without memory they stay where they are: the poller
 * and sysmon look at every P ever made. */
void gort__timers_move(struct p *from, struct p *to)
{
	struct timer_heap *a = &from->timers, *b = &to->timers;

	if (load_relaxed(&a->next) == OS_FOREVER || from == to)
		return;
	lock_acquire(a < b ? &a->lock : &b->lock);
	lock_acquire(a < b ? &b->lock : &a->lock);
	if (make_room(b, NULL, a->count + b->count)) {
		for (uint32_t i = 0; i < a->count; i++) {
			struct timer *t = a->slots[a->entries[i].slot].timer;

			store_release(&t->p, to);
			insert(b, t);
		}
		while (a->count)
			remove_at(a, a->count - 1);
		publish_next(a);
	}
	lock_release(&b->lock);
	lock_release(&a->lock);
}

int64_t gort__timers_next(void)
{
	uint32_t n = load_acquire(&gort__sched.p_count);
	int64_t next = OS_FOREVER, this;

	for (uint32_t i = 0; i < n; i++) {
		this = load_acquire(&load_relaxed(&gort__sched.all_p[i])->timers.next);
		next = this < next ? this : next;
	}
	return next;
}
