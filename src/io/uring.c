/*
 * uring.c - calls on regular files that would sleep in the kernel, made there without a thread for
 * each: by one io_uring, which one thread of gort's serves.
 *
 *     goroutine --first, bell--> the thread "gort-uring" --submission--> kernel
 *        ^---------- gort__ready_list ---------- the same <--completion--+
 *
 *  1. A call (struct uring_op) lies on the stack of its goroutine, which parks until it has ended:
 *     neither cancellation nor a deadline ends that, since the kernel uses the buffer till then.
 *  2. The thread sleeps in the kernel, until a call has ended or the bell rings. Who adds a call and
 *     finds that it sleeps (under the lock) rings. The system call is made without the lock, so
 *     the call may have ended when the goroutine comes back to it: then it does not park.
 *  3. sched.disk counts calls from before they are added till their goroutines are runnable: while
 *     there are any, nothing is a deadlock, and sysmon does not go to sleep for good.
 *  4. The runtime's end comes here when no M is left: all that were added have parked. It waits until
 *     the kernel has done with their buffers, and the thread has gone. Their goroutines run no more, and
 *     are dropped like those at netpoll: what they hold of a file goes back (gort__file_forsake).
 *
 * The first call asks the creator (sched/m.c) for the thread, and does not wait for it: that call, and
 * all others till it is there, are made the other way, as user code that blocks. So they are where the
 * kernel has no io_uring or forbids it (GONE: asked once in the life of a runtime), and as long as there is
 * no thread or descriptor to be had:
 *
 *     NONE --gort__uring_does--> ASKED --gort__uring_start--> STARTING --uring_main--> LIVES
 *      ^                                                        | |
 *      +--gort__uring_start, give_up: not now-------------------+ +--give_up--> GONE
 *
 * LIVES becomes GONE where a sandbox comes later (break_off): calls that the kernel has not got yet are
 * made the other way; those that it has can only be waited for. gort__uring_end leads back to NONE. It
 * comes when the creator has ended, so what is only ASKED then remains so.
 *
 * The caller does not make the thread itself: it may have changed its own (gort_lock_thread: processors,
 * priority, a sandbox, namespaces), and all that would be the disk's from then on.
 *
 * Why a thread, where any M could submit: the kernel ends a call on the thread that has submitted it,
 * which it interrupts for that. A goroutine that sleeps in epoll_wait(2) there, in some library,
 * would get EINTR from a signal that does not exist. And who submits takes the calls with it when
 * it ends. The kernel's own thread (SQPOLL) spins.
 *
 * uring.lock (RANK_OBJECT). Callers: goroutines, from user code, with a use of the file.
 */
#include "io/uring.h"

#include <errno.h>

#define sched gort__sched

enum { NONE, ASKED, STARTING, LIVES, GONE };

static struct {
	struct lock lock;
	uint32_t state;         /* atomic: as drawn */
	bool stops;             /* lock */
	bool broken;            /* lock: none is taken any more */
	bool sleeps;            /* lock */
	struct uring_op *first; /* lock: added, not yet put */
	struct uring_op **last; /* lock */
	struct waitq waiting;   /* lock */
	struct os_uring ring;   /* the thread's; written before LIVES, release */
	uint32_t under_way;     /* the thread's: put, not yet ended */
	os_thread thread;       /* the same; the end joins it */
} uring = { .lock = LOCK_INIT(RANK_OBJECT), .last = &uring.first };

/* ---- the thread ------------------------------------------------------------------------------ */

/* True: nothing is left to be put, and who adds more rings. */
static bool put_all(void)
{
	struct uring_op *op;
	bool sleeps;

	lock_acquire(&uring.lock);
	while ((op = uring.first) != NULL && os_uring_put(&uring.ring, &op->call)) {
		uring.first = op->next;
		uring.under_way++;
	}
	if (!uring.first)
		uring.last = &uring.first;
	sleeps = uring.sleeps = !uring.first;
	lock_release(&uring.lock);
	return sleeps;
}

/* Whoever is not parked yet sees ended (2), and its op may be gone once the lock is released. */
static void end_op(struct uring_op *op, struct glist *woken)
{
	op->ended = true;
	if (!op->w.queue)
		return;
	waitq_remove(&op->w);
	waiter_end(&op->w, GATE_LOOK_AGAIN, woken);
}

static void take_all(void)
{
	struct glist woken = { 0 };
	struct os_uring_call *call;
	uint32_t n = 0;

	lock_acquire(&uring.lock);
	uring.sleeps = false;
	while ((call = os_uring_take(&uring.ring)) != NULL) {
		end_op((struct uring_op *)call, &woken);
		n++;
	}
	lock_release(&uring.lock);
	gort__ready_list(NULL, &woken);
	uring.under_way -= n;
	sub_release(&sched.disk, n); /* 3 */
}

static bool is_over(void)
{
	bool over;

	lock_acquire(&uring.lock);
	over = uring.stops && !uring.first && uring.under_way == 0;
	lock_release(&uring.lock);
	return over;
}

/* Under the lock: none of these has begun. How many. */
static uint32_t give_back_all(struct glist *woken)
{
	struct os_uring_call *call;
	struct uring_op *op;
	uint32_t n = 0;

	for (; (call = os_uring_take_back(&uring.ring)) != NULL; n++) {
		call->result = -EAGAIN;
		end_op((struct uring_op *)call, woken);
		uring.under_way--;
	}
	for (; (op = uring.first) != NULL; n++) {
		uring.first = op->next;
		op->call.result = -EAGAIN;
		end_op(op, woken);
	}
	uring.last = &uring.first;
	return n;
}

/* The kernel does not let us in any more. The ring stays till the end: somebody may be about to ring. */
static void break_off(void)
{
	struct note pause = { 0 }; /* nobody ends it */
	struct glist woken = { 0 };
	uint32_t n;

	store_release(&uring.state, GONE);
	lock_acquire(&uring.lock);
	uring.broken = true;
	n = give_back_all(&woken);
	lock_release(&uring.lock);
	gort__ready_list(NULL, &woken);
	sub_release(&sched.disk, n); /* 3 */
	for (take_all(); uring.under_way; take_all())
		note_sleep(&pause, os_now() + GORT_MS);
	store_relaxed(&sched.disk_threads, 0);
}

/* passes: later calls try again, with another thread. */
static void give_up(bool passes)
{
	if (passes)
		os_thread_detach(&uring.thread);
	store_release(&uring.state, passes ? NONE : GONE);
}

static void uring_main(void *arg)
{
	int err;

	(void)arg;
	uring.thread = os_thread_self(); /* the creator may yet be about to learn that */
	os_thread_name("gort-uring");
	err = os_uring_open(&uring.ring);
	if (err < 0) {
		give_up(err == -EMFILE || err == -ENFILE);
		return;
	}
	store_relaxed(&sched.disk_threads, 1);
	store_release(&uring.state, LIVES);
	while (!is_over()) {
		if (!os_uring_wait(&uring.ring, put_all())) {
			break_off();
			return;
		}
		take_all();
	}
	os_uring_close(&uring.ring);
}

/* By the creator, whenever it is woken. */
void gort__uring_start(void)
{
	uint32_t asked = ASKED;
	os_thread thread;

	if (!cas_acq_rel(&uring.state, &asked, STARTING))
		return;
	uring.stops = uring.broken = false;
	if (os_thread_start(&thread, uring_main, NULL, 0) < 0)
		store_release(&uring.state, NONE);
}

/* ---- goroutines ------------------------------------------------------------------------------ */

static void add_and_wait(struct uring_op *op, enum g_why why)
{
	bool sleeps;

	lock_acquire(&uring.lock);
	if (unlikely(uring.broken)) {
		lock_release(&uring.lock);
		op->call.result = -EAGAIN;
		return;
	}
	(void)add_seq(&sched.disk, 1);
	*uring.last = op;
	uring.last = &op->next;
	sleeps = uring.sleeps;
	uring.sleeps = false;
	if (sleeps) {
		lock_release(&uring.lock);
		os_uring_ring(&uring.ring);
		lock_acquire(&uring.lock);
	}
	if (op->ended)
		lock_release(&uring.lock);
	else
		(void)gort__wait(&op->w, &uring.waiting, &uring.lock, GORT_FOREVER, why, WAIT_SURE);
}

/* What the kernel does not do here, the call that is made instead does, or says why not. */
static bool is_done(const struct uring_op *op)
{
	switch (op->call.result) {
	case -EAGAIN:
	case -EINTR:
	case -ECANCELED:
	case -EINVAL:
	case -EOPNOTSUPP:
		return false;
	default:
		return true;
	}
}

bool gort__uring_does(struct uring_op *op, struct gort_file *f, int64_t waits, enum g_why why)
{
	struct m *m = gort__file_step_in();
	uint32_t state = m ? load_acquire(&uring.state) : GONE;

	if (state == NONE && sched.uring && cas_acq_rel(&uring.state, &state, ASKED))
		gort__creator_call();
	if (state == LIVES) {
		op->next = NULL;
		op->ended = false;
		op->call.fd = f->poll.fd;
		op->w = (struct waiter){ .elem = f, .since = waits };
		add_and_wait(op, why);
		m = m_self();
	}
	gort__file_step_out(m);
	return state == LIVES && is_done(op);
}

/* ---- the end --------------------------------------------------------------------------------- */

void gort__uring_end(void)
{
	uint32_t asked = ASKED;

	if (cas_acq_rel(&uring.state, &asked, NONE))
		return;
	while (load_acquire(&uring.state) == STARTING)
		os_yield_thread();
	if (load_relaxed(&uring.state) == NONE)
		return;
	lock_acquire(&uring.lock);
	uring.stops = true;
	lock_release(&uring.lock);
	if (load_relaxed(&uring.state) == LIVES)
		os_uring_ring(&uring.ring);
	os_thread_join(&uring.thread);
	if (uring.broken)
		os_uring_close(&uring.ring);
	store_relaxed(&sched.disk_threads, 0);
	store_release(&uring.state, NONE);
}
