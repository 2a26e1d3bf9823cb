/*
 * deque.h - a P's queue of spawned goroutines: the owner takes the newest, thieves the oldest.
 *
 * The deque of Chase and Lev, with the memory orders of Le, Pop, Cohen and Zappa Nardelli ("Correct
 * and efficient work-stealing for weak memory models", 2013), but with sequentially consistent
 * accesses in place of their fences: ThreadSanitizer does not model fences, and on x86-64 the one
 * exchange in pop costs less than store and mfence.
 *
 * Entries top..bottom-1 are in it; entry i lies in slots[i & mask]. Both are 64 bits wide and never
 * wrap. top only grows, by CAS. bottom is stored by the owner alone.
 *
 *  1. push stores the slot before bottom (release), which thieves load before they read the slot.
 *  2. pop takes bottom down first, then looks at top; a thief looks at top first, then at bottom;
 *     all four are seq_cst. If the owner takes entry b without a CAS, it has read top < b after its
 *     store of bottom = b. A thief that could take b has read top = b, hence after that store in
 *     the one order of all seq_cst steps, and then reads bottom <= b: it finds the deque empty.
 *  3. The last entry is fought for by CAS of top. (If thieves bring top up to b while pop takes
 *     bottom down to it, that is the last one, too.)
 *  4. Slots are read before the CAS of top, which push loads (acquire) before it overwrites a slot.
 *  5. When full, the owner copies to an array of twice the size, and publishes that (release)
 *     before bottom moves on; thieves load bottom first, then the array, so the one they see holds
 *     every entry below that bottom. The old array is never written again, and is kept until
 *     deque_fini: a thief may still read it. All old ones together are smaller than the one in use.
 *
 * A deque is made before thieves see it and ends after the last has gone.
 */
#ifndef GORT_BASE_DEQUE_H
#define GORT_BASE_DEQUE_H

#include "base/atomic.h"
#include "base/base.h"

struct deque_array {
	struct deque_array *older; /* owner */
	uint64_t mask;             /* never changes */
	void *slots[];             /* atomic, relaxed: ordered by top and bottom */
};

struct deque {
	aligned_line uint64_t top;    /* atomic: CAS by anyone */
	aligned_line uint64_t bottom; /* atomic: owner stores */
	struct deque_array *array;    /* atomic: owner stores (release), thieves load (acquire) */
};

bool deque_init(struct deque *d); /* false: out of memory */
void deque_fini(struct deque *d);
bool gort__deque_grow(struct deque *d, uint64_t top, uint64_t bottom);
void *gort__deque_pop_raced(struct deque *d, uint64_t top, uint64_t bottom, void *item);

/* Thief, or the owner if it wants the oldest. NULL: empty. Losing a race means that another got
 * one: it tries again. */
void *deque_steal(struct deque *d);

/* Owner. False: out of memory, nothing has changed. */
static inline bool deque_push(struct deque *d, void *item)
{
	uint64_t bottom = load_relaxed(&d->bottom), top = load_acquire(&d->top); /* step 4 */
	struct deque_array *a = load_relaxed(&d->array);

	if (unlikely(bottom - top > a->mask)) {
		if (!gort__deque_grow(d, top, bottom))
			return false;
		a = load_relaxed(&d->array);
	}
	store_relaxed(&a->slots[bottom & a->mask], item);
	store_release(&d->bottom, bottom + 1); /* step 1: meets the load in deque_steal */
	return true;
}

/* Step 3. The owner takes the last entry as a thief does: one locked step instead of two. */
static inline void *gort__deque_pop_last(struct deque *d, uint64_t top)
{
	struct deque_array *a = load_relaxed(&d->array);
	void *item = load_relaxed(&a->slots[top & a->mask]);

	return cas_seq(&d->top, &top, top + 1) ? item : NULL;
}

/* Owner: the newest; NULL: empty. */
static inline void *deque_pop(struct deque *d)
{
	uint64_t bottom = load_relaxed(&d->bottom), top = load_relaxed(&d->top);
	struct deque_array *a;
	void *item;

	if (bottom - top <= 1) /* top never goes down: there is no more */
		return bottom == top ? NULL : gort__deque_pop_last(d, top);
	bottom--;
	swap_seq(&d->bottom, bottom); /* step 2 */
	top = load_seq(&d->top);      /* step 2 */
	a = load_relaxed(&d->array);
	item = load_relaxed(&a->slots[bottom & a->mask]);
	if (likely((int64_t)(bottom - top) > 0))
		return item;
	return gort__deque_pop_raced(d, top, bottom, item);
}

/* Owner: the oldest, as a thief takes it. */
static inline void *deque_pop_oldest(struct deque *d)
{
	return deque_steal(d);
}

/* 0 only if it was empty, or its last entry being taken, at some moment during the call. */
static inline uint64_t deque_len(struct deque *d)
{
	uint64_t top = load_acquire(&d->top); /* before bottom: top only grows */
	int64_t n = (int64_t)(load_relaxed(&d->bottom) - top);

	return n > 0 ? (uint64_t)n : 0;
}

/* To see later whether the oldest entry has been taken. */
static inline uint64_t deque_top(struct deque *d)
{
	return load_relaxed(&d->top);
}

#endif
