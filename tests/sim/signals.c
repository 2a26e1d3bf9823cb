/*
 * signals.c - signals on channels: none is lost, none comes after stop, the end leaves nothing.
 */
#include "sim.h"

#include <errno.h>

/* NULL: no thread was to be had for it. */
static gort_chan *notified(size_t capacity, int signo)
{
	gort_chan *c = gort_chan_make(sizeof(int), capacity);
	int err = gort_signal_notify(c, signo);

	if (err == 0)
		return c;
	check_eq(err, -EAGAIN);
	check(threads_may_fail());
	gort_chan_release(c);
	return NULL;
}

static void done_with(gort_chan *c)
{
	if (!c)
		return;
	check_eq(gort_signal_stop(c), 0);
	gort_chan_release(c);
}

/* Whoever sends a signal waits until it has come: if one is lost, for ever. */
static void send_and_receive(int signo)
{
	gort_chan *c = notified(1, signo);
	int got = 0;

	for (int i = 0; c && i < 3; i++) {
		sim_raise(signo);
		check_eq(gort_chan_recv(c, &got), 0);
		check_eq(got, signo);
	}
	done_with(c);
}

static void second(void *arg)
{
	(void)arg;
	send_and_receive(2);
}

SCENARIO(signals_talk, "no signal is lost while others are delivered, come and go")
{
	struct guest_thread *guest = guest_start(second, NULL);
	gort_waitgroup one = { 0 };

	check_eq(gort_waitgroup_go(&one, second, NULL), 0);
	send_and_receive(1);
	gort_waitgroup_wait(&one);
	guest_join(guest);
}

static void raise_1(void)
{
	sim_raise(1);
}

static bool received;

static void receive_some(void *c)
{
	gort_chan *d;

	for (int i = 0; i < 3; i++) {
		check_eq(gort_chan_recv(c, NULL), 0);
		d = notified(0, 1);
		done_with(d);
	}
	received = true;
}

/* Signals come where there are steps: main makes some all the time. */
SCENARIO(signals_anywhere, "a signal may come between any two steps")
{
	gort_chan *c = notified(1, 1);

	if (!c)
		return;
	on_signals(raise_1);
	check_eq(gort_go(receive_some, c), 0);
	while (!received) {
		gort_yield();
		give_way();
	}
	on_signals(NULL);
	done_with(c);
}

static void raise_often(void *arg)
{
	(void)arg;
	for (int i = 0; i < 6; i++)
		sim_raise(1);
}

SCENARIO(signals_stop, "nothing comes once stop has returned")
{
	enum { TIMES = 4 };
	struct guest_thread *guest = guest_start(raise_often, NULL);
	gort_chan *c[TIMES];
	size_t len[TIMES];

	for (int i = 0; i < TIMES; i++) {
		c[i] = notified(6, 1);
		if (!c[i])
			continue;
		compute(pick(pick(2) ? 50 : 2000));
		check_eq(gort_signal_stop(c[i]), 0);
		len[i] = gort_chan_len(c[i]);
	}
	guest_join(guest);
	for (int i = 0; i < TIMES; i++)
		if (c[i]) {
			check_eq(gort_chan_len(c[i]), len[i]);
			gort_chan_release(c[i]);
		}
}

static void wait_for_any(void *arg)
{
	gort_chan_recv(arg, NULL);
}

static int leave_watching(void *arg)
{
	gort_chan *c = notified(0, 1);

	(void)arg;
	if (!c)
		return 0;
	check_eq(gort_go(wait_for_any, c), 0);
	if (pick(2))
		gort_yield();
	gort_chan_release(c); /* who waits has no reference of its own */
	return 0;
}

static void watch_at_any_time(void *arg)
{
	gort_chan *c = gort_chan_make(sizeof(int), 1);
	int err;

	(void)arg;
	for (int i = 0; i < 2; i++) {
		err = gort_signal_notify(c, 2);
		if (pick(2))
			gort_signal_stop(c);
		check(err == 0 || err == -ESRCH || (err == -EAGAIN && threads_may_fail()));
	}
	gort_signal_stop(c);
	gort_chan_release(c);
}

SCENARIO_PLAIN(signals_at_the_end,
	       "the runtime's end takes all watchers away, whoever comes meanwhile")
{
	const gort_options options = { .maxprocs = 1 + (int)pick(2) };
	struct guest_thread *raises = guest_start(raise_often, NULL);
	struct guest_thread *watches = guest_start(watch_at_any_time, NULL);

	for (int i = 0; i < 2; i++) {
		int err = gort_run(leave_watching, NULL, &options);

		check(err == 0 || (err == -EAGAIN && threads_may_fail()));
	}
	guest_join(raises);
	guest_join(watches);
}
