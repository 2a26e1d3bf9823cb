/*
 * chan_pollfd.c - a descriptor for foreign event loops, readable while a receive would not block.
 *
 * "Would not block" is what receivable says: an element is in the buffer, somebody stands in sendq,
 * or it is closed. Three fields of the channel, all under its lock; so is CHAN_READABLE, which says
 * what the descriptor was last told.
 *
 *  1. Whoever has changed one of the three brings the descriptor in line before the lock is free
 *     again. So with the lock free, CHAN_READABLE is receivable, and the descriptor says it.
 *  2. It is told of changes only, so it counts 0 or 1: telling it never blocks, and one read
 *     clears it.
 *
 * Who changes them, under the lock, and sees to (1):
 *
 *     count       send_now_marked, recv_now_polled (chan.c): every send and receive that need not
 *                 wait: calls, select, timers' ticks and taking them back, signals
 *     closed      gort__chan_close: also of contexts
 *     sendq  +    send_wait (chan.c), by gort__chan_will_send: before, since the lock is released
 *                 only once the goroutine has left its stack. If it does not come to wait after
 *                 all (wait_turn in park.c), by gort__chan_deserted
 *            +    enlist (select.c): as well, from gort__chan_ready
 *            -    an ender that takes a node out, whether it wins the wait or drops the node: the
 *                 calls above
 *            -    leave_queue (park.c): time-outs, cancelled waits, and gort__wait_withdraw at the
 *                 runtime's end, by gort__chan_deserted
 *            -    delist_all (select.c)
 *
 * The paths of chan.c that do not ask are those of channels that have no pollfd: each looks at marks
 * or polled under the lock, and these do not change but under it. It follows that a sender may have
 * begun to wait before there was a pollfd; gort_chan_pollfd sees it in sendq, and leaving the queue
 * is what every wait does in the same way.
 *
 * A node in sendq whose wait has been won elsewhere (a select's other case, a time-out) counts as a
 * sender until its owner takes it out, which it is about to do, or a receive drops it. So the
 * descriptor may be readable in vain for as long as that takes; then (1) has it right. At the
 * runtime's end such an owner may never run again: gort__wait_withdraw takes the node out in its
 * stead. It is never unreadable while a receive would not block, but for the moment between the
 * change and the telling, during which the lock is held and a receive waits for it.
 *
 * System calls are made with the lock held, and that lock spins: it is the price of a channel that
 * has a pollfd. Telling it after the release would need a second order of events, and would touch
 * the channel when a receiver may have freed it.
 *
 * Callers: goroutines and guests; g0; the thread of signals.
 */
#include "sync/chan.h"

#include <errno.h>

static bool receivable(const struct gort_chan *c)
{
	return c->count != 0 || c->sendq.head != NULL || c->marks & CHAN_CLOSED;
}

static void tell(struct gort_chan *c, bool readable)
{
	int fd = (int)c->polled - 1;

	if (readable == !!(c->marks & CHAN_READABLE))
		return;
	store_relaxed(&c->marks, c->marks ^ CHAN_READABLE);
	if (readable)
		os_event_set(fd);
	else
		os_event_clear(fd);
}

rare void gort__chan_poll(struct gort_chan *c)
{
	tell(c, receivable(c));
}

rare void gort__chan_will_send(struct gort_chan *c)
{
	tell(c, true);
}

rare void gort__chan_deserted(struct lock *l)
{
	chan_changed(container_of(l, struct gort_chan, lock));
}

rare void gort__chan_poll_end(struct gort_chan *c)
{
	os_event_close((int)c->polled - 1);
}

/* The channel's. If another was faster, theirs, and fd is closed. */
static int adopt(struct gort_chan *c, int fd)
{
	int spare = -1;

	lock_acquire(&c->lock);
	if (c->polled) {
		spare = fd;
		fd = (int)c->polled - 1;
	} else {
		c->polled = (uint32_t)fd + 1;
		store_relaxed(&c->marks, c->marks | CHAN_POLLED);
		gort__chan_poll(c);
	}
	lock_release(&c->lock);
	if (spare >= 0)
		os_event_close(spare);
	return fd;
}

static int pollfd_of(struct gort_chan *c)
{
	int fd;

	if (load_relaxed(&c->marks) & CHAN_POLLED)
		return adopt(c, -1);
	fd = os_event_make();
	return fd < 0 ? fd : adopt(c, fd);
}

GORT_API int gort_chan_pollfd(gort_chan *c)
{
	struct m *m;
	int fd;

	if (!c)
		return -EINVAL;
	m = rt_enter();
	fd = pollfd_of(c);
	rt_leave(m);
	return fd;
}
