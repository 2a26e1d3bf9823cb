/*
 * chan_pollfd.c - gort_chan_pollfd: the descriptor is readable exactly while a receive would not
 * block. Every change of that, with the descriptor made before it and after it; waits that end in
 * every way; then all at once, with a thread that knows nothing but poll(2).
 *
 * readable is asked when calls have returned or wait, never while they are under way.
 */
#include "harness.h"
#include "sync/chan.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static bool readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int n = poll(&p, 1, 0);

	CHECK(n == 0 || (n == 1 && p.revents == POLLIN));
	return n;
}

/* It is one of a channel: a number that is free again may be somebody else's, if only for a moment. */
static bool fd_is_open(int fd)
{
	char path[32], what[32] = "";

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	(void)!readlink(path, what, sizeof what - 1);
	return strcmp(what, "anon_inode:[eventfd]") == 0;
}

static int fd_of(gort_chan *c)
{
	int fd = gort_chan_pollfd(c);

	CHECK(fd >= 0);
	CHECK_EQ(gort_chan_pollfd(c), fd);
	return fd;
}

static gort_chan *make(size_t size, size_t capacity)
{
	gort_chan *c = gort_chan_make(size, capacity);

	CHECK(c != NULL);
	return c;
}

/* As a receive finds it: what the descriptor must say. */
static void check_says(gort_chan *c, bool what)
{
	CHECK_EQ(readable(fd_of(c)), what);
}

/* ---- the call itself */
TEST_PLAIN(no_channel)
{
	CHECK_EQ(gort_chan_pollfd(NULL), -EINVAL);
}

TEST_PLAIN(one_descriptor_until_the_last_release)
{
	gort_chan *c = make(0, 0);
	int fd = fd_of(c);

	CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
	gort_chan_release(gort_chan_retain(c));
	CHECK(fd_is_open(fd));
	gort_chan_release(c);
	CHECK(!fd_is_open(fd));
}

static gort_chan *asked;
static atomic_int answer;

static void ask(void *ready)
{
	int fd, none = -1;

	atomic_fetch_sub((atomic_int *)ready, 1);
	while (atomic_load((atomic_int *)ready) > 0)
		sched_yield();
	fd = gort_chan_pollfd(asked);
	CHECK(fd >= 0);
	if (!atomic_compare_exchange_strong(&answer, &none, fd))
		CHECK_EQ(none, fd);
}

TEST_PLAIN(one_descriptor_for_all_who_ask_at_once)
{
	for (int round = 0; round < SCALE(200); round++) {
		struct guest *g[3];
		atomic_int ready = 3;

		asked = make(0, 0);
		answer = -1;
		for (int i = 0; i < 3; i++)
			g[i] = guest_start(ask, &ready);
		for (int i = 0; i < 3; i++)
			guest_join(g[i]);
		check_says(asked, false);
		gort_chan_release(asked);
	}
}

TEST_PLAIN(no_descriptor_to_be_had)
{
	struct rlimit limit, none;
	gort_chan *c = make(sizeof(int), 1);
	int n = 1;

	CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = 0;
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
	CHECK_EQ(gort_chan_pollfd(c), -EMFILE);
	CHECK_EQ(gort_chan_send(c, &n), 0);
	CHECK_EQ(gort_chan_pollfd(c), -EMFILE);
	CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
	check_says(c, true);
	CHECK_EQ(gort_chan_recv(c, &n), 0);
	check_says(c, false);
	gort_chan_release(c);
}

/* ---- buffers, closing: no runtime */
static void buffered(size_t size, bool discard, bool early)
{
	gort_chan *c = make(size, 2);
	char in[40], out[40];

	if (early)
		check_says(c, false);
	for (int i = 1; i <= 2; i++) {
		memset(in, i, sizeof in);
		CHECK_EQ(i == 1 ? gort_chan_send(c, in) : gort_chan_try_send(c, in), 0);
		if (early)
			check_says(c, true);
	}
	CHECK_EQ(gort_chan_try_send(c, in), -EAGAIN);
	CHECK_EQ(gort_chan_send_until(c, in, gort_in(GORT_MS)), -ETIMEDOUT);
	check_says(c, true);
	for (int i = 1; i <= 2; i++) {
		check_says(c, true);
		memset(in, i, sizeof in);
		CHECK_EQ(gort_chan_recv(c, discard ? NULL : out), 0);
		CHECK(discard || memcmp(in, out, size) == 0);
	}
	check_says(c, false);
	CHECK_EQ(gort_chan_try_recv(c, out), -EAGAIN);
	CHECK_EQ(gort_chan_recv_until(c, out, gort_in(GORT_MS)), -ETIMEDOUT);
	check_says(c, false);
	gort_chan_release(c);
}

TEST_PLAIN(readable_while_the_buffer_has_some)
{
	static const size_t sizes[] = { 0, 1, 4, 8, 16, 40 };

	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
		for (int how = 0; how < 4; how++)
			buffered(sizes[i], how & 1, how & 2);
}

TEST_PLAIN(readable_once_closed)
{
	for (int how = 0; how < 4; how++) {
		gort_chan *c = make(sizeof(int), how & 1);
		int n = 7;

		if (how & 2)
			check_says(c, false);
		if (how & 1)
			CHECK_EQ(gort_chan_send(c, &n), 0);
		CHECK_EQ(gort_chan_close(c), 0);
		CHECK_EQ(gort_chan_close(c), -EPIPE);
		check_says(c, true);
		CHECK_EQ(gort_chan_send(c, &n), -EPIPE);
		n = 0;
		if (how & 1) {
			CHECK_EQ(gort_chan_recv(c, &n), 0);
			CHECK_EQ(n, 7);
			check_says(c, true);
		}
		CHECK_EQ(gort_chan_recv(c, &n), -EPIPE);
		CHECK_EQ(n, 0);
		CHECK_EQ(gort_chan_try_recv(c, NULL), -EPIPE);
		check_says(c, true);
		gort_chan_release(c);
	}
}

static int dropped;

static void count_drop(void *elem)
{
	(void)elem;
	dropped++;
}

TEST_PLAIN(released_with_elements_in_it)
{
	gort_chan *c = make(sizeof(int), 3);
	int fd = fd_of(c);

	gort_chan_on_drop(c, count_drop);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(gort_chan_send(c, &i), 0);
	gort_chan_release(c);
	CHECK_EQ(dropped, 3);
	CHECK(!fd_is_open(fd));
}

/* ---- senders that wait */

/* One call, by a goroutine or a plain thread. */
struct call {
	gort_chan *c, *other; /* other: it selects, and may receive from that */
	gort_ctx *ctx;
	int64_t deadline;
	int err;
	bool waits; /* it does not return before it has waited */
	atomic_bool done;
	struct guest *guest;
	gort_waitgroup group;
};

static int call_select(struct call *call, int *v)
{
	gort_case k[] = { GORT_CASE_SEND(call->c, v), GORT_CASE_RECV(call->other, NULL) };
	int i = gort_select(k, 2, call->deadline);

	return i < 0 ? i : k[i].status < 0 ? k[i].status : i;
}

static void call_send(void *arg)
{
	struct call *call = arg;
	gort_ctx *before = call->ctx ? gort_ctx_enter(call->ctx) : NULL;
	int v = 42;

	if (call->other)
		call->err = call_select(call, &v);
	else
		call->err = gort_chan_send_until(call->c, &v, call->deadline);
	if (call->ctx)
		gort_ctx_leave(before);
	call->done = true;
}

static void begin(struct call *call, bool guest)
{
	call->err = 1;
	if (guest)
		call->guest = guest_start(call_send, call);
	else
		CHECK_EQ(gort_waitgroup_go(&call->group, call_send, call), 0);
	if (call->waits)
		EVENTUALLY(load_acquire(&call->c->sendq.head) != NULL || call->done);
}

static int end(struct call *call)
{
	if (call->guest) {
		EVENTUALLY(call->done);
		guest_join(call->guest);
	}
	CHECK_EQ(gort_waitgroup_wait(&call->group), 0);
	CHECK(call->done);
	return call->err;
}

/* How a test varies: each by each. */
enum { EARLY = 1, GUEST = 2, SELECT = 4, ALL = 8 };

/* A call that waits to send on c, which is full. */
static struct call *waiting(gort_chan *c, int how, int64_t deadline, gort_ctx *ctx)
{
	struct call *call = calloc(1, sizeof *call);

	CHECK(call != NULL);
	if (how & EARLY)
		check_says(c, gort_chan_len(c) > 0);
	*call = (struct call){ .c = c, .ctx = ctx, .deadline = deadline, .waits = true };
	if (how & SELECT)
		call->other = make(0, 0);
	begin(call, how & GUEST);
	if (deadline == GORT_FOREVER)
		check_says(c, true);
	else
		(void)fd_of(c); /* where all is slow, it may have ended by now */
	return call;
}

static int ended(struct call *call)
{
	int err = end(call);

	gort_chan_release(call->other);
	free(call);
	return err;
}

static gort_chan *full(size_t capacity)
{
	gort_chan *c = make(sizeof(int), capacity);

	for (size_t i = 0; i < capacity; i++)
		CHECK_EQ(gort_chan_send(c, &(int){ 1 }), 0);
	return c;
}

/* Of capacity 0 and 1, in all ways. */
static void in_all_ways(void (*test)(gort_chan *c, int how))
{
	for (int i = 0; i < 2 * ALL; i++) {
		gort_chan *c = full((size_t)i & 1);

		test(c, i / 2);
		gort_chan_release(c);
	}
}

static void receive_ones(gort_chan *c)
{
	int n = 0;

	while (gort_chan_len(c) > 0) {
		check_says(c, true);
		CHECK_EQ(gort_chan_recv(c, &n), 0);
		CHECK_EQ(n, 1);
	}
	check_says(c, false);
}

static void received(gort_chan *c, int how)
{
	struct call *call = waiting(c, how, GORT_FOREVER, NULL);
	int left = 1 + (int)gort_chan_cap(c), n = 0;

	while (left-- > 0) {
		check_says(c, true);
		CHECK_EQ(how & EARLY ? gort_chan_try_recv(c, &n) : gort_chan_recv(c, &n), 0);
	}
	CHECK_EQ(n, 42);
	check_says(c, false);
	CHECK_EQ(ended(call), 0);
	check_says(c, false);
}

// variants: maxprocs
TEST(readable_while_a_sender_waits)
{
	in_all_ways(received);
}

static void received_by_select(gort_chan *c, int how)
{
	struct call *call = waiting(c, how, GORT_FOREVER, NULL);
	int left = 1 + (int)gort_chan_cap(c), n = 0;

	while (left-- > 0) {
		gort_case k = GORT_CASE_RECV(c, &n);

		check_says(c, true);
		CHECK_EQ(gort_select(&k, 1, GORT_NOW), 0);
		CHECK_EQ(k.status, 0);
	}
	CHECK_EQ(n, 42);
	check_says(c, false);
	CHECK_EQ(ended(call), 0);
}

// variants: maxprocs
TEST(received_by_a_select)
{
	in_all_ways(received_by_select);
}

static bool two_wait(gort_chan *c)
{
	struct m *m = rt_enter();
	bool two;

	lock_acquire(&c->lock);
	two = c->sendq.head != c->sendq.tail;
	lock_release(&c->lock);
	rt_leave(m);
	return two;
}

static void two_senders(gort_chan *c, int how)
{
	struct call *call = waiting(c, how, GORT_FOREVER, NULL);
	struct call *more = waiting(c, how & ~EARLY, GORT_FOREVER, NULL);

	EVENTUALLY(two_wait(c));
	for (size_t i = 0; i < 2 + gort_chan_cap(c); i++) {
		check_says(c, true);
		CHECK_EQ(gort_chan_recv(c, NULL), 0);
	}
	check_says(c, false);
	CHECK_EQ(ended(call), 0);
	CHECK_EQ(ended(more), 0);
}

TEST(readable_while_one_of_two_senders_waits)
{
	in_all_ways(two_senders);
}

static void timed_out(gort_chan *c, int how)
{
	struct call *call = waiting(c, how, gort_in(20 * GORT_MS), NULL);

	CHECK_EQ(ended(call), -ETIMEDOUT);
	check_says(c, gort_chan_len(c) > 0);
	receive_ones(c);
}

// variants: maxprocs
TEST(unreadable_once_the_sender_has_timed_out)
{
	in_all_ways(timed_out);
}

static void cancelled(gort_chan *c, int how)
{
	gort_ctx *ctx = gort_ctx_with_cancel(gort_ctx_background());
	struct call *call = waiting(c, how, GORT_FOREVER, ctx);

	gort_ctx_cancel(ctx, 0);
	CHECK_EQ(ended(call), -ECANCELED);
	gort_ctx_release(ctx);
	receive_ones(c);
}

// variants: maxprocs
TEST(unreadable_once_the_sender_is_cancelled)
{
	in_all_ways(cancelled);
}

static void never_waits(gort_chan *c, int how)
{
	gort_ctx *ctx = gort_ctx_with_cancel(gort_ctx_background());
	struct call call = { .c = c, .ctx = ctx, .deadline = GORT_FOREVER };

	gort_ctx_cancel(ctx, 0);
	check_says(c, gort_chan_len(c) > 0);
	begin(&call, how & GUEST);
	CHECK_EQ(end(&call), -ECANCELED);
	gort_ctx_release(ctx);
	receive_ones(c);
}

TEST(unreadable_if_the_sender_was_cancelled_before)
{
	in_all_ways(never_waits);
}

static void other_case(gort_chan *c, int how)
{
	struct call *call = waiting(c, how | SELECT, GORT_FOREVER, NULL);

	CHECK_EQ(gort_chan_send(call->other, NULL), 0);
	CHECK_EQ(ended(call), 1);
	receive_ones(c);
}

// variants: maxprocs
TEST(unreadable_once_the_select_has_done_another_case)
{
	in_all_ways(other_case);
}

static void closed_over_sender(gort_chan *c, int how)
{
	struct call *call = waiting(c, how, GORT_FOREVER, NULL);

	CHECK_EQ(gort_chan_close(c), 0);
	CHECK_EQ(ended(call), -EPIPE);
	check_says(c, true);
	while (gort_chan_recv(c, NULL) == 0)
		check_says(c, true);
	check_says(c, true);
}

TEST(readable_when_closed_while_a_sender_waits)
{
	in_all_ways(closed_over_sender);
}

/* ---- receivers that wait */
static void recv_one(void *c)
{
	int n = 0;

	CHECK_EQ(gort_chan_recv(c, &n), 0);
	CHECK_EQ(n, 5);
}

static void select_one(void *c)
{
	int n = 0;
	gort_case k = GORT_CASE_RECV(c, &n);

	CHECK_EQ(gort_select(&k, 1, GORT_FOREVER), 0);
	CHECK_EQ(n, 5);
}

// variants: maxprocs
TEST(unreadable_while_a_receiver_waits_and_after)
{
	for (int how = 0; how < 4 * 2; how++) {
		gort_chan *c = make(sizeof(int), how & 1);
		gort_waitgroup group = { 0 };
		int n = 5;

		if (how & 2)
			check_says(c, false);
		CHECK_EQ(gort_waitgroup_go(&group, how & 4 ? recv_one : select_one, c), 0);
		EVENTUALLY(load_acquire(&c->recvq.head) != NULL);
		check_says(c, false);
		CHECK_EQ(gort_chan_send(c, &n), 0);
		check_says(c, false);
		CHECK_EQ(gort_waitgroup_wait(&group), 0);
		check_says(c, false);
		gort_chan_release(c);
	}
}

/* ---- who else sends: contexts, timers, signals */
TEST(readable_once_the_context_has_ended)
{
	gort_ctx *ctx = gort_ctx_with_cancel(gort_ctx_background());
	gort_ctx *timed = gort_ctx_with_deadline(gort_ctx_background(), gort_in(10 * GORT_MS));
	int fd = fd_of(gort_ctx_done(timed));

	check_says(gort_ctx_done(ctx), false);
	gort_ctx_cancel(ctx, 0);
	check_says(gort_ctx_done(ctx), true);
	EVENTUALLY(readable(fd));
	gort_ctx_release(ctx);
	gort_ctx_release(timed);
	CHECK(!fd_is_open(fd));
}

TEST(readable_when_the_timer_has_ticked)
{
	gort_timer *t = gort_timer_start(GORT_FOREVER, 0, NULL, NULL);
	gort_chan *c = gort_timer_chan(t), *after;
	int fd = fd_of(c);

	for (int i = 0; i < 3; i++) {
		CHECK(!readable(fd));
		(void)gort_timer_reset(t, gort_in(GORT_MS));
		EVENTUALLY(readable(fd));
		if (i == 0)
			CHECK_EQ(gort_chan_try_recv(c, NULL), 0);
		else if (i == 1)
			CHECK(gort_timer_stop(t));
		else
			CHECK(gort_timer_reset(t, GORT_FOREVER));
	}
	CHECK(!readable(fd));
	gort_timer_release(t);
	after = gort_after_chan(GORT_MS);
	EVENTUALLY(readable(fd_of(after)));
	gort_chan_release(after);
}

TEST(readable_when_the_signal_has_come)
{
	gort_chan *c = make(sizeof(int), 1);
	int fd = fd_of(c), n = 0;

	CHECK_EQ(gort_signal_notify(c, SIGUSR1), 0);
	CHECK(!readable(fd));
	CHECK_EQ(kill(getpid(), SIGUSR1), 0);
	EVENTUALLY(readable(fd));
	CHECK_EQ(gort_chan_try_recv(c, &n), 0);
	CHECK_EQ(n, SIGUSR1);
	CHECK(!readable(fd));
	CHECK_EQ(gort_signal_stop(c), 0);
	gort_chan_release(c);
}

/* ---- the runtime's end */
TEST_PLAIN(unreadable_when_the_end_has_withdrawn_the_sender)
{
	for (int how = 0; how < ALL; how++) {
		struct call call = { .deadline =
					     how & GUEST ? gort_in(60 * GORT_SEC) : GORT_FOREVER };

		call.c = make(sizeof(int), 0);
		call.other = how & SELECT ? make(0, 0) : NULL;
		CHECK_EQ(gort_start(NULL), 0);
		if (how & EARLY)
			check_says(call.c, false);
		CHECK_EQ(gort_go(call_send, &call), 0);
		EVENTUALLY(load_acquire(&call.c->sendq.head) != NULL);
		check_says(call.c, true);
		CHECK_EQ(gort_stop(), 0);
		check_says(call.c, false);
		gort_chan_release(call.c);
		gort_chan_release(call.other);
	}
}

/* ---- all at once: nothing is lost, and poll(2) never sleeps too long */

#define EACH SCALE(4000)
enum { SENDERS = 4, RECEIVERS = 2 };

static struct {
	gort_chan *c, *never;
	gort_waitgroup senders, receivers;
	atomic_int sent, received, polled;
} storm;

/* How a sender tries the i-th time. */
static int send_somehow(int i)
{
	gort_case k[] = { GORT_CASE_SEND(storm.c, &i), GORT_CASE_RECV(storm.never, NULL) };
	int rc;

	switch (i % 4) {
	case 0:
		return gort_chan_send(storm.c, &i);
	case 1:
		return gort_chan_try_send(storm.c, &i);
	case 2:
		return gort_chan_send_until(storm.c, &i, gort_in(i % 3 * 10 * GORT_US));
	default:
		rc = gort_select(k, 2, i % 8 == 3 ? gort_in(20 * GORT_US) : GORT_FOREVER);
		return rc < 0 ? rc : k[rc].status;
	}
}

static void storm_send(void *arg)
{
	(void)arg;
	for (int i = 0; i < EACH; i++) {
		int err = send_somehow(i);

		if (err == 0)
			atomic_fetch_add(&storm.sent, 1);
		else
			CHECK(err == -ETIMEDOUT || err == -EAGAIN);
	}
}

static void storm_recv(void *arg)
{
	int err, n;

	(void)arg;
	do {
		err = gort_chan_recv_until(storm.c, &n, gort_in(10 * GORT_US));
		if (err == 0)
			atomic_fetch_add(&storm.received, 1);
		gort_sleep(50 * GORT_US); /* the poller shall have most */
	} while (err != -EPIPE);
}

/* A foreign loop. It sleeps only as poll says; whoever sends waits for it in the end. */
static void storm_poll(void *arg)
{
	struct pollfd p = { .fd = gort_chan_pollfd(storm.c), .events = POLLIN };
	int err, n;

	(void)arg;
	for (;;) {
		CHECK_EQ(poll(&p, 1, 30000), 1);
		err = gort_chan_try_recv(storm.c, &n);
		if (err == -EPIPE)
			return;
		if (err == 0)
			atomic_fetch_add(&storm.polled, 1);
		else
			CHECK_EQ(err, -EAGAIN);
	}
}

static void run_storm(size_t capacity, int receivers)
{
	struct guest *poller, *sender;

	storm.c = make(sizeof(int), capacity);
	storm.never = make(0, 0);
	storm.sent = storm.received = storm.polled = 0;
	for (int i = 1; i < SENDERS; i++)
		CHECK_EQ(gort_waitgroup_go(&storm.senders, storm_send, NULL), 0);
	sender = guest_start(storm_send, NULL);
	poller = guest_start(storm_poll, NULL);
	EVENTUALLY(storm.polled > 0); /* or the others have had all before it runs */
	for (int i = 0; i < receivers; i++)
		CHECK_EQ(gort_waitgroup_go(&storm.receivers, storm_recv, NULL), 0);
	CHECK_EQ(gort_waitgroup_wait(&storm.senders), 0);
	guest_join(sender);
	EVENTUALLY(storm.polled + storm.received == storm.sent);
	check_says(storm.c, false); /* nobody is in a call that could change it, but receivers */
	CHECK_EQ(gort_chan_close(storm.c), 0);
	guest_join(poller);
	CHECK_EQ(gort_waitgroup_wait(&storm.receivers), 0);
	CHECK_EQ(storm.polled + storm.received, storm.sent);
	gort_chan_release(storm.c);
	gort_chan_release(storm.never);
}

// variants: maxprocs
TEST(a_poller_alone_gets_all)
{
	run_storm(0, 0);
	run_storm(1, 0);
	run_storm(16, 0);
}

// variants: maxprocs
TEST(a_poller_among_receivers)
{
	run_storm(0, RECEIVERS);
	run_storm(2, RECEIVERS);
}
