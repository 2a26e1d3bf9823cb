/*
 * dfs.c - bounded exhaustive search: every schedule of a tiny scenario, one after the other.
 *
 * Stateless: each schedule runs from the start; the choices made are kept as a path, and the next
 * schedule repeats it up to the last choice with an alternative that was not tried. Actors are
 * threads and, with store buffers, the buffers: a choice of one lets its oldest store leave.
 *
 * Sleep sets (Godefroid, 1996) leave out what only swaps neighbouring independent steps: after all
 * schedules that begin with an actor's step at a node have been tried, it sleeps in the others
 * from there on, until somebody does a step that its own depends on. A schedule in which all that
 * could run sleep shows nothing new, and is abandoned.
 *
 * Two steps are independent if they touch different words, or both only read, or one of them
 * touches nothing that others see (a pause, a thread's start). A step that flushes a buffer
 * depends on all. A bound on preemptions, if one is set, makes the search smaller, and not
 * complete.
 */
#include "engine.h"

#include <string.h>

#define DEEPEST 20000u

struct node {
	uint64_t enabled, done, sleep;
	uint8_t chosen;
};

static struct node path[DEEPEST];
static unsigned depth, length; /* of this schedule so far; of the path to repeat */
static unsigned bound, preemptions;
static uint64_t sleeping; /* at the end of this schedule so far */
static uint64_t pruned;

void dfs_reset(unsigned most_preemptions)
{
	length = 0;
	bound = most_preemptions;
	pruned = 0;
}

void dfs_begin(void)
{
	depth = 0;
	preemptions = 0;
	sleeping = 0;
}

uint64_t dfs_pruned(void)
{
	return pruned;
}

/* ---- what an actor is about to do ------------------------------------------------------------ */

struct step {
	const void *word;
	bool reads_only, nothing, all;
};

static struct step step_of(unsigned actor)
{
	const struct thread *t = &sim.threads[actor % MAX_THREADS];
	const struct sim_site *at = t->at;
	struct step s = { 0 };

	if (actor >= MAX_THREADS) {
		s.word = t->buffer[0].p;
		return s;
	}
	if (!at || at->op == SIM_PAUSE) {
		s.nothing = true;
		return s;
	}
	s.word = t->address;
	s.reads_only = at->op == SIM_LOAD;
	s.nothing = at->op == SIM_FENCE && !t->buffered;
	s.all = at->op == SIM_OS || (t->buffered && at->op != SIM_LOAD && at->op != SIM_STORE);
	if (at->op == SIM_STORE && sim.memory != SC && at->order != SIM_SEQ)
		s.nothing = true; /* into the own buffer */
	return s;
}

static bool independent(unsigned a, unsigned b)
{
	struct step x = step_of(a), y = step_of(b);

	if (a % MAX_THREADS == b % MAX_THREADS)
		return false;
	if (x.nothing || y.nothing)
		return true;
	if (x.all || y.all)
		return false;
	return x.word != y.word || (x.reads_only && y.reads_only);
}

/* ---- the path -------------------------------------------------------------------------------- */

static uint64_t bit(unsigned actor)
{
	return UINT64_C(1) << actor;
}

static uint64_t allowed(uint64_t actors)
{
	uint64_t self = bit(sim.self->slot);

	if (bound && preemptions >= bound && actors & self)
		return (actors & ~(uint64_t)UINT32_MAX) | self;
	return actors;
}

/* Who of those that sleep goes on sleeping after a's step. */
static uint64_t still_asleep(uint64_t asleep, unsigned a)
{
	uint64_t rest = 0;

	for (; asleep; asleep &= asleep - 1) {
		unsigned other = (unsigned)__builtin_ctzll(asleep);

		if (other != a && independent(other, a))
			rest |= bit(other);
	}
	return rest;
}

static unsigned take(struct node *n)
{
	uint64_t open = n->enabled & ~(n->done | n->sleep);
	uint64_t self = bit(sim.self->slot);

	if (!open) {
		pruned++;
		length = depth;
		sim_abandon();
	}
	return (unsigned)__builtin_ctzll(open & self ? self : open);
}

unsigned dfs_choose(uint64_t actors)
{
	struct node *n = &path[depth];
	unsigned a;

	actors = allowed(actors);
	if (depth == DEEPEST)
		sim_fail("too deep for dfs: %u choices", DEEPEST);
	if (depth >= length) {
		*n = (struct node){ .enabled = actors, .sleep = sleeping };
		n->chosen = (uint8_t)take(n);
		length = depth + 1;
	} else if (n->enabled != actors) {
		sim_fail("the same choices lead elsewhere: the scenario is not deterministic");
	}
	a = n->chosen;
	sleeping = still_asleep(n->sleep | n->done, a);
	if (a < MAX_THREADS && a != sim.self->slot && actors & bit(sim.self->slot))
		preemptions++;
	depth++;
	return a;
}

bool dfs_next(void)
{
	while (length > 0) {
		struct node *n = &path[length - 1];
		uint64_t open;

		n->done |= bit(n->chosen);
		open = n->enabled & ~(n->done | n->sleep);
		if (open) {
			n->chosen = (uint8_t)__builtin_ctzll(open);
			return true;
		}
		length--;
	}
	return false;
}
