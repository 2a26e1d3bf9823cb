/*
 * ctx.h - a context's inside, for ctx.c, under.c, scope.c and task.c. The design stands in ctx.c.
 */
#ifndef GORT_SYNC_CTX_H
#define GORT_SYNC_CTX_H

#include "sync/chan.h"

struct ctx_set {
	struct lock lock;
	struct ctx_member *first; /* lock */
};

/* One that cannot end by itself is cut off before done; one with a deadline of its own is a
 * timed_ctx. */
struct gort_ctx {
	uint32_t refs;         /* atomic: handles, goroutines and guests under it, children */
	uint32_t holds;        /* atomic: of its memory: refs as one, and each after_func */
	uint32_t armed;        /* atomic, set under set.lock: the life that has its timer */
	bool ends;             /* fixed: it can end by itself */
	bool timed;            /* fixed: the deadline is its own */
	struct gort_ctx *from; /* fixed, held: the parent; NULL: the background */
	struct gort_ctx *root; /* fixed: who ends it: itself, or the nearest above that can; NULL */
	int64_t deadline;      /* fixed: the earliest on the way up, without_cancel apart */
	const void *key;       /* fixed */
	void *value;           /* fixed */
	uint64_t state;        /* atomic: 0, or error and cause; CAS once */
	struct gort_chan *done; /* atomic, set once under set.lock */
	struct ctx_member self; /* in the set of who ends above it; then in an end's list */
	struct ctx_set set;     /* of who ends with it ... */
	struct ctx_set *more;   /* atomic, set once: SHARDS, when set is contended */
};

/* For callers between rt_enter and rt_leave; NULL is the background. */
struct gort_ctx *gort__ctx_new(struct m *m, struct gort_ctx *from, int64_t deadline); /* it ends */
void gort__ctx_release(struct m *m, struct gort_ctx *c);
void gort__ctx_cancel(struct m *m, struct gort_ctx *c, int cause);
int gort__ctx_err(struct m *m, struct gort_ctx *c);
struct gort_ctx *gort__ctx_retain(struct gort_ctx *c);
/* A public handle, which is never NULL, and what it stands for. */
struct gort_ctx *gort__ctx_inside(gort_ctx *ctx, const char *call);
gort_ctx *gort__ctx_outside(struct gort_ctx *c);
/* Of what ends with c, which ends by itself. join: how it has ended already, or 0: member is in
 * its set. */
int gort__ctx_join(struct m *m, struct gort_ctx *c, struct ctx_member *member);
void gort__ctx_leave(struct ctx_member *member); /* whether it is in one or not */
/* The timers of all on the way up, for whoever is about to wait for the end. */
void gort__ctx_arm(struct m *m, struct gort_ctx *c);

#endif
