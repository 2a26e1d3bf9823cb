/*
 * select_ends.c - what ends a select besides plain channels: times, timers, tasks that end,
 * contexts that end. By goroutines and by guests.
 */
#include "select.h"

/* ---- times */
static void times_pass(int how)
{
	gort_chan *c = make(0);
	int64_t now = gort_now(), got;
	gort_case cases[4];

	(void)how;
	/* past ones need no wait */
	for (int i = 0; i < 4; i++) {
		const int64_t past[] = { GORT_NOW, 0, -1, now };

		CHECK_EQ(select1(GORT_CASE_TIME(past[i]), GORT_NOW), 0);
		CHECK_EQ(select1(GORT_CASE_TIME(past[i]), GORT_FOREVER), 0);
		CHECK_EQ(select1(GORT_CASE_TIME(past[i]), 1), 0); /* both: a case goes before */
	}
	CHECK_EQ(select1(GORT_CASE_TIME(gort_in(3600 * GORT_SEC)), GORT_NOW), -EAGAIN);
	CHECK_EQ(select1(GORT_CASE_TIME(gort_in(3600 * GORT_SEC)), now), -ETIMEDOUT);

	/* alone, before and behind the call's deadline, and both at once */
	now = gort_now();
	CHECK_EQ(select1(GORT_CASE_TIME(now + 2 * GORT_MS), GORT_FOREVER), 0);
	CHECK(gort_now() >= now + 2 * GORT_MS);
	now = gort_now();
	CHECK_EQ(select1(GORT_CASE_TIME(now + 2 * GORT_MS), now + 9 * GORT_SEC), 0);
	CHECK(gort_now() >= now + 2 * GORT_MS);
	now = gort_now();
	CHECK_EQ(select1(GORT_CASE_TIME(now + 9 * GORT_SEC), now + 2 * GORT_MS), -ETIMEDOUT);
	CHECK(gort_now() >= now + 2 * GORT_MS);
	now = gort_now();
	CHECK_EQ(select1(GORT_CASE_TIME(now + 2 * GORT_MS), now + 2 * GORT_MS), 0);
	CHECK(gort_now() >= now + 2 * GORT_MS);

	/* several: the earliest, wherever it stands */
	for (int at = 0; at < 4; at++) {
		now = gort_now();
		for (int i = 0; i < 4; i++)
			cases[i] = GORT_CASE_TIME(now + (i + 9) * GORT_SEC);
		cases[at].deadline = now + GORT_MS;
		CHECK_EQ(gort_select(cases, 4, now + 8 * GORT_SEC), at);
		CHECK(gort_now() >= now + GORT_MS);
		CHECK_EQ(cases[at].status, 0);
	}
	/* with a channel, which is left */
	cases[0] = GORT_CASE_RECV(c, &got);
	cases[1] = GORT_CASE_TIME(gort_in(GORT_MS));
	CHECK_EQ(gort_select(cases, 2, GORT_FOREVER), 1);
	CHECK(is_empty(c));
	gort_chan_release(c);
}

// variants: maxprocs bubble
TEST(times)
{
	check_both(times_pass, 1);
}

TEST_PLAIN(times_without_a_runtime)
{
	times_pass(0);
}

static void faster_than_the_time(int how)
{
	gort_chan *c = make(0);
	int64_t got = -1;
	gort_case cases[2] = { GORT_CASE_TIME(gort_in(3600 * GORT_SEC)), GORT_CASE_RECV(c, &got) };
	struct call waiter = call_of(cases, 2, how);

	waiter.deadline = gort_in(1800 * GORT_SEC);
	begin(&waiter);
	send_value(c, 3);
	CHECK_EQ(end(&waiter), 1);
	CHECK_EQ(got, 3);
	gort_chan_release(c);
}

// variants: maxprocs
TEST(channel_goes_before_a_later_time)
{
	check_both(faster_than_the_time, 2);
}

/* A timer's channel: one tick at a time, and none once it was stopped, or moved. */
static void ticks(int how)
{
	gort_chan *c = make(0), *after = gort_after_chan(GORT_MS);
	int64_t at = 0, start = gort_now();
	gort_timer *t = gort_timer_start(start + GORT_MS, GORT_MS, NULL, NULL);
	gort_case cases[2] = { GORT_CASE_RECV(c, NULL), GORT_CASE_RECV(gort_timer_chan(t), &at) };
	struct call waiter = call_of(cases, 2, how);

	CHECK(t && after);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(gort_select(cases, 2, GORT_FOREVER), 1);
		CHECK(at > start && at <= gort_now());
		start = at;
	}
	CHECK_EQ(select1(GORT_CASE_RECV(after, &at), GORT_FOREVER), 0);
	gort_chan_release(after);

	for (int i = 0; i < 20; i++) {
		gort_timer_reset(t, gort_in(i * 20 * GORT_US));
		gort_sleep(10 * GORT_US);
		gort_timer_stop(t);
		CHECK_EQ(gort_select(cases, 2, GORT_NOW), -EAGAIN);
	}
	begin(&waiter);
	gort_timer_reset(t, gort_in(GORT_MS));
	CHECK_EQ(end(&waiter), 1);
	gort_timer_release(t);
	CHECK(is_empty(c));
	gort_chan_release(c);
}

// variants: maxprocs bubble
TEST(ticks_of_a_timer)
{
	check_both(ticks, 2);
}

/* ---- tasks */
static gort_chan *gate;

static int end_when_told(void *arg)
{
	gort_chan_recv(gate, NULL);
	if (arg)
		gort_goexit();
	return 42;
}

static void task_that_has_ended(int how)
{
	gort_task *t = gort_spawn(end_at_once, NULL, NULL);
	int result = 0;

	(void)how;
	CHECK(t != NULL);
	await_task(t);
	for (size_t at = 0; at < AMONG; at++)
		choose_at_once(at, GORT_CASE_TASK(t), 0);
	CHECK_EQ(gort_join(t, &result), 0);
	CHECK_EQ(result, 42);
}

// variants: maxprocs bubble
TEST(task_that_has_ended_is_ready)
{
	check_both(task_that_has_ended, 1);
}

/* Several wait for one task, one of them by two cases; the handle is joined when all have seen
 * it. */
static void task_that_ends(int how)
{
	for (size_t at = 0; at < AMONG; at++) {
		gort_task *t;
		struct among *a[3];
		struct call waiters[3], twice;
		gort_case two[2];
		int result = -1;

		gate = make(0);
		t = gort_spawn(end_when_told, at % 2 ? &gate : NULL, NULL);
		CHECK(t != NULL);
		CHECK_EQ(select1(GORT_CASE_TASK(t), GORT_NOW), -EAGAIN);
		CHECK_EQ(select1(GORT_CASE_TASK(t), gort_in(GORT_US)), -ETIMEDOUT);
		for (int i = 0; i < 3; i++) {
			a[i] = among(at, GORT_CASE_TASK(t));
			wait_among(&waiters[i], a[i], i == 1 ? !how : how);
		}
		two[0] = two[1] = GORT_CASE_TASK(t);
		two[0].status = two[1].status = UNTOUCHED;
		twice = call_of(two, 2, how);
		begin(&twice);
		gort_sleep((int64_t)at * 100 * GORT_US);
		CHECK_EQ(gort_join_until(t, NULL, gort_in(GORT_US)), -ETIMEDOUT);
		CHECK_EQ(gort_chan_close(gate), 0);
		for (int i = 0; i < 3; i++)
			among_end(a[i], end(&waiters[i]), 0);
		CHECK(end(&twice) == 0 || twice.result == 1);
		CHECK_EQ(two[twice.result].status, 0);
		CHECK_EQ(two[1 - twice.result].status, UNTOUCHED);
		CHECK_EQ(select1(GORT_CASE_TASK(t), GORT_NOW), 0);
		CHECK_EQ(gort_join(t, &result), 0);
		CHECK_EQ(result, at % 2 ? 0 : 42);
		gort_chan_release(gate);
	}
}

// variants: maxprocs
TEST(task_that_ends_while_several_wait)
{
	check_both(task_that_ends, 2);
}

/* Something else is faster: the task's end must find nobody, and a join everything. */
static void task_that_loses(int how)
{
	gort_chan *c = make(0);
	gort_task *t;
	gort_case cases[2];
	struct call waiter;

	gate = make(0);
	t = gort_spawn(end_when_told, NULL, NULL);
	cases[0] = GORT_CASE_TASK(t);
	cases[1] = GORT_CASE_RECV(c, NULL);
	for (int i = 0; i < 10; i++) {
		waiter = call_of(cases, 2, how);
		begin(&waiter);
		send_value(c, 1);
		CHECK_EQ(end(&waiter), 1);
	}
	CHECK_EQ(gort_chan_close(gate), 0);
	CHECK_EQ(gort_join(t, NULL), 0);
	gort_chan_release(gate);
	gort_chan_release(c);
}

// variants: maxprocs bubble
TEST(task_that_ends_too_late)
{
	check_both(task_that_loses, 2);
}

/* A goroutine that waits for its own end waits in vain, but may. */
static gort_task *own;

static int wait_for_oneself(void *arg)
{
	gort_chan_recv(arg, NULL);
	return select1(GORT_CASE_TASK(own), gort_in(GORT_MS));
}

// variants: bubble
TEST(own_task_is_not_ready)
{
	gort_chan *c = make(1);
	int result = 0;

	own = gort_spawn(wait_for_oneself, c, NULL);
	send_value(c, 1);
	CHECK_EQ(gort_join(own, &result), 0);
	CHECK_EQ(result, -ETIMEDOUT);
	gort_chan_release(c);
}

/* ---- under a context, or a deadline of one's own */
struct call_under {
	gort_ctx *ctx;
	struct call call;
	atomic_bool done;
};

static void do_call_under(void *arg)
{
	struct call_under *u = arg;
	gort_ctx *previous = gort_ctx_enter(u->ctx);

	do_call(&u->call);
	gort_ctx_leave(previous);
	atomic_store(&u->done, true);
}

/* As begin and end. */
static struct guest *begin_under(struct call_under *u)
{
	struct guest *g = NULL;

	if (u->call.how & BY_GUEST)
		g = guest_start(do_call_under, u);
	else
		CHECK_EQ(gort_go(do_call_under, u), 0);
	for (size_t i = 0; i < u->call.n; i++)
		if (u->call.cases[i].op <= GORT_OP_SEND && u->call.cases[i].chan)
			UNTIL(stands_in_queue(&u->call.cases[i]) || atomic_load(&u->done));
	return g;
}

static int end_under(struct call_under *u, struct guest *g)
{
	UNTIL(atomic_load(&u->done));
	if (g)
		guest_join(g);
	return u->call.result;
}

static void canceled_while_waiting(int how)
{
	gort_ctx *background = gort_ctx_background();

	for (size_t at = 0; at < AMONG; at++) {
		gort_chan *c = make(0);
		int64_t value = 5;
		gort_case k = at % 2 ? GORT_CASE_RECV(c, &value) : GORT_CASE_SEND(c, &value);
		struct among *a = among(at, k);
		struct call_under u = { .ctx = gort_ctx_with_cancel(background),
					.call = call_of(a->cases, AMONG, how) };
		struct guest *g = begin_under(&u);

		gort_ctx_cancel(u.ctx, at % 3 ? -EIO : 0);
		CHECK_EQ(end_under(&u, g), -ECANCELED);
		CHECK_EQ(a->cases[at].status, UNTOUCHED);
		CHECK(is_empty(c));
		a->cases[at].status = 0;
		among_end(a, (int)at, 0); /* all others are as they were */
		CHECK_EQ(value, 5);
		gort_ctx_release(u.ctx);
		gort_chan_release(c);
	}
}

// variants: maxprocs
TEST(context_that_is_canceled_ends_the_wait)
{
	check_both(canceled_while_waiting, 2);
}

/* A deadline from outside is not the time that a case waits for. */
static void deadline_from_outside(gort_case *cases, int64_t deadline)
{
	cases[1].deadline = deadline + 3600 * GORT_SEC;
	CHECK_EQ(gort_select(cases, 2, GORT_FOREVER), -ETIMEDOUT);
	CHECK(gort_now() >= deadline);
	CHECK_EQ(gort_select(cases, 2, GORT_FOREVER), -ETIMEDOUT); /* from then on */
	CHECK_EQ(gort_select(cases, 0, GORT_FOREVER), -ETIMEDOUT);
	CHECK_EQ(gort_select(cases, 2, deadline + GORT_SEC), -ETIMEDOUT);
	CHECK_EQ(gort_select(cases, 2, GORT_NOW), -EAGAIN);
	send_value(cases[2].chan, 7);
	CHECK_EQ(gort_select(cases, 3, GORT_FOREVER), 2); /* what need not wait is done */
	CHECK_EQ(select1(GORT_CASE_TIME(deadline), GORT_FOREVER), 0);
}

/* And one that is far does not keep the case from its time. */
static void deadline_far_outside(gort_case *cases)
{
	cases[1].deadline = gort_in(GORT_MS);
	CHECK_EQ(gort_select(cases, 2, GORT_FOREVER), 1);
	CHECK_EQ(gort_select(cases, 1, gort_in(GORT_MS)), -ETIMEDOUT);
}

static void deadline_of_ones_own(int how)
{
	gort_chan *c = make(0), *ready = make(1);
	int64_t value, soon = gort_in(2 * GORT_MS), previous = gort_set_deadline(soon);
	gort_case cases[3] = { GORT_CASE_RECV(c, &value), GORT_CASE_TIME(0),
			       GORT_CASE_RECV(ready, &value) };

	(void)how;
	deadline_from_outside(cases, soon);
	gort_set_deadline(gort_in(3600 * GORT_SEC));
	deadline_far_outside(cases);
	gort_set_deadline(previous);
	CHECK(is_empty(c));
	gort_chan_release(c);
	gort_chan_release(ready);
}

// variants: maxprocs bubble
TEST(deadline_of_ones_own_is_no_case)
{
	check_both(deadline_of_ones_own, 1);
}

static void deadline_of_a_context(int how)
{
	gort_chan *c = make(0), *ready = make(1);
	int64_t value, soon = gort_in(2 * GORT_MS);
	gort_ctx *near = gort_ctx_with_deadline(gort_ctx_background(), soon);
	gort_ctx *far = gort_ctx_with_deadline(gort_ctx_background(), gort_in(3600 * GORT_SEC));
	gort_ctx *previous = gort_ctx_enter(near);
	gort_case cases[3] = { GORT_CASE_RECV(c, &value), GORT_CASE_TIME(0),
			       GORT_CASE_RECV(ready, &value) };

	(void)how;
	deadline_from_outside(cases, soon);
	gort_ctx_leave(previous);
	previous = gort_ctx_enter(far);
	deadline_far_outside(cases);
	gort_ctx_leave(previous);
	CHECK(is_empty(c));
	gort_ctx_release(near);
	gort_ctx_release(far);
	gort_chan_release(c);
	gort_chan_release(ready);
}

TEST_PLAIN(deadline_of_a_context_is_no_case_without_a_runtime)
{
	deadline_of_a_context(0);
}

// variants: maxprocs bubble
TEST(deadline_of_a_context_is_no_case)
{
	check_both(deadline_of_a_context, 1);
}

/* A deadline of the context's that comes about during the wait, whoever finds that it has
 * passed. */
static void deadline_found_by_others(int how)
{
	gort_chan *c = make(0);
	gort_case cases[2] = { GORT_CASE_RECV(c, NULL), GORT_CASE_TIME(gort_in(3600 * GORT_SEC)) };
	struct call_under u = { .call = call_of(cases, 2, how) };
	struct guest *g;

	u.ctx = gort_ctx_with_deadline(gort_ctx_background(), gort_in(20 * GORT_MS));
	g = begin_under(&u);
	UNTIL(gort_ctx_err(u.ctx));
	CHECK_EQ(gort_ctx_err(u.ctx), -ETIMEDOUT);
	CHECK_EQ(end_under(&u, g), -ETIMEDOUT);
	CHECK(is_empty(c));
	gort_ctx_release(u.ctx);
	gort_chan_release(c);
}

// variants: maxprocs
TEST(deadline_of_a_context_that_passes_is_no_case)
{
	check_both(deadline_found_by_others, 2);
}

/* The other way: to see a context's end as a case. */
static void done_as_a_case(int how)
{
	gort_ctx *ctx = gort_ctx_with_cancel(gort_ctx_background());
	gort_chan *c = make(0);
	gort_case cases[2] = { GORT_CASE_RECV(c, NULL), GORT_CASE_RECV(gort_ctx_done(ctx), NULL) };
	struct call waiter = call_of(cases, 2, how);

	begin(&waiter);
	gort_ctx_cancel(ctx, 0);
	CHECK_EQ(end(&waiter), 1);
	CHECK_EQ(cases[1].status, -EPIPE);
	CHECK_EQ(gort_select(cases, 2, GORT_NOW), 1);
	CHECK(is_empty(c));
	gort_ctx_release(ctx);
	gort_chan_release(c);
}

// variants: maxprocs bubble
TEST(end_of_a_context_as_a_case)
{
	check_both(done_as_a_case, 2);
}

/* A task whose goroutine is dropped has ended, for a guest that waits. */
TEST_PLAIN(runtime_ends_and_with_it_the_task_that_a_guest_selects)
{
	gort_chan *other = make(0);
	gort_case cases[2] = { GORT_CASE_RECV(other, NULL) };
	struct call waiter = call_of(cases, 2, BY_GUEST);

	gate = make(0);
	CHECK_EQ(gort_start(NULL), 0);
	cases[1] = GORT_CASE_TASK(gort_spawn(end_when_told, NULL, NULL));
	begin(&waiter);
	CHECK_EQ(gort_stop(), 0);
	CHECK_EQ(end(&waiter), 1);
	CHECK_EQ(gort_join(cases[1].task, NULL), -ECANCELED);
	CHECK(is_empty(gate) && is_empty(other));
	gort_chan_release(gate);
	gort_chan_release(other);
}
