/*
 * thread.c - simulated threads: coroutines on the one real thread.
 *
 * A thread that does not run is a stack pointer, as a goroutine is (arch/arch.h), whatever stack
 * it was on: its own, or a goroutine's. Thread-local variables are plain ones here (the build
 * defines __thread as the section sim_locals); each thread has a copy of that section, and a
 * switch changes copies. Among them is arch_self's word. (sim/base/base.h: those whose address
 * other threads use.)
 *
 * A slot and its stack are used anew only when a schedule has made more threads than there are.
 */
#include "arch/arch.h"
#include "engine.h"
#include "fiber.h"
#include "sanitize.h"

#include <string.h>

extern char __start_sim_locals[], __stop_sim_locals[];

__attribute__((section("sim_locals"))) void *volatile sim_self;
unsigned sim_slot;

static size_t locals_size(void)
{
	return (size_t)(__stop_sim_locals - __start_sim_locals);
}

/* The stack that it is on, or will be on: a goroutine's, or its own. */
void thread_leave_to(void **fake, const struct thread *to)
{
	size_t size;
	const void *own = memory_stack_of(to->slot, &size);

	if (to->fiber && to->fiber->low)
		sanitize_leave(fake, to->fiber->low, to->fiber->size);
	else
		sanitize_leave(fake, own, size);
}

void sim_switch(struct thread *to)
{
	struct thread *from = sim.self;

	sanitize_copy(from->locals, __start_sim_locals, locals_size());
	sanitize_copy(__start_sim_locals, to->locals, locals_size());
	if (from->buffered)
		buffer_take_out(from);
	sim.self = to;
	sim_slot = to->slot;
	if (to->buffered)
		buffer_put_in(to);
	thread_leave_to(&from->fake, to);
	gort_switch(&from->sp, to->sp);
	sanitize_arrive(from->fake);
}

/* ---- waiting --------------------------------------------------------------------------------- */

void thread_note_deadline(int64_t deadline)
{
	if (deadline != OS_FOREVER && (uint64_t)deadline < sim.next_deadline)
		sim.next_deadline = (uint64_t)deadline;
}

void thread_ready(struct thread *t, int result)
{
	t->state = READY;
	t->result = result;
	t->deadline = OS_FOREVER;
	sim.ready |= 1u << t->slot;
	sim_progress();
}

void threads_wake_due(void)
{
	uint64_t next = NEVER;

	for (unsigned i = 0; i < MAX_THREADS; i++) {
		struct thread *t = &sim.threads[i];

		if (t->state != WAITS || t->deadline == OS_FOREVER)
			continue;
		if ((uint64_t)t->deadline <= sim.now)
			thread_ready(t, -ETIMEDOUT);
		else if ((uint64_t)t->deadline < next)
			next = (uint64_t)t->deadline;
	}
	sim.next_deadline = next;
}

/* ---- life ------------------------------------------------------------------------------------ */

static void end_all(void)
{
	for (unsigned i = 0; i < MAX_THREADS; i++)
		if (sim.threads[i].state != UNUSED && sim.threads[i].state != ENDED)
			return;
	explorer_go();
}

static void thread_end(struct thread *t)
{
	static const struct sim_site site = { __FILE__, "thread", "thread ends", 0, SIM_OS, 0, 0 };

	if (t->on_exit)
		t->on_exit();
	sim_point(&site, NULL);
	buffer_flush(t);
	trace(&site, NULL, 0, (uint64_t)t->id);
	t->state = ENDED;
	sim.ready &= ~(1u << t->slot);
	sim_progress();
	for (unsigned i = 0; i < MAX_THREADS; i++)
		if (sim.threads[i].state == JOINS && sim.threads[i].joins == t)
			thread_ready(&sim.threads[i], 0);
	end_all();
	sim_wait();
}

static void entry(void *arg)
{
	struct thread *t = arg;

	sanitize_arrive(NULL);
	t->fn(t->arg);
	thread_end(t);
}

static struct thread *free_slot(void)
{
	for (unsigned i = 0; i < MAX_THREADS; i++) {
		struct thread *t = &sim.threads[((unsigned)sim.thread_count + i) % MAX_THREADS];

		if (t->state == UNUSED || (t->state == ENDED && (t->detached || t->joined)))
			return t;
	}
	sim_fail("the simulator has room for %u threads", MAX_THREADS);
}

struct thread *thread_new(void (*fn)(void *), void *arg, const char *name)
{
	struct thread *t = free_slot();
	unsigned slot = (unsigned)(t - sim.threads);
	size_t size;
	char *stack = memory_stack(slot, &size);

	*t = (struct thread){ .state = READY,
			      .id = sim.thread_count++,
			      .slot = slot,
			      .name = name,
			      .deadline = OS_FOREVER,
			      .fn = fn,
			      .arg = arg };
	t->sp = arch_context_make(stack + size, entry, t);
	sim.ready |= 1u << slot;
	strategy_thread(t);
	return t;
}

void threads_begin(void)
{
	if (locals_size() > LOCALS)
		__builtin_trap();
	sanitize_fill(__start_sim_locals, 0, locals_size());
	sim_slot = 0;
	sim.next_deadline = NEVER;
}

/* As if a signal's handler ran on top of the step that self is about to do. */
void thread_run_handler(void)
{
	struct thread *t = sim.self;
	const struct sim_site *at = t->at;
	const void *address = t->address;

	if (t->in_handler || !sim_self)
		return;
	t->in_handler = true;
	sim.handler();
	t->in_handler = false;
	t->at = at;
	t->address = address;
}

/* The handler of preemption, which may wait. */
void thread_take_signal(void)
{
	struct thread *t = sim.self;
	const struct sim_site *at = t->at;
	const void *address = t->address;
	struct os_interrupted context = { 0 };

	t->signaled = false;
	t->in_handler = true;
	if (sim.preempt)
		sim.preempt(&context);
	t->in_handler = false;
	t->at = at;
	t->address = address;
}

/* As thread-locals are swapped: the M of one that may not run. */
const struct m *thread_m(const struct thread *t)
{
	void *m;

	if (t == sim.self)
		return sim_self;
	memcpy(&m, t->locals + ((char *)&sim_self - __start_sim_locals), sizeof m);
	return m;
}

void on_signals(void (*handler)(void))
{
	sim.handler = handler;
	sim.signal_at = handler ? sim.steps + 1 : NEVER;
	sim_event_at(sim.signal_at);
}
