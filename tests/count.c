/*
 * count.c - gort_count: goroutines alive.
 */
#include "harness.h"

#include <stdatomic.h>

static gort_chan *gate;

static void wait_at_gate(void *arg)
{
	(void)arg;
	gort_chan_recv(gate, NULL);
}

static int wait_at_gate_task(void *arg)
{
	wait_at_gate(arg);
	return 0;
}

static void open_gate(void)
{
	CHECK_EQ(gort_chan_close(gate), 0);
	EVENTUALLY(gort_count() == 1);
	gort_chan_release(gate);
}

TEST_PLAIN(count_is_0_without_a_runtime)
{
	CHECK_EQ(gort_count(), 0);
}

TEST(count_is_1_in_main)
{
	CHECK_EQ(gort_count(), 1);
}

/* Never started ones, parked ones and tasks are alive; only the end counts them away. */
// variants: maxprocs
TEST(count_follows_starts_and_ends)
{
	const int n = SCALE(5000);
	gort_task *t;

	gate = gort_chan_make(0, 0);
	for (int i = 0; i < n; i++) {
		CHECK_EQ(gort_go(wait_at_gate, NULL), 0);
		CHECK_EQ(gort_count(), i + 2);
	}
	t = gort_spawn(wait_at_gate_task, NULL, NULL);
	CHECK(t != NULL);
	CHECK_EQ(gort_count(), n + 2);
	gort_sleep(GORT_MS);
	CHECK_EQ(gort_count(), n + 2);
	gort_chan_retain(gate);
	open_gate();
	CHECK_EQ(gort_join(t, NULL), 0);
	CHECK_EQ(gort_count(), 1);
	gort_chan_release(gate);
}

static void go_from_guest(void *arg)
{
	uint64_t before = gort_count();

	(void)arg;
	for (int i = 0; i < 100; i++)
		CHECK_EQ(gort_go(wait_at_gate, NULL), 0);
	CHECK_EQ(gort_count(), before + 100);
}

// variants: maxprocs
TEST(count_knows_goroutines_of_guests)
{
	gate = gort_chan_make(0, 0);
	on_guest(go_from_guest, NULL);
	CHECK_EQ(gort_count(), 101);
	open_gate();
}

TEST_PLAIN(count_without_a_main)
{
	gate = gort_chan_make(0, 0);
	CHECK_EQ(gort_start(NULL), 0);
	CHECK_EQ(gort_count(), 0);
	go_from_guest(NULL);
	CHECK_EQ(gort_count(), 100);
	CHECK_EQ(gort_chan_close(gate), 0);
	EVENTUALLY(gort_count() == 0);
	CHECK_EQ(gort_stop(), 0);
	CHECK_EQ(gort_count(), 0);
	gort_chan_release(gate);
}

/* Sampled while all Ps make and end goroutines, it is never below what is known to be alive, nor
 * wild. */
static atomic_int started;

static void end_at_once(void *arg)
{
	(void)arg;
	atomic_fetch_add(&started, 1);
}

static void churn(void *arg)
{
	int n = SCALE(20000);

	(void)arg;
	for (int i = 0; i < n; i++) {
		CHECK_EQ(gort_go(end_at_once, NULL), 0);
		if (i % 16 == 0)
			gort_yield();
	}
}

// variants: maxprocs
TEST(count_stays_sane_under_churn)
{
	gort_waitgroup group = { 0 };
	uint64_t most = 4 * (uint64_t)SCALE(20000) + 6;

	for (int i = 0; i < 4; i++)
		CHECK_EQ(gort_waitgroup_go(&group, churn, NULL), 0);
	while (gort_waitgroup_wait_until(&group, gort_in(100 * GORT_US)) != 0) {
		uint64_t n = gort_count();

		CHECK(n >= 1 && n <= most);
	}
	EVENTUALLY(gort_count() == 1);
	CHECK_EQ(atomic_load(&started), 4 * SCALE(20000));
}
