/*
 * preempt.c - goroutines that compute on and on, or block in the kernel, and what that costs the
 * others. bench/go/preempt.go is its twin.
 */
#include "bench.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

static void *memory(size_t n, size_t size)
{
	void *p = calloc(n, size);

	expect(p != NULL, "memory");
	return p;
}

/* ---- fairness: how late one comes that sleeps, among those that never give way ------------- */

/* Twice as many loops as processors, so that one waits for each. Late: by how much a nap took
 * longer than the millisecond asked for. */
#define LOOPS_EACH 2
#define FAIR_NAPS 300

struct loops {
	atomic_bool stop;
	gort_waitgroup ended;
};

static void loop(void *arg)
{
	struct loops *l = arg;

	while (!atomic_load_explicit(&l->stop, memory_order_relaxed))
		continue;
}

static void nap_among_loops(int64_t *late, long n)
{
	struct loops l = { 0 };

	go_many(&l.ended, LOOPS_EACH * gort_maxprocs(0), loop, &l);
	for (long i = 0; i < n; i++) {
		int64_t start = gort_now();

		gort_sleep(GORT_MS);
		late[i] = gort_now() - start - GORT_MS;
	}
	atomic_store(&l.stop, true);
	gort_waitgroup_wait(&l.ended);
}

void bench_fairness(void)
{
	int64_t *late = memory(FAIR_NAPS, sizeof *late);

	nap_among_loops(late, FAIR_NAPS / 10);
	nap_among_loops(late, FAIR_NAPS);
	report_percentiles("fairness_late_p50", "fairness_late_p99", late, FAIR_NAPS);
	free(late);
}

/* ---- preempt_cost: the same work, together and one after the other ------------------------- */

/* Of the elapsed times, together should be the other over the number of processors; of the CPU
 * times, the same. */
#define HOG_STEPS 100000000

static uint32_t hog_result; /* atomic: the work must be done */

static void hog(void *arg)
{
	uint32_t random = 1;

	for (long i = 0; i < HOG_STEPS; i++)
		random = random * 1664525 + 1013904223; /* Numerical Recipes' generator */
	__atomic_fetch_add(&hog_result, random, __ATOMIC_RELAXED);
	(void)arg;
}

static void hogs_in_turn(long n)
{
	for (long i = 0; i < n; i++) {
		gort_waitgroup ended = { 0 };

		go_many(&ended, 1, hog, NULL);
		gort_waitgroup_wait(&ended);
	}
}

static void hogs_together(long n)
{
	gort_waitgroup ended = { 0 };

	go_many(&ended, (int)n, hog, NULL);
	gort_waitgroup_wait(&ended);
}

void bench_preempt_cost(void)
{
	long n = 2L * gort_maxprocs(0);

	measure_whole("preempt_cost_in_turn", hogs_in_turn, 1, n);
	measure_whole("preempt_cost_together", hogs_together, 1, n);
}

/* ---- blocked_call: the round trip of a byte through two pipes, read as any library would --- */

/* Each read blocks its thread, whose processor must be taken for the other to answer, and comes
 * back without one. */
struct pipes {
	int ping[2], pong[2];
};

static void make_pipe(int fd[2])
{
	expect(pipe(fd) == 0, "a pipe");
}

static void close_pipe(const int fd[2])
{
	close(fd[0]);
	close(fd[1]);
}

static void echo_bytes(void *arg)
{
	struct pipes *p = arg;
	char c;

	while (read(p->ping[0], &c, 1) == 1)
		expect(write(p->pong[1], &c, 1) == 1, "a write");
}

static void blocked_calls(long n)
{
	gort_waitgroup ended = { 0 };
	struct pipes p;
	char c;

	make_pipe(p.ping);
	make_pipe(p.pong);
	go_many(&ended, 1, echo_bytes, &p);
	for (long i = 0; i < n; i++) {
		c = (char)i;
		expect(write(p.ping[1], &c, 1) == 1, "a write");
		expect(read(p.pong[0], &c, 1) == 1 && c == (char)i, "the byte that was sent");
	}
	close(p.ping[1]);
	gort_waitgroup_wait(&ended);
	close(p.ping[0]);
	close_pipe(p.pong);
}

void bench_blocked_call(void)
{
	measure_each("blocked_call", blocked_calls, 5000);
}

/* ---- pipes10k: ten thousand goroutines, each blocked in a read of its own pipe -------------- */

/* Two measures: until all are about to read; and, from there, until each has got a byte of one
 * writer's. A thread each, on either side: the limits are raised. Both ends of a pipe are one
 * descriptor, as the hard limit is often not above 20,000. */
#define PIPES 10000

struct drinkers {
	int *fd;
	atomic_long arrived, next;
	gort_waitgroup ended;
};

static void drink(void *arg)
{
	struct drinkers *d = arg;
	long i = atomic_fetch_add(&d->next, 1);
	char c = 0;

	atomic_fetch_add(&d->arrived, 1);
	expect(read(d->fd[i], &c, 1) == 1 && c == (char)i, "the byte that was sent");
}

static int make_two_way(void)
{
	char path[32];
	int fd[2], both;

	make_pipe(fd);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd[0]);
	both = open(path, O_RDWR | O_CLOEXEC);
	expect(both >= 0, "a pipe, for both ways");
	close_pipe(fd);
	return both;
}

static void raise_files(rlim_t n)
{
	struct rlimit l;

	expect(getrlimit(RLIMIT_NOFILE, &l) == 0, "getrlimit");
	if (l.rlim_cur >= n)
		return;
	l.rlim_cur = n;
	if (l.rlim_max < n)
		l.rlim_max = n;
	expect(setrlimit(RLIMIT_NOFILE, &l) == 0, "10,100 descriptors");
}

void bench_pipes10k(void)
{
	struct drinkers d = { .fd = memory(PIPES, sizeof *d.fd) };
	struct stopwatch w;

	raise_files(PIPES + 100);
	for (long i = 0; i < PIPES; i++)
		d.fd[i] = make_two_way();
	w = stopwatch_start();
	go_many(&d.ended, PIPES, drink, &d);
	while (atomic_load(&d.arrived) < PIPES)
		gort_sleep(GORT_MS);
	stopwatch_stop(&w);
	report_whole("pipes10k_block", &w);

	w = stopwatch_start();
	for (long i = 0; i < PIPES; i++) {
		char c = (char)i;

		expect(write(d.fd[i], &c, 1) == 1, "a write");
	}
	gort_waitgroup_wait(&d.ended);
	stopwatch_stop(&w);
	report_whole("pipes10k_wake", &w);
	for (long i = 0; i < PIPES; i++)
		close(d.fd[i]);
	free(d.fd);
}
