/*
 * bubble.c - goroutines with a clock of their own: it stands still while one of them can go on,
 * jumps when all wait, and tells when that would be for ever.
 */
#include "harness.h"

#include "base/alloc.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int in_a_bubble(int (*fn)(void *), void *arg)
{
	int64_t before = gort_now();
	int result = gort_bubble(fn, arg);

	CHECK(gort_now() >= before); /* the caller's is the real one, as before */
	return result;
}

/* ---- the clock */

static int sleep_long(void *arg)
{
	CHECK_EQ(gort_now(), 0);
	CHECK_EQ(gort_sleep(1000 * 3600 * GORT_SEC), 0);
	CHECK_EQ(gort_now(), 1000 * 3600 * GORT_SEC);
	gort_yield();
	CHECK_EQ(gort_in(1), 1000 * 3600 * GORT_SEC + 1);
	CHECK_EQ(gort_sleep_until(5), 0); /* long past */
	CHECK_EQ(gort_now(), 1000 * 3600 * GORT_SEC);
	return *(int *)arg;
}

// variants: maxprocs
TEST(clock_starts_at_zero_and_jumps)
{
	int result = 42;

	for (int i = 0; i < 10; i++)
		CHECK_EQ(in_a_bubble(sleep_long, &result), 42);
}

enum { SLEEPERS = 500 };

struct sleepers {
	gort_waitgroup ended;
	int64_t last; /* who wakes reads and writes it: the clock keeps them apart */
	int count;
};

struct sleeper {
	struct sleepers *all;
	int64_t until;
};

static void sleep_till(void *arg)
{
	struct sleeper *s = arg;
	int64_t until = s->until;

	CHECK_EQ(gort_sleep_until(until), 0);
	CHECK_EQ(gort_now(), until);
	CHECK(until > s->all->last);
	s->all->last = until;
	s->all->count++;
	gort_waitgroup_done(&s->all->ended);
}

static int sleep_all(void *arg)
{
	struct sleepers all = { .last = 0 };
	struct sleeper s[SLEEPERS];

	(void)arg;
	gort_waitgroup_add(&all.ended, SLEEPERS);
	for (int i = 0; i < SLEEPERS; i++) {
		s[i] = (struct sleeper){ &all, 1 + i * 7919 % SLEEPERS * GORT_SEC };
		CHECK_EQ(gort_go(sleep_till, &s[i]), 0);
	}
	CHECK_EQ(gort_waitgroup_wait(&all.ended), 0);
	CHECK_EQ(gort_now(), 1 + (SLEEPERS - 1) * GORT_SEC);
	return all.count;
}

// variants: maxprocs
TEST(sleepers_wake_one_after_the_other)
{
	for (int i = 0; i < SCALE(20); i++)
		CHECK_EQ(in_a_bubble(sleep_all, NULL), SLEEPERS);
}

static int64_t spin_until;

static void compute(void *arg)
{
	(void)arg;
	while (spin_until > 0) {
		spin_until--;
		CHECK_EQ(gort_now(), 0);
		gort_yield();
	}
}

static int sleep_beside_compute(void *arg)
{
	(void)arg;
	spin_until = SCALE(20000);
	CHECK_EQ(gort_go(compute, NULL), 0);
	CHECK_EQ(gort_sleep(1), 0);
	CHECK_EQ(spin_until, 0);
	return 0;
}

// variants: maxprocs
TEST(clock_stands_while_one_computes)
{
	CHECK_EQ(in_a_bubble(sleep_beside_compute, NULL), 0);
}

/* ---- what ends waits: at the very nanosecond */

static int return_late(void *arg)
{
	gort_sleep(*(int64_t *)arg);
	return 7;
}

static int time_out(void *arg)
{
	gort_chan *c = gort_chan_make(sizeof(int), 0);
	gort_mutex mutex = { 0 };
	gort_cond cond = { 0 };
	gort_waitgroup group = { 0 };
	gort_sem sem = { 0 };
	int64_t late = 100 * GORT_SEC, now;
	gort_task *t = gort_spawn(return_late, &late, NULL);
	gort_case cases[] = { GORT_CASE_RECV(c, NULL), GORT_CASE_TASK(t), GORT_CASE_TIME(0) };
	gort_ctx *ctx, *before;
	int result = 0, value = 1;

	(void)arg;
	CHECK(c && t);
	gort_sem_release(&sem, 1);
	CHECK_EQ(gort_chan_recv_until(c, &value, gort_in(GORT_SEC)), -ETIMEDOUT);
	CHECK_EQ(gort_chan_send_until(c, &value, gort_in(GORT_SEC)), -ETIMEDOUT);
	CHECK_EQ(gort_now(), 2 * GORT_SEC);
	CHECK_EQ(gort_chan_recv_until(NULL, &value, gort_in(GORT_SEC)), -ETIMEDOUT);
	CHECK_EQ(gort_now(), 3 * GORT_SEC);
	CHECK_EQ(gort_join_until(t, NULL, gort_in(GORT_SEC)), -ETIMEDOUT);
	CHECK_EQ(gort_now(), 4 * GORT_SEC);
	CHECK_EQ(gort_select(cases, 2, gort_in(GORT_SEC)), -ETIMEDOUT);
	cases[2].deadline = gort_in(GORT_SEC);
	CHECK_EQ(gort_select(cases, 3, GORT_FOREVER), 2);
	CHECK_EQ(gort_now(), 6 * GORT_SEC);
	gort_mutex_lock(&mutex);
	CHECK_EQ(gort_cond_wait_until(&cond, &mutex, gort_in(GORT_SEC)), -ETIMEDOUT);
	gort_mutex_unlock(&mutex);
	gort_waitgroup_add(&group, 1);
	CHECK_EQ(gort_waitgroup_wait_until(&group, gort_in(GORT_SEC)), -ETIMEDOUT);
	gort_waitgroup_done(&group);
	CHECK_EQ(gort_sem_acquire(&sem, 1), 0);
	CHECK_EQ(gort_sem_acquire_until(&sem, 1, gort_in(GORT_SEC)), -ETIMEDOUT);
	CHECK_EQ(gort_now(), 9 * GORT_SEC);
	gort_sem_release(&sem, 1);

	ctx = gort_ctx_with_deadline(gort_ctx_current(), gort_in(GORT_SEC));
	CHECK(ctx != NULL);
	CHECK_EQ(gort_ctx_err(ctx), 0);
	before = gort_ctx_enter(ctx);
	CHECK_EQ(gort_chan_recv(c, &value), -ETIMEDOUT);
	CHECK_EQ(gort_now(), 10 * GORT_SEC);
	gort_ctx_leave(before);
	CHECK_EQ(gort_ctx_err(ctx), -ETIMEDOUT);
	gort_ctx_release(ctx);
	ctx = gort_ctx_with_deadline(gort_ctx_current(), gort_in(GORT_SEC));
	CHECK_EQ(gort_chan_recv(gort_ctx_done(ctx), NULL), -EPIPE);
	CHECK_EQ(gort_now(), 11 * GORT_SEC);
	gort_ctx_release(ctx);

	now = gort_set_deadline(gort_in(GORT_SEC));
	CHECK_EQ(gort_chan_recv(c, &value), -ETIMEDOUT);
	CHECK_EQ(gort_now(), 12 * GORT_SEC);
	gort_set_deadline(now);
	CHECK_EQ(gort_join(t, &result), 0);
	CHECK_EQ(result, 7);
	CHECK_EQ(gort_now(), late);
	gort_chan_release(c);
	return 0;
}

// variants: maxprocs
TEST(deadlines_pass_at_their_time)
{
	CHECK_EQ(in_a_bubble(time_out, NULL), 0);
}

static void note_time(void *at)
{
	*(int64_t *)at = gort_now();
	gort_sleep(GORT_SEC); /* it is of the bubble, too */
	*(int64_t *)at += gort_now();
}

static int tick(void *arg)
{
	gort_timer *every = gort_timer_start(gort_in(GORT_SEC), GORT_SEC, NULL, NULL);
	gort_chan *after = gort_after_chan(2500 * GORT_MS);
	int64_t at = 0, fn_at = 0;
	gort_timer *once = gort_timer_start(gort_in(1500 * GORT_MS), 0, note_time, &fn_at);

	(void)arg;
	CHECK(every && after && once);
	for (int i = 1; i <= 2; i++) {
		CHECK_EQ(gort_chan_recv(gort_timer_chan(every), &at), 0);
		CHECK_EQ(at, i * GORT_SEC);
		CHECK_EQ(gort_now(), at);
	}
	CHECK_EQ(gort_chan_recv(after, &at), 0);
	CHECK_EQ(at, 2500 * GORT_MS);
	gort_sleep(2 * GORT_SEC); /* it misses one tick */
	CHECK_EQ(fn_at, 4000 * GORT_MS);
	CHECK_EQ(gort_chan_recv(gort_timer_chan(every), &at), 0);
	CHECK_EQ(gort_now(), 4500 * GORT_MS);
	CHECK_EQ(at, 4 * GORT_SEC);
	CHECK(gort_timer_reset(every, gort_in(7 * GORT_SEC)));
	CHECK_EQ(gort_chan_recv(gort_timer_chan(every), &at), 0);
	CHECK_EQ(at, 11500 * GORT_MS);
	CHECK(!gort_timer_reset(once, GORT_NOW));
	gort_sleep(GORT_SEC + 1);
	CHECK_EQ(fn_at, 2 * 11500 * GORT_MS + GORT_SEC);
	gort_timer_release(every);
	gort_timer_release(once);
	gort_chan_release(after);
	return 0;
}

// variants: maxprocs
TEST(timers_come_at_their_time)
{
	CHECK_EQ(in_a_bubble(tick, NULL), 0);
}

/* ---- gort_bubble_wait */

struct stages {
	gort_chan *go;
	int stage;
};

static void go_through(void *arg)
{
	struct stages *s = arg;

	for (int i = 1; i <= 3; i++) {
		s->stage = i;
		CHECK_EQ(gort_chan_recv(s->go, NULL), 0);
	}
	s->stage = 4;
	gort_sleep(GORT_SEC);
	s->stage = 5;
}

static int watch(void *arg)
{
	struct stages s = { gort_chan_make(0, 0), 0 };

	(void)arg;
	CHECK_EQ(gort_go(go_through, &s), 0);
	for (int i = 1; i <= 3; i++) {
		gort_bubble_wait();
		CHECK_EQ(s.stage, i);
		gort_bubble_wait(); /* nothing has changed */
		CHECK_EQ(s.stage, i);
		CHECK_EQ(gort_chan_send(s.go, NULL), 0);
	}
	gort_bubble_wait();
	CHECK_EQ(s.stage, 4);
	CHECK_EQ(gort_now(), 0);
	gort_sleep(2 * GORT_SEC);
	CHECK_EQ(s.stage, 5);
	gort_bubble_wait(); /* alone */
	gort_chan_release(s.go);
	return 0;
}

// variants: maxprocs
TEST(wait_returns_when_the_others_wait)
{
	for (int i = 0; i < SCALE(100); i++)
		CHECK_EQ(in_a_bubble(watch, NULL), 0);
}

/* ---- waits for what is not of the bubble: the clock stands */

static struct {
	gort_chan *chan;
	gort_mutex mutex;
	gort_task *task;
	atomic_bool waits;
} outside;

static void sleep_a_second(void *slept)
{
	gort_sleep(GORT_SEC);
	atomic_store((atomic_bool *)slept, true);
}

/* wait gets what comes from outside, while another sleeps. */
static int beside_a_sleeper(void (*wait)(void))
{
	atomic_bool slept = false;

	CHECK_EQ(gort_go(sleep_a_second, &slept), 0);
	atomic_store(&outside.waits, true);
	wait();
	CHECK_EQ(gort_now(), 0);
	CHECK(!atomic_load(&slept));
	gort_sleep(2 * GORT_SEC);
	CHECK(atomic_load(&slept));
	return 0;
}

static void recv_outside(void)
{
	CHECK_EQ(gort_chan_recv(outside.chan, NULL), 0);
}

static void recv_outside_in_time(void)
{
	CHECK_EQ(gort_chan_recv_until(outside.chan, NULL, gort_in(5 * GORT_SEC)), 0);
}

static void select_outside(void)
{
	gort_chan *own = gort_chan_make(0, 0);
	gort_case cases[] = { GORT_CASE_RECV(own, NULL), GORT_CASE_RECV(outside.chan, NULL) };

	CHECK_EQ(gort_select(cases, 2, GORT_FOREVER), 1);
	gort_chan_release(own);
}

static void lock_outside(void)
{
	gort_mutex_lock(&outside.mutex);
	gort_mutex_unlock(&outside.mutex);
}

static void join_outside(void)
{
	CHECK_EQ(gort_join(outside.task, NULL), 0);
}

static int run_wait(void *arg)
{
	void (**wait)(void) = arg;

	return beside_a_sleeper(*wait);
}

static int wait_for_waits(void *arg)
{
	(void)arg;
	EVENTUALLY(atomic_load(&outside.waits));
	gort_sleep(5 * GORT_MS); /* a clock that did not stand would have moved */
	return 0;
}

static void give(void *arg)
{
	(void)arg;
	wait_for_waits(NULL);
	CHECK_EQ(gort_chan_send(outside.chan, NULL), 0);
}

static void check_outside(void (*wait)(void))
{
	atomic_store(&outside.waits, false);
	CHECK_EQ(in_a_bubble(run_wait, &wait), 0);
}

// variants: maxprocs
TEST(channels_from_outside_do_not_count)
{
	void (*const waits[])(void) = { recv_outside, recv_outside_in_time, select_outside };

	outside.chan = gort_chan_make(0, 0);
	for (int i = 0; i < 3; i++) {
		atomic_store(&outside.waits, false);
		CHECK_EQ(gort_go(give, NULL), 0);
		check_outside(waits[i]);
	}
	gort_chan_release(outside.chan);
}

static void hold(void *arg)
{
	(void)arg;
	wait_for_waits(NULL);
	gort_mutex_unlock(&outside.mutex);
}

// variants: maxprocs
TEST(mutexes_and_tasks_from_outside_do_not_count)
{
	gort_mutex_lock(&outside.mutex);
	CHECK_EQ(gort_go(hold, NULL), 0);
	check_outside(lock_outside);
	atomic_store(&outside.waits, false);
	outside.task = gort_spawn(wait_for_waits, NULL, NULL);
	check_outside(join_outside);
}

/* ---- ends */

static int panic(void *arg)
{
	(void)arg;
	gort_panic("on purpose");
}

static int panic_in_another(void *arg)
{
	gort_task *t = gort_spawn(panic, NULL, NULL);

	(void)arg;
	CHECK_EQ(gort_join(t, NULL), -EOWNERDEAD);
	return 3;
}

static int leave(void *arg)
{
	(void)arg;
	gort_goexit();
}

static void keep_quiet(const char *message, uint64_t goroutine)
{
	(void)message;
	(void)goroutine;
}

static void panic_later(void *arg)
{
	(void)arg;
	panic(NULL);
}

static void sleep_and_start(void *arg)
{
	gort_sleep(GORT_SEC);
	for (int i = 0; i < 4; i++) /* one of them gets what the first goroutine has left */
		CHECK_EQ(gort_go(panic_later, arg), 0);
}

static int end_before_a_panic(void *arg)
{
	CHECK_EQ(gort_go(sleep_and_start, arg), 0);
	return 7;
}

static int ends(void *arg)
{
	(void)arg;
	CHECK_EQ(in_a_bubble(end_before_a_panic, NULL), 7);
	CHECK_EQ(in_a_bubble(panic, NULL), -EOWNERDEAD);
	CHECK_EQ(in_a_bubble(panic_in_another, NULL), 3);
	CHECK_EQ(in_a_bubble(leave, NULL), 0);
	return 0;
}

TEST_PLAIN(result_is_told)
{
	gort_options options = { .on_panic = keep_quiet, .maxprocs = 1 };

	CHECK_EQ(gort_run(ends, NULL, &options), 0);
}

static void outlive(void *arg)
{
	gort_sleep(3600 * GORT_SEC);
	*(int64_t *)arg = gort_now();
}

static int leave_one_behind(void *arg)
{
	CHECK_EQ(gort_go(outlive, arg), 0);
	return 5;
}

// variants: maxprocs
TEST(bubble_lasts_until_all_have_ended)
{
	int64_t at = 0;

	CHECK_EQ(in_a_bubble(leave_one_behind, &at), 5);
	CHECK_EQ(at, 3600 * GORT_SEC);
}

static gort_chan *never;

static void recv_never(void *arg)
{
	gort_set_name("receiver");
	gort_chan_recv(arg, NULL);
}

static int stick(void *arg)
{
	(void)arg;
	never = gort_chan_make(0, 0);
	CHECK_EQ(gort_go(recv_never, never), 0);
	gort_sleep(GORT_SEC);
	gort_set_name("main");
	gort_select(NULL, 0, GORT_FOREVER);
	return 0;
}

TEST(deadlock_is_told_with_who_waits_for_what)
{
	char text[1024] = { 0 };
	int pipes[2], was = dup(2);

	CHECK_EQ(pipe(pipes), 0);
	CHECK(dup2(pipes[1], 2) == 2);
	CHECK_EQ(in_a_bubble(stick, NULL), -EDEADLK);
	CHECK(dup2(was, 2) == 2);
	CHECK(read(pipes[0], text, sizeof text - 1) > 0);
	CHECK(strstr(text, "deadlock: all goroutines of a bubble wait, and no timer is left"));
	CHECK(strstr(text, "(receiver) receives from a channel"));
	CHECK(strstr(text, "(main) selects"));
	close(pipes[0]);
	close(pipes[1]);
	close(was);
	test_leaves_goroutines();
	CHECK_EQ(gort_chan_close(never), 0); /* from outside, afterwards: it ends all the same */
	EVENTUALLY(gort_count() == 2);
	gort_chan_release(never);
}

static void not_here(void *arg)
{
	(void)arg;
	CHECK_EQ(gort_bubble(sleep_long, NULL), -EPERM);
}

TEST(plain_threads_have_none)
{
	on_guest(not_here, NULL);
	CHECK_EQ(gort_bubble(sleep_long, (int[]){ 1 }), 1);
}

TEST_PLAIN(without_a_runtime)
{
	not_here(NULL);
}

static int nest(void *arg)
{
	return gort_bubble(nest, arg);
}

TEST_DIES(bubble_in_a_bubble, "gort_bubble: called inside of a bubble")
{
	gort_bubble(nest, NULL);
}

TEST_DIES(bubble_without_function, "gort_bubble: no function")
{
	gort_bubble(NULL, NULL);
}

TEST_DIES(wait_outside, "gort_bubble_wait: called outside of a bubble")
{
	gort_bubble_wait();
}

static void wait_too(void *arg)
{
	(void)arg;
	gort_bubble_wait();
}

static int wait_twice(void *arg)
{
	gort_go(wait_too, NULL);
	wait_too(arg);
	gort_sleep(1);
	return 0;
}

TEST_DIES(two_wait, "gort_bubble_wait: another goroutine of the bubble does so already")
{
	gort_bubble(wait_twice, NULL);
}

/* ---- what outlives the bubble */

static struct {
	gort_ctx *ctx;
	gort_after *after;
	gort_timer *timer;
	atomic_int ran;
} left;

static void count_run(void *arg)
{
	(void)arg;
	gort_sleep(GORT_MS); /* by the real clock */
	atomic_fetch_add(&left.ran, 1);
}

static int leave_things(void *arg)
{
	(void)arg;
	left.after = gort_ctx_after_func(left.ctx, count_run, NULL);
	left.timer = gort_timer_start(gort_in(3600 * GORT_SEC), 0, NULL, NULL);
	CHECK(left.after && left.timer);
	return 0;
}

// variants: maxprocs
TEST(what_outlives_the_bubble_is_safe)
{
	for (int i = 1; i <= 5; i++) {
		left.ctx = gort_ctx_with_cancel(gort_ctx_background());
		CHECK_EQ(in_a_bubble(leave_things, NULL), 0);
		gort_ctx_cancel(left.ctx, 0);
		EVENTUALLY(atomic_load(&left.ran) == i);
		CHECK(!gort_ctx_after_stop(left.after));
		gort_ctx_release(left.ctx);
		if (i != 3)
			gort_timer_stop(left.timer);
		gort_timer_release(left.timer);
	}
}

static gort_timer *_Atomic for_nobody[4];

/* A timer for nobody, again and again, must not keep the runtime from ending. */
static int drown(void *arg)
{
	gort_timer *_Atomic *t = arg;

	atomic_store(t, gort_timer_start(gort_in(1), 1, NULL, NULL));
	return gort_select(NULL, 0, GORT_FOREVER);
}

static void drown_in_a_bubble(void *arg)
{
	gort_bubble(drown, arg);
}

static int sleep_and_end(void *arg)
{
	(void)arg;
	for (int i = 0; i < 4; i++)
		CHECK_EQ(gort_go(drown_in_a_bubble, &for_nobody[i]), 0);
	for (int i = 0; i < 4; i++)
		EVENTUALLY(atomic_load(&for_nobody[i]) != NULL);
	gort_sleep(2 * GORT_MS);
	return 0;
}

TEST_PLAIN(runtime_ends_while_bubbles_run)
{
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(gort_run(sleep_and_end, NULL, NULL), 0);
		for (int k = 0; k < 4; k++) {
			gort_timer_release(for_nobody[k]);
			for_nobody[k] = NULL;
		}
	}
	test_leaves_goroutines();
}

/* A context that is older than the runtime gets its timer when it is first entered: not a bubble's. */
static gort_ctx *older;

static int sleep_under_older(void *arg)
{
	gort_ctx *before = gort_ctx_enter(older);
	int err = gort_sleep(GORT_SEC);

	(void)arg;
	CHECK(err != 0 || gort_now() == GORT_SEC);
	gort_ctx_leave(before);
	return err;
}

static int wait_under_older(void *arg)
{
	int err = in_a_bubble(sleep_under_older, NULL);
	gort_ctx *before;

	(void)arg;
	if (err != 0) { /* all was so slow that it had ended before */
		CHECK_EQ(err, -ETIMEDOUT);
		CHECK(gort_now() >= gort_ctx_deadline(older));
	}
	before = gort_ctx_enter(older);
	CHECK_EQ(gort_select(NULL, 0, GORT_FOREVER), -ETIMEDOUT);
	gort_ctx_leave(before);
	return 0;
}

TEST_PLAIN(context_older_than_the_runtime_keeps_its_clock)
{
	older = gort_ctx_with_deadline(gort_ctx_background(), gort_in(50 * GORT_MS));
	CHECK(older != NULL);
	CHECK_EQ(gort_run(wait_under_older, NULL, NULL), 0);
	gort_ctx_release(older);
}

/* ---- memory */

static int make_things(void *arg)
{
	gort_ctx *ctx = gort_ctx_with_deadline(gort_ctx_current(), gort_in(GORT_SEC));
	int64_t late = GORT_SEC;
	gort_task *t = gort_spawn(return_late, &late, NULL);

	(void)arg;
	if (t && gort_join(t, NULL) < 0)
		gort_detach(t);
	gort_ctx_release(ctx);
	return 0;
}

TEST(memory_out_at_each_allocation)
{
	int err, n = 1;

	do {
		mem_fail_after((uint32_t)n++);
		err = gort_bubble(make_things, NULL);
		mem_fail_after(0);
		CHECK(err == 0 || err == -ENOMEM);
	} while (err);
	for (; n < 12; n++) {
		mem_fail_after((uint32_t)n);
		err = gort_bubble(make_things, NULL);
		mem_fail_after(0);
		CHECK(err == 0 || err == -ENOMEM);
	}
}

/* ---- many at once, on all Ps: the clock of each is right to the nanosecond */

enum { WORKERS = 20, BUBBLES = 16 };

struct shop {
	gort_chan *jobs, *results;
	gort_mutex mutex;
	int done; /* mutex */
};

static void work(void *arg)
{
	struct shop *s = arg;
	int64_t job;

	while (gort_chan_recv(s->jobs, &job) == 0) {
		int64_t end = gort_in(job);

		CHECK_EQ(gort_sleep(job), 0);
		CHECK_EQ(gort_now(), end);
		gort_mutex_lock(&s->mutex);
		s->done++;
		gort_mutex_unlock(&s->mutex);
		CHECK_EQ(gort_chan_send(s->results, &end), 0);
	}
}

static int trade(void *arg)
{
	struct shop s = {
		gort_chan_make(sizeof(int64_t), 3), gort_chan_make(sizeof(int64_t), 0), { 0 }, 0
	};
	uint64_t random = (uint64_t)(uintptr_t)arg | 1;
	int64_t end, last = 0;
	int sent = 0, got = 0;

	for (int i = 0; i < WORKERS; i++)
		CHECK_EQ(gort_go(work, &s), 0);
	while (got < SCALE(300)) {
		int64_t job = (int64_t)((random = random * 6364136223846793005U + 1) >> 40);
		gort_case cases[] = { GORT_CASE_RECV(s.results, &end),
				      GORT_CASE_SEND(sent < SCALE(300) ? s.jobs : NULL, &job) };

		if (gort_select(cases, 2, GORT_FOREVER) == 0) {
			CHECK(end >= last && end <= gort_now());
			last = gort_now();
			got++;
		} else {
			sent++;
		}
	}
	CHECK_EQ(gort_chan_close(s.jobs), 0);
	gort_bubble_wait(); /* the workers have ended */
	CHECK_EQ(s.done, got);
	gort_chan_release(s.jobs);
	gort_chan_release(s.results);
	return got;
}

static void trade_in_a_bubble(void *arg)
{
	CHECK_EQ(gort_bubble(trade, arg), SCALE(300));
}

// variants: maxprocs
TEST(many_bubbles_at_once)
{
	gort_waitgroup ended = { 0 };

	for (uintptr_t i = 0; i < BUBBLES; i++)
		CHECK_EQ(gort_waitgroup_go(&ended, trade_in_a_bubble, (void *)(i * 12345)), 0);
	CHECK_EQ(gort_waitgroup_wait(&ended), 0);
}
