/*
 * pollfd.c - a channel's pollfd is readable exactly while a receive would not block, whatever order
 * calls come in. That is asked when no call is under way but those that wait.
 */
#include "sim.h"

#include <errno.h>

static struct {
	gort_chan *c, *never;
	gort_waitgroup all;
	unsigned sent, received;
	int fd;
} s;

static void begin(void)
{
	s.c = gort_chan_make(sizeof(unsigned), pick(3));
	s.never = gort_chan_make(0, 0);
	s.fd = pick(2) ? gort_chan_pollfd(s.c) : -1;
}

static void end(void)
{
	check_eq(sim_readable(gort_chan_pollfd(s.c)), gort_chan_len(s.c) > 0);
	while (gort_chan_try_recv(s.c, NULL) == 0)
		s.received++;
	check_eq(s.received, s.sent);
	check(!sim_readable(s.fd));
	check_eq(gort_chan_close(s.c), 0);
	check(sim_readable(s.fd));
	gort_chan_release(s.c);
	gort_chan_release(s.never);
}

static int64_t soon(void)
{
	return gort_in((int64_t)pick(30) * GORT_US);
}

static void ask(void)
{
	int fd = gort_chan_pollfd(s.c);

	check(fd >= 0 && (s.fd < 0 || fd == s.fd));
	s.fd = fd;
}

static void count(int err, unsigned *n)
{
	if (err == 0)
		__atomic_add_fetch(n, 1, __ATOMIC_RELAXED);
	else
		check(err == -ETIMEDOUT || err == -EAGAIN || err == -ECANCELED);
}

static int by_select(gort_case one, int64_t deadline)
{
	gort_case k[2] = { one, GORT_CASE_RECV(s.never, NULL) };
	int i = gort_select(k, 2, deadline);

	return i < 0 ? i : k[i].status;
}

static void send_in_some_way(void *arg)
{
	unsigned v = 7;

	(void)arg;
	switch (pick(4)) {
	case 0:
		count(gort_chan_try_send(s.c, &v), &s.sent);
		break;
	case 1:
		count(by_select(GORT_CASE_SEND(s.c, &v), soon()), &s.sent);
		break;
	default:
		count(gort_chan_send_until(s.c, &v, soon()), &s.sent);
	}
	if (pick(4) == 0)
		ask();
}

static void recv_in_some_way(void *arg)
{
	(void)arg;
	switch (pick(3)) {
	case 0:
		count(gort_chan_try_recv(s.c, NULL), &s.received);
		break;
	case 1:
		count(by_select(GORT_CASE_RECV(s.c, NULL), soon()), &s.received);
		break;
	default:
		count(gort_chan_recv_until(s.c, NULL, soon()), &s.received);
	}
}

SCENARIO(pollfd, "senders and receivers time out and meet: the pollfd is right in the end")
{
	struct guest_thread *t;

	begin();
	t = guest_start(send_in_some_way, NULL);
	for (int i = 0; i < 3; i++) {
		check_eq(gort_waitgroup_go(&s.all, send_in_some_way, NULL), 0);
		if (pick(2))
			check_eq(gort_waitgroup_go(&s.all, recv_in_some_way, NULL), 0);
	}
	if (pick(2))
		ask();
	gort_waitgroup_wait(&s.all);
	guest_join(t);
	ask();
	end();
}

/* ---- senders that wait without a deadline, under a context that ends ------------------------- */

static void send_under_ctx(void *ctx)
{
	gort_ctx *before = gort_ctx_enter(ctx);
	unsigned v = 7;

	if (pick(2))
		count(gort_chan_send(s.c, &v), &s.sent);
	else
		count(by_select(GORT_CASE_SEND(s.c, &v), GORT_FOREVER), &s.sent);
	gort_ctx_leave(before);
}

SCENARIO(pollfd_cancel, "senders are cancelled while they wait, or before: the pollfd is right")
{
	gort_ctx *ctx = gort_ctx_with_cancel(gort_ctx_background());

	begin();
	for (int i = 0; i < 2; i++)
		check_eq(gort_waitgroup_go(&s.all, send_under_ctx, ctx), 0);
	if (pick(2))
		check_eq(gort_waitgroup_go(&s.all, recv_in_some_way, NULL), 0);
	if (pick(2))
		gort_sleep((int64_t)pick(20) * GORT_US);
	if (pick(2))
		ask();
	gort_ctx_cancel(ctx, 0);
	gort_waitgroup_wait(&s.all);
	gort_ctx_release(ctx);
	ask();
	end();
}

/* ---- a foreign loop -------------------------------------------------------------------------- */

static void send_all(void *arg)
{
	(void)arg;
	for (unsigned v = 0; v < 3; v++)
		if (pick(2))
			check_eq(gort_chan_send(s.c, &v), 0);
		else
			check_eq(by_select(GORT_CASE_SEND(s.c, &v), GORT_FOREVER), 0);
}

static void receive_all(void *arg)
{
	int err;

	(void)arg;
	while (s.received < 6) {
		if (!sim_readable(s.fd)) {
			thread_sleep(5 * GORT_US);
			continue;
		}
		err = gort_chan_try_recv(s.c, NULL);
		check(err == 0 || err == -EAGAIN);
		s.received += err == 0;
	}
}

SCENARIO(pollfd_loop, "a plain thread that receives only while the pollfd is readable gets all")
{
	struct guest_thread *t;

	begin();
	ask();
	t = guest_start(receive_all, NULL);
	for (int i = 0; i < 2; i++)
		check_eq(gort_waitgroup_go(&s.all, send_all, NULL), 0);
	gort_waitgroup_wait(&s.all);
	guest_join(t);
	s.sent = 6;
	end();
}

/* ---- the runtime's end ----------------------------------------------------------------------- */

static int leave_senders(void *arg)
{
	(void)arg;
	for (int i = 0; i < 2; i++)
		check_eq(gort_go(send_under_ctx, gort_ctx_background()), 0);
	for (int i = 0; i < 2; i++)
		check_eq(gort_go(send_in_some_way, NULL), 0);
	if (pick(2))
		gort_sleep((int64_t)pick(20) * GORT_US);
	if (pick(2))
		ask();
	return 0;
}

SCENARIO_PLAIN(pollfd_end, "the runtime ends while senders wait: the pollfd is right after it")
{
	gort_options o = sim_options();

	int err;

	begin();
	err = gort_run(leave_senders, NULL, &o);
	check(err == 0 || (err == -EAGAIN && threads_may_fail()));
	ask();
	check_eq(sim_readable(s.fd), gort_chan_len(s.c) > 0);
	while (gort_chan_try_recv(s.c, NULL) == 0)
		;
	check(!sim_readable(s.fd));
	gort_chan_release(s.c);
	gort_chan_release(s.never);
}
