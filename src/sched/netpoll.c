/*
 * netpoll.c - goroutines that wait for descriptors: who looks for events, and whom those wake.
 *
 * A file's descriptor is registered with epoll once, edge-triggered, for all that can happen, when
 * somebody must wait for it first. Then an event sets ready at the sides that it concerns, and wakes
 * who waits there. Who makes a call on the file clears ready before (e1), makes the call (e2), and
 * if that would block looks at ready under the lock (e3) and waits. What becomes possible after e2
 * raises an event, whose ready (e4, under the lock) comes after e1: either e3 sees it, or it finds
 * the waiter in the queue. Calls at one side are made one at a time (the gate, io/file.c): ready
 * speaks to one caller.
 *
 *  1. Slots are for ever: an event may be under way while its file is closed, and the slot used
 *     again. So events carry slot and generation, and are dropped unless both agree, under the
 *     slot's lock.
 *  2. Who waits is in one queue, under that lock, by gort__wait (park.h): deadlines, contexts and
 *     the runtime's end are as everywhere.
 *  3. A runtime has an epoll instance of its own, made at the first registration. Files outlive it:
 *     they are registered again in the next (life).
 *  4. Descriptors of somebody else's (wait_fd.c) are in an instance of their own, inside the first:
 *     epoll goes by number, and theirs may be closed, and be a file's, while somebody waits for them.
 *
 * Who looks for events. While all Ps idle somebody sleeps in epoll_wait: there is one such role
 * (net_polled, under sched.lock).
 *  - An M that goes idle takes it, if it is free; it sleeps there instead of on its note. Who wakes
 *    that M rings the bell (a descriptor) as well: M stores polls (w1), full fence, looks at its
 *    note (w2); who wakes it stores the note (w3), full fence, reads polls (w4). Only who sleeps there
 *    hears the bell: who just looks would take it from the one that it was rung for.
 *  - With whom it has woken that M takes a P, and leaves the role to nobody: it kicks sysmon, unless that
 *    looks soon (sysmon_kick_if_busy). While other Ps run, an M that idles takes it only if nobody has
 *    looked for events of late (unattended): it would be woken by each.
 *  - sysmon takes it for its lazy sleeps when no M has it: no M may be left to idle (all are bound to
 *    goroutines), or one P runs for long while others idle. A first registration kicks sysmon, which
 *    may sleep without it.
 * While Ps run, an M that has nothing in its own queues looks before it idles or steals. Nobody
 * takes the role as long as Ms look so often: what the events wake stays together on few Ps. Where
 * nobody has looked between two looks of sysmon's, that looks itself.
 *
 * Callers: gort__netpoll, _sleep on g0, or sysmon; the others goroutines and guests.
 */
#include "sched/netpoll.h"

#include <errno.h>
#include <string.h>

#define sched gort__sched
#define PER_CHUNK 256u
#define CHUNKS 8192u
#define LENT (OS_POLL_BELL - 1) /* the data of net.lent, and of no slot */

static struct {
	struct lock lock;
	struct os_poll poll;  /* while up */
	struct os_poll lent;  /* while lent_up: rule 4 */
	bool lent_up;         /* lock; atomic */
	uint32_t count;       /* lock; atomic: slots that were ever used */
	struct pollee *free;  /* lock */
	char *chunks[CHUNKS]; /* atomic; lock: never change again */
} net = { .lock = LOCK_INIT(RANK_POLL) };

uint32_t gort__netpoll_up;

/* ---- slots ----------------------------------------------------------------------------------- */

static struct pollee *slot(uint32_t index)
{
	char *chunk = load_acquire(&net.chunks[index / PER_CHUNK]);

	return (struct pollee *)(chunk + (size_t)(index % PER_CHUNK) * POLL_SLOT);
}

/* Under net.lock. */
static bool new_chunk(uint32_t chunk)
{
	char *memory = os_map((size_t)PER_CHUNK * POLL_SLOT);

	if (!memory)
		return false;
	for (uint32_t i = 0; i < PER_CHUNK; i++) {
		struct pollee *p = (struct pollee *)(memory + (size_t)i * POLL_SLOT);

		p->lock = (struct lock)LOCK_INIT(RANK_OBJECT);
		p->index = chunk * PER_CHUNK + i;
	}
	store_release(&net.chunks[chunk], memory);
	return true;
}

/* Under net.lock. */
static struct pollee *new_slot(void)
{
	uint32_t index = net.count, chunk = index / PER_CHUNK;

	if (chunk >= CHUNKS || (!net.chunks[chunk] && !new_chunk(chunk)))
		return NULL;
	store_release(&net.count, index + 1);
	return slot(index);
}

/* The lock and what is fixed stay: an event may be looking; nobody is in the queues. */
static void reset(struct pollee *p, int fd, bool borrowed)
{
	lock_acquire(&p->lock);
	store_relaxed(&p->life, 0);
	store_relaxed(&p->hung, 0);
	p->fd = fd;
	p->ended = 0;
	p->borrowed = borrowed;
	for (int i = 0; i < 2; i++) {
		must(!p->side[i].waiting.head && !p->side[i].gate.head);
		store_relaxed(&p->side[i].deadline, GORT_FOREVER);
		store_relaxed(&p->side[i].ready, 0);
	}
	memset(p + 1, 0, POLL_SLOT - sizeof *p);
	lock_release(&p->lock);
}

struct pollee *gort__poll_new(int fd, bool borrowed)
{
	struct pollee *p;

	if (gort__mem_fails())
		return NULL;
	lock_acquire(&net.lock);
	p = net.free;
	if (p)
		net.free = p->next;
	else
		p = new_slot();
	lock_release(&net.lock);
	if (p)
		reset(p, fd, borrowed);
	return p;
}

void gort__poll_free(struct pollee *p)
{
	lock_acquire(&p->lock);
	p->generation++;
	lock_release(&p->lock);
	lock_acquire(&net.lock);
	p->next = net.free;
	net.free = p;
	lock_release(&net.lock);
}

/* ---- registering ----------------------------------------------------------------------------- */

static int come_up(void)
{
	int err = gort__running() ? 0 : -ESRCH;

	if (err < 0)
		return err;
	lock_acquire(&net.lock);
	if (!netpoll_up() && (err = os_poll_open(&net.poll)) == 0)
		store_release(&gort__netpoll_up, 1);
	lock_release(&net.lock);
	fence_seq(); /* either sysmon sees that it is up, after its barrier, or we see that it is lazy */
	if (err == 0)
		gort__sysmon_kick();
	return err;
}

static uint64_t data_of(const struct pollee *p)
{
	return (uint64_t)p->generation << 32 | p->index;
}

#define ALL_EVENTS (OS_POLL_EDGE | OS_POLL_IN | OS_POLL_OUT | OS_POLL_PRI | OS_POLL_RDHUP)

rare static int register_now(struct pollee *p)
{
	int err = netpoll_up() ? 0 : come_up();

	if (err == 0)
		err = os_poll_add(&net.poll, p->fd, ALL_EVENTS, data_of(p));
	if (err == -EEXIST) /* at the other side somebody was faster */
		err = 0;
	if (err == 0)
		store_relaxed(&p->life, load_relaxed(&sched.life));
	return err;
}

int gort__poll_register(struct pollee *p)
{
	return likely(load_relaxed(&p->life) == load_relaxed(&sched.life)) ? 0 : register_now(p);
}

int gort__poll_register_again(struct pollee *p)
{
	lock_acquire(&p->lock);
	if (load_relaxed(&p->life) == load_relaxed(&sched.life) &&
	    os_poll_change(&net.poll, p->fd, ALL_EVENTS, data_of(p)) == -ENOENT)
		store_relaxed(&p->life, 0);
	lock_release(&p->lock);
	return gort__poll_register(p);
}

void gort__poll_forget(struct pollee *p)
{
	if (load_relaxed(&p->life) == load_relaxed(&sched.life) && netpoll_up() &&
	    !gort__forked) /* the instance is the parent's as well */
		os_poll_remove(p->borrowed ? &net.lent : &net.poll, p->fd);
}

rare static int lent_come_up(void)
{
	int err = 0;

	lock_acquire(&net.lock);
	if (!net.lent_up && (err = os_poll_open(&net.lent)) == 0) {
		err = os_poll_add(&net.poll, net.lent.fd, OS_POLL_IN, LENT);
		if (err < 0)
			os_poll_close(&net.lent);
		else
			store_release(&net.lent_up, true);
	}
	lock_release(&net.lock);
	return err;
}

int gort__poll_arm(struct pollee *p, uint32_t events)
{
	int err = netpoll_up() ? 0 : come_up();

	events |= (uint32_t)OS_POLL_ONCE;
	if (err == 0 && !load_acquire(&net.lent_up))
		err = lent_come_up();
	if (err < 0)
		return err;
	p->generation++;
	err = load_relaxed(&p->life) ? os_poll_change(&net.lent, p->fd, events, data_of(p))
				     : -ENOENT;
	if (err == -ENOENT)
		err = os_poll_add(&net.lent, p->fd, events, data_of(p));
	if (err == 0)
		store_relaxed(&p->life, load_relaxed(&sched.life));
	return err;
}

/* ---- waiting --------------------------------------------------------------------------------- */

/* ready: it ends the wait. */
static int wait_at(struct pollee *p, int side, int64_t what, int64_t until, bool ready,
		   enum g_why why)
{
	struct pollside *s = &p->side[side];
	struct waiter w = { .elem = p, .since = what };
	int64_t deadline;
	int err;

	lock_acquire(&p->lock);
	if (unlikely(p->ended) || (ready && load_relaxed(&s->ready))) { /* e3 */
		err = p->ended;
		lock_release(&p->lock);
		return err;
	}
	deadline = load_relaxed(&s->deadline);
	err = gort__wait(&w, &s->waiting, &p->lock, deadline < until ? deadline : until, why,
			 WAIT_BACK);
	if (unlikely(w.guest != NULL))
		sysmon_kick_if_lazy(); /* it has counted as one that is waited for: deadlock.c */
	return err;
}

int gort__poll_wait(struct pollee *p, int side, int64_t what, enum g_why why)
{
	return wait_at(p, side, what, GORT_FOREVER, true, why);
}

int gort__poll_pause(struct pollee *p, int side, int64_t what, int64_t until, enum g_why why)
{
	int err;

	do
		err = wait_at(p, side, what, until, false, why);
	while (err == 0);
	return err == -ETIMEDOUT && until <= rt_now() ? 0 : err;
}

/* Under the lock. */
static void wake_all(struct waitq *q, int status, struct glist *woken)
{
	struct waiter *w;

	while ((w = waitq_claim(q)) != NULL)
		waiter_end(w, status, woken);
}

void gort__poll_deadline(struct pollee *p, int side, int64_t deadline)
{
	struct pollside *s = &p->side[side];
	struct glist woken = { 0 };

	lock_acquire(&p->lock);
	store_relaxed(&s->deadline, deadline);
	wake_all(&s->waiting, 0, &woken);
	wake_all(&s->gate, GATE_LOOK_AGAIN, &woken);
	lock_release(&p->lock);
	gort__ready_list(m_self(), &woken);
}

static void wake_for_good(struct pollee *p, int err, struct glist *woken)
{
	for (int i = 0; i < 2; i++) {
		wake_all(&p->side[i].waiting, err, woken);
		wake_all(&p->side[i].gate, err, woken);
	}
}

void gort__poll_end(struct pollee *p, int err)
{
	struct glist woken = { 0 };

	lock_acquire(&p->lock);
	p->ended = err;
	wake_for_good(p, err, &woken);
	lock_release(&p->lock);
	gort__ready_list(m_self(), &woken);
}

/* ---- events ---------------------------------------------------------------------------------- */

/* Under the lock: step e4. */
static void side_is_ready(struct pollside *s, struct glist *woken)
{
	store_release(&s->ready, 1); /* meets the swap in poll_begins: hung is seen */
	if (s->waiting.head)
		wake_all(&s->waiting, 0, woken);
}

static void file_event(struct pollee *p, uint32_t events, struct glist *woken)
{
	if (unlikely(events & ~(uint32_t)(OS_POLL_IN | OS_POLL_OUT)))
		store_relaxed(&p->hung, 1);
	if (events & ~(uint32_t)OS_POLL_OUT)
		side_is_ready(&p->side[POLL_READ], woken);
	if (events & (uint32_t)(OS_POLL_OUT | OS_POLL_ERR | OS_POLL_HUP))
		side_is_ready(&p->side[POLL_WRITE], woken);
}

static void deliver(const struct os_poll_event *e, struct glist *woken);

static noinline void deliver_lent(struct glist *woken)
{
	struct os_poll_event events[OS_POLL_MOST];
	int n = os_poll_wait(&net.lent, events, OS_POLL_MOST, OS_POLL_NOW);

	for (int i = 0; i < n; i++)
		deliver(&events[i], woken);
}

static void deliver(const struct os_poll_event *e, struct glist *woken)
{
	struct pollee *p;

	if (unlikely(e->data == LENT)) {
		if (load_acquire(&net.lent_up))
			deliver_lent(woken);
		return;
	}
	p = slot((uint32_t)e->data);
	lock_acquire(&p->lock);
	if (p->generation == (uint32_t)(e->data >> 32)) { /* rule 1 */
		if (unlikely(p->borrowed))
			gort__fd_event(p, e->events, woken);
		else
			file_event(p, e->events, woken);
	}
	lock_release(&p->lock);
}

static bool poll_until(int64_t until, struct glist *woken)
{
	struct os_poll_event events[OS_POLL_MOST];
	int n = os_poll_wait(&net.poll, events, OS_POLL_MOST, until);

	if (n > 0 && until != OS_POLL_NOW)
		store_relaxed(&sched.net_brings, 1); /* before anybody is taken out of a queue */
	for (int i = 0; i < n; i++)
		deliver(&events[i], woken);
	return n > 0;
}

bool gort__netpoll(struct m *m)
{
	struct glist woken = { 0 };
	bool some = poll_until(OS_POLL_NOW, &woken);

	add_relaxed(&sched.net_looks, 1);
	gort__ready_events(m, &woken);
	return some;
}

void gort__netpoll_sleep(struct note *note, uint32_t *polls, int64_t until, struct glist *woken)
{
	store_release(polls, 1); /* w1: who sees it sees the bell, too */
	fence_seq();
	if (!note_woken(note)) /* w2 */
		poll_until(until, woken);
	store_relaxed(polls, 0);
}

void gort__netpoll_wake(struct note *note, const uint32_t *polls)
{
	note_wake(note); /* w3 */
	fence_seq();
	if (load_acquire(polls)) /* w4 */
		os_poll_ring(&net.poll);
}

/* ---- the runtime's end ----------------------------------------------------------------------- */

bool gort__netpoll_waits(void)
{
	uint32_t n = load_acquire(&net.count);

	for (uint32_t i = 0; i < n; i++)
		for (int side = 0; side < 2; side++)
			if (load_relaxed(&slot(i)->side[side].waiting.head))
				return true;
	return false;
}

/* No M and no guest is inside, and goroutines wait for nothing any more. */
void gort__netpoll_end(void)
{
	uint32_t n = load_acquire(&net.count);
	struct glist none = { 0 };

	gort__fds_end();
	for (uint32_t i = 0; i < n; i++) {
		struct pollee *p = slot(i);

		lock_acquire(&p->lock);
		wake_for_good(p, -ESRCH, &none);
		lock_release(&p->lock);
	}
	must(none.count == 0);
	if (netpoll_up()) {
		store_release(&gort__netpoll_up, 0);
		if (net.lent_up)
			os_poll_close(&net.lent);
		store_relaxed(&net.lent_up, false);
		os_poll_close(&net.poll);
	}
}

int gort__wait_over(struct m *m)
{
	const struct waits *s = m ? &m->g->waits : &gort__guest()->waits;
	int64_t until;
	int err;

	if (likely(!(s->bound & BOUND_WAITS)))
		return 0;
	err = load_acquire(&s->ended);
	if (err)
		return err;
	until = gort__wait_bounded(m, GORT_FOREVER);
	return until != GORT_FOREVER && until <= rt_now() ? -ETIMEDOUT : 0;
}
