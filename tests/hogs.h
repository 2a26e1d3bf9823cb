/*
 * hogs.h - goroutines that never give way by themselves, and what tests look at around them.
 */
#ifndef GORT_TESTS_HOGS_H
#define GORT_TESTS_HOGS_H

#include "harness.h"
#include "process.h"

#include <dirent.h>
#include <stdatomic.h>
#include <time.h>

/* Shared by hogs and the one that ends them. Zero value ready. */
struct hogs {
	atomic_bool stop;
	gort_waitgroup ended;
};

/* Burns without a call until it is told to stop. */
static inline void hog(void *arg)
{
	struct hogs *h = arg;

	while (!atomic_load_explicit(&h->stop, memory_order_relaxed))
		continue;
}

static inline void hogs_start(struct hogs *h, int n)
{
	for (int i = 0; i < n; i++)
		CHECK_EQ(gort_waitgroup_go(&h->ended, hog, h), 0);
}

static inline void hogs_stop(struct hogs *h)
{
	atomic_store(&h->stop, true);
	CHECK_EQ(gort_waitgroup_wait(&h->ended), 0);
}

static inline void hogs_echo(void *arg)
{
	gort_chan **c = arg;
	int n;

	while (gort_chan_recv(c[0], &n) == 0)
		CHECK_EQ(gort_chan_send(c[1], &n), 0);
}

static inline void do_nothing(void *arg)
{
	(void)arg;
}

/* A bit of all that goroutines do: switches, sleep, births and ends. */
static inline void make_progress(int rounds)
{
	gort_chan *c[2] = { gort_chan_make(sizeof(int), 0), gort_chan_make(sizeof(int), 0) };
	gort_waitgroup ended = { 0 };

	CHECK_EQ(gort_waitgroup_go(&ended, hogs_echo, c), 0);
	for (int i = 0, n = -1; i < rounds; i++) {
		CHECK_EQ(gort_chan_send(c[0], &i), 0);
		CHECK_EQ(gort_chan_recv(c[1], &n), 0);
		CHECK_EQ(n, i);
		CHECK_EQ(gort_waitgroup_go(&ended, do_nothing, NULL), 0);
		if (i % 16 == 0)
			CHECK_EQ(gort_sleep(GORT_US), 0);
	}
	CHECK_EQ(gort_chan_close(c[0]), 0);
	CHECK_EQ(gort_waitgroup_wait(&ended), 0);
	gort_chan_release(c[0]);
	gort_chan_release(c[1]);
}

/* The CPU time of the thread; a goroutine that does not give way by itself stays on its thread. */
static inline int64_t thread_cpu(void)
{
	struct timespec t;

	CHECK_EQ(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t), 0);
	return (int64_t)t.tv_sec * GORT_SEC + t.tv_nsec;
}

static inline void burn(int64_t cpu)
{
	int64_t end = thread_cpu() + cpu;

	while (thread_cpu() < end)
		for (volatile int i = 0; i < 20000; i = i + 1)
			continue;
}

#endif
