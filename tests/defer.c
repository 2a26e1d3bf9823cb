/*
 * defer.c - gort_defer: at the end of the innermost gort_try, else of the goroutine, last first.
 */
#include "harness.h"

#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

static gort_waitgroup group;
static char order[200];

static void note(void *arg)
{
	strcat(order, arg);
}

static void defer(gort_func fn, void *arg)
{
	CHECK_EQ(gort_defer(fn, arg), 0);
}

static void defer_abc(void *arg)
{
	(void)arg;
	defer(note, "a");
	defer(note, "b");
	defer(note, "c");
	strcat(order, "<");
}

static void run(gort_func fn)
{
	order[0] = '\0';
	CHECK_EQ(gort_waitgroup_go(&group, fn, NULL), 0);
	CHECK_EQ(gort_waitgroup_wait(&group), 0);
}

/* ---- the end of a goroutine */
TEST(last_first_on_return)
{
	run(defer_abc);
	CHECK_STR(order, "<cba");
}

static void exits(void *arg)
{
	defer_abc(arg);
	gort_goexit();
}

TEST(last_first_on_goexit)
{
	run(exits);
	CHECK_STR(order, "<cba");
}

static void panics(void *arg)
{
	defer_abc(arg);
	gort_panic("lost");
}

static void note_panic(const char *message, uint64_t goroutine)
{
	(void)goroutine;
	strcat(order, message);
}

static int run_panics(void *arg)
{
	(void)arg;
	run(panics);
	EVENTUALLY(gort_count() == 1);
	return 0;
}

TEST_PLAIN(last_first_on_panic_before_on_panic)
{
	CHECK_EQ(gort_run(run_panics, NULL, &(gort_options){ .on_panic = note_panic }), 0);
	CHECK_STR(order, "<cbalost");
}

static int main_defers(void *arg)
{
	defer_abc(arg);
	return 5;
}

static int main_exits(void *arg)
{
	exits(arg);
	return 5;
}

TEST_PLAIN(defers_of_main)
{
	CHECK_EQ(gort_run(main_defers, NULL, NULL), 5);
	CHECK_STR(order, "<cba");
	order[0] = '\0';
	CHECK_EQ(gort_run(main_exits, NULL, NULL), 0);
	CHECK_STR(order, "<cba");
}

/* A defer registered by a defer is the last, so it is next. */
static void note_and_defer(void *arg)
{
	note(arg);
	defer(note, "y");
	defer(note, "z");
	note("(");
}

static void nests(void *arg)
{
	(void)arg;
	defer(note, "a");
	defer(note_and_defer, "b");
	defer(note, "c");
}

TEST(defers_register_defers)
{
	run(nests);
	CHECK_STR(order, "cb(zya");
}

/* ---- a goroutine's defers may do all that it may */
static gort_chan *chan;

static void send_and_sleep(void *arg)
{
	intptr_t value = (intptr_t)arg;

	gort_sleep(10 * GORT_US);
	CHECK_EQ(gort_chan_send(chan, &value), 0);
	gort_yield();
}

static void defers_that_park(void *arg)
{
	(void)arg;
	for (intptr_t i = 0; i < 3; i++)
		defer(send_and_sleep, (void *)i);
	if (arg)
		gort_goexit();
}

// variants: maxprocs
TEST(defers_may_park)
{
	chan = gort_chan_make(sizeof(intptr_t), 0);
	for (intptr_t i = 0, value; i < 100; i++) {
		CHECK_EQ(gort_go(defers_that_park, i % 2 ? &group : NULL), 0);
		for (intptr_t k = 2; k >= 0; k--) {
			CHECK_EQ(gort_chan_recv(chan, &value), 0);
			CHECK_EQ(value, k);
		}
	}
	gort_chan_release(chan);
}

static int64_t expected;

static void count_down(void *arg)
{
	CHECK_EQ((intptr_t)arg, --expected);
}

static void defers_many(void *arg)
{
	(void)arg;
	for (; expected < SCALE(50000); expected++) {
		defer(count_down, (void *)(intptr_t)expected);
		if (expected % 1000 == 0)
			gort_yield();
	}
}

// variants: maxprocs
TEST(many_defers)
{
	run(defers_many);
	CHECK_EQ(expected, 0);
}

/* Each goroutine has its own, wherever it runs. */
static atomic_int sum;

static void subtract(void *arg)
{
	atomic_fetch_sub(&sum, (int)(intptr_t)arg);
}

static void adds(void *arg)
{
	for (int i = 0; i < 20; i++) {
		atomic_fetch_add(&sum, (int)(intptr_t)arg);
		defer(subtract, arg);
		gort_yield();
	}
}

// variants: maxprocs
TEST(each_goroutine_has_its_own)
{
	for (intptr_t i = 0; i < SCALE(500); i++)
		CHECK_EQ(gort_waitgroup_go(&group, adds, (void *)i), 0);
	gort_waitgroup_wait(&group);
	CHECK_EQ(atomic_load(&sum), 0);
}

/* ---- gort_try */
static void try_with_defers(void *arg)
{
	(void)arg;
	defer(note, "1");
	CHECK_EQ(gort_try(defer_abc, NULL, NULL, 0), 0);
	note("-");
	defer(note, "2");
}

TEST(a_try_runs_its_own_at_its_end)
{
	run(try_with_defers);
	CHECK_STR(order, "<cba-21");
}

static void inner_try(void *arg)
{
	(void)arg;
	defer(note, "i");
	CHECK_EQ(gort_try(panics, NULL, NULL, 0), -EOWNERDEAD);
	note("|");
	defer(note, "j");
	gort_panic("outer");
}

static void outer_try(void *arg)
{
	(void)arg;
	defer(note, "o");
	CHECK_EQ(gort_try(inner_try, NULL, NULL, 0), -EOWNERDEAD);
	note("/");
}

TEST(tries_nest)
{
	run(outer_try);
	CHECK_STR(order, "<cba|ji/o");
}

static void exits_in_try(void *arg)
{
	(void)arg;
	defer(note, "o");
	gort_try(exits, NULL, NULL, 0);
	note("never");
}

TEST(goexit_in_a_try_runs_all)
{
	run(exits_in_try);
	CHECK_STR(order, "<cbao");
}

/* ---- plain threads */
static void on_plain_thread(void *arg)
{
	(void)arg;
	order[0] = '\0';
	CHECK_EQ(gort_defer(note, "never"), -EPERM);
	CHECK_EQ(gort_try(defer_abc, NULL, NULL, 0), 0);
	CHECK_STR(order, "<cba");
	CHECK_EQ(gort_defer(note, "never"), -EPERM);
	CHECK_EQ(gort_try(inner_try, NULL, NULL, 0), -EOWNERDEAD);
	CHECK_STR(order, "<cba<cba|ji");
}

TEST_PLAIN(plain_thread_defers_inside_a_try_only)
{
	on_plain_thread(NULL);
	on_guest(on_plain_thread, NULL);
}

TEST(guest_defers_inside_a_try_only)
{
	on_guest(on_plain_thread, NULL);
}

TEST_DIES(defer_without_a_function_is_misuse, "gort_defer")
{
	gort_defer(NULL, NULL);
}
