/*
 * g.c - the life of a goroutine: made, named, counted, ended.
 *
 * A new G costs no lock and no shared write: it comes from the P's list of free ones, its number
 * from a batch that the P holds, and it is counted by the P alone (gort_count sums up).
 *
 * The end (gort__g_finish) runs on the goroutine itself: defers, destructors of local values, the
 * task's result; then gort__g_exit leaves the stack for good, and whoever runs next frees it.
 */
#include "sched/stack.h"
#include "sched/switch.h"

#include <errno.h>
#include <string.h>

#define ID_BATCH 256

static uint64_t next_id(struct m *m)
{
	struct p *p;

	if (!m)
		return add_relaxed(&gort__sched.next_id, 1);
	p = m->p;
	if (unlikely(p->next_id == p->end_id)) {
		p->next_id = add_relaxed(&gort__sched.next_id, ID_BATCH);
		p->end_id = p->next_id + ID_BATCH;
	}
	return p->next_id++;
}

static inline struct g *free_g(struct m *m, size_t stack_size)
{
	if (unlikely(!m || stack_size != gort__sched.stack_size || !m->p->free_count))
		return gort__stack_get(m, stack_size);
	return m->p->free_gs[--m->p->free_count];
}

/* Room for the copy below the G; the goroutine's frames go below that. */
static char *place_copy(struct g *g, const void *from, size_t size)
{
	char *at = (char *)g - align_up(size, 64);

	fiber_unpoison(at, size);
	memcpy(at, from, size);
	return at;
}

/* A life begins. top: the goroutine's frames go below it. */
static inline void begin(struct m *m, struct g *g, gort_func fn, void *arg, uint64_t id, char *top)
{
	g->fn = fn;
	g->arg = arg;
	g->task = NULL;
	g->thread = NULL;
	g->thread_locks = g->preempt_off = 0;
	g->switches = false;
	g->waiting = NULL;
	g->waiting_count = 1;
	store_relaxed(&g->waits.ended, 0);
	g->waits.bound = 0;
	g->excepting = false;
	g->id = id;
	g->named = false;
	g->local = (struct local){ 0 };
	g->sp = arch_context_make(top, gort__g_entry, g);
	g_set_state(g, G_RUNNABLE);
	if (likely(m != NULL))
		store_relaxed(&m->p->created, m->p->created + 1);
	else
		add_relaxed(&gort__sched.guest_created, 1);
}

struct g *gort__g_new(struct m *m, gort_func fn, void *arg, size_t copy, size_t stack_size)
{
	struct g *g = free_g(m, stack_size ? stack_size : gort__sched.stack_size);

	if (unlikely(!g))
		return NULL;
	if (unlikely(!fiber_create(&g->fiber, g->low, (size_t)((char *)g - g->low)))) {
		store_relaxed(&g->state, G_DEAD);
		stack_put(m, g);
		return NULL;
	}
	if (copy)
		arg = place_copy(g, arg, copy);
	begin(m, g, fn, arg, next_id(m), copy ? arg : (char *)g);
	g->spawned_at = NULL; /* its starter knows */
	if (in_bubble(m))
		gort__bubble_join(m->g->in.bubble, g);
	return g;
}

void gort__g_unmake(struct m *m, struct g *g)
{
	if (unlikely(g->waits.bound & BOUND_BUBBLE))
		gort__bubble_quit(m, g);
	if (m)
		store_release(&m->p->ended, m->p->ended + 1); /* as gort__g_exit */
	else
		sub_relaxed(&gort__sched.guest_created, 1);
	store_relaxed(&g->state, G_DEAD);
	stack_put(m, g);
}

bool gort__running(void)
{
	return load_acquire(&gort__sched.running);
}

/* Under the caller's context. */
static void begin_under(struct m *m, struct g *g)
{
	struct under *u = gort__under(m);

	if (unlikely(u->ctx != NULL))
		gort__under_begin(m, &g->under, &g->waits, u->ctx);
	gort__g_start(m, g);
}

static noinline int go_inside(struct m *m, gort_func fn, void *arg, size_t copy, void *from)
{
	struct g *g = NULL;
	int err = 0;

	if (unlikely(!gort__running()))
		err = -ESRCH;
	else if (unlikely(copy > gort__sched.stack_size / 4))
		err = -E2BIG;
	else if (unlikely(!gort__may_start(m)) || unlikely(!(g = gort__g_new(m, fn, arg, copy, 0))))
		err = -ENOMEM;
	if (g) {
		g->spawned_at = from;
		begin_under(m, g);
	}
	rt_leave(m);
	return err;
}

static noinline int go(gort_func fn, void *arg, size_t copy, void *from)
{
	if (unlikely(!fn))
		gort__misuse("gort_go", "no function");
	return go_inside(rt_enter_to_start(), fn, arg, copy, from);
}

static rare int go_failed(struct m *m, struct g *g)
{
	m->p->free_gs[m->p->free_count++] = g;
	m_leave(m);
	return -ENOMEM;
}

static rare int go_again(struct m *m, gort_func fn, void *arg, size_t copy, void *from)
{
	store_relaxed(&m->in_rt, 0);
	return go(fn, arg, copy, from);
}

static rare int start_elsewhere(struct m *m, struct g *g)
{
	gort__g_start(m, g);
	m_leave(m);
	return 0;
}

static noinline int start_with_help(struct m *m)
{
	gort__work_queued_slow(m->p, deque_len(&m->p->deque) > 1);
	m_leave(m);
	return 0;
}

/* What stands here needs no frame, if nothing is copied: a P that keeps a free G and a number, and no
 * other that idles. */
static inlined int go_here(gort_func fn, void *arg, size_t copy, void *from)
{
	struct m *m = m_self();
	struct p *p;
	struct g *g;

	if (unlikely(!m || !fn || m->g->waits.bound & (BOUND_CTX | BOUND_BUBBLE)))
		return go(fn, arg, copy, from);
	if (unlikely(!m_enter(m)))
		return go_again(m, fn, arg, copy, from);
	p = m->p;
	if (unlikely(!p->free_count || p->next_id == p->end_id ||
		     copy > gort__sched.stack_size / 4))
		return go_inside(m, fn, arg, copy, from);
	g = p->free_gs[--p->free_count];
	if (unlikely(!fiber_create(&g->fiber, g->low, (size_t)((char *)g - g->low))))
		return go_failed(m, g);
	if (copy)
		arg = place_copy(g, arg, copy);
	begin(m, g, fn, arg, p->next_id++, copy ? arg : (char *)g);
	g->spawned_at = from;
	if (unlikely(!deque_push(&p->deque, g)))
		return start_elsewhere(m, g);
	if (unlikely(queued_while_idle()))
		return start_with_help(m);
	return m_leave_with(m, 0);
}

GORT_API int gort_go(gort_func fn, void *arg)
{
	return go_here(fn, arg, 0, __builtin_return_address(0));
}

static void run_with_empty_copy(void *arg)
{
	_Alignas(16) char empty[16] = { 0 };

	((gort_func)arg)(empty);
}

GORT_API int gort_go_copy(gort_func fn, const void *args, size_t size)
{
	if (size == 0) {
		union {
			gort_func fn;
			void *p;
		} as = { .fn = fn };

		return go(run_with_empty_copy, as.p, 0, __builtin_return_address(0));
	}
	return go_here(fn, (void *)(uintptr_t)args, size, __builtin_return_address(0));
}

/* Called outside gort. */
_Noreturn void gort__g_finish(struct g *g)
{
	struct m *m;

	if (unlikely(g->local.defers || g->local.values))
		gort__local_end(&g->local);
	m = m_self();
	if (unlikely(!m_enter(m)))
		gort__p_lost(m);
	if (unlikely(g->waits.bound & BOUND_CTX) && g->under.ctx)
		gort__under_end(m, &g->under);
	if (g->task)
		gort__task_end(m, g->task, g->local.panicked ? -EOWNERDEAD : 0);
	if (unlikely(g->waits.bound & BOUND_BUBBLE))
		gort__bubble_quit(m, g);
	if (unlikely(g->id == 1))
		gort__main_ended(g);
	gort__g_exit(g);
}

GORT_API void gort_goexit(void)
{
	struct m *m = m_self();

	if (!m) {
		rt_enter();
		gort__misuse("gort_goexit", "called on a plain thread");
	}
	gort__g_finish(m->g);
}

static rare void yield_enter_slow(void)
{
	struct m *m = rt_enter_again();

	if (likely(m != NULL))
		gort__yield(m);
	rt_leave(m);
	if (unlikely(!m))
		os_yield_thread();
}

GORT_API void gort_yield(void)
{
	struct m *m = m_self();

	if (unlikely(!m || !m_enter(m))) {
		yield_enter_slow();
		return;
	}
	gort__yield_and_leave(m);
}

GORT_API uint64_t gort_self(void)
{
	struct m *m = m_self();

	return m && m->g ? m->g->id : 0;
}

void gort__g_name(struct g *g, const char *name)
{
	size_t n = strnlen(name, NAME_SIZE - 1);

	memcpy(g->name, name, n);
	g->name[n] = 0;
	g->named = n != 0;
}

GORT_API void gort_set_name(const char *name)
{
	struct m *m = m_self();

	if (m)
		gort__g_name(m->g, name ? name : "");
}

uint64_t gort__g_count(uint64_t *all)
{
	uint32_t n = load_acquire(&gort__sched.p_count);
	uint64_t ended = 0, created = 0;

	/* Ends first: a goroutine that ends meanwhile is counted, none is counted away twice. */
	for (uint32_t i = 0; i < n; i++)
		ended += load_acquire(&load_relaxed(&gort__sched.all_p[i])->ended);
	for (uint32_t i = 0; i < n; i++)
		created += load_relaxed(&load_relaxed(&gort__sched.all_p[i])->created);
	created += load_relaxed(&gort__sched.guest_created);
	*all = created;
	return created - ended;
}

GORT_API uint64_t gort_count(void)
{
	struct m *m = rt_enter();
	uint64_t all, n = gort__g_count(&all);

	rt_leave(m);
	return n;
}
