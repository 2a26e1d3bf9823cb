/*
 * ctx_current.c - the current context of a goroutine, a task or a plain thread: inherited,
 * entered and left, held; deadlines of one's own; tasks that are cancelled. The waits that end by
 * it: ctx_wait.c.
 */
#include "harness.h"

#include "base/alloc.h"

#include <errno.h>
#include <stdatomic.h>

static gort_ctx *make(gort_ctx *parent)
{
	gort_ctx *ctx = gort_ctx_with_cancel(parent);

	CHECK(ctx != NULL);
	return ctx;
}

static gort_ctx *background(void)
{
	return gort_ctx_background();
}

static gort_chan *never; /* nobody sends on it */

static int wait_for_ever(void)
{
	return gort_chan_recv(never, NULL);
}

/* ---- inherited ------------------------------------------------------------------------------- */

static struct {
	gort_waitgroup all;
	atomic_int ended;
} family;

static void grandchild(void *arg)
{
	CHECK(gort_ctx_value(gort_ctx_current(), &family) == arg);
	CHECK_EQ(wait_for_ever(), -ECANCELED);
	CHECK_EQ(gort_ctx_cause(gort_ctx_current()), -EIO);
	atomic_fetch_add(&family.ended, 1);
}

static void child(void *arg)
{
	CHECK_EQ(gort_waitgroup_go(&family.all, grandchild, arg), 0);
	grandchild(arg);
}

static void child_with_copy(void *arg)
{
	child(*(void **)arg);
	gort_waitgroup_done(&family.all);
}

static int child_task(void *arg)
{
	child(arg);
	return 9;
}

/* By all that start goroutines, from goroutines and guests; children's children as well. */
static void start_children(void *value)
{
	gort_ctx *before = gort_ctx_current();

	CHECK_EQ(gort_waitgroup_go(&family.all, child, value), 0);
	gort_waitgroup_add(&family.all, 1);
	CHECK_EQ(gort_go_copy(child_with_copy, &value, sizeof value), 0);
	gort_detach(gort_spawn(child_task, value, NULL));
	CHECK(gort_ctx_current() == before);
}

static void start_children_on_guest(void *arg)
{
	gort_ctx *before = gort_ctx_enter(arg);

	CHECK(before == background());
	start_children(gort_ctx_value(arg, &family));
	gort_ctx_leave(before);
	CHECK(gort_ctx_current() == background());
}

// variants: maxprocs
TEST(goroutines_inherit_the_context_of_who_starts_them)
{
	int n = 0;
	gort_ctx *top = make(background()), *ctx = gort_ctx_with_value(top, &family, &n);
	gort_ctx *before = gort_ctx_enter(ctx);

	never = gort_chan_make(0, 0);
	start_children(&n);
	gort_ctx_leave(before);
	on_guest(start_children_on_guest, ctx);
	gort_ctx_release(ctx);
	EVENTUALLY(gort_count() == 13);
	gort_ctx_cancel(top, -EIO);
	EVENTUALLY(gort_count() == 1);
	CHECK_EQ(gort_waitgroup_wait(&family.all), 0);
	CHECK_EQ(atomic_load(&family.ended), 12);
	gort_ctx_release(top);
	gort_chan_release(never);
}

static void starts_under_nothing(void *arg)
{
	CHECK(gort_ctx_current() == background());
	gort_waitgroup_done(arg);
}

// variants: bubble
TEST(goroutines_started_after_leaving_inherit_nothing)
{
	gort_waitgroup all = { 0 };
	gort_ctx *ctx = make(background());

	gort_ctx_leave(gort_ctx_enter(ctx));
	gort_waitgroup_add(&all, 2);
	CHECK_EQ(gort_go(starts_under_nothing, &all), 0);
	gort_ctx_enter(ctx);
	CHECK(gort_ctx_enter(background()) == ctx);
	CHECK_EQ(gort_go(starts_under_nothing, &all), 0);
	gort_ctx_leave(ctx);
	gort_ctx_leave(background());
	CHECK_EQ(gort_waitgroup_wait(&all), 0);
	gort_ctx_release(ctx);
}

static int is_below(void *arg)
{
	gort_ctx *ctx = gort_ctx_current();

	CHECK(ctx != arg && ctx != background());
	CHECK(gort_ctx_current() == ctx);
	CHECK(gort_ctx_value(ctx, &family) == arg);
	CHECK_EQ(gort_ctx_err(ctx), 0);
	return 1;
}

static int is_below_the_background(void *arg)
{
	(void)arg;
	CHECK(gort_ctx_value(gort_ctx_current(), &family) == NULL);
	return 2;
}

/* A task has one of its own, below the current one or attr's. */
// variants: maxprocs bubble
TEST(tasks_have_a_context_of_their_own)
{
	gort_ctx *ctx = gort_ctx_with_value(background(), &family, &never), *before;
	int result;

	CHECK_EQ(gort_join(gort_spawn(is_below, &never, &(gort_attr){ .ctx = ctx }), &result), 0);
	CHECK_EQ(result, 1);
	before = gort_ctx_enter(ctx);
	CHECK_EQ(gort_join(gort_spawn(is_below, &never, NULL), &result), 0);
	CHECK_EQ(result, 1);
	CHECK_EQ(gort_join(gort_spawn(is_below_the_background, NULL,
				      &(gort_attr){ .ctx = background() }),
			   &result),
		 0);
	CHECK_EQ(result, 2);
	gort_ctx_leave(before);
	gort_ctx_release(ctx);
}

/* ---- entered and left ------------------------------------------------------------------------ */

static void nest(void *arg)
{
	gort_ctx *a = make(background()), *b = gort_ctx_with_value(a, &a, arg);
	gort_ctx *c = make(background());

	CHECK(gort_ctx_enter(a) == background());
	CHECK(gort_ctx_current() == a);
	CHECK(gort_ctx_enter(a) == a);
	CHECK(gort_ctx_enter(b) == a);
	CHECK(gort_ctx_enter(c) == b);
	CHECK(gort_ctx_current() == c);
	CHECK(gort_ctx_enter(background()) == c);
	gort_ctx_cancel(a, 0);
	CHECK_EQ(gort_sleep(1), 0);
	gort_ctx_leave(c);
	CHECK(gort_ctx_current() == c);
	CHECK_EQ(gort_sleep(1), 0); /* c lives */
	gort_ctx_leave(b);
	CHECK_EQ(wait_for_ever(), -ECANCELED);
	CHECK(gort_ctx_value(gort_ctx_current(), &a) == arg);
	gort_ctx_leave(a);
	CHECK_EQ(wait_for_ever(), -ECANCELED);
	gort_ctx_leave(a);
	CHECK_EQ(wait_for_ever(), -ECANCELED);
	gort_ctx_leave(background());
	CHECK_EQ(gort_sleep(1), 0);
	gort_ctx_release(a);
	gort_ctx_release(b);
	gort_ctx_release(c);
}

// variants: maxprocs bubble
TEST(enter_and_leave_nest)
{
	never = gort_chan_make(0, 0);
	nest(&never);
	on_guest(nest, &never);
	gort_chan_release(never);
}

TEST_PLAIN(enter_and_leave_without_a_runtime)
{
	never = gort_chan_make(0, 0);
	nest(&never);
	on_guest(nest, &never);
	gort_chan_release(never);
}

/* From enter to leave it is held, also while others are entered within. */
static void hold(void *arg)
{
	gort_ctx *a = make(background()), *b = make(background());
	gort_chan *done = gort_chan_retain(gort_ctx_done(a));

	(void)arg;
	gort_ctx_enter(a);
	gort_ctx_release(a);
	CHECK_EQ(gort_chan_try_recv(done, NULL), -EAGAIN);
	gort_ctx_enter(b);
	gort_ctx_release(b);
	CHECK_EQ(gort_chan_try_recv(done, NULL), -EAGAIN);
	gort_ctx_leave(a);
	CHECK_EQ(gort_chan_try_recv(done, NULL), -EAGAIN);
	gort_ctx_leave(background());
	CHECK_EQ(gort_chan_try_recv(done, NULL), -EPIPE);
	gort_chan_release(done);
}

// variants: bubble
TEST(context_is_held_from_enter_to_leave)
{
	hold(NULL);
	on_guest(hold, NULL);
}

/* A goroutine holds what it has inherited, to its end; and ends it, if it was the last. */
static void end_when_told(void *gate)
{
	CHECK_EQ(gort_chan_recv(gate, NULL), 0);
}

// variants: maxprocs
TEST(goroutine_holds_its_context)
{
	gort_ctx *ctx = make(background());
	gort_chan *done = gort_chan_retain(gort_ctx_done(ctx)), *gate = gort_chan_make(0, 0);

	gort_ctx_enter(ctx);
	CHECK_EQ(gort_go(end_when_told, gate), 0);
	CHECK_EQ(gort_go(end_when_told, gate), 0);
	gort_ctx_leave(background());
	gort_ctx_release(ctx);
	CHECK_EQ(gort_chan_send(gate, NULL), 0);
	EVENTUALLY(gort_count() == 2);
	CHECK_EQ(gort_chan_try_recv(done, NULL), -EAGAIN);
	CHECK_EQ(gort_chan_send(gate, NULL), 0);
	CHECK_EQ(gort_chan_recv(done, NULL), -EPIPE);
	gort_chan_release(done);
	gort_chan_release(gate);
}

/* However it ends. */
static void leave_ctx(void *before)
{
	gort_ctx_leave(before);
}

static void end_inside(void *arg)
{
	gort_ctx *ctx = make(background());

	CHECK_EQ(gort_defer(leave_ctx, gort_ctx_enter(ctx)), 0);
	gort_ctx_release(ctx);
	if (arg)
		gort_panic("inside");
}

static void enter_and_exit(void *arg)
{
	char message[16];

	CHECK_EQ(gort_try(end_inside, NULL, message, sizeof message), 0);
	CHECK_EQ(gort_try(end_inside, arg, message, sizeof message), -EOWNERDEAD);
	CHECK(gort_ctx_current() == background());
	gort_ctx_enter(arg);
	gort_goexit();
}

TEST(leave_by_defer_and_end_inside)
{
	gort_ctx *ctx = make(background());

	for (int i = 0; i < 10; i++)
		CHECK_EQ(gort_go(enter_and_exit, ctx), 0);
	EVENTUALLY(gort_count() == 1);
	gort_ctx_release(ctx);
}

/* A thread that ends inside gives up its context, and is not looked for when that ends. */
static void end_thread_inside(void *ctx)
{
	gort_ctx_enter(ctx);
	gort_ctx_release(ctx); /* its own handle */
	CHECK_EQ(gort_chan_recv_until(never, NULL, gort_in(10 * GORT_US)), -ETIMEDOUT);
}

// variants: maxprocs bubble
TEST(threads_end_inside_a_context)
{
	never = gort_chan_make(0, 0);
	for (int i = 0; i < SCALE(200); i++) {
		gort_ctx *ctx = make(background());
		struct guest *g[4];

		for (int k = 0; k < 4; k++)
			g[k] = guest_start(end_thread_inside, gort_ctx_retain(ctx));
		if (i % 2) {
			gort_sleep(i % 16 * 5 * GORT_US);
			gort_ctx_release(ctx); /* the last thread may end it */
		}
		for (int k = 0; k < 4; k++)
			guest_join(g[k]);
		if (i % 2 == 0) {
			gort_ctx_cancel(ctx, 0);
			gort_ctx_release(ctx);
		}
	}
	gort_chan_release(never);
}

/* A hundred threads, one after the other or at once, under one context. */
static atomic_int inside;

static void wait_inside(void *ctx)
{
	gort_ctx *before = gort_ctx_enter(ctx);

	atomic_fetch_add(&inside, 1);
	CHECK_EQ(wait_for_ever(), -ECANCELED);
	CHECK_EQ(wait_for_ever(), -ECANCELED);
	gort_ctx_leave(before);
}

// variants: maxprocs bubble
TEST(many_guests_under_one_context)
{
	enum { N = SCALE(100) };
	gort_ctx *ctx = make(background());
	struct guest *g[N];

	never = gort_chan_make(0, 0);
	for (int i = 0; i < N; i++)
		g[i] = guest_start(wait_inside, ctx);
	EVENTUALLY(atomic_load(&inside) == N);
	gort_ctx_cancel(ctx, 0);
	for (int i = 0; i < N; i++)
		guest_join(g[i]);
	gort_ctx_release(ctx);
	gort_chan_release(never);
}

/* ---- deadlines of one's own ------------------------------------------------------------------ */

static void set_and_put_back(void *arg)
{
	int64_t hour = gort_in(3600 * GORT_SEC), start = gort_now();

	(void)arg;
	CHECK_EQ(gort_set_deadline(hour), GORT_FOREVER);
	CHECK_EQ(gort_set_deadline(gort_in(2 * GORT_MS)), hour);
	CHECK_EQ(wait_for_ever(), -ETIMEDOUT);
	CHECK(gort_now() >= start + 2 * GORT_MS);
	CHECK_EQ(gort_sleep_until(hour), -ETIMEDOUT);
	CHECK(gort_set_deadline(GORT_NOW) < hour);
	CHECK_EQ(wait_for_ever(), -ETIMEDOUT);
	CHECK_EQ(gort_sleep(0), 0);
	CHECK_EQ(gort_chan_try_recv(never, NULL), -EAGAIN);
	CHECK_EQ(gort_set_deadline(hour), GORT_NOW);
	CHECK_EQ(gort_sleep(GORT_US), 0); /* it ends before */
	CHECK_EQ(gort_chan_recv_until(never, NULL, gort_in(GORT_US)), -ETIMEDOUT);
	CHECK_EQ(gort_set_deadline(GORT_FOREVER), hour);
	CHECK_EQ(gort_set_deadline(GORT_FOREVER), GORT_FOREVER);
	CHECK_EQ(gort_sleep(GORT_US), 0);
}

static void has_none(void *arg)
{
	CHECK_EQ(gort_set_deadline(GORT_FOREVER), GORT_FOREVER);
	CHECK_EQ(gort_chan_send(arg, NULL), 0);
}

// variants: maxprocs bubble
TEST(deadline_of_ones_own)
{
	gort_chan *told = gort_chan_make(0, 0);

	never = gort_chan_make(0, 0);
	set_and_put_back(NULL);
	on_guest(set_and_put_back, NULL);
	gort_set_deadline(gort_in(3600 * GORT_SEC)); /* nobody else's */
	CHECK_EQ(gort_go(has_none, told), 0);
	CHECK_EQ(gort_chan_recv(told, NULL), 0);
	gort_set_deadline(GORT_FOREVER);
	gort_chan_release(told);
	gort_chan_release(never);
}

TEST_PLAIN(deadline_of_ones_own_without_a_runtime)
{
	never = gort_chan_make(0, 0);
	set_and_put_back(NULL);
	gort_chan_release(never);
}

/* It goes with the goroutine, and with the thread. */
static void set_and_end(void *arg)
{
	gort_set_deadline(gort_now());
	gort_waitgroup_done(arg);
}

// variants: bubble
TEST(deadline_of_ones_own_ends_with_its_goroutine)
{
	gort_waitgroup all = { 0 };
	gort_chan *told = gort_chan_make(0, 0);

	for (int i = 0; i < 100; i++) {
		gort_waitgroup_add(&all, 1);
		CHECK_EQ(gort_go(set_and_end, &all), 0);
		CHECK_EQ(gort_waitgroup_wait(&all), 0);
		CHECK_EQ(gort_go(has_none, told), 0);
		CHECK_EQ(gort_chan_recv(told, NULL), 0);
	}
	gort_chan_release(told);
}

/* The earlier of the two tells: the context's end, or the deadline. */
static void earlier_of_two(void *arg)
{
	gort_ctx *ctx = make(background()), *late = gort_ctx_with_deadline(ctx, gort_now());

	(void)arg;
	gort_ctx_enter(ctx);
	gort_set_deadline(gort_in(GORT_MS));
	CHECK_EQ(wait_for_ever(), -ETIMEDOUT);
	CHECK_EQ(gort_ctx_err(ctx), 0);
	gort_set_deadline(gort_in(3600 * GORT_SEC));
	gort_ctx_cancel(ctx, -EIO);
	CHECK_EQ(wait_for_ever(), -ECANCELED);
	gort_ctx_enter(late);
	CHECK_EQ(wait_for_ever(), -ETIMEDOUT);
	gort_ctx_leave(ctx);
	gort_ctx_leave(background());
	gort_set_deadline(GORT_FOREVER);
	gort_ctx_release(late);
	gort_ctx_release(ctx);
}

// variants: bubble
TEST(deadline_of_ones_own_beside_a_context)
{
	never = gort_chan_make(0, 0);
	earlier_of_two(NULL);
	on_guest(earlier_of_two, NULL);
	gort_chan_release(never);
}
