/*
 * once.c - gort_once_do: fn runs once, and nobody returns before it has ended.
 */
#include "harness.h"

#include <stdatomic.h>

static gort_once once;
static gort_waitgroup group;
static atomic_int calls;
static int result; /* written by fn, read by whoever has returned: once orders them */

static void compute(void *arg)
{
	atomic_fetch_add(&calls, 1);
	gort_sleep(GORT_MS);
	result = *(int *)arg;
}

static int value = 42;

static void call(void *arg)
{
	gort_once_do(&once, compute, arg);
	CHECK_EQ(result, 42);
	CHECK_EQ(atomic_load(&calls), 1);
}

static void guest_calls(void *arg)
{
	call(arg);
	gort_waitgroup_done(&group);
}

TEST_PLAIN(runs_once_without_a_runtime)
{
	for (int i = 0; i < 3; i++)
		call(&value);
	on_guest(call, &value);
	CHECK_EQ(atomic_load(&calls), 1);
}

// variants: maxprocs
TEST(all_callers_return_after_it_did)
{
	struct guest *guests[4];

	gort_waitgroup_add(&group, 4);
	for (int i = 0; i < 4; i++)
		guests[i] = guest_start(guest_calls, &value);
	for (int i = 0; i < 200; i++)
		CHECK_EQ(gort_waitgroup_go(&group, call, &value), 0);
	call(&value);
	gort_waitgroup_wait(&group);
	for (int i = 0; i < 4; i++)
		guest_join(guests[i]);
}

/* Many onces, each raced for by four. */
struct race {
	gort_once once;
	int n;
};

static void add_one(void *arg)
{
	((struct race *)arg)->n++;
}

static void race_for_it(void *arg)
{
	struct race *r = arg;

	gort_once_do(&r->once, add_one, r);
	CHECK_EQ(r->n, 1);
}

// variants: maxprocs
TEST(races_for_many)
{
	enum { N = 1000 };
	static struct race races[N];

	for (int i = 0; i < SCALE(N); i++)
		for (int k = 0; k < 4; k++)
			CHECK_EQ(gort_waitgroup_go(&group, race_for_it, &races[i]), 0);
	gort_waitgroup_wait(&group);
}

/* ---- panics and goexit count as done */
static void panics(void *arg)
{
	(void)arg;
	atomic_fetch_add(&calls, 1);
	gort_panic("half done");
}

static void do_panics(void *arg)
{
	(void)arg;
	gort_once_do(&once, panics, NULL);
}

static void check_panic_counts(void *arg)
{
	char message[20] = "";

	(void)arg;
	CHECK_EQ(gort_try(do_panics, NULL, message, sizeof message), -EOWNERDEAD);
	CHECK_STR(message, "half done");
	CHECK_EQ(gort_try(do_panics, NULL, message, sizeof message), 0);
	gort_once_do(&once, panics, NULL);
	CHECK_EQ(atomic_load(&calls), 1);
}

TEST(panic_counts_as_done)
{
	check_panic_counts(NULL);
}

TEST_PLAIN(panic_on_a_plain_thread_counts_as_done)
{
	check_panic_counts(NULL);
}

static void sleep_and_exit(void *arg)
{
	(void)arg;
	atomic_fetch_add(&calls, 1);
	gort_sleep(GORT_MS);
	gort_goexit();
}

static atomic_int returned;

static void call_exits(void *arg)
{
	(void)arg;
	gort_once_do(&once, sleep_and_exit, NULL);
	atomic_fetch_add(&returned, 1);
}

// variants: maxprocs
TEST(goexit_keeps_nobody_waiting)
{
	for (int i = 0; i < 10; i++)
		CHECK_EQ(gort_waitgroup_go(&group, call_exits, NULL), 0);
	gort_waitgroup_wait(&group);
	CHECK_EQ(atomic_load(&calls), 1);
	CHECK_EQ(atomic_load(&returned), 9);
}

/* ---- within each other */
static gort_once inner;

static void inner_fn(void *arg)
{
	*(int *)arg += 1;
}

static void outer_fn(void *arg)
{
	gort_once_do(&inner, inner_fn, arg);
	gort_once_do(&inner, inner_fn, arg);
	*(int *)arg += 10;
}

TEST(onces_nest)
{
	int n = 0;

	gort_once_do(&once, outer_fn, &n);
	gort_once_do(&once, outer_fn, &n);
	CHECK_EQ(n, 11);
}

/* Defers of fn's own are the goroutine's, and run at its end, not at fn's. */
static void defer_one(void *arg)
{
	CHECK_EQ(gort_defer(inner_fn, arg), 0);
}

static void do_defer_one(void *arg)
{
	gort_once_do(&once, defer_one, arg);
	CHECK_EQ(*(int *)arg, 0);
}

TEST(defers_of_fn_run_at_the_goroutines_end)
{
	int n = 0;

	CHECK_EQ(gort_waitgroup_go(&group, do_defer_one, &n), 0);
	gort_waitgroup_wait(&group);
	CHECK_EQ(n, 1);
}

/* ---- misuse */
static void do_again(void *arg)
{
	gort_once_do(&once, do_again, arg);
}

static void do_again_deeper(void *arg)
{
	gort_try(do_again, arg, NULL, 0);
}

static void do_inner(void *arg)
{
	gort_once_do(&inner, do_again_deeper, arg);
}

TEST_DIES(from_inside_names_the_call, "gort_once_do")
{
	gort_once_do(&once, do_again, NULL);
}

TEST_DIES(from_deeper_inside_names_the_goroutine, "goroutine 1")
{
	gort_once_do(&once, do_inner, NULL);
}

TEST_PLAIN_DIES(from_inside_on_a_plain_thread, "waits for itself")
{
	gort_once_do(&once, do_again, NULL);
}
