/*
 * bubbles.c - bubbles: the clock never moves while a member can go on, always when none can.
 */
#include "sim.h"

#include <errno.h>

static struct {
	gort_chan *c, *outside;
	gort_waitgroup all;
	gort_mutex m;
	unsigned ended;
} x;

static void go_on(unsigned steps)
{
	int64_t now = gort_now();

	for (unsigned i = 0; i < steps; i++) {
		gort_yield();
		check_eq(gort_now(), now);
	}
}

/* ---- members that sleep, talk and lock ------------------------------------------------------- */

static void member(void *arg)
{
	int64_t end, v = 0;

	for (unsigned i = 0; i < 2; i++) {
		end = gort_in((int64_t)pick(3));
		check_eq(gort_sleep_until(end), 0);
		check_eq(gort_now(), end);
		if (arg)
			check_eq(gort_chan_send(x.c, &end), 0);
		else
			check_eq(gort_chan_recv(x.c, &v), 0);
		check(v <= gort_now());
		gort_mutex_lock(&x.m);
		go_on(pick(2));
		gort_mutex_unlock(&x.m);
	}
	__atomic_add_fetch(&x.ended, 1, __ATOMIC_RELAXED);
	gort_waitgroup_done(&x.all);
}

static int talk(void *arg)
{
	int64_t end = gort_in(20);

	(void)arg;
	x.c = gort_chan_make(sizeof(int64_t), pick(2));
	gort_waitgroup_add(&x.all, 4);
	for (intptr_t i = 0; i < 4; i++)
		if (gort_go(member, (void *)(i % 2)) < 0)
			check(false);
	if (pick(2))
		gort_bubble_wait();
	check_eq(gort_waitgroup_wait_until(&x.all, end), 0);
	check(gort_now() < end);
	check_eq(x.ended, 4);
	check_eq(gort_chan_recv_until(x.c, &end, gort_in(5)), -ETIMEDOUT);
	gort_chan_release(x.c);
	return 9;
}

SCENARIO(bubble_talk, "members that sleep, talk and lock: each sleep ends at its very time")
{
	check_eq(gort_bubble(talk, NULL), 9);
}

/* ---- who waits for what is outside holds the clock ------------------------------------------- */

static void knock(void *arg)
{
	go_on(pick(3));
	check_eq(gort_chan_send(arg, NULL), 0);
}

static void hear(void *arg)
{
	gort_case cases[] = { GORT_CASE_RECV(arg, NULL), GORT_CASE_RECV(x.c, NULL) };

	if (pick(2))
		check_eq(gort_select(cases, 2, gort_in(100)), 0);
	else
		check_eq(gort_chan_recv(arg, NULL), 0);
	check_eq(gort_now(), 0);
	gort_waitgroup_done(&x.all);
}

static int hear_outside(void *arg)
{
	x.c = gort_chan_make(0, 0);
	gort_waitgroup_add(&x.all, 1);
	check_eq(gort_go(hear, arg), 0);
	check_eq(gort_sleep(1 + (int64_t)pick(3)), 0);
	check_eq(gort_waitgroup_wait_until(&x.all, GORT_NOW), 0);
	gort_chan_release(x.c);
	return 0;
}

static void knock_outside(void *arg)
{
	gort_yield();
	for (unsigned i = pick(3); i > 0; i--)
		gort_yield();
	check_eq(gort_chan_send(arg, NULL), 0);
}

SCENARIO(bubble_outside, "the clock stands while a member waits for what is not of the bubble")
{
	x.outside = gort_chan_make(0, 0);
	check_eq(gort_go(knock_outside, x.outside), 0);
	check_eq(gort_bubble(hear_outside, x.outside), 0);
	gort_chan_release(x.outside);
}

/* ---- gort_bubble_wait ------------------------------------------------------------------------ */

static int watch(void *arg)
{
	gort_timer *later = gort_timer_start(1, 1, NULL, NULL);
	gort_chan *c = gort_chan_make(0, 1);

	(void)arg;
	for (unsigned i = 0; i < 2; i++) {
		check_eq(gort_go(knock, c), 0);
		gort_bubble_wait();
		check_eq(gort_chan_len(c), 1);
		check_eq(gort_chan_try_recv(c, NULL), 0);
		check_eq(gort_now(), 0);
	}
	gort_timer_release(later);
	gort_chan_release(c);
	return 0;
}

SCENARIO(bubble_wait, "what was to happen at once has happened when gort_bubble_wait returns")
{
	check_eq(gort_bubble(watch, NULL), 0);
}

/* ---- timers and contexts --------------------------------------------------------------------- */

static void count(void *arg)
{
	check_eq(gort_now(), (intptr_t)arg);
	__atomic_add_fetch(&x.ended, 1, __ATOMIC_RELAXED);
}

static int time_things(void *arg)
{
	intptr_t at = 1 + (intptr_t)pick(4);
	gort_timer *once = gort_timer_start(at, 0, count, (void *)at);
	gort_timer *every = gort_timer_start(2, 2, NULL, NULL);
	gort_ctx *ctx = gort_ctx_with_deadline(gort_ctx_current(), 5);
	int64_t tick;

	(void)arg;
	check(once && every && ctx);
	check_eq(gort_chan_recv(gort_timer_chan(every), &tick), 0);
	check_eq(tick, 2);
	check_eq(gort_chan_recv(gort_ctx_done(ctx), NULL), -EPIPE);
	check_eq(gort_now(), 5);
	gort_bubble_wait();
	check_eq(x.ended, 1);
	gort_timer_release(once);
	gort_timer_release(every);
	gort_ctx_release(ctx);
	return 0;
}

SCENARIO(bubble_timers, "timers and contexts of a bubble come at their very time")
{
	check_eq(gort_bubble(time_things, NULL), 0);
}

/* ---- several at a time: each driver sweeps up those that are over ---------------------------- */

static int nap(void *arg)
{
	check_eq(gort_sleep(1 + (int64_t)pick(2)), 0);
	return (int)(intptr_t)arg;
}

static void naps(void *arg)
{
	for (int i = 0; i < 2; i++)
		check_eq(gort_bubble(nap, arg), (intptr_t)arg);
	gort_waitgroup_done(&x.all);
}

SCENARIO(bubble_several, "bubbles that end at a time are freed once, and not too early")
{
	gort_waitgroup_add(&x.all, 3);
	for (intptr_t i = 1; i <= 3; i++)
		check_eq(gort_go(naps, (void *)i), 0);
	check_eq(gort_waitgroup_wait(&x.all), 0);
}

/* ---- deadlock -------------------------------------------------------------------------------- */

static int stick(void *arg)
{
	(void)arg;
	check_eq(gort_go(knock, x.c), 0);
	gort_sleep(3);
	return gort_chan_recv(NULL, NULL);
}

SCENARIO(bubble_deadlock, "a bubble in which all wait for ever is told")
{
	x.c = NULL;
	check_eq(gort_bubble(stick, NULL), -EDEADLK);
}
