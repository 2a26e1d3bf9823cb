/*
 * init.c - the runtime's start and end.
 *
 *     DOWN --gort_run--> RUN --fn has returned--> ending --> DOWN
 *     DOWN --gort_start--> STARTED --the last gort_stop--> ending --> DOWN
 *
 * The end, in this order:
 *  1. stopping is set, every M told (asks, attention, wake). An M in the scheduler ends at once; one
 *     in gort when it leaves; one in user code loses its P (handoff.c), and ends at its next call
 *     into gort, where it finds none and touches nothing but itself. Threads that were stopped by
 *     preemption go on, without a P: they may hold locks that others need, to end.
 *  2. Creator and sysmon are joined: no thread is made from here on.
 *     Reports (dump.c) are waited for, and none begins.
 *  3. Ms that have ended are joined; those in gort are waited for. Those in user code that sleep in
 *     the kernel are left behind, the others after STRAGGLER_TIME: with their stacks.
 *     Until each that computes has ended, or sleeps, the runtime does not start again.
 *  4. Signals go to nobody any more (sync/signal.c). What the kernel does for goroutines is waited
 *     for (io/uring.c). closing: guests that call in wait; those inside are waited for. So nobody wakes
 *     a goroutine or moves a queue while
 *  5. the waits of the goroutines left are taken out of their queues (channels outlive the
 *     runtime),
 *  6. stacks, Ps and Ms are freed.
 *
 * life.lock protects life; it is held only for moments. Ms decide with the stopper by a CAS on
 * m->ended who frees the M.
 */
#include "sched/config.h"
#include "sched/netpoll.h"
#include "sched/signals.h"
#include "sched/stack.h"

#include <errno.h>

#define sched gort__sched
#define STRAGGLER_TIME (1 * GORT_SEC)
#define STRAGGLER_LOOK (1 * GORT_MS)

enum mode { MODE_DOWN, MODE_RUN, MODE_STARTED, MODE_BUSY };
enum { M_LIVES, M_ENDED, M_LEFT_ALONE, M_LEFT_ASLEEP };

static struct {
	struct lock lock;
	enum mode mode;
	unsigned starts;
	struct m *stragglers; /* Ms left alone, by all_next; under lock */
	uint32_t ends;        /* atomic: futex word; counts Ms that have ended */
	int (*fn)(void *);
	void *arg;
	int result;
	bool panicked;
} life = { .lock = LOCK_INIT(RANK_RUN) };

#ifdef GORT_CHECKED
/* One who can be stopped while it holds a lock of gort's would stop all. */
static void check_inside(void)
{
	struct m *m = m_self();

	must(!m || load_relaxed(&m->in_rt) || (m->g && m->g->preempt_off));
}
#endif
struct signals_known gort__signals;

__attribute__((constructor)) static void at_load(void)
{
#ifdef GORT_CHECKED
	gort__lock_check = check_inside;
#endif
	os_init();
}

/* A goroutine that asks, and is told -EBUSY, is not stopped with the lock. */
static void life_lock(void)
{
	gort_preempt_off();
	lock_acquire(&life.lock);
}

static void life_unlock(void)
{
	lock_release(&life.lock);
	gort_preempt_on();
}

/* ---- guests ---------------------------------------------------------------------------------- */

rare void gort__guest_enter(void)
{
	if (unlikely(gort__forked != NULL))
		gort__fatal_forked("a call of gort");
	for (;;) {
		add_seq(&sched.guests, 1); /* meets the load in wait_for_guests */
		if (likely(!load_seq(&sched.closing)))
			return;
		sub_release(&sched.guests, 1);
		while (load_acquire(&sched.closing))
			os_yield_thread();
	}
}

rare void gort__guest_leave(void)
{
	sub_release(&sched.guests, 1);
}

static void wait_for_guests(void)
{
	store_seq(&sched.closing, 1);
	while (load_seq(&sched.guests))
		os_yield_thread();
}

/* Either a report sees no_dumps, or we see it (dump.c). */
static void end_dumps(void)
{
	store_seq(&sched.no_dumps, 1);
	while (load_seq(&sched.dumpers))
		os_yield_thread();
}

/* ---- the end --------------------------------------------------------------------------------- */

/* Those that run user code now find no P when they enter gort. Who has just been given one has
 * stored it by the barrier, or sees ASK_STOP when it leaves. Ms are not freed before we join them. */
static void take_all_ps(void)
{
	uint32_t n = load_relaxed(&sched.p_count);
	struct suspect s;

	os_membarrier();
	for (uint32_t i = 0; i < n; i++) {
		s.p = load_relaxed(&sched.all_p[i]);
		s.m = load_acquire(&s.p->m);
		if (!s.m || s.m == m_self())
			continue;
		s.taken = false;
		gort__ps_retake(&s, 1);
		if (s.taken)
			store_relaxed(&s.p->m, NULL);
	}
}

static void tell_all(void)
{
	struct m *wake;

	lock_acquire(&sched.lock);
	store_seq(&sched.stopping, 1);
	for (struct m *m = sched.all_m; m; m = m->all_next)
		or_relaxed(&m->asks, ASK_STOP);
	for (uint32_t i = 0; i < load_relaxed(&sched.p_count); i++)
		store_seq(&load_relaxed(&sched.all_p[i])->attention, 1);
	wake = sched.idle_m;
	for (struct m *m = wake; m; m = m->idle_next)
		m->idle = false;
	sched.idle_m = NULL;
	gort__blists_clear(); /* those that wait go on without a P */
	for (struct m *m = sched.all_m; m; m = m->all_next)
		if (m->waits) {
			m->waits = false;
			m->idle_next = wake;
			wake = m;
		}
	lock_release(&sched.lock);
	gort__m_wake_all(wake);
	take_all_ps();
}

void gort__main_deadlocked(void)
{
	life.result = -EDEADLK;
	tell_all();
}

void gort__main_ended(struct g *g)
{
	if (g->local.panicked)
		life.result = -EOWNERDEAD;
	life.panicked = g->local.panicked;
	tell_all();
}

/* With life.lock. */
static void unlink_straggler(struct m *m)
{
	struct m **link = &life.stragglers;

	while (*link != m)
		link = &(*link)->all_next;
	*link = m->all_next;
}

void gort__m_ended(struct m *m)
{
	uint32_t lives = M_LIVES;

	if (cas_acq_rel(&m->ended, &lives, M_ENDED)) {
		add_acq_rel(&life.ends, 1);
		os_futex_wake(&life.ends, INT32_MAX); /* m may be freed already */
		return;
	}
	life_lock();
	if (load_relaxed(&m->ended) == M_LEFT_ALONE)
		unlink_straggler(m);
	life_unlock();
	sub_relaxed(&sched.left_behind, 1);
	gort__m_free(m);
}

/* It runs user code, without a P, and sleeps in the kernel: asked twice, its clock stands still. */
static bool is_asleep(struct m *m)
{
	int64_t before = load_relaxed(&m->seen_away.cpu), cpu;

	if (load_acquire(&m->in_rt) || !load_relaxed(&m->tid))
		return false;
	cpu = os_thread_cpu(load_relaxed(&m->tid));
	store_relaxed(&m->seen_away.cpu, cpu);
	return os_thread_asleep(load_relaxed(&m->tid)) != 0 && cpu == before;
}

enum { ALL_ENDED, SOME_COMPUTE, SOME_INSIDE };

/* With life.lock: of those that were left alone one is not asleep. */
static bool some_compute(void)
{
	struct m **link = &life.stragglers, *m;

	while ((m = *link) != NULL) {
		if (!is_asleep(m))
			return true;
		*link = m->all_next;
		store_relaxed(&m->ended, (uint32_t)M_LEFT_ASLEEP);
	}
	return false;
}

static int who_lives(bool late)
{
	int who = ALL_ENDED;

	for (struct m *m = sched.all_m; m && who != SOME_INSIDE; m = m->all_next) {
		if (!m->own_thread || load_acquire(&m->ended) != M_LIVES)
			continue;
		if (load_acquire(&m->in_rt))
			who = SOME_INSIDE;
		else if (!late && !is_asleep(m))
			who = SOME_COMPUTE;
	}
	return who;
}

static void wait_for_ms(void)
{
	int64_t now = os_now(), until = now + STRAGGLER_TIME;
	uint32_t seen;

	for (;; now = os_now()) {
		seen = load_acquire(&life.ends);
		if (who_lives(now >= until) == ALL_ENDED)
			return;
		os_futex_wait(&life.ends, seen, now + STRAGGLER_LOOK);
	}
}

/* Guests that are inside may yet look at it. */
static void free_later(struct m *m)
{
	m->idle_next = sched.free_m;
	sched.free_m = m;
}

/* Its thread is left behind, or has ended. Gives how. */
static uint32_t collect(struct m *m)
{
	uint32_t lives = M_LIVES, how;
	os_thread thread;
	bool left;

	if (!m->own_thread) {
		free_later(m);
		return M_ENDED;
	}
	thread = m->thread;
	how = is_asleep(m) ? M_LEFT_ASLEEP : M_LEFT_ALONE;
	store_release(&m->left, true);
	life_lock();
	left = cas_acq_rel(&m->ended, &lives, how);
	if (left && how == M_LEFT_ALONE) {
		m->all_next = life.stragglers;
		life.stragglers = m;
	}
	life_unlock();
	if (left) {
		add_relaxed(&sched.left_behind, 1);
		os_thread_detach(&thread); /* it frees its M when it ends */
		return how;
	}
	os_thread_join(&thread);
	free_later(m);
	return M_ENDED;
}

/* Returns how many had to be left. */
static uint32_t collect_ms(void)
{
	uint32_t left = 0;
	struct m *next;

	for (struct m *m = sched.all_m; m; m = next) {
		next = m->all_next;
		left += collect(m) != M_ENDED;
	}
	sched.all_m = NULL;
	return left;
}

/* Nobody is left who could look at one. */
static void free_ms(void)
{
	struct m *m;

	while ((m = sched.free_m) != NULL) {
		sched.free_m = m->idle_next;
		gort__m_free(m);
	}
}

/* g never runs again. Whoever joins its task learns so. */
static void drop_goroutine(struct g *g)
{
	gort__local_drop(&g->local);
	gort__under_end(NULL, &g->under);
	if (g->waiting && g->waiting_count > WAITING_FEW)
		mem_free(NULL, g->waiting, g->waiting_count * sizeof g->waiting[0]);
	if (g->task)
		gort__task_drop(g->task);
}

/* The same, where stragglers keep its stack from being freed. They are the only ones that run; all
 * others are over, and must not be woken into the next runtime. */
static void drop_stopped(struct g *g)
{
	if (load_relaxed(&g->state) != G_RUNNING)
		drop_goroutine(g);
	else if (g->task)
		gort__task_drop(g->task); /* it finds no P before it looks at that again */
}

/* stopping is set, or nothing has run yet. */
static void end_runtime(void)
{
	uint32_t left;

	gort__creator_stop();
	gort__sysmon_stop();
	wait_for_ms();
	end_dumps();
	left = collect_ms();
	store_release(&sched.running, 0);
	signals_end(false);
	gort__uring_end();
	wait_for_guests();
	free_ms();
	gort__stacks_each(gort__wait_withdraw);
	gort__stacks_each(gort__wait_forsake);
	gort__netpoll_end();
	signals_end(true);
	gort__stacks_each(left ? drop_stopped : drop_goroutine);
	gort__stacks_free(left); /* they are on their goroutines' stacks */
	gort__procs_free(left);
	sched.global = (struct glist){ 0 };
	gort__blists_clear();
	store_relaxed(&sched.global_count, 0);
	store_relaxed(&sched.guest_created, 0);
	store_relaxed(&sched.stranded, 0);
	store_relaxed(&sched.life, load_relaxed(&sched.life) + 1);
	sched.poller = sched.net_poller = NULL;
	store_relaxed(&sched.net_polled, 0);
	store_relaxed(&sched.unattended, 0);
	store_relaxed(&sched.net_brings, 0);
	os_preempt_remove();
	os_faults_remove();
	os_quit_remove();
	gort__terminate_remove();
	store_seq(&sched.closing, 0);
}

bool gort__down(void)
{
	return life.mode == MODE_DOWN && !load_acquire(&life.stragglers);
}

static void set_mode(enum mode mode)
{
	life_lock();
	life.mode = mode;
	life_unlock();
}

/* ---- the start ------------------------------------------------------------------------------- */

static int start_threads(void)
{
	int err = gort__creator_start();

	if (err < 0)
		return err;
	err = gort__sysmon_start();
	if (err < 0)
		gort__creator_stop();
	return err;
}

/* On success Ps, creator and sysmon are there, and no M. open_runtime must follow. */
static int start_runtime(const struct config *c)
{
	int err;

	store_release(&sched.stopping, 0); /* after left was set in those left behind (handoff.c) */
	sched.global = (struct glist){ 0 }; /* a straggler may have left something */
	store_relaxed(&sched.global_count, 0);
	store_relaxed(&sched.next_id, 1);
	store_relaxed(&sched.spinning,
		      0); /* stragglers count themselves off as long as they live */
	sched.asked = sched.to_make = 0;
	sched.threads = sched.stopped = 0;
	gort__blists_clear();
	store_relaxed(&sched.away, 0);
	sched.max_threads = c->max_threads;
	sched.slice = c->slice;
	sched.deadlocks = false;
	sched.trace = c->trace;
	sched.uring = c->uring && !fiber_uring_stops_all;
	store_relaxed(&sched.disk, 0);
	sched.retakes = sched.polls = sched.gives = 0;
	sched.deadlock_returns = c->deadlock_returns;
	store_relaxed(&sched.quiet, 0);
	store_relaxed(&sched.watch, INT64_MIN);
	sched.stack_size = c->stack_size;
	sched.on_panic = c->on_panic;
	os_signals_get(&sched.signal_mask);
	gort__stacks_free(false);
	err = gort__fork_watch();
	if (err == 0)
		err = gort__procs_set((uint32_t)c->maxprocs);
	if (err == 0)
		err = os_faults_install(gort__fault);
	if (err == 0 && (err = os_preempt_install(gort__preempt_signal)) == 0 &&
	    (err = start_threads()) < 0)
		os_preempt_remove();
	if (err < 0) {
		os_faults_remove();
		gort__procs_free(false);
	}
	gort__fatal_hook = gort__dump_fatal;
	gort__mutexes_watch();
	if (err == 0 && c->sigquit)
		os_quit_install(gort__dump_quit);
	return err;
}

/* From here on guests may make goroutines. The first M has its P: they cannot take it. */
static void open_runtime(void)
{
	gort__terminate_install();
	store_relaxed(&sched.no_dumps, 0);
	store_release(&sched.running, 1); /* meets the load in dump.c, too */
}

static void main_entry(void *arg)
{
	(void)arg;
	life.result = life.fn(life.arg);
}

/* The calling thread becomes an M, and runs until main has ended. It runs nothing but main, and that
 * only till it first waits (bound.c): so there must be another M. */
static int run_main(struct m *m, size_t stack_size)
{
	struct g *g = gort__g_new(NULL, main_entry, NULL, 0, stack_size);
	struct p *p;
	uint32_t blocked;
	int err = g ? gort__m_thread(NULL, false) : -ENOMEM;

	if (err < 0)
		return err; /* the stack goes with all others */
	if (os_altstack_enter(&m->altstack) < 0)
		return -ENOMEM;
	m->cxa = gort__cxa();
	lock_acquire(&sched.lock);
	p = gort__p_get();
	store_release(&p->m, m);
	gort__m_take(m, p);
	m->all_next = sched.all_m;
	store_release(&sched.all_m, m); /* reports read the list without the lock */
	sched.threads++;
	lock_release(&sched.lock);
	sched.deadlocks = true;
	gort__bound_begin(m, g);
	open_runtime();
	blocked = os_preempt_unblock();
	gort__m_run(m);
	os_preempt_block(blocked);
	if (!fiber_altstack_lasts || !(m->altstack.before.ss_flags & SS_DISABLE))
		os_altstack_leave(&m->altstack);
	return 0;
}

static int enter_mode(enum mode mode)
{
	int err = 0;

	life_lock();
	if (life.mode != MODE_DOWN || some_compute())
		err = -EBUSY;
	else
		life.mode = mode;
	life_unlock();
	return err;
}

static int run(int (*fn)(void *), void *arg, const gort_options *options, bool *started)
{
	struct config c;
	struct m *m;
	int err = gort__config(&c, options);

	if (!fn)
		return -EINVAL;
	if (err < 0)
		return err;
	if (gort__forked)
		return -ESRCH;
	if (m_self() || enter_mode(MODE_RUN) < 0)
		return -EBUSY;
	err = start_runtime(&c);
	if (err < 0) {
		set_mode(MODE_DOWN);
		return err;
	}
	life.fn = fn;
	life.arg = arg;
	life.result = 0;
	m = gort__m_new(false);
	life.panicked = false;
	err = m ? run_main(m, c.main_stack_size) : -ENOMEM;
	*started = err == 0;
	if (err < 0) {
		tell_all();
		if (m)
			gort__m_free(m);
	}
	end_runtime();
	err = err < 0 ? err : life.result;
	set_mode(MODE_DOWN);
	return err;
}

GORT_API int gort_run(int (*fn)(void *arg), void *arg, const gort_options *options)
{
	bool started;

	return run(fn, arg, options, &started);
}

/* The mode is MODE_BUSY. */
static int start_counted(const struct config *c)
{
	struct p *p;
	int err = start_runtime(c);

	if (err == 0) {
		store_relaxed(&sched.next_id, 2);
		lock_acquire(&sched.lock);
		p = gort__p_get();
		lock_release(&sched.lock);
		err = gort__m_thread(p, false); /* one M there must be */
		if (err == 0) {
			open_runtime();
		} else {
			tell_all();
			end_runtime();
		}
	}
	life.starts = 1;
	set_mode(err < 0 ? MODE_DOWN : MODE_STARTED);
	return err;
}

/* 0: it runs, and is counted; 1: the caller must start it (MODE_BUSY); -EBUSY. Waits while somebody
 * starts or stops it. */
static int count_start(void)
{
	int result;

	for (;;) {
		life_lock();
		if (life.mode == MODE_STARTED) {
			life.starts++;
			result = 0;
		} else if (life.mode == MODE_RUN || (life.mode == MODE_DOWN && some_compute())) {
			result = -EBUSY;
		} else {
			result = life.mode == MODE_DOWN ? 1 : -EAGAIN;
			life.mode = MODE_BUSY;
		}
		life_unlock();
		if (result != -EAGAIN)
			return result;
		os_yield_thread();
	}
}

GORT_API int gort_start(const gort_options *options)
{
	struct config c;
	int err = gort__config(&c, options);

	if (err == 0)
		err = gort__forked ? -ESRCH : count_start();
	return err == 1 ? start_counted(&c) : err;
}

GORT_API int gort_stop(void)
{
	int err = 0;
	bool last = false;

	if (gort__forked)
		return -ESRCH;
	life_lock();
	if (life.mode == MODE_BUSY || life.mode == MODE_RUN)
		err = -EBUSY;
	else if (life.mode != MODE_STARTED)
		err = -ESRCH;
	else if (life.starts > 1)
		life.starts--;
	else if (m_self())
		err = -EDEADLK;
	else
		last = true;
	if (last)
		life.mode = MODE_BUSY;
	life_unlock();
	if (last) {
		tell_all();
		end_runtime();
		set_mode(MODE_DOWN);
	}
	return err;
}

GORT_API int gort_maxprocs(int n)
{
	struct m *m = rt_enter();
	int before, err;

	if (!gort__running()) {
		before = gort__config_maxprocs(n);
	} else {
		before = (int)load_relaxed(&sched.procs);
		if (n > 0 && (err = gort__procs_set(n < MAX_PROCS ? (uint32_t)n : MAX_PROCS)) < 0)
			before = err;
		if (m && m->p->id >= load_relaxed(&sched.procs))
			gort__yield(m);
	}
	rt_leave(m);
	return before;
}

GORT_API const char *gort_version(void)
{
	return GORT_VERSION;
}

static const char *reason(int err)
{
	switch (err) {
	case -EINVAL:
		return "nonsense in its options or in a GORT_* variable";
	case -ENOMEM:
		return "out of memory";
	case -EAGAIN:
		return "no threads to be had";
	case -ESRCH:
		return "this is a forked child";
	default:
		return "it runs already";
	}
}

/* main() of a program that uses GORT_MAIN. */
GORT_API int gort_main_run_(int (*fn)(void *arg), void *arg, const gort_options *options)
{
	bool started = false;
	int result = run(fn, arg, options, &started);

	if (started)
		return result == -EOWNERDEAD && life.panicked ? 1 : result;
	gort__report("cannot start: %s", reason(result));
	return 1;
}

_Noreturn void gort__misuse(const char *call, const char *what)
{
	struct m *m = m_self();
	char label[LABEL_SIZE];

	if (m && m->g)
		gort__fatal("misuse: goroutine %s: %s: %s", g_label(m->g, label), call, what);
	gort__fatal("misuse: thread %d: %s: %s", (int64_t)os_thread_id(), call, what);
}
