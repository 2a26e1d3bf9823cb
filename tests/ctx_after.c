/*
 * ctx_after.c - functions that run at a context's end, and contexts under runtimes that come and
 * go: what lives on, what is dropped, who is still told.
 */
#include "harness.h"

#include "base/alloc.h"

#include <errno.h>
#include <stdatomic.h>
#include <unistd.h>

static gort_ctx *make(void)
{
	gort_ctx *ctx = gort_ctx_with_cancel(gort_ctx_background());

	CHECK(ctx != NULL);
	return ctx;
}

static atomic_int ran;

static void count_run(void *arg)
{
	CHECK(gort_ctx_current() == gort_ctx_background());
	CHECK(gort_self() > 1);
	atomic_fetch_add(arg ? (atomic_int *)arg : &ran, 1);
}

static gort_after *after(gort_ctx *ctx, atomic_int *count)
{
	gort_after *a = gort_ctx_after_func(ctx, count_run, count);

	CHECK(a != NULL);
	return a;
}

/* ---- functions at the end -------------------------------------------------------------------- */

// variants: maxprocs bubble
TEST(function_runs_once_at_the_end)
{
	gort_ctx *ctx = make(), *value = gort_ctx_with_value(ctx, &ran, NULL);
	gort_ctx *low = gort_ctx_with_cancel(value);
	gort_after *a[] = { after(ctx, NULL), after(value, NULL), after(low, NULL) };
	gort_ctx *before = gort_ctx_enter(ctx);

	CHECK_EQ(gort_sleep(GORT_MS), 0);
	CHECK_EQ(atomic_load(&ran), 0);
	gort_ctx_cancel(ctx, 0);
	gort_ctx_leave(before);
	EVENTUALLY(atomic_load(&ran) == 3);
	for (int i = 0; i < 3; i++)
		CHECK(!gort_ctx_after_stop(a[i]));
	gort_ctx_cancel(ctx, 0);
	gort_sleep(GORT_MS);
	CHECK_EQ(atomic_load(&ran), 3);
	gort_ctx_release(low);
	gort_ctx_release(value);
	gort_ctx_release(ctx);
}

// variants: bubble
TEST(function_runs_at_once_after_the_end)
{
	gort_ctx *ctx = make(), *late = gort_ctx_with_deadline(ctx, GORT_NOW);
	gort_after *a[2];

	gort_ctx_cancel(ctx, 0);
	a[0] = after(ctx, NULL);
	a[1] = after(late, NULL);
	EVENTUALLY(atomic_load(&ran) == 2);
	CHECK(!gort_ctx_after_stop(a[0]));
	CHECK(!gort_ctx_after_stop(a[1]));
	gort_ctx_release(late);
	gort_ctx_release(ctx);
}

// variants: bubble
TEST(function_runs_at_the_last_release)
{
	gort_ctx *ctx = make();
	gort_after *a = after(ctx, NULL);

	gort_ctx_release(ctx); /* a function does not hold it */
	EVENTUALLY(atomic_load(&ran) == 1);
	CHECK(!gort_ctx_after_stop(a));
}

// variants: bubble
TEST(stopped_function_does_not_run)
{
	gort_ctx *ctx = make();
	gort_after *a[2] = { after(ctx, NULL), after(ctx, NULL) };

	CHECK(gort_ctx_after_stop(a[0]));
	gort_ctx_cancel(ctx, 0);
	EVENTUALLY(atomic_load(&ran) == 1);
	CHECK(!gort_ctx_after_stop(a[1]));
	gort_sleep(GORT_MS);
	CHECK_EQ(atomic_load(&ran), 1);
	gort_ctx_release(ctx);
}

// variants: bubble
TEST(function_of_a_context_that_never_ends)
{
	gort_ctx *ctx = make(), *apart = gort_ctx_without_cancel(ctx);
	gort_after *a[2] = { after(gort_ctx_background(), NULL), after(apart, NULL) };

	gort_ctx_cancel(ctx, 0);
	gort_ctx_release(ctx);
	gort_ctx_release(apart);
	CHECK(gort_ctx_after_stop(a[0]));
	CHECK(gort_ctx_after_stop(a[1]));
	CHECK_EQ(atomic_load(&ran), 0);
}

static gort_after *own;

static void stop_oneself(void *arg)
{
	CHECK_EQ(gort_chan_recv(arg, NULL), 0);
	CHECK(!gort_ctx_after_stop(own));
	atomic_fetch_add(&ran, 1);
}

// variants: bubble
TEST(function_stops_itself)
{
	gort_ctx *ctx = make();
	gort_chan *known = gort_chan_make(0, 1);

	own = gort_ctx_after_func(ctx, stop_oneself, known);
	CHECK(own != NULL);
	gort_ctx_release(ctx);
	CHECK_EQ(gort_chan_send(known, NULL), 0);
	EVENTUALLY(atomic_load(&ran) == 1);
	gort_chan_release(known);
}

/* Each of very many. */
// variants: maxprocs bubble
TEST(ten_thousand_functions)
{
	enum { N = SCALE(10000) };
	static gort_after *a[N];
	gort_ctx *ctx = make();
	int stopped = 0;

	for (int i = 0; i < N; i++)
		a[i] = after(ctx, NULL);
	for (int i = 0; i < N; i += 3)
		stopped += gort_ctx_after_stop(a[i]);
	CHECK_EQ(stopped, (N + 2) / 3);
	gort_ctx_cancel(ctx, 0);
	EVENTUALLY(atomic_load(&ran) == N - stopped);
	for (int i = 0; i < N; i++)
		if (i % 3)
			CHECK(!gort_ctx_after_stop(a[i]));
	gort_ctx_release(ctx);
}

/* ---- stop and the end at once ---------------------------------------------------------------- */

static struct {
	gort_chan *ctx;     /* to be ended */
	gort_chan *handled; /* it has been, or will be at once */
	int rounds;
	gort_waitgroup all;
} stops;

static void end_each(void *arg)
{
	gort_ctx *ctx;

	for (int i = 0; gort_chan_recv(stops.ctx, &ctx) == 0; i++) {
		if (i % 2)
			CHECK_EQ(gort_chan_send(stops.handled, NULL), 0);
		if (i % 3 == 0)
			gort_ctx_cancel(ctx, 0);
		gort_ctx_release(ctx); /* this ends it, too */
		if (i % 2 == 0)
			CHECK_EQ(gort_chan_send(stops.handled, NULL), 0);
	}
	gort_waitgroup_done(arg);
}

static void stop_each(void *arg)
{
	atomic_int count;

	for (int i = 0; i < stops.rounds; i++) {
		gort_ctx *ctx = make();
		gort_after *a;
		bool stopped;

		atomic_store(&count, 0);
		a = after(ctx, &count);
		CHECK_EQ(gort_chan_send(stops.ctx, &ctx), 0);
		if (i % 8)
			CHECK_EQ(gort_chan_recv(stops.handled, NULL), 0);
		stopped = gort_ctx_after_stop(a);
		EVENTUALLY(stopped || atomic_load(&count) == 1);
		if (i % 8 == 0)
			CHECK_EQ(gort_chan_recv(stops.handled, NULL), 0);
		CHECK_EQ(atomic_load(&count), !stopped);
	}
	CHECK_EQ(gort_chan_close(stops.ctx), 0);
	gort_waitgroup_done(arg);
}

static struct guest *start(bool on_guest, gort_func fn)
{
	if (on_guest)
		return guest_start(fn, &stops.all);
	CHECK_EQ(gort_go(fn, &stops.all), 0);
	return NULL;
}

// variants: maxprocs
TEST(stop_races_with_the_end)
{
	for (int guests = 0; guests < 4; guests++) {
		struct guest *g[2];

		stops.rounds = SCALE(3000);
		stops.ctx = gort_chan_make(sizeof(gort_ctx *), 1);
		stops.handled = gort_chan_make(0, 1);
		gort_waitgroup_add(&stops.all, 2);
		g[0] = start(guests & 1, end_each);
		g[1] = start(guests & 2, stop_each);
		CHECK_EQ(gort_waitgroup_wait(&stops.all), 0);
		for (int i = 0; i < 2; i++)
			if (g[i])
				guest_join(g[i]);
		gort_chan_release(stops.ctx);
		gort_chan_release(stops.handled);
	}
}

/* Without memory for it there is none, and nothing is lost. */
// variants: bubble
TEST(functions_without_memory)
{
	gort_ctx *ctx = make();
	gort_after *a = NULL;

	for (uint32_t n = 1; !a; n++) {
		CHECK(n < 100);
		mem_fail_after(n);
		a = gort_ctx_after_func(ctx, count_run, NULL);
		mem_fail_after(0);
	}
	CHECK(gort_ctx_after_stop(a));
	gort_ctx_release(ctx);
}

/* ---- runtimes that come and go --------------------------------------------------------------- */

static struct {
	gort_ctx *ctx, *other;
	gort_after *after[3];
	gort_chan *never;
	atomic_int waiting;
} left;

static int leave_functions(void *arg)
{
	(void)arg;
	for (int i = 0; i < 3; i++)
		left.after[i] = after(i ? left.ctx : left.other, NULL);
	gort_ctx_cancel(left.other, 0); /* it may run, or not any more */
	return 0;
}

static int nothing(void *arg)
{
	(void)arg;
	gort_sleep(GORT_MS);
	return 0;
}

/* Functions of a runtime that is over never run, whatever runs when their context ends. */
TEST_PLAIN(functions_of_a_runtime_that_is_over)
{
	int before;

	for (int i = 0; i < 3; i++) {
		left.ctx = make();
		left.other = make();
		CHECK_EQ(gort_run(leave_functions, NULL, NULL), 0);
		before = atomic_load(&ran);
		CHECK(gort_ctx_after_func(left.ctx, count_run, NULL) == NULL);
		if (i == 1)
			CHECK_EQ(gort_start(NULL), 0);
		CHECK(gort_ctx_after_stop(left.after[1]));
		gort_ctx_cancel(left.ctx, 0);
		if (i != 1)
			CHECK_EQ(gort_run(nothing, NULL, NULL), 0);
		CHECK(!gort_ctx_after_stop(left.after[2]));
		CHECK(!gort_ctx_after_stop(left.after[0]));
		if (i == 1)
			CHECK_EQ(gort_stop(), 0);
		CHECK_EQ(atomic_load(&ran), before);
		gort_ctx_release(left.ctx);
		gort_ctx_release(left.other);
	}
}

static void wait_under(void *arg)
{
	gort_case k = GORT_CASE_RECV(left.never, NULL);

	atomic_fetch_add(&left.waiting, 1);
	switch ((intptr_t)arg % 4) {
	case 0:
		gort_chan_recv(left.never, NULL);
		break;
	case 1:
		gort_select(&k, 1, GORT_FOREVER);
		break;
	case 2:
		gort_sleep(GORT_FOREVER);
		break;
	default:
		gort_chan_recv_until(left.never, NULL, gort_in(3600 * GORT_SEC));
		break;
	}
	CHECK(false); /* it never runs again */
}

static int task_waits_under(void *arg)
{
	gort_ctx_current();
	wait_under(arg);
	return 0;
}

static int leave_waiting(void *arg)
{
	gort_ctx *before = gort_ctx_enter(left.ctx), *low = gort_ctx_with_cancel(left.ctx);

	(void)arg;
	for (intptr_t i = 0; i < 20; i++)
		CHECK_EQ(gort_go(wait_under, (void *)i), 0);
	for (intptr_t i = 0; i < 4; i++)
		gort_detach(gort_spawn(task_waits_under, (void *)i, NULL));
	gort_ctx_leave(gort_ctx_enter(low) == left.ctx ? left.ctx : NULL);
	gort_ctx_leave(before);
	gort_ctx_release(low);
	EVENTUALLY(atomic_load(&left.waiting) == 24);
	return 0;
}

static void guest_waits_under(void *arg)
{
	gort_ctx *before = gort_ctx_enter(left.ctx);

	atomic_fetch_add(&left.waiting, 1);
	CHECK_EQ(gort_chan_recv(left.never, NULL), -ECANCELED);
	CHECK_EQ(gort_sleep(GORT_FOREVER), -ECANCELED);
	gort_ctx_leave(before);
	(void)arg;
}

/* Goroutines that are dropped leave their contexts; guests stay under them. */
// variants: maxprocs
TEST_PLAIN(runtime_ends_under_contexts)
{
	for (int i = 0; i < SCALE(20); i++) {
		struct guest *g;

		left.ctx = make();
		left.never = gort_chan_make(0, 0);
		atomic_store(&left.waiting, -1);
		g = guest_start(guest_waits_under, NULL);
		EVENTUALLY(atomic_load(&left.waiting) == 0);
		CHECK_EQ(gort_run(leave_waiting, NULL, NULL), 0);
		if (i % 2)
			CHECK_EQ(gort_run(nothing, NULL, NULL), 0);
		CHECK_EQ(gort_ctx_err(left.ctx), 0);
		gort_ctx_cancel(left.ctx, -EIO);
		CHECK_EQ(gort_ctx_cause(left.ctx), -EIO);
		guest_join(g);
		gort_ctx_release(left.ctx);
		gort_chan_release(left.never);
	}
}

/* What a dropped goroutine had alone is ended, and freed. */
static int leave_alone(void *arg)
{
	gort_ctx *ctx = make();

	*(gort_chan **)arg = gort_chan_retain(gort_ctx_done(ctx));
	atomic_store(&left.waiting, 0);
	gort_ctx_enter(ctx);
	gort_ctx_release(ctx);
	CHECK_EQ(gort_go(wait_under, NULL), 0);
	gort_ctx_leave(gort_ctx_background());
	EVENTUALLY(atomic_load(&left.waiting) == 1);
	return 0;
}

TEST_PLAIN(runtime_ends_with_the_last_reference)
{
	gort_chan *done;

	left.never = gort_chan_make(0, 0);
	CHECK_EQ(gort_run(leave_alone, &done, NULL), 0);
	CHECK_EQ(gort_chan_try_recv(done, NULL), -EPIPE);
	gort_chan_release(done);
	gort_chan_release(left.never);
}

/* ---- deadlines of contexts that are older than the runtime ----------------------------------- */

enum way { DONE, SELECT, UNDER, AFTER, CHILD, WAYS };

struct old {
	gort_ctx *ctx;
	enum way way;
};

static void wait_in(gort_ctx *ctx)
{
	gort_ctx *before = gort_ctx_enter(ctx);

	CHECK_EQ(gort_chan_recv(left.never, NULL), -ETIMEDOUT);
	gort_ctx_leave(before);
}

static int wait_for_old(void *arg)
{
	struct old *old = arg;
	gort_case k = GORT_CASE_RECV(gort_ctx_done(old->ctx), NULL);
	gort_ctx *low;
	gort_after *a;

	switch (old->way) {
	case DONE:
		CHECK_EQ(gort_chan_recv(gort_ctx_done(old->ctx), NULL), -EPIPE);
		break;
	case SELECT:
		CHECK_EQ(gort_select(&k, 1, GORT_FOREVER), 0);
		break;
	case UNDER:
		wait_in(old->ctx);
		break;
	case AFTER:
		a = after(old->ctx, NULL);
		EVENTUALLY(atomic_load(&ran) == 1);
		CHECK(!gort_ctx_after_stop(a));
		atomic_store(&ran, 0);
		break;
	default:
		low = gort_ctx_with_cancel(old->ctx);
		wait_in(low);
		gort_ctx_release(low);
		break;
	}
	CHECK(gort_now() >= gort_ctx_deadline(old->ctx));
	CHECK_EQ(gort_ctx_err(old->ctx), -ETIMEDOUT);
	return 0;
}

static int make_in_runtime(void *arg)
{
	*(gort_ctx **)arg = gort_ctx_with_deadline(gort_ctx_background(), gort_in(20 * GORT_MS));
	return 0;
}

static void wait_for_old_ones(int (*make_old)(void *ctx), int runtimes_between)
{
	left.never = gort_chan_make(0, 0);
	for (enum way way = 0; way < WAYS; way++) {
		struct old old = { .way = way };

		if (make_old)
			CHECK_EQ(gort_run(make_old, &old.ctx, NULL), 0);
		else
			make_in_runtime(&old.ctx);
		for (int i = 0; i < runtimes_between; i++)
			CHECK_EQ(gort_run(nothing, NULL, NULL), 0);
		CHECK_EQ(gort_run(wait_for_old, &old, NULL), 0);
		gort_ctx_release(old.ctx);
	}
	gort_chan_release(left.never);
}

// variants: maxprocs
TEST_PLAIN(deadline_of_a_context_made_before_the_runtime)
{
	wait_for_old_ones(NULL, 0);
}

// variants: maxprocs
TEST_PLAIN(deadline_of_a_context_made_in_a_runtime_before)
{
	wait_for_old_ones(make_in_runtime, 0);
	wait_for_old_ones(make_in_runtime, 2);
}

/* A straggler keeps all stacks from being freed. The goroutines on them are over all the same: a
 * context that ends under the next runtime, or the cancellation of a task, does not have them
 * run in it. */
static atomic_bool spin_end, spun;

static void spin(void *arg)
{
	(void)arg;
	atomic_fetch_add(&left.waiting, 1);
	while (!atomic_load(&spin_end))
		;
	atomic_store(&spun, true);
}

static int task_waits(void *arg)
{
	wait_under(arg);
	return 0;
}

static int end_contexts(void *task)
{
	gort_ctx_cancel(left.ctx, 0);
	gort_task_cancel(task, 0);
	gort_sleep(10 * GORT_MS);
	return 0;
}

// not: valgrind
TEST_PLAIN(runtime_ends_with_stragglers_under_contexts)
{
	gort_ctx *before;
	gort_task *task;

	left.ctx = make();
	left.never = gort_chan_make(0, 0);
	CHECK_EQ(gort_start(&(gort_options){ .maxprocs = 2 }), 0);
	before = gort_ctx_enter(left.ctx);
	for (intptr_t i = 0; i < 4; i++)
		CHECK_EQ(gort_go(wait_under, (void *)i), 0);
	gort_ctx_leave(before);
	task = gort_spawn(task_waits, NULL, NULL);
	EVENTUALLY(atomic_load(&left.waiting) == 5);
	CHECK_EQ(gort_go(spin, NULL), 0);
	EVENTUALLY(atomic_load(&left.waiting) == 6);
	CHECK_EQ(gort_stop(), 0);
	atomic_store(&spin_end, true);
	EVENTUALLY(atomic_load(&spun));
	EVENTUALLY(gort_run(end_contexts, task, NULL) == 0);
	CHECK_EQ(gort_ctx_err(left.ctx), -ECANCELED);
	gort_ctx_release(left.ctx);
	_exit(TEST_OK); /* what the straggler could have touched is kept for good */
}
