/*
 * alone.h - for tests in which memory is short: who takes some besides.
 */
#ifndef GORT_TESTS_ALONE_H
#define GORT_TESTS_ALONE_H

#include "harness.h"
#include "sched/sched.h"

/* A thread that is being made takes memory, too. */
static inline bool no_thread_is_made(void)
{
	struct m *m = rt_enter();
	bool none;

	lock_acquire(&gort__sched.lock);
	none = gort__sched.asked == 0;
	lock_release(&gort__sched.lock);
	rt_leave(m);
	return none;
}

#endif
