/*
 * once.c - Go's sync.Once: done_ is set when the first fn has ended, by return, panic or goexit;
 * until then all callers wait for lock_.
 *
 * A call from inside fn would wait for itself. It is told by first_ends, which stands among the
 * caller's own defers then.
 *
 * Callers: goroutines and guests.
 */
#include "sched/sched.h"

static void first_ends(void *arg)
{
	gort_once *o = arg;

	store_release(&o->done_, 1); /* meets the acquire below */
	gort_mutex_unlock(&o->lock_);
}

GORT_API void gort_once_do(gort_once *o, gort_func fn, void *arg)
{
	struct defer end;

	if (unlikely(!o || !fn))
		gort__misuse("gort_once_do", o ? "no function" : "no once");
	if (likely(load_acquire(&o->done_)))
		return;
	if (gort__defer_pending(gort__local(), first_ends, o))
		gort__misuse("gort_once_do",
			     "its function has called it again, and waits for itself");
	gort_mutex_lock(&o->lock_);
	if (load_relaxed(&o->done_)) {
		gort_mutex_unlock(&o->lock_);
		return;
	}
	gort__defer_push(gort__local(), &end, first_ends, o);
	fn(arg);
	gort__defer_end(gort__local(), &end);
}
