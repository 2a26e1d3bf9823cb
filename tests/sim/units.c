/*
 * units.c - parts of the runtime driven directly, without goroutines.
 */
#include "sim.h"

#include "base/alloc.h"
#include "base/deque.h"
#include "base/lock.h"
#include "base/ring.h"
#include "os/os.h"
#include "sched/park.h"
#include "sched/stack.h"

#include <errno.h>

/* ---- ring: an owner, thieves ----------------------------------------------------------------- */

#define ITEMS 24u

static struct {
	struct ring ring;
	struct deque deque;
	unsigned taken[400];
	unsigned thieves;
	bool over;
} work;

static void *item(unsigned i)
{
	return (void *)(uintptr_t)(i + 1);
}

static unsigned take(void *item)
{
	unsigned i = (unsigned)(uintptr_t)item - 1;

	check(item != NULL && i < 400);
	check_eq(work.taken[i], 0);
	work.taken[i] = 1;
	return i;
}

static void steal_from_ring(void *arg)
{
	void *got[RING_SIZE / 2];

	for (unsigned round = (unsigned)(uintptr_t)arg; round > 0; round--) {
		unsigned n = ring_grab(&work.ring, got, RING_SIZE / 2);

		for (unsigned i = 0; i < n; i++) {
			unsigned this = take(got[i]);

			check(i == 0 || this == (unsigned)(uintptr_t)got[i - 1]); /* in a row */
		}
	}
}

static void all_taken(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		check_eq(work.taken[i], 1);
}

SCENARIO_PLAIN(ring, "an owner pushes and pops, two thieves grab: each entry once, FIFO")
{
	struct guest_thread *t[2];
	void *got;
	unsigned pushed = 0, last = 0;

	work.ring.head = work.ring.tail = pick(2) ? UINT32_MAX - 5 : 0;
	for (int i = 0; i < 2; i++)
		t[i] = guest_start(steal_from_ring, (void *)6);
	while (pushed < ITEMS) {
		if (pick(3))
			check(ring_push(&work.ring, item(pushed++)));
		else if ((got = ring_pop(&work.ring)) != NULL) {
			unsigned this = take(got);

			check(last == 0 || this >= last);
			last = this + 1;
		}
	}
	for (int i = 0; i < 2; i++)
		guest_join(t[i]);
	while ((got = ring_pop(&work.ring)) != NULL)
		take(got);
	all_taken(ITEMS);
}

SCENARIO_PLAIN(ring_full, "a ring overflows while thieves grab: each entry once")
{
	struct guest_thread *t = guest_start(steal_from_ring, (void *)4);
	void *half[RING_SIZE / 2], *got;
	unsigned n;

	for (unsigned i = 0; i < 300; i++) {
		while (!ring_push(&work.ring, item(i))) {
			n = ring_pop_half(&work.ring, half);
			for (unsigned j = 0; j < n; j++)
				take(half[j]);
		}
	}
	guest_join(t);
	while ((got = ring_pop(&work.ring)) != NULL)
		take(got);
	all_taken(300);
}

SCENARIO_TINY(ring_tiny, "one push, one pop, one thief")
{
	struct guest_thread *t;
	void *got;

	check(ring_push(&work.ring, item(0)));
	t = guest_start(steal_from_ring, (void *)1);
	check(ring_push(&work.ring, item(1)));
	if ((got = ring_pop(&work.ring)) != NULL)
		take(got);
	guest_join(t);
	while ((got = ring_pop(&work.ring)) != NULL)
		take(got);
	all_taken(2);
}

/* ---- deque ----------------------------------------------------------------------------------- */

static void steal_from_deque(void *arg)
{
	for (unsigned round = (unsigned)(uintptr_t)arg; round > 0; round--) {
		void *got = deque_steal(&work.deque);

		if (got)
			take(got);
	}
}

static void empty_deque(void)
{
	void *got;

	while ((got = deque_pop(&work.deque)) != NULL)
		take(got);
	check_eq(deque_len(&work.deque), 0);
	deque_fini(&work.deque);
}

SCENARIO_PLAIN(deque, "an owner pushes and pops, two thieves steal: each entry once")
{
	struct guest_thread *t[2];
	unsigned pushed = 0;
	void *got;

	check(deque_init(&work.deque));
	for (int i = 0; i < 2; i++)
		t[i] = guest_start(steal_from_deque, (void *)8);
	while (pushed < ITEMS) {
		if (pick(2))
			check(deque_push(&work.deque, item(pushed++)));
		else if ((got = deque_pop(&work.deque)) != NULL)
			take(got);
	}
	for (int i = 0; i < 2; i++)
		guest_join(t[i]);
	empty_deque();
	all_taken(ITEMS);
}

SCENARIO_PLAIN(deque_grows, "a deque grows while a thief steals: each entry once")
{
	struct guest_thread *t;

	check(deque_init(&work.deque));
	for (unsigned i = 0; i < 60; i++)
		check(deque_push(&work.deque, item(i)));
	t = guest_start(steal_from_deque, (void *)6);
	for (unsigned i = 60; i < 140; i++)
		check(deque_push(&work.deque, item(i)));
	guest_join(t);
	empty_deque();
	all_taken(140);
}

/* The owner takes a deque for full that thieves empty just now: the next entry lies in the new
 * array alone. */
SCENARIO_PLAIN(deque_overtaken, "a deque is emptied while it grows: each entry once")
{
	struct guest_thread *t[2];

	check(deque_init(&work.deque));
	for (unsigned i = 0; i < 64; i++)
		check(deque_push(&work.deque, item(i)));
	t[0] = guest_start(steal_from_deque, (void *)64);
	t[1] = guest_start(steal_from_deque, (void *)60);
	for (unsigned i = 64; i < 66; i++)
		check(deque_push(&work.deque, item(i)));
	for (int i = 0; i < 2; i++)
		guest_join(t[i]);
	empty_deque();
	all_taken(66);
}

SCENARIO_TINY(deque_tiny, "two entries, the owner pops, a thief steals")
{
	struct guest_thread *t;
	void *got;

	check(deque_init(&work.deque));
	check(deque_push(&work.deque, item(0)));
	check(deque_push(&work.deque, item(1)));
	t = guest_start(steal_from_deque, (void *)2);
	for (int i = 0; i < 2; i++)
		if ((got = deque_pop(&work.deque)) != NULL)
			take(got);
	guest_join(t);
	empty_deque();
	all_taken(2);
}

/* ---- lock, note ------------------------------------------------------------------------------ */

struct guarded {
	struct lock lock;
	unsigned users, inside;
};

static struct guarded guarded = { .lock = LOCK_INIT(RANK_NONE) };

static void use_lock(void *arg)
{
	for (uintptr_t i = (uintptr_t)arg; i > 0; i--) {
		lock_acquire(&guarded.lock);
		check_eq(guarded.inside++, 0);
		compute(10);
		guarded.users++;
		check_eq(guarded.inside--, 1);
		lock_release(&guarded.lock);
	}
}

static void run_threads(void (*fn)(void *), void *arg, unsigned n)
{
	struct guest_thread *t[8];

	for (unsigned i = 0; i < n; i++)
		t[i] = guest_start(fn, arg);
	for (unsigned i = 0; i < n; i++)
		guest_join(t[i]);
}

SCENARIO_PLAIN(lock, "one holder at a time, all get it, none sleeps on")
{
	run_threads(use_lock, (void *)4, 3);
	check_eq(guarded.users, 12);
}

static void use_and_free(void *arg)
{
	struct guarded *g = arg;
	bool last;

	lock_acquire(&g->lock);
	last = --g->users == 0;
	lock_release(&g->lock);
	if (last)
		scrap(g, sizeof *g);
}

SCENARIO_PLAIN(lock_freed, "the last holder frees the lock")
{
	for (int i = 0; i < 3; i++) {
		struct guarded *g = scratch(sizeof *g);

		*g = (struct guarded){ .users = 3 };
		run_threads(use_and_free, g, 3);
	}
}

static void lock_once(void *arg)
{
	(void)arg;
	lock_acquire(&guarded.lock);
	check_eq(guarded.inside++, 0);
	check_eq(guarded.inside--, 1);
	lock_release(&guarded.lock);
}

SCENARIO_TINY(lock_tiny, "two threads, one lock, once each")
{
	run_threads(lock_once, NULL, 2);
}

static struct {
	struct note note[2];
	unsigned said;
	uint32_t heard;
} talk;

static void answer(void *arg)
{
	for (uintptr_t i = 0; i < (uintptr_t)arg; i++) {
		check(note_sleep(&talk.note[0], OS_FOREVER));
		note_clear(&talk.note[0]);
		check_eq(talk.said, i + 1);
		note_wake(&talk.note[1]);
	}
}

static void talk_by_notes(unsigned rounds)
{
	struct guest_thread *t = guest_start(answer, (void *)(uintptr_t)rounds);

	for (unsigned i = 0; i < rounds; i++) {
		talk.said++;
		note_wake(&talk.note[0]);
		while (!note_sleep(&talk.note[1], os_now() + (int64_t)pick(2000)))
			;
		note_clear(&talk.note[1]);
	}
	guest_join(t);
}

SCENARIO_PLAIN(notes, "two threads wake each other in turn, one with deadlines")
{
	talk_by_notes(6);
}

static void wake_note(void *n)
{
	note_wake(n);
}

SCENARIO_TINY(note_tiny, "one sleeps, one wakes")
{
	struct guest_thread *t = guest_start(wake_note, &talk.note[0]);

	check(note_sleep(&talk.note[0], OS_FOREVER));
	guest_join(t);
}

/* ---- parking lot: waits on one queue, by plain threads --------------------------------------- */

static struct {
	struct waitq q;
	unsigned tokens, taken, timed_out;
} park;

static void wait_for_token(void *arg)
{
	struct lock *lot = gort__lot_lock(&park);
	int64_t until = arg ? os_now() + (int64_t)pick(3000) : GORT_FOREVER;
	struct m *m = rt_enter();
	struct waiter w;
	int err = 0;

	lock_acquire(lot);
	if (park.tokens) {
		park.tokens--;
		lock_release(lot);
	} else {
		err = gort__wait(&w, &park.q, lot, until, WHY_NONE, false);
	}
	rt_leave(m);
	check(err == 0 || (err == -ETIMEDOUT && arg));
	__atomic_add_fetch(err ? &park.timed_out : &park.taken, 1, __ATOMIC_RELAXED);
}

static void give_token(void)
{
	struct lock *lot = gort__lot_lock(&park);
	struct m *m = rt_enter();
	struct waiter *w;

	lock_acquire(lot);
	w = waitq_claim(&park.q);
	if (w)
		w->status = 0;
	else
		park.tokens++;
	lock_release(lot);
	if (w)
		waiter_wake(m, w);
	rt_leave(m);
}

SCENARIO_PLAIN(parking_lot, "threads wait with deadlines and without: each token is taken once")
{
	struct guest_thread *t[4];

	for (uintptr_t i = 0; i < 4; i++)
		t[i] = guest_start(wait_for_token, (void *)(i % 2));
	for (int i = 0; i < 4; i++) {
		give_token();
		if (pick(2))
			thread_sleep((int64_t)pick(2000));
	}
	for (int i = 0; i < 4; i++)
		guest_join(t[i]);
	check(!park.q.head);
	check_eq(park.taken + park.tokens, 4);
	check_eq(park.taken + park.timed_out, 4);
}

/* ---- stacks ---------------------------------------------------------------------------------- */

static void never_runs(void *arg)
{
	(void)arg;
}

static void take_and_give(void *arg)
{
	struct g *mine[4] = { 0 };

	for (int i = 0; i < 16; i++) {
		struct g **g = &mine[pick(4)];

		if (*g) {
			check((*g)->arg == arg);
			store_relaxed(&(*g)->state, G_DEAD);
			stack_put(NULL, *g);
			*g = NULL;
		} else {
			*g = gort__g_new(NULL, never_runs, arg, 0, STACK_MIN << pick(2));
			check(*g != NULL);
		}
	}
	for (int i = 0; i < 4; i++) {
		if (!mine[i])
			continue;
		store_relaxed(&mine[i]->state, G_DEAD);
		stack_put(NULL, mine[i]);
	}
}

static void trim_stacks(void *arg)
{
	(void)arg;
	for (int i = 0; i < 6; i++) {
		gort__stacks_trim(4, i % 2);
		gort__stacks_prepare();
	}
}

SCENARIO_PLAIN(stack_pool,
	       "stacks are taken and given back while they are trimmed: each is one owner's")
{
	struct guest_thread *t[3];

	gort__stacks_free(false);
	gort__sched.stack_size = STACK_MIN;
	for (uintptr_t i = 0; i < 3; i++)
		t[i] = guest_start(i ? take_and_give : trim_stacks, (void *)(i + 1));
	for (int i = 0; i < 3; i++)
		guest_join(t[i]);
	gort__stacks_free(false);
}

/* ---- timers ---------------------------------------------------------------------------------- */

#define TIMERS 24

static struct {
	struct p *p[2];
	struct m m[2];
	struct timer timer[TIMERS];
	unsigned fired[TIMERS];
	int64_t last;
} heap;

static void fire(struct timer *t, struct due *due)
{
	(void)due;
	heap.fired[t - heap.timer]++;
	check(t->when >= heap.last);
	heap.last = t->when;
}

static void heap_begin(unsigned ps)
{
	for (unsigned i = 0; i < ps; i++) {
		heap.p[i] = os_map(sizeof(struct p));
		gort__timers_init(&heap.p[i]->timers, heap.p[i]);
		heap.m[i].p = heap.p[i];
	}
}

static void heap_end(unsigned ps)
{
	for (unsigned i = 0; i < ps; i++) {
		gort__timers_free(&heap.p[i]->timers);
		mem_cache_flush(&heap.p[i]->cache);
		os_unmap(heap.p[i], sizeof(struct p));
	}
}

static void run_at(struct p *p, int64_t now)
{
	struct due due = { .now = now };

	gort__timers_run(&p->timers, &due);
}

static void run_heap(void *arg)
{
	(void)arg;
	for (int i = 0; i < 6; i++) {
		run_at(heap.p[0], i * 200);
		thread_sleep(100);
	}
}

static void add_timer(unsigned i, void (*fn)(struct timer *, struct due *))
{
	heap.timer[i] =
		(struct timer){ .when = (int64_t)pick(1000), .slot = TIMER_IDLE, .fire = fn };
	check_eq(gort__timer_add(&heap.m[0], &heap.timer[i]), 0);
}

/* Where timers are added meanwhile, a later one may be due before one that has fired. */
static void fire_once(struct timer *t, struct due *due)
{
	(void)due;
	heap.fired[t - heap.timer]++;
}

SCENARIO_PLAIN(
	timers,
	"timers are added and removed while another thread runs them: each fires or is removed")
{
	struct guest_thread *t;
	bool removed;

	heap_begin(1);
	t = guest_start(run_heap, NULL);
	for (unsigned i = 0; i < TIMERS; i++) {
		add_timer(i, fire_once);
		if (pick(3) == 0) {
			removed = gort__timer_del(&heap.timer[i / 2]);
			if (removed)
				check_eq(heap.fired[i / 2]++, 0);
		}
	}
	guest_join(t);
	for (unsigned i = 0; i < TIMERS; i++) {
		removed = gort__timer_del(&heap.timer[i]);
		check_eq(heap.fired[i], !removed);
	}
	heap_end(1);
}

static void delete_all(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < TIMERS; i += 2)
		heap.fired[i] += gort__timer_del(&heap.timer[i]);
}

SCENARIO_PLAIN(timers_move, "a heap moves to another P while its timers are removed: none is lost")
{
	struct guest_thread *t;

	heap_begin(2);
	for (unsigned i = 0; i < TIMERS; i++)
		add_timer(i, fire);
	t = guest_start(delete_all, NULL);
	gort__timers_move(heap.p[0], heap.p[1]);
	guest_join(t);
	run_at(heap.p[1], 10000);
	for (unsigned i = 0; i < TIMERS; i++)
		check_eq(heap.fired[i], 1);
	heap_end(2);
}

/* ---- allocator ------------------------------------------------------------------------------- */

#define BLOCKS 12

static struct {
	void *slot[BLOCKS];
	struct mem_cache cache[3];
} pool;

static size_t size_of(unsigned i)
{
	return 16u << i % 8;
}

static void churn(void *arg)
{
	struct mem_cache *cache = arg;

	for (int i = 0; i < 25; i++) {
		unsigned slot = pick(BLOCKS);
		char *p = mem_alloc(cache, size_of(slot)), *other;

		check(p);
		p[0] = (char)slot;
		p[size_of(slot) - 1] = (char)slot;
		other = __atomic_exchange_n(&pool.slot[slot], p, __ATOMIC_ACQ_REL);
		if (!other)
			continue;
		check_eq(other[0], slot);
		check_eq(other[size_of(slot) - 1], slot);
		mem_free(cache, other, size_of(slot));
	}
	if (cache)
		mem_cache_flush(cache);
}

SCENARIO_PLAIN(alloc, "blocks are taken and freed through caches and without: each is one owner's")
{
	struct guest_thread *t[3];

	for (int i = 0; i < 3; i++)
		t[i] = guest_start(churn, i ? &pool.cache[i] : NULL);
	for (int i = 0; i < 3; i++)
		guest_join(t[i]);
	for (unsigned i = 0; i < BLOCKS; i++)
		if (pool.slot[i])
			mem_free(NULL, pool.slot[i], size_of(i));
}
