/*
 * locks.c - what a mutex costs. bench/go/locks.go is its twin.
 */
#include "bench.h"

struct counter { /* n is protected by lock */
	gort_mutex lock;
	long each, n;
};

static void count(void *arg)
{
	struct counter *c = arg;

	for (long i = 0; i < c->each; i++) {
		gort_mutex_lock(&c->lock);
		c->n++;
		gort_mutex_unlock(&c->lock);
	}
}

static void count_by(int goroutines, long n)
{
	struct counter c = { .each = n / goroutines };
	gort_waitgroup ended = { 0 };

	go_many(&ended, goroutines, count, &c);
	gort_waitgroup_wait(&ended);
	expect(c.n == goroutines * c.each, "every count");
}

/* ---- mutex_uncontended: lock and unlock, nobody else about ------------------------------- */

static void one(long n)
{
	count_by(1, n);
}

void bench_mutex_uncontended(void)
{
	measure_each("mutex_uncontended", one, 40000000);
}

/* ---- mutex_contended: four goroutines, one lock, next to nothing under it ----------------- */

static void four(long n)
{
	count_by(4, n);
}

void bench_mutex_contended(void)
{
	measure_each("mutex_contended", four, 10000000);
}
