/*
 * mutex.c - mutual exclusion among goroutines and guests, deadlines, fairness, misuse.
 */
#include "crowd.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static gort_mutex mutex;
static gort_waitgroup group;
static int64_t counter; /* mutex */
static atomic_int inside;

static void give_way(int i)
{
	if (i % 64 == 0)
		gort_sleep(1);
	else if (i % 4 == 0)
		gort_yield();
}

/* ---- exclusion */
static void critical(int i)
{
	int64_t seen = counter;

	CHECK_EQ(atomic_fetch_add(&inside, 1), 0);
	give_way(i);
	counter = seen + 1;
	CHECK_EQ(atomic_fetch_sub(&inside, 1), 1);
}

static void count_locked(void *arg)
{
	int n = *(int *)arg;

	for (int i = 0; i < n; i++) {
		gort_mutex_lock(&mutex);
		critical(i);
		gort_mutex_unlock(&mutex);
	}
}

static void count_hurried(void *arg)
{
	int n = *(int *)arg;

	for (int i = 0; i < n;) {
		int err = i % 3 ? gort_mutex_lock_until(&mutex, gort_in(i % 50 * 200))
				: gort_mutex_try_lock(&mutex);

		if (err) {
			CHECK_EQ(err, i % 3 ? -ETIMEDOUT : -EAGAIN);
			gort_yield();
			continue;
		}
		critical(i++);
		gort_mutex_unlock(&mutex);
	}
}

static void count_and_done(void *arg)
{
	count_locked(arg);
	gort_waitgroup_done(&group);
}

static void count_hurried_and_done(void *arg)
{
	count_hurried(arg);
	gort_waitgroup_done(&group);
}

// variants: maxprocs
TEST(only_one_at_a_time)
{
	enum { GOROUTINES = 8, GUESTS = 2 };
	struct guest *guests[2 * GUESTS];
	int n = SCALE(1000);

	gort_waitgroup_add(&group, 2 * GUESTS);
	for (int i = 0; i < GUESTS; i++) {
		guests[i] = guest_start(count_and_done, &n);
		guests[GUESTS + i] = guest_start(count_hurried_and_done, &n);
	}
	for (int i = 0; i < GOROUTINES; i++) {
		CHECK_EQ(gort_waitgroup_go(&group, count_locked, &n), 0);
		CHECK_EQ(gort_waitgroup_go(&group, count_hurried, &n), 0);
	}
	gort_waitgroup_wait(&group);
	for (int i = 0; i < 2 * GUESTS; i++)
		guest_join(guests[i]);
	CHECK_EQ(counter, 2 * (GOROUTINES + GUESTS) * n);
	CHECK_EQ(gort_mutex_try_lock(&mutex), 0);
	gort_mutex_unlock(&mutex);
}

TEST_PLAIN(only_one_at_a_time_without_a_runtime)
{
	struct guest *guests[4];
	int n = SCALE(2000);

	for (int i = 0; i < 4; i++)
		guests[i] = guest_start(i % 2 ? count_locked : count_hurried, &n);
	for (int i = 0; i < 4; i++)
		guest_join(guests[i]);
	CHECK_EQ(counter, 4 * n);
}

/* Nobody waits inside, so most calls take the short way. */
static void count_quickly(void *arg)
{
	int n = *(int *)arg;

	for (int i = 0; i < n; i++) {
		gort_mutex_lock(&mutex);
		counter++;
		gort_mutex_unlock(&mutex);
	}
}

// variants: maxprocs
TEST(short_critical_sections)
{
	int n = SCALE(20000);

	for (int i = 0; i < 16; i++)
		CHECK_EQ(gort_waitgroup_go(&group, count_quickly, &n), 0);
	gort_waitgroup_wait(&group);
	CHECK_EQ(counter, 16 * n);
}

/* ---- try, until */
static void check_taken(void *arg)
{
	int64_t deadline;

	(void)arg;
	CHECK_EQ(gort_mutex_try_lock(&mutex), -EAGAIN);
	CHECK_EQ(gort_mutex_lock_until(&mutex, GORT_NOW), -ETIMEDOUT);
	CHECK_EQ(gort_mutex_lock_until(&mutex, 0), -ETIMEDOUT);
	for (int64_t d = 1; d < 5 * GORT_MS; d *= 4) {
		deadline = gort_in(d);
		CHECK_EQ(gort_mutex_lock_until(&mutex, deadline), -ETIMEDOUT);
		CHECK(gort_now() >= deadline);
	}
}

static void check_free(void *arg)
{
	(void)arg;
	CHECK_EQ(gort_mutex_try_lock(&mutex), 0);
	CHECK_EQ(gort_mutex_try_lock(&mutex), -EAGAIN); /* not recursive */
	gort_mutex_unlock(&mutex);
	CHECK_EQ(gort_mutex_lock_until(&mutex, GORT_NOW), 0); /* complete without waiting */
	gort_mutex_unlock(&mutex);
	CHECK_EQ(gort_mutex_lock_until(&mutex, GORT_FOREVER), 0);
	gort_mutex_unlock(&mutex);
	gort_mutex_lock(&mutex);
	gort_mutex_unlock(&mutex);
}

// variants: maxprocs
TEST(try_and_until)
{
	check_free(NULL);
	on_guest(check_free, NULL);
	gort_mutex_lock(&mutex);
	check_taken(NULL);
	on_guest(check_taken, NULL);
	gort_mutex_unlock(&mutex);
	check_free(NULL);
}

TEST_PLAIN(try_and_until_without_a_runtime)
{
	check_free(NULL);
	gort_mutex_lock(&mutex);
	check_taken(NULL);
	on_guest(check_taken, NULL);
	gort_mutex_unlock(&mutex);
	check_free(NULL);
}

static atomic_int order, timeouts;
static int got[16];

static void lock_in_turn(void *arg)
{
	int me = *(int *)arg;
	int64_t deadline = me % 3 == 0 ? gort_in(3 * GORT_MS) : GORT_FOREVER;

	crowd_join();
	if (gort_mutex_lock_until(&mutex, deadline) < 0) {
		CHECK(gort_now() >= deadline);
		atomic_fetch_add(&timeouts, 1);
		return;
	}
	got[atomic_fetch_add(&order, 1)] = me;
	gort_mutex_unlock(&mutex);
}

/* Every third one times out; the others get it in the order they came. */
TEST(timed_out_waiters_leave_the_queue)
{
	int ids[12];

	gort_mutex_lock(&mutex);
	for (int i = 0; i < 12; i++) {
		ids[i] = i;
		CHECK_EQ(gort_waitgroup_go(&group, lock_in_turn, &ids[i]), 0);
		while (!crowd_member_waits((uint32_t)i) &&
		       !(i % 3 == 0 && atomic_load(&timeouts) == i / 3 + 1))
			gort_yield();
	}
	EVENTUALLY(atomic_load(&timeouts) == 4);
	gort_mutex_unlock(&mutex);
	gort_waitgroup_wait(&group);
	CHECK_EQ(atomic_load(&order), 8);
	for (int i = 0, id = 0; i < 8; i++, id++) {
		if (id % 3 == 0)
			id++;
		CHECK_EQ(got[i], id);
	}
	check_free(NULL);
}

/* Only one waits, and times out: nothing stays that says somebody waits. */
// variants: maxprocs
TEST(lone_waiter_that_times_out_leaves_it_as_it_was)
{
	for (int i = 0; i < SCALE(200); i++) {
		gort_mutex_lock(&mutex);
		CHECK_EQ(gort_mutex_lock_until(&mutex, gort_in(i * 100)), -ETIMEDOUT);
		gort_mutex_unlock(&mutex);
		check_free(NULL);
	}
}

/* ---- unlock by others */
static void unlock(void *arg)
{
	gort_mutex_unlock(arg);
}

// variants: maxprocs
TEST(anyone_may_unlock)
{
	for (int i = 0; i < 20; i++) {
		gort_mutex_lock(&mutex);
		CHECK_EQ(gort_go(unlock, &mutex), 0);
		gort_mutex_lock(&mutex);
		on_guest(unlock, &mutex);
		gort_mutex_lock(&mutex);
		gort_mutex_unlock(&mutex);
	}
}

/* ---- fairness */
static atomic_bool waits, has_it;

static void wait_for_it(void *arg)
{
	(void)arg;
	atomic_store(&waits, true);
	gort_mutex_lock(&mutex);
	atomic_store(&has_it, true);
	gort_mutex_unlock(&mutex);
	gort_waitgroup_done(&group);
}

/* The hog gives way only while it holds it, and lets it go for a moment: but for the rule that a
 * waiter of over 1 ms goes first, with one P nobody else would ever get it. */
static void hog(int64_t hold)
{
	int64_t limit = gort_in(30 * GORT_SEC), until;

	while (!atomic_load(&has_it)) {
		CHECK(gort_now() < limit);
		gort_mutex_unlock(&mutex);
		gort_mutex_lock(&mutex);
		until = gort_in(hold);
		while (gort_now() < until)
			;
		gort_yield();
	}
	gort_mutex_unlock(&mutex);
	gort_waitgroup_wait(&group);
}

// variants: maxprocs
TEST(waiter_of_over_a_millisecond_goes_before_a_hog)
{
	for (int i = 0; i < 10; i++) {
		atomic_store(&waits, false);
		atomic_store(&has_it, false);
		gort_mutex_lock(&mutex);
		gort_waitgroup_add(&group, 1);
		CHECK_EQ(gort_go(wait_for_it, NULL), 0);
		while (!atomic_load(&waits))
			gort_yield();
		gort_yield();
		hog(i * 20 * GORT_US);
	}
}

// variants: maxprocs
TEST(guest_that_waits_long_goes_before_a_hog)
{
	struct guest *g;

	gort_mutex_lock(&mutex);
	gort_waitgroup_add(&group, 1);
	g = guest_start(wait_for_it, NULL);
	EVENTUALLY(atomic_load(&waits));
	hog(10 * GORT_US);
	guest_join(g);
}

/* ---- memory: whoever gets it next may free it */
struct owned {
	gort_mutex lock;
	int users;
};

static void use_once(void *arg)
{
	struct owned *o = arg;
	int left;

	gort_mutex_lock(&o->lock);
	left = --o->users;
	gort_mutex_unlock(&o->lock);
	if (left == 0) {
		memset(o, 0xdd, sizeof *o);
		free(o);
	}
}

// variants: maxprocs
TEST(last_user_may_free_it)
{
	for (int i = 0; i < SCALE(2000); i++) {
		struct owned *o = calloc(1, sizeof *o);

		CHECK(o != NULL);
		o->users = 4;
		for (int k = 0; k < 3; k++)
			CHECK_EQ(gort_waitgroup_go(&group, use_once, o), 0);
		use_once(o);
	}
	gort_waitgroup_wait(&group);
}

/* ---- misuse */
TEST_DIES(unlock_of_unlocked_names_the_call, "gort_mutex_unlock")
{
	gort_mutex_unlock(&mutex);
}

TEST_DIES(unlock_of_unlocked_names_the_goroutine, "goroutine 1")
{
	gort_mutex_lock(&mutex);
	gort_mutex_unlock(&mutex);
	gort_mutex_unlock(&mutex);
}

TEST_PLAIN_DIES(unlock_of_unlocked_on_a_plain_thread, "gort_mutex_unlock")
{
	gort_mutex_unlock(&mutex);
}

TEST_DIES(lock_of_null_is_misuse, "gort_mutex_lock")
{
	gort_mutex *none = NULL;

	gort_mutex_lock(none);
}
