/*
 * handoff.c - Ps that are taken from threads and given to others: calls that block, goroutines that
 * compute, goroutines that keep their thread.
 */
#include "os/os.h"
#include "sim.h"

static uint32_t word, done;

static bool is_set(uint32_t *w)
{
	return __atomic_load_n(w, __ATOMIC_ACQUIRE) != 0;
}

static void set(void *arg)
{
	uint32_t *w = arg;

	__atomic_store_n(w, 1, __ATOMIC_RELEASE);
	thread_wake(w);
}

/* As a loop that waits for others: the explorer must let them run at times. */
static void burn(int64_t ns)
{
	compute(ns);
	os_yield_thread();
}

static void count_done(void)
{
	__atomic_fetch_add(&done, 1, __ATOMIC_RELAXED);
}

/* ---- calls that block ------------------------------------------------------------------------ */

static void blocks(void *arg)
{
	thread_wait(arg, 0);
	count_done();
}

SCENARIO(blocked, "threads sleep in the kernel till goroutines that come later wake them")
{
	static uint32_t words[3];
	gort_waitgroup g = { 0 };

	for (int i = 0; i < 3; i++)
		check_eq(gort_waitgroup_go(&g, blocks, &words[i]), 0);
	if (pick(2))
		gort_yield();
	for (int i = 0; i < 3; i++)
		check_eq(gort_waitgroup_go(&g, set, &words[i]), 0);
	check_eq(gort_waitgroup_wait(&g), 0);
	check_eq(done, 3);
}

struct talk {
	gort_chan *c;
	int n;
};

static void says(void *arg)
{
	struct talk *t = arg;

	for (int i = 0; i < t->n; i++) {
		if (pick(3) == 0)
			thread_sleep((int64_t)pick(300) * GORT_US);
		check_eq(gort_chan_send(t->c, &i), 0);
	}
}

static void hears(void *arg)
{
	struct talk *t = arg;
	int got;

	for (int i = 0; i < t->n; i++) {
		check_eq(gort_chan_recv(t->c, &got), 0);
		check_eq(got, i);
		if (pick(3) == 0)
			thread_sleep((int64_t)pick(2000) * GORT_US);
	}
}

SCENARIO(blocked_talk, "talkers whose threads sleep between two calls: retaken, or just not")
{
	gort_waitgroup g = { 0 };
	struct talk t[2] = { { gort_chan_make(sizeof(int), 0), 4 },
			     { gort_chan_make(sizeof(int), 1), 4 } };

	for (int i = 0; i < 2; i++) {
		check_eq(gort_waitgroup_go(&g, says, &t[i]), 0);
		check_eq(gort_waitgroup_go(&g, hears, &t[i]), 0);
	}
	check_eq(gort_waitgroup_wait(&g), 0);
	for (int i = 0; i < 2; i++)
		gort_chan_release(t[i].c);
}

static void sleeps_by_timer(void *arg)
{
	(void)arg;
	check_eq(gort_sleep((int64_t)pick(300) * GORT_US), 0);
	set(&word);
}

SCENARIO(blocked_timer, "a timer at a P whose thread sleeps in the kernel, and waits for it")
{
	check_eq(gort_go(sleeps_by_timer, NULL), 0);
	gort_yield();
	thread_wait(&word, 0);
}

static int inner(void *arg)
{
	thread_sleep((int64_t)pick(50) * GORT_US);
	if (pick(2))
		gort_yield();
	return *(int *)arg;
}

static int outer(void *arg)
{
	int n = *(int *)arg, more = n + 1;

	check_eq(gort_blocking(inner, &more), n + 1);
	if (pick(2))
		check_eq(gort_sleep(GORT_US), 0);
	thread_sleep((int64_t)pick(50) * GORT_US);
	return n;
}

static void calls(void *arg)
{
	int n = 7;

	(void)arg;
	for (int i = 0; i < 3; i++)
		check_eq(gort_blocking(outer, &n), 7);
	count_done();
}

SCENARIO(blocking, "gort_blocking: nested, and parking inside")
{
	gort_waitgroup g = { 0 };

	for (int i = 0; i < 3; i++)
		check_eq(gort_waitgroup_go(&g, calls, NULL), 0);
	check_eq(gort_waitgroup_wait(&g), 0);
	check_eq(done, 3);
}

static void changes_procs(void *arg)
{
	(void)arg;
	for (int i = 0; i < 4; i++) {
		gort_maxprocs(1 + (int)pick(3));
		thread_sleep((int64_t)pick(100) * GORT_US);
	}
}

SCENARIO(blocked_maxprocs, "GOMAXPROCS changes while threads sleep")
{
	gort_waitgroup g = { 0 };
	struct talk t = { gort_chan_make(sizeof(int), pick(2)), 4 };

	check_eq(gort_waitgroup_go(&g, says, &t), 0);
	check_eq(gort_waitgroup_go(&g, hears, &t), 0);
	check_eq(gort_waitgroup_go(&g, changes_procs, NULL), 0);
	check_eq(gort_waitgroup_go(&g, calls, NULL), 0);
	check_eq(gort_waitgroup_wait(&g), 0);
	gort_chan_release(t.c);
}

/* ---- goroutines that compute ----------------------------------------------------------------- */

static void burns(void *arg)
{
	(void)arg;
	while (!is_set(&word))
		burn((int64_t)(1 + pick(400)) * GORT_US);
	count_done();
}

static void burns_in_gort(void *arg)
{
	gort_mutex m = { 0 };

	(void)arg;
	while (!is_set(&word)) {
		burn((int64_t)pick(100) * GORT_US);
		if (gort_mutex_try_lock(&m) == 0)
			gort_mutex_unlock(&m);
		gort_count();
	}
	count_done();
}

SCENARIO(hogs, "goroutines that compute till one that comes later tells them to end")
{
	gort_waitgroup g = { 0 };

	for (int i = 0; i < 3; i++)
		check_eq(gort_waitgroup_go(&g, pick(3) ? burns : burns_in_gort, NULL), 0);
	if (pick(2))
		check_eq(gort_sleep((int64_t)pick(2000) * GORT_US), 0);
	check_eq(gort_waitgroup_go(&g, set, &word), 0);
	check_eq(gort_waitgroup_wait(&g), 0);
	check_eq(done, 3);
}

SCENARIO(hogs_and_talk, "talkers beside goroutines that compute")
{
	gort_waitgroup g = { 0 };
	struct talk t = { gort_chan_make(sizeof(int), pick(2)), 3 };

	for (int i = 0; i < 2; i++)
		check_eq(gort_waitgroup_go(&g, burns, NULL), 0);
	check_eq(gort_waitgroup_go(&g, says, &t), 0);
	hears(&t);
	set(&word);
	check_eq(gort_waitgroup_wait(&g), 0);
	gort_chan_release(t.c);
}

static uint32_t started, ready_to_go;

static void burns_alone(void *arg)
{
	uint64_t before;

	(void)arg;
	gort_preempt_off();
	gort_preempt_off();
	before = __atomic_load_n(&started, __ATOMIC_ACQUIRE);
	for (int i = 0; i < 20; i++)
		burn(300 * GORT_US);
	if (gort_maxprocs(0) == 1)
		check_eq(__atomic_load_n(&started, __ATOMIC_ACQUIRE), before);
	gort_preempt_on();
	gort_preempt_on();
	while (!is_set(&ready_to_go))
		burn(300 * GORT_US);
}

static void starts(void *arg)
{
	(void)arg;
	__atomic_fetch_add(&started, 1, __ATOMIC_ACQ_REL);
	set(&ready_to_go);
}

SCENARIO(preempt_off, "nobody else runs while preemption is off, and they do once it is on")
{
	gort_waitgroup g = { 0 };

	check_eq(gort_waitgroup_go(&g, burns_alone, NULL), 0);
	check_eq(gort_waitgroup_go(&g, starts, NULL), 0);
	check_eq(gort_waitgroup_wait(&g), 0);
}

/* ---- goroutines that keep their thread ------------------------------------------------------- */

static void locked_talk(void *arg)
{
	int32_t thread;
	struct talk *t = arg;
	int got;

	gort_lock_thread();
	gort_lock_thread();
	thread = os_thread_id();
	for (int i = 0; i < t->n; i++) {
		check_eq(gort_chan_recv(t->c, &got), 0);
		check_eq(got, i);
		check_eq(os_thread_id(), thread);
		switch (pick(4)) {
		case 0:
			gort_yield();
			break;
		case 1:
			check_eq(gort_sleep(GORT_US), 0);
			break;
		case 2:
			thread_sleep((int64_t)pick(300) * GORT_US);
			break;
		}
		check_eq(os_thread_id(), thread);
	}
	gort_unlock_thread();
	check_eq(gort_chan_recv(t->c, &got), -EPIPE);
	check_eq(os_thread_id(), thread);
	if (pick(2))
		gort_unlock_thread(); /* else the thread ends with it */
}

SCENARIO(locked, "goroutines that keep their thread, talking to others")
{
	gort_waitgroup g = { 0 };
	struct talk t[2];

	if (pick(3) == 0)
		gort_lock_thread();
	for (int i = 0; i < 2; i++) {
		t[i] = (struct talk){ gort_chan_make(sizeof(int), pick(2)), 3 };
		check_eq(gort_waitgroup_go(&g, locked_talk, &t[i]), 0);
	}
	for (int k = 0; k < 3; k++)
		for (int i = 0; i < 2; i++)
			check_eq(gort_chan_send(t[i].c, &k), 0);
	for (int i = 0; i < 2; i++)
		check_eq(gort_chan_close(t[i].c), 0);
	check_eq(gort_waitgroup_wait(&g), 0);
	for (int i = 0; i < 2; i++)
		gort_chan_release(t[i].c);
}

static void ends_locked(void *arg)
{
	(void)arg;
	gort_lock_thread();
	if (pick(2))
		gort_yield();
	count_done();
}

SCENARIO(locked_ends, "threads end with goroutines that keep them")
{
	gort_waitgroup g = { 0 };

	for (int i = 0; i < 5; i++) {
		check_eq(gort_waitgroup_go(&g, ends_locked, NULL), 0);
		if (pick(2))
			check_eq(gort_waitgroup_wait(&g), 0);
	}
	check_eq(gort_waitgroup_wait(&g), 0);
	check_eq(done, 5);
}

/* ---- the end --------------------------------------------------------------------------------- */

static uint32_t woken;

static void blocks_long(void *arg)
{
	(void)arg;
	thread_wait(&word, 0);
	set(&woken);
	gort_yield();
	sim_fail("it goes on after the runtime's end");
}

static void burns_for_long(void *arg)
{
	(void)arg;
	for (int i = 0; i < 40; i++)
		burn(500 * GORT_US);
	gort_yield();
}

static int leave_some(void *arg)
{
	(void)arg;
	check_eq(gort_go(blocks_long, NULL), 0);
	for (unsigned i = pick(3); i; i--)
		check_eq(gort_go(burns_for_long, NULL), 0);
	for (unsigned i = pick(3); i; i--)
		gort_yield();
	if (pick(2))
		check_eq(gort_sleep((int64_t)pick(3000) * GORT_US), 0);
	return 3;
}

static int nothing(void *arg)
{
	(void)arg;
	return 4;
}

SCENARIO_PLAIN(end_leaves_sleepers,
	       "the runtime ends while threads sleep, or compute, and runs again")
{
	gort_options o = sim_options();
	int got = gort_run(leave_some, NULL, &o);

	leftovers_welcome();
	check(got == 3 || (got == -EAGAIN && threads_may_fail()));
	if (pick(2))
		set(&word);
	do {
		thread_sleep(20 * GORT_MS);
		got = gort_run(nothing, NULL, &o);
	} while (got == -EBUSY);
	check(got == 4 || (got == -EAGAIN && threads_may_fail()));
	set(&word);
	thread_sleep(20 * GORT_MS);
}
