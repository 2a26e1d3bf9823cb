/*
 * runtime.c - start and end, GOMAXPROCS, plain threads, timers, memory that runs out.
 */
#include "sim.h"

#include <errno.h>

/* ---- GOMAXPROCS ------------------------------------------------------------------------------ */

static unsigned turns;

static void take_turns(void *arg)
{
	(void)arg;
	for (int i = 0; i < 8; i++) {
		__atomic_add_fetch(&turns, 1, __ATOMIC_RELAXED);
		if (pick(4) == 0)
			gort_sleep((int64_t)pick(20) * GORT_US);
		else
			gort_yield();
	}
}

SCENARIO(maxprocs, "GOMAXPROCS goes up and down while goroutines run: all get on")
{
	gort_waitgroup all = { 0 };

	for (int i = 0; i < 4; i++)
		check_eq(gort_waitgroup_go(&all, take_turns, NULL), 0);
	for (int i = 0; i < 4; i++) {
		int n = 1 + (int)pick(4);

		check(gort_maxprocs(n) >= 1);
		check_eq(gort_maxprocs(0), n);
		if (pick(2))
			gort_yield();
	}
	gort_waitgroup_wait(&all);
	check_eq(turns, 32);
}

static void change_procs(void *arg)
{
	(void)arg;
	for (int i = 0; i < 3; i++)
		gort_maxprocs(1 + (int)pick(3));
}

SCENARIO(maxprocs_by_many, "several change GOMAXPROCS at once, a plain thread among them")
{
	gort_waitgroup all = { 0 };
	struct guest_thread *t = guest_start(change_procs, NULL);

	for (int i = 0; i < 2; i++) {
		check_eq(gort_waitgroup_go(&all, change_procs, NULL), 0);
		check_eq(gort_waitgroup_go(&all, take_turns, NULL), 0);
	}
	gort_waitgroup_wait(&all);
	guest_join(t);
	check_eq(turns, 16);
}

/* ---- plain threads --------------------------------------------------------------------------- */

static struct {
	gort_chan *to, *from;
} line;

static void guest_talks(void *arg)
{
	int n;

	(void)arg;
	for (int i = 0; i < 4; i++) {
		check_eq(gort_chan_send(line.to, &i), 0);
		check_eq(gort_chan_recv(line.from, &n), 0);
		check_eq(n, i + 1);
	}
}

SCENARIO(guest_channels, "a plain thread and a goroutine talk over channels")
{
	struct guest_thread *t;
	int n;

	line.to = gort_chan_make(sizeof(int), pick(2));
	line.from = gort_chan_make(sizeof(int), 0);
	t = guest_start(guest_talks, NULL);
	for (int i = 0; i < 4; i++) {
		check_eq(gort_chan_recv(line.to, &n), 0);
		n++;
		check_eq(gort_chan_send(line.from, &n), 0);
	}
	guest_join(t);
	gort_chan_release(line.to);
	gort_chan_release(line.from);
}

static void done(void *group)
{
	gort_waitgroup_done(group);
}

static void guest_makes(void *group)
{
	for (int i = 0; i < 4; i++) {
		check_eq(gort_go(done, group), 0);
		if (pick(2))
			thread_sleep((int64_t)pick(100) * GORT_US);
	}
}

SCENARIO(guest_spawns, "a plain thread makes goroutines while the Ps go idle: all run")
{
	gort_waitgroup all = { 0 };
	struct guest_thread *t;

	gort_waitgroup_add(&all, 4);
	t = guest_start(guest_makes, &all);
	gort_waitgroup_wait(&all);
	guest_join(t);
}

static void done_later(void *group)
{
	thread_sleep(50 * GORT_MS + (int64_t)pick(20) * GORT_US); /* sysmon looks, and asks */
	gort_waitgroup_done(group);
}

SCENARIO(guest_after_guest, "main waits for one plain thread after another: no deadlock")
{
	for (int i = 0; i < 4; i++) {
		gort_waitgroup all = { 0 };
		struct guest_thread *t;

		gort_waitgroup_add(&all, 1);
		t = guest_start(done_later, &all);
		gort_waitgroup_wait(&all);
		guest_join(t);
	}
}

static void guest_waits(void *c)
{
	int n, err = gort_chan_recv_until(c, &n, gort_in((int64_t)pick(50) * GORT_US));

	check(err == 0 || err == -ETIMEDOUT);
	if (err == 0)
		turns++;
}

SCENARIO(guest_deadlines, "a plain thread's wait runs out while somebody sends")
{
	gort_chan *c = gort_chan_make(sizeof(int), 0);
	struct guest_thread *t = guest_start(guest_waits, c);
	int n = 1, err;

	gort_sleep((int64_t)pick(50) * GORT_US);
	err = gort_chan_send_until(c, &n, gort_in((int64_t)pick(50) * GORT_US));
	guest_join(t);
	check_eq(turns, err == 0);
	gort_chan_release(c);
}

/* ---- timers ---------------------------------------------------------------------------------- */

static void set(void *word)
{
	__atomic_store_n((uint32_t *)word, 1, __ATOMIC_RELEASE);
	thread_wake(word);
}

static void sleep_and_look(void *arg)
{
	int64_t until = gort_in((int64_t)(1 + pick(50)) * 10 * GORT_US);

	(void)arg;
	check_eq(gort_sleep_until(until), 0);
	check(gort_now() >= until);
}

SCENARIO(sleepers, "sleeps end, none too early")
{
	gort_waitgroup all = { 0 };

	for (int i = 0; i < 6; i++)
		check_eq(gort_waitgroup_go(&all, sleep_and_look, NULL), 0);
	gort_waitgroup_wait(&all);
}

static void sleep_long_ago(void *arg)
{
	(void)arg;
	gort_sleep(100 * GORT_US);
	__atomic_add_fetch(&turns, 1, __ATOMIC_RELAXED);
}

SCENARIO(timer_under_hog,
	 "a timer comes due at a P whose goroutine never gives way: another runs it")
{
	if (threads_may_fail() || gort_maxprocs(0) < 2)
		return;
	check_eq(gort_go(sleep_long_ago, NULL), 0);
	gort_yield();
	while (!__atomic_load_n(&turns, __ATOMIC_RELAXED))
		compute(50 * GORT_US);
}

static void sleep_then_set(void *word)
{
	gort_sleep((int64_t)(1 + pick(400)) * 10 * GORT_US);
	set(word);
}

SCENARIO(timer_held_up,
	 "a timer comes due at a P whose thread is held up until then: another runs it")
{
	uint32_t word;

	if (threads_may_fail())
		return;
	if (gort_maxprocs(0) < 2)
		gort_maxprocs(2);
	for (int i = 0; i < 3; i++) {
		word = 0;
		for (unsigned n = pick(2) * pick(80); n > 0; n--)
			compute(40 * GORT_US);
		check_eq(gort_go(sleep_then_set, &word), 0);
		gort_yield();
		thread_wait(&word, 0);
	}
}

static void wait_for_set(void *word)
{
	thread_wait(word, 0);
}

struct hold {
	uint32_t word;
	gort_waitgroup held;
};

static void guest_holds_up(void *arg)
{
	struct hold *h = arg;

	thread_sleep((int64_t)pick(300) * GORT_US);
	check_eq(gort_waitgroup_go(&h->held, wait_for_set, &h->word), 0);
}

SCENARIO(timer_poller_leaves,
	 "who slept until a timer is called away, and held up: another runs it")
{
	struct hold h = { 0 };
	struct guest_thread *t;

	if (threads_may_fail())
		return;
	gort_maxprocs(3);
	check_eq(gort_go(sleep_then_set, &h.word), 0);
	gort_yield();
	t = guest_start(guest_holds_up, &h);
	thread_wait(&h.word, 0);
	guest_join(t);
	gort_waitgroup_wait(&h.held);
}

/* ---- start and end --------------------------------------------------------------------------- */

static int return_arg(void *arg)
{
	return (int)(uintptr_t)arg;
}

SCENARIO_PLAIN(run_again, "gort_run again and again: nothing is left in between")
{
	gort_options o = sim_options();

	for (int i = 0; i < 3; i++) {
		int got = gort_run(return_arg, (void *)5, &o);

		check(got == 5 || (got == -EAGAIN && threads_may_fail()));
	}
}

static gort_chan *never;

static void wait_for_ever(void *arg)
{
	(void)arg;
	for (;;)
		gort_chan_recv(never, NULL);
}

static void run_for_ever(void *arg)
{
	(void)arg;
	for (;;)
		gort_yield();
}

static void sleep_for_ever(void *arg)
{
	(void)arg;
	gort_sleep_until(GORT_FOREVER - 1);
}

static int leave_many(void *arg)
{
	(void)arg;
	for (int i = 0; i < 2; i++) {
		check_eq(gort_go(wait_for_ever, NULL), 0);
		check_eq(gort_go(run_for_ever, NULL), 0);
		check_eq(gort_go(sleep_for_ever, NULL), 0);
	}
	for (unsigned i = pick(4); i > 0; i--)
		gort_yield();
	return 0;
}

SCENARIO_PLAIN(end_with_many, "main returns while others wait, sleep and run: they are dropped")
{
	gort_options o = sim_options();

	never = gort_chan_make(0, 0);
	for (int i = 0; i < 2; i++) {
		int got = gort_run(leave_many, NULL, &o);

		check(got == 0 || (got == -EAGAIN && threads_may_fail()));
	}
	check_eq(gort_chan_try_send(never, NULL), -EAGAIN); /* their waits are withdrawn */
	gort_chan_release(never);
}

SCENARIO_PLAIN(start_stop, "a plain thread starts the runtime, makes goroutines, stops it")
{
	gort_options o = sim_options();
	uint32_t word = 0;
	int err = gort_start(&o);

	if (err == -EAGAIN && threads_may_fail())
		return;
	check_eq(err, 0);
	check_eq(gort_go(set, &word), 0);
	thread_wait(&word, 0);
	check_eq(gort_stop(), 0);
	check_eq(gort_stop(), -ESRCH);
}

static void start_and_stop(void *arg)
{
	gort_options o = sim_options();
	int err = gort_start(&o);

	(void)arg;
	if (err == -EAGAIN && threads_may_fail())
		return;
	check_eq(err, 0);
	gort_yield();
	check_eq(gort_stop(), 0);
}

SCENARIO_PLAIN(start_by_many, "several threads start and stop it at once: counted")
{
	struct guest_thread *t[3];

	for (int i = 0; i < 3; i++)
		t[i] = guest_start(start_and_stop, NULL);
	for (int i = 0; i < 3; i++)
		guest_join(t[i]);
}

static void guest_calls(void *arg)
{
	int err;

	(void)arg;
	for (int i = 0; i < 3; i++) {
		err = gort_go(take_turns, NULL);
		check(err == 0 || err == -ESRCH);
		gort_chan_try_send(never, NULL);
	}
}

SCENARIO_PLAIN(guest_at_the_end, "a plain thread calls while the runtime starts and ends")
{
	gort_options o = sim_options();
	struct guest_thread *t;
	int got;

	never = gort_chan_make(0, 0);
	t = guest_start(guest_calls, NULL);
	got = gort_run(leave_many, NULL, &o);
	check(got == 0 || (got == -EAGAIN && threads_may_fail()));
	guest_join(t);
	gort_chan_release(never);
}

/* One that runs longer than the end waits is left alone; it stops at its next call. */
static void compute_long(void *arg)
{
	__atomic_store_n((uint32_t *)arg, 1, __ATOMIC_RELEASE);
	for (int i = 0; i < 130; i++)
		compute(10 * GORT_MS);
	gort_yield();
}

static uint32_t computes;

static int leave_one_computing(void *arg)
{
	(void)arg;
	check_eq(gort_go(compute_long, &computes), 0);
	if (gort_maxprocs(0) > 1 && !threads_may_fail())
		while (!__atomic_load_n(&computes, __ATOMIC_ACQUIRE))
			give_way();
	return 0;
}

static int need_two(void *arg)
{
	uint32_t word = 0;

	(void)arg;
	if (gort_maxprocs(0) > 1 && !threads_may_fail()) {
		check_eq(gort_go(set, &word), 0);
		thread_wait(&word, 0);
	}
	return 5;
}

SCENARIO_PLAIN(stragglers,
	       "a goroutine that computes for long is left alone at the end; then it runs again")
{
	gort_options o = sim_options();
	int got = gort_run(leave_one_computing, NULL, &o);

	leftovers_welcome();
	check(got == 0 || (got == -EAGAIN && threads_may_fail()));
	do {
		thread_sleep(50 * GORT_MS);
		got = gort_run(need_two, NULL, &o);
	} while (got == -EBUSY);
	check(got == 5 || (got == -EAGAIN && threads_may_fail()));
}

/* Nobody runs meanwhile: as if the process got SIGSTOP, or its machine was suspended. */
static void stop_the_process(void *arg)
{
	(void)arg;
	for (int i = 0; i < 3; i++) {
		thread_sleep((int64_t)pick(60) * GORT_US);
		compute(2 * GORT_SEC);
	}
}

SCENARIO_PLAIN(stopped,
	       "the process is stopped for seconds now and then, also while the runtime ends")
{
	gort_options o = sim_options();
	struct guest_thread *t;
	int got;

	leftovers_welcome();
	t = guest_start(stop_the_process, NULL);
	for (int i = 0; i < 4; i++) {
		do {
			thread_sleep((int64_t)pick(10) * GORT_US);
			got = gort_run(need_two, NULL, &o);
		} while (got == -EBUSY);
		check(got == 5 || (got == -EAGAIN && threads_may_fail()));
	}
	guest_join(t);
}

/* ---- out of memory --------------------------------------------------------------------------- */

SCENARIO(out_of_memory, "memory runs out half-way: -ENOMEM, and nothing is lost")
{
	gort_waitgroup all = { 0 };
	unsigned made = 0;

	faults_welcome();
	for (int i = 0; i < 40; i++) {
		int err = gort_waitgroup_go(&all, take_turns, NULL);
		gort_chan *c = gort_chan_make(100, pick(20));
		gort_task *t = gort_spawn(return_arg, NULL, NULL);

		check(err == 0 || err == -ENOMEM);
		made += err == 0;
		gort_chan_release(c);
		if (t && gort_join_until(t, NULL, gort_in(20 * GORT_US)) != 0)
			gort_detach(t);
		if (i % 10 == 0)
			gort_maxprocs(1 + (int)pick(4));
	}
	faults_over();
	gort_waitgroup_wait(&all);
	check(turns <= 8 * made);
}
