/*
 * task.c - goroutines that can be joined: results, deadlines, who releases, attributes.
 */
#include "harness.h"

#include <stdatomic.h>
#include <string.h>

static gort_chan *gate;

static int give(void *arg)
{
	return *(int *)arg;
}

static int give_late(void *arg)
{
	gort_chan_recv(gate, NULL);
	return *(int *)arg;
}

/* ---- join */
// variants: maxprocs
TEST(join_gives_the_result)
{
	int values[] = { 0, 1, -1, 42, INT32_MIN, INT32_MAX }, got;

	for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
		gort_task *t = gort_spawn(give, &values[i], NULL);

		CHECK(t != NULL);
		got = 7;
		CHECK_EQ(gort_join(t, &got), 0);
		CHECK_EQ(got, values[i]);
		t = gort_spawn(give, &values[i], NULL);
		CHECK_EQ(gort_join(t, NULL), 0);
		t = gort_spawn(give, &values[i], NULL);
		gort_yield(); /* it may have ended */
		gort_sleep(GORT_MS);
		CHECK_EQ(gort_join(t, &got), 0);
		CHECK_EQ(got, values[i]);
	}
}

// variants: maxprocs
TEST(many_tasks_are_joined_in_any_order)
{
	enum { N = 2000 };
	static gort_task *tasks[N];
	static int values[N];
	const int n = SCALE(N);

	for (int i = 0; i < n; i++) {
		values[i] = i * 3;
		tasks[i] = gort_spawn(give, &values[i], NULL);
		CHECK(tasks[i] != NULL);
	}
	for (int i = 0; i < n; i++) {
		int at = i % 2 ? i / 2 : n - 1 - i / 2, got = -1;

		CHECK_EQ(gort_join(tasks[at], &got), 0);
		CHECK_EQ(got, at * 3);
	}
}

// variants: maxprocs
TEST(join_until_times_out_and_the_task_is_still_ours)
{
	int value = 9, got = 7;
	int64_t deadline;
	gort_task *t;

	gate = gort_chan_make(0, 0);
	t = gort_spawn(give_late, &value, NULL);
	CHECK(t != NULL);
	CHECK_EQ(gort_join_until(t, &got, GORT_NOW), -ETIMEDOUT);
	CHECK_EQ(gort_join_until(t, &got, gort_now() - 1), -ETIMEDOUT);
	deadline = gort_in(2 * GORT_MS);
	CHECK_EQ(gort_join_until(t, &got, deadline), -ETIMEDOUT);
	CHECK(gort_now() >= deadline);
	CHECK_EQ(got, 7);
	CHECK_EQ(gort_chan_close(gate), 0);
	CHECK_EQ(gort_join_until(t, &got, GORT_FOREVER), 0);
	CHECK_EQ(got, 9);
	t = gort_spawn(give_late, &value, NULL);
	EVENTUALLY(gort_count() == 1);
	CHECK_EQ(gort_join_until(t, &got, GORT_NOW), 0); /* complete without waiting */
	gort_chan_release(gate);
}

/* Deadlines that come as the task ends: it is joined exactly once all the same. */
// variants: maxprocs
TEST(join_racing_with_its_deadline)
{
	for (int i = 0; i < SCALE(3000); i++) {
		int got = -1, err;
		gort_task *t = gort_spawn(give, &i, NULL);

		CHECK(t != NULL);
		while ((err = gort_join_until(t, &got, gort_in(i % 64 * 100))) == -ETIMEDOUT)
			gort_yield(); /* a deadline that has passed gives nobody way */
		CHECK_EQ(err, 0);
		CHECK_EQ(got, i);
	}
}

static gort_task *self_task;

static int join_self(void *arg)
{
	int result = 3;

	(void)arg;
	gort_chan_recv(gate, NULL);
	CHECK_EQ(gort_join(self_task, &result), -EDEADLK);
	CHECK_EQ(gort_join_until(self_task, NULL, gort_in(GORT_SEC)), -EDEADLK);
	CHECK_EQ(result, 3);
	return 11;
}

// variants: maxprocs
TEST(join_of_itself_is_a_deadlock)
{
	int got = 0;

	gate = gort_chan_make(0, 0);
	self_task = gort_spawn(join_self, NULL, NULL);
	CHECK_EQ(gort_chan_close(gate), 0);
	CHECK_EQ(gort_join(self_task, &got), 0);
	CHECK_EQ(got, 11);
	gort_chan_release(gate);
}

static void join_on_guest(void *arg)
{
	int got = 0;

	CHECK_EQ(gort_join(arg, &got), 0);
	CHECK_EQ(got, 5);
}

// variants: maxprocs
TEST(guests_join_tasks)
{
	int value = 5;

	gate = gort_chan_make(0, 0);
	for (int i = 0; i < 20; i++) {
		gort_task *t = gort_spawn(give, &value, NULL);

		CHECK(t != NULL);
		EVENTUALLY(gort_count() == 1);
		on_guest(join_on_guest, t);
	}
	for (int i = 0; i < 20; i++) {
		gort_task *t = gort_spawn(give_late, &value, NULL);
		struct guest *g = guest_start(join_on_guest, t);

		gort_sleep(i % 3 * 100 * GORT_US);
		CHECK_EQ(gort_chan_send(gate, NULL), 0);
		EVENTUALLY(gort_count() == 1);
		guest_join(g);
	}
	gort_chan_release(gate);
}

static int value_of_guest = 5;

static void spawn_on_guest(void *arg)
{
	*(gort_task **)arg = gort_spawn(give, &value_of_guest, NULL);
}

TEST(task_of_a_guest_is_joined_by_a_goroutine)
{
	gort_task *t = NULL;
	int got = 0;

	on_guest(spawn_on_guest, &t);
	CHECK(t != NULL);
	CHECK_EQ(gort_join(t, &got), 0);
	CHECK_EQ(got, 5);
}

/* ---- detach */
static atomic_int ended;

static int end_late(void *arg)
{
	gort_chan_recv(gate, NULL);
	atomic_fetch_add(&ended, 1);
	return *(int *)arg;
}

// variants: maxprocs
TEST(detached_tasks_go_on)
{
	int value = 1;

	gate = gort_chan_make(0, 0);
	for (int i = 0; i < 100; i++) {
		gort_task *t = gort_spawn(end_late, &value, NULL);

		CHECK(t != NULL);
		if (i % 2)
			gort_yield();
		gort_detach(t);
	}
	gort_detach(NULL);
	CHECK_EQ(gort_chan_close(gate), 0);
	EVENTUALLY(atomic_load(&ended) == 100);
	EVENTUALLY(gort_count() == 1);
	for (int i = 0; i < 100; i++) {
		gort_task *t = gort_spawn(end_late, &value, NULL);

		if (i % 2)
			gort_sleep(10 * GORT_US);
		gort_detach(t); /* before, during or after its end */
	}
	EVENTUALLY(atomic_load(&ended) == 200);
	gort_chan_release(gate);
}

/* ---- ends of other kinds */
static int exit_early(void *arg)
{
	(void)arg;
	gort_goexit();
	return 9;
}

TEST(join_gives_0_after_goexit)
{
	int got = 7;

	CHECK_EQ(gort_join(gort_spawn(exit_early, NULL, NULL), &got), 0);
	CHECK_EQ(got, 0);
}

static atomic_uint_least64_t panicked;

static void note_panic(const char *message, uint64_t goroutine)
{
	CHECK_STR(message, "task 5 is lost");
	atomic_store(&panicked, goroutine);
}

static atomic_uint_least64_t panicker;

static int panics(void *arg)
{
	atomic_store(&panicker, gort_self());
	gort_panic("task %d is lost", *(int *)arg);
}

static int join_panicker(void *arg)
{
	int five = 5, got = 7;
	gort_task *t = gort_spawn(panics, &five, NULL);

	(void)arg;
	CHECK_EQ(gort_join(t, &got), -EOWNERDEAD);
	CHECK_EQ(got, 7);
	CHECK(atomic_load(&panicker) > 1);
	CHECK_EQ(atomic_load(&panicked), atomic_load(&panicker));
	t = gort_spawn(panics, &five, NULL);
	EVENTUALLY(gort_count() == 1);
	CHECK_EQ(gort_join_until(t, NULL, GORT_NOW), -EOWNERDEAD);
	t = gort_spawn(panics, &five, NULL);
	gort_detach(t);
	EVENTUALLY(gort_count() == 1);
	return 3;
}

// variants: maxprocs
TEST_PLAIN(join_gives_eownerdead_after_a_panic)
{
	CHECK_EQ(gort_run(join_panicker, NULL, &(gort_options){ .on_panic = note_panic }), 3);
}

TEST_DIES(panic_of_a_task_dies_without_on_panic, "task 5 is lost")
{
	int five = 5;

	gort_join(gort_spawn(panics, &five, NULL), NULL);
}

/* ---- attributes */
struct copied {
	int n;
	char rest[200];
};

static int see_copy(void *arg)
{
	struct copied *c = arg;

	CHECK_EQ((uintptr_t)arg % 16, 0);
	gort_yield();
	for (size_t i = 0; i < sizeof c->rest; i++)
		CHECK_EQ(c->rest[i], (char)c->n);
	return c->n;
}

// variants: maxprocs
TEST(attr_copies_the_argument)
{
	const gort_attr attr = { .copy = sizeof(struct copied) };
	gort_task *tasks[100];

	for (int i = 0, got; i < 200; i++) {
		struct copied c = { .n = i };

		if (i >= 100) {
			CHECK_EQ(gort_join(tasks[i - 100], &got), 0);
			CHECK_EQ(got, i - 100);
			continue;
		}
		memset(c.rest, i, sizeof c.rest);
		tasks[i] = gort_spawn(see_copy, &c, &attr);
		CHECK(tasks[i] != NULL);
		memset(&c, 0xee, sizeof c);
	}
}

static int use_stack(void *arg)
{
	size_t size = *(size_t *)arg, step = size > 16 << 20 ? 1 << 20 : 4096;
	volatile char *low = __builtin_alloca(size);

	for (size_t at = size; at > step; at -= step)
		low[at - step] = (char)at;
	low[0] = 1;
	gort_yield();
	CHECK_EQ(low[0], 1);
	return 6;
}

// variants: maxprocs
TEST(attr_sets_the_stacks_size)
{
	const size_t sizes[] = { 16 << 10, 20000,    64 << 10,       1 << 20,
				 10000000, 64 << 20, (size_t)1 << 30 };

	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		gort_attr attr = { .stack_size = sizes[i], .name = "sized" };
		size_t use = sizes[i] - 6144;
		gort_task *t;
		int got = 0;

		t = gort_spawn(use_stack, &use, &attr);
		CHECK(t != NULL);
		CHECK_EQ(gort_join(t, &got), 0);
		CHECK_EQ(got, 6);
	}
}

TEST(attr_out_of_range_gives_null)
{
	const gort_attr bad[] = {
		{ .stack_size = 1 },
		{ .stack_size = (16 << 10) - 1 },
		{ .stack_size = ((size_t)1 << 30) + 1 },
		{ .stack_size = SIZE_MAX },
		{ .copy = SIZE_MAX },
		{ .copy = (256 << 10) / 4 + 1, .stack_size = 256 << 10 },
		{ .copy = (16 << 10) / 4 + 1, .stack_size = 16 << 10 },
		{ .reserved_ = { 1 } },
		{ .reserved_ = { [6] = 1 } },
	};
	static char bytes[1 << 20];

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		CHECK(gort_spawn(see_copy, bytes, &bad[i]) == NULL);
	CHECK_EQ(gort_count(), 1);
}

TEST(attr_copy_of_a_quarter_of_the_stack)
{
	static struct {
		int n;
		char rest[4092];
	} quarter;
	const gort_attr attr = { .copy = sizeof quarter, .stack_size = 16 << 10 };
	int got = 0;

	CHECK_EQ(sizeof quarter, 4096);
	memset(&quarter, 0, sizeof quarter);
	CHECK_EQ(gort_join(gort_spawn(see_copy, &quarter, &attr), &got), 0);
	CHECK_EQ(got, 0);
}

/* The first 31 bytes of a name show in the report of its death. */
#define NAME "abcdefghijklmnopqrstuvwxyz01234"

static int die(void *arg)
{
	gort_mutex_unlock(arg);
	return 0;
}

TEST_DIES(attr_name_shows_in_reports, NAME)
{
	const gort_attr attr = { .name = NAME "567" };
	gort_mutex m = { 0 };

	gort_join(gort_spawn(die, &m, &attr), NULL);
}

TEST_DIES(set_name_shows_in_reports, "culprit")
{
	gort_mutex m = { 0 };

	gort_set_name("culprit");
	gort_mutex_unlock(&m);
}

/* The name is copied, and does not pass on to whoever gets the stack next. */
static int die_unnamed(void *arg)
{
	gort_set_name("last-one");
	return die(arg);
}

TEST_DIES(name_is_copied, "last-one")
{
	gort_mutex m = { 0 };
	char name[8];
	int n = 1;

	for (int i = 0; i < 10; i++) {
		gort_task *t;

		strcpy(name, "first");
		t = gort_spawn(give, &n, &(gort_attr){ .name = name });
		memset(name, 'x', sizeof name);
		CHECK_EQ(gort_join(t, NULL), 0);
	}
	gort_join(gort_spawn(die_unnamed, &m, NULL), NULL);
}

TEST_DIES(join_of_null_is_misuse, "gort_join")
{
	gort_join(NULL, NULL);
}

TEST_DIES(spawn_without_a_function_is_misuse, "gort_spawn")
{
	gort_spawn(NULL, NULL, NULL);
}
