/*
 * scope_faults.c - one scenario with scopes in a scope, and each kind of failure put in at each
 * of its steps: a cancellation, a panic, goexit, a failure, memory that runs out. No member
 * outlives its scope's close, the failure is told, and nothing is left.
 */
#include "harness.h"

#include "base/alloc.h"

#include <errno.h>
#include <stdatomic.h>

enum fault { NONE, CANCEL, CANCEL_OWNER, PANIC, GOEXIT, FAIL, MEMORY };

static struct {
	enum fault fault;
	atomic_int steps; /* left until it comes; 0 or less: it has come */
	gort_ctx *ctx;    /* the owner's */
	int64_t patience; /* with partners that may never come, since one has ended in peace */
	gort_chan *values;
} x;

/* A scope on the stack of who has opened it. */
struct frame {
	gort_scope *scope;
	atomic_int alive; /* its members */
	int (*body)(struct frame *f);
	int limit;
	int result; /* of body, else of the scope */
};

/* ---- steps ----------------------------------------------------------------------------------- */

/* One of the scenario's steps, by a member of f's scope, or by its owner. Gives a failure to
 * return. */
static int step(struct frame *f)
{
	if (x.fault == NONE || x.fault == MEMORY || atomic_fetch_sub(&x.steps, 1) != 1)
		return 0;
	switch (x.fault) {
	case CANCEL:
		gort_scope_cancel(f->scope, -EPERM);
		return 0;
	case CANCEL_OWNER:
		gort_ctx_cancel(x.ctx, -EPERM);
		return 0;
	case PANIC:
		gort_panic("at a step");
	case GOEXIT:
		gort_goexit();
	default:
		return -EIO;
	}
}

static void count_off(void *arg)
{
	atomic_fetch_sub((atomic_int *)arg, 1);
}

static int begin_member(struct frame *f)
{
	atomic_fetch_add(&f->alive, 1);
	if (gort_defer(count_off, &f->alive) == 0)
		return step(f);
	count_off(&f->alive);
	return -ENOMEM;
}

/* ---- scopes that are closed whatever becomes of their owner ---------------------------------- */

/* What failed first ends the rest; a failure of the owner's does so, too. */
static void close_frame(void *arg)
{
	struct frame *f = arg;
	int err;

	if (f->result < 0)
		gort_scope_cancel(f->scope, f->result);
	err = gort_scope_close(f->scope);
	CHECK_EQ(atomic_load(&f->alive), 0);
	if (f->result == 0 || f->result == -ECANCELED)
		f->result = err ? err : f->result;
}

/* The defers run after it, whether body returns, panics or exits. */
static void run_body(void *arg)
{
	struct frame *f = arg;

	f->result = -ENOMEM;
	f->scope = gort_scope_open(f->limit);
	if (!f->scope)
		return;
	if (gort_defer(close_frame, f) == 0)
		f->result = f->body(f);
	else
		close_frame(f);
}

static int in_a_scope(int limit, int (*body)(struct frame *f))
{
	struct frame f = { .limit = limit, .body = body };
	int err = gort_try(run_body, &f, NULL, 0);

	return err < 0 ? err : f.result;
}

/* ---- the scenario ---------------------------------------------------------------------------- */

static int producer(void *arg)
{
	struct frame *f = arg;
	int n = 1, err = begin_member(f);

	for (int i = 0; err == 0 && i < 3; i++) {
		err = gort_chan_send_until(x.values, &n, gort_in(x.patience));
		if (err == 0)
			err = step(f);
	}
	return err;
}

static int consumer(void *arg)
{
	struct frame *f = arg;
	int n, err = begin_member(f);

	for (int i = 0; err == 0 && i < 3; i++) {
		err = gort_chan_recv_until(x.values, &n, gort_in(x.patience));
		if (err == 0)
			err = step(f);
	}
	return err;
}

/* As many that send as receive. */
static int inner_body(struct frame *f)
{
	int err = step(f);

	for (int i = 0; err == 0 && i < 2; i++) {
		err = gort_scope_go(f->scope, producer, f);
		if (err == 0)
			err = step(f);
		if (err == 0)
			err = gort_scope_spawn(f->scope, consumer, f,
					       &(gort_attr){ .stack_size = 64 << 10 });
	}
	if (err == 0)
		err = gort_scope_try_go(f->scope, consumer, f);
	if (err == -EAGAIN)
		err = gort_scope_go(f->scope, consumer, f);
	if (err == 0)
		err = step(f);
	if (err == 0)
		err = gort_scope_go(f->scope, producer, f);
	return err == 0 ? step(f) : err;
}

static int inner(void *arg)
{
	struct frame *f = arg;
	int err = begin_member(f);

	if (err == 0)
		err = in_a_scope(4, inner_body);
	return err == 0 ? step(f) : err;
}

static int sleeper(void *arg)
{
	struct frame *f = arg;
	int err = begin_member(f);

	if (err == 0)
		err = gort_sleep(20 * GORT_US);
	return err == 0 ? step(f) : err;
}

static int outer_body(struct frame *f)
{
	int err = step(f);

	for (int i = 0; err == 0 && i < 3; i++) {
		err = gort_scope_go(f->scope, i % 2 ? sleeper : inner, f);
		if (err == 0)
			err = step(f);
	}
	if (err == 0 && gort_scope_wait_until(f->scope, gort_in(30 * GORT_US)) == 0)
		err = step(f);
	return err;
}

static int owner(void *arg)
{
	(void)arg;
	return in_a_scope(2, outer_body);
}

/* ---- with a fault ---------------------------------------------------------------------------- */

/* What it came to. */
static int scenario(enum fault fault, int at)
{
	gort_task *t;
	int result = 0;

	x.fault = fault;
	atomic_store(&x.steps, at);
	x.patience = fault == GOEXIT || fault == MEMORY ? 2 * GORT_MS : 3600 * GORT_SEC;
	x.values = gort_chan_make(sizeof(int), 1);
	x.ctx = gort_ctx_with_cancel(gort_ctx_background());
	CHECK(x.values && x.ctx);
	if (fault == MEMORY)
		mem_fail_after((uint32_t)at);
	t = gort_spawn(owner, NULL, &(gort_attr){ .ctx = x.ctx });
	if (t)
		CHECK_EQ(gort_join(t, &result), 0);
	else
		result = -ENOMEM;
	mem_fail_after(0);
	EVENTUALLY(gort_count() == 1);
	gort_ctx_release(x.ctx);
	gort_chan_release(x.values);
	return result;
}

/* At each step; gives how many there are. */
static int at_each_step(enum fault fault, int expect, bool may_be_too_late)
{
	int at = 0, result;

	do {
		result = scenario(fault, ++at);
		if (atomic_load(&x.steps) <= 0 && !(may_be_too_late && result == 0))
			CHECK_EQ(result, expect);
	} while (atomic_load(&x.steps) <= 0);
	return at - 1;
}

// variants: maxprocs
TEST(without_a_fault)
{
	for (int i = 0; i < SCALE(200); i++)
		CHECK_EQ(scenario(NONE, 0), 0);
}

// variants: maxprocs
TEST(failure_at_each_step)
{
	CHECK(at_each_step(FAIL, -EIO, false) > 50);
}

// variants: maxprocs
TEST(scope_cancelled_at_each_step)
{
	CHECK(at_each_step(CANCEL, -ECANCELED, true) > 50);
}

// variants: maxprocs
TEST(owner_cancelled_at_each_step)
{
	CHECK(at_each_step(CANCEL_OWNER, -ECANCELED, true) > 50);
}

static void ignore_panic(const char *message, uint64_t goroutine)
{
	CHECK_STR(message, "at a step");
	CHECK(goroutine > 1);
}

static int panic_at_each_step(void *arg)
{
	(void)arg;
	CHECK(at_each_step(PANIC, -EOWNERDEAD, false) > 50);
	return 0;
}

// variants: maxprocs
TEST_PLAIN(panic_at_each_step_is_told)
{
	CHECK_EQ(gort_run(panic_at_each_step, NULL, &(gort_options){ .on_panic = ignore_panic }),
		 0);
}

/* Who ends in peace is no failure; partners that wait in vain then give up. */
// variants: maxprocs
TEST(goexit_at_each_step)
{
	int at = 0, result;

	do {
		result = scenario(GOEXIT, ++at);
		CHECK(result == 0 || result == -ETIMEDOUT);
	} while (atomic_load(&x.steps) <= 0);
}

// variants: maxprocs
TEST(memory_out_at_each_allocation)
{
	for (int at = 1; at < 200; at++) {
		int result = scenario(MEMORY, at);

		CHECK(result == 0 || result == -ENOMEM || result == -ETIMEDOUT);
	}
}
