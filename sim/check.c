/*
 * check.c - what must hold of G, M and P in every schedule, beside what the runtime, the scenario
 * and memory.c check themselves.
 *
 *  1. A goroutine's stack is used by one thread at a time: nobody switches to it, or frees it,
 *     before it has been left. (The runtime tells of each switch: fiber.h.)
 *  2. A P runs one goroutine at a time. So at most as many run as there are Ps.
 *  3. What runs is RUNNING, and is what its M says.
 *  4. A goroutine stays within its stack.
 *  5. When all threads wait, and before time jumps to the first deadline: nothing is queued where
 *     an idle P could run it, unless somebody looks within a millisecond; a P that nobody holds
 *     has no work; nobody is counted as spinning; no timer is due before somebody wakes for it.
 *     Where a fault refused a thread or memory, the runtime is allowed to find work later.
 *  6. Unless a thread was left behind, at the end nothing of gort's memory is in use, no mapping is left but one arena that the
 *     allocator keeps, nothing of the system's is still installed.
 *
 * The runtime's structs are read as they are in memory, as the running thread sees them; when all
 * threads wait their store buffers are empty.
 */
#include "engine.h"
#include "sanitize.h"
#include "sched/park.h"
#include "sched/stack.h"

#include <stdio.h>
#include <string.h>

#define SOON ((uint64_t)GORT_MS)
#define TIMER_SLACK ((uint64_t)2 * GORT_MS)
#define MOST_FIBERS 4096u
#define EDGE 64u
#define MARK 0x5d

enum fiber_life { FRESH, LEFT_BEHIND, RUNS, ENDS, GONE };

static struct fiber *fibers[MOST_FIBERS];
static unsigned fiber_count;

static struct g *g_of(struct fiber *f)
{
	return container_of(f, struct g, fiber);
}

/* ---- stacks ---------------------------------------------------------------------------------- */

void checks_begin(void)
{
	fiber_count = 0;
}

static void list(struct fiber *f)
{
	if (fiber_count == MOST_FIBERS)
		sim_fail("the simulator has room for %u goroutines at once", MOST_FIBERS);
	fibers[fiber_count++] = f;
	f->listed = (uint16_t)fiber_count;
}

bool fiber_create(struct fiber *f, void *low, size_t size)
{
	struct g *g = g_of(f);
	size_t filled = size < 8192 ? size : 8192;

	if (f->listed == 0)
		list(f);
	fiber_unpoison(g, sizeof *g);
	fiber_unpoison(low, size);
	sanitize_fill((char *)low + size - filled, 0xdb, filled);
	sanitize_fill((char *)low - EDGE, MARK, EDGE);
	f->low = low;
	f->size = size;
	f->fake = NULL;
	f->thread = -1;
	f->life = FRESH;
	return true;
}

void fiber_adopt_thread(struct fiber *f)
{
	*f = (struct fiber){ .thread = (int16_t)sim.self->slot, .life = RUNS };
	sim.self->fiber = f;
}

void fiber_destroy(struct fiber *f)
{
	if (f->thread >= 0)
		sim_fail("goroutine %llu is freed while T%d is on its stack",
			 (unsigned long long)g_of(f)->id, sim.threads[f->thread].id);
	f->life = GONE;
	sim.self->dying = f;
}

void fiber_forget(struct fiber *f)
{
	if (f->listed == 0)
		return;
	fibers[f->listed - 1] = fibers[--fiber_count];
	fibers[f->listed - 1]->listed = f->listed;
	f->listed = 0;
}

static void check_edge(struct fiber *f)
{
	for (unsigned i = 1; i <= EDGE; i++)
		if (f->low[-(int)i] != MARK)
			sim_fail("goroutine %llu has left its stack at the low end",
				 (unsigned long long)g_of(f)->id);
}

void fiber_leave(struct fiber *from, struct fiber *to, bool forever)
{
	struct thread *t = sim.self;
	size_t size;
	void *own = memory_stack_of(t->slot, &size);

	sanitize_leave(forever ? NULL : &from->fake, to->low ? to->low : own,
		       to->low ? to->size : size);
	if (from == to)
		return;
	if (from->thread != (int)t->slot)
		sim_fail("T%d leaves a stack that it is not on", t->id);
	if (to->low && to->thread >= 0)
		sim_fail("goroutine %llu is switched to by T%d while T%d is on its stack: it was "
			 "made runnable too early",
			 (unsigned long long)g_of(to)->id, t->id, sim.threads[to->thread].id);
	if (to->low && (to->life == GONE || to->life == ENDS))
		sim_fail("goroutine %llu is switched to after its end",
			 (unsigned long long)g_of(to)->id);
	if (from->low) {
		check_edge(from);
		from->life = forever ? ENDS : LEFT_BEHIND;
	}
}

static void check_runs(struct thread *t, struct g *g, struct m *m)
{
	if (g->state != G_RUNNING)
		sim_fail("goroutine %llu runs in state %u", (unsigned long long)g->id, g->state);
	if (m->g != g)
		sim_fail("goroutine %llu runs, and its M does not know", (unsigned long long)g->id);
	if (!m->p)
		sim_fail("goroutine %llu runs without a P", (unsigned long long)g->id);
	for (unsigned i = 0; i < MAX_THREADS; i++) {
		const struct thread *other = &sim.threads[i];
		const struct m *o =
			other->state == UNUSED || other->state == ENDED ? NULL : thread_m(other);

		if (other != t && o && o->handle == handle_of(m->p))
			sim_fail("P%u runs goroutine %llu on T%d and %llu on T%d", m->p->id,
				 (unsigned long long)g->id, t->id, (unsigned long long)other->g,
				 other->id);
	}
}

void fiber_arrive(struct fiber *me)
{
	struct thread *t = sim.self;

	sanitize_arrive(me->fake);
	if (t->fiber && t->fiber != me && t->fiber->low)
		t->fiber->thread = -1;
	t->fiber = me;
	t->g = 0;
	if (!me->low)
		return;
	me->thread = (int16_t)t->slot;
	me->life = RUNS;
	check_runs(t, g_of(me), sim_self);
	t->g = g_of(me)->id;
}

/* For messages: how long it is till then. */
static const char *in_us(uint64_t until, char text[32])
{
	if (until == NEVER)
		return "for ever";
	snprintf(text, 32, "for %llu us", (unsigned long long)(until - sim.now) / 1000);
	return text;
}

/* ---- all wait -------------------------------------------------------------------------------- */

static bool has_work(const struct p *p)
{
	return p->runnext || p->ring.head != p->ring.tail ||
		(int64_t)(p->deque.bottom - p->deque.top) > 0;
}

static void check_work(const struct sched *s, uint64_t until)
{
	bool excused = sim.refused || sim.unmapped, idle = s->idle_p != NULL && !excused;
	char text[32];

	if (s->global_count && idle)
		sim_fail("a lost wakeup: %u goroutines in the global queue, a P idles, all wait",
			 s->global_count);
	for (uint32_t i = 0; i < s->p_count; i++) {
		const struct p *p = s->all_p[i];

		if (!has_work(p))
			continue;
		if (!p->m)
			sim_fail("a lost wakeup: P%u has work, and no M", i);
		if (idle && (until == NEVER || until - sim.now > SOON))
			sim_fail("a lost wakeup: P%u has work, its M is held up, a P idles, and "
				 "nobody looks %s",
				 i, in_us(until, text));
	}
}

/* All wait: a P whose thread does so in user code, while somebody waits to run. */
static void check_held(const struct sched *s, uint64_t until)
{
	char text[32];

	for (uint32_t i = 0; i < s->p_count; i++) {
		const struct p *p = s->all_p[i];

		if (!p->m || p->m->in_rt || !(has_work(p) || s->global_count))
			continue;
		if (until == NEVER || until - sim.now > SOON)
			sim_fail("P%u is held by a thread that sleeps, goroutines wait, and nobody "
				 "looks %s",
				 i, in_us(until, text));
	}
}

static void check_timers(const struct sched *s, uint64_t until)
{
	char text[32];

	for (uint32_t i = 0; i < s->p_count; i++) {
		uint64_t next = (uint64_t)s->all_p[i]->timers.next;

		if (next != OS_FOREVER && next > sim.now && s->idle_p &&
		    (until == NEVER || next + TIMER_SLACK < until))
			sim_fail("a timer of P%u is due in %llu us, and nobody wakes %s", i,
				 (unsigned long long)(next - sim.now) / 1000, in_us(until, text));
	}
}

void check_all_wait(uint64_t until)
{
	const struct sched *s = &gort__sched;

	if (!s->running || s->stopping)
		return;
	if (s->spinning)
		sim_fail("%u are counted as spinning, and all wait", s->spinning);
	check_work(s, until);
	check_held(s, until);
	check_timers(s, until);
}

/* ---- the end --------------------------------------------------------------------------------- */

/* A goroutine whose thread slept, or computed, when the runtime ended keeps what it has. */
static bool one_was_left(void)
{
	for (unsigned i = 0; i < fiber_count; i++)
		if (fibers[i]->life != GONE &&
		    (g_of(fibers[i])->state == G_RUNNING || g_of(fibers[i])->state == G_DEAD))
			return true;
	return false;
}

const char *check_end(void)
{
	static char text[128];
	size_t used = mem_in_use();

	memory_verify();
	if (sim.may_leave || one_was_left())
		return NULL;
	if (used) {
		snprintf(text, sizeof text, "%zu bytes of gort's memory are left", used);
		return text;
	}
	if (sim.faults_installed || sim.altstacks)
		return "a fault handler or an alternate stack is left";
	if (sim.events_open)
		return "an event's descriptor is left";
	return memory_left();
}

void leftovers_welcome(void)
{
	sim.may_leave = true;
}

/* ---- reports --------------------------------------------------------------------------------- */

static const char *const states[] = { "free", "runnable", "running", "waiting", "dead" };
static const char *const whys[] = { "",      "sleep",      "send", "receive",
				    "mutex", "wait group", "join", "for ever" };

void check_report(void)
{
	for (unsigned i = 0; i < fiber_count; i++) {
		const struct g *g = g_of(fibers[i]);

		if (fibers[i]->life == GONE || g->state == G_FREE)
			continue;
		printf("  G%llu%s%s  %s%s%s", (unsigned long long)g->id, g->named ? " " : "",
		       g->named ? g->name : "", g->state < 5 ? states[g->state] : "?",
		       g->state == G_WAITING ? ", " : "",
		       g->state == G_WAITING && g->why < 8 ? whys[g->why] : "");
		if (fibers[i]->thread >= 0) {
			printf(", on T%d\n", sim.threads[fibers[i]->thread].id);
		} else {
			printf(":");
			print_stack(fibers[i]->life == LEFT_BEHIND ? g->sp : NULL);
		}
	}
}

const char *check_name(uintptr_t p, char *text, size_t size)
{
	for (unsigned i = 0; i < fiber_count; i++) {
		uintptr_t g = (uintptr_t)g_of(fibers[i]);

		if (p - g < sizeof(struct g)) {
			snprintf(text, size, "G%llu+0x%zx", (unsigned long long)g_of(fibers[i])->id,
				 (size_t)(p - g));
			return text;
		}
		if (p - (uintptr_t)fibers[i]->low < fibers[i]->size) {
			snprintf(text, size, "G%llu.stack-0x%zx",
				 (unsigned long long)g_of(fibers[i])->id, (size_t)(g - p));
			return text;
		}
	}
	for (uint32_t i = 0; i < gort__sched.p_count; i++) {
		if (p - (uintptr_t)gort__sched.all_p[i] >= sizeof(struct p))
			continue;
		snprintf(text, size, "P%u+0x%zx", i, (size_t)(p - (uintptr_t)gort__sched.all_p[i]));
		return text;
	}
	for (const struct m *m = gort__sched.all_m; m; m = m->all_next) {
		if (p - (uintptr_t)m >= sizeof *m)
			continue;
		snprintf(text, size, "M(T%d)+0x%zx",
			 m->own_thread ? ((struct thread *)m->thread.handle)->id : 0,
			 (size_t)(p - (uintptr_t)m));
		return text;
	}
	return NULL;
}
