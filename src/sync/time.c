/*
 * time.c - the clock, and sleeping until it shows a time.
 *
 * Callers: goroutines and guests.
 */
#include "sched/park.h"

#include <errno.h>

GORT_API int64_t gort_now(void)
{
	return rt_now();
}

GORT_API int64_t gort_in(int64_t duration)
{
	int64_t at;

	if (__builtin_add_overflow(rt_now(), duration, &at))
		return duration > 0 ? GORT_FOREVER : GORT_NOW + 1;
	return at == GORT_NOW ? GORT_NOW + 1 : at;
}

GORT_API int gort_sleep_until(int64_t deadline)
{
	struct m *m;
	int err;

	if (deadline == GORT_NOW || deadline <= rt_now()) {
		gort_yield();
		return 0;
	}
	m = rt_enter();
	err = gort__wait_deadline(deadline, WHY_SLEEP);
	rt_leave(m);
	return err == -ETIMEDOUT && deadline <= rt_now() ? 0 : err;
}

GORT_API int gort_sleep(int64_t duration)
{
	return gort_sleep_until(duration > 0 ? gort_in(duration) : GORT_NOW);
}
