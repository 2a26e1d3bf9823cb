/*
 * alloc.c - the central lists of alloc.h, and the spans below them.
 *
 *   arena  ARENA bytes from the system: its own header, then SPANS spans
 *   span   SPAN bytes at a multiple of SPAN, so that a block's address gives its span: a header,
 *          then blocks of one class. Blocks are carved when first wanted: the rest of a span costs
 *          no page
 *   block  used, in a cache, or in its span's list
 *
 * Invariants:
 *  1. A span with a block to give is in its class's list; a full one is in none. One without any
 *     used block goes back to its arena at once.
 *  2. An arena with a free span is in one of the pool's two lists. Free spans keep their pages up
 *     to WARM_SPANS in all, and the others are discarded: at once, or where somebody calls
 *     mem_trim now and then (mem_keep), when they have not been needed since its last call. An
 *     arena that is free throughout, with no pages to keep, is unmapped, but for one.
 *  3. Blocks in caches count as used here; mem_in_use takes them off.
 *
 * Locks, all RANK_ALLOC, hence taken in order of address: caches (the list of caches) before a
 * class's before the pool's. Pages are discarded and unmapped with none held.
 */
#include "base/alloc.h"

#include "base/fatal.h"
#include "base/lock.h"
#include "os/os.h"

#define SPAN ((size_t)64 << 10)
#define SPANS 31u
#define ARENA ((SPANS + 1) * SPAN) /* aligned spans, wherever the mapping lies, and the header */
#define ALL_SPANS ((UINT32_C(1) << SPANS) - 1)
#define WARM_SPANS 16u

struct arena {
	struct arena *next, *prev; /* in one of the pool's lists */
	char *spans;
	uint32_t free; /* bits: spans that are free */
	uint32_t warm; /* bits: free ones that have their pages */
};

struct span {
	struct span *next, *prev; /* in the class's list; next also in a list of emptied ones */
	struct mem_block *free;
	struct arena *arena;
	uint32_t class, used, carved, capacity;
#ifdef GORT_CHECKED
	uint64_t live[SPAN / 16 / 64]; /* atomic bits: blocks that the program has */
#endif
};

#define HEADER align_up(sizeof(struct span), 64)

static struct {
	struct lock caches_lock;
	struct mem_cache *caches;
	struct mem_class_list {
		aligned_line struct lock lock;
		struct span *spans;
		size_t used; /* blocks */
	} classes[MEM_CLASSES];
	aligned_line struct lock pool_lock;
	struct arena *warm_arenas; /* those with a free span that has its pages */
	struct arena *cold_arenas; /* the others with a free span */
	uint32_t free_arenas;      /* free throughout */
	uint32_t warm;             /* atomic, written under the lock: free spans with pages */
	uint32_t least;            /* fewest of them since the last count */
	uint32_t to_trim; /* what the last count found, less what was trimmed or needed since */
	uint32_t keep;    /* atomic: mem_trim is called */
} central = {
	.caches_lock = LOCK_INIT(RANK_ALLOC),
	.classes = { [0 ... MEM_CLASSES - 1] = { .lock = LOCK_INIT(RANK_ALLOC) } },
	.pool_lock = LOCK_INIT(RANK_ALLOC),
};

static size_t large_used;   /* atomic */
static uint32_t fail_after; /* atomic */

/* ---- injected failures, and what checked builds know of each block ------------------------- */

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

static struct span *span_of(const void *p)
{
	return (struct span *)((uintptr_t)p & ~(SPAN - 1));
}

#ifdef GORT_CHECKED
bool gort__mem_fails(void)
{
	return must_fail();
}

static uint64_t *live_word(void *p, uint64_t *bit)
{
	struct span *s = span_of(p);
	size_t at = (size_t)((char *)p - (char *)s) - HEADER, size = mem_class_size(s->class);

	if (at % size != 0 || at / size >= s->capacity)
		gort__fatal("internal error: %p is not a block", p);
	*bit = UINT64_C(1) << at / size % 64;
	return &s->live[at / size / 64];
}

void gort__mem_note_alloc(void *p, size_t size)
{
	uint64_t bit, *word = live_word(p, &bit);

	(void)size;
	must(!(or_relaxed(word, bit) & bit));
}

void gort__mem_note_free(void *p, size_t size)
{
	uint64_t bit, *word = live_word(p, &bit);

	if (mem_class(size) != span_of(p)->class)
		gort__fatal("internal error: block %p of class %u freed with size %u", p,
			    (uint64_t)span_of(p)->class, (uint64_t)size);
	if (!(and_acq_rel(word, ~bit) & bit))
		gort__fatal("internal error: block %p of %u bytes freed twice", p, (uint64_t)size);
	memset(p, 0xdd, size);
}
#endif

/* ---- arenas. Under the pool's lock --------------------------------------------------------- */

/* Where an arena with a free span belongs: unlink it before that changes. */
static struct arena **list_of(const struct arena *a)
{
	return a->warm ? &central.warm_arenas : &central.cold_arenas;
}

static void arena_link(struct arena *a)
{
	struct arena **list = list_of(a);

	a->prev = NULL;
	a->next = *list;
	if (a->next)
		a->next->prev = a;
	*list = a;
}

static void arena_unlink(struct arena *a)
{
	*(a->prev ? &a->prev->next : list_of(a)) = a->next;
	if (a->next)
		a->next->prev = a->prev;
}

static struct arena *arena_new(void)
{
	struct arena *a = os_map(ARENA);

	if (!a)
		return NULL;
	a->spans = (char *)align_up((uintptr_t)(a + 1), SPAN);
	a->free = ALL_SPANS;
	arena_link(a);
	central.free_arenas++;
	return a;
}

static void warm_less(uint32_t n)
{
	store_relaxed(&central.warm, central.warm - n);
	if (central.warm < central.least)
		central.least = central.warm;
}

static char *span_take(struct arena *a)
{
	unsigned i = (unsigned)__builtin_ctz(a->warm ? a->warm : a->free);
	uint32_t bit = UINT32_C(1) << i;

	if (a->free == ALL_SPANS)
		central.free_arenas--;
	if (a->warm & bit)
		warm_less(1);
	arena_unlink(a);
	a->free &= ~bit;
	a->warm &= ~bit;
	if (a->free)
		arena_link(a);
	return a->spans + i * SPAN;
}

/* Gives an arena that is to be unmapped. */
static struct arena *span_give(struct arena *a, uint32_t bit, bool warm)
{
	if (a->free)
		arena_unlink(a);
	a->free |= bit;
	if (warm) {
		a->warm |= bit;
		store_relaxed(&central.warm, central.warm + 1);
	}
	if (a->free == ALL_SPANS) {
		if (central.free_arenas && !(a->warm && load_relaxed(&central.keep))) {
			warm_less((uint32_t)__builtin_popcount(a->warm));
			return a;
		}
		central.free_arenas++;
	}
	arena_link(a);
	return NULL;
}

/* ---- spans --------------------------------------------------------------------------------- */

static void span_link(struct mem_class_list *c, struct span *s)
{
	s->prev = NULL;
	s->next = c->spans;
	if (s->next)
		s->next->prev = s;
	c->spans = s;
}

static void span_unlink(struct mem_class_list *c, struct span *s)
{
	*(s->prev ? &s->prev->next : &c->spans) = s->next;
	if (s->next)
		s->next->prev = s->prev;
}

/* Under the class's lock. */
static struct span *span_new(struct mem_class_list *c, unsigned class)
{
	struct span *s = NULL;
	struct arena *a;

	lock_acquire(&central.pool_lock);
	a = central.warm_arenas ? central.warm_arenas : central.cold_arenas;
	a = a ? a : arena_new();
	if (a)
		s = (struct span *)span_take(a);
	lock_release(&central.pool_lock);
	if (!s)
		return NULL;
	*s = (struct span){ .class = class, .arena = a };
	s->capacity = (uint32_t)((SPAN - HEADER) / mem_class_size(class));
	fiber_poison((char *)s + HEADER, SPAN - HEADER);
	span_link(c, s);
	return s;
}

/* With no lock held: a span that was taken goes back to its arena. */
static void span_return(struct arena *a, uint32_t bit, bool warm)
{
	lock_acquire(&central.pool_lock);
	a = span_give(a, bit, warm);
	lock_release(&central.pool_lock);
	if (a)
		os_unmap(a, ARENA);
}

/* With no lock held. Nobody sees the span. */
static void span_end(struct span *s)
{
	struct arena *a = s->arena;
	uint32_t bit = UINT32_C(1) << (size_t)((char *)s - a->spans) / SPAN;
	bool warm = load_relaxed(&central.keep) || load_relaxed(&central.warm) < WARM_SPANS;

	fiber_unpoison(s, SPAN);
	if (!warm)
		os_discard(s, SPAN);
	span_return(a, bit, warm);
}

static void spans_end(struct span *list)
{
	for (struct span *s = list, *next; s; s = next) {
		next = s->next;
		span_end(s);
	}
}

/* One of the warm ones, if there is any. */
static bool span_discard(void)
{
	struct arena *a;
	uint32_t bit = 0;
	char *s = NULL;

	lock_acquire(&central.pool_lock);
	a = central.warm_arenas;
	if (a) {
		bit = a->warm & -a->warm;
		s = span_take(a);
		central.to_trim -= central.to_trim != 0;
	}
	lock_release(&central.pool_lock);
	if (!a)
		return false;
	os_discard(s, SPAN);
	span_return(a, bit, false);
	return true;
}

uint32_t mem_trim(uint32_t most, bool count)
{
	uint32_t unused, n = 0;

	lock_acquire(&central.pool_lock);
	unused = central.least > WARM_SPANS ? central.least - WARM_SPANS : 0;
	if (count || central.to_trim > unused)
		central.to_trim = unused;
	unused = central.to_trim;
	if (count)
		central.least = central.warm;
	lock_release(&central.pool_lock);
	while (n < unused && n < most && span_discard())
		n++;
	return unused > most ? unused - most : 0;
}

void mem_keep(bool keep)
{
	store_relaxed(&central.keep, keep);
	while (!keep && load_relaxed(&central.warm) > WARM_SPANS && span_discard())
		continue;
}

/* ---- blocks. Under the class's lock -------------------------------------------------------- */

static struct mem_block *block_take(struct mem_class_list *c, unsigned class)
{
	struct span *s = c->spans ? c->spans : span_new(c, class);
	struct mem_block *b;

	if (!s)
		return NULL;
	b = s->free;
	if (b) {
		s->free = b->next;
	} else {
		b = (struct mem_block *)((char *)s + HEADER + s->carved * mem_class_size(class));
		fiber_unpoison(b, sizeof *b);
		s->carved++;
	}
	if (++s->used == s->capacity)
		span_unlink(c, s);
	c->used++;
	return b;
}

/* A span that this empties is added to the list *ended. */
static void block_give(struct mem_class_list *c, struct mem_block *b, struct span **ended)
{
	struct span *s = span_of(b);

	b->next = s->free;
	s->free = b;
	c->used--;
	if (s->used == s->capacity)
		span_link(c, s);
	if (--s->used)
		return;
	span_unlink(c, s);
	s->next = *ended;
	*ended = s;
}

/* ---- caches -------------------------------------------------------------------------------- */

static uint32_t batch(unsigned class)
{
	size_t n = 4096 / mem_class_size(class);

	return n < 1 ? 1 : n > 32 ? 32 : (uint32_t)n;
}

static uint32_t cached(struct mem_cache *cache, unsigned class)
{
	return 2 * batch(class) - load_relaxed(&cache->of[class].room);
}

static void cache_enlist(struct mem_cache *cache)
{
	for (unsigned i = 0; i < MEM_CLASSES; i++)
		store_relaxed(&cache->of[i].room, 2 * batch(i));
	lock_acquire(&central.caches_lock);
	cache->next = central.caches;
	cache->link = &central.caches;
	if (cache->next)
		cache->next->link = &cache->next;
	central.caches = cache;
	lock_release(&central.caches_lock);
	cache->listed = true;
}

static void cache_delist(struct mem_cache *cache)
{
	lock_acquire(&central.caches_lock);
	*cache->link = cache->next;
	if (cache->next)
		cache->next->link = cache->link;
	lock_release(&central.caches_lock);
	*cache = (struct mem_cache){ 0 };
}

static void cache_fill(struct mem_cache *cache, unsigned class, uint32_t n)
{
	struct mem_magazine *m = &cache->of[class];
	struct mem_class_list *c = &central.classes[class];
	struct mem_block *b;

	lock_acquire(&c->lock);
	while (n-- > 0 && (b = block_take(c, class)) != NULL) {
		b->next = m->free;
		m->free = b;
		store_relaxed(&m->room, m->room - 1);
	}
	lock_release(&c->lock);
}

static void cache_drain(struct mem_cache *cache, unsigned class, uint32_t n)
{
	struct mem_magazine *m = &cache->of[class];
	struct mem_class_list *c = &central.classes[class];
	struct span *ended = NULL;
	struct mem_block *b;

	if (!m->free)
		return;
	lock_acquire(&c->lock);
	while (n-- > 0 && (b = m->free) != NULL) {
		m->free = b->next;
		store_relaxed(&m->room, m->room + 1);
		block_give(c, b, &ended);
	}
	lock_release(&c->lock);
	spans_end(ended);
}

void mem_cache_flush(struct mem_cache *cache)
{
	if (!cache->listed)
		return;
	for (unsigned i = 0; i < MEM_CLASSES; i++)
		cache_drain(cache, i, UINT32_MAX);
	cache_delist(cache);
}

/* ---- slow paths ---------------------------------------------------------------------------- */

static void *large_alloc(size_t size)
{
	size_t bytes = align_up(size, os_page_size());
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

static struct mem_block *take_one(unsigned class)
{
	struct mem_class_list *c = &central.classes[class];
	struct mem_block *b;

	lock_acquire(&c->lock);
	b = block_take(c, class);
	lock_release(&c->lock);
	return b;
}

static struct mem_block *take_cached(struct mem_cache *cache, unsigned class)
{
	struct mem_magazine *m = &cache->of[class];
	struct mem_block *b;

	if (!cache->listed)
		cache_enlist(cache);
	cache_fill(cache, class, batch(class));
	b = m->free;
	if (b) {
		m->free = b->next;
		store_relaxed(&m->room, m->room + 1);
	}
	return b;
}

rare void *gort__mem_alloc_slow(struct mem_cache *cache, size_t size)
{
	struct mem_block *b;

	if (must_fail())
		return NULL;
	if (size > MEM_SMALL)
		return large_alloc(size);
	b = cache ? take_cached(cache, mem_class(size)) : take_one(mem_class(size));
	if (b)
		gort__mem_open(b, size);
	return b;
}

static void give_one(void *p, size_t size)
{
	struct mem_class_list *c = &central.classes[mem_class(size)];
	struct span *ended = NULL;

	gort__mem_close(p, size);
	lock_acquire(&c->lock);
	block_give(c, p, &ended);
	lock_release(&c->lock);
	spans_end(ended);
}

rare void gort__mem_free_slow(struct mem_cache *cache, void *p, size_t size)
{
	unsigned class;

	if (size > MEM_SMALL) {
		large_free(p, size);
		return;
	}
	if (!cache) {
		give_one(p, size);
		return;
	}
	class = mem_class(size);
	if (!cache->listed)
		cache_enlist(cache);
	else
		cache_drain(cache, class, batch(class));
	mem_free(cache, p, size);
}

size_t mem_in_use(void)
{
	size_t used = load_relaxed(&large_used);

	lock_acquire(&central.caches_lock);
	for (unsigned i = 0; i < MEM_CLASSES; i++) {
		struct mem_class_list *c = &central.classes[i];
		size_t blocks, idle = 0;

		for (struct mem_cache *cache = central.caches; cache; cache = cache->next)
			idle += cached(cache, i);
		lock_acquire(&c->lock);
		blocks = c->used;
		lock_release(&c->lock);
		used += (blocks > idle ? blocks - idle : 0) * mem_class_size(i);
	}
	lock_release(&central.caches_lock);
	return used;
}
