/*
 * scopes.c - scopes: close waits for all members, places go on, whatever ends meanwhile.
 */
#include "sim.h"

#include <errno.h>

static struct {
	gort_scope *scope;
	gort_chan *c;
	gort_mutex m;
	gort_waitgroup all;
	unsigned began, ended, refused;
	intptr_t fails;
} x;

static void count(unsigned *n)
{
	__atomic_add_fetch(n, 1, __ATOMIC_RELAXED);
}

/* ---- many that go, one that fails ------------------------------------------------------------ */

static int member(void *arg)
{
	intptr_t me = (intptr_t)arg;
	int err = 0;

	count(&x.began);
	if (me == x.fails)
		err = -EIO;
	else if (me % 2)
		err = gort_chan_recv(x.c, NULL);
	else
		gort_yield();
	count(&x.ended);
	return err;
}

static void go(void *arg)
{
	int err = gort_scope_go(x.scope, member, arg);

	check(err == 0 || err == -ECANCELED);
	if (err)
		count(&x.refused);
}

SCENARIO(scope_limit, "a scope with a limit, used by many: all that began have ended at close")
{
	struct guest_thread *t;
	int err;

	x.c = gort_chan_make(0, 0);
	x.scope = gort_scope_open(1 + (int)pick(3));
	x.fails = (intptr_t)pick(5);
	t = guest_start(go, (void *)3);
	for (intptr_t i = 0; i < 3; i++)
		check_eq(gort_waitgroup_go(&x.all, go, (void *)i), 0);
	for (int i = 0; i < 2; i++)
		gort_chan_try_send(x.c, NULL);
	gort_sleep((int64_t)pick(20) * GORT_US);
	gort_scope_cancel(x.scope, -EPERM);
	gort_waitgroup_wait(&x.all);
	guest_join(t);
	err = gort_scope_close(x.scope);
	check(err == -EIO || err == -ECANCELED || err == 0);
	check_eq(x.began, x.ended);
	check_eq(x.began + x.refused, 4);
	gort_chan_release(x.c);
}

/* ---- close by a guest: it frees the scope as soon as it is woken ----------------------------- */

static int short_member(void *arg)
{
	(void)arg;
	if (pick(2))
		gort_yield();
	return 0;
}

static void use(void *arg)
{
	gort_scope *s = gort_scope_open((int)pick(2));

	(void)arg;
	for (int i = 0; i < 2; i++)
		check_eq(gort_scope_go(s, short_member, NULL), 0);
	check_eq(gort_scope_close(s), 0);
	gort_waitgroup_done(&x.all);
}

SCENARIO(scope_of_guest, "guests open scopes, and close them as the last member ends")
{
	struct guest_thread *t[2];

	gort_waitgroup_add(&x.all, 2);
	for (int i = 0; i < 2; i++)
		t[i] = guest_start(use, NULL);
	gort_waitgroup_wait(&x.all);
	for (int i = 0; i < 2; i++)
		guest_join(t[i]);
}

/* ---- a cancelled scope whose members go on --------------------------------------------------- */

static int stubborn(void *arg)
{
	(void)arg;
	gort_mutex_lock(&x.m);
	gort_mutex_unlock(&x.m);
	return 0;
}

static void refused(void *arg)
{
	(void)arg;
	check_eq(gort_scope_go(x.scope, stubborn, NULL), -ECANCELED);
}

SCENARIO(scope_told, "a scope is cancelled as others ask for places: they are told at once")
{
	struct guest_thread *t;

	gort_mutex_lock(&x.m);
	x.scope = gort_scope_open(1);
	check_eq(gort_scope_go(x.scope, stubborn, NULL), 0);
	t = guest_start(refused, NULL);
	check_eq(gort_waitgroup_go(&x.all, refused, NULL), 0);
	for (unsigned i = pick(3); i > 0; i--)
		gort_yield();
	gort_scope_cancel(x.scope, 0);
	gort_waitgroup_wait(&x.all);
	guest_join(t);
	gort_mutex_unlock(&x.m);
	check_eq(gort_scope_close(x.scope), 0);
}

/* ---- the runtime's end ----------------------------------------------------------------------- */

static void go_short(void *arg)
{
	int err = gort_scope_go(x.scope, short_member, NULL);

	(void)arg;
	check(err == 0 || err == -ECANCELED || err == -ESRCH);
}

SCENARIO_PLAIN(scope_outlives,
	       "the runtime stops as goroutines and guests wait for places in a scope")
{
	gort_options o = sim_options();
	struct guest_thread *t;

	if (gort_start(&o) < 0)
		return;
	x.scope = gort_scope_open(1);
	for (int i = 0; i < 3; i++)
		gort_go(go_short, NULL);
	t = guest_start(go_short, NULL);
	go_short(NULL);
	if (pick(2))
		thread_sleep((int64_t)pick(3000));
	gort_stop();
	guest_join(t);
	gort_scope_close(x.scope);
}
