/*
 * ctx.c - contexts: who ends together, until when, with which values.
 *
 * The background is NULL inside. Each context holds its parent. Only some can end by themselves
 * (ends); root is the nearest of those on the way up, so that values cost a cancellation nothing.
 *
 * Members. Whoever ends with a context is linked in its set: goroutines and guests whose current
 * context it is the root of, the next contexts below that end, after_funcs. A set that is
 * contended gets SHARDS more, one of which each P uses. A member stays in the set until it
 * leaves, or the end takes it out; it always takes the set's lock to leave, so that the end has
 * let go of it then.
 *
 *  1. The end: state by CAS (the first wins), then all members out of the sets, some at a time,
 *     under the set's lock. Who joins looks at state after it has taken that lock: so either the
 *     end finds it, or it finds the end.
 *  2. A goroutine's waits: ended is stored, one os_membarrier for all of a batch, then the wait
 *     word decides (park.h, B). Under the set's lock, so none of them can be gone; they are made
 *     runnable after it.
 *  3. A context below is marked and put on a list of work: no recursion, no lock held over more
 *     than a batch. It is retained for that, if it is not being freed just now; who frees it
 *     leaves the set first.
 *  4. The last release of a live context ends it, then frees it. Nobody can be waiting under it:
 *     they hold it.
 *
 * A deadline is a timer (arm), while a runtime runs; it is looked at as well whenever somebody
 * asks, and a guest waits no longer than that by itself.
 *
 * Callers: goroutines and guests.
 */
#include "sync/ctx.h"

#include <errno.h>

#define SHARDS 16u
#define BATCH 64u

static struct gort_ctx background = { .refs = 1, .deadline = GORT_FOREVER };

struct timed_ctx {
	struct gort_ctx ctx;
	struct timer_work work;
	uint32_t bubble; /* fixed: where it was made, or 0: whose clock it means */
};

static struct timer_work *work_of(struct gort_ctx *c)
{
	return &container_of(c, struct timed_ctx, ctx)->work;
}

static uint32_t *bubble_of(struct gort_ctx *c)
{
	return &container_of(c, struct timed_ctx, ctx)->bubble;
}

static size_t size_of(bool ends, bool timed)
{
	if (!ends)
		return offsetof(struct gort_ctx, done);
	return timed ? sizeof(struct timed_ctx) : sizeof(struct gort_ctx);
}

struct gort_ctx *gort__ctx_inside(gort_ctx *ctx, const char *call)
{
	if (!ctx)
		gort__misuse(call, "no context");
	return ctx == &background ? NULL : ctx;
}

gort_ctx *gort__ctx_outside(struct gort_ctx *ctx)
{
	return ctx ? ctx : &background;
}

/* ---- state: the error in the low half, the cause in the high one ----------------------------- */

static int error_of(uint64_t state)
{
	return (int)(int32_t)(uint32_t)state;
}

static int cause_of(uint64_t state)
{
	return (int)(int32_t)(uint32_t)(state >> 32);
}

static uint64_t state_of(int err, int cause)
{
	return (uint64_t)(uint32_t)cause << 32 | (uint32_t)err;
}

static bool mark(struct gort_ctx *c, uint64_t state)
{
	uint64_t alive = 0;

	return cas_seq(&c->state, &alive, state);
}

/* ---- references ------------------------------------------------------------------------------ */

struct gort_ctx *gort__ctx_retain(struct gort_ctx *c)
{
	if (c)
		add_relaxed(&c->refs, 1);
	return c;
}

bool gort__ctx_try_retain(struct gort_ctx *c)
{
	uint32_t refs = load_relaxed(&c->refs);

	while (refs)
		if (cas_acq_rel(&c->refs, &refs, refs + 1))
			return true;
	return false;
}

static void end(struct m *m, struct gort_ctx *c, uint64_t state);
static void disarm(struct gort_ctx *c);

static void drop_hold(struct m *m, struct gort_ctx *c)
{
	if (load_acquire(&c->holds) != 1 && sub_acq_rel(&c->holds, 1) != 1)
		return;
	if (c->ends && c->more)
		mem_free(cache_of(m), c->more, SHARDS * sizeof *c->more);
	mem_free(cache_of(m), c, size_of(c->ends, c->timed));
}

/* The channel may live on. Whoever is about to use done_of holds its lock. */
static void forget_done(struct m *m, struct gort_ctx *c)
{
	struct gort_chan *done = c->done;

	if (!done)
		return;
	lock_acquire(&done->lock);
	done->done_of = NULL;
	lock_release(&done->lock);
	gort__chan_release(m, done);
}

/* Children hold parents, so the last of a chain may free all of it. */
void gort__ctx_release(struct m *m, struct gort_ctx *c)
{
	struct gort_ctx *from;

	for (; c && sub_acq_rel(&c->refs, 1) == 1; c = from) {
		from = c->from;
		if (c->ends) {
			if (!load_acquire(&c->state))
				end(m, c, state_of(-ECANCELED, -ECANCELED));
			gort__ctx_leave(&c->self);
			disarm(c);
			if (load_relaxed(&c->armed))
				gort__timer_end(&work_of(c)->timer);
			forget_done(m, c);
		}
		drop_hold(m, c);
	}
}

/* ---- deadlines ------------------------------------------------------------------------------- */

/* Under the heap's lock. One that is being freed is left alone: who frees it takes the timer
 * away. */
static void deadline_fire(struct timer *t, struct due *due)
{
	struct gort_ctx *c = &container_of(t, struct timed_ctx, work.timer)->ctx;

	if (gort__ctx_try_retain(c))
		timer_later(due, work_of(c));
}

static void deadline_run(struct m *m, struct timer_work *w, struct due *due)
{
	struct gort_ctx *c = &container_of(w, struct timed_ctx, work)->ctx;

	(void)due;
	end(m, c, state_of(-ETIMEDOUT, -ETIMEDOUT));
	gort__ctx_release(m, c);
}

/* Once in each life of a runtime: what the last one had is gone with it. False: out of memory. */
static bool arm(struct m *m, struct gort_ctx *c)
{
	uint32_t life = load_relaxed(&gort__sched.life);
	bool armed = true;

	if (!c->timed || load_relaxed(&c->armed) == life || !gort__running())
		return true;
	if (unlikely(*bubble_of(c) != rt_bubble(m)))
		return true; /* the caller's timers go by another clock */
	lock_acquire(&c->set.lock);
	if (load_relaxed(&c->armed) != life && !load_relaxed(&c->state)) {
		*work_of(c) = (struct timer_work){ .timer = { .fire = deadline_fire },
						   .run = deadline_run };
		armed = gort__timer_start(m, &work_of(c)->timer, c->deadline) == 0;
		store_relaxed(&c->armed, armed ? life : 0);
	}
	lock_release(&c->set.lock);
	return armed;
}

/* The end stores state first: so either arm sees that, or this sees what arm has done. */
static void disarm(struct gort_ctx *c)
{
	if (!c->timed)
		return;
	lock_acquire(&c->set.lock);
	if (load_relaxed(&c->armed))
		gort__timer_del(&work_of(c)->timer);
	lock_release(&c->set.lock);
}

/* All on the way up, for whoever is about to wait for the end: they may be older than the
 * runtime. Without memory for it, the end shows when it is looked at. */
void gort__ctx_arm(struct m *m, struct gort_ctx *c)
{
	for (struct gort_ctx *r = c->root; r; r = r->from ? r->from->root : NULL)
		arm(m, r);
}

/* ---- members --------------------------------------------------------------------------------- */

static struct ctx_set *more_sets(struct m *m, struct gort_ctx *c)
{
	struct ctx_set *more = mem_alloc(cache_of(m), SHARDS * sizeof *more), *none = NULL;

	if (!more)
		return NULL;
	for (uint32_t i = 0; i < SHARDS; i++)
		more[i] = (struct ctx_set){ .lock = LOCK_INIT(RANK_OBJECT) };
	if (cas_seq(&c->more, &none, more)) /* rule 1: then join looks at state */
		return more;
	mem_free(cache_of(m), more, SHARDS * sizeof *more);
	return none;
}

/* A set of c's, locked. */
static struct ctx_set *lock_set(struct m *m, struct gort_ctx *c)
{
	struct ctx_set *set = &c->set, *more = load_acquire(&c->more);

	if (!more) {
		if (lock_try(&set->lock))
			return set;
		more = m ? more_sets(m, c) : NULL;
	}
	if (more && m)
		set = &more[m->p->id % SHARDS];
	lock_acquire(&set->lock);
	return set;
}

/* 0, or how c has ended: then it is no member. */
int gort__ctx_join(struct m *m, struct gort_ctx *c, struct ctx_member *member)
{
	struct ctx_set *set = lock_set(m, c);
	uint64_t state = load_seq(&c->state); /* rule 1 */

	member->set = set;
	member->linked = state == 0;
	if (member->linked) {
		member->prev = NULL;
		member->next = set->first;
		if (set->first)
			set->first->prev = member;
		set->first = member;
	}
	lock_release(&set->lock);
	return error_of(state);
}

/* With the lock. */
static void unlink_member(struct ctx_set *set, struct ctx_member *member)
{
	if (member->prev)
		member->prev->next = member->next;
	else
		set->first = member->next;
	if (member->next)
		member->next->prev = member->prev;
	member->linked = false;
}

void gort__ctx_leave(struct ctx_member *member)
{
	struct ctx_set *set = member->set;

	if (!set)
		return;
	lock_acquire(&set->lock);
	if (member->linked)
		unlink_member(set, member);
	lock_release(&set->lock);
	member->set = NULL;
}

/* ---- the end --------------------------------------------------------------------------------- */

struct gort_after {
	struct ctx_member member;
	struct gort_ctx *ctx; /* its memory is held; NULL: a context that never ends */
	struct g *g;          /* made beforehand: an end cannot fail for want of memory */
	uint32_t life;        /* of the runtime that g is in */
};

/* What an end has still to do. */
struct ending {
	uint64_t state;
	struct ctx_member *work;  /* contexts marked by this end, held */
	struct ctx_member *spare; /* held, but somebody else was faster */
	struct glist woken;
};

static struct waits *member_waits(struct ctx_member *member)
{
	struct under *u = container_of(member, struct under, member);

	return member->kind == MEMBER_G ? &container_of(u, struct g, under)->waits
					: &container_of(u, struct guest, under)->waits;
}

static void end_wait(struct ctx_member *member, struct ending *e)
{
	if (!gort__wait_cancel(member_waits(member)))
		return;
	if (member->kind == MEMBER_G)
		glist_push_woken(&e->woken, container_of(member, struct g, under.member));
	else
		note_wake(&container_of(member, struct guest, under.member)->note);
}

static void end_child(struct gort_ctx *c, struct ending *e)
{
	struct ctx_member **list;

	if (!gort__ctx_try_retain(c))
		return;
	list = mark(c, e->state) ? &e->work : &e->spare;
	if (list == &e->work)
		c->self.set = NULL; /* who else ends it looks there: it need not leave any more */
	c->self.next = *list;       /* it is in no set any more */
	*list = &c->self;
}

static struct gort_ctx *take_child(struct ctx_member **list)
{
	struct ctx_member *first = *list;

	if (!first)
		return NULL;
	*list = first->next;
	return container_of(first, struct gort_ctx, self);
}

static void start_after(struct gort_after *a, struct ending *e)
{
	if (a->life == load_relaxed(&gort__sched.life))
		glist_push_new(&e->woken, a->g);
}

/* Take out a batch. True: there are more. */
static bool end_some(struct ctx_set *set, struct ending *e)
{
	struct ctx_member *waiting[BATCH], *member;
	unsigned n = 0;
	bool more;

	lock_acquire(&set->lock);
	for (unsigned i = 0; i < BATCH && (member = set->first) != NULL; i++) {
		unlink_member(set, member);
		if (member->kind == MEMBER_CTX) {
			end_child(container_of(member, struct gort_ctx, self), e);
		} else if (member->kind == MEMBER_AFTER) {
			start_after(container_of(member, struct gort_after, member), e);
		} else {
			/* Meets the acquire of who is told: it sees what was done before. */
			store_release(&member_waits(member)->ended, error_of(e->state));
			waiting[n++] = member;
		}
	}
	if (n)
		os_membarrier(); /* park.h, between ended and taken */
	for (unsigned i = 0; i < n; i++)
		end_wait(waiting[i], e);
	more = set->first != NULL;
	lock_release(&set->lock);
	return more;
}

static void end_set(struct m *m, struct ctx_set *set, struct ending *e)
{
	bool more;

	do {
		more = end_some(set, e);
		gort__ready_list(m, &e->woken);
	} while (more);
}

/* Its state was stored before the lock is taken: nobody joins, and no done channel is left open,
 * after that. */
static void end_marked(struct m *m, struct gort_ctx *c, struct ending *e)
{
	struct gort_chan *done;
	struct ctx_set *more;
	bool members;

	gort__ctx_leave(&c->self);
	disarm(c);
	lock_acquire(&c->set.lock);
	done = load_relaxed(&c->done);
	members = c->set.first != NULL;
	lock_release(&c->set.lock);
	if (done)
		gort__chan_close(m, done);
	if (members)
		end_set(m, &c->set, e);
	more = load_seq(&c->more);
	for (uint32_t i = 0; more && i < SHARDS; i++)
		end_set(m, &more[i], e);
}

/* c is held by the caller, or is being freed by it. */
static void end(struct m *m, struct gort_ctx *c, uint64_t state)
{
	struct ending e = { .state = state };

	if (!mark(c, state))
		return;
	end_marked(m, c, &e);
	while ((c = take_child(&e.work)) != NULL) {
		end_marked(m, c, &e);
		gort__ctx_release(m, c);
	}
	while ((c = take_child(&e.spare)) != NULL)
		gort__ctx_release(m, c);
}

/* ---- making them ----------------------------------------------------------------------------- */

static struct gort_ctx *make(struct m *m, struct gort_ctx *from, bool ends, int64_t deadline)
{
	int64_t above = from ? from->deadline : GORT_FOREVER;
	bool timed = deadline < above;
	struct gort_ctx *c = mem_alloc(cache_of(m), size_of(ends, timed));

	if (!c)
		return NULL;
	c->refs = c->holds = 1;
	c->armed = 0;
	c->ends = ends;
	c->timed = timed;
	c->from = gort__ctx_retain(from);
	c->root = from ? from->root : NULL;
	c->deadline = timed ? deadline : above;
	c->key = NULL;
	c->value = NULL;
	c->state = 0;
	if (ends) {
		c->done = NULL;
		c->self = (struct ctx_member){ .kind = MEMBER_CTX };
		c->set = (struct ctx_set){ .lock = LOCK_INIT(RANK_OBJECT) };
		c->more = NULL;
	}
	if (timed)
		*bubble_of(c) = rt_bubble(m);
	return c;
}

struct gort_ctx *gort__ctx_new(struct m *m, struct gort_ctx *from, int64_t deadline)
{
	struct gort_ctx *c = make(m, from, true, deadline);

	if (!c)
		return NULL;
	if (c->root && gort__ctx_join(m, c->root, &c->self) < 0)
		mark(c, load_relaxed(&c->root->state));
	c->root = c;
	if (unlikely(!arm(m, c))) {
		gort__ctx_release(m, c);
		return NULL;
	}
	return c;
}

void gort__ctx_cancel(struct m *m, struct gort_ctx *c, int cause)
{
	end(m, c, state_of(-ECANCELED, cause < 0 ? cause : -ECANCELED));
}

/* The state of who ends c; a deadline that has passed ends it now. */
static uint64_t look(struct m *m, struct gort_ctx *c)
{
	struct gort_ctx *root = c ? c->root : NULL;
	uint64_t state = root ? load_acquire(&root->state) : 0;

	if (!root || state || root->deadline == GORT_FOREVER || root->deadline > rt_now())
		return state;
	end(m, root, state_of(-ETIMEDOUT, -ETIMEDOUT));
	return load_acquire(&root->state);
}

int64_t gort__ctx_deadline(const struct gort_ctx *c)
{
	return c->deadline;
}

int gort__ctx_err(struct m *m, struct gort_ctx *c)
{
	return error_of(look(m, c));
}

GORT_API gort_ctx *gort_ctx_background(void)
{
	return &background;
}

static gort_ctx *new_below(struct gort_ctx *from, int64_t deadline)
{
	struct gort_ctx *c;
	struct m *m = rt_enter();

	c = gort__ctx_new(m, from, deadline);
	if (c)
		look(m, c); /* a deadline that has passed already */
	rt_leave(m);
	return c;
}

GORT_API gort_ctx *gort_ctx_with_cancel(gort_ctx *parent)
{
	return new_below(gort__ctx_inside(parent, "gort_ctx_with_cancel"), GORT_FOREVER);
}

GORT_API gort_ctx *gort_ctx_with_deadline(gort_ctx *parent, int64_t deadline)
{
	return new_below(gort__ctx_inside(parent, "gort_ctx_with_deadline"), deadline);
}

GORT_API gort_ctx *gort_ctx_with_value(gort_ctx *parent, const void *key, void *value)
{
	struct gort_ctx *from = gort__ctx_inside(parent, "gort_ctx_with_value"), *c;
	struct m *m = rt_enter();

	c = make(m, from, false, GORT_FOREVER);
	if (c) {
		c->key = key;
		c->value = value;
	}
	rt_leave(m);
	return c;
}

GORT_API gort_ctx *gort_ctx_without_cancel(gort_ctx *parent)
{
	struct gort_ctx *from = gort__ctx_inside(parent, "gort_ctx_without_cancel"), *c;
	struct m *m = rt_enter();

	c = make(m, from, false, GORT_FOREVER);
	if (c) {
		c->root = NULL;
		c->deadline = GORT_FOREVER;
	}
	rt_leave(m);
	return c;
}

GORT_API gort_ctx *gort_ctx_retain(gort_ctx *ctx)
{
	if (ctx && ctx != &background)
		gort__ctx_retain(ctx);
	return ctx;
}

GORT_API void gort_ctx_release(gort_ctx *ctx)
{
	struct m *m;

	if (!ctx || ctx == &background)
		return;
	m = rt_enter();
	gort__ctx_release(m, ctx);
	rt_leave(m);
}

/* ---- looking at them ------------------------------------------------------------------------- */

GORT_API void gort_ctx_cancel(gort_ctx *ctx, int cause)
{
	struct gort_ctx *c = gort__ctx_inside(ctx, "gort_ctx_cancel");
	struct m *m;

	if (!c || !c->ends)
		gort__misuse("gort_ctx_cancel", "a context that does not end by itself");
	m = rt_enter();
	gort__ctx_retain(c); /* those whom it wakes may release theirs */
	gort__ctx_cancel(m, c, cause);
	gort__ctx_release(m, c);
	rt_leave(m);
}

GORT_API int gort_ctx_err(gort_ctx *ctx)
{
	struct gort_ctx *c = gort__ctx_inside(ctx, "gort_ctx_err");
	struct m *m = rt_enter();
	int err = gort__ctx_err(m, c);

	rt_leave(m);
	return err;
}

GORT_API int gort_ctx_cause(gort_ctx *ctx)
{
	struct gort_ctx *c = gort__ctx_inside(ctx, "gort_ctx_cause");
	struct m *m = rt_enter();
	int cause = cause_of(look(m, c));

	rt_leave(m);
	return cause;
}

GORT_API int64_t gort_ctx_deadline(gort_ctx *ctx)
{
	struct gort_ctx *c = gort__ctx_inside(ctx, "gort_ctx_deadline");

	return c ? c->deadline : GORT_FOREVER;
}

GORT_API void *gort_ctx_value(gort_ctx *ctx, const void *key)
{
	for (struct gort_ctx *c = gort__ctx_inside(ctx, "gort_ctx_value"); c; c = c->from)
		if (c->key == key && key)
			return c->value;
	return NULL;
}

/* Closed by the end, which looks for it under the same lock after it has stored state. */
static struct gort_chan *make_done(struct m *m, struct gort_ctx *c)
{
	struct gort_chan *own = gort__chan_make(m, 0, 0), *done;

	lock_acquire(&c->set.lock);
	done = load_relaxed(&c->done);
	if (!done) {
		if (own)
			own->done_of = c;
		store_release(&c->done, done = own);
	}
	lock_release(&c->set.lock);
	if (done != own)
		gort__chan_release(m, own);
	else if (own && look(m, c))
		gort__chan_close(m, own);
	return done;
}

/* Made when it is first asked for. */
GORT_API gort_chan *gort_ctx_done(gort_ctx *ctx)
{
	struct gort_ctx *c = gort__ctx_inside(ctx, "gort_ctx_done");
	struct gort_chan *done;
	struct m *m;

	c = c ? c->root : NULL;
	if (!c)
		return NULL;
	done = load_acquire(&c->done);
	if (done && likely(c->deadline == GORT_FOREVER))
		return done;
	m = rt_enter();
	gort__ctx_arm(m, c);
	if (!done)
		done = make_done(m, c);
	rt_leave(m);
	return done;
}

/* ---- functions to run at the end ------------------------------------------------------------- */

GORT_API gort_after *gort_ctx_after_func(gort_ctx *ctx, gort_func fn, void *arg)
{
	struct gort_ctx *c = gort__ctx_inside(ctx, "gort_ctx_after_func");
	struct m *m = rt_enter();
	struct gort_after *a = NULL;

	if (!fn)
		gort__misuse("gort_ctx_after_func", "no function");
	if (gort__running())
		a = mem_alloc(cache_of(m), sizeof *a);
	if (!a)
		goto out;
	*a = (struct gort_after){ .ctx = c ? c->root : NULL,
				  .life = load_relaxed(&gort__sched.life),
				  .member.kind = MEMBER_AFTER };
	a->g = gort__g_new(m, fn, arg, 0, 0);
	if (!a->g) {
		mem_free(cache_of(m), a, sizeof *a);
		a = NULL;
		goto out;
	}
	if (!a->ctx)
		goto out;
	add_relaxed(&a->ctx->holds, 1);
	gort__ctx_arm(m, a->ctx);
	look(m, a->ctx);
	if (gort__ctx_join(m, a->ctx, &a->member) < 0)
		gort__g_start(m, a->g);
out:
	rt_leave(m);
	return a;
}

GORT_API bool gort_ctx_after_stop(gort_after *a)
{
	struct m *m = rt_enter();
	bool stopped = true;

	if (!a)
		gort__misuse("gort_ctx_after_stop", "nothing to stop");
	if (a->ctx) {
		lock_acquire(&a->member.set->lock);
		stopped = a->member.linked;
		if (stopped)
			unlink_member(a->member.set, &a->member);
		lock_release(&a->member.set->lock);
		drop_hold(m, a->ctx);
	}
	if (stopped && a->life == load_relaxed(&gort__sched.life))
		gort__g_unmake(m, a->g);
	mem_free(cache_of(m), a, sizeof *a);
	rt_leave(m);
	return stopped;
}
