/*
 * signals.h - what the scheduler knows of sync/signal.c, which programs that watch no signal do
 * not carry: it is reached through pointers that the first gort_signal_notify sets.
 */
#ifndef GORT_SCHED_SIGNALS_H
#define GORT_SCHED_SIGNALS_H

#include "base/atomic.h"
#include "base/base.h"

struct signals_known {
	uint32_t watched; /* atomic, written under signal.c's lock: channels that watch signals */
	int32_t tid;      /* atomic: of the thread that delivers, or 0 */
	/* atomic: set once, release. end: at the runtime's end, twice: before guests are waited
	 * for, and when no wait is in a queue any more (withdrawn). forked: in a fork's child. */
	void (*end)(bool withdrawn);
	void (*forked)(void);
};

extern hidden_data struct signals_known gort__signals;

/* Somebody waits for signals: so goroutines that wait may be woken from outside. */
static inline bool gort__signals_watched(void)
{
	return load_acquire(&gort__signals.watched) != 0;
}

/* gort's own thread for them: its gettid, or 0. */
static inline int32_t gort__signals_tid(void)
{
	return load_acquire(&gort__signals.tid);
}

static inline void signals_end(bool withdrawn)
{
	void (*end)(bool) = load_acquire(&gort__signals.end);

	if (end)
		end(withdrawn);
}

static inline void signals_forked(void)
{
	void (*forked)(void) = load_acquire(&gort__signals.forked);

	if (forked)
		forked();
}

#endif
