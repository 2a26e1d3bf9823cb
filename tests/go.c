/*
 * go.c - starting goroutines: each runs once, with its argument; what a new one inherits and what
 * it keeps for itself wherever it runs.
 */
#include "harness.h"

#include <fenv.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static gort_waitgroup group;
static atomic_int ran;

static void count(void *arg)
{
	(void)arg;
	atomic_fetch_add(&ran, 1);
	gort_waitgroup_done(&group);
}

/* ---- gort_go */
static void check_arg(void *arg)
{
	CHECK_EQ(*(int *)arg, 42);
	CHECK(gort_self() > 1);
	*(int *)arg = 43;
	gort_waitgroup_done(&group);
}

static void check_null(void *arg)
{
	CHECK(arg == NULL);
	gort_waitgroup_done(&group);
}

// variants: maxprocs
TEST(go_passes_the_argument)
{
	int n = 42;

	gort_waitgroup_add(&group, 2);
	CHECK_EQ(gort_go(check_arg, &n), 0);
	CHECK_EQ(gort_go(check_null, NULL), 0);
	gort_waitgroup_wait(&group);
	CHECK_EQ(n, 43);
}

static void mark(void *arg)
{
	atomic_fetch_add((atomic_int *)arg, 1);
	gort_waitgroup_done(&group);
}

// variants: maxprocs
TEST(each_of_many_runs_once)
{
	enum { N = 10000 };
	static atomic_int marks[N];
	const int n = SCALE(N);

	for (int round = 0; round < 5; round++) {
		gort_waitgroup_add(&group, n);
		for (int i = 0; i < n; i++)
			CHECK_EQ(gort_go(mark, &marks[i]), 0);
		gort_waitgroup_wait(&group);
		for (int i = 0; i < n; i++)
			CHECK_EQ(atomic_load(&marks[i]), round + 1);
	}
}

static void chain(void *arg)
{
	intptr_t left = (intptr_t)arg;

	if (left > 0)
		CHECK_EQ(gort_go(chain, (void *)(left - 1)), 0);
	else
		gort_waitgroup_done(&group);
}

// variants: maxprocs
TEST(each_starts_the_next)
{
	gort_waitgroup_add(&group, 1);
	CHECK_EQ(gort_go(chain, (void *)(intptr_t)SCALE(100000)), 0);
	gort_waitgroup_wait(&group);
}

static void tree(void *arg)
{
	intptr_t depth = (intptr_t)arg;

	atomic_fetch_add(&ran, 1);
	if (depth > 0) {
		gort_waitgroup_add(&group, 2);
		CHECK_EQ(gort_go(tree, (void *)(depth - 1)), 0);
		CHECK_EQ(gort_go(tree, (void *)(depth - 1)), 0);
	}
	gort_waitgroup_done(&group);
}

// variants: maxprocs
TEST(tree_of_goroutines)
{
	intptr_t depth = SCALE(1000) == 1000 ? 14 : 10;

	gort_waitgroup_add(&group, 1);
	CHECK_EQ(gort_go(tree, (void *)depth), 0);
	gort_waitgroup_wait(&group);
	CHECK_EQ(atomic_load(&ran), (2 << depth) - 1);
}

static void go_many(void *arg)
{
	(void)arg;
	gort_waitgroup_add(&group, SCALE(2000));
	for (int i = 0; i < SCALE(2000); i++)
		CHECK_EQ(gort_go(count, NULL), 0);
}

// variants: maxprocs
TEST(goroutines_and_guests_start_goroutines_at_once)
{
	struct guest *guests[3];

	for (int i = 0; i < 3; i++)
		guests[i] = guest_start(go_many, NULL);
	go_many(NULL);
	for (int i = 0; i < 3; i++)
		guest_join(guests[i]);
	gort_waitgroup_wait(&group);
	CHECK_EQ(atomic_load(&ran), 4 * SCALE(2000));
}

TEST_DIES(go_without_a_function_names_the_call, "gort_go")
{
	gort_go(NULL, NULL);
}

/* ---- numbers and names */
static atomic_int seen[20000];

static void see_self(void *arg)
{
	uint64_t self = gort_self();

	(void)arg;
	CHECK(self > 1);
	for (int i = 0; i < 3; i++) {
		gort_yield();
		CHECK_EQ(gort_self(), self);
	}
	if (self < sizeof seen / sizeof seen[0])
		CHECK_EQ(atomic_fetch_add(&seen[self], 1), 0);
	gort_waitgroup_done(&group);
}

// variants: maxprocs
TEST(numbers_are_never_the_same)
{
	const int n = SCALE(3000);

	CHECK_EQ(gort_self(), 1);
	gort_waitgroup_add(&group, n);
	for (int i = 0; i < n; i++)
		CHECK_EQ(gort_go(see_self, NULL), 0);
	gort_waitgroup_wait(&group);
	CHECK_EQ(gort_self(), 1);
}

static void no_number(void *arg)
{
	(void)arg;
	CHECK_EQ(gort_self(), 0);
	gort_set_name("nobody"); /* nothing */
	CHECK_EQ(gort_self(), 0);
}

TEST(plain_thread_has_no_number)
{
	on_guest(no_number, NULL);
	CHECK_EQ(gort_self(), 1);
}

/* ---- gort_go_copy */
struct job {
	int n;
	char text[100];
	gort_chan *out;
};

static void check_copy(void *arg)
{
	struct job *job = arg;
	int n = job->n;

	CHECK_EQ((uintptr_t)arg % 16, 0);
	for (int i = 0; i < 3; i++) {
		for (size_t k = 0; k < sizeof job->text; k++)
			CHECK_EQ(job->text[k], (char)(n + i));
		memset(job->text, n + i + 1, sizeof job->text); /* it is this one's own */
		gort_yield();
	}
	CHECK_EQ(job->n, n);
	CHECK_EQ(gort_chan_send(job->out, &n), 0);
}

// variants: maxprocs
TEST(go_copy_keeps_a_copy_for_each)
{
	const int n = SCALE(1000);
	struct job job = { .out = gort_chan_make(sizeof(int), 0) };
	int64_t sum = 0;

	for (int i = 0; i < n; i++) {
		job.n = i;
		memset(job.text, i, sizeof job.text);
		CHECK_EQ(gort_go_copy(check_copy, &job, sizeof job), 0);
		memset(&job, 0xee, sizeof job - sizeof job.out);
	}
	for (int i = 0, got; i < n; i++) {
		CHECK_EQ(gort_chan_recv(job.out, &got), 0);
		sum += got;
	}
	CHECK_EQ(sum, (int64_t)n * (n - 1) / 2);
	gort_chan_release(job.out);
}

struct sized {
	size_t size;
	unsigned char bytes[65536 - sizeof(size_t)];
};

static void check_sized(void *arg)
{
	struct sized *s = arg;

	CHECK_EQ((uintptr_t)arg % 16, 0);
	for (size_t i = 0; i < s->size - sizeof s->size; i++)
		CHECK_EQ(s->bytes[i], (unsigned char)(i * 7));
	gort_waitgroup_done(&group);
}

static int copy_sizes(void *arg)
{
	static struct sized s;
	const size_t sizes[] = { 8,   9,   15,   16,   17,   31,   63,    64,    65,
				 100, 255, 1000, 4095, 4096, 4097, 10000, 16383, 16384 };

	(void)arg;
	for (size_t i = 0; i < sizeof s.bytes; i++)
		s.bytes[i] = (unsigned char)(i * 7);
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		s.size = sizes[i];
		gort_waitgroup_add(&group, 1);
		CHECK_EQ(gort_go_copy(check_sized, &s, sizes[i]), 0);
		gort_waitgroup_wait(&group);
	}
	EVENTUALLY(gort_count() == 1); /* the last one says that it is done before it has ended */
	CHECK_EQ(gort_go_copy(check_sized, &s, 16385), -E2BIG);
	CHECK_EQ(gort_go_copy(check_sized, &s, 65536), -E2BIG);
	CHECK_EQ(gort_go_copy(check_sized, &s, SIZE_MAX), -E2BIG);
	CHECK_EQ(gort_count(), 1);
	return 0;
}

TEST_PLAIN(go_copy_of_up_to_a_quarter_of_the_stack)
{
	CHECK_EQ(gort_run(copy_sizes, NULL, &(gort_options){ .stack_size = 65536 }), 0);
}

static void check_one_byte(void *arg)
{
	CHECK_EQ((uintptr_t)arg % 16, 0);
	CHECK_EQ(*(char *)arg, 'x');
	count(arg);
}

TEST(go_copy_of_a_byte_and_of_nothing)
{
	char x = 'x';

	gort_waitgroup_add(&group, 3);
	CHECK_EQ(gort_go_copy(check_one_byte, &x, 1), 0);
	CHECK_EQ(gort_go_copy(count, &x, 0), 0);
	CHECK_EQ(gort_go_copy(count, NULL, 0), 0);
	gort_waitgroup_wait(&group);
	CHECK_EQ(atomic_load(&ran), 3);
}

static void work(void *arg)
{
	struct job *job = arg;

	CHECK_EQ(job->text[0], 0);
	CHECK_EQ(gort_chan_send(job->out, &job->n), 0);
}

TEST(go_with_fills_a_struct)
{
	gort_chan *c = gort_chan_make(sizeof(int), 0);
	int n = 0;

	CHECK_EQ(gort_go_with(work, struct job, .n = 3, .out = c), 0);
	CHECK_EQ(gort_chan_recv(c, &n), 0);
	CHECK_EQ(n, 3);
	gort_chan_release(c);
}

/* ---- the floating-point control state */
static const int modes[] = { FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO };

static double third(void)
{
	volatile double one = 1, three = 3;

	return one / three;
}

static void check_inherited(void *arg)
{
	int mode = *(int *)arg;
	double up;

	CHECK_EQ(fegetround(), mode);
	up = third();
	for (int i = 0; i < 20; i++) {
		gort_yield();
		CHECK_EQ(fegetround(), mode);
		CHECK(third() == up);
	}
	fesetround(modes[(mode + 1) % 4 == 0]);
	gort_waitgroup_done(&group);
}

static void inherit_all(void *arg)
{
	(void)arg;
	for (int i = 0; i < 200; i++) {
		CHECK_EQ(fesetround(modes[i % 4]), 0);
		gort_waitgroup_add(&group, 1);
		CHECK_EQ(gort_go_copy(check_inherited, &modes[i % 4], sizeof modes[0]), 0);
	}
	CHECK_EQ(fegetround(), modes[199 % 4]);
}

// variants: maxprocs
// not: valgrind
TEST(rounding_is_inherited_and_kept)
{
	double nearest = third();

	inherit_all(NULL);
	CHECK_EQ(fegetround(), FE_TOWARDZERO);
	gort_waitgroup_wait(&group);
	CHECK_EQ(fegetround(), FE_TOWARDZERO); /* not that of whoever ran before */
	CHECK_EQ(fesetround(FE_UPWARD), 0);
	CHECK(third() > nearest);
	on_guest(inherit_all, NULL);
	gort_waitgroup_wait(&group);
	CHECK_EQ(fegetround(), FE_UPWARD);
}

static int main_rounding(void *arg)
{
	(void)arg;
	gort_sleep(GORT_MS);
	CHECK_EQ(fegetround(), FE_DOWNWARD);
	fesetround(FE_UPWARD);
	return 0;
}

TEST_PLAIN(main_inherits_the_callers_rounding)
{
	CHECK_EQ(fesetround(FE_DOWNWARD), 0);
	CHECK_EQ(gort_run(main_rounding, NULL, NULL), 0);
}

/* ---- errno */
static void check_errno(void *arg)
{
	(void)arg;
	for (int i = 0; i < SCALE(2000); i++) {
		errno = 0;
		gort_yield();
		CHECK_EQ(close(-1), -1);
		CHECK_EQ(errno, EBADF); /* this thread's, though the last use was another's */
		if (i % 16 == 0)
			gort_sleep(1);
		errno = ENOENT;
		CHECK_EQ(*gort_errno_location(), ENOENT);
	}
	gort_waitgroup_done(&group);
}

// variants: maxprocs
TEST(errno_is_right_on_whatever_thread)
{
	gort_waitgroup_add(&group, 16);
	for (int i = 0; i < 16; i++)
		CHECK_EQ(gort_go(check_errno, NULL), 0);
	gort_waitgroup_wait(&group);
}

static void errno_of_thread(void *arg)
{
	(void)arg;
	errno = 7;
	CHECK_EQ(errno, 7);
	CHECK_EQ(*gort_errno_location(), 7);
}

TEST_PLAIN(errno_without_a_runtime)
{
	errno = 5;
	on_guest(errno_of_thread, NULL);
	CHECK_EQ(errno, 5);
}

/* ---- goexit */
static atomic_int came_back;
static void deep_goexit(int depth);
static void (*volatile deeper)(int depth) = deep_goexit; /* gcc calls it an infinite recursion */

static void deep_goexit(int depth)
{
	if (depth > 0)
		deeper(depth - 1);
	else
		gort_goexit();
	atomic_fetch_add(&came_back, 1);
}

static void exit_from_depth(void *arg)
{
	(void)arg;
	CHECK_EQ(gort_defer(count, NULL), 0);
	deep_goexit(50);
}

// variants: maxprocs
TEST(goexit_ends_only_this_one)
{
	gort_waitgroup_add(&group, SCALE(1000));
	for (int i = 0; i < SCALE(1000); i++)
		CHECK_EQ(gort_go(exit_from_depth, NULL), 0);
	gort_waitgroup_wait(&group);
	CHECK_EQ(atomic_load(&ran), SCALE(1000));
	CHECK_EQ(atomic_load(&came_back), 0);
}

TEST_PLAIN_DIES(goexit_on_a_plain_thread_is_misuse, "gort_goexit")
{
	gort_goexit();
}

/* ---- the process around it */
static void check_mask(void *arg)
{
	sigset_t mask;

	(void)arg;
	CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
	CHECK_EQ(sigismember(&mask, SIGUSR1), 1);
	CHECK_EQ(sigismember(&mask, SIGUSR2), 0);
	CHECK_EQ(sigismember(&mask, SIGTERM), 0);
	gort_yield();
}

static int check_masks(void *arg)
{
	gort_waitgroup all = { 0 };

	for (int i = 0; i < 500; i++)
		CHECK_EQ(gort_waitgroup_go(&all, check_mask, NULL), 0);
	check_mask(arg);
	return gort_waitgroup_wait(&all);
}

// variants: maxprocs
TEST_PLAIN(goroutines_have_the_callers_signal_mask)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	CHECK_EQ(gort_run(check_masks, NULL, NULL), 0);
	check_mask(NULL);
}

TEST(child_after_fork_may_exec_or_exit)
{
	pid_t exits = fork(), execs;
	int status;

	CHECK(exits >= 0);
	if (exits == 0)
		_exit(7);
	CHECK_EQ(waitpid(exits, &status, 0), exits);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	execs = fork();
	CHECK(execs >= 0);
	if (execs == 0) {
		execl("/bin/sh", "sh", "-c", "exit 3", (char *)NULL);
		_exit(127);
	}
	CHECK_EQ(waitpid(execs, &status, 0), execs);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 3);
}
