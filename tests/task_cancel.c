/*
 * task_cancel.c - gort_task_cancel: before the task starts, while it runs, waits or ends, after
 * its end; raced with whatever the task and its owners do; and what is below the task.
 */
#include "harness.h"

#include "base/alloc.h"

#include <errno.h>
#include <stdatomic.h>

static gort_chan *never, *gate;
static atomic_int stage;
static gort_waitgroup all;

static void begin(void)
{
	never = gort_chan_make(0, 0);
	gate = gort_chan_make(0, 0);
	CHECK(never && gate);
	atomic_store(&stage, 0);
}

static void end(void)
{
	gort_chan_release(never);
	gort_chan_release(gate);
}

static gort_task *spawn(int (*fn)(void *arg), void *arg)
{
	gort_task *t = gort_spawn(fn, arg, NULL);

	CHECK(t != NULL);
	return t;
}

static void join(gort_task *t, int expect)
{
	int result = expect + 1;

	CHECK_EQ(gort_join(t, &result), 0);
	CHECK_EQ(result, expect);
}

static void check_canceled(int cause)
{
	gort_ctx *ctx = gort_ctx_current();

	CHECK_EQ(gort_ctx_err(ctx), -ECANCELED);
	CHECK_EQ(gort_ctx_cause(ctx), cause);
	CHECK_EQ(gort_chan_try_recv(gort_ctx_done(ctx), NULL), -EPIPE);
}

/* ---- when ------------------------------------------------------------------------------------ */

static int waits_twice(void *arg)
{
	atomic_store(&stage, 1);
	CHECK_EQ(gort_chan_recv(never, NULL), -ECANCELED);
	CHECK_EQ(gort_chan_recv(never, NULL), -ECANCELED);
	check_canceled(*(int *)arg);
	CHECK_EQ(gort_sleep(GORT_SEC), -ECANCELED);
	CHECK_EQ(gort_sleep(0), 0);
	return 5;
}

static int looks_then_waits(void *arg)
{
	CHECK_EQ(gort_ctx_err(gort_ctx_current()) == 0 || atomic_load(&stage) > 1, true);
	return waits_twice(arg);
}

/* With a context of its own when it is cancelled, or without. */
static int (*const kinds[])(void *arg) = { waits_twice, looks_then_waits };

// variants: maxprocs bubble
TEST(before_it_starts)
{
	int cause = -EIO;

	begin();
	for (int i = 0; i < 2; i++) {
		gort_task *t;

		atomic_store(&stage, 2);
		t = spawn(kinds[i], &cause);
		gort_task_cancel(t, cause);
		gort_task_cancel(t, -EPERM);
		join(t, 5);
	}
	end();
}

// variants: maxprocs bubble
TEST(while_it_waits)
{
	int cause = -ECANCELED;

	begin();
	for (int i = 0; i < 2; i++) {
		gort_task *t = spawn(kinds[i], &cause);

		EVENTUALLY(atomic_load(&stage) == 1);
		gort_task_cancel(t, 7); /* not a negative errno */
		gort_task_cancel(t, -EPERM);
		join(t, 5);
		atomic_store(&stage, 0);
	}
	end();
}

static int runs(void *arg)
{
	if (arg)
		CHECK_EQ(gort_ctx_err(gort_ctx_current()), 0);
	atomic_store(&stage, 1);
	while (atomic_load(&stage) == 1)
		gort_yield();
	CHECK_EQ(gort_chan_recv(never, NULL), -ECANCELED);
	check_canceled(-EIO);
	return 6;
}

// variants: maxprocs
TEST(while_it_runs)
{
	begin();
	for (int i = 0; i < 2; i++) {
		gort_task *t = spawn(runs, i ? &stage : NULL);

		EVENTUALLY(atomic_load(&stage) == 1);
		gort_task_cancel(t, -EIO);
		atomic_store(&stage, 2);
		join(t, 6);
	}
	end();
}

static int gives(void *arg)
{
	if (arg)
		gort_ctx_current();
	return 7;
}

// variants: maxprocs
TEST(after_its_end)
{
	for (int i = 0; i < 2; i++) {
		gort_task *t = spawn(gives, i ? &stage : NULL);

		EVENTUALLY(gort_count() == 1);
		gort_task_cancel(t, 0);
		gort_task_cancel(t, 0);
		join(t, 7);
	}
}

static int cancels_itself(void *arg)
{
	gort_task *t;

	CHECK_EQ(gort_chan_recv(arg, &t), 0);
	gort_task_cancel(t, -EIO);
	CHECK_EQ(gort_chan_recv(never, NULL), -ECANCELED);
	check_canceled(-EIO);
	return 8;
}

// variants: bubble
TEST(by_itself)
{
	gort_chan *c = gort_chan_make(sizeof(gort_task *), 1);
	gort_task *t;

	begin();
	t = spawn(cancels_itself, c);
	CHECK_EQ(gort_chan_send(c, &t), 0);
	join(t, 8);
	gort_chan_release(c);
	end();
}

/* ---- what is above and below it -------------------------------------------------------------- */

static void below(void *arg)
{
	CHECK_EQ(gort_chan_recv(never, NULL), -ECANCELED);
	CHECK_EQ(gort_ctx_cause(gort_ctx_current()), (int)(intptr_t)arg);
}

static int task_below(void *arg)
{
	below(arg);
	return 1;
}

static int parent(void *arg)
{
	gort_task *t;
	int err;

	CHECK_EQ(gort_waitgroup_go(&all, below, arg), 0);
	t = spawn(task_below, arg);
	CHECK_EQ(gort_waitgroup_go(&all, below, arg), 0);
	while ((err = gort_join(t, NULL)) == -ECANCELED)
		gort_yield(); /* it waits for nobody any more, and t may take a while */
	CHECK_EQ(err, 0);
	return 2;
}

// variants: maxprocs
TEST(those_below_it_end)
{
	begin();
	for (int i = 0; i < 4; i++) {
		gort_task *t = spawn(parent, (void *)-EIO);

		for (int k = 0; k < i; k++)
			gort_yield();
		if (i == 3)
			EVENTUALLY(gort_count() == 5);
		gort_task_cancel(t, -EIO);
		join(t, 2);
		CHECK_EQ(gort_waitgroup_wait(&all), 0);
	}
	end();
}

/* One that has ended is still the head of those that it started, as long as its handle is there. */
static int leaves_children(void *arg)
{
	CHECK_EQ(gort_waitgroup_go(&all, below, arg), 0);
	atomic_store(&stage, 1);
	return 3;
}

// variants: maxprocs
TEST(those_below_one_that_has_ended_end)
{
	gort_task *t;

	begin();
	t = spawn(leaves_children, (void *)-EIO);
	EVENTUALLY(atomic_load(&stage) == 1 && gort_count() == 2);
	gort_task_cancel(t, -EIO);
	CHECK_EQ(gort_waitgroup_wait(&all), 0);
	join(t, 3);
	end();
}

static void lives_on(void *arg)
{
	(void)arg;
	CHECK_EQ(gort_chan_recv(gate, NULL), 0);
	CHECK_EQ(gort_ctx_err(gort_ctx_current()), 0);
}

static int leaves_one(void *arg)
{
	CHECK_EQ(gort_waitgroup_go(&all, lives_on, arg), 0);
	return 4;
}

/* A join, or a detach, ends nothing. */
// variants: maxprocs
TEST(those_below_one_that_is_joined_live_on)
{
	begin();
	join(spawn(leaves_one, NULL), 4);
	gort_detach(spawn(leaves_one, NULL));
	EVENTUALLY(gort_count() == 3);
	CHECK_EQ(gort_chan_send(gate, NULL), 0);
	CHECK_EQ(gort_chan_send(gate, NULL), 0);
	CHECK_EQ(gort_waitgroup_wait(&all), 0);
	end();
}

// variants: maxprocs bubble
TEST(those_above_and_beside_it_live_on)
{
	gort_ctx *ctx = gort_ctx_with_cancel(gort_ctx_background());
	int cause = -EXDEV;
	gort_task *t[3];

	begin();
	t[0] = gort_spawn(waits_twice, &cause, &(gort_attr){ .ctx = ctx });
	gort_ctx_enter(ctx);
	t[1] = spawn(waits_twice, &cause);
	gort_ctx_leave(gort_ctx_background());
	CHECK_EQ(gort_waitgroup_go(&all, lives_on, NULL), 0);
	EVENTUALLY(atomic_load(&stage) == 1);
	gort_task_cancel(t[0], cause);
	join(t[0], 5);
	CHECK_EQ(gort_ctx_err(ctx), 0);
	CHECK_EQ(gort_join_until(t[1], NULL, gort_in(GORT_MS)), -ETIMEDOUT);
	gort_ctx_cancel(ctx, cause);
	join(t[1], 5);
	t[2] = gort_spawn(waits_twice, &cause, &(gort_attr){ .ctx = ctx });
	gort_task_cancel(t[2], -EIO); /* its parent was first */
	join(t[2], 5);
	CHECK_EQ(gort_chan_send(gate, NULL), 0);
	CHECK_EQ(gort_waitgroup_wait(&all), 0);
	gort_ctx_release(ctx);
	end();
}

/* Under another context it is out of reach, until it has left it. */
static int enters_another(void *arg)
{
	gort_ctx *other = gort_ctx_with_cancel(gort_ctx_background()), *before;

	(void)arg;
	before = gort_ctx_enter(other);
	atomic_store(&stage, 1);
	CHECK_EQ(gort_chan_recv(gate, NULL), 0);
	CHECK_EQ(gort_sleep(1), 0);
	gort_ctx_leave(before);
	CHECK_EQ(gort_chan_recv(never, NULL), -ECANCELED);
	gort_ctx_release(other);
	return 9;
}

// variants: maxprocs bubble
TEST(while_it_is_under_another_context)
{
	gort_task *t;

	begin();
	t = spawn(enters_another, NULL);
	EVENTUALLY(atomic_load(&stage) == 1);
	gort_task_cancel(t, 0);
	CHECK_EQ(gort_chan_send(gate, NULL), 0);
	join(t, 9);
	end();
}

/* ---- at once with everything else ------------------------------------------------------------ */

static struct {
	gort_chan *tasks; /* to cancel */
	gort_waitgroup handled;
} race;

static void cancel_each(void *arg)
{
	gort_task *t;
	int i = 0;

	while (gort_chan_recv(race.tasks, &t) == 0) {
		for (int k = i++ % 7; k > 0; k--)
			gort_yield();
		gort_task_cancel(t, -EIO);
		gort_waitgroup_done(&race.handled);
	}
	gort_waitgroup_done(arg);
}

/* What it does as it is cancelled. Only waits that nothing else ends have to be ended by that. */
static int does_something(void *arg)
{
	intptr_t what = (intptr_t)arg;

	switch (what % 6) {
	case 0:
		break;
	case 1:
		gort_yield();
		break;
	case 2:
		CHECK_EQ(gort_chan_recv(never, NULL), -ECANCELED);
		break;
	case 3:
		gort_ctx_current();
		CHECK_EQ(gort_chan_recv(never, NULL), -ECANCELED);
		break;
	case 4:
		CHECK_EQ(gort_waitgroup_go(&all, below, (void *)-EIO), 0);
		CHECK_EQ(gort_sleep(GORT_FOREVER), -ECANCELED);
		break;
	default:
		CHECK_EQ(gort_select(NULL, 0, GORT_FOREVER), -ECANCELED);
		gort_ctx_current();
		CHECK_EQ(gort_chan_recv(never, NULL), -ECANCELED);
		break;
	}
	return (int)what;
}

static void cancel_tasks(int n, bool on_guest)
{
	struct guest *g = NULL;
	gort_waitgroup canceller = { 0 };
	intptr_t i;

	race.tasks = gort_chan_make(sizeof(gort_task *), 4);
	gort_waitgroup_add(&canceller, 1);
	if (on_guest)
		g = guest_start(cancel_each, &canceller);
	else
		CHECK_EQ(gort_go(cancel_each, &canceller), 0);
	for (i = 0; i < n; i++) {
		gort_task *t = spawn(does_something, (void *)i);

		if (i % 5 == 0)
			gort_yield();
		gort_waitgroup_add(&race.handled, 1);
		CHECK_EQ(gort_chan_send(race.tasks, &t), 0);
		if (i % 3 == 0)
			CHECK_EQ(gort_waitgroup_wait(&race.handled), 0);
		else
			gort_task_cancel(t, -EIO); /* twice at once */
		CHECK_EQ(gort_waitgroup_wait(&race.handled), 0);
		join(t, (int)i);
	}
	CHECK_EQ(gort_chan_close(race.tasks), 0);
	CHECK_EQ(gort_waitgroup_wait(&canceller), 0);
	CHECK_EQ(gort_waitgroup_wait(&all), 0);
	if (g)
		guest_join(g);
	gort_chan_release(race.tasks);
}

// variants: maxprocs
TEST(raced_with_all_that_it_does)
{
	begin();
	cancel_tasks(SCALE(12000), false);
	cancel_tasks(SCALE(4000), true);
	end();
}

/* ---- without memory -------------------------------------------------------------------------- */

/* Where there is none for a context, the task is under its spawner's, and can be cancelled all
 * the same. */
static int looks_without_memory(void *arg)
{
	(void)arg;
	mem_fail_after(1);
	gort_ctx_current(); /* the spawner's, then: the background */
	mem_fail_after(0);
	atomic_store(&stage, 1);
	CHECK_EQ(gort_chan_recv(never, NULL), -ECANCELED);
	check_canceled(-EIO);
	return 3;
}

// variants: bubble
TEST(of_one_that_had_no_memory_for_its_context)
{
	gort_task *t;

	begin();
	t = spawn(looks_without_memory, NULL);
	EVENTUALLY(atomic_load(&stage) == 1);
	gort_task_cancel(t, -EIO);
	join(t, 3);
	end();
}

/* It enters another context all the same. A cancellation meanwhile counts when it is back. */
static int enters_without_memory(void *arg)
{
	gort_ctx *ctx = gort_ctx_with_cancel(gort_ctx_background()), *before;

	CHECK(ctx != NULL);
	if (arg) { /* it is cancelled before, without having noticed */
		atomic_store(&stage, 1);
		while (atomic_load(&stage) == 1)
			gort_yield();
	}
	mem_fail_after(1);
	before = gort_ctx_enter(ctx);
	mem_fail_after(0);
	if (!arg) {
		atomic_store(&stage, 1);
		while (atomic_load(&stage) == 1)
			gort_yield();
	}
	CHECK_EQ(gort_ctx_err(gort_ctx_current()), 0);
	CHECK_EQ(gort_chan_recv_until(never, NULL, gort_in(GORT_US)), -ETIMEDOUT);
	gort_ctx_leave(before);
	gort_ctx_release(ctx);
	CHECK_EQ(gort_chan_recv(never, NULL), -ECANCELED);
	check_canceled(-EIO);
	return 5;
}

// variants: maxprocs
TEST(of_one_that_is_away_without_memory)
{
	gort_task *t;

	for (int i = 0; i < 20; i++) {
		begin();
		t = spawn(enters_without_memory, i % 2 ? &stage : NULL);
		EVENTUALLY(atomic_load(&stage) == 1);
		gort_task_cancel(t, -EIO);
		atomic_store(&stage, 2);
		join(t, 5);
		end();
	}
}

static int starts_without_memory(void *arg)
{
	gort_task *t;
	int err;

	(void)arg;
	mem_fail_after(1);
	err = gort_waitgroup_go(&all, below, (void *)-EIO);
	mem_fail_after(1);
	t = gort_spawn(task_below, (void *)-EIO, NULL);
	mem_fail_after(0);
	CHECK(err == 0 || err == -ENOMEM);
	atomic_store(&stage, 1);
	CHECK_EQ(gort_chan_recv(never, NULL), -ECANCELED);
	if (t)
		while (gort_join(t, NULL) == -ECANCELED)
			gort_yield();
	return 4;
}

/* Whoever it could start must end with it. */
// variants: bubble
TEST(of_those_below_one_without_memory)
{
	gort_task *t;

	begin();
	t = spawn(starts_without_memory, NULL);
	EVENTUALLY(atomic_load(&stage) == 1);
	gort_task_cancel(t, -EIO);
	join(t, 4);
	CHECK_EQ(gort_waitgroup_wait(&all), 0);
	end();
}

/* ---- guests, the runtime's end, misuse ------------------------------------------------------- */

static gort_task *handle;

static int leave_task(void *arg)
{
	begin();
	handle = spawn(kinds[*(int *)arg], arg);
	EVENTUALLY(atomic_load(&stage) == 1);
	return 0;
}

/* By a plain thread, after the runtime is over. */
TEST_PLAIN(after_the_runtimes_end)
{
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(gort_run(leave_task, &i, NULL), 0);
		gort_task_cancel(handle, -EIO);
		CHECK_EQ(gort_join(handle, NULL), -ECANCELED);
		end();
	}
}

TEST_DIES(of_null_is_misuse, "gort_task_cancel: no task")
{
	gort_task_cancel(NULL, 0);
}
