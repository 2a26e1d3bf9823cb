/*
 * timers.h - nodes of timers and heaps of them: timers.c, where the invariants stand. Included by
 * sched.h.
 */
#ifndef GORT_SCHED_TIMERS_H
#define GORT_SCHED_TIMERS_H

struct m;
struct p;

/* A timer node, embedded in whatever is to happen. Fields under the heap's lock. See timers.c. */
struct due;

struct timer {
	int64_t when;
	struct timer_heap *heap; /* atomic: which; changes under both heaps' locks */
	uint32_t slot;           /* in the heap's slots; TIMER_IDLE if in none */
	uint32_t life; /* fixed: of a kept timer, the runtime's life that it belongs to; else 0 */
	/* Called under the heap's lock, after removal; appends whom it woke to due->ready. */
	void (*fire)(struct timer *t, struct due *due);
};
#define TIMER_IDLE UINT32_MAX

/* A timer whose firing takes more than waking goroutines. fire calls timer_later, and sees to it
 * that nobody frees or starts the node; then, once the heap's lock is released, run is called:
 * on g0, or on the stack of a bubble's driver, P in hand, no lock held. It may take locks, make
 * goroutines, start the node again and free it, but not wait. Whom it wakes, or makes, it
 * appends to due->ready. */
struct timer_work {
	struct timer timer;
	void (*run)(struct m *m, struct timer_work *w, struct due *due);
};

/* What came due at one look at a heap. Not more of later than goroutines run between two looks:
 * if each makes one, as many stacks are in use at a time, and those stay warm. */
#define DUE_LATER (TICKS - 1u)
struct due {
	struct glist ready; /* RUNNABLE */
	int64_t now;        /* the look: nothing that is due is later */
	uint32_t count;     /* of later */
	struct timer_work *later[DUE_LATER];
};

static inline void timer_later(struct due *due, struct timer_work *w)
{
	due->later[due->count++] = w;
}

struct timer_entry {
	int64_t when;
	uint32_t slot;
};

union timer_slot {
	struct timer *timer; /* NULL: its entry is dead */
	uint32_t next;       /* of a free slot: the next free one */
};

struct timer_heap {
	struct lock lock;
	struct p *p;    /* fixed: whose; NULL: a bubble's */
	uint32_t count; /* entries, dead ones too */
	uint32_t live;
	uint32_t kept; /* places of kept timers that are not in it just now */
	uint32_t size; /* of the arrays */
	uint32_t free_slot;
	struct timer_entry *entries;
	union timer_slot *slots;
	int64_t next;               /* atomic: when to look at it; OS_FOREVER: never */
	int64_t window, not_before; /* see pace */
	uint32_t paced;             /* fired in this window */
};

/* ---- timers.c: heaps of embedded nodes, see there */
int gort__timer_add(struct m *m, struct timer *t); /* a deadline, into m's P's heap. -ENOMEM */
/* Deadlines and kept ones. True: it was pending, and does not fire, or its runtime has ended.
 * After it fire has let go of t. A kept one has its place still. */
bool gort__timer_del(struct timer *t);
/* Kept timers; m NULL: a guest. start takes a place and, but for OS_FOREVER, adds it: -ENOMEM.
 * restart adds one that is neither pending nor left for later; reset moves one if it is pending.
 * end gives the place of one that is not pending back. start and end do so in any life, the
 * others only where timer_lives. when is written by these three alone. */
int gort__timer_start(struct m *m, struct timer *t, int64_t when);
void gort__timer_restart(struct timer *t, int64_t when);
bool gort__timer_reset(struct timer *t, int64_t when);
void gort__timer_end(struct timer *t);
void gort__timers_run(struct timer_heap *h,
		      struct due *due); /* fire what is due, DUE_LATER at most */
bool gort__timers_move(struct p *from, struct p *to);
void gort__timers_strand(void);         /* a retired P has timers */
void gort__timers_retired(void);        /* GOMAXPROCS went down */
bool gort__timers_rescue(struct p *to); /* take those of retired Ps over. False: no memory */
void gort__timers_init(struct timer_heap *h, struct p *p);
void gort__timers_free(struct timer_heap *h);
int64_t gort__timers_next(void);        /* the earliest of all Ps; OS_FOREVER */
void gort__timers_covered(struct p *p); /* p goes on running: let sysmon watch its timers */

#endif
