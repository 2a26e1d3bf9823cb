/*
 * pool.c - gort_pool: idle objects, kept for the next who needs one. Go's sync.Pool without the
 * garbage collector.
 *
 * Objects lie in magazines of 30. Each P has a slot with two of them, so that who takes and puts
 * at the edge of one does not fetch and carry all the time (Bonwick's magazines); full ones
 * beyond that lie in the pool's depot, for all Ps. Guests share a slot.
 *
 *  1. A P's slot is touched by the goroutine that runs there, between enter_slot and leave_slot, or
 *     with the pool's lock held. The first is the short way: no lock, no atomic step. Nothing is
 *     called in between that could park, so the goroutine keeps its P.
 *  2. Who takes from all slots (trim) holds the lock, sets trimming (step 1), makes a full fence
 *     on every thread (step 2), waits until no slot is busy (step 3). Who enters sets busy (step
 *     4), makes a light fence (step 5), looks at trimming (step 6), and if it is set leaves at
 *     once, for the lock. Either step 6 sees step 1, or step 3 sees step 4.
 *  3. A slot belongs to the number of a P, and outlives the runtime: what lies in it is there for
 *     the P of that number in the next one.
 *  4. What nobody needs goes. The depot holds DEPOT_MAX magazines at most. And of those that lay
 *     there unused throughout a second, one is destroyed each time another one comes.
 *  5. make and destroy are called with nothing held.
 *
 * Under the lock: guests, the depot, all slots' magazines while trimming.
 *
 * Callers: goroutines and guests.
 */
#include "sched/sched.h"

#include <string.h>

#define MAGAZINE 30
#define DEPOT_MAX 256
#define UNUSED_FOR GORT_SEC

struct magazine {
	struct magazine *next;
	size_t count;
	void *object[MAGAZINE];
};

struct slot {
	struct magazine *loaded, *spare; /* see (1); NULL: none yet */
	uint32_t busy;                   /* atomic, written by owner */
};

struct gort_pool {
	void *(*make)(void *arg); /* fixed, as the next two */
	void (*destroy)(void *object);
	void *arg;
	struct lock lock;
	uint32_t trimming;  /* atomic, written under lock */
	struct slot guests; /* lock */
	struct {            /* lock */
		struct magazine *full;
		size_t count;
		size_t low;    /* the smallest count since a second began */
		size_t unused; /* so many lay there throughout the last one */
		int64_t since;
	} depot;
	struct slot *slot[MAX_PROCS]; /* atomic: made by their P, under lock; go with the pool */
};

/* ---- a slot, by who may touch it ------------------------------------------------------------- */

static inline void swap_magazines(struct slot *s)
{
	struct magazine *m = s->loaded;

	s->loaded = s->spare;
	s->spare = m;
}

static inline void *slot_take(struct slot *s)
{
	if (unlikely(!s->loaded || s->loaded->count == 0)) {
		if (!s->spare || s->spare->count == 0)
			return NULL;
		swap_magazines(s);
	}
	return s->loaded->object[--s->loaded->count];
}

static inline bool slot_put(struct slot *s, void *object)
{
	if (unlikely(!s->loaded || s->loaded->count == MAGAZINE)) {
		if (!s->spare || s->spare->count == MAGAZINE)
			return false;
		swap_magazines(s);
	}
	s->loaded->object[s->loaded->count++] = object;
	return true;
}

/* NULL: take the lock. */
static inline struct slot *enter_slot(gort_pool *pool, struct m *m)
{
	struct slot *s = m ? load_acquire(&pool->slot[m->p->id]) : NULL;

	if (unlikely(!s))
		return NULL;
	store_relaxed(&s->busy, 1);                 /* step 4 */
	fence_light();                              /* step 5 */
	if (likely(!load_acquire(&pool->trimming))) /* step 6; meets the release in collect */
		return s;
	store_release(&s->busy, 0);
	return NULL;
}

static inline void leave_slot(struct slot *s)
{
	store_release(&s->busy, 0); /* meets the acquire in collect */
}

/* Under the lock: the caller's own. NULL: out of memory. */
static struct slot *own_slot(gort_pool *pool, struct m *m)
{
	struct slot *s;

	if (!m)
		return &pool->guests;
	s = load_relaxed(&pool->slot[m->p->id]);
	if (s)
		return s;
	s = mem_alloc(cache_of(m), align_up(sizeof *s, 64)); /* a line of its own */
	if (s) {
		*s = (struct slot){ 0 };
		store_release(&pool->slot[m->p->id], s); /* meets the acquires of those who look */
	}
	return s;
}

/* ---- the depot, under the lock --------------------------------------------------------------- */

static struct magazine *depot_take(gort_pool *pool)
{
	struct magazine *full = pool->depot.full;

	if (!full)
		return NULL;
	pool->depot.full = full->next;
	pool->depot.count--;
	if (pool->depot.low > pool->depot.count)
		pool->depot.low = pool->depot.count;
	if (pool->depot.unused > pool->depot.count)
		pool->depot.unused = pool->depot.count;
	return full;
}

/* (4). Gives one to destroy, or NULL. */
static struct magazine *depot_put(gort_pool *pool, struct magazine *full)
{
	int64_t now = os_now();

	full->next = pool->depot.full;
	pool->depot.full = full;
	pool->depot.count++;
	if (now - pool->depot.since > UNUSED_FOR) {
		pool->depot.unused = pool->depot.low;
		pool->depot.low = pool->depot.count;
		pool->depot.since = now;
	}
	if (pool->depot.unused == 0 && pool->depot.count <= DEPOT_MAX)
		return NULL;
	if (pool->depot.unused)
		pool->depot.unused--;
	return depot_take(pool);
}

/* ---- get, put -------------------------------------------------------------------------------- */

static void destroy_all(gort_pool *pool, struct magazine *list)
{
	struct magazine *next;
	struct m *m;

	for (; list; list = next) {
		next = list->next;
		for (size_t i = 0; pool->destroy && i < list->count; i++)
			pool->destroy(list->object[i]);
		m = rt_enter();
		mem_free(cache_of(m), list, sizeof *list);
		rt_leave(m);
	}
}

/* An empty magazine makes place for a full one. */
static noinline void *take_slow(gort_pool *pool, struct m *m)
{
	struct magazine *full;
	struct slot *s;
	void *object;

	lock_acquire(&pool->lock);
	s = own_slot(pool, m);
	object = s ? slot_take(s) : NULL;
	if (!object && s && (full = depot_take(pool)) != NULL) {
		if (s->loaded)
			mem_free(cache_of(m), s->loaded, sizeof *s->loaded);
		s->loaded = full;
		object = slot_take(s);
	}
	lock_release(&pool->lock);
	return object;
}

GORT_API void *gort_pool_get(gort_pool *pool)
{
	struct slot *s;
	struct m *m;
	void *object = NULL;

	if (unlikely(!pool))
		gort__misuse("gort_pool_get", "no pool");
	m = rt_enter();
	s = enter_slot(pool, m);
	if (likely(s != NULL)) {
		object = slot_take(s);
		leave_slot(s);
	}
	if (unlikely(!object))
		object = take_slow(pool, m);
	rt_leave(m);
	return object || !pool->make ? object : pool->make(pool->arg);
}

/* A full magazine, or none, makes place for an empty one. False: out of memory. */
static bool load_empty(gort_pool *pool, struct m *m, struct slot *s, struct magazine **dropped)
{
	struct magazine *empty = mem_alloc(cache_of(m), sizeof *empty);

	if (!empty)
		return false;
	empty->next = NULL;
	empty->count = 0;
	if (s->spare)
		*dropped = depot_put(pool, s->spare);
	s->spare = s->loaded;
	s->loaded = empty;
	return true;
}

/* False: no place for it. */
static noinline bool put_slow(gort_pool *pool, struct m *m, void *object, struct magazine **dropped)
{
	struct slot *s;
	bool done;

	lock_acquire(&pool->lock);
	s = own_slot(pool, m);
	done = s &&
		(slot_put(s, object) || (load_empty(pool, m, s, dropped) && slot_put(s, object)));
	lock_release(&pool->lock);
	return done;
}

GORT_API void gort_pool_put(gort_pool *pool, void *object)
{
	struct magazine *dropped = NULL;
	struct slot *s;
	struct m *m;
	bool done = false;

	if (unlikely(!pool))
		gort__misuse("gort_pool_put", "no pool");
	if (unlikely(!object))
		return;
	m = rt_enter();
	s = enter_slot(pool, m);
	if (likely(s != NULL)) {
		done = slot_put(s, object);
		leave_slot(s);
	}
	if (unlikely(!done))
		done = put_slow(pool, m, object, &dropped);
	rt_leave(m);
	if (unlikely(!done) && pool->destroy)
		pool->destroy(object);
	if (unlikely(dropped != NULL)) {
		dropped->next = NULL;
		destroy_all(pool, dropped);
	}
}

/* ---- make, trim, release --------------------------------------------------------------------- */

GORT_API gort_pool *gort_pool_make(void *(*make)(void *arg), void (*destroy)(void *object),
				   void *arg)
{
	struct m *m = rt_enter();
	gort_pool *pool = mem_alloc(cache_of(m), sizeof *pool);

	if (pool) { /* too large for a compound literal: that would be built on the stack */
		memset(pool, 0, sizeof *pool);
		pool->make = make;
		pool->destroy = destroy;
		pool->arg = arg;
		pool->lock = (struct lock)LOCK_INIT(RANK_OBJECT);
	}
	rt_leave(m);
	return pool;
}

static void take_magazines(struct slot *s, struct magazine **list)
{
	struct magazine *both[] = { s->loaded, s->spare };

	s->loaded = s->spare = NULL;
	for (int i = 0; i < 2; i++) {
		if (!both[i])
			continue;
		both[i]->next = *list;
		*list = both[i];
	}
}

/* Everything that is idle (2). */
static struct magazine *collect(gort_pool *pool)
{
	struct magazine *list;
	struct slot *s;

	lock_acquire(&pool->lock);
	list = pool->depot.full;
	pool->depot.full = NULL;
	pool->depot.count = pool->depot.low = pool->depot.unused = 0;
	take_magazines(&pool->guests, &list);
	store_relaxed(&pool->trimming, 1); /* step 1 */
	os_membarrier();                   /* step 2 */
	for (uint32_t i = 0; i < MAX_PROCS; i++) {
		s = load_acquire(&pool->slot[i]);
		if (!s)
			continue;
		while (load_acquire(&s->busy)) /* step 3 */
			os_yield_thread();
		take_magazines(s, &list);
	}
	store_release(&pool->trimming, 0);
	lock_release(&pool->lock);
	return list;
}

GORT_API void gort_pool_trim(gort_pool *pool)
{
	struct magazine *list;
	struct m *m;

	if (!pool)
		gort__misuse("gort_pool_trim", "no pool");
	m = rt_enter();
	list = collect(pool);
	rt_leave(m);
	destroy_all(pool, list);
}

GORT_API void gort_pool_release(gort_pool *pool)
{
	struct m *m;

	if (!pool)
		return;
	gort_pool_trim(pool);
	m = rt_enter();
	for (uint32_t i = 0; i < MAX_PROCS; i++)
		if (pool->slot[i])
			mem_free(cache_of(m), pool->slot[i], align_up(sizeof(struct slot), 64));
	mem_free(cache_of(m), pool, sizeof *pool);
	rt_leave(m);
}
