/*
 * fork.c - what the child of a fork may do: exec, or _exit.
 *
 * A child has one thread, the one that called fork, and a copy of everything else as it happened
 * to be: locks held by threads that are not there, goroutines that nobody will run. Nothing of
 * that can be used, so the child is made to know it:
 *
 *  1. gort__forked is set, the runtime does not run, and the thread is a plain one.
 *  2. So every call that touches what goroutines share comes by gort__guest_enter, and aborts
 *     there; those that start something look at gort__forked before, and give -ESRCH or NULL. The
 *     few that need neither (gort_now, a mutex that is free) work on the copy. None hangs: a lock
 *     that is held ends in gort__lock_slow, which looks as well.
 *  3. The goroutine that called fork cannot end there: a defer that aborts stands before all
 *     others. It costs goroutines nothing that they end this way. The plain thread that it has
 *     become has the same: gort_try looks for its defers there.
 *  4. Signals that are watched have again what was there before: nobody is there to be told, and
 *     what was ignored is to be ignored across an exec.
 *
 * Where no runtime is up, and none of its threads is left, a child is as good as its parent, and
 * nothing is done. vfork and posix_spawn do not come here, nor do they need to.
 *
 * Runs in the child, before fork returns: whatever a signal handler may do. The parent has nothing
 * to do before or after.
 */
#include "sched/sched.h"
#include "sched/signals.h"

static char who[LABEL_SIZE + sizeof "goroutine "];
static struct defer at_end[2];

static void ends(void *arg)
{
	(void)arg;
	gort__fatal_forked("the end of a goroutine");
}

static void become_plain(struct m *m)
{
	char label[LABEL_SIZE];

	gort__format(who, sizeof who, "goroutine %s", g_label(m->g, label));
	gort__defer_push(&m->g->local, &at_end[0], ends, NULL);
	arch_self_set(NULL);
	gort__defer_push(gort__local(), &at_end[1], ends, NULL);
}

static void in_child(void)
{
	struct m *m = m_self();

	if (gort__forked || gort__down())
		return;
	if (m)
		become_plain(m);
	else
		gort__format(who, sizeof who, "a thread");
	gort__forked = who;
	store_relaxed(&gort__sched.running, 0);
	signals_forked();
}

/* For one caller at a time. May lock in libc. -ENOMEM. */
int gort__fork_watch(void)
{
	static bool done;
	int err = done ? 0 : os_fork_child(in_child);

	done = err == 0;
	return err;
}
