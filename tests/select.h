/*
 * select.h - what the tests of gort_select share: calls that somebody else makes, goroutine or
 * guest.
 *
 * Nobody is hoped to wait by now: the nodes of a select stand in its channels' queues, where begin
 * looks for them. Only tasks' queues cannot be seen.
 */
#ifndef GORT_TESTS_SELECT_H
#define GORT_TESTS_SELECT_H

#include "harness.h"

#include "base/alloc.h"
#include "sync/chan.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define UNTOUCHED 77

#define UNTIL(cond) \
	do { \
		for (int tries_ = 0; !(cond); tries_++) { \
			if (tries_ < 100) \
				gort_yield(); \
			else \
				gort_sleep(100 * GORT_US); \
		} \
	} while (0)

/* ---- a call by somebody else */
enum { BY_GUEST = 1, PLAIN = 2, WAYS = 4 }; /* how: bits. PLAIN: of its one case, without select */

struct call {
	gort_case *cases;
	size_t n;
	int64_t deadline;
	int how, result;
	atomic_bool done;
	struct guest *guest;
};

static inline struct call call_of(gort_case *cases, size_t n, int how)
{
	return (struct call){ .cases = cases, .n = n, .deadline = GORT_FOREVER, .how = how };
}

static inline int plain_call(gort_case *k, int64_t deadline)
{
	k->status = k->op == GORT_OP_SEND ? gort_chan_send_until(k->chan, k->elem, deadline)
					  : gort_chan_recv_until(k->chan, k->elem, deadline);
	return k->status == -EPIPE ? 0 : k->status;
}

static inline void do_call(void *arg)
{
	struct call *c = arg;

	c->result = c->how & PLAIN ? plain_call(&c->cases[0], c->deadline)
				   : gort_select(c->cases, c->n, c->deadline);
	atomic_store(&c->done, true);
}

/* How many threads there are, or were; SIZE_MAX: one is being made. */
static inline size_t count_ms(void)
{
	bool runs = gort_count() > 0; /* else nobody makes those that were asked for */
	size_t n = 0;

	gort_preempt_off();
	lock_acquire(&gort__sched.lock);
	for (struct m *m = gort__sched.all_m; m; m = m->all_next)
		n++;
	for (struct m *m = gort__sched.free_m; m; m = m->idle_next)
		n++;
	if (runs && gort__sched.asked)
		n = SIZE_MAX;
	lock_release(&gort__sched.lock);
	gort_preempt_on();
	return n;
}

/* Threads are made when it pleases the creator. */
static inline size_t memory_but_for_threads(void)
{
	size_t n, all;

	do {
		UNTIL((n = count_ms()) != SIZE_MAX);
		all = mem_in_use();
	} while (count_ms() != n);
	return all - n * mem_class_size(mem_class(sizeof(struct m)));
}

static inline bool stands_in_queue(const gort_case *k)
{
	struct waitq *q = k->op == GORT_OP_SEND ? &k->chan->sendq : &k->chan->recvq;
	bool found = false;

	gort_preempt_off();
	lock_acquire(&k->chan->lock);
	for (struct waiter *w = q->head; w; w = w->next)
		found |= w->elem == k->elem;
	lock_release(&k->chan->lock);
	gort_preempt_on();
	return found;
}

static inline bool is_empty(gort_chan *c)
{
	bool empty;

	gort_preempt_off();
	lock_acquire(&c->lock);
	empty = !c->sendq.head && !c->sendq.tail && !c->recvq.head && !c->recvq.tail;
	lock_release(&c->lock);
	gort_preempt_on();
	return empty;
}

static inline void start(struct call *c)
{
	atomic_store(&c->done, false);
	if (c->how & BY_GUEST)
		c->guest = guest_start(do_call, c);
	else
		CHECK_EQ(gort_go(do_call, c), 0);
}

/* It waits when this returns: it stands in all queues. */
static inline void begin(struct call *c)
{
	start(c);
	for (size_t i = 0; i < c->n; i++) {
		const gort_case *k = &c->cases[i];

		if ((k->op == GORT_OP_SEND || k->op == GORT_OP_RECV) && k->chan)
			UNTIL(stands_in_queue(k));
	}
	CHECK(!atomic_load(&c->done));
}

static inline int end(struct call *c)
{
	UNTIL(atomic_load(&c->done));
	if (c->how & BY_GUEST)
		guest_join(c->guest);
	return c->result;
}

/* check(&how) for a goroutine and a guest as the other side, from a goroutine and from a guest. */
struct checking {
	void (*check)(int how);
	int hows;
	atomic_bool done;
};

static inline void check_each(void *arg)
{
	struct checking *c = arg;

	for (int how = 0; how < c->hows; how++)
		c->check(how);
	atomic_store(&c->done, true);
}

static inline void check_both(void (*check)(int how), int hows)
{
	struct checking c = { .check = check, .hows = hows };
	struct guest *g;

	check_each(&c);
	atomic_store(&c.done, false);
	g = guest_start(check_each, &c);
	UNTIL(atomic_load(&c.done));
	guest_join(g);
}

static inline gort_chan *make(size_t capacity)
{
	gort_chan *c = gort_chan_make(sizeof(int64_t), capacity);

	CHECK(c != NULL);
	return c;
}

static inline void send_value(gort_chan *c, int64_t value)
{
	CHECK_EQ(gort_chan_send(c, &value), 0);
}

static inline int64_t recv_value(gort_chan *c)
{
	int64_t value = -1;

	CHECK_EQ(gort_chan_recv(c, &value), 0);
	return value;
}

static inline int select1(gort_case k, int64_t deadline)
{
	int which = gort_select(&k, 1, deadline);

	return which == 0 ? k.status : which;
}

/* The end of a wait, by a plain call and by a select. */
static inline int meet(gort_case k, bool by_select)
{
	return by_select ? select1(k, GORT_NOW) : plain_call(&k, GORT_NOW);
}

static inline int end_at_once(void *arg)
{
	(void)arg;
	return 42;
}

/* Until the task has ended. */
static inline void await_task(gort_task *t)
{
	gort_case k = GORT_CASE_TASK(t);

	UNTIL(gort_select(&k, 1, GORT_NOW) == 0);
}

/* ---- one case among others that are never ready. Each of them would tell */
enum { AMONG = 6 };

struct among {
	gort_case cases[AMONG];
	size_t at;
	gort_chan *empty, *full;
	int64_t to_send, received[2];
};

static inline struct among *among(size_t at, gort_case k)
{
	struct among *a = calloc(1, sizeof *a);

	CHECK(a != NULL);
	a->at = at;
	a->empty = make(0);
	a->full = make(1);
	a->to_send = 666;
	send_value(a->full, 111);
	a->cases[0] = GORT_CASE_RECV(NULL, &a->received[0]);
	a->cases[1] = GORT_CASE_RECV(a->empty, &a->received[1]);
	a->cases[2] = GORT_CASE_SEND(NULL, &a->to_send);
	a->cases[3] = GORT_CASE_SEND(a->full, &a->to_send);
	a->cases[4] = GORT_CASE_TIME(gort_in(3600 * GORT_SEC));
	a->cases[5] = a->cases[at];
	a->cases[at] = k;
	for (size_t i = 0; i < AMONG; i++)
		a->cases[i].status = UNTOUCHED;
	return a;
}

/* Of the select over a: it has chosen the one case, and touched no other. */
static inline void among_end(struct among *a, int which, int status)
{
	CHECK_EQ(which, a->at);
	CHECK_EQ(a->cases[a->at].status, status);
	for (size_t i = 0; i < AMONG; i++)
		if (i != a->at)
			CHECK_EQ(a->cases[i].status, UNTOUCHED);
	CHECK(is_empty(a->empty) && is_empty(a->full));
	CHECK_EQ(recv_value(a->full), 111);
	CHECK_EQ(gort_chan_len(a->full), 0);
	CHECK_EQ(a->received[0], 0);
	CHECK_EQ(a->received[1], 0);
	gort_chan_release(a->empty);
	gort_chan_release(a->full);
	free(a);
}

static inline void choose_at_once(size_t at, gort_case k, int status)
{
	const int64_t deadlines[] = { GORT_NOW, GORT_FOREVER, 1, gort_in(GORT_SEC) };
	struct among *a = among(at, k);

	among_end(a, gort_select(a->cases, AMONG, deadlines[at % 4]), status);
}

static inline void wait_among(struct call *c, struct among *a, int how)
{
	*c = call_of(a->cases, AMONG, how);
	begin(c);
}

#endif
