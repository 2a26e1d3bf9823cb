/*
 * lock.c - the slow paths of lock.h, and the order of locks in checked builds. The argument for
 * the sleeping protocol stands in lock.h.
 *
 * Spinning: critical sections are tens of nanoseconds, so a holder that runs is gone within a few
 * pauses; one that does not run has lost its processor, and only sleeping helps. The pauses grow:
 * two threads that use one channel in turn pay for the cache lines' way at each step, whereas one
 * that stands back lets the other do a hundred steps at full speed.
 */
#include "base/lock.h"

#include "arch/arch.h"
#include "base/fatal.h"
#include "os/os.h"

#include <errno.h>

#define SPINS 8 /* of 1, 2, 4 ... pauses: about 10 us */

uint32_t gort__lock_sleepers[LOCK_SLEEPER_SLOTS];

static bool take_if_free(struct lock *l)
{
	uint32_t was = 0;

	return load_relaxed(&l->word) == 0 && cas_acquire(&l->word, &was, 1);
}

rare void gort__lock_slow(struct lock *l)
{
	uint32_t *sleepers = &gort__lock_sleepers[lock_slot(l)];

	for (int i = 0; i < SPINS; i++) {
		for (int pauses = 1 << i; pauses > 0; pauses--)
			arch_pause();
		if (take_if_free(l))
			return;
	}
	if (unlikely(gort__forked != NULL)) /* who holds it is not here */
		gort__fatal_forked("a call of gort");
	add_seq(sleepers, 1); /* step 1: be counted */
	os_membarrier();      /* step 2: releasers from here on see it */
	while (!take_if_free(l))
		os_futex_wait(&l->word, 1, OS_FOREVER); /* step 3: look, sleep while held */
	sub_relaxed(sleepers, 1);
}

rare void gort__lock_wake(struct lock *l)
{
	os_futex_wake(&l->word, 1);
}

bool note_sleep(struct note *n, int64_t deadline)
{
	while (load_acquire(&n->word) == 0)
		if (os_futex_wait(&n->word, 0, deadline) == -ETIMEDOUT)
			return load_acquire(&n->word) != 0;
	return true;
}

void note_wake(struct note *n)
{
	store_release(&n->word, 1);
	os_futex_wake(&n->word, 1);
}

#ifdef GORT_CHECKED
/* The locks that the calling thread holds. noinline functions, so that no compiler keeps the
 * address of these across a switch to another thread. */
#define MOST_HELD 8
static __thread struct lock *held[MOST_HELD];
static __thread unsigned held_count;

void (*gort__lock_check)(void);

noinline void gort__lock_note_taken(struct lock *l)
{
	if (gort__lock_check && l->rank != RANK_ALLOC)
		gort__lock_check();
	if (l->rank == RANK_NONE)
		return;
	for (unsigned i = 0; i < held_count; i++) {
		struct lock *h = held[i];

		if (h->rank > l->rank || (h->rank == l->rank && (uintptr_t)h >= (uintptr_t)l))
			gort__fatal("internal error: lock of rank %u taken under rank %u",
				    (uint64_t)l->rank, (uint64_t)h->rank);
	}
	must(held_count < MOST_HELD);
	held[held_count++] = l;
}

noinline void gort__lock_note_released(struct lock *l)
{
	must(load_relaxed(&l->word) == 1);
	if (l->rank == RANK_NONE)
		return;
	for (unsigned i = held_count; i-- > 0;) {
		if (held[i] != l)
			continue;
		held[i] = held[--held_count];
		return;
	}
	gort__fatal("internal error: lock of rank %u released by a thread that does not hold it",
		    (uint64_t)l->rank);
}
#endif
