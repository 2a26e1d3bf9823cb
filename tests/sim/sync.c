/*
 * sync.c - mutex, wait group, once: by goroutines, and mixed with plain threads.
 */
#include "sim.h"

#include <errno.h>

static struct {
	gort_mutex m;
	gort_waitgroup all;
	bool inside;
	unsigned entered, timed_out;
} shared;

static void inside(void)
{
	check(!shared.inside);
	shared.inside = true;
	if (pick(3) == 0)
		gort_yield();
	if (pick(8) == 0)
		compute(GORT_MS); /* so that others starve, and are handed the mutex */
	shared.entered++;
	check(shared.inside);
	shared.inside = false;
}

static void lock_often(void *arg)
{
	(void)arg;
	for (int i = 0; i < 4; i++) {
		gort_mutex_lock(&shared.m);
		inside();
		gort_mutex_unlock(&shared.m);
	}
}

SCENARIO(mutex, "one holder at a time, all get it")
{
	for (int i = 0; i < 4; i++)
		check_eq(gort_waitgroup_go(&shared.all, lock_often, NULL), 0);
	gort_waitgroup_wait(&shared.all);
	check_eq(shared.entered, 16);
	check_eq(gort_mutex_try_lock(&shared.m), 0);
	check_eq(gort_mutex_try_lock(&shared.m), -EAGAIN);
	gort_mutex_unlock(&shared.m);
}

static void lock_by_deadline(void *arg)
{
	int err;

	(void)arg;
	for (int i = 0; i < 4; i++) {
		err = gort_mutex_lock_until(&shared.m, gort_in((int64_t)pick(60) * GORT_US));
		if (err == 0) {
			inside();
			gort_mutex_unlock(&shared.m);
		} else {
			check_eq(err, -ETIMEDOUT);
			__atomic_add_fetch(&shared.timed_out, 1, __ATOMIC_RELAXED);
		}
	}
}

SCENARIO(mutex_deadlines, "waits for a mutex that run out of time leave it usable")
{
	for (int i = 0; i < 4; i++)
		check_eq(
			gort_waitgroup_go(&shared.all, i % 2 ? lock_often : lock_by_deadline, NULL),
			0);
	gort_waitgroup_wait(&shared.all);
	check_eq(shared.entered + shared.timed_out, 16);
	check_eq(gort_mutex_try_lock(&shared.m), 0);
	gort_mutex_unlock(&shared.m);
	check_eq(shared.m.state_, 0);
}

/* Whoever gets it last frees it: so unlocking must not touch it after its last step. */
struct once_only {
	gort_mutex m;
	unsigned users;
};

static void use_and_free(void *arg)
{
	struct once_only *o = arg;
	bool last;

	gort_mutex_lock(&o->m);
	last = --o->users == 0;
	gort_mutex_unlock(&o->m);
	if (last)
		scrap(o, sizeof *o);
}

SCENARIO(mutex_freed, "the last one to hold a mutex frees it")
{
	for (int round = 0; round < 2; round++) {
		struct once_only *o = scratch(sizeof *o);

		*o = (struct once_only){ .users = 3 };
		for (int i = 0; i < 3; i++)
			check_eq(gort_waitgroup_go(&shared.all, use_and_free, o), 0);
		gort_waitgroup_wait(&shared.all);
	}
}

SCENARIO(mutex_guests, "goroutines and plain threads share a mutex")
{
	struct guest_thread *t[2];

	for (int i = 0; i < 2; i++)
		t[i] = guest_start(i ? lock_by_deadline : lock_often, NULL);
	for (int i = 0; i < 2; i++)
		check_eq(gort_waitgroup_go(&shared.all, lock_often, NULL), 0);
	gort_waitgroup_wait(&shared.all);
	for (int i = 0; i < 2; i++)
		guest_join(t[i]);
	check_eq(shared.entered + shared.timed_out, 16);
}

/* ---- wait groups ----------------------------------------------------------------------------- */

static void done(void *group)
{
	gort_waitgroup_done(group);
}

SCENARIO(waitgroup_freed, "a wait group is freed as soon as a wait returns")
{
	for (int round = 0; round < 4; round++) {
		gort_waitgroup *g = scratch(sizeof *g);

		*g = (gort_waitgroup){ 0 };
		gort_waitgroup_add(g, 3);
		for (int i = 0; i < 3; i++)
			check_eq(gort_go(done, g), 0);
		if (pick(2))
			check_eq(gort_waitgroup_wait(g), 0);
		else
			while (gort_waitgroup_wait_until(g, gort_in(5 * GORT_US)) != 0)
				;
		scrap(g, sizeof *g);
	}
}

SCENARIO(waitgroup_timeout,
	 "a wait that runs out of time meets the last done: then the group is freed")
{
	for (int round = 0; round < 3; round++) {
		gort_waitgroup *g = scratch(sizeof *g);

		*g = (gort_waitgroup){ 0 };
		gort_waitgroup_add(g, 1);
		check_eq(gort_go(done, g), 0);
		while (gort_waitgroup_wait_until(g, gort_in((int64_t)pick(20) * GORT_US)) != 0)
			;
		scrap(g, sizeof *g);
	}
}

SCENARIO(waitgroup_reused, "a wait group is used again as soon as a wait returns")
{
	gort_waitgroup g = { 0 };

	for (int round = 0; round < 6; round++) {
		gort_waitgroup_add(&g, 2);
		check_eq(gort_go(done, &g), 0);
		check_eq(gort_go(done, &g), 0);
		check_eq(gort_waitgroup_wait(&g), 0);
	}
}

static struct {
	gort_waitgroup start, woken;
} barrier;

static void wait_for_start(void *arg)
{
	(void)arg;
	check_eq(gort_waitgroup_wait(&barrier.start), 0);
	gort_waitgroup_done(&barrier.woken);
}

SCENARIO(waitgroup_many, "many wait, goroutines and a plain thread: all are woken")
{
	struct guest_thread *t;

	gort_waitgroup_add(&barrier.start, 1);
	gort_waitgroup_add(&barrier.woken, 5);
	t = guest_start(wait_for_start, NULL);
	for (int i = 0; i < 4; i++)
		check_eq(gort_go(wait_for_start, NULL), 0);
	for (unsigned i = pick(3); i > 0; i--)
		gort_yield();
	gort_waitgroup_done(&barrier.start);
	gort_waitgroup_wait(&barrier.woken);
	guest_join(t);
}

/* ---- once ------------------------------------------------------------------------------------ */

static struct {
	gort_once once;
	int begun, done;
} init;

static void initialise(void *arg)
{
	(void)arg;
	init.begun++;
	gort_yield();
	init.done++;
}

static void need_it(void *arg)
{
	(void)arg;
	gort_once_do(&init.once, initialise, NULL);
	check_eq(init.begun, 1);
	check_eq(init.done, 1);
}

SCENARIO(once, "once: done when any call returns")
{
	struct guest_thread *t = guest_start(need_it, NULL);

	for (int i = 0; i < 3; i++)
		check_eq(gort_waitgroup_go(&shared.all, need_it, NULL), 0);
	gort_waitgroup_wait(&shared.all);
	guest_join(t);
}
