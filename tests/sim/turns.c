/*
 * turns.c - whoever may run gets its turn: in whatever queue it stands, whatever keeps the others full.
 *
 * As tests/turns.c, but each schedule chooses who loads, who waits, and how long a turn takes: there
 * must be no rhythm of turns and of sysmon's looks in which somebody never comes. Loads go on until all who
 * wait have had their turns; where one never has there is no progress.
 */
#include "os/os.h"
#include "sim.h"

enum { ROUNDS = 3, MEMBER_ROUNDS = 30, GUEST_MOST = 4 };

static bool done;
static int64_t turn_takes;
static gort_waitgroup loads, waiters;

static bool is_done(void)
{
	return __atomic_load_n(&done, __ATOMIC_RELAXED);
}

/* The explorer must let others run at times. */
static void work(void)
{
	compute(turn_takes);
	os_yield_thread();
}

/* ---- what keeps others waiting --------------------------------------------------------------- */

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
	if (is_done())
		return;
	check_eq(gort_waitgroup_go(&loads, backlog, NULL), 0);
	for (int i = 0; i < MEMBER_ROUNDS && !is_done(); i++)
		check_eq(gort_join(gort_spawn(job, NULL, NULL), NULL), 0);
}

static void return_balls(void *arg)
{
	gort_chan *ball = arg;

	while (gort_chan_recv(ball, NULL) == 0) {
		work();
		check_eq(gort_chan_send(ball, NULL), 0);
	}
	gort_chan_release(ball);
}

/* runnext. */
static void talkers(void *arg)
{
	gort_chan *ball = gort_chan_make(0, 0);

	(void)arg;
	check_eq(gort_waitgroup_go(&loads, return_balls, ball), 0);
	while (!is_done()) {
		check_eq(gort_chan_send(ball, NULL), 0);
		work();
		check_eq(gort_chan_recv(ball, NULL), 0);
	}
	check_eq(gort_chan_close(ball), 0);
}

/* The ring. */
static void yielder(void *arg)
{
	(void)arg;
	while (!is_done()) {
		work();
		gort_yield();
	}
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
	while (!is_done()) {
		gort_blocking(return_at_once, NULL);
		work();
	}
}

/* Those who have had their slice. Where the kernel does not say who sleeps, they are preempted only if they
 * get a processor most of the time. */
static void computer(void *arg)
{
	bool gives_way = os_thread_asleep(os_thread_id()) < 0;

	(void)arg;
	while (!is_done()) {
		work();
		if (gives_way)
			gort_yield();
	}
}

/* The global queue: filled by a plain thread. */
static int from_guest;

static void given_by_guest(void *arg)
{
	(void)arg;
	work();
	__atomic_sub_fetch(&from_guest, 1, __ATOMIC_RELAXED);
}

static void give(void *arg)
{
	(void)arg;
	while (!is_done()) {
		if (__atomic_load_n(&from_guest, __ATOMIC_RELAXED) >= GUEST_MOST) {
			thread_sleep(turn_takes);
		} else {
			__atomic_add_fetch(&from_guest, 1, __ATOMIC_RELAXED);
			check_eq(gort_waitgroup_go(&loads, given_by_guest, NULL), 0);
		}
	}
	gort_waitgroup_done(&loads);
}

/* ---- who waits ------------------------------------------------------------------------------- */

static void by_yield(void)
{
	gort_yield();
}

static void by_spawn(void)
{
	check_eq(gort_join(gort_spawn(return_at_once, NULL, NULL), NULL), 0);
}

static void by_sleep(void)
{
	check_eq(gort_sleep((int64_t)pick(3) * GORT_MS), 0);
}

static void by_blocking(void)
{
	gort_blocking(return_at_once, NULL);
}

static void by_retaken_call(void)
{
	thread_sleep((int64_t)pick(3) * GORT_MS);
}

static void by_slice(void)
{
	for (unsigned i = pick(8); i > 0; i--) {
		compute(GORT_MS);
		os_yield_thread();
	}
}

static gort_chan *asks;

/* A plain thread wakes it. */
static void by_guest(void)
{
	check_eq(gort_chan_send(asks, NULL), 0);
	check_eq(gort_chan_recv(asks, NULL), 0);
}

static void answer(void *arg)
{
	(void)arg;
	while (gort_chan_recv(asks, NULL) == 0) {
		thread_sleep((int64_t)pick(2000) * GORT_US);
		check_eq(gort_chan_send(asks, NULL), 0);
	}
}

static void (*const ways[])(void) = { by_yield,        by_spawn, by_sleep, by_blocking,
				      by_retaken_call, by_slice, by_guest };
enum { WAYS = sizeof ways / sizeof ways[0] };

static void waiter(void *arg)
{
	for (int i = 0; i < ROUNDS; i++)
		ways[(uintptr_t)arg]();
}

/* ---- some of them beside each load ----------------------------------------------------------- */

/* One for each P. The last is the global queue's. */
static const gort_func kinds[] = { backlog, talkers, yielder, blocker, computer, NULL };
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static struct guest_thread *load(unsigned kind)
{
	for (int i = gort_maxprocs(0); kinds[kind] && i > 0; i--)
		check_eq(gort_waitgroup_go(&loads, kinds[kind], NULL), 0);
	if (kinds[kind])
		return NULL;
	gort_waitgroup_add(&loads, 1);
	return guest_start(give, NULL);
}

static void waiters_beside(unsigned which)
{
	static const int64_t takes[] = { 20 * GORT_US, 300 * GORT_US, GORT_MS, 3 * GORT_MS,
					 12 * GORT_MS };
	struct guest_thread *t[KINDS], *answers;
	unsigned who = pick(3) ? 1u << pick(WAYS) : pick(1u << WAYS);

	turn_takes = takes[pick(5)];
	if (gort_maxprocs(0) > 2)
		gort_maxprocs(1 + (int)pick(2));
	asks = gort_chan_make(0, 0);
	answers = guest_start(answer, NULL);
	for (unsigned i = 0; i < KINDS; i++)
		t[i] = which >> i & 1 ? load(i) : NULL;
	for (uintptr_t i = 0; i < WAYS; i++)
		if (who >> i & 1)
			check_eq(gort_waitgroup_go(&waiters, waiter, (void *)i), 0);
	check_eq(gort_waitgroup_wait(&waiters), 0);
	__atomic_store_n(&done, true, __ATOMIC_RELAXED);
	check_eq(gort_waitgroup_wait(&loads), 0);
	check_eq(gort_chan_close(asks), 0);
	guest_join(answers);
	for (unsigned i = 0; i < KINDS; i++)
		if (t[i])
			guest_join(t[i]);
	gort_chan_release(asks);
}

SCENARIO(turns, "all get their turns beside goroutines that keep one queue full")
{
	waiters_beside(1u << pick(KINDS));
}

SCENARIO(turns_beside_many, "all get their turns beside goroutines that keep some queues full")
{
	waiters_beside(pick(1u << KINDS));
}
