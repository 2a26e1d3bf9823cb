/*
 * chan.c - channels: Go's, with deadlines, for goroutines and plain threads alike.
 *
 *  1. Everything is under c->lock, but refs, and count and marks for those that only look.
 *  2. If anyone waits to receive, the buffer is empty; if anyone waits to send, it is full.
 *     Nobody waits to send while another waits to receive: a select that does both may stand in
 *     both queues, and so may nodes of waits that have been won elsewhere. Those end nothing, and
 *     are dropped.
 *  3. A value moves by one copy: into the buffer, out of it, or from the sender's stack to the
 *     receiver's. Whoever takes a node out of a queue and has won its wait (waiter_claim) copies
 *     before it wakes.
 *  4. A send that was not received is not sent: senders that wait when the channel is closed get
 *     -EPIPE and their values stay with them.
 *  5. Nothing of c is touched after the lock is released, so that a receiver may release the last
 *     reference as soon as it has its value.
 *  6. A channel with a pollfd takes the paths of *_marked, which see to that; its marks and polled
 *     make the checks fail that the others pass by anyway (chan_pollfd.c).
 *
 * Memory: one block of gort's allocator, elements behind the header. The queue nodes are the
 * waiters' own.
 *
 * Callers: goroutines and guests. Blocking calls park the goroutine or block the thread.
 */
#include "sync/chan.h"

#include "sched/switch.h"

#include <errno.h>
#include <string.h>

#define WAKE_BATCH 512 /* goroutines that close collects before it lets them run */

/* The usual sizes, without a call, so that who copies needs no frame. False: another one. */
static inlined bool copy_usual(void *to, const void *from, size_t size)
{
	if (likely(size == 8))
		memcpy(to, from, 8);
	else if (size == 4)
		memcpy(to, from, 4);
	else if (size == 16)
		memcpy(to, from, 16);
	else
		return size == 0;
	return true;
}

static inline void copy_elem(void *to, const void *from, size_t size)
{
	if (unlikely(!copy_usual(to, from, size)))
		memcpy(to, from, size);
}

static inline char *slot(struct gort_chan *c, size_t i)
{
	return c->buffer + i * c->elem_size;
}

static inline char *free_slot(struct gort_chan *c)
{
	size_t at = c->head + c->count;

	return slot(c, at >= c->capacity ? at - c->capacity : at);
}

static inline void count_taken(struct gort_chan *c)
{
	if (++c->head == c->capacity)
		c->head = 0;
	store_relaxed(&c->count, c->count - 1);
}

static void buffer_put(struct gort_chan *c, const void *elem)
{
	copy_elem(free_slot(c), elem, c->elem_size);
	store_relaxed(&c->count, c->count + 1);
}

static void buffer_take(struct gort_chan *c, void *elem)
{
	if (likely(elem != NULL))
		copy_elem(elem, slot(c, c->head), c->elem_size);
	count_taken(c);
}

/* Release the lock, then wake w. */
static inline void wake_after(struct m *m, struct gort_chan *c, struct waiter *w)
{
	bool early = waiter_early(w);

	lock_release(&c->lock);
	if (!early)
		waiter_wake(m, w);
}

static int end_of_wait(int64_t deadline)
{
	return deadline == GORT_NOW ? -EAGAIN : -ETIMEDOUT;
}

static rare int wait_on_nothing(int64_t deadline)
{
	struct m *m;
	int err;

	if (deadline_passed(deadline))
		return end_of_wait(deadline);
	m = rt_enter();
	err = gort__wait_deadline(deadline, WHY_FOREVER);
	rt_leave(m);
	return err;
}

static rare int leave_waking(struct m *m, struct lock *l)
{
	gort__lock_wake(l);
	m_leave(m);
	return 0;
}

/* ---- send ------------------------------------------------------------------------------------ */

static rare int send_wait(struct gort_chan *c, const void *elem, int64_t deadline)
{
	struct waiter w;

	if (deadline_passed(deadline)) {
		lock_release(&c->lock);
		return end_of_wait(deadline);
	}
	w.elem = (void *)(uintptr_t)elem;
	if (unlikely(c->polled))
		gort__chan_will_send(c);
	return gort__wait(&w, &c->sendq, &c->lock, deadline, WHY_SEND, WAIT_BACK);
}

static returns_by_jump int send_park(struct m *m, struct gort_chan *c, const void *elem)
{
	struct waiter self = { .elem = (void *)(uintptr_t)elem };
	int err = wait_here(&m, &self, &c->sendq, &c->lock, WHY_SEND, false);

	return m_leave_with(m, err);
}

static returns_by_jump int send_park_light(struct m *m, struct gort_chan *c, const void *elem)
{
	struct waiter self = { .elem = (void *)(uintptr_t)elem };
	int err = wait_here(&m, &self, &c->sendq, &c->lock, WHY_SEND, true);

	return m_leave_with(m, err);
}

/* With the lock, which it releases, as those below. */
static rare int send_marked(struct m *m, struct gort_chan *c, const void *elem, int64_t deadline)
{
	struct waiter *woken = NULL;
	int err = gort__chan_send_now(c, elem, &woken);

	if (err == -EAGAIN) {
		err = send_wait(c, elem, deadline);
		return rt_leave_with(m ? m_self() : NULL, err);
	}
	lock_release(&c->lock);
	if (woken)
		waiter_wake(m, woken);
	return rt_leave_with(m, err);
}

/* Of one without marks. */
static noinline int send_locked(struct m *m, struct gort_chan *c, const void *elem,
				int64_t deadline)
{
	struct waiter *w;
	int err = 0;

	if ((w = waitq_claim(&c->recvq)) != NULL) {
		if (likely(w->elem != NULL))
			copy_elem(w->elem, elem, c->elem_size);
		w->status = 0;
		wake_after(m, c, w);
	} else if (c->count < c->capacity) {
		buffer_put(c, elem);
		lock_release(&c->lock);
	} else if (likely(deadline == GORT_FOREVER) && likely(m != NULL)) {
		return waits_lightly(m) ? send_park_light(m, c, elem) : send_park(m, c, elem);
	} else {
		err = send_wait(c, elem, deadline);
		m = m ? m_self() : NULL;
	}
	return rt_leave_with(m, err);
}

static rare int send_slow(struct gort_chan *c, const void *elem, int64_t deadline)
{
	struct m *m;

	if (!c)
		return wait_on_nothing(deadline);
	m = rt_enter_again();
	lock_acquire(&c->lock);
	if (unlikely(c->marks))
		return send_marked(m, c, elem, deadline);
	return send_locked(m, c, elem, deadline);
}

/* What stands here needs no frame: a goroutine, a free lock; room in the buffer for an element of
 * usual size, or nobody to meet and all the time to wait. */
static inlined int send_elem(struct gort_chan *c, const void *elem, int64_t deadline)
{
	struct m *m = m_self();

	if (unlikely(!c || !m || !m_enter(m) || !lock_try(&c->lock)))
		return send_slow(c, elem, deadline);
	if (c->count >= c->capacity || unlikely(c->marks || c->recvq.head)) {
		if (unlikely(c->marks))
			return send_marked(m, c, elem, deadline);
		if (deadline != GORT_FOREVER || c->recvq.head)
			return send_locked(m, c, elem, deadline);
		return waits_lightly(m) ? send_park_light(m, c, elem) : send_park(m, c, elem);
	}
	if (unlikely(!copy_usual(free_slot(c), elem, c->elem_size)))
		return send_locked(m, c, elem, deadline);
	store_relaxed(&c->count, c->count + 1);
	if (unlikely(lock_let_go(&c->lock)))
		return leave_waking(m, &c->lock);
	return m_leave_with(m, 0);
}

GORT_API int gort_chan_send(gort_chan *c, const void *elem)
{
	return send_elem(c, elem, GORT_FOREVER);
}

GORT_API int gort_chan_try_send(gort_chan *c, const void *elem)
{
	return send_elem(c, elem, GORT_NOW);
}

GORT_API int gort_chan_send_until(gort_chan *c, const void *elem, int64_t deadline)
{
	int err = send_elem(c, elem, deadline);

	return err == -EAGAIN ? -ETIMEDOUT : err;
}

/* ---- receive --------------------------------------------------------------------------------- */

int64_t gort__chan_done_deadline(const struct gort_chan *c)
{
	return c->done_of ? gort__ctx_deadline(c->done_of) : GORT_FOREVER;
}

/* One that is not to be had any more has ended. */
void gort__chan_done_look(struct gort_chan *c)
{
	struct gort_ctx *ctx;

	lock_acquire(&c->lock);
	ctx = c->done_of;
	if (ctx && !gort__ctx_try_retain(ctx))
		ctx = NULL;
	lock_release(&c->lock);
	if (!ctx)
		return;
	gort__ctx_err(NULL, ctx);
	gort__ctx_release(NULL, ctx);
}

static rare int guest_recv_done(struct gort_chan *c, struct waiter *w, int64_t deadline)
{
	int64_t ends = gort__chan_done_deadline(c);
	int err = gort__wait(w, &c->recvq, &c->lock, ends < deadline ? ends : deadline, WHY_RECV,
			     WAIT_BACK);

	if (err != -ETIMEDOUT || ends >= deadline || !deadline_passed(ends))
		return err;
	gort__chan_done_look(c);
	return -EPIPE;
}

static rare int recv_wait(struct gort_chan *c, void *elem, int64_t deadline)
{
	struct waiter w;

	if (deadline_passed(deadline)) {
		lock_release(&c->lock);
		return end_of_wait(deadline);
	}
	w.elem = elem;
	if (unlikely(c->done_of != NULL) && !m_self())
		return guest_recv_done(c, &w, deadline);
	return gort__wait(&w, &c->recvq, &c->lock, deadline, WHY_RECV, WAIT_BACK);
}

/* A sender waits: its value goes to the receiver, or behind the buffer's when that has some. */
static inline void recv_from_sender(struct gort_chan *c, struct waiter *w, void *elem)
{
	if (c->capacity == 0) {
		if (elem)
			copy_elem(elem, w->elem, c->elem_size);
	} else {
		buffer_take(c, elem);
		buffer_put(c, w->elem);
	}
	w->status = 0;
}

static returns_by_jump int recv_park(struct m *m, struct gort_chan *c, void *elem)
{
	struct waiter self = { .elem = elem };
	int err = wait_here(&m, &self, &c->recvq, &c->lock, WHY_RECV, false);

	return m_leave_with(m, err);
}

static returns_by_jump int recv_park_light(struct m *m, struct gort_chan *c, void *elem)
{
	struct waiter self = { .elem = elem };
	int err = wait_here(&m, &self, &c->recvq, &c->lock, WHY_RECV, true);

	return m_leave_with(m, err);
}

/* One jump. */
static inline bool waits_or_polled(const struct gort_chan *c)
{
	return ((uintptr_t)c->sendq.head | c->polled) != 0;
}

/* With the lock, which it releases, as those below. */
static rare int recv_marked(struct m *m, struct gort_chan *c, void *elem, int64_t deadline)
{
	struct waiter *woken = NULL;
	int err = gort__chan_recv_now(c, elem, &woken);

	if (err == -EAGAIN) {
		err = recv_wait(c, elem, deadline);
		return rt_leave_with(m ? m_self() : NULL, err);
	}
	lock_release(&c->lock);
	if (woken)
		waiter_wake(m, woken);
	return rt_leave_with(m, err);
}

/* Of one without marks, or that has something for us and no pollfd. */
static noinline int recv_locked(struct m *m, struct gort_chan *c, void *elem, int64_t deadline)
{
	struct waiter *w;
	int err = 0;

	if (c->sendq.head != NULL && (w = waitq_claim(&c->sendq)) != NULL) {
		recv_from_sender(c, w, elem);
		wake_after(m, c, w);
	} else if (c->count) {
		buffer_take(c, elem);
		lock_release(&c->lock);
	} else if (likely(deadline == GORT_FOREVER) && likely(m != NULL)) {
		return waits_lightly(m) ? recv_park_light(m, c, elem) : recv_park(m, c, elem);
	} else {
		err = recv_wait(c, elem, deadline);
		m = m ? m_self() : NULL;
	}
	return rt_leave_with(m, err);
}

static rare int recv_slow(struct gort_chan *c, void *elem, int64_t deadline)
{
	struct m *m;

	if (!c)
		return wait_on_nothing(deadline);
	m = rt_enter_again();
	lock_acquire(&c->lock);
	if (unlikely(c->marks))
		return recv_marked(m, c, elem, deadline);
	return recv_locked(m, c, elem, deadline);
}

/* As send. */
static inlined int recv_elem(struct gort_chan *c, void *elem, int64_t deadline)
{
	struct m *m = m_self();

	if (unlikely(!c || !m || !m_enter(m) || !lock_try(&c->lock)))
		return recv_slow(c, elem, deadline);
	if (c->count == 0 || unlikely(waits_or_polled(c))) {
		if (unlikely(c->marks))
			return recv_marked(m, c, elem, deadline);
		if (deadline != GORT_FOREVER || c->sendq.head)
			return recv_locked(m, c, elem, deadline);
		return waits_lightly(m) ? recv_park_light(m, c, elem) : recv_park(m, c, elem);
	}
	if (unlikely(!elem || !copy_usual(elem, slot(c, c->head), c->elem_size)))
		return recv_locked(m, c, elem, deadline);
	count_taken(c);
	if (unlikely(lock_let_go(&c->lock)))
		return leave_waking(m, &c->lock);
	return m_leave_with(m, 0);
}

GORT_API int gort_chan_recv(gort_chan *c, void *elem)
{
	return recv_elem(c, elem, GORT_FOREVER);
}

GORT_API int gort_chan_try_recv(gort_chan *c, void *elem)
{
	return recv_elem(c, elem, GORT_NOW);
}

GORT_API int gort_chan_recv_until(gort_chan *c, void *elem, int64_t deadline)
{
	int err = recv_elem(c, elem, deadline);

	return err == -EAGAIN ? -ETIMEDOUT : err;
}

/* ---- for select ------------------------------------------------------------------------------ */

static bool others_wait(const struct waitq *q, const struct waits *own)
{
	for (struct waiter *w = q->head; w; w = w->next)
		if (waits_of(w) != own)
			return true;
	return false;
}

static inline bool is_ready(struct gort_chan *c, bool send, const struct waits *own)
{
	if (send)
		return c->count < c->capacity || others_wait(&c->recvq, own);
	return c->count || others_wait(&c->sendq, own);
}

static rare bool is_ready_marked(struct gort_chan *c, bool send, const struct waits *own)
{
	bool ready = c->marks & CHAN_CLOSED || is_ready(c, send, own);

	if (send && !ready)
		gort__chan_will_send(c);
	return ready;
}

bool gort__chan_ready(struct gort_chan *c, bool send, const struct waits *own)
{
	if (unlikely(c->marks))
		return is_ready_marked(c, send, own);
	return is_ready(c, send, own);
}

/* As gort__chan_send_now, of one that is open; the pollfd is the caller's. */
static inline int send_open(struct gort_chan *c, const void *elem, struct waiter **woken)
{
	struct waiter *w = waitq_claim(&c->recvq);

	if (!w && c->count == c->capacity)
		return -EAGAIN;
	if (!w) {
		buffer_put(c, elem);
		return 0;
	}
	if (w->elem)
		copy_elem(w->elem, elem, c->elem_size);
	w->status = 0;
	*woken = waiter_early(w) ? NULL : w;
	return 0;
}

static rare int send_now_marked(struct gort_chan *c, const void *elem, struct waiter **woken)
{
	int err = c->marks & CHAN_CLOSED ? -EPIPE : send_open(c, elem, woken);

	chan_changed(c);
	return err;
}

int gort__chan_send_now(struct gort_chan *c, const void *elem, struct waiter **woken)
{
	if (unlikely(c->marks))
		return send_now_marked(c, elem, woken);
	return send_open(c, elem, woken);
}

static int recv_rest(struct gort_chan *c, void *elem)
{
	if (c->count) {
		buffer_take(c, elem);
		return 0;
	}
	if (!(c->marks & CHAN_CLOSED))
		return -EAGAIN;
	if (elem)
		memset(elem, 0, c->elem_size);
	return -EPIPE;
}

static inline int recv_open(struct gort_chan *c, void *elem, struct waiter **woken)
{
	struct waiter *w = waitq_claim(&c->sendq);

	if (!w)
		return recv_rest(c, elem);
	recv_from_sender(c, w, elem);
	*woken = waiter_early(w) ? NULL : w;
	return 0;
}

static rare int recv_now_polled(struct gort_chan *c, void *elem, struct waiter **woken)
{
	int err = recv_open(c, elem, woken);

	gort__chan_poll(c);
	return err;
}

int gort__chan_recv_now(struct gort_chan *c, void *elem, struct waiter **woken)
{
	if (!waits_or_polled(c))
		return recv_rest(c, elem);
	if (unlikely(c->polled))
		return recv_now_polled(c, elem, woken);
	return recv_open(c, elem, woken);
}

/* ---- make, close, drop ----------------------------------------------------------------------- */

static size_t block_size(size_t elem_size, size_t capacity)
{
	return sizeof(struct gort_chan) + elem_size * capacity;
}

struct gort_chan *gort__chan_make(struct m *m, size_t elem_size, size_t capacity)
{
	struct gort_chan *c = mem_alloc(cache_of(m), block_size(elem_size, capacity));

	if (c)
		*c = (struct gort_chan){ .lock = LOCK_INIT(RANK_CHAN),
					 .refs = 1,
					 .elem_size = elem_size,
					 .capacity = capacity,
					 .bubble = rt_bubble(m) };
	return c;
}

GORT_API gort_chan *gort_chan_make(size_t elem_size, size_t capacity)
{
	struct m *m;
	struct gort_chan *c;
	size_t size;

	if (__builtin_mul_overflow(elem_size, capacity, &size) ||
	    size > PTRDIFF_MAX - sizeof(struct gort_chan))
		return NULL;
	m = rt_enter();
	c = gort__chan_make(m, elem_size, capacity);
	rt_leave(m);
	return c;
}

GORT_API gort_chan *gort_chan_retain(gort_chan *c)
{
	if (c)
		add_relaxed(&c->refs, 1);
	return c;
}

static void drop_rest(struct gort_chan *c)
{
	while (c->drop && c->count) {
		c->drop(slot(c, c->head));
		buffer_take(c, NULL);
	}
}

/* True: it was the last reference, and the memory is the caller's to free. */
static bool release(struct gort_chan *c)
{
	if (!c || (load_acquire(&c->refs) != 1 && sub_acq_rel(&c->refs, 1) != 1))
		return false;
	if (unlikely(c->recvq.head || c->sendq.head))
		gort__misuse("gort_chan_release",
			     "the last reference, while somebody waits on the channel");
	if (unlikely(c->owner != NULL))
		c->owner->gone(c->owner);
	drop_rest(c);
	if (unlikely(c->polled))
		gort__chan_poll_end(c);
	return true;
}

void gort__chan_release(struct m *m, struct gort_chan *c)
{
	if (release(c))
		mem_free(cache_of(m), c, block_size(c->elem_size, c->capacity));
}

GORT_API void gort_chan_release(gort_chan *c)
{
	struct m *m;

	if (!release(c))
		return;
	m = rt_enter();
	mem_free(cache_of(m), c, block_size(c->elem_size, c->capacity));
	rt_leave(m);
}

GORT_API void gort_chan_on_drop(gort_chan *c, void (*drop)(void *elem))
{
	if (!c)
		gort__misuse("gort_chan_on_drop", "no channel");
	c->drop = drop;
}

/* Receivers find the buffer empty (2), so there is nothing left for them. The first ones run
 * while the last of many are still being woken. */
static void end_waits(struct m *m, struct gort_chan *c, struct waitq *q, struct glist *woken)
{
	struct waiter *w;

	while ((w = waitq_claim(q)) != NULL) {
		if (q == &c->recvq && w->elem)
			memset(w->elem, 0, c->elem_size);
		waiter_end(w, -EPIPE, woken);
		if (unlikely(woken->count == WAKE_BATCH))
			gort__ready_list(m, woken);
	}
}

int gort__chan_close(struct m *m, struct gort_chan *c)
{
	struct glist woken = { 0 };
	int err = 0;

	lock_acquire(&c->lock);
	if (c->marks & CHAN_CLOSED) {
		err = -EPIPE;
	} else {
		store_relaxed(&c->marks, c->marks | CHAN_CLOSED);
		end_waits(m, c, &c->recvq, &woken);
		end_waits(m, c, &c->sendq, &woken);
		chan_changed(c);
	}
	lock_release(&c->lock);
	gort__ready_list(m, &woken);
	return err;
}

GORT_API int gort_chan_close(gort_chan *c)
{
	struct m *m;
	int err;

	if (!c)
		return -EINVAL;
	m = rt_enter();
	err = gort__chan_close(m, c);
	rt_leave(m);
	return err;
}

GORT_API size_t gort_chan_len(const gort_chan *c)
{
	return c ? load_relaxed(&c->count) : 0;
}

GORT_API size_t gort_chan_cap(const gort_chan *c)
{
	return c ? c->capacity : 0;
}
