/*
 * handoff.h - what lets nobody stop the others: Ps that change hands, goroutines that are bound to a
 * thread or were preempted, sysmon's looks at those that block or compute. Included by sched.h.
 */
#ifndef GORT_SCHED_HANDOFF_H
#define GORT_SCHED_HANDOFF_H

/* ---- handoff.c: Ps change hands; see there */
bool gort__p_holds(struct m *m);             /* after m_enter, which was not sure */
bool gort__p_back(struct m *m);              /* n4. False: the runtime has stopped */
void gort__m_take(struct m *m, struct p *p); /* on m itself: it holds p, which was given to it */
struct p *gort__m_drop(struct m *m); /* on m itself, in gort: it holds none; gives what it held */
/* Its goroutine, without a P, gets one. False: the runtime has stopped. */
bool gort__p_wait(struct m *m);
/* Others' turn: its goroutine goes into tired, its P to others, maybe back to it. */
bool gort__p_yield(struct m *m);
void gort__p_away(struct m *m, enum m_away why); /* give its P up, and go on without */
/* Under sched.lock: p, which nobody holds, goes to who needs it most. The Ms to wake. */
struct m *gort__p_place(struct p *p);
void gort__m_wake_all(struct m *chain);
/* Of n Ms those that are in user code lose their Ps, which nobody holds then; taken[i] tells. */
struct suspect {
	struct m *m;
	struct p *p;
	bool taken;
};
void gort__ps_retake(struct suspect *s, uint32_t n);

/* ---- bound.c: goroutines that one thread only may run, and those that were preempted */
void gort__blist_push(struct blist *l, struct g *g); /* under sched.lock */
void gort__blist_push_front(struct blist *l, struct g *g);
void gort__blists_clear(void);
/* Under sched.lock: whose turn it is, after one of p's own (locals) or a free one, or NULL. */
struct g *gort__bound_take(struct p *p, bool locals);
/* Under sched.lock: one whose M waits. For p, or, NULL, for one that idles. */
struct g *gort__bound_any(struct p *p);
struct m *gort__bound_give(struct g *g, struct p *p); /* under sched.lock: p, to the M of g */
void gort__bound_go_on(struct m *m, struct g *g); /* on g0: m's P to the M of g, which was taken */
void gort__bound_parks(struct m *m, struct g *g); /* it leaves its stack, for g0 */
bool gort__bound_some(void);                      /* under sched.lock: one may run */
bool gort__bound_free(void);             /* under sched.lock: one that any M may run is first */
struct g *gort__bound_next(struct m *m); /* on g0 of an M that runs one G only */
void gort__bound_begin(struct m *m, struct g *main);
void gort__bound_end(struct m *m, struct g *g);
void gort__tired_put(struct g *g); /* one that any M may run, for later */

/* ---- preempt.c */
void gort__preempt_attr(struct g *g, int how); /* a new one: GORT_PREEMPT_* */
void gort__preempt_here(struct m *m); /* in gort: others' turn, if there are any and means to */
bool gort__preempt_signal(const struct os_interrupted *at); /* signal handler */

/* ---- retake.c: on sysmon */
struct looked {
	bool waits;   /* somebody waits to run there, or anywhere */
	bool fresh;   /* ... who has not had a slice yet */
	bool soon;    /* look again soon */
	int64_t left; /* what the first of those that compute has left, till it must give way */
	uint32_t count;
	uint32_t taken; /* of them */
	struct suspect suspects[32];
};
void gort__look_stuck(struct p *p, int64_t now, bool moved, struct looked *l);
void gort__look_away(int64_t now, struct looked *l);
void gort__look_done(struct looked *l);
void gort__look_begin(void);               /* the runtime starts */
void gort__look_forget(const struct m *m); /* under sched.lock: it leaves all_m */
/* ---- deadlock.c, on sysmon */
#define DEADLOCK_LOOKS 4    /* at an idle runtime before it is asked */
uint64_t gort__picks(void); /* under sched.lock */
int64_t gort__deadlock_look(int64_t now, uint32_t looks);

#endif
