/*
 * select.c - waits on several channels at once: one case is done, the others are as if never asked.
 */
#include "sim.h"

#include <errno.h>

#define EACH 5

static struct {
	gort_chan *c[3];
	gort_waitgroup senders, receivers;
	unsigned sent, received, dropped;
	unsigned sum_sent, sum_received;
} s;

static void count_sent(unsigned v)
{
	__atomic_add_fetch(&s.sent, 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&s.sum_sent, v, __ATOMIC_RELAXED);
}

static void count_received(unsigned v)
{
	__atomic_add_fetch(&s.received, 1, __ATOMIC_RELAXED);
	__atomic_add_fetch(&s.sum_received, v, __ATOMIC_RELAXED);
}

static void begin(void)
{
	for (int i = 0; i < 3; i++)
		s.c[i] = gort_chan_make(sizeof(unsigned), pick(2));
}

static void end(void)
{
	for (int i = 0; i < 3; i++)
		gort_chan_release(s.c[i]);
}

/* ---- receiving from several ------------------------------------------------------------------ */

static void send_some(void *arg)
{
	gort_chan *c = s.c[(uintptr_t)arg];

	for (unsigned i = 1; i <= EACH; i++) {
		unsigned v = i << 8 * (unsigned)(uintptr_t)arg;

		check_eq(gort_chan_send(c, &v), 0);
		count_sent(v);
	}
	gort_chan_close(c);
}

static void receive_from_all(void *arg)
{
	gort_chan *c[3] = { s.c[0], s.c[1], s.c[2] };
	unsigned open = 3, v[3];

	(void)arg;
	while (open) {
		gort_case k[3] = { GORT_CASE_RECV(c[0], &v[0]), GORT_CASE_RECV(c[1], &v[1]),
				   GORT_CASE_RECV(c[2], &v[2]) };
		int i = gort_select(k, 3, GORT_FOREVER);

		check(i >= 0 && i < 3 && c[i]);
		if (k[i].status == 0) {
			count_received(v[i]);
		} else {
			check_eq(k[i].status, -EPIPE);
			c[i] = NULL;
			open--;
		}
	}
}

SCENARIO(select_fan_in,
	 "receivers select over channels that senders fill and close: each value once")
{
	begin();
	for (int i = 0; i < 2; i++)
		check_eq(gort_waitgroup_go(&s.receivers, receive_from_all, NULL), 0);
	for (uintptr_t i = 0; i < 3; i++)
		check_eq(gort_waitgroup_go(&s.senders, send_some, (void *)i), 0);
	gort_waitgroup_wait(&s.senders);
	gort_waitgroup_wait(&s.receivers);
	check_eq(s.received, 3 * EACH);
	check_eq(s.sum_received, s.sum_sent);
	end();
}

/* ---- all do both ----------------------------------------------------------------------------- */

static void exchange(void *arg)
{
	unsigned mine = (unsigned)(uintptr_t)arg;

	for (unsigned i = 0; i < EACH; i++) {
		unsigned out = mine * 100 + i, in = 0, n = pick(3);
		gort_case k[3] = { GORT_CASE_SEND(s.c[n], &out), GORT_CASE_RECV(s.c[n], &in),
				   GORT_CASE_RECV(s.c[(n + 1) % 3], &in) };
		int64_t until = gort_in((int64_t)pick(40) * GORT_US);
		int which = gort_select(k, 3, until);

		if (which < 0) {
			check_eq(which, -ETIMEDOUT);
			continue;
		}
		check_eq(k[which].status, 0);
		if (which == 0)
			count_sent(out);
		else
			count_received(in);
	}
}

static void drop(void *elem)
{
	s.dropped++;
	s.sum_received += *(unsigned *)elem;
}

SCENARIO(select_exchange,
	 "all send and receive by select, with deadlines: sent is received or still there")
{
	begin();
	for (uintptr_t i = 0; i < 4; i++)
		check_eq(gort_waitgroup_go(&s.senders, exchange, (void *)i), 0);
	gort_waitgroup_wait(&s.senders);
	for (int i = 0; i < 3; i++)
		gort_chan_on_drop(s.c[i], drop);
	end();
	check_eq(s.sent, s.received + s.dropped);
	check_eq(s.sum_sent, s.sum_received);
}

SCENARIO(select_guests, "the same with plain threads among them")
{
	struct guest_thread *t;

	begin();
	t = guest_start(exchange, (void *)7);
	for (uintptr_t i = 0; i < 3; i++)
		check_eq(gort_waitgroup_go(&s.senders, exchange, (void *)i), 0);
	gort_waitgroup_wait(&s.senders);
	guest_join(t);
	for (int i = 0; i < 3; i++)
		gort_chan_on_drop(s.c[i], drop);
	end();
	check_eq(s.sent, s.received + s.dropped);
	check_eq(s.sum_sent, s.sum_received);
}

/* ---- select and close, select and tasks ------------------------------------------------------ */

static void select_until_closed(void *arg)
{
	unsigned v = 1;
	gort_case k[2] = { GORT_CASE_RECV(s.c[0], &v), GORT_CASE_SEND(s.c[1], &v) };
	int i = gort_select(k, 2, GORT_FOREVER);

	(void)arg;
	check(i == 0 || i == 1);
	check_eq(k[i].status, -EPIPE);
}

SCENARIO(select_close, "closing wakes those who select, to receive and to send")
{
	for (int i = 0; i < 2; i++)
		s.c[i] = gort_chan_make(sizeof(unsigned), 0);
	for (int i = 0; i < 3; i++)
		check_eq(gort_waitgroup_go(&s.receivers, select_until_closed, NULL), 0);
	for (unsigned i = pick(4); i > 0; i--)
		gort_yield();
	gort_chan_close(s.c[pick(2)]);
	gort_waitgroup_wait(&s.receivers);
	for (int i = 0; i < 2; i++)
		gort_chan_release(s.c[i]);
}

static int be_a_task(void *arg)
{
	if (pick(2))
		gort_sleep((int64_t)pick(30) * GORT_US);
	return (int)(uintptr_t)arg;
}

SCENARIO(select_tasks,
	 "select over tasks and a deadline: a task that is ready can be joined at once")
{
	gort_task *t[2];
	int result, i;

	for (uintptr_t n = 0; n < 2; n++)
		check((t[n] = gort_spawn(be_a_task, (void *)(n + 5), NULL)) != NULL);
	for (int left = 2; left > 0;) {
		gort_case k[3] = { { .op = GORT_OP_RECV },
				   { .op = GORT_OP_RECV },
				   GORT_CASE_TIME(gort_in((int64_t)pick(20) * GORT_US)) };

		for (int n = 0; n < 2; n++)
			if (t[n])
				k[n] = GORT_CASE_TASK(t[n]);
		i = gort_select(k, 3, GORT_FOREVER);
		check(i >= 0);
		if (i == 2)
			continue;
		check_eq(gort_join_until(t[i], &result, GORT_NOW), 0);
		check_eq(result, i + 5);
		t[i] = NULL;
		left--;
	}
}
