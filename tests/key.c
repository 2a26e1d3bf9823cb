/*
 * key.c - goroutine-local values: each goroutine's own, thread-local on plain threads;
 * destructors at the end; keys that come and go.
 */
#include "harness.h"

#include <stdatomic.h>
#include <stdint.h>

#define VALUE(n) ((void *)(uintptr_t)(n))

static gort_waitgroup group;
static gort_key key, other;
static atomic_int destroyed;
static atomic_long sum;

static void destroy(void *value)
{
	CHECK(value != NULL);
	atomic_fetch_add(&destroyed, 1);
	atomic_fetch_add(&sum, (long)(uintptr_t)value);
}

static void make(gort_key *k, void (*destructor)(void *value))
{
	CHECK_EQ(gort_key_create(k, destructor), 0);
}

static void set(gort_key k, void *value)
{
	CHECK_EQ(gort_key_set(k, value), 0);
	CHECK(gort_key_get(k) == value);
}

/* ---- each has its own */
static void use_own(void *arg)
{
	CHECK(gort_key_get(key) == NULL);
	CHECK(gort_key_get(other) == NULL);
	set(key, arg);
	for (int i = 0; i < 20; i++) {
		if (i % 5 == 0)
			gort_sleep(1);
		else
			gort_yield();
		CHECK(gort_key_get(key) == arg);
	}
	CHECK(gort_key_get(other) == NULL);
}

// variants: maxprocs
TEST(each_goroutine_has_its_own)
{
	const int n = SCALE(1000);

	make(&key, destroy);
	make(&other, destroy);
	set(key, &group);
	for (intptr_t i = 1; i <= n; i++)
		CHECK_EQ(gort_waitgroup_go(&group, use_own, VALUE(i)), 0);
	gort_waitgroup_wait(&group);
	CHECK(gort_key_get(key) == &group);
	set(key, NULL);
	EVENTUALLY(gort_count() == 1);
	CHECK_EQ(atomic_load(&destroyed), n);
	CHECK_EQ(atomic_load(&sum), (long)n * (n + 1) / 2);
	gort_key_delete(key);
	gort_key_delete(other);
}

// variants: maxprocs
TEST(each_guest_has_its_own)
{
	struct guest *guests[8];

	make(&key, destroy);
	make(&other, NULL);
	set(key, &group);
	for (int i = 0; i < 8; i++)
		guests[i] = guest_start(use_own, VALUE(i + 1));
	for (int i = 0; i < 8; i++)
		guest_join(guests[i]);
	CHECK_EQ(atomic_load(&destroyed), 8);
	CHECK_EQ(atomic_load(&sum), 36);
	CHECK(gort_key_get(key) == &group);
	set(key, NULL);
	gort_key_delete(key);
	gort_key_delete(other);
}

TEST_PLAIN(plain_threads_need_no_runtime)
{
	make(&key, destroy);
	on_guest(use_own, VALUE(5));
	on_guest(use_own, VALUE(6));
	CHECK_EQ(atomic_load(&sum), 11);
	CHECK(gort_key_get(key) == NULL);
	gort_key_delete(key);
}

static int main_sets(void *arg)
{
	(void)arg;
	CHECK(gort_key_get(key) == NULL);
	set(key, VALUE(7));
	return 0;
}

TEST_PLAIN(main_has_its_own_beside_the_threads)
{
	make(&key, destroy);
	for (int i = 1; i < 4; i++) {
		CHECK_EQ(gort_run(main_sets, NULL, NULL), 0);
		CHECK_EQ(atomic_load(&destroyed), i);
		CHECK(gort_key_get(key) == NULL);
	}
	gort_key_delete(key);
}

/* ---- the end */
static void sets_and_exits(void *arg)
{
	set(key, arg);
	gort_goexit();
}

static void sets_null(void *arg)
{
	set(key, arg);
	set(key, NULL);
}

static void sets_in_a_defer(void *arg)
{
	set(key, arg);
}

static void defers_setting(void *arg)
{
	CHECK_EQ(gort_defer(sets_in_a_defer, arg), 0);
}

static void run(gort_func fn, void *arg)
{
	CHECK_EQ(gort_waitgroup_go(&group, fn, arg), 0);
	gort_waitgroup_wait(&group);
	EVENTUALLY(gort_count() == 1);
}

TEST(destructors_run_at_any_end_for_what_is_not_null)
{
	make(&key, destroy);
	run(sets_and_exits, VALUE(3));
	CHECK_EQ(atomic_load(&sum), 3);
	run(sets_null, VALUE(4));
	CHECK_EQ(atomic_load(&sum), 3);
	run(defers_setting, VALUE(5)); /* the defers come first */
	CHECK_EQ(atomic_load(&sum), 8);
	CHECK_EQ(atomic_load(&destroyed), 2);
	gort_key_delete(key);
}

static void sets_and_panics(void *arg)
{
	set(key, arg);
	gort_panic("lost");
}

static void ignore_panic(const char *message, uint64_t goroutine)
{
	CHECK_STR(message, "lost");
	CHECK(goroutine != 0);
}

static int run_panic(void *arg)
{
	(void)arg;
	run(sets_and_panics, VALUE(9));
	return 0;
}

TEST_PLAIN(destructors_run_after_a_panic)
{
	make(&key, destroy);
	CHECK_EQ(gort_run(run_panic, NULL, &(gort_options){ .on_panic = ignore_panic }), 0);
	CHECK_EQ(atomic_load(&sum), 9);
	gort_key_delete(key);
}

static int rounds;

static void set_again(void *value)
{
	CHECK(gort_key_get(key) == NULL); /* taken out before its destructor runs */
	rounds++;
	set(key, value);
}

static void sets_other(void *value)
{
	rounds++;
	set(other, value);
}

static void sets(void *arg)
{
	set(key, arg);
}

TEST(destructors_that_set_values_get_four_rounds)
{
	make(&key, set_again);
	make(&other, destroy);
	run(sets, VALUE(1));
	CHECK_EQ(rounds, 4);
	on_guest(sets, VALUE(1));
	CHECK_EQ(rounds, 8);
	gort_key_delete(key);
	make(&key, sets_other);
	run(sets, VALUE(2));
	CHECK_EQ(rounds, 9);
	CHECK_EQ(atomic_load(&sum), 2);
	on_guest(sets, VALUE(3));
	CHECK_EQ(atomic_load(&sum), 5);
	gort_key_delete(key);
	gort_key_delete(other);
}

static gort_chan *chan, *gate;

static void destroy_by_channel(void *value)
{
	gort_yield();
	gort_sleep(10 * GORT_US);
	CHECK_EQ(gort_chan_send(chan, &value), 0);
}

// variants: maxprocs
TEST(destructors_may_park)
{
	void *got;

	chan = gort_chan_make(sizeof(void *), 0);
	make(&key, destroy_by_channel);
	for (uintptr_t i = 1; i < 100; i++) {
		CHECK_EQ(gort_go(sets, VALUE(i)), 0);
		CHECK_EQ(gort_chan_recv(chan, &got), 0);
		CHECK(got == VALUE(i));
	}
	EVENTUALLY(gort_count() == 1);
	gort_key_delete(key);
	gort_chan_release(chan);
}

/* ---- keys that do not exist */
TEST(deleted_key_has_no_value_and_no_destructor)
{
	make(&key, destroy);
	set(key, VALUE(1));
	gort_key_delete(key);
	CHECK(gort_key_get(key) == NULL);
	CHECK_EQ(gort_key_set(key, VALUE(2)), -EINVAL);
	CHECK_EQ(atomic_load(&destroyed), 0);
	gort_key_delete(key); /* again: nothing */
	make(&other, destroy);
	CHECK(gort_key_get(other) == NULL); /* not the earlier key's value */
	set(other, VALUE(3));
	CHECK(gort_key_get(key) == NULL);
	CHECK_EQ(gort_key_set(key, VALUE(2)), -EINVAL);
	set(other, NULL);
	gort_key_delete(key); /* it is not the other's */
	set(other, VALUE(4));
	set(other, NULL);
	gort_key_delete(other);
	CHECK_EQ(gort_key_set((gort_key)0xdeadbeef, VALUE(1)), -EINVAL);
	CHECK(gort_key_get((gort_key)0xdeadbeef) == NULL);
	CHECK_EQ(gort_key_set((gort_key)UINT32_MAX, VALUE(1)), -EINVAL);
}

static void sets_and_waits(void *arg)
{
	set(key, arg);
	CHECK_EQ(gort_chan_send(chan, NULL), 0);
	CHECK_EQ(gort_chan_recv(gate, NULL), -EPIPE);
	CHECK(gort_key_get(key) == NULL);
	CHECK(gort_key_get(other) == NULL);
}

TEST(deleting_a_key_forgets_the_values_of_all)
{
	chan = gort_chan_make(0, 0);
	gate = gort_chan_make(0, 0);
	make(&key, destroy);
	for (int i = 0; i < 10; i++)
		CHECK_EQ(gort_waitgroup_go(&group, sets_and_waits, VALUE(1)), 0);
	for (int i = 0; i < 10; i++)
		CHECK_EQ(gort_chan_recv(chan, NULL), 0); /* it has set its value */
	gort_key_delete(key);
	make(&other, destroy); /* in the same place, maybe */
	CHECK_EQ(gort_chan_close(gate), 0);
	gort_waitgroup_wait(&group);
	EVENTUALLY(gort_count() == 1);
	CHECK_EQ(atomic_load(&destroyed), 0);
	gort_key_delete(other);
	gort_chan_release(chan);
	gort_chan_release(gate);
}

static void use_all(void *arg)
{
	gort_key *keys = arg;

	for (uintptr_t i = 0; i < 1024; i++)
		set(keys[i], VALUE(i + 1));
	gort_yield();
	for (uintptr_t i = 0; i < 1024; i++)
		CHECK(gort_key_get(keys[i]) == VALUE(i + 1));
}

// variants: maxprocs
TEST(there_are_1024_keys)
{
	static gort_key keys[1024];
	gort_key more = 77;

	for (int i = 0; i < 1024; i++)
		make(&keys[i], destroy);
	CHECK_EQ(gort_key_create(&more, destroy), -EAGAIN);
	CHECK_EQ(more, 77);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(gort_waitgroup_go(&group, use_all, keys), 0);
	gort_waitgroup_wait(&group);
	on_guest(use_all, keys);
	EVENTUALLY(gort_count() == 1);
	CHECK_EQ(atomic_load(&destroyed), 5 * 1024);
	gort_key_delete(keys[500]);
	make(&more, NULL);
	CHECK(more != keys[500]);
	CHECK_EQ(gort_key_create(&keys[500], NULL), -EAGAIN);
	gort_key_delete(more);
	for (int i = 0; i < 1024; i++)
		if (i != 500)
			gort_key_delete(keys[i]);
	make(&more, NULL);
	gort_key_delete(more);
}

/* Created, used and deleted by all at once. */
static void churn(void *arg)
{
	for (int i = 0; i < SCALE(2000); i++) {
		gort_key mine;

		CHECK_EQ(gort_key_create(&mine, i % 2 ? destroy : NULL), 0);
		CHECK(gort_key_get(mine) == NULL);
		set(mine, arg);
		if (i % 16 == 0)
			gort_yield();
		CHECK(gort_key_get(mine) == arg);
		gort_key_delete(mine);
	}
	gort_waitgroup_done(&group);
}

// variants: maxprocs
TEST(keys_come_and_go)
{
	struct guest *g;

	gort_waitgroup_add(&group, 9);
	g = guest_start(churn, &group);
	for (int i = 0; i < 8; i++)
		CHECK_EQ(gort_go(churn, VALUE(i + 1)), 0);
	gort_waitgroup_wait(&group);
	guest_join(g);
	CHECK_EQ(atomic_load(&destroyed), 0);
}
