/*
 * timers.c - timers that users have: each arming ends in one tick or run, or was prevented,
 * whoever stops, moves and releases them meanwhile. (The heaps alone: units.c.)
 */
#include "sim.h"

#include <errno.h>

static struct {
	gort_timer *timer[3];
	gort_chan *c;
	gort_waitgroup all;
	unsigned runs, armed, ended;
	uint32_t set; /* a futex word: the timers are there, or never will be */
} x;

static void count(unsigned *n)
{
	__atomic_add_fetch(n, 1, __ATOMIC_RELAXED);
}

static unsigned look(unsigned *n)
{
	return __atomic_load_n(n, __ATOMIC_RELAXED);
}

static int64_t soon(void)
{
	return gort_in((int64_t)pick(8) * 10 * GORT_US - 10 * GORT_US);
}

static gort_timer *start(int64_t deadline, int64_t period, gort_func fn)
{
	gort_timer *t = gort_timer_start(deadline, period, fn, NULL);

	check(t);
	return t;
}

/* ---- ticks ----------------------------------------------------------------------------------- */

static void own_a_channel(void *arg)
{
	int64_t at = soon(), tick;
	gort_timer *t = start(at, 0, NULL);
	int armed = 1, ended = 0;

	(void)arg;
	for (int i = 0; i < 6; i++) {
		switch (pick(4)) {
		case 0:
			ended += gort_timer_stop(t);
			check_eq(gort_chan_try_recv(gort_timer_chan(t), &tick), -EAGAIN);
			break;
		case 1:
		case 2:
			at = soon();
			ended += gort_timer_reset(t, at);
			armed++;
			break;
		default:
			if (gort_chan_recv_until(gort_timer_chan(t), &tick, soon()) == 0) {
				check(tick >= at);
				ended++;
			}
		}
		check(ended == armed || ended == armed - 1);
	}
	ended += gort_timer_stop(t);
	check_eq(ended, armed);
	gort_timer_release(t);
}

SCENARIO(timer_ticks,
	 "timers are stopped and moved while they fire: no tick is stale, none is lost")
{
	struct guest_thread *g = guest_start(own_a_channel, NULL);

	for (int i = 0; i < 2; i++)
		check_eq(gort_waitgroup_go(&x.all, own_a_channel, NULL), 0);
	gort_waitgroup_wait(&x.all);
	guest_join(g);
}

/* ---- functions ------------------------------------------------------------------------------- */

static void run(void *arg)
{
	(void)arg;
	count(&x.runs);
}

static void stop_and_move(void *arg)
{
	(void)arg;
	for (int i = 0; i < 5; i++) {
		if (pick(3) == 0) {
			if (gort_timer_stop(x.timer[0]))
				count(&x.ended);
		} else {
			count(&x.armed);
			if (gort_timer_reset(x.timer[0], soon()))
				count(&x.ended);
		}
		if (pick(2))
			gort_sleep(10 * GORT_US);
	}
}

SCENARIO(timer_runs, "many stop and move one timer: each arming runs once or was prevented")
{
	struct guest_thread *g;

	x.armed = 1;
	x.timer[0] = start(soon(), 0, run);
	g = guest_start(stop_and_move, NULL);
	for (int i = 0; i < 2; i++)
		check_eq(gort_waitgroup_go(&x.all, stop_and_move, NULL), 0);
	gort_waitgroup_wait(&x.all);
	guest_join(g);
	x.ended += gort_timer_stop(x.timer[0]);
	while (look(&x.runs) + x.ended < x.armed)
		gort_sleep(10 * GORT_US);
	check_eq(look(&x.runs) + x.ended, x.armed);
	gort_timer_release(x.timer[0]);
}

/* ---- release --------------------------------------------------------------------------------- */

static void release_by_guest(void *arg)
{
	(void)arg;
	if (pick(2))
		thread_sleep(20 * GORT_US);
	gort_timer_release(x.timer[1]);
	gort_chan_release(x.c);
}

SCENARIO(timer_released, "timers are released while they fire")
{
	struct guest_thread *g;

	for (int i = 0; i < 3; i++)
		x.timer[i] = start(soon(), (int64_t)pick(2) * 20 * GORT_US, i == 1 ? NULL : run);
	x.c = gort_after_chan((int64_t)pick(4) * 10 * GORT_US);
	check(x.c);
	g = guest_start(release_by_guest, NULL);
	gort_sleep((int64_t)pick(6) * 10 * GORT_US);
	gort_timer_release(x.timer[0]);
	gort_timer_release(x.timer[2]);
	guest_join(g);
	while (gort_count() > 1)
		gort_yield();
}

/* ---- idle ------------------------------------------------------------------------------------ */

static void set_earlier(void *arg)
{
	(void)arg;
	if (pick(2))
		thread_sleep((int64_t)pick(5) * 100 * GORT_US);
	gort_timer_reset(x.timer[0], soon());
}

SCENARIO(timer_set_by_guest, "a plain thread sets an earlier timer while all sleep: it comes")
{
	struct guest_thread *g;
	int64_t before = gort_now();

	x.timer[0] = start(gort_in(3600 * GORT_SEC), 0, NULL);
	if (pick(2))
		x.timer[1] = start(gort_in(1800 * GORT_SEC), 0, NULL);
	g = guest_start(set_earlier, NULL);
	check_eq(gort_chan_recv(gort_timer_chan(x.timer[0]), NULL), 0);
	check(gort_now() - before < 60 * GORT_SEC);
	guest_join(g);
	gort_timer_release(x.timer[0]);
	gort_timer_release(x.timer[1]);
}

/* ---- GOMAXPROCS ------------------------------------------------------------------------------ */

static void start_here(void *arg)
{
	gort_timer **t = arg;

	*t = start(soon(), 0, run);
	gort_sleep(20 * GORT_US);
	gort_timer_reset(*t, soon());
}

SCENARIO(timer_maxprocs, "GOMAXPROCS goes down and up under timers: all come")
{
	int64_t end;

	for (int i = 0; i < 3; i++)
		check_eq(gort_waitgroup_go(&x.all, start_here, &x.timer[i]), 0);
	for (int i = 0; i < 3; i++) {
		gort_maxprocs(1 + (int)pick(3));
		gort_yield();
	}
	gort_waitgroup_wait(&x.all);
	end = gort_in(60 * GORT_SEC);
	while (look(&x.runs) < 3) {
		gort_yield();
		check(gort_now() < end);
	}
	for (int i = 0; i < 3; i++)
		gort_timer_release(x.timer[i]);
	while (gort_count() > 1)
		gort_yield();
}

/* ---- the end --------------------------------------------------------------------------------- */

static void let_go(void)
{
	__atomic_store_n(&x.set, 1, __ATOMIC_RELEASE);
	thread_wake(&x.set);
}

static int leave_timers(void *arg)
{
	(void)arg;
	for (int i = 0; i < 3; i++)
		x.timer[i] = start(soon(), 0, i == 1 ? NULL : run);
	let_go();
	gort_sleep((int64_t)pick(4) * 10 * GORT_US);
	return 0;
}

static void use_them_at_the_end(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&x.set, __ATOMIC_ACQUIRE))
		thread_wait(&x.set, 0);
	for (int i = 0; i < 3 && x.timer[i]; i++) {
		gort_timer_reset(x.timer[i], soon());
		if (pick(2))
			gort_timer_stop(x.timer[i]);
		gort_timer_release(x.timer[i]);
	}
}

SCENARIO_PLAIN(timer_at_the_end, "the runtime ends while a plain thread moves and releases timers")
{
	gort_options options = sim_options();
	struct guest_thread *g = guest_start(use_them_at_the_end, NULL);
	int err = gort_run(leave_timers, NULL, &options);

	check(err == 0 || (err == -EAGAIN && threads_may_fail()));
	if (err < 0)
		let_go();
	guest_join(g);
}
