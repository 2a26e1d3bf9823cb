/*
 * run.c - gort_run, gort_start and gort_stop, options and the environment, GOMAXPROCS: the runtime
 * starts, stops, leaves nothing behind and starts again.
 */
#include "process.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int nothing(void *arg)
{
	(void)arg;
	return 0;
}

static void end_at_once(void *arg)
{
	(void)arg;
}

/* ---- the result */
static int give_back(void *arg)
{
	CHECK_EQ(gort_self(), 1);
	return *(int *)arg;
}

TEST_PLAIN(run_gives_back_the_result)
{
	int results[] = { 0, 1, 42, -1, -EBUSY, INT32_MAX, INT32_MIN };

	for (size_t i = 0; i < sizeof results / sizeof results[0]; i++)
		CHECK_EQ(gort_run(give_back, &results[i], NULL), results[i]);
	CHECK_EQ(gort_self(), 0);
}

static int on_thread(void *arg)
{
	return pthread_equal(*(pthread_t *)arg, pthread_self()) != 0;
}

TEST_PLAIN(run_begins_on_the_calling_thread)
{
	pthread_t self = pthread_self();

	CHECK_EQ(gort_run(on_thread, &self, NULL), 1);
}

static void run_on_guest(void *arg)
{
	int n = 42;

	(void)arg;
	CHECK_EQ(gort_run(give_back, &n, NULL), 42);
}

TEST_PLAIN(run_on_any_thread)
{
	on_guest(run_on_guest, NULL);
	run_on_guest(NULL);
	on_guest(run_on_guest, NULL);
}

static int goexit_main(void *arg)
{
	(void)arg;
	gort_goexit();
	return 5;
}

TEST_PLAIN(run_gives_0_after_goexit)
{
	CHECK_EQ(gort_run(goexit_main, NULL, NULL), 0);
}

static char panic_text[64];

static void note_panic(const char *message, uint64_t goroutine)
{
	CHECK_EQ(goroutine, 1);
	snprintf(panic_text, sizeof panic_text, "%s", message);
}

static int panic_main(void *arg)
{
	(void)arg;
	gort_panic("main is %s", "lost");
}

TEST_PLAIN(run_gives_eownerdead_after_a_panic)
{
	CHECK_EQ(gort_run(panic_main, NULL, &(gort_options){ .on_panic = note_panic }),
		 -EOWNERDEAD);
	CHECK_STR(panic_text, "main is lost");
	CHECK_EQ(gort_run(nothing, NULL, NULL), 0);
}

static int yield_much(void *arg)
{
	for (int i = 0; i < 10000; i++)
		gort_yield();
	return *(int *)arg;
}

static int move_about(void *arg)
{
	for (int i = 0; i < 8; i++)
		CHECK_EQ(gort_go(end_at_once, NULL), 0);
	return yield_much(arg);
}

// variants: maxprocs
TEST_PLAIN(run_returns_on_the_calling_thread)
{
	pthread_t self = pthread_self();
	int n = 3;

	for (int i = 0; i < 10; i++) {
		CHECK_EQ(gort_run(move_about, &n, NULL), 3);
		CHECK(pthread_equal(self, pthread_self()));
	}
}

/* ---- one at a time */
static void busy_for_guests(void *arg)
{
	(void)arg;
	CHECK_EQ(gort_run(nothing, NULL, NULL), -EBUSY);
	CHECK_EQ(gort_start(NULL), -EBUSY);
	CHECK_EQ(gort_stop(), -EBUSY);
}

TEST(run_and_start_inside_run_are_busy)
{
	busy_for_guests(NULL);
	on_guest(busy_for_guests, NULL);
	CHECK_EQ(gort_count(), 1);
}

/* ---- again and again */
static void park_for_good(void *chan)
{
	gort_chan_recv(chan, NULL);
}

static int short_life(void *chan)
{
	gort_waitgroup group = { 0 };

	for (int i = 0; i < 20; i++) {
		CHECK_EQ(gort_go(park_for_good, chan), 0);
		CHECK_EQ(gort_waitgroup_go(&group, end_at_once, NULL), 0);
	}
	gort_waitgroup_wait(&group);
	return 7;
}

// variants: maxprocs
TEST_PLAIN(run_again_and_again_grows_nothing)
{
	gort_chan *c = gort_chan_make(0, 0);
	int maps = 0, fds = entries("/proc/self/fd");

	for (int i = 0; i < SCALE(200); i++) {
		CHECK_EQ(gort_run(short_life, c, NULL), 7);
		if (i == SCALE(200) / 4)
			maps = mappings();
	}
	EVENTUALLY(threads() == 0);
	CHECK_EQ(entries("/proc/self/fd"), fds);
	/* libc's, of threads, beside: it keeps their stacks, and one run may have had more of them than all before.
	 * A leak is one a run: where there are few of those a sanitizer's own are more. */
	CHECK(SCALE(200) < 200 || mappings() <= maps + 100);
	CHECK_EQ(gort_chan_try_send(c, NULL), -EAGAIN);
	gort_chan_release(c);
}

/* ---- goroutines that are alive when main ends */
struct objects {
	gort_chan *empty, *full;
	gort_mutex mutex;
	gort_waitgroup group, waits;
	gort_task *task;
};

static int park_task(void *arg)
{
	struct objects *o = arg;

	gort_chan_recv(o->empty, NULL);
	CHECK(false && "a task after the end");
	return 0;
}

enum how { RECV, SEND, RECV_UNTIL, LOCK, WAIT, SLEEP, JOIN, HOWS };

struct left {
	struct objects *o;
	enum how how;
};

static void wait_for_good(void *arg)
{
	struct left *l = arg;
	struct objects *o = l->o;
	int64_t value = 666;

	gort_waitgroup_done(&o->waits);
	if (l->how == RECV)
		gort_chan_recv(o->empty, &value);
	else if (l->how == SEND)
		gort_chan_send(o->full, &value);
	else if (l->how == RECV_UNTIL)
		gort_chan_recv_until(o->empty, &value, gort_in(3600 * GORT_SEC));
	else if (l->how == LOCK)
		gort_mutex_lock(&o->mutex);
	else if (l->how == WAIT)
		gort_waitgroup_wait(&o->group);
	else if (l->how == SLEEP)
		gort_sleep(3600 * GORT_SEC);
	else
		gort_join(o->task, NULL);
	CHECK(false && "came back after the end");
}

static void go_and_wait(struct objects *o, enum how how)
{
	gort_waitgroup_add(&o->waits, 1);
	CHECK_EQ(gort_go_with(wait_for_good, struct left, .o = o, .how = how), 0);
}

static int leave_all_waiting(void *arg)
{
	struct objects *o = arg;

	o->task = gort_spawn(park_task, o, NULL);
	CHECK(o->task != NULL);
	gort_mutex_lock(&o->mutex);
	gort_waitgroup_add(&o->group, 1);
	for (int i = 0; i < 3 * HOWS; i++)
		go_and_wait(o, (enum how)(i / 3));
	gort_waitgroup_wait(&o->waits);
	gort_sleep(5 * GORT_MS); /* most of them wait by now; all must be right either way */
	return 9;
}

static void objects_make(struct objects *o)
{
	const int64_t value = 42;

	*o = (struct objects){ 0 };
	o->empty = gort_chan_make(sizeof(int64_t), 0);
	o->full = gort_chan_make(sizeof(int64_t), 1);
	CHECK_EQ(gort_chan_send(o->full, &value), 0);
}

static void objects_check(struct objects *o)
{
	int64_t value = 0;

	CHECK_EQ(gort_chan_try_send(o->empty, &value), -EAGAIN); /* nobody receives */
	CHECK_EQ(gort_chan_try_recv(o->full, &value), 0);
	CHECK_EQ(value, 42);
	CHECK_EQ(gort_chan_try_recv(o->full, &value), -EAGAIN); /* nobody sends */
	CHECK_EQ(gort_chan_len(o->full), 0);
	CHECK_EQ(gort_chan_send(o->full, &value), 0);
	CHECK_EQ(gort_chan_recv(o->full, &value), 0);
	CHECK_EQ(gort_chan_close(o->empty), 0);
	CHECK_EQ(gort_chan_recv(o->empty, &value), -EPIPE);
	gort_mutex_unlock(&o->mutex);
	CHECK_EQ(gort_mutex_try_lock(&o->mutex), 0);
	CHECK_EQ(gort_mutex_lock_until(&o->mutex, gort_in(GORT_MS)), -ETIMEDOUT);
	gort_mutex_unlock(&o->mutex);
	gort_mutex_lock(&o->mutex);
	gort_mutex_unlock(&o->mutex);
	CHECK_EQ(gort_waitgroup_wait_until(&o->group, gort_in(GORT_MS)), -ETIMEDOUT);
	gort_waitgroup_done(&o->group);
	CHECK_EQ(gort_waitgroup_wait(&o->group), 0);
	gort_detach(o->task);
	gort_chan_release(o->empty);
	gort_chan_release(o->full);
}

// variants: maxprocs
TEST_PLAIN(waits_left_at_the_end_are_withdrawn)
{
	struct objects o;

	for (int i = 0; i < 5; i++) {
		objects_make(&o);
		CHECK_EQ(gort_run(leave_all_waiting, &o, NULL), 9);
		objects_check(&o);
	}
}

static int drain_in_the_next_life(void *arg)
{
	struct objects *o = arg;

	objects_check(o);
	return 0;
}

// variants: maxprocs
TEST_PLAIN(objects_outlive_the_runtime_into_the_next)
{
	struct objects o;

	objects_make(&o);
	CHECK_EQ(gort_run(leave_all_waiting, &o, NULL), 9);
	CHECK_EQ(gort_run(drain_in_the_next_life, &o, NULL), 0);
}

static atomic_int called;

static void count_call(void *arg)
{
	(void)arg;
	atomic_fetch_add(&called, 1);
}

static gort_key key;

static void with_defer_and_value(void *arg)
{
	CHECK_EQ(gort_defer(count_call, NULL), 0);
	CHECK_EQ(gort_key_set(key, &called), 0);
	wait_for_good(&(struct left){ .o = arg, .how = RECV });
}

static int leave_with_defer(void *arg)
{
	struct objects *o = arg;

	gort_waitgroup_add(&o->waits, 10);
	for (int i = 0; i < 10; i++)
		CHECK_EQ(gort_go(with_defer_and_value, o), 0);
	gort_waitgroup_wait(&o->waits);
	return 0;
}

TEST_PLAIN(nothing_of_goroutines_left_is_called)
{
	struct objects o;

	objects_make(&o);
	CHECK_EQ(gort_key_create(&key, count_call), 0);
	CHECK_EQ(gort_run(leave_with_defer, &o, NULL), 0);
	CHECK_EQ(atomic_load(&called), 0);
	gort_key_delete(key);
	gort_chan_release(o.empty);
	gort_chan_release(o.full);
}

#if defined(__SANITIZE_THREAD__)
#define THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREAD_SANITIZER 1
#endif
#endif
#ifdef THREAD_SANITIZER
#define LEFT 4000 /* it dies of 8,128 */
#else
#define LEFT SCALE(100000)
#endif

static int leave_many(void *arg)
{
	for (int i = 0; i < LEFT; i++)
		CHECK_EQ(gort_go(park_for_good, arg), 0);
	if (gort_maxprocs(0) > 1 && LEFT > 1)
		gort_sleep(20 * GORT_MS); /* some start, some never do */
	return 1;
}

// variants: maxprocs
TEST_PLAIN(many_goroutines_left_started_or_not)
{
	gort_chan *c = gort_chan_make(0, 0);

	CHECK_EQ(gort_run(leave_many, c, NULL), 1);
	CHECK_EQ(gort_count(), 0);
	CHECK_EQ(gort_chan_try_send(c, NULL), -EAGAIN);
	gort_chan_release(c);
}

/* ---- goroutines that run when main ends */
static atomic_bool spins, spin_end;
static atomic_long rounds;

static void run_and_yield(void *arg)
{
	(void)arg;
	for (;;) {
		atomic_fetch_add(&rounds, 1);
		gort_yield();
	}
}

static int leave_running(void *arg)
{
	(void)arg;
	for (int i = 0; i < 4; i++)
		CHECK_EQ(gort_go(run_and_yield, NULL), 0);
	EVENTUALLY(atomic_load(&rounds) > 0);
	return 0;
}

// variants: maxprocs
TEST_PLAIN(running_ones_stop_at_their_next_call)
{
	for (int i = 0; i < 20; i++) {
		long at_end;

		CHECK_EQ(gort_run(leave_running, NULL, NULL), 0);
		at_end = atomic_load(&rounds);
		EVENTUALLY(threads() == 0);
		/* Each thread that slept in the kernel, or did not come to run for a second, may have begun one. */
		CHECK(atomic_load(&rounds) <= at_end + 4);
		atomic_store(&rounds, 0);
	}
}

static void spin_until_told(void *arg)
{
	(void)arg;
	atomic_store(&spins, true);
	while (!atomic_load(&spin_end))
		;
	gort_yield();
	CHECK(false && "came back into a runtime that has ended");
}

static int leave_spinning(void *arg)
{
	int64_t limit = gort_in(30 * GORT_SEC);

	(void)arg;
	CHECK_EQ(gort_go(spin_until_told, NULL), 0);
	while (!atomic_load(&spins)) /* not giving way: the other must get the other thread */
		CHECK(gort_now() < limit);
	return 4;
}

/* It gets a second; then its thread and stack are left alone, and block the next start. */
TEST_PLAIN(straggler_blocks_the_next_start_until_it_is_gone)
{
	const gort_options two = { .maxprocs = 2 };
	int64_t start = gort_now();

	CHECK_EQ(gort_run(leave_spinning, NULL, &two), 4);
	CHECK(gort_now() - start >= GORT_SEC);
	CHECK_EQ(gort_run(nothing, NULL, NULL), -EBUSY);
	CHECK_EQ(gort_start(NULL), -EBUSY);
	CHECK_EQ(gort_go(end_at_once, NULL), -ESRCH);
	EVENTUALLY(threads() == 1);
	atomic_store(&spin_end, true);
	EVENTUALLY(gort_run(nothing, NULL, NULL) == 0);
	EVENTUALLY(threads() == 0);
	_exit(TEST_OK); /* what it could have touched is kept for good: no look for leaks */
}

/* ---- options */
TEST_PLAIN(options_that_are_nonsense)
{
	const gort_options bad[] = {
		{ .maxprocs = -1 },
		{ .maxprocs = INT32_MIN },
		{ .stack_size = 1 },
		{ .stack_size = (16 << 10) - 1 },
		{ .stack_size = ((size_t)1 << 30) + 1 },
		{ .stack_size = SIZE_MAX },
		{ .main_stack_size = SIZE_MAX },
		{ .main_stack_size = 1 },
		{ .reserved_ = { 1 } },
		{ .reserved_ = { [12] = -1 } },
	};

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		CHECK_EQ(gort_run(nothing, NULL, &bad[i]), -EINVAL);
		CHECK_EQ(gort_start(&bad[i]), -EINVAL);
		CHECK_EQ(gort_stop(), -ESRCH);
	}
	CHECK_EQ(gort_main_run_(nothing, NULL, &bad[0]), 1);
}

static int see_maxprocs(void *arg)
{
	(void)arg;
	return gort_maxprocs(0);
}

TEST_PLAIN(options_at_their_limits)
{
	CHECK_EQ(gort_run(see_maxprocs, NULL, &(gort_options){ .maxprocs = 1 }), 1);
	CHECK_EQ(gort_run(see_maxprocs, NULL, &(gort_options){ .maxprocs = 3 }), 3);
	CHECK_EQ(gort_run(see_maxprocs, NULL, &(gort_options){ .maxprocs = 1024 }), 1024);
	CHECK_EQ(gort_run(see_maxprocs, NULL, &(gort_options){ .maxprocs = 1025 }), 1024);
	CHECK_EQ(gort_run(see_maxprocs, NULL, &(gort_options){ .maxprocs = INT32_MAX }), 1024);
	CHECK_EQ(gort_run(short_life, NULL, &(gort_options){ .stack_size = 16 << 10 }), 7);
	CHECK_EQ(gort_run(short_life, NULL, &(gort_options){ .stack_size = 12345 * 2 }), 7);
	CHECK_EQ(gort_run(nothing, NULL, &(gort_options){ .stack_size = 1 << 30 }), 0);
}

/* ---- the environment */
TEST_PLAIN(environment_that_is_nonsense)
{
	const char *bad[][2] = {
		{ "GORT_MAXPROCS", "0" },
		{ "GORT_MAXPROCS", "-1" },
		{ "GORT_MAXPROCS", "two" },
		{ "GORT_MAXPROCS", "2x" },
		{ "GORT_MAXPROCS", "1.5" },
		{ "GORT_MAXPROCS", "2K" },
		{ "GORT_MAXPROCS", "99999999999999999999999" },
		{ "GORT_STACK", "0" },
		{ "GORT_STACK", "1" },
		{ "GORT_STACK", "K" },
		{ "GORT_STACK", "15K" },
		{ "GORT_STACK", "-64K" },
		{ "GORT_STACK", "64KB" },
		{ "GORT_STACK", "64 K" },
		{ "GORT_STACK", "64T" },
		{ "GORT_STACK", "2G" },
		{ "GORT_STACK", "1025M" },
		{ "GORT_STACK", "1073741825" },
		{ "GORT_STACK", "18446744073709551616K" },
		{ "GORT_STACK", "18014398509481985K" },
	};

	unsetenv("GORT_MAXPROCS");
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		setenv(bad[i][0], bad[i][1], 1);
		CHECK_EQ(gort_run(nothing, NULL, NULL), -EINVAL);
		CHECK_EQ(gort_start(NULL), -EINVAL);
		unsetenv(bad[i][0]);
	}
	CHECK_EQ(gort_run(nothing, NULL, NULL), 0);
}

TEST_PLAIN(environment_sets_maxprocs)
{
	setenv("GORT_MAXPROCS", "5", 1);
	CHECK_EQ(gort_run(see_maxprocs, NULL, NULL), 5);
	CHECK_EQ(gort_run(see_maxprocs, NULL, &(gort_options){ .maxprocs = 2 }), 2);
	setenv("GORT_MAXPROCS", "5000", 1);
	CHECK_EQ(gort_run(see_maxprocs, NULL, NULL), 1024);
}

/* As much of its stack as size, by touching a byte of each page downwards. */
__attribute__((noinline)) static void use_stack(size_t size)
{
	volatile char *low = __builtin_alloca(size);

	for (size_t at = size; at > 4096; at -= 4096)
		low[at - 4096] = 1;
	low[0] = 1;
}

static void use_goroutines_stack(void *size)
{
	use_stack(*(size_t *)size);
}

static int use_other_stack(void *size)
{
	gort_waitgroup group = { 0 };

	CHECK_EQ(gort_waitgroup_go(&group, use_goroutines_stack, size), 0);
	return gort_waitgroup_wait(&group);
}

TEST_PLAIN(environment_sets_the_stacks_size)
{
	const struct {
		const char *text;
		size_t size;
	} good[] = { { "16384", 16 << 10 },
		     { "100000", 100000 },
		     { "512K", 512 << 10 },
		     { "3M", 3 << 20 },
		     { "1G", 1 << 20 } };

	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		size_t use = good[i].size - 8192;

		setenv("GORT_STACK", good[i].text, 1);
		CHECK_EQ(gort_run(use_other_stack, &use, NULL), 0);
	}
}

static int use_own_stack(void *size)
{
	use_stack(*(size_t *)size);
	return 0;
}

TEST_PLAIN(main_has_a_stack_as_main_expects)
{
	size_t most = (7 << 20) + (512 << 10), more = (64 << 20) - 65536;

	CHECK_EQ(gort_run(use_own_stack, &most, &(gort_options){ .main_stack_size = 8 << 20 }), 0);
	CHECK_EQ(gort_run(use_own_stack, &more, &(gort_options){ .main_stack_size = 64 << 20 }), 0);
	most = 1 << 20;
	CHECK_EQ(gort_run(use_own_stack, &most, &(gort_options){ .stack_size = 16 << 10 }), 0);
}

/* ---- start and stop */
static gort_waitgroup group;

static void see_number(void *arg)
{
	CHECK(gort_self() > 1); /* 1 is main, and there is none */
	count_call(arg);
}

static void stop_from_goroutine(void *expected)
{
	CHECK_EQ(gort_stop(), *(int *)expected);
}

// variants: maxprocs
TEST_PLAIN(start_and_stop_are_counted)
{
	int expected = -EDEADLK, procs;

	CHECK_EQ(gort_stop(), -ESRCH);
	CHECK_EQ(gort_start(NULL), 0);
	procs = gort_maxprocs(0);
	CHECK_EQ(gort_self(), 0);
	CHECK_EQ(gort_run(nothing, NULL, NULL), -EBUSY);
	CHECK_EQ(gort_start(&(gort_options){ .maxprocs = -1 }), -EINVAL);
	CHECK_EQ(gort_start(&(gort_options){ .maxprocs = procs + 1 }), 0);
	CHECK_EQ(gort_maxprocs(0), procs);
	CHECK_EQ(gort_start(NULL), 0);
	for (int i = 0; i < 100; i++)
		CHECK_EQ(gort_waitgroup_go(&group, see_number, NULL), 0);
	CHECK_EQ(gort_waitgroup_wait(&group), 0);
	CHECK_EQ(atomic_load(&called), 100);
	CHECK_EQ(gort_stop(), 0);
	expected = 0;
	CHECK_EQ(gort_waitgroup_go(&group, stop_from_goroutine, &expected), 0);
	gort_waitgroup_wait(&group);
	expected = -EDEADLK;
	CHECK_EQ(gort_waitgroup_go(&group, stop_from_goroutine, &expected), 0);
	gort_waitgroup_wait(&group);
	CHECK_EQ(gort_stop(), 0);
	CHECK_EQ(gort_stop(), -ESRCH);
	CHECK_EQ(gort_go(end_at_once, NULL), -ESRCH);
}

// variants: maxprocs
TEST_PLAIN(start_and_stop_again_and_again)
{
	struct objects o;

	for (int i = 0; i < SCALE(100); i++) {
		objects_make(&o);
		CHECK_EQ(gort_start(NULL), 0);
		go_and_wait(&o, RECV);
		go_and_wait(&o, SEND);
		gort_waitgroup_wait(&o.waits);
		CHECK_EQ(gort_stop(), 0);
		CHECK_EQ(gort_chan_try_send(o.empty, &o.full), -EAGAIN);
		gort_chan_release(o.empty);
		gort_chan_release(o.full);
	}
	EVENTUALLY(threads() == 0);
}

TEST_PLAIN(without_a_runtime_there_are_no_goroutines)
{
	int copy = 1;

	CHECK_EQ(gort_go(end_at_once, NULL), -ESRCH);
	CHECK_EQ(gort_go_copy(end_at_once, &copy, sizeof copy), -ESRCH);
	CHECK_EQ(gort_waitgroup_go(&group, end_at_once, NULL), -ESRCH);
	CHECK_EQ(gort_waitgroup_wait(&group), 0);
	CHECK(gort_spawn(nothing, NULL, NULL) == NULL);
	CHECK(gort_maxprocs(0) >= 1 && gort_maxprocs(0) <= 1024);
	CHECK_STR(gort_version(), GORT_VERSION);
}

/* ---- GOMAXPROCS changes */
static void work_and_yield(void *arg)
{
	(void)arg;
	for (int i = 0; i < SCALE(2000); i++) {
		atomic_fetch_add(&called, 1);
		if (i % 8 == 0)
			gort_sleep(1);
		else
			gort_yield();
	}
}

TEST(maxprocs_up_and_down_under_load)
{
	const int to[] = { 1, 8, 2, 1, 3, 8, 4, 1, 2 };
	gort_waitgroup all = { 0 };
	int now = gort_maxprocs(0), most, i = 0;

	for (int k = 0; k < 32; k++)
		CHECK_EQ(gort_waitgroup_go(&all, work_and_yield, NULL), 0);
	while (gort_waitgroup_wait_until(&all, gort_in(GORT_MS)) != 0) {
		CHECK_EQ(gort_maxprocs(to[i % 9]), now);
		now = to[i++ % 9];
		CHECK_EQ(gort_maxprocs(0), now);
	}
	CHECK_EQ(atomic_load(&called), 32 * SCALE(2000));
	CHECK_EQ(gort_maxprocs(8), now);
	EVENTUALLY(threads() >= 2); /* creator and sysmon: each names itself when it runs first */
	most = threads() - retakes();
	for (i = 0; i < 1000; i++) {
		gort_maxprocs(to[i % 9]);
		gort_yield();
	}
	now = threads();
	/* One a P that had none yet, or whose thread slept in the kernel; not one a change. */
	CHECK(now <= most + 8 + retakes());
}

TEST(maxprocs_is_limited)
{
	gort_maxprocs(INT32_MAX);
	CHECK_EQ(gort_maxprocs(2), 1024);
	CHECK_EQ(gort_maxprocs(-5), 2);
	CHECK_EQ(gort_maxprocs(0), 2);
}
