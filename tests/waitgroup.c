/*
 * waitgroup.c - waiting until the count is zero; then the wait group may be freed or used again.
 */
#include "harness.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static gort_waitgroup group;
static atomic_int ran;

static void nothing(void *arg)
{
	(void)arg;
}

static void done(void *arg)
{
	gort_waitgroup_done(arg);
}

static void count(void *arg)
{
	(void)arg;
	gort_yield();
	atomic_fetch_add(&ran, 1);
}

TEST_PLAIN(zero_does_not_wait)
{
	CHECK_EQ(gort_waitgroup_wait(&group), 0);
	CHECK_EQ(gort_waitgroup_wait_until(&group, GORT_NOW), 0);
	gort_waitgroup_add(&group, 0);
	CHECK_EQ(gort_waitgroup_wait(&group), 0);
	gort_waitgroup_add(&group, 3);
	gort_waitgroup_add(&group, -3);
	CHECK_EQ(gort_waitgroup_wait(&group), 0);
	gort_waitgroup_add(&group, INT32_MAX);
	gort_waitgroup_add(&group, -INT32_MAX);
	CHECK_EQ(gort_waitgroup_wait(&group), 0);
}

// variants: maxprocs
TEST(wait_sees_what_all_have_done)
{
	const int n = SCALE(5000);

	for (int i = 0; i < n; i++)
		CHECK_EQ(gort_waitgroup_go(&group, count, NULL), 0);
	CHECK_EQ(gort_waitgroup_wait(&group), 0);
	CHECK_EQ(atomic_load(&ran), n);
}

/* ---- deadlines */
static void check_until(void *arg)
{
	(void)arg;
	CHECK_EQ(gort_waitgroup_wait_until(&group, GORT_NOW), -ETIMEDOUT);
	CHECK_EQ(gort_waitgroup_wait_until(&group, -5), -ETIMEDOUT);
	for (int64_t d = 1; d < 5 * GORT_MS; d *= 4) {
		int64_t deadline = gort_in(d);

		CHECK_EQ(gort_waitgroup_wait_until(&group, deadline), -ETIMEDOUT);
		CHECK(gort_now() >= deadline);
	}
}

// variants: maxprocs
TEST(wait_until_times_out_and_can_be_waited_for_again)
{
	gort_waitgroup_add(&group, 1);
	check_until(NULL);
	on_guest(check_until, NULL);
	CHECK_EQ(gort_go(done, &group), 0);
	CHECK_EQ(gort_waitgroup_wait_until(&group, GORT_FOREVER), 0);
	gort_waitgroup_add(&group, 1); /* nothing is left of those that timed out */
	check_until(NULL);
	gort_waitgroup_done(&group);
	CHECK_EQ(gort_waitgroup_wait(&group), 0);
}

TEST_PLAIN(wait_until_without_a_runtime)
{
	gort_waitgroup_add(&group, 1);
	check_until(NULL);
	on_guest(done, &group);
	CHECK_EQ(gort_waitgroup_wait(&group), 0);
}

/* Deadlines about when the count becomes zero. */
// variants: maxprocs
TEST(wait_until_racing_with_done)
{
	for (int i = 0; i < SCALE(3000); i++) {
		int err;

		CHECK_EQ(gort_waitgroup_go(&group, nothing, NULL), 0);
		while ((err = gort_waitgroup_wait_until(&group, gort_in(i % 64 * 100))) < 0) {
			CHECK_EQ(err, -ETIMEDOUT);
			gort_yield();
		}
		CHECK_EQ(gort_waitgroup_wait_until(&group, GORT_NOW), 0);
	}
}

/* ---- many waiters */
static void wait_and_count(void *arg)
{
	gort_waitgroup *g = arg;

	CHECK_EQ(gort_waitgroup_wait(g), 0);
	CHECK(atomic_load(&ran) >= 1000);
	atomic_fetch_add(&ran, 1);
}

static gort_waitgroup waiters;

static void guest_waits(void *arg)
{
	wait_and_count(arg);
	gort_waitgroup_done(&waiters);
}

// variants: maxprocs
TEST(all_waiters_go_on)
{
	struct guest *guests[3];

	gort_waitgroup_add(&group, 1);
	gort_waitgroup_add(&waiters, 3);
	for (int i = 0; i < 3; i++)
		guests[i] = guest_start(guest_waits, &group);
	for (int i = 0; i < 100; i++)
		CHECK_EQ(gort_waitgroup_go(&waiters, wait_and_count, &group), 0);
	gort_sleep(GORT_MS);
	CHECK_EQ(atomic_load(&ran), 0);
	atomic_store(&ran, 1000);
	gort_waitgroup_done(&group);
	gort_waitgroup_wait(&waiters);
	CHECK_EQ(atomic_load(&ran), 1103);
	for (int i = 0; i < 3; i++)
		guest_join(guests[i]);
}

/* ---- again at once, and freed at once */
// variants: maxprocs
TEST(used_again_as_soon_as_wait_has_returned)
{
	for (int i = 0; i < SCALE(10000); i++) {
		gort_waitgroup_add(&group, 2);
		CHECK_EQ(gort_go(done, &group), 0);
		CHECK_EQ(gort_go(done, &group), 0);
		CHECK_EQ(gort_waitgroup_wait(&group), 0);
	}
}

static void wait_and_free(gort_waitgroup *g)
{
	CHECK_EQ(gort_waitgroup_wait(g), 0);
	memset(g, 0xdd, sizeof *g);
	free(g);
}

static void free_on_guest(void *arg)
{
	for (int i = 0; i < SCALE(2000); i++) {
		gort_waitgroup *g = calloc(1, sizeof *g);

		CHECK(g != NULL);
		gort_waitgroup_add(g, 2);
		CHECK_EQ(gort_go(done, g), 0);
		CHECK_EQ(gort_go(done, g), 0);
		wait_and_free(g);
	}
	gort_waitgroup_done(arg);
}

// variants: maxprocs
TEST(freed_as_soon_as_wait_has_returned)
{
	struct guest *guest;

	gort_waitgroup_add(&group, 1);
	guest = guest_start(free_on_guest, &group);
	for (int i = 0; i < SCALE(5000); i++) {
		gort_waitgroup *g = calloc(1, sizeof *g);

		CHECK(g != NULL);
		for (int k = 0; k < 3; k++)
			CHECK_EQ(gort_waitgroup_go(g, nothing, NULL), 0);
		wait_and_free(g);
	}
	gort_waitgroup_wait(&group);
	guest_join(guest);
}

static void go_on_stack(void *arg)
{
	(void)arg;
	for (int i = 0; i < 50; i++) {
		gort_waitgroup own = { 0 };

		CHECK_EQ(gort_waitgroup_go(&own, nothing, NULL), 0);
		CHECK_EQ(gort_waitgroup_go(&own, nothing, NULL), 0);
		gort_waitgroup_wait(&own);
		memset((void *)&own, 0xdd, sizeof own);
	}
}

// variants: maxprocs
TEST(wait_groups_on_stacks)
{
	for (int i = 0; i < SCALE(100); i++)
		CHECK_EQ(gort_waitgroup_go(&group, go_on_stack, NULL), 0);
	gort_waitgroup_wait(&group);
}

/* ---- gort_waitgroup_go: done at the end, whatever the end */
static void ends_by_goexit(void *arg)
{
	(void)arg;
	gort_goexit();
}

static void ends_by_panic(void *arg)
{
	(void)arg;
	gort_panic("lost");
}

static atomic_int panics;

static void note_panic(const char *message, uint64_t goroutine)
{
	CHECK_STR(message, "lost");
	CHECK(goroutine > 1);
	atomic_fetch_add(&panics, 1);
}

static int go_and_end(void *arg)
{
	(void)arg;
	for (int i = 0; i < 100; i++) {
		CHECK_EQ(gort_waitgroup_go(&group, ends_by_goexit, NULL), 0);
		CHECK_EQ(gort_waitgroup_go(&group, ends_by_panic, NULL), 0);
		CHECK_EQ(gort_waitgroup_go(&group, nothing, NULL), 0);
	}
	CHECK_EQ(gort_waitgroup_wait(&group), 0);
	EVENTUALLY(atomic_load(&panics) == 100);
	EVENTUALLY(gort_count() == 1);
	return 1;
}

// variants: maxprocs
TEST_PLAIN(go_is_done_after_goexit_and_panic)
{
	CHECK_EQ(gort_run(go_and_end, NULL, &(gort_options){ .on_panic = note_panic }), 1);
}

/* Its done comes after the goroutine's own defers. */
static void set(void *arg)
{
	atomic_store((atomic_int *)arg, 7);
}

static void defers_first(void *arg)
{
	CHECK_EQ(gort_defer(set, arg), 0);
}

// variants: maxprocs
TEST(go_is_done_after_the_defers)
{
	for (int i = 0; i < SCALE(1000); i++) {
		atomic_store(&ran, 0);
		CHECK_EQ(gort_waitgroup_go(&group, defers_first, &ran), 0);
		gort_waitgroup_wait(&group);
		CHECK_EQ(atomic_load(&ran), 7);
	}
}

static void add_more(void *arg)
{
	intptr_t left = (intptr_t)arg;

	atomic_fetch_add(&ran, 1);
	for (intptr_t i = 0; i < left; i++)
		CHECK_EQ(gort_waitgroup_go(&group, add_more, (void *)(left - 1)), 0);
}

// variants: maxprocs
TEST(members_add_members)
{
	CHECK_EQ(gort_waitgroup_go(&group, add_more, (void *)(intptr_t)6), 0);
	gort_waitgroup_wait(&group);
	CHECK_EQ(atomic_load(&ran), 1957); /* sum of 6!/k! */
}

/* ---- misuse */
TEST_DIES(below_zero_is_misuse, "gort_waitgroup")
{
	gort_waitgroup_done(&group);
}

TEST_DIES(below_zero_names_the_goroutine, "goroutine 1")
{
	gort_waitgroup_add(&group, 2);
	gort_waitgroup_add(&group, -3);
}

TEST_PLAIN_DIES(below_zero_on_a_plain_thread, "gort_waitgroup")
{
	gort_waitgroup_add(&group, INT32_MIN);
}

TEST_DIES(null_is_misuse, "gort_waitgroup_wait")
{
	gort_waitgroup *none = NULL;

	gort_waitgroup_wait(none);
}
