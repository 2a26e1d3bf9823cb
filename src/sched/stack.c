/*
 * stack.c - goroutines and their stacks, from address space to warm reuse.
 *
 * A slot is: guard (16 KiB, no access) | usable bytes, a power of two | one page whose top holds
 * the struct g. The G lies at the top of its own stack, so an idle goroutine dirties one page.
 * Slots of one size are carved from chunks: reserved without access, made accessible in steps,
 * guarded BATCH slots at a time, never moved. Pages come by faults.
 *
 *   chunk: carved | carved, cold | ... | not carved yet
 *
 * A free G is in one of three places:
 *   a P's list (default size only; owner), up to P_FREE of them: no lock
 *   the pool's warm list (under its lock), pages still there
 * Both are arrays of pointers, so that moving them about touches none of their pages.
 *   cold: its pages were given back, G included; the chunk's bitmap knows it. A chunk that is cold
 *   throughout is unmapped, and with it its page tables.
 *
 * sysmon trims: what lay in a warm list since its last look without being needed goes cold.
 *
 * Gs of neighbouring slots lie at different offsets in their pages (COLOURS), else those of all
 * would want the same few sets of the caches.
 *
 * Guards cost no mapping each where the kernel has MADV_GUARD_INSTALL; where none can be made, a
 * canary word at the low end is checked at each switch.
 *
 * Invariant: everything in a G but chunk, slot, low, stack_size, unguarded, and the turns of
 * waits is set anew by gort__g_new; turns go on across lives while the page is warm. A cold G's
 * word starts at 0 again, which is sound: no wait of an earlier life is armed any more (park.h,
 * 4).
 */
#include "sched/stack.h"

#include <string.h>

#define BATCH 64u
#define COLOURS 16u
#define COLOUR_BYTES 128u
#define IDLE_KEPT 64u  /* free Gs that an idle P keeps */
#define WARM_KEPT 256u /* free Gs that a pool keeps warm for good */
#define PREPARE 16u
#define TRIM_STEP 32u
#define CHUNK_MAX 4096u /* slots */
#define FIRST_BYTES ((size_t)16 << 20)
#define CHUNK_BYTES ((size_t)1 << 31)
#define CLASSES 17u /* 16 KiB to 1 GiB */
#define CANARY UINT64_C(0x6761746f6e6c6567)
#define G_ROOM ((size_t)4096)

_Static_assert(sizeof(struct g) <= 1024, "a G must leave room for frames in its page");

struct chunk {
	struct chunk *next; /* atomic, as pool's chunks: gort__stacks_peek */
	struct chunk *gone; /* dropped, but not unmapped yet */
	char *base;
	size_t stride;
	uint32_t slots, committed, carved, cold_count;
	uint32_t class;
	enum os_guard guard; /* atomic, written under the lock: the weakest of its batches' */
	uint32_t mprotected; /* guards of that kind */
	uint64_t cold[];     /* one bit a slot */
};

static struct pool {
	struct lock lock;
	struct g **warm;      /* used from the end */
	uint32_t count, room; /* of warm */
	uint32_t least;       /* fewest warm ones since the last count */
	uint32_t to_trim;     /* what the last count found, less what was trimmed or needed since */
	uint32_t demand; /* atomic, written under the lock: cold ones taken; halved by prepare */
	struct chunk *chunks; /* atomic, written under the lock */
	struct chunk *gone;
	uint32_t chunk_slots; /* of the next chunk */
	uint32_t cold_count;
} pools[CLASSES];

static struct chunk
	*left_chunks; /* with threads that were left behind; freed later; by who starts and ends */

static uint32_t class_of(size_t size)
{
	uint32_t class = 0;

	while ((STACK_MIN << class) < size)
		class ++;
	return class;
}

static size_t class_size(uint32_t class)
{
	return STACK_MIN << class;
}

static size_t chunk_meta(uint32_t slots)
{
	return sizeof(struct chunk) + (slots + 63) / 64 * sizeof(uint64_t);
}

static struct g *slot_g(const struct chunk *c, uint32_t i)
{
	char *end = c->base + (i + 1) * c->stride - align_up(sizeof(struct g), 64);

	return (struct g *)(end - i % COLOURS * COLOUR_BYTES);
}

/* Of a pool's first chunk: few, where a stack is large. */
static uint32_t first_slots(size_t stride)
{
	size_t slots = FIRST_BYTES / stride;

	return slots < 1 ? 1 : slots < BATCH / 2 ? (uint32_t)slots : BATCH / 2;
}

static struct chunk *chunk_new(struct pool *pool, uint32_t class)
{
	size_t page = os_page_size();
	size_t stride = align_up(STACK_GUARD, page) + class_size(class) + align_up(G_ROOM, page);
	uint32_t slots = pool->chunk_slots ? pool->chunk_slots : first_slots(stride);
	struct chunk *c;

	while (slots > 1 && slots * stride > CHUNK_BYTES)
		slots /= 2;
	c = mem_alloc(NULL, chunk_meta(slots));
	if (!c)
		return NULL;
	memset(c, 0, chunk_meta(slots));
	c->base = os_reserve(slots * stride);
	if (!c->base && slots > 1) { /* address space is short */
		mem_free(NULL, c, chunk_meta(slots));
		pool->chunk_slots = slots / 2;
		return chunk_new(pool, class);
	}
	if (!c->base) {
		mem_free(NULL, c, chunk_meta(slots));
		return NULL;
	}
	c->slots = slots;
	c->stride = stride;
	c->class = class;
	c->next = pool->chunks;
	store_release(&pool->chunks, c); /* meets the load in gort__stacks_peek */
	pool->chunk_slots = slots * 2 < CHUNK_MAX ? slots * 2 : CHUNK_MAX;
	return c;
}

/* Make at least n more slots accessible. In large steps, since each stops other threads' page
 * faults for a moment; in small ones when memory may not be promised in advance
 * (overcommit_memory=2). */
static bool chunk_commit(struct chunk *c, uint32_t n)
{
	uint32_t left = c->slots - c->committed, step = c->slots / 8;
	char *base = c->base + c->committed * c->stride;

	step = step < n ? n : step;
	step = step < left ? step : left;
	if (os_commit(base, step * c->stride) < 0) {
		step = n;
		if (os_commit(base, step * c->stride) < 0)
			return false;
	}
	c->committed += step;
	return true;
}

/* Make the next slots cold ones. Guards are per batch: the kind may change within a chunk.
 * Called with the lock, which it lets go of while it makes them: that costs as much as some
 * first touches, and another M can have its batch meanwhile. Slots that are carved but not cold
 * yet are nobody else's, and keep the chunk from being dropped. */
static bool carve(struct pool *pool, uint32_t class)
{
	struct chunk *c = pool->chunks;
	uint32_t first, n;
	enum os_guard guard;

	if (!c || c->carved == c->slots)
		c = chunk_new(pool, class);
	if (!c)
		return false;
	first = c->carved;
	n = c->slots - first < BATCH ? c->slots - first : BATCH;
	if (first + n > c->committed && !chunk_commit(c, first + n - c->committed))
		return false;
	c->carved += n;
	lock_release(&pool->lock);
	guard = os_guard_many(c->base + first * c->stride, c->stride, STACK_GUARD, n);
	lock_acquire(&pool->lock);
	store_relaxed(&c->guard, guard > c->guard ? guard : c->guard);
	c->mprotected += guard == OS_GUARD_MPROTECT ? n : 0;
	for (uint32_t i = first; i < first + n; i++)
		c->cold[i / 64] |= UINT64_C(1) << i % 64;
	c->cold_count += n;
	pool->cold_count += n;
	return true;
}

/* The first touch of the page that the G lies in, at a cost of over a microsecond: without the
 * lock. */
static struct g *g_init(struct chunk *c, uint32_t i)
{
	struct g *g = slot_g(c, i);
	uint64_t *canary = (uint64_t *)(c->base + i * c->stride + STACK_GUARD);

	memset(g, 0, sizeof *g);
	g->chunk = c;
	g->slot = i;
	g->low = (char *)canary;
	g->stack_size = class_size(c->class);
	if (load_relaxed(&c->guard) == OS_GUARD_NONE) {
		*canary = CANARY;
		g->unguarded = true;
	}
	return g;
}

/* A cold slot, of at least one in the pool. Under the lock. */
static struct chunk *take_cold(struct pool *pool, uint32_t *slot)
{
	struct chunk *c = pool->chunks;
	uint32_t word = 0;

	while (c->cold_count == 0)
		c = c->next;
	while (c->cold[word] == 0)
		word++;
	*slot = word * 64 + (uint32_t)__builtin_ctzll(c->cold[word]);
	c->cold[word] &= c->cold[word] - 1;
	c->cold_count--;
	pool->cold_count--;
	return c;
}

/* With the lock, before and after: there is a cold slot, or memory is out. */
static bool want_cold(struct pool *pool, uint32_t class)
{
	while (pool->cold_count == 0)
		if (!carve(pool, class))
			return false;
	return true;
}

/* Warm ones for the next spawns of m's P. */
static void refill(struct pool *pool, struct p *p)
{
	uint32_t n = P_FREE / 2 - p->free_count;

	n = n < pool->count ? n : pool->count;
	pool->count -= n;
	memcpy(p->free_gs + p->free_count, pool->warm + pool->count, n * sizeof p->free_gs[0]);
	p->free_count += n;
}

struct g *gort__stack_get(struct m *m, size_t size)
{
	uint32_t class = class_of(size), slot = 0;
	struct pool *pool = &pools[class];
	struct chunk *c = NULL;
	struct g *g = NULL;

	lock_acquire(&pool->lock);
	if (pool->count) {
		g = pool->warm[--pool->count];
		if (m && m->p->free_count < P_FREE / 2 && size == gort__sched.stack_size)
			refill(pool, m->p);
	} else if (want_cold(pool, class)) {
		c = take_cold(pool, &slot);
		store_relaxed(&pool->demand, pool->demand + 1);
	}
	if (pool->count < pool->least)
		pool->least = pool->count;
	lock_release(&pool->lock);
	return c ? g_init(c, slot) : g;
}

static bool make_room(struct pool *pool, uint32_t count)
{
	uint32_t room = pool->room ? pool->room : P_FREE;
	struct g **warm;

	while (room < count)
		room *= 2;
	if (room == pool->room)
		return true;
	warm = mem_alloc(NULL, room * sizeof *warm);
	if (!warm)
		return false;
	if (pool->room) {
		memcpy(warm, pool->warm, pool->count * sizeof *warm);
		mem_free(NULL, pool->warm, pool->room * sizeof *warm);
	}
	pool->warm = warm;
	pool->room = room;
	return true;
}

static bool is_cold(const struct chunk *c, uint32_t i)
{
	return c->cold[i / 64] & UINT64_C(1) << i % 64;
}

static void chunk_free(struct chunk *c)
{
	for (uint32_t i = 0; i < c->carved; i++)
		if (!is_cold(c, i))
			fiber_forget(&slot_g(c, i)->fiber);
	os_guard_forget(OS_GUARD_MPROTECT, c->mprotected);
	fiber_unpoison(c->base, c->slots * c->stride);
	os_unmap(c->base, c->slots * c->stride);
	mem_free(NULL, c, chunk_meta(c->slots));
}

/* What was dropped while a report may have been looking at it. */
static void free_gone(struct pool *pool)
{
	struct chunk *c;

	if (load_seq(&gort__sched.dumpers))
		return; /* next time */
	while ((c = pool->gone) != NULL) {
		pool->gone = c->gone;
		chunk_free(c);
	}
}

/* Under the pool's lock: c is cold throughout. Out of the list first, then a look whether any report
 * is under way: one that begins later does not find c (gort__stacks_peek counts itself first). */
static void chunk_drop(struct pool *pool, struct chunk *c)
{
	struct chunk **link = &pool->chunks;

	if (link[0] == c && !c->next)
		return; /* the last one stays */
	while (*link != c)
		link = &(*link)->next;
	store_seq(link, c->next);
	pool->cold_count -= c->cold_count;
	c->gone = pool->gone;
	pool->gone = c;
	free_gone(pool);
}

static void make_cold(struct pool *pool, struct g *g)
{
	struct chunk *c = g->chunk;
	uint32_t i = g->slot;
	char *low = g->low;

	fiber_forget(&g->fiber);
	fiber_unpoison(low, (size_t)((char *)g - low));
	os_discard(low, (size_t)(c->base + (i + 1) * c->stride - low)); /* g is gone */
	lock_acquire(&pool->lock);
	c->cold[i / 64] |= UINT64_C(1) << i % 64;
	c->cold_count++;
	pool->cold_count++;
	if (c->cold_count == c->carved && c->carved == c->slots)
		chunk_drop(pool, c);
	lock_release(&pool->lock);
}

/* Without memory for the list they go cold at once. */
static void to_pool(struct g **gs, uint32_t n)
{
	struct pool *pool = &pools[gs[0]->chunk->class];
	bool room;

	lock_acquire(&pool->lock);
	room = make_room(pool, pool->count + n);
	if (room) {
		memcpy(pool->warm + pool->count, gs, n * sizeof *gs);
		pool->count += n;
	}
	lock_release(&pool->lock);
	for (uint32_t i = 0; !room && i < n; i++)
		make_cold(pool, gs[i]);
}

bool gort__stacks_prepare(void)
{
	uint32_t class = class_of(gort__sched.stack_size), n = 0, slot[PREPARE];
	struct pool *pool = &pools[class];
	struct chunk *c[PREPARE];
	struct g *g[PREPARE];

	if (load_relaxed(&pool->demand) < PREPARE || !lock_try(&pool->lock))
		return false;
	if (pool->count < P_FREE / 2)
		for (; n < PREPARE && want_cold(pool, class); n++)
			c[n] = take_cold(pool, &slot[n]);
	store_relaxed(&pool->demand, n ? pool->demand / 2 : 0);
	lock_release(&pool->lock);
	for (uint32_t i = 0; i < n; i++)
		g[i] = g_init(c[i], slot[i]);
	if (n)
		to_pool(g, n);
	return n != 0;
}

/* The coldest of p's go. */
static void keep_few(struct p *p, uint32_t few)
{
	uint32_t n = p->free_count - few;

	if (p->free_count <= few)
		return;
	to_pool(p->free_gs, n);
	memmove(p->free_gs, p->free_gs + n, few * sizeof p->free_gs[0]);
	p->free_count = few;
}

rare void gort__stack_put_slow(struct m *m, struct g *g)
{
	if (!m || g->stack_size != gort__sched.stack_size) {
		to_pool(&g, 1);
		return;
	}
	keep_few(m->p, P_FREE / 2);
	m->p->free_gs[m->p->free_count++] = g;
}

void gort__stack_idle(struct p *p)
{
	keep_few(p, IDLE_KEPT);
}

void gort__stack_flush(struct p *p)
{
	keep_few(p, 0);
}

/* How many of the pool's warm ones may go cold now: of those that were free at the last count,
 * what has not been needed since. */
static uint32_t trim_budget(struct pool *pool, bool count)
{
	uint32_t unused;

	lock_acquire(&pool->lock);
	unused = pool->least > WARM_KEPT ? pool->least - WARM_KEPT : 0;
	if (count)
		pool->to_trim = unused;
	else if (pool->to_trim > unused)
		pool->to_trim = unused;
	unused = pool->to_trim;
	if (count)
		pool->least = pool->count;
	lock_release(&pool->lock);
	return unused;
}

/* Take some out of the warm list. */
static uint32_t take_warm(struct pool *pool, struct g **some, uint32_t most)
{
	uint32_t n;

	lock_acquire(&pool->lock);
	n = pool->count < most ? pool->count : most;
	pool->count -= n;
	pool->least = pool->least > n ? pool->least - n : 0;
	pool->to_trim -= n < pool->to_trim ? n : pool->to_trim;
	memcpy(some, pool->warm + pool->count, n * sizeof some[0]);
	lock_release(&pool->lock);
	return n;
}

uint32_t gort__stacks_trim(uint32_t most, bool count)
{
	uint32_t left = 0;

	for (struct pool *pool = pools; pool < pools + CLASSES; pool++) {
		uint32_t budget = trim_budget(pool, count), n = 0;
		struct g *some[TRIM_STEP];

		for (uint32_t done = 0; done < budget && done < most; done += n) {
			n = take_warm(pool, some,
				      budget - done < TRIM_STEP ? budget - done : TRIM_STEP);
			if (n == 0)
				break;
			for (uint32_t i = 0; i < n; i++)
				make_cold(pool, some[i]);
		}
		left += budget > most ? budget - most : 0;
	}
	return left;
}

void gort__stacks_each(void (*fn)(struct g *g))
{
	for (struct pool *pool = pools; pool < pools + CLASSES; pool++)
		for (struct chunk *c = pool->chunks; c; c = c->next)
			for (uint32_t i = 0; i < c->carved; i++)
				if (!is_cold(c, i) && load_relaxed(&slot_g(c, i)->state) != G_FREE)
					fn(slot_g(c, i));
}

/* Slots that are being carved, and cold ones, read as zero: FREE. The bitmap saves the reading. */
racy static bool may_be_alive(const struct chunk *c, uint32_t i, const struct g *g)
{
	return i < c->carved && !(c->cold[i / 64] & UINT64_C(1) << i % 64) &&
		load_acquire(&g->state) != G_FREE;
}

void gort__stacks_peek(void (*fn)(void *arg, struct g *g, char *low), void *arg)
{
	for (struct pool *pool = pools; pool < pools + CLASSES; pool++)
		for (struct chunk *c = load_seq(&pool->chunks); c; c = load_seq(&c->next))
			for (uint32_t i = 0; i < c->slots; i++)
				if (may_be_alive(c, i, slot_g(c, i)))
					fn(arg, slot_g(c, i),
					   c->base + i * c->stride + STACK_GUARD);
}

/* Those being carved count as in use, for a moment. */
racy void gort__stacks_size(uint64_t *reserved, uint64_t *resident)
{
	*reserved = *resident = 0;
	for (struct pool *pool = pools; pool < pools + CLASSES; pool++)
		for (struct chunk *c = load_seq(&pool->chunks); c; c = load_seq(&c->next)) {
			uint32_t carved = c->carved, cold = c->cold_count;

			*reserved += c->slots * c->stride;
			*resident += (carved > cold ? carved - cold : 0) *
				(c->stride - align_up(STACK_GUARD, os_page_size()));
		}
}

static bool one_runs(struct chunk *c)
{
	for (uint32_t i = 0; i < c->carved; i++)
		if (!is_cold(c, i) && load_acquire(&slot_g(c, i)->state) == G_RUNNING)
			return true;
	return false;
}

static void free_left(void)
{
	struct chunk **link = &left_chunks, *c;

	while ((c = *link) != NULL) {
		if (one_runs(c)) {
			link = &c->next;
			continue;
		}
		*link = c->next;
		chunk_free(c);
	}
}

/* g's thread, left behind, is on its own stack again. */
void gort__stack_left(struct g *g)
{
	store_release(&g->state, (uint32_t)G_DEAD); /* meets the acquire in one_runs */
}

void gort__stacks_free(bool keep_running)
{
	free_left();
	for (struct pool *pool = pools; pool < pools + CLASSES; pool++) {
		for (struct chunk *c = pool->chunks, *next; c; c = next) {
			next = c->next;
			if (!keep_running || !one_runs(c)) {
				chunk_free(c);
			} else {
				c->next = left_chunks;
				left_chunks = c;
			}
		}
		free_gone(pool);
		if (pool->room)
			mem_free(NULL, pool->warm, pool->room * sizeof *pool->warm);
		memset(pool, 0, sizeof *pool);
		pool->lock.rank = RANK_STACKS;
	}
}

rare void gort__stack_check(struct g *g)
{
	char label[LABEL_SIZE];

	if (*(uint64_t *)g->low != CANARY)
		gort__fatal(
			"stack overflow: goroutine %s used more than its stack of %u KiB; raise it "
			"by gort_attr.stack_size, gort_options.stack_size or GORT_STACK",
			g_label(g, label), (uint64_t)(g->stack_size >> 10));
}
