/*
 * under.c - the current context: of a goroutine, inherited by those it starts, or of a thread;
 * and the deadline of one's own.
 *
 * Who is under a context holds it, and is a member of the set of who ends it (ctx.c). Its waits
 * look at waits.ended, which the end stores, and bound says what a wait must look at. Both belong
 * to the goroutine or thread, which changes them while it does not wait.
 *
 * Callers: goroutines and guests.
 */
#include "sync/ctx.h"

struct under *gort__under(struct m *m)
{
	if (!m)
		return &gort__guest()->under;
	if (m->g->task)
		gort__task_own_ctx(m, m->g);
	return &m->g->under;
}

/* c is held by u from here on. Nothing waits by w. */
void gort__under_begin(struct m *m, struct under *u, struct waits *w, struct gort_ctx *c)
{
	int err;

	u->ctx = gort__ctx_retain(c);
	u->deadline = c->deadline;
	if (unlikely(c->deadline != GORT_FOREVER))
		gort__ctx_arm(m, c);
	store_relaxed(&w->ended, 0); /* before it is a member: from then on the end may store */
	if (c->root && (err = gort__ctx_join(m, c->root, &u->member)) < 0)
		store_relaxed(&w->ended, err);
	w->bound = (w->bound & BOUND_KEPT) | BOUND_CTX | (c->root ? BOUND_ENDS : 0);
}

/* Without giving up the context. */
static void step_out(struct under *u, struct waits *w)
{
	if (!u->ctx)
		return;
	gort__ctx_leave(&u->member);
	store_relaxed(&w->ended, 0);
	w->bound &= BOUND_KEPT;
	u->ctx = NULL;
}

/* Of the running one, which waits for nothing. */
void gort__under_change(struct m *m, struct under *u, struct waits *w, struct gort_ctx *c)
{
	struct gort_ctx *before = u->ctx;

	step_out(u, w);
	gort__under_begin(m, u, w, c);
	gort__ctx_release(m, before);
}

void gort__under_end(struct m *m, struct under *u)
{
	struct gort_ctx *c = u->ctx;

	if (!c)
		return;
	gort__ctx_leave(&u->member);
	u->ctx = NULL;
	gort__ctx_release(m, c);
}

static struct waits *own_waits(struct m *m)
{
	return m ? &m->g->waits : &gort__guest()->waits;
}

/* Without giving up the one before. */
static void go_under(struct m *m, struct under *u, struct gort_ctx *c)
{
	struct gort_task *t = m ? m->g->task : NULL;

	if (t)
		gort__task_leaves_home(m->g);
	step_out(u, own_waits(m));
	if (c)
		gort__under_begin(m, u, own_waits(m), c);
	if (t)
		gort__task_comes_home(m->g);
}

GORT_API gort_ctx *gort_ctx_current(void)
{
	struct m *m = rt_enter();
	struct gort_ctx *c = gort__under(m)->ctx;

	rt_leave(m);
	return gort__ctx_outside(c);
}

GORT_API gort_ctx *gort_ctx_enter(gort_ctx *ctx)
{
	struct gort_ctx *c = gort__ctx_inside(ctx, "gort_ctx_enter"), *before;
	struct m *m = rt_enter();
	struct under *u = gort__under(m);

	before = u->ctx; /* whoever has the result holds it for us */
	if (!m && !before) {
		u->member.kind = MEMBER_GUEST; /* it is no member yet */
		gort__thread_hook();
	}
	go_under(m, u, c);
	rt_leave(m);
	return gort__ctx_outside(before);
}

GORT_API void gort_ctx_leave(gort_ctx *previous)
{
	struct gort_ctx *c = gort__ctx_inside(previous, "gort_ctx_leave"), *left;
	struct m *m = rt_enter();
	struct under *u = gort__under(m);

	left = u->ctx;
	go_under(m, u, c);
	gort__ctx_release(m, c); /* it was held already */
	gort__ctx_release(m, left);
	rt_leave(m);
}

GORT_API int64_t gort_set_deadline(int64_t deadline)
{
	struct m *m = m_self();
	struct local *l = gort__local();
	struct waits *w = own_waits(m);
	int64_t before = l->deadline ? l->deadline : GORT_FOREVER;

	l->deadline = deadline == GORT_FOREVER ? 0 : deadline ? deadline : -1;
	w->bound = (w->bound & ~(uint32_t)BOUND_DEADLINE) | (l->deadline ? BOUND_DEADLINE : 0);
	return before;
}
