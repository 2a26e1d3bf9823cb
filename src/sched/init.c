/*
 * init.c - the runtime's start and end.
 *
 *     DOWN --gort_run--> RUN --fn has returned--> ending --> DOWN
 *     DOWN --gort_start--> STARTED --the last gort_stop--> ending --> DOWN
 *
 * The end, in this order:
 *  1. stopping is set, every M told (m->stop, attention, wake). An M in the scheduler ends at once;
 *     one in user code at its next call into gort (rt_enter), where it holds no lock and touches
 *     nothing any more.
 *  2. Creator and sysmon are joined: no thread is made from here on.
 *  3. Ms that have ended are joined. Those that have not within STRAGGLER_TIME are left alone for
 *     good, with all stacks and Ps, since one may be anywhere: nothing that they could touch is
 *     freed. They are counted; until each has ended the runtime does not start again.
 *  4. closing: guests that call in wait; those inside are waited for. So nobody wakes a goroutine
 *     or moves a queue while
 *  5. the waits of the goroutines left are taken out of their queues (channels outlive the
 *     runtime),
 *  6. stacks, Ps and Ms are freed.
 *
 * life.lock protects life; it is held only for moments. Ms decide with the stopper by a CAS on
 * m->ended who frees the M.
 */
#include "sched/config.h"
#include "sched/park.h"
#include "sched/stack.h"

#include <errno.h>

#define sched gort__sched
#define STRAGGLER_TIME (1 * GORT_SEC)

enum mode { MODE_DOWN, MODE_RUN, MODE_STARTED, MODE_BUSY };
enum { M_LIVES, M_ENDED, M_LEFT_ALONE };

static struct {
	struct lock lock;
	enum mode mode;
	unsigned starts;
	uint32_t stragglers; /* atomic */
	uint32_t ends;       /* atomic: futex word; counts Ms that have ended */
	int (*fn)(void *);
	void *arg;
	int result;
	bool panicked;
} life = { .lock = LOCK_INIT(RANK_RUN) };

__attribute__((constructor)) static void at_load(void)
{
	os_init();
}

/* ---- guests ---------------------------------------------------------------------------------- */

rare void gort__guest_enter(void)
{
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

/* ---- the end --------------------------------------------------------------------------------- */

static void tell_all(void)
{
	struct m *idle, *next;

	lock_acquire(&sched.lock);
	store_seq(&sched.stopping, 1);
	for (struct m *m = sched.all_m; m; m = m->all_next)
		store_relaxed(&m->stop, 1);
	for (uint32_t i = 0; i < load_relaxed(&sched.p_count); i++)
		store_seq(&load_relaxed(&sched.all_p[i])->attention, 1);
	idle = sched.idle_m;
	for (struct m *m = idle; m; m = m->idle_next)
		m->idle = false;
	sched.idle_m = NULL;
	lock_release(&sched.lock);
	for (; idle; idle = next) {
		next = idle->idle_next;
		note_wake(&idle->wake);
	}
}

void gort__main_ended(struct g *g)
{
	if (g->local.panicked)
		life.result = -EOWNERDEAD;
	life.panicked = g->local.panicked;
	tell_all();
}

void gort__m_ended(struct m *m)
{
	uint32_t lives = M_LIVES;

	if (cas_acq_rel(&m->ended, &lives, M_ENDED)) {
		add_acq_rel(&life.ends, 1);
		os_futex_wake(&life.ends, INT32_MAX); /* m may be freed already */
		return;
	}
	gort__m_free(m);
	sub_release(&life.stragglers, 1);
}

static bool all_ended(void)
{
	for (struct m *m = sched.all_m; m; m = m->all_next)
		if (m->own_thread && load_acquire(&m->ended) == M_LIVES)
			return false;
	return true;
}

static void wait_for_ms(void)
{
	int64_t until = os_now() + STRAGGLER_TIME;
	uint32_t seen;

	for (;;) {
		seen = load_acquire(&life.ends);
		if (all_ended() || os_futex_wait(&life.ends, seen, until) == -ETIMEDOUT)
			return;
	}
}

/* Returns how many had to be left alone. */
static uint32_t collect_ms(void)
{
	uint32_t left = 0, lives;
	struct m *next;

	for (struct m *m = sched.all_m; m; m = next) {
		next = m->all_next;
		lives = M_LIVES;
		if (!m->own_thread) {
			gort__m_free(m);
			continue;
		}
		add_relaxed(&life.stragglers, 1);
		if (cas_acq_rel(&m->ended, &lives, M_LEFT_ALONE)) {
			left++; /* it frees its M and is not counted any more when it ends */
			os_thread_detach(&m->thread);
			continue;
		}
		sub_relaxed(&life.stragglers, 1);
		os_thread_join(&m->thread);
		gort__m_free(m);
	}
	sched.all_m = NULL;
	return left;
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
}

static bool keep_none(struct g *g)
{
	(void)g;
	return false;
}

static bool keep_all(struct g *g)
{
	(void)g;
	return true;
}

static void forget_ps(void)
{
	gort__bubbles_end(true);
	store_relaxed(&sched.p_count, 0);
	store_relaxed(&sched.procs, 0);
	store_relaxed(&sched.idle_ps, 0);
	sched.idle_p = NULL;
}

/* stopping is set, or nothing has run yet. */
static void end_runtime(void)
{
	uint32_t left;

	gort__creator_stop();
	gort__sysmon_stop();
	wait_for_ms();
	left = collect_ms();
	store_release(&sched.running, 0);
	wait_for_guests();
	gort__stacks_each(gort__wait_withdraw);
	gort__stacks_each(gort__wait_forsake);
	gort__stacks_each(left ? drop_stopped : drop_goroutine);
	gort__stacks_free(left ? keep_all : keep_none);
	if (left)
		forget_ps();
	else
		gort__procs_free();
	sched.global = (struct glist){ 0 };
	store_relaxed(&sched.global_count, 0);
	store_relaxed(&sched.guest_created, 0);
	store_relaxed(&sched.stranded, 0);
	store_relaxed(&sched.life, load_relaxed(&sched.life) + 1);
	sched.poller = NULL;
	os_faults_remove();
	gort__terminate_remove();
	store_seq(&sched.closing, 0);
}

static void set_mode(enum mode mode)
{
	lock_acquire(&life.lock);
	life.mode = mode;
	lock_release(&life.lock);
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

	store_relaxed(&sched.stopping, 0);
	sched.global = (struct glist){ 0 }; /* a straggler may have left something */
	store_relaxed(&sched.global_count, 0);
	store_relaxed(&sched.next_id, 1);
	store_relaxed(&sched.spinning,
		      0); /* stragglers count themselves off as long as they live */
	sched.wants_count = 0;
	sched.asked = 0;
	store_relaxed(&sched.quiet, 0);
	store_relaxed(&sched.watch, INT64_MIN);
	sched.stack_size = c->stack_size;
	sched.on_panic = c->on_panic;
	os_signals_get(&sched.signal_mask);
	gort__stacks_free(keep_none);
	err = gort__procs_set((uint32_t)c->maxprocs);
	if (err < 0) {
		gort__procs_free();
		return err;
	}
	err = os_faults_install(gort__fault);
	if (err == 0) {
		err = start_threads();
		if (err < 0)
			os_faults_remove();
	}
	if (err < 0)
		gort__procs_free();
	return err;
}

/* From here on guests may make goroutines. The first M has its P: they cannot take it. */
static void open_runtime(void)
{
	gort__terminate_install();
	store_release(&sched.running, 1);
}

static void main_entry(void *arg)
{
	(void)arg;
	life.result = life.fn(life.arg);
}

/* The calling thread becomes an M, and runs until main has ended. */
static int run_main(struct m *m, size_t stack_size)
{
	struct g *g = gort__g_new(NULL, main_entry, NULL, 0, stack_size);

	if (!g || os_altstack_enter(&m->altstack) < 0)
		return -ENOMEM; /* the stack goes with all others */
	lock_acquire(&sched.lock);
	m->p = gort__p_get();
	store_release(&m->p->m, m);
	m->all_next = sched.all_m;
	sched.all_m = m;
	lock_release(&sched.lock);
	open_runtime();
	if (!deque_push(&m->p->deque, g))
		gort__g_start(NULL, g);
	gort__m_run(m);
	os_altstack_leave(&m->altstack);
	return 0;
}

static int enter_mode(enum mode mode)
{
	int err = 0;

	lock_acquire(&life.lock);
	if (life.mode != MODE_DOWN || load_acquire(&life.stragglers))
		err = -EBUSY;
	else
		life.mode = mode;
	lock_release(&life.lock);
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
		p->on_its_way = true;
		lock_release(&sched.lock);
		err = gort__m_thread(p, false); /* one M there must be */
		lock_acquire(&sched.lock);
		p->on_its_way = false;
		lock_release(&sched.lock);
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
		lock_acquire(&life.lock);
		if (life.mode == MODE_STARTED) {
			life.starts++;
			result = 0;
		} else if (life.mode == MODE_RUN ||
			   (life.mode == MODE_DOWN && load_acquire(&life.stragglers))) {
			result = -EBUSY;
		} else {
			result = life.mode == MODE_DOWN ? 1 : -EAGAIN;
			life.mode = MODE_BUSY;
		}
		lock_release(&life.lock);
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
		err = count_start();
	return err == 1 ? start_counted(&c) : err;
}

GORT_API int gort_stop(void)
{
	int err = 0;
	bool last = false;

	lock_acquire(&life.lock);
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
	lock_release(&life.lock);
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
	int before;

	if (!gort__running()) {
		before = gort__config_maxprocs(n);
	} else {
		before = (int)load_relaxed(&sched.procs);
		if (n > 0)
			gort__procs_set(n < MAX_PROCS ? (uint32_t)n : MAX_PROCS);
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
		return "nonsense in its options or in GORT_MAXPROCS or GORT_STACK";
	case -ENOMEM:
		return "out of memory";
	case -EAGAIN:
		return "no threads to be had";
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
