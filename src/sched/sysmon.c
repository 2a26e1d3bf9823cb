/*
 * sysmon.c - the monitor: a thread without a P that sees to what the Ms cannot see while each of
 * them runs a goroutine.
 *
 *  - Work that has aged at a running P while another P idles: it marks the P (aged) and sends an M.
 *    Aged is what was there at two looks with nothing moved between. A P whose runnext has aged
 *    twice running becomes eager: its wakes call a P at once, until a direct switch succeeds.
 *  - The deque's oldest: when it has waited a SLICE, the P is told to run it next. The ring's first, and
 *    those that no P has: once in a SLICE the P is told to look at them.
 *  - Timers that come due at a P that runs one goroutine for long; it runs them itself where no
 *    thread can be had.
 *  - Threads that hold a P and sleep in the kernel, or compute for long: retake.c.
 *  - Deadlocks: deadlock.c.
 *  - Events of descriptors, where no M waits or has looked for them since the last look: netpoll.c.
 *  - Stacks, and memory of the allocator's, that nobody uses any more go back to the system.
 *  - With GORT_DEBUG=sched=MS a line on what all do (debug/stats.c), also while all Ps idle: then it
 *    sleeps no longer than that.
 *
 * How often it looks:
 *    some P idles, another runs   every LOOK; every LOOK_BUSY while switches follow quickly, and by and by
 *                                 less often, till something has aged
 *    all Ps run                   every BUSY_LOOK, a bit more often while something waits
 *                                 (BUSY_WORK), or somebody who has had no slice yet (BUSY_FRESH);
 *                                 when a timer comes due, or a slice may be over, but after
 *                                 BUSY_LEAST at the soonest;
 *                                 every SOON where a second look decides, a signal was sent, or
 *                                 threads have just been found asleep: more will follow
 *    all Ps idle                  every SLICE for a while, then not at all: an idle program uses
 *                                 no CPU. The poller (idle.c) waits for timers then
 *    an M waits for events        every NET_LOOK while goroutines run now and then: it may have gone to
 *                                 run what they woke; else it kicks when it goes
 * Other sleeps of a SLICE or more are lazy. It is announced (lazy, watch), then comes a full fence, then a
 * last look; whoever queues work while a P idles, or sets an earlier timer, or takes an idle P, kicks.
 * The argument stands in proc.c (b1-b9) and timers.c (c1-c6).
 *
 * Callers: its own thread; gort__sysmon_kick from anyone. It takes sched.lock for moments only.
 */
#include "sched/netpoll.h"
#include "sched/stack.h"

#include <errno.h>

#define sched gort__sched
#define LOOK (40 * GORT_US)
#define LOOK_BUSY (100 * GORT_US)
#define CALM_STEPS 4u /* LOOK_BUSY grows to so many times itself, a step in CALM_LOOKS */
#define CALM_LOOKS 16u
#define SLICE (10 * GORT_MS)
#define TIMER_LOOK (1 * GORT_MS)
#define TIMER_LATE (5 * GORT_MS) /* nobody comes: there is no M to be had */
#define BUSY_LOOK (1 * GORT_MS)
#define BUSY_WORK (900 * GORT_US)
#define BUSY_FRESH (500 * GORT_US)
#define BUSY_LEAST (100 * GORT_US)
#define SOON (50 * GORT_US)
#define HOT 40u
#define QUIET_LOOKS 50 /* looks without anything to see before it gets lazy */
#define IDLE_COUNTS 2  /* of free stacks with all idle, before it sleeps without end */
#define BUSY_PICKS 20  /* picks between two looks: switches follow quickly */
#define TRIM_RUNNING (1 * GORT_SEC)
#define TRIM_IDLE (250 * GORT_MS)
#define TRIM_FEW 128u
#define TRIM_MANY 4096u

static struct {
	os_thread thread;
	struct note kicked; /* ends a lazy sleep */
	struct note pause;  /* ends a short one: only at the end */
	int64_t trimmed_at, counted_at;
	int64_t started, trace_at, looked_at;
	uint32_t trim_left;    /* stacks that could have gone cold at the last trim */
	uint32_t idle_counts;  /* since a P ran */
	uint32_t idle_looks;   /* the same */
	uint64_t picks;        /* that all Ps had made at the last look */
	bool moved;            /* they were others than at the one before */
	uint32_t net_looks;    /* at the last look */
	int64_t net_looked_at; /* when others had last looked */
	uint32_t polls;        /* it sleeps in netpoll */
	uint32_t calm; /* looks running at which switches followed quickly, and nothing had aged */
	uint32_t hot;  /* looks that follow quickly: threads have just gone to sleep */
} sysmon;

struct look {
	bool running; /* some P runs */
	bool work;    /* some P has work queued, or the global queue has */
	bool aged;    /* ... and it needs another P */
	bool busy;    /* switches follow quickly */
	bool due;     /* some timer is due */
	int64_t next; /* when the first of the others is */
	struct looked stuck;
};

/* Two that wake each other, and compute in between, must not keep the ring waiting for a slice. */
static bool ring_aged(struct p *p, int64_t now)
{
	uint32_t head = ring_head(&p->ring);
	bool old = ring_len(&p->ring) && p->seen.ring && head == p->seen.head;

	if (!old) {
		p->seen.head_since = now;
	} else if (now - p->seen.head_since >= SLICE) {
		p->seen.head_since = now;
		store_relaxed(&p->attention, 1);
	}
	p->seen.ring = ring_len(&p->ring) != 0;
	p->seen.head = head;
	return old;
}

/* The clock of the oldest starts when it becomes that: at the first look that shows it, or, when
 * the one before was served, at that moment. */
static bool deque_aged(struct p *p, int64_t now)
{
	uint64_t top = deque_top(&p->deque);
	bool some = deque_len(&p->deque) != 0;
	bool old = some && p->seen.deque && top == p->seen.top;

	if (!some || !p->seen.deque || (!old && !p->seen.served))
		p->seen.top_since = now;
	p->seen.served = false;
	if (some && now - p->seen.top_since >= SLICE) {
		p->seen.top_since = now;
		p->seen.served = true;
		store_relaxed(&p->serve_oldest, 1);
		store_relaxed(&p->attention, 1);
	}
	p->seen.deque = some;
	p->seen.top = top;
	return old;
}

static bool runnext_aged(struct p *p, bool moved)
{
	struct g *g = load_relaxed(&p->runnext);
	bool old = g && g == p->seen.runnext && !moved;

	if (old && !p->seen.counted) { /* once per goroutine that waits there */
		p->seen.counted = true;
		if (++p->seen.aged_runs >= 2)
			store_relaxed(&p->eager, 1);
	} else if (!old) {
		if (moved && !p->seen.counted)
			p->seen.aged_runs = 0;
		p->seen.counted = false;
	}
	p->seen.runnext = g;
	return old;
}

/* Once in a slice one of those that were preempted is next. */
static void look_at_tired(struct p *p, int64_t now)
{
	if (load_relaxed(&sched.tired.count) == 0) {
		p->seen.tired_since = now;
	} else if (now - p->seen.tired_since >= sched.slice) {
		p->seen.tired_since = now;
		store_relaxed(&p->serve_tired, 1);
		store_relaxed(&p->attention, 1);
	}
}

/* The same of those that no P has. */
static void look_at_global(struct p *p, int64_t now)
{
	if (load_relaxed(&sched.global_count) <= load_relaxed(&sched.tired.count)) {
		p->seen.global_since = now;
	} else if (now - p->seen.global_since >= SLICE) {
		p->seen.global_since = now;
		store_relaxed(&p->attention, 1);
	}
}

static void look_at(struct p *p, int64_t now, struct look *l)
{
	uint64_t picks = load_relaxed(&p->picks), moved = picks - p->seen.picks;
	int64_t timer;
	bool aged;

	l->running |= load_relaxed(&p->m) != NULL;
	l->work |= p_has_work(p);
	sysmon.picks += picks;
	l->busy |= moved > BUSY_PICKS;
	aged = runnext_aged(p, moved != 0);
	aged |= ring_aged(p, now);
	aged |= deque_aged(p, now);
	if (load_relaxed(&p->aged) != aged)
		store_relaxed(&p->aged, aged);
	timer = load_acquire(&p->timers.next);
	if (timer <= now) {
		store_relaxed(&timers_keeper(p)->attention, 1);
		aged |= timer <= now - LOOK_BUSY; /* before, its P may be about to run it */
		l->due = true;
		if (timer <= now - TIMER_LATE)
			gort__run_due(NULL, &p->timers, now);
	} else if (timer < l->next) {
		l->next = timer;
	}
	l->aged |= aged;
	look_at_tired(p, now);
	look_at_global(p, now);
	p->seen.moved = moved != 0;
	p->seen.picks = picks;
}

/* Ps that do not move, while somebody waits or they might be idle. */
static void look_at_stuck(struct look *l, int64_t now)
{
	uint32_t n = load_acquire(&sched.p_count);

	l->stuck.waits = l->work || l->due;
	l->stuck.soon = false;
	l->stuck.left = OS_FOREVER;
	l->stuck.count = l->stuck.taken = 0;
	for (uint32_t i = 0; i < n; i++) {
		struct p *p = load_relaxed(&sched.all_p[i]);

		gort__look_stuck(p, now, p->seen.moved, &l->stuck);
	}
	gort__look_done(&l->stuck);
	sysmon.hot = l->stuck.taken ? HOT : sysmon.hot ? sysmon.hot - 1 : 0;
	gort__look_away(now, &l->stuck);
}

/* Nobody has since the last look, or, while all Ps are at work, for NET_LOOK: what is queued there runs
 * before what an event would wake. */
static bool nobody_looks(uint32_t looks, int64_t now)
{
	if (looks != sysmon.net_looks)
		sysmon.net_looked_at = now;
	return netpoll_up() && looks == sysmon.net_looks && !load_relaxed(&sched.net_polled) &&
		(load_relaxed(&sched.idle_ps) || now - sysmon.net_looked_at >= NET_LOOK);
}

/* l->work: there were some. l->busy: an M has looked itself. */
static void look_for_events(struct look *l, int64_t now)
{
	uint32_t looks = load_relaxed(&sched.net_looks);
	bool nobody = nobody_looks(looks, now);

	if (load_relaxed(&sched.unattended) != nobody)
		store_relaxed(&sched.unattended, nobody);
	l->busy = looks != sysmon.net_looks;
	l->work = nobody && gort__netpoll(NULL);
	sysmon.net_looks = looks + nobody;
}

static struct look look(int64_t now)
{
	uint32_t n = load_acquire(&sched.p_count);
	uint64_t before = sysmon.picks;
	struct look l;

	l.running = l.aged = l.due = false;
	sysmon.picks = 0;
	l.next = OS_FOREVER;
	look_for_events(&l, now);
	for (uint32_t i = 0; i < n; i++)
		look_at(load_relaxed(&sched.all_p[i]), now, &l);
	sysmon.moved = sysmon.picks != before;
	l.stuck.fresh = l.aged || l.due ||
		load_relaxed(&sched.global_count) > load_relaxed(&sched.tired.count);
	if (load_relaxed(&sched.global_count))
		l.work = l.aged = true;
	if ((l.aged || (l.due && !l.running)) && load_relaxed(&sched.idle_ps))
		gort__wake_p();
	look_at_stuck(&l, now);
	store_release(&sched.looks, sched.looks + 1); /* meets the acquire in m.c */
	return l;
}

/* The earliest timer that no poller sleeps for. Under sched.lock. */
static int64_t uncovered_timer(void)
{
	int64_t next = gort__timers_next();

	return sched.poller && sched.poll_until <= next ? OS_FOREVER : next;
}

/* Under sched.lock: nobody waits for events. */
static bool nobody_polls(void)
{
	return netpoll_up() && !load_relaxed(&sched.net_polled);
}

/* The last look before a lazy sleep (b3, c6): is there anything that needs a quick look again? */
static bool may_sleep(int64_t watch, bool all_idle, uint32_t how)
{
	uint32_t n = load_acquire(&sched.p_count);
	bool covered;

	if (load_relaxed(&sched.stopping))
		return false;
	for (uint32_t i = 0; load_relaxed(&sched.idle_ps) && i < n; i++)
		if (p_has_work(load_relaxed(&sched.all_p[i])))
			return false;
	lock_acquire(&sched.lock);
	covered = uncovered_timer() >= watch;
	if (all_idle ? load_relaxed(&sched.idle_ps) < load_relaxed(&sched.procs)
		     : load_relaxed(&sched.idle_ps) == 0)
		covered = false; /* who takes one from now on finds lazy set, and kicks */
	if (nobody_polls())
		covered = false; /* who did has just gone, or it has just come up */
	if (how == LAZY_LONG && gort__picks() != sysmon.picks)
		covered = false; /* nobody has been asked yet how things stand after that */
	lock_release(&sched.lock);
	return covered;
}

/* Until the earliest timer, or most. While Ps run they see to their timers themselves, but for
 * those that are held up by one goroutine: once in TIMER_LOOK is enough for them, and nobody
 * need kick. */
static void sleep_kicked(int64_t until, bool polls)
{
	struct glist woken = { 0 };

	if (!polls) {
		note_sleep(&sysmon.kicked, until);
		return;
	}
	gort__netpoll_sleep(&sysmon.kicked, &sysmon.polls, until, &woken);
	gort__ready_list(NULL, &woken);
}

static void sleep_lazily(int64_t most, int64_t soonest, bool all_idle, uint32_t how)
{
	int64_t until, watch;
	bool polls;

	most = most < sysmon.trace_at ? most : sysmon.trace_at;
	note_clear(&sysmon.kicked);
	lock_acquire(&sched.lock); /* against a poller that leaves (poll_end) */
	polls = nobody_polls();
	if (!polls && netpoll_up() && sysmon.moved) /* who does may go, to run, without a word */
		most = most < sysmon.looked_at + NET_LOOK ? most : sysmon.looked_at + NET_LOOK;
	until = uncovered_timer();
	until = until < most ? until : most;
	watch = until < soonest ? INT64_MIN : until;
	until = until < soonest ? soonest : until;
	store_relaxed(&sched.watch, watch); /* c4 */
	store_relaxed(&sched.lazy_until, polls ? INT64_MIN : until);
	store_relaxed(&sched.lazy, how); /* b1 */
	if (polls)
		store_relaxed(&sched.net_polled, 1);
	lock_release(&sched.lock);
	os_membarrier();                     /* b2, c5 */
	if (may_sleep(watch, all_idle, how)) /* b3, c6 */
		sleep_kicked(until, polls);
	store_relaxed(&sched.lazy, LAZY_NO);
	store_relaxed(&sched.watch, INT64_MIN);
	if (polls) {
		lock_acquire(&sched.lock);
		store_relaxed(&sched.net_polled, 0);
		store_relaxed(&sched.net_brings, 0);
		lock_release(&sched.lock);
	}
}

void gort__sysmon_kick(void)
{
	if (load_relaxed(&sched.lazy) && swap_seq(&sched.lazy, LAZY_NO))
		gort__netpoll_wake(&sysmon.kicked, &sysmon.polls);
}

/* Each stack, or span of the allocator, that goes cold costs a flush of all processors' TLBs: so
 * it is done in small steps while goroutines run, and not for what may be wanted again soon. */
static void trim(int64_t now, bool running)
{
	int64_t every = running ? TRIM_RUNNING : TRIM_IDLE;
	uint32_t most = running ? TRIM_FEW : TRIM_MANY;
	bool count = now - sysmon.counted_at >= every;

	if (now - sysmon.trimmed_at < SLICE || (!count && sysmon.trim_left == 0))
		return;
	sysmon.trimmed_at = now;
	if (count) {
		sysmon.counted_at = now;
		sysmon.idle_counts++;
	}
	sysmon.trim_left = gort__stacks_trim(most, count) + mem_trim(most, count);
}

/* All Ps run: for how long. A goroutine that a timer is to wake has had no slice yet. */
static int64_t busy_pause(const struct look *l, int64_t now)
{
	int64_t pause = !l->work ? BUSY_LOOK : l->stuck.fresh ? BUSY_FRESH : BUSY_WORK;

	pause = l->next - now < pause ? l->next - now : pause;
	pause = l->stuck.left < pause ? l->stuck.left : pause;
	return pause < BUSY_LEAST ? BUSY_LEAST : pause;
}

/* Some P idles. What has aged once may age again soon. */
static int64_t idle_pause(const struct look *l)
{
	uint32_t steps = 1 + sysmon.calm / CALM_LOOKS;

	sysmon.calm = l->busy && !l->aged ? sysmon.calm + 1 : 0;
	if (sysmon.calm == 0)
		return LOOK;
	return LOOK_BUSY * (steps < CALM_STEPS ? steps : CALM_STEPS);
}

static void sysmon_main(void *arg)
{
	uint32_t quiet = 0;
	struct look l;
	int64_t now;

	(void)arg;
	os_thread_name("gort-sysmon");
	os_thread_timer_slack(1);
	while (!load_acquire(&sched.stopping)) {
		now = os_now();
		coarse_set(now);
		sysmon.looked_at = now;
		l = look(now);
		trim(now, l.running);
		if (now >= sysmon.trace_at) {
			gort__trace(now - sysmon.started);
			sysmon.trace_at = now + sched.trace;
		}
		if (l.running) {
			sysmon.idle_counts = sysmon.idle_looks = 0;
			quiet = l.work ? 0 : quiet + 1;
			if (l.stuck.soon || sysmon.hot)
				note_sleep(&sysmon.pause, now + SOON);
			else if (load_relaxed(&sched.idle_ps) == 0)
				note_sleep(&sysmon.pause, now + busy_pause(&l, now));
			else if (quiet > QUIET_LOOKS)
				sleep_lazily(now + SLICE, now + TIMER_LOOK, false, LAZY_SLICE);
			else
				note_sleep(&sysmon.pause, now + idle_pause(&l));
		} else {
			bool done = sysmon.idle_counts > IDLE_COUNTS && sysmon.trim_left == 0 &&
				sysmon.idle_looks >= DEADLOCK_LOOKS &&
				!load_relaxed(&sched.global_count) && /* else it asks again */
				!load_acquire(&sched.disk);
			int64_t until = gort__deadlock_look(now, sysmon.idle_looks++);

			mem_keep(!done); /* nobody trims meanwhile */
			sleep_lazily(done ? until : now + SLICE,
				     l.due ? now + TIMER_LOOK : INT64_MIN, true,
				     done ? LAZY_LONG : LAZY_SLICE);
			mem_keep(true);
		}
	}
}

int gort__sysmon_start(void)
{
	int err;

	note_clear(&sysmon.kicked);
	note_clear(&sysmon.pause);
	sysmon.trimmed_at = sysmon.counted_at = os_now();
	sysmon.hot = sysmon.calm = 0;
	gort__look_begin();
	coarse_set(sysmon.trimmed_at);
	sysmon.started = sysmon.trimmed_at;
	sysmon.trace_at = sched.trace == OS_FOREVER ? OS_FOREVER : sysmon.started + sched.trace;
	sysmon.trim_left = sysmon.idle_counts = sysmon.idle_looks = 0;
	err = os_thread_start(&sysmon.thread, sysmon_main, NULL, 0);
	mem_keep(err == 0);
	return err;
}

/* stopping is set. */
void gort__sysmon_stop(void)
{
	note_wake(&sysmon.pause);
	gort__netpoll_wake(&sysmon.kicked, &sysmon.polls);
	os_thread_join(&sysmon.thread);
	mem_keep(false);
}
