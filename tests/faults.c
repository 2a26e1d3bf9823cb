/*
 * faults.c - what is had of the system fails, at each place once, or from some place on: mappings,
 * threads, blocks of gort's own memory. What can say so gives -ENOMEM or -EAGAIN, what was begun ends,
 * nothing is left, and the next run finds all well. (limits.c has the system's own limits.)
 *
 * This program's copy of gort calls faulty_mmap where gort calls mmap, and so on (CMakeLists.txt), in
 * all builds, while libc's calls, a sanitizer's and the test's own go their way.
 */
#include "process.h"

#include "base/alloc.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum fault { NTH_CALL, ALL_CALLS_FROM_NTH, NTH_BLOCK };

static struct {
	atomic_int left;   /* calls until one fails; 0: none does */
	atomic_bool on;    /* all after that fail, too */
	atomic_int failed; /* calls that have */
	atomic_long bytes; /* mapped, less unmapped */
} x;

/* ---- the functions that fail ----------------------------------------------------------------- */

static bool fails(void)
{
	int left = atomic_load(&x.left);

	while (left > 0 &&
	       !atomic_compare_exchange_weak(&x.left, &left,
					     left == 1 && atomic_load(&x.on) ? 1 : left - 1))
		continue;
	if (left != 1)
		return false;
	atomic_fetch_add(&x.failed, 1);
	return true;
}

void *faulty_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset);
int faulty_munmap(void *at, size_t size);
int faulty_mprotect(void *at, size_t size, int prot);
int faulty_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
			  void *arg);
int faulty_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));
int faulty_pthread_key_create(pthread_key_t *key, void (*end)(void *));
int faulty_pthread_setspecific(pthread_key_t key, const void *value);

void *faulty_mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset)
{
	void *p;

	if (fails()) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	p = mmap(at, size, prot, flags, fd, offset);
	if (p != MAP_FAILED)
		atomic_fetch_add(&x.bytes, (long)size);
	return p;
}

int faulty_munmap(void *at, size_t size)
{
	atomic_fetch_sub(&x.bytes, (long)size);
	return munmap(at, size);
}

int faulty_mprotect(void *at, size_t size, int prot)
{
	if (!fails())
		return mprotect(at, size, prot);
	errno = ENOMEM;
	return -1;
}

int faulty_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
			  void *arg)
{
	return fails() ? EAGAIN : pthread_create(thread, attr, fn, arg);
}

int faulty_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
	return fails() ? ENOMEM : pthread_atfork(prepare, parent, child);
}

int faulty_pthread_key_create(pthread_key_t *key, void (*end)(void *))
{
	return fails() ? EAGAIN : pthread_key_create(key, end);
}

int faulty_pthread_setspecific(pthread_key_t key, const void *value)
{
	return fails() ? ENOMEM : pthread_setspecific(key, value);
}

static void arm(enum fault fault, int n)
{
	atomic_store(&x.failed, 0);
	atomic_store(&x.on, fault == ALL_CALLS_FROM_NTH);
	if (fault == NTH_BLOCK)
		mem_fail_after((uint32_t)n);
	else
		atomic_store(&x.left, n);
}

static void disarm(void)
{
	atomic_store(&x.left, 0);
	mem_fail_after(0);
}

/* ---- what a scenario says -------------------------------------------------------------------- */

/* The first failure. What may not fail is checked where it is called. */
static int failure(int so_far, int err)
{
	if (err != -ENOMEM && err != -EAGAIN)
		CHECK_EQ(err, 0);
	return so_far ? so_far : err;
}

/* Of a call that gives an object. */
static int failure_to_make(int so_far, const void *object)
{
	return failure(so_far, object ? 0 : -ENOMEM);
}

/* ---- one run with a fault, and one without --------------------------------------------------- */

struct scenario {
	int (*fn)(void *arg);
	gort_options options;
	int (*run)(const struct scenario *s); /* instead of gort_run */
};

static int run(const struct scenario *s)
{
	return s->run ? s->run(s) : gort_run(s->fn, NULL, &s->options);
}

/* A thread that a goroutine had kept may be about to end. */
static void check_nothing_is_left(int line, int n, long bytes)
{
	EVENTUALLY(threads() == 0);
	if (atomic_load(&x.bytes) != bytes)
		test_fail_(__FILE__, line, "at %d: %ld bytes are left", n,
			   atomic_load(&x.bytes) - bytes);
}

/* At each place, until there are no more. Gives how many runs had a failure. */
static int at_each(enum fault fault, const struct scenario *s, int step)
{
	int most = SCALE(600), told = 0, past = 0;
	long bytes;

	CHECK_EQ(run(s), 0); /* what is made once in a process is there */
	bytes = atomic_load(&x.bytes);
	for (int n = 1; n <= most && past < 3; n += step) {
		int err;

		arm(fault, n);
		err = run(s);
		past = fault != NTH_BLOCK && atomic_load(&x.failed) == 0 ? past + 1 : 0;
		disarm();
		if (err != 0 && err != -ENOMEM && err != -EAGAIN)
			test_fail_(__FILE__, __LINE__, "at %d: %d", n, err);
		told += err != 0;
		check_nothing_is_left(__LINE__, n, bytes);
		if (err != 0)
			CHECK_EQ(run(s), 0);
		check_nothing_is_left(__LINE__, n, bytes);
	}
	return told;
}

#define EACH(fault, step, ...) at_each((fault), &(struct scenario){ __VA_ARGS__ }, (step))

/* ---- the scenarios --------------------------------------------------------------------------- */

static void add_one(void *n)
{
	atomic_fetch_add((atomic_int *)n, 1);
}

/* All that were started run, and no others. */
static int start_many(void *arg)
{
	gort_waitgroup ended = { 0 };
	atomic_int ran = 0;
	int started = 0, err = 0;

	(void)arg;
	for (int i = 0; i < 60; i++) {
		int e = gort_waitgroup_go(&ended, add_one, &ran);

		started += e == 0;
		err = failure(err, e);
	}
	CHECK_EQ(gort_waitgroup_wait(&ended), 0);
	CHECK_EQ(atomic_load(&ran), started);
	EVENTUALLY(gort_count() == 1 || gort_sleep(0) < 0);
	return err;
}

static int keep_thread(void *arg)
{
	pthread_t self = pthread_self();
	int err;

	(void)arg;
	gort_lock_thread();
	gort_lock_thread();
	err = gort_sleep(10 * GORT_US);
	gort_yield();
	CHECK(pthread_equal(self, pthread_self()));
	gort_unlock_thread();
	gort_unlock_thread();
	return err;
}

/* Its thread ends with it. */
static int end_with_thread(void *arg)
{
	gort_lock_thread();
	return keep_thread(arg);
}

static int sleep_in_kernel(void *arg)
{
	(void)arg;
	return usleep(100) + 3;
}

static int block(void *arg)
{
	CHECK_EQ(gort_blocking(sleep_in_kernel, arg), 3);
	return gort_sleep(GORT_US);
}

static void burn_some(int64_t time)
{
	int64_t end = gort_in(time);

	while (gort_now() < end)
		for (volatile int i = 0; i < 1000; i = i + 1)
			continue;
}

static int compute(void *arg)
{
	(void)arg;
	burn_some(500 * GORT_US);
	return 0;
}

static int compute_in_peace(void *arg)
{
	(void)arg;
	gort_preempt_off();
	burn_some(300 * GORT_US);
	gort_preempt_on();
	return gort_sleep(GORT_US);
}

/* Many of a kind: each that was made ends, and its result is had. */
static int spawn_all(int n, int (*fn)(void *), const gort_attr *attr)
{
	gort_task *t[32] = { NULL };
	int err = 0;

	for (int i = 0; i < n; i++) {
		t[i] = gort_spawn(fn, i % 2 ? &t[i] : NULL, attr);
		err = failure_to_make(err, t[i]);
	}
	for (int i = 0; i < n; i++) {
		int result = 1;

		if (!t[i])
			continue;
		CHECK_EQ(gort_join(t[i], &result), 0);
		err = failure(err, result);
	}
	return err;
}

static int keep_threads(void *arg)
{
	(void)arg;
	return spawn_all(6, keep_thread, &(gort_attr){ .name = "keeps" });
}

static int end_threads(void *arg)
{
	return failure(keep_threads(arg), spawn_all(6, end_with_thread, NULL));
}

static int block_many(void *arg)
{
	(void)arg;
	return spawn_all(8, block, NULL);
}

static int compute_in_all_ways(void *arg)
{
	int err;

	(void)arg;
	err = spawn_all(4, compute, &(gort_attr){ .preempt = GORT_PREEMPT_SWITCH });
	err = failure(err, spawn_all(4, compute, &(gort_attr){ .preempt = GORT_PREEMPT_OFF }));
	err = failure(err, spawn_all(4, compute, &(gort_attr){ .stack_size = 64 << 10 }));
	return failure(err, spawn_all(4, compute_in_peace, &(gort_attr){ .stack_size = 1 << 20 }));
}

/* Whoever is told once that a signal is watched gets it. */
static int watch_one(int signo)
{
	gort_chan *c = gort_chan_make(sizeof(int), 4);
	int err, got = 0;

	if (!c)
		return -ENOMEM;
	err = gort_signal_notify(c, signo);
	if (err == 0) {
		CHECK_EQ(raise(signo), 0);
		CHECK_EQ(gort_chan_recv(c, &got), 0);
		CHECK_EQ(got, signo);
	}
	CHECK_EQ(gort_signal_stop(c), err == 0 ? 0 : -ENOENT);
	gort_chan_release(c);
	return err;
}

static int watch_signals(void *arg)
{
	int err = 0;

	(void)arg;
	for (int i = 0; i < 3; i++) {
		err = failure(err, watch_one(SIGUSR1));
		err = failure(err, watch_one(SIGUSR2));
	}
	return err;
}

static void wait_for_close(void *c)
{
	CHECK_EQ(gort_chan_recv(c, NULL), -EPIPE);
}

static int dump_once(void)
{
	int fd = memfd_create("dump", MFD_CLOEXEC), err;
	char text[64] = "";

	CHECK(fd >= 0);
	err = gort_dump(fd);
	CHECK(pread(fd, text, sizeof text - 1, 0) >= 0);
	CHECK_EQ(strstr(text, " goroutines: ") != NULL, err == 0);
	close(fd);
	return err;
}

static int dump_and_count(void *arg)
{
	gort_chan *c = gort_chan_make(0, 0);
	gort_waitgroup ended = { 0 };
	gort_stats stats;
	int err = failure_to_make(0, c);

	(void)arg;
	if (!c)
		return err;
	for (int i = 0; i < 5; i++)
		err = failure(err, gort_waitgroup_go(&ended, wait_for_close, c));
	for (int i = 0; i < 3; i++)
		err = failure(err, dump_once());
	gort_read_stats(&stats, sizeof stats);
	CHECK_EQ(stats.goroutines, gort_count());
	CHECK_EQ(gort_chan_close(c), 0);
	CHECK_EQ(gort_waitgroup_wait(&ended), 0);
	gort_chan_release(c);
	return err;
}

static int change_procs(void *arg)
{
	static const int to[] = { 8, 1, 20, 3, 40 };
	int err = 0;

	for (size_t i = 0; i < sizeof to / sizeof to[0]; i++) {
		int before = gort_maxprocs(0), e = gort_maxprocs(to[i]);

		CHECK(e == before || e == -ENOMEM);
		CHECK_EQ(gort_maxprocs(0), e < 0 ? before : to[i]);
		err = failure(err, e < 0 ? e : 0);
		err = failure(err, start_many(arg));
	}
	return err;
}

static int set_timers(void *arg)
{
	gort_timer *t[20];
	gort_chan *after = gort_after_chan(50 * GORT_US);
	atomic_int fired = 0;
	int set = 0, err = failure_to_make(0, after);

	(void)arg;
	for (int i = 0; i < 20; i++) {
		t[i] = gort_timer_start(gort_in(i * 10 * GORT_US), 0, add_one, &fired);
		set += t[i] != NULL;
		err = failure_to_make(err, t[i]);
	}
	if (after) {
		CHECK_EQ(gort_chan_recv(after, NULL), 0);
		gort_chan_release(after);
	}
	for (int i = 0; atomic_load(&fired) < set; i++) { /* late, but not lost */
		err = failure(err, gort_sleep(10 * GORT_US));
		if (i > 100)
			disarm();
	}
	for (int i = 0; i < 20; i++)
		gort_timer_release(t[i]);
	CHECK_EQ(atomic_load(&fired), set);
	return err;
}

/* By a plain thread, which is no goroutine all the time. */
static int start_and_stop(const struct scenario *s)
{
	int err = gort_start(&s->options), result = 0;
	gort_task *t;

	if (err < 0)
		return err;
	CHECK_EQ(gort_start(NULL), 0);
	t = gort_spawn(s->fn, NULL, NULL);
	if (t)
		CHECK_EQ(gort_join(t, &result), 0);
	err = t ? result : -ENOMEM;
	CHECK_EQ(gort_stop(), 0);
	CHECK_EQ(gort_stop(), 0);
	return err;
}

#define OPTIONS \
	{ \
		.maxprocs = 3, .max_threads = 6, .stack_size = 64 << 10, \
		.main_stack_size = 512 << 10, .preempt_slice_us = 500 \
	}

/* ---- the cases ------------------------------------------------------------------------------- */

// variants: maxprocs
TEST_PLAIN(starting)
{
	CHECK(EACH(NTH_CALL, 1, .fn = start_many) > 0);
	EACH(NTH_BLOCK, 1 + SCALE(4), .fn = start_many);
	EACH(ALL_CALLS_FROM_NTH, 1, .fn = start_many);
}

TEST_PLAIN(starting_with_options)
{
	CHECK(EACH(NTH_CALL, 1, .fn = start_many, .options = OPTIONS) > 0);
	EACH(NTH_BLOCK, 1 + SCALE(4), .fn = start_many, .options = OPTIONS);
	EACH(ALL_CALLS_FROM_NTH, 1, .fn = start_many, .options = OPTIONS);
}

// variants: maxprocs
TEST_PLAIN(started_by_a_plain_thread)
{
	CHECK(EACH(NTH_CALL, 1, .fn = start_many, .run = start_and_stop) > 0);
	EACH(NTH_BLOCK, 1 + SCALE(4), .fn = start_many, .run = start_and_stop);
	EACH(ALL_CALLS_FROM_NTH, 1, .fn = start_many, .run = start_and_stop);
}

// variants: maxprocs
TEST_PLAIN(threads_that_are_kept)
{
	CHECK(EACH(NTH_CALL, 1, .fn = end_threads) > 0);
	EACH(NTH_BLOCK, 1 + SCALE(2), .fn = end_threads);
	EACH(ALL_CALLS_FROM_NTH, 1, .fn = keep_threads);
}

// variants: maxprocs
TEST_PLAIN(blocking_calls)
{
	CHECK(EACH(NTH_CALL, 1, .fn = block_many) > 0);
	EACH(NTH_BLOCK, 1 + SCALE(2), .fn = block_many);
	EACH(ALL_CALLS_FROM_NTH, 1, .fn = block_many);
}

// variants: maxprocs
TEST_PLAIN(computing_with_and_without_preemption)
{
	CHECK(EACH(NTH_CALL, 1, .fn = compute_in_all_ways, .options = OPTIONS) > 0);
	EACH(NTH_BLOCK, 1 + SCALE(6), .fn = compute_in_all_ways, .options = OPTIONS);
	EACH(ALL_CALLS_FROM_NTH, 1, .fn = compute_in_all_ways, .options = OPTIONS);
}

// variants: maxprocs
TEST_PLAIN(signals)
{
	CHECK(EACH(NTH_CALL, 1, .fn = watch_signals) > 0);
	EACH(NTH_BLOCK, 1, .fn = watch_signals);
	EACH(ALL_CALLS_FROM_NTH, 1, .fn = watch_signals);
}

// variants: maxprocs
TEST_PLAIN(dumps_and_counters)
{
	CHECK(EACH(NTH_CALL, 1, .fn = dump_and_count) > 0);
	EACH(NTH_BLOCK, 1, .fn = dump_and_count);
	EACH(ALL_CALLS_FROM_NTH, 1, .fn = dump_and_count);
}

// variants: maxprocs
TEST_PLAIN(more_processors)
{
	CHECK(EACH(NTH_CALL, 1, .fn = change_procs) > 0);
	EACH(NTH_BLOCK, 1 + SCALE(10), .fn = change_procs);
	EACH(ALL_CALLS_FROM_NTH, 1, .fn = change_procs);
}

// variants: maxprocs
TEST_PLAIN(timers)
{
	CHECK(EACH(NTH_CALL, 1, .fn = set_timers) > 0);
	EACH(NTH_BLOCK, 1, .fn = set_timers);
	EACH(ALL_CALLS_FROM_NTH, 1, .fn = set_timers);
}

/* ---- what is made once in a process: each time in a child that has made none of it ------------ */

static int first_run(const struct scenario *s, int n)
{
	int status = -1;
	pid_t child = fork();

	CHECK(child >= 0);
	if (child == 0) {
		int err;

		alarm(60);
		arm(NTH_CALL, n);
		err = run(s);
		status = atomic_load(&x.failed) ? 1 : 0;
		disarm();
		if (err != 0 && err != -ENOMEM && err != -EAGAIN)
			test_fail_(__FILE__, __LINE__, "at %d: %d", n, err);
		CHECK_EQ(run(s), 0);
		EVENTUALLY(threads() == 0);
		_exit(status);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	if (!WIFEXITED(status) || WEXITSTATUS(status) > 1)
		test_fail_(__FILE__, __LINE__, "at %d: status %#x", n, status);
	return WEXITSTATUS(status);
}

static int all_kinds(void *arg)
{
	int err = start_many(arg);

	err = failure(err, watch_signals(arg));
	err = failure(err, set_timers(arg));
	err = failure(err, end_threads(arg));
	return failure(err, dump_and_count(arg));
}

// variants: maxprocs
TEST_PLAIN(the_first_run_in_a_process)
{
	struct scenario s = { .fn = all_kinds };
	int n = 1;

	while (first_run(&s, n))
		n += 1 + n / 40;
	CHECK(n > 20);
}

/* A plain thread that starts with what it has to give back at its end. */
static void *use_key(void *result)
{
	gort_key key;
	int err = gort_key_create(&key, NULL);

	if (err == 0) {
		err = gort_key_set(key, result);
		CHECK(gort_key_get(key) == (err == 0 ? result : NULL));
		gort_key_delete(key);
	}
	*(int *)result = err;
	return NULL;
}

static int key_on_a_thread(const struct scenario *s)
{
	pthread_t thread;
	int result = 0;

	(void)s;
	CHECK_EQ(pthread_create(&thread, NULL, use_key, &result), 0);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	return result;
}

TEST_PLAIN(values_of_a_plain_thread)
{
	struct scenario s = { .run = key_on_a_thread };

	for (int n = 1; first_run(&s, n); n++)
		continue;
}
