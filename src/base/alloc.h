/*
 * alloc.h - gort's own memory: sized blocks, without malloc and its locks.
 *
 * A goroutine may be stopped while it holds malloc's lock, so nothing inside gort may want that. Small
 * blocks (up to MEM_SMALL) come in size classes from spans of the system's memory; each P has a cache
 * of free blocks, which its owner uses without atomics; the central lists (alloc.c) are under a lock
 * of the highest rank, so memory may be taken and freed with any lock held. Larger blocks are
 * mappings of their own. The caller remembers the size.
 *
 * Blocks are 16-byte aligned, those of a multiple of 64 bytes 64-byte aligned, and not zeroed.
 */
#ifndef GORT_BASE_ALLOC_H
#define GORT_BASE_ALLOC_H

#include "base/base.h"
#include "fiber.h"

#define MEM_SMALL 8192u
#define MEM_CLASSES 32u

struct mem_block {
	struct mem_block *next;
};

/* Owner only. Zero value ready. */
struct mem_cache {
	struct {
		struct mem_block *free;
		uint32_t count;
	} of[MEM_CLASSES];
};

void *gort__mem_alloc_slow(struct mem_cache *cache, size_t size);
void gort__mem_free_slow(struct mem_cache *cache, void *p, size_t size);
void mem_cache_flush(struct mem_cache *cache);
/* Bytes handed out, with what caches hold. */
size_t mem_in_use(void);
/* For tests: the n-th allocation from now that leaves the caches fails (0: none). */
void mem_fail_after(uint32_t n);

/* 16, 32, ... 128, then four classes to each doubling. */
static inline unsigned mem_class(size_t size)
{
	unsigned shift;

	if (size <= 128)
		return size ? (unsigned)(size - 1) / 16 : 0;
	shift = 63 - (unsigned)__builtin_clzll(size - 1) - 2; /* size - 1 has two bits below its highest */
	return 8 + (shift - 5) * 4 + (unsigned)((size - 1) >> shift) - 4;
}

static inline size_t mem_class_size(unsigned class)
{
	if (class < 8)
		return (class + 1) * 16;
	return (size_t)((class - 8) % 4 + 5) << ((class - 8) / 4 + 5);
}

#define MEM_KEEP(class) ((class) < 24 ? 64u : 16u)

/* NULL: out of memory. cache NULL: the central lists. */
static inline void *mem_alloc(struct mem_cache *cache, size_t size)
{
	unsigned class = mem_class(size);
	struct mem_block *b;

	if (unlikely(!cache || size > MEM_SMALL || !cache->of[class].free))
		return gort__mem_alloc_slow(cache, size);
	b = cache->of[class].free;
	cache->of[class].free = b->next;
	cache->of[class].count--;
	fiber_unpoison(b, size);
	return b;
}

static inline void mem_free(struct mem_cache *cache, void *p, size_t size)
{
	unsigned class = mem_class(size);
	struct mem_block *b = p;

	if (unlikely(!cache || size > MEM_SMALL || cache->of[class].count >= MEM_KEEP(class))) {
		gort__mem_free_slow(cache, p, size);
		return;
	}
#ifdef GORT_CHECKED
	__builtin_memset(p, 0xdd, size);
#endif
	fiber_poison(p, mem_class_size(class));
	fiber_unpoison(b, sizeof *b);
	b->next = cache->of[class].free;
	cache->of[class].free = b;
	cache->of[class].count++;
}

#endif
