/*
 * deadlock.c - all goroutines wait and nobody is left who could wake one; and what only looks so.
 */
#include "harness.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static const gort_options returns = { .on_deadlock = GORT_DEADLOCK_RETURN };

static int wait_for_ever(void *arg)
{
	return gort_chan_recv(arg, NULL);
}

// TSan has a thread of its own, which it starts late: it might be anybody's.
// not: tsan
TEST_PLAIN(deadlock_can_be_returned_and_the_runtime_starts_again)
{
	gort_chan *c = gort_chan_make(0, 0);

	for (int i = 0; i < 3; i++)
		CHECK_EQ(gort_run(wait_for_ever, c, &returns), -EDEADLK);
	gort_chan_release(c);
}

// not: tsan
TEST_PLAIN(deadlock_exits_with_2_and_a_dump)
{
	char text[4096];
	int to[2], status = 0;
	ssize_t n, size = 0;
	pid_t child;

	CHECK_EQ(pipe(to), 0);
	child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		dup2(to[1], STDERR_FILENO);
		close(to[1]);
		gort_run(wait_for_ever, gort_chan_make(0, 0), NULL);
		_exit(0);
	}
	close(to[1]);
	while ((n = read(to[0], text, sizeof text)) > 0)
		size += n;
	close(to[0]);
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK(WIFEXITED(status));
	CHECK_EQ(WEXITSTATUS(status), 2);
	CHECK(size > 0);
}

static void wake(void *c)
{
	usleep(1500000); /* longer than it takes to notice a deadlock */
	CHECK_EQ(gort_chan_close(c), 0);
}

// not: tsan
TEST_PLAIN(living_guest_is_no_deadlock)
{
	gort_chan *c = gort_chan_make(0, 0);
	struct guest *g = guest_start(wake, c);

	CHECK_EQ(gort_run(wait_for_ever, c, &returns), -EPIPE);
	guest_join(g);
	CHECK_EQ(gort_run(wait_for_ever, NULL, &returns), -EDEADLK); /* it has ended */
	gort_chan_release(c);
}

static void watch_for_a_while(void *c)
{
	CHECK_EQ(gort_signal_notify(c, SIGUSR1), 0);
	usleep(1500000); /* sysmon sleeps for good by then */
	CHECK_EQ(gort_signal_stop(c), 0);
}

static gort_chan *signals;
static struct guest *watching;

static int wait_beside_a_watch(void *arg)
{
	watching = guest_start(watch_for_a_while, signals);
	return gort_chan_recv(arg, NULL);
}

// not: tsan
TEST_PLAIN(deadlock_after_the_last_watch_has_ended)
{
	gort_chan *c = gort_chan_make(0, 0);

	signals = gort_chan_make(sizeof(int), 1);
	CHECK_EQ(gort_run(wait_beside_a_watch, c, &returns), -EDEADLK);
	guest_join(watching);
	gort_chan_release(signals);
	gort_chan_release(c);
}

/* Threads that end and start others, each waking the next: one is always alive. */
static gort_waitgroup *turn;

static void end_soon(void *arg)
{
	(void)arg;
	usleep(60000);
	gort_waitgroup_done(turn);
}

static int wait_for_one_after_another(void *arg)
{
	(void)arg;
	for (int i = 0; i < SCALE(40); i++) {
		gort_waitgroup once = { 0 };
		struct guest *g;

		gort_waitgroup_add(&once, 1);
		turn = &once;
		g = guest_start(end_soon, NULL);
		CHECK_EQ(gort_waitgroup_wait(&once), 0);
		guest_join(g);
	}
	return 7;
}

// not: tsan
TEST_PLAIN(guests_one_after_another_are_no_deadlock)
{
	CHECK_EQ(gort_run(wait_for_one_after_another, NULL, &returns), 7);
}
