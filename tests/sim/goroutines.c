/*
 * goroutines.c - made, joined, spread over Ps, ended.
 */
#include "sim.h"

#include <errno.h>

/* ---- trees ----------------------------------------------------------------------------------- */

struct node {
	unsigned depth;
	gort_waitgroup *parent;
	unsigned *leaves;
};

static void grow(void *arg)
{
	struct node *n = arg;
	gort_waitgroup children = { 0 };

	if (n->depth == 0) {
		__atomic_add_fetch(n->leaves, 1, __ATOMIC_RELAXED);
	} else {
		struct node child = { n->depth - 1, &children, n->leaves };

		for (int i = 0; i < 2; i++) {
			gort_waitgroup_add(&children, 1);
			check_eq(gort_go_copy(grow, &child, sizeof child), 0);
		}
		gort_waitgroup_wait(&children);
	}
	gort_waitgroup_done(n->parent);
}

SCENARIO(spawn_tree, "a tree of goroutines, each waits for its children: every leaf runs once")
{
	gort_waitgroup root = { 0 };
	unsigned leaves = 0;
	struct node n = { 4, &root, &leaves };

	gort_waitgroup_add(&root, 1);
	check_eq(gort_go_copy(grow, &n, sizeof n), 0);
	gort_waitgroup_wait(&root);
	check_eq(leaves, 16);
}

static int fib(void *arg)
{
	int n = (int)(uintptr_t)arg, a = 0, b = 0;
	gort_task *t;

	if (n < 2)
		return n;
	t = gort_spawn(fib, (void *)(uintptr_t)(n - 1), NULL);
	check(t);
	b = fib((void *)(uintptr_t)(n - 2));
	check_eq(gort_join(t, &a), 0);
	return a + b;
}

SCENARIO(fork_join, "fibonacci by spawn and join: the right result")
{
	check_eq(fib((void *)6), 8);
}

/* ---- join, detach ---------------------------------------------------------------------------- */

static int seven(void *arg)
{
	if (arg && pick(2))
		gort_sleep((int64_t)pick(30) * GORT_US);
	return 7;
}

SCENARIO(join_by_deadline, "joins that run out of time can be repeated, results are right")
{
	gort_task *t[4];
	int result, err;

	for (int i = 0; i < 4; i++)
		check((t[i] = gort_spawn(seven, &result, NULL)) != NULL);
	for (int i = 0; i < 4; i++) {
		result = 0;
		do {
			err = gort_join_until(t[i], &result, gort_in(10 * GORT_US));
		} while (err == -ETIMEDOUT);
		check_eq(err, 0);
		check_eq(result, 7);
	}
}

SCENARIO(detach, "detached before, while and after they end: freed once")
{
	for (int i = 0; i < 5; i++) {
		gort_task *t = gort_spawn(seven, i % 2 ? &i : NULL, NULL);

		check(t);
		for (unsigned j = pick(3); j > 0; j--)
			gort_yield();
		gort_detach(t);
	}
	gort_sleep(50 * GORT_US);
}

/* ---- many at once ---------------------------------------------------------------------------- */

#define FLOOD 300 /* more than a ring holds */

static unsigned char ran[FLOOD];

static void mark(void *arg)
{
	unsigned char *mine = arg;

	check_eq(*mine, 0);
	*mine = 1;
}

SCENARIO(flood, "more goroutines than a deque's first array holds: each runs once")
{
	gort_waitgroup all = { 0 };

	for (int i = 0; i < 80; i++)
		check_eq(gort_waitgroup_go(&all, mark, &ran[i]), 0);
	gort_waitgroup_wait(&all);
	for (int i = 0; i < 80; i++)
		check_eq(ran[i], 1);
}

struct gate {
	gort_chan *open;
	gort_waitgroup all;
};

static void wait_at(void *arg)
{
	struct gate *g = arg;

	check_eq(gort_chan_recv(g->open, NULL), -EPIPE);
	gort_yield();
	gort_waitgroup_done(&g->all);
}

SCENARIO(full_queues, "so many are woken at once that a ring overflows: each runs")
{
	struct gate g = { .open = gort_chan_make(0, 0) };

	gort_waitgroup_add(&g.all, FLOOD);
	for (int i = 0; i < FLOOD; i++)
		check_eq(gort_go(wait_at, &g), 0);
	for (int i = 0; i < 3; i++)
		gort_yield();
	gort_chan_close(g.open);
	gort_waitgroup_wait(&g.all);
	gort_chan_release(g.open);
}

/* ---- giving way, idle and wake --------------------------------------------------------------- */

static unsigned yielded;

static void yield_often(void *arg)
{
	(void)arg;
	for (int i = 0; i < 10; i++) {
		gort_yield();
		__atomic_add_fetch(&yielded, 1, __ATOMIC_RELAXED);
	}
}

SCENARIO(yields, "goroutines that do nothing but yield all get on")
{
	gort_waitgroup all = { 0 };

	for (int i = 0; i < 4; i++)
		check_eq(gort_waitgroup_go(&all, yield_often, NULL), 0);
	gort_waitgroup_wait(&all);
	check_eq(yielded, 40);
}

static void set(void *word)
{
	__atomic_store_n((uint32_t *)word, 1, __ATOMIC_RELEASE);
	thread_wake(word);
}

/* sysmon is about to sleep long when it has seen nothing for 50 looks, or all idle for 10 ms. */
static void pass_time(void)
{
	unsigned kind = pick(4);

	if (kind == 0)
		gort_sleep((int64_t)pick(12) * GORT_MS);
	else if (kind == 1)
		gort_sleep((int64_t)pick(300) * GORT_US);
	for (unsigned i = kind == 2 ? pick(80) : 0; i > 0; i--)
		compute(40 * GORT_US);
}

/* What is queued behind a goroutine that holds its thread up must be found by another. */
SCENARIO(held_up, "a goroutine blocks its thread until one that it has made has run elsewhere")
{
	uint32_t word = 0;

	if (threads_may_fail())
		return;
	if (gort_maxprocs(0) < 2)
		gort_maxprocs(2);
	for (int i = 0; i < 3; i++) {
		pass_time();
		word = 0;
		check_eq(gort_go(set, &word), 0);
		thread_wait(&word, 0);
	}
}

struct pair {
	gort_chan *c;
	uint32_t word;
};

static void set_when_told(void *arg)
{
	struct pair *p = arg;

	while (gort_chan_recv(p->c, NULL) == 0)
		set(&p->word);
}

SCENARIO(held_up_woken, "the same with one that it has woken")
{
	struct pair p = { .c = gort_chan_make(0, 0) };
	gort_waitgroup done = { 0 };

	if (!threads_may_fail()) {
		if (gort_maxprocs(0) < 2)
			gort_maxprocs(2);
		check_eq(gort_waitgroup_go(&done, set_when_told, &p), 0);
		for (int i = 0; i < 3; i++) {
			pass_time();
			p.word = 0;
			check_eq(gort_chan_send(p.c, NULL), 0);
			thread_wait(&p.word, 0);
		}
		gort_chan_close(p.c);
		gort_waitgroup_wait(&done);
	}
	gort_chan_release(p.c);
}

static void nap(void *arg)
{
	(void)arg;
	for (int i = 0; i < 3; i++)
		gort_sleep((int64_t)(1 + pick(3)) * 15 * GORT_MS);
}

SCENARIO(idle_and_wake, "all idle again and again, woken by timers")
{
	gort_waitgroup all = { 0 };

	for (int i = 0; i < 3; i++)
		check_eq(gort_waitgroup_go(&all, nap, NULL), 0);
	gort_waitgroup_wait(&all);
}

/* ---- ends ------------------------------------------------------------------------------------ */

static unsigned deferred;

static void count(void *arg)
{
	(void)arg;
	__atomic_add_fetch(&deferred, 1, __ATOMIC_RELAXED);
}

static void end_in_some_way(void *arg)
{
	(void)arg;
	check_eq(gort_defer(count, NULL), 0);
	gort_yield();
	if (pick(2))
		gort_goexit();
}

SCENARIO(ends, "returned or by goexit: defers run once")
{
	gort_waitgroup all = { 0 };

	for (int i = 0; i < 4; i++)
		check_eq(gort_waitgroup_go(&all, end_in_some_way, NULL), 0);
	gort_waitgroup_wait(&all);
	check_eq(deferred, 4);
}

static void panics(void *arg)
{
	check_eq(gort_defer(count, NULL), 0);
	gort_yield();
	if (arg)
		gort_panic("on purpose");
}

static void try_it(void *arg)
{
	char text[32];
	int err = gort_try(panics, arg, text, sizeof text);

	check_eq(err, arg ? -EOWNERDEAD : 0);
}

SCENARIO(panics, "panics end in their try, though the goroutine changes threads: defers run once")
{
	gort_waitgroup all = { 0 };

	for (uintptr_t i = 0; i < 4; i++)
		check_eq(gort_waitgroup_go(&all, try_it, (void *)(i % 2)), 0);
	gort_waitgroup_wait(&all);
	check_eq(deferred, 4);
}

static gort_key key;

static void destroy(void *value)
{
	check_eq((uint64_t)(uintptr_t)value, gort_self());
	count(NULL);
}

static void own_values(void *arg)
{
	void *mine = (void *)(uintptr_t)gort_self();

	(void)arg;
	check(gort_key_get(key) == NULL);
	check_eq(gort_key_set(key, mine), 0);
	gort_yield();
	check(gort_key_get(key) == mine);
}

SCENARIO(keys, "each goroutine has its own value, and its destructor runs once")
{
	gort_waitgroup all = { 0 };

	check_eq(gort_key_create(&key, destroy), 0);
	for (int i = 0; i < 4; i++)
		check_eq(gort_waitgroup_go(&all, own_values, NULL), 0);
	gort_waitgroup_wait(&all);
	gort_yield();
	gort_key_delete(key);
}

static void check_self(void)
{
	check(gort_self() < 1000);
}

SCENARIO(signals, "handlers on any M at any step may ask who runs")
{
	gort_waitgroup all = { 0 };

	on_signals(check_self);
	for (int i = 0; i < 4; i++)
		check_eq(gort_waitgroup_go(&all, yield_often, NULL), 0);
	gort_waitgroup_wait(&all);
	on_signals(NULL);
}
