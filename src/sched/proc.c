/*
 * proc.c - the scheduler: who runs next, how one goroutine gives way to another, how work finds a
 * P and a P finds work.
 *
 * Direct path. A goroutine that parks, yields or ends picks the next one itself and switches
 * straight to it. It only pops this P's own queues, in this order:
 *     runnext     woken last; talkers hand it to and fro
 *     ring        woken earlier, FIFO; full: half of it moves to the global queue
 *     deque       spawned, newest first, so that a tree of goroutines runs depth first and has few
 *                 stacks alive (thieves take the oldest: the largest subtree)
 * Every TICKS picks, when attention is called for, or when all three are empty, it goes to the
 * scheduler on g0, which looks further: global queue, timers, other Ps, sleep.
 *
 * Fairness without preemption: once in TICKS picks, or when sysmon calls (attention), comes a round: of
 * the deque the oldest, if sysmon found that it has waited 10 ms (serve_oldest), then one of the
 * global queue, then one of the ring, then runnext, each a pick. So a pair that wakes each other cannot
 * keep the rest away, nor can one of the four the others, however much it has and however often sysmon
 * calls, at each pick if need be. The k-th oldest of a deque waits k x 10 ms, and some 30 ms more, at most
 * while goroutines give way at all.
 *
 * Keep talkers together. A wake into an empty runnext calls nobody. A second runnable goroutine
 * calls an idle P, unless the last ones called in vain (quiet). A thief does not take what moves:
 * ring and deque only if what it saw there was still there STEAL_AGE later, runnext only if sysmon
 * found it old. sysmon looks every few ten microseconds while some P idles and another runs, and
 * sends a P for what has aged.
 *
 * Why no wakeup is lost. Work lies in three kinds of places:
 *  (a) The global queue. It is filled and, by an M about to sleep, checked, under sched.lock, where
 *      the list of idle Ps changes too: whoever fills it with a P idle calls one, or leaves it to a
 *      spinning M, which checks it under the lock after it has stopped spinning.
 *  (b) A running P's own queues. Only the owner fills them, and it empties them before it gives the
 *      P up. So work is stuck at most while the owner runs one goroutine, and then sysmon must be
 *      looking while a P idles. It sleeps long only after: lazy = 1 (b1), full fence (b2), a look
 *      at all queues (b3). Who queues: stores the work (b4), light fence (b5), reads lazy if a P
 *      idles (b6), kicks. Either b3 sees b4 or b6 sees b1. And who makes the first P idle: does so
 *      (b7), full fence (b8), looks at all queues (b9), kicks sysmon if it is lazy; so either b9
 *      sees b4, or b6 sees b7.
 *  (c) Timer heaps: see timers.c.
 *
 * Callers: the running goroutine, or g0 where the name says so. P in hand throughout.
 */
#include "sched/netpoll.h"
#include "sched/stack.h"
#include "sched/switch.h"

#define STEAL_AGE (20 * GORT_US) /* what a thief must have seen waiting for so long */
#define SPIN_TIME (30 * GORT_US) /* how long an M looks around before it sleeps */
#define VAIN_FEW 4u
#define VAIN_TRY 16u
#define COARSE (10 * GORT_US) /* stolen work of this length: take the next without a wait */
#define GLOBAL_BATCH 128u
#define EVENTS_MANY 16u

struct sched gort__sched = { .lock = LOCK_INIT(RANK_SCHED), .watch = INT64_MIN, .life = 1 };
#define sched gort__sched

/* ---- calling for help ------------------------------------------------------------------ */

/* A P for work that the caller knows of. Counts as spinning until it has found some. */
rare void gort__wake_p(void)
{
	uint32_t none = 0;
	struct p *p;
	struct m *m;

	if (load_relaxed(&sched.spinning) || !cas_seq(&sched.spinning, &none, 1))
		return;
	lock_acquire(&sched.lock);
	/* The creator may take its time, so an M that it makes counts as spinning when it runs; it
	 * looks around then, for all who found it asked already. */
	if (!sched.idle_p || load_relaxed(&sched.stopping) || !(m = gort__m_idle_get())) {
		if (sched.idle_p && !sched.asked)
			gort__creator_ask();
		sub_relaxed(&sched.spinning, 1);
		lock_release(&sched.lock);
		return;
	}
	p = gort__p_get();
	gort__m_give(m, p, true);
	lock_release(&sched.lock);
	m_wake(m);
	sysmon_kick_if_lazy();
}

/* A P idles while work was queued at a running one. Steps b6 of the header. */
rare void gort__work_queued_slow(struct p *p, bool second)
{
	if (load_relaxed(&sched.spinning))
		return;
	if (load_relaxed(&p->eager) || (second && !load_relaxed(&sched.quiet)))
		gort__wake_p();
	else if (load_relaxed(&sched.lazy))
		gort__sysmon_kick();
}

/* ---- queues ------------------------------------------------------------------------------ */

static void global_append(struct glist *list)
{
	lock_acquire(&sched.lock);
	glist_append(&sched.global, list);
	gort__global_count();
	lock_release(&sched.lock);
}

void gort__global_put(struct glist *list)
{
	if (list->count == 0)
		return;
	global_append(list);
	fence_seq(); /* against spinning_end: either it sees count, or we see that it has stopped */
	if (load_relaxed(&sched.idle_ps))
		gort__wake_p();
}

static rare void ring_overflow(struct p *p, struct g *g)
{
	void *half[RING_SIZE / 2];
	struct glist list = { 0 };
	unsigned n = ring_pop_half(&p->ring, half);

	for (unsigned i = 0; i < n; i++)
		glist_push(&list, half[i]);
	glist_push(&list, g);
	gort__global_put(&list);
}

static inline void ring_put(struct p *p, struct g *g)
{
	if (unlikely(!ring_push(&p->ring, g)))
		ring_overflow(p, g);
}

/* Only the owner makes runnext non-NULL, so an empty one needs no exchange. */
static inline void runnext_put(struct p *p, struct g *g)
{
	struct g *old = load_relaxed(&p->runnext);

	if (likely(!old)) {
		store_release(&p->runnext, g); /* meets the acquire in runnext_take */
		work_queued(p, ring_len(&p->ring) != 0);
		return;
	}
	old = swap_acq_rel(&p->runnext, g);
	if (old)
		ring_put(p, old);
	work_queued(p, true);
}

static noinline void global_put_one(struct g *g)
{
	struct glist one = { 0 };

	glist_push(&one, g);
	gort__global_put(&one);
}

static void make_ready(struct m *m, struct g *g)
{
	if (g_is_bound(g))
		gort__bound_ready(g);
	else if (likely(m != NULL))
		runnext_put(m->p, g);
	else
		global_put_one(g);
}

void gort__ready(struct m *m, struct g *g)
{
	g_set_state(g, G_RUNNABLE);
	if (unlikely(g->waits.bound & (BOUND_BUBBLE | BOUND_THREAD))) {
		g_counts_in(g);
		make_ready(m, g);
	} else if (likely(m != NULL)) {
		runnext_put(m->p, g);
	} else {
		global_put_one(g);
	}
}

/* A closed channel, timers: FIFO. What the ring has no room for goes to the global queue as it is:
 * of a million that wait, each is touched as seldom as can be. */
void gort__ready_list(struct m *m, struct glist *list)
{
	if (list->count == 0)
		return;
	if (list->count == 1) {
		make_ready(m, glist_pop(list));
		return;
	}
	while (m && list->count && ring_len(&m->p->ring) < RING_SIZE) {
		struct g *g = glist_pop(list);

		g_prefetch(g);
		ring_put(m->p, g);
	}
	gort__global_put(list);
	if (m)
		work_queued(m->p, true);
}

/* Events: m goes on with the first at once. Many are worth another P, if their like was the last time;
 * few it runs faster itself, unless sysmon finds that one takes long. */
void gort__ready_events(struct m *m, struct glist *list)
{
	bool many = list->count >= EVENTS_MANY;

	while (m && list->count && ring_len(&m->p->ring) < RING_SIZE) {
		struct g *g = glist_pop(list);

		g_prefetch(g);
		ring_put(m->p, g);
	}
	if (m && ring_len(&m->p->ring) > 1)
		work_queued(m->p, many);
	gort__global_put(list);
}

/* A spawned goroutine. */
void gort__g_start(struct m *m, struct g *g)
{
	g_counts_in(g);
	if (likely(m != NULL) && likely(deque_push(&m->p->deque, g)))
		work_queued(m->p, deque_len(&m->p->deque) > 1);
	else
		global_put_one(g);
}

/* ---- switching ------------------------------------------------------------------------------ */

/* park.h, step 2. */
static void after_park(struct m *m, struct g *g)
{
	uint64_t word = turn_of(load_relaxed(&g->waits.word)) | TURN_PARKING;
	bool waits = cas_acq_rel(&g->waits.word, &word, word - TURN_PARKING + TURN_WAITING);

	if (m->after_lock)
		lock_release(m->after_lock);
	if (!waits)
		gort__ready(m, g);
}

/* park.h, step 6. */
rare void gort__light_ended(struct m *m, struct g *g, struct lock *lock)
{
	uint64_t word = load_relaxed(&g->waits.word);
	bool mine = (word & TURN_STATES) == TURN_LIGHT_WAITING &&
		cas_acq_rel(&g->waits.word, &word, word - TURN_LIGHT_WAITING + TURN_CANCELED);

	lock_release(lock);
	if (mine)
		gort__ready(m, g);
}

/* A member of a bubble is counted off when all else is done: by then it may have been counted in
 * again. */
static rare void after_bubble(struct m *m)
{
	struct bubble *b = m->after_bubble;

	m->after = m->after_inner;
	after_switch(m, false);
	gort__bubble_out(m, b);
}

/* What switch.h leaves to a call. */
noinline void gort__after_switch_slow(struct m *m, enum after_kind kind)
{
	struct g *g = m->after_g;

	switch (kind) {
	case AFTER_PARK:
		after_park(m, g);
		break;
	case AFTER_YIELD:
		g_set_state(g, G_RUNNABLE);
		store_relaxed(&m->p->yields, m->p->yields + 1);
		if (g_is_bound(g)) {
			gort__bound_ready(g);
			break;
		}
		ring_put(m->p, g);
		work_queued(m->p, true);
		break;
	case AFTER_DEAD:
		stack_put(m, g);
		break;
	case AFTER_TIRED:
		g_set_state(g, G_RUNNABLE);
		gort__tired_put(g);
		break;
	case AFTER_BUBBLE:
		after_bubble(m);
		break;
	case AFTER_LIGHT:
	case AFTER_UNLOCK:
	case AFTER_NOTHING:
		break;
	}
}

returns_by_jump void gort__park(struct lock *held, enum after_kind after, enum g_why why)
{
	struct m *m = m_self();

	park(m, m->g, held, after, why);
}

_Noreturn noinline void gort__g_exit(struct g *g)
{
	struct m *m = m_self();
	struct g *next;

	check_stack(g);
	store_release(&m->p->ended, m->p->ended + 1); /* meets the acquire in gort_count */
	g_set_state(g, G_DEAD);
	if (g_is_bound(g))
		gort__bound_end(m, g);
	m->after_g = g;
	m->after = AFTER_DEAD;
	if (unlikely(m->cxa != NULL))
		exceptions_take(m->cxa,
				&g->exceptions); /* it ended in a catch block: they are lost */
	next = pick(m->p);
	if (next) {
		become(m, next);
		fiber_leave(&g->fiber, &next->fiber, true);
		gort_gogo(next->sp);
	}
	fiber_leave(&g->fiber, &m->g0_fiber, true);
	gort_mcall(&g->sp, m->g0_sp, gort__schedule, m);
	__builtin_unreachable();
}

/* As after_switch: where many are spawned, one starts as another ends. */
static inline void after_switch_new(struct m *m)
{
	if (likely(m->after == AFTER_DEAD)) {
		m->after = AFTER_NOTHING;
		stack_put(m, m->after_g);
	} else {
		after_switch(m, false);
	}
}

/* The first thing that a new goroutine runs. */
void gort__g_entry(void *arg)
{
	struct g *g = arg;
	struct m *m = m_self();

	fiber_arrive(&g->fiber);
	after_switch_new(m);
	m_leave(m);
	g->fn(g->arg);
	gort__g_finish(g);
}

/* The runtime stops, and this goroutine has called gort: it never comes back. */
_Noreturn noinline void gort__stop_here(struct m *m)
{
	struct g *g = m->g;

	m->ends = true;
	fiber_leave(&g->fiber, &m->g0_fiber, true);
	gort_mcall(&g->sp, m->g0_sp, gort__schedule, m);
	__builtin_unreachable();
}

/* ---- looking for work, on g0 ---------------------------------------------------------------- */

/* Move a fair share of the global queue here, most of them at most; gives one of it. */
static struct g *global_take(struct p *p, uint32_t most)
{
	struct g *batch[GLOBAL_BATCH];
	uint32_t n, room = RING_SIZE - (uint32_t)ring_len(&p->ring) + 1; /* one runs at once */
	struct g *g;

	if (load_relaxed(&sched.global_count) == 0) {
		p->others_turn = false;
		return NULL;
	}
	lock_acquire(&sched.lock);
	if (unlikely(sched.fresh.head || sched.tired.head) &&
	    (g = gort__bound_take(p, most == 1 && p_has_work(p))) != NULL) {
		lock_release(&sched.lock);
		return g;
	}
	p->others_turn = false;
	n = sched.global.count / load_relaxed(&sched.procs) + 1;
	n = n < most ? n : most;
	n = n < room ? n : room;
	n = n < sched.global.count ? n : sched.global.count;
	for (uint32_t i = 0; i < n; i++)
		batch[i] = glist_pop(&sched.global);
	gort__global_count();
	lock_release(&sched.lock);
	for (uint32_t i = 0; i < n; i++) {
		g_prefetch(batch[i]);
		if (i)
			ring_put(p, batch[i]); /* there is room: nobody else fills it */
	}
	return n ? batch[0] : NULL;
}

/* What is due in a heap, in the order of their times. What is left over is due again at the next
 * look. */
noinline void gort__run_due(struct m *m, struct timer_heap *h, int64_t now)
{
	struct due due;

	due.ready = (struct glist){ 0 };
	due.now = now;
	due.count = 0;
	gort__timers_run(h, &due);
	for (uint32_t i = 0; i < due.count; i++)
		due.later[i]->run(m, due.later[i], &due);
	gort__ready_list(m, &due.ready);
}

/* Run what is due in p's heap. True: goroutines were woken, into m's ring. */
static inline bool run_timers(struct m *m, struct p *p, int64_t now)
{
	if (likely(load_acquire(&p->timers.next) > now))
		return false;
	gort__run_due(m, &p->timers, now);
	return p_has_work(m->p);
}

static bool run_all_timers(struct m *m, int64_t now)
{
	uint32_t n = load_acquire(&sched.p_count);
	bool any = false;

	for (uint32_t i = 0; i < n; i++)
		any |= run_timers(m, load_relaxed(&sched.all_p[i]), now);
	return any;
}

/* Its own, and those of retired Ps. */
static void run_own_timers(struct m *m)
{
	if (unlikely(load_relaxed(&sched.stranded)) && !gort__timers_rescue(m->p))
		run_all_timers(m, os_now());
	else if (load_relaxed(&m->p->timers.next) != OS_FOREVER)
		run_timers(m, m->p, os_now());
}

static bool timers_wait(void)
{
	return gort__timers_next() != OS_FOREVER;
}

/* The ring's first; but one that has yielded, and is alone there, goes behind all others, those that were
 * spawned first, as in pick_for_yield. */
static struct g *take_from_ring(struct p *p)
{
	struct g *g;

	if (p->yielded && ring_len(&p->ring) <= 1) {
		if ((g = deque_pop(&p->deque)) != NULL || load_relaxed(&p->runnext))
			return g;
	}
	return ring_pop(&p->ring);
}

static struct g *take_in_round(struct p *p, enum round turn)
{
	if (turn == ROUND_GLOBAL)
		return global_take(p, 1);
	if (turn == ROUND_RING)
		return take_from_ring(p);
	if (turn == ROUND_RUNNEXT)
		return runnext_take(p);
	if (!load_relaxed(&p->serve_oldest))
		return NULL;
	store_relaxed(&p->serve_oldest, 0);
	return deque_pop_oldest(&p->deque);
}

/* The next of a round. If there is more for it, the next pick goes on with it. */
static struct g *round_take(struct p *p)
{
	struct g *g = NULL;

	while (!g && p->round < ROUND_ENDS)
		g = take_in_round(p, p->round++);
	if (g &&
	    ((p->round <= ROUND_GLOBAL && load_relaxed(&sched.global_count)) ||
	     (p->round <= ROUND_RING && ring_len(&p->ring)) ||
	     (p->round <= ROUND_RUNNEXT && load_relaxed(&p->runnext)))) {
		p->ticks = 1;
		return g;
	}
	p->round = ROUND_OLDEST;
	if (load_relaxed(&p->serve_oldest) ||
	    (load_relaxed(&p->serve_tired) && load_relaxed(&sched.tired.count)))
		p->ticks = 1; /* sysmon has called meanwhile, or it was not their turn (bound.c) */
	return g;
}

/* What this P has itself. look_around: once in TICKS picks, or sysmon said so. */
static struct g *find_local(struct m *m, bool look_around)
{
	struct p *p = m->p;
	struct g *g;

	if (look_around) {
		run_own_timers(m);
		if ((g = round_take(p)) != NULL)
			return g;
	}
	if ((g = runnext_take(p)) != NULL || (g = ring_pop(&p->ring)) != NULL ||
	    (g = deque_pop(&p->deque)) != NULL)
		return g;
	return global_take(p, GLOBAL_BATCH);
}

/* From victim into m's P: half of its ring, else the oldest of its deque, else (old only) runnext.
 * The first of it is the result. */
static struct g *steal(struct m *m, struct p *victim, bool old)
{
	void *grabbed[RING_SIZE / 2];
	struct g *g;
	unsigned n = ring_grab(&victim->ring, grabbed, RING_SIZE / 2);

	if (n) {
		for (unsigned i = 1; i < n; i++)
			ring_put(m->p, grabbed[i]);
		g = grabbed[0];
	} else {
		g = deque_steal(&victim->deque);
		if (!g && old)
			g = runnext_take(victim);
	}
	if (g) {
		store_relaxed(&victim->aged, 0);
		store_relaxed(&m->p->steals, m->p->steals + 1);
		m->stole_at = os_now();
	}
	return g;
}

/* What a thief saw at a P, to see later whether it has moved. */
struct sight {
	struct p *p;
	uint32_t head;
	uint64_t top, len;
	bool in_ring;
	int64_t since;
};

/* It has not moved, and is not about to go: a deque's oldest waits to the last, also while the
 * deque is emptied quickly, so look how fast it shrinks. */
static bool still_there(const struct sight *s)
{
	uint64_t len = deque_len(&s->p->deque);

	if (s->in_ring && ring_head(&s->p->ring) == s->head)
		return true;
	return s->len && deque_top(&s->p->deque) == s->top && (len >= s->len || len > s->len - len);
}

/* One round over all Ps, from a random one on. at_once: what lies there may be taken. */
static struct g *steal_round(struct m *m, bool at_once, struct sight *sight)
{
	uint32_t n = load_acquire(&sched.p_count), start;

	if (unlikely(n == 0))
		return NULL; /* a straggler: the runtime has ended meanwhile */
	start = m_random(m) % n;
	for (uint32_t i = 0; i < n; i++) {
		struct p *p = load_relaxed(&sched.all_p[(start + i) % n]);
		bool old;
		struct g *g;

		if (p == m->p || !p_has_work(p))
			continue;
		old = load_relaxed(&p->aged);
		if (at_once || old) {
			if ((g = steal(m, p, old)) != NULL)
				return g;
		} else if (!sight->p) {
			sight->p = p;
			sight->head = ring_head(&p->ring);
			sight->top = deque_top(&p->deque);
			sight->in_ring = ring_len(&p->ring) != 0;
			sight->len = deque_len(&p->deque);
			sight->since = os_now();
		}
	}
	return NULL;
}

/* How long it looks around. Where events are what wakes goroutines there is seldom something to be had,
 * and the time is better spent asleep; now and then it tries all the same. */
static int64_t spin_time(const struct m *m)
{
	bool vain = netpoll_up() && !m->called && m->vain >= VAIN_FEW && m->vain % VAIN_TRY;

	return vain ? 0 : SPIN_TIME;
}

static struct g *find_elsewhere(struct m *m)
{
	int64_t now = os_now(), end = now + spin_time(m);
	bool greedy = m->stole_at && now - m->stole_at >= COARSE;
	struct sight sight = { 0 };
	struct g *g = NULL;

	if (!m->spinning &&
	    2 * load_relaxed(&sched.spinning) >=
		    load_relaxed(&sched.procs) - load_relaxed(&sched.idle_ps))
		return NULL; /* enough others look already */
	if (!m->spinning) {
		m->spinning = true;
		add_seq(&sched.spinning, 1);
	}
	m->stole_at = 0;
	do {
		m->by_timer = run_all_timers(m, now);
		if (m->by_timer || load_relaxed(&sched.global_count))
			g = find_local(m, false);
		else if (sight.p && now - sight.since >= STEAL_AGE) {
			if (still_there(&sight))
				g = steal(m, sight.p, false);
			sight.p = NULL;
		} else
			g = steal_round(m, greedy, &sight);
		if (g || load_relaxed(&sched.stopping) || load_relaxed(&m->p->attention))
			break;
		if (gort__stacks_prepare()) {
			end = os_now() + SPIN_TIME; /* that was work, too */
		} else {
			for (int i = 0; i < 20; i++)
				arch_pause();
		}
		now = os_now();
	} while (now < end && load_relaxed(&sched.idle_ps) + 1 < load_relaxed(&sched.procs));
	if (m->called || m->stole_at)
		store_relaxed(&sched.quiet, m->stole_at == 0);
	m->called = false;
	m->vain = g ? 0 : m->vain + 1;
	return g;
}

/* It has found work: let the next one look, for there may be more. What timers have woken is
 * left to sysmon unless it is much: waking a thread costs as much as running a few dozen. */
static void spinning_end(struct m *m, bool found)
{
	if (!m->spinning)
		return;
	m->spinning = false;
	if (sub_acq_rel(&sched.spinning, 1) != 1 || !found)
		return;
	fence_seq();
	if (!load_relaxed(&sched.idle_ps))
		return;
	if (load_relaxed(&sched.global_count) || !(load_relaxed(&sched.quiet) || m->by_timer))
		gort__wake_p();
	else if (load_relaxed(&sched.lazy)) /* who queued meanwhile saw it spin: no kick */
		gort__sysmon_kick();
}

/* Under sched.lock. */
static bool some_global(void)
{
	return sched.global.count || gort__bound_some();
}

/* Where events come one at a time there is none yet: better wait for it at once. */
static bool looks_for_events(struct m *m)
{
	bool one = m->one_event;

	m->one_event = false;
	return netpoll_up() && !one;
}

/* The next goroutine; blocks until there is one. NULL: the M must end. */
static struct g *find_runnable(struct m *m)
{
	struct p *p = m->p;
	struct g *g;
	bool look_around = p && (p->ticks == 0 || load_relaxed(&p->attention));

	for (;; look_around = true) {
		p = m->p;
		if (p && look_around) {
			p->ticks = TICKS;
			swap_seq(&p->attention, 0); /* before reading what its writers set first */
		}
		if (unlikely(load_seq(&sched.stopping)))
			return NULL;
		if (p && likely(p->id < load_relaxed(&sched.procs))) {
			g = find_local(m, look_around);
			if (!g && looks_for_events(m) && gort__netpoll(m))
				g = find_local(m, false);
			if (!g &&
			    (load_relaxed(&sched.idle_ps) + 1 < load_relaxed(&sched.procs) ||
			     timers_wait()))
				g = find_elsewhere(m);
			if (!g && load_relaxed(&p->attention))
				continue; /* spinning as before: what it finds then may not be all (a) */
			spinning_end(m, g != NULL);
			if (g && look_around)
				gort__timers_covered(m->p);
			if (g)
				return g;
		} else {
			spinning_end(m, false);
			if (p)
				gort__p_drain(p);
		}
		if (p)
			gort__stack_idle(p);
		p = gort__m_drop(m);
		lock_acquire(&sched.lock);
		if (load_relaxed(&sched.stopping)) {
			lock_release(&sched.lock);
			return NULL;
		}
		if (p && p->id >= load_relaxed(&sched.procs)) {
			gort__p_put(p);
			p = NULL;
		}
		/* Its P was retired; whoever filled the queue meanwhile saw it spin, and relies
		 * on it. */
		if (!p && some_global() && (p = gort__p_get()) != NULL)
			store_release(&p->m, m);
		if (p && some_global()) {
			lock_release(&sched.lock);
			gort__m_take(m, p);
			m->spinning = true; /* it calls the next, if there is more */
			add_seq(&sched.spinning, 1);
			sysmon_kick_if_lazy();
			continue;
		}
		if (p)
			gort__p_put(p); /* b7 */
		if (!gort__sleep_without_p(m))
			return NULL;
	}
}

/* The next goroutine, made the running one. In a frame of its own: see gort__schedule. */
static noinline struct g *choose(struct m *m)
{
	struct g *g = m->g;

	store_relaxed(&m->g, NULL);
	after_switch(m, false);
	if (unlikely(m->ends)) {
		gort__stack_left(g);
		return NULL;
	}
	if (unlikely(load_relaxed(&m->repair))) {
		store_relaxed(&m->repair, false);
		os_preempt_repair();
	}
	if (unlikely(m->locked || m->dedicated))
		g = gort__bound_next(m);
	else
		while ((g = find_runnable(m)) != NULL && g->thread)
			gort__bound_go_on(m, g);
	if (g) {
		m->p->yielded = false;
		become(m, g);
	}
	return g;
}

/* On g0. Comes anew each time, at the same place of the stack, and never returns: it ends in the
 * next goroutine, or in gort__m_run. The sanitizers do not see it (they would count frames that
 * never return), so it does nothing itself. */
runs_on_g0 void gort__schedule(void *arg)
{
	struct m *m = arg;
	struct g *g;

	fiber_arrive(&m->g0_fiber);
	g = choose(m);
	if (!g)
		gort_gogo(m->g0_sp);
	fiber_leave(&m->g0_fiber, &g->fiber, false);
	gort_gogo(g->sp);
}
