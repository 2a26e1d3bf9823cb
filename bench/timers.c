/*
 * timers.c - what timers cost, alone and by the million, and how late they are.
 * bench/go/timers.go is its twin.
 */
#include "bench.h"

#include <stdatomic.h>
#include <stdlib.h>

static uint32_t next_random(uint32_t *state)
{
	*state = *state * 1664525 + 1013904223; /* Numerical Recipes' generator */
	return *state >> 8;
}

static void *memory(size_t n, size_t size)
{
	void *p = calloc(n, size);

	expect(p != NULL, "memory");
	return p;
}

/* ---- timer_reset: ten thousand timers that never come due, as those of idle connections ------ */

/* In turn: each is put off to an hour from now, as when its connection was used. Then to a
 * random time of the next hour, half of the time an earlier one. */
#define LIVE 10000
#define HOUR (3600 * GORT_SEC)

static gort_timer *live[LIVE];

static void nothing(void *arg)
{
	(void)arg;
}

static void put_off(long n)
{
	for (long i = 0; i < n; i++)
		gort_timer_reset(live[i % LIVE], gort_in(HOUR));
}

static void scatter(long n)
{
	uint32_t random = 1;

	for (long i = 0; i < n; i++)
		gort_timer_reset(live[i % LIVE],
				 gort_in(HOUR / 4096 * (1 + next_random(&random) % 4096)));
}

void bench_timer_reset(void)
{
	for (int i = 0; i < LIVE; i++) {
		live[i] = gort_timer_start(gort_in(HOUR), 0, nothing, NULL);
		expect(live[i] != NULL, "a timer");
	}
	measure_each("timer_reset", put_off, 10000000);
	measure_each("timer_reset_random", scatter, 5000000);
	for (int i = 0; i < LIVE; i++)
		gort_timer_release(live[i]);
}

/* ---- timers1m: a million live timers, each with a function ----------------------------------- */

/* All are started, which must be done before the first is due; then they come due over four
 * seconds. The CPU time is that of all of it. Late: from a timer's time to its function's first
 * step. */
#define MILLION 1000000
#define LEAD (2 * GORT_SEC)
#define SPREAD (4 * GORT_SEC)

struct alarm {
	struct alarms *all;
	gort_timer *timer;
	int64_t at, late;
};

struct alarms {
	struct alarm *one;
	gort_waitgroup ended;
};

static void ring(void *arg)
{
	struct alarm *a = arg;

	a->late = gort_now() - a->at;
	gort_waitgroup_done(&a->all->ended);
}

static void alarms(struct alarms *all, long n)
{
	int64_t base = gort_in(LEAD);
	uint32_t random = 1;

	gort_waitgroup_add(&all->ended, (int)n);
	for (long i = 0; i < n; i++) {
		struct alarm *a = &all->one[i];

		a->all = all;
		a->at = base + (int64_t)((double)next_random(&random) / (1 << 24) * SPREAD);
		a->timer = gort_timer_start(a->at, 0, ring, a);
		expect(a->timer != NULL, "a timer");
	}
	expect(gort_now() < base, "a million timers in two seconds");
	gort_waitgroup_wait(&all->ended);
	for (long i = 0; i < n; i++)
		gort_timer_release(all->one[i].timer);
}

void bench_timers1m(void)
{
	struct alarms all = { .one = memory(MILLION, sizeof *all.one) };
	int64_t *late = memory(MILLION, sizeof *late);
	struct stopwatch w = stopwatch_start();

	alarms(&all, MILLION);
	stopwatch_stop(&w);
	report_whole("timers1m", &w);
	for (long i = 0; i < MILLION; i++)
		late[i] = all.one[i].late;
	report_percentiles("timers1m_late_p50", "timers1m_late_p99", late, MILLION);
	free(late);
	free(all.one);
}

/* ---- sleepers100: a hundred thousand goroutines sleep ten times, 1 to 100 ms ----------------- */

/* Over: by how much a goroutine's ten naps took longer than asked for. The longest sum of these
 * is 900 ms. */
#define SLEEPERS 100000
#define NAPS 10

struct dozer {
	gort_waitgroup *ended;
	int64_t *over;
	uint32_t seed;
};

static void dozer(void *arg)
{
	struct dozer *d = arg;
	int64_t start = gort_now(), asked = 0;

	for (int i = 0; i < NAPS; i++) {
		int64_t nap = (1 + next_random(&d->seed) % 100) * GORT_MS;

		asked += nap;
		gort_sleep(nap);
	}
	*d->over = gort_now() - start - asked;
	gort_waitgroup_done(d->ended);
}

static void doze(int64_t *over, long n)
{
	gort_waitgroup ended = { 0 };

	gort_waitgroup_add(&ended, (int)n);
	for (long i = 0; i < n; i++)
		expect(gort_go_with(dozer, struct dozer, .ended = &ended, .over = &over[i],
				    .seed = (uint32_t)i) == 0,
		       "a goroutine");
	gort_waitgroup_wait(&ended);
}

void bench_sleepers100(void)
{
	int64_t *over = memory(SLEEPERS, sizeof *over);
	struct stopwatch w;

	doze(over, SLEEPERS / 100);
	w = stopwatch_start();
	doze(over, SLEEPERS);
	stopwatch_stop(&w);
	report_whole("sleepers100", &w);
	report_percentiles("sleepers100_over_p50", "sleepers100_over_p99", over, SLEEPERS);
	free(over);
}
