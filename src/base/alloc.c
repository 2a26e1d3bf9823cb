/*
 * alloc.c - the central lists of alloc.h.
 *
 * A span is SPAN bytes at a multiple of SPAN: a header, then blocks of one class. So a block's span
 * is found by its address. A span with a free block is in its class's list; one whose blocks are all
 * free goes back to the system, but for one of each class.
 *
 * All under the class's lock. Blocks in caches count as used.
 */
#include "base/alloc.h"

#include "base/fatal.h"
#include "base/lock.h"
#include "os/os.h"

#define SPAN ((size_t)64 << 10)
#define HEADER 64u
#define BATCH(class) (MEM_KEEP(class) / 2)

struct span {
	struct span *next, *prev; /* in the list, while it has a free block */
	struct mem_block *free;
	uint32_t class, used, carved, capacity;
	bool listed;
};

_Static_assert(sizeof(struct span) <= HEADER, "the header's room");

static struct central {
	aligned_line struct lock lock;
	struct span *spans;
	uint32_t empty; /* spans in the list without a used block */
	size_t used;
} central[MEM_CLASSES] = { [0 ... MEM_CLASSES - 1] = { .lock = LOCK_INIT(RANK_ALLOC) } };

static size_t large_used;   /* atomic */
static uint32_t fail_after; /* atomic */

void mem_fail_after(uint32_t n)
{
	store_relaxed(&fail_after, n);
}

static bool must_fail(void)
{
	uint32_t n = load_relaxed(&fail_after);

	while (unlikely(n))
		if (cas_relaxed(&fail_after, &n, n - 1))
			return n == 1;
	return false;
}

static void list_add(struct central *c, struct span *s)
{
	s->listed = true;
	s->prev = NULL;
	s->next = c->spans;
	if (c->spans)
		c->spans->prev = s;
	c->spans = s;
}

static void list_remove(struct central *c, struct span *s)
{
	s->listed = false;
	if (s->prev)
		s->prev->next = s->next;
	else
		c->spans = s->next;
	if (s->next)
		s->next->prev = s->prev;
}

/* SPAN bytes at a multiple of SPAN: twice as much is mapped, and the rest given back. */
static void *map_span(void)
{
	char *p = os_map(2 * SPAN), *at;

	if (!p)
		return NULL;
	at = (char *)align_up((uintptr_t)p, SPAN);
	if (at > p)
		os_unmap(p, (size_t)(at - p));
	if (at + SPAN < p + 2 * SPAN)
		os_unmap(at + SPAN, (size_t)(p + 2 * SPAN - (at + SPAN)));
	return at;
}

static struct span *span_new(struct central *c, unsigned class)
{
	struct span *s = map_span();

	if (!s)
		return NULL;
	*s = (struct span){ .class = class,
		            .capacity = (uint32_t)((SPAN - HEADER) / mem_class_size(class)) };
	list_add(c, s);
	c->empty++;
	return s;
}

static void span_unmap(void *s)
{
	fiber_unpoison(s, SPAN);
	os_unmap(s, SPAN);
}

/* Under the class's lock. */
static struct mem_block *take(struct central *c, unsigned class)
{
	struct span *s = c->spans ? c->spans : span_new(c, class);
	struct mem_block *b;

	if (!s)
		return NULL;
	b = s->free;
	if (b)
		s->free = b->next;
	else
		b = (struct mem_block *)((char *)s + HEADER + s->carved++ * mem_class_size(class));
	if (s->used++ == 0)
		c->empty--;
	if (s->used == s->capacity)
		list_remove(c, s);
	c->used += mem_class_size(class);
	return b;
}

/* Under the class's lock. Gives a span that is to be unmapped. */
static void *give(struct central *c, struct mem_block *b)
{
	struct span *s = (struct span *)((uintptr_t)b & ~(SPAN - 1));

	must(s->used > 0);
	b->next = s->free;
	s->free = b;
	c->used -= mem_class_size(s->class);
	if (!s->listed)
		list_add(c, s);
	if (--s->used)
		return NULL;
	if (c->empty == 0) {
		c->empty++;
		return NULL;
	}
	list_remove(c, s);
	return s;
}

static void *large_alloc(size_t size)
{
	size_t page = os_page_size(), bytes = align_up(size, page);
	void *p = bytes < size ? NULL : os_map(bytes);

	if (p)
		add_relaxed(&large_used, bytes);
	return p;
}

static void large_free(void *p, size_t size)
{
	size_t bytes = align_up(size, os_page_size());

	sub_relaxed(&large_used, bytes);
	os_unmap(p, bytes);
}

rare void *gort__mem_alloc_slow(struct mem_cache *cache, size_t size)
{
	unsigned class = mem_class(size);
	struct central *c = &central[class];
	struct mem_block *b, *more;

	if (must_fail())
		return NULL;
	if (size > MEM_SMALL)
		return large_alloc(size);
	lock_acquire(&c->lock);
	b = take(c, class);
	for (uint32_t i = 1; b && cache && i < BATCH(class) && (more = take(c, class)) != NULL; i++) {
		fiber_poison(more, mem_class_size(class));
		fiber_unpoison(more, sizeof *more);
		more->next = cache->of[class].free;
		cache->of[class].free = more;
		cache->of[class].count++;
	}
	lock_release(&c->lock);
	if (b)
		fiber_unpoison(b, size);
	return b;
}

static void give_back(struct mem_cache *cache, unsigned class, uint32_t keep)
{
	struct central *c = &central[class];
	struct mem_block *b;
	void *span;

	while (cache->of[class].count > keep) {
		lock_acquire(&c->lock);
		span = NULL;
		while (!span && cache->of[class].count > keep) {
			b = cache->of[class].free;
			cache->of[class].free = b->next;
			cache->of[class].count--;
			span = give(c, b);
		}
		lock_release(&c->lock);
		if (span)
			span_unmap(span);
	}
}

rare void gort__mem_free_slow(struct mem_cache *cache, void *p, size_t size)
{
	unsigned class = mem_class(size);
	struct central *c = &central[class];
	void *span;

	if (size > MEM_SMALL) {
		large_free(p, size);
		return;
	}
	if (cache) {
		give_back(cache, class, MEM_KEEP(class) - BATCH(class));
		mem_free(cache, p, size);
		return;
	}
#ifdef GORT_CHECKED
	__builtin_memset(p, 0xdd, size);
#endif
	fiber_poison(p, mem_class_size(class));
	fiber_unpoison(p, sizeof(struct mem_block));
	lock_acquire(&c->lock);
	span = give(c, p);
	lock_release(&c->lock);
	if (span)
		span_unmap(span);
}

void mem_cache_flush(struct mem_cache *cache)
{
	for (unsigned class = 0; class < MEM_CLASSES; class ++)
		give_back(cache, class, 0);
}

size_t mem_in_use(void)
{
	size_t used = load_relaxed(&large_used);

	for (struct central *c = central; c < central + MEM_CLASSES; c++) {
		lock_acquire(&c->lock);
		used += c->used;
		lock_release(&c->lock);
	}
	return used;
}
