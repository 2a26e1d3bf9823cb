/*
 * ctx.c - contexts: who ends with whom, why, until when, with which values; done channels,
 * functions at the end, memory; the current context. The waits that contexts end: ctx_wait.c,
 * ctx_race.c.
 */
#include "harness.h"

#include "base/alloc.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

static gort_ctx *make(gort_ctx *parent)
{
	gort_ctx *ctx = gort_ctx_with_cancel(parent);

	CHECK(ctx != NULL);
	return ctx;
}

static gort_ctx *make_until(gort_ctx *parent, int64_t deadline)
{
	gort_ctx *ctx = gort_ctx_with_deadline(parent, deadline);

	CHECK(ctx != NULL);
	return ctx;
}

static gort_ctx *make_value(gort_ctx *parent, const void *key, void *value)
{
	gort_ctx *ctx = gort_ctx_with_value(parent, key, value);

	CHECK(ctx != NULL);
	return ctx;
}

static gort_ctx *make_without(gort_ctx *parent)
{
	gort_ctx *ctx = gort_ctx_without_cancel(parent);

	CHECK(ctx != NULL);
	return ctx;
}

static void check_lives(gort_ctx *ctx)
{
	CHECK_EQ(gort_ctx_err(ctx), 0);
	CHECK_EQ(gort_ctx_cause(ctx), 0);
}

static void check_ended(gort_ctx *ctx, int err, int cause)
{
	CHECK_EQ(gort_ctx_err(ctx), err);
	CHECK_EQ(gort_ctx_cause(ctx), cause);
}

static gort_ctx *background(void)
{
	return gort_ctx_background();
}

/* ---- the end --------------------------------------------------------------------------------- */

TEST_PLAIN(background_never_ends)
{
	gort_ctx *ctx = background();

	CHECK(ctx != NULL);
	CHECK(background() == ctx);
	CHECK(gort_ctx_retain(ctx) == ctx);
	gort_ctx_release(ctx);
	gort_ctx_release(ctx);
	gort_ctx_release(NULL);
	check_lives(ctx);
	CHECK(gort_ctx_deadline(ctx) == GORT_FOREVER);
	CHECK(gort_ctx_done(ctx) == NULL);
	CHECK(gort_ctx_value(ctx, &ctx) == NULL);
	CHECK(gort_ctx_current() == ctx);
}

TEST_PLAIN(cause_is_a_negative_errno_or_ecanceled)
{
	const int given[] = { 0, -EIO, 1, EIO, INT32_MAX, INT32_MIN, -1 };
	const int cause[] = { -ECANCELED, -EIO, -ECANCELED, -ECANCELED, -ECANCELED, INT32_MIN, -1 };

	for (size_t i = 0; i < sizeof given / sizeof given[0]; i++) {
		gort_ctx *ctx = make(background());

		check_lives(ctx);
		gort_ctx_cancel(ctx, given[i]);
		check_ended(ctx, -ECANCELED, cause[i]);
		gort_ctx_release(ctx);
	}
}

TEST_PLAIN(first_end_wins)
{
	gort_ctx *top = make(background()), *low = make(top), *late = make_until(top, GORT_NOW);

	check_ended(late, -ETIMEDOUT, -ETIMEDOUT);
	gort_ctx_cancel(late, -EIO);
	check_ended(late, -ETIMEDOUT, -ETIMEDOUT);
	gort_ctx_cancel(low, -EPERM);
	gort_ctx_cancel(low, -EIO);
	check_lives(top);
	gort_ctx_cancel(top, -EACCES);
	gort_ctx_cancel(top, -EIO);
	check_ended(low, -ECANCELED, -EPERM);
	check_ended(late, -ETIMEDOUT, -ETIMEDOUT);
	check_ended(top, -ECANCELED, -EACCES);
	gort_ctx_release(low);
	gort_ctx_release(late);
	gort_ctx_release(top);
}

/* Through every kind of context, but not upwards, not to siblings, not through without_cancel. */
TEST_PLAIN(children_end_with_their_parents)
{
	gort_ctx *top = make(background()), *a = make(top), *b = make(top);
	gort_ctx *value = make_value(a, &top, &top), *until = make_until(value, GORT_FOREVER);
	gort_ctx *low = make(until), *apart = make_without(low), *below_apart = make(apart);

	gort_ctx_cancel(a, -EXDEV);
	check_lives(top);
	check_lives(b);
	check_ended(a, -ECANCELED, -EXDEV);
	check_ended(value, -ECANCELED, -EXDEV);
	check_ended(until, -ECANCELED, -EXDEV);
	check_ended(low, -ECANCELED, -EXDEV);
	check_lives(apart);
	check_lives(below_apart);
	gort_ctx_cancel(below_apart, 0);
	check_lives(apart);
	gort_ctx_cancel(top, -EIO);
	check_ended(b, -ECANCELED, -EIO);
	check_ended(low, -ECANCELED, -EXDEV);
	gort_ctx_release(top);
	gort_ctx_release(a);
	gort_ctx_release(b);
	gort_ctx_release(value);
	gort_ctx_release(until);
	gort_ctx_release(low);
	gort_ctx_release(apart);
	gort_ctx_release(below_apart);
}

TEST_PLAIN(child_of_one_that_has_ended)
{
	gort_ctx *top = make(background()), *late = make_until(background(), gort_now() - 1);
	gort_ctx *value, *low[3];

	gort_ctx_cancel(top, -EBADF);
	value = make_value(top, &top, &value);
	low[0] = make(top);
	low[1] = make_until(value, GORT_FOREVER);
	low[2] = make(late);
	check_ended(value, -ECANCELED, -EBADF);
	check_ended(low[0], -ECANCELED, -EBADF);
	check_ended(low[1], -ECANCELED, -EBADF);
	check_ended(low[2], -ETIMEDOUT, -ETIMEDOUT);
	CHECK(gort_ctx_value(low[1], &top) == &value);
	CHECK_EQ(gort_chan_recv(gort_ctx_done(low[1]), NULL), -EPIPE);
	for (int i = 0; i < 3; i++)
		gort_ctx_release(low[i]);
	gort_ctx_release(value);
	gort_ctx_release(top);
	gort_ctx_release(late);
}

/* ---- deadlines ------------------------------------------------------------------------------- */

TEST_PLAIN(deadline_is_the_earliest_on_the_way_up)
{
	int64_t hour = gort_in(3600 * GORT_SEC);
	gort_ctx *top = make_until(background(), hour), *earlier = make_until(top, hour - 9);
	gort_ctx *later = make_until(top, hour + 9), *low = make(earlier);
	gort_ctx *value = make_value(low, &hour, &hour), *apart = make_without(value);
	gort_ctx *below_apart = make_until(apart, hour + 7), *plain = make(background());

	CHECK_EQ(gort_ctx_deadline(top), hour);
	CHECK_EQ(gort_ctx_deadline(earlier), hour - 9);
	CHECK_EQ(gort_ctx_deadline(later), hour);
	CHECK_EQ(gort_ctx_deadline(low), hour - 9);
	CHECK_EQ(gort_ctx_deadline(value), hour - 9);
	CHECK_EQ(gort_ctx_deadline(apart), GORT_FOREVER);
	CHECK_EQ(gort_ctx_deadline(below_apart), hour + 7);
	CHECK_EQ(gort_ctx_deadline(plain), GORT_FOREVER);
	gort_ctx_release(below_apart);
	gort_ctx_release(apart);
	gort_ctx_release(value);
	gort_ctx_release(low);
	gort_ctx_release(later);
	gort_ctx_release(earlier);
	gort_ctx_release(top);
	gort_ctx_release(plain);
}

static void look_at_deadlines(void)
{
	const int64_t past[] = { GORT_NOW, INT64_MIN + 1, -1, 0, 1, gort_now() - 1, gort_now() };
	gort_ctx *soon, *low, *value;

	for (size_t i = 0; i < sizeof past / sizeof past[0]; i++) {
		gort_ctx *ctx = make_until(background(), past[i]);

		CHECK_EQ(gort_ctx_deadline(ctx), past[i]);
		check_ended(ctx, -ETIMEDOUT, -ETIMEDOUT);
		gort_ctx_release(ctx);
	}
	soon = make_until(background(), gort_in(3 * GORT_MS));
	low = make(soon);
	value = make_value(low, &soon, NULL);
	while (gort_ctx_err(value) == 0)
		CHECK(gort_now() < gort_ctx_deadline(soon) + 3600 * GORT_SEC);
	CHECK(gort_now() >= gort_ctx_deadline(soon));
	check_ended(soon, -ETIMEDOUT, -ETIMEDOUT);
	check_ended(low, -ETIMEDOUT, -ETIMEDOUT);
	check_ended(value, -ETIMEDOUT, -ETIMEDOUT);
	gort_ctx_release(value);
	gort_ctx_release(low);
	gort_ctx_release(soon);
}

TEST_PLAIN(deadline_shows_when_looked_at_without_a_runtime)
{
	look_at_deadlines();
}

// variants: maxprocs
TEST(deadline_shows_when_looked_at)
{
	look_at_deadlines();
}

static atomic_int ran;

static void count_run(void *arg)
{
	CHECK(gort_ctx_current() == background());
	CHECK(gort_self() > 1);
	atomic_fetch_add(arg ? (atomic_int *)arg : &ran, 1);
}

/* Nobody looks: the done channels of it and of one below close, and functions run. */
// variants: maxprocs bubble
TEST(deadline_ends_it_by_itself)
{
	int64_t deadline = gort_in(5 * GORT_MS);
	gort_ctx *ctx = make_until(background(), deadline), *low = make(ctx);
	gort_after *after = gort_ctx_after_func(low, count_run, NULL);

	CHECK(after != NULL);
	CHECK_EQ(gort_chan_recv(gort_ctx_done(low), NULL), -EPIPE);
	CHECK(gort_now() >= deadline);
	CHECK_EQ(gort_chan_recv(gort_ctx_done(ctx), NULL), -EPIPE);
	EVENTUALLY(atomic_load(&ran) == 1);
	CHECK(!gort_ctx_after_stop(after));
	check_ended(ctx, -ETIMEDOUT, -ETIMEDOUT);
	check_ended(low, -ETIMEDOUT, -ETIMEDOUT);
	gort_ctx_release(low);
	gort_ctx_release(ctx);
}

/* As above, seen by a plain thread, and with the runtime over before the deadline. */
static void wait_for_done(void *ctx)
{
	CHECK_EQ(gort_chan_recv(gort_ctx_done(ctx), NULL), -EPIPE);
	CHECK(gort_now() >= gort_ctx_deadline(ctx));
	check_ended(ctx, -ETIMEDOUT, -ETIMEDOUT);
}

// variants: bubble
TEST(deadline_ends_it_for_a_guest_at_its_done_channel)
{
	gort_ctx *ctx = make_until(background(), gort_in(5 * GORT_MS));

	on_guest(wait_for_done, ctx);
	gort_ctx_release(ctx);
}

TEST_PLAIN(deadline_ends_it_without_a_runtime_for_who_waits_at_its_done_channel)
{
	gort_ctx *ctx = make_until(background(), gort_in(5 * GORT_MS)), *late = make(ctx);
	gort_case k[] = { GORT_CASE_RECV(NULL, NULL), GORT_CASE_RECV(gort_ctx_done(late), NULL) };
	int which;

	which = gort_select(k, 2, gort_in(GORT_MS));
	CHECK(which == -ETIMEDOUT || gort_now() >= gort_ctx_deadline(ctx));
	CHECK_EQ(gort_select(k, 2, GORT_FOREVER), 1);
	CHECK_EQ(k[1].status, -EPIPE);
	wait_for_done(ctx);
	gort_ctx_release(ctx);
	ctx = make_until(background(), gort_in(5 * GORT_MS));
	wait_for_done(ctx);
	CHECK_EQ(gort_chan_recv_until(gort_ctx_done(ctx), NULL, GORT_NOW), -EPIPE);
	gort_ctx_release(ctx);
	gort_ctx_release(late);
}

static int make_soon(void *arg)
{
	*(gort_ctx **)arg = make_until(background(), gort_in(20 * GORT_MS));
	return 0;
}

TEST_PLAIN(deadline_outlives_the_runtime)
{
	gort_ctx *ctx;

	for (int i = 0; i < 3; i++) {
		CHECK_EQ(gort_run(make_soon, &ctx, NULL), 0);
		while (i < 2 && gort_ctx_err(ctx) == 0)
			;
		if (i < 2)
			check_ended(ctx, -ETIMEDOUT, -ETIMEDOUT);
		gort_ctx_release(ctx);
	}
}

/* The deadline, a cancellation and the last release come at once. */
// variants: maxprocs bubble
TEST(deadline_races_with_other_ends)
{
	for (int i = 0; i < SCALE(3000); i++) {
		gort_ctx *ctx = make_until(background(), gort_in(i % 64 * GORT_US));
		gort_ctx *low = make(ctx);
		gort_after *after = gort_ctx_after_func(low, count_run, NULL);

		CHECK(after != NULL);
		if (i % 3)
			gort_sleep(i % 50 * GORT_US);
		if (i % 2) {
			gort_ctx_cancel(ctx, -EIO);
			if (gort_ctx_err(ctx) == -ETIMEDOUT || gort_ctx_err(low) == -ETIMEDOUT)
				check_ended(low, -ETIMEDOUT, -ETIMEDOUT);
			else
				check_ended(low, -ECANCELED, -EIO);
		}
		gort_ctx_release(ctx);
		gort_ctx_release(low);
		EVENTUALLY(atomic_load(&ran) == i + 1);
		CHECK(!gort_ctx_after_stop(after));
	}
}

/* A deadline that will not come leaves nothing behind. */
// variants: maxprocs bubble
TEST(deadlines_that_are_not_reached_leave_nothing)
{
	uint64_t before = 0;

	for (int i = 0; i < SCALE(100000); i++) {
		gort_ctx *ctx = make_until(background(), gort_in(3600 * GORT_SEC));

		if (i % 2)
			gort_ctx_cancel(ctx, 0);
		gort_ctx_release(ctx);
		if (i == 1000)
			before = mem_in_use();
	}
	if (before)
		CHECK(mem_in_use() < before + (64 << 10));
}

/* ---- values ---------------------------------------------------------------------------------- */

TEST_PLAIN(value_is_the_nearest_by_the_keys_address)
{
	static const char a[] = "key", b[] = "key";
	int one = 1, two = 2;
	gort_ctx *top = make_value(background(), a, &one), *end = make(top);
	gort_ctx *low = make_value(end, a, &two), *other = make_value(low, b, &low);
	gort_ctx *none = make_value(other, b, NULL), *apart = make_without(none);
	gort_ctx *nothing = make_value(background(), NULL, &one);

	CHECK(gort_ctx_value(top, a) == &one);
	CHECK(gort_ctx_value(end, a) == &one);
	CHECK(gort_ctx_value(low, a) == &two);
	CHECK(gort_ctx_value(low, b) == NULL);
	CHECK(gort_ctx_value(other, b) == &low);
	CHECK(gort_ctx_value(none, b) == NULL);
	CHECK(gort_ctx_value(apart, a) == &two);
	CHECK(gort_ctx_value(top, b) == NULL);
	CHECK(gort_ctx_value(nothing, NULL) == NULL);
	gort_ctx_cancel(end, 0);
	CHECK(gort_ctx_value(none, a) == &two);
	gort_ctx_release(nothing);
	gort_ctx_release(top);
	gort_ctx_release(end);
	gort_ctx_release(low);
	gort_ctx_release(other);
	gort_ctx_release(none);
	CHECK(gort_ctx_value(apart, a) == &two);
	gort_ctx_release(apart);
}

/* ---- the done channel ------------------------------------------------------------------------ */

TEST_PLAIN(done_is_one_channel_closed_at_the_end)
{
	gort_ctx *ctx = make(background()), *value = make_value(ctx, &ctx, NULL);
	gort_ctx *low = make(value), *apart = make_without(ctx);
	gort_chan *done = gort_ctx_done(ctx);

	CHECK(done != NULL);
	CHECK(gort_ctx_done(ctx) == done);
	CHECK(gort_ctx_done(value) == done);
	CHECK(gort_ctx_done(low) != done);
	CHECK(gort_ctx_done(apart) == NULL);
	CHECK_EQ(gort_chan_try_recv(done, NULL), -EAGAIN);
	gort_ctx_cancel(ctx, 0);
	CHECK_EQ(gort_chan_try_recv(done, NULL), -EPIPE);
	CHECK_EQ(gort_chan_close(done), -EPIPE);
	CHECK(gort_ctx_done(value) == done);
	CHECK_EQ(gort_chan_try_recv(gort_ctx_done(low), NULL), -EPIPE);
	gort_ctx_release(apart);
	gort_ctx_release(low);
	gort_ctx_release(value);
	gort_ctx_release(ctx);
}

TEST_PLAIN(done_made_after_the_end_is_closed)
{
	gort_ctx *ctx = make(background()), *late = make_until(background(), GORT_NOW);

	gort_ctx_cancel(ctx, 0);
	CHECK_EQ(gort_chan_try_recv(gort_ctx_done(ctx), NULL), -EPIPE);
	CHECK_EQ(gort_chan_try_recv(gort_ctx_done(late), NULL), -EPIPE);
	gort_ctx_release(ctx);
	gort_ctx_release(late);
}

TEST_PLAIN(done_outlives_the_context_for_who_retains_it)
{
	gort_ctx *ctx = make(background());
	gort_chan *done = gort_chan_retain(gort_ctx_done(ctx));

	gort_ctx_release(ctx);
	CHECK_EQ(gort_chan_try_recv(done, NULL), -EPIPE);
	gort_chan_release(done);
}

static void release_soon(void *ctx)
{
	struct timespec t = { 0, 1000000 };

	nanosleep(&t, NULL);
	gort_ctx_release(ctx);
}

/* Without a runtime, who waits there looks at the context's deadline: but not when it is gone. */
TEST_PLAIN(done_outlives_the_context_for_a_thread_that_waits)
{
	for (int i = 0; i < 20; i++) {
		gort_ctx *ctx = make_until(background(), gort_in(i % 4 * 700 * GORT_US));
		gort_chan *done = gort_chan_retain(gort_ctx_done(ctx));
		gort_case k = GORT_CASE_RECV(done, NULL);
		struct guest *g = guest_start(release_soon, ctx);

		if (i & 1) {
			CHECK_EQ(gort_select(&k, 1, GORT_FOREVER), 0);
			CHECK_EQ(k.status, -EPIPE);
		}
		CHECK_EQ(gort_chan_recv(done, NULL), -EPIPE);
		guest_join(g);
		gort_chan_release(done);
	}
}

static struct {
	gort_ctx *ctx;
	gort_chan *_Atomic done;
	gort_waitgroup all;
} asked;

static void ask_for_done(void *arg)
{
	gort_case k;
	gort_chan *none = NULL, *done;

	if (arg)
		gort_sleep(GORT_US);
	done = gort_ctx_done(asked.ctx);
	CHECK(done != NULL);
	if (!atomic_compare_exchange_strong(&asked.done, &none, done))
		CHECK(none == done);
	k = GORT_CASE_RECV(done, NULL);
	CHECK_EQ(gort_select(&k, 1, GORT_FOREVER), 0);
	CHECK_EQ(k.status, -EPIPE);
}

// variants: maxprocs bubble
TEST(done_asked_for_by_many_while_it_ends)
{
	for (int i = 0; i < SCALE(2000); i++) {
		asked.ctx = make(background());
		atomic_store(&asked.done, NULL);
		for (int k = 0; k < 4; k++)
			CHECK_EQ(gort_waitgroup_go(&asked.all, ask_for_done, k % 2 ? &asked : NULL),
				 0);
		if (i % 2)
			gort_yield();
		gort_ctx_cancel(asked.ctx, 0);
		CHECK_EQ(gort_waitgroup_wait(&asked.all), 0);
		gort_ctx_release(asked.ctx);
	}
}

/* ---- references ------------------------------------------------------------------------------ */

/* Each holds its parent, in whatever order they are let go. */
TEST_PLAIN(last_release_ends_it)
{
	gort_ctx *top = make(background()), *low = make(top);
	gort_chan *done = gort_chan_retain(gort_ctx_done(top));
	gort_chan *low_done = gort_chan_retain(gort_ctx_done(low));

	CHECK(gort_ctx_retain(top) == top);
	gort_ctx_release(top);
	gort_ctx_release(top);
	CHECK_EQ(gort_chan_try_recv(done, NULL), -EAGAIN); /* low holds it */
	check_lives(low);
	gort_ctx_release(low);
	CHECK_EQ(gort_chan_try_recv(low_done, NULL), -EPIPE);
	CHECK_EQ(gort_chan_try_recv(done, NULL), -EPIPE);
	gort_chan_release(done);
	gort_chan_release(low_done);
}

TEST_PLAIN(parent_lives_on_when_its_child_is_released)
{
	gort_ctx *top = make(background());

	for (int i = 0; i < 10; i++) {
		gort_ctx *low = make(top);

		if (i % 2)
			gort_ctx_cancel(low, 0);
		gort_ctx_release(low);
		check_lives(top);
	}
	gort_ctx_release(top);
}

/* ---- many ------------------------------------------------------------------------------------ */

/* A chain, on a small stack: neither its end nor its release recurses. */
static int chain(void *arg)
{
	const int n = SCALE(100000);
	gort_ctx *top = make(background()), *low = top, *next;
	gort_chan *done;

	for (int i = 0; i < n; i++) {
		next = i % 3 == 0 ? make_value(low, &top, arg) : make(low);
		if (low != top)
			gort_ctx_release(low);
		low = next;
	}
	done = gort_chan_retain(gort_ctx_done(low));
	CHECK(gort_ctx_value(low, &top) == arg);
	if (arg)
		gort_ctx_cancel(top, -EIO);
	gort_ctx_release(top);
	if (arg)
		check_ended(low, -ECANCELED, -EIO);
	else
		check_lives(low);
	gort_ctx_release(low);
	CHECK_EQ(gort_chan_try_recv(done, NULL), -EPIPE);
	gort_chan_release(done);
	return 7;
}

// variants: bubble
TEST(chain_of_a_hundred_thousand)
{
	for (int i = 0; i < 2; i++) {
		gort_task *t =
			gort_spawn(chain, i ? &ran : NULL, &(gort_attr){ .stack_size = 16 << 10 });
		int result;

		CHECK_EQ(gort_join(t, &result), 0);
		CHECK_EQ(result, 7);
	}
}

/* Of ten each below one. */
static void end_tree(int n)
{
	gort_ctx **all = malloc((size_t)n * sizeof all[0]);

	CHECK(all != NULL);
	all[0] = make(background());
	for (int i = 1; i < n; i++)
		all[i] = make(all[(i - 1) / 10]);
	gort_ctx_cancel(all[0], -EIO);
	for (int i = 0; i < n; i++) {
		check_ended(all[i], -ECANCELED, -EIO);
		gort_ctx_release(all[i]);
	}
	free(all);
}

// variants: maxprocs bubble
TEST(tree_of_a_hundred_thousand)
{
	const int n = SCALE(100000);

	for (int i = 0; i < 5; i++) {
		end_tree(n / 10);
		end_tree(n);
	}
}

/* A long-lived parent and children that come and go: memory does not grow. */
// variants: maxprocs bubble
TEST(million_children_leave_no_trace_in_their_parent)
{
	const int batch = SCALE(100000);
	gort_ctx *top = make(background()), *low[8];
	uint64_t memory = 0;

	for (int b = 0; b < 10; b++) {
		for (int i = 0; i < batch / 8; i++) {
			for (int k = 0; k < 8; k++)
				low[k] = k == 5 ? make_until(top, gort_in(GORT_SEC)) : make(top);
			gort_ctx_cancel(low[3], 0);
			for (int k = 0; k < 8; k++)
				gort_ctx_release(low[i % 2 ? k : 7 - k]);
		}
		if (b == 0)
			memory = mem_in_use();
		CHECK(mem_in_use() <= memory + (64 << 10));
	}
	check_lives(top);
	gort_ctx_release(top);
}

/* ---- children made while their parent ends --------------------------------------------------- */

static struct {
	gort_ctx *parent;
	atomic_bool go;
	atomic_int missed, early;
	gort_waitgroup all;
} birth;

static void bear(void *arg)
{
	gort_ctx *low[16], *value;

	while (!atomic_load(&birth.go))
		gort_yield();
	for (int i = 0; i < 16; i++) {
		value = make_value(birth.parent, &birth, NULL);
		low[i] = arg ? make(value) : make(birth.parent);
		gort_ctx_release(value);
	}
	gort_waitgroup_done(&birth.all);
	gort_waitgroup_wait(&birth.all); /* it has ended now */
	for (int i = 0; i < 16; i++) {
		check_ended(low[i], -ECANCELED, -EOWNERDEAD);
		gort_ctx_release(low[i]);
	}
}

// variants: maxprocs
TEST(children_made_while_their_parent_ends_are_not_missed)
{
	for (int i = 0; i < SCALE(400); i++) {
		gort_waitgroup goroutines = { 0 };
		struct guest *guests[2];

		birth.parent = make(background());
		atomic_store(&birth.go, false);
		gort_waitgroup_add(&birth.all, 7);
		for (int k = 0; k < 4; k++)
			CHECK_EQ(gort_waitgroup_go(&goroutines, bear, k % 2 ? &birth : NULL), 0);
		for (int k = 0; k < 2; k++)
			guests[k] = guest_start(bear, k ? &birth : NULL);
		gort_yield();
		atomic_store(&birth.go, true);
		for (int k = i % 20; k > 0; k--)
			gort_yield();
		gort_ctx_cancel(birth.parent, -EOWNERDEAD);
		gort_waitgroup_done(&birth.all);
		CHECK_EQ(gort_waitgroup_wait(&goroutines), 0);
		for (int k = 0; k < 2; k++)
			guest_join(guests[k]);
		gort_ctx_release(birth.parent);
	}
}

/* Children that are released, by several, while the parent ends. */
static void drop(void *ctx)
{
	gort_ctx_release(ctx);
}

// variants: maxprocs bubble
TEST(children_released_while_their_parent_ends)
{
	gort_waitgroup all = { 0 };

	for (int i = 0; i < SCALE(5000); i++) {
		gort_ctx *top = make(background()), *low[8];

		for (int k = 0; k < 8; k++)
			low[k] = make(k % 2 ? low[k - 1] : top);
		for (int k = 0; k < 8; k++)
			CHECK_EQ(gort_waitgroup_go(&all, drop, low[k]), 0);
		for (int k = i % 4; k > 0; k--)
			gort_yield();
		gort_ctx_cancel(top, 0);
		CHECK_EQ(gort_waitgroup_wait(&all), 0);
		gort_ctx_release(top);
	}
}

/* ---- without memory -------------------------------------------------------------------------- */

TEST_PLAIN(contexts_without_memory)
{
	gort_ctx *ctx = make(background());

	for (int i = 0; i < 5; i++) {
		mem_fail_after(1);
		switch (i) {
		case 0:
			CHECK(gort_ctx_with_cancel(ctx) == NULL);
			break;
		case 1:
			CHECK(gort_ctx_with_deadline(ctx, GORT_NOW) == NULL);
			break;
		case 2:
			CHECK(gort_ctx_with_value(ctx, &ctx, ctx) == NULL);
			break;
		case 3:
			CHECK(gort_ctx_without_cancel(ctx) == NULL);
			break;
		default:
			CHECK(gort_ctx_done(ctx) == NULL);
			break;
		}
		mem_fail_after(0);
	}
	CHECK(gort_ctx_done(ctx) != NULL);
	CHECK(gort_ctx_after_func(ctx, count_run, NULL) == NULL); /* no runtime */
	gort_ctx_cancel(ctx, 0);
	CHECK_EQ(gort_chan_try_recv(gort_ctx_done(ctx), NULL), -EPIPE);
	gort_ctx_release(ctx);
}

/* ---- misuse ---------------------------------------------------------------------------------- */

TEST_PLAIN_DIES(cancelling_the_background, "gort_ctx_cancel: a context that does not end by itself")
{
	gort_ctx_cancel(background(), 0);
}

TEST_PLAIN_DIES(cancelling_a_value, "gort_ctx_cancel: a context that does not end by itself")
{
	gort_ctx_cancel(make_value(make(background()), background(), NULL), 0);
}

TEST_PLAIN_DIES(cancelling_one_without_cancel, "gort_ctx_cancel")
{
	gort_ctx_cancel(make_without(make(background())), 0);
}

TEST_DIES(entering_no_context, "goroutine 1: gort_ctx_enter: no context")
{
	gort_ctx_enter(NULL);
}

TEST_PLAIN_DIES(child_of_no_context, "gort_ctx_with_value: no context")
{
	gort_ctx_with_value(NULL, &ran, NULL);
}

TEST_DIES(after_func_without_a_function, "gort_ctx_after_func: no function")
{
	gort_ctx_after_func(background(), NULL, NULL);
}

TEST_DIES(stopping_nothing, "gort_ctx_after_stop")
{
	gort_ctx_after_stop(NULL);
}
