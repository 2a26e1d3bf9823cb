/*
 * bubble.c - goroutines with a clock of their own, for tests. Go's testing/synctest.
 *
 * A goroutine of a bubble (a member) makes its new goroutines members. The clock starts at 0 and
 * stands still while any member can do something. When all wait for something of the bubble, the
 * caller of gort_bubble (the driver, no member itself) wakes: it lets gort_bubble_wait return, or
 * else moves the clock to the next timer and fires that.
 *
 *     NEW --start--> IN <--------- who wakes it ----------+
 *      |             | +--parks on something of it--> OUT-+
 *      +--unmade--+  +--end--> gone
 *
 *  1. active counts members that are IN: that run, can run, or wait for what is not the bubble's,
 *     and those OUT whose M has not let go of them yet. A member becomes OUT before anybody can
 *     wake it, and is counted off by its M after all else is done (gort__bubble_out). Who starts
 *     or wakes it makes it IN and counts it before it queues it: it may be counted twice
 *     meanwhile, but never not at all.
 *  2. active goes down under lock only. Who wakes a member is a member itself, counted until
 *     later, or does that for one who has not been counted off yet, or is the driver. So when the
 *     driver sees 0 under the lock, nobody is about to count anybody in, and the last one who
 *     counted off has nothing more to do here.
 *  3. Timers that members add lie in a heap that no P runs. The driver fires them as if it were a
 *     member: goroutines that timers start are members, timers they add lie in the same heap.
 *  4. It is over when no member is left that has started, or when none will ever run again. It is
 *     freed when besides nobody knows it any more: not its driver, no member that has not started
 *     (gort_ctx_after_func), no timer. The driver looks after that for all that are over (sweep);
 *     at the latest, the runtime's end does.
 *  5. Channels and tasks belong to the bubble that they were made in: they know its number. So do
 *     select, sleeping, and waiting for nothing; conditions, semaphores, wait groups, flights and
 *     scopes are taken for the bubble's, mutexes of both kinds never are.
 *
 * What a goroutine outside does to a bubble's objects is safe, but the clock does not wait for it.
 *
 * Callers: goroutines; what sched.h lists is called by the scheduler, on any stack.
 */
#include "sync/chan.h"
#include "sync/task.h"

#include <errno.h>

enum { NEW, IN, OUT };

struct bubble {
	struct lock lock;
	uint32_t id;          /* fixed */
	uint32_t active;      /* atomic: rule 1 */
	uint32_t known;       /* lock: its driver, and members, started or not */
	uint32_t count;       /* lock: of the list of members */
	bool over;            /* lock */
	int64_t now;          /* atomic; written by the driver */
	struct g *members;    /* lock: that have started */
	struct waitq driver;  /* lock: until active is 0 */
	struct waitq watcher; /* lock: gort_bubble_wait */
	struct g *first;      /* lock: runs fn, as long as it does */
	int (*fn)(void *arg); /* fixed */
	void *arg;            /* fixed */
	int result;           /* by the first goroutine, before it ends */
	struct bubble *next;  /* all.lock */
	struct timer_heap timers;
};

static struct {
	struct lock lock;
	struct bubble *first;
	uint32_t ids;
} all = { .lock = LOCK_INIT(RANK_BUBBLES) };

/* ---- members, as the scheduler tells --------------------------------------------------------- */

void gort__bubble_join(struct bubble *b, struct g *g)
{
	g->in = (struct in_bubble){ .bubble = b, .state = NEW };
	g->waits.bound |= BOUND_BUBBLE;
	lock_acquire(&b->lock);
	b->known++;
	lock_release(&b->lock);
}

/* Rule 4: one whose bubble is over starts as a goroutine like any other. */
static void start(struct bubble *b, struct g *g)
{
	lock_acquire(&b->lock);
	if (b->over) {
		b->known--;
		g->waits.bound &= ~(uint32_t)BOUND_BUBBLE;
	} else {
		g->in.state = IN;
		g->in.next = b->members;
		if (b->members)
			b->members->in.prev = g;
		b->members = g;
		b->count++;
		add_relaxed(&b->active, 1);
	}
	lock_release(&b->lock);
}

void gort__bubble_in(struct g *g)
{
	struct bubble *b = g->in.bubble;

	if (g->in.state == NEW) {
		start(b, g);
	} else if (g->in.state == OUT) {
		g->in.state = IN;
		add_relaxed(&b->active, 1);
	}
}

/* With the lock, which it releases. The last touch of b. */
static void count_off(struct m *m, struct bubble *b)
{
	struct waiter *w = NULL;

	if (sub_acq_rel(&b->active, 1) == 1 && (w = waitq_claim(&b->driver)) != NULL)
		w->status = 0;
	lock_release(&b->lock);
	if (w)
		waiter_wake(m, w);
}

void gort__bubble_out(struct m *m, struct bubble *b)
{
	lock_acquire(&b->lock);
	count_off(m, b);
}

static void unlink_member(struct bubble *b, struct g *g)
{
	if (g->in.prev)
		g->in.prev->in.next = g->in.next;
	else
		b->members = g->in.next;
	if (g->in.next)
		g->in.next->in.prev = g->in.prev;
	b->count--;
}

void gort__bubble_quit(struct m *m, struct g *g)
{
	struct bubble *b = g->in.bubble;

	lock_acquire(&b->lock);
	b->known--;
	g->waits.bound &= ~(uint32_t)BOUND_BUBBLE;
	if (g->in.state == NEW) {
		lock_release(&b->lock);
		return;
	}
	unlink_member(b, g);
	if (g == b->first) { /* another may get its memory */
		b->result = g->local.panicked ? -EOWNERDEAD : b->result;
		b->first = NULL;
	}
	count_off(m, b);
}

/* Rule 5. Where there is a queue, its lock is held. */
static bool waits_inside(const struct g *g, enum g_why why)
{
	const struct waiter *w = g->waiting;

	switch (why) {
	case WHY_SEND:
	case WHY_RECV:
		return container_of(w->lock, struct gort_chan, lock)->bubble == g->in.bubble->id;
	case WHY_JOIN:
		return container_of(w->queue, struct gort_task, joiners)->bubble ==
			g->in.bubble->id;
	case WHY_MUTEX:
	case WHY_RLOCK:
	case WHY_WLOCK:
	case WHY_READ:
	case WHY_WRITE:
	case WHY_ACCEPT:
	case WHY_CONNECT:
	case WHY_RESOLVER:
	case WHY_OUTSIDE:
		return false;
	default:
		return true;
	}
}

enum after_kind gort__bubble_park(struct m *m, struct g *g, enum after_kind after, enum g_why why)
{
	if (!waits_inside(g, why))
		return after;
	g->in.state = OUT;
	m->after_bubble = g->in.bubble;
	m->after_inner = after;
	return AFTER_BUBBLE;
}

int64_t gort__bubble_now(const struct bubble *b)
{
	return load_relaxed(&b->now);
}

uint32_t gort__bubble_id(const struct bubble *b)
{
	return b->id;
}

struct timer_heap *gort__bubble_heap(struct bubble *b)
{
	return &b->timers;
}

/* ---- all bubbles ----------------------------------------------------------------------------- */

static struct bubble *make(struct m *m, int (*fn)(void *arg), void *arg)
{
	struct bubble *b = mem_alloc(cache_of(m), sizeof *b);

	if (!b)
		return NULL;
	*b = (struct bubble){ .lock = LOCK_INIT(RANK_BUBBLE), .known = 1, .fn = fn, .arg = arg };
	gort__timers_init(&b->timers, NULL);
	lock_acquire(&all.lock);
	b->id = ++all.ids ? all.ids : ++all.ids;
	b->next = all.first;
	all.first = b;
	lock_release(&all.lock);
	return b;
}

static bool is_unknown(struct bubble *b)
{
	bool unknown;

	lock_acquire(&b->lock);
	unknown = b->over && b->known == 0;
	lock_release(&b->lock);
	if (!unknown)
		return false;
	lock_acquire(&b->timers.lock);
	unknown = b->timers.live + b->timers.kept == 0;
	lock_release(&b->timers.lock);
	return unknown;
}

static void bubble_free(struct mem_cache *cache, struct bubble *b)
{
	gort__timers_free(&b->timers);
	mem_free(cache, b, sizeof *b);
}

/* Rule 4. */
static void sweep(struct m *m)
{
	struct bubble **link = &all.first, *b, *gone = NULL;

	lock_acquire(&all.lock);
	while ((b = *link) != NULL) {
		if (is_unknown(b)) {
			*link = b->next;
			b->next = gone;
			gone = b;
		} else {
			link = &b->next;
		}
	}
	lock_release(&all.lock);
	while ((b = gone) != NULL) {
		gone = b->next;
		bubble_free(cache_of(m), b);
	}
}

/* The runtime has ended. stragglers: something of it may still run, and keeps what it knows. */
void gort__bubbles_end(bool stragglers)
{
	struct bubble *b;

	while ((b = all.first) != NULL) {
		all.first = b->next;
		if (!stragglers)
			bubble_free(NULL, b);
	}
}

/* ---- the driver ------------------------------------------------------------------------------ */

/* With the lock, also on return. */
static void wait_for_all(struct bubble *b)
{
	struct waiter w;

	while (load_acquire(&b->active)) {
		gort__wait(&w, &b->driver, &b->lock, GORT_FOREVER, WHY_BUBBLE, WAIT_SURE);
		lock_acquire(&b->lock);
	}
}

/* Rule 3. */
static void fire(struct bubble *b)
{
	struct m *m = m_self();
	struct g *g = m->g;

	g->in.bubble = b;
	g->waits.bound |= BOUND_BUBBLE;
	do {
		gort__run_due(m, &b->timers, b->now);
	} while (load_acquire(&b->timers.next) <= b->now);
	g->waits.bound &= ~(uint32_t)BOUND_BUBBLE;
}

/* The clock goes to the next timer. */
static void advance(struct bubble *b)
{
	int64_t next = load_acquire(&b->timers.next);

	if (next == OS_FOREVER)
		return; /* somebody outside has stopped it */
	if (next > b->now)
		store_relaxed(&b->now, next);
	fire(b);
	if (!load_acquire(&b->active)) /* timers that concern nobody must not keep others waiting */
		gort__yield(m_self());
}

/* True: all have ended. False: none will run again. */
static bool drive(struct bubble *b)
{
	struct waiter *w;
	bool ended, over;

	for (;;) {
		lock_acquire(&b->lock);
		wait_for_all(b);
		w = waitq_claim(&b->watcher);
		if (w)
			w->status = 0;
		ended = b->count == 0;
		over = !w && (ended || load_acquire(&b->timers.next) == OS_FOREVER);
		b->over = over; /* under the lock that has shown it: rule 4 */
		lock_release(&b->lock);
		if (over)
			return ended;
		if (w)
			waiter_wake(m_self(), w);
		else
			advance(b);
	}
}

static const char *what(const struct g *g)
{
	static const char *const text[] = {
		[WHY_SLEEP] = "sleeps",
		[WHY_SEND] = "sends to a channel",
		[WHY_RECV] = "receives from a channel",
		[WHY_COND] = "waits on a condition variable",
		[WHY_SEM] = "waits on a semaphore",
		[WHY_FLIGHT] = "waits for a call of a flight",
		[WHY_WAITGROUP] = "waits on a wait group",
		[WHY_JOIN] = "joins a task",
		[WHY_SELECT] = "selects",
		[WHY_SCOPE] = "waits on a scope",
		[WHY_FOREVER] = "waits on a NULL channel",
	};
	uint32_t why = load_relaxed(&g->why);

	return why < sizeof text / sizeof text[0] && text[why] ? text[why] : "waits";
}

static void report(struct bubble *b)
{
	char label[LABEL_SIZE];

	gort__report("deadlock: all goroutines of a bubble wait, and no timer is left");
	lock_acquire(&b->lock);
	for (const struct g *g = b->members; g; g = g->in.next)
		gort__report("  goroutine %s %s", g_label(g, label), what(g));
	lock_release(&b->lock);
}

static void first(void *arg)
{
	struct bubble *b = arg;

	b->result = b->fn(b->arg);
}

/* It is over, and the driver needs it no more. */
static void give_up(struct m *m, struct bubble *b)
{
	lock_acquire(&b->lock);
	b->known--;
	lock_release(&b->lock);
	sweep(m);
}

static int run(struct m *m, int (*fn)(void *arg), void *arg)
{
	struct bubble *b = make(m, fn, arg);
	int result;

	if (!b)
		return -ENOMEM;
	b->first = gort__g_new(m, first, b, 0, 0);
	if (!b->first) {
		b->over = true; /* nobody else looks before it is given up */
		give_up(m, b);
		return -ENOMEM;
	}
	gort__bubble_join(b, b->first);
	gort__g_start(m, b->first);
	if (drive(b)) {
		result = b->result;
	} else {
		report(b);
		result = -EDEADLK;
	}
	give_up(m_self(), b);
	return result;
}

GORT_API int gort_bubble(int (*fn)(void *arg), void *arg)
{
	struct m *m = rt_enter();
	int result;

	if (!fn)
		gort__misuse("gort_bubble", "no function");
	if (in_bubble(m))
		gort__misuse("gort_bubble", "called inside of a bubble");
	result = m ? run(m, fn, arg) : -EPERM;
	rt_leave(m_self());
	return result;
}

GORT_API void gort_bubble_wait(void)
{
	struct m *m = rt_enter();
	struct waiter w;
	struct bubble *b;

	if (!in_bubble(m))
		gort__misuse("gort_bubble_wait", "called outside of a bubble");
	b = m->g->in.bubble;
	lock_acquire(&b->lock);
	if (b->watcher.head)
		gort__misuse("gort_bubble_wait", "another goroutine of the bubble does so already");
	gort__wait(&w, &b->watcher, &b->lock, GORT_FOREVER, WHY_BUBBLE, WAIT_SURE);
	rt_leave(m_self());
}
