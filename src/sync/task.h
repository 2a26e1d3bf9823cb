/*
 * task.h - a task's inside, for task.c and scope.c. The design stands in task.c.
 */
#ifndef GORT_SYNC_TASK_H
#define GORT_SYNC_TASK_H

#include "sync/ctx.h"

struct gort_task {
	uint32_t state; /* atomic; ENDED by release meets acquire in joins */
	uint32_t refs;  /* atomic */
	int result;     /* by the goroutine before ENDED */
	int err;        /* 0 or -EOWNERDEAD; likewise */
	int (*fn)(void *arg);
	void *arg;
	struct g *g; /* while it RUNS, for -EDEADLK */
	uint64_t id;
	uint32_t bubble;          /* fixed before it starts: where it was made, or 0 */
	struct gort_ctx *ctx;     /* lot, set once by its goroutine: its own; held */
	int cause;                /* lot: canceled while there was no ctx */
	bool away;                /* lot, set by its goroutine: it has left home without one */
	struct gort_ctx *home;    /* its goroutine's: the spawner's context */
	struct gort_scope *scope; /* fixed: NULL but for members of one */
	struct waitq joiners;     /* lot */
};

/* With its goroutine, not started, under from. NULL: out of memory or out of range. */
struct gort_task *gort__task_new(struct m *m, int (*fn)(void *arg), void *arg, const gort_attr *a,
				 struct gort_ctx *from);
void gort__task_unref(struct m *m, struct gort_task *t);
bool gort__attr_ok(const gort_attr *a);

/* scope.c: the goroutine of t, which has a scope, has ended. result: as gort_scope_go wants it. */
void gort__scope_member_ended(struct m *m, struct gort_scope *s, int result);

#endif
