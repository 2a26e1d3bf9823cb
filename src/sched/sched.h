/*
 * sched.h - G, M and P: what they are, who owns each field, and what the scheduler offers.
 *
 *   G  a goroutine. It lies at the top of its own stack.
 *   M  a thread. Its own stack is g0, where the scheduler runs when it cannot run on a G's.
 *   P  the right to run goroutines, with queues, timers and caches. An M needs one to run a G.
 *
 * States of a G (g_set_state checks the edges in checked builds):
 *
 *     FREE --gort__g_new--> RUNNABLE --execute--> RUNNING --gort__park--> WAITING
 *                              ^ ^------yield-------+ |                      |
 *                              |                      +--g_exit--> DEAD      |
 *                              +-------------------ready---------------------+
 *     DEAD --stack_put--> FREE
 *
 * Leaving a stack. A G that stops running may not be seen by others as runnable before its last
 * register is saved. So what must follow (unlock the channel, publish it as runnable, free it) is
 * left in m->after, and whoever runs next on that M does it first thing (after_switch): the next
 * G, or the scheduler on g0. Nothing is read of the old stack after that.
 *
 * Fields say who may touch them:
 *   owner   the M that holds the P, or the M itself, or the running G itself
 *   sched   under sched.lock
 *   atomic  by anyone, through base/atomic.h
 *   fixed   never changes once shared
 */
#ifndef GORT_SCHED_SCHED_H
#define GORT_SCHED_SCHED_H

#include "arch/arch.h"
#include "base/alloc.h"
#include "base/atomic.h"
#include "base/base.h"
#include "base/deque.h"
#include "base/fatal.h"
#include "base/lock.h"
#include "base/ring.h"
#include "fiber.h"
#include "gort.h"
#include "os/os.h"

#define MAX_PROCS 1024
#define TICKS 61 /* every so many picks the P looks at the global queue and its timers */
#define NAME_SIZE 32
#define ROW 15u
#define WAITING_FEW 16u
#define P_FREE 512 /* free goroutines that a P keeps */

enum g_state { G_FREE, G_RUNNABLE, G_RUNNING, G_WAITING, G_DEAD };

#include "sched/exceptions.h"

/* What a G waits for, for reports. */
enum g_why {
	WHY_NONE,
	WHY_SLEEP,
	WHY_SEND,
	WHY_RECV,
	WHY_MUTEX,
	WHY_RLOCK,
	WHY_WLOCK,
	WHY_COND,
	WHY_SEM,
	WHY_FLIGHT,
	WHY_WAITGROUP,
	WHY_JOIN,
	WHY_SELECT,
	WHY_SCOPE,
	WHY_FOREVER,
	WHY_BUBBLE,
	WHY_READ,
	WHY_WRITE,
	WHY_ACCEPT,
	WHY_CONNECT,
	WHY_RESOLVER, /* its turn to look a name up */
	WHY_OUTSIDE   /* in a bubble: a select of which something is not the bubble's */
};

/* State of a G or guest that outlives no function of the user's: defers, tries, local values.
 * Owner: the goroutine, or the thread. */
struct local {
	struct defer *defers;       /* newest first */
	struct try_frame *tries;    /* innermost first */
	struct local_value *values; /* by key; NULL: none yet */
	int64_t deadline;           /* of every cancellable call, or 0: none */
	uint32_t value_count;
	bool panicked; /* no try caught it, and on_panic returned */
};

/* One wait of a G or guest, in one queue; it lies on the waiting stack. See park.h. */
struct waiter;

struct waitq {
	struct waiter *head; /* atomic, written under the object's lock: select looks without */
	struct waiter *tail;
};

/* States of a wait word (its low TURN_STATES bits); TURN_SURE, a part of the turn: no context
 * ends this wait; TURN_LIGHT, a mark in a waiter's turn. */
enum {
	TURN_RUNNING,
	TURN_PARKING,
	TURN_WAITING,
	TURN_LIGHT_WAITING,
	TURN_DONE,
	TURN_CANCELED,
	TURN_TIMEOUT,
	TURN_STATES = 7,
	TURN_SURE = 8,
	TURN_STEP = 16,
	TURN_LIGHT = 1
};

static inline uint64_t turn_of(uint64_t word)
{
	return word & ~(uint64_t)TURN_STATES;
}

static inline uint64_t turn_after(uint64_t word)
{
	return (word & ~(uint64_t)(TURN_STEP - 1)) + TURN_STEP;
}

/* What a G's or guest's waits share. See park.h. */
struct waits {
	uint64_t word;  /* atomic: turn and state */
	uint64_t taken; /* atomic: the light wait that its object's ender took last */
	int32_t ended;  /* atomic: how its context has ended: 0, -ECANCELED, -ETIMEDOUT */
	uint32_t bound; /* owner: BOUND_* */
};

enum {
	BOUND_ENDS = 1,     /* its context may end */
	BOUND_DEADLINE = 2, /* it has a deadline of its own: local.deadline */
	BOUND_WAITS = 3,    /* either: a wait may be ended from outside */
	BOUND_CTX = 4,      /* it has a context other than the background */
	BOUND_BUBBLE = 8,   /* it is in a bubble; fixed for one life */
	BOUND_THREAD = 16,  /* only g->thread may run it: bound.c */
	BOUND_KEPT = BOUND_DEADLINE | BOUND_BUBBLE | BOUND_THREAD, /* whatever its context */
};

/* What ends with a context: see ctx.c. */
struct ctx_member {
	struct ctx_member *next, *prev; /* under set's lock */
	struct ctx_set *set;            /* owner: where it joined, or NULL */
	bool linked;                    /* under set's lock */
	uint8_t kind;                   /* fixed: MEMBER_* */
};

enum { MEMBER_G, MEMBER_GUEST, MEMBER_CTX, MEMBER_AFTER };

/* The current context of a G or guest. Owner. */
struct under {
	struct gort_ctx *ctx; /* held; NULL: the background */
	int64_t deadline;     /* its deadline, GORT_FOREVER: none */
	struct ctx_member member;
};

/* See sync/bubble.c. */
struct in_bubble {
	struct bubble *bubble;
	uint8_t state;         /* who makes it wait, start or run; NEW, IN, OUT there */
	struct g *next, *prev; /* the bubble's lock: its members */
};

struct g {
	/* What every switch and wait touches. */
	void *sp;               /* its context while it does not run; owner, handed on by queues */
	struct g *next;         /* whoever owns the glist it leads a row of: the next row's */
	uint32_t state;         /* atomic: enum g_state */
	uint16_t why;           /* atomic: enum g_why */
	bool unguarded;         /* fixed: its stack has a canary instead of a guard */
	bool excepting;         /* owner: exceptions has some */
	struct waits waits;     /* see park.h */
	struct waiter *waiting; /* owner: the nodes it waits by, for withdrawal at the end */
	uint32_t waiting_count; /* beyond WAITING_FEW they lie in memory of gort's allocator */
	uint32_t since;         /* atomic, by owner: sched.coarse when it began to wait */
	gort_func fn;           /* owner */
	void *arg;
	/* What its start and end touch as well. */
	uint64_t id;            /* fixed for one life */
	struct gort_task *task; /* owner: NULL but for spawned ones */
	void *spawned_at;       /* fixed once started: who called gort_go or the like, or NULL */
	struct m *thread;       /* owner, sched while queued: the M that it is bound to, or NULL */
	uint32_t thread_locks;  /* owner: depth of gort_lock_thread */
	uint32_t preempt_off;   /* owner: depth of gort_preempt_off; PREEMPT_NEVER: for good */
	bool switches;          /* fixed for one life: it gives way by leaving its stack */
	bool named;             /* owner: name is set */
	struct local local;     /* owner */
	struct under under;     /* owner */
	struct cxa_globals exceptions; /* owner: while it does not run */
	size_t stack_size;             /* fixed: usable bytes */
	/* The rest. */
	struct chunk *chunk; /* fixed: where it lies, see stack.h */
	char *low;           /* fixed: lowest usable byte of its stack */
	uint32_t slot;       /* fixed: its place in the chunk */
	struct fiber fiber;
	struct in_bubble in; /* BOUND_BUBBLE */
#ifdef GORT_CHECKS_MUTEXES
	uint32_t mutexes; /* owner: see debug/mutexes.c */
#endif
	char name[NAME_SIZE]; /* owner; read by reports */
	uint32_t row_count;   /* as next: see glist.h */
	struct g *row[ROW];
};

/* It will run soon: what its first steps touch, on its way to the cache. Its first line is
 * there. (As a function that may not be inlined it has no effect for gcc, which leaves calls of
 * it out.) */
static inlined void g_prefetch(const struct g *g)
{
	const char *frame = g->sp;

	__builtin_prefetch(frame);
	__builtin_prefetch(frame + 64);
	__builtin_prefetch(frame + 128);
	__builtin_prefetch(frame + 192);
	__builtin_prefetch(&g->id);
}

/* "7", or "7 (name)", for reports. */
#define LABEL_SIZE (NAME_SIZE + 24)

static inline const char *g_label(const struct g *g, char label[LABEL_SIZE])
{
	gort__format(label, LABEL_SIZE, g->named ? "%u (%s)" : "%u", g->id, g->name);
	return label;
}

#include "sched/glist.h"

/* Gs that the scheduler picks up on g0 only: bound ones, and those that were preempted. Linked by
 * next. Under sched.lock. See bound.c. */
struct blist {
	struct g *head, *tail;
	uint32_t count; /* atomic, written under lock */
	uint32_t bound; /* of these, those with a thread */
};

/* What whoever runs next on the M does first. */
enum after_kind {
	AFTER_NOTHING,
	AFTER_UNLOCK,
	AFTER_LIGHT,
	AFTER_PARK,
	AFTER_YIELD,
	AFTER_DEAD,
	AFTER_TIRED,
	AFTER_BUBBLE /* UNLOCK, LIGHT or PARK (after_inner), then more */
};

/* Why an M that runs user code has no P. */
enum m_away { AWAY_NO, AWAY_BLOCKING, AWAY_RETAKEN };

enum { ASK_PREEMPT = 1, ASK_STOP = 2, ASK_FENCE = 4 };

#define PREEMPT_NEVER (UINT32_C(1) << 31)
/* Why a goroutine is to give way: it has had its share, or many slices. */
enum { PREEMPT_NO, PREEMPT_DUE, PREEMPT_LONG };

struct m {
	/* atomic, written by owner: see handoff.c */
	uint32_t in_rt;   /* it is in gort, not in user code */
	uint32_t asks;    /* atomic: ASK_*, looked at when it leaves gort */
	uintptr_t handle; /* atomic: p, or 0 where others have taken it, or look at it */
	/* owner */
	struct g *g;             /* atomic, written by owner: the G that runs on it; NULL on g0 */
	struct p *p;             /* in gort: the P it holds, or NULL */
	struct cxa_globals *cxa; /* fixed: the thread's; NULL: no C++ */
	enum after_kind after;
	struct g *after_g;
	struct lock *after_lock;
	enum after_kind after_inner;
	struct bubble *after_bubble;
	void *g0_sp;      /* g0's stack from here down is free; resuming it ends the M */
	bool spinning;    /* counted in sched.spinning */
	bool called;      /* woken to look for work */
	bool by_timer;    /* what it found last, timers had just woken */
	int64_t stole_at; /* when it last stole something; 0: not since it last looked */
	uint32_t random;
	struct fiber g0_fiber;
	/* bound.c. owner */
	struct g *locked; /* it runs this one only */
	bool dedicated;   /* it runs nothing any more, and waits for the end */
	bool ends;        /* its goroutine has met the end */
	/* sched; who takes it off the idle list, or ends its waiting, sets next_p, then wakes it */
	struct p *next_p;
	struct m *idle_next; /* also: the next one to wake */
	bool idle;           /* in the list */
	bool waits;          /* for a P, to go on with the one G that is bound to it */
	struct note wake;
	uint32_t polls; /* atomic: it sleeps in netpoll, or is about to */
	uint32_t vain;  /* owner: looks around since it has found something */
	bool one_event; /* owner: that is all it was woken by there last */
	/* preempt.c, retake.c */
	uint32_t preempt;       /* atomic: sysmon has sent a signal: PREEMPT_* */
	uint64_t preempt_picks; /* atomic: for what it saw there */
	uint32_t preempt_how;   /* atomic, written by owner: what came last */
	uint32_t away; /* atomic: enum m_away; written by the owner, or with the P in transition */
	uint32_t libc_tries; /* owner, in the handler */
	bool switching;      /* owner: the second signal is on its way */
	bool repair;         /* atomic: SIGURG is not answered: see to that, on g0 */
	struct {
		int64_t cpu, at;
	} seen_away;         /* sysmon: its clock, while it was away, and when */
	struct m *all_next;  /* sched */
	uint32_t retired_at; /* sched: sched.looks then */
	os_thread thread;    /* owner: once it runs */
	int32_t tid;         /* atomic, by owner: 0 until it runs */
	bool own_thread;     /* fixed: false for the thread that called gort_run */
	bool left;           /* atomic: the runtime has ended without it */
	uint32_t ended;      /* atomic: it will touch nothing of the runtime again but itself */
	struct os_altstack altstack;
	bool has_altstack;
};

#include "sched/timers.h"

/* Who is next when a P looks around: proc.c. */
enum round { ROUND_OLDEST, ROUND_GLOBAL, ROUND_RING, ROUND_RUNNEXT, ROUND_ENDS };

struct p {
	/* owner, but for runnext and attention */
	struct g *runnext;   /* atomic: the G woken last; owner puts, owner or thief takes */
	uint32_t ticks;      /* picks left until it looks around */
	enum round round;    /* who is next then */
	bool yielded;        /* its last one went to g0 by gort_yield */
	uint32_t attention;  /* atomic: sysmon or a stop want the owner on g0 */
	uint32_t free_count; /* of free_gs */
	uint32_t eager;      /* atomic: its runnext aged twice running: wakes call a P at once */
	uint64_t picks;      /* atomic, written by owner: Gs run, for sysmon and statistics */
	uint64_t next_id, end_id;
	uint64_t created, ended;              /* atomic, written by owner */
	uint64_t preemptions, yields, steals; /* the same */
	uint32_t id;
	uint32_t serve_oldest;     /* atomic: sysmon saw the deque's oldest wait for a slice */
	uint32_t serve_tired;      /* atomic: it is the turn of one that was preempted */
	bool served_tired;         /* owner: that was the last turn */
	bool others_turn;          /* owner: see gort__bound_take */
	struct g *free_gs[P_FREE]; /* warm goroutines of the default size, the warmest last */
	aligned_line struct mem_cache cache;
	aligned_line struct ring ring; /* woken goroutines, FIFO */
	aligned_line struct deque
		deque; /* spawned ones: owner takes the newest, thieves the oldest */
	aligned_line struct timer_heap timers;
	/* What sysmon saw at its last look. sysmon */
	aligned_line struct {
		struct g *runnext;
		uint64_t picks;
		uint32_t head, aged_runs;
		bool ring, deque, counted, served, moved;
		uint64_t top;
		int64_t top_since, head_since;
		struct m *m;   /* who ran it, ... */
		int64_t since; /* ... since when it runs one goroutine, ... */
		int64_t cpu;   /* ... its thread's clock at the last look, or -1, ... */
		int64_t burnt; /* ... and what that has gone on by since */
		int64_t asked; /* when the clock was read */
		bool slow;     /* it had gone on by little: soon there was another look */
		int64_t still_since, tired_since, global_since;
		uint32_t tries, asleep; /* asleep: looks running that found it so */
	} seen;
	uint32_t aged; /* atomic: sysmon found its work old: thieves need not wait */
	/* sched */
	struct p *idle_next;
	bool idle;   /* in the list */
	struct m *m; /* atomic, written under sched.lock, release: who holds it; NULL if idle */
};

struct sched {
	/* Read by every wake, written when an M goes idle or wakes. atomic */
	aligned_line uint32_t idle_ps; /* written under lock */
	uint32_t spinning;
	uint32_t quiet;     /* the last callers found nothing worth taking: let sysmon call */
	uint32_t lazy;      /* sysmon sleeps long: work that may age must wake it. LAZY_* */
	int64_t lazy_until; /* atomic: till when, if it does not wait for events then */
	int64_t watch; /* sysmon wakes by then: an earlier timer must wake it. INT64_MIN: awake */
	uint32_t stopping;
	uint32_t global_count; /* written under lock */
	uint32_t stranded;     /* retired Ps may have timers */
	uint32_t life;         /* the runtime's, counted from 1; changes while it is down */
	uint32_t coarse;       /* the time, in COARSE_TICKs; for ages */
	/* sched */
	aligned_line struct lock lock;
	struct glist global;
	struct blist fresh; /* bound ones that were woken, or came back from a blocking call */
	struct blist tired; /* those that were preempted */
	uint32_t
		stopped; /* atomic: threads that wait in a signal handler, or on the way out of gort */
	uint32_t threads;     /* Ms with a thread */
	uint32_t away;        /* atomic: Ms in user code without a P */
	uint32_t left_behind; /* atomic: threads of earlier runtimes that still live */
	uint32_t looks;       /* atomic: of sysmon */
	uint64_t retakes;     /* sysmon */
	uint64_t polls;       /* sleeps of a poller */
	uint32_t net_looks;   /* atomic: for events, without waiting */
	uint32_t net_brings;  /* atomic: who does comes with goroutines that are in no queue yet */
	uint32_t unattended;  /* atomic, by sysmon: nobody has looked between its last two looks */
	uint64_t gives; /* Ps given to Ms that wait for one: picks, but no switches of an M's */
	struct p *idle_p;
	struct m *idle_m;
	struct m *poller; /* the idle M that sleeps until the earliest timer */
	int64_t poll_until;
	struct m *net_poller; /* the idle M that waits for events */
	uint32_t net_polled;  /* atomic: somebody does: that one, or sysmon */
	struct m *all_m;
	struct m *free_m; /* of threads that have ended */
	uint32_t asked;   /* Ms that the creator is to make, or that do not run yet */
	uint32_t to_make; /* of these, those that the creator has not seen to */
	/* fixed while the runtime runs */
	struct p *all_p
		[MAX_PROCS]; /* atomic pointers: filled under lock, never emptied until the end */
	uint32_t p_count;    /* atomic: entries of all_p */
	uint32_t procs;      /* atomic: GOMAXPROCS; written under lock */
	size_t stack_size;
	uint32_t max_threads;
	int64_t slice;  /* OS_FOREVER: no preemption */
	bool deadlocks; /* are looked for: it was started by gort_run */
	int64_t trace;  /* between two lines of GORT_DEBUG=sched; OS_FOREVER: none */
	bool deadlock_returns;
	bool uring; /* may be used */
	void (*on_panic)(const char *, uint64_t);
	sigset_t signal_mask; /* the program's; each M's */
	/* atomic */
	uint32_t disk;         /* calls that goroutines have given to io_uring (io/uring.c) */
	uint32_t disk_threads; /* that serve it */
	uint64_t next_id;
	uint64_t guest_created;
	uint32_t guests;   /* guests between rt_enter and rt_leave */
	uint32_t closing;  /* guests wait: goroutines are being freed */
	uint32_t dumpers;  /* reports under way: what they may look at stays mapped */
	uint32_t no_dumps; /* the end frees that; none begins */
	uint32_t running;
};

extern hidden_data struct sched gort__sched;

/* A clock for what may not take the time to read one: as old as sysmon's last look, or as the last
 * wake of an M. Written only where it moves, since every wait reads the line. */
#define COARSE_TICK (INT64_C(1) << 23) /* 8.4 ms: it wraps after a year */

static inline void coarse_set(int64_t now)
{
	uint32_t ticks = (uint32_t)(now / COARSE_TICK);

	if (load_relaxed(&gort__sched.coarse) != ticks)
		store_relaxed(&gort__sched.coarse, ticks);
}

/* ---- who am I. Re-read after every switch: arch_self cannot be cached. */
static inline struct m *m_self(void)
{
	return arch_self();
}

#include "sched/enter.h"

/* Xorshift: cheap, and good enough to spread and to choose by. */
static inline uint32_t m_random(struct m *m)
{
	m->random ^= m->random << 13;
	m->random ^= m->random >> 17;
	m->random ^= m->random << 5;
	return m->random;
}

/* The caches of whoever calls: NULL for guests. */
static inline struct mem_cache *cache_of(struct m *m)
{
	must_checked(!m || load_relaxed(&m->in_rt));
	return m ? &m->p->cache : NULL;
}

/* ---- proc.c */
static inline void g_set_state(struct g *g, enum g_state to)
{
#ifdef GORT_CHECKED
	static const uint8_t from[] = { [G_FREE] = 1 << G_DEAD | 1 << G_RUNNABLE,
					[G_RUNNABLE] =
						1 << G_FREE | 1 << G_WAITING | 1 << G_RUNNING,
					[G_RUNNING] = 1 << G_RUNNABLE,
					[G_WAITING] = 1 << G_RUNNING,
					[G_DEAD] = 1 << G_RUNNING };
	uint32_t now = load_relaxed(&g->state);

	if (unlikely(!(from[to] & 1u << now)))
		gort__fatal("internal error: goroutine %u goes from state %u to %u", g->id,
			    (uint64_t)now, (uint64_t)to);
#endif
	store_relaxed(&g->state, (uint32_t)to);
}

/* ---- sync/bubble.c: what goroutines of a bubble tell it, and ask of it. The bubble is
 * in.bubble. */
void gort__bubble_join(struct bubble *b, struct g *g); /* a new one, not started */
void gort__bubble_quit(struct m *m, struct g *g);      /* its end; it may not have started */
void gort__bubble_in(struct g *g);                     /* it is being started, or woken */
enum after_kind gort__bubble_park(struct m *m, struct g *g, enum after_kind after, enum g_why why);
void gort__bubble_out(struct m *m,
		      struct bubble *b); /* one whom park gave AFTER_BUBBLE is parked */
int64_t gort__bubble_now(const struct bubble *b);
uint32_t gort__bubble_id(const struct bubble *b);
struct timer_heap *gort__bubble_heap(struct bubble *b);
void gort__bubbles_end(bool stragglers);

/* The caller is a goroutine of a bubble. */
static inline bool in_bubble(const struct m *m)
{
	return m && m->g && unlikely(m->g->waits.bound & BOUND_BUBBLE);
}

/* What it takes for its present time. */
static inline int64_t rt_now(void)
{
	const struct m *m = m_self();

	return in_bubble(m) ? gort__bubble_now(m->g->in.bubble) : os_now();
}

/* 0: none. */
static inline uint32_t rt_bubble(const struct m *m)
{
	return in_bubble(m) ? gort__bubble_id(m->g->in.bubble) : 0;
}

/* A goroutine, new or woken, is on its way to a queue. */
static inline void g_counts_in(struct g *g)
{
	if (unlikely(g->waits.bound & BOUND_BUBBLE))
		gort__bubble_in(g);
}

void gort__bound_ready(struct g *g); /* bound.c: a woken one */

/* It may not stand in a P's own queues. */
static inline bool g_is_bound(const struct g *g)
{
	return unlikely(g->waits.bound & BOUND_THREAD);
}

/* A goroutine that waits is. */
static inline void g_woken(struct g *g)
{
	g_set_state(g, G_RUNNABLE);
	g_counts_in(g);
}

/* Claimed, and on its way to gort__ready_list. */
static inline void glist_push_woken(struct glist *l, struct g *g)
{
	g_woken(g);
	if (g_is_bound(g))
		gort__bound_ready(g);
	else
		glist_push(l, g);
}

static inline void glist_push_new(struct glist *l, struct g *g)
{
	g_counts_in(g);
	glist_push(l, g);
}

_Noreturn void gort__schedule(void *arg); /* on g0; arg: the M */
void gort__g_entry(void *arg);            /* the first frame of each goroutine; arg: the G */
_Noreturn void gort__g_exit(struct g *g);
void gort__g_start(struct m *m, struct g *g); /* queue a new one; m NULL: from a guest */
void gort__run_due(struct m *m, struct timer_heap *h, int64_t now);
/* Of p's own. */
static inline bool timers_due(struct p *p)
{
	int64_t next = load_acquire(&p->timers.next);

	return next != OS_FOREVER && next <= os_now();
}

/* Make g runnable. It has left its stack. m: the caller's, NULL for a guest. */
void gort__ready(struct m *m, struct g *g);
void gort__ready_list(struct m *m, struct glist *list);   /* many, RUNNABLE already */
void gort__ready_events(struct m *m, struct glist *list); /* the same, woken by netpoll */
void gort__global_put(struct glist *list);                /* the same, for any P */
void gort__park(struct lock *held, enum after_kind after, enum g_why why);
void gort__yield(struct m *m);
void gort__yield_and_leave(struct m *m); /* and out of gort */
void gort__wake_p(void);
bool gort__sleep_without_p(struct m *m); /* idle.c. False: the M must end */

/* True if p holds work that a thief could take. */
static inline bool p_has_work(struct p *p)
{
	return load_relaxed(&p->runnext) || ring_len(&p->ring) || deque_len(&p->deque);
}

/* ---- g.c */
/* A new goroutine that will run fn(arg), or with copy != 0 fn(pointer to a copy of so many bytes at
 * arg); not queued yet. stack_size 0: the default. NULL: out of memory. */
struct g *gort__g_new(struct m *m, gort_func fn, void *arg, size_t copy, size_t stack_size);
void gort__g_unmake(struct m *m, struct g *g); /* a new one that was never queued */
_Noreturn void gort__g_finish(
	struct g *g); /* the end of the running goroutine: defers, task, exit */
void gort__g_name(struct g *g, const char *name);
uint64_t gort__g_count(uint64_t *all); /* how many there are, and were; the Ps must stay */
bool gort__running(void);              /* between rt_enter and rt_leave: goroutines can be made */

/* ---- m.c */
struct m *gort__m_new(bool own_thread);
void gort__m_free(struct m *m);
void gort__m_run(struct m *m); /* on the M's own thread, with a P or none; returns when it ends */
void gort__m_retire(struct m *m); /* its thread ends while the runtime runs: the last touch of m */
/* Under sched.lock. */
struct m *gort__m_idle_get(void);
void gort__m_idle_put(struct m *m);
void gort__m_idle_remove(struct m *m);
void gort__m_give(struct m *m, struct p *p, bool spinning);
void gort__creator_ask(void);     /* one more, which takes an idle P, if there is one, and looks */
bool gort__spare_to_be_had(void); /* an M for a P, now or soon */
void gort__creator_call(void);    /* without the lock: it looks whether disks want a thread */
int gort__creator_start(void);
void gort__creator_stop(void);
int gort__m_thread(struct p *p, bool called); /* may lock in libc. -ENOMEM, -EAGAIN */

#include "sched/handoff.h"

/* ---- procs.c. get, put under sched.lock */
struct p *gort__p_get(void); /* an idle P, or NULL */
void gort__p_put(struct p *p);
void gort__p_empty(struct p *p, struct glist *into); /* its queues */
void gort__p_drain(struct p *p); /* one that the caller alone has: all that is in it, elsewhere */
void gort__global_count(void);   /* under sched.lock: one of the queues has changed */
int gort__procs_set(uint32_t n);
void gort__procs_free(bool stragglers); /* threads are left behind, without Ps */

/* ---- timers.c: see timers.h */
/* Asked between rt_enter and rt_leave: the runtime that t was started in is there. */
static inline bool timer_lives(const struct timer *t)
{
	return t->life == 0 || likely(t->life == load_relaxed(&gort__sched.life));
}

/* Who runs p's timers: itself, or P 0 if it is retired. */
static inline struct p *timers_keeper(struct p *p)
{
	if (likely(p->id < load_relaxed(&gort__sched.procs)))
		return p;
	return load_relaxed(&gort__sched.all_p[0]);
}

/* ---- netpoll.c; see netpoll.h */
/* Some descriptor was registered in this life. */
extern hidden_data uint32_t gort__netpoll_up;
static inline bool netpoll_up(void)
{
	return load_acquire(&gort__netpoll_up) != 0;
}

/* Wake who sleeps by note, or in netpoll. */
void gort__netpoll_wake(struct note *note, const uint32_t *polls);
static inline void m_wake(struct m *m)
{
	if (likely(!netpoll_up()))
		note_wake(&m->wake);
	else
		gort__netpoll_wake(&m->wake, &m->polls);
}

/* ---- sysmon.c */
int gort__sysmon_start(void);
void gort__sysmon_stop(void);
void gort__sysmon_kick(void);            /* wake it if it is lazy */
enum { LAZY_NO, LAZY_SLICE, LAZY_LONG }; /* LONG: nobody wakes it if all goes idle again */
/* A P has begun to run, or to idle: it must look more often. */
static inline void sysmon_kick_if_lazy(void)
{
	if (load_relaxed(&gort__sched.lazy))
		gort__sysmon_kick();
}

/* How long sysmon leaves events to Ms that all compute. It learns at its own looks when they have
 * looked, and looks itself at one: so events may wait for this and two of its pauses (BUSY_LOOK). */
#define NET_LOOK (1 * GORT_MS)

/* A P has begun to run, for what it does itself. While others idle nobody waits for this one, and who
 * queues something kicks. But nobody may wait for events any more. */
static inline void sysmon_kick_if_busy(int64_t now)
{
	uint32_t lazy = load_relaxed(&gort__sched.lazy);

	if (lazy &&
	    (lazy == LAZY_LONG || load_relaxed(&gort__sched.idle_ps) == 0 ||
	     (netpoll_up() && load_relaxed(&gort__sched.lazy_until) > now + NET_LOOK)))
		gort__sysmon_kick();
}

/* ---- debug/stats.c: a line of GORT_DEBUG=sched. since: the runtime's start. */
void gort__trace(int64_t since);

/* ---- debug/mutexes.c, in builds with that check. parks: it holds a pthread mutex, as it seems. */
#ifdef GORT_CHECKS_MUTEXES
void gort__mutexes_watch(void);
void gort__mutexes_parks(struct g *g, enum g_why why);
static inline void check_mutexes(struct g *g, enum g_why why)
{
	if (unlikely(g->mutexes))
		gort__mutexes_parks(g, why);
}
#else
#define gort__mutexes_watch() ((void)0)
#define check_mutexes(g, why) ((void)0)
#endif

/* ---- local.c: defers, tries, panics, goroutine-local values */
struct defer {
	struct defer *next;
	gort_func fn;
	void *arg;
	bool embedded;  /* lies on a stack: not freed */
	gort_func drop; /* embedded: called instead if the goroutine never goes on; or NULL */
};
struct local *gort__local(void); /* the goroutine's, or the thread's */
void gort__thread_hook(void);    /* a plain thread has something to give back at its end */
/* Run fn(arg) by gort__defer_end, or else when the goroutine or the innermost try ends. d is the
 * caller's memory, and must last till then. */
void gort__defer_push(struct local *l, struct defer *d, gort_func fn, void *arg);
void gort__defer_end(struct local *l, struct defer *d);
/* fn(arg) was pushed so, and has not run yet. */
bool gort__defer_pending(const struct local *l, gort_func fn, const void *arg);
void gort__local_end(struct local *l);  /* run all defers, then destructors */
void gort__local_drop(struct local *l); /* free them */

/* ---- sync/under.c. begin: a new G, or a guest, is under c from now on. end: at its end. */
void gort__under_begin(struct m *m, struct under *u, struct waits *w, struct gort_ctx *c);
void gort__under_change(struct m *m, struct under *u, struct waits *w, struct gort_ctx *c);
void gort__under_end(struct m *m, struct under *u);
struct under *gort__under(struct m *m); /* the caller's */

/* ---- sync/task.c */
bool gort__task_ended(struct gort_task *t);
uint32_t gort__task_bubble(const struct gort_task *t);
bool gort__task_enlist(struct gort_task *t,
		       struct waiter *w); /* as a joiner; false: it has ended */
bool gort__task_own_ctx(struct m *m,
			struct g *g); /* the running g has a task: see task.c. False: no memory */
/* The running g, which has a task, changes its context: before and after it does. */
void gort__task_leaves_home(struct g *g);
void gort__task_comes_home(struct g *g);
/* False: no memory for the context that those it starts would be under. */
static inline bool gort__may_start(struct m *m)
{
	return !m || likely(!m->g->task) || gort__task_own_ctx(m, m->g);
}
void gort__task_end(struct m *m, struct gort_task *t, int err);
void gort__task_drop(struct gort_task *t);

/* ---- init.c */
void gort__main_deadlocked(void);                                /* the same, with -EDEADLK */
void gort__main_ended(struct g *g);                              /* stop the runtime */
void gort__m_ended(struct m *m);                                 /* the last act of an M's thread */
_Noreturn void gort__misuse(const char *call, const char *what); /* the caller's bug; names the G */
bool gort__down(void); /* no runtime, nor anything of one; asked by the only thread there is */

/* ---- fork.c */
int gort__fork_watch(void); /* at each start. May lock in libc. -ENOMEM */

#endif
