/*
 * strategy.c - who runs next, and what the seed chooses.
 *
 *   random   any thread that is ready; the one that runs goes on with a probability that the seed
 *            has chosen, so that some schedules switch at each step and some seldom.
 *   pct      Burckhardt and others, "A randomized scheduler with probabilistic guarantees of finding
 *            bugs" (2010): each thread has a random priority, the highest runs; at d random steps
 *            the running one falls below all. Finds a bug of depth d with a chance that is known.
 *   delay    one runs until it waits; at d random steps it is passed over.
 *   dfs      all schedules, one after the other (dfs.c).
 *
 * Who waits for others in a loop (a pause, sched_yield) is a spinner until memory changes: it runs
 * only now and then, so that no strategy runs on in vain. When all spin, what waits in store
 * buffers leaves, and time goes on faster and faster until somebody's wait is over. Strategies
 * that would let one thread run for ever lower the one that runs every SLICE_STEPS.
 */
#include "engine.h"

const char *const strategy_names[] = { "seed", "random", "pct", "delay", "dfs", NULL };
const char *const memory_names[] = { "seed", "sc", "tso", "weak", NULL };
const char *const fault_names[] = { "spurious", "threads", "memory", "leaps", "freeze", NULL };

static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

uint64_t sim_random(void)
{
	return next_random(&sim.random[0]);
}

unsigned pick(unsigned n)
{
	return (unsigned)((next_random(&sim.random[1]) >> 32) * n >> 32);
}

void strategy_begin(void)
{
	sim.lowest = 1u << 15;
	sim.idle_step = 1;
	sim.change_at = NEVER;
	if (sim.strategy != PCT && sim.strategy != DELAY)
		return;
	for (unsigned i = 0; i < sim.plan.changes; i++) {
		uint64_t at = 1 + sim_random() % sim.plan.horizon;
		unsigned j = i;

		for (; j > 0 && sim.changes[j - 1] > at; j--)
			sim.changes[j] = sim.changes[j - 1];
		sim.changes[j] = at;
	}
	if (sim.plan.changes)
		sim.change_at = sim.changes[0];
	sim_event_at(sim.change_at);
}

void strategy_thread(struct thread *t)
{
	t->priority = (1u << 16) + sim_below(1u << 16);
}

static void lower(struct thread *t)
{
	t->priority = sim.lowest--;
}

void strategy_paused(struct thread *t)
{
	sim.spinning |= 1u << t->slot;
	if (sim.strategy == PCT)
		lower(t);
}

/* Who runs may have kept others from running for long, alone or with one that it wakes. */
void strategy_slice(void)
{
	if (sim.strategy == PCT || sim.strategy == DELAY)
		lower(sim.self);
}

void strategy_change(void)
{
	sim.next_change++;
	sim.change_at = sim.next_change < sim.plan.changes ? sim.changes[sim.next_change] : NEVER;
	strategy_slice();
}

/* All that are ready wait for others. */
static uint32_t all_in_vain(void)
{
	uint32_t eager = sim.ready & ~sim.spinning;

	if (eager) { /* but frozen */
		sim.frozen = 0;
		return eager;
	}
	if (sim.buffers) {
		buffer_flush_all();
		if ((eager = sim.ready & ~sim.spinning) != 0)
			return eager;
	}
	sim.now += sim.idle_step;
	if (sim.now > sim.next_deadline)
		sim.now = sim.next_deadline;
	sim.idle_step *= sim.idle_step < (1u << 20) ? 2 : 1;
	if (sim.now >= sim.next_deadline)
		threads_wake_due();
	eager = sim.ready & ~sim.spinning;
	return eager ? eager : sim.ready;
}

static struct thread *nth(uint32_t slots, unsigned n)
{
	while (n-- > 0)
		slots &= slots - 1;
	return &sim.threads[__builtin_ctz(slots)];
}

static struct thread *choose_random(uint32_t eager)
{
	uint64_t r = sim_random();

	if ((eager >> sim.self->slot & 1) && (uint32_t)r < sim.plan.stay)
		return sim.self;
	if ((r >> 59) == 0)
		eager |= sim.ready & ~sim.frozen;
	return nth(eager,
		   (unsigned)((r >> 32 & 0xffffff) * (unsigned)__builtin_popcount(eager) >> 24));
}

static struct thread *choose_pct(uint32_t eager)
{
	struct thread *best = NULL;

	for (; eager; eager &= eager - 1) {
		struct thread *t = &sim.threads[__builtin_ctz(eager)];

		if (!best || t->priority > best->priority)
			best = t;
	}
	return best;
}

static struct thread *choose_delay(uint32_t eager)
{
	uint32_t self = 1u << sim.self->slot;

	if (sim.self->priority <= 1u << 15) { /* lowered */
		sim.self->priority = 1u << 16;
		eager = eager & ~self ? eager & ~self : eager;
	}
	if (eager & self)
		return sim.self;
	return eager & ~(self | (self - 1)) ? nth(eager & ~(self | (self - 1)), 0) : nth(eager, 0);
}

static struct thread *choose_dfs(void)
{
	for (;;) {
		uint64_t actors = sim.ready & ~sim.spinning;
		unsigned a;

		if (!actors && !sim.buffers)
			return nth(all_in_vain(), 0);
		a = dfs_choose(actors | (uint64_t)sim.buffers << MAX_THREADS);
		if (a < MAX_THREADS)
			return &sim.threads[a];
		buffer_leave(&sim.threads[a - MAX_THREADS], 0);
	}
}

struct thread *sim_choose(void)
{
	uint32_t eager = sim.ready & ~(sim.spinning | sim.frozen);

	if (sim.strategy == DFS)
		return choose_dfs();
	if (unlikely(!eager))
		eager = all_in_vain();
	if ((eager & (eager - 1)) == 0 && !(sim.spinning & sim.ready))
		return &sim.threads[__builtin_ctz(eager)];
	if (sim.strategy == RANDOM)
		return choose_random(eager);
	return sim.strategy == PCT ? choose_pct(eager) : choose_delay(eager);
}
