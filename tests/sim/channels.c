/*
 * channels.c - channels: nothing is lost, nothing comes twice, order is kept.
 */
#include "sim.h"

#include <errno.h>

/* ---- two goroutines -------------------------------------------------------------------------- */

static void echo(void *arg)
{
	gort_chan **c = arg;
	int n;

	while (gort_chan_recv(c[0], &n) == 0) {
		n++;
		check_eq(gort_chan_send(c[1], &n), 0);
	}
	gort_chan_close(c[1]);
}

SCENARIO(ping_pong, "two goroutines and two channels without a buffer: each value comes back")
{
	gort_chan *c[2] = { gort_chan_make(sizeof(int), 0), gort_chan_make(sizeof(int), 0) };
	int n;

	check_eq(gort_go(echo, c), 0);
	for (int i = 0; i < 6; i++) {
		n = i;
		check_eq(gort_chan_send(c[0], &n), 0);
		check_eq(gort_chan_recv(c[1], &n), 0);
		check_eq(n, i + 1);
	}
	gort_chan_close(c[0]);
	check_eq(gort_chan_recv(c[1], &n), -EPIPE);
	gort_chan_release(c[0]);
	gort_chan_release(c[1]);
}

static void receive_and_release(void *c)
{
	check_eq(gort_chan_recv(c, NULL), 0);
	gort_chan_release(c);
}

SCENARIO(last_reference, "a receiver releases the last reference as soon as it has its value")
{
	gort_waitgroup all = { 0 };

	for (int i = 0; i < 3; i++) {
		gort_chan *c = gort_chan_make(0, 1);

		gort_chan_retain(c);
		check_eq(gort_waitgroup_go(&all, receive_and_release, c), 0);
		check_eq(gort_chan_send(c, NULL), 0);
		gort_chan_release(c);
	}
	gort_waitgroup_wait(&all);
}

/* ---- many senders, many receivers ------------------------------------------------------------ */

#define SENDERS 3
#define RECEIVERS 3
#define EACH 5

static struct {
	gort_chan *values;
	gort_waitgroup senders, receivers;
	unsigned last[RECEIVERS]
		     [SENDERS]; /* the newest that each receiver has had from each sender */
	unsigned got[SENDERS][EACH + 1];
	bool until;
} many;

static void sender(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg;

	for (unsigned i = 1; i <= EACH; i++) {
		unsigned v = me << 16 | i;

		if (pick(4) == 0)
			gort_yield();
		check_eq(gort_chan_send(many.values, &v), 0);
	}
}

static void receive(unsigned me, unsigned v)
{
	unsigned from = v >> 16, n = v & 0xffff;

	check(from < SENDERS && n >= 1 && n <= EACH);
	check(many.last[me][from] < n); /* FIFO: of one sender to one receiver */
	many.last[me][from] = n;
	many.got[from][n]++;
}

static void receiver(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg, v;
	int err;

	for (;;) {
		err = many.until ? gort_chan_recv_until(many.values, &v, gort_in(20 * GORT_US))
				 : gort_chan_recv(many.values, &v);
		if (err == -EPIPE)
			return;
		if (err == 0)
			receive(me, v);
		else
			check_eq(err, -ETIMEDOUT);
	}
}

static void many_to_many(size_t room)
{
	many.values = gort_chan_make(sizeof(unsigned), room);
	for (uintptr_t i = 0; i < RECEIVERS; i++)
		check_eq(gort_waitgroup_go(&many.receivers, receiver, (void *)i), 0);
	for (uintptr_t i = 0; i < SENDERS; i++)
		check_eq(gort_waitgroup_go(&many.senders, sender, (void *)i), 0);
	gort_waitgroup_wait(&many.senders);
	check_eq(gort_chan_close(many.values), 0);
	gort_waitgroup_wait(&many.receivers);
	for (unsigned i = 0; i < SENDERS; i++)
		for (unsigned n = 1; n <= EACH; n++)
			check_eq(many.got[i][n], 1);
	gort_chan_release(many.values);
}

SCENARIO(rendezvous, "many senders and receivers, no buffer, then close: each value once, in order")
{
	many_to_many(0);
}

SCENARIO(buffered, "many senders and receivers, a buffer, then close: each value once, in order")
{
	many_to_many(1 + pick(4));
}

SCENARIO(deadlines, "receivers with deadlines race with senders: each value once, in order")
{
	many.until = true;
	many_to_many(pick(3));
}

/* ---- senders with deadlines, close while they wait ------------------------------------------- */

static struct {
	gort_chan *c;
	gort_waitgroup all;
	unsigned sent, received;
	int drops;
} race;

static void send_by_deadline(void *arg)
{
	int v = (int)(uintptr_t)arg, err;

	err = gort_chan_send_until(race.c, &v, gort_in((int64_t)pick(40) * GORT_US));
	if (err == 0)
		__atomic_add_fetch(&race.sent, 1, __ATOMIC_RELAXED);
	else
		check(err == -ETIMEDOUT || err == -EPIPE);
}

static void receive_by_deadline(void *arg)
{
	int v, err;

	(void)arg;
	err = gort_chan_recv_until(race.c, &v, gort_in((int64_t)pick(40) * GORT_US));
	if (err == 0)
		__atomic_add_fetch(&race.received, 1, __ATOMIC_RELAXED);
	else
		check(err == -ETIMEDOUT || err == -EPIPE);
}

static void drop(void *elem)
{
	(void)elem;
	race.drops++;
}

SCENARIO(timeouts,
	 "both sides have deadlines, and it is closed meanwhile: sent is received or dropped")
{
	race.c = gort_chan_make(sizeof(int), pick(3));
	gort_chan_on_drop(race.c, drop);
	for (uintptr_t i = 0; i < 4; i++) {
		check_eq(gort_waitgroup_go(&race.all, send_by_deadline, (void *)i), 0);
		check_eq(gort_waitgroup_go(&race.all, receive_by_deadline, (void *)i), 0);
	}
	if (pick(2)) {
		gort_sleep((int64_t)pick(30) * GORT_US);
		gort_chan_close(race.c);
	}
	gort_waitgroup_wait(&race.all);
	gort_chan_release(race.c);
	check_eq(race.sent, race.received + (unsigned)race.drops);
}

static void wait_for_close(void *arg)
{
	gort_chan *c = arg;
	int v = 7;

	check_eq(pick(2) ? gort_chan_recv(c, &v)
			 : gort_chan_recv_until(c, &v, gort_in(1000 * GORT_SEC)),
		 -EPIPE);
	check_eq(v, 0);
}

SCENARIO(close_wakes_all, "closing wakes all who wait to receive")
{
	gort_chan *c = gort_chan_make(sizeof(int), 0);
	gort_waitgroup all = { 0 };

	for (int i = 0; i < 5; i++)
		check_eq(gort_waitgroup_go(&all, wait_for_close, c), 0);
	for (unsigned i = pick(4); i > 0; i--)
		gort_yield();
	check_eq(gort_chan_close(c), 0);
	gort_waitgroup_wait(&all);
	gort_chan_release(c);
}

static void try_both(void *arg)
{
	int v = 1;

	(void)arg;
	for (int i = 0; i < 4; i++) {
		if (gort_chan_try_send(race.c, &v) == 0)
			__atomic_add_fetch(&race.sent, 1, __ATOMIC_RELAXED);
		gort_yield();
		if (gort_chan_try_recv(race.c, &v) == 0)
			__atomic_add_fetch(&race.received, 1, __ATOMIC_RELAXED);
	}
}

SCENARIO(try_calls, "calls that never wait: what is sent is received, or still there")
{
	race.c = gort_chan_make(sizeof(int), 2);
	for (int i = 0; i < 3; i++)
		check_eq(gort_waitgroup_go(&race.all, try_both, NULL), 0);
	gort_waitgroup_wait(&race.all);
	check_eq(race.sent - race.received, gort_chan_len(race.c));
	gort_chan_release(race.c);
}
