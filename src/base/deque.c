/*
 * deque.c - the rarer paths of deque.h, where the argument stands.
 *
 * Arrays come from the central lists of the allocator: growing is rare.
 */
#include "base/deque.h"

#include "base/alloc.h"

#define FIRST_SIZE 64u

static size_t array_bytes(uint64_t slots)
{
	return sizeof(struct deque_array) + slots * sizeof(void *);
}

static struct deque_array *array_new(uint64_t slots, struct deque_array *older)
{
	struct deque_array *a = mem_alloc(NULL, array_bytes(slots));

	if (!a)
		return NULL;
	a->older = older;
	a->mask = slots - 1;
	return a;
}

bool deque_init(struct deque *d)
{
	struct deque_array *a = array_new(FIRST_SIZE, NULL);

	if (!a)
		return false;
	d->top = 0;
	d->bottom = 0;
	d->array = a;
	return true;
}

void deque_fini(struct deque *d)
{
	struct deque_array *a = d->array, *older;

	for (; a; a = older) {
		older = a->older;
		mem_free(NULL, a, array_bytes(a->mask + 1));
	}
	d->array = NULL;
}

/* Step 5. Entries below top that are copied with the rest have been taken; nobody reads them. */
rare bool gort__deque_grow(struct deque *d, uint64_t top, uint64_t bottom)
{
	struct deque_array *old = load_relaxed(&d->array);
	struct deque_array *a = array_new(2 * (old->mask + 1), old);

	if (!a)
		return false;
	for (uint64_t i = top; i != bottom; i++)
		store_relaxed(&a->slots[i & a->mask], load_relaxed(&old->slots[i & old->mask]));
	store_release(&d->array, a); /* meets the acquire in deque_steal */
	return true;
}

/* Step 3: thieves came up to the entry that bottom was taken down to, or have taken it, too. Either
 * way the deque is empty afterwards: top is, or becomes, bottom + 1. */
rare void *gort__deque_pop_raced(struct deque *d, uint64_t top, uint64_t bottom, void *item)
{
	if (top != bottom || !cas_seq(&d->top, &top, top + 1))
		item = NULL;
	store_relaxed(&d->bottom, bottom + 1);
	return item;
}

void *deque_steal(struct deque *d)
{
	for (;;) {
		uint64_t top = load_seq(&d->top);       /* step 2 */
		uint64_t bottom = load_seq(&d->bottom); /* steps 1, 2 */
		struct deque_array *a;
		void *item;

		if ((int64_t)(bottom - top) <= 0)
			return NULL;
		a = load_acquire(&d->array); /* step 5 */
		item = load_relaxed(&a->slots[top & a->mask]);
		if (cas_seq(&d->top, &top, top + 1)) /* step 4 */
			return item;
	}
}
