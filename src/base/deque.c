/*
 * deque.c - making, growing and freeing the arrays of deque.h.
 */
#include "base/deque.h"

#include "base/alloc.h"

#define FIRST_SIZE 64

static size_t bytes(int64_t size)
{
	return sizeof(struct deque_array) + (size_t)size * sizeof(void *);
}

static struct deque_array *array_new(int64_t size)
{
	struct deque_array *a = mem_alloc(NULL, bytes(size));

	if (a) {
		a->older = NULL;
		a->size = size;
	}
	return a;
}

bool deque_init(struct deque *d)
{
	struct deque_array *a = array_new(FIRST_SIZE);

	*d = (struct deque){ .array = a };
	return a != NULL;
}

rare bool gort__deque_grow(struct deque *d, int64_t bottom, int64_t top)
{
	struct deque_array *old = load_relaxed(&d->array), *a = array_new(old->size * 2);

	if (!a)
		return false;
	a->older = old;
	for (int64_t i = top; i < bottom; i++)
		a->item[i & (a->size - 1)] = load_relaxed(&old->item[i & (old->size - 1)]);
	store_release(&d->array, a); /* meets the acquire in deque_steal */
	return true;
}

void deque_fini(struct deque *d)
{
	struct deque_array *a = d->array, *older;

	for (; a; a = older) {
		older = a->older;
		mem_free(NULL, a, bytes(a->size));
	}
	d->array = NULL;
}
