/*
 * select.c - wait for one of several: channels in both directions, the end of tasks, times,
 * descriptors.
 *
 * No two locks are ever held at once, however many channels there are, since one wait word decides
 * (park.h, kind A):
 *
 *  1. Look at all cases without a lock. Among those that look ready, one is drawn (reservoir
 *     sampling: each is as likely), and tried under its own lock. If others were faster, all are
 *     tried in turn.
 *  2. Nothing to be had: begin a turn, then queue a node in each case, one lock at a time,
 *     looking again under that lock. From the first node on, enders may win the turn; they find
 *     it PARKING and wake nobody. Who sees a case ready here claims its own turn, takes its nodes
 *     back, and goes to 1. (It cannot take the value at once: a partner's wait, and its own turn,
 *     would have to be won together. Two selects that find each other may both step back; chance
 *     parts them.)
 *  3. Sleep, then take all nodes back, each under its lock. The winner has written status there,
 *     and the value is where it belongs: it did so under the lock that we have taken since.
 *
 * A node is ours again when it is in no queue and its lock has been taken. A goroutine's own
 * nodes never match each other. Up to WAITING_FEW nodes lie on the stack.
 *
 * Go locks all channels, in address order, to look, and all again to leave; here looking costs no
 * lock.
 *
 * Callers: goroutines and guests.
 */
#include "sched/netpoll.h"
#include "sync/chan.h"

#include <errno.h>
#include <limits.h>

#define PENDING INT_MIN /* the status of a node that nobody has ended */

struct choice {
	gort_case *cases;
	size_t n;
	int64_t deadline;     /* of the call, and of its caller */
	struct waiter *nodes; /* one for each case */
	struct wait wait;
};

/* Guests have no M to draw by. Cycles will not do: draws that follow each other would be as
 * regular as the clock. Xorshift64*, since thread-locals begin as zero, and seeds should differ
 * in all bits. */
static noinline uint32_t guest_random(void)
{
	static __thread uint64_t state;

	while (state == 0)
		state = os_random();
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (uint32_t)(state * UINT64_C(0x2545f4914f6cdd1d) >> 32);
}

static size_t draw(struct m *m, size_t n)
{
	uint64_t random = likely(m != NULL) ? m_random(m) : guest_random();

	return random * n >> 32;
}

static bool is_chan(const gort_case *k)
{
	return k->op == GORT_OP_RECV || k->op == GORT_OP_SEND;
}

/* Without a lock. -EINVAL, -EBADF. */
static int looks_ready(const gort_case *k, int64_t *now)
{
	switch (k->op) {
	case GORT_OP_RECV:
	case GORT_OP_SEND:
		return k->chan && chan_looks_ready(k->chan, k->op == GORT_OP_SEND);
	case GORT_OP_TASK:
		if (!k->task)
			gort__misuse("gort_select", "no task");
		return gort__task_ended(k->task);
	case GORT_OP_TIME:
		if (*now == GORT_NOW)
			*now = rt_now();
		return k->deadline <= *now;
	case GORT_OP_FD:
		return gort__fd_look(k->fd, k->events);
	default:
		return -EINVAL;
	}
}

/* True: it is done, with its status. own: the caller's. */
static bool try_case(struct m *m, gort_case *k)
{
	struct waiter *woken = NULL;
	int err = 0;

	if (is_chan(k)) {
		lock_acquire(&k->chan->lock);
		err = k->op == GORT_OP_SEND ? gort__chan_send_now(k->chan, k->elem, &woken)
					    : gort__chan_recv_now(k->chan, k->elem, &woken);
		lock_release(&k->chan->lock);
		if (woken)
			waiter_wake(m, woken);
	} else if (k->op == GORT_OP_FD) {
		err = gort__fd_look(k->fd, k->events);
		err = err == 0 ? -EAGAIN : err;
	}
	if (err == -EAGAIN)
		return false;
	k->status = err;
	return true;
}

/* Step 1. The index of what was done; -EAGAIN. */
static int try_all(struct m *m, gort_case *cases, size_t n)
{
	size_t ready = 0, chosen = 0, start;
	int64_t now = GORT_NOW;

	for (size_t i = 0; i < n; i++) {
		int is = looks_ready(&cases[i], &now);

		if (unlikely(is < 0))
			return is;
		if (is && (++ready == 1 || draw(m, ready) == 0))
			chosen = i;
	}
	if (ready == 0)
		return -EAGAIN;
	if (likely(try_case(m, &cases[chosen])))
		return (int)chosen;
	start = draw(m, n);
	for (size_t i = 0; i < n; i++) {
		size_t at = (start + i) % n;

		if (looks_ready(&cases[at], &now) && try_case(m, &cases[at]))
			return (int)at;
	}
	return -EAGAIN;
}

static void insert_before(struct waitq *q, struct waiter *w, struct waiter *next)
{
	w->queue = q;
	w->next = next;
	w->prev = next->prev;
	if (w->prev)
		w->prev->next = w;
	else
		store_relaxed(&q->head, w);
	next->prev = w;
}

/* At q's end. A channel may stand in several cases: among the nodes that the caller has there
 * already the place is left to chance, since the first of them will be taken. */
static void push(struct m *m, struct waitq *q, struct waiter *node, const struct waits *own)
{
	struct waiter *next = NULL;
	size_t count = 0;

	for (struct waiter *w = q->tail; w && unlikely(waits_of(w) == own); w = w->prev)
		count++;
	for (size_t place = likely(count == 0) ? 0 : draw(m, count + 1); place > 0; place--)
		next = next ? next->prev : q->tail;
	if (unlikely(next != NULL))
		insert_before(q, node, next);
	else
		waitq_push(q, node);
}

/* Queue node in k. 0; > 0: k looks ready now, it is not queued; -errno. */
static int enlist(struct m *m, struct choice *c, gort_case *k, struct waiter *node)
{
	bool ready;

	node->elem = k->elem;
	if (k->op == GORT_OP_TASK)
		return !gort__task_enlist(k->task, node);
	if (k->op == GORT_OP_FD)
		return gort__fd_enlist(k->fd, k->events, node);
	if (!is_chan(k) || !k->chan)
		return 0; /* a time is the wait's deadline */
	lock_acquire(&k->chan->lock);
	ready = gort__chan_ready(k->chan, k->op == GORT_OP_SEND, c->wait.waits);
	if (!ready) {
		node->lock = &k->chan->lock;
		push(m, k->op == GORT_OP_SEND ? &k->chan->sendq : &k->chan->recvq, node,
		     c->wait.waits);
	}
	lock_release(&k->chan->lock);
	return ready;
}

/* Step 2. > 0: one of them looks ready; -errno. */
static int enlist_all(struct m *m, struct choice *c)
{
	size_t start = draw(m, c->n);

	for (size_t i = 0; i < c->n; i++)
		c->nodes[i] = (struct waiter){ .g = c->wait.g,
					       .guest = c->wait.guest,
					       .turn = c->wait.turn,
					       .status = PENDING };
	if (m) {
		m->g->waiting_count = (uint32_t)c->n;
		m->g->waiting = c->nodes;
	}
	for (size_t i = 0; i < c->n; i++) {
		size_t at = start + i < c->n ? start + i : start + i - c->n;
		int err = enlist(m, c, &c->cases[at], &c->nodes[at]);

		if (err != 0)
			return err;
	}
	return 0;
}

/* The wait for a descriptor came to nothing. */
static bool is_error(const gort_case *k)
{
	return k->op == GORT_OP_FD && k->status < 0;
}

/* Take all nodes back. The index of the one that was ended, or its -errno; -EAGAIN: none. */
static int delist_all(struct choice *c)
{
	int ended = -EAGAIN;

	for (size_t i = 0; i < c->n; i++) {
		struct waiter *node = &c->nodes[i];

		if (!node->lock)
			continue;
		lock_acquire(node->lock);
		if (node->queue) {
			waitq_remove(node);
			if (c->cases[i].op == GORT_OP_SEND)
				chan_changed(c->cases[i].chan);
		}
		lock_release(node->lock);
		if (unlikely(c->cases[i].op == GORT_OP_FD))
			gort__fd_delist(node);
		if (node->status != PENDING) {
			c->cases[i].status = node->status;
			ended = is_error(&c->cases[i]) ? node->status : (int)i;
		}
	}
	if (c->wait.g) {
		c->wait.g->waiting = NULL;
		c->wait.g->waiting_count = 1;
	}
	return ended;
}

/* In a bubble. */
static enum g_why why(const struct m *m, const struct choice *c)
{
	uint32_t id = rt_bubble(m);

	for (size_t i = 0; i < c->n; i++) {
		const gort_case *k = &c->cases[i];

		if (is_chan(k) ? k->chan && k->chan->bubble != id
			       : k->op == GORT_OP_FD ||
				    (k->op == GORT_OP_TASK && gort__task_bubble(k->task) != id))
			return WHY_OUTSIDE;
	}
	return WHY_SELECT;
}

static size_t earliest(const gort_case *cases, size_t n)
{
	size_t first = n;

	for (size_t i = 0; i < n; i++)
		if (cases[i].op == GORT_OP_TIME &&
		    (first == n || cases[i].deadline < cases[first].deadline))
			first = i;
	return first;
}

/* Steps 2 and 3, once. -EAGAIN: look again. */
static returns_by_jump int wait_once(struct m *m, struct choice *c)
{
	size_t time = earliest(c->cases, c->n);
	bool timed = time < c->n && c->cases[time].deadline <= c->deadline;
	int ended, queued,
		err = gort__wait_begin(m, &c->wait, timed ? c->cases[time].deadline : c->deadline,
				       false);

	if (err < 0)
		return err;
	queued = enlist_all(m, c);
	if (queued == 0) {
		err = gort__wait_sleep(&c->wait, NULL,
				       unlikely(in_bubble(m)) ? why(m, c) : WHY_SELECT);
	} else if (gort__wait_claim(&c->wait)) {
		delist_all(c);
		gort__wait_abandon(&c->wait);
		return queued < 0 ? queued : -EAGAIN;
	} else {
		err = gort__wait_result(&c->wait);
	}
	ended = delist_all(c);
	if (err == 0)
		return ended;
	if (!timed || !gort__wait_timed_out(&c->wait))
		return err; /* a context's end may be -ETIMEDOUT as well */
	c->cases[time].status = 0;
	return (int)time;
}

/* See chan.h. */
static int64_t earliest_done(const gort_case *cases, size_t n)
{
	int64_t first = GORT_FOREVER, ends;

	for (size_t i = 0; i < n; i++) {
		if (cases[i].op != GORT_OP_RECV || !cases[i].chan)
			continue;
		lock_acquire(&cases[i].chan->lock);
		ends = gort__chan_done_deadline(cases[i].chan);
		lock_release(&cases[i].chan->lock);
		first = ends < first ? ends : first;
	}
	return first;
}

static void look_at_done(const gort_case *cases, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (cases[i].op == GORT_OP_RECV && cases[i].chan)
			gort__chan_done_look(cases[i].chan);
}

static returns_by_jump int wait_for_one(gort_case *cases, size_t n, int64_t deadline)
{
	struct m *m = m_self();
	struct choice c = { .cases = cases, .n = n, .deadline = gort__wait_bounded(m, deadline) };
	struct waiter few[n > 0 && n <= WAITING_FEW ? n : 1];
	size_t size = n * sizeof c.nodes[0];
	int64_t done = m ? GORT_FOREVER : earliest_done(cases, n);
	int i;

	c.nodes = n <= WAITING_FEW ? few : mem_alloc(cache_of(m), size);
	if (!c.nodes)
		return -ENOMEM;
	c.deadline = done < c.deadline ? done : c.deadline;
	do {
		i = wait_once(m, &c);
		m = m_self();
		if (i == -ETIMEDOUT && done == c.deadline && deadline_passed(done)) {
			look_at_done(cases, n); /* one of them is closed now */
			i = -EAGAIN;
		}
		if (i == -EAGAIN)
			i = try_all(m, cases, n);
	} while (i == -EAGAIN);
	if (n > WAITING_FEW)
		mem_free(cache_of(m), c.nodes, size);
	return i;
}

GORT_API int gort_select(gort_case *cases, size_t n, int64_t deadline)
{
	struct m *m = rt_enter();
	int i = n <= INT_MAX ? try_all(m, cases, n) : -EINVAL;

	if (i == -EAGAIN) {
		if (!deadline_passed(deadline))
			i = wait_for_one(cases, n, deadline);
		else if (deadline != GORT_NOW)
			i = -ETIMEDOUT;
	}
	rt_leave(m);
	return i;
}
