/*
 * fiber.h - what Valgrind must be told of stacks. See fiber/none for the order of calls.
 *
 * Valgrind guesses from the distance that the stack pointer moves whether a program grew its
 * stack or changed stacks; registered stacks end the guessing. Outside Valgrind each request is a
 * few instructions that do nothing.
 */
#ifndef GORT_FIBER_H
#define GORT_FIBER_H

#include "base/base.h"

#include <valgrind/memcheck.h>
#include <valgrind/valgrind.h>

/* Stacks may be left in signal handlers. */
enum { fiber_is_plain = false };

struct fiber {
	unsigned id;
	bool registered;
};

static inline bool fiber_create(struct fiber *f, void *low, size_t size)
{
	/* Whoever ran here before left most of it inaccessible. Defined, not undefined: the caller
	 * may have put the first frame there already; what is called there undefines it anyway. */
	(void)VALGRIND_MAKE_MEM_DEFINED(low, size);
	f->id = (unsigned)VALGRIND_STACK_REGISTER(low, (char *)low + size - 1);
	f->registered = true;
	return true;
}

/* Valgrind knows the stacks of threads. */
static inline void fiber_adopt_thread(struct fiber *f)
{
	f->registered = false;
}

static inline void fiber_destroy(struct fiber *f)
{
	if (f->registered)
		VALGRIND_STACK_DEREGISTER(f->id);
}

static inline void fiber_forget(struct fiber *f)
{
	(void)f;
}

static inline void fiber_leave(struct fiber *from, struct fiber *to, bool forever)
{
	(void)from, (void)to, (void)forever;
}

static inline void fiber_arrive(struct fiber *me)
{
	(void)me;
}

static inline void fiber_poison(void *p, size_t size)
{
	(void)VALGRIND_MAKE_MEM_NOACCESS(p, size);
}

static inline void fiber_unpoison(void *p, size_t size)
{
	(void)VALGRIND_MAKE_MEM_UNDEFINED(p, size);
}

#endif
