/*
 * signal_storms.c - signals by the thousand, and stops of the whole process, while goroutines run.
 *
 * Handlers are the program's own or gort's; they run on the M's alternate stack, or on whatever
 * stack runs where they did not ask for one. Nothing may be corrupted or lost by any of them.
 *
 * Timers of the system send to the process: see signal.c for what ThreadSanitizer makes of that.
 */
#include "harness.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- a timer that sends ten thousand signals a second ---------------------------------------- */

static timer_t every_100_us(int signo)
{
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = signo };
	const struct itimerspec period = { { 0, 100000 }, { 0, 100000 } };
	timer_t timer;

	CHECK_EQ(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	CHECK_EQ(timer_settime(timer, 0, &period, NULL), 0);
	return timer;
}

static uint32_t came; /* atomic */

static __attribute__((noinline)) void fill(volatile char *at, size_t size, char with)
{
	for (size_t i = 0; i < size; i++)
		at[i] = with;
}

/* Uses stack and floating-point registers, as handlers do. */
static void count(int signo)
{
	volatile char some[1500];
	volatile double x = 1.5;

	fill(some, sizeof some, (char)signo);
	x = x * 3 + some[700];
	__atomic_fetch_add(&came, 1, __ATOMIC_SEQ_CST);
}

static void set_handler(int signo, int flags)
{
	struct sigaction sa = { .sa_handler = count, .sa_flags = flags | SA_RESTART };

	CHECK_EQ(sigaction(signo, &sa, NULL), 0);
}

static void ignore(int signo)
{
	struct sigaction sa = { .sa_handler = SIG_IGN };

	CHECK_EQ(sigaction(signo, &sa, NULL), 0);
}

/* ---- goroutines at work ---------------------------------------------------------------------- */

static uint64_t sums; /* atomic */

/* What lies on the stack, in registers and in a channel must come back as it was. */
static void leaf(void *arg)
{
	volatile uint64_t local[64];
	double x = (double)(uintptr_t)arg;
	uint64_t sum = 0;

	for (uint64_t i = 0; i < 64; i++)
		local[i] = i * (uintptr_t)arg;
	for (int i = 0; i < 3; i++) {
		gort_yield();
		x = x * 2 + 1;
	}
	for (uint64_t i = 0; i < 64; i++)
		sum += local[i];
	CHECK(x == 8 * (double)(uintptr_t)arg + 7);
	__atomic_fetch_add(&sums, sum, __ATOMIC_SEQ_CST);
}

static void echo(void *arg)
{
	gort_chan **c = arg;
	uint64_t n;

	while (gort_chan_recv(c[0], &n) == 0) {
		n++;
		CHECK_EQ(gort_chan_send(c[1], &n), 0);
	}
}

static void talk(gort_chan **c, uint64_t rounds)
{
	for (uint64_t i = 0; i < rounds; i++) {
		uint64_t n = i;

		CHECK_EQ(gort_chan_send(c[0], &n), 0);
		CHECK_EQ(gort_chan_recv(c[1], &n), 0);
		CHECK_EQ(n, i + 1);
	}
}

/* Switches, starts, ends, sleeps. */
static void work_for_a_round(void)
{
	gort_chan *c[2] = { gort_chan_make(8, 0), gort_chan_make(8, 1) };
	gort_waitgroup all = { 0 };
	uint64_t before = __atomic_load_n(&sums, __ATOMIC_SEQ_CST), expected = 0;

	CHECK_EQ(gort_waitgroup_go(&all, echo, c), 0);
	for (uintptr_t i = 0; i < 100; i++) {
		CHECK_EQ(gort_waitgroup_go(&all, leaf, (void *)i), 0);
		expected += i * 64 * 63 / 2;
	}
	talk(c, 200);
	CHECK_EQ(gort_sleep(10 * GORT_US), 0);
	gort_chan_close(c[0]);
	CHECK_EQ(gort_waitgroup_wait(&all), 0);
	CHECK_EQ(__atomic_load_n(&sums, __ATOMIC_SEQ_CST) - before, expected);
	gort_chan_release(c[0]);
	gort_chan_release(c[1]);
}

/* Until so many signals have come. */
static void work_until(uint32_t many)
{
	__atomic_store_n(&came, 0, __ATOMIC_SEQ_CST);
	do {
		work_for_a_round();
	} while (__atomic_load_n(&came, __ATOMIC_SEQ_CST) < many);
}

// variants: maxprocs
// not: tsan
TEST(handlers_on_the_alternate_stack_disturb_nothing)
{
	timer_t timer;

	set_handler(SIGPROF, SA_ONSTACK);
	timer = every_100_us(SIGPROF);
	work_until(SCALE(5000));
	CHECK_EQ(timer_delete(timer), 0);
	ignore(SIGPROF);
}

// variants: maxprocs
// not: tsan
TEST(handlers_on_goroutines_stacks_disturb_nothing)
{
	timer_t timer;

	set_handler(SIGPROF, 0);
	timer = every_100_us(SIGPROF);
	work_until(SCALE(5000));
	CHECK_EQ(timer_delete(timer), 0);
	ignore(SIGPROF);
}

static void count_deliveries(void *arg)
{
	gort_chan *c = arg;

	while (gort_chan_recv(c, NULL) == 0)
		__atomic_fetch_add(&came, 1, __ATOMIC_SEQ_CST);
}

// variants: maxprocs
// not: tsan
TEST(watched_storms_disturb_nothing)
{
	static const int signals[] = { SIGALRM, SIGUSR1 };
	gort_chan *c = gort_chan_make(sizeof(int), 4);
	timer_t timers[2];

	CHECK_EQ(gort_go(count_deliveries, c), 0);
	for (int i = 0; i < 2; i++) {
		ignore(signals[i]);
		CHECK_EQ(gort_signal_notify(c, signals[i]), 0);
		timers[i] = every_100_us(signals[i]);
	}
	work_until(SCALE(3000));
	CHECK_EQ(gort_signal_stop(c), 0); /* they still come */
	gort_chan_close(c);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(timer_delete(timers[i]), 0);
	EVENTUALLY(gort_count() == 1);
	gort_chan_release(c);
}

/* ---- the whole process stops and goes on ----------------------------------------------------- */

/* In a forked child, which may not call gort. */
static void stop_and_continue(pid_t parent, int times)
{
	const struct timespec bit = { 0, 2000000 };

	for (int i = 0; i < times; i++) {
		if (kill(parent, SIGSTOP) < 0)
			_exit(1);
		nanosleep(&bit, NULL);
		if (kill(parent, SIGCONT) < 0)
			_exit(1);
		nanosleep(&bit, NULL);
	}
	_exit(0);
}

static void sleep_on(void *arg)
{
	const uint32_t *over = arg;
	int64_t before;

	while (!__atomic_load_n(over, __ATOMIC_SEQ_CST)) {
		before = gort_now();
		CHECK_EQ(gort_sleep(500 * GORT_US), 0);
		CHECK(gort_now() >= before + 500 * GORT_US);
	}
}

// variants: maxprocs
TEST(a_process_that_is_stopped_goes_on)
{
	gort_waitgroup sleepers = { 0 };
	uint32_t over = 0;
	pid_t pid, parent = getpid(), ended;
	int status;

	for (int i = 0; i < 20; i++)
		CHECK_EQ(gort_waitgroup_go(&sleepers, sleep_on, &over), 0);
	pid = fork();
	if (pid == 0)
		stop_and_continue(parent, SCALE(100));
	CHECK(pid > 0);
	while ((ended = waitpid(pid, &status, WNOHANG)) == 0)
		work_for_a_round();
	CHECK_EQ(ended, pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	__atomic_store_n(&over, 1, __ATOMIC_SEQ_CST);
	CHECK_EQ(gort_waitgroup_wait(&sleepers), 0);
}
