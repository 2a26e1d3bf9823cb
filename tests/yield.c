/*
 * yield.c - giving way: whoever yields goes to the back, and nobody who may run is kept away.
 */
#include "harness.h"

#include <stdatomic.h>
#include <string.h>

TEST_PLAIN(yield_on_a_plain_thread_comes_back)
{
	for (int i = 0; i < 1000; i++)
		gort_yield();
}

// variants: maxprocs
TEST(yield_with_nobody_else_comes_back)
{
	for (int i = 0; i < SCALE(100000); i++)
		gort_yield();
}

/* ---- the back of the queue: nobody is ever two turns ahead of another */
enum { TURNERS = 7, TURNS = 200 };
static int taken[TURNERS], ahead, at_gate;
static uint64_t out_of_turn; /* preemptions, and threads that slept in the kernel: all was slow */
static gort_chan *gate;

static void take_turns(void *arg)
{
	int me = *(int *)arg;

	at_gate++; /* with one P it waits before another runs */
	CHECK_EQ(gort_chan_recv(gate, NULL), -EPIPE);
	for (int i = 0; i < TURNS; i++) {
		taken[me]++;
		for (int k = 0; k < TURNERS; k++)
			if (taken[me] - taken[k] > ahead)
				ahead = taken[me] - taken[k];
		gort_yield();
	}
}

static int turns_main(void *arg)
{
	gort_waitgroup group = { 0 };
	int ids[TURNERS];
	gort_stats s;

	(void)arg;
	gate = gort_chan_make(0, 0);
	for (int i = 0; i < TURNERS; i++) {
		ids[i] = i;
		CHECK_EQ(gort_waitgroup_go(&group, take_turns, &ids[i]), 0);
	}
	EVENTUALLY(at_gate == TURNERS);
	CHECK_EQ(gort_chan_close(gate), 0);
	gort_waitgroup_wait(&group);
	gort_chan_release(gate);
	gort_read_stats(&s, sizeof s);
	out_of_turn = s.preemptions + s.retakes;
	return 0;
}

TEST_PLAIN(yield_goes_to_the_back)
{
	CHECK_EQ(gort_run(turns_main, NULL, &(gort_options){ .maxprocs = 1 }), 0);
	for (int i = 0; i < TURNERS; i++)
		CHECK_EQ(taken[i], TURNS);
	CHECK(ahead == 1 || out_of_turn > 0);
}

/* ---- yielders keep nobody away */
static atomic_bool end;

static void yield_until_the_end(void *arg)
{
	(void)arg;
	while (!atomic_load(&end))
		gort_yield();
}

static void busy_yielders(int n)
{
	for (int i = 0; i < n; i++)
		CHECK_EQ(gort_go(yield_until_the_end, NULL), 0);
	for (int i = 0; i < 100; i++)
		gort_yield();
}

static void set(void *arg)
{
	atomic_store((atomic_bool *)arg, true);
}

#define YIELD_UNTIL(cond) \
	do { \
		int64_t limit_ = gort_in(30 * GORT_SEC); \
		while (!(cond)) { \
			CHECK(gort_now() < limit_); \
			gort_yield(); \
		} \
	} while (0)

// variants: maxprocs
TEST(yielders_do_not_keep_a_new_goroutine_away)
{
	atomic_bool ran[20];

	busy_yielders(3);
	for (int i = 0; i < 20; i++) {
		atomic_init(&ran[i], false);
		CHECK_EQ(gort_go(set, &ran[i]), 0);
	}
	for (int i = 0; i < 20; i++)
		YIELD_UNTIL(atomic_load(&ran[i]));
	atomic_store(&end, true);
}

static void sleep_and_set(void *arg)
{
	gort_sleep(GORT_MS);
	set(arg);
}

// variants: maxprocs
TEST(yielders_do_not_keep_a_sleeper_away)
{
	atomic_bool woken = false;

	busy_yielders(3);
	CHECK_EQ(gort_go(sleep_and_set, &woken), 0);
	YIELD_UNTIL(atomic_load(&woken));
	atomic_store(&end, true);
}

static void go_from_guest(void *arg)
{
	CHECK_EQ(gort_go(set, arg), 0);
}

// variants: maxprocs
TEST(yielders_do_not_keep_a_guests_goroutine_away)
{
	atomic_bool ran = false;

	busy_yielders(3);
	on_guest(go_from_guest, &ran);
	YIELD_UNTIL(atomic_load(&ran));
	atomic_store(&end, true);
}

/* One that has its P to itself looks at what guests have queued, too. */
// variants: maxprocs
TEST(lone_yielder_does_not_keep_a_guests_goroutine_away)
{
	atomic_bool ran = false;

	on_guest(go_from_guest, &ran);
	YIELD_UNTIL(atomic_load(&ran));
}

/* A pair that wakes each other all the time, and one who only yields. */
static gort_chan *ping, *pong;

static void talk(void *arg)
{
	gort_chan *in = arg ? ping : pong, *out = arg ? pong : ping;

	while (gort_chan_recv(in, NULL) == 0 && gort_chan_send(out, NULL) == 0)
		;
}

// variants: maxprocs
TEST(talkers_do_not_keep_a_yielder_away)
{
	gort_waitgroup group = { 0 };

	ping = gort_chan_make(0, 1);
	pong = gort_chan_make(0, 1);
	CHECK_EQ(gort_waitgroup_go(&group, talk, &ping), 0);
	CHECK_EQ(gort_waitgroup_go(&group, talk, NULL), 0);
	CHECK_EQ(gort_chan_send(ping, NULL), 0);
	for (int i = 0; i < SCALE(2000); i++)
		gort_yield();
	CHECK_EQ(gort_chan_close(ping), 0);
	CHECK_EQ(gort_chan_close(pong), 0);
	gort_waitgroup_wait(&group);
	gort_chan_release(ping);
	gort_chan_release(pong);
}

/* ---- many at once */
static atomic_int sum;

static void yield_and_count(void *arg)
{
	int n = *(int *)arg;

	for (int i = 0; i < n; i++) {
		atomic_fetch_add(&sum, 1);
		gort_yield();
	}
}

// variants: maxprocs
TEST(many_yield_much)
{
	gort_waitgroup group = { 0 };
	int n = SCALE(1000), all = SCALE(300);

	for (int i = 0; i < all; i++)
		CHECK_EQ(gort_waitgroup_go(&group, yield_and_count, &n), 0);
	gort_waitgroup_wait(&group);
	CHECK_EQ(atomic_load(&sum), n * all);
}
