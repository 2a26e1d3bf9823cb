/*
 * turns.c - whoever may run gets its turn: in whatever queue it stands, whatever keeps the others full.
 *
 * Loads each keep one queue of the only P full, for as long as it takes, at about a millisecond a pick: that
 * is too slow for the P to look around by itself before sysmon calls it. Waiters come to their queue
 * again and again. A load that kept a queue away would never end: the runner's limit is what fails then.
 */
#include "hogs.h"

#include <unistd.h>

enum { ROUNDS = 5, MEMBER_ROUNDS = 30, GUEST_MOST = 10, YIELDERS = 300 };

static atomic_bool done;
static gort_waitgroup loads, waiters;
static atomic_int from_guest;

static void work(void)
{
	burn(GORT_MS);
}

/* ---- what keeps others waiting */

static int job(void *arg)
{
	(void)arg;
	work();
	return 0;
}

/* The deque: the next member stays there while this one's jobs come and go on top of it. */
static void backlog(void *arg)
{
	(void)arg;
	if (atomic_load(&done))
		return;
	CHECK_EQ(gort_waitgroup_go(&loads, backlog, NULL), 0);
	for (int i = 0; i < MEMBER_ROUNDS && !atomic_load(&done); i++)
		CHECK_EQ(gort_join(gort_spawn(job, NULL, NULL), NULL), 0);
}

static void return_balls(void *arg)
{
	gort_chan *ball = arg;

	while (gort_chan_recv(ball, NULL) == 0) {
		work();
		CHECK_EQ(gort_chan_send(ball, NULL), 0);
	}
	gort_chan_release(ball);
}

/* runnext. */
static void talkers(void *arg)
{
	gort_chan *ball = gort_chan_make(0, 0);

	(void)arg;
	CHECK_EQ(gort_waitgroup_go(&loads, return_balls, ball), 0);
	while (!atomic_load(&done)) {
		CHECK_EQ(gort_chan_send(ball, NULL), 0);
		work();
		CHECK_EQ(gort_chan_recv(ball, NULL), 0);
	}
	CHECK_EQ(gort_chan_close(ball), 0);
}

/* The ring. */
static void yielder(void *arg)
{
	(void)arg;
	while (!atomic_load(&done)) {
		work();
		gort_yield();
	}
}

/* The ring, and more than it holds. */
static void light_yielder(void *arg)
{
	(void)arg;
	while (!atomic_load(&done))
		gort_yield();
}

static void yielders(void *arg)
{
	for (int i = 0; i < YIELDERS; i++)
		CHECK_EQ(gort_waitgroup_go(&loads, light_yielder, arg), 0);
}

static int return_at_once(void *arg)
{
	(void)arg;
	return 0;
}

/* Those who are back from the kernel. */
static void blocker(void *arg)
{
	(void)arg;
	while (!atomic_load(&done)) {
		gort_blocking(return_at_once, NULL);
		work();
	}
}

/* Both, and the P looks around at each pick. */
static void yielding_blocker(void *arg)
{
	(void)arg;
	while (!atomic_load(&done)) {
		work();
		gort_yield();
		gort_blocking(return_at_once, NULL);
	}
}

/* Those who have had their slice. */
static void computer(void *arg)
{
	(void)arg;
	while (!atomic_load(&done))
		work();
}

static int sleep_a_while(void *arg)
{
	(void)arg;
	return usleep(1000);
}

static void sleeper(void *arg)
{
	(void)arg;
	while (!atomic_load(&done))
		gort_blocking(sleep_a_while, NULL);
}

/* Those that only one thread may run. */
static void locked_yielder(void *arg)
{
	gort_lock_thread();
	yielder(arg);
	gort_unlock_thread();
}

static void locked_sleeper(void *arg)
{
	gort_lock_thread();
	sleeper(arg);
	gort_unlock_thread();
}

static void given_by_guest(void *arg)
{
	(void)arg;
	work();
	atomic_fetch_sub(&from_guest, 1);
}

/* By a plain thread. */
static void give(void *arg)
{
	(void)arg;
	while (!atomic_load(&done)) {
		while (atomic_load(&from_guest) >= GUEST_MOST && !atomic_load(&done))
			usleep(100);
		atomic_fetch_add(&from_guest, 1);
		CHECK_EQ(gort_waitgroup_go(&loads, given_by_guest, NULL), 0);
	}
}

/* The global queue. */
static void giver(void *arg)
{
	struct guest *g = guest_start(give, arg);

	while (!atomic_load(&done))
		CHECK_EQ(gort_sleep(GORT_MS), 0);
	guest_join(g);
}

/* ---- who waits */

static void by_yield(int i)
{
	(void)i;
	gort_yield();
}

static void by_spawn(int i)
{
	(void)i;
	CHECK_EQ(gort_join(gort_spawn(return_at_once, NULL, NULL), NULL), 0);
}

static void by_sleep(int i)
{
	CHECK_EQ(gort_sleep(i * GORT_MS), 0);
}

static void by_blocking(int i)
{
	(void)i;
	gort_blocking(return_at_once, NULL);
}

static void by_retaken_call(int i)
{
	CHECK_EQ(usleep((useconds_t)i * 1000), 0);
}

static void by_slice(int i)
{
	burn(i * 3 * GORT_MS);
}

static void send_once(void *arg)
{
	gort_yield();
	CHECK_EQ(gort_chan_send(arg, NULL), 0);
	gort_chan_release(arg);
}

/* runnext. */
static void by_goroutine(int i)
{
	gort_chan *c = gort_chan_make(0, 0);

	(void)i;
	CHECK_EQ(gort_go(send_once, gort_chan_retain(c)), 0);
	CHECK_EQ(gort_chan_recv(c, NULL), 0);
	gort_chan_release(c);
}

static gort_chan *asks;

/* A plain thread wakes it. */
static void by_guest(int i)
{
	CHECK_EQ(gort_chan_send(asks, &i), 0);
	CHECK_EQ(gort_chan_recv(asks, NULL), 0);
}

static void answer(void *arg)
{
	int i;

	(void)arg;
	while (gort_chan_recv(asks, &i) == 0) {
		usleep(1000);
		CHECK_EQ(gort_chan_send(asks, &i), 0);
	}
}

static void (*const ways[])(int) = { by_yield,        by_spawn, by_sleep,     by_blocking,
				     by_retaken_call, by_slice, by_goroutine, by_guest };
enum { WAYS = sizeof ways / sizeof ways[0] };

static void waiter(void *arg)
{
	for (int i = 1; i <= ROUNDS; i++)
		ways[(uintptr_t)arg](i);
}

/* ---- all of them beside each load */

/* One for each P, until the waiters have had their rounds. */
static void waiters_beside(const gort_func *fns)
{
	struct guest *answers;

	asks = gort_chan_make(sizeof(int), 0);
	answers = guest_start(answer, NULL);
	for (; *fns; fns++)
		for (int i = gort_maxprocs(0); i > 0; i--)
			CHECK_EQ(gort_waitgroup_go(&loads, *fns, NULL), 0);
	for (uintptr_t i = 0; i < WAYS; i++)
		CHECK_EQ(gort_waitgroup_go(&waiters, waiter, (void *)i), 0);
	CHECK_EQ(gort_waitgroup_wait(&waiters), 0);
	atomic_store(&done, true);
	CHECK_EQ(gort_waitgroup_wait(&loads), 0);
	CHECK_EQ(gort_chan_close(asks), 0);
	guest_join(answers);
	gort_chan_release(asks);
}

// variants: maxprocs
TEST(all_get_on_beside_a_backlog)
{
	waiters_beside((const gort_func[]){ backlog, NULL });
}

// variants: maxprocs
TEST(all_get_on_beside_talkers)
{
	waiters_beside((const gort_func[]){ talkers, NULL });
}

// variants: maxprocs
TEST(all_get_on_beside_yielders)
{
	waiters_beside((const gort_func[]){ yielder, yielder, NULL });
}

// variants: maxprocs
TEST(all_get_on_beside_hundreds_of_yielders)
{
	waiters_beside((const gort_func[]){ yielders, NULL });
}

// variants: maxprocs
TEST(all_get_on_beside_blockers_that_yield)
{
	waiters_beside((const gort_func[]){ yielding_blocker, yielding_blocker, yielding_blocker,
					    yielding_blocker, NULL });
}

// variants: maxprocs
TEST(all_get_on_beside_locked_ones)
{
	waiters_beside((const gort_func[]){ locked_yielder, locked_yielder, locked_sleeper, NULL });
}

// variants: maxprocs
TEST(all_get_on_beside_blockers)
{
	waiters_beside((const gort_func[]){ blocker, blocker, blocker, NULL });
}

// variants: maxprocs
TEST(all_get_on_beside_computers)
{
	waiters_beside((const gort_func[]){ computer, computer, NULL });
}

// variants: maxprocs
TEST(all_get_on_beside_guests_that_spawn)
{
	waiters_beside((const gort_func[]){ giver, NULL });
}

/* The global queue and runnext are never empty: the ring is between them. */
// variants: maxprocs
TEST(all_get_on_beside_talkers_and_guests_that_spawn)
{
	waiters_beside((const gort_func[]){ talkers, giver, NULL });
}

// variants: maxprocs
TEST(all_get_on_beside_all_of_them)
{
	waiters_beside(
		(const gort_func[]){ backlog, talkers, yielder, blocker, computer, giver, NULL });
}

/* ---- where no more threads can be had */

static int waiters_beside_some(void *fns)
{
	waiters_beside(fns);
	return 0;
}

static void with_few_threads(int most, gort_func *fns)
{
	atomic_store(&done, false);
	CHECK_EQ(gort_run(waiters_beside_some, fns,
			  &(gort_options){ .maxprocs = 1, .max_threads = most }),
		 0);
}

TEST_PLAIN(all_get_on_beside_locked_ones_where_no_thread_can_be_had)
{
	with_few_threads(5, (gort_func[]){ locked_yielder, computer, computer, NULL });
}

static atomic_long steps;

static int count_steps(void *arg)
{
	(void)arg;
	while (!atomic_load(&done))
		atomic_fetch_add(&steps, 1);
	return 0;
}

static int compute_by_switch(void *arg)
{
	computer(arg);
	return 0;
}

static int see_steps(void *arg)
{
	long seen;

	(void)arg;
	usleep(20000); /* its P has gone by then to whom it may go */
	seen = atomic_load(&steps);
	while (atomic_load(&steps) == seen)
		usleep(100);
	return 0;
}

static int block_beside_computers(void *arg)
{
	gort_task *stays = gort_spawn(count_steps, NULL, NULL);
	gort_task *leaves =
		gort_spawn(compute_by_switch, NULL, &(gort_attr){ .preempt = GORT_PREEMPT_SWITCH });

	(void)arg;
	for (int i = 0; i < ROUNDS; i++) {
		CHECK_EQ(gort_sleep(30 * GORT_MS), 0);
		gort_blocking(see_steps, NULL);
	}
	atomic_store(&done, true);
	CHECK_EQ(gort_join(stays, NULL), 0);
	CHECK_EQ(gort_join(leaves, NULL), 0);
	return 0;
}

/* One that was stopped on its thread goes on there by itself, behind whomever it stands in the queue. */
// not: asan tsan valgrind
TEST_PLAIN(stopped_threads_go_on_where_no_thread_can_be_had)
{
	for (int most = 3; most < 5; most++) {
		atomic_store(&done, false);
		CHECK_EQ(gort_run(block_beside_computers, NULL,
				  &(gort_options){ .maxprocs = 1, .max_threads = most }),
			 0);
	}
}
