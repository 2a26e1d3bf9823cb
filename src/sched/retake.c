/*
 * retake.c - sysmon's look at Ps that do not move: a P that has run one goroutine since the last
 * look is held by a thread that sleeps in the kernel, or by one that computes.
 *
 *   asleep    its clock has stood still since the last look, and the kernel says so: the P is taken
 *             (handoff.c) if somebody waits for one; after RETAKE_IDLE also if nobody does, so that
 *             a program of which all sleeps is seen to idle. Where the kernel does not say, two
 *             still looks STILL_LONG apart tell.
 *   computes  it has burnt a slice of its clock while somebody waits, or EARLY while one waits who has
 *             had no slice yet: it gets a signal (preempt.c), and again at each look until it has
 *             given way. Not while it sleeps: it may sleep in a loop, and be interrupted. But one that
 *             is always found asleep, and yet burns most of the time, cannot run while one looks:
 *             Valgrind runs one thread at a time.
 *
 * The thread's clock is not asked before a P was found unmoved, and nothing at all while goroutines
 * switch.
 *
 * Threads without a P (m->away) whose call has returned and that compute on, without calling gort,
 * get a signal, too, and wait for a P: GOMAXPROCS holds. A few of them are looked at at a time.
 *
 * Each second time a retaken P goes to who was preempted longest: it may hold what the sleeper waits
 * for (a lock of stdio's).
 *
 * Caller: sysmon.
 */
#include "sched/sched.h"

#define sched gort__sched
#define EARLY (1 * GORT_MS)
#define LONG (100 * GORT_MS)
#define RETAKE_IDLE (10 * GORT_MS)
#define STILL_LONG (10 * GORT_MS)
#define STILL_SOON (2 * GORT_MS)
#define TRIES_SOON 20   /* signals in quick succession */
#define TRIES_ASLEEP 20 /* found asleep, though it computes */
#define TRIES_REPAIR 60 /* unanswered: somebody blocks the signal, or has taken it over */
#define AWAY_LOOK (2 * GORT_MS)
#define AWAY_BATCH 8u

static struct {
	int64_t away_at;
	struct m *cursor; /* under sched.lock, which guards the list it walks */
	uint32_t turn;
} state;

static void ask(struct m *m, uint64_t picks, uint32_t how)
{
	store_relaxed(&m->preempt_picks, picks);
	store_release(&m->preempt, how);
	os_preempt_send(load_relaxed(&m->tid));
}

/* Its clock stands still. wants_cpu: but it does not sleep: inside gort nothing sleeps for long. */
static bool sleeps(struct p *p, struct m *m, int64_t now, bool *wants_cpu)
{
	int asleep;

	*wants_cpu = load_relaxed(&m->in_rt);
	if (*wants_cpu)
		return false;
	asleep = os_thread_asleep(load_relaxed(&m->tid));
	*wants_cpu = asleep == 0;
	if (asleep >= 0)
		return asleep;
	return now - p->seen.still_since >= STILL_LONG;
}

/* mostly: of the time since the last look it has burnt most. */
static void computes(struct p *p, struct m *m, bool mostly, struct looked *l)
{
	int asleep;
	int64_t limit = l->fresh && EARLY < sched.slice ? EARLY : sched.slice;
	uint32_t how = p->seen.burnt >= LONG ? PREEMPT_LONG : PREEMPT_DUE;

	if (!l->waits)
		return;
	if (p->seen.burnt < limit) {
		l->left = limit - p->seen.burnt < l->left ? limit - p->seen.burnt : l->left;
		return;
	}
	l->soon |= p->seen.tries++ < TRIES_SOON;
	asleep = os_thread_asleep(load_relaxed(&m->tid));
	p->seen.asleep = asleep == 1 ? p->seen.asleep + 1 : 0;
	if (asleep != 0 && !(mostly && (asleep < 0 || p->seen.asleep > TRIES_ASLEEP)))
		return; /* it would be interrupted there */
	ask(m, p->seen.picks, how);
	if (p->seen.tries > TRIES_REPAIR)
		store_relaxed(&m->repair, true);
}

static void begins(struct p *p, struct m *m, int64_t now)
{
	p->seen.m = m;
	p->seen.since = p->seen.still_since = now;
	p->seen.cpu = -1;
	p->seen.burnt = 0;
	p->seen.tries = p->seen.asleep = 0;
}

void gort__look_stuck(struct p *p, int64_t now, bool moved, struct looked *l)
{
	struct m *m = load_acquire(&p->m);
	int64_t cpu, went, passed;
	bool slow, wants_cpu = false;

	if (!m || moved || m != p->seen.m || !load_relaxed(&m->g)) {
		begins(p, m, now);
		return;
	}
	if (!l->waits && now - p->seen.since < RETAKE_IDLE)
		return;
	cpu = os_thread_cpu(load_relaxed(&m->tid));
	went = p->seen.cpu < 0 ? -1 : cpu - p->seen.cpu;
	passed = now - p->seen.asked;
	p->seen.cpu = cpu;
	p->seen.asked = now;
	if (went != 0)
		p->seen.still_since = now;
	if (went == 0 && sleeps(p, m, now, &wants_cpu)) {
		if (l->count < sizeof l->suspects / sizeof l->suspects[0])
			l->suspects[l->count++] = (struct suspect){ .m = m, .p = p };
	} else if (went > 0 && sched.slice != OS_FOREVER) {
		p->seen.burnt += went;
		computes(p, m, went >= passed / 2, l);
	}
	/* At the next look it is clear. But where too many want the processors that need not be soon. */
	slow = went > 0 ? went < passed / 2 && !p->seen.slow
			: !wants_cpu && now - p->seen.still_since < STILL_SOON;
	l->soon |= slow && l->waits;
	p->seen.slow = slow;
}

void gort__look_done(struct looked *l)
{
	struct m *chain;

	if (l->count == 0)
		return;
	gort__ps_retake(l->suspects, l->count);
	for (uint32_t i = 0; i < l->count; i++) {
		struct p *p = l->suspects[i].p;

		if (!l->suspects[i].taken)
			continue;
		if (state.turn++ & 1)
			store_relaxed(&p->serve_tired, 1);
		sched.retakes++;
		l->taken++;
		lock_acquire(&sched.lock);
		chain = gort__p_place(p);
		lock_release(&sched.lock);
		gort__m_wake_all(chain);
	}
}

/* The next few Ms that lost their P. */
static uint32_t some_away(struct m *some[AWAY_BATCH])
{
	uint32_t n = 0, looked = 0;
	struct m *m;

	lock_acquire(&sched.lock);
	m = state.cursor ? state.cursor : sched.all_m;
	for (; m && n < AWAY_BATCH && looked < 64 * AWAY_BATCH; m = m->all_next, looked++)
		if (load_relaxed(&m->away) == AWAY_RETAKEN)
			some[n++] = m;
	state.cursor = m;
	lock_release(&sched.lock);
	return n;
}

void gort__look_begin(void)
{
	state.cursor = NULL;
	state.away_at = 0;
}

/* An M leaves the list. Under sched.lock. */
void gort__look_forget(const struct m *m)
{
	if (state.cursor == m)
		state.cursor = m->all_next;
}

void gort__look_away(int64_t now, struct looked *l)
{
	struct m *some[AWAY_BATCH];
	uint32_t n;

	if (load_relaxed(&sched.away) == 0 || sched.slice == OS_FOREVER || !l->waits ||
	    now - state.away_at < AWAY_LOOK)
		return;
	state.away_at = now;
	n = some_away(some);
	for (uint32_t i = 0; i < n; i++) {
		struct m *m = some[i];
		int64_t cpu = os_thread_cpu(load_relaxed(&m->tid)),
			went = cpu - load_relaxed(&m->seen_away.cpu);
		int64_t at = load_relaxed(&m->seen_away.at), passed = now - at;

		/* Most of the time, not now and then: it may sleep in a loop, and be interrupted. */
		if (at && went >= passed / 2 && went >= EARLY && !load_relaxed(&m->in_rt) &&
		    os_thread_asleep(load_relaxed(&m->tid)) != 1)
			ask(m, 0, PREEMPT_DUE);
		store_relaxed(&m->seen_away.cpu, cpu);
		store_relaxed(&m->seen_away.at, now);
	}
}
