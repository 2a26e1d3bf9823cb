/*
 * fiber.h - what Valgrind must be told of stacks. See fiber/none for the order of calls.
 *
 * Valgrind guesses from the distance that the stack pointer moves whether a program grew its stack
 * or changed stacks, unless the pointer comes into another registered stack than that where it was
 * before. "Before" is one variable, whichever thread ran. So where several threads run on stacks
 * that are registered for good, it takes a large frame for a change of stacks, and leaves the frame
 * inaccessible; or a change for the end of frames, and makes all between the two inaccessible.
 *
 * Therefore a stack is registered only just before it is entered, until just after. At all other
 * times one registered "stack" is everywhere: within it all moves are those of frames, and Valgrind,
 * which follows the frames of registered stacks only, prints whole traces. Where two threads change
 * stacks at the very same time it may still err. Outside Valgrind each request is a few instructions
 * that do nothing.
 */
#ifndef GORT_FIBER_H
#define GORT_FIBER_H

#include "base/atomic.h"
#include "base/base.h"

#include <valgrind/memcheck.h>
#include <valgrind/valgrind.h>

/* Stacks may be left in signal handlers. */
enum { fiber_is_plain = false };

/* Signals may be sent to an alternate stack that was taken away. */
enum { fiber_altstack_lasts = true };

/* While a thread sleeps in an io_uring no other runs: Valgrind 3.19 does not know that it may. */
#define fiber_uring_stops_all (RUNNING_ON_VALGRIND != 0)

struct fiber {
	char *low;
	size_t size;
	unsigned id; /* while it is entered */
};

static inline bool fiber_create(struct fiber *f, void *low, size_t size)
{
	/* Whoever ran here before left most of it inaccessible. Defined, not undefined: the caller
	 * may have put the first frame there already; what is called there undefines it anyway. */
	(void)VALGRIND_MAKE_MEM_DEFINED(low, size);
	f->low = low;
	f->size = size;
	return true;
}

/* The one that is everywhere. */
__attribute__((weak, visibility("hidden"))) struct {
	uint32_t made, entering; /* atomic */
	unsigned id;
} gort__everywhere;

static inline void fiber_everywhere(bool on)
{
	VALGRIND_STACK_CHANGE(gort__everywhere.id, 1, on ? UINTPTR_MAX - 1 : 1);
}

/* It is entered again not far below here. */
static inline void fiber_adopt_thread(struct fiber *f)
{
	enum { NEAR = 8192 };

	if (swap_seq(&gort__everywhere.made, 1) == 0) {
		VALGRIND_STACK_DEREGISTER(0); /* the first thread's, by Valgrind itself */
		gort__everywhere.id = (unsigned)VALGRIND_STACK_REGISTER(1, UINTPTR_MAX - 1);
	}
	f->low = (char *)__builtin_frame_address(0) - NEAR;
	f->size = NEAR;
}

static inline void fiber_destroy(struct fiber *f)
{
	(void)f;
}

static inline void fiber_forget(struct fiber *f)
{
	(void)f;
}

static inline void fiber_leave(struct fiber *from, struct fiber *to, bool forever)
{
	(void)from, (void)forever;
	to->id = (unsigned)VALGRIND_STACK_REGISTER(to->low, to->low + to->size - 1);
	add_seq(&gort__everywhere.entering, 1);
	fiber_everywhere(false);
}

static inline void fiber_arrive(struct fiber *me)
{
	void *sp; /* a move to where it is: the first one is taken for one into the stack everywhere */

	VALGRIND_STACK_DEREGISTER(me->id);
	if (sub_acq_rel(&gort__everywhere.entering, 1) == 1)
		fiber_everywhere(true);
	if (load_seq(&gort__everywhere.entering))
		fiber_everywhere(false);
#if defined(__x86_64__)
	__asm__ volatile("mov %%rsp, %0\n\tmov %0, %%rsp" : "=m"(sp) : : "memory");
#else
	__asm__ volatile("mov %0, sp\n\tmov sp, %0" : "=r"(sp) : : "memory");
#endif
}

static inline void fiber_poison(void *p, size_t size)
{
	(void)VALGRIND_MAKE_MEM_NOACCESS(p, size);
}

static inline void fiber_unpoison(void *p, size_t size)
{
	(void)VALGRIND_MAKE_MEM_UNDEFINED(p, size);
}

static inline void fiber_touched(void *p, size_t size, bool written)
{
	(void)p, (void)size, (void)written; /* it has seen all */
}

#endif
