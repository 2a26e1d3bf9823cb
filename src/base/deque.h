/*
 * deque.h - a P's spawned goroutines: the owner takes the newest, thieves the oldest. The deque of
 * Chase and Lev, in the form of Le, Pop, Cohen and Zappa Nardelli (2013).
 *
 *  1. Items are at [top, bottom). The owner alone writes bottom; top only grows, by CAS.
 *  2. Owner's pop: bottom = b (d1), full fence, reads top (d2). With more than one item left (t < b)
 *     the newest is the owner's without a CAS. Thief: reads top (s1), full fence, reads bottom (s2),
 *     takes its item by CAS of top (s3). If a thief aims at the item at b, then it has read top == b
 *     and, at s2, bottom > b, so s2 came before d1 in the single order of fences, so d2 sees top == b:
 *     the owner goes by CAS as well, and one of them wins.
 *  3. Growing: the owner copies to an array of twice the size and publishes it by release. A thief
 *     with the old array reads the same items there: places of taken items are not reused in it. Old
 *     arrays are kept until deque_fini: together they are no larger than the present one.
 *
 * Not one ring for both this and ring.h: an owner that pops at the tail while thieves take half runs
 * goroutines twice. The top identifies the oldest item for whoever looks whether it still waits.
 */
#ifndef GORT_BASE_DEQUE_H
#define GORT_BASE_DEQUE_H

#include "base/atomic.h"
#include "base/base.h"

struct deque_array {
	struct deque_array *older; /* retired, or NULL */
	int64_t size;              /* a power of two */
	void *item[];              /* atomic */
};

struct deque {
	int64_t bottom; /* atomic, written by the owner */
	struct deque_array *array; /* atomic, written by the owner */
	int64_t top_seen; /* owner: top is at least this; spares a look at it */
	aligned_line int64_t top; /* atomic */
};

bool deque_init(struct deque *d); /* false: out of memory */
void deque_fini(struct deque *d);
bool gort__deque_grow(struct deque *d, int64_t bottom, int64_t top);

static inline uint32_t deque_len(const struct deque *d)
{
	int64_t len = load_relaxed(&d->bottom) - load_relaxed(&d->top);

	return len > 0 ? (uint32_t)len : 0;
}

static inline uint64_t deque_top(const struct deque *d)
{
	return (uint64_t)load_relaxed(&d->top);
}

/* Owner. False: out of memory. */
static inline bool deque_push(struct deque *d, void *item)
{
	int64_t b = load_relaxed(&d->bottom);
	struct deque_array *a = load_relaxed(&d->array);

	if (unlikely(b - d->top_seen >= a->size)) {
		d->top_seen = load_acquire(&d->top);
		if (b - d->top_seen >= a->size) {
			if (!gort__deque_grow(d, b, d->top_seen))
				return false;
			a = load_relaxed(&d->array);
		}
	}
	store_relaxed(&a->item[b & (a->size - 1)], item);
	store_release(&d->bottom, b + 1); /* meets s2 */
	return true;
}

/* Owner: the newest. NULL: empty. */
static inline void *deque_pop(struct deque *d)
{
	int64_t b = load_relaxed(&d->bottom) - 1, t;
	struct deque_array *a = load_relaxed(&d->array);
	void *item;

	if (b < load_relaxed(&d->top))
		return NULL; /* empty: top only grows */
	(void)swap_seq(&d->bottom, b); /* d1 and the fence */
	t = load_seq(&d->top);         /* d2 */
	if (unlikely(t > b)) {
		store_relaxed(&d->bottom, b + 1);
		return NULL;
	}
	item = load_relaxed(&a->item[b & (a->size - 1)]);
	if (t == b) {
		if (!cas_seq(&d->top, &t, t + 1))
			item = NULL; /* a thief was faster */
		store_relaxed(&d->bottom, b + 1);
	}
	return item;
}

/* Anyone: the oldest. NULL: empty, or somebody else was faster. */
static inline void *deque_steal(struct deque *d)
{
	int64_t t = load_seq(&d->top); /* s1 */
	struct deque_array *a;
	void *item;

	fence_seq();
	if (load_seq(&d->bottom) <= t) /* s2 */
		return NULL;
	a = load_acquire(&d->array);
	item = load_relaxed(&a->item[t & (a->size - 1)]);
	return cas_seq(&d->top, &t, t + 1) ? item : NULL; /* s3 */
}

/* Owner: the oldest. NULL: empty. */
static inline void *deque_pop_oldest(struct deque *d)
{
	void *item = NULL;

	while (!item && deque_len(d))
		item = deque_steal(d);
	return item;
}

#endif
