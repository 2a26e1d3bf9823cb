/*
 * fiber.h - what the sanitizers and Valgrind must be told of stacks. This variant tells nobody.
 *
 * The build picks one of fiber/{none,asan,tsan,valgrind}. Each context (goroutine, or a thread's
 * own stack as g0) has a struct fiber. The order at a switch is:
 *     fiber_leave(from, to, forever);  gort_switch(...);  -- on the new stack --  fiber_arrive(me);
 * forever: from will never run again (a goroutine's end); it is destroyed later, by fiber_destroy,
 * from another context, and may be created anew; fiber_forget is the last call, before its memory
 * goes away. Never called by assembly.
 */
#ifndef GORT_FIBER_H
#define GORT_FIBER_H

#include "base/base.h"

/* Stacks may be left in signal handlers. */
enum { fiber_is_plain = true };

/* Signals may be sent to an alternate stack that was taken away. */
enum { fiber_altstack_lasts = false };

/* While a thread sleeps in an io_uring no other runs. */
#define fiber_uring_stops_all false

struct fiber {
	char none[0];
};

/* A new stack [low, low + size) that has not run yet. False: no more fibers (TSan has 8,128). */
static inline bool fiber_create(struct fiber *f, void *low, size_t size)
{
	(void)f, (void)low, (void)size;
	return true;
}

/* The calling thread's own stack. */
static inline void fiber_adopt_thread(struct fiber *f)
{
	(void)f;
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
	(void)from, (void)to, (void)forever;
}

static inline void fiber_arrive(struct fiber *me)
{
	(void)me;
}

/* Memory of gort's own allocator and stacks that nobody may touch now, or may again. */
static inline void fiber_poison(void *p, size_t size)
{
	(void)p, (void)size;
}

static inline void fiber_unpoison(void *p, size_t size)
{
	(void)p, (void)size;
}

/* The kernel has written there, or read, in a call that nobody else has seen. */
static inline void fiber_touched(void *p, size_t size, bool written)
{
	(void)p, (void)size, (void)written;
}

#endif
