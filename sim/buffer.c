/*
 * buffer.c - store buffers: what one thread has stored, and others do not see yet.
 *
 *   SC    every step is seen by all at once.
 *   TSO   x86-64. Stores weaker than seq_cst wait in their thread's buffer, and leave it in order,
 *         when the explorer likes. The thread itself reads them. The buffer is flushed before a
 *         seq_cst store, by every read-modify-write, fence, membarrier, futex call, and at the
 *         thread's end.
 *   WEAK  As AArch64 lets stores be seen. As TSO, but: relaxed stores to different words leave in any
 *         order, and overtake a release store; a release store leaves after all before it. A
 *         seq_cst store waits, too, as a release store, until the thread's next seq_cst load,
 *         fence or the like. A read-modify-write that is relaxed or acquire is seen before
 *         earlier stores to other words.
 *
 * Memory always shows what the running thread sees. So its own buffered stores are in it, each with
 * the value under it that others see; a switch takes them out of memory and puts the other
 * thread's in. Hence an owner may read plainly what it has stored with an atomic step, as gort does
 * where the owner alone writes. A plain store to such a word takes the place of the one in
 * the buffer (found by the value).
 *
 * What is not shown: plain stores are seen at once, so a missing release before which only plain
 * data was written goes unnoticed. Loads are done in the program's order. A read-modify-write is
 * seen at once.
 */
#include "engine.h"

static bool overlaps(const struct store *s, const void *p, unsigned size)
{
	uintptr_t a = (uintptr_t)s->p, b = (uintptr_t)p;

	return a < b + size && b < a + s->site->size;
}

static void remove_at(struct thread *t, unsigned which)
{
	t->buffered--;
	for (unsigned i = which; i < t->buffered; i++)
		t->buffer[i] = t->buffer[i + 1];
	if (t->buffered == 0)
		sim.buffers &= ~(1u << t->slot);
}

void buffer_put(void *p, uint64_t v, const struct sim_site *site)
{
	struct thread *t = sim.self;
	uint64_t under = memory_read(p, site->size);

	if (t->buffered == BUFFER)
		buffer_leave(t, 0);
	for (unsigned i = 0; i < t->buffered; i++)
		if (overlaps(&t->buffer[i], p, site->size) &&
		    (t->buffer[i].p != p || t->buffer[i].site->size != site->size))
			buffer_flush(t); /* half of a word: seldom, and not worth more */
	t->buffer[t->buffered++] = (struct store){ p, v, under, site, site->order != SIM_RELAXED };
	sim.buffers |= 1u << t->slot;
	memory_write(p, site->size, v);
	trace_buffer(t, &t->buffer[t->buffered - 1], BUFFERED);
}

/* ---- a switch -------------------------------------------------------------------------------- */

void buffer_take_out(struct thread *t)
{
	for (unsigned i = t->buffered; i-- > 0;) {
		const struct store *s = &t->buffer[i];

		if (memory_read(s->p, s->site->size) == s->value)
			memory_write(s->p, s->site->size, s->under);
		else
			remove_at(t, i);
	}
}

void buffer_put_in(struct thread *t)
{
	for (unsigned i = 0; i < t->buffered; i++) {
		struct store *s = &t->buffer[i];

		s->under = memory_read(s->p, s->site->size);
		memory_write(s->p, s->site->size, s->value);
	}
}

/* ---- leaving --------------------------------------------------------------------------------- */

static struct store *first_to(struct thread *t, const void *p)
{
	for (unsigned i = 0; i < t->buffered; i++)
		if (t->buffer[i].p == p)
			return &t->buffer[i];
	return NULL;
}

void buffer_leave(struct thread *t, unsigned which)
{
	struct store s = t->buffer[which], *over = NULL;

	remove_at(t, which);
	if (t != sim.self) {
		over = first_to(sim.self, s.p);
		s.under = over ? over->under : memory_read(s.p, s.site->size);
		if (over)
			over->under = s.value;
		else
			memory_write(s.p, s.site->size, s.value);
	}
	if (s.under != s.value)
		sim_progress();
	trace_buffer(t, &s, LEFT);
}

static bool may_leave(const struct thread *t, unsigned which)
{
	const struct store *s = &t->buffer[which];

	if (s->release)
		return which == 0;
	for (unsigned i = 0; i < which; i++)
		if (overlaps(&t->buffer[i], s->p, s->site->size))
			return false;
	return true;
}

void buffer_leave_some(struct thread *t)
{
	unsigned which = 0;

	if (sim.memory == WEAK) {
		which = sim_below(t->buffered);
		while (!may_leave(t, which))
			which--;
	}
	buffer_leave(t, which);
}

void buffer_flush(struct thread *t)
{
	while (t->buffered)
		buffer_leave(t, 0);
}

/* Those to p, and those that must leave before them. */
void buffer_flush_for(struct thread *t, const void *p)
{
	while (first_to(t, p)) {
		unsigned i = (unsigned)(first_to(t, p) - t->buffer);

		buffer_leave(t, may_leave(t, i) ? i : 0);
	}
}

void buffer_flush_all(void)
{
	for (unsigned i = 0; i < MAX_THREADS; i++)
		buffer_flush(&sim.threads[i]);
}
