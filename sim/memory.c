/*
 * memory.c - the address space of a schedule: mappings, and what of them may be touched.
 *
 * The arena lies at a constant address: first the stacks of simulated threads, then the heap, where
 * each mapping gets addresses that none had before in this schedule. Every 16 bytes have a state
 * (cell). Every atomic step is checked against it, exactly; of plain accesses, writes to freed
 * memory show later, as damage to what freed memory was filled with.
 *
 *     NOTHING --os_map--> LIVE --fiber_poison--> FREED --fiber_unpoison--> LIVE
 *     NOTHING --os_reserve--> CLOSED --os_commit--> LIVE --os_guard_many--> CLOSED
 *     any --os_unmap--> NOTHING
 *     FREED_G: the struct g of a goroutine that is free. Its state may be read, by stack.c.
 *
 * New memory reads as zero, where os.h says so: a mapping's pages are noted when they may have been
 * written (dirty), and cleared before the next schedule. Those of large mappings are noted by the
 * allocator's own calls: it opens each block (fiber_unpoison) before it is used. What os_reserve
 * gives lies apart, and is not cleared: goroutines' stacks are filled when one begins (check.c).
 */
#include "engine.h"
#include "fiber.h"
#include "sanitize.h"
#include "sched/sched.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define ARENA ((uintptr_t)0x200000000000)
#define STACK ((size_t)SIM_STACK_KIB << 10)
#define STACKS (MAX_THREADS * STACK)
#define HEAP ((size_t)1 << 30)
#define PAGE ((size_t)4096)
#define CELL 16u
#define SMALL ((size_t)256 << 10) /* mappings of up to so much may be written anywhere */
#define FILL 0xdd
#define MOST_FILLED ((size_t)8192)
#define MAPPINGS 1024u
#define SCRAPS 256u
#define ALLOCATOR_KEEPS ((size_t)2 << 20) /* one arena of alloc.c stays mapped */

enum cell { NOTHING, LIVE, CLOSED, FREED, FREED_UNFILLED, FREED_G };

struct mapping {
	uintptr_t at;
	size_t size;
	bool reserved;
};

static uint8_t *cells;
static uint64_t dirty[HEAP / PAGE / 64];
static uint32_t dirty_pages[HEAP / PAGE];

static struct {
	uintptr_t next[2]; /* of the heap: mapped, reserved */
	uint32_t stacks;   /* bits: slots whose stacks are in use */
	unsigned mappings, dirty, scraps;
	struct mapping mapping[MAPPINGS];
	struct {
		char *p;
		size_t size;
	} scrap[SCRAPS];
} memory;

extern char __start_sim_data[], __stop_sim_data[], __start_sim_bss[], __stop_sim_bss[];

/* ---- cells ----------------------------------------------------------------------------------- */

static bool in_arena(uintptr_t p)
{
	return p - ARENA < STACKS + HEAP;
}

static uint8_t *cell_of(uintptr_t p)
{
	return &cells[(p - ARENA) / CELL];
}

static void set(uintptr_t p, size_t size, enum cell to)
{
	memset(cell_of(p), to, (size + CELL - 1) / CELL);
	if (to == LIVE || to == FREED_G) /* its owner's lists go through a free G */
		sanitize_open((void *)p, size);
	else
		sanitize_close((void *)p, size);
}

static bool is_static(uintptr_t p)
{
	return p - (uintptr_t)__start_sim_data < (size_t)(__stop_sim_data - __start_sim_data) ||
		p - (uintptr_t)__start_sim_bss < (size_t)(__stop_sim_bss - __start_sim_bss);
}

static const char *const what[] = { "memory that is not mapped",
				    "",
				    "a guard, or memory that may not be touched yet",
				    "freed memory",
				    "freed memory",
				    "a goroutine that is free" };

static void noinline bad_access(uintptr_t p, const struct sim_site *site)
{
	unsigned state = in_arena(p) ? *cell_of(p) : NOTHING;

	if (state == FREED_G && site->op == SIM_LOAD && strstr(site->file, "sched/stack.c"))
		return;
	trace(site, (void *)p, 0, 0);
	sim_fail("%s at %s:%u touches %s", site->text, site->file, site->line, what[state]);
}

void memory_check(const void *pointer, const struct sim_site *site)
{
	uintptr_t p = (uintptr_t)pointer;

	if (likely(in_arena(p)) ? *cell_of(p) != LIVE : !is_static(p))
		bad_access(p, site);
}

/* ---- pages that were written ----------------------------------------------------------------- */

static void note_dirty(uintptr_t p, size_t size)
{
	size_t first = (p - ARENA - STACKS) / PAGE, last = (p + size - 1 - ARENA - STACKS) / PAGE;

	for (size_t i = first; i <= last; i++) {
		if (dirty[i / 64] >> i % 64 & 1)
			continue;
		dirty[i / 64] |= UINT64_C(1) << i % 64;
		dirty_pages[memory.dirty++] = (uint32_t)i;
	}
}

/* ---- mappings -------------------------------------------------------------------------------- */

void memory_prepare(void)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	void *p = mmap((void *)ARENA, STACKS + HEAP, PROT_READ | PROT_WRITE,
		       flags | MAP_FIXED_NOREPLACE, -1, 0);

	cells = mmap(NULL, (STACKS + HEAP) / CELL, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (p != (void *)ARENA || cells == MAP_FAILED)
		__builtin_trap();
	madvise(p, STACKS + HEAP, MADV_NOHUGEPAGE);
	for (unsigned i = 0; i < MAX_THREADS; i++)
		mprotect((char *)ARENA + i * STACK, PAGE, PROT_NONE);
	memory_begin();
}

void memory_begin(void)
{
	char *heap = (char *)ARENA + STACKS;

	for (unsigned i = 0; i < memory.dirty; i++) {
		sanitize_open(heap + dirty_pages[i] * PAGE, PAGE);
		sanitize_fill(heap + dirty_pages[i] * PAGE, 0, PAGE);
		dirty[dirty_pages[i] / 64] = 0;
	}
	for (; memory.stacks; memory.stacks &= memory.stacks - 1)
		set(ARENA + (unsigned)__builtin_ctz(memory.stacks) * STACK, STACK, NOTHING);
	for (unsigned i = 0; i < 2; i++) {
		uintptr_t start = ARENA + STACKS + i * HEAP / 2;

		if (memory.next[i])
			set(start, memory.next[i] - start, NOTHING);
		memory.next[i] = start + PAGE;
	}
	memory.mappings = memory.dirty = memory.scraps = 0;
}

void *memory_stack_of(unsigned slot, size_t *size)
{
	*size = STACK - PAGE;
	return (char *)ARENA + slot * STACK + PAGE;
}

/* Filled, so that what is read before it was written is the same in each schedule. */
void *memory_stack(unsigned slot, size_t *size)
{
	char *p = memory_stack_of(slot, size);

	memory.stacks |= 1u << slot;
	set((uintptr_t)p, *size, LIVE);
	sanitize_fill(p + *size - 2 * MOST_FILLED, 0xdb, 2 * MOST_FILLED);
	return p;
}

static uintptr_t map(size_t size, bool reserved)
{
	uintptr_t p = align_up(memory.next[reserved], PAGE);

	size = align_up(size, PAGE);
	if (sim.memory_may_fail && sim.faults & FAULT_MEMORY && sim_below(4) == 0) {
		sim.unmapped++;
		return 0;
	}
	if (memory.mappings == MAPPINGS ||
	    p + size + PAGE > ARENA + STACKS + HEAP / 2 * (1 + reserved))
		sim_fail("the simulator has no room for another mapping of %zu bytes", size);
	memory.mapping[memory.mappings++] = (struct mapping){ p, size, reserved };
	memory.next[reserved] = p + size + PAGE;
	return p;
}

#define OS_POINT(text) \
	static const struct sim_site site = { __FILE__, __func__, text, __LINE__, SIM_OS, 0, 0 }; \
	sim_point(&site, NULL)

size_t os_page_size(void)
{
	return PAGE;
}

void *os_map(size_t size)
{
	uintptr_t p;

	OS_POINT("os_map");
	p = map(size, false);
	trace(&site, (void *)p, 0, size);
	if (!p)
		return NULL;
	set(p, size, LIVE);
	if (size <= SMALL)
		note_dirty(p, size);
	else
		note_dirty(p, PAGE);
	return (void *)p;
}

void *os_reserve(size_t size)
{
	uintptr_t p;

	OS_POINT("os_reserve");
	p = map(size, true);
	trace(&site, (void *)p, 0, size);
	if (p)
		set(p, size, CLOSED);
	return (void *)p;
}

static struct mapping *mapping_of(uintptr_t p)
{
	for (unsigned i = memory.mappings; i-- > 0;)
		if (p - memory.mapping[i].at < memory.mapping[i].size)
			return &memory.mapping[i];
	return NULL;
}

void os_unmap(void *pointer, size_t size)
{
	uintptr_t p = (uintptr_t)pointer;
	struct mapping *m;

	OS_POINT("os_unmap");
	m = mapping_of(p);
	trace(&site, pointer, size, 0);
	if (!m || m->at != p || m->size != align_up(size, PAGE))
		sim_fail("os_unmap(%p, %zu) of what is not a mapping", pointer, size);
	set(p, m->size, NOTHING);
	*m = memory.mapping[--memory.mappings];
}

int os_commit(void *p, size_t size)
{
	OS_POINT("os_commit");
	trace(&site, p, 0, size);
	if (sim.memory_may_fail && sim.faults & FAULT_MEMORY && sim_below(4) == 0) {
		sim.unmapped++;
		return -12; /* ENOMEM */
	}
	set((uintptr_t)p, size, LIVE);
	return 0;
}

void os_discard(void *p, size_t size)
{
	OS_POINT("os_discard");
	trace(&site, p, size, 0);
	set((uintptr_t)p, size, LIVE);
	sanitize_fill(p, 0, size);
}

enum os_guard os_guard_many(void *p, size_t stride, size_t size, unsigned n)
{
	if (sim.plan.unguarded)
		return OS_GUARD_NONE;
	for (unsigned i = 0; i < n; i++)
		set((uintptr_t)p + i * stride, size, CLOSED);
	return OS_GUARD_MADVISE;
}

void os_guard_forget(enum os_guard kind, unsigned n)
{
	(void)kind, (void)n;
}

bool faults_welcome(void)
{
	if (!(sim.faults & FAULT_MEMORY))
		return false;
	sim.memory_may_fail = true;
	if (sim_below(2))
		mem_fail_after(1 + sim_below(24));
	return true;
}

void faults_over(void)
{
	sim.memory_may_fail = false;
	mem_fail_after(0);
}

bool threads_may_fail(void)
{
	return sim.faults & FAULT_THREADS;
}

const char *memory_left(void)
{
	static char text[128];
	unsigned kept = 0;

	for (unsigned i = 0; i < memory.mappings; i++) {
		const struct mapping *m = &memory.mapping[i];

		if (!m->reserved && m->size == ALLOCATOR_KEEPS && kept++ == 0)
			continue;
		snprintf(text, sizeof text, "a mapping of %zu bytes at %p is left", m->size,
			 (void *)m->at);
		return text;
	}
	return NULL;
}

/* ---- freed memory ---------------------------------------------------------------------------- */

static void damaged(const char *p)
{
	sim_fail("freed memory was written: byte %p is 0x%02x", (const void *)p, *p & 0xff);
}

static void verify_cell(const char *p)
{
	for (unsigned i = 0; i < CELL; i++)
		if (p[i] != (char)FILL)
			damaged(p + i);
}

/* The last MOST_FILLED bytes are filled, in steps of a cell; what is larger than the allocator's
 * blocks was never used. */
void fiber_poison(void *pointer, size_t size)
{
	uintptr_t from = align_up((uintptr_t)pointer, CELL), to = (uintptr_t)pointer + size;
	size_t filled = size > 40000 ? 0 : size < MOST_FILLED ? size : MOST_FILLED;
	struct fiber *dying = sim.self->dying;
	struct g *g = container_of(dying, struct g, fiber);

	if (from >= to)
		return;
	if (!filled)
		note_dirty((uintptr_t)pointer - 1, 1); /* a span's header */
	set(from, to - from, FREED_UNFILLED);
	from = to - filled > from ? align_up(to - filled, CELL) : from;
	to -= to % CELL;
	if (to > from && filled) {
		set(from, to - from, FREED);
		sanitize_fill((void *)from, FILL, to - from);
	}
	if (dying && dying->low == pointer)
		set((uintptr_t)g, sizeof *g, FREED_G);
	sim.self->dying = NULL;
}

void fiber_unpoison(void *pointer, size_t size)
{
	uintptr_t p = (uintptr_t)pointer & ~(uintptr_t)(CELL - 1), end = (uintptr_t)pointer + size;

	if (size <= 64 << 10) {
		note_dirty((uintptr_t)pointer, size);
		sanitize_open((void *)p, align_up(end - p, CELL));
		for (; p < end; p += CELL) {
			if (*cell_of(p) == FREED)
				verify_cell((char *)p);
			*cell_of(p) = LIVE;
		}
	} else if (p < end) {
		set(p, end - p, LIVE);
	}
}

void *scratch(size_t size)
{
	uintptr_t p = memory.next[0];

	size = align_up(size, CELL);
	memory.next[0] = align_up(p + size + CELL, 64);
	set(p, size, LIVE);
	note_dirty(p, size);
	return (void *)p;
}

void scrap(void *p, size_t size)
{
	size = align_up(size, CELL);
	if (memory.scraps < SCRAPS) {
		memory.scrap[memory.scraps].p = p;
		memory.scrap[memory.scraps++].size = size;
	}
	set((uintptr_t)p, size, FREED);
	sanitize_fill(p, FILL, size);
}

void memory_verify(void)
{
	for (unsigned i = 0; i < memory.scraps; i++)
		for (size_t j = 0; j < memory.scrap[i].size; j += CELL)
			verify_cell(memory.scrap[i].p + j);
}

/* ---- names ----------------------------------------------------------------------------------- */

const char *memory_name(uintptr_t p, char *text, size_t size)
{
	const struct mapping *m;
	unsigned slot = (unsigned)((p - ARENA) / STACK);

	if (!in_arena(p))
		return NULL;
	if (slot < MAX_THREADS) {
		snprintf(text, size, "T%d.stack-%zu", sim.threads[slot].id,
			 (size_t)(ARENA + (slot + 1) * STACK - p));
		return text;
	}
	m = mapping_of(p);
	if (!m)
		return NULL;
	snprintf(text, size, "%s@%llx+0x%zx", m->size == ALLOCATOR_KEEPS ? "block" : "map",
		 (unsigned long long)(m->at - ARENA), (size_t)(p - m->at));
	return text;
}
