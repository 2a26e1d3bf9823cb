/*
 * preempt_switch.c - goroutines that are preempted by switching (GORT_PREEMPT_SWITCH): as many as one
 * likes compute at the same time, on a few threads; and those threads stay in order.
 *
 * Some meet: each computes until all of them have come. Nobody can come while those who are there
 * keep the Ps, so each of them but one for each P is preempted at each meeting, however fast the
 * machine is. Without preemption no meeting ends.
 */
#include "child.h"
#include "process.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MEETINGS 3
#define FACTOR UINT64_C(0xd1342543de82ef95)

struct meetings {
	atomic_int came[MEETINGS];
	int all;
};

/* What it has in registers while it is moved from thread to thread. */
struct work {
	struct meetings *meetings; /* NULL: it just computes for a while */
	uint64_t seed, product, rounds;
	double halves;
};

/* FACTOR to the power of n. */
static uint64_t power(uint64_t n)
{
	uint64_t result = 1, square = FACTOR;

	for (; n; n >>= 1, square *= square)
		if (n & 1)
			result *= square;
	return result;
}

static bool is_right(const struct work *w)
{
	return w->product == w->seed * power(w->rounds) && w->halves == (double)w->rounds / 2;
}

/* No call in it: wherever it is stopped, it can be switched away. */
static void compute_until(struct work *w, const atomic_int *came, int all, uint64_t least)
{
	uint64_t product = w->product, rounds = w->rounds, end = rounds + least;
	double halves = w->halves;

	while (rounds < end || atomic_load_explicit(came, memory_order_relaxed) < all)
		for (int i = 0; i < 50; i++) {
			product *= FACTOR;
			halves += 0.5;
			rounds++;
		}
	w->product = product;
	w->rounds = rounds;
	w->halves = halves;
}

static void compute(struct work *w)
{
	static const atomic_int nobody;
	struct meetings *m = w->meetings;

	w->product = w->seed;
	if (!m)
		compute_until(w, &nobody, 0, 10000);
	for (int i = 0; m && i < MEETINGS; i++) {
		atomic_fetch_add(&m->came[i], 1);
		compute_until(w, &m->came[i], m->all, 1);
	}
}

/* ---- many on few threads */
struct many {
	int all, meet; /* so many of them meet; it divides all */
	struct meetings meetings;
	struct work *works;
	gort_task **tasks;
	atomic_bool over;
	int most; /* threads; the watcher's */
};

static int compute_and_check(void *arg)
{
	struct work *w = arg;

	compute(w);
	return is_right(w) ? 7 : -1;
}

/* Without giving way: it would be one among those who compute. Main would leave them all in the global
 * queue when it gives its thread up, whence they come one by one, each behind one who meets. */
static int start_all(void *arg)
{
	struct many *c = arg;
	const gort_attr attr = { .preempt = GORT_PREEMPT_SWITCH };

	gort_preempt_off();
	for (int i = 0; i < c->all; i++) {
		c->works[i] = (struct work){ .seed = 2 * (uint64_t)i + 1 };
		if (i % (c->all / c->meet) == 0)
			c->works[i].meetings = &c->meetings;
		c->tasks[i] = gort_spawn(compute_and_check, &c->works[i], &attr);
		CHECK(c->tasks[i] != NULL);
	}
	gort_preempt_on();
	return 0;
}

/* By a guest: whatever becomes of the goroutines, it goes on. A few of thousands. */
static void watch_threads(void *arg)
{
	struct many *c = arg;
	int n, more;

	do {
		n = count_threads();
		more = retakes();
		if (n > 2 + 8 + more)
			test_fail_(__FILE__, __LINE__, "%d threads, %d retakes", n, more);
		c->most = n > c->most ? n : c->most;
		usleep(5000);
	} while (!atomic_load(&c->over));
}

static int compute_all(void *arg)
{
	struct many *c = arg;
	struct guest *watcher = guest_start(watch_threads, c);
	gort_stats stats;
	int result;

	CHECK_EQ(gort_join(gort_spawn(start_all, c, &(gort_attr){ .preempt = GORT_PREEMPT_SWITCH }),
			   &result),
		 0);
	for (int i = 0; i < c->all; i++) {
		CHECK_EQ(gort_join(c->tasks[i], &result), 0);
		CHECK_EQ(result, 7);
	}
	gort_read_stats(&stats, sizeof stats);
	CHECK(stats.preemptions >= (uint64_t)c->meet); /* thrice, but for a few */
	atomic_store(&c->over, true);
	guest_join(watcher);
	CHECK(c->most > 2);
	return 0;
}

static void many_compute(int all, int meet)
{
	const gort_options options = { .maxprocs = 2, .preempt_slice_us = 200 };
	struct many c = { .all = all, .meet = meet, .meetings = { .all = meet } };

	c.works = calloc((size_t)all, sizeof *c.works);
	c.tasks = calloc((size_t)all, sizeof(gort_task *));
	CHECK(c.works && c.tasks);
	CHECK_EQ(gort_run(compute_all, &c, &options), 0);
	free(c.tasks);
	free(c.works);
}

/* (Under sanitizers and Valgrind it is a thread for each that is preempted.) */
// not: tsan asan valgrind
TEST_PLAIN(thousands_compute_on_few_threads)
{
	many_compute(SCALE(10000), SCALE(1000));
}

// label: full
// not: tsan asan valgrind
TEST_PLAIN(a_hundred_thousand_compute_on_few_threads)
{
	many_compute(SCALE(100000), SCALE(500));
}

/* ---- turns */
#define TURNS 100

struct turns {
	atomic_int came, over;
	gort_chan *all_came;
};

static int come_and_compute(void *arg)
{
	struct turns *t = arg;
	struct work w = { .seed = 1, .product = 1 };

	if (atomic_fetch_add(&t->came, 1) + 1 == TURNS)
		CHECK_EQ(gort_chan_send(t->all_came, NULL), 0);
	compute_until(&w, &t->over, 1, 1);
	CHECK(is_right(&w));
	return 0;
}

static int count_turns(void *arg)
{
	struct turns t = { .all_came = gort_chan_make(0, 1) };
	const gort_attr attr = { .preempt = GORT_PREEMPT_SWITCH };
	gort_stats stats;

	(void)arg;
	gort_preempt_off();
	for (int i = 0; i < TURNS; i++) {
		gort_task *task = gort_spawn(come_and_compute, &t, &attr);

		CHECK(task != NULL);
		gort_detach(task);
	}
	gort_preempt_on();
	CHECK_EQ(gort_chan_recv(t.all_came, NULL), 0);
	gort_read_stats(&stats, sizeof stats);
	atomic_store(&t.over, 1);
	EVENTUALLY(gort_count() == 1);
	CHECK(stats.preemptions <= 3 * TURNS);
	gort_chan_release(t.all_came);
	return 0;
}

/* With one P, and nobody else: a new one for each that goes on. */
// not: tsan asan valgrind
TEST_PLAIN(new_ones_need_not_wait_for_all_that_were_switched_away)
{
	CHECK_EQ(gort_run(count_turns, NULL,
			  &(gort_options){ .maxprocs = 1, .preempt_slice_us = 200 }),
		 0);
}

/* ---- the alternate stacks: each thread has its own after it has gone on with others' goroutines */
#define THREADS 4

struct threads {
	struct meetings meetings;
	atomic_int tickets, here;
	stack_t stacks[THREADS];
	int overflows; /* the ticket that does */
};

static volatile int64_t deepest = INT64_MAX; /* for compilers: the recursion may end */

static __attribute__((noinline)) int64_t dig(int64_t depth)
{
	volatile char frame[256];

	memset((char *)(uintptr_t)frame, 0x5a, sizeof frame);
	return depth < deepest ? dig(depth + 1) + frame[depth % 256] : 0;
}

static void check_stacks(const struct threads *t)
{
	for (int i = 0; i < THREADS; i++) {
		CHECK(!(t->stacks[i].ss_flags & (SS_DISABLE | SS_ONSTACK)));
		CHECK(t->stacks[i].ss_sp != NULL);
		for (int k = 0; k < i; k++)
			CHECK(t->stacks[i].ss_sp != t->stacks[k].ss_sp);
	}
}

/* Those with a ticket are on a thread each, since none of them gives way. */
static int meet_and_overflow(void *arg)
{
	struct threads *t = arg;
	struct work w = { .meetings = &t->meetings, .seed = gort_self() };
	int ticket;

	compute(&w);
	CHECK(is_right(&w));
	gort_preempt_off();
	ticket = atomic_fetch_add(&t->tickets, 1);
	if (ticket < THREADS) {
		CHECK_EQ(sigaltstack(NULL, &t->stacks[ticket]), 0);
		atomic_fetch_add(&t->here, 1);
		while (atomic_load(&t->here) < THREADS)
			sched_yield();
		check_stacks(t);
		if (ticket == t->overflows)
			return (int)dig(0);
		for (;;)
			pause();
	}
	gort_preempt_on();
	return 0;
}

static int compute_and_overflow(void *arg)
{
	struct threads t = { .overflows = *(int *)arg, .meetings = { .all = 3 * THREADS } };
	const gort_attr attr = { .preempt = GORT_PREEMPT_SWITCH, .name = "digger" };
	gort_task *tasks[3 * THREADS];

	for (int i = 0; i < 3 * THREADS; i++) {
		tasks[i] = gort_spawn(meet_and_overflow, &t, &attr);
		CHECK(tasks[i] != NULL);
	}
	for (int i = 0; i < 3 * THREADS; i++)
		gort_join(tasks[i], NULL);
	return 0;
}

static int overflows; /* of the child: the ticket that does */

static void run_and_overflow(void)
{
	const gort_options options = { .maxprocs = THREADS, .preempt_slice_us = 200 };

	gort_run(compute_and_overflow, &overflows, &options);
}

/* Whichever of the threads it is on. */
// not: tsan asan valgrind
TEST_PLAIN(overflow_after_switches_is_reported_on_each_thread)
{
	static const char *const texts[] = { "stack overflow: goroutine ", " (digger) at pc ",
					     "256 KiB", "GORT_STACK", NULL };

	for (overflows = 0; overflows < THREADS; overflows++)
		check_dies(run_and_overflow, SIGSEGV, texts);
}
