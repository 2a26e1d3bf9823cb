/*
 * threads.h - that clients which wait by events need no threads.
 */
#ifndef GORT_TESTS_LIBS_THREADS_H
#define GORT_TESTS_LIBS_THREADS_H

#include "process.h"

#include <unistd.h>

/* Room for so many descriptors. When the kernel enlarges a table that threads share, all that open one
 * meanwhile sleep for milliseconds, each with a thread of its own. */
static inline void make_room_for_descriptors(int n)
{
	CHECK_EQ(dup2(STDERR_FILENO, n), n);
	close(n);
}

/* Until all have ended. One goroutine looks: those who read that directory at once wait for each
 * other there. */
static inline int most_threads(gort_waitgroup *ended)
{
	int most = 0, now;

	do {
		now = count_threads();
		most = now > most ? now : most;
	} while (gort_waitgroup_wait_until(ended, gort_in(2 * GORT_MS)) == -ETIMEDOUT);
	return most;
}

/* A few, and one for each time that a thread slept in the kernel after all: where the machine is
 * overloaded, who opens a socket may have to wait for a lock there. */
static inline void check_few_threads(int most, int clients)
{
	int few = gort_maxprocs(0) + 8;
	gort_stats stats;

	gort_read_stats(&stats, sizeof stats);
	CHECK(most > 0);
	if (most > few + (int)(stats.retakes + stats.preemptions) || most > few + clients / 2)
		test_fail_(__FILE__, __LINE__, "%d threads, %d clients, %d retakes", most, clients,
			   (int)stats.retakes);
}

#endif
