/*
 * step.c - scheduling points, and the atomic steps that follow them.
 *
 * A step of the program is: a point, where the explorer may run others first, then the effect on
 * memory, then a record in the trace. While a thread stands at a point its next step is known
 * (at, address): dfs.c decides by that what needs to be tried.
 *
 * Beside the program's own steps things happen: a wait's time is over, a store leaves its buffer, a
 * fault strikes. Each has a step number or a time at which it is due; the earliest of them is
 * kept (next_event, next_deadline), so that a step costs two comparisons for all of them.
 *
 * Memory: see buffer.c for the modes. Plain (not atomic) accesses are no points, and take effect
 * at once.
 */
#include "engine.h"

#define FROZEN_STEPS 3000u
#define MOST_LEAPS ((uint64_t)900000000) /* ns */

struct sim sim;
bool gort__asymmetric;

/* ---- events ---------------------------------------------------------------------------------- */

void sim_event_at(uint64_t step)
{
	if (step < sim.next_event)
		sim.next_event = step;
}

static struct thread *any_of(uint32_t slots)
{
	for (unsigned n = sim_below((unsigned)__builtin_popcount(slots)); n > 0; n--)
		slots &= slots - 1;
	return &sim.threads[__builtin_ctz(slots)];
}

static void spurious_wake(void)
{
	uint32_t waiting = 0;

	for (unsigned i = 0; i < MAX_THREADS; i++)
		if (sim.threads[i].state == WAITS)
			waiting |= 1u << i;
	if (!waiting)
		return;
	sim.spurious++;
	thread_ready(any_of(waiting), sim_below(2) ? 0 : -EINTR);
}

static void freeze_one(void)
{
	struct thread *t = any_of(sim.ready);

	sim.frozen = 1u << t->slot;
	sim.thaw_at = sim.steps + sim_below(FROZEN_STEPS);
}

/* All together they are shorter than what the runtime's end gives stragglers. */
static void leap(uint64_t ns)
{
	if (sim.leapt + ns > MOST_LEAPS)
		return;
	sim.leapt += ns;
	sim.now += ns;
}

static void fault_strikes(void)
{
	switch (1u << sim_below(5) & sim.faults) {
	case FAULT_SPURIOUS: /* few: they hide lost wakes */
		if (sim.spurious < 2)
			spurious_wake();
		break;
	case FAULT_LEAPS:
		leap(UINT64_C(1) << sim_below(30));
		break;
	case FAULT_FREEZE:
		if (sim.ready)
			freeze_one();
		break;
	}
	sim.fault_at = sim.steps + 1 + sim_below((unsigned)(1u << (4 + sim_below(9))));
}

static void signal_comes(void)
{
	if (sim.handler)
		thread_run_handler();
	sim.signal_at = sim.handler ? sim.steps + 1 + sim_below(200) : NEVER;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void noinline events(void)
{
	uint64_t n = sim.steps;

	if (sim.now >= sim.next_deadline)
		threads_wake_due();
	if (n >= sim.leave_at) {
		if (sim.buffers)
			buffer_leave_some(any_of(sim.buffers));
		sim.leave_at = n + 1 + sim_below(2 * sim.plan.leave_rate);
	}
	if (n >= sim.fault_at)
		fault_strikes();
	if (n >= sim.thaw_at) {
		sim.frozen = 0;
		sim.thaw_at = NEVER;
	}
	if (n >= sim.change_at)
		strategy_change();
	if (n >= sim.slice_at) {
		strategy_slice();
		sim.slice_at = n + SLICE_STEPS;
	}
	if (n >= STEP_LIMIT)
		sim_fail("no progress: %u steps, and it has not ended", STEP_LIMIT);
	sim.next_event = STEP_LIMIT;
	sim_event_at(least(least(sim.leave_at, sim.fault_at), least(sim.thaw_at, sim.slice_at)));
	sim_event_at(least(sim.change_at, sim.signal_at));
	if (n >= sim.signal_at)
		signal_comes();
}

/* ---- points ---------------------------------------------------------------------------------- */

void sim_progress(void)
{
	sim.spinning = 0;
	sim.idle_step = 1;
}

static inline void point(const struct sim_site *site, const void *address)
{
	struct thread *t = sim.self, *next;

	t->at = site;
	t->address = address;
	sim.steps++;
	sim.now += sim.step_ns;
	t->cpu += sim.step_ns;
	if (unlikely(sim.now >= sim.next_deadline || sim.steps >= sim.next_event))
		events();
	next = sim_choose();
	if (next != t)
		sim_switch(next);
	if (unlikely(t->signaled) && !t->in_handler)
		thread_take_signal();
}

void sim_point(const struct sim_site *site, const void *address)
{
	if (likely(sim.on))
		point(site, address);
}

void sim_wait(void)
{
	struct thread *t = sim.self, *next;

	if (sim.now >= sim.next_deadline)
		threads_wake_due();
	while (!sim.ready) {
		check_all_wait(sim.next_deadline);
		if (sim.next_deadline == NEVER)
			sim_fail("%s",
				 sim.finished ? "threads are left, and wait for ever"
					      : "a lost wakeup, or a deadlock: all wait for ever");
		sim.now = sim.next_deadline;
		threads_wake_due();
	}
	next = sim_choose();
	if (next != t)
		sim_switch(next);
}

/* ---- effects --------------------------------------------------------------------------------- */

uint64_t memory_read(const void *p, unsigned size)
{
	switch (size) {
	case 1:
		return *(const volatile uint8_t *)p;
	case 2:
		return *(const volatile uint16_t *)p;
	case 4:
		return *(const volatile uint32_t *)p;
	default:
		return *(const volatile uint64_t *)p;
	}
}

void memory_write(void *p, unsigned size, uint64_t v)
{
	switch (size) {
	case 1:
		*(volatile uint8_t *)p = (uint8_t)v;
		break;
	case 2:
		*(volatile uint16_t *)p = (uint16_t)v;
		break;
	case 4:
		*(volatile uint32_t *)p = (uint32_t)v;
		break;
	default:
		*(volatile uint64_t *)p = v;
	}
}

static uint64_t cut(uint64_t v, unsigned size)
{
	return size == 8 ? v : v & ((UINT64_C(1) << 8 * size) - 1);
}

/* The step's effect on memory that all see. */
static void change(void *p, uint64_t old, uint64_t new, const struct sim_site *site)
{
	if (old != new)
		sim_progress();
	memory_write(p, site->size, new);
	trace(site, p, old, new);
}

uint64_t sim_load(const void *p, const struct sim_site *site)
{
	uint64_t v;

	if (unlikely(!sim.on))
		return memory_read(p, site->size);
	point(site, p);
	memory_check(p, site);
	if (sim.memory == WEAK && site->order == SIM_SEQ)
		buffer_flush(sim.self);
	v = memory_read(p, site->size);
	trace(site, p, v, v);
	return v;
}

/* In which modes a store waits in the buffer. */
static bool delayed(const struct sim_site *site)
{
	return sim.memory != SC && (site->order != SIM_SEQ || sim.memory == WEAK);
}

void sim_store(void *p, uint64_t v, const struct sim_site *site)
{
	v = cut(v, site->size);
	if (unlikely(!sim.on)) {
		memory_write(p, site->size, v);
		return;
	}
	point(site, p);
	memory_check(p, site);
	if (delayed(site)) {
		buffer_put(p, v, site);
		return;
	}
	buffer_flush(sim.self);
	change(p, memory_read(p, site->size), v, site);
}

static uint64_t combine(unsigned op, uint64_t old, uint64_t v)
{
	switch (op) {
	case SIM_ADD:
		return old + v;
	case SIM_SUB:
		return old - v;
	case SIM_OR:
		return old | v;
	case SIM_AND:
		return old & v;
	default:
		return v;
	}
}

/* What stands in the buffer and must be seen by all before this step. */
static void before_rmw(const void *p, const struct sim_site *site)
{
	struct thread *t = sim.self;

	if (t->buffered == 0)
		return;
	if (sim.memory == WEAK && (site->order == SIM_RELAXED || site->order == SIM_ACQUIRE))
		buffer_flush_for(t, p);
	else
		buffer_flush(t);
}

uint64_t sim_rmw(void *p, uint64_t v, const struct sim_site *site)
{
	uint64_t old, new;

	if (likely(sim.on)) {
		point(site, p);
		memory_check(p, site);
		before_rmw(p, site);
	}
	old = memory_read(p, site->size);
	new = cut(combine(site->op, old, v), site->size);
	if (likely(sim.on))
		change(p, old, new, site);
	else
		memory_write(p, site->size, new);
	return old;
}

bool sim_cas(void *p, void *expected, uint64_t v, const struct sim_site *site)
{
	uint64_t old, want;

	if (likely(sim.on)) {
		point(site, p);
		memory_check(p, site);
		before_rmw(p, site);
	}
	want = memory_read(expected, site->size);
	old = memory_read(p, site->size);
	v = old == want ? cut(v, site->size) : old;
	if (likely(sim.on))
		change(p, old, v, site);
	else
		memory_write(p, site->size, v);
	if (old == want)
		return true;
	memory_write(expected, site->size, old);
	return false;
}

void sim_fence(const struct sim_site *site)
{
	if (!sim.on)
		return;
	point(site, NULL);
	buffer_flush(sim.self);
	trace(site, NULL, 0, 0);
}

/* Of pauses in a row one is a point: the others only take time. */
void sim_pause(void)
{
	static const struct sim_site site = { __FILE__, "arch_pause", "arch_pause()",
					      0,        SIM_PAUSE,    0,
					      0 };
	struct thread *t = sim.self;

	if (!sim.on)
		return;
	sim.now += 4 * sim.step_ns;
	t->cpu += 4 * sim.step_ns;
	if (t->at == &site)
		return;
	strategy_paused(t);
	point(&site, NULL);
	trace(&site, NULL, 0, 0);
}

uint64_t sim_cycles(void)
{
	return sim.now;
}
