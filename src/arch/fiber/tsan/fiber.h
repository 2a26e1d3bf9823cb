/*
 * fiber.h - what ThreadSanitizer must be told of stacks. See fiber/none for the order of calls.
 *
 * Each context is a fiber of TSan's own, so that races are judged between goroutines, not
 * threads. Every switch synchronises (flag 0): what from did before happens before what to does
 * after, as it does on one thread.
 *
 * TSan has room for 8,128 threads and fibers together, keeps some dead ones back, and kills the
 * process beyond: hence a count of our own, which stops earlier.
 *
 * Always inline: TSan keeps a shadow call stack per fiber, and a function that is entered on one
 * and left on the other would unbalance both.
 */
#ifndef GORT_FIBER_H
#define GORT_FIBER_H

#include "base/atomic.h"
#include "base/base.h"

#include <sanitizer/tsan_interface.h>

#define fiber_call static inline __attribute__((always_inline))

#define FIBER_MAX 8000

/* Stacks may be left in signal handlers. */
enum { fiber_is_plain = false };

/* Signals may be sent to an alternate stack that was taken away. */
enum { fiber_altstack_lasts = false };

/* While a thread sleeps in an io_uring no other runs. */
#define fiber_uring_stops_all false

struct fiber {
	void *fiber;
	unsigned lives; /* contexts that have had it */
	bool thread;    /* a thread's own: TSan destroys it with the thread */
};

/* A fiber takes TSan up to a millisecond to make, so a stack keeps its own for the contexts to come;
 * not for ever, since each leaves the frames that it never returned from in the shadow stack. */
#define FIBER_LIVES 1000

/* Live fibers of fiber_create. Atomic. Weak: this header is all there is of this variant. */
__attribute__((weak, visibility("hidden"))) int gort__fiber_count;

/* f is zeroed, or was destroyed. */
fiber_call bool fiber_create(struct fiber *f, void *low, size_t size)
{
	(void)low, (void)size;
	if (f->fiber == NULL && add_relaxed(&gort__fiber_count, 1) < FIBER_MAX)
		f->fiber = __tsan_create_fiber(0);
	if (f->fiber == NULL) {
		(void)add_relaxed(&gort__fiber_count, -1);
		return false;
	}
	f->thread = false;
	return true;
}

fiber_call void fiber_adopt_thread(struct fiber *f)
{
	f->fiber = __tsan_get_current_fiber();
	f->thread = true;
}

fiber_call void fiber_forget(struct fiber *f)
{
	if (f->thread || f->fiber == NULL)
		return;
	__tsan_destroy_fiber(f->fiber);
	(void)add_relaxed(&gort__fiber_count, -1);
	f->fiber = NULL;
	f->lives = 0;
}

fiber_call void fiber_destroy(struct fiber *f)
{
	if (++f->lives >= FIBER_LIVES)
		fiber_forget(f);
}

fiber_call void fiber_leave(struct fiber *from, struct fiber *to, bool forever)
{
	(void)from, (void)forever;
	__tsan_switch_to_fiber(to->fiber, 0);
}

fiber_call void fiber_arrive(struct fiber *me)
{
	(void)me;
}

fiber_call void fiber_poison(void *p, size_t size)
{
	(void)p, (void)size;
}

fiber_call void fiber_unpoison(void *p, size_t size)
{
	(void)p, (void)size;
}

#undef fiber_call

void __tsan_write_range(void *p, long size);
void __tsan_read_range(void *p, long size);
static inline void fiber_touched(void *p, size_t size, bool written)
{
	if (size)
		(written ? __tsan_write_range : __tsan_read_range)(p, (long)size);
}

#endif
