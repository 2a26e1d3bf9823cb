/*
 * threads.h - that goroutines which wait by events keep no threads.
 */
#ifndef GORT_TESTS_LIBS_THREADS_H
#define GORT_TESTS_LIBS_THREADS_H

#include "harness.h"

/* While all wait: to be asked until it is so, since a call of a moment may count as one that blocks
 * where the machine is loaded. */
static inline bool no_thread_is_kept(void)
{
	gort_stats stats;

	gort_read_stats(&stats, sizeof stats);
	return stats.threads_blocked == 0;
}

#endif
