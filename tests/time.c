/*
 * time.c - the clock, deadlines and sleeping. Upper bounds are never checked, only that nothing
 * ends early and that all of it ends.
 */
#include "harness.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

static int64_t monotonic(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * GORT_SEC + t.tv_nsec;
}

/* ---- gort_now, gort_in */
TEST_PLAIN(now_is_clock_monotonic)
{
	for (int i = 0; i < 1000; i++) {
		int64_t before = monotonic(), now = gort_now(), after = monotonic();

		CHECK(before <= now && now <= after);
	}
}

TEST_PLAIN(in_adds_to_now)
{
	const int64_t durations[] = { 0, 1, GORT_US, GORT_SEC, 86400 * GORT_SEC, -1, -GORT_SEC };

	for (size_t i = 0; i < sizeof durations / sizeof durations[0]; i++) {
		int64_t before = gort_now(), at = gort_in(durations[i]), after = gort_now();

		CHECK(before + durations[i] <= at && at <= after + durations[i]);
	}
}

TEST_PLAIN(in_saturates_and_never_gives_now)
{
	CHECK_EQ(gort_in(INT64_MAX), GORT_FOREVER);
	CHECK_EQ(gort_in(GORT_FOREVER - 1), GORT_FOREVER);
	CHECK(gort_in(INT64_MIN) != GORT_NOW);
	CHECK(gort_in(INT64_MIN) < gort_now());
	CHECK(gort_in(INT64_MIN + 1) != GORT_NOW);
}

TEST_PLAIN(units_are_nanoseconds)
{
	CHECK_EQ(GORT_US, 1000);
	CHECK_EQ(GORT_MS, 1000 * GORT_US);
	CHECK_EQ(GORT_SEC, 1000 * GORT_MS);
	CHECK_EQ(GORT_NOW, INT64_MIN);
	CHECK_EQ(GORT_FOREVER, INT64_MAX);
}

/* ---- sleeping takes as long as it must */
static void check_sleeps(void *arg)
{
	const int64_t durations[] = { 1,       100,         GORT_US,     100 * GORT_US,
				      GORT_MS, 3 * GORT_MS, 11 * GORT_MS };

	(void)arg;
	for (size_t i = 0; i < sizeof durations / sizeof durations[0]; i++) {
		int64_t start = gort_now();

		CHECK_EQ(gort_sleep(durations[i]), 0);
		CHECK(gort_now() - start >= durations[i]);
		start = gort_in(durations[i]);
		CHECK_EQ(gort_sleep_until(start), 0);
		CHECK(gort_now() >= start);
	}
}

// variants: maxprocs bubble
TEST(sleep_never_ends_early)
{
	gort_waitgroup group = { 0 };

	for (int i = 0; i < 100; i++)
		CHECK_EQ(gort_waitgroup_go(&group, check_sleeps, NULL), 0);
	check_sleeps(NULL);
	gort_waitgroup_wait(&group);
}

TEST_PLAIN(sleep_on_a_plain_thread_needs_no_runtime)
{
	check_sleeps(NULL);
	CHECK_EQ(gort_sleep(0), 0);
	CHECK_EQ(gort_sleep(INT64_MIN), 0);
	CHECK_EQ(gort_sleep_until(GORT_NOW), 0);
	CHECK_EQ(gort_sleep_until(0), 0);
}

// variants: bubble
TEST(sleep_on_a_guest)
{
	on_guest(check_sleeps, NULL);
}

/* ---- signals */
static atomic_bool signals_end;
static pthread_t target;

static void ignore(int sig)
{
	(void)sig;
}

static void send_signals(void *arg)
{
	(void)arg;
	while (!atomic_load(&signals_end)) {
		const struct timespec pause = { 0, 500000 };

		pthread_kill(target, SIGUSR1);
		nanosleep(&pause, NULL);
	}
}

static void sleep_under_signals(void *arg)
{
	(void)arg;
	for (int i = 0; i < 10; i++) {
		int64_t start = gort_now();

		CHECK_EQ(gort_sleep(10 * GORT_MS), 0);
		CHECK(gort_now() - start >= 10 * GORT_MS);
	}
}

static void with_signals(void (*fn)(void *arg))
{
	struct sigaction sa = { .sa_handler = ignore }; /* without SA_RESTART */
	struct guest *g;

	sigaction(SIGUSR1, &sa, NULL);
	target = pthread_self();
	g = guest_start(send_signals, NULL);
	fn(NULL);
	atomic_store(&signals_end, true);
	guest_join(g);
}

TEST_PLAIN(sleep_on_a_plain_thread_is_not_cut_short_by_signals)
{
	with_signals(sleep_under_signals);
}

// variants: bubble
TEST(sleep_of_a_goroutine_is_not_cut_short_by_signals)
{
	with_signals(sleep_under_signals);
}

/* ---- <= 0 and passed deadlines yield once */
static void set(void *arg)
{
	atomic_store((atomic_bool *)arg, true);
}

static int yields_once(void *arg)
{
	const int64_t past[] = { 0, -1, -GORT_SEC, INT64_MIN };

	(void)arg;
	for (size_t i = 0; i < sizeof past / sizeof past[0]; i++) {
		atomic_bool ran = false;

		CHECK_EQ(gort_go(set, &ran), 0);
		CHECK(!atomic_load(&ran));
		CHECK_EQ(gort_sleep(past[i]), 0);
		CHECK(atomic_load(&ran));

		atomic_store(&ran, false);
		CHECK_EQ(gort_go(set, &ran), 0);
		CHECK_EQ(gort_sleep_until(past[i]), 0);
		CHECK(atomic_load(&ran));

		atomic_store(&ran, false);
		CHECK_EQ(gort_go(set, &ran), 0);
		CHECK_EQ(gort_sleep_until(gort_now() - 1), 0);
		CHECK(atomic_load(&ran));
	}
	return 0;
}

TEST_PLAIN(sleep_of_nothing_yields)
{
	CHECK_EQ(gort_run(yields_once, NULL,
			  &(gort_options){ .maxprocs = 1, .preempt_slice_us = -1 }),
		 0);
}

/* ---- others run meanwhile */
static atomic_int turns;
static atomic_bool turns_end;

static void take_turns(void *arg)
{
	(void)arg;
	while (!atomic_load(&turns_end)) {
		atomic_fetch_add(&turns, 1);
		gort_yield();
	}
}

// variants: maxprocs
TEST(sleep_lets_others_run_and_comes_back_among_busy_ones)
{
	for (int i = 0; i < 3; i++)
		CHECK_EQ(gort_go(take_turns, NULL), 0);
	for (int i = 0; i < 20; i++) {
		int before = atomic_load(&turns);

		CHECK_EQ(gort_sleep(GORT_MS), 0);
		EVENTUALLY(atomic_load(&turns) > before);
	}
	atomic_store(&turns_end, true);
}

/* ---- many */
static gort_waitgroup sleepers;

static void sleep_until_arg(void *arg)
{
	int64_t deadline = *(int64_t *)arg;

	CHECK_EQ(gort_sleep_until(deadline), 0);
	CHECK(gort_now() >= deadline);
	gort_waitgroup_done(&sleepers);
}

/* Equal ones, ascending ones, descending ones, past ones, in one heap. */
// variants: maxprocs bubble
TEST(thousands_sleep_at_once)
{
	const int n = SCALE(8000);
	int64_t base = gort_in(50 * GORT_MS);

	gort_waitgroup_add(&sleepers, n);
	for (int i = 0; i < n; i++) {
		int64_t at = base;

		if (i % 4 == 1)
			at += i * 10 * GORT_US;
		else if (i % 4 == 2)
			at += (n - i) * 10 * GORT_US;
		else if (i % 4 == 3)
			at -= i * 20 * GORT_US;
		CHECK_EQ(gort_go_copy(sleep_until_arg, &at, sizeof at), 0);
	}
	CHECK_EQ(gort_waitgroup_wait(&sleepers), 0);
}

static void sleep_for_ever(void *arg)
{
	if (arg)
		gort_sleep(GORT_FOREVER);
	else
		gort_sleep_until(GORT_FOREVER - 1);
	CHECK(false && "for ever is over");
}

// variants: maxprocs
TEST(sleep_for_ever_does_not_end)
{
	test_leaves_goroutines();
	CHECK_EQ(gort_go(sleep_for_ever, NULL), 0);
	CHECK_EQ(gort_go(sleep_for_ever, &turns), 0);
	for (int i = 0; i < 10; i++)
		CHECK_EQ(gort_sleep(GORT_MS), 0); /* earlier deadlines beside them */
	CHECK_EQ(gort_count(), 3);
}
