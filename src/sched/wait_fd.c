/*
 * wait_fd.c - waiting for descriptors of somebody else's library: gort_wait_fd, and the FD case of
 * select.
 *
 * They are not ours: they may be closed, and their numbers used again, between two waits. So each
 * is registered for a wait's time only, to be told of once (EPOLLONESHOT, which also tells at once
 * what is true already), and forgotten when the last who waits for that number has left. They have an
 * epoll instance for themselves (netpoll.c): there a number is nobody else's.
 *
 *  1. Who waits for a number has the entry of that number, a slot of netpoll's, in common: found in
 *     a table under its lock, held by count (goroutines and guests apart: the runtime's end drops
 *     all goroutines at once).
 *  2. The entry is armed for all that those in its queue want, anew by each who comes: its number may
 *     stand for another descriptor by now. An event disarms it; those whom it concerns are woken, and
 *     for the others it is armed again. All under the entry's lock.
 *
 * In a waiter elem is what it waits for.
 *
 * Callers: goroutines and guests; gort__fd_event who looks for events.
 */
#include "sched/netpoll.h"

#include <errno.h>
#include <poll.h>

#define BUCKETS 256u
#define EVER ((uint32_t)(OS_POLL_ERR | OS_POLL_HUP)) /* told of in any case */

struct entry {
	struct pollee poll;
	struct entry *next;          /* table.lock */
	uint32_t goroutines, guests; /* table.lock: who hold it */
	bool listed;                 /* table.lock */
};

_Static_assert(sizeof(struct entry) <= POLL_SLOT, "a slot");

static struct {
	struct lock lock;
	struct entry *bucket[BUCKETS];
} table = { .lock = LOCK_INIT(RANK_FDS) };

static struct entry **bucket_of(int fd)
{
	return &table.bucket[(uint32_t)fd % BUCKETS];
}

static uint32_t wanted(const struct waiter *w)
{
	return (uint32_t)(uintptr_t)w->elem;
}

/* ---- entries --------------------------------------------------------------------------------- */

/* Under table.lock. */
static struct entry *find_or_make(int fd)
{
	struct entry *e = *bucket_of(fd);

	while (e && e->poll.fd != fd)
		e = e->next;
	if (e || !(e = (struct entry *)gort__poll_new(fd, true)))
		return e;
	e->listed = true;
	e->next = *bucket_of(fd);
	*bucket_of(fd) = e;
	return e;
}

static struct entry *hold(int fd, bool guest)
{
	struct entry *e;

	lock_acquire(&table.lock);
	e = find_or_make(fd);
	if (e)
		*(guest ? &e->guests : &e->goroutines) += 1;
	lock_release(&table.lock);
	return e;
}

/* Under table.lock. */
static void unlist(struct entry *e)
{
	struct entry **link = bucket_of(e->poll.fd);

	if (!e->listed)
		return;
	while (*link != e)
		link = &(*link)->next;
	*link = e->next;
	e->listed = false;
}

static void let_go(struct entry *e, bool guest)
{
	bool last;

	lock_acquire(&table.lock);
	*(guest ? &e->guests : &e->goroutines) -= 1;
	last = e->goroutines + e->guests == 0;
	if (last) {
		gort__poll_forget(&e->poll); /* before another entry of that number is made */
		unlist(e);
	}
	lock_release(&table.lock);
	if (last)
		gort__poll_free(&e->poll);
}

/* Under the entry's lock: of those who wait. */
static uint32_t all_wanted(const struct entry *e)
{
	uint32_t all = 0;

	for (const struct waiter *w = e->poll.side[0].waiting.head; w; w = w->next)
		all |= wanted(w);
	return all;
}

/* Under the entry's lock: rule 2. */
void gort__fd_event(struct pollee *p, uint32_t events, struct glist *woken)
{
	struct entry *e = (struct entry *)p;
	struct waiter *w, *next;
	uint32_t left;
	int err;

	for (w = p->side[0].waiting.head; w; w = next) {
		next = w->next;
		if (!(events & (wanted(w) | EVER)))
			continue;
		waitq_remove(w);
		if (waiter_claim(w))
			waiter_end(w, (int)(events & (wanted(w) | EVER)), woken);
	}
	left = all_wanted(e);
	err = left ? gort__poll_arm(p, left) : 0;
	while (err < 0 && (w = waitq_claim(&p->side[0].waiting)) != NULL)
		waiter_end(w, err, woken); /* it was closed */
}

/* ---- waiting --------------------------------------------------------------------------------- */

int gort__fd_enlist(int fd, int events, struct waiter *w)
{
	struct entry *e = hold(fd, w->guest != NULL);
	int err;

	if (!e)
		return -ENOMEM;
	w->elem = (void *)(uintptr_t)(uint32_t)events;
	lock_acquire(&e->poll.lock);
	err = gort__poll_arm(&e->poll, (uint32_t)events | all_wanted(e));
	if (err == 0) {
		w->lock = &e->poll.lock;
		waitq_push(&e->poll.side[0].waiting, w);
	}
	lock_release(&e->poll.lock);
	if (err < 0)
		let_go(e, w->guest != NULL);
	return err == -EPERM ? events & (POLLIN | POLLOUT) : err; /* it is always ready */
}

void gort__fd_delist(struct waiter *w)
{
	struct entry *e = container_of(w->lock, struct entry, poll.lock);

	let_go(e, w->guest != NULL);
	if (unlikely(w->guest != NULL))
		sysmon_kick_if_lazy(); /* as in netpoll.c */
}

void gort__fds_end(void)
{
	struct entry *next;

	lock_acquire(&table.lock);
	for (unsigned i = 0; i < BUCKETS; i++) {
		for (struct entry *e = table.bucket[i]; e; e = next) {
			next = e->next;
			unlist(e);
			e->goroutines = 0;
			if (e->guests == 0)
				gort__poll_free(&e->poll);
		}
	}
	lock_release(&table.lock);
}

/* Of a descriptor: what the caller asked for, or an error, is true of it now; 0: not yet. */
int gort__fd_look(int fd, int events)
{
	int now;

	if (events == 0 || events & ~(POLLIN | POLLOUT | POLLPRI | POLLRDHUP))
		return -EINVAL;
	if (fd < 0)
		return -EBADF;
	now = os_poll_look(fd, (uint32_t)events);
	return now > 0 && now & POLLNVAL ? -EBADF : now;
}

/* A select of one case. */
GORT_API int gort_wait_fd(int fd, int events, int64_t deadline)
{
	gort_case one = GORT_CASE_FD(fd, events);
	struct m *m = rt_enter();
	int err = gort__wait_over(m);

	rt_leave_here(m);
	if (err == 0)
		err = gort_select(&one, 1, deadline);
	if (err == -EAGAIN)
		err = -ETIMEDOUT;
	return err < 0 ? err : one.status;
}
