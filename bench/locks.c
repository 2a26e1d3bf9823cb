/*
 * locks.c - what locks and other ways to wait for each other cost. bench/go/locks.go is its twin.
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

/* ---- rwmutex_read: four goroutines read-lock one rwmutex, and nobody writes ------------------ */

struct readers {
	gort_rwmutex lock;
	long each, n; /* n is read only */
};

static void read_locked(void *arg)
{
	struct readers *r = arg;
	long sum = 0;

	for (long i = 0; i < r->each; i++) {
		gort_rwmutex_rlock(&r->lock);
		sum += r->n;
		gort_rwmutex_runlock(&r->lock);
	}
	expect(sum == r->each, "every read");
}

static void read_by_four(long n)
{
	struct readers r = { .each = n / 4, .n = 1 };
	gort_waitgroup ended = { 0 };

	go_many(&ended, 4, read_locked, &r);
	gort_waitgroup_wait(&ended);
}

void bench_rwmutex_read(void)
{
	measure_each("rwmutex_read", read_by_four, 40000000);
}

/* ---- cond_pingpong: two goroutines take turns, each waits for the other's signal ------------- */

struct turns { /* turn is protected by lock */
	gort_mutex lock;
	gort_cond changed;
	long each;
	int turn;
};

static void take_turns(struct turns *t, int mine)
{
	gort_mutex_lock(&t->lock);
	for (long i = 0; i < t->each; i++) {
		while (t->turn != mine)
			gort_cond_wait(&t->changed, &t->lock);
		t->turn = !mine;
		gort_cond_signal(&t->changed);
	}
	gort_mutex_unlock(&t->lock);
}

static void ping(void *arg)
{
	take_turns(arg, 0);
}

static void pong(void *arg)
{
	take_turns(arg, 1);
}

static void ping_and_pong(long n)
{
	struct turns t = { .each = n / 2 };
	gort_waitgroup ended = { 0 };

	go_many(&ended, 1, ping, &t);
	go_many(&ended, 1, pong, &t);
	gort_waitgroup_wait(&ended);
}

void bench_cond_pingpong(void)
{
	measure_each("cond_pingpong", ping_and_pong, 5000000);
}

/* ---- sem: four goroutines, two places; sem_wait: each yields while it has one, so the others wait  */

struct places {
	gort_sem free;
	long each;
	bool yields;
};

static void come_and_go(void *arg)
{
	struct places *p = arg;

	for (long i = 0; i < p->each; i++) {
		gort_sem_acquire(&p->free, 1);
		if (p->yields)
			gort_yield();
		gort_sem_release(&p->free, 1);
	}
}

static void four_for_two(long n, bool yields)
{
	struct places p = { .free = GORT_SEM_INIT(2), .each = n / 4, .yields = yields };
	gort_waitgroup ended = { 0 };

	go_many(&ended, 4, come_and_go, &p);
	gort_waitgroup_wait(&ended);
	expect(gort_sem_try_acquire(&p.free, 2) == 0, "both places");
}

static void four_pass(long n)
{
	four_for_two(n, false);
}

static void four_wait(long n)
{
	four_for_two(n, true);
}

void bench_sem(void)
{
	measure_each("sem", four_pass, 20000000);
	measure_each("sem_wait", four_wait, 4000000);
}

/* ---- waitgroup: ten goroutines at a time, started and waited for by it ----------------------- */

#define MEMBERS 10

static void member(void *arg)
{
	(void)arg;
}

static void groups_of_ten(long n)
{
	gort_waitgroup group = { 0 };

	for (long i = 0; i < n / MEMBERS; i++) {
		go_many(&group, MEMBERS, member, NULL);
		gort_waitgroup_wait(&group);
	}
}

void bench_waitgroup(void)
{
	measure_each("waitgroup", groups_of_ten, 5000000);
}
