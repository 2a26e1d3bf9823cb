/*
 * select_queues.c - a select stands in several queues at a time: of one channel, in both
 * directions, in order with plain calls, in a thousand; and leaves them all, without memory, and
 * at the runtime's end.
 */
#include "select.h"

#include <unistd.h>

/* ---- one channel in several cases */
static void several_receives(int how)
{
	gort_chan *c = make(0);

	for (int64_t i = 0; i < 20; i++) {
		int64_t got[3] = { -1, -1, -1 }, sum = 0;
		gort_case cases[3] = { GORT_CASE_RECV(c, &got[0]), GORT_CASE_RECV(c, &got[1]),
				       GORT_CASE_RECV(c, &got[2]) };
		struct call waiter = call_of(cases, 3, how);
		int which;

		begin(&waiter);
		CHECK_EQ(meet(GORT_CASE_SEND(c, &i), i % 2), 0);
		CHECK_EQ(meet(GORT_CASE_SEND(c, &i), i % 2), i % 2 ? -EAGAIN : -ETIMEDOUT);
		which = end(&waiter);
		for (int k = 0; k < 3; k++)
			sum += got[k];
		CHECK_EQ(got[which], i);
		CHECK_EQ(sum, i - 2);
		CHECK(is_empty(c));
	}
	gort_chan_release(c);
}

static void several_sends(int how)
{
	gort_chan *c = make(1);

	send_value(c, -1);
	for (int64_t i = 0; i < 20; i++) {
		int64_t values[3] = { 3 * i, 3 * i + 1, 3 * i + 2 };
		gort_case cases[3] = { GORT_CASE_SEND(c, &values[0]), GORT_CASE_SEND(c, &values[1]),
				       GORT_CASE_SEND(c, &values[2]) };
		struct call waiter = call_of(cases, 3, how);

		begin(&waiter);
		(void)recv_value(c);
		CHECK_EQ(recv_value(c), values[end(&waiter)]);
		CHECK_EQ(gort_chan_len(c), 0);
		CHECK(is_empty(c));
		send_value(c, -1);
	}
	gort_chan_release(c);
}

// variants: maxprocs
TEST(channel_in_several_cases_gives_one_value)
{
	check_both(several_receives, 2);
	check_both(several_sends, 2);
}

/* ---- both directions of one channel */
static void nobody_else(int how)
{
	gort_chan *c = make(0);
	int64_t value = 5, got = -1;
	gort_case cases[4] = { GORT_CASE_SEND(c, &value), GORT_CASE_RECV(c, &got),
			       GORT_CASE_SEND(c, &value), GORT_CASE_RECV(c, &got) };

	(void)how;
	for (size_t n = 1; n <= 4; n++) {
		CHECK_EQ(gort_select(cases, n, GORT_NOW), -EAGAIN);
		CHECK_EQ(gort_select(cases, n, gort_in(GORT_MS)), -ETIMEDOUT);
	}
	CHECK_EQ(got, -1);
	CHECK(is_empty(c));
	gort_chan_release(c);
}

// variants: maxprocs
TEST(select_does_not_match_itself)
{
	check_both(nobody_else, 1);
}

TEST_PLAIN(select_does_not_match_itself_without_a_runtime)
{
	nobody_else(0);
}

/* Who does both waits in both queues, and goes with whoever comes first, plain or not. */
static void both_directions(int how)
{
	gort_chan *c = make(0);

	for (int i = 0; i < 8; i++) {
		int64_t mine = 5, got = -1, theirs = 6, theirs_got = -1;
		gort_case cases[2] = { GORT_CASE_SEND(c, &mine), GORT_CASE_RECV(c, &got) };
		gort_case others[2] = { GORT_CASE_SEND(c, &theirs),
					GORT_CASE_RECV(c, &theirs_got) };
		struct call waiter = call_of(cases, 2, how);
		int which, other;

		begin(&waiter);
		if (i % 4 == 0)
			other = gort_select(others, 2, GORT_NOW);
		else if (i % 4 == 1)
			other = gort_select(others, 2, GORT_FOREVER);
		else
			other = plain_call(&others[i % 2], GORT_NOW) ? -1 : i % 2;
		which = end(&waiter);
		CHECK_EQ(which, 1 - other);
		CHECK_EQ(got, which == 1 ? 6 : -1);
		CHECK_EQ(theirs_got, other == 1 ? 5 : -1);
		CHECK(is_empty(c));
	}
	gort_chan_release(c);
}

// variants: maxprocs
TEST(both_directions_meet_whoever_comes)
{
	check_both(both_directions, 2);
}

/* Two that do both exchange value for value: each step of the one is a step of the other. */
struct exchanger {
	gort_chan *c;
	int64_t id, steps, sent, received, sum_sent, sum_received;
	atomic_bool done;
};

static void exchange(void *arg)
{
	struct exchanger *e = arg;

	for (int64_t i = 0; i < e->steps; i++) {
		int64_t out = e->id * 1000000 + i, in = -1;
		gort_case cases[2] = { GORT_CASE_RECV(e->c, &in), GORT_CASE_SEND(e->c, &out) };

		if (gort_select(cases, 2, GORT_FOREVER) == 1) {
			e->sent++;
			e->sum_sent += out;
		} else {
			CHECK_EQ(in / 1000000, 3 - e->id); /* not its own */
			e->received++;
			e->sum_received += in;
		}
	}
	atomic_store(&e->done, true);
}

static void exchange_between(bool first_is_guest, bool second_is_guest)
{
	gort_chan *c = make(0);
	struct exchanger one = { .c = c, .id = 1, .steps = SCALE(5000) }, two = one;
	struct guest *guests[2] = { NULL, NULL };

	two.id = 2;
	if (first_is_guest)
		guests[0] = guest_start(exchange, &one);
	else
		CHECK_EQ(gort_go(exchange, &one), 0);
	if (second_is_guest)
		guests[1] = guest_start(exchange, &two);
	else
		CHECK_EQ(gort_go(exchange, &two), 0);
	UNTIL(atomic_load(&one.done) && atomic_load(&two.done));
	for (int i = 0; i < 2; i++)
		if (guests[i])
			guest_join(guests[i]);
	CHECK_EQ(one.sent, two.received);
	CHECK_EQ(two.sent, one.received);
	CHECK_EQ(one.sum_sent, two.sum_received);
	CHECK_EQ(two.sum_sent, one.sum_received);
	CHECK(is_empty(c));
	gort_chan_release(c);
}

// variants: maxprocs
TEST(two_that_do_both_exchange)
{
	exchange_between(false, false);
	exchange_between(false, true);
	exchange_between(true, true);
}

/* ---- order: a select stands in line as everybody does */
static void in_line(int how)
{
	enum { N = 12 };
	gort_chan *c = make(0), *other = make(0);
	struct call calls[N];
	gort_case cases[N][2];
	int64_t got[N];

	for (int i = 0; i < N; i++) {
		int this = i % 3 == 0 ? PLAIN | how : i % 3 == 1 ? how : 0;

		cases[i][0] = GORT_CASE_RECV(c, &got[i]);
		cases[i][1] = GORT_CASE_RECV(other, NULL);
		calls[i] = call_of(cases[i], this & PLAIN ? 1 : 2, this);
		begin(&calls[i]);
	}
	for (int i = 0; i < N; i++)
		CHECK_EQ(meet(GORT_CASE_SEND(c, &(int64_t){ 100 + i }), i / 2 % 2), 0);
	for (int i = 0; i < N; i++) {
		CHECK_EQ(end(&calls[i]), 0);
		CHECK_EQ(got[i], 100 + i);
	}
	for (int i = 0; i < N; i++) {
		int this = i % 3 == 0 ? PLAIN | how : i % 3 == 1 ? how : 0;

		got[i] = 200 + i;
		cases[i][0] = GORT_CASE_SEND(c, &got[i]);
		calls[i] = call_of(cases[i], this & PLAIN ? 1 : 2, this);
		begin(&calls[i]);
	}
	for (int i = 0; i < N; i++) {
		int64_t value = 0;

		CHECK_EQ(meet(GORT_CASE_RECV(c, &value), i / 2 % 2), 0);
		CHECK_EQ(value, 200 + i);
	}
	for (int i = 0; i < N; i++)
		CHECK_EQ(end(&calls[i]), 0);
	CHECK(is_empty(c) && is_empty(other));
	gort_chan_release(c);
	gort_chan_release(other);
}

// variants: maxprocs
TEST(selects_and_plain_calls_are_served_in_order)
{
	check_both(in_line, 2);
}

/* Those that leave the line through another case, or by a deadline, stand at its front, in its
 * middle and at its end. */
static void out_of_line(int how)
{
	enum { N = 9 };
	gort_chan *c = make(0), *other = make(0);
	struct call calls[N];
	gort_case cases[N][2];
	int64_t got[N], value = 0;

	for (int i = 0; i < N; i++) {
		got[i] = -1;
		cases[i][0] = GORT_CASE_RECV(c, &got[i]);
		cases[i][1] = GORT_CASE_RECV(i % 4 == 0 ? other : NULL, &got[i]);
		calls[i] = call_of(cases[i], 2, how);
		if (i == 8)
			calls[i].deadline = gort_in(50 * GORT_MS);
		start(&calls[i]);
		UNTIL(atomic_load(&calls[i].done) || stands_in_queue(&cases[i][0]));
	}
	CHECK_EQ(end(&calls[8]) == -ETIMEDOUT, true);
	for (int i = 0; i < 8; i += 4) {
		UNTIL(stands_in_queue(&cases[i][1]));
		send_value(other, 50 + i);
		CHECK_EQ(end(&calls[i]), 1);
		CHECK_EQ(got[i], 50 + i);
	}
	for (int i = 0; i < N; i++)
		if (i % 4)
			send_value(c, i);
	CHECK_EQ(gort_chan_try_send(c, &value), -EAGAIN);
	for (int i = 0; i < N; i++)
		if (i % 4) {
			CHECK_EQ(end(&calls[i]), 0);
			CHECK_EQ(got[i], i);
		}
	CHECK(is_empty(c) && is_empty(other));
	gort_chan_release(c);
	gort_chan_release(other);
}

// variants: maxprocs
TEST(who_leaves_the_line_leaves_the_others_in_order)
{
	check_both(out_of_line, 2);
}

/* A select that another channel has ended, but that has not run since, still stands in the
 * queue: it is no partner, and must not hide who is ready. */
TEST(who_has_been_ended_already_is_no_partner)
{
	gort_chan *stale = make(0), *c = make(0), *ready = make(1);
	int64_t got, value = 5;
	gort_case theirs[2] = { GORT_CASE_RECV(stale, &got), GORT_CASE_RECV(c, &got) };
	gort_case cases[2] = { GORT_CASE_SEND(stale, &value), GORT_CASE_RECV(ready, NULL) };
	struct call waiter = call_of(theirs, 2, 0);

	gort_maxprocs(1); /* it does not run before we yield */
	for (int i = 0; i < 40; i++) {
		begin(&waiter);
		gort_preempt_off();
		send_value(c, i);
		CHECK(stands_in_queue(&theirs[0]));
		if (i % 4 == 0)
			CHECK_EQ(select1(cases[0], GORT_NOW), -EAGAIN);
		if (i % 4 == 1)
			CHECK_EQ(gort_chan_try_send(stale, &value), -EAGAIN);
		if (i % 4 > 1) {
			send_value(ready, 1);
			CHECK_EQ(gort_select(cases, 2, GORT_NOW), 1);
		}
		gort_preempt_on();
		CHECK_EQ(end(&waiter), 1);
		CHECK_EQ(got, i);
	}
	gort_chan_release(stale);
	gort_chan_release(c);
	gort_chan_release(ready);
}

/* ---- wide ones */
enum { WIDE = 1000 };

struct wide {
	gort_chan *chans[WIDE];
	gort_case cases[WIDE];
	int64_t got[WIDE];
	size_t n;
};

static struct wide *wide_make(size_t n, size_t capacity)
{
	struct wide *w = calloc(1, sizeof *w);

	CHECK(w != NULL);
	w->n = n;
	for (size_t i = 0; i < n; i++) {
		w->chans[i] = make(capacity);
		w->cases[i] = GORT_CASE_RECV(w->chans[i], &w->got[i]);
	}
	return w;
}

static void wide_free(struct wide *w)
{
	for (size_t i = 0; i < w->n; i++) {
		CHECK(is_empty(w->chans[i]));
		gort_chan_release(w->chans[i]);
	}
	free(w);
}

static void wide_at_once_and_waiting(int how)
{
	const size_t widths[] = { 15, 16, 17, 65, 372, 373, WIDE };

	for (size_t k = 0; k < sizeof widths / sizeof widths[0]; k++) {
		size_t n = widths[k];
		struct wide *w = wide_make(n, 1);

		for (size_t at = 0; at < n; at += n / 5) {
			struct call waiter = call_of(w->cases, n, how);

			send_value(w->chans[at], (int64_t)at);
			CHECK_EQ(gort_select(w->cases, n, GORT_FOREVER), at);
			CHECK_EQ(w->got[at], at);
			CHECK_EQ(gort_select(w->cases, n, GORT_NOW), -EAGAIN);
			CHECK_EQ(gort_select(w->cases, n, gort_in(GORT_US)), -ETIMEDOUT);
			begin(&waiter);
			send_value(w->chans[at], (int64_t)at + 5);
			CHECK_EQ(end(&waiter), at);
			CHECK_EQ(w->got[at], at + 5);
		}
		wide_free(w);
	}
}

// variants: maxprocs
TEST(wide)
{
	check_both(wide_at_once_and_waiting, 2);
}

TEST_PLAIN(wide_without_a_runtime)
{
	wide_at_once_and_waiting(BY_GUEST);
}

/* A thousand cases, and all of them of one channel, in both directions. */
static void wide_and_narrow(int how)
{
	struct wide *w = wide_make(WIDE, 0);
	struct call waiter = call_of(w->cases, WIDE, how);
	int64_t value = 7;
	int which;

	for (size_t i = 0; i < WIDE; i++) {
		w->cases[i].chan = w->chans[500];
		w->cases[i].op = i % 2 ? GORT_OP_SEND : GORT_OP_RECV;
		w->got[i] = 1000 + (int64_t)i;
	}
	CHECK_EQ(gort_select(w->cases, WIDE, GORT_NOW), -EAGAIN);
	begin(&waiter);
	send_value(w->chans[500], 7);
	which = end(&waiter);
	CHECK_EQ(which % 2, 0);
	CHECK_EQ(w->got[which], 7);
	begin(&waiter);
	CHECK_EQ(gort_chan_recv(w->chans[500], &value), 0);
	which = end(&waiter);
	CHECK_EQ(which % 2, 1);
	CHECK_EQ(value, 1000 + which);
	wide_free(w);
}

// variants: maxprocs
TEST(wide_over_one_channel)
{
	check_both(wide_and_narrow, 2);
}

/* ---- no memory */

/* No other M is looking for work, or about to be made: they allocate, too. Without waiting, which would
 * take what is to fail. */
static void wait_until_alone(void)
{
	bool alone;

	do {
		struct m *m = rt_enter();

		lock_acquire(&gort__sched.lock);
		alone = gort__sched.asked == 0 && load_relaxed(&gort__sched.spinning) == 0;
		lock_release(&gort__sched.lock);
		rt_leave(m);
		gort_yield();
	} while (!alone);
}

/* Until somebody waits for it, whom it lets go. */
static void send_at_last(void *c)
{
	int64_t value = 1;

	while (gort_chan_try_send(c, &value) != 0)
		usleep(100);
}

/* Gives how many selects failed, each at another allocation, before one got through, and waited. The first
 * case is to receive. */
static int fail_each_allocation(gort_case *cases, size_t n)
{
	struct guest *sender = guest_start(send_at_last, cases[0].chan);
	int failed = 0;

	for (uint32_t nth = 1;; nth++) {
		int err;

		mem_fail_after(nth);
		err = gort_select(cases, n, gort_in(3600 * GORT_SEC));
		mem_fail_after(0);
		if (err == 0) {
			guest_join(sender);
			return failed;
		}
		CHECK_EQ(err, -ENOMEM);
		failed++;
		for (size_t i = 0; i < n; i++)
			CHECK(is_empty(cases[i].chan));
	}
}

static void no_memory(int how)
{
	struct wide *w = wide_make(WIDE, 0);

	(void)how;
	CHECK(fail_each_allocation(w->cases, WIDE) >= 1);
	fail_each_allocation(w->cases, 17);
	mem_fail_after(1);
	CHECK_EQ(gort_select(w->cases, WIDE, GORT_FOREVER), -ENOMEM);
	mem_fail_after(
		1); /* nothing is needed when nobody waits, or few cases without a deadline */
	CHECK_EQ(gort_select(w->cases, WIDE, GORT_NOW), -EAGAIN);
	mem_fail_after(0);
	wide_free(w);
}

TEST(no_memory_is_told_and_nothing_is_queued)
{
	gort_chan *c = make(0);
	gort_case cases[] = { GORT_CASE_RECV(c, NULL), GORT_CASE_SEND(c, &(int64_t){ 1 }) };

	gort_maxprocs(1);
	wait_until_alone();
	CHECK(fail_each_allocation(cases, 2) >= 1); /* a P's first timer */
	gort_chan_release(c);
	check_both(no_memory, 1);
}

/* Sixteen cases wait without memory; nobody else allocates meanwhile. */
static void few_need_no_memory(int how)
{
	struct wide *w = wide_make(16, 0);
	struct call waiter = call_of(w->cases, 16, how);
	size_t before;

	begin(&waiter);
	send_value(w->chans[3], 1);
	CHECK_EQ(end(&waiter), 3);
	before = memory_but_for_threads();
	begin(&waiter);
	CHECK_EQ(memory_but_for_threads(), before);
	send_value(w->chans[15], 1);
	CHECK_EQ(end(&waiter), 15);
	wide_free(w);
}

TEST(sixteen_cases_need_no_memory)
{
	gort_maxprocs(1);
	/* A P's first timer needs some. (A short sleep may be over before it needs one.) */
	gort_timer_release(gort_timer_start(gort_in(3600 * GORT_SEC), 0, NULL, NULL));
	check_both(few_need_no_memory, 2);
}

/* ---- references: with one of its own, each side may release as soon as its call has returned */
static void select_and_release(void *arg)
{
	gort_chan *c = arg;
	int64_t value = 1, got;
	gort_case cases[2] = { GORT_CASE_SEND(c, &value), GORT_CASE_RECV(c, &got) };

	CHECK(gort_select(cases, 2, GORT_FOREVER) >= 0);
	gort_chan_release(c);
}

// variants: maxprocs
TEST(both_sides_may_release_at_once)
{
	gort_waitgroup group = { 0 };

	for (int i = 0; i < SCALE(5000); i++) {
		gort_chan *c = make(0);

		gort_chan_retain(c);
		CHECK_EQ(gort_waitgroup_go(&group, select_and_release, c), 0);
		select_and_release(c);
		if (i % 100 == 0)
			gort_waitgroup_wait(&group);
	}
	gort_waitgroup_wait(&group);
}

TEST_DIES(release_of_the_last_reference_during_a_select_is_misuse, "gort_chan_release")
{
	gort_chan *c = make(0);
	gort_case k = GORT_CASE_RECV(c, NULL);
	struct call waiter = call_of(&k, 1, 0);

	begin(&waiter);
	gort_chan_release(c);
}

/* ---- the runtime's end: channels outlive it, and what waited on them is gone without a trace */
enum { OUTLIVING = 4, LEFT_WAITING = 24 };
static gort_chan *outliving[OUTLIVING];

struct left {
	size_t n;
	gort_case cases[WIDE];
	int64_t elem;
};
static struct left left[LEFT_WAITING];

/* Channels 0 and 2 have only receivers, 1 and 3 only senders: nobody finds a partner. */
static void left_make(struct left *l, size_t n)
{
	l->n = n;
	for (size_t k = 0; k < n; k++)
		l->cases[k] = (gort_case){ .op = k % 2 ? GORT_OP_SEND : GORT_OP_RECV,
					   .chan = outliving[k % OUTLIVING],
					   .elem = &l->elem };
}

/* Every second one has a deadline. */
static void wait_for_good(void *arg)
{
	struct left *l = arg;

	gort_select(l->cases, l->n, (l - left) % 2 ? GORT_FOREVER : gort_in(3600 * GORT_SEC));
	CHECK(false && "it was dropped");
}

static bool all_wait(void)
{
	for (int i = 0; i < LEFT_WAITING; i++)
		for (size_t k = 0; k < 3; k++)
			if (!stands_in_queue(&left[i].cases[k]))
				return false;
	return true;
}

static int leave_waiting(void *arg)
{
	(void)arg;
	for (size_t i = 0; i < LEFT_WAITING; i++) {
		left_make(&left[i], i % 3 == 0 ? WIDE : i % 3 == 1 ? 17 : 3);
		CHECK_EQ(gort_go(wait_for_good, &left[i]), 0);
	}
	UNTIL(all_wait());
	return 7;
}

static void use_outliving(int how)
{
	int64_t value = 5, got = -1;

	for (int i = 0; i < OUTLIVING; i++) {
		gort_chan *c = outliving[i];
		gort_case k = GORT_CASE_RECV(c, &got);
		struct call receiver = call_of(&k, 1, BY_GUEST | how);

		CHECK(is_empty(c));
		CHECK_EQ(gort_chan_try_send(c, &value), -EAGAIN);
		CHECK_EQ(gort_chan_try_recv(c, &value), -EAGAIN);
		begin(&receiver);
		send_value(c, 10 + i);
		CHECK_EQ(end(&receiver), 0);
		CHECK_EQ(got, 10 + i);
	}
}

// variants: maxprocs
TEST_PLAIN(runtime_ends_while_goroutines_select)
{
	size_t memory;

	for (int i = 0; i < OUTLIVING; i++)
		outliving[i] = make(0);
	memory = memory_but_for_threads();
	for (int round = 0; round < 10; round++) {
		CHECK_EQ(gort_run(leave_waiting, NULL, NULL), 7);
		CHECK_EQ(memory_but_for_threads(), memory);
		use_outliving(round % 2 ? PLAIN : 0);
	}
	for (int i = 0; i < OUTLIVING; i++)
		gort_chan_release(outliving[i]);
}

static int leave_one_woken(void *arg)
{
	static gort_case cases[WIDE];
	static struct call waiter;
	int64_t *elem = arg, value = 5;

	for (size_t i = 0; i < WIDE; i++)
		cases[i] = GORT_CASE_RECV(outliving[i % OUTLIVING], elem);
	waiter = call_of(cases, *elem % 2 ? 17 : WIDE, 0);
	begin(&waiter);
	CHECK_EQ(gort_chan_send(outliving[1], &value), 0);
	return 7;
}

// variants: maxprocs
TEST_PLAIN(runtime_ends_before_who_was_woken_runs)
{
	size_t memory;
	static int64_t elem;

	for (int i = 0; i < OUTLIVING; i++)
		outliving[i] = make(0);
	memory = memory_but_for_threads();
	for (int round = 0; round < 50; round++) {
		elem = round;
		CHECK_EQ(gort_run(leave_one_woken, &elem, NULL), 7);
		CHECK_EQ(memory_but_for_threads(), memory);
		use_outliving(0);
	}
	for (int i = 0; i < OUTLIVING; i++)
		gort_chan_release(outliving[i]);
}

/* Guests that wait on the same channels are not concerned. */
static struct call guest_call;
static gort_case guest_cases[20];

static int leave_a_guest(void *arg)
{
	for (int i = 0; i < 20; i++)
		guest_cases[i] = GORT_CASE_RECV(outliving[2 * (i % 2)], &guest_call);
	guest_call = call_of(guest_cases, arg ? 20 : 2, BY_GUEST);
	begin(&guest_call);
	return leave_waiting(NULL);
}

// variants: maxprocs
TEST_PLAIN(runtime_ends_while_a_guest_selects)
{
	for (int i = 0; i < OUTLIVING; i++)
		outliving[i] = make(0);
	for (int round = 0; round < 6; round++) {
		CHECK_EQ(gort_run(leave_a_guest, round % 2 ? outliving : NULL, NULL), 7);
		CHECK(!atomic_load(&guest_call.done));
		CHECK_EQ(gort_chan_send(outliving[2], &(int64_t){ 1 }), 0);
		CHECK_EQ(end(&guest_call) % 2, 1);
	}
	for (int i = 0; i < OUTLIVING; i++)
		gort_chan_release(outliving[i]);
}
