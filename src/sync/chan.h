/*
 * chan.h - a channel's inside, for chan.c and select.c. The invariants stand in chan.c.
 */
#ifndef GORT_SYNC_CHAN_H
#define GORT_SYNC_CHAN_H

#include "sched/park.h"

/* Embedded in what a channel holds alive: gone is called when the last reference goes, before
 * anything of the channel does, with no lock held and outside rt_enter and rt_leave. */
struct chan_owner {
	void (*gone)(struct chan_owner *o);
};

/* Any of them sends calls to the slow paths. */
enum {
	CHAN_CLOSED = 1,
	CHAN_POLLED = 2,   /* it has a pollfd: chan_pollfd.c */
	CHAN_READABLE = 4, /* which is readable */
};

struct gort_chan {
	struct lock lock;
	uint32_t refs;      /* atomic */
	uint32_t marks;     /* atomic, written under lock: CHAN_* */
	size_t elem_size;   /* fixed */
	size_t capacity;    /* fixed */
	size_t count;       /* atomic, written under lock: elements in the buffer */
	size_t head;        /* lock: where the next to receive lies */
	struct waitq recvq; /* lock */
	struct waitq sendq; /* lock */
	void (*drop)(void *elem);
	struct chan_owner *owner; /* fixed: or NULL */
	struct gort_ctx
		*done_of; /* lock: the context whose end closes it; NULL: none, or it is gone */
	uint32_t bubble;  /* fixed: where it was made, or 0 */
	uint32_t polled;  /* lock: 0, or its pollfd + 1; then CHAN_POLLED */
	_Alignas(16) char buffer[];
};

/* The public ones, for callers between rt_enter and rt_leave. */
struct gort_chan *gort__chan_make(struct m *m, size_t elem_size, size_t capacity);
int gort__chan_close(struct m *m, struct gort_chan *c);
void gort__chan_release(struct m *m, struct gort_chan *c);

/* ctx.c: of a channel that a context's end closes. try_retain: under the lock that keeps its
 * memory. */
int64_t gort__ctx_deadline(const struct gort_ctx *c);
int gort__ctx_err(struct m *m, struct gort_ctx *c);
bool gort__ctx_try_retain(struct gort_ctx *c);
void gort__ctx_release(struct m *m, struct gort_ctx *c);

/* For guests. Where no runtime runs, nobody but they themselves see that the deadline of the
 * context has passed whose done channel c is. deadline: under the lock. look: without it, once
 * that has passed: c is closed then. */
int64_t gort__chan_done_deadline(const struct gort_chan *c);
void gort__chan_done_look(struct gort_chan *c);

/* Under the lock.
 * ready: it would not wait; if it would, the caller queues a node. own: the caller's, whose own
 * nodes in the queues do not count.
 * now: do it if it need not wait: 0, -EPIPE, or -EAGAIN; *woken is whom to wake once the lock is
 * released, and unchanged if there is nobody. No node of the caller's is queued. The pollfd is
 * seen to. */
bool gort__chan_ready(struct gort_chan *c, bool send, const struct waits *own);
int gort__chan_send_now(struct gort_chan *c, const void *elem, struct waiter **woken);
int gort__chan_recv_now(struct gort_chan *c, void *elem, struct waiter **woken);

/* Under the lock, before it is released: count, sendq or closed may have changed. */
void gort__chan_poll(struct gort_chan *c);
static inline void chan_changed(struct gort_chan *c)
{
	if (unlikely(c->polled))
		gort__chan_poll(c);
}

/* chan_pollfd.c. will_send: a sender is about to wait. end: at the last release. */
void gort__chan_will_send(struct gort_chan *c);
void gort__chan_poll_end(struct gort_chan *c);

/* Without the lock: what the next moment may change. */
static inline bool chan_looks_ready(struct gort_chan *c, bool send)
{
	if (load_relaxed(&c->marks) & CHAN_CLOSED)
		return true;
	if (send)
		return load_relaxed(&c->count) < c->capacity || load_relaxed(&c->recvq.head);
	return load_relaxed(&c->count) || load_relaxed(&c->sendq.head);
}

#endif
