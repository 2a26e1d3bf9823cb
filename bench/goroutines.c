/*
 * goroutines.c - what goroutines themselves cost: to start, to let others run, to wait, to sleep.
 * bench/go/goroutines.go is its twin.
 */
#include "bench.h"

#include <stdatomic.h>

/* ---- yield: four goroutines that do nothing but let the others run -------------------- */

/* With one P each yield is a switch. With more, a goroutine may have a P to itself for a while,
 * where a yield finds nobody else to run: then the figure is a mixture of the two. */
#define YIELDERS 4

struct yielding {
	gort_waitgroup started;
	long each;
};

/* They begin together. */
static void yielder(void *arg)
{
	struct yielding *y = arg;

	gort_waitgroup_done(&y->started);
	gort_waitgroup_wait(&y->started);
	for (long i = 0; i < y->each; i++)
		gort_yield();
}

static void yields(long n)
{
	struct yielding y = { .each = n / YIELDERS };
	gort_waitgroup ended = { 0 };

	gort_waitgroup_add(&y.started, YIELDERS);
	go_many(&ended, YIELDERS, yielder, &y);
	gort_waitgroup_wait(&ended);
}

void bench_yield(void)
{
	measure_each("yield", yields, 8000000);
}

/* ---- spawn: start a goroutine and see it end, in batches ------------------------------- */

#define BATCH 1000

static void done_at_once(void *arg)
{
	gort_waitgroup_done(arg);
}

static void batches(long n)
{
	for (long i = 0; i < n; i += BATCH) {
		gort_waitgroup ended = { 0 };
		for (int j = 0; j < BATCH; j++) {
			gort_waitgroup_add(&ended, 1);
			expect(gort_go(done_at_once, &ended) == 0, "a goroutine");
		}
		gort_waitgroup_wait(&ended);
	}
}

void bench_spawn(void)
{
	measure_each("spawn", batches, 2000000);
}

/* ---- spawn_join: one goroutine at a time, its result awaited ----------------------------- */

/* Go has no join: there, a fresh channel with room for one value brings the result. */
static int give_back(void *arg)
{
	const int *v = arg;

	return *v;
}

static void spawn_and_join(long n)
{
	for (long i = 0; i < n; i++) {
		int v = (int)i, result = -1;
		gort_task *t = gort_spawn(give_back, &v, NULL);

		expect(t != NULL, "a goroutine");
		gort_join(t, &result);
		expect(result == v, "the goroutine's result");
	}
}

void bench_spawn_join(void)
{
	measure_each("spawn_join", spawn_and_join, 2000000);
}

/* ---- park1m: a million goroutines wait on one channel, which is then closed ---------------- */

/* Three measures: until all of them wait, what each occupies then, until all have ended. Cold:
 * a warm-up with as many would have the memory there already. */
#define PARKERS 1000000

struct parking {
	int_chan gate;
	_Atomic long arrived;
	gort_waitgroup ended;
};

static void parker(void *arg)
{
	struct parking *p = arg;
	int v;

	atomic_fetch_add(&p->arrived, 1);
	gort_recv(p->gate, &v);
	gort_waitgroup_done(&p->ended);
}

static void park(struct parking *p, long n)
{
	gort_waitgroup_add(&p->ended, (int)n);
	for (long i = 0; i < n; i++)
		expect(gort_go(parker, p) == 0, "a goroutine");
	while (atomic_load(&p->arrived) < n)
		gort_sleep(GORT_MS);
}

static void wake(struct parking *p)
{
	gort_chan_close(p->gate.chan);
	gort_waitgroup_wait(&p->ended);
}

static void park_and_wake(long n)
{
	struct parking p = { .gate = make_ints(0) };

	park(&p, n);
	wake(&p);
	gort_chan_release(p.gate.chan);
}

void bench_park1m(void)
{
	struct parking p = { .gate = make_ints(0) };
	struct stopwatch w;
	double rss, tables;

	park_and_wake(100);
	rss = memory_of("VmRSS");
	tables = memory_of("VmPTE");
	w = stopwatch_start();
	park(&p, PARKERS);
	stopwatch_stop(&w);
	rss = memory_of("VmRSS") - rss;
	tables = memory_of("VmPTE") - tables;
	report_whole("park1m_spawn", &w);

	w = stopwatch_start();
	wake(&p);
	stopwatch_stop(&w);
	report_whole("park1m_wake", &w);
	report_bytes("park1m_rss", rss / PARKERS);
	/* Not part of what is resident, but paid for all the same. */
	report_bytes("park1m_pagetables", tables / PARKERS);
	gort_chan_release(p.gate.chan);
}

/* ---- sleepers: timers by the hundred thousand ------------------------------------------------ */

/* Each sleeps ten times, 1 to 10 ms; the longest sum of these is 92 ms, the rest is the
 * runtime's. */
#define NAPS 10

struct sleeper {
	gort_waitgroup *ended;
	uint32_t seed;
};

static void sleeper(void *arg)
{
	struct sleeper *s = arg;
	uint32_t random = s->seed;

	for (int i = 0; i < NAPS; i++) {
		random = random * 1664525 + 1013904223; /* Numerical Recipes' generator */
		gort_sleep((int64_t)(1 + (random >> 16) % 10) * GORT_MS);
	}
	gort_waitgroup_done(s->ended);
}

static void sleepers(long n)
{
	gort_waitgroup ended = { 0 };

	gort_waitgroup_add(&ended, (int)n);
	for (long i = 0; i < n; i++)
		expect(gort_go_with(sleeper, struct sleeper, .ended = &ended,
				    .seed = (uint32_t)i) == 0,
		       "a goroutine");
	gort_waitgroup_wait(&ended);
}

void bench_sleepers(void)
{
	measure_whole("sleepers", sleepers, 1000, 100000);
}
