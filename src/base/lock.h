/*
 * lock.h - the two ways in which a thread waits inside gort: struct lock and struct note.
 *
 * struct lock: a mutual exclusion lock of 8 bytes, zero value ready (unranked). Taken for a few
 * instructions at a time; it spins briefly, then waits on a futex.
 *
 *  1. word is 1 while held, 0 while free. Nothing else is ever stored.
 *  2. Releasing is a plain store and one load of a line that is practically never written. Who
 *     wants to sleep counts itself in lock_sleepers[hash of the lock] first, then makes a full
 *     fence on every thread (os_membarrier), then looks at word again. So either the releaser's
 *     store is seen (and the lock taken), or the releaser's load comes after the fence and sees
 *     the sleeper. The counts stand outside the lock on purpose: after the store another thread
 *     may take the lock and free the memory that it lies in, so the store is the last touch.
 *  3. The thread that takes a lock releases it; a goroutine never carries one to another thread.
 *     (Parking with a lock held hands it to whoever resumes on the same thread.)
 *  4. Locks are taken in increasing order of rank, those of equal rank by address; checked builds
 *     verify that for ranks other than RANK_NONE.
 *
 * struct note: one thread sleeps, one wakes it, once per round. Go's note.
 *
 * Callers: any thread, on any stack. Not signal handlers.
 */
#ifndef GORT_BASE_LOCK_H
#define GORT_BASE_LOCK_H

#include "base/atomic.h"
#include "base/base.h"

enum lock_rank {
	RANK_NONE,    /* not checked */
	RANK_RUN,     /* starting and stopping the runtime */
	RANK_SIGNALS, /* who watches which signal, over their channels' */
	RANK_TICKER,  /* a timer that users have, over its channel's */
	RANK_FDS,     /* the descriptors of others that are waited for, over their entries */
	RANK_OBJECT,  /* what goroutines wait on, but for ... */
	RANK_CHAN,    /* ... channels: by it they are known, also in unchecked builds (park.c) */
	RANK_POLL,    /* netpoll's slots */
	RANK_LOT,     /* a bucket of the parking lot */
	RANK_BUBBLES, /* the list of all bubbles */
	RANK_BUBBLE,  /* a bubble */
	RANK_TIMERS,  /* a P's timer heap */
	RANK_HANDLE,  /* Ps that are being taken from their Ms */
	RANK_SCHED,   /* idle lists, global queue */
	RANK_STACKS,  /* shared stacks */
	RANK_KEYS,    /* the table of goroutine-local keys */
	RANK_ALLOC,   /* the allocator's central lists: may be taken under everything else */
};

struct lock {
	uint32_t word; /* atomic: acquire in lock_acquire meets release in lock_release */
	uint32_t rank; /* never changes once shared */
};

/* Where ranks are not checked most are not kept: tables of locks are zero then, and take no room in
 * the program's file. */
#ifdef GORT_CHECKED
#define LOCK_RANK(r) (r)
#else
#define LOCK_RANK(r) ((r) == RANK_CHAN ? RANK_CHAN : RANK_NONE)
#endif
#define LOCK_INIT(r) \
	{ \
		0, LOCK_RANK(r) \
	}

#define LOCK_SLEEPER_SLOTS 64
/* atomic; written only by threads about to sleep on a lock */
extern hidden_data uint32_t gort__lock_sleepers[LOCK_SLEEPER_SLOTS];

void gort__lock_slow(struct lock *l);
void gort__lock_wake(struct lock *l);
#ifdef GORT_CHECKED
/* Called where a lock is taken, but for the allocator's: fatal if the thread may not. Set once, at
 * load. */
extern hidden_data void (*gort__lock_check)(void);
void gort__lock_note_taken(struct lock *l);
void gort__lock_note_released(struct lock *l);
#else
static inline void gort__lock_note_taken(struct lock *l)
{
	(void)l;
}

static inline void gort__lock_note_released(struct lock *l)
{
	(void)l;
}
#endif

static inline unsigned lock_slot(const struct lock *l)
{
	return (unsigned)(((uintptr_t)l >> 6) % LOCK_SLEEPER_SLOTS);
}

static inline void lock_acquire(struct lock *l)
{
	uint32_t was = 0;

	if (unlikely(!cas_acquire(&l->word, &was, 1)))
		gort__lock_slow(l);
	gort__lock_note_taken(l);
}

static inline bool lock_try(struct lock *l)
{
	uint32_t was = 0;

	if (!cas_acquire(&l->word, &was, 1))
		return false;
	gort__lock_note_taken(l);
	return true;
}

/* True: somebody may sleep on it, and gort__lock_wake must follow. */
static inline bool lock_let_go(struct lock *l)
{
	uint32_t *sleepers = &gort__lock_sleepers[lock_slot(l)];

	gort__lock_note_released(l);
	store_release(&l->word, 0);
	fence_light();
	return load_relaxed(sleepers) != 0;
}

static inline void lock_release(struct lock *l)
{
	if (unlikely(lock_let_go(l)))
		gort__lock_wake(l);
}

struct note {
	uint32_t word; /* atomic: 1 once woken; release in note_wake meets acquire in note_sleep */
};

/* What was done before a wake that this takes back is seen after it. */
static inline void note_clear(struct note *n)
{
	(void)swap_acquire(&n->word, 0);
}

/* False: the deadline passed first; it may have been woken just then: ask note_woken. */
bool note_sleep(struct note *n, int64_t deadline);
void note_wake(struct note *n);

static inline bool note_woken(struct note *n)
{
	return load_acquire(&n->word) != 0;
}

#endif
