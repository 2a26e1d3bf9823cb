/*
 * alloc.h - gort's own memory: sized blocks, without malloc and its locks.
 *
 * A goroutine may be stopped while it holds malloc's lock, so nothing inside gort may want that
 * one. Blocks of up to MEM_SMALL bytes come in classes, from spans of the system's memory
 * (alloc.c); larger ones are mappings of their own. The caller remembers the size.
 *
 *  1. Blocks are 16-byte aligned, 64-byte aligned where the size is a multiple of 64, not zeroed.
 *  2. A cache (one per P) holds free blocks of each class. Only its owner touches it, without
 *     atomic steps; mem_in_use alone looks on. An empty one fetches a batch from the central lists,
 *     a full one gives a batch back.
 *  3. The central lists are under locks of the highest rank: blocks may be taken and freed under
 *     any other. A block may be freed through another cache than it came from, or none.
 *  4. The first word of a free block is the list's. The rest is poisoned for ASan and Valgrind, and
 *     in checked builds filled with 0xdd; those also know each block's state and stop at a double
 *     free or a wrong size.
 *
 * Callers: any thread with a cache that is its own, or NULL. Not signal handlers.
 */
#ifndef GORT_BASE_ALLOC_H
#define GORT_BASE_ALLOC_H

#include "base/atomic.h"
#include "base/base.h"
#include "fiber.h"

#include <string.h>

#define MEM_SMALL 32768u
#define MEM_CLASSES 40u

struct mem_block {
	struct mem_block *next;
};

/* Zero value ready: without room, so the first block that is freed into it takes the slow path,
 * which enters it in the list of caches. */
struct mem_cache {
	struct mem_magazine {
		struct mem_block *free; /* owner */
		uint32_t room;          /* atomic, owner stores: how many more it takes */
	} of[MEM_CLASSES];
	struct mem_cache *next, **link; /* the list of caches, under its lock */
	bool listed;                    /* owner */
};

void *gort__mem_alloc_slow(struct mem_cache *cache, size_t size);
void gort__mem_free_slow(struct mem_cache *cache, void *p, size_t size);
/* Give everything back: before the cache's own memory goes, or when its owner idles for long. */
void mem_cache_flush(struct mem_cache *cache);
/* Bytes handed out, rounded up to what their classes take. Exact while nobody allocates. */
size_t mem_in_use(void);
/* Memory that was freed is kept, for mem_trim will be called now and then; false: it will not till
 * further notice, and what was kept goes back. */
void mem_keep(bool keep);
/* Give up to most spans back that have not been needed since the last count. count: count those
 * that are kept now. Gives how many are left to give back. */
uint32_t mem_trim(uint32_t most, bool count);
/* For tests: the n-th allocation from now fails (0: none). In builds that are not checked only
 * those count that no cache could serve. */
void mem_fail_after(uint32_t n);

/* 16, 32, ... 128, then four classes to each doubling. */
static inline unsigned mem_class(size_t size)
{
	size_t last = size - 1;
	unsigned top;

	if (size <= 128)
		return size ? (unsigned)(last / 16) : 0;
	top = 63 - (unsigned)__builtin_clzll(last); /* 7 or more */
	return 8 + (top - 7) * 4 + ((unsigned)(last >> (top - 2)) & 3);
}

static inline size_t mem_class_size(unsigned class)
{
	if (class < 8)
		return (class + 1) * 16;
	return (size_t)((class - 8) % 4 + 5) << ((class - 8) / 4 + 5);
}

#ifdef GORT_CHECKED
bool gort__mem_fails(void);
void gort__mem_note_alloc(void *p, size_t size);
void gort__mem_note_free(void *p, size_t size);
#else
static inline bool gort__mem_fails(void)
{
	return false;
}

static inline void gort__mem_note_alloc(void *p, size_t size)
{
	(void)p, (void)size;
}

static inline void gort__mem_note_free(void *p, size_t size)
{
	(void)p, (void)size;
}
#endif

/* Between a block's two lives. Only what was asked for is opened again, not the whole class. */
static inline void gort__mem_open(void *p, size_t size)
{
	fiber_unpoison(p, size);
	gort__mem_note_alloc(p, size);
}

static inline void gort__mem_close(void *p, size_t size)
{
	gort__mem_note_free(p, size);
	fiber_unpoison(p, sizeof(struct mem_block));
	fiber_poison((char *)p + sizeof(struct mem_block),
		     mem_class_size(mem_class(size)) - sizeof(struct mem_block));
}

/* NULL: out of memory. cache NULL: the central lists. */
static inline void *mem_alloc(struct mem_cache *cache, size_t size)
{
	struct mem_magazine *m;
	struct mem_block *b;

	if (unlikely(size > MEM_SMALL || !cache))
		return gort__mem_alloc_slow(cache, size);
	m = &cache->of[mem_class(size)];
	b = m->free;
	if (unlikely(!b))
		return gort__mem_alloc_slow(cache, size);
	if (unlikely(gort__mem_fails()))
		return NULL;
	m->free = b->next;
	store_relaxed(&m->room, m->room + 1);
	gort__mem_open(b, size);
	return b;
}

/* The size that it was allocated with. p is not NULL. */
static inline void mem_free(struct mem_cache *cache, void *p, size_t size)
{
	struct mem_magazine *m;
	struct mem_block *b = p;

	if (unlikely(size > MEM_SMALL || !cache) ||
	    unlikely(cache->of[mem_class(size)].room == 0)) {
		gort__mem_free_slow(cache, p, size);
		return;
	}
	m = &cache->of[mem_class(size)];
	gort__mem_close(p, size);
	b->next = m->free;
	m->free = b;
	store_relaxed(&m->room, m->room - 1);
}

#endif
